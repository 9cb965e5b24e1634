//! The patch that writes a declared object over a live one, where the API server refuses to apply it.
//!
//! A server-side apply leaves the fields and list items of other managers beside the declared ones, and what it takes away of ours it may
//! leave as a null. The API server can refuse the object that comes of it: two ports of one name, two fields that exclude each other, a null
//! in place of a map. [`reclaim`](super::reclaim) finds items by the entries of their managers, and so fails without such entries.
//!
//! The patch takes of others no more than it has to: of a map the fields beside a refused one, of a list the items that no declared item is,
//! both only where a declared value is missing or another, and from the manager alone that wrote last of those that have some. Where that is
//! refused too, a further patch takes the fields beside every declared value that is another: the refused field may be elsewhere.

use serde_json::{Map, Value};

use super::adopt::keep_proof;
use super::entry::{ManagedFieldsEntry, item_nodes, node_of, our_entry, our_entry_mut};
use super::running::RUNNING;
use crate::compile::applied_fields::is_reset;
use crate::model::object::Object;

/// The reason for which the API server refuses to apply an object to the one that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusedApply {
    /// The object with the declared values is not valid, in these fields: `spec.ports[0].name`.
    Invalid(Vec<String>),
    /// The schema of the kind does not allow the live object, so that the API server applies nothing to it.
    Unreadable,
    /// The API server cannot take the fields of our entry away that are not declared: it would leave a null, or an object that a webhook does
    /// not convert to the version of the entry.
    Untaken,
    /// An entry is of this version, which is not served any more.
    Unserved(String),
}

/// The merge patch that gives a live object all declared values outside of its metadata, without the fields and items of our entry that are
/// not declared, and without those of others that may be what the API server refuses, anywhere if it is a `further` patch. `None` if it does
/// no more than an apply: the API server refuses the declared object for another reason.
pub fn overwrite(
    declared: &Object,
    live: &Object,
    entries: &[ManagedFieldsEntry],
    refusal: &RefusedApply,
    further: bool,
) -> Option<Value> {
    let is_written = |name: &str| !["apiVersion", "kind", "metadata"].contains(&name);
    let is_written = |name: &str| is_written(name) && !is_reset(declared.group(), declared.kind(), name);
    let others = entries.iter().filter(|entry| !entry.is_ours() && entry.subresource.is_empty());
    let is_named =
        |entry: &ManagedFieldsEntry| entry.api_version.is_empty() || entry.api_version == declared.api_version();
    let all_named = others.clone().all(is_named);
    let mut walk = Overwriting { refusal, further, all_named, path: Vec::new(), needed: false };
    let others = others.filter(|entry| is_named(entry));
    let others = others.map(|entry| (entry.time.as_str(), &entry.fields)).collect();
    let nodes = Nodes { ours: our_entry(entries).map(|entry| &entry.fields), others };
    let patch = walk.map(&declared.0, &live.0, &nodes, &is_written);
    walk.needed.then(|| patch.into())
}

/// Gives the entries of a version that is not served any more this one. A manager that has an entry of this version keeps one, with the fields
/// of both: of two the API server would take one. `entries` is `metadata.managedFields` as JSON.
pub fn leave_version(unserved: &str, version: &str, entries: &mut Vec<Value>) {
    let writer = |entry: &Value| ["manager", "operation", "subresource"].map(|field| entry[field].clone());
    let (left, mut others): (Vec<Value>, Vec<Value>) =
        std::mem::take(entries).into_iter().partition(|entry| entry["apiVersion"] == unserved);
    for mut entry in left {
        entry["apiVersion"] = version.into();
        let is_same = |other: &&mut Value| other["apiVersion"] == version && writer(other) == writer(&entry);
        match (others.iter_mut().find(is_same), &mut entry["fieldsV1"]) {
            (Some(other), Value::Object(fields)) => merge(&mut other["fieldsV1"], std::mem::take(fields)),
            _ => others.push(entry),
        }
    }
    *entries = others;
}

