//! Kinds of our own: random schemas with every type of list and map, in one version or in two, which a webhook converts or nothing.

use agent::io::kubernetes::client::Cluster;
use anyhow::{Context, Result};
use fastrand::Rng;
use http::Method;
use serde_json::{Map, Value, json};
use tests::conversion::{Converter, RENAMED};

use crate::JSON;
use crate::kinds::{Kind, Version};

/// The conversion of objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Conversion {
    /// There is one version.
    OneVersion,
    /// Both versions have the same fields.
    Same,
    /// Fields have other names in v2; the number of the version that is stored.
    Renamed(u8),
}

/// The number of kinds of our own that there are for one schema seed.
pub(crate) const KINDS: u64 = 8;

/// Fields of a large kind.
const PARTS: usize = 150;
/// Sentences that describe each of them.
const DESCRIPTION: usize = 400;

/// Defines a kind, and waits until it is served.
pub(crate) async fn define(cluster: &Cluster, converter: &Converter, seed: u64) -> Result<Kind> {
    let mut rng = Rng::with_seed(seed);
    let conversion = match seed % KINDS {
        0 | 1 => Conversion::OneVersion,
        2..4 => Conversion::Same,
        4 | 5 => Conversion::Renamed(1),
        _ => Conversion::Renamed(2),
    };
    let is_open = seed % KINDS == 1;
    let schema = schema(&mut rng, is_open);
    let mut versions = vec![("v1", schema.clone())];
    match conversion {
        Conversion::OneVersion => {}
        Conversion::Same => versions.push(("v2", schema.clone())),
        Conversion::Renamed(_) => versions.push(("v2", renamed(&schema))),
    }
    let stored = if conversion == Conversion::Renamed(2) { "v2" } else { "v1" };
    let group = format!("judged{seed}.example.com");
    let has_scale = rng.bool();
    let mut subresources = json!({});
    if !is_open {
        subresources["status"] = json!({});
    }
    if has_scale && !is_open {
        subresources["scale"] = json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
    }
    let scope = if rng.bool() { "Namespaced" } else { "Cluster" };
    let mut definition = definition(&group, scope, &versions, stored, &subresources);
    if matches!(conversion, Conversion::Renamed(_)) {
        definition["spec"]["conversion"] = converter.strategy();
    }
    let kind = Kind {
        group,
        kind: "Trial".to_owned(),
        plural: "trials".to_owned(),
        namespaced: scope == "Namespaced",
        has_status: !is_open,
        has_scale: has_scale && !is_open,
        built_in: false,
        versions: versions
            .into_iter()
            .map(|(name, schema)| Version { name: name.to_owned(), schema, base: json!({}) })
            .collect(),
    };
    serve(cluster, &definition, &kind).await?;
    Ok(kind)
}

/// Makes the CRD of a kind, and waits until that is served.
async fn serve(cluster: &Cluster, definition: &Value, kind: &Kind) -> Result<()> {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let made = cluster.request::<Value>(Method::POST, path, JSON, definition.to_string().into_bytes()).await;
    made.with_context(|| definition.to_string())?;
    for version in &kind.versions {
        let path = kind.path(version, "none");
        while !matches!(cluster.get::<Value>(&path).await, Err(error) if error.is_not_found()) {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Defines a kind whose CRD is as large as that of Prometheus, most of it descriptions, and waits until it is served.
pub(crate) async fn define_large(cluster: &Cluster, seed: u64) -> Result<Kind> {
    let mut rng = Rng::with_seed(seed);
    let mut properties = Map::new();
    for number in 0..PARTS {
        let mut part = any(&mut rng, 1);
        part["description"] = format!("Part {number}. ").repeat(DESCRIPTION).into();
        properties.insert(format!("part{number}"), part);
    }
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}});
    let group = format!("large{seed}.example.com");
    let definition = definition(&group, "Namespaced", &[("v1", schema.clone())], "v1", &json!({}));
    let kind = Kind {
        group,
        kind: "Trial".to_owned(),
        plural: "trials".to_owned(),
        namespaced: true,
        has_status: false,
        has_scale: false,
        built_in: false,
        versions: vec![Version { name: "v1".to_owned(), schema, base: json!({}) }],
    };
    serve(cluster, &definition, &kind).await?;
    Ok(kind)
}

