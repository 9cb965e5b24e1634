//! Carries out the engine's commands about single objects: apply, annotate, read, abandon.

mod hand_over;

use std::ops::ControlFlow;

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
use crate::sync::engine::{AnnotateMode, ApplyMode, Outcome, Remarks};
use crate::sync::live::{Live, Observed, Owner};
use crate::sync::managed_fields::{self, Basis, RefusedApply};

use hand_over::{EXPECTED, expect, forget_expected, hand_over, send_over, send_without_members};

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
pub async fn apply(cluster: &Cluster, stamp: &CommitStamp<'_>, declared: &DeclaredObject, mode: &ApplyMode) -> Outcome {
    outcome("apply", declared, try_apply(cluster, stamp, declared, mode).await, cluster)
}

async fn try_apply(
    cluster: &Cluster,
    stamp: &CommitStamp<'_>,
    declared: &DeclaredObject,
    mode: &ApplyMode,
) -> Result<Outcome, ApiError> {
    check_size(declared)?;
    let id = &declared.id;
    let path = cluster.path(id, declared.version()).await?;
    let mut body = declared.applied(stamp.token, stamp.git_context);
    let mut adopted_from = Vec::new();
    match mode {
        ApplyMode::Update(uid) => name_uid(&mut body, uid),
        ApplyMode::Create => _ = body.metadata_mut().insert("resourceVersion".to_owned(), NO_VERSION.into()),
        ApplyMode::HandOver | ApplyMode::Reclaim | ApplyMode::TakeOver(_) => {
            let Some(there) = find(cluster, &path).await? else { return Ok(Outcome::Absent(0)) };
            let seen = Observed::of(&there);
            let is_known = match mode {
                ApplyMode::TakeOver(version) => seen.version() == *version,
                // Another sync may have made it anew.
                _ => Live::observe(&seen, id, stamp.sync, None, None).owner == Owner::Us,
            };
            if !is_known {
                return Ok(Outcome::Read(Box::new(there)));
            }
            expect(&mut body, &there, expected_fields(mode));
            match hand_over(cluster, &path, &body, there, mode).await {
                Err(error) if matches!(mode, ApplyMode::TakeOver(_)) && error.code() == 409 => {
                    return read_again(cluster, &path).await;
                }
                // The API server refuses the apply for this reason too, and then the object is written over.
                Err(error) if error.refused_result() == Some(RefusedApply::Unreadable) => {}
                handed_over => {
                    let (handed_over, from) = handed_over?;
                    expect(&mut body, &handed_over, expected_fields(mode));
                    adopted_from = from;
                }
            }
        }
    }
    let mut sent = send_expecting(cluster, declared, &path, &mut body, mode).await;
    if *mode == ApplyMode::Create && sent.as_ref().is_err_and(|error| error.code() == 409) {
        // The object that was in the way is gone. Another sync may make it anew before this one does: this apply only creates, too.
        sent = send_expecting(cluster, declared, &path, &mut body, mode).await;
    }
    let whole = match sent? {
        ControlFlow::Continue(whole) => whole,
        ControlFlow::Break(outcome) => return Ok(outcome),
    };
    let seen = Observed::of(&whole);
    let rewritten = managed_fields::differences(&body, &whole, &seen.managed_fields, Basis::Answer);
    let live = Live::after_apply(&seen, &whole, &body, id, stamp.sync);
    let rewritten = declared.shown_fields(rewritten);
    Ok(Outcome::Applied(Box::new(live), Remarks { rewritten, adopted_from }))
}

/// From now on the body is about this object alone. The API server of an aggregated API may give none.
fn name_uid(body: &mut Object, uid: &str) {
    if !uid.is_empty() {
        body.metadata_mut().insert("uid".to_owned(), uid.into());
    }
}

