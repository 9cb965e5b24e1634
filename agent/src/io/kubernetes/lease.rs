//! The Lease of the agent, and the fence that stops every write when the agent does not hold it.

use std::future::poll_fn;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use http::{Method, Request};
use hyper::rt::Executor;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::client::{Body, ClientBuilder};
use kube::{Api, Client, Config};
use tower::BoxError;
use tower::filter::FilterLayer;

use super::client::ApiError;
use super::connections::Connections;
use crate::model::metadata::CONTROLLER_NAMESPACE;
use crate::sync::election::LeaseState;

/// Name of the Lease, in the namespace of syncs.
pub const LEASE: &str = "nomos-agent";

/// The time until which an agent may write, on two clocks: one does not go back when the other is set, and one goes on while the
/// machine sleeps or is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    until: Instant,
    until_time: SystemTime,
}

impl Term {
    /// The term that a renewal gives. `sent` and `sent_time` are from *before* the renewal was sent: the API server may have
    /// written it at any moment after that. A fifth of the duration is left for requests in flight.
    pub fn of_renewal(sent: Instant, sent_time: SystemTime, duration: Duration) -> Self {
        let may_write = duration * 4 / 5;
        Self { until: sent + may_write, until_time: sent_time + may_write }
    }

    /// `true` as long as the agent may write.
    pub fn lasts(&self, now: Instant, time: SystemTime) -> bool {
        now < self.until && time < self.until_time
    }
}

/// Decides whether a client may write now. Clones share the decision.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<RwLock<FenceState>>);

#[derive(Clone, Copy, Debug, Default)]
enum FenceState {
    /// No agent has the right to write, as far as this one knows.
    #[default]
    Closed,
    /// This agent may write in a term.
    Within(Term),
    /// There is no Lease in this cluster.
    Open,
    /// This agent may write no more.
    Over,
}

impl Fence {
    /// Lets writes pass for a term.
    pub fn open_for(&self, term: Term) {
        self.set(FenceState::Within(term));
    }

    /// Lets every write pass.
    pub fn open(&self) {
        self.set(FenceState::Open);
    }

    /// Lets no write pass, nor what waits in a connection.
    pub fn close(&self) {
        self.set(FenceState::Over);
    }

    fn set(&self, state: FenceState) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// `true` if a write may be sent now.
    pub fn is_open(&self) -> bool {
        match *self.0.read().unwrap_or_else(PoisonError::into_inner) {
            FenceState::Closed | FenceState::Over => false,
            FenceState::Within(term) => term.lasts(tokio::time::Instant::now().into_std(), SystemTime::now()),
            FenceState::Open => true,
        }
    }

    /// `true` once the agent may write no more: its term has run out, or it has given the Lease back.
    fn is_over(&self) -> bool {
        match *self.0.read().unwrap_or_else(PoisonError::into_inner) {
            FenceState::Within(term) => !term.lasts(tokio::time::Instant::now().into_std(), SystemTime::now()),
            FenceState::Closed | FenceState::Open => false,
            FenceState::Over => true,
        }
    }

    /// A client on these connections whose writes are fenced: one that may not pass fails before anything is sent. `count` is told
    /// the verb of each request that is sent.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn client(
        &self,
        config: Config,
        connections: Connections,
        count: impl Fn(&str) + Clone + Send + 'static,
    ) -> kube::Result<Client> {
        let fence = self.clone();
        let check = move |request: Request<Body>| match fence.permits(request.method()) || asks_for_token(&request) {
            true => {
                count(verb(&request));
                Ok(request)
            }
            false => Err(BoxError::from("this agent does not hold the Lease of the cluster, so it writes nothing")),
        };
        let connections = FencedConnections { fence: self.clone(), connections };
        Ok(ClientBuilder::try_from((config, connections))?.with_layer(&FilterLayer::new(check)).build())
    }

    fn permits(&self, method: &Method) -> bool {
        method == Method::GET || self.is_open()
    }
}

/// Drives connections until the agent may write no more. A process that was paused past its term has requests in them that had
/// passed the fence before: they are not sent when it wakes.
#[derive(Clone)]
struct FencedConnections {
    fence: Fence,
    connections: Connections,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for FencedConnections {
    fn execute(&self, connection: F) {
        let (fence, mut connection) = (self.fence.clone(), Box::pin(connection));
        self.connections.execute(poll_fn(move |context| match fence.is_over() {
            true => Poll::Ready(()),
            false => connection.as_mut().poll(context),
        }));
    }
}

/// `true` for a request for a token of an account, which changes no object. An agent that stands by needs it to read a source.
fn asks_for_token(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    request.method() == Method::POST && path.contains("/serviceaccounts/") && path.ends_with("/token")
}

/// The verb of a request: its method in small letters, or `watch`.
fn verb(request: &Request<Body>) -> &'static str {
    let watches = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
    match *request.method() {
        Method::GET if watches => "watch",
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// The Lease in a cluster.
#[derive(Clone)]
pub struct LeaseApi(Api<Lease>);

impl LeaseApi {
    /// The Lease, through a client of its own, so that renewals do not wait for other requests.
    pub fn new(client: Client) -> Self {
        Self(Api::namespaced(client, CONTROLLER_NAMESPACE))
    }

    /// For a watch on it.
    pub fn api(&self) -> Api<Lease> {
        self.0.clone()
    }

    /// The Lease as it is now; `None` if there is none.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn read(&self) -> Result<Option<Lease>, ApiError> {
        Ok(self.0.get_opt(LEASE).await?)
    }

    /// Writes the Lease for `holder` over what was read. It fails with a conflict if another agent was faster.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn write(&self, before: Option<&Lease>, holder: &str, duration: Duration) -> Result<Lease, ApiError> {
        let lease = written(before, holder, duration, Timestamp::now());
        Ok(match before {
            None => self.0.create(&PostParams::default(), &lease).await?,
            Some(_) => self.0.replace(LEASE, &PostParams::default(), &lease).await?,
        })
    }
}

