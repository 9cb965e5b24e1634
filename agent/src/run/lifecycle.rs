//! Decides when the task of one sync object is started, told something, stopped and replaced, as the object changes.
//!
//! [`step`] is a function without I/O. Each sync object has a state of its own, so a task that takes long to end delays only
//! its own successor.

use std::sync::Arc;

use super::sync::Instructions;
use super::task::SyncTask;
use crate::api::Removal;
use crate::io::reports::SyncObject;
use crate::model::finding::Finding;

/// A sync object as it is now.
pub(super) struct SyncVersion {
    pub(super) uid: String,
    pub(super) generation: i64,
    /// The approval of held deletions: `<commit>.<digest>`.
    pub(super) approval: Option<String>,
    /// A user asks for a sync at once: another value is another request.
    pub(super) asked: Option<String>,
    /// A user suspended the sync.
    pub(super) suspended: bool,
    /// The task that serves the object, if its spec can be used.
    pub(super) task: Result<SyncTask, Refusal>,
}

impl SyncVersion {
    /// The end of the sync's objects, if the sync object is being deleted.
    fn removal(&self) -> Option<Removal> {
        self.task.as_ref().ok()?.removal
    }
}

/// A sync object whose spec cannot be used.
pub(super) struct Refusal {
    pub(super) object: SyncObject,
    pub(super) generation: i64,
    pub(super) finding: Finding,
}

/// The state of a sync object that has a task. A sync object without a task has no state.
pub(super) enum SyncState {
    /// A task serves the object.
    Running(RunningSync),
    /// A task was told to stop, or it only writes a refusal into the status. It ends by itself, nothing more is told to it,
    /// and `next` follows it.
    Ending {
        /// The newest version of the object; `None` when the object was removed or has no other version.
        next: Option<Box<SyncVersion>>,
    },
}

/// The version of a sync object that is served, and the last instructions to its task.
pub(super) struct RunningSync {
    uid: String,
    generation: i64,
    instructions: Instructions,
}

/// A change of a sync object or of its task.
pub(super) enum SyncChange {
    /// The object is there in this version.
    Declared(Box<SyncVersion>),
    /// The object is gone, or being deleted with nothing left to do for it.
    Removed,
    /// The task ended, by itself or because it was told to.
    Ended,
}

/// The next thing to do for a sync object.
pub(super) enum SyncAction {
    /// Start a task with these instructions.
    Start(Instructions),
    /// Give these instructions to the task that runs.
    Tell(Instructions),
    /// Start a task that writes the refusal into the status of the object.
    Refuse(Box<Refusal>),
}

/// The state after a change, and what follows from the change.
pub(super) fn step(state: Option<SyncState>, change: SyncChange) -> (Option<SyncState>, Option<SyncAction>) {
    match (state, change) {
        (None, SyncChange::Declared(version)) => begin(*version),
        (None, SyncChange::Removed | SyncChange::Ended) => (None, None),
        (Some(SyncState::Running(running)), SyncChange::Declared(version)) => running.update(version),
        (Some(SyncState::Running(running)), SyncChange::Removed) => running.end(None),
        // The object is served again as soon as it changes.
        (Some(SyncState::Running(_)), SyncChange::Ended) => (None, None),
        (Some(SyncState::Ending { .. }), SyncChange::Declared(version)) => {
            (Some(SyncState::Ending { next: Some(version) }), None)
        }
        (Some(SyncState::Ending { .. }), SyncChange::Removed) => (Some(SyncState::Ending { next: None }), None),
        (Some(SyncState::Ending { next }), SyncChange::Ended) => match next {
            Some(version) => begin(*version),
            None => (None, None),
        },
    }
}

fn begin(version: SyncVersion) -> (Option<SyncState>, Option<SyncAction>) {
    let SyncVersion { uid, generation, approval, asked, suspended, task } = version;
    match task {
        Ok(task) => {
            let instructions =
                Instructions { task: Arc::new(task), approval, asked, suspended, refused: None, stop: false };
            let running = RunningSync { uid, generation, instructions: instructions.clone() };
            (Some(SyncState::Running(running)), Some(SyncAction::Start(instructions)))
        }
        Err(refusal) => (Some(SyncState::Ending { next: None }), Some(SyncAction::Refuse(Box::new(refusal)))),
    }
}

impl RunningSync {
    /// The end of the sync's objects, if the sync object is being deleted.
    pub(super) fn removal(&self) -> Option<Removal> {
        self.instructions.task.removal
    }

    fn update(mut self, version: Box<SyncVersion>) -> (Option<SyncState>, Option<SyncAction>) {
        if version.uid != self.uid || version.removal() != self.removal() {
            return self.end(Some(version));
        }
        let SyncVersion { generation, approval, asked, suspended, task, .. } = *version;
        let before = self.instructions.clone();
        self.instructions = Instructions { approval, asked, suspended, ..before.clone() };
        match task {
            // No spec matters any more.
            _ if before.task.removal.is_some() => {}
            // The version before stays in force.
            Err(refusal) => self.instructions.refused = Some((refusal.finding, refusal.generation)),
            Ok(task)
                if (generation, &task.cluster_name) == (self.generation, &self.instructions.task.cluster_name)
                    && self.instructions.refused.is_none() => {}
            Ok(task) => {
                self.generation = generation;
                (self.instructions.task, self.instructions.refused) = (Arc::new(task), None);
            }
        }
        let told = (self.instructions != before).then(|| SyncAction::Tell(self.instructions.clone()));
        (Some(SyncState::Running(self)), told)
    }

