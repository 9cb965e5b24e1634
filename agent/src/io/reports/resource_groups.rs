//! The ResourceGroups of a sync.

use std::collections::BTreeMap;

use http::Method;
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use super::failed;
use crate::api::ResourceGroup;
use crate::io::kubernetes::client::{ApiError, Cluster, JSON, collection};
use crate::io::kubernetes::pages::{ListForm, Pages};
use crate::io::kubernetes::path;
use crate::model::metadata::{SyncId, annotation, label};
use crate::model::object::GroupKind;
use crate::sync::inventory::{InventoryRecord, WrittenGroup};
use crate::sync::plan::memory::GuardMemory;
use crate::sync::reporting::ReportAnswer;

/// Reads the ResourceGroups of a sync; `None` where the API server does not serve the kind.
///
/// # Errors
/// When the API server refuses the list or cannot be reached.
pub async fn read_inventory(cluster: &Cluster, sync: &SyncId) -> Result<Option<InventoryRecord>, ApiError> {
    let Some((_, groups)) = list(cluster, sync).await? else { return Ok(None) };
    let named = |group: ResourceGroup| Some((group.metadata.name.clone()?, written(group)));
    let groups: BTreeMap<String, WrittenGroup> = groups.into_iter().filter_map(named).collect();
    Ok(Some(InventoryRecord::new(sync, groups)))
}

/// Deletes the ResourceGroups of a sync that has nothing any more.
///
/// # Errors
/// When the API server refuses it or cannot be reached.
pub async fn delete_inventory(cluster: &Cluster, sync: &SyncId) -> Result<(), ApiError> {
    let Some((collection, groups)) = list(cluster, sync).await? else { return Ok(()) };
    for group in groups {
        let path = format!("{collection}/{}", group.metadata.name.unwrap_or_default());
        let body = json!({"preconditions": {"uid": group.metadata.uid}}).to_string().into_bytes();
        match cluster.request::<Value>(Method::DELETE, &path, JSON, body).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The ResourceGroups that a sync has made, and the path of their collection.
async fn list(cluster: &Cluster, sync: &SyncId) -> Result<Option<(String, Vec<ResourceGroup>)>, ApiError> {
    let served = match cluster.served_in(&GroupKind::new("kpt.dev", "ResourceGroup"), "v1alpha1").await {
        Ok(served) => served,
        Err(ApiError::Unserved(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let selector = format!("{}={}", label::INVENTORY_ID, sync.inventory_id());
    let (collection, mut groups) = (collection(&served, &sync.namespace), Vec::new());
    // Other clients may have made groups with the sync's label, of any size and number.
    let mut pages = Pages::new(&served, &sync.namespace, selector, ListForm::Whole);
    while let Some(page) = pages.next(cluster).await? {
        for item in page.items {
            let mut group: ResourceGroup = serde_json::from_str(item.get())
                .map_err(|error| ApiError::Unreachable(format!("a ResourceGroup that cannot be read: {error}")))?;
            if !group.metadata.name.as_ref().is_some_and(|name| InventoryRecord::is_name(sync, name)) {
                (group.spec, group.status) = Default::default();
            }
            groups.push(group);
        }
    }
    Ok(Some((collection, groups)))
}

/// Applies the spec of a ResourceGroup, or its status where `subresource` is `/status`. `body` is the whole request.
pub(super) async fn write(
    cluster: &Cluster,
    sync: &SyncId,
    name: &str,
    body: Vec<u8>,
    subresource: &str,
) -> ReportAnswer {
    match cluster.apply(&format!("{}{subresource}", group_path(sync, name)), body).await {
        Ok(group) => ReportAnswer::Group(Box::new(written(group))),
        Err(error) if error.code() == 409 => {
            ReportAnswer::Outdated(format!("cannot write the ResourceGroup {name}{subresource}: {error}"))
        }
        Err(error) => failed(&format!("write the ResourceGroup {name}{subresource}"), &error),
    }
}

/// Reads a ResourceGroup that another client has changed. One that is not the sync's any more is gone for it.
pub(super) async fn read(cluster: &Cluster, sync: &SyncId, name: &str) -> ReportAnswer {
    match cluster.get::<ResourceGroup>(&group_path(sync, name)).await {
        Ok(group) if is_of(sync, &group) => ReportAnswer::Group(Box::new(written(group))),
        Ok(_) => ReportAnswer::Gone,
        Err(error) if error.code() == 404 => ReportAnswer::Gone,
        Err(error) => failed(&format!("read the ResourceGroup {name}"), &error),
    }
}

fn group_path(sync: &SyncId, name: &str) -> String {
    let groups = path::collection(&ApiResource::erase::<ResourceGroup>(&()), "v1alpha1", &sync.namespace);
    format!("{groups}/{name}")
}

fn is_of(sync: &SyncId, group: &ResourceGroup) -> bool {
    let labels = group.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(label::INVENTORY_ID)).is_some_and(|id| *id == sync.inventory_id())
}

/// The answer to the first write of a ResourceGroup whose name is taken by one that is not the sync's.
pub(super) async fn of_another(cluster: &Cluster, sync: &SyncId, name: &str) -> Option<ReportAnswer> {
    let group = match cluster.get::<Value>(&group_path(sync, name)).await {
        Ok(group) => group,
        Err(error) if error.code() == 404 => return None,
        Err(error) => return Some(failed(&format!("read the ResourceGroup {name}"), &error)),
    };
    let id = group["metadata"]["labels"][label::INVENTORY_ID].as_str().unwrap_or_default();
    if id == sync.inventory_id() {
        return None;
    }
    let whose = if id.is_empty() { "it has no inventory id".to_owned() } else { format!("its inventory id is {id:?}") };
    let why = format!("the ResourceGroup {}/{name} is not of this sync: {whose}. It is left as it is", sync.namespace);
    Some(ReportAnswer::Refused(format!("{why}; delete it, or give the sync another name")))
}

fn written(group: ResourceGroup) -> WrittenGroup {
    let mut annotations = group.metadata.annotations.unwrap_or_default();
    WrittenGroup {
        version: group.metadata.resource_version.and_then(|version| version.parse().ok()).unwrap_or(0),
        status_mode: annotations.remove(annotation::STATUS).unwrap_or_default(),
        resources: group.spec.resources,
        status: group.status.unwrap_or_default(),
        generation: group.metadata.generation.unwrap_or(0),
        notes: GuardMemory::KEYS.into_iter().filter_map(|key| Some((key, annotations.remove(key)?))).collect(),
    }
}
