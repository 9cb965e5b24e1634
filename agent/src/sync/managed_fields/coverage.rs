//! Coverage: the declared fields that an entry of `metadata.managedFields` has, and those that it lacks.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::built_in::{STRUCTS, is_list_of_items};
use super::entry::{ManagedFieldsEntry, Position, node_of, nodes_of_item, of_our_version};
use crate::compile::applied_fields::{AppliedField, applied_fields};
use crate::compile::declared::DeclaredObject;
use crate::model::built_in::{is_built_in, is_closed};
use crate::model::object::Object;

/// The comparison of an entry with a declared object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Paths of declared fields that are not in the entry: another client changed or removed them. A path that ends in `]`
    /// is an item of a list, or all items.
    pub missing: Vec<String>,
    /// Paths of fields that are in the entry and not declared: another client has applied them under the agent's name.
    pub surplus: Vec<String>,
    /// Paths of declared maps and lists that are owned as a whole, where the entry cannot show if the content is still ours.
    /// Only the live object can tell; see [`differences`](super::differences).
    pub unsure: Vec<String>,
}

impl Coverage {
    /// `true` if every declared field is surely still ours, and no other.
    pub fn is_full(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty() && self.unsure.is_empty()
    }
}

/// `true` if a missing field is an item of a list, or all of them: another client may have put its own in their place, which
/// [`reclaim`](super::reclaim) takes over.
pub fn is_list_item(missing: &str) -> bool {
    missing.ends_with(']')
}

/// Compares the fields that an apply of `declared` owns with the fields of an entry, in FieldsV1 form. `entries` are the
/// entries of all managers.
pub fn coverage(declared: &DeclaredObject, fields: &Map<String, Value>, entries: &[ManagedFieldsEntry]) -> Coverage {
    let (free_form, typed) = (!is_closed(declared.id.group()), is_built_in(declared.id.group()));
    let (kind, at, found) = (declared.id.kind(), Position::default(), Coverage::default());
    let mut walk = CoverageWalk { free_form, typed, kind, entries, at, found };
    let empty = Map::new();
    let metadata = node_of("metadata", fields).unwrap_or(&empty);
    let (mut names, mut names_of_metadata) = (vec!["metadata".to_owned(), "status".to_owned()], Vec::new());
    applied_fields(declared, |field| match field {
        AppliedField::Texts(name, keys) => {
            names_of_metadata.push(name.to_owned());
            walk.below("metadata", |walk| walk.texts(name, &keys, metadata));
        }
        AppliedField::Metadata(name, value) => {
            names_of_metadata.push(name.to_owned());
            walk.below("metadata", |walk| walk.field(name, value, metadata));
        }
        AppliedField::Other(name, value) => {
            names.push(name.to_owned());
            walk.field(name, &value.decoded(), fields);
        }
    });
    walk.surplus(fields, |name| names.iter().any(|one| one == name));
    walk.below("metadata", |walk| walk.surplus(metadata, |name| names_of_metadata.iter().any(|one| one == name)));
    // The API server moves the `stringData` of another client into `data`, and takes nothing out of our entry.
    let moved = |entry: &ManagedFieldsEntry| entry.fields.contains_key("f:stringData");
    if declared.id.kind() == "Secret" && declared.id.group().is_empty() && entries.iter().any(moved) {
        walk.found.unsure.push(".data".to_owned());
    }
    walk.found
}

struct CoverageWalk<'a> {
    /// An empty node says too little; see [`is_closed`].
    free_form: bool,
    /// See [`is_built_in`].
    typed: bool,
    kind: &'a str,
    entries: &'a [ManagedFieldsEntry],
    at: Position,
    found: Coverage,
}

