//! The next apply: what the API server does not do with the first one, it does then.

use serde_json::{Map, Value};

use super::built_in::{MAPS_OF_TEXTS, SET_WITH_OTHERS};
use super::compare::{Basis, differences};
use super::entry::{ManagedFieldsEntry, item_of, node_of, nodes_of_item, our_entry};
use crate::compile::applied_fields::is_reset;
use crate::model::built_in::is_built_in;
use crate::model::object::Object;

/// `true` if the answer to an apply is not as declared yet, and the next apply makes it so.
pub fn is_unfinished(declared: &Object, answer: &Object, entries: &[ManagedFieldsEntry]) -> bool {
    has_vanished(declared, answer, entries) || is_set_with_others(declared, answer, entries)
}

/// `true` if it lacks a map that is declared empty and that our entry has, or a map or list of a custom resource that leaves no trace in
/// our entry. An apply that takes away all of a map's fields, or of a list's items, takes the map or list away too, although it is
/// declared.
fn has_vanished(declared: &Object, answer: &Object, entries: &[ManagedFieldsEntry]) -> bool {
    let Some(ours) = our_entry(entries) else { return false };
    let typed = is_built_in(declared.group());
    let mut fields = declared.0.iter().filter(|(name, _)| !is_reset(declared.group(), declared.kind(), name));
    fields.any(|(name, value)| {
        let vanished = Vanished { typed: typed || name == "metadata" };
        vanished.is_field(name, value, answer.0.get(name), &ours.fields)
    })
}

/// `true` if the API server has set a declared field because the apply changed another one.
fn is_set_with_others(declared: &Object, answer: &Object, entries: &[ManagedFieldsEntry]) -> bool {
    let mut paths = SET_WITH_OTHERS.iter().filter(|(group, kind, _)| declared.is_kind(group, kind)).peekable();
    paths.peek().is_some() && {
        let different = differences(declared, answer, entries, Basis::Answer);
        paths.any(|(_, _, path)| different.iter().any(|one| one == path))
    }
}

/// The search for what has vanished.
#[derive(Clone, Copy)]
struct Vanished {
    /// The API server does not store all that is empty; see [`is_built_in`].
    typed: bool,
}

impl Vanished {
    fn is_field(self, name: &str, declared: &Value, answer: Option<&Value>, ours: &Map<String, Value>) -> bool {
        match (answer, node_of(name, ours)) {
            (None | Some(Value::Null), Some(_)) => self.is_hollow(declared) && !self.is_unstored(name),
            (None | Some(Value::Null), None) => !self.typed && is_traceless(declared),
            (Some(answer), Some(node)) => self.is_in(declared, answer, node),
            (Some(answer), None) => !self.typed && self.is_in(declared, answer, &Map::new()),
        }
    }

    fn is_in(self, declared: &Value, answer: &Value, ours: &Map<String, Value>) -> bool {
        match (declared, answer) {
            (Value::Object(declared), Value::Object(answer)) => {
                declared.iter().any(|(name, value)| self.is_field(name, value, answer.get(name), ours))
            }
            (Value::Array(items), Value::Array(answer)) => (0..items.len()).any(|index| {
                nodes_of_item(items, index, ours).into_iter().next().is_some_and(|(element, node)| {
                    item_of(element, answer).is_some_and(|answer| self.is_in(&items[index], answer, node))
                })
            }),
            _ => false,
        }
    }

    /// `true` for a map of nothing but empty maps, which goes with them.
    fn is_hollow(self, value: &Value) -> bool {
        let is_hollow = |value: &Value| self.is_hollow(value) || !self.typed && is_traceless(value);
        value.as_object().is_some_and(|map| map.values().all(is_hollow))
    }

    /// `true` for a map that is not stored when it is empty.
    fn is_unstored(self, name: &str) -> bool {
        self.typed && MAPS_OF_TEXTS.contains(&name)
    }
}

