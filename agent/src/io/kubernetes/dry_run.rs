//! Asks the API server how it would leave an object that is applied: `nomos diff`.

use http::Method;
use serde_json::Value;

use super::apply::{check_size, is_operators, is_removable};
use super::client::{APPLY, ApiError, Cluster};
use super::path;
use crate::compile::declared::DeclaredObject;
use crate::model::metadata::FIELD_MANAGER;
use crate::model::object::Object;

/// The object as an apply would leave it, which changes nothing.
///
/// # Errors
/// Those of an apply.
pub async fn dry_run(cluster: &Cluster, declared: &DeclaredObject) -> Result<Object, ApiError> {
    check_size(declared)?;
    let path = cluster.path(&declared.id, declared.version()).await?;
    let path = path::with_query(&path, &[("dryRun", "All"), ("fieldManager", FIELD_MANAGER), ("force", "true")]);
    let body = serde_json::to_vec(&declared.body()).map_err(|error| ApiError::Unsendable(error.to_string()))?;
    cluster.request(Method::PATCH, &path, APPLY, body).await
}

/// Removes the labels and annotations that syncs add, and not those of users.
pub fn take_off_marks(object: &mut Object) {
    for field in ["labels", "annotations"] {
        let metadata = object.metadata_mut();
        let Some(Value::Object(map)) = metadata.get_mut(field) else { continue };
        map.retain(|key, value| !is_removable(key, value) || is_operators(key));
        if map.is_empty() {
            metadata.remove(field);
        }
    }
}
