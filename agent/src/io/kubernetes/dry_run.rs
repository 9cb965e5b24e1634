//! Asks the API server how it would leave an object that is applied, for `nomos diff`, or that lacks some fields, for `nomos export`.

use http::Method;
use serde_json::{Value, json};

use super::apply::{check_size, is_operators, is_removable};
use super::client::{APPLY, ApiError, Cluster, JSON_PATCH};
use super::path;
use crate::compile::declared::DeclaredObject;
use crate::model::metadata::FIELD_MANAGER;
use crate::model::object::Object;

/// The object as an apply of `body` in the place of what is declared would leave it, which changes nothing.
///
/// # Errors
/// Those of an apply.
pub async fn dry_run(cluster: &Cluster, declared: &DeclaredObject, body: &Object) -> Result<Object, ApiError> {
    check_size(declared)?;
    let path = cluster.path(&declared.id, declared.version()).await?;
    let path = path::with_query(&path, &[("dryRun", "All"), ("fieldManager", FIELD_MANAGER), ("force", "true")]);
    let body = serde_json::to_vec(body).map_err(|error| ApiError::Unsendable(error.to_string()))?;
    cluster.request(Method::PATCH, &path, APPLY, body).await
}

/// The object as it would be without the fields at these JSON pointers: the API server gives back those that are its default values.
/// It changes nothing.
///
/// # Errors
/// When the API server refuses it or cannot be reached.
pub async fn dry_run_without(cluster: &Cluster, object: &Object, fields: &[String]) -> Result<Object, ApiError> {
    let path = cluster.path(&object.id(), object.version()).await?;
    let path = path::with_query(&path, &[("dryRun", "All")]);
    let patch: Vec<Value> = fields.iter().map(|field| json!({"op": "remove", "path": field})).collect();
    cluster.request(Method::PATCH, &path, JSON_PATCH, Value::Array(patch).to_string().into_bytes()).await
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
