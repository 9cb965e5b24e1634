//! Tests of merging, one for each rule. Other tests compare the rules with those of a real API server.

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-02T15:04:05Z";
const LATER: &str = "2026-01-02T15:04:06Z";

fn write<'a>(kind: &'a Type, api_version: &'a str, manager: &'a str) -> Write<'a> {
    Write {
        kind,
        api_version,
        manager,
        subresource: "",
        now: NOW,
        reset_fields: &[&["status"]],
        other_versions: &|_| None,
    }
}

fn deployments() -> Type {
    schema::kind("apps", "v1", "Deployment").unwrap()
}

fn deployment(image: &str, replicas: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "a", "image": image}]}}},
    })
}

/// The entry of `manager`.
fn entry<'a>(object: &'a Value, manager: &str) -> Option<&'a Value> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    entries.iter().find(|entry| entry["manager"] == manager)
}

#[test]
fn an_applied_object_is_owned_field_by_field() {
    let kind = deployments();
    let new = apply(&write(&kind, "apps/v1", "nomos"), None, &deployment("a:1", &json!(2)), false).unwrap();
    let expected = json!({
        "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:template": {"f:spec": {"f:containers": {
                    "k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {}},
                }}},
            },
        },
        "manager": "nomos",
        "operation": "Apply",
        "time": NOW,
    });
    assert_eq!(entry(&new, "nomos"), Some(&expected));
}

#[test]
fn an_update_owns_the_fields_that_it_changes() {
    let kind = deployments();
    let live = apply(&write(&kind, "apps/v1", "nomos"), None, &deployment("a:1", &json!(2)), false).unwrap();
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(3);
    let new = update(&write(&kind, "apps/v1", "kubectl"), Some(&live), new);
    assert_eq!(entry(&new, "nomos").unwrap().pointer("/fieldsV1/f:spec/f:replicas"), None);
    assert_eq!(entry(&new, "kubectl").unwrap()["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    let refused = apply(&write(&kind, "apps/v1", "nomos"), Some(&new), &deployment("a:1", &json!(2)), false);
    let message = "Apply failed with 1 conflict: conflict with \"kubectl\" using apps/v1: .spec.replicas";
    assert_eq!(refused.unwrap_err().message(), message);
    let forced = apply(&write(&kind, "apps/v1", "nomos"), Some(&new), &deployment("a:1", &json!(2)), true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 2);
    assert_eq!(entry(&forced, "kubectl"), None);
}

#[test]
fn a_field_that_is_not_applied_any_more_is_removed_unless_another_manager_owns_it() {
    let kind = deployments();
    let mut config = deployment("a:1", &json!(2));
    config["metadata"]["labels"]["tier"] = json!("front");
    let live = apply(&write(&kind, "apps/v1", "nomos"), None, &config, false).unwrap();
    let other = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
    });
    let live = apply(&write(&kind, "apps/v1", "other"), Some(&live), &other, false).unwrap();
    let less = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    let new = apply(&write(&kind, "apps/v1", "nomos"), Some(&live), &less, false).unwrap();
    assert_eq!(new["metadata"]["labels"], json!({"app": "web"}));
    assert_eq!(entry(&new, "nomos"), None);
}

#[test]
fn the_port_of_a_service_has_a_protocol_in_its_key() {
    let kind = schema::kind("", "v1", "Service").unwrap();
    let config = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"ports": [{"port": 80}]},
    });
    let new = apply(&write(&kind, "v1", "nomos"), None, &config, false).unwrap();
    let ports = &entry(&new, "nomos").unwrap()["fieldsV1"]["f:spec"]["f:ports"];
    assert_eq!(ports, &json!({"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}));
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let kind = deployments();
    let config = deployment("a:1", &json!(2));
    let live = apply(&write(&kind, "apps/v1", "nomos"), None, &config, false).unwrap();
    let again = Write { now: LATER, ..write(&kind, "apps/v1", "nomos") };
    assert_eq!(apply(&again, Some(&live), &config, false).unwrap(), live);
    assert_eq!(update(&again, Some(&live), live.clone()), live);
}

#[test]
fn unknown_fields_and_wrong_types_are_refused() {
    let kind = deployments();
    let mut config = deployment("a:1", &json!(2));
    config["spec"]["colour"] = json!("blue");
    let message = "failed to create typed patch object (/web; apps/v1, Kind=Deployment): ";
    let refused = apply(&write(&kind, "apps/v1", "nomos"), None, &config, false).unwrap_err();
    assert_eq!(refused, Refusal::Failed(format!("{message}.spec.colour: field not declared in schema")));
    let config = deployment("a:1", &json!("two"));
    let refused = apply(&write(&kind, "apps/v1", "nomos"), None, &config, false).unwrap_err();
    assert_eq!(
        refused,
        Refusal::Failed(format!("{message}.spec.replicas: expected numeric (int or float), got string"))
    );
}

#[test]
fn entries_are_forgotten_on_request() {
    let kind = deployments();
    let live = apply(&write(&kind, "apps/v1", "nomos"), None, &deployment("a:1", &json!(2)), false).unwrap();
    let mut new = live.clone();
    new["metadata"]["managedFields"] = json!([{}]);
    let new = update(&write(&kind, "apps/v1", "kubectl"), Some(&live), new);
    assert_eq!(new["metadata"].get("managedFields"), None);
    let applied = apply(&write(&kind, "apps/v1", "nomos"), Some(&new), &deployment("a:1", &json!(2)), false).unwrap();
    assert!(entry(&applied, "before-first-apply").is_some());
}

#[test]
fn custom_resources_are_merged_by_their_schema() {
    let kind = Type::of_crd(&json!({
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {
            "rules": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}},
            },
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "names": {"type": "array", "items": {"type": "string"}},
        }}},
    }));
    let config = json!({
        "apiVersion": "a.b/v1",
        "kind": "Rule",
        "metadata": {"name": "r"},
        "spec": {"rules": [{"name": "x", "port": 1}], "free": {"a": {"b": 1}}, "names": ["n"]},
    });
    let new = apply(&write(&kind, "a.b/v1", "nomos"), None, &config, false).unwrap();
    let spec = json!({
        "f:free": {"f:a": {".": {}, "f:b": {}}},
        "f:names": {},
        "f:rules": {"k:{\"name\":\"x\"}": {".": {}, "f:name": {}, "f:port": {}}},
    });
    assert_eq!(entry(&new, "nomos").unwrap()["fieldsV1"]["f:spec"], spec);
}
