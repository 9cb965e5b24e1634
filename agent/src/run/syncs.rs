//! The tasks of all sync objects: does what [`super::lifecycle`] decides, for each sync on its own.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::AgentContext;
use super::config_sync;
use super::holdings::tell_recorded;
use super::lifecycle::{Refusal, SyncAction, SyncChange, SyncState, step};
use super::removal;
use super::serving::{keep_running, refuse};
use super::standby::led;
use super::sync::Instructions;
use crate::io::kubernetes::events::EventPublisher;
use crate::model::metadata::SyncId;

/// The work of a task.
pub(super) enum SyncWork {
    /// Serve the sync until it is told to stop.
    Serve(watch::Receiver<Instructions>),
    /// Write into the status that the spec cannot be used.
    Refuse(Box<Refusal>),
}

/// Does the work of one task.
pub(super) async fn perform(context: Arc<AgentContext>, id: SyncId, work: SyncWork) {
    match work {
        SyncWork::Serve(instructions) if instructions.borrow().task.removal.is_some() => {
            removal::carry_out(context, instructions).await;
        }
        SyncWork::Serve(instructions) => keep_running(context, id, instructions).await,
        SyncWork::Refuse(refusal) => {
            let Refusal { mut object, generation, finding } = *refusal;
            led(&context).await;
            config_sync::left(&context, &id).await;
            tell_recorded(&context, &id).await;
            tracing::error!(code = %finding.code, "{}", finding.message);
            refuse(&context, &id, &mut object, generation, &finding, &mut EventPublisher::default()).await;
        }
    }
}

/// Makes the future that a task runs.
type Perform = Box<dyn Fn(SyncId, SyncWork) -> BoxFuture<'static, ()> + Send + Sync>;

/// The sync objects that have a task.
pub(super) struct Syncs {
    perform: Perform,
    states: BTreeMap<SyncId, SyncState>,
    instructions: BTreeMap<SyncId, watch::Sender<Instructions>>,
    tasks: JoinSet<SyncId>,
}

impl Syncs {
    /// No sync object yet.
    pub(super) fn new(perform: impl Fn(SyncId, SyncWork) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        let perform = Box::new(perform);
        Self { perform, states: BTreeMap::new(), instructions: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Waits until a task ends, and returns its sync object; `None` when no task runs.
    pub(super) async fn ended(&mut self) -> Option<SyncId> {
        // A task ends by its future, whose panics are caught, or is aborted together with this set.
        self.tasks.join_next().await?.ok()
    }

    /// The sync object is gone, or nothing is left to do for it: its task ends.
    pub(super) fn remove(&mut self, id: &SyncId) {
        if matches!(self.states.get(id), Some(SyncState::Running(running)) if running.removal().is_none()) {
            tracing::info!(sync = %id, "the sync was removed; the objects that it applied stay");
        }
        self.change(id, SyncChange::Removed);
    }

    /// Takes in a change and does what follows from it.
    pub(super) fn change(&mut self, id: &SyncId, change: SyncChange) {
        if matches!(change, SyncChange::Ended) {
            self.instructions.remove(id);
        }
        let (state, action) = step(self.states.remove(id), change);
        self.states.extend(state.map(|state| (id.clone(), state)));
        match action {
            Some(SyncAction::Start(instructions)) => {
                let (sender, receiver) = watch::channel(instructions);
                self.instructions.insert(id.clone(), sender);
                self.spawn(id, SyncWork::Serve(receiver));
            }
            Some(SyncAction::Refuse(refusal)) => self.spawn(id, SyncWork::Refuse(refusal)),
            Some(SyncAction::Tell(instructions)) => self.tell(id, instructions),
            None => {}
        }
    }

    /// Tells all syncs to stop and waits for them. A refusal that is not written yet is left out.
    pub(super) async fn stop(mut self) {
        let serving: Vec<SyncId> = self.instructions.keys().cloned().collect();
        for id in &serving {
            self.change(id, SyncChange::Removed);
        }
        while !self.instructions.is_empty()
            && let Some(id) = self.ended().await
        {
            self.instructions.remove(&id);
        }
    }

    fn spawn(&mut self, id: &SyncId, work: SyncWork) {
        let id = id.clone();
        let work = (self.perform)(id.clone(), work);
        self.tasks.spawn(async move {
            // The panic hook has told the user; the other syncs go on.
            let _ = AssertUnwindSafe(work).catch_unwind().await;
            id
        });
    }

    fn tell(&self, id: &SyncId, instructions: Instructions) {
        if let Some(sender) = self.instructions.get(id) {
            sender.send_replace(instructions);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{Notify, mpsc};

    use super::super::lifecycle::SyncVersion;
    use super::super::lifecycle::tests::version;
    use super::*;

    /// Tasks that tell of their start and, when they are told to stop, wait for `release` before they end.
    fn syncs(started: mpsc::UnboundedSender<(SyncId, i64)>, release: Arc<Notify>) -> Syncs {
        Syncs::new(move |id, work| {
            let (started, release) = (started.clone(), Arc::clone(&release));
            async move {
                let SyncWork::Serve(mut instructions) = work else { return };
                let generation = instructions.borrow().task.generation;
                started.send((id, generation)).unwrap();
                let _ = instructions.wait_for(|instructions| instructions.stop).await;
                release.notified().await;
            }
            .boxed()
        })
    }

    #[tokio::test]
    async fn a_sync_that_takes_long_to_stop_delays_its_successor_and_no_other_sync() {
        let (sender, mut started) = mpsc::unbounded_channel();
        let release = Arc::new(Notify::new());
        let mut syncs = syncs(sender, Arc::clone(&release));
        let (slow, other) = (SyncId::root("slow"), SyncId::root("other"));
        syncs.change(&slow, SyncChange::Declared(version(1)));
        assert_eq!(started.recv().await, Some((slow.clone(), 1)));

        let anew = SyncVersion { uid: "other".to_owned(), ..*version(2) };
        syncs.change(&slow, SyncChange::Declared(Box::new(anew)));
        syncs.change(&other, SyncChange::Declared(version(1)));
        assert_eq!(started.recv().await, Some((other.clone(), 1)));
        assert!(started.try_recv().is_err());

        release.notify_one();
        let ended = syncs.ended().await.unwrap();
        assert_eq!(ended, slow);
        syncs.change(&ended, SyncChange::Ended);
        assert_eq!(started.recv().await, Some((slow, 2)));

        release.notify_one();
        release.notify_waiters();
        let stop = tokio::spawn(syncs.stop());
        while !stop.is_finished() {
            release.notify_one();
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_and_is_started_again_with_the_next_change() {
        let (sender, mut started) = mpsc::unbounded_channel();
        let mut syncs = Syncs::new(move |id, _| {
            sender.send(id).unwrap();
            async { panic!("as the test wants it") }.boxed()
        });
        let id = SyncId::root("broken");
        for _ in 0..2 {
            syncs.change(&id, SyncChange::Declared(version(1)));
            assert_eq!(started.recv().await, Some(id.clone()));
            assert_eq!(syncs.ended().await, Some(id.clone()));
            syncs.change(&id, SyncChange::Ended);
        }
    }
}
