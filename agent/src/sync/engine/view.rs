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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;
    use crate::sync::engine::tests::{MANIFESTS, applied, begin_sync, declared, live};
    use crate::sync::engine::{Command, Event};
    use crate::sync::health::Health;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn begin() -> Instant {
        Instant::now()
    }

    fn config_maps(number: usize) -> String {
        let manifest =
            |n| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}, namespace: default}}\n");
        (0..number).map(manifest).collect()
    }

    /// A sync whose objects are applied as far as they wait for no other, without a status.
    fn applied_sync(manifests: &str, now: Instant) -> State {
        let set = declared(manifests);
        let (mut state, mut commands) = begin_sync(&set, Duration::from_secs(60), now);
        while let Some(command) = commands.pop() {
            if let Command::Apply(object, ..) = command {
                let event = Event::Finished(object.id.clone(), applied(&live(&set, &object.id, 5, json!({}))));
                commands.extend(state.step(event, now));
            }
        }
        state
    }

    #[test]
    fn what_keeps_an_object_from_being_as_declared_is_its_state() {
        let id = ObjectId::from_parts(["", "ConfigMap", "default", "a"]);
        let resource = |failed, other: Option<&str>, late, pruning| ResourceState {
            id: id.clone(),
            health: Health::Current,
            token: String::new(),
            failed,
            pruning,
            late,
            skipped: false,
            waits_for: None,
            stale: false,
            other: other.map(Into::into),
            rewritten: Box::default(),
        };
        let cases = [
            (resource(true, Some("b"), true, true), true, "Failed"),
            (resource(false, Some("b"), true, true), true, "Elsewhere"),
            (resource(false, None, true, true), true, "Waiting"),
            (resource(false, None, true, true), false, "Late"),
            (resource(false, None, false, true), false, "Terminating"),
            (resource(false, None, false, false), false, "Current"),
        ];
        for (resource, waits, word) in cases {
            assert_eq!(state(&resource, waits), word);
            let waits_for = waits.then(|| id.clone());
            assert_eq!(ObjectView { resource, waits_for, path: None, finding: None }.state(), word);
        }
    }

    #[test]
    fn objects_are_counted_by_their_states_and_shown_with_what_they_wait_for() {
        let sync = applied_sync(&(MANIFESTS.to_owned() + &config_maps(2)), begin());
        let summary = sync.summary();
        assert_eq!(summary.states, [("Current", 2), ("InProgress", 1), ("Waiting", 1)].into());
        assert!(summary.report.syncing);
        let view = sync.view();
        let web = view.objects.iter().find(|it| it.resource.id.name() == "web").expect("it is declared");
        assert_eq!(web.waits_for.as_ref().map(ObjectId::name), Some("db"));
        assert_eq!(web.path.as_deref(), Some("all.yaml"));
        let others = view.objects.iter().filter(|it| it.resource.id.name() != "web");
        assert_eq!(others.filter(|it| it.waits_for.is_none()).count(), 3);
        assert!(view.held.is_none());
    }

    #[test]
    fn deletions_that_are_held_are_shown_with_their_commit() {
        let now = begin();
        let mut sync = applied_sync(&config_maps(20), now);
        let (commit, declared) = ("b".repeat(40), Some(declared(&config_maps(1))));
        sync.step(Event::Compiled { commit: commit.clone(), declared, findings: Vec::new() }, now);
        let held = sync.view().held.expect("deletions are held");
        assert_eq!((held.commit, held.in_force, held.deletions.len()), (commit, false, 19));
    }
}
