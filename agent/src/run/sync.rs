//! One sync: the task that feeds its engine with events, and the tasks of its source and its reports.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant as Deadline;
use tracing::{Instrument as _, Level};

use super::accounts::{Grant, Granted};
use super::commands::CommandRunner;
use super::commit_states::CommitTeller;
use super::rbac::RbacChanges;
use super::source::{FollowedSource, WarmSource, known};
use super::start::{RecordedInventory, defined_kinds, start};
use super::task::{ExitReason, SyncTask};
use super::{AgentContext, GRACE, LAST_WORD};
use crate::api::Removal;
use crate::compile::declared::Undeclared;
use crate::io::credentials::is_refused_login;
use crate::io::reports::{Announcer, Reporter, ReporterEnd, SyncObject};
use crate::io::serve::{StateRequest, StateRequests};
use crate::io::source::DefinedKinds;
use crate::model::finding::Finding;
use crate::model::metadata::SyncId;
use crate::model::object::GroupKind;
use crate::model::url::repository_name;
use crate::sync::engine::{AllSyncs, Event, Notice, Settings, SourceCommit, SpecChange, State};
use crate::sync::inventory::InventoryRecord;
use crate::sync::reporting::{ReportMessage, Reporting};
use crate::sync::status::About;

/// Requests in flight for one sync: more only make the API server slower.
const IN_FLIGHT: usize = 20;
/// Announcements that may wait, while the API server takes long for Events. Further ones are counted and left out.
const NOTICES: usize = 256;
/// Events that may wait for the engine.
const BACKLOG: usize = 1024;
/// Whole objects that may wait for the engine.
const AUDIT_BACKLOG: usize = 4;
/// The name of a commit that there is not.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";
/// The longest time for the last report of a sync that ends by itself.
const LAST_REPORT: Duration = Duration::from_secs(15);

/// The instructions to a running sync. The newest ones are kept until the sync reads them, so none is lost while it starts.
#[derive(Clone)]
pub(super) struct Instructions {
    /// The spec to follow.
    pub(super) task: Arc<SyncTask>,
    /// The approval of held deletions: `<commit>.<digest>`.
    pub(super) approval: Option<String>,
    /// A user asks for a sync at once: another value is another request.
    pub(super) asked: Option<String>,
    /// A user suspended the sync: it ends, and begins again when it is resumed.
    pub(super) suspended: bool,
    /// The error of a newer spec, or of the rights that it asks for, and its generation: the sync goes on with what it has, and
    /// reports the error.
    pub(super) refused: Option<(Finding, i64)>,
    /// Finish what is in flight, write the status, end.
    pub(super) stop: bool,
}

impl PartialEq for Instructions {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.task, &other.task)
            && (&self.approval, &self.asked, self.suspended) == (&other.approval, &other.asked, other.suspended)
            && (&self.refused, self.stop) == (&other.refused, other.stop)
    }
}

/// The span of everything that the tasks of a sync do. Its field `sync` is in each of their lines of the log.
pub(super) fn span(sync: &SyncId) -> tracing::Span {
    // At the highest level, so that no filter leaves the field out of a line that it lets through.
    tracing::error_span!("sync", %sync)
}

