//! The record of what a sync manages, in ResourceGroups: what other tools read, and the kinds to list after a restart.
//!
//! The truth is on the objects (their labels); the record may lag. It has no size limit: an object stays in the
//! ResourceGroup that it was first put into, and further ResourceGroups are added when one is full, so that one commit
//! rewrites only the groups whose objects it changes.

use std::collections::BTreeSet;

use crate::api::{GroupCondition, ResourceGroupStatus, ResourceId, ResourceStatus, Time};
use crate::model::metadata::SyncId;
use crate::model::object::ObjectId;
use crate::sync::engine::ResourceState;
use crate::sync::health::Health;

/// Room for identity and status in one ResourceGroup, well below what the API server takes.
const BYTES: usize = 256 * 1024;

/// Which objects are in which ResourceGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(pub Vec<BTreeSet<ObjectId>>);

impl Groups {
    /// Takes out what is not wanted any more and finds a place for what is new.
    pub fn assign(&mut self, wanted: &BTreeSet<ObjectId>) {
        let mut placed = BTreeSet::new();
        for group in &mut self.0 {
            group.retain(|id| wanted.contains(id) && placed.insert(id.clone()));
        }
        let mut sizes: Vec<usize> = self.0.iter().map(|group| group.iter().map(bytes).sum()).collect();
        let mut at = 0;
        for id in wanted.difference(&placed) {
            while sizes.get(at).is_some_and(|size| size + bytes(id) > BYTES) {
                at += 1;
            }
            if at == self.0.len() {
                self.0.push(BTreeSet::new());
                sizes.push(0);
            }
            sizes[at] += bytes(id);
            self.0[at].insert(id.clone());
        }
        if self.0.is_empty() {
            self.0.push(BTreeSet::new());
        }
    }
}

/// An object's part of a ResourceGroup: its identity in spec and status, and its state.
fn bytes(id: &ObjectId) -> usize {
    2 * (id.group().len() + id.kind().len() + id.namespace().len() + id.name().len() + 50) + 150
}

/// Name of the ResourceGroup at a place: the sync's own, then with a part that no other sync's name has.
pub fn group_name(sync: &SyncId, index: usize) -> String {
    let hash: String =
        sync.part_of().to_lowercase().chars().filter(char::is_ascii_alphanumeric).skip(8).take(8).collect();
    if index == 0 { sync.name.clone() } else { format!("{}-{hash}-{}", sync.name, index + 1) }
}

/// The status of one ResourceGroup.
pub fn group_status(
    before: &ResourceGroupStatus,
    resources: &[&ResourceState],
    generation: i64,
    now: &Time,
) -> ResourceGroupStatus {
    let failed: Vec<String> = resources
        .iter()
        .filter(|r| matches!(r.health, Health::Failed(_)))
        .map(|r| format!("{}/{}/{}/{}", r.id.group(), r.id.kind(), r.id.namespace(), r.id.name()))
        .collect();
    let condition = |kind: &str, status: &str, reason: &str, message: String| {
        let old = before.conditions.iter().find(|c| c.kind == kind && c.status == status);
        GroupCondition {
            kind: kind.into(),
            status: status.into(),
            reason: reason.into(),
            message,
            last_transition_time: old.map_or_else(|| Some(now.clone()), |c| c.last_transition_time.clone()),
        }
    };
    let stalled = match failed.is_empty() {
        true => condition("Stalled", "False", "FinishReconciling", String::new()),
        false => condition("Stalled", "True", "ComponentFailed", failed.join(", ")),
    };
    ResourceGroupStatus {
        observed_generation: generation,
        resource_statuses: resources.iter().map(|resource| resource_status(resource, before, now)).collect(),
        subgroup_statuses: Vec::new(),
        conditions: vec![condition("Reconciling", "False", "FinishReconciling", String::new()), stalled],
    }
}

fn resource_status(resource: &ResourceState, before: &ResourceGroupStatus, now: &Time) -> ResourceStatus {
    let id = ResourceId::from(&resource.id);
    let conditions = resource.health.message().map(|message| GroupCondition {
        kind: if matches!(resource.health, Health::Failed(_)) { "Stalled" } else { "Reconciling" }.into(),
        status: "True".into(),
        reason: resource.health.word().into(),
        message: message.to_owned(),
        last_transition_time: Some(now.clone()),
    });
    let mut status = ResourceStatus {
        status: resource.health.word().into(),
        source_hash: resource.token.clone(),
        conditions: conditions.into_iter().collect(),
        strategy: if resource.pruning { "Delete" } else { "Apply" }.into(),
        actuation: match (resource.failed, resource.token.is_empty()) {
            (true, _) => "Failed",
            (false, true) => "Pending",
            (false, false) => "Succeeded",
        }
        .into(),
        reconcile: match (&resource.health, resource.failed) {
            (_, true) => "Skipped",
            (Health::Current, _) => "Succeeded",
            (Health::Failed(_), _) => "Failed",
            _ => "Pending",
        }
        .into(),
        id,
    };
    // A message that stays keeps its time.
    let old = (!status.conditions.is_empty())
        .then(|| before.resource_statuses.iter().find(|old| old.id == status.id))
        .flatten();
    for condition in &mut status.conditions {
        let same = old
            .and_then(|old| old.conditions.iter().find(|c| c.kind == condition.kind && c.message == condition.message));
        if let Some(same) = same {
            condition.last_transition_time.clone_from(&same.last_transition_time);
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::GroupKind;

    fn ids(range: std::ops::Range<usize>) -> BTreeSet<ObjectId> {
        range.map(|i| ObjectId::new(&GroupKind::new("", "ConfigMap"), "ns", &format!("name-{i:06}"))).collect()
    }

    #[test]
    fn fifty_thousand_objects_fit_and_stay_where_they_are() {
        let mut groups = Groups::default();
        groups.assign(&ids(0..50_000));
        assert!(groups.0.iter().all(|group| group.iter().map(bytes).sum::<usize>() <= BYTES));
        assert_eq!(groups.0.iter().map(BTreeSet::len).sum::<usize>(), 50_000);
        let before = groups.clone();
        groups.assign(&ids(1..50_001));
        let moved = before.0.iter().zip(&groups.0).filter(|(a, b)| a != b).count();
        assert!(moved <= 2, "{moved} groups rewritten for one object less and one more");
    }

    #[test]
    fn nothing_is_one_empty_group() {
        let mut groups = Groups::default();
        groups.assign(&BTreeSet::new());
        assert_eq!(groups.0, [BTreeSet::new()]);
    }
}
