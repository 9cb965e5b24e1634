//! Tells notifications of the state of the commit that a sync object follows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::AgentContext;
use super::supervision::supervised;
use super::task::SyncTask;
use crate::io::notifications::{CommitMessage, notify};
use crate::io::reports::SyncObject;
use crate::model::metadata::SyncId;
use crate::sync::engine::{Report, State};
use crate::sync::notifications::CommitNews;

/// The pause after notifications broke down.
const AGAIN: Duration = Duration::from_secs(60);

/// Notifies while this agent leads. One that stands by tells nothing.
pub(super) async fn keep(context: Arc<AgentContext>, mut messages: mpsc::UnboundedReceiver<CommitMessage>) {
    let mut leads = context.leads.subscribe();
    while tokio::select! {
        biased;
        // The sender is in the context.
        _ = leads.wait_for(|leads| *leads) => false,
        Some(_) = messages.recv() => true,
    } {}
    // The next report of each sync tells all again.
    while supervised(notify(Arc::clone(&context.cluster), Arc::clone(&context.metrics), &mut messages)).await.is_none()
    {
        tokio::time::sleep(AGAIN).await;
    }
}

/// The facts about a sync that its news have.
pub(super) struct CommitTeller {
    pub(super) cluster: String,
    /// The commit that was in force when an earlier run ended, which told that it is being applied.
    before: String,
}

impl CommitTeller {
    /// `None` for a sync by flags, and for one that goes.
    pub(super) fn of(task: &SyncTask, object: Option<&SyncObject>) -> Option<Self> {
        let object = object.filter(|_| task.removal.is_none())?;
        Some(Self { cluster: task.cluster_name.clone(), before: object.status.sync.commit.clone() })
    }

    /// A commit came in force.
    pub(super) fn in_force(
        &self,
        context: &AgentContext,
        sync: &SyncId,
        (commit, objects): (&str, usize),
        engine: &State,
    ) {
        if commit != self.before {
            let git = Arc::new(engine.git_in_force().clone());
            tell(context, CommitNews::pending(sync, &self.cluster, commit, &git, objects));
        }
    }

    /// The sync reports its state.
    pub(super) fn reported(&self, context: &AgentContext, sync: &SyncId, report: &Report) {
        if let Some(news) = CommitNews::of(sync, &self.cluster, report) {
            tell(context, news);
        }
    }
}

fn tell(context: &AgentContext, news: CommitNews) {
    // It fails when the agent ends.
    let _ = context.commits.send(CommitMessage::State(news));
}
