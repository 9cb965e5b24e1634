//! Lets the fields of an object change hands, before an apply or because the API server has refused one.

use serde_json::{Map, Value, json};

use super::send;
use crate::io::kubernetes::client::{ApiError, Cluster};
use crate::model::metadata::annotation;
use crate::model::object::Object;
use crate::sync::engine::ApplyMode;
use crate::sync::live::Observed;
use crate::sync::managed_fields::{self, FormerWriter, RefusedApply};

/// The metadata by which an apply names the object that it is about, and the state of it.
pub(super) const EXPECTED: [&str; 2] = ["uid", "resourceVersion"];

/// From now on the body is about this object alone. One that was deleted is not made anew then, and one that another sync has made in
/// its place is left alone.
pub(super) fn expect(body: &mut Object, whole: &Object, fields: &[&str]) {
    for field in fields {
        if let Some(value) = whole.metadata(field) {
            body.metadata_mut().insert((*field).to_owned(), value.clone());
        }
    }
}

/// The body is about no object more than about another.
pub(super) fn forget_expected(body: &mut Object) {
    EXPECTED.iter().for_each(|field| _ = body.metadata_mut().remove(*field));
}

/// Lets fields change hands before an apply: the declared ones of former writers become ours, those that stay as they run have
/// no owner any more, and list items that another client put in the place of ours become ours to be removed. `whole` is the
/// object as it was read. Returns it as it is then, and the former writers.
pub(super) async fn hand_over(
    cluster: &Cluster,
    path: &str,
    body: &Object,
    whole: Object,
    mode: &ApplyMode,
) -> Result<(Object, Vec<&'static FormerWriter>), ApiError> {
    let whole = with_entries(cluster, path, body, whole).await?;
    let is_ours = whole.annotation(annotation::MANAGER) == body.annotation(annotation::MANAGER);
    change_hands(cluster, path, body, whole, |entries| {
        let mut from = managed_fields::adopt(body, entries);
        // A user of kubectl who changes an object of the sync hands nothing over.
        from.retain(|writer| !is_ours || writer.warning.is_some());
        managed_fields::release_running(body, entries);
        if *mode == ApplyMode::Reclaim {
            managed_fields::reclaim(body, entries);
        }
        if is_ours {
            managed_fields::keep_proof(entries);
        }
        from
    })
    .await
}

/// An object without entries, which gets some.
async fn with_entries(cluster: &Cluster, path: &str, body: &Object, whole: Object) -> Result<Object, ApiError> {
    if whole.metadata("managedFields").is_some() {
        return Ok(whole);
    }
    // An apply without fields only makes the API server write down that they have no owner.
    let mut nothing = empty(body);
    expect(&mut nothing, &whole, &EXPECTED);
    send(cluster, path, &nothing).await
}

/// Changes the entries of an object, if there is anything to change. Returns it as it is then, and the former writers of which `change`
/// takes fields.
async fn change_hands(
    cluster: &Cluster,
    path: &str,
    body: &Object,
    mut whole: Object,
    change: impl FnOnce(&mut Vec<Value>) -> Vec<&'static FormerWriter>,
) -> Result<(Object, Vec<&'static FormerWriter>), ApiError> {
    let before = whole.metadata("managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut entries = before.clone();
    let from = change(&mut entries);
    if entries != before {
        // kubectl and others compare with this annotation at their next apply. A declared one stays as it is declared.
        let stale = !from.is_empty() && body.annotation(annotation::LAST_APPLIED).is_none();
        let removed = stale.then(|| (annotation::LAST_APPLIED.to_owned(), Value::Null)).into_iter().collect();
        whole = write_managed_fields(cluster, path, &whole, entries, removed).await?;
    }
    Ok((whole, from))
}

/// The API server refuses these fields, because others are there that cannot be beside them. The sync takes what it does not declare
/// of them over, and its next apply removes it. `None` when there is nothing to take, or when the object is not the one that `body`
/// names.
pub(super) async fn send_without_members(
    cluster: &Cluster,
    path: &str,
    body: &mut Object,
    refused: &[String],
) -> Result<Option<Result<Object, ApiError>>, ApiError> {
    let whole: Object = cluster.get(path).await?;
    let named: Vec<&str> = EXPECTED.into_iter().filter(|field| body.metadata(field).is_some()).collect();
    let mut entries = whole.metadata("managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
    if named.iter().any(|field| whole.metadata(field) != body.metadata(field))
        || !managed_fields::take_members(body, &whole, refused, &mut entries)
    {
        return Ok(None);
    }
    let taken = match write_managed_fields(cluster, path, &whole, entries, Map::new()).await {
        Ok(taken) => taken,
        Err(error) => return Ok(Some(Err(error))),
    };
    tracing::info!(object = %body.id(), fields = refused.join(", "), "removes what another client put beside declared fields");
    expect(body, &taken, if named.is_empty() { &EXPECTED[..1] } else { &named });
    Ok(Some(send(cluster, path, body).await))
}

/// The API server refuses what an apply makes of the object: the declared object is written over it but for the metadata, our entry begins
/// anew in the declared version, and then the object is applied again. `None` when that does no more than an apply, when it is refused too,
/// or when the object is not the one that `body` names.
pub(super) async fn send_over(
    cluster: &Cluster,
    path: &str,
    body: &mut Object,
    refusal: &RefusedApply,
) -> Result<Option<Object>, ApiError> {
    let Ok(mut whole) = cluster.get::<Object>(path).await else { return Ok(None) };
    let named: Vec<&str> = EXPECTED.into_iter().filter(|field| body.metadata(field).is_some()).collect();
    if named.is_empty() || named.iter().any(|field| whole.metadata(field) != body.metadata(field)) {
        return Ok(None);
    }
    let entries = Observed::of(&whole).managed_fields;
    let patch = |further| managed_fields::overwrite(body, &whole, &entries, refusal, further);
    let mut written = Ok(None);
    let narrow = patch(false);
    let wide = patch(true).filter(|wide| Some(wide) != narrow.as_ref());
    for mut patch in [narrow, wide].into_iter().flatten() {
        patch["metadata"]["resourceVersion"] = whole.metadata("resourceVersion").cloned().unwrap_or_default();
        written = cluster.merge_patch::<Object>(path, &patch).await.map(Some);
        let may_be_elsewhere = |error: &ApiError| error.refused_result().is_some();
        if !written.as_ref().is_err_and(may_be_elsewhere) {
            break;
        }
    }
    match written {
        Ok(Some(written)) => {
            tracing::info!(object = %body.id(), "writes the declared object over the live one, because its apply is refused");
            whole = with_entries(cluster, path, body, written).await?;
        }
        Ok(None) if matches!(refusal, RefusedApply::Untaken | RefusedApply::Unserved(_)) => {}
        Err(error) if error.is_transient() => return Err(error),
        Ok(None) | Err(_) => return Ok(None),
    }
    // The written fields are the sync's alone with the apply that follows.
    let (whole, _) = change_hands(cluster, path, body, whole, |entries| {
        match refusal {
            RefusedApply::Unserved(version) => managed_fields::leave_version(version, body.api_version(), entries),
            _ => managed_fields::begin_anew(body.api_version(), entries),
        }
        managed_fields::adopt(body, entries)
    })
    .await?;
    expect(body, &whole, &named);
    send(cluster, path, body).await.map(Some)
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