/// Begins our entry anew in this version, with the fields of the metadata alone, which have one name in all versions: an apply takes no other
/// field away then. The patch has done that, but for fields of which the version before had another name: they stay, and are of no manager.
/// `entries` is `metadata.managedFields` as JSON.
pub fn begin_anew(version: &str, entries: &mut [Value]) {
    let Some(entry) = our_entry_mut(entries) else { return };
    entry["apiVersion"] = version.into();
    if let Some(fields) = entry.get_mut("fieldsV1").and_then(Value::as_object_mut) {
        fields.retain(|field, _| field == "f:metadata");
    }
    // An entry is never empty.
    keep_proof(entries);
}

/// The nodes that entries have of a map or list; those of others each with the time of its entry.
#[derive(Default)]
struct Nodes<'a> {
    ours: Option<&'a Map<String, Value>>,
    others: Vec<(&'a str, &'a Map<String, Value>)>,
}

impl<'a> Nodes<'a> {
    /// The nodes below.
    fn below<'b>(&self, below: impl Fn(&'b Map<String, Value>) -> Option<&'b Map<String, Value>>) -> Nodes<'b>
    where
        'a: 'b,
    {
        let others = self.others.iter().filter_map(|(time, node)| Some((*time, below(node)?)));
        Nodes { ours: self.ours.and_then(&below), others: others.collect() }
    }

    fn of(&self, name: &str) -> Self {
        self.below(|node| node_of(name, node))
    }

    fn of_item<'b>(&self, item: &'b Value) -> Nodes<'b>
    where
        'a: 'b,
    {
        self.below(|node| Some(item_nodes(item, node).next()?.1))
    }

    fn all(&self) -> impl Iterator<Item = &'a Map<String, Value>> {
        self.ours.into_iter().chain(self.others.iter().map(|(_, node)| *node))
    }

    /// The nodes of the managers that wrote last of those with such a node; several if they wrote in one second.
    fn last(&self, has_some: impl Fn(&Map<String, Value>) -> bool) -> Vec<&'a Map<String, Value>> {
        let some = self.others.iter().filter(|(_, node)| has_some(node));
        let last = some.clone().map(|(time, _)| *time).max();
        some.filter(|(time, _)| Some(*time) == last).map(|(_, node)| *node).collect()
    }
}

