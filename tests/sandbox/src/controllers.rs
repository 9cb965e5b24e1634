//! What controllers do about changes.

use crate::clock::Time;
use crate::state::State;

/// How far the controllers have seen the history, and what they still have to do.
#[derive(Debug, Default)]
pub(crate) struct Controllers {
    seen: u64,
}

impl Controllers {
    /// Reacts to what has changed.
    pub(crate) fn react(&mut self, state: &mut State, _now: Time) {
        self.seen = state.store.revision();
    }
}
