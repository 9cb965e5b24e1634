//! Follows one source: polls its ref, reads and compiles new commits, and hands the result to the sync.
//!
//! A poll whose ref did not move is an ls-refs and nothing else. `polling` decides what is done next; this file does it.

mod polling;
mod contents;
mod reader;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{self, Notify, mpsc, oneshot};

use super::credentials::{AgeKeySecret, RemoteOf, RemoteState, follow_keys, follow_remote};
use super::git::{Commit, FailureClass, GitError, Reach, Remote, Want, Watcher, watch};
use super::kubernetes::client::Cluster;
use super::kubernetes::namespaces::{FollowedNamespaces, LiveNamespaces, NamespaceWatch};
use super::places::{Party, SharedPlace, Visit, party};
use super::random::random_number;
use super::repositories::Repositories;
use crate::api::GitSpec;
use crate::compile::CompileOptions;
use crate::compile::kind_scopes::{KindScopes, Scope};
use crate::compile::parse::AgeKeys;
use crate::model::duration::format_duration;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::SyncId;
use crate::model::object::GroupKind;
use crate::model::shared::lock;
use crate::sync::engine::{Event, SourceCommit};

use polling::{Pauses, Polling, PollingAction, PollingEvent};
use reader::Reader;

/// A source and how it is compiled.
#[derive(Clone)]
pub struct Source {
    /// The sync that reads it.
    pub sync: SyncId,
    /// `false` if flags say what it reads.
    pub has_object: bool,
    /// The repository, the login and the Secrets for it.
    pub git: GitSpec,
    /// The addresses at which the repository may be.
    pub reach: Reach,
    /// The Secret with the keys for sealed files; `None` if there is none.
    pub keys: Option<AgeKeySecret>,
    /// Branch, tag or commit.
    pub want: Want,
    /// Directory in the repository; `.` is its root.
    pub dir: String,
    /// Time between two polls.
    pub period: Duration,
    /// Directory for mirrors of remote repositories.
    pub cache: PathBuf,
    /// Settings of the compiler. The kinds of the cluster, its Namespaces and the CRDs of the commit before are filled in here.
    pub settings: CompileOptions,
}

/// A source with all that was read of it: its repository, and its last commit as files and as a declared set. It can be followed
/// again. Clones are the same source.
#[derive(Clone)]
pub struct KeptSource {
    source: Arc<Source>,
    reader: Arc<Mutex<Reader>>,
    changed: Arc<Notify>,
}

impl KeptSource {
    /// Nothing is read yet.
    pub fn new(source: Source, repositories: Arc<Repositories>, defined: DefinedKinds) -> Self {
        let changed = Arc::new(Notify::new());
        let reader = Reader::new(source.clone(), repositories, Arc::clone(&changed), defined);
        Self { source: Arc::new(source), reader: Arc::new(Mutex::new(reader)), changed }
    }
}

/// The kinds that the sync's CRDs define so far. The first commit is compiled as soon as they are known.
pub type DefinedKinds = oneshot::Receiver<BTreeSet<GroupKind>>;

/// The cluster, as far as the result of a compilation follows from it.
#[derive(Clone, Default)]
struct ClusterFacts {
    kinds: KindScopes,
    /// `None` while they are not known.
    namespaces: Option<LiveNamespaces>,
    /// The keys for sealed files.
    keys: AgeKeys,
}

/// The API server, for the sources of all syncs.
#[derive(Clone)]
pub struct SourceCluster {
    /// The client, with the kinds that are served.
    pub cluster: Arc<Cluster>,
    /// The watch on the Namespaces.
    pub namespaces: Arc<NamespaceWatch>,
}

/// One source that is being followed.
struct Follower {
    /// Those who share turns at servers with its sync.
    party: Party,
    reader: Arc<Mutex<Reader>>,
    repositories: Arc<Repositories>,
    server: SourceCluster,
    /// The live Namespaces, while the newest commit has a dynamic NamespaceSelector.
    namespaces: Option<FollowedNamespaces>,
    events: mpsc::Sender<Event>,
    /// Commits that the sync wants to be compiled although they are not the newest.
    restores: mpsc::Receiver<SourceCommit>,
    /// A local repository, or another sync of the same repository, has news.
    changed: Arc<Notify>,
    /// `true` once the server was asked.
    asked: bool,
    /// Tells of commits in a local repository at once.
    watcher: Option<Watcher>,
    /// The repository with the credentials for it.
    remote: sync::watch::Receiver<RemoteState>,
    /// The keys for sealed files; `None` until the Secret with them was read.
    keys: sync::watch::Receiver<Option<AgeKeys>>,
}

