//! The ResourceGroups of all syncs as other clients leave them: one watch on their metadata, which tells each sync of its own.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::StreamExt as _;
use kube::Api;
use kube::api::{PartialObjectMeta, ResourceExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Event as WatchEvent, watcher};
use tokio::sync::mpsc;

use crate::api::ResourceGroup;
use crate::io::kubernetes::pages::small_pages;
use crate::model::metadata::{SyncId, label};
use crate::model::shared::lock;
use crate::sync::reporting::ReportMessage;

/// The CRD of ResourceGroups.
pub(super) const CRD: &str = "resourcegroups.kpt.dev";

/// The reporters that hear of their ResourceGroups, by inventory id.
#[derive(Default)]
pub(super) struct Records(Mutex<BTreeMap<String, mpsc::UnboundedSender<ReportMessage>>>);

impl Records {
    /// From now on this reporter hears of the ResourceGroups of the sync.
    pub(super) fn tell(&self, sync: &SyncId, reports: mpsc::UnboundedSender<ReportMessage>) {
        let mut reporters = lock(&self.0);
        reporters.retain(|_, reports| !reports.is_closed());
        reporters.insert(sync.inventory_id(), reports);
    }

    /// Follows all ResourceGroups of syncs.
    pub(super) async fn follow(&self, client: kube::Client) {
        let groups: Api<PartialObjectMeta<ResourceGroup>> = Api::all(client);
        let of_syncs = small_pages().labels(label::INVENTORY_ID);
        let mut events = std::pin::pin!(watcher(groups, of_syncs).default_backoff());
        let (mut known, mut listed) = (BTreeMap::new(), BTreeMap::new());
        while let Some(event) = events.next().await {
            match event {
                Ok(WatchEvent::Init) => listed.clear(),
                Ok(WatchEvent::InitApply(group)) => _ = listed.insert(key(&group), self.seen(&group, true)),
                Ok(WatchEvent::InitDone) => {
                    let before = std::mem::replace(&mut known, std::mem::take(&mut listed));
                    for (key, id) in before.into_iter().filter(|(key, _)| !known.contains_key(key)) {
                        self.send(&id, key.1, None, true);
                    }
                }
                Ok(WatchEvent::Apply(group)) => _ = known.insert(key(&group), self.seen(&group, false)),
                Ok(WatchEvent::Delete(group)) => {
                    known.remove(&key(&group));
                    self.send(&inventory_id(&group), group.name_any(), None, false);
                }
                Err(error) => tracing::debug!(%error, "the watch on ResourceGroups broke off and starts again"),
            }
        }
    }

    /// Tells the sync of a group that a watch shows, or a list, and returns the id of the sync's inventory.
    fn seen(&self, group: &PartialObjectMeta<ResourceGroup>, listed: bool) -> String {
        let id = inventory_id(group);
        let version = group.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0);
        self.send(&id, group.name_any(), Some(version), listed);
        id
    }

    fn send(&self, id: &str, name: String, version: Option<u64>, listed: bool) {
        if let Some(reports) = lock(&self.0).get(id) {
            // It fails when the sync has ended.
            let _ = reports.send(ReportMessage::Group { name, version, listed });
        }
    }
}

/// Namespace and name.
fn key(group: &PartialObjectMeta<ResourceGroup>) -> (String, String) {
    (group.namespace().unwrap_or_default(), group.name_any())
}

/// The inventory that the label names; empty for that of a sync elsewhere, which the group cannot be of.
fn inventory_id(group: &PartialObjectMeta<ResourceGroup>) -> String {
    let id = group.labels().get(label::INVENTORY_ID).cloned().unwrap_or_default();
    if id.starts_with(&format!("{}_", group.namespace().unwrap_or_default())) { id } else { String::new() }
}
