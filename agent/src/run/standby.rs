//! A sync of an agent that stands by: it reads its source and compiles its commits, and writes nothing. An agent that takes over
//! goes on with what was read.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::AgentContext;
use super::source::{FollowedSource, WarmSource};
use super::start::start;
use super::sync::Instructions;

/// The end of a time of standing by.
pub(super) enum StandbyEnd {
    /// This agent leads. There is no source if it led already.
    Leads(Option<WarmSource>),
    /// The sync was told to stop.
    Stopped,
}

/// Waits until this agent leads.
pub(super) async fn led(context: &AgentContext) {
    // The sender is in the context.
    let _ = context.leads.subscribe().wait_for(|leads| *leads).await;
}

/// Stands by until this agent leads.
pub(super) async fn stand_by(
    context: &Arc<AgentContext>,
    instructions: &mut watch::Receiver<Instructions>,
) -> StandbyEnd {
    let mut leads = context.leads.subscribe();
    let mut warm = None;
    loop {
        let Instructions { task, stop, .. } = instructions.borrow_and_update().clone();
        if stop {
            return StandbyEnd::Stopped;
        }
        if *leads.borrow_and_update() {
            return StandbyEnd::Leads(warm);
        }
        warm = None;
        let (defined, awaited) = oneshot::channel();
        let mut source = FollowedSource::new(context, &task, awaited);
        let read = async {
            // Without the kinds that the sync's CRDs define, a commit could be compiled to another result.
            match start(context, &task.sync, defined).await {
                Ok(_) => warm = Some(WarmSource { task: Arc::clone(&task), kept: source.kept.clone() }),
                Err(error) => tracing::debug!(%error, "cannot read the inventory"),
            }
            // The events are for a sync that acts on them.
            while source.events.recv().await.is_some() {}
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = read => {}
            _ = leads.wait_for(|leads| *leads) => {}
            // A closed channel is a stop too.
            changed = async { instructions.wait_for(|next| next.stop || !Arc::ptr_eq(&next.task, &task)).await.is_ok() } => {
                if !changed {
                    return StandbyEnd::Stopped;
                }
            }
        }
    }
}
