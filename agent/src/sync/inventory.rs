//! The record of what a sync manages, in ResourceGroups: other tools read it, and it names the kinds to list after a restart.
//!
//! An object of the sync is in the record and carries the sync's labels and annotations: all clients can write those, and the
//! record has objects that are about to be made or are gone. The record has no size limit: an
//! object stays in the ResourceGroup that it was first put into, and a further ResourceGroup is added when the others are
//! full. So a commit rewrites only the ResourceGroups whose objects it changes.

mod written;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::api::{GroupCondition, ResourceGroupStatus, ResourceId, ResourceStatus, Time};
use crate::model::metadata::{MANAGED_BY_VALUE, SyncId, annotation, label};
use crate::model::object::{GroupKind, ObjectId};
use crate::model::shortened::shortened_in_json;
use crate::sync::engine::ResourceState;
use crate::sync::health::Health;
use crate::sync::moment::Moment;
use crate::sync::plan::memory::{GuardMemory, GuardNotes};

use written::{KeptGroup, digest, digest_of_ids};

pub use written::{Reread, WrittenGroup};

/// Room for identities and statuses in one ResourceGroup, well below the limit of etcd.
/// <https://etcd.io/docs/v3.5/dev-guide/limit/>
const BYTES: usize = 256 * 1024;
/// Bytes of the message of one object, and of the list of failed objects: other clients write messages of any length.
const MESSAGE_BYTES: usize = 512;
const FAILED_BYTES: usize = 4 * 1024;
/// Bytes of the list of fields of one object that admission changed.
const REWRITTEN_BYTES: usize = 160;
/// The condition of an object of which admission or the API server changed declared fields. It is a warning: the object is as declared.
pub const REWRITTEN: &str = "Rewritten";
const API_VERSION: &str = "kpt.dev/v1alpha1";

/// The objects of each ResourceGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Groups(Vec<BTreeSet<ObjectId>>);

impl Groups {
    /// Takes out the objects that are not wanted any more and finds a place for the new ones.
    fn assign(&mut self, wanted: &BTreeSet<ObjectId>) {
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

/// A ResourceGroup to be applied: its spec and metadata, or its status alone.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupDocument {
    /// Name of the ResourceGroup; its namespace is that of the sync.
    pub name: String,
    /// The whole body of the server-side apply.
    pub body: Value,
    /// The ResourceGroup was never seen: one that is there is another client's.
    pub is_new: bool,
}

/// The ResourceGroups of a sync, each as it should be and as it was last read or written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InventoryRecord {
    groups: Groups,
    /// One place for each group; `None` where it was not written yet.
    written: Vec<Option<KeptGroup>>,
    /// The guard's annotations of the first group.
    notes: GuardNotes,
}

impl InventoryRecord {
    /// The inventory that these ResourceGroups, by name, make up. A user may have deleted one of them, so there may be gaps.
    pub fn new(sync: &SyncId, mut found: BTreeMap<String, WrittenGroup>) -> Self {
        let mut read: Vec<Option<WrittenGroup>> =
            (0..2 * found.len()).map(|index| found.remove(&group_name(sync, index))).collect();
        while read.pop_if(|last| last.is_none()).is_some() {}
        let ids = |group: &WrittenGroup| group.resources.iter().cloned().map(ObjectId::from).collect();
        let groups = read.iter().map(|group| group.as_ref().map(ids).unwrap_or_default()).collect();
        let written: Vec<Option<KeptGroup>> = read.into_iter().map(|group| group.map(KeptGroup::from)).collect();
        let mut notes = written.first().and_then(|first| Some(first.as_ref()?.notes.clone())).unwrap_or_default();
        // A record of which a part is missing does not say which objects are the sync's.
        if written.is_empty() || written.contains(&None) {
            notes.insert(annotation::RECORD_LOST, "true".to_owned());
        }
        Self { groups: Groups(groups), written, notes }
    }

    /// The recorded objects.
    pub fn objects(&self) -> BTreeSet<ObjectId> {
        self.groups.0.iter().flatten().cloned().collect()
    }

