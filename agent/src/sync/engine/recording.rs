//! The inventory's record: an object is in it before it is made, and a deletion before it is sent.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::model::finding::Finding;
use crate::model::object::ObjectId;
use crate::sync::live::Live;
use crate::sync::plan::Declared;
use crate::sync::plan::guard::ObjectCounts;
use crate::sync::plan::memory::{GuardMemory, Proof};

use super::{Command, NewRecord, Notice, State};

/// The record that was sent last.
#[derive(Default)]
pub(super) struct Recording {
    /// Number of records that were sent.
    number: u64,
    /// The last one is unanswered: no commit's own work is sent before the answer.
    going_on: bool,
    /// The reason why the last one cannot be written so far.
    failure: Option<Finding>,
    /// Numbers of objects in the record.
    size: ObjectCounts,
    /// The guard's facts in it.
    memory: GuardMemory,
}

impl Recording {
    /// A record that has these objects and facts. One that was lost is to be written, whatever follows.
    pub(super) fn of<'a>(objects: impl IntoIterator<Item = &'a ObjectId>, memory: &GuardMemory) -> Self {
        let memory = GuardMemory { proof: Proof::Record, ..memory.clone() };
        Self { memory, size: objects.into_iter().collect(), ..Self::default() }
    }

    /// The record is to have these objects.
    pub(super) fn resize<'a>(&mut self, objects: impl IntoIterator<Item = &'a ObjectId>) {
        self.size = objects.into_iter().collect();
    }

    /// Numbers of objects in the record.
    pub(super) fn size(&self) -> ObjectCounts {
        self.size
    }

    /// `true` while a record is unanswered.
    pub(super) fn is_going_on(&self) -> bool {
        self.going_on
    }

    /// Number of the last record.
    #[cfg(test)]
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The reason why the record cannot be written so far.
    pub(super) fn failure(&self) -> Option<&Finding> {
        self.failure.as_ref()
    }
}

impl State {
    /// Writes the objects of the commit in force and those that it prunes into the record, with the guard's facts.
    pub(super) fn record(&mut self) {
        let declared = self.in_force.declared.iter().flat_map(|declared| declared.objects.keys());
        let objects: BTreeSet<ObjectId> = declared.chain(self.there()).cloned().collect();
        self.recording.resize(&objects);
        let memory = self.prunes.memory().clone();
        self.recording.memory = memory.clone();
        self.recording.number += 1;
        self.recording.going_on = true;
        let number = self.recording.number;
        self.commands.push(Command::Record(Box::new(NewRecord { number, objects, memory })));
    }

    /// The recorded objects that are there and the sync's, and those that no list has shown yet.
    pub(super) fn there(&self) -> impl Iterator<Item = &ObjectId> {
        self.objects.inventory().map(|(id, _)| id).chain(self.unlisted())
    }

    /// Another client has changed the record, or the states in it.
    pub(super) fn record_again(&mut self) {
        if self.in_force.declared.is_some() {
            self.record();
        }
        self.report.resources_changed();
    }

    /// `true` when the guard has facts that the record has not.
    pub(super) fn has_more_to_remember(&self) -> bool {
        !self.recording.memory.is_up_to_date(self.prunes.memory())
    }

    /// Declared objects that are as declared already are the sync's own from now on. Others are when they are applied.
    fn evaluate_recorded(&mut self, now: Instant) {
        let new = |(id, _): &(&ObjectId, &Live)| {
            !self.objects.is_recorded(id) && matches!(self.declared(id), Declared::Object(_))
        };
        let new: Vec<ObjectId> = self.objects.lives().filter(new).map(|(id, _)| id.clone()).collect();
        for id in new {
            self.evaluate(&id, now);
        }
    }

    /// The object is gone, or given up. If it is not declared, one that is made in its place by another client is none of the
    /// sync's. A kind that is not listed may still have the object.
    pub(super) fn forget_record(&mut self, id: &ObjectId) {
        if !matches!(self.declared(id), Declared::Object(_)) && self.objects.get(id).is_some() {
            self.others.lost(id);
            self.objects.change(id, |tracked| {
                tracked.recorded &= tracked.unlisted;
                if let Some(notes) = &mut tracked.notes {
                    notes.overdue_at = None;
                }
            });
        }
    }

    /// The record of this number is written. The answer to an older one says nothing about the newest.
    pub(super) fn recorded(&mut self, number: u64, now: Instant) {
        if number == self.recording.number {
            self.recording.going_on = false;
            self.evaluate_recorded(now);
            if self.recording.failure.take().is_some() {
                self.report.status_changed();
            }
        }
    }

    /// The record cannot be written for now. It is tried again.
    pub(super) fn unrecorded(&mut self, finding: Finding) {
        let told = self.recording.failure.as_ref().is_some_and(|told| told.is_like(&finding));
        if self.recording.going_on && !told {
            self.commands.push(Command::Notice(Notice::Failed(finding.clone())));
            self.recording.failure = Some(finding);
            self.report.status_changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::model::object::GroupKind;
    use crate::sync::engine::Settings;
    use crate::sync::engine::tests::{begin_sync, declared};
    use crate::sync::plan::memory::PruneMark;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn a_process_begins_with_the_facts_of_the_record() {
        let id = ObjectId::new(&GroupKind::new("", "ConfigMap"), "ns", "a");
        let settings = begin_sync(&declared(""), Duration::from_secs(300), Instant::now()).0.settings;
        let begin = |proof| {
            let passed = BTreeSet::from([PruneMark::new(&(id.clone(), "uid".into()), 0, "")]);
            let memory = GuardMemory { passed, proof, ..GuardMemory::default() };
            State::new(Settings { memory, recorded: [id.clone()].into(), ..settings.clone() })
        };
        assert!(!begin(Proof::Record).has_more_to_remember());
        assert!(begin(Proof::Approval).has_more_to_remember(), "the loss of the record is to be written");
        assert_eq!(begin(Proof::Record).recording.size().objects, 1);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn the_size_of_the_record_is_that_of_the_last_one() {
        let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ns}\n";
        let (state, _) = begin_sync(&declared(manifest), Duration::from_secs(300), Instant::now());
        assert_eq!(state.recording.size().objects, 1);
    }
}
