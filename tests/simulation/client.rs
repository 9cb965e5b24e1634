//! One sync of the agent: its engine and its reports, and the tasks that carry out its commands with the agent's own requests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent::api::{SyncStatus, Time};
use agent::io::kubernetes::apply::{self, CommitStamp};
use agent::io::kubernetes::audit::audit;
use agent::io::kubernetes::client::Cluster;
use agent::io::kubernetes::count::count;
use agent::io::kubernetes::delete::{Deletion, Dependents, delete};
use agent::io::kubernetes::patience::patiently;
use agent::io::kubernetes::values::fill;
use agent::io::kubernetes::watch::{Subscription, Watches};
use agent::io::reports;
use agent::model::finding::{Code, Finding, Resource};
use agent::model::metadata::SyncId;
use agent::model::object::{GroupKind, ObjectId};
use agent::sync::engine::{Command, Event, Failure, HeldObjects, Outcome, Report, Retry, Settings, State};
use agent::sync::inventory::InventoryRecord;
use agent::sync::moment::Moment;
use agent::sync::reporting::{ReportAnswer, ReportEffect, ReportEvent, ReportMessage, ReportRequest, Reporting};
use agent::sync::status::About;
use futures::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// The value of the annotation `git-context`.
pub(crate) const GIT_CONTEXT: &str = "{}";

/// Events of watches that may wait, as many as the agent lets wait.
const BACKLOG: usize = 1024;

/// Something that a task has found out.
enum Found {
    Event(Event),
    /// `None` if the request broke down, and the sync with it.
    Written(Option<ReportAnswer>),
}

type Findings = Arc<Mutex<VecDeque<Found>>>;

/// A running sync.
pub(crate) struct Client {
    pub(crate) id: SyncId,
    uid: String,
    pub(crate) state: State,
    reporting: Reporting,
    cluster: Arc<Cluster>,
    tasks: JoinSet<()>,
    findings: Findings,
    subscription: Subscription,
    /// To the deletions that are not sent yet.
    withdrawals: watch::Sender<()>,
    /// From the watches.
    news: mpsc::Receiver<Event>,
    /// The kinds that it follows: `true` once a list was complete.
    pub(crate) joined: BTreeMap<GroupKind, bool>,
    /// Events that the engine has not taken in.
    pub(crate) inbox: VecDeque<Event>,
    /// Messages for the reports while a request of theirs is out.
    messages: VecDeque<ReportMessage>,
    writing: bool,
    /// A task broke down without which it cannot go on.
    pub(crate) is_broken: bool,
}

/// What a step of a sync asks of the world around it.
pub(crate) enum Wish {
    Restore(String),
    Reported(Box<Report>),
    /// The other syncs are to know its objects.
    Share(Arc<HeldObjects>),
    /// A commit came in force.
    InForce(String),
}

impl Client {
    pub(crate) fn new(
        settings: Settings,
        uid: &str,
        status: SyncStatus,
        groups: Option<InventoryRecord>,
        cluster: Arc<Cluster>,
        watches: &Arc<Watches>,
    ) -> Self {
        let (events, news) = mpsc::channel(BACKLOG);
        let about = About { generation: 1, reconciler: "nomos-agent".to_owned(), refused: None, going: false };
        let id = settings.sync.clone();
        Self {
            reporting: Reporting::new(id.clone(), about, Some(status), groups, true),
            id,
            uid: uid.to_owned(),
            subscription: watches.subscribe(&settings.sync, events),
            withdrawals: watch::Sender::default(),
            news,
            joined: BTreeMap::new(),
            state: State::new(settings),
            cluster,
            tasks: JoinSet::new(),
            findings: Findings::default(),
            inbox: VecDeque::new(),
            messages: VecDeque::new(),
            writing: false,
            is_broken: false,
        }
    }