/// The Lease with another holder or a later renewal.
fn written(before: Option<&Lease>, holder: &str, duration: Duration, now: Timestamp) -> Lease {
    let mut lease = before.cloned().unwrap_or_default();
    lease.metadata.name = Some(LEASE.to_owned());
    lease.metadata.managed_fields = None;
    let spec = lease.spec.get_or_insert_default();
    // To give it back is no transition.
    if !holder.is_empty() && spec.holder_identity.as_deref() != Some(holder) {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
    }
    spec.holder_identity = Some(holder.to_owned());
    spec.lease_duration_seconds = i32::try_from(duration.as_secs().max(1)).ok();
    spec.renew_time = Some(MicroTime(now));
    lease
}

/// The part of a Lease that the election needs.
pub fn state(lease: &Lease) -> LeaseState {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    LeaseState {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        // A Lease that was written by hand must not lock every agent out.
        duration: Duration::from_secs(seconds.unwrap_or(1).clamp(1, 300)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_lets_reads_pass_always_and_writes_only_in_a_term() {
        let fence = Fence::default();
        assert!(fence.permits(&Method::GET));
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(!fence.permits(&method), "{method}");
        }
        let hour = Duration::from_secs(3600);
        fence.open_for(Term::of_renewal(Instant::now(), SystemTime::now(), hour));
        assert!(fence.permits(&Method::PATCH));
        fence.open_for(Term::of_renewal(Instant::now() - hour, SystemTime::now(), hour));
        assert!(!fence.permits(&Method::PATCH));
        fence.open();
        assert!(fence.permits(&Method::PATCH));
        fence.close();
        assert!(!fence.permits(&Method::PATCH));
    }

    #[tokio::test]
    async fn a_connection_ends_with_the_term_and_sends_no_more() {
        let hour = Duration::from_secs(3600);
        let (now, time) = (Instant::now(), SystemTime::now());
        let lasts = |fence: &Fence| fence.open_for(Term::of_renewal(now, time, hour));
        let ran_out = |fence: &Fence| fence.open_for(Term::of_renewal(now - hour, time, hour));
        for (end, sends) in [(&lasts as &dyn Fn(&Fence), true), (&ran_out, false), (&Fence::close, false)] {
            let fence = Fence::default();
            let connections = FencedConnections { fence: fence.clone(), connections: Connections::default() };
            let (sender, sent) = tokio::sync::oneshot::channel();
            connections.execute(async move { _ = sender.send(()) });
            end(&fence);
            assert_eq!(sent.await.is_ok(), sends);
        }
    }

    #[test]
    fn a_request_for_a_token_is_no_write() {
        let request = |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
            asks_for_token(&request)
        };
        assert!(request(Method::POST, "/api/v1/namespaces/a/serviceaccounts/b/token"));
        assert!(!request(Method::POST, "/api/v1/namespaces/a/serviceaccounts"));
        assert!(!request(Method::PUT, "/api/v1/namespaces/a/serviceaccounts/b/token"));
        assert!(!request(Method::POST, "/api/v1/namespaces/a/configmaps/token"));
    }

    #[test]
    fn a_new_holder_is_a_transition_and_a_renewal_is_not() {
        let (first, later) = (Timestamp::from_second(10).expect("a time"), Timestamp::from_second(20).expect("a time"));
        let seconds = Duration::from_secs(4);
        let taken = written(None, "a", seconds, first);
        let renewed = written(Some(&taken), "a", seconds, later);
        let passed = written(Some(&renewed), "b", seconds, later);
        let of = |lease: &Lease| {
            let spec = lease.spec.clone().expect("a spec");
            (spec.acquire_time, spec.renew_time, spec.lease_transitions)
        };
        assert_eq!(of(&taken), (Some(MicroTime(first)), Some(MicroTime(first)), Some(1)));
        assert_eq!(of(&renewed), (Some(MicroTime(first)), Some(MicroTime(later)), Some(1)));
        assert_eq!(of(&passed), (Some(MicroTime(later)), Some(MicroTime(later)), Some(2)));
        assert_eq!(state(&passed).holder, "b");
    }

    #[test]
    fn a_term_ends_before_another_may_take_the_lease_on_whichever_clock_runs_faster() {
        let (sent, time) = (Instant::now(), SystemTime::now());
        let term = Term::of_renewal(sent, time, Duration::from_secs(10));
        let at = |seconds, time_seconds| {
            term.lasts(sent + Duration::from_secs(seconds), time + Duration::from_secs(time_seconds))
        };
        assert!(at(7, 7));
        assert!(!at(8, 8));
        assert!(!at(1, 100), "the machine was paused");
        assert!(!at(100, 0), "the clock was set back");
    }
}
