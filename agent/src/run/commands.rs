//! Carries out the commands of one sync's engine: each request is a task of its own and its outcome comes back as an event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tracing::Instrument as _;

use super::AgentContext;
use super::budget::{Budget, Purpose};
use super::commit_states::CommitTeller;
use super::source::git_context;
use super::supervision::supervised;
use crate::compile::declared::{DeclaredObject, DeclaredSet};
use crate::io::kubernetes::apply;
use crate::io::kubernetes::audit::audit;
use crate::io::kubernetes::client::Cluster;
use crate::io::kubernetes::count::count;
use crate::io::kubernetes::delete::{Deletion, Dependents, delete};
use crate::io::kubernetes::patience::patiently;
use crate::io::kubernetes::values::fill;
use crate::io::kubernetes::watch::Subscription;
use crate::io::places::party;
use crate::io::serve::{OperationLabel, OperationLabels, OutcomeLabel, SyncMetrics};
use crate::model::finding::{Code, Finding, Resource};
use crate::model::limits::{APPLIED_BYTES, HEAVY_OBJECT};
use crate::model::metadata::SyncId;
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::engine::{Command, Event, Failure, Holdings, Notice, Outcome, Report, Retry, SourceCommit, State};
use crate::sync::reporting::ReportMessage;

/// Everything that the commands of one sync need.
pub(super) struct CommandRunner {
    pub(super) context: Arc<AgentContext>,
    /// The API server, with the account and the time limit of this sync.
    pub(super) cluster: Arc<Cluster>,
    pub(super) sync: SyncId,
    pub(super) metrics: SyncMetrics,
    pub(super) teller: Option<CommitTeller>,
    /// To the engine.
    pub(super) events: mpsc::Sender<Event>,
    /// To the engine too: whole objects that audits read. Few of them wait, because they can be large.
    pub(super) audited: mpsc::Sender<Event>,
    pub(super) subscription: Subscription,
    /// To the deletions that are not sent yet: they are withdrawn.
    pub(super) withdrawals: watch::Sender<()>,
    /// To the reporter.
    pub(super) reports: mpsc::UnboundedSender<ReportMessage>,
    /// To the announcer.
    pub(super) notices: mpsc::Sender<Notice>,
    /// To the source.
    pub(super) restores: mpsc::Sender<SourceCommit>,
}

/// The part of the budgets that a request takes.
struct Needs {
    purpose: Purpose,
    /// Bytes of one copy of the object that is applied.
    memory: usize,
    /// Applies an object of many values.
    heavy: bool,
}

impl Needs {
    /// The needs of an apply of this object.
    fn of_apply(purpose: Purpose, declared: &DeclaredObject) -> Self {
        Self { purpose, memory: declared.decoded_bytes(), heavy: declared.values() >= HEAVY_OBJECT }
    }
}

/// The needs of a request that sends no object.
const OF_COMMIT: Needs = Needs { purpose: Purpose::Commit, memory: 0, heavy: false };

