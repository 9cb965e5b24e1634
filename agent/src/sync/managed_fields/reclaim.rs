//! Takes list items over that another client put in the place of ours.

use serde_json::{Map, Value};

use super::entry::{ManagedFieldsEntry, item_nodes};
use crate::model::metadata::FIELD_MANAGER;
use crate::model::object::Object;

/// Makes list items that another client put in the place of ours our own, so that the next apply removes them: a Service's
/// port 80 that a user edits to 81 is, to a server-side apply, one item less of ours and one more of the user's.
///
/// `entries` is `metadata.managedFields` as JSON; the items move between its entries. An item is taken only if it is
/// identified by keys and not declared, in a list that misses an item of ours, and from the manager that wrote last of those
/// that have such items: from several managers if they wrote in the same second, because the times of entries are no finer.
/// Returns `false` when there is nothing to take.
pub fn reclaim(declared: &Object, entries: &mut [Value]) -> bool {
    let parsed: Vec<Option<ManagedFieldsEntry>> =
        entries.iter().map(|entry| serde_json::from_value(entry.clone()).ok()).collect();
    let is_ours = |entry: &Option<ManagedFieldsEntry>| entry.as_ref().is_some_and(ManagedFieldsEntry::is_ours);
    let Some(own) = parsed.iter().position(is_ours) else { return false };
    let mut others: Vec<(usize, &ManagedFieldsEntry)> = parsed
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| Some((index, entry.as_ref()?)))
        .filter(|(_, e)| e.manager != FIELD_MANAGER && e.operation == "Update" && e.subresource.is_empty())
        .collect();
    others.sort_by(|(_, a), (_, b)| b.time.cmp(&a.time));
    let mut ours = entries[own]["fieldsV1"].take();
    let mut taken: Option<&str> = None;
    for (index, other) in others {
        if taken.is_some_and(|time| time != other.time) {
            break;
        }
        if take_fields(&declared.0, &mut ours, &mut entries[index]["fieldsV1"]) {
            taken = Some(&other.time);
        }
    }
    entries[own]["fieldsV1"] = ours;
    taken.is_some()
}

/// Moves items below a declared map from another manager's node to ours; `true` if there were any.
fn take_fields(declared: &Map<String, Value>, ours: &mut Value, theirs: &mut Value) -> bool {
    let (Some(ours), Some(theirs)) = (ours.as_object_mut(), theirs.as_object_mut()) else { return false };
    let mut taken = false;
    for (key, value) in declared {
        let field = format!("f:{key}");
        let Some(theirs) = theirs.get_mut(&field) else { continue };
        taken |= take_value(value, ours, &field, theirs);
    }
    taken
}

