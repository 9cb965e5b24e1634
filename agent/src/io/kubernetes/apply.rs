//! Carries out commands about single objects: apply, annotate, read, delete, abandon.

use http::Method;
use serde_json::{Map, Value, json};

use super::client::{ApiError, Cluster};
use crate::compile::declared::DeclaredObject;
use crate::model::finding::Resource;
use crate::model::metadata::{FIELD_MANAGER, MANAGED_BY_VALUE, SyncId, annotation, is_system_key, label};
use crate::model::object::{Object, ObjectId};
use crate::sync::engine::{ApplyMode, Failure, Outcome};
use crate::sync::live::{Live, Observed, Owner};
use crate::sync::managed_fields;

const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
/// A `resourceVersion` that no object has. An apply with it makes an object that does not exist, and is refused with 409
/// where one does, whoever manages it: a look before the apply that costs no request.
const NO_VERSION: &str = "1";

/// What is written on an object beside what is declared.
pub struct Stamp<'a> {
    /// Whose object it is.
    pub sync: &'a SyncId,
    /// The commit.
    pub token: &'a str,
    /// Repository, branch and revision as JSON.
    pub git_context: &'a str,
}

/// Server-side apply. The answer becomes what the object looks like while it is as declared.
pub async fn apply(cluster: &Cluster, stamp: &Stamp<'_>, declared: &DeclaredObject, onto: ApplyMode) -> Outcome {
    outcome("apply", declared, try_apply(cluster, stamp, declared, onto).await, cluster)
}

async fn try_apply(
    cluster: &Cluster,
    stamp: &Stamp<'_>,
    declared: &DeclaredObject,
    onto: ApplyMode,
) -> Result<Outcome, ApiError> {
    let id = &declared.id;
    let path = cluster.path(id, declared.version()).await?;
    let mut body = declared.applied(stamp.token, stamp.git_context);
    if onto == ApplyMode::Reclaim {
        reclaim(cluster, &path, &body).await?;
    }
    if onto == ApplyMode::Create {
        body.metadata_mut().insert("resourceVersion".to_owned(), NO_VERSION.into());
    }
    let mut answer = forced(cluster, &path, &body).await;
    if onto == ApplyMode::Create {
        body.metadata_mut().remove("resourceVersion");
        if answer.as_ref().is_err_and(|error| error.code() == 409) {
            match cluster.request(Method::GET, &path, JSON, Vec::new()).await {
                Ok(there) => return Ok(Outcome::Read(Box::new(there))),
                Err(error) if error.is_not_found() => answer = forced(cluster, &path, &body).await,
                Err(error) => return Err(error),
            }
        }
    }
    let mut whole = answer?;
    let mut seen = Observed::of(&whole);
    if client_side_applied(&seen) {
        whole = take_over(cluster, &path, &whole).await?;
        seen = Observed::of(&whole);
    }
    let different = managed_fields::differences(&body, &whole);
    Ok(Outcome::Applied(Box::new(Live::after_apply(&seen, &whole, id, stamp.sync)), different))
}

async fn forced(cluster: &Cluster, path: &str, body: &Object) -> Result<Object, ApiError> {
    let bytes = serde_json::to_vec(body).expect("maps with string keys always serialise");
    let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true");
    cluster.request(Method::PATCH, &path, APPLY, bytes).await
}