/// Sends an apply that may name the object that it is about. Returns the object as the apply leaves it, and `body` names none any more; or
/// the outcome, if another object is there or none.
async fn send_expecting(
    cluster: &Cluster,
    declared: &DeclaredObject,
    path: &str,
    body: &mut Object,
    mode: &ApplyMode,
) -> Result<ControlFlow<Outcome, Object>, ApiError> {
    let mut answer = send(cluster, path, body).await;
    if *mode == ApplyMode::Create {
        if let Some(there) = in_the_way(cluster, declared, path, &answer).await? {
            return Ok(ControlFlow::Break(Outcome::Read(Box::new(there))));
        }
    } else if let Some(refused) = answer.as_ref().err().and_then(ApiError::refused_members) {
        answer = send_without_members(cluster, path, body, &refused).await?.unwrap_or(answer);
    }
    let refused = answer.as_ref().err().and_then(ApiError::refused_result);
    if let Some(refusal) = refused.filter(|_| *mode != ApplyMode::Create) {
        answer = send_over(cluster, path, body, &refusal).await.and_then(|sent| sent.map_or(answer, Ok));
    }
    if let Ok(whole) = answer {
        answer = finished(cluster, path, body, whole, mode).await;
    }
    match answer {
        Ok(whole) => Ok(ControlFlow::Continue(whole)),
        Err(error) => match replaced(cluster, path, body, mode, &error).await? {
            Some(outcome) => Ok(ControlFlow::Break(outcome)),
            None => Err(error),
        },
    }
}

/// The object as an apply leaves it, after a second one where the first could not take everything over.
async fn finished(
    cluster: &Cluster,
    path: &str,
    body: &mut Object,
    whole: Object,
    mode: &ApplyMode,
) -> Result<Object, ApiError> {
    let entries = Observed::of(&whole).managed_fields;
    forget_expected(body);
    if *mode == ApplyMode::Create || !managed_fields::is_unfinished(body, &whole, &entries) {
        return Ok(whole);
    }
    expect(body, &whole, expected_fields(mode));
    let finished = send(cluster, path, body).await?;
    forget_expected(body);
    Ok(finished)
}

/// An object of the sync may have changed since: drift is put back although others write all the time. One that is to be taken over may not.
fn expected_fields(mode: &ApplyMode) -> &'static [&'static str] {
    if matches!(mode, ApplyMode::TakeOver(_)) { &EXPECTED } else { &EXPECTED[..1] }
}

/// The outcome of an apply that was refused because another object is there than the one that it names, or none.
async fn replaced(
    cluster: &Cluster,
    path: &str,
    body: &Object,
    mode: &ApplyMode,
    error: &ApiError,
) -> Result<Option<Outcome>, ApiError> {
    let named = EXPECTED.map(|field| body.metadata(field));
    if named == [None, None] || !error.is_about_another() {
        return Ok(None);
    }
    let is_named = |there: &Object| named[1].is_none() && there.metadata("uid") == named[0];
    Ok(match find(cluster, path).await? {
        Some(there) if is_named(&there) => None,
        Some(there) => Some(Outcome::Read(Box::new(there))),
        None => (*mode != ApplyMode::Create).then_some(Outcome::Absent(0)),
    })
}

