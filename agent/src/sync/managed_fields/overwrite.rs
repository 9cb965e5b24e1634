//! The patch that writes a declared object over a live one, where the API server refuses to apply it.
//!
//! A server-side apply leaves the list items of other managers beside the declared ones, and what it takes away of ours it may leave as a
//! null. The API server can refuse the object that comes of it: two ports of one name, two actions that exclude each other, a null in place
//! of a map. [`reclaim`](super::reclaim) finds such items by the entries of their managers, and so fails without such entries.

use serde_json::{Map, Value};

use super::entry::{ManagedFieldsEntry, node_of, our_entry, our_entry_mut};
use crate::compile::applied_fields::is_reset;
use crate::model::object::Object;

/// The merge patch that gives a live object all declared values. Of the lists it has those that lack a declared item, without the items of
/// others, and all that have other items if the live object is `unreadable`, so that the API server applies nothing to it. It removes the
/// fields of our entry that are not declared. `None` if there is no such list and no such field: the API server refuses such an object for
/// another reason.
pub fn overwrite(declared: &Object, live: &Object, entries: &[ManagedFieldsEntry], unreadable: bool) -> Option<Value> {
    let is_written = |name: &str| !["apiVersion", "kind", "metadata"].contains(&name);
    let is_written = |name: &str| is_written(name) && !is_reset(declared.group(), declared.kind(), name);
    let texts = ["labels", "annotations"];
    let (empty, mut walk) = (Map::new(), Overwriting { unreadable, needed: false });
    let ours = our_entry(entries).map_or(&empty, |entry| &entry.fields);
    let mut patch = walk.map(&declared.0, &live.0, ours, &is_written);
    let metadata = |object: &'_ Object| object.0.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    let ours = node_of("metadata", ours).unwrap_or(&empty);
    let metadata = walk.map(&metadata(declared), &metadata(live), ours, &|name| texts.contains(&name));
    patch.insert("metadata".to_owned(), metadata.into());
    walk.needed.then(|| patch.into())
}

/// Makes our entry one of this version, whose fields it may name otherwise. `entries` is `metadata.managedFields` as JSON.
pub fn set_version(version: &str, entries: &mut [Value]) {
    if let Some(entry) = our_entry_mut(entries) {
        entry["apiVersion"] = version.into();
    }
}

struct Overwriting {
    /// The live object is none that its schema allows.
    unreadable: bool,
    /// `true` if the patch does what an apply does not.
    needed: bool,
}

impl Overwriting {
    fn map(
        &mut self,
        declared: &Map<String, Value>,
        live: &Map<String, Value>,
        ours: &Map<String, Value>,
        is_written: &dyn Fn(&str) -> bool,
    ) -> Map<String, Value> {
        let empty = Map::new();
        let mut patch = Map::new();
        for (name, value) in declared.iter().filter(|(name, _)| is_written(name)) {
            let value = match (value, live.get(name)) {
                (Value::Object(map), Some(Value::Object(live))) => {
                    let ours = node_of(name, ours).unwrap_or(&empty);
                    self.map(map, live, ours, &|_| true).into()
                }
                (Value::Array(items), Some(Value::Array(live))) if self.is_right(items, live) => continue,
                (Value::Array(_), Some(_)) => {
                    self.needed = true;
                    value.clone()
                }
                _ => value.clone(),
            };
            patch.insert(name.clone(), value);
        }
        let fields = ours.keys().filter_map(|key| key.strip_prefix("f:")).filter(|name| is_written(name));
        for name in fields.filter(|name| !declared.contains_key(*name) && live.contains_key(*name)) {
            self.needed = true;
            patch.insert(name.to_owned(), Value::Null);
        }
        patch
    }

    /// `true` for a list with all declared items.
    fn is_right(&self, items: &[Value], live: &[Value]) -> bool {
        !items.is_empty() && is_among(items, live) && (!self.unreadable || items.len() == live.len())
    }
}

/// `true` if each declared item is there, with other fields or without.
fn is_among(items: &[Value], live: &[Value]) -> bool {
    items.iter().all(|item| live.iter().any(|live| is_within(item, live)))
}

