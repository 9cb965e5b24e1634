//! The sync objects that a command names: how they are written, read and annotated.

use agent::model::metadata::{CONTROLLER_NAMESPACE, ROOT_SYNC, SyncId, SyncKind};
use anyhow::{Context as _, bail};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::gvk::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::contexts::{self, ClusterContext};

/// Reads the name of a sync as `nomos status` shows it: `root-sync` or `<root>:root-sync` for a RootSync, `shop:repo-sync` for a
/// RepoSync; also with a slash.
///
/// # Errors
///
/// If a part is missing.
pub(crate) fn sync_id(text: &str) -> Result<SyncId, String> {
    let (scope, name) = text.split_once([':', '/']).unwrap_or((CONTROLLER_NAMESPACE, text));
    if scope.is_empty() || name.is_empty() || name.contains([':', '/']) {
        return Err("write NAME for a RootSync, NAMESPACE:NAME for a RepoSync".to_owned());
    }
    let is_root = scope == "<root>" || scope == CONTROLLER_NAMESPACE;
    Ok(if is_root { SyncId::root(name) } else { SyncId::repo(scope, name) })
}

/// The name of a sync as `nomos status` shows it.
pub(crate) fn shown(id: &SyncId) -> String {
    match id.kind {
        SyncKind::RootSync => id.name.clone(),
        SyncKind::RepoSync => format!("{}:{}", id.namespace, id.name),
    }
}

/// The API of the kind of a sync, in its namespace.
fn api(client: &Client, id: &SyncId) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("configsync.gke.io", "v1beta1", &id.kind.to_string());
    Api::namespaced_with(client.clone(), &id.namespace, &ApiResource::from_gvk(&kind))
}

/// Reads a sync object.
///
/// # Errors
///
/// If it is not there, or cannot be read.
pub(crate) async fn read(cluster: &ClusterContext, client: &Client, id: &SyncId) -> anyhow::Result<DynamicObject> {
    match api(client, id).get_opt(&id.name).await.map_err(|error| cluster.failed(error))? {
        Some(object) => Ok(object),
        None => bail!("the cluster {} has no {id}; nomos status shows those that it has", cluster.context),
    }
}

/// Reads the sync that is named; without a name the RootSync `root-sync`, or the only one that there is.
///
/// # Errors
///
/// If it is not there or cannot be read, or no name says which of several is meant.
pub(crate) async fn chosen(
    cluster: &ClusterContext,
    client: &Client,
    named: Option<&SyncId>,
) -> anyhow::Result<(SyncId, DynamicObject)> {
    if let Some(id) = named {
        return Ok((id.clone(), read(cluster, client, id).await?));
    }
    let kind = GroupVersionKind::gvk("configsync.gke.io", "v1beta1", "RootSync");
    let all = contexts::objects(client, Some(CONTROLLER_NAMESPACE), kind, "").await;
    let mut all = all.map_err(|error| cluster.failed(error))?.unwrap_or_default();
    let names: Vec<String> = all.iter().map(|object| object.name_any()).collect();
    let at = if all.len() == 1 { Some(0) } else { names.iter().position(|name| name == ROOT_SYNC) };
    match at {
        Some(at) => Ok((SyncId::root(&names[at]), all.swap_remove(at))),
        None if all.is_empty() => bail!("the cluster {} has no RootSync", cluster.context),
        None => bail!("the cluster {} has several RootSyncs; name one: {}", cluster.context, names.join(", ")),
    }
}

/// Sets an annotation of a sync object, or takes it off.
///
/// # Errors
///
/// If the object is not there, or cannot be changed.
pub(crate) async fn annotate(
    cluster: &ClusterContext,
    client: &Client,
    id: &SyncId,
    annotation: (&str, Option<&str>),
) -> anyhow::Result<()> {
    read(cluster, client, id).await?;
    let (key, value) = annotation;
    let patch = json!({ "metadata": { "annotations": { key: value } } });
    let patched = api(client, id).patch_metadata(&id.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.map_err(|error| cluster.failed(error)).with_context(|| format!("failed to annotate the {id}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_named_as_they_are_shown() {
        for text in ["root-sync", "<root>:root-sync", "config-management-system/root-sync"] {
            assert_eq!(sync_id(text), Ok(SyncId::root("root-sync")));
        }
        for text in ["shop:repo-sync", "shop/repo-sync"] {
            assert_eq!(sync_id(text), Ok(SyncId::repo("shop", "repo-sync")));
        }
        for text in ["", ":", "shop:", ":x", "a:b:c"] {
            assert!(sync_id(text).is_err(), "{text}");
        }
        for id in [SyncId::root("x"), SyncId::repo("shop", "x")] {
            assert_eq!(sync_id(&shown(&id)), Ok(id));
        }
    }
}
