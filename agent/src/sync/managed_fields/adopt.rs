//! Takes the declared fields of an object over from the tools that wrote it before.

use serde_json::{Map, Value, json};

use super::entry::{ManagedFieldsEntry, item_nodes, our_entry_mut};
use crate::model::metadata::{FIELD_MANAGER, annotation};
use crate::model::object::Object;

/// A tool that writes objects from manifests, by its field manager. An object that is declared is handed over from it.
#[derive(Debug, PartialEq, Eq)]
pub struct FormerWriter {
    /// The field manager.
    pub manager: &'static str,
    /// The operation of its entries; empty for both.
    operation: &'static str,
    /// The reason why it is likely to write the object again, and the way to end that.
    pub warning: Option<&'static str>,
}

const HELM: &str = "the next upgrade of its Helm release writes the object as the chart has it; \
    take the object out of the chart, or remove the release without its objects";

/// All of these tools.
const FORMER_WRITERS: [FormerWriter; 11] = [
    writer("kubectl-client-side-apply", "Update", None),
    writer("kubectl-create", "Update", None),
    writer("kubectl-edit", "Update", None),
    // The API server's own name for all that was there before the first server-side apply.
    writer("before-first-apply", "Update", None),
    writer("helm", "", Some(HELM)),
    writer("kustomize-controller", "", None),
    writer("helm-controller", "", None),
    writer("flux-client-side-apply", "", None),
    writer("argocd-controller", "", None),
    writer("argocd-application-controller", "", None),
    // Config Sync. Its `Apply` entry is the sync's own.
    writer(FIELD_MANAGER, "Update", None),
];

const fn writer(manager: &'static str, operation: &'static str, warning: Option<&'static str>) -> FormerWriter {
    FormerWriter { manager, operation, warning }
}

/// The tool that an entry is of.
fn former_writer(entry: &ManagedFieldsEntry) -> Option<&'static FormerWriter> {
    let is_of = |writer: &&FormerWriter| {
        writer.manager == entry.manager && [entry.operation.as_str(), ""].contains(&writer.operation)
    };
    FORMER_WRITERS.iter().filter(|_| entry.subresource.is_empty()).find(is_of)
}

/// `true` if [`adopt`] may have something to take: a former writer has an entry, or there are no entries, and then the API server
/// makes one of all fields at the next apply (`before-first-apply`).
pub fn has_former_writer(entries: &[ManagedFieldsEntry]) -> bool {
    entries.is_empty() || entries.iter().any(|entry| former_writer(entry).is_some())
}

/// Takes the declared fields out of the entries of former writers, so that the apply that follows makes them ours alone, and a
/// field that is not declared any more goes. Where a declared list item is not there yet, items that are not declared become
/// ours and go with that apply: they stand in its place, like a Service's port under another number. All other fields stay as
/// they are.
///
/// `entries` is `metadata.managedFields` as JSON. Returns the writers from which something was taken.
pub fn adopt(declared: &Object, entries: &mut Vec<Value>) -> Vec<&'static FormerWriter> {
    let parsed: Vec<ManagedFieldsEntry> =
        entries.iter().map(|entry| serde_json::from_value(entry.clone()).unwrap_or_default()).collect();
    let all: Vec<&Map<String, Value>> = parsed.iter().map(|entry| &entry.fields).collect();
    let own = parsed.iter().position(ManagedFieldsEntry::is_ours);
    let mut ours = own.and_then(|own| parsed.get(own)).map(|entry| entry.fields.clone()).unwrap_or_default();
    let mut from: Vec<&'static FormerWriter> = Vec::new();
    let mut version = Value::Null;
    for (entry, before) in entries.iter_mut().zip(&parsed) {
        let Some(writer) = former_writer(before) else { continue };
        let Some(theirs) = entry.get_mut("fieldsV1").and_then(Value::as_object_mut) else { continue };
        if take_fields(&declared.0, &all, theirs, &mut ours) {
            version = entry["apiVersion"].clone();
            if !from.contains(&writer) {
                from.push(writer);
            }
        }
    }
    match own {
        Some(own) => entries[own]["fieldsV1"] = Value::Object(ours),
        None if from.is_empty() => {}
        None => entries.push(our_entry(&version, ours)),
    }
    entries.retain(|entry| entry["fieldsV1"].as_object().is_none_or(|fields| !fields.is_empty()));
    from
}

/// Changes our entry, or makes one.
pub(super) fn put_our_entry(entries: &mut Vec<Value>, version: &Value, change: impl FnOnce(&mut Map<String, Value>)) {
    match our_entry_mut(entries).and_then(|entry| entry.get_mut("fieldsV1")?.as_object_mut()) {
        Some(fields) => change(fields),
        None => {
            let mut fields = Map::new();
            change(&mut fields);
            entries.push(our_entry(version, fields));
        }
    }
}