/// The object that an apply was to make and that is there already: a Namespace that objects are in, which needs no right to be made then; or
/// an object with fields that cannot be beside declared ones.
async fn in_the_way(
    cluster: &Cluster,
    declared: &DeclaredObject,
    path: &str,
    answer: &Result<Object, ApiError>,
) -> Result<Option<Object>, ApiError> {
    match answer {
        Err(error) if declared.implicit && error.code() == 403 => find(&cluster.as_agent(), path).await,
        Err(error) if error.refused_members().is_some() => find(cluster, path).await,
        _ => Ok(None),
    }
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

/// Brings the sync's labels and annotations up to date, and leaves the rest of the object alone.
pub async fn annotate(
    cluster: &Cluster,
    stamp: &CommitStamp<'_>,
    declared: &DeclaredObject,
    mode: &AnnotateMode,
) -> Outcome {
    let result = async {
        check_size(declared)?;
        let path = cluster.path(&declared.id, declared.version()).await?;
        try_annotate(cluster, stamp, declared, &path, mode).await
    };
    outcome("annotate", declared, result.await, cluster)
}

async fn try_annotate(
    cluster: &Cluster,
    stamp: &CommitStamp<'_>,
    declared: &DeclaredObject,
    path: &str,
    mode: &AnnotateMode,
) -> Result<Outcome, ApiError> {
    let body = declared.applied(stamp.token, stamp.git_context);
    let ours = |field: &str| -> Map<String, Value> {
        let map = body.metadata(field).and_then(Value::as_object).cloned().unwrap_or_default();
        map.into_iter().filter(|(key, _)| is_ours(key) || key.starts_with(annotation::MUTATION)).collect()
    };
    let mut metadata = Map::new();
    for field in ["labels", "annotations"] {
        metadata.insert(field.to_owned(), ours(field).into());
    }
    if let AnnotateMode::TakeOver(version) | AnnotateMode::Prove(_, Some(version)) = mode {
        metadata.insert("resourceVersion".to_owned(), version.to_string().into());
    }
    let answer = match mode {
        AnnotateMode::Prove(uid, _) => {
            let mut body = identity(&body);
            body.metadata_mut().append(&mut metadata);
            name_uid(&mut body, uid);
            send(cluster, path, &body).await
        }
        AnnotateMode::Update | AnnotateMode::TakeOver(_) => {
            cluster.merge_patch(path, &json!({"metadata": metadata})).await
        }
    };
    let whole: Object = match answer {
        Err(error) if error.is_not_found() => return Ok(Outcome::Absent(0)),
        Err(error) if *mode != AnnotateMode::Update && error.is_about_another() => {
            return read_again(cluster, path).await;
        }
        answer => answer?,
    };
    let live = Live::after_apply(&Observed::of(&whole), &whole, &body, &declared.id, stamp.sync);
    Ok(Outcome::Applied(Box::new(live), Remarks::default()))
}

/// The object without all that it declares.
fn identity(body: &Object) -> Object {
    let mut object = Object::default();
    for field in ["apiVersion", "kind"] {
        object.0.extend(body.0.get_key_value(field).map(|(key, value)| (key.clone(), value.clone())));
    }
    for field in ["name", "namespace"] {
        object.metadata_mut().extend(body.metadata(field).map(|value| (field.to_owned(), value.clone())));
    }
    object
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
        if !Live::found(&Observed::of(&whole), id, sync).is_ours() {
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
    use crate::sync::engine::Retry;

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
    /// A ConfigMap as a sync has left it.
    fn config_map(sync: &str, uid: &str, version: &str) -> Value {
        let sync = SyncId::root(sync);
        let annotations = json!({
            annotation::MANAGED: "enabled", annotation::RESOURCE_ID: "_configmap_b_a", annotation::MANAGER: sync.manager(),
        });
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "a", "namespace": "b", "uid": uid, "resourceVersion": version, "annotations": annotations,
            "labels": {label::PART_OF: sync.part_of()},
        }})
    }

    fn refusal(code: u16, field: &str) -> (u16, Value) {
        let details = json!({"name": "a", "causes": [{"field": field}]});
        (code, json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "details": details}))
    }

    /// The outcome of an apply to an API server that answers so, and the requests, with the uid and the version that each names.
    async fn applied(mode: &ApplyMode, answers: &[(u16, Value)]) -> (Outcome, Vec<(Method, [Option<String>; 2])>) {
        let (cluster, requests) = Cluster::answering(answers.to_vec());
        let (sync, declared) = (
            SyncId::root("mine"),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}}),
        );
        let declared = DeclaredObject::new(serde_json::from_value(declared).expect("a map"));
        let stamp = CommitStamp { sync: &sync, token: "0", git_context: "{}" };
        let outcome = apply(&cluster, &stamp, &declared, mode).await;
        let named = |body: Value| EXPECTED.map(|field| body["metadata"][field].as_str().map(str::to_owned));
        (outcome, requests.try_iter().map(|(method, body)| (method, named(body))).collect())
    }

    fn is_read(outcome: &Outcome, uid: &str) -> bool {
        matches!(outcome, Outcome::Read(whole) if whole.metadata("uid").is_some_and(|there| there == uid))
    }

    #[tokio::test]
    async fn an_object_that_another_sync_makes_while_this_one_does_is_left_to_it() {
        let (only_creates, reads) = ((Method::PATCH, [None, Some("1".to_owned())]), (Method::GET, [None, None]));
        let requests = [only_creates.clone(), reads.clone(), only_creates, reads];
        // The object that was in the way is deleted before it is read, and then another sync makes it.
        let mut answers = [409, 404, 409].map(|code| refusal(code, "")).to_vec();
        answers.push((200, config_map("other", "2", "9")));
        let (outcome, sent) = applied(&ApplyMode::Create, &answers).await;
        assert!(is_read(&outcome, "2") && sent == requests, "{outcome:?} {sent:?}");
        answers[3] = refusal(404, "");
        let (outcome, sent) = applied(&ApplyMode::Create, &answers).await;
        assert!(matches!(&outcome, Outcome::Failed(failure) if failure.retry == Retry::Soon), "{outcome:?}");
        assert_eq!(sent, requests);
    }

    #[tokio::test]
    async fn an_object_without_owners_of_its_fields_is_written_to_as_it_was_read_or_not_at_all() {
        let named = (Method::PATCH, ["1", "5"].map(|text| Some(text.to_owned())));
        for (mode, owner) in
            [(ApplyMode::HandOver, "mine"), (ApplyMode::Reclaim, "mine"), (ApplyMode::TakeOver(5), "other")]
        {
            let answers = [(200, config_map(owner, "1", "5")), refusal(409, ""), (200, config_map("other", "2", "9"))];
            let (outcome, sent) = applied(&mode, &answers).await;
            assert_eq!(sent[1], named);
            let is_left = if sent.len() == 3 { is_read(&outcome, "2") } else { matches!(outcome, Outcome::Failed(_)) };
            assert!(is_left, "{mode:?}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn an_object_that_another_sync_has_made_anew_is_not_written_to() {
        let with_entries = |sync, uid| {
            let mut whole = config_map(sync, uid, "5");
            whole["metadata"]["managedFields"] = json!([]);
            (200, whole)
        };
        for mode in [ApplyMode::HandOver, ApplyMode::Reclaim] {
            let (outcome, sent) = applied(&mode, &[with_entries("other", "2")]).await;
            assert!(is_read(&outcome, "2") && sent.len() == 1, "{mode:?}: {outcome:?} {sent:?}");
            let mine = with_entries("mine", "1");
            for (refused, then) in
                [(refusal(422, "metadata.uid"), with_entries("other", "2")), (refusal(409, ""), refusal(404, ""))]
            {
                let (outcome, sent) = applied(&mode, &[mine.clone(), refused, then.clone()]).await;
                assert_eq!(
                    sent[1],
                    (Method::PATCH, [Some("1".to_owned()), None]),
                    "others may write to it all the time"
                );
                let is_told =
                    if then.0 == 200 { is_read(&outcome, "2") } else { matches!(outcome, Outcome::Absent(_)) };
                assert!(is_told, "{mode:?}: {outcome:?}");
            }
            // The object is there, and something else refuses the apply.
            let (outcome, _) = applied(&mode, &[mine.clone(), refusal(409, ""), mine]).await;
            assert!(matches!(outcome, Outcome::Failed(_)), "{mode:?}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn drift_is_put_back_on_the_object_that_is_known_alone() {
        let mode = ApplyMode::Update("1".into());
        for (then, is_there) in [((200, config_map("other", "2", "9")), true), (refusal(404, ""), false)] {
            let (outcome, sent) = applied(&mode, &[refusal(409, ""), then]).await;
            assert_eq!(sent[0], (Method::PATCH, [Some("1".to_owned()), None]), "others may write to it all the time");
            let is_told = if is_there { is_read(&outcome, "2") } else { matches!(outcome, Outcome::Absent(_)) };
            assert!(is_told, "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn labels_and_annotations_alone_are_applied_where_no_apply_proves_that_the_object_may_be_deleted() {
        let sync = SyncId::root("mine");
        let metadata =
            json!({"name": "a", "namespace": "b", "annotations": {annotation::MANAGER: sync.manager(), "note": "x"}});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"size": "1"}});
        let declared = DeclaredObject::new(serde_json::from_value(object).expect("a map"));
        let stamp = CommitStamp { sync: &sync, token: "0", git_context: "{}" };
        for (mode, version) in [
            (AnnotateMode::Update, Value::Null),
            (AnnotateMode::TakeOver(5), "5".into()),
            (AnnotateMode::Prove("1".into(), Some(5)), "5".into()),
            (AnnotateMode::Prove("1".into(), None), Value::Null),
        ] {
            let (cluster, requests) = Cluster::answering(vec![refusal(409, ""), (200, config_map("other", "2", "9"))]);
            let outcome = annotate(&cluster, &stamp, &declared, &mode).await;
            let (_, sent) = requests.try_iter().next().expect("a request");
            let metadata = &sent["metadata"];
            assert_eq!((&metadata["resourceVersion"], &sent["data"]), (&version, &Value::Null), "{mode:?}: {sent}");
            assert_eq!(
                (metadata["annotations"].get(annotation::MANAGER).is_some(), metadata["annotations"].get("note")),
                (true, None)
            );
            let names = matches!(mode, AnnotateMode::Prove(..));
            assert_eq!(
                (sent["kind"] == "ConfigMap", metadata["name"] == "a"),
                (names, names),
                "an apply names its object: {sent}"
            );
            assert_eq!(is_read(&outcome, "2"), mode != AnnotateMode::Update, "{outcome:?}");
        }
    }
}
