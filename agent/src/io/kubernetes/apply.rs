//! Carries out the engine's commands about single objects: apply, annotate, read, abandon.

use http::Method;
use serde_json::{Map, Value, json};

use super::client::{ApiError, Cluster, MERGE};
use crate::compile::declared::DeclaredObject;
use crate::compile::not_base64;
use crate::model::finding::{Finding, Resource};
use crate::model::limits::{APPLIED_BYTES, APPLIED_VALUE};
use crate::model::metadata::{
    MANAGED_BY_VALUE, SYNC_ANNOTATIONS, SyncId, USER_ANNOTATIONS, annotation, is_system_key, label,
};
use crate::model::object::{GroupKind, Object, ObjectId};
use crate::sync::engine::{ApplyMode, Outcome, Remarks};
use crate::sync::live::{Live, Observed, Owner};
use crate::sync::managed_fields::{self, Basis, FormerWriter};

/// A `resourceVersion` that no object has. An apply with it only creates: if the object exists, whichever sync manages it,
/// the API server answers 409. So no read is needed before.
const NO_VERSION: &str = "1";

/// The metadata that an apply adds beside the declared object, which depends on the commit.
pub struct CommitStamp<'a> {
    /// The sync that manages the object.
    pub sync: &'a SyncId,
    /// The commit: 40 hexadecimal digits.
    pub token: &'a str,
    /// Repository, branch and revision as JSON.
    pub git_context: &'a str,
}

/// Server-side apply. The engine keeps a [`Live`] made from the answer, which shows the object without drift.
pub async fn apply(cluster: &Cluster, stamp: &CommitStamp<'_>, declared: &DeclaredObject, mode: ApplyMode) -> Outcome {
    outcome("apply", declared, try_apply(cluster, stamp, declared, mode).await, cluster)
}

async fn try_apply(
    cluster: &Cluster,
    stamp: &CommitStamp<'_>,
    declared: &DeclaredObject,
    mode: ApplyMode,
) -> Result<Outcome, ApiError> {
    check_size(declared)?;
    let id = &declared.id;
    let path = cluster.path(id, declared.version()).await?;
    let mut body = declared.applied(stamp.token, stamp.git_context);
    let (mut expected, mut adopted_from) = (None, Vec::new());
    match mode {
        ApplyMode::Update => {}
        ApplyMode::Create => expected = Some(NO_VERSION.to_owned()),
        ApplyMode::HandOver | ApplyMode::Reclaim => {
            let Some(there) = find(cluster, &path).await? else { return Ok(Outcome::Absent(0)) };
            adopted_from = hand_over(cluster, &path, &body, there, mode).await?.1;
        }
        ApplyMode::TakeOver(version) => {
            let Some(there) = find(cluster, &path).await? else { return Ok(Outcome::Absent(0)) };
            if Observed::of(&there).version() != version {
                return Ok(Outcome::Read(Box::new(there)));
            }
            let (handed_over, from) = match hand_over(cluster, &path, &body, there, mode).await {
                Err(error) if error.code() == 409 => return read_again(cluster, &path).await,
                handed_over => handed_over?,
            };
            (expected, adopted_from) = (Some(Observed::of(&handed_over).resource_version), from);
        }
    }
    if let Some(expected) = &expected {
        body.metadata_mut().insert("resourceVersion".to_owned(), expected.as_str().into());
    }
    let mut answer = send(cluster, &path, &body).await;
    if mode == ApplyMode::Create
        && let Some(there) = implicit(cluster, declared, &path, &answer).await?
    {
        return Ok(Outcome::Read(Box::new(there)));
    }
    if let Some(refused) = answer.as_ref().err().and_then(ApiError::refused_members) {
        // Other fields are beside them: the object is there after all.
        if mode == ApplyMode::Create
            && let Some(there) = find(cluster, &path).await?
        {
            return Ok(Outcome::Read(Box::new(there)));
        }
        answer = match mode {
            ApplyMode::Create => answer,
            _ => send_without_members(cluster, &path, &mut body, &refused).await?.unwrap_or(answer),
        };
    }
    body.metadata_mut().remove("resourceVersion");
    if expected.is_some() && answer.as_ref().is_err_and(|error| error.code() == 409) {
        match read_again(cluster, &path).await? {
            Outcome::Absent(_) if mode == ApplyMode::Create => answer = send(cluster, &path, &body).await,
            read => return Ok(read),
        }
    }
    let whole = finished(cluster, &path, &body, answer?, mode).await?;
    let seen = Observed::of(&whole);
    let rewritten = managed_fields::differences(&body, &whole, &seen.managed_fields, Basis::Answer);
    let live = Live::after_apply(&seen, &whole, &body, id, stamp.sync);
    let rewritten = declared.shown_fields(rewritten);
    Ok(Outcome::Applied(Box::new(live), Remarks { rewritten, adopted_from }))
}

