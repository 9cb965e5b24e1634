//! Compares values, for what an entry cannot tell: the live object with the answer to our last apply, or with what is
//! declared.

use serde_json::{Map, Value};

use super::built_in::{FILLED_NUMBERS, KEPT_TEXTS, MAPS_OF_TEXTS, SELECTORS, is_filled_list};
use super::coverage::leaves_no_trace;
use super::entry::{
    ManagedFieldsEntry, Position, has_node, item_of, node_of, nodes_of_item, of_other_versions, our_entry,
};
use super::spelling::{same_number, same_quantity, same_time};
use crate::compile::applied_fields::is_reset;
use crate::model::built_in::{is_built_in, is_closed};
use crate::model::object::Object;

/// The paths of declared fields whose live value is another: the API server or admission changed it in our own apply, or
/// another client changed it without taking the ownership. `entries` is the live object's `metadata.managedFields`.
///
/// Fields that only the live object has do not count, nor do other spellings of a quantity. Empty values do not count either
/// where the API server makes of them what is live: it does not store some, and fills others.
pub fn differences(declared: &Object, live: &Object, entries: &[ManagedFieldsEntry], basis: Basis) -> Vec<String> {
    let mut found = compared(declared, live, entries, basis);
    if basis == Basis::Answer && stays_headless(declared, live) {
        found.push(".spec.clusterIP".to_owned());
    }
    found
}

/// `true` if a Service goes on without an address although `clusterIP: None` is not declared any more: the API server keeps it, and
/// says nothing.
fn stays_headless(declared: &Object, live: &Object) -> bool {
    let field = |object: &'_ Object, name: &str| {
        let value = object.0.get("spec").and_then(|spec| spec.get(name)).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    declared.is_kind("", "Service")
        && field(declared, "type") != "ExternalName"
        && field(declared, "clusterIP").is_empty()
        && field(live, "clusterIP") == "None"
}

fn compared(declared: &Object, live: &Object, entries: &[ManagedFieldsEntry], basis: Basis) -> Vec<String> {
    let ours = our_entry(entries).map(|entry| &entry.fields);
    let group = declared.group();
    let mut comparison = Comparison {
        closed: is_closed(group),
        typed: is_built_in(group),
        wiped: ours.is_none(),
        basis,
        live: &live.0,
        entries,
        at: Position::default(),
        found: Vec::new(),
    };
    for (key, value) in &declared.0 {
        match key.as_str() {
            "apiVersion" | "kind" => {}
            // An apply does not change it, but for the first.
            field if basis != Basis::Answer && is_reset(group, declared.kind(), field) => {}
            "status" => {}
            _ => comparison.field(key, value, live.0.get(key), ours.map_or(Ownership::Unknown, Ownership::Node)),
        }
    }
    comparison.found
}

/// The knowledge about the object from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The object is the answer to our apply.
    Answer,
    /// A field of ours has another value than in the answer to our last apply. There may be no difference: values that only the live
    /// object has count in what is owned as a whole, and those that the API server itself may have filled.
    Changed,
    /// None, as after a restart. What our entry has and the object lacks is taken for something that the API server does not
    /// store, such as a field of a feature that is off.
    Unknown,
}

/// The claim that our entry has on a value.
#[derive(Clone, Copy)]
enum Ownership<'a> {
    /// It has this node of it.
    Node(&'a Map<String, Value>),
    /// The value is in something that is ours as a whole.
    Whole,
    /// None, or it cannot be told.
    Unknown,
}

impl<'a> Ownership<'a> {
    fn is_ours(self) -> bool {
        !matches!(self, Self::Unknown)
    }

    fn of_child(
        self,
        child: impl FnOnce(&'a Map<String, Value>) -> Option<&'a Map<String, Value>>,
        closed: bool,
    ) -> Self {
        match self {
            Self::Node(node) if node.is_empty() && closed => Self::Whole,
            Self::Node(node) => child(node).map_or(Self::Unknown, Self::Node),
            other => other,
        }
    }
}

struct Comparison<'a> {
    /// See [`is_closed`].
    closed: bool,
    /// See [`is_built_in`].
    typed: bool,
    /// Nothing tells what was ours.
    wiped: bool,
    basis: Basis,
    /// The whole live object.
    live: &'a Map<String, Value>,
    entries: &'a [ManagedFieldsEntry],
    at: Position,
    found: Vec<String>,
}

