//! Fields of which an object may have one alone, such as `value` and `valueFrom` of a variable, or the sources of a volume.
//!
//! A server-side apply adds fields, and takes away only those that the sync owned. So when another client owns one member of such a
//! union and another one is declared, the object would have both, and the API server refuses that. The refusal names the field.

use serde_json::{Map, Value, json};

use super::adopt::put_our_entry;
use super::entry::{ManagedFieldsEntry, item_nodes};
use crate::model::built_in::is_built_in;
use crate::model::object::Object;

/// A refused field, and the member beside it that is no map. All other members are maps.
const SCALARS: [(&str, &str); 1] = [("valueFrom", "value")];

/// The fields and lists of built-in kinds of which the maps exclude each other. Elsewhere a refusal that names a declared field says
/// nothing about those beside it: it may be the words of an admission webhook.
const UNIONS: [&str; 8] =
    ["env", "livenessProbe", "postStart", "preStop", "readinessProbe", "startupProbe", "valueFrom", "volumes"];

/// Makes the members that stand beside a declared one ours alone, so that the next apply removes them. `refused` are the fields
/// that the API server's refusal names, with `*` for those that are declared, and `whole` is the object that it is about. `entries` is `metadata.managedFields` as
/// JSON. Returns `false` when there is nothing to take.
pub fn take_members(declared: &Object, whole: &Object, refused: &[String], entries: &mut Vec<Value>) -> bool {
    if !is_built_in(declared.id().group()) {
        return false;
    }
    let mut taken: Vec<Vec<String>> = Vec::new();
    let parsed: Vec<ManagedFieldsEntry> =
        entries.iter().map(|entry| serde_json::from_value(entry.clone()).unwrap_or_default()).collect();
    let all: Vec<&Map<String, Value>> = parsed.iter().map(|entry| &entry.fields).collect();
    for path in refused {
        let names = names(path);
        let (declared, live) = (Value::Object(declared.0.clone()), Value::Object(whole.0.clone()));
        find(&declared, &live, &all, &names, &mut Vec::new(), &mut taken);
    }
    taken.sort_unstable();
    taken.dedup();
    for entry in entries.iter_mut() {
        if let Some(fields) = entry.get_mut("fieldsV1") {
            taken.iter().for_each(|path| remove(fields, path));
        }
    }
    entries.retain(|entry| entry["fieldsV1"].as_object().is_none_or(|fields| !fields.is_empty()));
    if !taken.is_empty() {
        put_our_entry(entries, &declared.api_version().into(), |fields| {
            taken.iter().for_each(|path| insert(fields, path));
        });
    }
    !taken.is_empty()
}

/// The names of fields on the way: `spec.volumes[0].emptyDir` is `spec`, `volumes`, `emptyDir`. Places in lists are those of the object
/// as it would have become, and are not known of this one.
fn names(path: &str) -> Vec<&str> {
    path.split('.').map(|name| name.split('[').next().unwrap_or(name)).collect()
}

/// Finds the members, each as the keys of entries on the way to it. `all` are the nodes of all managers.
fn find(
    declared: &Value,
    live: &Value,
    all: &[&Map<String, Value>],
    names: &[&str],
    way: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) {
    match (declared, live, names) {
        (Value::Object(declared), Value::Object(live), [field]) => {
            let parent = way.iter().rev().find_map(|key| key.strip_prefix("f:")).unwrap_or_default();
            let members =
                members(declared, live, field, parent).map(|member| [&**way, &[format!("f:{member}")]].concat());
            found.extend(members);
        }
        (Value::Object(declared), Value::Object(live), [name, rest @ ..]) => {
            let (Some(declared), Some(live)) = (declared.get(*name), live.get(*name)) else { return };
            let field = format!("f:{name}");
            let below: Vec<_> = all.iter().filter_map(|node| node.get(&field)?.as_object()).collect();
            way.push(field);
            find(declared, live, &below, rest, way, found);
            way.pop();
        }
        (Value::Array(declared), Value::Array(live), names) => {
            for item in declared {
                let Some(element) = element(item, all) else { continue };
                let one = Map::from_iter([(element.clone(), Value::Object(Map::new()))]);
                let Some(live) = live.iter().find(|live| item_nodes(live, &one).next().is_some()) else { continue };
                let below: Vec<_> = all.iter().filter_map(|list| list.get(&element)?.as_object()).collect();
                way.push(element);
                find(item, live, &below, names, way, found);
                way.pop();
            }
        }
        _ => {}
    }
}

/// The key that entries have of a list item. An item without an owner has none; lists with unions in them are keyed by name.
fn element(item: &Value, all: &[&Map<String, Value>]) -> Option<String> {
    let owned = all.iter().flat_map(|list| item_nodes(item, list)).next().map(|(element, _)| element.to_owned());
    owned.or_else(|| Some(format!("k:{}", json!({"name": item.get("name")?.as_str()?}))))
}

