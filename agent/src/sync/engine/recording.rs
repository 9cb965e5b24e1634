//! The inventory's record: an object is in it before it is made, and a deletion before it is sent.

use std::collections::BTreeSet;

use crate::model::finding::Finding;
use crate::model::object::ObjectId;

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
    /// Numbers of objects and of Namespaces in the record.
    size: (usize, usize),
}

impl Recording {
    /// A record that has these objects.
    pub(super) fn of<'a>(objects: impl IntoIterator<Item = &'a ObjectId>) -> Self {
        let mut recording = Self::default();
        recording.resize(objects);
        recording
    }

    /// The record is to have these objects.
    pub(super) fn resize<'a>(&mut self, objects: impl IntoIterator<Item = &'a ObjectId>) {
        self.size = objects
            .into_iter()
            .fold((0, 0), |(all, namespaces), id| (all + 1, namespaces + usize::from(id.is_namespace())));
    }

    /// Numbers of objects and of Namespaces in the record.
    pub(super) fn size(&self) -> (usize, usize) {
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
    /// Writes the objects of the commit in force and those that it prunes into the record, with the deletions of the last
    /// hour.
    pub(super) fn record(&mut self) {
        let declared = self.in_force.declared.iter().flat_map(|declared| declared.objects.keys());
        let there = self.objects.inventory().map(|(id, _)| id).chain(self.unlisted());
        let objects: BTreeSet<ObjectId> = declared.chain(there).cloned().collect();
        self.recording.resize(&objects);
        self.recorded_prunes = self.prunes.recent().clone();
        let prunes = self.recorded_prunes.clone();
        self.recording.number += 1;
        self.recording.going_on = true;
        let number = self.recording.number;
        self.commands.push(Command::Record(Box::new(NewRecord { number, objects, prunes })));
    }

    /// The record of this number is written. The answer to an older one says nothing about the newest.
    pub(super) fn recorded(&mut self, number: u64) {
        if number == self.recording.number {
            self.recording.going_on = false;
            if self.recording.failure.take().is_some() {
                self.report.status_changed();
            }
        }
    }

    /// The record cannot be written for now. It is tried again.
    pub(super) fn unrecorded(&mut self, finding: Finding) {
        if self.recording.going_on && self.recording.failure.as_ref() != Some(&finding) {
            self.commands.push(Command::Notice(Notice::Failed(finding.clone())));
            self.recording.failure = Some(finding);
            self.report.status_changed();
        }
    }
}
