//! The types of objects: of built-in kinds from the OpenAPI documents that a real API server publishes, and of custom
//! resources from their CustomResourceDefinition.
//!
//! - [`kind`] and [`Type::of_crd`] give the [`Type`] of an object, which everything in [`crate::merge`] takes.
//! - [`decode`] and [`default`] make of what a client sends what the API server works with, [`store`] what it keeps.
//! - [`document`] and [`documents`] give the published documents themselves: discovery and OpenAPI.
//!
//! `published/` is written by the program `publish` of the package `tests`, from a control plane that it starts:
//! `cargo run -p tests --bin publish`.

mod decode;
mod default;
mod formats;
mod node;
mod prune;
mod published;
mod quantity;
mod validate;

use std::sync::Arc;

use serde_json::Value;

pub(crate) use decode::{compared, json_name};
pub use decode::{decode, store};
pub use default::default;
pub(crate) use default::empty;
pub(crate) use node::{List, ListKind, Map, Patch, Ref, Scalar};
pub use published::{Document, document, documents, kinds, version};
pub use validate::validate;

/// The type of an object or of a part of one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Type {
    pub(crate) root: Ref,
    /// The schema of the CustomResourceDefinition that it was made of.
    pub(crate) custom: Option<Arc<CustomSchema>>,
}

/// The schema of a CustomResourceDefinition, and which rules it has at all: most have none of the rarer ones.
#[derive(Debug)]
pub(crate) struct CustomSchema {
    schema: Value,
    /// Somewhere a whole object stands in the object.
    embeds_objects: bool,
    /// The items of some lists are told apart.
    names_items: bool,
}

impl CustomSchema {
    fn new(schema: &Value) -> Self {
        Self {
            embeds_objects: says(schema, "x-kubernetes-embedded-resource"),
            names_items: says(schema, "x-kubernetes-list-type"),
            schema: schema.clone(),
        }
    }
}

/// `true` if a schema has a key, at any depth.
fn says(schema: &Value, key: &str) -> bool {
    match schema {
        Value::Object(fields) => fields.iter().any(|(name, below)| name == key || says(below, key)),
        Value::Array(items) => items.iter().any(|item| says(item, key)),
        _ => false,
    }
}

/// The type of a built-in kind; the core group is the empty one. None if the API server publishes no such kind.
#[must_use]
pub fn kind(group: &str, version: &str, kind: &str) -> Option<Type> {
    published::kind(group, version, kind).map(|definition| Type { root: Ref::shared(&definition.name), custom: None })
}

/// The fields of an object that a write to it, or to a subresource of it, sets back to what they were. That a kind has
/// the subresource `status` is taken for granted: a custom resource without it sets nothing back.
#[must_use]
pub fn reset_fields(group: &str, kind: &str, subresource: &str) -> &'static [&'static [&'static str]] {
    const SPEC: &[&str] = &["spec"];
    const STATUS: &[&str] = &["status"];
    const METADATA: &[&str] = &["metadata"];
    match (group, kind, subresource) {
        ("certificates.k8s.io", "CertificateSigningRequest", "") => &[SPEC, STATUS],
        ("certificates.k8s.io", "CertificateSigningRequest", "status") => &[SPEC, &["status", "conditions"]],
        ("certificates.k8s.io", "CertificateSigningRequest", "approval") => &[SPEC, &["status", "certificate"]],
        ("", "Namespace", "finalize") | (_, _, "") => &[STATUS],
        ("apps", "Deployment", "status") => &[SPEC, &["metadata", "labels"]],
        ("", "Pod", "status") => &[SPEC, &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
        ("" | "apps" | "autoscaling" | "batch" | "policy", _, "status") => &[SPEC],
        ("apiextensions.k8s.io", "CustomResourceDefinition", "status") => &[SPEC],
        ("networking.k8s.io", "Ingress", "status") => &[SPEC],
        (_, _, "status") => &[METADATA, SPEC],
        _ => &[],
    }
}

impl Type {
    /// The type that a version of a CustomResourceDefinition describes. `schema` is its
    /// `spec.versions[].schema.openAPIV3Schema`.
    #[must_use]
    pub fn of_crd(schema: &Value) -> Self {
        let mut root = node::read(schema, false);
        match &mut root.map {
            Some(map) => node::add_object_fields(&mut map.fields),
            None => return Self { root: Ref::deduced(), custom: None },
        }
        Self { root: Ref::own(root), custom: Some(Arc::new(CustomSchema::new(schema))) }
    }

    /// The type of objects of which nothing is known: maps are merged by field, lists are one value.
    #[must_use]
    pub fn deduced() -> Self {
        Self { root: Ref::deduced(), custom: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_kind_has_a_type() {
        assert!(kinds().count() > 100);
        for (group, version, name) in kinds() {
            let kind = kind(group, version, name).unwrap();
            assert!(kind.root.node().map.is_some() || kind.root.node().scalar.is_some(), "{group}/{version} {name}");
        }
    }

    #[test]
    fn documents_are_found_by_their_path() {
        assert!(document("/openapi/v3/apis/apps/v1").unwrap().text().contains("io.k8s.api.apps.v1.Deployment"));
        assert!(document("/apis;as=APIGroupDiscoveryList").unwrap().text().contains("\"responseKind\""));
        assert!(document("/openapi/v3/apis/apps/v7").is_none());
        assert!(!document("/api").unwrap().text().contains("serverAddress"));
    }

    #[test]
    fn the_keys_of_lists_are_known() {
        let service = kind("", "v1", "Service").unwrap();
        let spec = service.root.node().map.as_ref().unwrap().fields["spec"].node().map.as_ref().unwrap();
        let ports = spec.fields["ports"].node().list.as_ref().unwrap();
        assert_eq!(ports.kind, ListKind::Keyed(vec!["port".into(), "protocol".into()]));
        assert_eq!(ports.items.node().map.as_ref().unwrap().fields["protocol"].default, Some("TCP".into()));
        assert!(spec.fields["selector"].node().map.as_ref().unwrap().atomic);
    }
}