/// Runs one sync until it is told to stop, or with `once` until there is nothing left to do. To be called in [`span`].
/// `object` is the sync object, where there is one, and `warm` its source, where that was read before.
pub(super) async fn run(
    context: Arc<AgentContext>,
    object: Option<SyncObject>,
    warm: Option<WarmSource>,
    instructions: &mut watch::Receiver<Instructions>,
) -> anyhow::Result<ExitReason> {
    let followed = instructions.borrow_and_update().clone();
    let task = Arc::clone(&followed.task);
    let (_shown, dumps) = context.syncs.register(&task.sync);
    let ((events, inbox), (defined, awaited)) = (mpsc::channel(BACKLOG), oneshot::channel());
    let last_in_force = last_in_force(&context, &task, object.as_ref());
    let source = source(&context, &task, warm, last_in_force.as_ref(), awaited);
    let ((reports, messages), (notices, announced)) = (mpsc::unbounded_channel(), mpsc::channel(NOTICES));
    if object.is_some() && task.removal.is_none() {
        context.records.tell(&task.sync, reports.clone());
    }
    let Some(mut recorded) = recorded(&context, &task, defined, instructions).await? else {
        return Ok(ExitReason::Stopped);
    };
    let (audited, audits) = mpsc::channel(AUDIT_BACKLOG);
    let runner = CommandRunner {
        cluster: Arc::new(task.cluster(&context.cluster)),
        metrics: context.metrics.of(&task.sync),
        teller: CommitTeller::of(&task, object.as_ref()),
        sync: task.sync.clone(),
        events: events.clone(),
        audited,
        subscription: context.watches.subscribe(&task.sync, events.clone()),
        withdrawals: watch::Sender::default(),
        reports,
        notices,
        restores: source.restores.clone(),
        context,
    };
    let (announcer, reporter) = writers(&runner, object.as_ref());
    // These tasks end with this function.
    let mut tasks = JoinSet::new();
    tasks.spawn(reporter.run(reporting(&task, object, recorded.groups.take()), messages, events).in_current_span());
    tasks.spawn(announcer.run(announced).map(|()| ReporterEnd::Written).in_current_span());
    // A spec that changed meanwhile is followed at once.
    instructions.mark_changed();
    let rbac_heeded = runner.context.rbac.borrow().of(&task.sync);
    let mut driver = Driver {
        all_syncs: runner.context.holdings.heard_by(&task.sync),
        granted: runner.context.granted.subscribe(),
        grant: Some(Grant { rights: task.rights.clone(), lacks: None }),
        rbac: runner.context.rbac.subscribe(),
        rbac_heeded,
        state: State::new(settings(&followed, recorded, last_in_force)),
        runner,
        source,
        inbox,
        audits,
        dumps,
        instructions,
        // An error of a newer spec, which came before this run, is yet to be told.
        followed: Instructions { refused: None, ..followed },
        stop_at: None,
        stalled: None,
    };
    let exit = drive_beside(&mut driver, &mut tasks).await?;
    if !matches!(exit, ExitReason::Restored) {
        let until = driver.report_last().await;
        // The announcer ends when it has told what it was sent.
        drop(driver);
        let _ = tokio::time::timeout_at(until, async { while tasks.join_next().await.is_some() {} }).await;
    }
    Ok(exit)
}

/// Those that write Events, and the record and the status.
fn writers(runner: &CommandRunner, object: Option<&SyncObject>) -> (Announcer, Reporter) {
    let CommandRunner { context, cluster, sync, .. } = runner;
    let (journal, uid) = (&context.journal, object.map(|object| object.uid.clone()));
    let announcer = Announcer::new(Arc::clone(cluster), sync, uid.as_deref(), Arc::clone(journal));
    (announcer, Reporter::new(&context.cluster, sync.clone(), uid, &context.writes, journal))
}

/// Reads the record of an earlier run; `None` if the sync is told to stop.
async fn recorded(
    context: &AgentContext,
    task: &SyncTask,
    defined: oneshot::Sender<BTreeSet<GroupKind>>,
    instructions: &mut watch::Receiver<Instructions>,
) -> anyhow::Result<Option<RecordedInventory>> {
    let started = tokio::select! {
        started = start(context, &task.sync, defined) => started,
        // A closed channel is a stop too.
        _ = instructions.wait_for(|instructions| instructions.stop) => return Ok(None),
    };
    let recorded = started.context("cannot read the inventory")?;
    context.metrics.stalled(&task.sync, false);
    Ok(Some(recorded))
}

/// Drives the engine until the sync ends, while these tasks write.
async fn drive_beside(driver: &mut Driver<'_>, tasks: &mut JoinSet<ReporterEnd>) -> anyhow::Result<ExitReason> {
    tokio::select! {
        exit = driver.drive() => exit,
        Some(ended) = tasks.join_next() => match ended.context("writing the status or Events broke down")? {
            ReporterEnd::Restored => Ok(ExitReason::Restored),
            ReporterEnd::Written => anyhow::bail!("writing the status or Events ended too early"),
        }
    }
}