/// The receiver of events is gone: the sync has ended.
struct SyncEnded;

/// Follows a source until the receiver of `events` is gone. The first poll asks its server, and its commit is told, also if it was read
/// before.
pub async fn follow(
    KeptSource { source, reader, changed }: KeptSource,
    server: SourceCluster,
    repositories: Arc<Repositories>,
    events: mpsc::Sender<Event>,
    restores: mpsc::Receiver<SourceCommit>,
) {
    let ((told, remote), (told_keys, keys)) = (sync::watch::channel(None), sync::watch::channel(None));
    let (period, client, of_sync) = (source.period, server.cluster.client.clone(), source.sync.clone());
    let work = async move {
        let (mut polling, mut action) = Polling::new(period, random_part());
        let mut follower = Follower {
            party: party(&of_sync),
            reader,
            repositories,
            server,
            namespaces: None,
            events,
            restores,
            changed,
            asked: false,
            watcher: None,
            remote,
            keys,
        };
        while let Ok(event) = follower.perform(action, &polling).await {
            action = polling.step(event, Instant::now());
        }
    };
    let Source { sync, has_object, git, reach, keys, .. } = &*source;
    let of = RemoteOf { sync, has_object: *has_object, git, reach };
    tokio::select! {
        never = follow_remote(client.clone(), of, &told) => match never {},
        never = follow_keys(client, keys.as_ref(), &told_keys) => match never {},
        () = work => {}
    }
}

impl Follower {
    /// Does the next thing. The sync is told of a failure, and which of the pauses follows.
    async fn perform(&mut self, action: PollingAction, polling: &Polling) -> Result<PollingEvent, SyncEnded> {
        let pauses = polling.pauses();
        match action {
            PollingAction::Ask => {
                let failure = match self.remote().await? {
                    Ok(remote) => match self.ask(remote).await? {
                        Ok((commit, local)) => {
                            self.asked = true;
                            if self.watcher.is_none() {
                                self.watcher = local.and_then(|path| self.watch_commits(&path));
                            }
                            return Ok(PollingEvent::Resolved(commit));
                        }
                        Err(error) => with_pause(error.finding(), pauses.failed),
                    },
                    Err(finding) => finding,
                };
                self.send(Event::SourceFailed(failure)).await?;
                Ok(PollingEvent::Failed)
            }
            PollingAction::Compile(commit) => {
                let (event, outcome) = match self.compile(commit).await? {
                    Ok(event) => {
                        let outcome = PollingEvent::Compiled { kinds_missing: lacks_kinds(&event) };
                        (event, outcome)
                    }
                    Err(error) => failed(&error, pauses),
                };
                self.send(event).await?;
                Ok(outcome)
            }
            PollingAction::Restore(commit) => {
                let event = self.restore(commit).await?;
                self.send(event).await?;
                Ok(PollingEvent::Restored)
            }
            PollingAction::Discover => {
                if let Err(error) = self.server.cluster.discover().await {
                    tracing::debug!(%error, "cannot ask for the kinds of the cluster");
                }
                Ok(PollingEvent::Discovered)
            }
            PollingAction::Rest(until) => self.rest(until, polling.heeds_cluster_from(Instant::now())).await,
        }
    }