impl CoverageWalk<'_> {
    fn below(&mut self, name: &str, walk: impl FnOnce(&mut Self)) {
        let was = self.at.enter(name);
        walk(self);
        self.at.leave(was);
    }

    /// Labels or annotations. Kubernetes owns them key by key, so an empty node has none of them.
    fn texts(&mut self, name: &str, keys: &[&str], metadata: &Map<String, Value>) {
        self.below(name, |walk| match node_of(name, metadata) {
            None => walk.missing(false),
            Some(node) if node.is_empty() => walk.missing(false),
            Some(node) => {
                for key in keys.iter().filter(|key| node_of(key, node).is_none()) {
                    walk.below(key, |walk| walk.missing(false));
                }
                walk.surplus(node, |name| keys.contains(&name));
            }
        });
    }

    fn field(&mut self, name: &str, value: &Value, parent: &Map<String, Value>) {
        self.below(name, |walk| walk.value(value, node_of(name, parent)));
    }

    fn value(&mut self, value: &Value, node: Option<&Map<String, Value>>) {
        match (value, node) {
            _ if leaves_no_trace(value) && node.is_none() => self.traceless(value),
            (_, None) => self.missing(value.is_array()),
            // Others have or had fields in it: the API server may not keep a map all of whose fields go, or are not stored.
            (Value::Object(map), Some(node))
                if map.is_empty() && node.is_empty() && (!self.typed || self.at.is_owned_in_parts(self.entries)) =>
            {
                self.found.unsure.push(self.at.path.clone());
            }
            // An empty node is an empty map or list that is ours, or something owned as a whole.
            (Value::Object(map), Some(node)) if node.is_empty() && !self.is_struct(map) => self.whole(map.is_empty()),
            (Value::Array(items), Some(node)) if node.is_empty() => self.whole(items.is_empty() || self.typed),
            (Value::Object(map), Some(node)) => {
                // The empty lists are not stored, and an entry keeps them when another client removes the map that they are in.
                if self.typed && leaves_no_trace(value) {
                    self.found.unsure.push(self.at.path.clone());
                }
                map.iter().for_each(|(key, value)| self.field(key, value, node));
                self.surplus(node, |name| map.contains_key(name));
            }
            (Value::Array(items), Some(node)) => {
                let found: BTreeSet<&str> =
                    (0..items.len()).filter_map(|index| self.item(items, index, node)).collect();
                let others = node.keys().filter(|element| *element != "." && !found.contains(element.as_str()));
                for element in others.filter_map(|element| Some(element.split_once(':')?.1)) {
                    self.found.surplus.push(format!("{}[{element}]", self.at.path));
                }
            }
            _ => {}
        }
    }

    /// Fields of a node that are not declared.
    fn surplus(&mut self, node: &Map<String, Value>, is_declared: impl Fn(&str) -> bool) {
        for name in node.keys().filter_map(|key| key.strip_prefix("f:")).filter(|name| !is_declared(name)) {
            self.found.surplus.push(format!("{}.{name}", self.at.path));
        }
    }

    /// `true` for a map with content that is not owned as a whole: then an empty node has none of it.
    fn is_struct(&self, map: &Map<String, Value>) -> bool {
        let is_named = self.typed && STRUCTS.contains(&self.at.names().0);
        !map.is_empty() && (is_named || self.at.is_owned_in_parts(of_our_version(self.entries)))
    }

    fn whole(&mut self, is_sure: bool) {
        if !is_sure && self.free_form && !self.at.is_in_metadata() {
            self.found.unsure.push(self.at.path.clone());
        }
    }

    /// Empty lists that the entry lacks. An apply owns those that are owned as a whole, and nothing of the others.
    fn traceless(&mut self, value: &Value) {
        match value {
            Value::Object(_)
                if !self.typed && self.at.is_owned_whole(self.entries) && !self.at.is_owned_in_parts(self.entries) =>
            {
                self.missing(false);
            }
            // It may be one that is owned as a whole, which another client has removed or filled.
            Value::Object(_) if !self.typed => self.found.unsure.push(self.at.path.clone()),
            Value::Object(map) => map.iter().for_each(|(key, value)| self.below(key, |walk| walk.traceless(value))),
            // The API server may have kept it, and another client given it a value.
            Value::Null if !self.typed && !self.at.is_in_metadata() => self.found.unsure.push(self.at.path.clone()),
            Value::Array(_) if self.at.is_in_metadata() => {}
            // Custom resources keep empty lists, so that another client that has removed it leaves no trace; one that has filled it may
            // own it by another name.
            Value::Array(_) if !self.typed => self.found.unsure.push(self.at.path.clone()),
            Value::Array(_) if !is_list_of_items(self.kind, &self.at.path) => self.missing(false),
            _ => {}
        }
    }

    /// A list item is covered when one of the nodes that can mean it covers it. Returns the key of that node.
    fn item<'n>(&mut self, items: &'n [Value], index: usize, list: &'n Map<String, Value>) -> Option<&'n str> {
        let item = &items[index];
        let outside = std::mem::take(&mut self.found);
        let faults = |found: &Coverage| found.missing.len() + found.surplus.len();
        let mut best: Option<(Coverage, &str)> = None;
        for (element, node) in nodes_of_item(items, index, list) {
            let was = self.at.enter_item(element.split_once(':').map_or("", |(_, label)| label), element);
            match item {
                // An item is never without its keys, so it is owned as a whole.
                Value::Object(_) if node.is_empty() => self.whole(false),
                Value::Object(map) => {
                    map.iter().for_each(|(key, value)| self.field(key, value, node));
                    self.surplus(node, |name| map.contains_key(name));
                }
                _ => {}
            }
            self.at.leave(was);
            let found = std::mem::take(&mut self.found);
            if best.as_ref().is_none_or(|(best, _)| faults(&found) < faults(best)) {
                best = Some((found, element));
            }
        }
        self.found = outside;
        let Some((found, element)) = best else {
            self.found.missing.push(format!("{}[{}]", self.at.path, short(item)));
            return None;
        };
        self.found.missing.extend(found.missing);
        self.found.surplus.extend(found.surplus);
        self.found.unsure.extend(found.unsure);
        Some(element)
    }

    fn missing(&mut self, is_list: bool) {
        let list = if is_list { "[]" } else { "" };
        self.found.missing.push(format!("{}{list}", self.at.path));
    }
}

