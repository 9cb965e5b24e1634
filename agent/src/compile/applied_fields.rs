//! The fields that an apply of a declared object owns, read from where they are stored: the object is not put together.
//!
//! Field ownership is compared for every object of every list, so this has to be cheap: labels and annotations are read as
//! they are stored, and each other field is decoded on its own, when it is asked for.

use std::borrow::Cow;

use serde_json::Value;

use super::declared::{DeclaredObject, rewritten};
use crate::model::manifest_object::{decoded, overridden};
use crate::model::metadata::annotation;
use crate::model::object::Object;

/// The annotations that [`DeclaredObject::applied`] adds.
const ADDED: [&str; 3] = [annotation::TOKEN, annotation::GIT_CONTEXT, annotation::DECLARED_HASH];

/// `true` for a top-level field in which the API server keeps what it has, whatever an update writes: it gives no manager such a
/// field. What an apply writes there has an effect only where it makes the object.
pub fn is_reset(group: &str, kind: &str, field: &str) -> bool {
    match field {
        "status" => true,
        "spec" => (group, kind) == ("certificates.k8s.io", "CertificateSigningRequest"),
        _ => false,
    }
}

/// A field that an apply owns. The API server gives no manager `apiVersion`, `kind`, `metadata.name`, `metadata.namespace`
/// and those that [it resets](is_reset).
pub enum AppliedField<'a> {
    /// `annotations` or `labels` of the metadata, with their keys in order.
    Texts(&'static str, Vec<&'a str>),
    /// Another field of the metadata.
    Metadata(&'a str, &'a Value),
    /// A top-level field beside the metadata.
    Other(&'a str, AppliedValue<'a>),
}

impl AppliedField<'_> {
    /// Order by path.
    fn key(&self) -> (&str, &str) {
        match self {
            Self::Texts(name, _) => ("metadata", name),
            Self::Metadata(name, _) => ("metadata", name),
            Self::Other(name, _) => (name, ""),
        }
    }
}

/// The value of a top-level field.
pub enum AppliedValue<'a> {
    /// JSON text without white space, as it is stored.
    Text(&'a str),
    /// A value that differs from what is stored.
    Rewritten(&'a Value),
}

impl<'a> AppliedValue<'a> {
    /// The value itself.
    pub fn decoded(&self) -> Cow<'a, Value> {
        match self {
            Self::Text(text) => Cow::Owned(decoded(text)),
            Self::Rewritten(value) => Cow::Borrowed(value),
        }
    }
}

/// Calls `visit` with every field that an apply of `declared` owns, in order of their paths.
pub fn applied_fields(declared: &DeclaredObject, mut visit: impl FnMut(AppliedField<'_>)) {
    let (object, added) = (declared.stored(), declared.added());
    // As in the body.
    let own: Option<Object> = declared.is_rewritten().then(|| rewritten(object.without_texts()));
    let mut keys: Vec<&str> =
        overridden(object.annotations(), &added.annotations).iter().map(|(key, _)| *key).collect();
    keys.extend(ADDED);
    keys.sort_unstable();
    keys.dedup();
    let labels: Vec<&str> = overridden(object.labels(), &added.labels).iter().map(|(key, _)| *key).collect();
    let has_labels = !labels.is_empty();
    let mut fields = vec![AppliedField::Texts("annotations", keys)];
    if has_labels {
        fields.push(AppliedField::Texts("labels", labels));
    }
    let metadata = match &own {
        Some(own) => own.0.get("metadata").and_then(Value::as_object),
        None => Some(object.other_metadata()),
    };
    let is_own = |name: &str| matches!(name, "annotations" | "name" | "namespace") || name == "labels" && has_labels;
    let metadata = metadata.into_iter().flatten().filter(|(name, _)| !is_own(name));
    fields.extend(metadata.map(|(name, value)| AppliedField::Metadata(name, value)));
    let is_type = |name: &str| {
        matches!(name, "apiVersion" | "kind" | "metadata") || is_reset(declared.id.group(), declared.id.kind(), name)
    };
    match &own {
        Some(own) => {
            let others = own.0.iter().filter(|(name, _)| !is_type(name));
            fields.extend(others.map(|(name, value)| AppliedField::Other(name, AppliedValue::Rewritten(value))));
        }
        None => {
            let others = object.payload().filter(|(name, _)| !is_type(name));
            fields.extend(others.map(|(name, text)| AppliedField::Other(name, AppliedValue::Text(text))));
        }
    }
    fields.sort_by(|a, b| a.key().cmp(&b.key()));
    fields.into_iter().for_each(&mut visit);
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    /// The fields that are visited, put together; labels and annotations have no values.
    fn visited(declared: &DeclaredObject) -> Value {
        let mut top = Map::new();
        let mut metadata = Map::new();
        let mut order = Vec::new();
        applied_fields(declared, |field| {
            let (one, two) = field.key();
            order.push(format!("{one}.{two}"));
            match field {
                AppliedField::Texts(name, keys) => {
                    let keys = keys.into_iter().map(|key| (key.to_owned(), Value::Null));
                    metadata.insert(name.to_owned(), keys.collect::<Map<_, _>>().into());
                }
                AppliedField::Metadata(name, value) => {
                    metadata.insert(name.to_owned(), value.clone());
                }
                AppliedField::Other(name, value) => {
                    let decoded = value.decoded().into_owned();
                    top.insert(name.to_owned(), decoded);
                }
            }
        });
        assert!(order.is_sorted(), "{order:?}");
        top.insert("metadata".to_owned(), metadata.into());
        top.into()
    }

    #[test]
    fn what_the_api_server_resets_is_no_field() {
        let declared = |kind: &str| {
            let object =
                json!({"apiVersion": "certificates.k8s.io/v1", "kind": kind, "spec": {"request": ""}, "status": {}});
            visited(&DeclaredObject::new(serde_json::from_value(object).expect("a map")))
        };
        assert!(declared("CertificateSigningRequest").get("spec").is_none());
        let other = declared("ClusterTrustBundle");
        assert!(other.get("spec").is_some() && other.get("status").is_none());
    }

    #[test]
    fn the_fields_are_those_of_the_object_that_is_sent() {
        for object in [
            json!({"apiVersion": "v1", "kind": "X", "data": {}, "items": [], "spec": {"a": [1, {"b": 2}]}, "zero": 0}),
            json!({"apiVersion": "v1", "kind": "X", "metadata": {
                "name": "a", "namespace": "b", "labels": {"c": "d"}, "annotations": {"e": "f"}, "finalizers": ["g"], "zone": "h",
            }}),
            json!({"apiVersion": "v1", "kind": "X", "metadata": {"labels": {}, "finalizers": null}, "spec": {"a": null}}),
            json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "eA=="}, "stringData": {"b": "c"}}),
        ] {
            let declared = DeclaredObject::new(serde_json::from_value(object.clone()).expect("a map"));
            let mut sent = Value::Object(declared.applied("-", "-").0);
            let own = |name: &String| matches!(name.as_str(), "apiVersion" | "kind" | "name" | "namespace");
            for pointer in ["", "/metadata"] {
                let map = sent.pointer_mut(pointer).and_then(Value::as_object_mut).expect("a map");
                map.retain(|name, _| !own(name));
            }
            for pointer in ["/metadata/labels", "/metadata/annotations"] {
                let texts = sent.pointer_mut(pointer).and_then(Value::as_object_mut);
                texts.into_iter().flat_map(Map::values_mut).for_each(|value| *value = Value::Null);
            }
            assert_eq!(visited(&declared), sent, "{object}");
        }
    }
}
