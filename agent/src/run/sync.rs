//! One sync: its engine, its source, its reports.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::start::{Known, start};
use super::{GRACE, LAST_WORD, Options, Shared};
use crate::api::{GitSpec, GitStatus};
use crate::compile::kind_scopes::KindScopes;
use crate::compile::{CompileOptions, DynamicSelectors, NamespaceStrategy, RepoScope, SourceFormat};
use crate::io::git::{Remote, Want, shown};
use crate::io::kubernetes::apply;
use crate::io::kubernetes::audit::audit;
use crate::io::kubernetes::client::Cluster;
use crate::io::report::{Message, SyncObject};
use crate::io::serve::{Operation, OperationLabels, Status, SyncLabels};
use crate::io::source::{Source, follow};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::SyncId;
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::engine::{Command, Event, Notice, Outcome, Report, Settings, State};
use crate::sync::status::About;

/// Requests in flight for one sync: more only make the API server slower.
const IN_FLIGHT: usize = 20;
/// Events that may wait for the engine.
const BACKLOG: usize = 1024;

/// What a sync is made of.
#[derive(Clone)]
pub(super) struct SyncTask {
    pub(super) sync: SyncId,
    pub(super) git: GitSpec,
    pub(super) format: SourceFormat,
    pub(super) period: Duration,
    pub(super) object: Option<SyncObject>,
    pub(super) generation: i64,
    pub(super) last_in_force: Option<String>,
    pub(super) how_to_approve: String,
    pub(super) resource_status: bool,
    pub(super) implicit_namespaces: bool,
    /// Time that an object may take to become ready before the objects that depend on it are skipped.
    pub(super) reconcile_timeout: Duration,
    /// Time that one request for an object may take.
    pub(super) api_server_timeout: Duration,
}

/// What a running sync is told, as it is now: so nothing of it is lost while the sync starts or waits.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Orders {
    /// The commit whose large prune is approved.
    pub(super) approved: Option<String>,
    /// The spec of this generation cannot be acted on, and why: go on with the one before, and say so.
    pub(super) refused: Option<(Finding, i64)>,
    /// Finish what is in flight, write the status, end.
    pub(super) stop: bool,
}

/// How a sync ended.
pub(super) enum Ended {
    /// The newest commit is applied.
    Synced,
    /// It is not.
    NotSynced,
    /// It was told to.
    Stopped,
}

/// Everything a command needs.
struct Performer {
    shared: Arc<Shared>,
    /// The API server with the time limit of this sync.
    cluster: Arc<Cluster>,
    sync: SyncId,
    labels: SyncLabels,
    git_context: Arc<str>,
    events: mpsc::Sender<Event>,
    reports: mpsc::UnboundedSender<Message>,
    restore: mpsc::Sender<String>,
}

/// Runs one sync until it is told to stop, or with `once` until there is nothing left to do.
pub(super) async fn run(
    shared: Arc<Shared>,
    task: SyncTask,
    orders: &mut watch::Receiver<Orders>,
) -> anyhow::Result<Ended> {
    let git = GitStatus { repo: shown(&task.git.repo), ..task.git.status() };
    let about = About { git, generation: task.generation, reconciler: "nomos-agent".to_owned(), refused: None };
    let (events, mut inbox) = mpsc::channel(BACKLOG);
    let (restore, restores) = mpsc::channel(1);
    let source = source(&shared, &task.sync, &task.git, task.format, task.period, task.implicit_namespaces);
    let (cluster, repositories) = (Arc::clone(&shared.cluster), Arc::clone(&shared.repositories));
    // Whatever is in here ends with this function.
    let mut tasks = JoinSet::new();
    let (defined, defined_kinds) = oneshot::channel();
    tasks.spawn(follow(source, cluster, repositories, events.clone(), restores, defined_kinds));
    let started = tokio::select! {
        started = start(&shared, &task.sync, about, task.object, task.resource_status, defined) => started,
        // Who gives no orders any more wants nothing any more.
        _ = orders.wait_for(|orders| orders.stop) => return Ok(Ended::Stopped),
    };
    let (reporter, Known { kinds, recorded }) = started.context("cannot read the inventory")?;
    let (reports, messages) = mpsc::unbounded_channel();
    tasks.spawn(reporter.run(messages, events.clone()));
    let followed = Orders { approved: orders.borrow().approved.clone(), ..Orders::default() };
    let mut state = State::new(Settings {
        sync: task.sync.clone(),
        in_flight: IN_FLIGHT,
        approved: followed.approved.clone(),
        how_to_approve: task.how_to_approve,
        kinds,
        recorded,
        last_in_force: task.last_in_force,
        reconcile_timeout: task.reconcile_timeout,
    });
    let mut performer = Performer {
        git_context: git_context(&task.git).into(),
        cluster: Arc::new(shared.cluster.with_time_limit(task.api_server_timeout)),
        shared: Arc::clone(&shared),
        labels: SyncLabels::of(&task.sync),
        sync: task.sync,
        events,
        reports,
        restore,
    };
    orders.mark_changed();
    let mut stop_at = None;
    let ended = tokio::select! {
        ended = drive(&mut state, &mut performer, &mut inbox, followed, orders, &mut stop_at) => ended,
        Some(ended) = tasks.join_next() => {
            ended.context("reading the source or writing the status broke down")?;
            anyhow::bail!("reading the source or writing the status ended too early");
        }
    };
    let (done, told) = oneshot::channel();
    let _ = performer.reports.send(Message::Last(Box::new(state.last_report()), done));
    let told_at = stop_at.map_or_else(|| tokio::time::Instant::now() + Duration::from_secs(15), |at| at + LAST_WORD);
    let _ = tokio::time::timeout_at(told_at, told).await;
    Ok(ended)
}

