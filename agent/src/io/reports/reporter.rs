//! The task that writes the reports of one sync: it sends one request after the other and waits before another attempt.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::pace::WriteBudget;
use super::{now, resource_groups, status};
use crate::io::journal::Journal;
use crate::io::kubernetes::client::Cluster;
use crate::io::places::party;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::SyncId;
use crate::sync::engine::Event;
use crate::sync::inventory::GroupDocument;
use crate::sync::reporting::{ReportAnswer, ReportEffect, ReportEvent, ReportMessage, ReportRequest, Reporting};

/// Sends the requests of one sync's [`Reporting`].
pub struct Reporter {
    cluster: Arc<Cluster>,
    sync: SyncId,
    /// The uid of the sync object; `None` without one.
    uid: Option<String>,
    budget: Arc<WriteBudget>,
    journal: Arc<Journal>,
}

/// The reason why a reporter ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReporterEnd {
    /// The last report is written, or there are no more messages.
    Written,
    /// The cluster was restored from a backup: the sync is to begin anew.
    Restored,
}

impl Reporter {
    /// A reporter of `sync`. `uid` is that of the sync object, if there is one.
    pub fn new(
        cluster: &Arc<Cluster>,
        sync: SyncId,
        uid: Option<String>,
        budget: &Arc<WriteBudget>,
        journal: &Arc<Journal>,
    ) -> Self {
        let (cluster, budget, journal) = (Arc::clone(cluster), Arc::clone(budget), Arc::clone(journal));
        Self { cluster, sync, uid, budget, journal }
    }

    /// Writes what the sync tells, until its last report is written or the sender of `messages` is gone.
    pub async fn run(
        self,
        mut reporting: Reporting,
        mut messages: mpsc::UnboundedReceiver<ReportMessage>,
        events: mpsc::Sender<Event>,
    ) -> ReporterEnd {
        let mut effects = VecDeque::new();
        let party = party(&self.sync);
        loop {
            let event = match effects.pop_front() {
                Some(ReportEffect::End) => return ReporterEnd::Written,
                Some(ReportEffect::Restored) => return ReporterEnd::Restored,
                Some(ReportEffect::Recorded(number)) => {
                    // It fails when the sync has ended, which then needs no answer.
                    let _ = events.send(Event::Recorded(number)).await;
                    continue;
                }
                Some(ReportEffect::Lacking) => {
                    let _ = events.send(Event::RecordTouched).await;
                    continue;
                }
                Some(ReportEffect::Unrecorded(why)) => {
                    let _ = events.send(Event::Unrecorded(not_recorded(&why))).await;
                    continue;
                }
                Some(ReportEffect::Send(request)) => {
                    let _turn = self.budget.turn(&party).await;
                    let answer =
                        write(&self.cluster, &self.sync, self.uid.as_deref(), Some(&self.budget), request).await;
                    // Users who look see the status as it is written.
                    self.journal.touch();
                    // Newer reports come before the next request, so that they replace older ones.
                    while let Ok(message) = messages.try_recv() {
                        effects.extend(reporting.step(ReportEvent::Told(message), &now()));
                    }
                    ReportEvent::Answered(answer)
                }
                None => match next(&mut messages, &reporting).await {
                    Some(event) => event,
                    None => return ReporterEnd::Written,
                },
            };
            effects.extend(reporting.step(event, &now()));
        }
    }
}

fn not_recorded(why: &str) -> Finding {
    Finding::new(Code::ApiServer, format!("{why}. Nothing new is applied and nothing is deleted before it is written"))
        .hint("the agent tries again by itself; if this stays, see why the API server refuses the ResourceGroup")
}

/// Writes a document of the sync whose object has this uid, within the budget of all syncs.
pub async fn write(
    cluster: &Cluster,
    sync: &SyncId,
    uid: Option<&str>,
    budget: Option<&WriteBudget>,
    request: ReportRequest,
) -> ReportAnswer {
    match (request, uid) {
        (ReportRequest::ReadGroup(name), _) => resource_groups::read(cluster, sync, &name).await,
        (ReportRequest::GroupSpec(GroupDocument { name, body, is_new }), _) => {
            if is_new && let Some(answer) = resource_groups::of_another(cluster, sync, &name).await {
                return answer;
            }
            let body = body.to_string().into_bytes();
            if let Some(budget) = budget {
                budget.spend(body.len(), Instant::now());
            }
            resource_groups::write(cluster, sync, &name, body, "").await
        }
        (ReportRequest::GroupStatus(GroupDocument { name, body, .. }), _) => {
            let body = body.to_string().into_bytes();
            if budget.is_some_and(|budget| !budget.take(body.len(), Instant::now())) {
                return ReportAnswer::Unsent("all syncs together write too much".to_owned());
            }
            resource_groups::write(cluster, sync, &name, body, "/status").await
        }
        (ReportRequest::SyncStatus(next), Some(uid)) => status::write(cluster, sync, uid, &next).await,
        (ReportRequest::SyncStatus(_), None) => ReportAnswer::Gone,
    }
}

/// The next message, or the end of a pause; `None` when there are no more messages.
async fn next(messages: &mut mpsc::UnboundedReceiver<ReportMessage>, reporting: &Reporting) -> Option<ReportEvent> {
    let pause = async {
        match reporting.next_wake() {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        message = messages.recv() => message.map(ReportEvent::Told),
        () = pause => Some(ReportEvent::Woken),
    }
}