    async fn compile(&mut self, commit: Commit) -> Result<Result<Event, GitError>, SyncEnded> {
        self.await_defined_kinds().await?;
        self.await_keys().await?;
        loop {
            let facts = self.facts();
            let compiled = self.at_server(move |reader, turn| {
                let compiled = reader.compile(commit, facts, turn)?;
                Ok(compiled.map(|event| (event, reader.uses_namespaces())))
            });
            match compiled.await? {
                Ok(None) => self.await_namespaces().await?,
                Ok(Some((event, uses_namespaces))) => {
                    self.namespaces.take_if(|_| !uses_namespaces);
                    return Ok(Ok(event));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    async fn restore(&mut self, commit: SourceCommit) -> Result<Event, SyncEnded> {
        let nothing = Event::Restored { commit: commit.commit.clone(), declared: None };
        self.await_defined_kinds().await?;
        self.await_keys().await?;
        loop {
            if !matches!(*self.remote.borrow(), Some(Ok(_))) {
                return Ok(nothing);
            }
            let (facts, commit) = (self.facts(), commit.clone());
            let thread = self.repositories.thread(&self.party).await;
            match self.on(thread, move |reader| Ok(reader.restore(commit, facts))).await {
                Ok(None) => self.await_namespaces().await?,
                Ok(Some(event)) => return Ok(event),
                Err(_) => return Ok(nothing),
            }
        }
    }

    /// Waits for the record of the sync, before a thread is taken.
    async fn await_defined_kinds(&self) -> Result<(), SyncEnded> {
        let Some(defined) = lock(&self.reader).defined() else { return Ok(()) };
        tokio::select! {
            _ = defined => Ok(()),
            () = self.events.closed() => Err(SyncEnded),
        }
    }

    fn facts(&self) -> ClusterFacts {
        let namespaces = self.namespaces.as_ref().and_then(|followed| followed.state.borrow().clone());
        let keys = self.keys.borrow().clone().unwrap_or_default();
        ClusterFacts { kinds: scopes(&self.server.cluster), namespaces, keys }
    }

    /// Waits until the keys for sealed files are known.
    async fn await_keys(&mut self) -> Result<(), SyncEnded> {
        tokio::select! {
            known = self.keys.wait_for(Option::is_some) => known.map(drop).map_err(|_| SyncEnded),
            () = self.events.closed() => Err(SyncEnded),
        }
    }

    /// Follows the live Namespaces from now on, and waits until they are known.
    async fn await_namespaces(&mut self) -> Result<(), SyncEnded> {
        let followed = self.namespaces.get_or_insert_with(|| self.server.namespaces.follow());
        tokio::select! {
            known = followed.state.wait_for(Option::is_some) => known.map(drop).map_err(|_| SyncEnded),
            () = self.events.closed() => Err(SyncEnded),
        }
    }

    /// The repository with the credentials for it, or the reason why there are none. Waits until the Secrets were read.
    async fn remote(&mut self) -> Result<Result<Remote, Finding>, SyncEnded> {
        tokio::select! {
            known = self.remote.wait_for(Option::is_some) => known.map(drop).map_err(|_| SyncEnded)?,
            () = self.events.closed() => return Err(SyncEnded),
        }
        self.remote.borrow_and_update().clone().ok_or(SyncEnded)
    }

    /// The commit that the source is at, and the path of a local repository.
    async fn ask(&self, remote: Remote) -> Result<Result<(Commit, Option<PathBuf>), GitError>, SyncEnded> {
        let first = !self.asked;
        self.at_server(move |reader, turn| asked(reader, (remote, first), turn)).await
    }

    /// Waits. Live Namespaces and other keys are heeded from then on, if it is given.
    async fn rest(&mut self, until: Instant, heeded_from: Option<Instant>) -> Result<PollingEvent, SyncEnded> {
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => Ok(PollingEvent::Woken),
            () = self.changed.notified() => Ok(PollingEvent::Woken),
            Ok(()) = self.remote.changed() => Ok(PollingEvent::Woken),
            Some(commit) = self.restores.recv() => Ok(PollingEvent::RestoreWanted(commit)),
            changed = another_result(&self.reader, &mut self.namespaces, heeded_from) => Ok(changed),
            changed = other_keys(&self.reader, &mut self.keys, heeded_from) => Ok(changed),
            () = self.events.closed() => Err(SyncEnded),
        }
    }

    async fn send(&self, event: Event) -> Result<(), SyncEnded> {
        self.events.send(event).await.map_err(|_| SyncEnded)
    }

    /// Does `work` when it is its turn at the git server. `work` ends the turn, also when the sync ends before.
    async fn at_server<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reader, Option<Visit>) -> Result<T, GitError> + Send + 'static,
    ) -> Result<Result<T, GitError>, SyncEnded> {
        let remote = self.remote.borrow().clone().and_then(Result::ok).unwrap_or_default();
        let turn = tokio::select! {
            turn = self.repositories.turn(&self.party, &remote) => turn,
            () = self.events.closed() => return Err(SyncEnded),
        };
        Ok(match turn {
            Ok((thread, visit)) => self.on(thread, move |reader| work(reader, Some(visit))).await,
            Err(error) => Err(error),
        })
    }

    /// Does `work` on a thread of its own. A panic in it is a failure of the source, whose last good commit stays in force.
    async fn on<T: Send + 'static>(
        &self,
        thread: SharedPlace,
        work: impl FnOnce(&mut Reader) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let (reader, span) = (Arc::clone(&self.reader), tracing::Span::current());
        let task = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            span.in_scope(|| work(&mut lock(&reader)))
        });
        let broke_down = |_| {
            let message = "reading the source broke down; the log of the agent says where";
            Err(GitError::new(FailureClass::Broken, message).hint("Please report what the log says."))
        };
        task.await.unwrap_or_else(broke_down)
    }

    fn watch_commits(&self, path: &Path) -> Option<Watcher> {
        let changed = Arc::clone(&self.changed);
        watch(path, move || changed.notify_one())
            .inspect_err(|error| tracing::warn!(%error, "local commits are seen at the next poll only"))
            .ok()
    }
}