    /// The index of the group of this name, if another client may have changed it: it is gone, its version was not known, or a list
    /// shows an older one.
    pub fn touched(&self, sync: &SyncId, name: &str, version: Option<u64>, listed: bool) -> Option<usize> {
        let index = (0..self.written.len()).find(|index| group_name(sync, *index) == name)?;
        let known = self.written[index].as_ref()?.version;
        version.is_none_or(|version| known < version || (listed && version < known)).then_some(index)
    }

    /// The version of the group at `index`.
    pub fn version(&self, index: usize) -> u64 {
        self.written.get(index).and_then(|group| Some(group.as_ref()?.version)).unwrap_or(0)
    }

    /// `true` for the name of a group of the sync. Other clients may have made others with its label.
    pub fn is_name(sync: &SyncId, name: &str) -> bool {
        let number = name.rsplit('-').next().and_then(|number| number.parse().ok());
        name == sync.name || number.is_some_and(|number: usize| number > 1 && group_name(sync, number - 1) == name)
    }

    /// Name of the group at `index`.
    pub fn name(sync: &SyncId, index: usize) -> String {
        group_name(sync, index)
    }

    /// Takes in the group at `index` as it was read again; `None` if it is gone. Of statuses only their number counts: the controller of
    /// Config Sync may write others.
    pub fn read_again(&mut self, index: usize, found: Option<WrittenGroup>) -> Reread {
        let Some(place) = self.written.get_mut(index) else { return Reread::AsWritten };
        let (before, found) = match (place.as_mut(), found.map(KeptGroup::from)) {
            (Some(before), Some(found)) => (before, found),
            (before, found) => {
                let is_gone = before.is_some();
                *place = found;
                return if is_gone { Reread::Lacking } else { Reread::AsWritten };
            }
        };
        if found.version < before.version {
            return Reread::Older;
        }
        // A write without an answer may have changed it, and is sent again.
        let lacks_spec = before.resources.is_some()
            && (found.resources, &found.notes, &found.status_mode)
                != (before.resources, &before.notes, &before.status_mode);
        if lacks_spec || (before.status.is_some() && found.statuses < before.statuses) {
            let (resources, status) = (before.resources.and(found.resources), before.status.and(found.status));
            *before = KeptGroup { resources, status, ..found };
            return Reread::Lacking;
        }
        (before.version, before.unread) = (found.version, false);
        Reread::AsWritten
    }

    /// `true` if a group has to be read before anything is written.
    pub fn is_unread(&self) -> bool {
        self.written.iter().flatten().any(|group| group.unread)
    }

    /// Another client has written the group at `index` since it was last seen.
    pub fn outdated(&mut self, index: usize) {
        self.written.get_mut(index).into_iter().flatten().for_each(|group| group.unread = true);
    }

    /// From now on the record should have exactly these objects.
    pub fn assign(&mut self, wanted: &BTreeSet<ObjectId>) {
        self.groups.assign(wanted);
        self.written.resize(self.groups.0.len(), None);
    }

    /// From now on the record should have these facts.
    pub fn remember(&mut self, memory: &GuardMemory, now: &Moment) {
        self.notes = memory.notes(now);
    }

    /// The recorded facts.
    pub fn memory(&self, now: &Moment) -> GuardMemory {
        GuardMemory::of(&self.notes, now)
    }

    /// Takes in the group at `index` as the API server returned it.
    pub fn written(&mut self, index: usize, group: WrittenGroup) {
        if let Some(place) = self.written.get_mut(index) {
            *place = Some(group.into());
        }
    }

    /// A write of the spec of the group at `index` failed, and may still be carried out: it is written again, be it as it was before.
    pub fn doubt_spec(&mut self, index: usize) {
        self.written
            .get_mut(index)
            .into_iter()
            .flatten()
            .for_each(|group| (group.resources, group.unread) = (None, true));
    }

    /// As [`Self::doubt_spec`], of its status.
    pub fn doubt_status(&mut self, index: usize) {
        self.written.get_mut(index).into_iter().flatten().for_each(|group| (group.status, group.unread) = (None, true));
    }

