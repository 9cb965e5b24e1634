//! Takes the Lease of the cluster, keeps it while the agent runs, and gives it back at the end.

use std::time::{Duration, SystemTime};

use anyhow::bail;
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::io::kubernetes::client::ApiError;
use crate::io::kubernetes::connections::Connections;
use crate::io::kubernetes::fence::{Fence, Term};
use crate::io::kubernetes::lease::{LEASE, LeaseApi, state, version};
use crate::model::backoff::Backoff;
use crate::model::metadata::CONTROLLER_NAMESPACE;
use crate::sync::election::{Election, ElectionTurn};

/// The pause after a request about the Lease that failed, and the longest one.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
/// The longest time for giving the Lease back.
const RELEASE: Duration = Duration::from_secs(1);

/// A candidate for the Lease, and later its holder.
pub struct Leader {
    lease: LeaseApi,
    election: Election,
    fence: Fence,
    duration: Duration,
    connections: LeaderConnections,
}

/// The connections of the two clients of an agent.
pub struct LeaderConnections {
    /// Those of requests about the Lease.
    pub of_lease: Connections,
    /// Those of all other requests.
    pub of_others: Connections,
}

/// The thread on which the Lease is taken and renewed, whatever the other work of the agent takes. It ends with this value.
pub(super) struct LeaseThread(Option<Runtime>);

impl LeaseThread {
    /// A thread without work.
    pub(super) fn start() -> std::io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        // A second one looks up the name of the API server.
        runtime.worker_threads(1).max_blocking_threads(1).thread_name("lease").enable_all().build().map(Some).map(Self)
    }

    /// Its runtime. A client works where it is made.
    pub(super) fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("it is taken at the end")
    }
}

impl Drop for LeaseThread {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Why the Lease was not renewed.
#[derive(Debug, thiserror::Error)]
enum RenewalError {
    /// Another agent holds it.
    #[error("another agent holds it: {0}")]
    Taken(String),
    /// Its version has fallen.
    #[error("the cluster was restored from a backup")]
    Restored,
    /// The request failed.
    #[error(transparent)]
    Request(#[from] ApiError),
}

/// The manners of a candidate towards an agent that holds the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidacy {
    /// It stands by until the Lease is free.
    Patient,
    /// It fails if the other agent lives. Where there is no namespace for a Lease, or no right to it, it does without.
    Once,
}

impl Leader {
    /// A candidate with an identity that no other agent has.
    pub fn new(
        lease: LeaseApi,
        fence: Fence,
        connections: LeaderConnections,
        identity: String,
        duration: Duration,
    ) -> Self {
        Self { lease, election: Election::new(identity), fence, duration, connections }
    }

    /// Returns when this agent holds the Lease; `false` if it does without.
    ///
    /// # Errors
    /// With [`Candidacy::Once`], when another agent holds the Lease, or the API server cannot be asked.
    pub async fn acquire(&mut self, candidacy: Candidacy) -> anyhow::Result<bool> {
        let mut leases = std::pin::pin!(watch_object(self.lease.api(), LEASE).default_backoff());
        let (mut backoff, mut told) = (RETRY, String::new());
        let mut look_at = Instant::now();
        loop {
            let read = tokio::select! {
                // Always in the same order, so that a simulation can repeat a run.
                biased;
                Some(Ok(lease)) = leases.next() => Ok(lease),
                () = tokio::time::sleep_until(look_at) => self.in_time(self.lease.read()).await,
            };
            let taken = match read {
                Err(error) => Err(error),
                Ok(lease) => match self.election.turn(lease.as_ref().map(state).as_ref(), Instant::now().into_std()) {
                    ElectionTurn::Take => self.in_time(self.write(lease.as_ref())).await,
                    ElectionTurn::Wait(until) => {
                        backoff.reset();
                        let holder = lease.as_ref().map(|lease| state(lease).holder).unwrap_or_default();
                        self.wait_for(&holder, candidacy, &mut told)?;
                        look_at = until.into();
                        continue;
                    }
                },
            };
            match taken {
                Ok(_) => {
                    tracing::info!(identity = self.election.identity(), "this agent holds the Lease");
                    return Ok(true);
                }
                Err(error) if candidacy == Candidacy::Once && error.code() != 409 => return self.without(&error),
                Err(error) => {
                    let message = error.to_string();
                    if message != told {
                        tracing::warn!(
                            error = message,
                            "cannot take the Lease; this agent serves nothing and tries again"
                        );
                        told = message;
                    }
                    look_at = Instant::now() + backoff.next_pause();
                }
            }
        }
    }