/// Steps with one event after the other and carries out what follows, until the sync ends.
async fn drive(
    state: &mut State,
    performer: &mut Performer,
    inbox: &mut mpsc::Receiver<Event>,
    mut followed: Orders,
    orders: &mut watch::Receiver<Orders>,
    stop_at: &mut Option<tokio::time::Instant>,
) -> Ended {
    let Options { once, audit_period, .. } = performer.shared.options;
    let mut audits = tokio::time::interval_at(tokio::time::Instant::now() + audit_period, audit_period);
    loop {
        let wake = state.next_wake().map(tokio::time::Instant::from_std);
        let event = tokio::select! {
            Some(event) = inbox.recv() => event,
            () = sleep_until(wake) => Event::Woken,
            () = sleep_until(*stop_at) => break Ended::Stopped,
            _ = audits.tick() => Event::AuditDue,
            Ok(()) = orders.changed() => {
                let before = std::mem::replace(&mut followed, orders.borrow_and_update().clone());
                if followed.stop && !before.stop {
                    state.stop();
                    *stop_at = Some(tokio::time::Instant::now() + GRACE);
                }
                if let Some((finding, generation)) = followed.refused.clone().filter(|_| followed.refused != before.refused) {
                    performer.tell(Message::Refused(Box::new(finding), generation));
                }
                match followed.approved.clone().filter(|_| followed.approved != before.approved) {
                    Some(commit) => Event::Approved(commit),
                    None => Event::Woken,
                }
            }
        };
        for command in state.step(event, Instant::now()) {
            performer.perform(command);
        }
        if stop_at.is_some() && !state.is_busy() {
            break Ended::Stopped;
        }
        if once && state.is_at_rest() {
            break if state.is_synced() { Ended::Synced } else { Ended::NotSynced };
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn source(
    shared: &Shared,
    sync: &SyncId,
    git: &GitSpec,
    format: SourceFormat,
    period: Duration,
    implicit_namespaces: bool,
) -> Source {
    let want = match git.revision.as_str() {
        "" | "HEAD" => Want::Branch(git.reference().to_owned()),
        revision => Want::Revision(revision.to_owned()),
    };
    let dynamic =
        Finding::new(Code::InvalidSelector, "NamespaceSelectors with mode dynamic are not supported by the agent")
            .hint("use mode static");
    Source {
        remote: Remote { url: git.repo.clone(), ..Remote::default() },
        want,
        dir: git.directory(),
        period,
        cache: shared.options.cache.clone(),
        settings: CompileOptions {
            format,
            scope: RepoScope::Root,
            cluster_name: shared.options.cluster_name.clone(),
            sync: Some(sync.clone()),
            source_dir: git.directory(),
            namespaces: if implicit_namespaces { NamespaceStrategy::Implicit } else { NamespaceStrategy::Explicit },
            kinds: Ok(KindScopes::default()),
            report_unknown_kinds: true,
            previous_crds: BTreeSet::new(),
            max_objects: None,
            dynamic: DynamicSelectors::Refused(dynamic),
        },
    }
}

/// Value of the annotation `git-context`.
fn git_context(git: &GitSpec) -> String {
    let mut context = serde_json::Map::new();
    context.insert("repo".to_owned(), shown(&git.repo).into());
    for (key, value) in [("branch", &git.branch), ("rev", &git.revision)] {
        if !value.is_empty() {
            context.insert(key.to_owned(), value.as_str().into());
        }
    }
    serde_json::Value::Object(context).to_string()
}

impl Performer {
    fn perform(&mut self, command: Command) {
        match command {
            Command::Watch(kinds) => {
                for kind in kinds {
                    self.shared.watches.subscribe(kind, &self.events);
                }
            }
            Command::Record(ids) => self.tell(Message::Record(ids)),
            Command::Report(report) => self.report(report),
            Command::Notice(notice) => self.notice(notice),
            Command::Restore(commit) => {
                // The source has ended when nobody takes it, and so will this sync.
                let _ = self.restore.try_send(commit);
            }
            Command::Apply(declared, commit, items) => {
                let (cluster, sync, context) =
                    (Arc::clone(&self.cluster), self.sync.clone(), Arc::clone(&self.git_context));
                self.spawn(Operation::apply, declared.id.clone(), async move {
                    let stamp = apply::Stamp { sync: &sync, token: &commit, git_context: &context };
                    apply::apply(&cluster, &stamp, &declared, items).await
                });
            }
            Command::Annotate(declared, commit) => {
                let (cluster, sync, context) =
                    (Arc::clone(&self.cluster), self.sync.clone(), Arc::clone(&self.git_context));
                self.spawn(Operation::annotate, declared.id.clone(), async move {
                    let stamp = apply::Stamp { sync: &sync, token: &commit, git_context: &context };
                    apply::annotate(&cluster, &stamp, &declared).await
                });
            }
            Command::Read(id) => {
                let cluster = Arc::clone(&self.cluster);
                self.spawn(Operation::read, id.clone(), async move { apply::read(&cluster, &id).await });
            }
            Command::Audit(kind) => self.audit(kind),
            Command::Delete(id, uid, version) => {
                let cluster = Arc::clone(&self.cluster);
                self.spawn(
                    Operation::delete,
                    id.clone(),
                    async move { apply::delete(&cluster, &id, &uid, version).await },
                );
            }
            Command::Abandon(id) => {
                let (cluster, sync) = (Arc::clone(&self.cluster), self.sync.clone());
                self.spawn(Operation::unmanage, id.clone(), async move { apply::abandon(&cluster, &sync, &id).await });
            }
        }
    }

    fn report(&self, report: Box<Report>) {
        let errors = report.source.findings.len() + report.sync.findings.len();
        let metrics = &self.shared.metrics;
        metrics.errors.get_or_create(&self.labels).set(i64::try_from(errors).unwrap_or(i64::MAX));
        if report.synced {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let now = now.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
            metrics.synced.get_or_create(&self.labels).set(now);
        }
        self.tell(Message::Report(report));
    }

    fn audit(&self, kind: GroupKind) {
        let (cluster, events) = (Arc::clone(&self.cluster), self.events.clone());
        let part_of = self.sync.part_of();
        tokio::spawn(async move {
            if let Err(error) = audit(&cluster, &kind, &part_of, &events).await {
                tracing::warn!(%kind, %error, "cannot compare whole objects");
            }
            // A sync that has ended needs no word.
            let _ = events.send(Event::AuditEnded(kind)).await;
        });
    }

    fn spawn(&self, operation: Operation, id: ObjectId, work: impl Future<Output = Outcome> + Send + 'static) {
        let (events, metrics) = (self.events.clone(), Arc::clone(&self.shared.metrics));
        tokio::spawn(async move {
            let start = Instant::now();
            let outcome = work.await;
            metrics.seconds.observe(start.elapsed().as_secs_f64());
            let status = if matches!(outcome, Outcome::Failed(_)) { Status::error } else { Status::success };
            metrics.operations.get_or_create(&OperationLabels { operation, status }).inc();
            // A sync that has ended needs no word.
            let _ = events.send(Event::Finished(id, outcome)).await;
        });
    }

    fn notice(&self, notice: Notice) {
        let metrics = &self.shared.metrics;
        match &notice {
            Notice::Repaired(_) => {
                metrics.repairs.get_or_create(&self.labels).inc();
            }
            Notice::Syncing { objects, .. } => {
                let objects = i64::try_from(*objects).unwrap_or(i64::MAX);
                metrics.declared.get_or_create(&self.labels).set(objects);
            }
            _ => {}
        }
        self.tell(Message::Notice(notice));
    }

    fn tell(&self, message: Message) {
        // The reporter ends only after the sync.
        let _ = self.reports.send(message);
    }
}
