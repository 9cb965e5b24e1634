//! The patch that writes a declared object over a live one, where the API server refuses to apply it.
//!
//! A server-side apply leaves the list items of other managers beside the declared ones, and what it takes away of ours it may leave as a
//! null. The API server can refuse the object that comes of it: two ports of one name, two actions that exclude each other, a null in place
//! of a map. [`reclaim`](super::reclaim) finds such items by the entries of their managers, and so fails without such entries.

use serde_json::{Map, Value};

use super::adopt::keep_proof;
use super::entry::{ManagedFieldsEntry, item_nodes, node_of, of_our_version, our_entry, our_entry_mut};
use crate::compile::applied_fields::is_reset;
use crate::model::object::Object;

/// The reason for which the API server refuses to apply an object to the one that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What comes of it is not valid, in these fields.
    Invalid(Vec<String>),
    /// The object that is there is none that its schema allows.
    Unreadable,
}

/// The merge patch that gives a live object all declared values. Of the lists it has those that lack a declared item, without the items of
/// others, and all that have other items if the live object is unreadable. It removes the fields and items of our entry that are not declared;
/// and in a map of which a declared field has another value, the refused fields of others, which may exclude that value. `None` if there is no such list and no such field:
/// the API server refuses the object for another reason.
pub fn overwrite(declared: &Object, live: &Object, entries: &[ManagedFieldsEntry], refusal: &Refusal) -> Option<Value> {
    let is_written = |name: &str| !["apiVersion", "kind", "metadata"].contains(&name);
    let is_written = |name: &str| is_written(name) && !is_reset(declared.group(), declared.kind(), name);
    let is_text = |name: &str| ["labels", "annotations"].contains(&name);
    let mut walk = Overwriting { refusal, path: Vec::new(), needed: false };
    let is_other = |entry: &&ManagedFieldsEntry| !entry.is_ours() && entry.subresource.is_empty();
    let others = of_our_version(entries).filter(is_other).map(|entry| &entry.fields).collect();
    let nodes = Nodes { ours: our_entry(entries).map(|entry| &entry.fields), others };
    let mut patch = walk.map(&declared.0, &live.0, &nodes, &is_written);
    let [declared, live] = [declared, live].map(|object| object.0.get("metadata").and_then(Value::as_object));
    let (declared, live) = (declared.cloned().unwrap_or_default(), live.cloned().unwrap_or_default());
    let metadata = walk.map(&declared, &live, &nodes.of("metadata"), &is_text);
    patch.insert("metadata".to_owned(), metadata.into());
    walk.needed.then(|| patch.into())
}

/// Begins our entry anew in this version, with the annotations alone that say that the object is the sync's. An apply takes nothing away
/// then, which the patch has done. `entries` is `metadata.managedFields` as JSON.
pub fn begin_anew(version: &str, entries: &mut [Value]) {
    if let Some(entry) = our_entry_mut(entries) {
        (entry["apiVersion"], entry["fieldsV1"]) = (version.into(), Map::new().into());
        keep_proof(entries);
    }
}

/// The nodes that entries have of a map.
struct Nodes<'a> {
    ours: Option<&'a Map<String, Value>>,
    others: Vec<&'a Map<String, Value>>,
}

impl Nodes<'_> {
    fn of(&self, name: &str) -> Self {
        Self {
            ours: self.ours.and_then(|node| node_of(name, node)),
            others: self.others.iter().filter_map(|node| node_of(name, node)).collect(),
        }
    }
}

struct Overwriting<'a> {
    refusal: &'a Refusal,
    /// The names of the fields on the way.
    path: Vec<String>,
    /// `true` if the patch does what an apply does not.
    needed: bool,
}

