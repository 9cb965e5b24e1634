//! The ResourceGroups of a sync.

use std::collections::BTreeMap;

use http::Method;

use super::{APPLY, failed};
use crate::api::ResourceGroup;
use crate::io::kubernetes::client::{ApiError, Cluster, collection};
use crate::model::metadata::{FIELD_MANAGER, SyncId, label};
use crate::model::object::GroupKind;
use crate::sync::inventory::{GroupDocument, Inventory, WrittenGroup};
use crate::sync::reporting::ReportAnswer;

/// Reads the ResourceGroups of a sync; `None` where the API server does not serve the kind.
///
/// # Errors
/// When the API server refuses the list or cannot be reached.
pub async fn read_inventory(cluster: &Cluster, sync: &SyncId) -> Result<Option<Inventory>, ApiError> {
    let served = match cluster.served(&GroupKind::new("kpt.dev", "ResourceGroup")).await {
        Ok(served) => served,
        Err(ApiError::Unserved(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let path = format!(
        "{}?labelSelector={}%3D{}",
        collection(&served, "v1alpha1", &sync.namespace),
        label::INVENTORY_ID.replace('/', "%2F"),
        sync.inventory_id()
    );
    let list: kube::core::ObjectList<ResourceGroup> =
        cluster.request(Method::GET, &path, "application/json", Vec::new()).await?;
    let named = |group: ResourceGroup| Some((group.metadata.name.clone()?, written(group)));
    let groups: BTreeMap<String, WrittenGroup> = list.items.into_iter().filter_map(named).collect();
    Ok(Some(Inventory::new(sync, groups)))
}

/// Applies the spec of a ResourceGroup, or its status where `subresource` is `/status`.
pub(super) async fn write(
    cluster: &Cluster,
    sync: &SyncId,
    document: GroupDocument,
    subresource: &str,
) -> ReportAnswer {
    let GroupDocument { name, body } = document;
    let collection = format!("/apis/kpt.dev/v1alpha1/namespaces/{}/resourcegroups", sync.namespace);
    let path = format!("{collection}/{name}{subresource}?fieldManager={FIELD_MANAGER}&force=true");
    match cluster.request(Method::PATCH, &path, APPLY, body.to_string().into_bytes()).await {
        Ok(group) => ReportAnswer::Group(Box::new(written(group))),
        Err(error) => failed(&format!("the ResourceGroup {name}{subresource}"), &error),
    }
}

fn written(group: ResourceGroup) -> WrittenGroup {
    WrittenGroup {
        resources: group.spec.resources,
        status: group.status.unwrap_or_default(),
        generation: group.metadata.generation.unwrap_or(0),
    }
}