/// The CRD of a kind in these versions.
fn definition(group: &str, scope: &str, versions: &[(&str, Value)], stored: &str, subresources: &Value) -> Value {
    let version = |(name, schema): &(&str, Value)| {
        json!({
            "name": name, "served": true, "storage": *name == stored, "schema": {"openAPIV3Schema": schema},
            "subresources": subresources,
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("trials.{group}")},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": "trials", "singular": "trial", "kind": "Trial", "listKind": "TrialList"},
            "versions": versions.iter().map(version).collect::<Vec<_>>(),
        },
    })
}

/// A schema whose fields have the names `r1` to `r9`, which are others in version v2.
fn schema(rng: &mut Rng, is_open: bool) -> Value {
    let mut spec = fields(rng, 0);
    spec["properties"]["replicas"] = json!({"type": "integer", "minimum": 0});
    let mut root = json!({"type": "object", "properties": {
        "spec": spec,
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}}},
    }});
    if is_open {
        root = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"spec": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        }}});
    } else if rng.bool() {
        root["properties"]["data"] = json!({"type": "object", "additionalProperties": {"type": "string"}});
    }
    root
}

fn fields(rng: &mut Rng, depth: usize) -> Value {
    let mut properties = Map::new();
    for number in 1..rng.usize(3..8).min(9 - 2 * depth.min(3)) {
        properties.insert(format!("r{number}"), any(rng, depth + 1));
    }
    json!({"type": "object", "properties": properties})
}

fn scalar(rng: &mut Rng) -> Value {
    match rng.u8(..9) {
        0 => json!({"type": "integer"}),
        1 => json!({"type": "boolean"}),
        2 => json!({"type": "number"}),
        3 => json!({"x-kubernetes-int-or-string": true}),
        4 => json!({"type": "string", "enum": ["a", "b", ""]}),
        5 => json!({"type": "string", "nullable": true}),
        6 => json!({"type": "string", "default": "b"}),
        _ => json!({"type": "string"}),
    }
}

fn any(rng: &mut Rng, depth: usize) -> Value {
    if depth > 3 {
        return scalar(rng);
    }
    let mut schema = match rng.u8(..16) {
        0..4 => scalar(rng),
        4 | 5 => fields(rng, depth),
        6 => {
            let mut whole = fields(rng, depth);
            whole["x-kubernetes-map-type"] = "atomic".into();
            whole
        }
        7 => json!({"type": "object", "additionalProperties": scalar(rng)}),
        8 => json!({"type": "object", "additionalProperties": any(rng, depth + 1)}),
        9 => json!({"type": "object", "additionalProperties": any(rng, depth + 1), "x-kubernetes-map-type": "atomic"}),
        10 => json!({"type": "array", "items": any(rng, depth + 1)}),
        11 => json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
        12 | 13 => keyed(rng, depth),
        14 => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        _ => {
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true})
        }
    };
    if depth == 1 && schema["type"] == "object" && schema["properties"].is_null() && rng.u8(..6) == 0 {
        schema["nullable"] = true.into();
    }
    schema
}

/// A list whose items have keys, one of them with a default perhaps.
fn keyed(rng: &mut Rng, depth: usize) -> Value {
    let mut items = fields(rng, depth);
    items["properties"]["name"] = json!({"type": "string"});
    items["required"] = json!(["name"]);
    let mut keys = vec!["name"];
    if rng.bool() {
        items["properties"]["port"] = json!({"type": "integer", "default": 80});
        keys.push("port");
    }
    json!({"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys})
}

/// The schema with the names that fields have in v2.
fn renamed(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let is_field = key.len() == 2 && key.starts_with('r');
                (if is_field { format!("{key}{RENAMED}") } else { key.clone() }, renamed(value))
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(renamed).collect(),
        other => other.clone(),
    }
}
