//! Values of other objects: the declared form of an object that takes them is complete when they are read. From then on the complete
//! form is what is declared, with a hash of its own, until a source has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::compile::declared::{DeclaredObject, DeclaredSet, Hash};
use crate::model::backoff::Pace;
use crate::model::object::ObjectId;
use crate::sync::live::FieldOwnership;

use super::objects::{FailureRecord, Phase};
use super::{Command, Failure, Notice, State};

/// The pauses between two reads of the values of an object. Each change of a source, which is perhaps a status that counts, asks for one.
const READS: Pace = Pace::new(Duration::from_millis(250), Duration::from_secs(60));

/// The declared form of an object with the values of other objects: the answer to [`Command::Fill`](super::Command::Fill).
#[derive(Debug)]
pub struct FilledForm {
    /// The form with the values.
    pub declared: Arc<DeclaredObject>,
    /// The hash of the form without them.
    pub of: Hash,
    /// The sources as they were read.
    pub sources: Vec<SourceVersion>,
}

/// An object of which values were copied.
#[derive(Debug)]
pub struct SourceVersion {
    /// Its identity.
    pub id: ObjectId,
    /// Its uid.
    pub uid: Box<str>,
    /// Its resource version.
    pub version: u64,
}

/// The complete forms that are known.
#[derive(Default)]
pub(super) struct Values {
    filled: BTreeMap<ObjectId, FilledForm>,
    reads: BTreeMap<ObjectId, Reads>,
    /// The ends of the pauses of objects with a complete form.
    pauses: BTreeSet<(Instant, ObjectId)>,
}

/// The reads of the values of one object.
struct Reads {
    pace: Pace,
    /// A source has changed since the last one.
    asked: bool,
    /// The end of the pause that is going on. The object is kept at the last known values meanwhile.
    paused_until: Option<Instant>,
    /// The last one failed.
    failed: bool,
    /// The failure of the last one, if the values of before are known. Other failures are those of the object.
    failure: Option<FailureRecord>,
}

impl Default for Reads {
    fn default() -> Self {
        Self { pace: READS, asked: true, paused_until: None, failed: false, failure: None }
    }
}

impl Reads {
    /// The values were read at `now`. Returns the time before which changes of sources do not have them read again.
    fn done(&mut self, now: Instant) -> Instant {
        // A failure that is tried again is no change.
        match std::mem::take(&mut self.asked) {
            true => self.pace.done(now),
            false => self.pace.pause(now).unwrap_or(now),
        }
    }
}

impl Values {
    /// The complete form of a declared object, if it is known.
    pub(super) fn form(&self, object: &DeclaredObject) -> Option<&Arc<DeclaredObject>> {
        Some(&self.of(object)?.declared)
    }

    fn of(&self, object: &DeclaredObject) -> Option<&FilledForm> {
        self.filled.get(&object.id).filter(|filled| filled.of == object.hash)
    }

    /// Keeps the forms of objects that a set declares.
    pub(super) fn keep(&mut self, declared: &DeclaredSet) {
        self.filled.retain(|id, filled| declared.objects.get(id).is_some_and(|object| object.hash == filled.of));
        self.pauses.clear();
        let takes_values = |object: &Arc<DeclaredObject>| object.apply_time_mutation().is_some();
        self.reads.retain(|id, _| declared.objects.get(id).is_some_and(takes_values));
        for reads in self.reads.values_mut() {
            *reads = Reads { pace: reads.pace, ..Reads::default() };
        }
    }

    /// The last known values of the object are in use until then.
    fn pause(&mut self, id: &ObjectId, until: Option<Instant>) {
        let reads = self.reads.entry(id.clone()).or_default();
        let before = std::mem::replace(&mut reads.paused_until, until);
        before.iter().for_each(|at| _ = self.pauses.remove(&(*at, id.clone())));
        self.pauses.extend(until.map(|at| (at, id.clone())));
    }

    fn is_paused(&self, id: &ObjectId) -> bool {
        self.reads.get(id).is_some_and(|reads| reads.paused_until.is_some())
    }

    /// The end of the first pause.
    pub(super) fn next_read(&self) -> Option<Instant> {
        self.pauses.first().map(|(at, _)| *at)
    }

    /// The failure of the last read for an object that is kept at the values of before.
    pub(super) fn failure(&self, id: &ObjectId) -> Option<&FailureRecord> {
        self.reads.get(id)?.failure.as_ref()
    }

    /// All of these failures.
    pub(super) fn failures(&self) -> impl Iterator<Item = &FailureRecord> {
        self.reads.values().filter_map(|reads| reads.failure.as_ref())
    }
}