impl Comparison<'_> {
    fn field(&mut self, name: &str, declared: &Value, live: Option<&Value>, parent: Ownership<'_>) {
        let was = self.at.enter(name);
        let ours = parent.of_child(|node| node_of(name, node), self.closed || self.at.is_in_metadata());
        // Custom resources keep nulls: one is what an apply leaves that takes all of a map away.
        let is_kept = !self.typed && !self.at.is_in_metadata() && self.basis != Basis::Answer;
        self.value(declared, live.filter(|live| is_kept || !live.is_null()), ours);
        self.at.leave(was);
    }

    fn value(&mut self, declared: &Value, live: Option<&Value>, ours: Ownership<'_>) {
        let same = match (declared, live) {
            (Value::Null, live) => self.is_null(live, ours),
            (_, None) => self.is_not_stored(declared, ours),
            (Value::Object(map), Some(live)) if map.is_empty() => self.is_still_empty(live, ours, &SELECTORS),
            (Value::Array(items), Some(live)) if items.is_empty() => self.is_still_empty(live, ours, &[]),
            (Value::Object(map), Some(Value::Object(live))) if self.is_another_map(map, live, ours) => false,
            (Value::Object(map), Some(Value::Object(live))) => {
                map.iter().for_each(|(key, value)| self.field(key, value, live.get(key), ours));
                true
            }
            (Value::Array(items), Some(Value::Array(live))) if self.is_another_whole(items, live, ours) => false,
            (Value::Array(items), Some(Value::Array(live))) => {
                (0..items.len()).for_each(|index| self.item(items, index, live, ours));
                true
            }
            (declared, Some(live)) => {
                declared == live
                    || same_number(declared, live)
                    || same_quantity(declared, live)
                    || self.typed && same_time(declared, live)
                    || self.is_filled(declared, ours)
            }
        };
        if !same {
            self.found.push(self.at.path.clone());
        }
    }

    /// `false` if another client has given a field of a custom resource a value in the place of a null, which the API server keeps, takes
    /// for nothing or fills with a default. A null in an apply takes no map away.
    fn is_null(&self, live: Option<&Value>, ours: Ownership<'_>) -> bool {
        live.is_none_or(|live| live.is_null() || live.is_object())
            || self.typed
            || self.at.is_in_metadata()
            || self.basis == Basis::Answer
            || ours.is_ours()
            || !(self.at.is_owned_whole(self.entries) || self.at.is_owned_in_parts(self.entries))
    }

    fn item<'n>(&mut self, items: &'n [Value], index: usize, live: &[Value], list: Ownership<'n>) {
        let (item, mut element) = (&items[index], "");
        let ours = list.of_child(
            |node| {
                let (key, node) = nodes_of_item(items, index, node).into_iter().next()?;
                element = key;
                Some(node)
            },
            self.typed || self.at.is_in_metadata(),
        );
        let was = self.at.enter_item(&index.to_string(), element);
        match live_item(item, index, element, live, self.typed) {
            Some(live) => self.value(item, Some(live), ours),
            None => self.found.push(self.at.path.clone()),
        }
        self.at.leave(was);
    }

    /// `true` if a list that is ours as a whole has got more items, or if another client has taken it.
    fn is_another_whole(&self, declared: &[Value], live: &[Value], ours: Ownership<'_>) -> bool {
        let is_longer = declared.len() < live.len();
        let is_another = match ours {
            Ownership::Whole => is_longer,
            Ownership::Node(node) => is_longer && node.is_empty() && (self.typed || !self.may_be_in_parts()),
            Ownership::Unknown if is_longer && self.is_in_ours() && !self.may_be_in_parts() => true,
            Ownership::Unknown => self.at.is_owned_whole(self.entries) && !self.at.is_owned_in_parts(self.entries),
        };
        is_another && !self.is_filled_list()
    }

    /// `true` if managers own the items of a list one by one, or may do so by other names.
    fn may_be_in_parts(&self) -> bool {
        self.at.is_owned_in_parts(self.entries) || of_other_versions(self.entries).next().is_some()
    }

    /// `true` for what is in a map or list of which our entry has an empty node.
    fn is_in_ours(&self) -> bool {
        our_entry(self.entries).is_some_and(|ours| self.at.is_in_whole(std::slice::from_ref(ours)))
    }

    /// `true` if another client seems to own a map of empty lists as a whole by another name: the map has fields that are not declared and
    /// that no entry has.
    fn is_another_map(&self, declared: &Map<String, Value>, live: &Map<String, Value>, ours: Ownership<'_>) -> bool {
        let is_beside =
            |name: &String| declared.contains_key(name) || self.is_renamed(|it| node_of(name, it).is_some());
        !self.typed
            && !ours.is_ours()
            && declared.values().all(leaves_no_trace)
            && !live.keys().all(is_beside)
            && !self.at.is_owned_in_parts(self.entries)
            && self.at.may_be_owned_whole(of_other_versions(self.entries), &Value::Object(self.live.clone()))
    }

    /// `true` if an entry that may have other names than ours has such a node.
    fn is_renamed(&self, is_it: impl Fn(&Map<String, Value>) -> bool) -> bool {
        of_other_versions(self.entries).any(|entry| has_node(entry, &is_it))
    }

    /// `true` for a list of a built-in kind to which the API server adds items.
    fn is_filled_list(&self) -> bool {
        self.typed && is_filled_list(&self.at.path)
    }

    /// `true` if the live object lacks a field because the API server does not store its value. Had another client removed the
    /// field, it would not be ours any more.
    fn is_not_stored(&self, declared: &Value, ours: Ownership<'_>) -> bool {
        let untold = self.typed && (self.wiped || !self.closed);
        let is_text = declared.is_string() && MAPS_OF_TEXTS.contains(&self.at.names().1);
        // The removal of a map of empty lists leaves no trace in an entry, and the map itself is stored.
        if self.basis != Basis::Answer && ours.is_ours() && declared.is_object() && leaves_no_trace(declared) {
            return false;
        }
        if self.basis == Basis::Unknown && ours.is_ours() {
            // So is one that others have fields in, and each text in a map of texts, unless admission takes it off.
            return !(is_text || is_empty_map(declared) && self.at.is_owned_in_parts(self.entries));
        }
        // Custom resources keep empty lists, so another client has removed it.
        let is_kept = !self.typed && !self.at.is_in_metadata();
        let removed = self.basis != Basis::Answer && is_kept && !ours.is_ours();
        is_empty_list(declared) && !removed || is_zero(declared) && !is_text && (ours.is_ours() || untold)
    }

    /// `false` if a map or list that is declared empty has content in its place, and not beside it: the API server's own, or
    /// fields and items of other managers. Our claim on a map does not tell which, but for `selectors`, which nothing fills.
    fn is_still_empty(&self, live: &Value, ours: Ownership<'_>, selectors: &[&str]) -> bool {
        let name = self.at.names().0;
        match live {
            Value::Object(map) if map.is_empty() => true,
            Value::Array(items) if items.is_empty() => true,
            Value::Object(_) if ours.is_ours() => !(self.typed && selectors.contains(&name)),
            Value::Array(items) if ours.is_ours() => self.is_filled_list() || self.are_beside(items) == Some(true),
            Value::Object(_) => !self.at.is_owned_whole(self.entries),
            Value::Array(items) => self.are_beside(items).unwrap_or_else(|| {
                !self.at.is_owned_whole(self.entries) && (self.typed || !self.at.is_in_whole(self.entries))
            }),
            _ => false,
        }
    }

    /// See [`Position::are_beside`].
    fn are_beside(&self, items: &[Value]) -> Option<bool> {
        self.at.are_beside(items, self.entries, self.typed)
    }

    /// `true` if the API server gives a field that is declared empty a value: to all texts that are no contents of a map, and to
    /// some numbers.
    fn is_filled(&self, declared: &Value, ours: Ownership<'_>) -> bool {
        let (name, parent) = self.at.names();
        let by_name = match declared {
            Value::String(text) => text.is_empty() && !KEPT_TEXTS.contains(&name) && !MAPS_OF_TEXTS.contains(&parent),
            Value::Number(number) => number.as_f64() == Some(0.0) && FILLED_NUMBERS.contains(&name),
            _ => false,
        };
        by_name && self.typed && (ours.is_ours() || self.wiped || !self.closed)
    }
}

