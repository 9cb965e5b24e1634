//! The checks that an object must pass to become a manifest.

use serde_json::{Map, Value};

use super::encoding::MARK_HINT;
use super::origin::{Origin, place};
use super::{builtin_kinds, sealed as seal};
use crate::model::finding::{Code, Finding, Warning};
use crate::model::metadata::annotation;
use crate::model::object::Object;

/// The reason why a document is not an object, and the field in question.
pub(super) struct NotAnObject {
    pub(super) message: String,
    pub(super) hint: &'static str,
    pub(super) field: &'static [&'static str],
}

/// Checks that a document is an object with a kind, and with an API version of at most two parts.
pub(super) fn top_level(value: Value) -> Result<Object, NotAnObject> {
    const NO_MANIFEST: &str = "Write one Kubernetes object in each document. If the file is for another tool, give it another \
         extension, or keep the manifests in a directory of their own and sync that directory.";
    let wrong = |message: &str, hint, field| NotAnObject { message: message.to_owned(), hint, field };
    let Value::Object(map) = value else {
        return Err(wrong("a document must be an object with apiVersion, kind and metadata", NO_MANIFEST, &[]));
    };
    match map.get("kind") {
        Some(Value::String(kind)) if !kind.is_empty() => {}
        None | Some(Value::Null | Value::String(_)) => {
            let hint = if has_mark(&map) { MARK_HINT } else { NO_MANIFEST };
            return Err(wrong("`kind` is missing", hint, &["kind"]));
        }
        Some(_) => return Err(wrong("`kind` must be a string", "Put the value in quotes.", &["kind"])),
    }
    match map.get("apiVersion") {
        Some(Value::String(version)) if version.matches('/').count() > 1 => {
            Err(wrong(&format!("apiVersion `{version}` has more than one slash"), API_VERSION, &["apiVersion"]))
        }
        None | Some(Value::Null | Value::String(_)) => Ok(Object(map)),
        Some(_) => Err(wrong("`apiVersion` must be a string", "Put the value in quotes.", &["apiVersion"])),
    }
}

/// `true` if a key starts with a byte order mark, so that it only looks like the field of that name.
fn has_mark(map: &Map<String, Value>) -> bool {
    map.keys().any(|key| key.starts_with('\u{feff}'))
}

const API_VERSION: &str = "Write it as `group/version`, or `v1` for core kinds.";

/// `true` if the annotation `local-config` says that the object is for other tools. `false` if an annotation is not text,
/// because that is a finding.
pub(super) fn is_local_config(object: &Object) -> bool {
    let Some(Value::Object(annotations)) = object.metadata("annotations") else { return false };
    annotations.values().all(|value| value.is_string() || value.is_null())
        && annotations.get(annotation::LOCAL_CONFIG).is_some_and(|value| value != "false")
}

/// The hint about a value that YAML does not read as text.
const QUOTES: &str = "Put it in quotes, if it is meant as text.";

/// A finding about the first reason why the object cannot be used; `None` if it can.
pub(super) fn object(object: &Object, origin: &Origin) -> Option<Finding> {
    identity(object, origin)
        .or_else(|| status(object, origin))
        .or_else(|| texts(object, origin, "annotations"))
        .or_else(|| texts(object, origin, "labels"))
}

/// The finding that an object must not have sealed values.
pub(super) fn sealed(object: &Object, origin: &Origin, sealed: bool) -> Option<Finding> {
    let refused = seal::refused_kind(object, builtin_kinds::builtin_kind(object).is_some()).filter(|_| sealed)?;
    let finding = Finding::new(Code::Path, format!("This file cannot be read: {refused}.")).hint(seal::READABLE);
    Some(finding.at(place(origin.value(&["kind"]), object)))
}

/// A warning if the namespace is a number or the like, which counts as none.
pub(super) fn ignored_namespace(object: &Object, origin: &Origin) -> Option<Warning> {
    let namespace = no_text(object, "namespace")?;
    let message = format!("metadata.namespace of {} is {namespace} and not a text: it is ignored.", object.id());
    let locations = vec![origin.value(&["metadata", "namespace"])];
    Some(Warning { message, hint: QUOTES.to_owned(), locations })
}

/// The kind of value that a field of the metadata has in the place of a text.
fn no_text(object: &Object, field: &str) -> Option<&'static str> {
    match object.metadata(field)? {
        Value::Null | Value::String(_) => None,
        Value::Bool(true) => Some("true"),
        Value::Bool(false) => Some("false"),
        Value::Number(_) => Some("a number"),
        Value::Array(_) => Some("a list"),
        Value::Object(_) => Some("a map"),
    }
}

fn identity(object: &Object, origin: &Origin) -> Option<Finding> {
    let version = object.api_version();
    let missing: Vec<&str> = [("apiVersion", version), ("kind", object.kind()), ("metadata.name", object.name())]
        .into_iter()
        .filter_map(|(field, value)| value.is_empty().then_some(field))
        .collect();
    if let (["metadata.name"], Some(name)) = (&*missing, no_text(object, "name")) {
        let finding = Finding::new(Code::Resource, format!("metadata.name is {name} and not a text.")).hint(QUOTES);
        return Some(finding.at(place(origin.value(&["metadata", "name"]), object)));
    }
    if !missing.is_empty() {
        let message = format!("The object has no {}.", missing.join(" and no "));
        let hint =
            "Set apiVersion, kind and metadata.name, each to non-empty text. generateName does not replace the name.";
        let hint = if has_mark(&object.0) { MARK_HINT } else { hint };
        let field: &[&str] = if object.name().is_empty() { &["metadata"] } else { &[] };
        return Some(Finding::new(Code::Resource, message).hint(hint).at(place(origin.value(field), object)));
    }
    if version.matches('/').count() > 1 {
        let message = format!("apiVersion `{version}` has more than one slash.");
        let finding = Finding::new(Code::Resource, message).hint(API_VERSION);
        return Some(finding.at(place(origin.value(&["apiVersion"]), object)));
    }
    None
}

fn status(object: &Object, origin: &Origin) -> Option<Finding> {
    let harmless = match object.0.get("status") {
        None | Some(Value::Null) => true,
        Some(Value::Object(status)) => status.is_empty(),
        Some(_) => false,
    };
    if harmless || object.group() == "configmanagement.gke.io" {
        return None;
    }
    let finding = Finding::new(Code::IllegalFieldsInConfig, "A declared object must not have the field \"status\".");
    Some(finding.hint("Remove `status`: the cluster sets it.").at(place(origin.key(&["status"]), object)))
}

fn texts(object: &Object, origin: &Origin, field: &str) -> Option<Finding> {
    let map: &Map<String, Value> = match object.metadata(field) {
        None | Some(Value::Null) => return None,
        Some(Value::Object(map)) => map,
        Some(_) => {
            let finding = Finding::new(Code::Resource, format!("metadata.{field} must be a map."));
            let hint = "Write each entry as `key: value` on a line of its own.";
            return Some(finding.hint(hint).at(place(origin.value(&["metadata", field]), object)));
        }
    };
    let bad: Vec<&String> = map.iter().filter(|(_, value)| !value.is_string()).map(|(key, _)| key).collect();
    let first = bad.first()?;
    let keys: Vec<String> = bad.iter().map(|key| format!("metadata.{field}.{key}")).collect();
    let message = format!("Values of annotations and labels must be text. These are not:\n{}", keys.join("\n"));
    let finding = Finding::new(Code::InvalidAnnotationValue, message).hint("Put the values in quotes.");
    Some(finding.at(place(origin.value(&["metadata", field, first]), object)))
}
