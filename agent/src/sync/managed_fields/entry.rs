//! One entry of `metadata.managedFields`, digests that tell when entries change, and the list items that an entry names.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::metadata::FIELD_MANAGER;

/// One entry of `metadata.managedFields`: the fields that one manager owns by one operation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedFieldsEntry {
    /// The field manager: the name that a client gives with its writes.
    #[serde(default)]
    pub manager: String,
    /// `Apply` or `Update`.
    #[serde(default)]
    pub operation: String,
    /// `status`, `scale`, or empty for the object itself.
    #[serde(default)]
    pub subresource: String,
    /// The API version in which the fields have their names.
    #[serde(default)]
    pub api_version: String,
    /// When the manager last changed what it owns, RFC 3339, in whole seconds.
    #[serde(default)]
    pub time: String,
    /// The fields, in [FieldsV1](super) form.
    #[serde(default, rename = "fieldsV1")]
    pub fields: Map<String, Value>,
}

impl ManagedFieldsEntry {
    /// `true` if this is the `Apply` entry of the agent's field manager.
    pub fn is_ours(&self) -> bool {
        self.manager == FIELD_MANAGER && self.operation == "Apply" && self.subresource.is_empty()
    }

    /// Digest of the entry: two equal digests of our entry mean that no field of ours changed hands in between. A digest is
    /// good for comparisons within one process only.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.api_version, &self.time).hash(&mut hasher);
        hash_map(&self.fields, &mut hasher);
        hasher.finish()
    }
}

/// The `Apply` entry of the agent's field manager.
pub fn our_entry(entries: &[ManagedFieldsEntry]) -> Option<&ManagedFieldsEntry> {
    entries.iter().find(|entry| entry.is_ours())
}

/// Our entry in `metadata.managedFields` as JSON.
pub(super) fn our_entry_mut(entries: &mut [Value]) -> Option<&mut Value> {
    let is_ours = |entry: &Value| ManagedFieldsEntry::deserialize(entry).is_ok_and(|entry| entry.is_ours());
    entries.iter_mut().find(|entry| is_ours(entry))
}

/// The entries in which fields may have other names than in ours: those of another API version.
pub(super) fn of_other_versions(entries: &[ManagedFieldsEntry]) -> impl Iterator<Item = &ManagedFieldsEntry> {
    let version = our_entry(entries).map(|entry| &entry.api_version);
    let is_other = move |entry: &&ManagedFieldsEntry| version.is_some_and(|version| *version != entry.api_version);
    entries.iter().filter(|entry| entry.subresource != "status").filter(is_other)
}

/// The entries in which fields have the names and types of ours.
pub(super) fn of_our_version(entries: &[ManagedFieldsEntry]) -> impl Iterator<Item = &ManagedFieldsEntry> {
    let version = our_entry(entries).map(|entry| &entry.api_version);
    entries.iter().filter(move |entry| version.is_none_or(|version| *version == entry.api_version))
}

/// Digest of the entries of all other managers outside `status`: when it changes, an admission webhook may have changed a
/// value of ours in the same write, which our entry does not show.
pub fn digest_of_others(entries: &[ManagedFieldsEntry]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for entry in entries.iter().filter(|e| !e.is_ours() && e.subresource != "status") {
        (&entry.manager, &entry.operation, &entry.time).hash(&mut hasher);
        hash_map(&entry.fields, &mut hasher);
    }
    hasher.finish()
}

/// Digest of a value, good for comparisons within one process only.
pub fn digest_of_value(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash_value(value, &mut hasher);
    hasher.finish()
}

fn hash_map(map: &Map<String, Value>, hasher: &mut DefaultHasher) {
    map.len().hash(hasher);
    for (key, value) in map {
        key.hash(hasher);
        hash_value(value, hasher);
    }
}

fn hash_value(value: &Value, hasher: &mut DefaultHasher) {
    std::mem::discriminant(value).hash(hasher);
    match value {
        Value::Null => {}
        Value::Bool(value) => value.hash(hasher),
        Value::Number(value) => value.hash(hasher),
        Value::String(value) => value.hash(hasher),
        Value::Array(items) => {
            items.len().hash(hasher);
            items.iter().for_each(|item| hash_value(item, hasher));
        }
        Value::Object(map) => hash_map(map, hasher),
    }
}

