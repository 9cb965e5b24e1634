//! The objects of a soak: as they are declared, as they must be in the cluster, and those of others beside them.

use agent::model::metadata::SyncId;
use serde_json::{Value, json};

use crate::world::{NAMESPACE, PART_OF, directory};

/// The declared annotation that tells an object's version.
pub(super) const VERSION: &str = "soak/version";
/// An annotation that another client adds, and that must stay.
pub(super) const THEIRS: &str = "others/note";
/// The collections of the objects, in the order of [`kind_of`].
const COLLECTIONS: [&str; 4] = [
    "api/v1/{}/configmaps",
    "api/v1/{}/secrets",
    "apis/rbac.authorization.k8s.io/v1/{}/roles",
    "apis/apps/v1/{}/deployments",
];

/// A declared object.
pub(super) struct Expected {
    pub(super) sync: usize,
    pub(super) version: u32,
    /// Another client has added an annotation.
    pub(super) theirs: bool,
}

pub(super) fn file(index: usize, sync: usize) -> String {
    format!("{}/{:03}/{index:06}.yaml", directory(sync), index / 1000)
}

pub(super) fn collections() -> impl Iterator<Item = String> {
    COLLECTIONS.iter().map(|path| format!("/{}", path.replace("{}", &format!("namespaces/{NAMESPACE}"))))
}

pub(super) fn name(index: usize) -> String {
    format!("object-{index:06}")
}

pub(super) fn path(index: usize) -> String {
    let collection = collections().nth(kind_of(index)).unwrap_or_default();
    format!("{collection}/{}", name(index))
}

/// Seven of ten objects are ConfigMaps.
fn kind_of(index: usize) -> usize {
    match index % 10 {
        kind @ 1..=3 => kind,
        _ => 0,
    }
}

/// The manifest of an object.
pub(super) fn manifest(index: usize, version: u32) -> Value {
    let mut object = match kind_of(index) {
        0 => {
            let data = json!({"value": "declared", "version": version.to_string(), "filler": "x".repeat(140)});
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data})
        }
        1 => json!({"apiVersion": "v1", "kind": "Secret", "data": {"value": "ZGVjbGFyZWQ="}}),
        2 => {
            let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]});
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": [rule]})
        }
        _ => {
            let labels = json!({"app": name(index)});
            let container = json!({"name": "main", "image": format!("example.com/app:{version}")});
            let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
            let spec = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template});
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec})
        }
    };
    let annotations = json!({VERSION: version.to_string()});
    object["metadata"] = json!({"name": name(index), "namespace": NAMESPACE, "annotations": annotations});
    object
}

/// The difference between a live object and how it must be, if there is one. Without a version any declared one is right.
pub(super) fn difference(live: &Value, index: usize, expected: &Expected, any_version: bool) -> Option<String> {
    let shown = live["metadata"]["annotations"][VERSION].as_str().and_then(|version| version.parse().ok());
    let version = if any_version { shown.unwrap_or(0) } else { expected.version };
    let mut wanted = manifest(index, version);
    wanted["metadata"]["labels"] = json!({PART_OF: SyncId::root(&directory(expected.sync)).part_of()});
    if expected.theirs {
        wanted["metadata"]["annotations"][THEIRS] = "kept".into();
    }
    if let Some(fields) = wanted.as_object_mut() {
        // Items of a list have neither.
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    missing(live, &wanted, "").map(|field| format!("{}: {field}", name(index)))
}

/// The first field of `wanted` that `live` has not.
fn missing(live: &Value, wanted: &Value, at: &str) -> Option<String> {
    match wanted {
        Value::Object(fields) => {
            fields.iter().find_map(|(key, wanted)| missing(&live[key.as_str()], wanted, &format!("{at}.{key}")))
        }
        Value::Array(items) if live.as_array().is_some_and(|live| live.len() == items.len()) => {
            items.iter().zip(live.as_array()?).find_map(|(wanted, live)| missing(live, wanted, &format!("{at}[]")))
        }
        wanted => (live != wanted).then(|| format!("{at} is {live} instead of {wanted}")),
    }
}