/// Begins to follow the source of the task. `last` is the last commit of a sync that goes.
fn source(
    context: &AgentContext,
    task: &Arc<SyncTask>,
    warm: Option<WarmSource>,
    last: Option<&SourceCommit>,
    defined: DefinedKinds,
) -> FollowedSource {
    match (undeclared(task), warm.filter(|warm| Arc::ptr_eq(&warm.task, task))) {
        (Some(undeclared), _) => {
            let commit = last.map(|last| last.commit.clone()).unwrap_or_default();
            FollowedSource::of_removal(context, task, (commit, undeclared), defined)
        }
        (None, Some(warm)) => FollowedSource::again(context, warm.kept),
        (None, None) => FollowedSource::new(context, task, defined),
    }
}

/// The end of the objects of a sync that goes.
fn undeclared(task: &SyncTask) -> Option<Undeclared> {
    match task.removal? {
        Removal::Delete => Some(Undeclared::Deleted),
        Removal::Uninstall => Some(Undeclared::Uninstalled),
        Removal::GiveUp => Some(Undeclared::GivenUp),
        Removal::Keep => None,
    }
}

/// The commit that was in force when an earlier run ended. A source that a sync object may not name is not read. The last commit of
/// a sync that goes declares nothing, and has the name of the one before, which approvals are for.
fn last_in_force(context: &AgentContext, task: &SyncTask, object: Option<&SyncObject>) -> Option<SourceCommit> {
    let last = &object?.status.sync;
    if task.removal.is_some() {
        let commit = if last.commit.is_empty() { NO_COMMIT.to_owned() } else { last.commit.clone() };
        return Some(SourceCommit { commit, git: Arc::new(task.git.status()), layout: task.layout() });
    }
    let git = last
        .git_status
        .clone()
        .filter(|git| !last.commit.is_empty() && context.options.local_repositories.allow(&git.repo))?;
    Some(SourceCommit { commit: last.commit.clone(), git: Arc::new(git), layout: task.layout() })
}

fn settings(followed: &Instructions, recorded: RecordedInventory, last_in_force: Option<SourceCommit>) -> Settings {
    let task = &followed.task;
    let RecordedInventory { memory, kinds, objects, .. } = recorded;
    let layout = memory.layout.filter(|_| task.removal.is_none()).unwrap_or_else(|| task.layout());
    let last_in_force = last_in_force.map(|last| SourceCommit { layout, ..last });
    Settings {
        sync: task.sync.clone(),
        in_flight: IN_FLIGHT,
        reconcile_timeout: task.reconcile_timeout,
        approval: followed.approval.clone(),
        how_to_approve: task.how_to_approve.clone(),
        kinds,
        recorded: objects,
        memory,
        git: Arc::new(task.git.status()),
        layout: task.layout(),
        last_in_force,
    }
}

fn reporting(task: &SyncTask, object: Option<SyncObject>, groups: Option<InventoryRecord>) -> Reporting {
    let (reconciler, going) = ("nomos-agent".to_owned(), task.removal.is_some());
    let about = About { generation: task.generation, reconciler, refused: None, going };
    // The record of a sync that goes stays as it is until nothing is left.
    let groups = groups.filter(|_| !going);
    Reporting::new(task.sync.clone(), about, object.map(|object| object.status), groups, task.resource_status)
}

/// The loop around the engine of one sync.
struct Driver<'a> {
    state: State,
    runner: CommandRunner,
    source: FollowedSource,
    inbox: mpsc::Receiver<Event>,
    audits: mpsc::Receiver<Event>,
    dumps: StateRequests,
    instructions: &'a mut watch::Receiver<Instructions>,
    /// The syncs that this one hears of.
    all_syncs: watch::Receiver<Option<Arc<AllSyncs>>>,
    /// The rights of all syncs.
    granted: watch::Receiver<Granted>,
    /// Those of this sync, as it was last told.
    grant: Option<Grant>,
    /// Changes of roles and bindings.
    rbac: watch::Receiver<RbacChanges>,
    /// The number of those that were heeded.
    rbac_heeded: u64,
    /// The instructions that were followed last.
    followed: Instructions,
    /// The time at which a sync that was told to stop ends, with requests in flight or without.
    stop_at: Option<Deadline>,
    /// The reason why the source cannot be read with the Secrets of the spec.
    stalled: Option<Finding>,
}

