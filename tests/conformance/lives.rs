//! Whole lives: of a kind with its objects, and of a Namespace with what is in it.

use serde_json::{Value, json};

use crate::log::{Body, Request, Step, Until};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const MERGE: &str = "application/merge-patch+json";

/// A kind is defined, used, defined otherwise, used again and deleted with an object that holds on.
pub(crate) fn definition() -> Vec<Step> {
    let definition = format!("{DEFINITIONS}/lives.t-<tag>.example.net");
    let objects = "/apis/t-<tag>.example.net/v1/namespaces/t-<tag>/lives";
    let object = |name: &str, size: &str| {
        json!({
            "apiVersion": "t-<tag>.example.net/v1", "kind": "Life",
            "metadata": {"name": name}, "spec": {"size": size, "extra": {"a": 1}},
        })
    };
    let create = |name: &str, size: &str| Request::new("POST", objects).json(object(name, size));
    let apply = |name: &str, size: &str| {
        let request = Request::new("PATCH", format!("{objects}/{name}")).json(object(name, size));
        Step::Ask(request.of_type("application/apply-patch+yaml").with("fieldManager=alice"))
    };
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let mut change = Request::new("PUT", definition.clone()).json(Value::Null);
    let edits = vec![
        (format!("{schema}/size/enum"), Some(json!(["small", "large"]))),
        (format!("{schema}/extra"), Some(json!({"type": "object", "additionalProperties": {"type": "integer"}}))),
    ];
    change.body = Body::Seen { path: definition.clone(), edits };
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    let release = json!({"metadata": {"finalizers": null}});
    vec![
        Step::Ask(create("early", "small")),
        Step::Ask(Request::new("POST", DEFINITIONS).json(life())),
        Step::Await(Until::Served, definition.clone()),
        Step::Await(Until::Readable, objects.to_owned()),
        Step::Ask(create("one", "small")),
        Step::Ask(create("two", "large")),
        apply("two", "small"),
        Step::Ask(Request::new("GET", definition.clone())),
        Step::Ask(change),
        Step::Await(Until::Served, definition.clone()),
        Step::Probe(create("probe", "large").with("dryRun=All"), 201),
        apply("two", "large"),
        Step::Ask(create("three", "huge")),
        Step::Ask(Request::new("PATCH", format!("{objects}/one")).json(hold).of_type(MERGE)),
        Step::Ask(Request::new("GET", objects)),
        Step::Ask(Request::new("DELETE", definition.clone())),
        Step::Await(Until::Gone, format!("{objects}/two")),
        Step::Await(Until::Deleting, format!("{objects}/one")),
        Step::Ask(Request::new("GET", format!("{objects}/one"))),
        Step::Ask(Request::new("PATCH", format!("{objects}/one")).json(release).of_type(MERGE)),
        Step::Await(Until::Gone, definition),
        Step::Await(Until::Gone, objects.to_owned()),
        Step::Ask(create("late", "small")),
    ]
}

fn life() -> Value {
    let spec = json!({"type": "object", "properties": {"size": {"type": "string", "enum": ["small"]}}});
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "lives.t-<tag>.example.net", "labels": {"run": "<tag>"}},
        "spec": {
            "group": "t-<tag>.example.net",
            "scope": "Namespaced",
            "names": {"kind": "Life", "plural": "lives"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

/// A Namespace is deleted with an object that holds on.
pub(crate) fn namespace() -> Vec<Step> {
    let namespace = "/api/v1/namespaces/n-<tag>";
    let objects = format!("{namespace}/configmaps");
    let request = |name: &str, finalizers: &Value| {
        let metadata = json!({"name": name, "finalizers": finalizers});
        Request::new("POST", objects.clone()).json(json!({"metadata": metadata, "data": {"a": "b"}}))
    };
    let create = |name: &str, finalizers: &Value| Step::Ask(request(name, finalizers));
    let release = json!({"metadata": {"finalizers": null}});
    vec![
        Step::Ask(Request::new("POST", "/api/v1/namespaces").json(json!({"metadata": {"name": "n-<tag>"}}))),
        create("holds", &json!(["example.com/hold"])),
        create("goes", &Value::Null),
        Step::Ask(Request::new("DELETE", namespace)),
        create("late", &Value::Null),
        Step::Await(Until::Gone, format!("{objects}/goes")),
        Step::Await(Until::Deleting, format!("{objects}/holds")),
        Step::Ask(Request::new("GET", format!("{objects}/holds"))),
        Step::Ask(Request::new("PATCH", format!("{objects}/holds")).json(release).of_type(MERGE)),
        Step::Await(Until::Gone, namespace.to_owned()),
        // The admission of objects into a Namespace learns a moment later that the Namespace is gone.
        Step::Probe(request("later", &Value::Null), 404),
        create("later", &Value::Null),
    ]
}