    fn end(self, next: Option<Box<SyncVersion>>) -> (Option<SyncState>, Option<SyncAction>) {
        let stop = Instructions { stop: true, ..self.instructions };
        (Some(SyncState::Ending { next }), Some(SyncAction::Tell(stop)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::finding::Code;

    pub(in crate::run) fn version(generation: i64) -> Box<SyncVersion> {
        let task = SyncTask::for_tests(generation);
        let uid = "uid".to_owned();
        Box::new(SyncVersion { uid, generation, approval: None, asked: None, suspended: false, task: Ok(task) })
    }

    fn refused(generation: i64) -> Box<SyncVersion> {
        let finding = Finding::new(Code::InvalidSync, "no such auth");
        let object = SyncObject { status: Default::default(), uid: "uid".to_owned() };
        Box::new(SyncVersion { task: Err(Refusal { object, generation, finding }), ..*version(generation) })
    }

    fn running(generation: i64) -> Option<SyncState> {
        let (state, action) = step(None, SyncChange::Declared(version(generation)));
        assert!(matches!(action, Some(SyncAction::Start(told)) if told.task.generation == generation));
        state
    }

    #[test]
    fn an_unchanged_object_changes_nothing() {
        let (state, action) = step(running(1), SyncChange::Declared(version(1)));
        assert!(matches!(state, Some(SyncState::Running(_))) && action.is_none());
    }

    #[test]
    fn an_approval_is_told_to_the_task_that_runs() {
        let approved = SyncVersion { approval: Some("abc".to_owned()), ..*version(1) };
        let (state, action) = step(running(1), SyncChange::Declared(Box::new(approved)));
        assert!(
            matches!(action, Some(SyncAction::Tell(told)) if told.approval.as_deref() == Some("abc") && !told.stop)
        );
        assert!(matches!(state, Some(SyncState::Running(_))));
    }

    #[test]
    fn another_name_of_the_cluster_is_told_to_the_task_that_runs() {
        let task = SyncTask { cluster_name: "prod".to_owned(), ..SyncTask::for_tests(1) };
        let renamed = SyncVersion { task: Ok(task), ..*version(1) };
        let (_, action) = step(running(1), SyncChange::Declared(Box::new(renamed)));
        assert!(matches!(action, Some(SyncAction::Tell(told)) if told.task.cluster_name == "prod" && !told.stop));
    }

    fn anew(generation: i64) -> Box<SyncVersion> {
        Box::new(SyncVersion { uid: "other".to_owned(), ..*version(generation) })
    }

    #[test]
    fn a_new_version_is_told_to_the_task_that_runs() {
        let (state, action) = step(running(1), SyncChange::Declared(version(2)));
        assert!(matches!(action, Some(SyncAction::Tell(told)) if !told.stop && told.task.generation == 2));
        assert!(matches!(state, Some(SyncState::Running(_))));
    }

    #[test]
    fn a_new_object_waits_for_the_end_of_the_task_before_it_and_the_newest_wins() {
        let (state, action) = step(running(1), SyncChange::Declared(anew(2)));
        assert!(matches!(action, Some(SyncAction::Tell(told)) if told.stop));
        let (state, action) = step(state, SyncChange::Declared(anew(3)));
        assert!(action.is_none());
        let (state, action) = step(state, SyncChange::Ended);
        assert!(matches!(action, Some(SyncAction::Start(told)) if told.task.generation == 3));
        assert!(matches!(state, Some(SyncState::Running(_))));
    }

    #[test]
    fn a_removed_object_is_not_started_again() {
        let (state, _) = step(running(1), SyncChange::Declared(anew(2)));
        let (state, action) = step(state, SyncChange::Removed);
        assert!(action.is_none());
        assert!(matches!(step(state, SyncChange::Ended), (None, None)));
    }

    #[test]
    fn a_refused_version_is_told_once_and_the_one_before_goes_on() {
        let (state, action) = step(running(1), SyncChange::Declared(refused(2)));
        assert!(matches!(action, Some(SyncAction::Tell(told)) if !told.stop && told.refused.is_some()));
        let (state, action) = step(state, SyncChange::Declared(refused(2)));
        assert!(action.is_none());
        // A usable version is told even where only an annotation was wrong, which no generation shows.
        let (_, action) = step(state, SyncChange::Declared(version(1)));
        assert!(matches!(action, Some(SyncAction::Tell(told)) if !told.stop && told.refused.is_none()));
    }

    #[test]
    fn a_sync_is_told_that_it_is_suspended_whatever_its_spec_is() {
        for version in [version(1), refused(2)] {
            let suspended = SyncVersion { suspended: true, ..*version };
            let (state, action) = step(running(1), SyncChange::Declared(Box::new(suspended)));
            assert!(matches!(action, Some(SyncAction::Tell(told)) if told.suspended && !told.stop));
            assert!(matches!(state, Some(SyncState::Running(_))));
        }
    }

    #[test]
    fn a_refused_object_without_a_task_says_so_and_is_served_when_it_is_mended() {
        let (state, action) = step(None, SyncChange::Declared(refused(1)));
        assert!(matches!(action, Some(SyncAction::Refuse(_))));
        let (state, action) = step(state, SyncChange::Declared(version(2)));
        assert!(action.is_none());
        assert!(matches!(step(state, SyncChange::Ended).1, Some(SyncAction::Start(..))));
    }
}