/// Waits until another result of the newest commit, or of an older one that is in force, follows from the live Namespaces.
async fn another_result(
    reader: &Mutex<Reader>,
    namespaces: &mut Option<FollowedNamespaces>,
    heeded_from: Option<Instant>,
) -> PollingEvent {
    let Some(followed) = namespaces else { return std::future::pending().await };
    if let Some(from) = heeded_from {
        tokio::time::sleep_until(from.into()).await;
    }
    while followed.state.changed().await.is_ok() {
        // When the newest commit is compiled again, the sync asks for the older one again too.
        if let Some(event) = lock(reader).affected_by(followed.state.borrow_and_update().as_ref()) {
            return event;
        }
    }
    // The watch broke down: the next compilation follows them anew.
    *namespaces = None;
    PollingEvent::FactsChanged
}

/// Waits until other keys can open what the newest commit, or an older one that is in force, has sealed.
async fn other_keys(
    reader: &Mutex<Reader>,
    keys: &mut sync::watch::Receiver<Option<AgeKeys>>,
    heeded_from: Option<Instant>,
) -> PollingEvent {
    if let Some(from) = heeded_from {
        tokio::time::sleep_until(from.into()).await;
    }
    while keys.changed().await.is_ok() {
        if lock(reader).uses_keys() {
            return PollingEvent::FactsChanged;
        }
    }
    std::future::pending().await
}

/// The commit that a source is at, and the path of a local repository.
fn asked(
    reader: &mut Reader,
    (remote, first): (Remote, bool),
    turn: Option<Visit>,
) -> Result<(Commit, Option<PathBuf>), GitError> {
    let commit = reader.resolve(remote, first);
    drop(turn);
    reader.sweep();
    commit
}

/// A random number from 0 to 1.
fn random_part() -> f64 {
    let random = random_number() >> 32;
    f64::from(u32::try_from(random).unwrap_or(0)) / f64::from(u32::MAX)
}

/// The finding about a source that failed, with the time at which it is tried again.
fn with_pause(mut finding: Finding, pause: Duration) -> Finding {
    let again = format!("It is tried again within {}.", format_duration(Duration::from_secs(pause.as_secs().max(1))));
    finding.hint = Some(match finding.hint {
        Some(hint) => format!("{hint} {again}"),
        None => again,
    });
    finding
}

/// The event and the outcome of a commit that could not be read. A server that does not send it is asked again less often;
/// where the commit is to blame, the next one is waited for.
fn failed(error: &GitError, pauses: Pauses) -> (Event, PollingEvent) {
    let (pause, outcome) = match error.class {
        FailureClass::Unreachable => (pauses.failed, PollingEvent::Failed),
        _ => (pauses.unreadable, PollingEvent::Unreadable),
    };
    (Event::SourceFailed(with_pause(error.finding(), pause)), outcome)
}

/// `true` if the cluster does not have the kinds of some objects.
fn lacks_kinds(compiled: &Event) -> bool {
    let Event::Compiled { findings, .. } = compiled else { return false };
    findings.iter().any(|finding| finding.code == Code::UnknownKind)
}

fn scopes(cluster: &Cluster) -> KindScopes {
    let mut scopes = KindScopes::default();
    for (kind, served) in cluster.kinds() {
        let scope = if served.namespaced { Scope::Namespaced } else { Scope::Cluster };
        scopes.insert(&kind.group, &kind.kind, scope);
    }
    scopes
}
