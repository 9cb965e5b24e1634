//! Reads what an earlier run of a sync recorded, and so the kinds that have to be listed first.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::AgentContext;
use crate::io::kubernetes::client::ApiError;
use crate::io::kubernetes::patience::patiently;
use crate::io::places::party;
use crate::io::reports::{now, read_inventory};
use crate::model::metadata::SyncId;
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::inventory::InventoryRecord;
use crate::sync::plan::memory::{GuardMemory, Proof};

/// The inventory as far as it is known before anything is listed.
pub(super) struct RecordedInventory {
    /// The ResourceGroups, to be written further; `None` where the API server does not serve the kind.
    pub(super) groups: Option<InventoryRecord>,
    /// The facts that the guard needs.
    pub(super) memory: GuardMemory,
    /// Kinds of which the sync may have objects.
    pub(super) kinds: BTreeSet<GroupKind>,
    /// The recorded objects. Without a record, or while it cannot be relied on, the CRDs of the sync are among them.
    pub(super) objects: BTreeSet<ObjectId>,
}

/// Reads the record of a sync, or without one looks for its objects. `defined` is sent the kinds that the sync's CRDs define.
pub(super) async fn start(
    context: &AgentContext,
    sync: &SyncId,
    defined: oneshot::Sender<BTreeSet<GroupKind>>,
) -> Result<RecordedInventory, ApiError> {
    let groups = {
        let _place = context.budget.start(&party(sync)).await;
        patiently(|| read_inventory(&context.cluster, sync)).await?
    };
    let memory = groups.as_ref().map_or_else(GuardMemory::without_record, |groups| groups.memory(&now()));
    let mut objects = groups.as_ref().map(InventoryRecord::objects).unwrap_or_default();
    // Users of the namespace of a RepoSync may be able to write its ResourceGroups.
    objects.retain(|id| sync.covers(id));
    let mut kinds: BTreeSet<GroupKind> = objects.iter().map(ObjectId::group_kind).collect();
    if memory.proof != Proof::Record {
        let part_of = sync.part_of();
        let found = patiently(|| context.search.find(&part_of)).await?;
        kinds.extend(found.kinds);
        objects.extend(found.crds.into_iter().filter(|crd| sync.covers(crd)));
    }
    // It fails when the source has ended, and this sync ends with it.
    let _ = defined.send(defined_kinds(context, &objects));
    Ok(RecordedInventory { groups, memory, kinds, objects })
}

/// The kinds whose CRDs are in the inventory. A kind that the cluster does not serve any more has no objects either.
pub(super) fn defined_kinds(context: &AgentContext, recorded: &BTreeSet<ObjectId>) -> BTreeSet<GroupKind> {
    let crds = recorded.iter().filter(|id| id.is_crd());
    crds.filter_map(|crd| context.cluster.defined_by(crd.name())).map(|(kind, _)| kind).collect()
}
