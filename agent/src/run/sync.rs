//! One sync: the task that feeds its engine with events, and the tasks of its source and its reports.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant as Deadline;
use tracing::{Instrument as _, Level};

use super::commands::CommandRunner;
use super::start::{RecordedInventory, start};
use super::{AgentContext, GRACE, LAST_WORD};
use crate::api::GitSpec;
use crate::compile::kind_scopes::KindScopes;
use crate::compile::{CompileOptions, DynamicSelectors, NamespaceStrategy, RepoScope, SourceFormat};
use crate::io::git::{Remote, Want};
use crate::io::reports::{Reporter, SyncObject, now};
use crate::io::serve::{DumpRequests, SyncLabels};
use crate::io::source::{Source, follow};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::SyncId;
use crate::sync::engine::{Event, Settings, State};
use crate::sync::inventory::InventoryRecord;
use crate::sync::reporting::{ReportMessage, Reporting};
use crate::sync::status::About;

/// Requests in flight for one sync: more only make the API server slower.
const IN_FLIGHT: usize = 20;
/// Events that may wait for the engine.
const BACKLOG: usize = 1024;
/// Whole objects that may wait for the engine.
const AUDIT_BACKLOG: usize = 4;
/// The longest time for the last report of a sync that ends by itself.
const LAST_REPORT: Duration = Duration::from_secs(15);

/// The facts from which a sync is started.
#[derive(Clone)]
pub(super) struct SyncTask {
    pub(super) sync: SyncId,
    pub(super) git: GitSpec,
    pub(super) format: SourceFormat,
    /// Time between two polls of the repository.
    pub(super) period: Duration,
    /// The sync object; `None` where flags give the source.
    pub(super) object: Option<SyncObject>,
    /// The generation of the spec; 0 without an object.
    pub(super) generation: i64,
    /// The commit that was in force when an earlier run ended.
    pub(super) last_in_force: Option<String>,
    /// A command line that approves held deletions, in which [`APPROVAL`](crate::sync::plan::guard::APPROVAL) stands for the
    /// approval.
    pub(super) how_to_approve: String,
    /// `true` if the status of each object is written to the ResourceGroups.
    pub(super) resource_status: bool,
    /// `true` if Namespaces that are only referred to are created.
    pub(super) implicit_namespaces: bool,
    /// Time that an object waits for another one to become ready before this is reported as an error.
    pub(super) reconcile_timeout: Duration,
    /// Time that one request about an object may take.
    pub(super) api_server_timeout: Duration,
}

/// The instructions to a running sync. The newest ones are kept until the sync reads them, so none is lost while it starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Instructions {
    /// The approval of held deletions: `<commit>.<digest>`.
    pub(super) approval: Option<String>,
    /// The error of a newer spec, and its generation: the sync goes on with the spec before and reports the error.
    pub(super) refused: Option<(Finding, i64)>,
    /// Finish what is in flight, write the status, end.
    pub(super) stop: bool,
}

/// The reason why a sync ended.
pub(super) enum ExitReason {
    /// The newest commit is applied.
    Synced,
    /// The newest commit cannot be applied.
    NotSynced,
    /// The sync was told to stop.
    Stopped,
}

/// The span of everything that the tasks of a sync do. Its field `sync` is in each of their lines of the log.
pub(super) fn span(sync: &SyncId) -> tracing::Span {
    // At the highest level, so that no filter leaves the field out of a line that it lets through.
    tracing::error_span!("sync", %sync)
}