/// The `k:` and `v:` nodes of a list that can mean `item`, with their keys.
pub(super) fn item_nodes<'a>(
    item: &'a Value,
    list: &'a Map<String, Value>,
) -> impl Iterator<Item = (&'a str, &'a Map<String, Value>)> {
    list.iter().filter_map(move |(element, node)| {
        let node = node.as_object()?;
        let matches = match element.split_once(':')? {
            ("k", keys) => keys_match(&serde_json::from_str(keys).ok()?, item),
            ("v", value) => serde_json::from_str::<Value>(value).ok()? == *item,
            _ => false,
        };
        matches.then_some((element.as_str(), node))
    })
}

/// `true` if a node of an entry is such a one. Those of the metadata do not count, whose fields have the same names in all versions.
pub(super) fn has_node(entry: &ManagedFieldsEntry, is_it: &impl Fn(&Map<String, Value>) -> bool) -> bool {
    fn is_below(node: &Value, is_it: &impl Fn(&Map<String, Value>) -> bool) -> bool {
        node.as_object().is_some_and(|node| is_it(node) || node.values().any(|below| is_below(below, is_it)))
    }
    let others = entry.fields.iter().filter(|(key, _)| *key != "f:metadata");
    is_it(&entry.fields) || others.into_iter().any(|(_, node)| is_below(node, is_it))
}

/// The part of a live map or list that a key of a node names.
fn part_of<'a>(key: &str, live: &'a Value) -> Option<&'a Value> {
    match (key.strip_prefix("f:"), live) {
        (Some(name), _) => live.get(name),
        (None, Value::Array(items)) => item_of(key, items),
        _ => None,
    }
}

/// The live item of a list that a key of a node names.
pub(super) fn item_of<'a>(key: &str, live: &'a [Value]) -> Option<&'a Value> {
    let one = Map::from_iter([(key.to_owned(), Value::Object(Map::new()))]);
    live.iter().find(|item| item_nodes(item, &one).next().is_some())
}

/// The nodes that can mean the item at `index` of `items`, without those that another item names by all of their keys: an item can
/// leave keys to defaults.
pub(super) fn nodes_of_item<'a>(
    items: &'a [Value],
    index: usize,
    list: &'a Map<String, Value>,
) -> Vec<(&'a str, &'a Map<String, Value>)> {
    let mut nodes: Vec<_> = item_nodes(&items[index], list).collect();
    if nodes.len() > 1 {
        let named_by = |element: &str, item: &Value| {
            let keys =
                element.strip_prefix("k:").and_then(|keys| serde_json::from_str::<Map<String, Value>>(keys).ok());
            keys.is_some_and(|keys| keys.iter().all(|(key, value)| item.get(key) == Some(value)))
        };
        nodes.retain(|(element, _)| {
            !items.iter().enumerate().any(|(other, item)| other != index && named_by(element, item))
        });
    }
    nodes
}

/// `true` if an item can have these keys: every key that the item states is equal, and those that it leaves out may have
/// been filled in by defaults. An item that states none can only have empty ones.
fn keys_match(keys: &Map<String, Value>, item: &Value) -> bool {
    let Value::Object(item) = item else { return false };
    let states_one = keys.keys().any(|key| item.contains_key(key));
    keys.iter().all(|(key, value)| match item.get(key) {
        Some(stated) => stated == value,
        None => states_one || value == "" || value == 0,
    })
}

/// The node of a field.
pub(super) fn node_of<'a>(name: &str, fields: &'a Map<String, Value>) -> Option<&'a Map<String, Value>> {
    fields.get(&format!("f:{name}")).and_then(Value::as_object)
}

/// A place in an object, both as users read it and by its keys in entries.
#[derive(Default)]
pub(super) struct Position {
    /// As in `.spec.ports[{"port":80}].name`.
    pub(super) path: String,
    /// The keys of the nodes on the way, each with a NUL behind it.
    keys: String,
}

impl Position {
    /// Moves to a field, and returns where it was.
    pub(super) fn enter(&mut self, name: &str) -> (usize, usize) {
        let was = (self.path.len(), self.keys.len());
        self.path.push('.');
        self.path.push_str(name);
        self.keys.push_str("f:");
        self.keys.push_str(name);
        self.keys.push('\0');
        was
    }

    /// Moves to a list item with this label and, where an entry has a node of it, this key; returns where it was.
    pub(super) fn enter_item(&mut self, label: &str, element: &str) -> (usize, usize) {
        let was = (self.path.len(), self.keys.len());
        self.path.push_str(&format!("[{label}]"));
        self.keys.push_str(element);
        self.keys.push('\0');
        was
    }

    /// Moves back.
    pub(super) fn leave(&mut self, was: (usize, usize)) {
        self.path.truncate(was.0);
        self.keys.truncate(was.1);
    }