/// Makes the annotation that names the sync a field of our entry, if there is one. The apply that follows may fail, and the object would be
/// one of no sync.
pub fn keep_proof(entries: &mut [Value]) {
    if let Some(entry) = our_entry_mut(entries) {
        entry["fieldsV1"]["f:metadata"]["f:annotations"][format!("f:{}", annotation::MANAGER)] = json!({});
    }
}

/// An entry of ours with these fields. It is never empty: when no entry is left, the API server makes one of all fields again. The
/// apply that follows writes the annotation.
fn our_entry(version: &Value, mut fields: Map<String, Value>) -> Value {
    if fields.is_empty() {
        let field = format!("f:{}", annotation::DECLARED_HASH);
        fields.insert("f:metadata".to_owned(), json!({"f:annotations": {field: {}}}));
    }
    json!({
        "manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": version, "fieldsType": "FieldsV1", "fieldsV1": fields,
    })
}

/// Takes what is declared of a map out of a former writer's node; `true` if there was any. `all` are the nodes of all entries.
fn take_fields(
    declared: &Map<String, Value>,
    all: &[&Map<String, Value>],
    theirs: &mut Map<String, Value>,
    ours: &mut Map<String, Value>,
) -> bool {
    let mut taken = false;
    for (key, value) in declared.iter().filter(|(_, value)| !value.is_null()) {
        let field = format!("f:{key}");
        let Some(node) = theirs.get_mut(&field).and_then(Value::as_object_mut) else { continue };
        let structured = !node.is_empty() && (value.is_object() || value.is_array());
        if structured {
            let all: Vec<&Map<String, Value>> = all.iter().filter_map(|node| node.get(&field)?.as_object()).collect();
            let missing = !ours.contains_key(&field);
            let mut empty = Map::new();
            let own = ours.entry(field.clone()).or_insert_with(|| Value::Object(Map::new()));
            let own = own.as_object_mut().unwrap_or(&mut empty);
            taken |= match value {
                Value::Object(map) => take_fields(map, &all, node, own),
                _ => take_items(value.as_array().map_or(&[], Vec::as_slice), &all, node, own),
            };
            taken |= node.remove(".").is_some();
            if missing && own.is_empty() {
                ours.remove(&field);
            }
        }
        if !structured || node.is_empty() {
            theirs.remove(&field);
            taken = true;
        }
    }
    taken
}

/// Takes the items of a declared list, each as a whole: an item of which another client owns a default cannot go.
fn take_items(
    declared: &[Value],
    all: &[&Map<String, Value>],
    theirs: &mut Map<String, Value>,
    ours: &mut Map<String, Value>,
) -> bool {
    let means = |item: &Value, list: &Map<String, Value>| item_nodes(item, list).next().is_some();
    let is_missing = |item: &Value| !all.iter().any(|list| means(item, list));
    let one_is_missing = declared.iter().any(is_missing);
    let mut taken = false;
    let elements: Vec<String> = theirs.keys().filter(|element| *element != ".").cloned().collect();
    for element in elements {
        let one = Map::from_iter(theirs.get(&element).map(|node| (element.clone(), node.clone())));
        if let Some(item) = declared.iter().find(|item| means(item, &one)) {
            // In an item that is ours already, a former writer has only added to it.
            let added = theirs.get(&element).and_then(Value::as_object).filter(|_| ours.contains_key(&element));
            match added.map(|node| undeclared_items(item, node)).filter(|added| !added.is_empty()) {
                Some(added) => {
                    taken |= theirs.insert(element, Value::Object(added.clone())) != Some(Value::Object(added))
                }
                None => taken |= theirs.remove(&element).is_some(),
            }
        } else if one_is_missing && element.starts_with("k:") {
            theirs.remove(&element);
            ours.extend(one);
            taken = true;
        }
    }
    taken
}

