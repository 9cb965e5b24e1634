//! Rules for annotations, labels and fields of `metadata` that the system or the cluster sets.

use serde_json::Value;

use super::Findings;
use crate::compile::parse::{Manifest, type_check};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::{
    DEPTH_SUFFIX, SYNC_ANNOTATIONS, SYSTEM_PREFIXES, USER_ANNOTATIONS, annotation, is_system_key,
};

/// An annotation with a prefix of the system is one that users may set (KNV1010).
pub(super) fn system_annotations(manifest: &Manifest, findings: &mut Findings) {
    let of_syncs = if is_sync(manifest) { &SYNC_ANNOTATIONS[..] } else { &[] };
    let allowed = |key: &&str| USER_ANNOTATIONS.contains(key) || of_syncs.contains(key);
    let keys = manifest.object.annotations().map(|(key, _)| key);
    let bad: Vec<&str> = keys.filter(|key| is_system_key(key) && !allowed(key)).collect();
    let Some(first) = bad.first() else { return };
    let [one, other] = SYSTEM_PREFIXES;
    let message =
        format!("Only the system may set annotations that start with `{one}` or `{other}`: {}.", quoted(&bad));
    let allowed = [&USER_ANNOTATIONS, of_syncs].concat();
    let hint = format!("Remove them. A manifest may only set these: {}.", allowed.join(", "));
    let place = manifest.at_annotation(first);
    findings.push(Finding::new(Code::IllegalAnnotationDefinition, message).hint(hint).at(place));
}

fn is_sync(manifest: &Manifest) -> bool {
    let kind = manifest.object.group_kind();
    kind.group == "configsync.gke.io" && ["RootSync", "RepoSync"].contains(&&*kind.kind)
}

/// No label has a prefix of the system (KNV1011).
pub(super) fn system_labels(manifest: &Manifest, findings: &mut Findings) {
    labels(manifest, findings, is_system_key, Code::IllegalLabelDefinition, || {
        format!("Only the system may set labels that start with `{}`", SYSTEM_PREFIXES.join("` or `"))
    });
}

/// No label has the suffix of the depth labels (KNV1057).
pub(super) fn depth_labels(manifest: &Manifest, findings: &mut Findings) {
    labels(
        manifest,
        findings,
        |key| key.ends_with(DEPTH_SUFFIX),
        Code::IllegalDepthLabel,
        || format!("Only the system may set labels that end with `{DEPTH_SUFFIX}`"),
    );
}

fn labels(
    manifest: &Manifest,
    findings: &mut Findings,
    is_bad: fn(&str) -> bool,
    code: Code,
    message: impl FnOnce() -> String,
) {
    let bad: Vec<&str> = manifest.object.labels().map(|(key, _)| key).filter(|key| is_bad(key)).collect();
    let Some(first) = bad.first() else { return };
    let place = manifest.at_key(&["metadata", "labels", first]);
    let finding = Finding::new(code, format!("{}: {}.", message(), quoted(&bad)));
    findings.push(finding.hint("Remove the labels, or use other keys.").at(place));
}

fn quoted(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// The annotation `managed` has the value `disabled` (KNV1005).
pub(super) fn managed(manifest: &Manifest, findings: &mut Findings) {
    let key = annotation::MANAGED;
    let Some(value) = manifest.object.annotation(key).filter(|value| *value != "disabled") else { return };
    let message = format!("The annotation `{key}: {value}` is not allowed. The only allowed value is `disabled`.");
    let finding = Finding::new(Code::IllegalManagementAnnotation, message);
    findings.push(
        finding
            .hint("Remove the annotation if the object is to be managed, or set it to `disabled`.")
            .at(manifest.at_annotation(key)),
    );
}

/// A field of `metadata`, and a function that is `true` for the values that are a mistake. Config Sync ignores a value of the
/// wrong type.
type SystemField = (&'static str, fn(&Value) -> bool);

const FIELDS: &[SystemField] = &[
    ("ownerReferences", owners),
    ("selfLink", text),
    ("uid", text),
    ("resourceVersion", text),
    ("generation", |value| value.as_i64().is_some_and(|generation| generation != 0)),
    ("creationTimestamp", time),
    ("deletionTimestamp", time),
    ("deletionGracePeriodSeconds", Value::is_i64),
    // Config Sync lets this one pass, and then the API server refuses to apply the object.
    ("managedFields", |value| value.as_array().is_some_and(|entries| !entries.is_empty())),
];

fn owners(value: &Value) -> bool {
    value.as_array().is_some_and(|owners| !owners.is_empty() && owners.iter().all(Value::is_object))
}

fn text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| type_check::is_rfc3339(text) && !text.starts_with("0001-01-01T00:00:00"))
}

/// No field of `metadata` is set that only the cluster sets (KNV1045).
pub(super) fn fields(manifest: &Manifest, findings: &mut Findings) {
    for (field, counts) in FIELDS {
        if manifest.object.metadata(field).is_some_and(counts) {
            let message = format!("A declared object must not have the field \"metadata.{field}\".");
            let finding = Finding::new(Code::IllegalFieldsInConfig, message);
            findings
                .push(finding.hint("Remove the field: the cluster sets it.").at(manifest.at_key(&["metadata", field])));
        }
    }
}