impl Overwriting<'_> {
    fn map(
        &mut self,
        declared: &Map<String, Value>,
        live: &Map<String, Value>,
        nodes: &Nodes<'_>,
        is_written: &dyn Fn(&str) -> bool,
    ) -> Map<String, Value> {
        let mut patch = Map::new();
        for (name, value) in declared.iter().filter(|(name, _)| is_written(name)) {
            let value = match (value, live.get(name)) {
                (Value::Object(map), Some(Value::Object(live))) => {
                    self.path.push(name.clone());
                    let below = self.map(map, live, &nodes.of(name), &|_| true);
                    self.path.pop();
                    below.into()
                }
                (Value::Array(items), Some(Value::Array(live))) if self.is_right(items, live) => {
                    let kept = without_dropped(items, live, nodes.of(name).ours);
                    if kept.len() == live.len() {
                        continue;
                    }
                    self.needed = true;
                    kept.into()
                }
                (Value::Array(_), Some(_)) => {
                    self.needed = true;
                    value.clone()
                }
                _ => value.clone(),
            };
            patch.insert(name.clone(), value);
        }
        let is_other = |(name, value): (&String, &Value)| live.get(name).is_none_or(|live| !is_within(value, live));
        let is_other = declared.iter().any(is_other);
        let others = nodes.others.iter().filter(|_| is_other).flat_map(|node| node.keys());
        let others = others.filter(|key| self.is_refused(key));
        let fields = nodes.ours.iter().flat_map(|node| node.keys()).chain(others);
        let fields = fields.filter_map(|key| key.strip_prefix("f:")).filter(|name| is_written(name));
        let removed = fields.filter(|name| !declared.contains_key(*name) && live.contains_key(*name));
        let removed: Vec<String> = removed.map(str::to_owned).collect();
        self.needed |= !removed.is_empty();
        patch.extend(removed.into_iter().map(|name| (name, Value::Null)));
        patch
    }

    /// `true` for a list with all declared items.
    fn is_right(&self, items: &[Value], live: &[Value]) -> bool {
        let is_readable = *self.refusal != Refusal::Unreadable;
        !items.is_empty() && is_among(items, live) && (is_readable || items.len() == live.len())
    }

    /// `true` for a field of the map, by its key in entries, if the refusal names the field or the map.
    fn is_refused(&self, key: &str) -> bool {
        let Refusal::Invalid(fields) = self.refusal else { return false };
        let map = || self.path.iter().map(String::as_str);
        let name = key.strip_prefix("f:");
        fields.iter().any(|field| field.split('.').eq(map()) || field.split('.').eq(map().chain(name)))
    }
}