impl Driver<'_> {
    /// Waits until the sync objects are listed, or the sync is told to stop: until then it does not know what is another's.
    async fn meet_others(&mut self) {
        if self.runner.context.options.source.is_some() {
            return;
        }
        let syncs = tokio::select! {
            syncs = self.all_syncs.wait_for(Option::is_some) => syncs.ok().and_then(|syncs| syncs.clone()),
            // A closed channel is a stop too.
            _ = self.instructions.wait_for(|instructions| instructions.stop) => None,
        };
        self.instructions.mark_changed();
        if let Some(syncs) = syncs {
            self.step(Event::Syncs(syncs));
        }
    }

    /// Steps with one event after the other and carries out the commands that follow, until the sync ends.
    ///
    /// # Errors
    /// When the task of the source broke down.
    async fn drive(&mut self) -> anyhow::Result<ExitReason> {
        let (once, period) = (self.runner.context.options.once, self.runner.context.options.audit_period);
        self.meet_others().await;
        let mut audits = tokio::time::interval_at(Deadline::now() + period, period);
        loop {
            let wake = self.state.next_wake().map(Deadline::from_std);
            let event = tokio::select! {
                Some(event) = self.inbox.recv() => event,
                Some(event) = self.audits.recv() => event,
                event = self.source.events.recv() => {
                    let event = event.context("reading the source broke down")?;
                    self.heed_login(&event);
                    event
                }
                () = sleep_until(wake) => Event::Woken,
                () = sleep_until(self.stop_at) => return Ok(ExitReason::Stopped),
                _ = audits.tick() => Event::AuditDue,
                Ok(()) = self.instructions.changed() => self.follow_instructions(),
                Ok(()) = self.all_syncs.changed() => match self.all_syncs.borrow_and_update().clone() {
                    Some(syncs) => Event::Syncs(syncs),
                    None => continue,
                },
                Ok(()) = self.granted.changed() => match self.new_rights() {
                    true => Event::RightsChanged,
                    false => continue,
                },
                Ok(()) = self.rbac.changed() => match self.has_new_roles() {
                    true => Event::RightsChanged,
                    false => continue,
                },
                Some(request) = self.dumps.recv() => {
                    show(&self.state, request);
                    continue;
                }
            };
            self.step(event);
            if self.stop_at.is_some() && !self.state.is_busy() {
                return Ok(ExitReason::Stopped);
            }
            if self.followed.task.removal.is_some() && self.state.is_synced() {
                return Ok(ExitReason::Synced);
            }
            if once && self.state.is_at_rest() {
                return Ok(if self.state.is_synced() { ExitReason::Synced } else { ExitReason::NotSynced });
            }
        }
    }

    /// `true` if the account of the sync was given other rights, or has them again.
    fn new_rights(&mut self) -> bool {
        let granted = self.granted.borrow_and_update().get(&self.runner.sync).cloned();
        let grant = granted.and_then(Result::ok);
        let is_given = grant.is_some();
        std::mem::replace(&mut self.grant, grant) != self.grant && is_given
    }

    /// `true` if a role or a binding has changed that may be for the account of the sync.
    fn has_new_roles(&mut self) -> bool {
        let changes = self.rbac.borrow_and_update().of(&self.runner.sync);
        std::mem::replace(&mut self.rbac_heeded, changes) != changes
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
        if let Event::Compiled { declared: Some(declared), .. } = &event {
            self.tell_dynamic(declared.dynamic);
        }
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
        self.runner.metrics.queued(self.state.queued());
    }

    /// The annotation on the sync object says so.
    fn tell_dynamic(&self, dynamic: bool) {
        let (sync, context) = (&self.runner.sync, &self.runner.context);
        context.dynamic.send_if_modified(|syncs| {
            (syncs.get(sync) != Some(&dynamic)).then(|| syncs.insert(sync.clone(), dynamic)).is_some()
        });
    }

    /// Reports that the sync is stalled while its Secrets do not give a login, and that it is not any more.
    fn heed_login(&mut self, event: &Event) {
        let stalled = match event {
            Event::SourceFailed(finding) if is_refused_login(finding) => Some(finding),
            Event::SourceFailed(_) | Event::Compiled { .. } => None,
            _ => return,
        };
        if self.stalled.as_ref() == stalled {
            return;
        }
        self.stalled = stalled.cloned();
        let refused = self.stalled.clone().map(|finding| (finding, self.followed.task.generation));
        match refused.or_else(|| self.followed.refused.clone()) {
            Some((finding, generation)) => self.runner.tell(ReportMessage::Refused(Box::new(finding), generation)),
            None => self.runner.tell(ReportMessage::Spec(self.followed.task.facts())),
        }
    }

    /// Follows the instructions that changed; the event tells the engine about them.
    fn follow_instructions(&mut self) -> Event {
        let next = self.instructions.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.followed, next.clone());
        if next.stop && !before.stop {
            self.state.stop();
            self.runner.withdrawals.send_replace(());
            self.stop_at = Some(Deadline::now() + GRACE);
        }
        if !Arc::ptr_eq(&next.task, &before.task) {
            self.follow_spec(&next.task);
        }
        if next.asked.is_some() && next.asked != before.asked {
            let name = repository_name(&next.task.git.repo);
            self.runner.context.repositories.ask_again(|other| name.as_deref() == Some(other));
            self.step(Event::Asked);
        }
        // Another spec has taken the error out of the status.
        let told = before.refused.filter(|_| Arc::ptr_eq(&next.task, &before.task));
        match next.refused {
            Some(refused) if told.as_ref() != Some(&refused) => {
                let (finding, generation) = refused;
                self.runner.notice(Notice::Failed(finding.clone()));
                self.runner.tell(ReportMessage::Refused(Box::new(finding), generation));
            }
            None if told.is_some() && self.stalled.is_none() => {
                self.runner.tell(ReportMessage::Spec(next.task.facts()));
                self.runner.tell(ReportMessage::Report(Box::new(self.state.last_report())));
            }
            _ => {}
        }
        Event::Approved(next.approval)
    }

    /// Follows another spec. The engine goes on with the commit in force.
    fn follow_spec(&mut self, task: &SyncTask) {
        let context = Arc::clone(&self.runner.context);
        let defined = known(defined_kinds(&context, &self.state.definitions()));
        self.source = FollowedSource::new(&context, task, defined);
        self.runner.restores = self.source.restores.clone();
        self.runner.cluster = Arc::new(task.cluster(&context.cluster));
        if let Some(teller) = &mut self.runner.teller {
            teller.cluster.clone_from(&task.cluster_name);
        }
        self.stalled = None;
        self.runner.tell(ReportMessage::Spec(task.facts()));
        let (git, reconcile_timeout) = (Arc::new(task.git.status()), task.reconcile_timeout);
        let layout = task.layout();
        self.step(Event::SpecChanged(Box::new(SpecChange { git, layout, reconcile_timeout })));
    }

    /// Writes the state in which the sync ends. Returns the time at which it has to have ended.
    async fn report_last(&self) -> Deadline {
        self.runner.tell(ReportMessage::Last(Box::new(self.state.last_report())));
        let until = self.stop_at.map_or_else(|| Deadline::now() + LAST_REPORT, |at| at + LAST_WORD);
        // The reporter ends when it has written the report.
        let _ = tokio::time::timeout_at(until, self.runner.reports.closed()).await;
        until
    }
}

/// Answers a user who looks at the sync. It fails when the request was given up.
fn show(state: &State, request: StateRequest) {
    let _ = match request {
        StateRequest::Dump(answer) => answer.send(state.dump(Instant::now())).is_ok(),
        StateRequest::Summary(answer) => answer.send(state.summary()).is_ok(),
        StateRequest::View(answer) => answer.send(state.view()).is_ok(),
    };
}

async fn sleep_until(at: Option<Deadline>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