/// Runs one sync until it is told to stop, or with `once` until there is nothing left to do. To be called in [`span`].
pub(super) async fn run(
    context: Arc<AgentContext>,
    task: SyncTask,
    instructions: &mut watch::Receiver<Instructions>,
) -> anyhow::Result<ExitReason> {
    let (_shown, dumps) = context.syncs.register(&task.sync);
    let (events, inbox) = mpsc::channel(BACKLOG);
    let (restores, wanted) = mpsc::channel(1);
    let (defined, defined_kinds) = oneshot::channel();
    let (cluster, repositories) = (Arc::clone(&context.cluster), Arc::clone(&context.repositories));
    // These tasks end with this function.
    let mut tasks = JoinSet::new();
    let follower = follow(source(&context, &task), cluster, repositories, events.clone(), wanted, defined_kinds);
    tasks.spawn(follower.in_current_span());
    let started = tokio::select! {
        started = start(&context, &task.sync, defined) => started,
        // A closed channel is a stop too.
        _ = instructions.wait_for(|instructions| instructions.stop) => return Ok(ExitReason::Stopped),
    };
    let inventory = started.context("cannot read the inventory")?;
    let (audited, audits) = mpsc::channel(AUDIT_BACKLOG);
    let (reports, messages) = mpsc::unbounded_channel();
    let runner = CommandRunner {
        git_context: git_context(&task.git).into(),
        labels: SyncLabels::of(&task.sync),
        sync: task.sync.clone(),
        events: events.clone(),
        audited,
        subscription: context.watches.subscribe(&task.sync.part_of(), events.clone()),
        reports,
        restores,
        cluster: Arc::new(context.cluster.with_time_limit(task.api_server_timeout)),
        context,
    };
    let RecordedInventory { groups, kinds, objects } = inventory;
    let recent_prunes = groups.as_ref().map(|groups| groups.recent_prunes(&now())).unwrap_or_default();
    let reporter = Reporter::new(Arc::clone(&runner.context.cluster), task.sync.clone(), uid(&task));
    tasks.spawn(reporter.run(reporting(&task, groups), messages, events).in_current_span());
    let approval = instructions.borrow().approval.clone();
    let state = State::new(Settings {
        sync: task.sync,
        in_flight: IN_FLIGHT,
        reconcile_timeout: task.reconcile_timeout,
        approval: approval.clone(),
        how_to_approve: task.how_to_approve,
        kinds,
        recorded: objects,
        recent_prunes,
        last_in_force: task.last_in_force,
    });
    let followed = Instructions { approval, ..Instructions::default() };
    instructions.mark_changed();
    let mut driver = Driver { state, runner, inbox, audits, dumps, instructions, followed, stop_at: None };
    let exit = tokio::select! {
        exit = driver.drive() => exit,
        Some(ended) = tasks.join_next() => {
            ended.context("reading the source or writing the status broke down")?;
            anyhow::bail!("reading the source or writing the status ended too early");
        }
    };
    driver.report_last().await;
    Ok(exit)
}

fn uid(task: &SyncTask) -> Option<String> {
    task.object.as_ref().map(|object| object.uid.clone())
}

fn reporting(task: &SyncTask, groups: Option<InventoryRecord>) -> Reporting {
    let git = task.git.status();
    let about = About { git, generation: task.generation, reconciler: "nomos-agent".to_owned(), refused: None };
    let status = task.object.as_ref().map(|object| object.status.clone());
    Reporting::new(task.sync.clone(), about, status, groups, task.resource_status)
}

/// The loop around the engine of one sync.
struct Driver<'a> {
    state: State,
    runner: CommandRunner,
    inbox: mpsc::Receiver<Event>,
    audits: mpsc::Receiver<Event>,
    dumps: DumpRequests,
    instructions: &'a mut watch::Receiver<Instructions>,
    /// The instructions that were followed last.
    followed: Instructions,
    /// The time at which a sync that was told to stop ends, with requests in flight or without.
    stop_at: Option<Deadline>,
}