/// The live items but those that our node of the list has and that are not declared any more: others may own fields of them, so that an
/// apply would leave a part of the item.
fn without_dropped(items: &[Value], live: &[Value], ours: Option<&Map<String, Value>>) -> Vec<Value> {
    let is_of = |item: &Value, element: &str| {
        let one = Map::from_iter([(element.to_owned(), Value::Object(Map::new()))]);
        item_nodes(item, &one).next().is_some()
    };
    let is_dropped = |live: &&Value| {
        let mut elements = ours.into_iter().flat_map(|ours| item_nodes(live, ours)).map(|(element, _)| element);
        elements.any(|element| !items.iter().any(|item| is_of(item, element)))
    };
    live.iter().filter(|item| !is_dropped(item)).cloned().collect()
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
            object(
                json!({"apiVersion": "a.b/v1", "kind": "X", "metadata": metadata, "spec": spec, "status": {"x": []}}),
            )
        };
        let entry = json!({"manager": "configsync.gke.io", "operation": "Apply", "fieldsV1": ours});
        let entries: Vec<ManagedFieldsEntry> = serde_json::from_value(json!([entry])).expect("an entry");
        let (declared, live) = (kind(declared, json!({"l": "1"})), kind(live, json!({"m": "1"})));
        let patch = overwrite(&declared, &live, &entries, &Refusal::Invalid(Vec::new()));
        assert!(patch.is_none() || overwrite(&declared, &live, &entries, &Refusal::Unreadable).is_some());
        patch
    }

    #[test]
    fn a_list_without_a_declared_item_is_written_whole() {
        let port = |port: u16| json!({"name": "a", "port": port});
        let live =
            json!({"ports": [{"name": "a", "port": 81, "protocol": "TCP"}], "set": ["x", "y"], "theirs": 1, "n": 1});
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
    fn our_entry_begins_anew() {
        let ours = json!({"manager": "configsync.gke.io", "operation": "Apply", "apiVersion": "a.b/v1", "fieldsV1": {"f:spec": {}}});
        let mut entries = [json!({"manager": "x", "fieldsV1": {"f:x": {}}}), ours];
        begin_anew("a.b/v2", &mut entries);
        assert_eq!(entries[0]["fieldsV1"], json!({"f:x": {}}));
        let proof = json!({"f:metadata": {"f:annotations": {"f:configsync.gke.io/manager": {}}}});
        assert_eq!((&entries[1]["apiVersion"], &entries[1]["fieldsV1"]), (&json!("a.b/v2"), &proof));
    }

    #[test]
    fn items_of_ours_that_are_not_declared_are_removed() {
        let item = |name: &str| json!({"name": name, "image": "a:1"});
        let ours =
            json!({"f:spec": {"f:list": {"k:{\"name\":\"a\"}": {"f:name": {}}, "k:{\"name\":\"b\"}": {"f:name": {}}}}});
        let live = json!({"list": [item("b"), item("a"), item("theirs")]});
        let written = json!({"metadata": {"labels": {"l": "1"}}, "spec": {"list": [item("a"), item("theirs")]}});
        assert_eq!(patch(json!({"list": [item("a")]}), live.clone(), ours.clone()), Some(written));
        assert_eq!(patch(json!({"list": [item("a"), item("b")]}), live, ours), None);
    }

    #[test]
    fn an_object_that_its_schema_does_not_allow_gets_the_declared_lists() {
        let kind =
            |list: Value| object(json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "list": list}));
        let (declared, live) = (kind(json!([{"name": "a"}])), kind(json!([{"name": "a"}, {}])));
        let invalid = Refusal::Invalid(vec!["list".to_owned()]);
        assert_eq!(overwrite(&declared, &live, &[], &invalid), None);
        let written = json!({"metadata": {}, "list": [{"name": "a"}]});
        assert_eq!(overwrite(&declared, &live, &[], &Refusal::Unreadable), Some(written));
        assert_eq!(overwrite(&declared, &declared, &[], &Refusal::Unreadable), None);
    }

    #[test]
    fn refused_fields_of_others_go_where_a_declared_one_has_another_value() {
        let kind = |spec: Value| {
            object(json!({"apiVersion": "policy/v1", "kind": "X", "metadata": {"name": "a"}, "spec": spec}))
        };
        let theirs = json!({"f:spec": {"f:maxUnavailable": {}, "f:policy": {}, "f:selector": {"f:x": {}}}});
        let entry =
            |manager: &str, fields: &Value| json!({"manager": manager, "operation": "Update", "fieldsV1": fields});
        let entries = json!([entry("kubectl-edit", &theirs)]);
        let entries: Vec<ManagedFieldsEntry> = serde_json::from_value(entries).expect("entries");
        let live = kind(json!({"maxUnavailable": 1, "default": 1, "selector": {"x": 1}, "policy": "a"}));
        let patch = |declared: Value, field: &str| {
            overwrite(&kind(declared), &live, &entries, &Refusal::Invalid(vec![field.to_owned()]))
        };
        let declared = json!({"minAvailable": 1, "selector": {}, "policy": "b"});
        let spec = json!({"minAvailable": 1, "maxUnavailable": null, "selector": {}, "policy": "b"});
        assert_eq!(patch(declared.clone(), "spec"), Some(json!({"metadata": {}, "spec": spec})));
        let spec = json!({"minAvailable": 1, "maxUnavailable": null, "selector": {}, "policy": "b"});
        assert_eq!(patch(declared.clone(), "spec.maxUnavailable"), Some(json!({"metadata": {}, "spec": spec})));
        assert_eq!(patch(declared.clone(), "spec.selector"), None, "nothing differs there");
        assert_eq!(patch(declared, "spec.default"), None, "it is no field of others");
        assert_eq!(patch(json!({"policy": "a"}), "spec"), None, "nothing differs");
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