impl CommandRunner {
    /// Begins to carry out a command of this engine, which hears of the outcome by an event.
    pub(super) fn run(&mut self, command: Command, engine: &State) {
        let purpose = |id: &ObjectId| if engine.is_repaired(id) { Purpose::Repair } else { Purpose::Commit };
        match command {
            Command::Watch(kinds) => {
                for kind in kinds {
                    self.subscription.watch(kind);
                }
            }
            Command::Record(record) => self.tell(ReportMessage::Record(record)),
            Command::AskServer => self.ask_server(),
            Command::Count(crd) => self.count(crd),
            Command::Share(held) => self.context.holdings.share(&self.sync, Holdings::Known(held)),
            Command::Report(report) => self.report(report),
            Command::Notice(notice) => self.announce(notice, engine),
            Command::Restore(commit) => {
                // It fails when the source has ended, and this sync ends with it.
                let _ = self.restores.try_send(commit);
            }
            Command::Apply(declared, commit, mode) => {
                let (cluster, sync, git_context) = self.stamped(engine);
                let needs = Needs::of_apply(purpose(&declared.id), &declared);
                self.spawn(OperationLabel::apply, declared.id.clone(), needs, async move {
                    let stamp = apply::CommitStamp { sync: &sync, token: &commit, git_context: &git_context };
                    apply::apply(&cluster, &stamp, &declared, &mode).await
                });
            }
            Command::Annotate(declared, commit, mode) => {
                let (cluster, sync, git_context) = self.stamped(engine);
                let needs = Needs::of_apply(Purpose::Commit, &declared);
                self.spawn(OperationLabel::annotate, declared.id.clone(), needs, async move {
                    let stamp = apply::CommitStamp { sync: &sync, token: &commit, git_context: &git_context };
                    apply::annotate(&cluster, &stamp, &declared, &mode).await
                });
            }
            Command::Read(declared) => {
                self.read(Arc::clone(&self.cluster), purpose(&declared.id), declared);
            }
            Command::ReadAsAgent(declared) => {
                self.read(Arc::new(self.cluster.as_agent()), purpose(&declared.id), declared);
            }
            Command::Fill(declared, sources) => self.fill(declared, sources),
            Command::Audit(kind, versions) => self.audit(kind, versions),
            Command::Delete(id, uid, version, heirs) => {
                let (cluster, sync) = (Arc::clone(&self.cluster), self.sync.clone());
                let goes = |set: &Arc<DeclaredSet>| set.undeclared.is_gone_before();
                let dependents =
                    if engine.in_force().is_some_and(goes) { Dependents::First } else { Dependents::Later };
                let withdrawn = self.withdrawals.subscribe();
                let deletion = Deletion { id, uid, version, heirs, dependents };
                self.spawn(OperationLabel::delete, deletion.id.clone(), OF_COMMIT, async move {
                    delete(&cluster, &sync, &deletion, withdrawn).await
                });
            }
            Command::Withdraw => self.withdrawals.send_replace(()),
            Command::Abandon(id) => {
                let (cluster, sync) = (Arc::clone(&self.cluster), self.sync.clone());
                self.spawn(OperationLabel::unmanage, id.clone(), OF_COMMIT, async move {
                    apply::abandon(&cluster, &sync, &id).await
                });
            }
        }
    }

    fn announce(&mut self, notice: Notice, engine: &State) {
        if let (Notice::Syncing { commit, objects, .. }, Some(teller)) = (&notice, &self.teller) {
            teller.in_force(&self.context, &self.sync, (commit, *objects), engine);
        }
        self.notice(notice);
    }

    /// Sends something to be written.
    pub(super) fn tell(&self, message: ReportMessage) {
        match message {
            ReportMessage::Refused(..) => self.context.metrics.stalled(&self.sync, true),
            ReportMessage::Spec(_) => self.context.metrics.stalled(&self.sync, false),
            _ => {}
        }
        // The reporter ends after the sync.
        let _ = self.reports.send(message);
    }

    fn stamped(&self, engine: &State) -> (Arc<Cluster>, SyncId, String) {
        (Arc::clone(&self.cluster), self.sync.clone(), git_context(engine.git_in_force()))
    }

    fn spawn(
        &self,
        operation: OperationLabel,
        id: ObjectId,
        needs: Needs,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let (events, context, party) = (self.events.clone(), Arc::clone(&self.context), party(&self.sync));
        let task = async move {
            let start = Instant::now();
            let turn = context.budget.request(&party, needs.purpose, needs.heavy).await;
            let memory = context.budget.memory(needs.memory).await;
            let begin = Instant::now();
            // The sync has ended while the request waited: it must not come after those of the sync's successor.
            if events.is_closed() {
                return;
            }
            let outcome = supervised(work).await.unwrap_or_else(|| Outcome::Failed(broke_down(&id)));
            drop(memory);
            Budget::answered(&party, turn, begin.elapsed());
            let metrics = &context.metrics;
            metrics.seconds.observe(start.elapsed().as_secs_f64());
            let status = match outcome {
                Outcome::Failed(_) => OutcomeLabel::error,
                _ => OutcomeLabel::success,
            };
            metrics.operations.get_or_create(&OperationLabels { operation, status }).inc();
            // It fails when the sync has ended, which then needs no outcome.
            let _ = events.send(Event::Finished(id, outcome)).await;
        };
        tokio::spawn(task.in_current_span());
    }

