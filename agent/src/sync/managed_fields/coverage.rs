//! Coverage: the declared fields that an entry of `metadata.managedFields` has, and those that it lacks.

use serde_json::{Map, Value};

use super::entry::{is_empty, item_nodes};
use crate::compile::applied_fields::{AppliedField, AppliedValue, applied_fields};
use crate::compile::declared::DeclaredObject;

/// The comparison of an entry with a declared object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Paths of declared fields that are not in the entry: another client changed or removed them. A path that ends in `]`
    /// is an item of a list, or all items.
    pub missing: Vec<String>,
    /// Paths of declared maps and lists that are owned as a whole, where the entry cannot show if the content is still ours.
    /// Only the live object can tell; see [`differences`](super::differences).
    pub unsure: Vec<String>,
}

impl Coverage {
    /// `true` if every declared field is surely still ours.
    pub fn is_full(&self) -> bool {
        self.missing.is_empty() && self.unsure.is_empty()
    }
}

/// `true` if a missing field is an item of a list, or all of them: another client may have put its own in their place, which
/// [`reclaim`](super::reclaim) takes over.
pub fn is_list_item(missing: &str) -> bool {
    missing.ends_with(']')
}

/// API groups of the API server itself whose types have no map of free-form maps: there an empty node always means "owned as
/// a whole". In custom resources, in CRD schemas and in `resource.k8s.io` it can also mean that the key is ours while its
/// content is another manager's.
const CLOSED_GROUPS: [&str; 17] = [
    "",
    "admissionregistration.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Compares the fields that an apply of `declared` owns with the fields of an entry, in FieldsV1 form.
pub fn coverage(declared: &DeclaredObject, fields: &Map<String, Value>) -> Coverage {
    let free_form = !CLOSED_GROUPS.contains(&declared.id.group());
    let mut walk = CoverageWalk { free_form, path: String::new(), found: Coverage::default() };
    let empty = Map::new();
    let metadata = fields.get("f:metadata").and_then(Value::as_object).unwrap_or(&empty);
    applied_fields(declared, |field| match field {
        AppliedField::Texts(name, keys) => walk.below(".metadata", |walk| walk.texts(name, &keys, metadata)),
        AppliedField::Metadata(name, value) => walk.below(".metadata", |walk| walk.field(name, value, metadata)),
        AppliedField::Other(name, value) => walk.top(name, value, fields),
    });
    walk.found
}

struct CoverageWalk {
    /// An empty node says too little; see [`CLOSED_GROUPS`].
    free_form: bool,
    path: String,
    found: Coverage,
}

impl CoverageWalk {
    fn below(&mut self, path: &str, walk: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(path);
        walk(self);
        self.path.truncate(length);
    }

    /// A top-level field, which is decoded only where the entry has something of it.
    fn top(&mut self, name: &str, value: AppliedValue<'_>, fields: &Map<String, Value>) {
        if value.is_empty() {
            return;
        }
        let node = node_of(name, fields);
        self.below(&format!(".{name}"), |walk| match node {
            None => walk.missing(value.is_list()),
            Some(node) => walk.value(&value.decoded(), Some(node)),
        });
    }

    /// Labels or annotations. Kubernetes owns them key by key, so an empty node has none of them.
    fn texts(&mut self, name: &str, keys: &[&str], metadata: &Map<String, Value>) {
        self.below(&format!(".{name}"), |walk| match node_of(name, metadata) {
            None => walk.missing(false),
            Some(node) if node.is_empty() => walk.missing(false),
            Some(node) => {
                for key in keys.iter().filter(|key| node_of(key, node).is_none()) {
                    walk.below(&format!(".{key}"), |walk| walk.missing(false));
                }
            }
        });
    }

    fn field(&mut self, name: &str, value: &Value, parent: &Map<String, Value>) {
        self.below(&format!(".{name}"), |walk| walk.value(value, node_of(name, parent)));
    }

    fn value(&mut self, value: &Value, node: Option<&Map<String, Value>>) {
        // An empty list or map with granular ownership leaves no trace in an entry.
        if is_empty(value) {
            return;
        }
        let Some(node) = node else { return self.missing(value.is_array()) };
        match value {
            Value::Object(_) | Value::Array(_) if node.is_empty() && self.free_form => {
                self.found.unsure.push(self.path.clone());
            }
            _ if node.is_empty() => {}
            Value::Object(map) => map.iter().for_each(|(key, value)| self.field(key, value, node)),
            Value::Array(items) => items.iter().for_each(|item| self.item(item, node)),
            _ => {}
        }
    }

    /// A list item is covered when one of the nodes that can mean it covers it.
    fn item(&mut self, item: &Value, list: &Map<String, Value>) {
        let mut best: Option<Coverage> = None;
        for (label, node) in item_nodes(item, list) {
            let path = format!("{}{label}", self.path);
            let mut inner = Self { free_form: self.free_form, path, found: Coverage::default() };
            // The keys of an item are fields of it: without any of them only its presence is owned.
            if let Value::Object(map) = item {
                map.iter().for_each(|(key, value)| inner.field(key, value, node));
            }
            if best.as_ref().is_none_or(|best| inner.found.missing.len() < best.missing.len()) {
                best = Some(inner.found);
            }
        }
        match best {
            Some(found) => {
                self.found.missing.extend(found.missing);
                self.found.unsure.extend(found.unsure);
            }
            None => self.found.missing.push(format!("{}[{}]", self.path, short(item))),
        }
    }

    fn missing(&mut self, is_list: bool) {
        let list = if is_list { "[]" } else { "" };
        self.found.missing.push(format!("{}{list}", self.path));
    }
}

fn node_of<'a>(name: &str, fields: &'a Map<String, Value>) -> Option<&'a Map<String, Value>> {
    fields.get(&format!("f:{name}")).and_then(Value::as_object)
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

    #[test]
    fn an_untouched_entry_covers_every_field() {
        assert!(coverage(&declared(service()), &applied(fields())).is_full());
    }

    #[test]
    fn a_field_that_left_the_entry_is_missing() {
        let check = |pointer: &str, key: &str, missing: &[&str]| {
            let mut fields = Value::Object(applied(fields()));
            fields.pointer_mut(pointer).and_then(Value::as_object_mut).expect("there").remove(key);
            let fields = fields.as_object().expect("a map");
            assert_eq!(coverage(&declared(service()), fields).missing, missing, "{pointer}/{key}");
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
    fn whole_maps_of_custom_resources_are_unsure() {
        let declared = declared(json!({"apiVersion": "a.b/v1", "kind": "X", "spec": {"m": {"k": {"v": 1}}, "n": 1}}));
        let fields = applied(json!({"f:spec": {"f:m": {"f:k": {}}, "f:n": {}}}));
        assert_eq!(coverage(&declared, &fields), Coverage { missing: vec![], unsure: vec![".spec.m.k".into()] });
    }

    #[test]
    fn set_members_match_by_value() {
        let declared = declared(json!({"kind": "X", "metadata": {"finalizers": ["a/b", "c/d"]}}));
        let fields = applied(json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a/b\"": {}}}}));
        assert_eq!(coverage(&declared, &fields).missing, [".metadata.finalizers[\"c/d\"]"]);
    }

    #[test]
    fn nulls_and_empty_values_leave_no_trace() {
        let declared = declared(json!({
            "kind": "X", "metadata": {"labels": {}, "finalizers": null}, "spec": null, "data": {}, "rules": [],
            "more": {"only": null},
        }));
        assert!(coverage(&declared, &applied(json!({}))).is_full());
    }

    #[test]
    fn the_text_of_a_secret_is_owned_in_its_data() {
        let secret = declared(json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "x"}}));
        assert_eq!(coverage(&secret, &applied(json!({}))).missing, [".data"]);
        assert!(coverage(&secret, &applied(json!({"f:data": {"f:a": {}}}))).is_full());
    }
}