    /// `true` for the metadata and what is in it, which have the same types in all kinds.
    pub(super) fn is_in_metadata(&self) -> bool {
        self.keys.starts_with("f:metadata\0")
    }

    /// The names of the field and of the field or item that it is in.
    pub(super) fn names(&self) -> (&str, &str) {
        let mut keys = self.keys.trim_end_matches('\0').rsplit('\0').map(|key| key.strip_prefix("f:").unwrap_or(""));
        (keys.next().unwrap_or(""), keys.next().unwrap_or(""))
    }

    /// `true` if a manager owns what is here as a whole: what another client puts into an empty map or list takes the place of
    /// what was declared. `false` if managers own single fields or items of it, or nothing: then the declared and the added
    /// ones are there side by side.
    pub(super) fn is_owned_whole(&self, entries: &[ManagedFieldsEntry]) -> bool {
        self.nodes(entries).any(Map::is_empty)
    }

    /// `true` if a manager owns single fields or items of what is here.
    pub(super) fn is_owned_in_parts<'a>(&self, entries: impl IntoIterator<Item = &'a ManagedFieldsEntry>) -> bool {
        self.nodes(entries).any(|node| !node.is_empty())
    }

    /// `true` if managers own the items of a list one by one, so that declared ones are beside them, and `false` if one may own all of them by
    /// another name, so that no entry has the items; `None` if that cannot be told. Kinds that are `typed` have one name for a field in all
    /// versions.
    pub(super) fn are_beside(&self, items: &[Value], entries: &[ManagedFieldsEntry], typed: bool) -> Option<bool> {
        if self.is_owned_in_parts(entries) {
            return Some(true);
        }
        let names = |entry: &ManagedFieldsEntry, item: &Value| {
            has_node(entry, &|node: &Map<String, Value>| item_nodes(item, node).next().is_some())
        };
        let is_named = |item: &Value| of_other_versions(entries).any(|entry| names(entry, item));
        let may_be_renamed = !typed && of_other_versions(entries).next().is_some();
        may_be_renamed.then(|| items.iter().all(is_named))
    }

    /// `true` if a manager owns something as a whole that may be this by another name. What the live object has by the name that an entry
    /// says is not this.
    pub(super) fn may_be_owned_whole<'a>(
        &self,
        entries: impl IntoIterator<Item = &'a ManagedFieldsEntry>,
        live: &Value,
    ) -> bool {
        fn is_below<'k>(
            node: &Map<String, Value>,
            live: Option<&Value>,
            mut keys: impl Iterator<Item = &'k str> + Clone,
        ) -> bool {
            let Some(step) = keys.next() else { return node.is_empty() };
            let is_there = |name: &str| live.and_then(|live| live.get(name)).is_some();
            let is_renamed = |key: &str| key.strip_prefix("f:").is_some_and(|name| !is_there(name));
            let is_step = |key: &str| key == step || step.starts_with("f:") && is_renamed(key);
            let steps = node.iter().filter(|(key, _)| is_step(key)).filter_map(|(_, node)| node.as_object());
            let live = live.and_then(|live| part_of(step, live));
            steps.into_iter().any(|node| is_below(node, live, keys.clone()))
        }
        entries.into_iter().any(|entry| is_below(&entry.fields, Some(live), self.keys.split_terminator('\0')))
    }

    /// `true` if a manager owns as a whole something that this is in.
    pub(super) fn is_in_whole(&self, entries: &[ManagedFieldsEntry]) -> bool {
        entries.iter().filter(|entry| !entry.fields.is_empty()).any(|entry| {
            let mut keys = self.keys.split_terminator('\0');
            let end = keys.try_fold(&entry.fields, |node, key| {
                node.get(key).and_then(Value::as_object).ok_or(node).map_err(Map::is_empty)
            });
            end.is_err_and(|is_whole| is_whole)
        })
    }

    /// The nodes of all managers for what is here.
    fn nodes<'a>(
        &self,
        entries: impl IntoIterator<Item = &'a ManagedFieldsEntry>,
    ) -> impl Iterator<Item = &'a Map<String, Value>> {
        entries.into_iter().filter_map(|entry| {
            let mut keys = self.keys.split_terminator('\0');
            keys.try_fold(&entry.fields, |node, key| node.get(key)?.as_object())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::metadata::FIELD_MANAGER;

    fn entry(manager: &str, operation: &str, version: &str, subresource: &str, fields: &Value) -> ManagedFieldsEntry {
        let entry = json!({
            "manager": manager, "operation": operation, "apiVersion": version, "subresource": subresource, "fieldsV1": fields,
        });
        serde_json::from_value(entry).expect("an entry")
    }

    #[test]
    fn entries_of_another_version_may_have_other_names() {
        let of = |manager: &str, version: &str, subresource: &str| {
            entry(manager, "Update", version, subresource, &json!({}))
        };
        let ours = entry(FIELD_MANAGER, "Apply", "a/v1", "", &json!({}));
        let all = [ours, of("same", "a/v1", ""), of("other", "a/v2", ""), of("controller", "a/v2", "status")];
        let managers = |entries: &[ManagedFieldsEntry]| -> Vec<String> {
            of_other_versions(entries).map(|entry| entry.manager.clone()).collect()
        };
        assert_eq!(managers(&all), ["other"]);
        assert_eq!(managers(&all[1..]), [""; 0], "nothing is ours");
    }

    #[test]
    fn the_digest_of_others_is_that_of_their_entries_alone() {
        let ours = |field: &str| entry(FIELD_MANAGER, "Apply", "v1", "", &json!({field: {}}));
        let other = |field: &str, subresource: &str| entry("other", "Update", "v1", subresource, &json!({field: {}}));
        let digest = |entries: &[ManagedFieldsEntry]| digest_of_others(entries);
        let one = digest(&[ours("f:a"), other("f:b", ""), other("f:c", "status")]);
        assert_eq!(one, digest(&[ours("f:x"), other("f:b", ""), other("f:y", "status")]));
        assert_eq!(one, digest(&[other("f:b", "")]));
        assert_ne!(one, digest(&[ours("f:a"), other("f:x", ""), other("f:c", "status")]));
    }

    #[test]
    fn a_field_that_is_there_by_its_name_is_no_renamed_one() {
        let live =
            json!({"metadata": {"labels": {"x": "1"}}, "spec": {"b": 1, "list": [{"name": "i", "a": {}, "b": 1}]}});
        let may_be = |path: &[&str], fields: Value| {
            let mut at = Position::default();
            for step in path {
                if step.starts_with("k:") {
                    at.enter_item("", step)
                } else {
                    at.enter(step)
                };
            }
            at.may_be_owned_whole(&[entry("other", "Update", "v2", "", &fields)], &live)
        };
        assert!(may_be(&["spec", "a"], json!({"f:spec": {"f:old": {}}})));
        assert!(may_be(&["spec", "a"], json!({"f:old": {"f:old": {}}})));
        assert!(may_be(&["spec", "a"], json!({"f:spec": {"f:a": {}}})));
        assert!(!may_be(&["spec", "a"], json!({"f:spec": {"f:b": {}}})));
        assert!(!may_be(&["spec", "a", "c"], json!({"f:metadata": {"f:labels": {"f:x": {}}}})));
        let item = "k:{\"name\":\"i\"}";
        let in_item =
            |field: &str| may_be(&["spec", "list", item, "a"], json!({"f:spec": {"f:list": {item: {field: {}}}}}));
        assert!(in_item("f:old"));
        assert!(!in_item("f:b"));
    }

    #[test]
    fn a_place_can_be_in_something_that_is_owned_as_a_whole() {
        let mut at = Position::default();
        at.enter("spec");
        at.enter("a");
        let of = |fields: Value| [entry("other", "Update", "v1", "", &fields)];
        assert!(at.is_in_whole(&of(json!({"f:spec": {}}))));
        assert!(!at.is_in_whole(&of(json!({"f:spec": {"f:b": {}}}))));
        assert!(!at.is_in_whole(&of(json!({"f:spec": {"f:a": {}}}))), "it is owned itself");
        assert!(!at.is_in_whole(&of(json!({}))));
    }
    #[test]
    fn a_node_means_another_item_only_if_there_are_more() {
        let node = |protocol: &str| (format!("k:{{\"port\":80,\"protocol\":\"{protocol}\"}}"), json!({".": {}}));
        let items = [json!({"port": 80}), json!({"port": 80, "protocol": "TCP"})];
        let found = |index: usize, list: &[&str]| {
            let list = list.iter().map(|protocol| node(protocol)).collect();
            let nodes = nodes_of_item(&items, index, &list);
            nodes.into_iter().map(|(element, _)| element.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found(0, &["TCP"]), [node("TCP").0], "it has no other");
        assert_eq!(found(0, &["TCP", "UDP"]), [node("UDP").0]);
        assert_eq!(found(1, &["TCP", "UDP"]), [node("TCP").0]);
    }
}