/// `true` for the values that a field of a struct has when nothing is written to it.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_zero),
    }
}

fn is_empty_map(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

/// The live item that a declared list item became: the one of the entry's node, or with the same keys if there is exactly one,
/// else the one at the same position.
fn live_item<'a>(item: &Value, index: usize, element: &str, live: &'a [Value], typed: bool) -> Option<&'a Value> {
    match element.split_once(':') {
        Some(("v", _)) => return live.iter().find(|other| *other == item),
        Some(("k", keys)) => return item_of(element, live).or_else(|| filled_item(keys, live).filter(|_| typed)),
        _ => {}
    }
    const KEYS: [&[&str]; 7] = [
        &["name"],
        &["containerPort", "protocol"],
        &["port", "protocol"],
        &["mountPath"],
        &["type"],
        &["key"],
        &["uid"],
    ];
    let stated = |keys: &[&str]| keys.iter().any(|key| item.get(key).is_some());
    for keys in KEYS.iter().filter(|keys| stated(keys)) {
        let same = |other: &&Value| {
            keys.iter().all(|key| match item.get(key) {
                Some(value) => other.get(key) == Some(value),
                None => other.get(key).is_none_or(|value| value == "TCP"),
            })
        };
        let mut matching = live.iter().filter(same);
        if let (Some(only), None) = (matching.next(), matching.next()) {
            return Some(only);
        }
    }
    live.get(index)
}