/// `true` if another client can remove a declared map without a trace in any entry: the API server does not store the empty lists in a map of
/// a built-in kind, and so takes nothing out of our entry.
pub fn may_vanish(declared: &Object) -> bool {
    fn holds_one(value: &Value) -> bool {
        match value {
            Value::Object(map) => leaves_no_trace(value) || map.values().any(holds_one),
            Value::Array(items) => items.iter().any(holds_one),
            _ => false,
        }
    }
    is_built_in(declared.group()) && declared.0.values().any(holds_one)
}

/// `true` if an apply may leave no trace of a value in an entry: nulls, empty lists, and maps of nothing else. Of an empty map it
/// leaves an empty node.
pub(super) fn leaves_no_trace(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => !map.is_empty() && map.values().all(leaves_no_trace),
        _ => false,
    }
}

fn short(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((cut, _)) = text.char_indices().nth(60) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{applied, declared, fields, service};
    use super::*;
    use crate::model::metadata::FIELD_MANAGER;

    #[test]
    fn an_untouched_entry_covers_every_field() {
        assert!(coverage(&declared(service()), &applied(fields()), &[]).is_full());
    }

    #[test]
    fn a_field_that_left_the_entry_is_missing() {
        let check = |pointer: &str, key: &str, missing: &[&str]| {
            let mut fields = Value::Object(applied(fields()));
            fields.pointer_mut(pointer).and_then(Value::as_object_mut).expect("there").remove(key);
            let fields = fields.as_object().expect("a map");
            assert_eq!(coverage(&declared(service()), fields, &[]).missing, missing, "{pointer}/{key}");
        };
        check("/f:metadata/f:labels", "f:x", &[".metadata.labels"]);
        check("/f:metadata", "f:labels", &[".metadata.labels"]);
        check("/f:metadata", "f:annotations", &[".metadata.annotations"]);
        check(
            "/f:metadata/f:annotations",
            "f:configmanagement.gke.io/token",
            &[".metadata.annotations.configmanagement.gke.io/token"],
        );
        check("/f:spec", "f:selector", &[".spec.selector"]);
        check("", "f:spec", &[".spec"]);
        check(
            "/f:spec/f:ports",
            "k:{\"port\":53,\"protocol\":\"UDP\"}",
            &[".spec.ports[{\"port\":53,\"protocol\":\"UDP\"}]"],
        );
        check(
            "/f:spec/f:ports/k:{\"port\":53,\"protocol\":\"UDP\"}",
            "f:protocol",
            &[".spec.ports[{\"port\":53,\"protocol\":\"UDP\"}].protocol"],
        );
    }

    #[test]
    fn a_field_that_came_into_the_entry_is_surplus() {
        let check = |pointer: &str, key: &str, surplus: &str| {
            let mut fields = Value::Object(applied(fields()));
            fields.pointer_mut(pointer).expect("there")[key] = json!({});
            let found = coverage(&declared(service()), fields.as_object().expect("a map"), &[]);
            assert_eq!(found, Coverage { surplus: vec![surplus.into()], ..Coverage::default() }, "{pointer}/{key}");
        };
        check("", "f:more", ".more");
        check("/f:metadata", "f:finalizers", ".metadata.finalizers");
        check("/f:metadata/f:labels", "f:more", ".metadata.labels.more");
        check("/f:metadata/f:annotations", "f:more", ".metadata.annotations.more");
        check("/f:spec", "f:type", ".spec.type");
        check("/f:spec/f:ports", "k:{\"port\":1}", ".spec.ports[{\"port\":1}]");
        let udp = "k:{\"port\":53,\"protocol\":\"UDP\"}";
        check(&format!("/f:spec/f:ports/{udp}"), "f:name", &format!(".spec.ports[{}].name", &udp[2..]));
    }

    #[test]
    fn items_that_leave_keys_to_defaults_are_told_apart() {
        let items = json!([{"name": "b", "port": 81}, {"name": "b", "size": 1}]);
        let custom = declared(json!({"apiVersion": "a.b/v1", "kind": "X", "items": items}));
        let fields = json!({"f:items": {
            "k:{\"name\":\"b\",\"port\":80}": {".": {}, "f:name": {}, "f:size": {}},
            "k:{\"name\":\"b\",\"port\":81}": {".": {}, "f:name": {}, "f:port": {}},
        }});
        assert!(coverage(&custom, &applied(fields.clone()), &[]).is_full());
        let list = fields["f:items"].as_object().expect("a map");
        let nodes = |index| nodes_of_item(items.as_array().expect("a list"), index, list).len();
        assert_eq!((nodes(0), nodes(1)), (1, 1));
    }

    #[test]
    fn items_without_keys_have_empty_ones() {
        let pod = declared(json!({"apiVersion": "v1", "kind": "X", "secrets": [{"name": "a"}, {}]}));
        let fields = json!({"f:secrets": {"k:{\"name\":\"a\"}": {}, "k:{\"name\":\"\"}": {}}});
        assert!(coverage(&pod, &applied(fields), &[]).is_full());
        let fields = json!({"f:secrets": {"k:{\"name\":\"a\"}": {}}});
        assert_eq!(coverage(&pod, &applied(fields), &[]).missing, [".secrets[{}]"]);
    }

    #[test]
    fn a_map_of_empty_lists_of_a_built_in_kind_is_unsure() {
        let unsure = |group: &str, capabilities: Value| {
            let kind = json!({"apiVersion": format!("{group}/v1"), "kind": "X", "spec": {"capabilities": capabilities, "n": 1}});
            let fields = json!({"f:spec": {"f:capabilities": {"f:drop": {}}, "f:n": {}}});
            let found = coverage(&declared(kind), &applied(fields), &[]);
            assert!(found.missing.is_empty() && found.surplus.is_empty(), "{found:?}");
            found.unsure
        };
        assert_eq!(unsure("apps", json!({"drop": []})), [".spec.capabilities"], "it may be gone");
        assert_eq!(unsure("apps", json!({"drop": ["a"]})), [""; 0]);
        assert_eq!(unsure("a.b", json!({"drop": []})), [""; 0], "custom resources keep the list");
    }

    #[test]
    fn whole_maps_of_custom_resources_are_unsure() {
        let declared = declared(json!({"apiVersion": "a.b/v1", "kind": "X", "spec": {"m": {"k": {"v": 1}}, "n": 1}}));
        let fields = applied(json!({"f:spec": {"f:m": {"f:k": {}}, "f:n": {}}}));
        assert_eq!(
            coverage(&declared, &fields, &[]),
            Coverage { unsure: vec![".spec.m.k".into()], ..Coverage::default() }
        );
    }

    #[test]
    fn set_members_match_by_value() {
        let declared = declared(json!({"kind": "X", "metadata": {"finalizers": ["a/b", "c/d"]}}));
        let fields = applied(json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a/b\"": {}}}}));
        assert_eq!(coverage(&declared, &fields, &[]).missing, [".metadata.finalizers[\"c/d\"]"]);
    }

    #[test]
    fn items_can_be_owned_whole() {
        let of = |group: &str, item: Value| {
            let declared = declared(json!({
                "apiVersion": group, "kind": "X", "metadata": {"ownerReferences": [{"uid": "u", "name": "a"}]}, "secrets": [item],
            }));
            let fields = json!({
                "f:metadata": {"f:ownerReferences": {"k:{\"uid\":\"u\"}": {}}},
                "f:secrets": {"k:{\"name\":\"a\"}": {}},
            });
            coverage(&declared, &applied(fields), &[])
        };
        assert!(of("v1", json!({"name": "a"})).is_full());
        let unsure = of("a.b/v1", json!({"name": "a"}));
        assert_eq!(unsure, Coverage { unsure: vec![".secrets[{\"name\":\"a\"}]".into()], ..Coverage::default() });
    }

    #[test]
    fn nulls_and_empty_lists_of_items_leave_no_trace() {
        let declared = declared(json!({
            "kind": "X", "metadata": {"labels": {}, "finalizers": null}, "spec": null, "data": {}, "webhooks": [],
            "more": {"only": null}, "deep": {"env": [], "nothing": null},
        }));
        let fields = json!({"f:metadata": {"f:labels": {}}, "f:data": {}, "f:more": {}});
        assert!(coverage(&declared, &applied(fields), &[]).is_full());
    }

    #[test]
    fn what_is_declared_empty_is_missing_once_the_entry_lacks_it() {
        let policy = declared(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "spec": {"podSelector": {}, "ingress": [], "egress": [], "policyTypes": ["Ingress"]},
        }));
        let missing = |ours: Value| coverage(&policy, &applied(json!({"f:spec": ours})), &[]).missing;
        let all = json!({"f:podSelector": {}, "f:ingress": {}, "f:egress": {}, "f:policyTypes": {}});
        assert_eq!(missing(all), [""; 0]);
        assert_eq!(missing(json!({"f:egress": {}, "f:policyTypes": {}})), [".spec.ingress", ".spec.podSelector"]);
    }

    #[test]
    fn an_empty_list_that_is_owned_item_by_item_is_never_missing() {
        let missing = |kind: &str, field: &str| {
            let declared = declared(json!({"apiVersion": "v1", "kind": kind, "spec": {"n": 1, "x": {field: []}}}));
            let entry = json!({"manager": "other", "fieldsV1": {"f:spec": {"f:x": {format!("f:{field}"): {}}}}});
            let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
            !coverage(&declared, &applied(json!({"f:spec": {"f:n": {}}})), &entries).is_full()
        };
        assert!(!missing("CSINode", "drivers") && missing("CronJob", "rules"));
        let both = [
            ("finalizers", "Deployment", "Namespace"),
            ("imagePullSecrets", "Pod", "ServiceAccount"),
            ("ports", "Service", "EndpointSlice"),
            ("variables", "ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"),
        ];
        for (field, by_items, whole) in both {
            assert!(!missing(by_items, field) && missing(whole, field), "{field}");
        }
    }

    #[test]
    fn a_selector_of_empty_lists_is_owned_as_a_whole() {
        let quota = |kind: &str| {
            declared(json!({
                "apiVersion": kind, "kind": "X", "spec": {"scopes": ["a"], "scopeSelector": {"matchExpressions": []}},
            }))
        };
        let fields = |spec: Value| applied(json!({"f:spec": spec}));
        let whole = fields(json!({"f:scopes": {}, "f:scopeSelector": {}}));
        assert!(coverage(&quota("v1"), &whole, &[]).is_full());
        let taken = fields(json!({"f:scopes": {}}));
        assert_eq!(coverage(&quota("v1"), &taken, &[]).missing, [".spec.scopeSelector.matchExpressions"]);
    }

    #[test]
    fn an_empty_spec_under_our_name_is_not_a_whole_one() {
        let declared =
            declared(json!({"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": [{"type": "Pod"}]}}));
        let check = |spec: Value| coverage(&declared, &applied(json!({"f:spec": spec})), &[]).missing;
        assert_eq!(check(json!({"f:limits": {}})), [""; 0]);
        assert_eq!(check(json!({})), [".spec.limits[]"]);
    }

    #[test]
    fn a_map_of_empty_lists_without_a_trace_is_missing_or_unsure() {
        let of = |group: &str| {
            let declared = declared(
                json!({"apiVersion": format!("{group}/v1"), "kind": "X", "spec": {"n": 1, "r": {"list": []}}}),
            );
            coverage(&declared, &applied(json!({"f:spec": {"f:n": {}}})), &[])
        };
        assert_eq!(of("a.b").unsure, [".spec.r"]);
        assert_eq!(of("apps").missing, [".spec.r.list"]);
        let declared = declared(json!({"apiVersion": "a.b/v1", "kind": "X", "spec": {"n": 1, "r": {"list": []}}}));
        let taken = |theirs: Value| {
            let entry = json!({"manager": "other", "fieldsV1": {"f:spec": {"f:r": theirs}}});
            let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
            coverage(&declared, &applied(json!({"f:spec": {"f:n": {}}})), &entries).missing
        };
        assert_eq!(taken(json!({})), [".spec.r"]);
        assert_eq!(taken(json!({"f:n": {}})), [""; 0]);
    }

    #[test]
    fn an_empty_map_that_others_have_or_had_fields_in_is_unsure() {
        let unsure = |group: &str, theirs: Value| {
            let kind = json!({"apiVersion": format!("{group}/v1"), "kind": "X", "spec": {"lifecycle": {}}});
            let entry = json!({"manager": "other", "fieldsV1": {"f:spec": {"f:lifecycle": theirs}}});
            let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
            coverage(&declared(kind), &applied(json!({"f:spec": {"f:lifecycle": {}}})), &entries).unsure
        };
        assert_eq!(unsure("apps", json!({"f:stopSignal": {}})), [".spec.lifecycle"]);
        assert_eq!(unsure("apps", json!({})), [""; 0]);
        assert_eq!(unsure("a.b", json!({})), [".spec.lifecycle"], "others may have had some");
    }

    #[test]
    fn an_empty_map_under_our_name_has_nothing_of_what_others_own_in_it() {
        let missing = |group: &str, version: &str, theirs: Value| {
            let kind = json!({"apiVersion": format!("{group}/v1"), "kind": "X", "spec": {"source": {"a": "x"}}});
            let entry = |manager: &str, version: &str, source: Value| -> ManagedFieldsEntry {
                let (version, fields) = (format!("{group}/{version}"), json!({"f:spec": {"f:source": source}}));
                let entry =
                    json!({"manager": manager, "operation": "Apply", "apiVersion": version, "fieldsV1": fields});
                serde_json::from_value(entry).expect("an entry")
            };
            let entries = [entry(FIELD_MANAGER, "v1", json!({})), entry("other", version, theirs)];
            coverage(&declared(kind), &applied(json!({"f:spec": {"f:source": {}}})), &entries).missing
        };
        for group in ["storage.k8s.io", "a.b"] {
            assert_eq!(missing(group, "v1", json!({"f:a": {}})), [".spec.source.a"]);
            assert_eq!(missing(group, "v2", json!({"f:a": {}})), [""; 0], "it has another type there");
            assert_eq!(missing(group, "v1", json!({})), [""; 0], "it is owned as a whole");
        }
    }

    #[test]
    fn an_empty_list_of_a_custom_resource_that_is_not_ours_is_unsure() {
        let unsure = |group: &str| {
            let kind = json!({
                "apiVersion": format!("{group}/v1"), "kind": "X", "metadata": {"finalizers": []}, "spec": {"n": 1, "list": []},
            });
            coverage(&declared(kind), &applied(json!({"f:spec": {"f:n": {}}})), &[]).unsure
        };
        assert_eq!(unsure("a.b"), [".spec.list"]);
        assert_eq!(unsure("apps"), [""; 0], "they are not stored");
    }

    #[test]
    fn whole_lists_of_built_in_kinds_are_sure() {
        let of = |group: &str| {
            declared(json!({"apiVersion": format!("{group}/v1"), "kind": "X", "spec": {"devices": [{"name": "a"}]}}))
        };
        let fields = applied(json!({"f:spec": {"f:devices": {}}}));
        assert!(coverage(&of("resource.k8s.io"), &fields, &[]).is_full());
        assert_eq!(coverage(&of("a.b"), &fields, &[]).unsure, [".spec.devices"]);
    }

    #[test]
    fn a_coverage_is_full_if_nothing_was_found() {
        let some = || vec![".a".to_owned()];
        assert!(Coverage::default().is_full());
        assert!(!Coverage { missing: some(), ..Coverage::default() }.is_full());
        assert!(!Coverage { surplus: some(), ..Coverage::default() }.is_full());
        assert!(!Coverage { unsure: some(), ..Coverage::default() }.is_full());
        assert!(is_list_item(".spec.ports[]") && !is_list_item(".spec.ports[].name"));
    }

    #[test]
    fn of_several_nodes_that_can_mean_an_item_the_closest_is_taken() {
        let service = declared(json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 53}]}}));
        let surplus = |tcp: Value, udp: Value| {
            let ports =
                json!({"k:{\"port\":53,\"protocol\":\"TCP\"}": tcp, "k:{\"port\":53,\"protocol\":\"UDP\"}": udp});
            let found = coverage(&service, &applied(json!({"f:spec": {"f:ports": ports}})), &[]);
            assert!(found.missing.is_empty() && found.unsure.is_empty(), "{found:?}");
            found.surplus
        };
        let (bare, named) = (json!({".": {}, "f:port": {}}), json!({".": {}, "f:port": {}, "f:name": {}}));
        let item = |protocol: &str| format!(".spec.ports[{{\"port\":53,\"protocol\":\"{protocol}\"}}]");
        assert_eq!(surplus(bare.clone(), named.clone()), [item("UDP")]);
        assert_eq!(surplus(named, bare), [item("TCP")]);
    }

    #[test]
    fn the_spec_of_a_custom_resource_can_be_owned_whole() {
        let of = |version: &str| {
            let declared = declared(json!({"apiVersion": version, "kind": "X", "spec": {"n": 1}}));
            coverage(&declared, &applied(json!({"f:spec": {}})), &[])
        };
        assert_eq!(of("a.b/v1"), Coverage { unsure: vec![".spec".into()], ..Coverage::default() });
        assert_eq!(of("apps/v1"), Coverage { missing: vec![".spec.n".into()], ..Coverage::default() });
    }

    #[test]
    fn string_data_means_nothing_but_in_a_secret() {
        let other = json!({"manager": "a", "operation": "Apply", "fieldsV1": {"f:stringData": {"f:a": {}}}});
        let other: ManagedFieldsEntry = serde_json::from_value(other).expect("an entry");
        for (version, kind) in [("v1", "ConfigMap"), ("apps/v1", "Secret")] {
            let declared = declared(json!({"apiVersion": version, "kind": kind, "data": {"a": "eA=="}}));
            let found = coverage(&declared, &applied(json!({"f:data": {"f:a": {}}})), std::slice::from_ref(&other));
            assert!(found.is_full(), "{version} {kind}: {found:?}");
        }
    }

    #[test]
    fn string_data_of_another_client_makes_a_secret_unsure() {
        let secret = declared(json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "eA=="}}));
        let other = json!({"manager": "a", "operation": "Apply", "fieldsV1": {"f:stringData": {"f:a": {}}}});
        let other: ManagedFieldsEntry = serde_json::from_value(other).expect("an entry");
        let found = coverage(&secret, &applied(json!({"f:data": {"f:a": {}}})), &[other]);
        assert_eq!(found, Coverage { unsure: vec![".data".into()], ..Coverage::default() });
    }

    #[test]
    fn the_text_of_a_secret_is_owned_in_its_data() {
        let secret = declared(json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "x"}}));
        assert_eq!(coverage(&secret, &applied(json!({})), &[]).missing, [".data"]);
        assert!(coverage(&secret, &applied(json!({"f:data": {"f:a": {}}})), &[]).is_full());
    }
    #[test]
    fn nulls_and_empty_lists_leave_no_trace() {
        for value in [Value::Null, json!([]), json!({"a": null}), json!({"a": {"b": []}})] {
            assert!(leaves_no_trace(&value), "{value}");
        }
        for value in [json!({}), json!([null]), json!(""), json!({"a": null, "b": 1}), json!({"a": {}})] {
            assert!(!leaves_no_trace(&value), "{value}");
        }
    }
}