    /// The first group from `from` on whose spec has to be written. A group that has become empty is written and stays: the
    /// next objects go into it.
    pub fn next_spec(&self, from: usize, sync: &SyncId, resource_status: bool) -> Option<(usize, GroupDocument)> {
        let differs = |index: &usize| match &self.written[*index] {
            Some(group) => {
                group.resources != Some(digest_of_ids(self.groups.0[*index].iter().map(ObjectId::parts)))
                    || group.status_mode != status_mode(resource_status)
                    || (*index == 0 && group.notes != self.notes)
            }
            None => *index == 0 || !self.groups.0[*index].is_empty(),
        };
        let index = (from..self.groups.0.len()).find(differs)?;
        let ids: Vec<ResourceId> = self.groups.0[index].iter().map(ResourceId::from).collect();
        let notes = (index == 0).then_some(&self.notes);
        let document = spec_document(sync, index, &ids, resource_status, notes);
        Some((index, self.since_read(index, document)))
    }

    /// The first group from `from` on whose status has to be taken away, because the groups are to have none.
    pub fn next_without_status(&self, from: usize, sync: &SyncId) -> Option<(usize, GroupDocument)> {
        let none = ResourceGroupStatus::default();
        let has_one = |index: &usize| {
            let group = self.written[*index].as_ref();
            let may_have = |group: &KeptGroup| group.status.is_none() || !group.conditions.conditions.is_empty();
            group.is_some_and(|group| group.statuses > 0 || may_have(group))
        };
        let index = (from..self.written.len()).find(has_one)?;
        Some((index, self.since_read(index, status_document(sync, index, &none))))
    }

    /// The document, which is refused if another client has written the group since it was last seen.
    fn since_read(&self, index: usize, mut document: GroupDocument) -> GroupDocument {
        match &self.written[index] {
            None => document.is_new = true,
            Some(group) if group.version > 0 => {
                document.body["metadata"]["resourceVersion"] = group.version.to_string().into();
            }
            Some(_) => {}
        }
        document
    }

    /// The first group from `from` on whose status has to be written. `resources` are sorted by identity.
    pub fn next_status(
        &self,
        from: usize,
        sync: &SyncId,
        resources: &[ResourceState],
        now: &Time,
    ) -> Option<(usize, GroupDocument)> {
        let state = |id| resources.binary_search_by(|state| state.id.cmp(id)).ok().map(|at| &resources[at]);
        (from..self.groups.0.len()).find_map(|index| {
            let group = self.written[index].as_ref()?;
            let own: Vec<&ResourceState> = self.groups.0[index].iter().filter_map(state).collect();
            let next = group_status(&group.conditions, &own, group.generation, now);
            let document = || self.since_read(index, status_document(sync, index, &next));
            (Some(digest(&next)) != group.status).then(|| (index, document()))
        })
    }
}

/// The value of the annotation that says if a group holds the status of each object.
fn status_mode(resource_status: bool) -> &'static str {
    if resource_status { "enabled" } else { "disabled" }
}

fn spec_document(
    sync: &SyncId,
    index: usize,
    ids: &[ResourceId],
    resource_status: bool,
    notes: Option<&GuardNotes>,
) -> GroupDocument {
    let name = group_name(sync, index);
    let mut body = json!({
        "apiVersion": API_VERSION,
        "kind": "ResourceGroup",
        "metadata": {
            "name": name,
            "namespace": sync.namespace,
            "labels": {
                label::INVENTORY_ID: sync.inventory_id(),
                label::MANAGED_BY: MANAGED_BY_VALUE,
                label::SYNC_NAMESPACE: sync.namespace,
                label::SYNC_NAME: sync.name,
                label::SYNC_KIND: sync.kind.to_string(),
            },
            "annotations": {
                annotation::MANAGED: "enabled",
                annotation::STATUS: status_mode(resource_status),
            },
        },
        "spec": {"resources": ids},
    });
    for (key, value) in notes.into_iter().flatten() {
        body["metadata"]["annotations"][key] = value.as_str().into();
    }
    GroupDocument { name, body, is_new: false }
}

fn status_document(sync: &SyncId, index: usize, status: &ResourceGroupStatus) -> GroupDocument {
    let name = group_name(sync, index);
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": "ResourceGroup",
        "metadata": {"name": name, "namespace": sync.namespace},
        "status": status,
    });
    GroupDocument { name, body, is_new: false }
}

