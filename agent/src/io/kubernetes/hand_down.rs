//! Finds the RepoSync to which an object is left instead of deleted: it declares the object, and its account may make it.

use http::Method;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::apply::{failed, get};
use super::client::{ApiError, Cluster, JSON, collection};
use super::path;
use crate::model::metadata::{FIELD_MANAGER, SyncId};
use crate::model::object::{Object, ObjectId};
use crate::sync::engine::Outcome;

/// The first of these RepoSyncs whose account may make the object: it is left to that one.
///
/// # Errors
/// The answer to the command when the object is gone, or when that cannot be found out.
pub async fn heir<'a>(cluster: &Cluster, id: &ObjectId, heirs: &'a [SyncId]) -> Result<Option<&'a SyncId>, Outcome> {
    for heir in heirs {
        match may_make(cluster, heir, id).await {
            Ok(true) => return Ok(Some(heir)),
            Ok(false) => {}
            Err(error) if error.is_not_found() => return Err(Outcome::Absent(0)),
            Err(error) => return Err(failed("ask if the next sync may make", id, &error, cluster)),
        }
    }
    Ok(None)
}

/// `true` if the account of another sync may make the object as it is, by the API server's answer to a dry run. Rights and admission are
/// looked at before it says that the object is there already. A quota counts the object twice, and is no obstacle.
async fn may_make(cluster: &Cluster, heir: &SyncId, id: &ObjectId) -> Result<bool, ApiError> {
    let mut object = get(cluster, id, "").await?;
    object.0.remove("status");
    let given = ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "ownerReferences"];
    given.iter().for_each(|field| _ = object.metadata_mut().remove(*field));
    forget_assigned(&mut object);
    let collection = collection(&cluster.served(&id.group_kind()).await?, id.namespace());
    let path = path::with_query(&collection, &[("dryRun", "All"), ("fieldManager", FIELD_MANAGER)]);
    let body = serde_json::to_vec(&object.0).map_err(|error| ApiError::Unsendable(error.to_string()))?;
    match cluster.acting_as(heir).request::<IgnoredAny>(Method::POST, &path, JSON, body).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_transient() => Err(error),
        Err(error) => {
            let text = error.to_string();
            let is_there = error.code() == 409 && text.ends_with("already exists");
            Ok(is_there || error.code() == 403 && text.contains("exceeded quota"))
        }
    }
}

/// Takes off what the API server gave the object and gives to no second one.
fn forget_assigned(object: &mut Object) {
    if object.kind() != "Service" || object.api_version() != "v1" {
        return;
    }
    let Some(spec) = object.0.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if spec.get("clusterIP").is_some_and(|address| address != "None") {
        ["clusterIP", "clusterIPs"].iter().for_each(|field| _ = spec.remove(*field));
    }
    spec.remove("healthCheckNodePort");
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
    ports.filter_map(Value::as_object_mut).for_each(|port| _ = port.remove("nodePort"));
}
