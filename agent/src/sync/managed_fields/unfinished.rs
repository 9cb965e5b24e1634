//! The next apply: what the API server does not do with the first one, it does then.

use serde_json::{Map, Value};

use super::built_in::{MAPS_OF_TEXTS, SET_WITH_OTHERS, is_built_in};
use super::compare::{Basis, differences};
use super::entry::{ManagedFieldsEntry, item_nodes, node_of, nodes_of_item, our_entry};
use crate::model::object::Object;

/// `true` if the answer to an apply is not as declared yet, and the next apply makes it so.
pub fn is_unfinished(declared: &Object, answer: &Object, entries: &[ManagedFieldsEntry]) -> bool {
    has_vanished(declared, answer, entries) || is_set_with_others(declared, answer, entries)
}

/// `true` if it lacks a map that is declared empty and that our entry has. An apply that takes away all of a map's fields takes the
/// map away too, although it is declared.
fn has_vanished(declared: &Object, answer: &Object, entries: &[ManagedFieldsEntry]) -> bool {
    // Empty ones are not stored.
    let unstored: &[&str] = if is_built_in(declared.group()) { &MAPS_OF_TEXTS } else { &[] };
    let Some(ours) = our_entry(entries) else { return false };
    is_in_map(&declared.0, &answer.0, &ours.fields, unstored)
}

/// `true` if the API server has set a declared field because the apply changed another one.
fn is_set_with_others(declared: &Object, answer: &Object, entries: &[ManagedFieldsEntry]) -> bool {
    let mut paths = SET_WITH_OTHERS.iter().filter(|(group, kind, _)| declared.is_kind(group, kind)).peekable();
    paths.peek().is_some() && {
        let different = differences(declared, answer, entries, Basis::Answer);
        paths.any(|(_, _, path)| different.iter().any(|one| one == path))
    }
}

fn is_in_map(
    declared: &Map<String, Value>,
    answer: &Map<String, Value>,
    ours: &Map<String, Value>,
    unstored: &[&str],
) -> bool {
    declared.iter().any(|(name, value)| {
        let Some(node) = node_of(name, ours) else { return false };
        match answer.get(name) {
            None | Some(Value::Null) => is_hollow(value) && !unstored.contains(&name.as_str()),
            Some(answer) => is_in(value, answer, node, unstored),
        }
    })
}

/// `true` for a map of nothing but empty maps, which goes with them.
fn is_hollow(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(is_hollow))
}

fn is_in(declared: &Value, answer: &Value, ours: &Map<String, Value>, unstored: &[&str]) -> bool {
    match (declared, answer) {
        (Value::Object(declared), Value::Object(answer)) => is_in_map(declared, answer, ours, unstored),
        (Value::Array(items), Value::Array(answer)) => (0..items.len()).any(|index| {
            nodes_of_item(items, index, ours).into_iter().next().is_some_and(|(element, node)| {
                let one = Map::from_iter([(element.to_owned(), Value::Object(Map::new()))]);
                let same = answer.iter().find(|item| item_nodes(item, &one).next().is_some());
                same.is_some_and(|answer| is_in(&items[index], answer, node, unstored))
            })
        }),
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
}
