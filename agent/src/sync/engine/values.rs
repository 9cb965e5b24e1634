//! Values of other objects: the declared form of an object that takes them is complete when they are read. From then on the complete
//! form is what is declared, with a hash of its own, until a source has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::compile::declared::{DeclaredObject, DeclaredSet, Hash};
use crate::model::object::ObjectId;
use crate::sync::live::FieldOwnership;

use super::State;
use super::objects::Phase;

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
    /// Objects for which a source had no value, or could not be read.
    failed: BTreeSet<ObjectId>,
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
        self.failed.clear();
    }
}

impl State {
    /// `true` if the values of other objects for this one are not known, or are older than these objects.
    pub(super) fn lacks_values(&self, id: &ObjectId) -> bool {
        // Each decision comes here, and few objects take values.
        if self.in_force.order.sources(id).is_none() {
            return false;
        }
        let Some(object) = self.in_force.declared.as_ref().and_then(|set| set.objects.get(id)) else { return false };
        let is_older = |source: &SourceVersion| {
            self.objects.live(&source.id).is_some_and(|live| live.uid != source.uid || live.version > source.version)
        };
        self.values.of(object).is_none_or(|filled| filled.sources.iter().any(is_older))
    }

    /// The object as it is declared without values, and where each is to be read.
    pub(super) fn to_fill(&self, id: &ObjectId) -> Option<(Arc<DeclaredObject>, Arc<[ObjectId]>)> {
        let object = self.in_force.declared.as_ref()?.objects.get(id)?;
        Some((Arc::clone(object), Arc::clone(self.in_force.order.sources(id)?)))
    }

    /// The values were read. An object with this form that was compared with the one without values is compared again.
    pub(super) fn filled(&mut self, id: &ObjectId, form: FilledForm) {
        self.values.failed.remove(id);
        self.objects.change(id, |tracked| {
            if let Some(live) = tracked.live.as_mut().filter(|live| live.hash == Some(form.declared.hash))
                && matches!(live.fields, FieldOwnership::Lost(_))
            {
                live.fields = FieldOwnership::Unsure;
            }
        });
        self.values.filled.insert(id.clone(), form);
    }

    /// A command about an object failed. If its values could not be read, a change of a source ends the pause after that.
    pub(super) fn unfilled(&mut self, id: &ObjectId) {
        if self.lacks_values(id) {
            self.values.failed.insert(id.clone());
        }
    }

    /// The object changed: those that take values of it are decided about again.
    pub(super) fn values_may_have_changed(&mut self, source: &ObjectId, now: Instant) {
        let Some(targets) = self.in_force.order.targets(source).map(<[ObjectId]>::to_vec) else { return };
        for target in targets {
            if !self.lacks_values(&target) {
                continue;
            }
            let backs_off = matches!(self.objects.get(&target).map(|it| &it.phase), Some(Phase::BackingOff(_)));
            if self.values.failed.remove(&target) && backs_off {
                self.objects.set_phase(&target, Phase::Settled);
            }
            self.evaluate(&target, now);
        }
    }
}

#[cfg(test)]
mod tests;