/// The object as an apply leaves it, after a second one where the first could not take everything over.
async fn finished(
    cluster: &Cluster,
    path: &str,
    body: &Object,
    whole: Object,
    mode: ApplyMode,
) -> Result<Object, ApiError> {
    let entries = Observed::of(&whole).managed_fields;
    match mode != ApplyMode::Create && managed_fields::is_unfinished(body, &whole, &entries) {
        true => send(cluster, path, body).await,
        false => Ok(whole),
    }
}

/// A Namespace that objects are in and that is there already: no right to make it is needed then.
async fn implicit(
    cluster: &Cluster,
    declared: &DeclaredObject,
    path: &str,
    answer: &Result<Object, ApiError>,
) -> Result<Option<Object>, ApiError> {
    let is_refused = answer.as_ref().is_err_and(|error| error.code() == 403);
    if declared.implicit && is_refused { find(&cluster.as_agent(), path).await } else { Ok(None) }
}

/// Refuses an object that no API server takes, before it is decoded.
pub(super) fn check_size(declared: &DeclaredObject) -> Result<(), ApiError> {
    check_text(declared.text_bytes())?;
    if declared.decoded_bytes() > APPLIED_VALUE {
        return Err(ApiError::Oversized("it has several 100,000 maps".to_owned()));
    }
    Ok(())
}

fn check_text(bytes: usize) -> Result<(), ApiError> {
    if bytes > APPLIED_BYTES {
        let [size, limit] = [bytes, APPLIED_BYTES].map(|bytes| bytes >> 10);
        return Err(ApiError::Oversized(format!("it has {size} KiB as JSON, and an API server takes {limit} KiB")));
    }
    Ok(())
}

/// The object at this path, if there is one.
async fn find(cluster: &Cluster, path: &str) -> Result<Option<Object>, ApiError> {
    match cluster.get(path).await {
        Err(error) if error.is_not_found() => Ok(None),
        answer => answer.map(Some),
    }
}

/// The object as it is now, since it is not as it was known.
async fn read_again(cluster: &Cluster, path: &str) -> Result<Outcome, ApiError> {
    Ok(find(cluster, path).await?.map_or(Outcome::Absent(0), |there| Outcome::Read(Box::new(there))))
}

async fn send(cluster: &Cluster, path: &str, body: &Object) -> Result<Object, ApiError> {
    let body = serde_json::to_vec(body).expect("maps with string keys always serialise");
    check_text(body.len())?;
    cluster.apply(path, body).await
}