    fn fill(&self, declared: Arc<DeclaredObject>, sources: Arc<[ObjectId]>) {
        let cluster = Arc::clone(&self.cluster);
        let needs = Needs { memory: declared.decoded_bytes() + APPLIED_BYTES, ..OF_COMMIT };
        self.spawn(OperationLabel::read, declared.id.clone(), needs, async move {
            fill(&cluster, &declared, &sources).await
        });
    }

    fn read(&mut self, cluster: Arc<Cluster>, purpose: Purpose, declared: Arc<DeclaredObject>) {
        let needs = Needs { purpose, ..OF_COMMIT };
        self.spawn(
            OperationLabel::read,
            declared.id.clone(),
            needs,
            async move { apply::read(&cluster, &declared).await },
        );
    }

    fn audit(&self, kind: GroupKind, versions: BTreeSet<String>) {
        let (context, sync, events) = (Arc::clone(&self.context), self.sync.clone(), self.audited.clone());
        let task = async move {
            let _turn = context.budget.audit(&party(&sync)).await;
            let mut is_complete = true;
            for version in &versions {
                let audit = audit(&context.cluster, &kind, version, &sync, &events);
                let answer = supervised(audit).await;
                is_complete &= matches!(answer, Some(Ok(())));
                if let Some(Err(error)) = answer {
                    tracing::warn!(%kind, version, %error, "cannot compare whole objects");
                    if error.is_unserved() {
                        // The watch of the kind tells if it is not served in this version any more.
                        let _ = context.cluster.discover().await;
                    }
                }
            }
            // It fails when the sync has ended, which then needs no answer.
            let _ = events.send(Event::AuditEnded(kind, is_complete)).await;
        };
        tokio::spawn(task.in_current_span());
    }

    /// Counts the objects of a CRD's kind. It is tried again while the API server is away or busy.
    fn count(&self, crd: ObjectId) {
        let (cluster, events) = (Arc::clone(&self.context.cluster), self.events.clone());
        let task = async move {
            let objects = supervised(patiently(|| count(&cluster, &crd))).await.and_then(Result::ok).flatten();
            // It fails when the sync has ended, which then needs no answer.
            let _ = events.send(Event::Counted(crd, objects)).await;
        };
        tokio::spawn(task.in_current_span());
    }

    /// Asks whether the API server is there. It takes no turn of the requests, which hang while the API server does.
    fn ask_server(&self) {
        let (cluster, events) = (Arc::clone(&self.cluster), self.events.clone());
        let task = async move {
            let failure = supervised(cluster.outage()).await.flatten();
            // It fails when the sync has ended, which then needs no answer.
            let _ = events.send(Event::ServerAsked(failure)).await;
        };
        tokio::spawn(task.in_current_span());
    }

    fn report(&self, report: Box<Report>) {
        let errors = report.source.findings.len() + report.sync.findings.len();
        self.metrics.errors(errors);
        if report.synced {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            self.metrics.synced(now.map_or(0, |since| since.as_secs()));
        }
        if let Some(teller) = &self.teller {
            teller.reported(&self.context, &self.sync, &report);
        }
        self.tell(ReportMessage::Report(report));
        self.context.journal.touch();
    }

    /// Announces an event. While the API server takes long for Events, further ones are counted and left out.
    pub(super) fn notice(&mut self, notice: Notice) {
        match &notice {
            Notice::Repaired(repaired) => self.metrics.repaired(repaired.after),
            Notice::Syncing { objects, .. } => {
                self.metrics.declared(*objects);
            }
            _ => {}
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.notices.try_send(notice) {
            self.metrics.dropped();
        }
    }
}

fn broke_down(id: &ObjectId) -> Failure {
    let finding =
        Finding::new(Code::Internal, format!("the request about {id} broke down; the log of the agent says where"))
            .hint("the agent tries again by itself; please report what the log says")
            .about(Resource::named(id, ""));
    Failure { finding, retry: Retry::Object, refused: false }
}
