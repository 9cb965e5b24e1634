//! The status of RootSync and RepoSync objects.

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::failed;
use crate::api::SyncStatus;
use crate::io::kubernetes::client::{ApiError, Cluster};
use crate::model::metadata::SyncId;
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
    let path = format!("{}/status", path(cluster, sync).await?);
    let body = |status| status_document(sync, uid, status).to_string().into_bytes();
    match cluster.apply::<Value>(&path, body(status)).await {
        // The CRD is that of Config Sync, or of an older agent.
        Err(error) if !status.history.is_empty() && error.to_string().contains(".status.history") => {
            let without = SyncStatus { history: Vec::new(), ..status.clone() };
            cluster.apply::<Value>(&path, body(&without)).await.map(drop)
        }
        answer => answer.map(drop),
    }
}

/// Changes the metadata of a sync object.
///
/// # Errors
/// When the API server refuses it or cannot be reached.
pub async fn patch_sync_metadata(cluster: &Cluster, sync: &SyncId, metadata: &Value) -> Result<Value, ApiError> {
    let path = path(cluster, sync).await?;
    cluster.merge_patch(&path, &json!({"metadata": metadata})).await
}

async fn path(cluster: &Cluster, sync: &SyncId) -> Result<String, ApiError> {
    let kind = GroupKind::new("configsync.gke.io", &sync.kind.to_string());
    cluster.path(&ObjectId::new(&kind, &sync.namespace, &sync.name), "v1beta1").await
}

/// The sync object with this uid, if there is one still.
///
/// # Errors
/// When the API server refuses it or cannot be reached.
pub async fn read_sync(cluster: &Cluster, sync: &SyncId, uid: &str) -> Result<Option<Value>, ApiError> {
    let object = async { cluster.get::<Value>(&path(cluster, sync).await?).await };
    match object.await {
        Ok(object) => Ok(Some(object).filter(|object| object["metadata"]["uid"] == uid)),
        Err(error) if error.code() == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the status of a sync object.
///
/// # Errors
/// When the API server refuses it or cannot be reached.
pub async fn read_sync_status(cluster: &Cluster, sync: &SyncId) -> Result<SyncStatus, ApiError> {
    let object: Value = cluster.get(&path(cluster, sync).await?).await?;
    Ok(SyncStatus::deserialize(&object["status"]).unwrap_or_default())
}

/// Writes a status for the reporter.
pub(super) async fn write(cluster: &Cluster, sync: &SyncId, uid: &str, status: &SyncStatus) -> ReportAnswer {
    match write_sync_status(cluster, sync, uid, status).await {
        Ok(()) => ReportAnswer::Done,
        // Another client may have written at the same time, or the kind is not served for a while.
        Err(error) if matches!(error.code(), 404 | 409) => match read_sync(cluster, sync, uid).await {
            Ok(None) => ReportAnswer::Gone,
            _ => failed("write the status of the sync", &error),
        },
        Err(error) => failed("write the status of the sync", &error),
    }
}