struct Overwriting<'a> {
    refusal: &'a RefusedApply,
    further: bool,
    /// `true` if the entries of all others have the names of fields of the declared version: what none of them has is of no manager.
    all_named: bool,
    /// The names of the fields on the way, without the places in lists.
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
            self.path.push(name.clone());
            let value = match (value, live.get(name)) {
                (Value::Object(map), Some(Value::Object(live))) => {
                    Some(self.map(map, live, &nodes.of(name), &|_| true).into())
                }
                (Value::Array(items), Some(Value::Array(live))) => {
                    self.list(items, live, &nodes.of(name)).map(Value::Array)
                }
                (_, live) => {
                    // The schema of the kind may have changed.
                    let is_of_type = |live: &Value| std::mem::discriminant(live) == std::mem::discriminant(value);
                    self.needed |=
                        *self.refusal == RefusedApply::Unreadable && live.is_some_and(|live| !is_of_type(live));
                    Some(value.clone())
                }
            };
            self.path.pop();
            patch.extend(value.map(|value| (name.clone(), value)));
        }
        let is_removed = |name: &str| is_written(name) && !declared.contains_key(name) && live.contains_key(name);
        let names = live.keys().filter(|_| is_other(declared, live));
        let removed = self.removed(nodes, &names.map(String::as_str).collect::<Vec<_>>(), &is_removed);
        self.needed |= !removed.is_empty();
        patch.extend(removed.into_iter().map(|name| (name, Value::Null)));
        patch
    }

    /// The fields of a map that are not declared and are ours, or of others if the map is refused; there those of no manager too, where
    /// others have none. `live` are all fields if a declared value is another, and else none.
    fn removed(&self, nodes: &Nodes<'_>, live: &[&str], is_removed: &dyn Fn(&str) -> bool) -> Vec<String> {
        let names = |node: &Map<String, Value>| -> Vec<String> {
            let names = node.keys().filter_map(|key| key.strip_prefix("f:"));
            names.filter(|name| is_removed(name)).map(str::to_owned).collect()
        };
        let is_theirs = |name: &str| live.contains(&name) && self.is_refused() && !RUNNING.contains(&name);
        let refused = |node: &Map<String, Value>| -> Vec<String> {
            names(node).into_iter().filter(|name| is_theirs(name)).collect()
        };
        let others = nodes.last(|node| !refused(node).is_empty());
        let are_unowned = self.all_named && !self.further && others.is_empty();
        let unowned = |name: &&str| are_unowned && is_removed(name) && is_theirs(name);
        let unowned = live.iter().copied().filter(unowned).map(str::to_owned);
        let ours = nodes.ours.into_iter().flat_map(names);
        ours.chain(others.iter().flat_map(|node| refused(node))).chain(unowned).collect()
    }

    /// The items of a list as they are to be; `None` if an apply makes them so.
    fn list(&mut self, declared: &[Value], live: &[Value], nodes: &Nodes<'_>) -> Option<Vec<Value>> {
        let is_element = |key: &String| key.starts_with("k:") || key.starts_with("v:");
        let in_parts = nodes.all().any(|node| node.keys().any(is_element));
        if !in_parts {
            // It is owned as a whole, or no entry tells by which keys its items are found.
            let is_same = match self.refusal {
                RefusedApply::Unreadable => declared == live,
                _ => !declared.is_empty() && is_among(declared, live) || declared == live,
            };
            self.needed |= !is_same;
            return (!is_same).then(|| declared.to_vec());
        }
        let found: Vec<Option<usize>> = declared.iter().map(|item| place(item, live, nodes)).collect();
        let kept = self.kept(&found, live, nodes);
        let mut items = Vec::new();
        for (index, item) in live.iter().enumerate() {
            match found.iter().position(|place| *place == Some(index)) {
                Some(at) => items.push(self.item(&declared[at], item, nodes)),
                None if kept[index] => items.push(item.clone()),
                None => self.needed = true,
            }
        }
        let missing = declared.iter().zip(&found).filter(|(_, place)| place.is_none());
        items.extend(missing.map(|(item, _)| item.clone()));
        (items != live).then_some(items)
    }

    /// For each live item, `true` if it stays although it is no declared one.
    fn kept(&self, found: &[Option<usize>], live: &[Value], nodes: &Nodes<'_>) -> Vec<bool> {
        let undeclared: Vec<bool> = (0..live.len()).map(|index| !found.contains(&Some(index))).collect();
        let has = |node: &Map<String, Value>, item: &Value| item_nodes(item, node).next().is_some();
        let theirs = |node: &Map<String, Value>| live.iter().zip(&undeclared).any(|(item, is)| *is && has(node, item));
        let is_missing = found.contains(&None);
        let last = nodes.last(theirs);
        let stays = |item: &Value| {
            let is_ours = nodes.ours.is_some_and(|node| has(node, item));
            let is_unowned = self.all_named && !nodes.all().any(|node| has(node, item));
            let takes_place = last.iter().any(|node| has(node, item)) || is_unowned;
            let is_ill = *self.refusal == RefusedApply::Unreadable && (self.further || is_unowned);
            !(is_ours || is_ill || is_missing && takes_place)
        };
        live.iter().map(stays).collect()
    }

    /// A live item with the declared values.
    fn item(&mut self, declared: &Value, live: &Value, nodes: &Nodes<'_>) -> Value {
        let (Value::Object(declared), Value::Object(fields)) = (declared, live) else { return declared.clone() };
        let patch = self.map(declared, fields, &nodes.of_item(live), &|_| true);
        let mut merged = live.clone();
        merge(&mut merged, patch);
        merged
    }

    /// `true` for a map that the refusal names, or a field of it.
    fn is_refused(&self) -> bool {
        let RefusedApply::Invalid(fields) = self.refusal else { return false };
        // The key of a map or list may have dots in it.
        let names = |field: &str| -> Vec<String> {
            let outside = field.split('[').map(|part| part.rsplit(']').next().unwrap_or(part));
            outside.collect::<String>().split('.').map(str::to_owned).collect()
        };
        let is_here =
            |field: Vec<String>| field == self.path || field.split_last().is_some_and(|(_, map)| map == self.path);
        !self.path.is_empty() && (self.further || fields.iter().any(|field| is_here(names(field))))
    }
}

