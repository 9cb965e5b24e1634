//! Who owns which field: reads `metadata.managedFields` and compares it with what is declared, without a schema.
//!
//! Every write of ours is a server-side apply with one field manager, so the API server keeps exactly the fields that are
//! still ours in our `Apply` entry: whoever changes or removes one takes it out. The format of an entry is
//! [FieldsV1](https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management): `f:` a field, `k:` a list
//! item by its keys, `v:` a set member, `.` the item itself, an empty node something owned whole.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::metadata::FIELD_MANAGER;
use crate::model::object::Object;

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The field manager.
    #[serde(default)]
    pub manager: String,
    /// `Apply` or `Update`.
    #[serde(default)]
    pub operation: String,
    /// `status`, `scale`, or empty.
    #[serde(default)]
    pub subresource: String,
    /// When the manager last changed what it owns, RFC 3339.
    #[serde(default)]
    pub time: String,
    /// The fields, in FieldsV1 form.
    #[serde(default, rename = "fieldsV1")]
    pub fields: Map<String, Value>,
}

/// The `Apply` entry of our field manager.
pub fn ours(entries: &[Entry]) -> Option<&Entry> {
    entries.iter().find(|e| is_ours(e))
}

fn is_ours(entry: &Entry) -> bool {
    entry.manager == FIELD_MANAGER && entry.operation == "Apply" && entry.subresource.is_empty()
}

/// Digest of our entry: equal digests mean that nothing of ours changed hands. Only compared within one process.
pub fn digest(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    entry.time.hash(&mut hasher);
    hash_map(&entry.fields, &mut hasher);
    hasher.finish()
}

/// Digest of everybody else's entries outside `status`: a change of it may hide a change of ours by an admission webhook.
pub fn digest_of_others(entries: &[Entry]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for entry in entries.iter().filter(|e| !is_ours(e) && e.subresource != "status") {
        (&entry.manager, &entry.operation, &entry.time).hash(&mut hasher);
        hash_map(&entry.fields, &mut hasher);
    }
    hasher.finish()
}

/// Digest of any value. Only compared within one process.
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

/// Whether a missing field is an item of a list, or all of them: somebody may have put others in their place.
pub fn is_list_item(missing: &str) -> bool {
    missing.ends_with(']')
}

/// Makes list items that somebody put in the place of ours our own, so that the next apply removes them: a Service's port
/// 80 that was edited to 81 is, to a server-side apply, one item less of ours and one more of theirs.
///
/// `entries` is `metadata.managedFields` as JSON. Only items are taken that are identified by keys and not declared, only in
/// lists that miss an item of ours, and only from the manager that wrote last of those that have such items; from several
/// if they wrote in the same second, for times are no finer. `false` when there is nothing to take.
pub fn reclaim(declared: &Object, entries: &mut [Value]) -> bool {
    let parsed: Vec<Option<Entry>> = entries.iter().map(|entry| serde_json::from_value(entry.clone()).ok()).collect();
    let Some(own) = parsed.iter().position(|entry| entry.as_ref().is_some_and(is_ours)) else { return false };
    let mut others: Vec<(usize, &Entry)> = parsed
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| Some((index, entry.as_ref()?)))
        .filter(|(_, e)| e.manager != FIELD_MANAGER && e.operation == "Update" && e.subresource.is_empty())
        .collect();
    others.sort_by(|(_, a), (_, b)| b.time.cmp(&a.time));
    let declared = Value::Object(declared.0.clone());
    let mut ours = entries[own]["fieldsV1"].take();
    let mut taken: Option<&str> = None;
    for (index, other) in others {
        if taken.is_some_and(|time| time != other.time) {
            break;
        }
        if take_items(&declared, &mut ours, &mut entries[index]["fieldsV1"]) {
            taken = Some(&other.time);
        }
    }
    entries[own]["fieldsV1"] = ours;
    taken.is_some()
}

