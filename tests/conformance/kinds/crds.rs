//! CustomResourceDefinitions.

use serde_json::{Value, json};

use super::{Kind, Names};
use crate::log::Until;
use crate::shape::{Shape, any, list, object};

/// The kind.
pub(crate) fn kind() -> Kind {
    let names = object([
        ("plural", 100, any("<name>")),
        ("kind", 100, any("X<name>")),
        ("singular", 40, any("one<name>")),
        ("listKind", 20, any("X<name>List")),
        ("shortNames", 30, list("", any("s<name> z<name>"))),
        ("categories", 20, list("", any("all some"))),
    ]);
    let spec = object([
        ("group", 100, any("t-<tag>.example.org")),
        ("scope", 100, any("Namespaced")),
        ("names", 100, names),
        ("versions", 100, Shape::Any(versions())),
        ("conversion", 10, object([("strategy", 100, any("None"))])),
        ("preserveUnknownFields", 5, any("false")),
    ]);
    Kind {
        api_version: "apiextensions.k8s.io/v1",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        names: Names::Definitions,
        body: object([("spec", 100, spec)]),
        status: None,
        scale: false,
        strategic: true,
        until: Some(Until::Served),
    }
}

/// Lists of versions; the last ones are wrong.
fn versions() -> Vec<Value> {
    let version = |name: &str, storage: bool, schema: Value| json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}});
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let sized = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer", "minimum": 1, "default": 3},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
    }}}});
    let mut columns = version("v1", true, sized.clone());
    columns["subresources"] = json!({"status": {}});
    columns["additionalPrinterColumns"] = json!([{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]);
    let mut old = version("v1beta1", false, open.clone());
    old["deprecated"] = true.into();
    let untyped = json!({"properties": {"spec": {"type": "object"}}});
    let keyless = json!({"type": "object", "properties": {"spec": {
        "type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"},
    }}});
    let mut schemaless = version("v1", true, open.clone());
    schemaless["schema"] = Value::Null;
    vec![
        json!([version("v1", true, open.clone())]),
        json!([version("v1", true, sized.clone())]),
        json!([columns]),
        json!([old, version("v1", true, sized)]),
        json!([version("v1beta1", true, open.clone()), version("v1", false, open.clone())]),
        json!([version("v1", true, open.clone()), version("v2", true, open)]),
        json!([version("v1", true, untyped)]),
        json!([version("v1", true, keyless)]),
        json!([schemaless]),
    ]
}