fn is_within(declared: &Value, live: &Value) -> bool {
    match (declared, live) {
        (Value::Object(map), Value::Object(live)) => {
            // A part of the key of ports, which most manifests leave to its default.
            let is_default = map.contains_key("protocol") || live.get("protocol").is_none_or(|value| value == "TCP");
            is_default && map.iter().all(|(name, value)| live.get(name).is_some_and(|live| is_within(value, live)))
        }
        (Value::Array(items), Value::Array(live)) => is_among(items, live),
        (declared, live) => declared == live,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::object;
    use super::*;

    fn patch(declared: Value, live: Value, ours: Value) -> Option<Value> {
        let kind = |spec: Value, labels: Value| {
            let metadata = json!({"name": "a", "labels": labels, "finalizers": ["a/b"]});
            object(json!({"apiVersion": "a.b/v1", "kind": "X", "metadata": metadata, "spec": spec, "status": {"x": []}}))
        };
        let entry = json!({"manager": "configsync.gke.io", "operation": "Apply", "fieldsV1": ours});
        let entries: Vec<ManagedFieldsEntry> = serde_json::from_value(json!([entry])).expect("an entry");
        let (declared, live) = (kind(declared, json!({"l": "1"})), kind(live, json!({"m": "1"})));
        let patch = overwrite(&declared, &live, &entries, false);
        assert!(patch.is_none() || overwrite(&declared, &live, &entries, true).is_some());
        patch
    }

    #[test]
    fn a_list_without_a_declared_item_is_written_whole() {
        let port = |port: u16| json!({"name": "a", "port": port});
        let live = json!({"ports": [{"name": "a", "port": 81, "protocol": "TCP"}], "set": ["x", "y"], "theirs": 1, "n": 1});
        let declared = json!({"ports": [port(80)], "set": ["x"], "n": 2, "new": ["x"]});
        assert_eq!(
            patch(declared, live, json!({})),
            Some(json!({"metadata": {"labels": {"l": "1"}}, "spec": {"ports": [port(80)], "n": 2, "new": ["x"]}}))
        );
        let is_there = json!({"ports": [port(80)], "n": 2});
        let live = json!({"ports": [{"name": "b", "port": 1}, {"name": "a", "port": 80, "protocol": "TCP"}], "n": 1});
        assert_eq!(patch(is_there, live, json!({})), None, "the apply does all of it");
        let live = json!({"ports": [{"name": "a", "port": 80, "protocol": "UDP"}], "n": 2});
        let written = json!({"metadata": {"labels": {"l": "1"}}, "spec": {"ports": [port(80)], "n": 2}});
        assert_eq!(patch(json!({"ports": [port(80)], "n": 2}), live, json!({})), Some(written));
    }

    #[test]
    fn an_object_that_its_schema_does_not_allow_gets_the_declared_lists() {
        let kind = |list: Value| object(json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "list": list}));
        let (declared, live) = (kind(json!([{"name": "a"}])), kind(json!([{"name": "a"}, {}])));
        assert_eq!(overwrite(&declared, &live, &[], false), None);
        assert_eq!(overwrite(&declared, &live, &[], true), Some(json!({"metadata": {}, "list": [{"name": "a"}]})));
        assert_eq!(overwrite(&declared, &declared, &[], true), None);
    }

    #[test]
    fn fields_of_ours_that_are_not_declared_are_removed() {
        let ours = json!({"f:spec": {"f:replicas": {}, "f:map": {"f:x": {}, "f:gone": {}}, "f:list": {"k:{\"name\":\"a\"}": {}}}});
        let live = json!({"replicas": 1, "map": {"x": 1, "theirs": 1}, "list": [{"name": "a"}]});
        let of_labels = json!({"labels": {"l": "1"}});
        assert_eq!(
            patch(json!({"map": {}, "list": []}), live.clone(), ours.clone()),
            Some(json!({"metadata": of_labels, "spec": {"replicas": null, "map": {"x": null}, "list": []}}))
        );
        assert_eq!(patch(json!({"map": {"x": 2}, "replicas": 1, "list": [{"name": "a"}]}), live, ours), None);
    }
}