    /// Tells of the agent that holds the Lease.
    ///
    /// # Errors
    /// With [`Candidacy::Once`], when that agent lives.
    fn wait_for(&self, holder: &str, candidacy: Candidacy, told: &mut String) -> anyhow::Result<()> {
        if candidacy == Candidacy::Once && self.election.other_lives() {
            bail!(
                "another agent serves this cluster: {holder} holds the Lease {LEASE} in {CONTROLLER_NAMESPACE}. Stop that agent first"
            );
        }
        if holder != told {
            tracing::info!(%holder, "another agent holds the Lease; this one stands by");
            holder.clone_into(told);
        }
        Ok(())
    }

    /// Goes on without a Lease, where the agent of a user has no place for one.
    fn without(&self, error: &ApiError) -> anyhow::Result<bool> {
        match error.code() {
            403 | 404 => {
                tracing::info!(%error, "there is no Lease in this cluster that this agent could hold; it does without");
                self.fence.open();
                Ok(false)
            }
            _ => bail!("cannot ask for the Lease {LEASE} in {CONTROLLER_NAMESPACE}: {error}"),
        }
    }

    /// Renews the Lease until it is lost: until another agent has it, or no renewal came through in time. The fence is closed then.
    pub async fn keep(&self) -> String {
        let (mut held, mut failed, mut unanswered) = (None, false, false);
        let mut newest = 0;
        loop {
            // After a failure there is little time left: the next attempt comes soon.
            tokio::time::sleep(self.duration / if failed { 20 } else { 4 }).await;
            if !self.fence.is_open() {
                return self.lost("no renewal came through in time".to_owned());
            }
            let error = match self.in_time(self.renew(held.as_ref(), newest)).await {
                Ok(lease) => {
                    newest = version(&lease);
                    (held, failed) = (Some(lease), false);
                    // The API server answers on a new connection: the others may be as dead as the old one.
                    if std::mem::take(&mut unanswered) {
                        tracing::warn!("a connection to the API server was dead; all others are opened anew");
                        self.connections.of_others.close();
                    }
                    continue;
                }
                Err(RenewalError::Taken(holder)) => {
                    return self.lost(format!("another agent has taken it: {holder}"));
                }
                // The next process reads all anew.
                Err(RenewalError::Restored) => return self.lost(RenewalError::Restored.to_string()),
                Err(RenewalError::Request(error)) => error,
            };
            // The write may have come through, or another's: the next renewal reads first.
            (held, failed) = (None, true);
            unanswered |= matches!(error, ApiError::Slow(_));
            tracing::warn!(%error, "cannot renew the Lease; trying again");
        }
    }

    /// Renews the Lease once. `held` is what this agent wrote last, if that is known, and `newest` the newest version that it has seen.
    async fn renew(&self, held: Option<&Lease>, newest: u64) -> Result<Lease, RenewalError> {
        let read = match held {
            Some(_) => None,
            None => self.lease.read().await?,
        };
        let before = held.or(read.as_ref());
        if before.is_some_and(|lease| version(lease) < newest) {
            return Err(RenewalError::Restored);
        }
        match before.map(state) {
            Some(lease) if lease.holder != self.election.identity() => Err(RenewalError::Taken(lease.holder)),
            _ => Ok(self.write(before).await?),
        }
    }

    /// A request that gets no answer takes a quarter of the Lease's duration at most, and no longer than the term. The next one opens
    /// a new connection.
    async fn in_time<T, E: From<ApiError>>(&self, request: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let time = self.fence.left().map_or(self.duration / 4, |left| left.min(self.duration / 4));
        tokio::time::timeout(time, request).await.unwrap_or_else(|_| {
            self.connections.of_lease.close();
            Err(ApiError::Slow(time).into())
        })
    }

    /// Ends all writes, and drops those that the network has not carried.
    fn lost(&self, reason: String) -> String {
        self.fence.close();
        self.connections.of_others.close();
        reason
    }

    /// Gives the Lease back, so that the next agent need not wait. Nothing is written after it.
    pub async fn release(&self) {
        self.fence.close();
        let release = async {
            let lease = self.lease.read().await?;
            match lease.filter(|lease| state(lease).holder == self.election.identity()) {
                Some(lease) => self.lease.write(Some(&lease), "", Duration::from_secs(1)).await.map(|_| ()),
                None => Ok(()),
            }
        };
        match tokio::time::timeout(RELEASE, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot give the Lease back; the next agent waits until it has run out")
            }
            Err(_) => tracing::warn!("cannot give the Lease back in time; the next agent waits until it has run out"),
        }
    }

    async fn write(&self, before: Option<&Lease>) -> Result<Lease, ApiError> {
        let (sent, sent_time) = (Instant::now(), SystemTime::now());
        let lease = self.lease.write(before, self.election.identity(), self.duration).await?;
        self.fence.open_for(Term::of_renewal(sent.into_std(), sent_time, self.duration));
        Ok(lease)
    }
}
