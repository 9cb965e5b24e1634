//! The status of RootSync and RepoSync objects.

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::failed;
use crate::api::SyncStatus;
use crate::io::kubernetes::client::{ApiError, Cluster};
use crate::model::metadata::{SyncId, TOOLING, annotation, label};
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::reporting::ReportAnswer;
use crate::sync::status::status_document;

/// The sync object, as far as it is written to.
#[derive(Clone)]
pub struct SyncObject {
    /// Its status as last read or written.
    pub status: SyncStatus,
    /// Its uid, which Events about it name.
    pub uid: String,
}

/// Writes the status of the sync object that has the uid `uid`.
///
/// # Errors
/// When the API server refuses it or cannot be reached. The code is 404 or 409 when there is no such object any more.
pub async fn write_sync_status(
    cluster: &Cluster,
    sync: &SyncId,
    uid: &str,
    status: &SyncStatus,
) -> Result<(), ApiError> {
    let kind = GroupKind::new("configsync.gke.io", &sync.kind.to_string());
    let path = cluster.path(&ObjectId::new(&kind, &sync.namespace, &sync.name), "v1beta1").await?;
    let body = status_document(sync, uid, status).to_string().into_bytes();
    cluster.apply::<Value>(&format!("{path}/status"), body).await?;
    Ok(())
}

/// Writes the ApplySet of the objects of a sync on the sync object.
///
/// # Errors
/// When the API server refuses it or cannot be reached.
pub async fn write_apply_set(cluster: &Cluster, sync: &SyncId) -> Result<(), ApiError> {
    let kind = GroupKind::new("configsync.gke.io", &sync.kind.to_string());
    let path = cluster.path(&ObjectId::new(&kind, &sync.namespace, &sync.name), "v1beta1").await?;
    let labels = json!({label::APPLY_SET_ID: sync.part_of()});
    let annotations = json!({annotation::APPLY_SET_TOOLING: TOOLING});
    cluster.merge_patch::<Value>(&path, &json!({"metadata": {"labels": labels, "annotations": annotations}})).await?;
    Ok(())
}

/// Reads the status of a sync object.
///
/// # Errors
/// When the API server refuses it or cannot be reached.
pub async fn read_sync_status(cluster: &Cluster, sync: &SyncId) -> Result<SyncStatus, ApiError> {
    let kind = GroupKind::new("configsync.gke.io", &sync.kind.to_string());
    let path = cluster.path(&ObjectId::new(&kind, &sync.namespace, &sync.name), "v1beta1").await?;
    let object: Value = cluster.get(&path).await?;
    Ok(SyncStatus::deserialize(&object["status"]).unwrap_or_default())
}

/// Writes a status for the reporter.
pub(super) async fn write(cluster: &Cluster, sync: &SyncId, uid: &str, status: &SyncStatus) -> ReportAnswer {
    match write_sync_status(cluster, sync, uid, status).await {
        Ok(()) => ReportAnswer::Done,
        Err(error) if matches!(error.code(), 404 | 409) => ReportAnswer::Gone,
        Err(error) => failed("the status of the sync", &error),
    }
}