/// Merges a patch into a value ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)).
fn merge(value: &mut Value, patch: Map<String, Value>) {
    let Value::Object(map) = value else {
        *value = patch.into();
        return;
    };
    for (name, new) in patch {
        match new {
            Value::Null => _ = map.remove(&name),
            Value::Object(new) if map.get(&name).is_some_and(Value::is_object) => merge(&mut map[&name], new),
            new => _ = map.insert(name, new),
        }
    }
}

/// The place of the live item that a declared one is, by the key of a node.
fn place(item: &Value, live: &[Value], nodes: &Nodes<'_>) -> Option<usize> {
    let is_of = |element: &str, node: &Value, other: &Value| {
        let one = Map::from_iter([(element.to_owned(), node.clone())]);
        item_nodes(other, &one).next().is_some()
    };
    let mut elements = nodes.all().flatten().filter(|(element, node)| is_of(element, node, item));
    elements.find_map(|(element, node)| {
        live.iter().position(|other| is_of(element, node, other) && !is_another_port(item, other))
    })
}

/// `true` for a port of another protocol than TCP, which is that of a declared port without one.
fn is_another_port(declared: &Value, live: &Value) -> bool {
    declared.get("protocol").is_none() && live.get("protocol").is_some_and(|it| it == "UDP" || it == "SCTP")
}

/// `true` if a declared field is missing or has another value.
fn is_other(declared: &Map<String, Value>, live: &Map<String, Value>) -> bool {
    declared.iter().any(|(name, value)| live.get(name).is_none_or(|live| !is_within(value, live)))
}

/// `true` if each declared item is there, with other fields or without.
fn is_among(items: &[Value], live: &[Value]) -> bool {
    items.iter().all(|item| live.iter().any(|live| is_within(item, live)))
}

