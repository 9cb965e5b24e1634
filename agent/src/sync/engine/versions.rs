//! The versions in which kinds are served. An object that is declared in another one can be neither read nor applied. While it is as it
//! was applied, nothing else would tell that its drift cannot be put back: it is read, and the answer is told as of any command.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::compile::declared::DeclaredObject;
use crate::model::finding::Code;
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::plan::Action;

use super::State;
use super::objects::Phase;

/// The pause before an object is read about which a command is unanswered.
const UNANSWERED: Duration = Duration::from_secs(1);

impl State {
    /// The API server serves the kind under this plural and in these versions. Objects that are declared in a version that came or went
    /// are read.
    pub(super) fn kind_served(&mut self, kind: &GroupKind, plural: Box<str>, versions: BTreeSet<String>, now: Instant) {
        let entry = self.kinds.of_mut(kind);
        entry.plural = Some(plural);
        let before = std::mem::replace(&mut entry.versions, versions);
        let changed: BTreeSet<String> = before.symmetric_difference(&entry.versions).cloned().collect();
        if before.is_empty() || changed.is_empty() {
            return;
        }
        for id in self.declared_in(kind, |version| changed.contains(version)) {
            self.read_in_its_version(&id, now);
            self.end_pause(&id, now);
        }
    }

    /// Reads the objects of the kind that are declared in a version in which it is not served.
    pub(super) fn read_unserved(&mut self, kind: &GroupKind, now: Instant) {
        let Some(served) = self.kinds.versions(kind) else { return };
        for id in self.declared_in(kind, |version| !served.contains(version)) {
            self.read_in_its_version(&id, now);
        }
    }

    /// Reads all declared objects whose kind is not served in their version. The failures of the commit before are forgotten.
    pub(super) fn read_all_unserved(&mut self, now: Instant) {
        let kinds: Vec<GroupKind> = self.kinds.all().map(|(kind, _)| kind.clone()).collect();
        for kind in kinds {
            self.read_unserved(&kind, now);
        }
    }

    /// The objects of the kind that are declared in such a version.
    fn declared_in(&self, kind: &GroupKind, is_meant: impl Fn(&str) -> bool) -> Vec<ObjectId> {
        self.declared_of(kind).filter(|(_, declared)| is_meant(declared.version())).map(|(id, _)| id.clone()).collect()
    }

    /// The objects of the kind that the commit in force declares.
    pub(super) fn declared_of(&self, kind: &GroupKind) -> impl Iterator<Item = (&ObjectId, &Arc<DeclaredObject>)> {
        let first = ObjectId::new(kind, "", "");
        let from = self.in_force.declared.iter().flat_map(move |set| set.objects.range(first.clone()..));
        from.take_while(move |(id, _)| id.is_of(kind))
    }

    /// Has an object read that is as declared. For others a command is due, which fails by itself.
    fn read_in_its_version(&mut self, id: &ObjectId, now: Instant) {
        if self.action(id) != Action::Nothing {
            return;
        }
        self.objects.change(id, |tracked| {
            let pause = if matches!(tracked.phase, Phase::InFlight(_)) { UNANSWERED } else { Duration::ZERO };
            tracked.notes_mut().read_at = Some(now + pause);
        });
    }

    /// A command that failed because the version was not served is tried again at once.
    fn end_pause(&mut self, id: &ObjectId, now: Instant) {
        let is_over = self.objects.change(id, |tracked| {
            let failure = tracked.notes.as_mut().and_then(|notes| notes.failure.as_mut());
            let Some(failure) = failure.filter(|failure| failure.finding.code == Code::UnknownKind) else {
                return false;
            };
            failure.begin_anew();
            let waits = matches!(tracked.phase, Phase::BackingOff(_));
            if waits {
                tracked.phase = Phase::Settled;
            }
            waits
        });
        if is_over {
            self.look_again(id, now);
        }
    }
}

#[cfg(test)]
mod tests;
