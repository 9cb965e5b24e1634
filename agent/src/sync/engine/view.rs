//! The state of one sync for the page: its stages, its objects, and the deletions that are held. It is made when a user looks.

use std::collections::BTreeMap;

use crate::model::finding::Finding;
use crate::model::object::ObjectId;
use crate::sync::plan::Declared;

use super::commit::Candidate;
use super::objects::Phase;
use super::{Report, ResourceState, State};

/// The objects of a sync by their states.
#[derive(Clone, Debug, Default)]
pub struct SyncSummary {
    /// The stages, without objects.
    pub report: Report,
    /// Number of objects in each state, by the word of [`ObjectView::state`].
    pub states: BTreeMap<&'static str, usize>,
}

/// A sync with all of its objects.
#[derive(Clone, Debug, Default)]
pub struct SyncView {
    /// Its objects in order.
    pub objects: Vec<ObjectView>,
    /// The deletions that wait for an approval, if there are any.
    pub held: Option<HeldView>,
}

/// One object as it is shown.
#[derive(Clone, Debug)]
pub struct ObjectView {
    /// The object, its health and the results of its commands.
    pub resource: ResourceState,
    /// The object that it waits for.
    pub waits_for: Option<ObjectId>,
    /// The file that declares it; `None` for one that is not declared.
    pub path: Option<String>,
    /// The reason why it is not as declared, where there is one.
    pub finding: Option<Finding>,
}

/// Deletions that wait for an approval.
#[derive(Clone, Debug)]
pub struct HeldView {
    /// The commit that they follow from.
    pub commit: String,
    /// `true` if the rest of the commit is in force.
    pub in_force: bool,
    /// The objects that would be deleted.
    pub deletions: Vec<ObjectId>,
    /// The finding about them, with the way to approve them.
    pub finding: Finding,
}

impl ObjectView {
    /// The state of the object in one word. It is that of its health, unless something keeps the object from being as declared.
    pub fn state(&self) -> &'static str {
        state(&self.resource, self.waits_for.is_some())
    }
}

fn state(resource: &ResourceState, waits: bool) -> &'static str {
    match resource {
        ResourceState { failed: true, .. } => "Failed",
        ResourceState { other: Some(_), .. } => "Elsewhere",
        _ if waits => "Waiting",
        ResourceState { late: true, .. } => "Late",
        ResourceState { pruning: true, .. } => "Terminating",
        ResourceState { health, .. } => health.word(),
    }
}

impl State {
    /// Stages and numbers.
    pub fn summary(&self) -> SyncSummary {
        let mut report = self.last_report();
        let mut states = BTreeMap::new();
        for resource in report.resources.take().unwrap_or_default() {
            let waits = self.waits_for(&resource.id).is_some();
            *states.entry(state(&resource, waits)).or_default() += 1;
        }
        SyncSummary { report, states }
    }

    /// Every object, and the deletions that are held.
    pub fn view(&self) -> SyncView {
        let resources = self.last_report().resources.unwrap_or_default();
        SyncView {
            objects: resources.into_iter().map(|resource| self.object_view(resource)).collect(),
            held: self.held_view(),
        }
    }

    fn object_view(&self, resource: ResourceState) -> ObjectView {
        let id = &resource.id;
        let path = match self.declared(id) {
            Declared::Object(declared) => declared.place().location.map(|location| location.path),
            _ => None,
        };
        let notes = self.objects.notes(id);
        let failure = notes.and_then(|notes| notes.failure.as_ref()).filter(|failure| failure.is_told());
        let finding = failure.map(|failure| failure.finding.clone());
        let finding = finding.or_else(|| notes.and_then(|notes| notes.conflict.clone()));
        let finding = finding.or_else(|| self.fight_finding(id)).or_else(|| self.waiting_finding(id));
        ObjectView { waits_for: self.waits_for(id).cloned(), path, finding, resource }
    }

    fn waits_for(&self, id: &ObjectId) -> Option<&ObjectId> {
        match &self.objects.get(id)?.phase {
            Phase::Waiting(other) => Some(other),
            _ => None,
        }
    }

    fn held_view(&self) -> Option<HeldView> {
        let held = self.held.as_ref()?;
        let commit = held.candidate.as_ref().map_or(&*self.in_force.source.commit, Candidate::commit);
        Some(HeldView {
            commit: commit.to_owned(),
            in_force: held.candidate.is_none(),
            deletions: self.prunes.offered_deletions().cloned().collect(),
            finding: held.finding.clone(),
        })
    }
}