    /// The next time at which it has something to do by itself.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let report = self.reporting.next_wake().filter(|_| !self.writing);
        self.state.next_wake().into_iter().chain(report).min()
    }

    /// Takes in what its tasks and the watches have found out since. `false` if that is nothing.
    pub(crate) fn collect(&mut self, now: &Moment) -> bool {
        let before = self.inbox.len();
        while let Ok(event) = self.news.try_recv() {
            match &event {
                Event::Listing(kind, _) => _ = self.joined.insert(kind.clone(), false),
                Event::Listed(kind, _) => _ = self.joined.insert(kind.clone(), true),
                Event::Unserved(kind) => _ = self.joined.remove(kind),
                _ => {}
            }
            self.inbox.push_back(event);
        }
        let found = std::mem::take(&mut *self.findings.lock().unwrap_or_else(PoisonError::into_inner));
        let collected = self.inbox.len() > before || !found.is_empty();
        for finding in found {
            match finding {
                Found::Event(event) => self.inbox.push_back(event),
                Found::Written(None) => self.is_broken = true,
                Found::Written(Some(answer)) => {
                    self.writing = false;
                    // Newer reports come before the next request, so that they replace older ones.
                    let mut effects: VecDeque<ReportEffect> = VecDeque::new();
                    for message in std::mem::take(&mut self.messages) {
                        effects.extend(self.reporting.step(ReportEvent::Told(message), now));
                    }
                    effects.extend(self.reporting.step(ReportEvent::Answered(answer), now));
                    self.follow(effects);
                }
            }
        }
        collected
    }

    /// Steps the engine.
    pub(crate) fn step(&mut self, event: Event, now: &Moment) -> Vec<Wish> {
        let compiled = match &event {
            Event::Compiled { declared, .. } | Event::Restored { declared, .. } => declared.clone(),
            _ => None,
        };
        let commands = self.state.step(event, now.instant);
        if compiled.is_some() {
            self.subscription.declares(self.state.in_force().into_iter().chain(&compiled));
        }
        commands.into_iter().flat_map(|command| self.carry_out(command, now)).collect()
    }

    /// Lets everything but the engine see that time has passed. `true` if something begins.
    pub(crate) fn wake(&mut self, now: &Moment) -> bool {
        let woken = !self.writing && self.reporting.next_wake().is_some_and(|at| at <= now.instant);
        if woken {
            let effects = self.reporting.step(ReportEvent::Woken, now);
            self.follow(effects.into());
        }
        woken
    }

    fn carry_out(&mut self, command: Command, now: &Moment) -> Vec<Wish> {
        match command {
            Command::Watch(kinds) => {
                for kind in kinds {
                    self.joined.insert(kind.clone(), false);
                    self.subscription.watch(kind);
                }
            }
            Command::Restore(commit) => return vec![Wish::Restore(commit.commit)],
            Command::Record(record) => self.tell(ReportMessage::Record(record), now),
            Command::AskServer => self.ask_server(),
            Command::Share(held) => return vec![Wish::Share(held)],
            Command::Count(crd) => self.count(crd),
            Command::Report(report) => {
                self.tell(ReportMessage::Report(report.clone()), now);
                return vec![Wish::Reported(report)];
            }
            Command::Notice(notice) => {
                let in_force = match &notice {
                    agent::sync::engine::Notice::Syncing { commit, .. } => Some(Wish::InForce(commit.clone())),
                    _ => None,
                };
                return in_force.into_iter().collect();
            }
            Command::Audit(kind, versions) => self.audit(kind, versions),
            Command::Apply(declared, commit, mode) => {
                let (cluster, sync) = (Arc::clone(&self.cluster), self.id.clone());
                self.spawn(declared.id.clone(), async move {
                    let stamp = CommitStamp { sync: &sync, token: &commit, git_context: GIT_CONTEXT };
                    apply::apply(&cluster, &stamp, &declared, &mode).await
                });
            }
            Command::Annotate(declared, commit, mode) => {
                let (cluster, sync) = (Arc::clone(&self.cluster), self.id.clone());
                self.spawn(declared.id.clone(), async move {
                    let stamp = CommitStamp { sync: &sync, token: &commit, git_context: GIT_CONTEXT };
                    apply::annotate(&cluster, &stamp, &declared, &mode).await
                });
            }
            Command::ReadAsAgent(declared) => {
                let cluster = Arc::new(self.cluster.as_agent());
                self.spawn(declared.id.clone(), async move { apply::read(&cluster, &declared).await });
            }
            Command::Read(declared) => {
                let cluster = Arc::clone(&self.cluster);
                self.spawn(declared.id.clone(), async move { apply::read(&cluster, &declared).await });
            }
            Command::Fill(declared, sources) => {
                let cluster = Arc::clone(&self.cluster);
                self.spawn(declared.id.clone(), async move { fill(&cluster, &declared, &sources).await });
            }
            Command::Delete(id, uid, version, heirs) => {
                self.delete(Deletion { id, uid, version, heirs, dependents: Dependents::Later });
            }
            Command::Withdraw => self.withdrawals.send_replace(()),
            Command::Abandon(id) => {
                let (cluster, sync) = (Arc::clone(&self.cluster), self.id.clone());
                self.spawn(id.clone(), async move { apply::abandon(&cluster, &sync, &id).await });
            }
        }
        Vec::new()
    }

    fn spawn(&mut self, id: ObjectId, work: impl Future<Output = Outcome> + Send + 'static) {
        let findings = Arc::clone(&self.findings);
        self.tasks.spawn(async move {
            let outcome = supervised(work).await.unwrap_or_else(|| Outcome::Failed(broke_down(&id)));
            push(&findings, Found::Event(Event::Finished(id, outcome)));
        });
    }

    fn delete(&mut self, deletion: Deletion) {
        let (cluster, sync) = (Arc::clone(&self.cluster), self.id.clone());
        let withdrawn = self.withdrawals.subscribe();
        self.spawn(deletion.id.clone(), async move { delete(&cluster, &sync, &deletion, withdrawn).await });
    }

    fn audit(&mut self, kind: GroupKind, versions: BTreeSet<String>) {
        let findings = Arc::clone(&self.findings);
        let (cluster, sync) = (self.cluster.as_agent(), self.id.clone());
        self.tasks.spawn(async move {
            let (events, mut received) = tokio::sync::mpsc::channel(1024);
            let mut is_complete = true;
            for version in &versions {
                let answer = supervised(audit(&cluster, &kind, version, &sync, &events)).await;
                is_complete &= matches!(answer, Some(Ok(())));
            }
            while let Ok(event) = received.try_recv() {
                push(&findings, Found::Event(event));
            }
            push(&findings, Found::Event(Event::AuditEnded(kind, is_complete)));
        });
    }

    fn count(&mut self, crd: ObjectId) {
        let (cluster, findings) = (self.cluster.as_agent(), Arc::clone(&self.findings));
        self.tasks.spawn(async move {
            let objects = supervised(patiently(|| count(&cluster, &crd))).await.and_then(Result::ok).flatten();
            push(&findings, Found::Event(Event::Counted(crd, objects)));
        });
    }

    fn ask_server(&mut self) {
        let (cluster, findings) = (Arc::clone(&self.cluster), Arc::clone(&self.findings));
        self.tasks.spawn(async move {
            let failure = supervised(cluster.outage()).await.flatten();
            push(&findings, Found::Event(Event::ServerAsked(failure)));
        });
    }

    // ---- reports ----

    fn tell(&mut self, message: ReportMessage, now: &Moment) {
        if self.writing {
            self.messages.push_back(message);
        } else {
            let effects = self.reporting.step(ReportEvent::Told(message), now);
            self.follow(effects.into());
        }
    }

    fn follow(&mut self, mut effects: VecDeque<ReportEffect>) {
        while let Some(effect) = effects.pop_front() {
            match effect {
                ReportEffect::End => {}
                ReportEffect::Recorded(number) => self.inbox.push_back(Event::Recorded(number)),
                ReportEffect::Restored => self.is_broken = true,
                ReportEffect::Lacking => self.inbox.push_back(Event::RecordTouched),
                ReportEffect::Unrecorded(why) => {
                    self.inbox.push_back(Event::Unrecorded(Finding::new(Code::ApiServer, why)));
                }
                ReportEffect::Send(request) => self.write(request),
            }
        }
    }

    fn write(&mut self, request: ReportRequest) {
        self.writing = true;
        let findings = Arc::clone(&self.findings);
        let (cluster, sync, uid) = (self.cluster.as_agent(), self.id.clone(), self.uid.clone());
        self.tasks.spawn(async move {
            let answer = supervised(reports::write(&cluster, &sync, Some(&uid), None, request)).await;
            push(&findings, Found::Written(answer));
        });
    }

    /// The ResourceGroups of the sync, as a list on a restored cluster shows them: each that there may be, with its version.
    pub(crate) fn hear_groups(&mut self, version: impl Fn(&str) -> Option<u64>, now: &Moment) {
        for index in 0..2 {
            let name = InventoryRecord::name(&self.id, index);
            let version = version(&name);
            self.tell(ReportMessage::Group { name, version, listed: true }, now);
        }
    }

    /// `true` while its record may have been changed by others.
    pub(crate) fn doubts_its_record(&self) -> bool {
        let is_group = |message: &ReportMessage| matches!(message, ReportMessage::Group { .. });
        self.reporting.is_doubtful() || self.messages.iter().any(is_group)
    }

    /// `true` while a document is being written or waits to be.
    pub(crate) fn is_writing(&self) -> bool {
        self.writing || !self.messages.is_empty()
    }
}

/// The result of `work`; `None` when it panicked.
pub(crate) async fn supervised<T>(work: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.ok()
}

/// The failure of a request that panicked, as the agent tells it.
fn broke_down(id: &ObjectId) -> Failure {
    let finding = Finding::new(Code::Internal, "the request broke down").about(Resource::named(id, ""));
    Failure { finding, retry: Retry::Object, refused: false }
}

fn push(findings: &Findings, finding: Found) {
    findings.lock().unwrap_or_else(PoisonError::into_inner).push_back(finding);
}

/// The moment that is `time` after the world began.
pub(crate) fn moment(begin: Instant, time: Duration) -> Moment {
    Moment { instant: begin + time, time: Time::from_unix(1_800_000_000 + time.as_secs()) }
}