/// Moves items from their entry to ours.
fn take_items(declared: &Value, ours: &mut Value, theirs: &mut Value) -> bool {
    let (Some(ours), Some(theirs)) = (ours.as_object_mut(), theirs.as_object_mut()) else { return false };
    let mut taken = false;
    match declared {
        Value::Object(map) => {
            for (key, value) in map {
                let field = format!("f:{key}");
                let Some(theirs) = theirs.get_mut(&field) else { continue };
                let missing = !ours.contains_key(&field);
                let node = ours.entry(field.clone()).or_insert_with(|| Value::Object(Map::new()));
                let took = take_items(value, node, theirs);
                if missing && !took {
                    ours.remove(&field);
                }
                taken |= took;
            }
        }
        Value::Array(items) => {
            let lost = items.iter().any(|item| item_nodes(item, ours).next().is_none());
            let strange: Vec<String> = theirs
                .iter()
                .filter(|(element, _)| element.starts_with("k:"))
                .filter(|(element, node)| {
                    let one = Map::from_iter([((*element).clone(), (*node).clone())]);
                    lost && items.iter().all(|item| item_nodes(item, &one).next().is_none())
                })
                .map(|(element, _)| element.clone())
                .collect();
            for element in strange {
                if let Some(node) = theirs.remove(&element) {
                    ours.insert(element, node);
                    taken = true;
                }
            }
        }
        _ => {}
    }
    taken
}

/// What an entry says about a declared object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Declared fields that are not in the entry: somebody changed or removed them.
    pub missing: Vec<String>,
    /// Declared maps and lists owned as a whole, where the entry cannot show whether the content is still ours.
    /// Only the live object can tell; see [`differences`].
    pub unsure: Vec<String>,
}

impl Coverage {
    /// Every declared field is surely still ours.
    pub fn is_full(&self) -> bool {
        self.missing.is_empty() && self.unsure.is_empty()
    }
}

/// Groups of the API server itself, whose types have no map of free-form maps: there an empty node always means "owned
/// whole". In custom resources, CRD schemas and `resource.k8s.io` it can also mean that the key is ours and its content is
/// somebody else's.
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

/// Walks `declared` along the fields of our entry.
pub fn coverage(declared: &Object, fields: &Map<String, Value>) -> Coverage {
    let mut walk =
        Walk { free_form: !CLOSED_GROUPS.contains(&declared.group()), path: String::new(), found: Coverage::default() };
    for (key, value) in &declared.0 {
        match (key.as_str(), value) {
            ("apiVersion" | "kind" | "status", _) => {}
            ("metadata", Value::Object(metadata)) => walk.metadata(metadata, fields),
            _ => walk.field(key, value, fields),
        }
    }
    walk.found
}

struct Walk {
    free_form: bool,
    path: String,
    found: Coverage,
}

impl Walk {
    /// `name` and `namespace` are nobody's.
    fn metadata(&mut self, metadata: &Map<String, Value>, fields: &Map<String, Value>) {
        let empty = Map::new();
        let node = fields.get("f:metadata").and_then(Value::as_object).unwrap_or(&empty);
        self.path.push_str(".metadata");
        for (key, value) in metadata.iter().filter(|(key, _)| !matches!(key.as_str(), "name" | "namespace")) {
            self.field(key, value, node);
        }
        self.path.clear();
    }

    fn field(&mut self, key: &str, value: &Value, parent: &Map<String, Value>) {
        let length = self.path.len();
        self.path.push('.');
        self.path.push_str(key);
        self.value(value, parent.get(&format!("f:{key}")).and_then(Value::as_object));
        self.path.truncate(length);
    }