impl Driver<'_> {
    /// Steps with one event after the other and carries out the commands that follow, until the sync ends.
    async fn drive(&mut self) -> ExitReason {
        let (once, period) = (self.runner.context.options.once, self.runner.context.options.audit_period);
        let mut audits = tokio::time::interval_at(Deadline::now() + period, period);
        loop {
            let wake = self.state.next_wake().map(Deadline::from_std);
            let event = tokio::select! {
                Some(event) = self.inbox.recv() => event,
                Some(event) = self.audits.recv() => event,
                () = sleep_until(wake) => Event::Woken,
                () = sleep_until(self.stop_at) => return ExitReason::Stopped,
                _ = audits.tick() => Event::AuditDue,
                Ok(()) = self.instructions.changed() => self.follow_instructions(),
                Some(request) = self.dumps.recv() => {
                    // It fails when the request was given up.
                    let _ = request.send(self.state.dump(Instant::now()));
                    continue;
                }
            };
            self.step(event);
            if self.stop_at.is_some() && !self.state.is_busy() {
                return ExitReason::Stopped;
            }
            if once && self.state.is_at_rest() {
                return if self.state.is_synced() { ExitReason::Synced } else { ExitReason::NotSynced };
            }
        }
    }

    fn step(&mut self, event: Event) {
        let traced = tracing::enabled!(Level::TRACE);
        if traced {
            tracing::trace!(event = event.summary());
        }
        let compiled = match &event {
            Event::Compiled { declared, .. } | Event::Restored { declared, .. } => declared.clone(),
            _ => None,
        };
        let commands = self.state.step(event, Instant::now());
        // Before its kinds are watched: the sync has to hear of every change of what it declares.
        if compiled.is_some() {
            self.runner.subscription.declares(self.state.in_force().into_iter().chain(&compiled));
        }
        for command in commands {
            if traced {
                tracing::trace!(command = command.summary());
            }
            self.runner.run(command, &self.state);
        }
    }

    /// Follows the instructions that changed; the event tells the engine about them.
    fn follow_instructions(&mut self) -> Event {
        let next = self.instructions.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.followed, next.clone());
        if next.stop && !before.stop {
            self.state.stop();
            self.stop_at = Some(Deadline::now() + GRACE);
        }
        if let Some((finding, generation)) = next.refused.filter(|refused| before.refused.as_ref() != Some(refused)) {
            self.runner.tell(ReportMessage::Refused(Box::new(finding), generation));
        }
        Event::Approved(next.approval)
    }

    /// Writes the state in which the sync ends.
    async fn report_last(&self) {
        self.runner.tell(ReportMessage::Last(Box::new(self.state.last_report())));
        let until = self.stop_at.map_or_else(|| Deadline::now() + LAST_REPORT, |at| at + LAST_WORD);
        // The reporter ends when it has written the report.
        let _ = tokio::time::timeout_at(until, self.runner.reports.closed()).await;
    }
}

async fn sleep_until(at: Option<Deadline>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn source(context: &AgentContext, task: &SyncTask) -> Source {
    let SyncTask { sync, git, format, .. } = task;
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
        period: task.period,
        cache: context.options.cache.clone(),
        settings: CompileOptions {
            format: *format,
            scope: RepoScope::Root,
            cluster_name: context.options.cluster_name.clone(),
            sync: Some(sync.clone()),
            source_dir: git.directory(),
            namespaces: match task.implicit_namespaces {
                true => NamespaceStrategy::Implicit,
                false => NamespaceStrategy::Explicit,
            },
            kinds: Ok(KindScopes::default()),
            report_unknown_kinds: true,
            previous_crds: BTreeSet::new(),
            max_objects: None,
            dynamic: DynamicSelectors::Refused(dynamic),
        },
    }
}

/// The value of the annotation `git-context`.
fn git_context(git: &GitSpec) -> String {
    let mut context = serde_json::Map::new();
    context.insert("repo".to_owned(), git.status().repo.into());
    for (key, value) in [("branch", &git.branch), ("rev", &git.revision)] {
        if !value.is_empty() {
            context.insert(key.to_owned(), value.as_str().into());
        }
    }
    serde_json::Value::Object(context).to_string()
}

#[cfg(test)]
impl SyncTask {
    /// A task that is only told apart by its generation.
    pub(super) fn for_tests(generation: i64) -> Self {
        Self {
            sync: SyncId::root("root-sync"),
            git: GitSpec::default(),
            format: SourceFormat::Unstructured,
            period: Duration::from_secs(15),
            object: None,
            generation,
            last_in_force: None,
            how_to_approve: String::new(),
            resource_status: true,
            implicit_namespaces: true,
            reconcile_timeout: crate::api::RECONCILE_TIMEOUT,
            api_server_timeout: crate::api::API_SERVER_TIMEOUT,
        }
    }
}