/// The item whose keys are filled that are empty in these keys of a node, of the types of the API server itself.
fn filled_item<'a>(keys: &str, live: &'a [Value]) -> Option<&'a Value> {
    let mut keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
    let all = keys.len();
    keys.retain(|_, key| key != "");
    let is_it = |item: &&Value| keys.iter().all(|(name, key)| item.get(name) == Some(key));
    live.iter().find(is_it).filter(|_| (1..all).contains(&keys.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::object;
    use super::*;
    use crate::model::metadata::FIELD_MANAGER;

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
        assert_eq!(differences(&declared, &live, &[], Basis::Answer), [".spec.gone", ".spec.n"]);
    }

    #[test]
    fn the_version_in_which_an_object_is_read_and_its_status_are_no_differences() {
        let of = |version: &str, status: u8| {
            let api_version = format!("example.com/{version}");
            object(json!({"apiVersion": api_version, "kind": "X", "spec": {"a": 1}, "status": {"b": status}}))
        };
        for basis in [Basis::Answer, Basis::Changed, Basis::Unknown] {
            assert_eq!(differences(&of("v1beta1", 1), &of("v1", 2), &[], basis), [""; 0]);
        }
    }

    /// The differences of objects in which our entry has `ours` and another has `theirs`.
    fn compared(declared: Value, live: Value, ours: Value, theirs: Value) -> Vec<String> {
        let entry = |manager: &str, operation: &str, fields: Value| {
            serde_json::from_value(json!({"manager": manager, "operation": operation, "fieldsV1": fields}))
                .expect("an entry")
        };
        let entries = [entry(FIELD_MANAGER, "Apply", ours), entry("kubectl-edit", "Update", theirs)];
        differences(&object(declared), &object(live), &entries, Basis::Answer)
    }

    #[test]
    fn what_is_not_stored_is_no_difference_if_nothing_else_is_known() {
        let entry =
            json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:x": {}, "f:y": {}}}});
        let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
        let declared = object(pod(json!({"x": {"feature": "on"}, "y": 1, "z": 1})));
        let compared = |basis| differences(&declared, &object(pod(json!({"y": 2}))), &entries, basis);
        assert_eq!(compared(Basis::Answer), [".spec.x", ".spec.y", ".spec.z"]);
        assert_eq!(compared(Basis::Unknown), [".spec.y", ".spec.z"]);
    }

    #[test]
    fn a_label_that_admission_took_off_is_a_difference_if_nothing_else_is_known() {
        let fields = json!({"f:metadata": {"f:labels": {"f:team": {}, "f:app": {}}}});
        let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields});
        let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
        let of = |labels: Value| object(json!({"apiVersion": "v1", "kind": "X", "metadata": {"labels": labels}}));
        let declared = of(json!({"team": "a", "app": "b"}));
        for basis in [Basis::Answer, Basis::Changed, Basis::Unknown] {
            assert_eq!(differences(&declared, &of(json!({"app": "b"})), &entries, basis), [".metadata.labels.team"]);
        }
    }

    #[test]
    fn an_empty_map_that_others_have_fields_in_is_stored() {
        let entry = |manager: &str, fields: Value| -> ManagedFieldsEntry {
            let entry =
                json!({"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {"f:lifecycle": fields}}});
            serde_json::from_value(entry).expect("an entry")
        };
        let entries = [entry(FIELD_MANAGER, json!({})), entry("other", json!({"f:stopSignal": {}}))];
        let compared = |entries: &[ManagedFieldsEntry]| {
            differences(&object(pod(json!({"lifecycle": {}}))), &object(pod(json!({}))), entries, Basis::Unknown)
        };
        assert_eq!(compared(&entries), [".spec.lifecycle"]);
        assert_eq!(compared(&entries[..1]), [""; 0]);
    }

    #[test]
    fn a_map_of_empty_lists_that_another_client_removed_is_a_difference() {
        let fields = json!({"f:spec": {"f:scheduling": {"f:tolerations": {}}}});
        let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields});
        let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
        let compared = |live: Value, basis| {
            differences(&object(pod(json!({"scheduling": {"tolerations": []}}))), &object(pod(live)), &entries, basis)
        };
        for basis in [Basis::Changed, Basis::Unknown] {
            assert_eq!(compared(json!({}), basis), [".spec.scheduling"]);
            assert_eq!(compared(json!({"scheduling": {}}), basis), [""; 0]);
        }
        assert_eq!(compared(json!({}), Basis::Answer), [""; 0], "the API server does not store it");
    }

    #[test]
    fn what_is_not_stored_in_a_whole_list_is_no_difference_if_nothing_else_is_known() {
        let of = |group: &str, device: Value| {
            object(
                json!({"apiVersion": format!("{group}/v1"), "kind": "X", "spec": {"devices": [{"name": "a"}, device]}}),
            )
        };
        let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:devices": {}}}});
        let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
        let compared = |group: &str| {
            let declared = of(group, json!({"name": "b", "mappings": {"a": {"key": "1"}}}));
            differences(&declared, &of(group, json!({"name": "b"})), &entries, Basis::Unknown)
        };
        assert_eq!(compared("resource.k8s.io"), [""; 0], "a feature is off");
        assert_eq!(compared("a.b"), [".spec.devices[1].mappings"], "another client may have removed it");
    }

    #[test]
    fn what_the_api_server_resets_differs_from_its_answer_alone() {
        let request = |uses: &str| {
            let spec = json!({"usages": [uses]});
            object(json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "spec": spec}))
        };
        let compared = |basis| differences(&request("a"), &request("b"), &[], basis);
        assert_eq!(compared(Basis::Answer), [".spec.usages[0]"]);
        assert_eq!((compared(Basis::Changed), compared(Basis::Unknown)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_service_that_stays_headless_is_a_difference() {
        let service = |spec: Value| object(json!({"apiVersion": "v1", "kind": "Service", "spec": spec}));
        let different =
            |declared: Value, live: Value| differences(&service(declared), &service(live), &[], Basis::Answer);
        let headless = || json!({"clusterIP": "None", "clusterIPs": ["None"]});
        assert_eq!(different(json!({}), headless()), [".spec.clusterIP"]);
        assert_eq!(different(headless(), headless()), [""; 0]);
        assert_eq!(different(json!({}), json!({"clusterIP": "10.0.0.1"})), [""; 0]);
        assert_eq!(different(json!({"type": "ExternalName"}), json!({"type": "ExternalName"})), [""; 0]);
        assert_eq!(different(json!({"type": "ExternalName"}), headless()), [".spec.type"], "it has no address");
        let other = |spec: Value| object(json!({"apiVersion": "a.b/v1", "kind": "Service", "spec": spec}));
        assert_eq!(differences(&other(json!({})), &other(headless()), &[], Basis::Answer), [""; 0]);
    }

    fn pod(spec: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "spec": spec})
    }

    #[test]
    fn values_that_are_not_stored_or_are_filled_are_no_differences() {
        let check = |declared: Value, live: Value, different: &[&str]| {
            let all = json!({"f:spec": {"f:x": {}, "f:data": {"f:k": {}}, "f:nodePort": {}}});
            assert_eq!(compared(pod(declared), pod(live), all, json!({})), different);
        };
        for zero in [json!(""), json!(0), json!(false), json!({}), json!([])] {
            check(json!({"x": zero}), json!({}), &[]);
        }
        check(json!({"x": ""}), json!({"x": "10.0.0.1"}), &[]);
        check(json!({"nodePort": 0}), json!({"nodePort": 30000}), &[]);
        check(json!({"x": 0}), json!({"x": 1}), &[".spec.x"]);
        check(json!({"x": false}), json!({"x": true}), &[".spec.x"]);
        check(json!({"data": {"k": ""}}), json!({"data": {"k": "v"}}), &[".spec.data.k"]);
        check(json!({"data": {"k": ""}}), json!({"data": {}}), &[".spec.data.k"]);
        check(json!({"x": "a"}), json!({}), &[".spec.x"]);
        let others = json!({"f:metadata": {"f:labels": {}}});
        let lost = compared(pod(json!({"x": "", "y": false})), pod(json!({"x": "a"})), others, json!({}));
        assert_eq!(lost, [".spec.x", ".spec.y"], "another client has taken them");
    }

    #[test]
    fn a_whole_list_has_no_further_items() {
        let more =
            |ours: Value| compared(pod(json!({"args": ["a"]})), pod(json!({"args": ["a", "b"]})), ours, json!({}));
        assert_eq!(more(json!({"f:spec": {"f:args": {}}})), [".spec.args"]);
        assert_eq!(more(json!({"f:spec": {"f:args": {"v:\"a\"": {}}}})), [""; 0]);
        let widget = |c: Value| json!({"apiVersion": "a.b/v1", "kind": "Widget", "spec": {"w": {"c": c}}});
        let taken = |theirs: Value| {
            let (one, two) = (widget(json!([{"a": 1}])), widget(json!([{"a": 1, "b": 2}])));
            compared(one, two, json!({"f:spec": {"f:w": {}}}), json!({"f:spec": {"f:w": {"f:c": theirs}}}))
        };
        assert_eq!(taken(json!({})), [".spec.w.c"]);
        assert_eq!(taken(json!({"v:2": {}})), [""; 0]);
        let more = |ours: Value, theirs: Value| {
            let of = |fields: Value| json!({"f:spec": {"f:w": fields}});
            compared(widget(json!(["a"])), widget(json!(["a", "b"])), of(ours), of(theirs))
        };
        assert_eq!(more(json!({"f:c": {}}), json!({"f:x": {}})), [".spec.w.c"]);
        assert_eq!(more(json!({}), json!({"f:x": {}})), [".spec.w.c"]);
        assert_eq!(more(json!({"f:c": {"v:\"a\"": {}}}), json!({})), [""; 0]);
        assert_eq!(more(json!({"f:c": {}}), json!({"f:c": {"v:\"b\"": {}}})), [""; 0], "it is beside ours");
    }

    #[test]
    fn custom_resources_keep_empty_values() {
        let widget = |spec: Value| json!({"apiVersion": "a.b/v1", "kind": "Widget", "spec": spec});
        let ours = json!({"f:spec": {"f:m": {"f:k": {}}, "f:x": {}}});
        let declared = widget(json!({"m": {"k": {"v": ""}}, "x": ""}));
        let different = compared(declared.clone(), widget(json!({"m": {"k": {}}})), ours.clone(), json!({}));
        assert_eq!(different, [".spec.m.k.v"], "its parent may be another client's");
        assert_eq!(compared(declared, widget(json!({"m": {"k": {"v": ""}}, "x": "1"})), ours, json!({})), [".spec.x"]);
        let claim = |of: Value| json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "spec": {"requests": [of]}});
        let (zero, filled) = (json!({"count": 0, "mode": ""}), json!({"count": 1, "mode": "All"}));
        let whole = json!({"f:spec": {"f:requests": {}}});
        assert_eq!(compared(claim(zero), claim(filled), whole, json!({})), [""; 0]);
    }

    #[test]
    fn an_item_whose_empty_key_is_filled_is_there_in_built_in_kinds() {
        let check = |group: &str, declared: Value, live: Value| {
            let kind = |ports: Value| object(json!({"apiVersion": format!("{group}/v1"), "kind": "X", "ports": ports}));
            let nodes = json!({
                "k:{\"port\":80,\"protocol\":\"\"}": {".": {}, "f:port": {}, "f:protocol": {}},
                "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}},
            });
            let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:ports": nodes}});
            let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
            differences(&kind(declared), &kind(live), &entries, Basis::Unknown)
        };
        let both = || json!([{"port": 80, "protocol": ""}, {"port": 80}]);
        let filled = |port: u16| json!([{"port": port, "protocol": "TCP"}, {"port": 80, "protocol": "TCP"}]);
        assert_eq!(check("apps", both(), filled(80)), [""; 0]);
        assert_eq!(check("a.b", both(), filled(80)), [".ports[0]"], "custom resources keep it");
        let one = json!([{"port": 80, "protocol": ""}]);
        assert_eq!(check("apps", one, json!([{"port": 81, "protocol": "TCP"}])), [".ports[0]"]);
    }

    #[test]
    fn items_of_another_version_are_beside_a_list_if_its_entry_has_them() {
        let widget = |list: Value| object(json!({"apiVersion": "a.b/v1", "kind": "X", "spec": {"n": 1, "list": list}}));
        let check = |theirs: Value| {
            let entry = |manager: &str, version: &str, fields: Value| -> ManagedFieldsEntry {
                let entry =
                    json!({"manager": manager, "operation": "Apply", "apiVersion": version, "fieldsV1": fields});
                serde_json::from_value(entry).expect("an entry")
            };
            let theirs = entry("other", "a.b/v2", json!({"f:spec": {"f:items": theirs}}));
            let [mine, unowned] = [json!({"f:n": {}, "f:list": {}}), json!({"f:n": {}})].map(|spec| {
                let ours = entry(FIELD_MANAGER, "a.b/v1", json!({ "f:spec": spec }));
                let entries = [ours, theirs.clone()];
                differences(&widget(json!([])), &widget(json!([{"name": "a"}])), &entries, Basis::Unknown)
            });
            assert_eq!(mine, unowned);
            mine
        };
        assert_eq!(check(json!({})), [".spec.list"]);
        assert_eq!(check(json!({"k:{\"name\":\"a\"}": {".": {}, "f:name": {}}})), [""; 0]);
    }

    #[test]
    fn fields_of_another_version_are_beside_a_map_of_empty_lists_if_its_entry_has_them() {
        let widget =
            |map: Value| object(json!({"apiVersion": "a.b/v1", "kind": "X", "data": {"a": 1}, "spec": {"map": map}}));
        let check = |theirs: Value| {
            let entry = |manager: &str, version: &str, fields: Value| -> ManagedFieldsEntry {
                let entry =
                    json!({"manager": manager, "operation": "Apply", "apiVersion": version, "fieldsV1": fields});
                serde_json::from_value(entry).expect("an entry")
            };
            let ours = entry(FIELD_MANAGER, "a.b/v1", json!({"f:data": {"f:a": {}}}));
            let label = json!({"f:labels": {"f:a": {}}});
            let entries = [ours, entry("other", "a.b/v2", json!({"f:metadata": label, "f:spec": theirs}))];
            differences(&widget(json!({"e": []})), &widget(json!({"a": 1, "e": []})), &entries, Basis::Unknown)
        };
        assert_eq!(check(json!({"f:old": {}})), [".spec.map"]);
        assert_eq!(check(json!({"f:old": {"f:a": {}}})), [""; 0]);
        assert_eq!(check(json!({"f:n": {"f:x": {}}})), [""; 0], "it is a default");
    }

    #[test]
    fn a_null_in_the_place_of_a_map_is_a_difference_in_custom_resources() {
        let check = |group: &str, live: Value, basis| {
            let kind =
                |map: Value| object(json!({"apiVersion": format!("{group}/v1"), "kind": "X", "spec": {"map": map}}));
            let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:map": {}}}});
            let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
            differences(&kind(json!({})), &kind(live), &entries, basis)
        };
        assert_eq!(check("a.b", Value::Null, Basis::Unknown), [".spec.map"]);
        assert_eq!(check("a.b", Value::Null, Basis::Answer), [""; 0]);
        assert_eq!(check("a.b", json!({}), Basis::Unknown), [""; 0]);
        assert_eq!(check("apps", Value::Null, Basis::Unknown), [""; 0], "it is not stored");
    }

    #[test]
    fn a_value_in_the_place_of_a_declared_null_is_a_difference_where_another_client_owns_it() {
        let check = |group: &str, live: Value, of: &str, basis| {
            let kind = |value: Value| {
                object(json!({"apiVersion": format!("{group}/v1"), "kind": "X", "spec": {"a": 1, "proxy": value}}))
            };
            let entry = |manager: &str, fields: Value| -> ManagedFieldsEntry {
                let entry = json!({"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": fields}});
                serde_json::from_value(entry).expect("an entry")
            };
            let entries = [entry(of, json!({"f:proxy": {}})), entry(FIELD_MANAGER, json!({"f:a": {}}))];
            differences(&kind(Value::Null), &kind(live), &entries, basis)
        };
        let of_others = |group, live, basis| check(group, live, "other", basis);
        assert_eq!(of_others("a.b", json!("evil"), Basis::Unknown), [".spec.proxy"]);
        assert_eq!(of_others("a.b", json!("evil"), Basis::Changed), [".spec.proxy"]);
        assert_eq!(of_others("a.b", Value::Null, Basis::Changed), [""; 0]);
        assert_eq!(of_others("a.b", json!({"x": 1}), Basis::Changed), [""; 0], "an apply leaves it");
        assert_eq!(of_others("a.b", json!("default"), Basis::Answer), [""; 0]);
        assert_eq!(of_others("apps", json!("x"), Basis::Changed), [""; 0], "built-in kinds have no nulls");
        assert_eq!(check("a.b", json!("default"), FIELD_MANAGER, Basis::Unknown), [""; 0]);
    }

    /// An entry from before the items were there has the empty list.
    #[test]
    fn a_list_is_not_owned_as_a_whole_where_items_of_it_are() {
        let entry = |fields: Value| -> ManagedFieldsEntry {
            serde_json::from_value(json!({"manager": "other", "fieldsV1": {"f:spec": {"f:list": fields}}}))
                .expect("an entry")
        };
        let entries = [entry(json!({})), entry(json!({"v:1": {}}))];
        let compared = |entries: &[ManagedFieldsEntry]| {
            differences(&object(pod(json!({"list": []}))), &object(pod(json!({"list": [1]}))), entries, Basis::Unknown)
        };
        assert_eq!(compared(&entries), [""; 0]);
        assert_eq!(compared(&entries[..1]), [".spec.list"]);
    }

    #[test]
    fn an_empty_list_of_a_custom_resource_that_is_gone_was_removed() {
        let check = |group: &str, live: Value, basis| {
            let kind = |spec: Value| object(json!({"apiVersion": format!("{group}/v1"), "kind": "X", "spec": spec}));
            let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:data": {}}});
            let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
            differences(&kind(json!({"list": []})), &kind(live), &entries, basis)
        };
        assert_eq!(check("a.b", json!({}), Basis::Unknown), [".spec.list"]);
        assert_eq!(check("a.b", json!({"list": []}), Basis::Unknown), [""; 0]);
        assert_eq!(check("a.b", json!({}), Basis::Answer), [""; 0], "a conversion leaves it out");
        assert_eq!(check("apps", json!({}), Basis::Unknown), [""; 0]);
    }

    #[test]
    fn an_empty_list_is_filled_in_what_another_client_owns_as_a_whole() {
        let widget = |list: Value| json!({"apiVersion": "a.b/v1", "kind": "Widget", "spec": {"r": {"list": list}}});
        let check =
            |theirs| compared(widget(json!([])), widget(json!([1])), json!({"f:data": {}}), json!({"f:spec": theirs}));
        assert_eq!(check(json!({"f:r": {}})), [".spec.r.list"]);
        assert_eq!(check(json!({"f:r": {"f:list": {"v:1": {}}}})), [""; 0]);
        let (empty, filled) = (pod(json!({"modes": []})), pod(json!({"modes": ["Persistent"]})));
        assert_eq!(compared(empty, filled, json!({"f:data": {}}), json!({"f:spec": {}})), [""; 0], "it is filled");
    }

    #[test]
    fn content_of_what_is_declared_empty_is_a_difference_where_it_takes_its_place() {
        let declared = || pod(json!({"list": [], "map": {}, "podSelector": {}, "policyTypes": [], "finalizers": []}));
        let full = || {
            pod(json!({
                "list": [1], "map": {"a": 1}, "podSelector": {"a": 1}, "policyTypes": ["Ingress"], "finalizers": ["kubernetes"],
            }))
        };
        let whole = json!({"f:spec": {
            "f:list": {}, "f:map": {}, "f:podSelector": {}, "f:policyTypes": {}, "f:finalizers": {},
        }});
        let parts = json!({"f:spec": {"f:list": {"v:1": {}}, "f:map": {"f:a": {}}}});
        let all = [".spec.finalizers", ".spec.list", ".spec.map", ".spec.podSelector", ".spec.policyTypes"];
        assert_eq!(compared(declared(), full(), json!({"f:spec": {"f:x": {}}}), whole.clone()), all);
        assert_eq!(compared(declared(), full(), json!({"f:spec": {"f:x": {}}}), parts.clone()), [""; 0]);
        // An audit finds what has no trace in entries, but for what the API server may have filled and for the items of others.
        assert_eq!(compared(declared(), full(), whole.clone(), json!({})), [".spec.list", ".spec.podSelector"]);
        assert_eq!(compared(declared(), full(), whole.clone(), parts), [".spec.podSelector"]);
        assert_eq!(compared(declared(), pod(json!({"podSelector": {}})), whole, json!({})), [""; 0]);
    }
    fn widget(spec: Value) -> Value {
        json!({"apiVersion": "a.b/v1", "kind": "Widget", "spec": spec})
    }

    /// The differences of objects with these entries, of our manager and of another one: each a version and its fields.
    fn of_versions(
        (declared, live): (Value, Value),
        ours: Value,
        theirs: &[(&str, Value)],
        basis: Basis,
    ) -> Vec<String> {
        let entry = |manager: &str, version: &str, fields: &Value| -> ManagedFieldsEntry {
            let entry = json!({"manager": manager, "operation": "Apply", "apiVersion": version, "fieldsV1": fields});
            serde_json::from_value(entry).expect("an entry")
        };
        let version = declared["apiVersion"].as_str().expect("a version").to_owned();
        let theirs = theirs.iter().map(|(version, fields)| entry("other", version, fields));
        let entries: Vec<_> = [entry(FIELD_MANAGER, &version, &ours)].into_iter().chain(theirs).collect();
        differences(&object(declared), &object(live), &entries, basis)
    }

    #[test]
    fn another_client_takes_a_map_of_empty_lists_by_another_name_only_as_a_whole() {
        let (ours, old) = (|| json!({"f:data": {"f:a": {}}}), || json!({"f:spec": {"f:old": {}}}));
        let at = |version: &str, map: Value| json!({"apiVersion": format!("{version}/v1"), "kind": "X", "data": {"a": 1}, "spec": {"map": map}});
        let maps = |version: &str| (at(version, json!({"e": []})), at(version, json!({"a": 1, "e": []})));
        let check = |maps, ours, theirs: &[(&str, Value)]| of_versions(maps, ours, theirs, Basis::Changed);
        assert_eq!(check(maps("a.b"), ours(), &[("a.b/v2", old())]), [".spec.map"]);
        assert_eq!(
            check(maps("apps"), ours(), &[("apps/v2", old())]),
            [""; 0],
            "its names are the same in all versions"
        );
        let with_map = json!({"f:data": {"f:a": {}}, "f:spec": {"f:map": {}}});
        assert_eq!(check(maps("a.b"), with_map, &[("a.b/v2", old())]), [""; 0], "it is ours");
        let full = (at("a.b", json!({"e": [1]})), at("a.b", json!({"a": 1, "e": [1]})));
        assert_eq!(check(full, ours(), &[("a.b/v2", old())]), [""; 0], "an apply leaves a trace of it");
        let renamed = json!({"f:spec": {"f:old": {}, "f:x": {"f:a": {}}}});
        assert_eq!(check(maps("a.b"), ours(), &[("a.b/v2", renamed)]), [""; 0], "the field is known by another name");
        let parts = ("a.b/v1", json!({"f:spec": {"f:map": {"f:b": {}}}}));
        assert_eq!(check(maps("a.b"), ours(), &[("a.b/v2", old()), parts]), [""; 0], "it is owned in parts");
    }

    #[test]
    fn what_our_entry_has_as_a_whole_may_be_filled() {
        let filled = |spec: Value| (pod(spec), pod(json!({"x": "1"})));
        let whole = json!({"f:spec": {}});
        assert_eq!(of_versions(filled(json!({"x": ""})), whole, &[], Basis::Answer), [""; 0]);
        let other = json!({"f:metadata": {"f:labels": {}}});
        assert_eq!(of_versions(filled(json!({"x": ""})), other, &[], Basis::Answer), [".spec.x"]);
    }

    /// Another client has removed all entries, or an empty node says little in the group.
    #[test]
    fn empty_values_are_no_differences_while_nothing_tells_if_they_are_ours() {
        let in_group =
            |group: &str, spec: Value| object(json!({"apiVersion": format!("{group}v1"), "kind": "X", "spec": spec}));
        let check = |group: &str, entries: &[ManagedFieldsEntry]| {
            let declared = in_group(group, json!({"x": false, "y": ""}));
            differences(&declared, &in_group(group, json!({"y": "1"})), entries, Basis::Answer)
        };
        let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:data": {}}});
        let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
        assert_eq!((check("apps/", &[]), check("resource.k8s.io/", &entries)), (Vec::new(), Vec::new()));
        assert_eq!(check("apps/", &entries), [".spec.x", ".spec.y"], "another client has taken them");
    }

    #[test]
    fn more_items_in_what_is_not_ours_are_defaults() {
        let lists = (widget(json!({"c": ["a"]})), widget(json!({"c": ["a", "b"]})));
        let theirs = [("a.b/v1", json!({"f:spec": {"f:x": {}}}))];
        assert_eq!(of_versions(lists, json!({"f:data": {"f:a": {}}}), &theirs, Basis::Changed), [""; 0]);
    }

    #[test]
    fn an_empty_list_that_is_still_empty_is_no_difference() {
        let of = || widget(json!({"list": []}));
        assert_eq!(of_versions((of(), of()), json!({"f:spec": {"f:list": {}}}), &[], Basis::Changed), [""; 0]);
    }

    #[test]
    fn the_items_of_others_are_beside_a_list_of_ours_where_no_entry_is_of_another_version() {
        let lists = |group: &str| {
            let of =
                |list: Value| json!({"apiVersion": format!("{group}/v1"), "kind": "X", "spec": {"n": 1, "list": list}});
            (of(json!([])), of(json!([{"name": "a"}])))
        };
        let ours = || json!({"f:spec": {"f:n": {}}});
        let check = |group, theirs: &[(&str, Value)]| of_versions(lists(group), ours(), theirs, Basis::Unknown);
        assert_eq!(check("a.b", &[("a.b/v1", json!({"f:spec": {"f:n": {}}}))]), [""; 0], "it is a default");
        let renamed = json!({"f:spec": {"f:items": {}}});
        assert_eq!(check("a.b", &[("a.b/v2", renamed.clone())]), [".spec.list"]);
        assert_eq!(check("apps", &[("apps/v2", renamed)]), [""; 0], "its names are the same in all versions");
    }

    #[test]
    fn a_map_of_empty_lists_of_ours_that_is_gone_was_removed() {
        let maps = (widget(json!({"map": {"e": []}, "n": 1})), widget(json!({"n": 1})));
        let ours = json!({"f:spec": {"f:map": {}, "f:n": {}}});
        assert_eq!(of_versions(maps, ours, &[], Basis::Unknown), [".spec.map"]);
    }

    #[test]
    fn items_that_are_values_are_found_in_any_order() {
        let lists = (widget(json!({"list": ["a", "b"]})), widget(json!({"list": ["c", "b", "a"]})));
        let ours = json!({"f:spec": {"f:list": {"v:\"a\"": {}, "v:\"b\"": {}}}});
        assert_eq!(of_versions(lists, ours, &[], Basis::Answer), [""; 0]);
    }
}
