//! Annotations, labels and fields of `metadata` that belong to the system or the cluster.

use serde_json::Value;

use super::Findings;
use crate::compile::parse::{Manifest, type_check};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::{DEPTH_SUFFIX, SYSTEM_PREFIXES, USER_ANNOTATIONS, annotation, is_system_key};

/// KNV1010
pub(super) fn system_annotations(manifest: &Manifest, findings: &mut Findings) {
    let keys = manifest.object.annotations().map(|(key, _)| key);
    let bad: Vec<&str> = keys.filter(|key| is_system_key(key) && !USER_ANNOTATIONS.contains(key)).collect();
    let Some(first) = bad.first() else { return };
    let [one, other] = SYSTEM_PREFIXES;
    let message = format!("Annotations that start with `{one}` or `{other}` are set by the system: {}.", quoted(&bad));
    let hint = format!("Remove them. Only these may be declared: {}.", USER_ANNOTATIONS.join(", "));
    let place = manifest.at_annotation(first);
    findings.push(Finding::new(Code::IllegalAnnotationDefinition, message).hint(hint).at(place));
}

/// KNV1011
pub(super) fn system_labels(manifest: &Manifest, findings: &mut Findings) {
    labels(manifest, findings, is_system_key, Code::IllegalLabelDefinition, || {
        format!("Labels that start with `{}` are set by the system", SYSTEM_PREFIXES.join("` or `"))
    });
}

/// KNV1057
pub(super) fn depth_labels(manifest: &Manifest, findings: &mut Findings) {
    labels(
        manifest,
        findings,
        |key| key.ends_with(DEPTH_SUFFIX),
        Code::IllegalDepthLabel,
        || format!("Labels that end with `{DEPTH_SUFFIX}` are set by the system"),
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
    findings.push(finding.hint("Remove them, or use another prefix.").at(place));
}

fn quoted(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// KNV1005
pub(super) fn managed(manifest: &Manifest, findings: &mut Findings) {
    let key = annotation::MANAGED;
    let Some(value) = manifest.object.annotation(key).filter(|value| *value != "disabled") else { return };
    let message = format!("The annotation `{key}: {value}` is not allowed: the only value is `disabled`.");
    let finding = Finding::new(Code::IllegalManagementAnnotation, message);
    findings.push(finding.hint("Remove it to have the object managed.").at(manifest.at_annotation(key)));
}

/// A field of `metadata`, and which of its values count: for Kubernetes, what has the wrong type is no such field.
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

/// KNV1045
pub(super) fn fields(manifest: &Manifest, findings: &mut Findings) {
    for (field, counts) in FIELDS {
        if manifest.object.metadata(field).is_some_and(counts) {
            let message = format!("A declared object may not have the field \"metadata.{field}\".");
            let finding = Finding::new(Code::IllegalFieldsInConfig, message);
            findings.push(finding.hint("Remove it: the cluster sets it.").at(manifest.at_key(&["metadata", field])));
        }
    }
}
