//! Objects without the ApplySet label, which no watch shows: somebody else's, or ours whose label was taken off. They are
//! known from one look only, so that look is not relied on for longer than it takes to act on it.

use std::time::{Duration, Instant};

use super::backoff;
use crate::model::object::ObjectId;
use crate::sync::engine::State;
use crate::sync::plan::order::namespace_of;
use crate::sync::plan::{Action, Declared, decide};

impl State {
    /// Something is in the way, and no watch will tell when it is not any more.
    pub(super) fn look_again(&mut self, id: &ObjectId, now: Instant) {
        let unwatched = self.live.get(id).is_some_and(|live| !live.watched);
        if unwatched && !self.work.put_off.contains_key(id) {
            let looks = self.work.looks.entry(id.clone()).or_default();
            let pause = backoff(Duration::from_secs(1), *looks);
            *looks += 1;
            self.work.put_off(id.clone(), now + pause);
        }
    }

    /// The next apply finds out what is there.
    pub(super) fn forget_unwatched(&mut self, id: &ObjectId) {
        if self.live.get(id).is_some_and(|live| !live.watched) {
            self.live.remove(id);
        }
    }

    /// For a new commit: but for what it leaves alone anyway, such as Namespaces that it only refers to.
    pub(in crate::sync::engine) fn forget_all_unwatched(&mut self) {
        let declared = self.declared.clone();
        let said = |id: &ObjectId| declared.as_ref().map_or(Declared::Absent, |set| Declared::of(set, id));
        let sync = &self.settings.sync;
        self.live.retain(|id, live| {
            live.watched
                || (matches!(said(id), Declared::Object(_)) && decide(said(id), Some(live), sync) == Action::Nothing)
        });
    }

    /// An object did not work: its Namespace, where it is somebody else's, may be gone.
    pub(super) fn doubt_namespace(&mut self, id: &ObjectId, now: Instant) {
        if let Some(namespace) = namespace_of(id)
            && self.live.get(&namespace).is_some_and(|live| !live.watched)
        {
            self.live.remove(&namespace);
            self.evaluate(&namespace, now);
        }
    }
}
