//! The objects of each sync, as the syncs tell each other: no sync deletes what another one has.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::AgentContext;
use crate::io::kubernetes::patience::patiently;
use crate::io::reports::read_inventory;
use crate::model::metadata::SyncId;
use crate::sync::engine::{AllSyncs, HeldObjects, Holdings};
use crate::sync::inventory::InventoryRecord;

impl AgentContext {
    /// Tells all syncs which syncs there are, by their manager annotation.
    pub(super) fn tell_syncs(&self, managers: &BTreeSet<String>) {
        self.all_syncs.send_if_modified(|before| {
            if before.as_ref().is_some_and(|before| before.keys().eq(managers)) {
                return false;
            }
            let told = before.take().unwrap_or_default();
            let holdings = |manager: &String| (manager.clone(), told.get(manager).cloned().unwrap_or_default());
            *before = Some(Arc::new(managers.iter().map(holdings).collect()));
            true
        });
    }

    /// Tells all syncs which objects this one has, if that is true of what they were told before.
    pub(super) fn share(&self, sync: &SyncId, holdings: Holdings, is_wanted: impl Fn(&AllSyncs) -> bool) {
        self.all_syncs.send_if_modified(|syncs| {
            let Some(syncs) = syncs.as_mut().filter(|syncs| is_wanted(syncs)) else { return false };
            let Some(told) = Arc::make_mut(syncs).get_mut(&sync.manager()) else { return false };
            *told = holdings;
            true
        });
    }
}

/// Tells the other syncs which objects a sync that does not run has by its record, unless it has told that itself. Their deletions
/// wait for that.
pub(super) async fn tell_recorded(context: &AgentContext, id: &SyncId) {
    let is_untold = |syncs: &AllSyncs| matches!(syncs.get(&id.manager()), Some(Holdings::Untold));
    let mut syncs = context.all_syncs.subscribe();
    // The sender is in the context.
    let known = syncs.wait_for(Option::is_some).await.is_ok_and(|syncs| syncs.as_deref().is_some_and(is_untold));
    if !known {
        return;
    }
    let holdings = match patiently(|| read_inventory(&context.cluster, id)).await {
        Ok(record) => {
            let mut objects = record.as_ref().map(InventoryRecord::objects).unwrap_or_default();
            objects.retain(|object| id.covers(object));
            Holdings::Known(Arc::new(HeldObjects::recorded(objects)))
        }
        Err(_) => Holdings::Unreadable,
    };
    context.share(id, holdings, is_untold);
}