fn is_within(declared: &Value, live: &Value) -> bool {
    match (declared, live) {
        (Value::Object(map), Value::Object(fields)) => !is_another_port(declared, live) && !is_other(map, fields),
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
        let patch = overwrite(&declared, &live, &entries, &RefusedApply::Invalid(Vec::new()), false);
        assert!(patch.is_none() || overwrite(&declared, &live, &entries, &RefusedApply::Unreadable, false).is_some());
        patch
    }

    #[test]
    fn a_list_without_a_declared_item_is_written_whole() {
        let port = |port: u16| json!({"name": "a", "port": port});
        let live =
            json!({"ports": [{"name": "a", "port": 81, "protocol": "TCP"}], "set": ["x", "y"], "theirs": 1, "n": 1});
        let declared = json!({"ports": [port(80)], "set": ["x"], "n": 2, "new": ["x"]});
        let written = json!({"spec": {"ports": [port(80)], "n": 2, "new": ["x"]}});
        assert_eq!(patch(declared, live, json!({})), Some(written));
        let is_there = json!({"ports": [port(80)], "n": 2});
        let live = json!({"ports": [{"name": "a", "port": 80, "protocol": "TCP"}], "n": 1});
        assert_eq!(patch(is_there, live, json!({})), None, "the apply does all of it");
        let live = json!({"ports": [{"name": "a", "port": 80, "protocol": "UDP"}], "n": 2});
        let written = json!({"spec": {"ports": [port(80)], "n": 2}});
        assert_eq!(patch(json!({"ports": [port(80)], "n": 2}), live, json!({})), Some(written));
    }

    #[test]
    fn a_list_in_parts_keeps_the_items_of_others_but_of_the_last_writer() {
        let key = |port: u16| format!("k:{{\"port\":{port}}}");
        let entry = |manager: &str, time: &str, port: u16| {
            let fields = json!({"f:spec": {"f:ports": {key(port): {"f:port": {}, "f:name": {}}}}});
            json!({"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields})
        };
        let old = entry("istio", "2026-01-01T00:00:00Z", 15000);
        let new = entry("kubectl-edit", "2026-01-02T00:00:00Z", 81);
        let entries: Vec<ManagedFieldsEntry> = serde_json::from_value(json!([old, new])).expect("entries");
        let kind = |ports: Value| {
            object(json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "spec": {"ports": ports}}))
        };
        let [mine, theirs, meshed] =
            [(80, "http"), (81, "http"), (15000, "mesh")].map(|(port, name)| json!({"port": port, "name": name}));
        let live = kind(json!([theirs, meshed]));
        let patch =
            |declared: Value| overwrite(&kind(declared), &live, &entries, &RefusedApply::Invalid(Vec::new()), false);
        assert_eq!(patch(json!([mine])), Some(json!({"spec": {"ports": [meshed, mine]}})));
        // An item that is there keeps what others have in it.
        let declared = json!([{"port": 15000, "more": [1]}]);
        let merged = json!({"port": 15000, "name": "mesh", "more": [1]});
        assert_eq!(patch(declared), None, "an apply does that");
        assert_eq!(
            patch(json!([{"port": 15000, "more": [1]}, mine])),
            Some(json!({"spec": {"ports": [merged, mine]}}))
        );
    }

    #[test]
    fn a_refused_map_loses_the_fields_of_its_last_writer_alone() {
        let entry = |manager: &str, time: &str, field: &str| {
            let fields = json!({"f:spec": {field: {}, "f:replicas": {}}});
            json!({"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields})
        };
        let old = entry("operator", "2026-01-01T00:00:00Z", "f:suspend");
        let new = entry("kubectl-edit", "2026-01-02T00:00:00Z", "f:chartRef");
        let entries: Vec<ManagedFieldsEntry> = serde_json::from_value(json!([old, new])).expect("entries");
        let kind =
            |spec: Value| object(json!({"apiVersion": "a.b/v1", "kind": "X", "metadata": {"name": "a"}, "spec": spec}));
        let live = kind(json!({"chartRef": "b", "suspend": true, "replicas": 3}));
        let refusal = RefusedApply::Invalid(vec!["spec".to_owned()]);
        let patch = overwrite(&kind(json!({"chart": "a"})), &live, &entries, &refusal, false);
        assert_eq!(patch, Some(json!({"spec": {"chart": "a", "chartRef": null}})));
    }

    #[test]
    fn a_field_of_another_type_is_written_where_the_object_is_unreadable() {
        let kind = |value: Value| {
            object(json!({"apiVersion": "a.b/v1", "kind": "X", "metadata": {"name": "a"}, "cfg": value}))
        };
        let patch = overwrite(&kind(json!("text")), &kind(json!({"x": 1})), &[], &RefusedApply::Unreadable, false);
        assert_eq!(patch, Some(json!({"cfg": "text"})));
        let patch = overwrite(&kind(json!("text")), &kind(json!("other")), &[], &RefusedApply::Unreadable, false);
        assert_eq!(patch, None);
    }

    #[test]
    fn entries_leave_a_version_that_is_not_served() {
        let entry = |manager: &str, version: &str, fields: &[&str]| {
            let fields: Map<String, Value> = fields.iter().map(|field| ((*field).to_owned(), json!({}))).collect();
            json!({"manager": manager, "operation": "Update", "apiVersion": version, "fieldsV1": {"f:spec": fields}})
        };
        let mut entries = vec![
            entry("a", "a.b/v1beta1", &["f:x"]),
            entry("b", "a.b/v1beta1", &["f:z"]),
            entry("a", "a.b/v1", &["f:w"]),
            entry("a", "a.b/v2", &["f:y"]),
        ];
        leave_version("a.b/v1beta1", "a.b/v2", &mut entries);
        let (both, other) = (entry("a", "a.b/v2", &["f:x", "f:y"]), entry("b", "a.b/v2", &["f:z"]));
        assert_eq!(entries, [entry("a", "a.b/v1", &["f:w"]), both, other]);
    }

    #[test]
    fn our_entry_begins_anew() {
        let fields = json!({"f:spec": {}, "f:metadata": {"f:labels": {"f:x": {}}}});
        let ours =
            json!({"manager": "configsync.gke.io", "operation": "Apply", "apiVersion": "a.b/v1", "fieldsV1": fields});
        let mut entries = [json!({"manager": "x", "fieldsV1": {"f:x": {}}}), ours];
        begin_anew("a.b/v2", &mut entries);
        assert_eq!(entries[0]["fieldsV1"], json!({"f:x": {}}));
        let metadata = json!({"f:labels": {"f:x": {}}, "f:annotations": {"f:configsync.gke.io/manager": {}}});
        let proof = json!({ "f:metadata": metadata });
        assert_eq!((&entries[1]["apiVersion"], &entries[1]["fieldsV1"]), (&json!("a.b/v2"), &proof));
    }

    #[test]
    fn items_of_ours_that_are_not_declared_are_removed() {
        let item = |name: &str| json!({"name": name, "image": "a:1"});
        let ours =
            json!({"f:spec": {"f:list": {"k:{\"name\":\"a\"}": {"f:name": {}}, "k:{\"name\":\"b\"}": {"f:name": {}}}}});
        let live = json!({"list": [item("b"), item("a"), item("theirs")]});
        let written = json!({"spec": {"list": [item("a"), item("theirs")]}});
        assert_eq!(patch(json!({"list": [item("a")]}), live.clone(), ours.clone()), Some(written));
        assert_eq!(patch(json!({"list": [item("a"), item("b")]}), live, ours), None);
    }

    #[test]
    fn an_object_that_its_schema_does_not_allow_gets_the_declared_lists() {
        let kind =
            |list: Value| object(json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "list": list}));
        let (declared, live) = (kind(json!([{"name": "a"}])), kind(json!([{"name": "a"}, {}])));
        let invalid = RefusedApply::Invalid(vec!["list".to_owned()]);
        assert_eq!(overwrite(&declared, &live, &[], &invalid, false), None);
        let written = json!({"list": [{"name": "a"}]});
        assert_eq!(overwrite(&declared, &live, &[], &RefusedApply::Unreadable, false), Some(written));
        assert_eq!(overwrite(&declared, &declared, &[], &RefusedApply::Unreadable, false), None);
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
            overwrite(&kind(declared), &live, &entries, &RefusedApply::Invalid(vec![field.to_owned()]), false)
        };
        let declared = json!({"minAvailable": 1, "selector": {}, "policy": "b"});
        let spec = json!({"minAvailable": 1, "maxUnavailable": null, "selector": {}, "policy": "b"});
        assert_eq!(patch(declared.clone(), "spec"), Some(json!({"spec": spec})));
        let spec = json!({"minAvailable": 1, "maxUnavailable": null, "selector": {}, "policy": "b"});
        assert_eq!(patch(declared.clone(), "spec.maxUnavailable"), Some(json!({"spec": spec})));
        assert_eq!(patch(declared.clone(), "spec.minAvailable"), Some(json!({"spec": spec.clone()})), "a declared one");
        assert_eq!(patch(declared.clone(), "spec.selector.x"), None, "nothing differs there");
        let invalid = RefusedApply::Invalid(vec!["elsewhere".to_owned()]);
        let further = |further| overwrite(&kind(declared.clone()), &live, &entries, &invalid, further);
        assert_eq!((further(false), further(true)), (None, Some(json!({ "spec": spec }))));
        let unowned =
            overwrite(&kind(declared.clone()), &live, &[], &RefusedApply::Invalid(vec!["spec".to_owned()]), false);
        assert_eq!(unowned.expect("they have no owner")["spec"]["maxUnavailable"], Value::Null);
        assert_eq!(patch(json!({"policy": "a"}), "spec"), None, "nothing differs");
    }

    #[test]
    fn fields_of_ours_that_are_not_declared_are_removed() {
        let ours = json!({"f:spec": {"f:replicas": {}, "f:map": {"f:x": {}, "f:gone": {}}, "f:list": {"k:{\"name\":\"a\"}": {}}}});
        let live = json!({"replicas": 1, "map": {"x": 1, "theirs": 1}, "list": [{"name": "a"}]});
        assert_eq!(
            patch(json!({"map": {}, "list": []}), live.clone(), ours.clone()),
            Some(json!({"spec": {"replicas": null, "map": {"x": null}, "list": []}}))
        );
        assert_eq!(patch(json!({"map": {"x": 2}, "replicas": 1, "list": [{"name": "a"}]}), live, ours), None);
    }
}