/// Moves items below a declared value to the node that our map has, or gets, under this key; `true` if there were any.
fn take_value(declared: &Value, ours: &mut Map<String, Value>, key: &str, theirs: &mut Value) -> bool {
    let missing = !ours.contains_key(key);
    let node = ours.entry(key.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    let took = match declared {
        Value::Object(map) => take_fields(map, node, theirs),
        Value::Array(items) => take_items(items, node, theirs),
        _ => false,
    };
    if missing && !took {
        ours.remove(key);
    }
    took
}

/// Moves items of a declared list, and of the lists in its items; `true` if there were any.
fn take_items(declared: &[Value], ours: &mut Value, theirs: &mut Value) -> bool {
    let (Some(ours), Some(theirs)) = (ours.as_object_mut(), theirs.as_object_mut()) else { return false };
    let is_complete = declared.iter().all(|item| item_nodes(item, ours).next().is_some());
    let mut taken = false;
    for item in declared {
        let elements: Vec<String> = item_nodes(item, theirs).map(|(element, _)| element.to_owned()).collect();
        for element in elements {
            let Some(node) = theirs.get_mut(&element) else { continue };
            taken |= take_value(item, ours, &element, node);
        }
    }
    if is_complete {
        return taken;
    }
    let undeclared = |element: &str, node: &Value| {
        let one = Map::from_iter([(element.to_owned(), node.clone())]);
        element.starts_with("k:") && declared.iter().all(|item| item_nodes(item, &one).next().is_none())
    };
    let elements: Vec<String> =
        theirs.iter().filter(|(element, node)| undeclared(element, node)).map(|(element, _)| element.clone()).collect();
    for element in elements {
        if let Some(node) = theirs.remove(&element) {
            ours.insert(element, node);
            taken = true;
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{fields, object, service};
    use super::*;

    const MOVED: &str = "k:{\"port\":54,\"protocol\":\"UDP\"}";

    fn entry(second: u32, manager: &str, operation: &str, fields: &Value) -> Value {
        let time = format!("2026-01-01T00:00:0{second}Z");
        json!({"manager": manager, "operation": operation, "time": time, "fieldsV1": fields})
    }

    /// Our entry without the port 53 for UDP.
    fn ours() -> Value {
        let mut ours = fields();
        ours["f:spec"]["f:ports"].as_object_mut().expect("a map").remove("k:{\"port\":53,\"protocol\":\"UDP\"}");
        ours
    }

    fn theirs() -> Value {
        json!({"f:spec": {"f:ports": {MOVED: {".": {}, "f:port": {}}, "k:{\"port\":53,\"protocol\":\"TCP\"}": {"f:nodePort": {}}}}})
    }

    #[test]
    fn items_in_the_place_of_ours_are_taken() {
        let declared = object(service());
        let mut whole = [entry(1, FIELD_MANAGER, "Apply", &fields()), entry(1, "kubectl-edit", "Update", &theirs())];
        assert!(!reclaim(&declared, &mut whole), "nothing of ours is missing");
        let mut entries = [entry(1, FIELD_MANAGER, "Apply", &ours()), entry(1, "kubectl-edit", "Update", &theirs())];
        assert!(reclaim(&declared, &mut entries));
        assert!(entries[0]["fieldsV1"]["f:spec"]["f:ports"].get(MOVED).is_some());
        let mut rest = theirs();
        rest["f:spec"]["f:ports"].as_object_mut().expect("a map").remove(MOVED);
        assert_eq!(entries[1]["fieldsV1"], rest, "the rest stays theirs");
    }

    #[test]
    fn items_of_lists_within_items_are_taken() {
        let declared = object(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": {"containers": [
                {"name": "a", "ports": [{"containerPort": 81, "name": "http"}]}, {"name": "b", "ports": [{"containerPort": 90}]},
            ]}}}}),
        );
        let entry_of = |second, manager, operation, containers: Value| {
            let fields = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": containers}}}});
            entry(second, manager, operation, &fields)
        };
        let (a, b) = ("k:{\"name\":\"a\"}", "k:{\"name\":\"b\"}");
        let (declared_port, edited) =
            ("k:{\"containerPort\":90,\"protocol\":\"TCP\"}", "k:{\"containerPort\":80,\"protocol\":\"TCP\"}");
        let port = json!({".": {}, "f:containerPort": {}});
        let ours = json!({a: {".": {}, "f:name": {}}, b: {".": {}, "f:name": {}, "f:ports": {declared_port: port}}});
        let theirs = json!({a: {"f:ports": {edited: port}}, b: {"f:ports": {declared_port: {"f:name": {}}}}});
        let mut entries =
            [entry_of(1, FIELD_MANAGER, "Apply", ours.clone()), entry_of(2, "kubectl-edit", "Update", theirs)];
        assert!(reclaim(&declared, &mut entries));
        let mut expected = ours;
        expected[a]["f:ports"] = json!({edited: port});
        assert_eq!(entries[0], entry_of(1, FIELD_MANAGER, "Apply", expected));
        let rest = json!({a: {"f:ports": {}}, b: {"f:ports": {declared_port: {"f:name": {}}}}});
        assert_eq!(
            entries[1],
            entry_of(2, "kubectl-edit", "Update", rest),
            "what is beside declared items stays theirs"
        );
        let ours = json!({b: {".": {}, "f:name": {}, "f:ports": {declared_port: port}}});
        let theirs = json!({a: {".": {}, "f:name": {}, "f:ports": {edited: port}}, "k:{\"name\":\"z\"}": {".": {}}});
        let mut entries = [entry_of(1, FIELD_MANAGER, "Apply", ours), entry_of(2, "kubectl-edit", "Update", theirs)];
        assert!(reclaim(&declared, &mut entries));
        let containers = &entries[0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"];
        assert!(containers.get("k:{\"name\":\"z\"}").is_some(), "a declared item was missing before: {containers}");
    }

    #[test]
    fn items_are_taken_from_the_last_manager_that_has_some() {
        let label = json!({"f:metadata": {"f:labels": {"f:team": {}}}});
        let older = json!({"f:spec": {"f:ports": {"k:{\"port\":90,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}});
        let mut entries = [
            entry(1, FIELD_MANAGER, "Apply", &ours()),
            entry(2, "older", "Update", &older),
            entry(3, "kubectl-edit", "Update", &theirs()),
            entry(3, "kubectl-label", "Update", &label),
            entry(4, "kubectl-annotate", "Update", &label),
        ];
        assert!(reclaim(&object(service()), &mut entries), "the manager that wrote last has no such item");
        assert!(entries[0]["fieldsV1"]["f:spec"]["f:ports"].get(MOVED).is_some());
        assert_eq!(entries[1]["fieldsV1"], older, "an item that a client added before stays its own");
    }

    #[test]
    fn nothing_but_the_items_becomes_ours() {
        let declared = object(service());
        let (mut own, mut other) = (ours(), theirs());
        own["f:spec"].as_object_mut().expect("a map").remove("f:selector");
        other["f:spec"]["f:selector"] = json!({});
        other["f:metadata"] = json!({"f:labels": {"f:x": {}}});
        let mut expected = own.clone();
        expected["f:spec"]["f:ports"][MOVED] = json!({".": {}, "f:port": {}});
        let mut entries = [entry(1, FIELD_MANAGER, "Apply", &own), entry(1, "kubectl-edit", "Update", &other)];
        assert!(reclaim(&declared, &mut entries));
        assert_eq!(entries[0]["fieldsV1"], expected);
        own["f:spec"].as_object_mut().expect("a map").remove("f:ports");
        let mut entries = [entry(1, FIELD_MANAGER, "Apply", &own), entry(1, "kubectl-edit", "Update", &other)];
        assert!(reclaim(&declared, &mut entries), "all of ours are missing");
        assert!(entries[0]["fieldsV1"]["f:spec"]["f:ports"].get(MOVED).is_some(), "{entries:?}");
    }

    #[test]
    fn items_of_appliers_and_of_subresources_stay() {
        let declared = object(service());
        let mut status = entry(1, "kubectl-edit", "Update", &theirs());
        status["subresource"] = "status".into();
        let others = [entry(1, "kubectl", "Apply", &theirs()), entry(1, FIELD_MANAGER, "Update", &theirs()), status];
        for other in others {
            let mut entries = [entry(1, FIELD_MANAGER, "Apply", &ours()), other];
            let before = entries.clone();
            assert!(!reclaim(&declared, &mut entries));
            assert_eq!(entries, before);
        }
    }

    #[test]
    fn items_of_managers_that_wrote_in_one_second_are_all_taken() {
        let more = "k:{\"port\":90,\"protocol\":\"TCP\"}";
        let other = json!({"f:spec": {"f:ports": {more: {".": {}, "f:port": {}}}}});
        let mut entries = [
            entry(1, FIELD_MANAGER, "Apply", &ours()),
            entry(3, "one", "Update", &theirs()),
            entry(3, "another", "Update", &other),
        ];
        assert!(reclaim(&object(service()), &mut entries));
        let ports = &entries[0]["fieldsV1"]["f:spec"]["f:ports"];
        assert!(ports.get(MOVED).is_some() && ports.get(more).is_some(), "{ports}");
    }
}