/// `true` for an empty list and for a map of nothing else, which custom resources keep.
fn is_traceless(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => !map.is_empty() && map.values().all(is_traceless),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::object;
    use super::*;
    use crate::model::metadata::FIELD_MANAGER;

    #[test]
    fn a_time_that_the_api_server_sets_is_applied_again() {
        let rule = |kind: &str, time: &str| {
            let spec = json!({"taint": {"key": "a", "timeAdded": time}});
            object(json!({"apiVersion": "resource.k8s.io/v1alpha3", "kind": kind, "spec": spec}))
        };
        let check = |kind, time| is_unfinished(&rule(kind, "2026-01-01T02:00:00+02:00"), &rule(kind, time), &[]);
        assert!(check("DeviceTaintRule", "2026-02-02T00:00:00Z"));
        assert!(!check("DeviceTaintRule", "2026-01-01T00:00:00Z"));
        assert!(!check("Other", "2026-02-02T00:00:00Z"), "nothing is known of it");
    }

    #[test]
    fn a_value_of_a_custom_resource_that_leaves_no_trace_has_vanished_where_it_is_not_there() {
        let check = |group: &str, declared: Value, answer: Value| {
            let kind = |mut object: Value| {
                (object["apiVersion"], object["kind"]) = (format!("{group}/v1").into(), "X".into());
                super::super::fixture::object(object)
            };
            let fields = json!({"f:spec": {"f:n": {}, "f:hollow": {"f:m": {}}}});
            let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields});
            let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
            is_unfinished(&kind(declared), &kind(answer), &entries)
        };
        let of = |group: &str, declared: Value, answer: Value| {
            check(group, json!({"spec": declared}), json!({"spec": answer}))
        };
        let declared = || json!({"n": 1, "map": {"list": []}});
        assert!(of("a.b", declared(), json!({"n": 1})));
        assert!(of("a.b", declared(), json!({"n": 1, "map": {"a": "default"}})));
        assert!(!of("a.b", declared(), declared()));
        assert!(!of("apps", declared(), json!({"n": 1})), "it is not stored");
        assert!(of("a.b", json!({"hollow": {"m": {}, "list": []}}), json!({})));
        assert!(!of("apps", json!({"hollow": {"m": {}, "list": []}}), json!({})));
        let unstored = json!({"metadata": {"finalizers": []}, "status": {"list": []}});
        assert!(!check("a.b", unstored, json!({"metadata": {}})));
    }

    #[test]
    fn an_empty_map_that_is_not_there_has_vanished() {
        let check = |declared: Value, answer: Value, ours: Value| {
            let kind = |spec: Value| object(json!({"apiVersion": "apps/v1", "kind": "X", "spec": spec}));
            let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": ours}});
            let entries: [ManagedFieldsEntry; 1] = [serde_json::from_value(entry).expect("an entry")];
            is_unfinished(&kind(declared), &kind(answer), &entries)
        };
        let ours = || json!({"f:ordinals": {}, "f:nodeSelector": {}});
        let declared = || json!({"ordinals": {}, "nodeSelector": {}});
        assert!(check(declared(), json!({}), ours()));
        assert!(check(declared(), json!({"ordinals": null}), ours()));
        assert!(!check(declared(), json!({"ordinals": {"start": 0}}), ours()));
        assert!(!check(declared(), json!({}), json!({})), "it is not ours");
        assert!(!check(json!({"ordinals": {"start": 1}}), json!({}), json!({"f:ordinals": {"f:start": {}}})));
        let items = |item: Value| json!({"items": [item]});
        let ours = json!({"f:items": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:m": {}}}});
        assert!(check(items(json!({"name": "a", "m": {}})), items(json!({"name": "a"})), ours));
        let nested = |declared: Value| check(declared, json!({}), json!({"f:outer": {"f:inner": {}}}));
        assert!(nested(json!({"outer": {"inner": {}}})));
        assert!(!nested(json!({"outer": {"inner": {}, "x": 1}})), "it is not stored");
    }
    #[test]
    fn empty_lists_and_maps_of_them_are_kept_without_a_trace() {
        let cases = [
            (json!([]), true),
            (json!({"a": []}), true),
            (json!({"a": {"b": []}}), true),
            (json!({}), false),
            (json!({"a": {}}), false),
            (json!({"a": [], "b": [1]}), false),
            (json!([1]), false),
            (json!(""), false),
        ];
        for (value, traceless) in cases {
            assert_eq!(is_traceless(&value), traceless, "{value}");
        }
    }
}