/// The bytes that an object takes in a ResourceGroup: its identity in spec and status, and its state.
fn bytes(id: &ObjectId) -> usize {
    2 * (id.group().len() + id.kind().len() + id.namespace().len() + id.name().len() + 50) + 150
}

/// Name of the ResourceGroup at `index`. The first has the sync's own name; the names of the others have a part that no other
/// sync's name has.
fn group_name(sync: &SyncId, index: usize) -> String {
    let hash: String =
        sync.part_of().to_lowercase().chars().filter(char::is_ascii_alphanumeric).skip(8).take(8).collect();
    if index == 0 { sync.name.clone() } else { format!("{}-{hash}-{}", sync.name, index + 1) }
}

/// The status of one ResourceGroup after `before`, which needs no objects but those with conditions.
fn group_status(
    before: &ResourceGroupStatus,
    resources: &[&ResourceState],
    generation: i64,
    now: &Time,
) -> ResourceGroupStatus {
    let failed: Vec<String> = resources
        .iter()
        .filter(|state| matches!(state.health, Health::Failed(_)))
        .map(|ResourceState { id, .. }| format!("{}/{}/{}/{}", id.group(), id.kind(), id.namespace(), id.name()))
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
    let stale: BTreeSet<GroupKind> =
        resources.iter().filter(|state| state.stale).map(|state| state.id.group_kind()).collect();
    let stale: Vec<String> = stale.iter().map(ToString::to_string).collect();
    let told = |names: &[String]| shortened_in_json(names.join(", "), FAILED_BYTES);
    let stalled = match (stale.is_empty(), failed.is_empty()) {
        (false, _) => {
            let message =
                format!("the statuses of these kinds may be old, because they cannot be watched: {}", told(&stale));
            condition("Stalled", "True", "ExceedTimeout", message)
        }
        (true, true) => condition("Stalled", "False", "FinishReconciling", String::new()),
        (true, false) => condition("Stalled", "True", "ComponentFailed", told(&failed)),
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
    let mut status = ResourceStatus {
        status: resource.health.word().into(),
        // The commit that is on the object is one of the other sync.
        source_hash: if resource.other.is_some() { String::new() } else { resource.token.clone() },
        conditions: resource_conditions(resource, now),
        strategy: if resource.pruning { "Delete" } else { "Apply" }.into(),
        actuation: match (resource.failed, resource.token.is_empty()) {
            (true, _) => "Failed",
            _ if resource.skipped => "Skipped",
            (false, true) => "Pending",
            (false, false) => "Succeeded",
        }
        .into(),
        reconcile: match (&resource.health, resource.failed) {
            (_, true) => "Skipped",
            _ if resource.skipped => "Skipped",
            (Health::Current, _) => "Succeeded",
            (Health::Failed(_), _) => "Failed",
            _ if resource.late => "Timeout",
            _ => "Pending",
        }
        .into(),
        id,
    };
    // A condition whose message is unchanged keeps its time.
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

/// The conditions of an object. The first one says why it is not ready, where that is so.
fn resource_conditions(resource: &ResourceState, now: &Time) -> Vec<GroupCondition> {
    let condition = |kind: &str, reason: &str, message: String| GroupCondition {
        kind: kind.into(),
        status: "True".into(),
        reason: reason.into(),
        message,
        last_transition_time: Some(now.clone()),
    };
    let health = resource.health.message().map(|message| {
        let kind = if matches!(resource.health, Health::Failed(_)) { "Stalled" } else { "Reconciling" };
        condition(kind, resource.health.word(), shortened_in_json(message.to_owned(), MESSAGE_BYTES))
    });
    let waiting = resource.waits_for.as_ref();
    let waiting = waiting.map(|other| condition("Waiting", "Dependency", format!("it waits for {other}")));
    let overlap = resource.other.as_deref().map(|manager| {
        let message = format!("{manager:?} manages the object, and its status is that of what is declared there");
        condition("OwnershipOverlap", "Overlap", message)
    });
    let rewritten = (!resource.rewritten.is_empty()).then(|| {
        let fields = shortened_in_json(resource.rewritten.join(", "), REWRITTEN_BYTES);
        condition(REWRITTEN, "Admission", format!("admission or the API server changed declared fields: {fields}"))
    });
    [health, waiting, overlap, rewritten].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