impl State {
    /// `true` if the values of other objects for this one are to be read: they are not known, or are older than these objects and
    /// were not read just now.
    pub(super) fn lacks_values(&self, id: &ObjectId) -> bool {
        self.has_old_values(id) && !(self.values.is_paused(id) && self.known_form(id).is_some())
    }

    /// `true` if the values of other objects for this one are not known, or are older than these objects.
    fn has_old_values(&self, id: &ObjectId) -> bool {
        // Each decision comes here, and few objects take values.
        if self.in_force.order.sources(id).is_none() {
            return false;
        }
        let is_older = |source: &SourceVersion| {
            self.objects.live(&source.id).is_some_and(|live| live.uid != source.uid || live.version > source.version)
        };
        self.known_form(id).is_none_or(|filled| filled.sources.iter().any(is_older))
    }

    /// The complete form of an object that the commit in force declares, with the last known values.
    fn known_form(&self, id: &ObjectId) -> Option<&FilledForm> {
        self.values.of(self.in_force.declared.as_ref()?.objects.get(id)?)
    }

    /// `true` while an object is kept at values that may not be the newest, and that are read again in a moment.
    pub(super) fn are_values_pending(&self) -> bool {
        let told = |id| self.values.failure(id).is_some_and(FailureRecord::is_told);
        self.values.pauses.iter().any(|(_, id)| self.has_old_values(id) && !told(id))
    }

    /// The object as it is declared without values, and where each is to be read.
    pub(super) fn to_fill(&self, id: &ObjectId) -> Option<(Arc<DeclaredObject>, Arc<[ObjectId]>)> {
        let object = self.in_force.declared.as_ref()?.objects.get(id)?;
        Some((Arc::clone(object), Arc::clone(self.in_force.order.sources(id)?)))
    }

    /// The values were read. An object with this form that was compared with the one without values is compared again.
    pub(super) fn filled(&mut self, id: &ObjectId, form: FilledForm, now: Instant) {
        let reads = self.values.reads.entry(id.clone()).or_default();
        let end = reads.done(now);
        reads.failed = false;
        if reads.failure.take().is_some() {
            self.report.status_changed();
            self.report.resources_changed();
        }
        self.values.pause(id, Some(end));
        self.objects.change(id, |tracked| {
            if let Some(live) = tracked.live.as_mut().filter(|live| live.hash == Some(form.declared.hash))
                && matches!(live.fields, FieldOwnership::Lost(_))
            {
                live.fields = FieldOwnership::Unsure;
            }
        });
        self.values.filled.insert(id.clone(), form);
    }

    /// The values could not be read. An object whose values of before are known is kept at these: its failure is taken from it.
    pub(super) fn unfilled(&mut self, id: &ObjectId, failure: Failure, now: Instant) -> Option<Failure> {
        let is_known = self.known_form(id).is_some();
        let reads = self.values.reads.entry(id.clone()).or_default();
        let end = reads.done(now);
        reads.failed = true;
        if !is_known {
            return Some(failure);
        }
        let (record, pause, news) = FailureRecord::after(reads.failure.take(), &failure, now);
        reads.failure = Some(record);
        self.values.pause(id, Some(end.max(now + pause)));
        if news {
            self.commands.push(Command::Notice(Notice::Failed(failure.finding)));
            self.report.status_changed();
            self.report.resources_changed();
        }
        None
    }

    /// Reads values again whose pause is over.
    pub(super) fn read_values_again(&mut self, now: Instant) {
        while let Some((_, id)) = self.values.pauses.first().filter(|(at, _)| *at <= now).cloned() {
            self.values.pause(&id, None);
            if self.lacks_values(&id) {
                self.evaluate(&id, now);
            }
        }
    }

    /// The object changed: those that take values of it are decided about again. The pause after a failure ends, but for one that
    /// changes come too often for.
    pub(super) fn values_may_have_changed(&mut self, source: &ObjectId, now: Instant) {
        let Some(targets) = self.in_force.order.targets(source).map(<[ObjectId]>::to_vec) else { return };
        for target in targets {
            if !self.has_old_values(&target) {
                continue;
            }
            let reads = self.values.reads.entry(target.clone()).or_default();
            reads.asked = true;
            let pause = reads.pace.pause(now);
            let failed = std::mem::take(&mut reads.failed);
            if self.known_form(&target).is_some() {
                self.values.pause(&target, pause);
            } else if failed && matches!(self.objects.get(&target).map(|it| &it.phase), Some(Phase::BackingOff(_))) {
                self.objects.set_phase(&target, pause.map_or(Phase::Settled, Phase::BackingOff));
            }
            self.evaluate(&target, now);
        }
    }
}

#[cfg(test)]
mod tests;
