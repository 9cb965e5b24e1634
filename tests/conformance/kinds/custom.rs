//! Custom resources, whose schemas have every shape that structural schemas can have.

use serde_json::{Value, json};

use super::{Kind, Names};
use crate::shape::{Shape, any, list, map, object};

/// The schema of Widgets.
const WIDGET: &str = include_str!("widget.json");

/// Widgets have lists and maps of every sort, Blobs anything, Gadgets two versions.
pub(crate) fn kinds() -> Vec<Kind> {
    vec![widget(), blob(), gadget("example.com/v1", current()), gadget("example.com/v1alpha1", early())]
}

/// Their CustomResourceDefinitions.
pub(crate) fn definitions() -> Vec<Value> {
    let gadgets = [
        version("v1alpha1", false, gadget_schema(false), &json!({})),
        version("v1", true, gadget_schema(true), &json!({})),
    ];
    let blobs = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let scale = json!({
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    });
    vec![
        crd(
            "Widget",
            "Namespaced",
            &[version("v1", true, serde_json::from_str(WIDGET).expect("JSON"), &json!({"status": {}, "scale": scale}))],
        ),
        crd("Blob", "Cluster", &[version("v1", true, blobs, &json!({}))]),
        crd("Gadget", "Namespaced", &gadgets),
    ]
}

fn crd(kind: &str, scope: &str, versions: &[Value]) -> Value {
    let singular = kind.to_lowercase();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{singular}s.example.com")},
        "spec": {
            "group": "example.com",
            "scope": scope,
            "names": {"kind": kind, "plural": format!("{singular}s"), "singular": singular},
            "versions": versions,
        },
    })
}

fn version(name: &str, storage: bool, schema: Value, subresources: &Value) -> Value {
    json!({
        "name": name,
        "served": true,
        "storage": storage,
        "schema": {"openAPIV3Schema": schema},
        "subresources": subresources,
    })
}

fn widget() -> Kind {
    let port = object([
        ("name", 100, any("http https admin")),
        ("protocol", 40, any("TCP UDP")),
        ("number", 60, any("80 443")),
        ("target", 40, any("http 8080")),
    ]);
    let item = object([("id", 100, any("x y")), ("value", 60, any("1st 2nd null"))]);
    let spec = object([
        ("size", 100, any("small large")),
        ("replicas", 40, any("0 1 3")),
        ("ratio", 15, any("0.5 2 1.25")),
        ("pattern", 15, any("abc xyz")),
        ("ports", 50, list("name protocol", port)),
        ("tags", 40, list("", any("a b c d"))),
        ("numbers", 15, list("", any("1 2 3"))),
        ("args", 20, list("", any("-v -q"))),
        ("steps", 20, list("", object([("run", 90, any("build test")), ("times", 30, any("1 2"))]))),
        ("options", 40, map("color size", any("red blue"))),
        ("limits", 20, map("cpu memory", any("1 500m"))),
        ("fixed", 20, object([("a", 60, any("1st 2nd")), ("b", 60, any("1st 2nd"))])),
        ("target", 20, any("80 http")),
        ("free", 30, object([("known", 40, any("1 2")), ("more", 60, map("a b", any("1 text null true")))])),
        (
            "nested",
            30,
            object([("level", 40, any("1 2")), ("mode", 40, any("fast slow")), ("note", 40, any("hm null"))]),
        ),
        (
            "embedded",
            8,
            object([("apiVersion", 100, any("v1")), ("kind", 100, any("Secret")), ("data", 50, map("a", any("b")))]),
        ),
        ("deep", 20, map("one two", object([("items", 80, list("id", item))]))),
    ]);
    Kind {
        api_version: "example.com/v1",
        kind: "Widget",
        plural: "widgets",
        names: Names::Namespaced,
        body: object([("spec", 100, spec)]),
        status: Some(widget_status()),
        scale: true,
        strategic: false,
        until: None,
    }
}

fn widget_status() -> Shape {
    let condition =
        object([("type", 100, any("Ready Stalled")), ("status", 100, any("True False")), ("reason", 40, any("Here"))]);
    object([
        ("replicas", 50, any("1 2")),
        ("selector", 30, any("app=web")),
        ("phase", 50, any("Up Down")),
        ("conditions", 50, list("type", condition)),
    ])
}

fn blob() -> Kind {
    let inner = map("a b c", any("1 text null true"));
    Kind {
        api_version: "example.com/v1",
        kind: "Blob",
        plural: "blobs",
        names: Names::Cluster,
        body: object([
            (
                "spec",
                70,
                object([("things", 60, list("", inner.clone())), ("inner", 60, inner), ("word", 60, any("a b"))]),
            ),
            ("data", 40, map("x y", any("1 2"))),
            ("status", 30, map("state", any("1 2"))),
        ]),
        status: None,
        scale: false,
        strategic: false,
        until: None,
    }
}

/// The versions differ in how a list is merged, in a default and in a field.
fn gadget_schema(current: bool) -> Value {
    let item = json!({
        "type": "object", "required": ["name"],
        "properties": {"name": {"type": "string"}, "value": {"type": "string"}},
    });
    let mut items = json!({"type": "array", "items": item});
    let mut properties = json!({"level": {"type": "integer", "default": 1}});
    if current {
        items["x-kubernetes-list-type"] = "map".into();
        items["x-kubernetes-list-map-keys"] = json!(["name"]);
        properties["level"]["default"] = 2.into();
        properties["added"] = json!({"type": "string"});
    }
    properties["items"] = items;
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})
}

fn early() -> Shape {
    let item = object([("name", 100, any("a b")), ("value", 50, any("1st 2nd"))]);
    object([("spec", 90, object([("level", 40, any("1 5")), ("items", 60, list("name", item))]))])
}

fn current() -> Shape {
    let Shape::Object(mut fields) = early() else { return early() };
    if let (_, _, Shape::Object(spec)) = &mut fields[0] {
        spec.push(("added", 40, any("new newer")));
    }
    Shape::Object(fields)
}

fn gadget(api_version: &'static str, body: Shape) -> Kind {
    Kind {
        api_version,
        kind: "Gadget",
        plural: "gadgets",
        names: Names::Namespaced,
        body,
        status: None,
        scale: false,
        strategic: false,
        until: None,
    }
}