    fn value(&mut self, value: &Value, node: Option<&Map<String, Value>>) {
        // An empty list or map with granular ownership leaves no trace in an entry.
        if is_empty(value) {
            return;
        }
        let Some(node) = node else {
            let list = if value.is_array() { "[]" } else { "" };
            self.found.missing.push(format!("{}{list}", self.path));
            return;
        };
        match value {
            _ if node.is_empty() && matches!(self.path.as_str(), ".metadata.labels" | ".metadata.annotations") => {
                self.found.missing.push(self.path.clone());
            }
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
    fn item(&mut self, item: &Value, parent: &Map<String, Value>) {
        let length = self.path.len();
        let mut best: Option<Coverage> = None;
        for (label, node) in item_nodes(item, parent) {
            self.path.push_str(&label);
            let mut inner = Walk { free_form: self.free_form, path: self.path.clone(), found: Coverage::default() };
            // The keys of an item are fields of it: without any the item is nobody's but for its presence.
            if let Value::Object(map) = item {
                map.iter().for_each(|(key, value)| inner.field(key, value, node));
            }
            self.path.truncate(length);
            if best.as_ref().is_none_or(|b| inner.found.missing.len() < b.missing.len()) {
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
}

/// The `k:` and `v:` nodes below a list node that can mean this item, each with a label for paths.
fn item_nodes<'a>(
    item: &'a Value,
    parent: &'a Map<String, Value>,
) -> impl Iterator<Item = (String, &'a Map<String, Value>)> {
    parent.iter().filter_map(move |(element, node)| {
        let node = node.as_object()?;
        let matches = match element.split_once(':')? {
            ("k", keys) => keys_match(&serde_json::from_str(keys).ok()?, item),
            ("v", value) => serde_json::from_str::<Value>(value).ok()? == *item,
            _ => false,
        };
        matches.then(|| (format!("[{}]", element.split_once(':').map_or("", |(_, rest)| rest)), node))
    })
}

/// Whether an item may have these keys: every key that the item states is equal; those it leaves out were defaulted.
fn keys_match(keys: &Map<String, Value>, item: &Value) -> bool {
    let Value::Object(item) = item else { return false };
    keys.iter().any(|(key, _)| item.contains_key(key))
        && keys.iter().all(|(key, value)| item.get(key).is_none_or(|stated| stated == value))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null => true,
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

/// The part of a live object that our entry covers: equal projections mean that no field of ours has another value.
pub fn project(live: &Value, fields: &Map<String, Value>) -> Value {
    match live {
        _ if fields.is_empty() => live.clone(),
        Value::Object(map) => project_fields(map, fields),
        Value::Array(items) => items
            .iter()
            .filter_map(|item| item_nodes(item, fields).next().map(|(_, node)| project(item, node)))
            .collect(),
        _ => live.clone(),
    }
}

/// The same of a map's fields.
pub fn project_fields(live: &Map<String, Value>, fields: &Map<String, Value>) -> Value {
    live.iter()
        .filter_map(|(key, value)| {
            let node = fields.get(&format!("f:{key}"))?.as_object()?;
            Some((key.clone(), project(value, node)))
        })
        .collect::<Map<_, _>>()
        .into()
}

/// Declared fields whose live value is another: what admission or the server changed in our own apply, or what somebody
/// changed behind the entry. Fields that only the live object has do not count, nor do other spellings of a quantity.
pub fn differences(declared: &Object, live: &Object) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in &declared.0 {
        match key.as_str() {
            "apiVersion" | "kind" | "status" => {}
            _ => compare(value, live.0.get(key), &format!(".{key}"), &mut found),
        }
    }
    found
}

fn compare(declared: &Value, live: Option<&Value>, path: &str, found: &mut Vec<String>) {
    if is_empty(declared) {
        return;
    }
    match (declared, live) {
        (Value::Object(map), Some(Value::Object(live))) => {
            for (key, value) in map {
                compare(value, live.get(key), &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(items), Some(Value::Array(live))) => {
            for (index, item) in items.iter().enumerate() {
                match twin(item, index, live) {
                    Some(twin) => compare(item, Some(twin), &format!("{path}[{index}]"), found),
                    None => found.push(format!("{path}[{index}]")),
                }
            }
        }
        (declared, Some(live)) if declared == live || same_quantity(declared, live) => {}
        _ => found.push(path.to_owned()),
    }
}

/// The live item that a declared list item became: named items by their identity, others by position.
fn twin<'a>(item: &Value, index: usize, live: &'a [Value]) -> Option<&'a Value> {
    const IDENTITIES: [&[&str]; 7] = [
        &["name"],
        &["containerPort", "protocol"],
        &["port", "protocol"],
        &["mountPath"],
        &["type"],
        &["key"],
        &["uid"],
    ];
    let stated = |keys: &[&str]| keys.iter().any(|key| item.get(key).is_some());
    for keys in IDENTITIES.iter().filter(|keys| stated(keys)) {
        let same = |other: &&Value| {
            keys.iter().all(|key| match item.get(key) {
                Some(value) => other.get(key) == Some(value),
                None => other.get(key).is_none_or(|value| value == "TCP"),
            })
        };
        let mut twins = live.iter().filter(same);
        if let (Some(twin), None) = (twins.next(), twins.next()) {
            return Some(twin);
        }
    }
    live.get(index)
}

/// `1000m` and `1`, `1024Mi` and `1Gi`, `0.5` and `500m`: the server writes quantities its own way.
fn same_quantity(a: &Value, b: &Value) -> bool {
    match (quantity(a), quantity(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// The value in millionths, `None` when it is no quantity.
fn quantity(value: &Value) -> Option<i128> {
    const SUFFIXES: [(&str, i128, i128); 16] = [
        ("Ki", 1 << 10, 1),
        ("Mi", 1 << 20, 1),
        ("Gi", 1 << 30, 1),
        ("Ti", 1 << 40, 1),
        ("Pi", 1 << 50, 1),
        ("Ei", 1 << 60, 1),
        ("n", 1, 1_000_000_000),
        ("u", 1, 1_000_000),
        ("m", 1, 1000),
        ("k", 1000, 1),
        ("M", 1_000_000, 1),
        ("G", 1_000_000_000, 1),
        ("T", 1_000_000_000_000, 1),
        ("P", 1_000_000_000_000_000, 1),
        ("E", 1_000_000_000_000_000_000, 1),
        ("", 1, 1),
    ];
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let (number, multiply, divide) =
        SUFFIXES.iter().find_map(|(suffix, m, d)| Some((text.strip_suffix(suffix)?, *m, *d)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    digits.checked_mul(multiply)?.checked_mul(1_000_000_000)?.checked_div(scale.checked_mul(divide)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("a map")
    }

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).expect("a map")
    }

    fn service() -> Object {
        object(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "a", "namespace": "b", "labels": {"x": "1"}},
            "spec": {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}], "selector": {"app": "a"}, "externalIPs": []},
        }))
    }

    fn fields() -> Value {
        json!({
            "f:metadata": {"f:labels": {"f:x": {}}},
            "f:spec": {
                "f:selector": {},
                "f:ports": {
                    "k:{\"port\":53,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}},
                    "k:{\"port\":53,\"protocol\":\"UDP\"}": {".": {}, "f:port": {}, "f:protocol": {}},
                },
            },
        })
    }

    #[test]
    fn an_untouched_entry_covers_everything() {
        assert!(coverage(&service(), &map(fields())).is_full());
    }

    #[test]
    fn what_left_the_entry_is_missing() {
        let check = |pointer: &str, key: &str, missing: &[&str]| {
            let mut fields = fields();
            fields.pointer_mut(pointer).and_then(Value::as_object_mut).expect("there").remove(key);
            assert_eq!(coverage(&service(), &map(fields)).missing, missing, "{pointer}/{key}");
        };
        check("/f:metadata/f:labels", "f:x", &[".metadata.labels"]);
        check("/f:metadata", "f:labels", &[".metadata.labels"]);
        check("/f:spec", "f:selector", &[".spec.selector"]);
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
        let declared = object(json!({"apiVersion": "a.b/v1", "kind": "X", "spec": {"m": {"k": {"v": 1}}, "n": 1}}));
        let fields = map(json!({"f:spec": {"f:m": {"f:k": {}}, "f:n": {}}}));
        assert_eq!(coverage(&declared, &fields), Coverage { missing: vec![], unsure: vec![".spec.m.k".into()] });
    }

    #[test]
    fn items_in_the_place_of_ours_are_taken() {
        let declared = service();
        let mut theirs = json!({"f:spec": {"f:ports": {
            "k:{\"port\":54,\"protocol\":\"UDP\"}": {".": {}, "f:port": {}},
            "k:{\"port\":53,\"protocol\":\"TCP\"}": {"f:nodePort": {}},
        }}});
        let at = |second: u32, manager: &str, operation: &str, fields: &Value| {
            let time = format!("2026-01-01T00:00:0{second}Z");
            json!({"manager": manager, "operation": operation, "time": time, "fieldsV1": fields})
        };
        let entry = |manager: &str, operation: &str, fields: &Value| at(1, manager, operation, fields);
        let mut whole = [entry(FIELD_MANAGER, "Apply", &fields()), entry("kubectl-edit", "Update", &theirs)];
        assert!(!reclaim(&declared, &mut whole), "nothing of ours is missing");
        let mut ours = fields();
        ours["f:spec"]["f:ports"].as_object_mut().expect("a map").remove("k:{\"port\":53,\"protocol\":\"UDP\"}");
        let mut entries = [entry(FIELD_MANAGER, "Apply", &ours), entry("kubectl-edit", "Update", &theirs)];
        assert!(reclaim(&declared, &mut entries));
        let moved = "k:{\"port\":54,\"protocol\":\"UDP\"}";
        assert!(entries[0]["fieldsV1"]["f:spec"]["f:ports"].get(moved).is_some());
        let whole = theirs.clone();
        theirs["f:spec"]["f:ports"].as_object_mut().expect("a map").remove(moved);
        assert_eq!(entries[1]["fieldsV1"], theirs, "the rest stays theirs");

        let label = json!({"f:metadata": {"f:labels": {"f:team": {}}}});
        let older = json!({"f:spec": {"f:ports": {"k:{\"port\":90,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}});
        let mut entries = [
            at(1, FIELD_MANAGER, "Apply", &ours),
            at(2, "older", "Update", &older),
            at(3, "kubectl-edit", "Update", &whole),
            at(3, "kubectl-label", "Update", &label),
            at(4, "kubectl-annotate", "Update", &label),
        ];
        assert!(reclaim(&declared, &mut entries), "who wrote last has nothing of the kind");
        assert!(entries[0]["fieldsV1"]["f:spec"]["f:ports"].get(moved).is_some());
        assert_eq!(entries[1]["fieldsV1"], older, "what somebody added before stays theirs");
    }

    #[test]
    fn set_members_match_by_value() {
        let declared = object(json!({"kind": "X", "metadata": {"finalizers": ["a/b", "c/d"]}}));
        let fields = map(json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a/b\"": {}}}}));
        assert_eq!(coverage(&declared, &fields).missing, [".metadata.finalizers[\"c/d\"]"]);
    }

    #[test]
    fn projection_keeps_what_is_ours() {
        let live = json!({
            "metadata": {"labels": {"x": "1", "theirs": "2"}, "uid": "u"},
            "spec": {"selector": {"app": "a"}, "ports": [{"port": 53, "protocol": "UDP", "nodePort": 3}], "type": "ClusterIP"},
        });
        assert_eq!(
            project(&live, &map(fields())),
            json!({
                "metadata": {"labels": {"x": "1"}},
                "spec": {"selector": {"app": "a"}, "ports": [{"port": 53, "protocol": "UDP"}]},
            })
        );
    }

    #[test]
    fn differences_ignore_defaults_order_and_spelling() {
        let declared = object(json!({"spec": {
            "ports": [{"port": 80}, {"port": 90, "protocol": "UDP"}],
            "cpu": "1000m", "mem": "1024Mi", "n": 1, "gone": "x",
        }}));
        let live = object(json!({"spec": {
            "ports": [{"port": 90, "protocol": "UDP", "nodePort": 1}, {"port": 80, "protocol": "TCP"}],
            "cpu": "1", "mem": "1Gi", "n": 2, "extra": true,
        }}));
        assert_eq!(differences(&declared, &live), [".spec.gone", ".spec.n"]);
    }
}