/// Lets fields change hands before an apply: the declared ones of former writers become ours, those that stay as they run have
/// no owner any more, and list items that another client put in the place of ours become ours to be removed. `whole` is the
/// object as it was read. Returns it as it is then, and the former writers.
async fn hand_over(
    cluster: &Cluster,
    path: &str,
    body: &Object,
    mut whole: Object,
    mode: ApplyMode,
) -> Result<(Object, Vec<&'static FormerWriter>), ApiError> {
    if whole.metadata("managedFields").is_none() {
        // An apply without fields only makes the API server write down that they have no owner.
        whole = send(cluster, path, &empty(body)).await?;
    }
    let before = whole.metadata("managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut entries = before.clone();
    let from = managed_fields::adopt(body, &mut entries);
    managed_fields::release_running(body, &mut entries);
    if mode == ApplyMode::Reclaim {
        managed_fields::reclaim(body, &mut entries);
    }
    if entries != before {
        // kubectl and others compare with this annotation at their next apply. A declared one stays as it is declared.
        let stale = !from.is_empty() && body.annotation(annotation::LAST_APPLIED).is_none();
        let removed = stale.then(|| (annotation::LAST_APPLIED.to_owned(), Value::Null)).into_iter().collect();
        whole = write_managed_fields(cluster, path, &whole, entries, removed).await?;
    }
    Ok((whole, from))
}

/// The API server refuses these fields, because others are there that cannot be beside them. The sync takes what it does not declare
/// of them over, and its next apply removes it. `None` when there is nothing to take, or when the object has changed since the
/// version in `body`.
async fn send_without_members(
    cluster: &Cluster,
    path: &str,
    body: &mut Object,
    refused: &[String],
) -> Result<Option<Result<Object, ApiError>>, ApiError> {
    let whole: Object = cluster.get(path).await?;
    let expected = body.metadata("resourceVersion").cloned();
    let mut entries = whole.metadata("managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
    if expected.as_ref().is_some_and(|expected| whole.metadata("resourceVersion") != Some(expected))
        || !managed_fields::take_members(body, &whole, refused, &mut entries)
    {
        return Ok(None);
    }
    let taken = match write_managed_fields(cluster, path, &whole, entries, Map::new()).await {
        Ok(taken) => taken,
        Err(error) => return Ok(Some(Err(error))),
    };
    tracing::info!(object = %body.id(), fields = refused.join(", "), "removes what another client put beside declared fields");
    if expected.is_some() {
        let version = taken.metadata("resourceVersion").cloned().unwrap_or_default();
        body.metadata_mut().insert("resourceVersion".to_owned(), version);
    }
    Ok(Some(send(cluster, path, body).await))
}

/// An object of which nothing is declared.
fn empty(body: &Object) -> Object {
    let names = ["name", "namespace"].map(|field| (field.to_owned(), body.metadata(field).cloned()));
    let names: Map<String, Value> = names.into_iter().filter_map(|(field, name)| Some((field, name?))).collect();
    let (version, kind) = ("apiVersion".to_owned(), "kind".to_owned());
    Object(Map::from_iter([
        (version, body.api_version().into()),
        (kind, body.kind().into()),
        ("metadata".to_owned(), Value::Object(names)),
    ]))
}

/// Writes `metadata.managedFields`. The API server refuses it with 409 if the object has changed since `whole` was read.
async fn write_managed_fields(
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
    cluster.merge_patch(path, &patch).await
}

/// Brings the sync's labels and annotations up to date, and leaves the rest of the object alone.
pub async fn annotate(
    cluster: &Cluster,
    stamp: &CommitStamp<'_>,
    declared: &DeclaredObject,
    expected: Option<u64>,
) -> Outcome {
    let result = async {
        check_size(declared)?;
        let path = cluster.path(&declared.id, declared.version()).await?;
        try_annotate(cluster, stamp, declared, &path, expected).await
    };
    outcome("annotate", declared, result.await, cluster)
}

async fn try_annotate(
    cluster: &Cluster,
    stamp: &CommitStamp<'_>,
    declared: &DeclaredObject,
    path: &str,
    expected: Option<u64>,
) -> Result<Outcome, ApiError> {
    let body = declared.applied(stamp.token, stamp.git_context);
    let ours = |field: &str| -> Map<String, Value> {
        let map = body.metadata(field).and_then(Value::as_object).cloned().unwrap_or_default();
        map.into_iter().filter(|(key, _)| is_ours(key)).collect()
    };
    let mut patch = json!({"metadata": {"labels": ours("labels"), "annotations": ours("annotations")}});
    if let Some(version) = expected {
        patch["metadata"]["resourceVersion"] = version.to_string().into();
    }
    let whole: Object = match cluster.merge_patch(path, &patch).await {
        Err(error) if expected.is_some() && error.code() == 409 => return read_again(cluster, path).await,
        Err(error) if error.is_not_found() => return Ok(Outcome::Absent(0)),
        answer => answer?,
    };
    let live = Live::after_apply(&Observed::of(&whole), &whole, &body, &declared.id, stamp.sync);
    Ok(Outcome::Applied(Box::new(live), Remarks::default()))
}

/// Reads the whole object in the version in which it is declared: in another one its fields can have other names and values.
pub async fn read(cluster: &Cluster, declared: &DeclaredObject) -> Outcome {
    match get(cluster, &declared.id, declared.version()).await {
        Ok(whole) => Outcome::Read(Box::new(whole)),
        Err(error) if error.is_not_found() => Outcome::Absent(0),
        Err(error) => outcome("read", declared, Err(error), cluster),
    }
}

pub(super) async fn get(cluster: &Cluster, id: &ObjectId, version: &str) -> Result<Object, ApiError> {
    let path = cluster.path(id, version).await?;
    cluster.get(&path).await
}

/// Takes the sync's labels and annotations off, if it still manages the object. The API server refuses it with 409 if the
/// object changed in between.
pub async fn abandon(cluster: &Cluster, sync: &SyncId, id: &ObjectId) -> Outcome {
    let result = async {
        let whole = get(cluster, id, "").await?;
        if Live::observe(&Observed::of(&whole), id, sync, None, None).owner != Owner::Us {
            return Ok(());
        }
        let path = cluster.path(id, "").await?;
        // Not as our field manager: it shall own nothing of the object.
        cluster.request::<Value>(Method::PATCH, &path, MERGE, released(&whole).to_string().into_bytes()).await?;
        Ok(())
    };
    match result.await {
        Ok(()) => Outcome::Abandoned,
        Err(error) if ApiError::is_not_found(&error) => Outcome::Absent(0),
        Err(error) => failed("abandon", id, &error, cluster),
    }
}

/// The merge patch that takes the sync's labels and annotations off. The mark of sealed values stays, because they are those of the sealed
/// file: what shows objects hides them further on.
fn released(whole: &Object) -> Value {
    let is_sync = SyncId::of_object(&whole.id()).is_some();
    let gone = |field: &'static str| -> Map<String, Value> {
        let keys = whole.metadata(field).and_then(Value::as_object).into_iter().flatten();
        let stays = |key: &str| key == annotation::SEALED || is_sync && is_operators(key);
        keys.filter(|(key, value)| is_removable(key, value) && !stays(key))
            .map(|(key, _)| (key.clone(), Value::Null))
            .collect()
    };
    json!({"metadata": {
        "labels": gone("labels"),
        "annotations": gone("annotations"),
        "resourceVersion": whole.metadata("resourceVersion"),
    }})
}

/// `true` unless another tool may have set the label or annotation for itself.
pub(super) fn is_removable(key: &str, value: &Value) -> bool {
    let shared = [label::MANAGED_BY, annotation::HNC_MANAGED_BY].contains(&key);
    if shared { value == MANAGED_BY_VALUE } else { is_ours(key) }
}

/// `true` for an annotation with which users tell the agent something, beside `managed`, which it writes too.
pub(super) fn is_operators(key: &str) -> bool {
    key != annotation::MANAGED && [&USER_ANNOTATIONS[..], &SYNC_ANNOTATIONS].concat().contains(&key)
}

/// `true` for the key of a label or annotation that a sync writes.
fn is_ours(key: &str) -> bool {
    is_system_key(key)
        || [label::PART_OF, label::MANAGED_BY, annotation::OWNING_INVENTORY, annotation::HNC_MANAGED_BY].contains(&key)
}

/// The outcome of a command about a declared object; a failure is a finding at its manifest.
fn outcome(doing: &str, declared: &DeclaredObject, result: Result<Outcome, ApiError>, cluster: &Cluster) -> Outcome {
    let id = &declared.id;
    result.unwrap_or_else(|error| {
        doubt_lost_kind(id, &error, cluster);
        let explained = |finding| if error.code() == 0 { finding } else { not_base64_told(finding, declared) };
        let explained = |finding| explained(finding).at(declared.place());
        Outcome::Failed(error.failure_withheld(doing, explained, id, declared.is_confidential()))
    })
}

/// The outcome when an object of which values are copied into a declared one cannot be read.
pub(super) fn read_failure(
    cluster: &Cluster,
    declared: &DeclaredObject,
    source: &ObjectId,
    error: &ApiError,
) -> Outcome {
    doubt_lost_kind(source, error, cluster);
    let doing = format!("read for {}", declared.id);
    Outcome::Failed(error.failure(&doing, |finding| finding.at(declared.place()), source))
}

/// The finding with the keys of the values that had to be base64, never with a value: the API server's words name no key, and those
/// about a Secret are withheld.
fn not_base64_told(finding: Finding, declared: &DeclaredObject) -> Finding {
    let body = declared.body();
    match not_base64(&declared.id.group_kind(), |field| body.0.get(field).cloned()) {
        Some(wrong) => {
            Finding { message: format!("{}; {}", finding.message, wrong.message()), ..finding.hint(wrong.hint) }
        }
        None => finding,
    }
}

/// The failure of a command about an object that has no manifest.
pub(super) fn failed(doing: &str, id: &ObjectId, error: &ApiError, cluster: &Cluster) -> Outcome {
    doubt_lost_kind(id, error, cluster);
    // Without its manifest nothing says if its values are to be shown, which the words about a value that is written quote.
    let quotes = doing != "delete" && matches!(error.code(), 400 | 422);
    let is_secret = id.is_of(&GroupKind::new("", "Secret")) || quotes;
    let failure = error.failure_withheld(doing, |finding| finding.about(Resource::named(id, "")), id, is_secret);
    Outcome::Failed(failure)
}

/// If the API server says that the kind is not served, the next command asks discovery again: it may be served in another version now.
fn doubt_lost_kind(id: &ObjectId, error: &ApiError, cluster: &Cluster) {
    if error.is_unserved() {
        cluster.doubt(&id.group_kind());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(field: &str, value: Value) -> DeclaredObject {
        let object = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, field: value});
        DeclaredObject::new(serde_json::from_value(object).expect("a map"))
    }

    #[test]
    fn an_object_that_no_api_server_takes_is_refused_before_it_is_sent() {
        assert!(check_size(&declared("spec", "x".repeat(APPLIED_BYTES - 1000).into())).is_ok());
        let error = check_size(&declared("spec", "x".repeat(APPLIED_BYTES).into())).expect_err("too large");
        assert!(error.to_string().contains("3072 KiB") && !error.is_transient(), "{error}");
        let failure = error.failure("apply", |finding| finding, &declared("spec", Value::Null).id);
        assert!(failure.finding.message.starts_with("failed to apply "), "{}", failure.finding.message);
    }

    #[test]
    fn an_object_that_takes_a_multiple_of_its_text_as_memory_is_refused() {
        let maps = |count| declared("spec", vec![json!({"a": 1}); count].into());
        assert!(check_size(&maps(150_000)).is_ok());
        assert!(maps(300_000).text_bytes() < APPLIED_BYTES);
        assert!(matches!(check_size(&maps(300_000)), Err(ApiError::Oversized(_))));
        // Neither text nor empty maps take more memory than their length.
        assert!(check_size(&declared("spec", "{,[".repeat(900_000).into())).is_ok());
        assert!(check_size(&declared("spec", vec![json!({}); 900_000].into())).is_ok());
    }

    #[test]
    fn an_object_that_is_given_up_keeps_the_mark_of_sealed_values_alone() {
        let own =
            json!({annotation::SEALED: "true", annotation::MANAGER: "m", annotation::MANAGED: "enabled", "note": "x"});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b", "annotations": own}});
        let patch = released(&serde_json::from_value(object).expect("a map"));
        let gone = json!({annotation::MANAGER: null, annotation::MANAGED: null});
        assert_eq!(patch["metadata"]["annotations"], gone);
    }
}