/// The members of a union that are there and not declared: the refused field itself, or those beside it. `parent` is the field or
/// list that they are in.
fn members<'a>(
    declared: &'a Map<String, Value>,
    live: &'a Map<String, Value>,
    field: &'a str,
    parent: &str,
) -> impl Iterator<Item = &'a String> {
    let is_declared = field == "*" || declared.get(field).is_some_and(|value| !value.is_null());
    let is_union = UNIONS.contains(&parent);
    live.iter()
        .filter(move |(name, value)| match is_declared {
            false => *name == field,
            true => {
                is_union && !declared.contains_key(*name) && (value.is_object() || SCALARS.contains(&(field, name)))
            }
        })
        .map(|(name, _)| name)
}

fn remove(fields: &mut Value, path: &[String]) {
    let [key, rest @ ..] = path else { return };
    let Some(fields) = fields.as_object_mut() else { return };
    if rest.is_empty() {
        fields.remove(key);
        return;
    }
    let Some(node) = fields.get_mut(key) else { return };
    let had = node.as_object().is_some_and(|node| !node.is_empty());
    remove(node, rest);
    // An empty node would mean all that is below.
    if had && node.as_object().is_some_and(Map::is_empty) {
        fields.remove(key);
    }
}

fn insert(fields: &mut Map<String, Value>, path: &[String]) {
    let [key, rest @ ..] = path else { return };
    let node = fields.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(node) = node {
        insert(node, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::object;
    use super::*;
    use crate::model::metadata::FIELD_MANAGER;

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsV1": fields})
    }

    fn deployment(env: Value, volumes: Value, strategy: Value) -> Object {
        let containers = json!([{"name": "side", "image": "s"}, {"name": "app", "image": "a", "env": env}]);
        let spec = json!({"template": {"spec": {"containers": containers, "volumes": volumes}}, "strategy": strategy});
        object(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": spec}))
    }

    fn item(name: &str, below: Value) -> Value {
        let mut item = json!({".": {}, "f:name": {}});
        item.as_object_mut().expect("a map").extend(below.as_object().expect("a map").clone());
        json!({format!("k:{{\"name\":\"{name}\"}}"): item})
    }

    fn fields(env: Value, volumes: Value, strategy: Value) -> Value {
        let containers = item("app", json!({"f:env": item("A", env)}));
        let spec = json!({"f:containers": containers, "f:volumes": item("data", volumes)});
        json!({"f:spec": {"f:template": {"f:spec": spec}, "f:strategy": strategy}})
    }

    #[test]
    fn members_beside_declared_ones_become_ours() {
        let declared = deployment(
            json!([{"name": "B", "value": "b"}, {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
            json!([{"name": "data", "hostPath": {"path": "/x"}}]),
            json!({"type": "Recreate"}),
        );
        let live = deployment(
            json!([{"name": "A", "value": "a"}]),
            json!([{"name": "data", "emptyDir": {}}]),
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}),
        );
        let theirs = fields(
            json!({"f:value": {}}),
            json!({"f:emptyDir": {}}),
            json!({"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}}),
        );
        let refused = [
            "spec.template.spec.containers[0].env[1].valueFrom",
            "spec.template.spec.volumes[0].hostPath",
            "spec.strategy.rollingUpdate",
        ];
        let refused = refused.map(str::to_owned);
        let mut entries = vec![entry("kubectl-edit", "Update", &theirs)];
        assert!(take_members(&declared, &live, &refused, &mut entries));
        assert_eq!(entries[0]["fieldsV1"], fields(json!({}), json!({}), json!({"f:type": {}})));
        let ours = &entries[1]["fieldsV1"]["f:spec"];
        assert_eq!(entries[1]["manager"], FIELD_MANAGER);
        assert_eq!(ours["f:strategy"], json!({"f:rollingUpdate": {}}));
        let of_pod = &ours["f:template"]["f:spec"];
        assert_eq!(of_pod["f:volumes"], json!({"k:{\"name\":\"data\"}": {"f:emptyDir": {}}}));
        let env = &of_pod["f:containers"]["k:{\"name\":\"app\"}"]["f:env"];
        assert_eq!(*env, json!({"k:{\"name\":\"A\"}": {"f:value": {}}}));
    }

    #[test]
    fn the_other_one_of_several_in_a_field_becomes_ours() {
        let variable = |source: &str| json!([{"name": "A", "valueFrom": {source: {"name": "n", "key": "k"}}}]);
        let declared = deployment(variable("secretKeyRef"), json!([]), json!({}));
        let live = deployment(variable("configMapKeyRef"), json!([]), json!({}));
        let theirs = fields(json!({"f:valueFrom": {"f:configMapKeyRef": {}}}), json!({}), json!({}));
        let mut entries = vec![entry("kubectl-edit", "Update", &theirs)];
        let refused = ["spec.template.spec.containers[1].env[0].valueFrom.*".to_owned()];
        assert!(take_members(&declared, &live, &refused, &mut entries));
        let containers = &entries[1]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"];
        let env = &containers["k:{\"name\":\"app\"}"]["f:env"]["k:{\"name\":\"A\"}"];
        assert_eq!(*env, json!({"f:valueFrom": {"f:configMapKeyRef": {}}}));
    }

    #[test]
    fn a_member_without_an_owner_becomes_ours_too() {
        let declared = deployment(json!([]), json!([]), json!({"type": "Recreate"}));
        let live = deployment(json!([]), json!([]), json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}));
        let own = json!({"f:spec": {"f:strategy": {"f:type": {}}}});
        let mut entries = vec![entry(FIELD_MANAGER, "Apply", &own)];
        assert!(take_members(&declared, &live, &["spec.strategy.rollingUpdate".to_owned()], &mut entries));
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0]["fieldsV1"]["f:spec"]["f:strategy"], json!({"f:type": {}, "f:rollingUpdate": {}}));
    }

    #[test]
    fn a_member_of_an_item_without_an_owner_becomes_ours_too() {
        let variable = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
        let declared = deployment(variable, json!([]), json!({}));
        let live = deployment(json!([{"name": "B", "value": "b"}, {"name": "A", "value": "a"}]), json!([]), json!({}));
        let mut entries = vec![entry(FIELD_MANAGER, "Apply", &json!({"f:metadata": {"f:labels": {"f:a": {}}}}))];
        let refused = ["spec.template.spec.containers[1].env[0].valueFrom".to_owned()];
        assert!(take_members(&declared, &live, &refused, &mut entries));
        let env = json!({"k:{\"name\":\"A\"}": {"f:value": {}}});
        let containers = json!({"k:{\"name\":\"app\"}": {"f:env": env}});
        assert_eq!(entries[0]["fieldsV1"]["f:spec"], json!({"f:template": {"f:spec": {"f:containers": containers}}}));
    }

    #[test]
    fn what_is_no_member_stays() {
        let declared = deployment(json!([]), json!([]), json!({"type": "Recreate"}));
        let live = deployment(json!([{"name": "A", "value": "a"}]), json!([]), json!({"type": "Recreate"}));
        let theirs = fields(json!({"f:value": {}}), json!({}), json!({}));
        let mut entries = vec![entry("kubectl-edit", "Update", &theirs)];
        for path in
            ["spec.replicas", "spec.template.spec.containers[1].env[0].value", "metadata.name", "spec.strategy.type"]
        {
            assert!(!take_members(&declared, &live, &[path.to_owned()], &mut entries), "{path}");
        }
        assert_eq!(entries, [entry("kubectl-edit", "Update", &theirs)]);
    }
    #[test]
    fn members_of_a_union_are_maps_beside_the_declared_one() {
        let map = |value: Value| value.as_object().expect("a map").clone();
        let found = |declared: Value, live: Value, field: &str, parent: &str| {
            let (declared, live) = (map(declared), map(live));
            members(&declared, &live, field, parent).cloned().collect::<Vec<_>>()
        };
        let live = || json!({"exec": {}, "httpGet": {}, "periodSeconds": 1});
        let declared = || json!({"exec": {}});
        assert_eq!(found(declared(), live(), "exec", "livenessProbe"), ["httpGet"]);
        assert_eq!(found(declared(), live(), "*", "livenessProbe"), ["httpGet"]);
        assert_eq!(found(declared(), live(), "exec", "other"), [""; 0], "the refusal may be a webhook's");
        assert_eq!(found(declared(), live(), "httpGet", "other"), ["httpGet"], "it is the refused one");
        let env =
            found(json!({"valueFrom": {}}), json!({"valueFrom": {}, "value": "a", "name": "b"}), "valueFrom", "env");
        assert_eq!(env, ["value"]);
    }

    #[test]
    fn a_field_is_removed_with_the_nodes_that_have_nothing_else() {
        let check = |fields: Value, left: Value| {
            let mut fields = fields;
            remove(&mut fields, &["f:a".to_owned(), "f:b".to_owned()]);
            assert_eq!(fields, left);
        };
        check(json!({"f:a": {"f:b": {}}}), json!({}));
        check(json!({"f:a": {"f:b": {}, "f:c": {}}}), json!({"f:a": {"f:c": {}}}));
        check(json!({"f:a": {}}), json!({"f:a": {}}));
        check(json!({"f:x": {}}), json!({"f:x": {}}));
    }
}