/// Takes list items over that stand in the place of ours, so that the apply that follows removes them.
async fn reclaim(cluster: &Cluster, path: &str, body: &Object) -> Result<(), ApiError> {
    let whole: Object = cluster.request(Method::GET, path, JSON, Vec::new()).await?;
    let mut entries = whole.metadata("managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
    if managed_fields::reclaim(body, &mut entries) {
        own(cluster, path, &whole, entries, Map::new()).await?;
    }
    Ok(())
}

/// Writes who owns which field, provided that the object is still the one that was read.
async fn own(
    cluster: &Cluster,
    path: &str,
    whole: &Object,
    entries: Vec<Value>,
    annotations: Map<String, Value>,
) -> Result<Object, ApiError> {
    let patch = json!({"metadata": {
        "managedFields": entries,
        "resourceVersion": whole.metadata("resourceVersion"),
        "annotations": annotations,
    }});
    let path = format!("{path}?fieldManager={FIELD_MANAGER}");
    cluster.request(Method::PATCH, &path, MERGE, patch.to_string().into_bytes()).await
}

/// Whether `kubectl apply` without `--server-side` wrote the object: it would go on owning every field that we apply, and
/// a field removed from the repository would stay in the cluster.
fn client_side_applied(seen: &Observed) -> bool {
    seen.managed_fields.iter().any(is_client_side)
}

fn is_client_side(entry: &managed_fields::ManagedFieldsEntry) -> bool {
    entry.operation == "Update" && entry.subresource.is_empty() && entry.manager == "kubectl-client-side-apply"
}

/// Gives what kubectl's client-side apply owns besides us to us alone: its entry is removed, once.
async fn take_over(cluster: &Cluster, path: &str, whole: &Object) -> Result<Object, ApiError> {
    let entries = whole.metadata("managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
    let ours: Vec<Value> = entries
        .into_iter()
        .filter(|entry| serde_json::from_value(entry.clone()).is_ok_and(|entry| !is_client_side(&entry)))
        .collect();
    let last_applied = Map::from_iter([("kubectl.kubernetes.io/last-applied-configuration".to_owned(), Value::Null)]);
    own(cluster, path, whole, ours, last_applied).await
}

/// Brings our labels and annotations up to date, and leaves the rest alone.
pub async fn annotate(cluster: &Cluster, stamp: &Stamp<'_>, declared: &DeclaredObject) -> Outcome {
    let result = async {
        let path = cluster.path(&declared.id, declared.version()).await?;
        try_annotate(cluster, stamp, declared, &path).await
    };
    outcome("annotate", declared, result.await, cluster)
}

async fn try_annotate(
    cluster: &Cluster,
    stamp: &Stamp<'_>,
    declared: &DeclaredObject,
    path: &str,
) -> Result<Outcome, ApiError> {
    let body = declared.applied(stamp.token, stamp.git_context);
    let ours = |field: &str| -> Map<String, Value> {
        let map = body.metadata(field).and_then(Value::as_object).cloned().unwrap_or_default();
        map.into_iter().filter(|(key, _)| is_ours(key)).collect()
    };
    let patch = json!({"metadata": {"labels": ours("labels"), "annotations": ours("annotations")}});
    let path = format!("{path}?fieldManager={FIELD_MANAGER}");
    let whole: Object = cluster.request(Method::PATCH, &path, MERGE, patch.to_string().into_bytes()).await?;
    let live = Live::after_apply(&Observed::of(&whole), &whole, &declared.id, stamp.sync);
    Ok(Outcome::Applied(Box::new(live), Vec::new()))
}

/// The whole object.
pub async fn read(cluster: &Cluster, id: &ObjectId) -> Outcome {
    match get(cluster, id).await {
        Ok(whole) => Outcome::Read(Box::new(whole)),
        Err(error) if error.is_not_found() => Outcome::Absent(0),
        Err(error) => failed("read", id, &error, cluster),
    }
}

async fn get(cluster: &Cluster, id: &ObjectId) -> Result<Object, ApiError> {
    let path = cluster.path(id, "").await?;
    cluster.request(Method::GET, &path, JSON, Vec::new()).await
}

/// Deletes exactly this incarnation and version.
pub async fn delete(cluster: &Cluster, id: &ObjectId, uid: &str, version: u64) -> Outcome {
    let body = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": uid, "resourceVersion": version.to_string()},
    });
    let result = async {
        let path = cluster.path(id, "").await?;
        cluster.request::<Value>(Method::DELETE, &path, JSON, body.to_string().into_bytes()).await
    };
    match result.await {
        Ok(_) => Outcome::Deleted,
        Err(error) if error.is_not_found() => Outcome::Absent(0),
        Err(error) => failed("delete", id, &error, cluster),
    }
}

/// Takes our labels and annotations off, provided that the object is still the one that was read.
pub async fn abandon(cluster: &Cluster, sync: &SyncId, id: &ObjectId) -> Outcome {
    let result = async {
        let whole = get(cluster, id).await?;
        if Live::observe(&Observed::of(&whole), id, sync, None, None).owner != Owner::Us {
            return Ok(());
        }
        let path = cluster.path(id, "").await?;
        cluster.request::<Value>(Method::PATCH, &path, MERGE, released(&whole).to_string().into_bytes()).await?;
        Ok(())
    };
    match result.await {
        Ok(()) => Outcome::Abandoned,
        Err(error) if ApiError::is_not_found(&error) => Outcome::Absent(0),
        Err(error) => failed("abandon", id, &error, cluster),
    }
}

/// The merge patch that takes our metadata off.
fn released(whole: &Object) -> Value {
    let gone = |field: &'static str| -> Map<String, Value> {
        let keys = whole.metadata(field).and_then(Value::as_object).into_iter().flatten();
        keys.filter(|(key, value)| is_ours_alone(key, value)).map(|(key, _)| (key.clone(), Value::Null)).collect()
    };
    json!({"metadata": {
        "labels": gone("labels"),
        "annotations": gone("annotations"),
        "resourceVersion": whole.metadata("resourceVersion"),
    }})
}

fn is_ours_alone(key: &str, value: &Value) -> bool {
    let shared = [label::MANAGED_BY, annotation::HNC_MANAGED_BY].contains(&key);
    if shared { value == MANAGED_BY_VALUE } else { is_ours(key) }
}

/// Keys that only the system writes.
fn is_ours(key: &str) -> bool {
    is_system_key(key)
        || [label::PART_OF, label::MANAGED_BY, annotation::OWNING_INVENTORY, annotation::HNC_MANAGED_BY].contains(&key)
}

fn outcome(doing: &str, declared: &DeclaredObject, result: Result<Outcome, ApiError>, cluster: &Cluster) -> Outcome {
    let id = &declared.id;
    result.unwrap_or_else(|error| {
        forget_lost_kind(id, &error, cluster);
        Outcome::Failed(error.failure(doing, |finding| finding.at(declared.place()), id))
    })
}

fn failed(doing: &str, id: &ObjectId, error: &ApiError, cluster: &Cluster) -> Outcome {
    forget_lost_kind(id, error, cluster);
    let failure: Failure = error.failure(doing, |finding| finding.about(Resource::named(id, "")), id);
    Outcome::Failed(failure)
}

/// It may be served again, in another version say.
fn forget_lost_kind(id: &ObjectId, error: &ApiError, cluster: &Cluster) {
    if error.is_unserved() {
        cluster.forget(&id.group_kind());
    }
}