/// The part of a node that is about items of lists which are not declared.
fn undeclared_items(declared: &Value, node: &Map<String, Value>) -> Map<String, Value> {
    let mut left = Map::new();
    for (key, below) in node.iter().filter_map(|(key, below)| Some((key, below.as_object()?))) {
        let one = Map::from_iter([(key.clone(), Value::Object(below.clone()))]);
        let is_declared = |item: &&Value| item_nodes(item, &one).next().is_some();
        let below = match key.split_once(':') {
            Some(("f", name)) => undeclared_items(&declared[name], below),
            Some(("k" | "v", _)) => match declared.as_array().and_then(|items| items.iter().find(is_declared)) {
                Some(item) => undeclared_items(item, below),
                None => {
                    left.extend(one);
                    continue;
                }
            },
            _ => continue,
        };
        if !below.is_empty() {
            left.insert(key.clone(), Value::Object(below));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::super::fixture::object;
    use super::*;

    /// An entry as an API server writes it.
    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({
            "manager": manager, "operation": operation, "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": fields,
        })
    }

    /// The fields that `kubectl create` owns of a Service with one port: defaults too.
    fn created(port: u16) -> Value {
        let item = format!("k:{{\"port\":{port},\"protocol\":\"TCP\"}}");
        json!({"f:spec": {
            "f:internalTrafficPolicy": {}, "f:selector": {}, "f:sessionAffinity": {}, "f:type": {},
            "f:ports": {".": {}, item: {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}},
        }})
    }

    fn service(ports: &[u16]) -> Object {
        let ports: Vec<Value> = ports.iter().map(|port| json!({"name": format!("p{port}"), "port": port})).collect();
        object(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "labels": {"app": "a"}},
            "spec": {"selector": {"app": "a"}, "ports": ports},
        }))
    }

    fn names(writers: &[&FormerWriter]) -> Vec<&'static str> {
        writers.iter().map(|writer| writer.manager).collect()
    }

    #[test]
    fn the_name_of_the_sync_stays_a_field_of_ours() {
        let ours = json!({"manager": "configsync.gke.io", "operation": "Apply", "fieldsV1": {"f:spec": {}}});
        let theirs = json!({"manager": "x", "operation": "Apply", "fieldsV1": {}});
        let mut entries = [theirs.clone(), ours];
        keep_proof(&mut entries);
        let fields = &entries[1]["fieldsV1"];
        assert_eq!(fields["f:metadata"], json!({"f:annotations": {"f:configsync.gke.io/manager": {}}}));
        assert_eq!((&entries[0], &fields["f:spec"]), (&theirs, &json!({})));
    }

    #[test]
    fn declared_fields_are_taken_and_the_rest_stays() {
        let mut entries = vec![entry("kubectl-create", "Update", &created(80))];
        assert_eq!(names(&adopt(&service(&[80]), &mut entries)), ["kubectl-create"]);
        let rest = json!({"f:spec": {"f:internalTrafficPolicy": {}, "f:sessionAffinity": {}, "f:type": {}}});
        assert_eq!(entries[0], entry("kubectl-create", "Update", &rest));
        assert!(
            entries.len() == 2 && entries[1]["manager"] == FIELD_MANAGER,
            "without one all is adopted anew: {entries:?}"
        );
        assert!(adopt(&service(&[80]), &mut entries).is_empty(), "it is taken once");
        let labels = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:team": {}}}});
        let mut entries = vec![entry("kustomize-controller", "Apply", &labels)];
        adopt(&service(&[80]), &mut entries);
        assert_eq!(entries[0]["fieldsV1"], json!({"f:metadata": {"f:labels": {"f:team": {}}}}));
        let labels = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}});
        let mut entries = vec![entry("helm", "Update", &labels)];
        let writers = adopt(&service(&[80]), &mut entries);
        assert!(writers[0].warning.is_some());
        assert!(entries.len() == 1 && entries[0]["manager"] == FIELD_MANAGER, "{entries:?}");
    }

    #[test]
    fn an_item_in_the_place_of_a_declared_one_becomes_ours() {
        let mut entries = vec![entry("kubectl-create", "Update", &created(80))];
        adopt(&service(&[8080]), &mut entries);
        let item = json!({".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}});
        assert_eq!(
            entries[1]["fieldsV1"],
            json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": item}}})
        );
        assert!(entries[1]["manager"] == FIELD_MANAGER && entries[1]["apiVersion"] == "v1", "{entries:?}");
        assert!(entries[0]["fieldsV1"]["f:spec"].get("f:ports").is_none(), "{entries:?}");

        // Our own entry is kept, and takes it.
        let own = json!({"f:metadata": {"f:labels": {"f:old": {}}}});
        let mut entries = vec![entry(FIELD_MANAGER, "Apply", &own), entry("helm-controller", "Update", &created(80))];
        adopt(&service(&[8080]), &mut entries);
        assert_eq!(entries[0]["fieldsV1"]["f:metadata"], own["f:metadata"]);
        assert!(entries[0]["fieldsV1"].pointer("/f:spec/f:ports").is_some(), "{entries:?}");
    }

    #[test]
    fn an_item_beside_the_declared_ones_stays() {
        let mut fields = created(80);
        let more = json!({".": {}, "f:name": {}, "f:port": {}});
        fields["f:spec"]["f:ports"]["k:{\"port\":443,\"protocol\":\"TCP\"}"] = more.clone();
        let mut entries = vec![entry("argocd-controller", "Apply", &fields)];
        adopt(&service(&[80]), &mut entries);
        assert_eq!(entries[0]["fieldsV1"]["f:spec"]["f:ports"], json!({"k:{\"port\":443,\"protocol\":\"TCP\"}": more}));
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn other_managers_are_left_alone() {
        let mut status = entry("kubectl-edit", "Update", &created(80));
        status["subresource"] = "status".into();
        let before = vec![
            entry("kube-controller-manager", "Update", &created(80)),
            entry("kubectl", "Apply", &created(80)),
            entry("kubectl-create", "Apply", &created(80)),
            status,
        ];
        let mut entries = before.clone();
        assert!(adopt(&service(&[8080]), &mut entries).is_empty());
        assert_eq!(entries, before);
        let parsed =
            |entries: &[Value]| serde_json::from_value::<Vec<ManagedFieldsEntry>>(entries.into()).expect("entries");
        assert!(!has_former_writer(&parsed(&before)) && has_former_writer(&[]));
        assert!(has_former_writer(&parsed(&[entry(FIELD_MANAGER, "Update", &created(80))])));
        assert!(!has_former_writer(&parsed(&[entry(FIELD_MANAGER, "Apply", &created(80))])));
    }
    /// `true` if anything was taken, and the nodes of a former writer and of ours afterwards.
    fn taken(declared: Value, theirs: Value, ours: Value) -> (bool, Value, Value) {
        let map = |value: Value| value.as_object().expect("a map").clone();
        let (declared, mut theirs, mut ours) = (map(declared), map(theirs), map(ours));
        let all = theirs.clone();
        let taken = take_fields(&declared, &[&all], &mut theirs, &mut ours);
        (taken, theirs.into(), ours.into())
    }

    #[test]
    fn what_is_added_to_an_item_of_ours_stays_with_its_writer() {
        let declared = object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "c", "image": "x", "env": [{"name": "A", "value": "1"}]}]},
        }));
        let env = |name: &str| format!("k:{{\"name\":\"{name}\"}}");
        let whole = json!({".": {}, "f:name": {}, "f:value": {}});
        let of = |container: Value| json!({"f:spec": {"f:containers": {env("c"): container}}});
        let container = json!({
            ".": {}, "f:name": {}, "f:image": {}, "f:terminationMessagePath": {},
            "f:env": {".": {}, env("A"): whole, env("U"): whole}, "f:args": {}, "f:ports": {"k:{\"containerPort\":1}": {".": {}}},
        });
        let theirs = entry("kubectl-edit", "Update", &of(container));
        let ours = entry(FIELD_MANAGER, "Apply", &of(json!({"f:image": {}, "f:env": {env("A"): {"f:value": {}}}})));
        let mut entries = vec![theirs.clone(), ours];
        assert_eq!(names(&adopt(&declared, &mut entries)), ["kubectl-edit"]);
        let added = json!({"f:env": {env("U"): whole}, "f:ports": {"k:{\"containerPort\":1}": {".": {}}}});
        assert_eq!(entries[0]["fieldsV1"], of(added));
        assert_eq!(names(&adopt(&declared, &mut entries)), [""; 0], "nothing is left to take");
        // An object that was not the sync's is taken over with its items.
        let mut entries = vec![theirs];
        adopt(&declared, &mut entries);
        assert!(!entries[0]["fieldsV1"].to_string().contains("f:env"), "{entries:?}");
    }

    #[test]
    fn what_is_declared_is_taken_and_leaves_no_empty_node_behind() {
        let none = || json!({});
        let fields = || json!({"f:m": {"f:x": {}}});
        assert_eq!(taken(json!({"m": {"x": 1}}), fields(), none()), (true, none(), none()));
        assert_eq!(taken(json!({"m": {"x": 1}}), fields(), json!({"f:m": {}})), (true, none(), json!({"f:m": {}})));
        assert_eq!(taken(json!({"m": 1}), fields(), none()), (true, none(), none()), "it is no map any more");
        assert_eq!(taken(json!({"m": {"x": 1}}), json!({"f:m": {}}), none()), (true, none(), none()));
        assert_eq!(taken(json!({"m": {"y": 1}}), fields(), none()), (false, fields(), none()));
        let item = |name: &str| (format!("k:{{\"name\":\"{name}\"}}"), json!({".": {}, "f:name": {}}));
        let list = |names: &[&str]| json!({"f:l": names.iter().map(|name| item(name)).collect::<Map<_, _>>()});
        let declared = json!({"l": [{"name": "a"}]});
        assert_eq!(taken(declared, list(&["a", "z"]), none()), (true, list(&["z"]), none()));
    }
}
