//! People and controllers that write to the cluster beside the agent.

use agent::model::metadata::{FIELD_MANAGER, SyncId, annotation, label};
use agent::model::object::ObjectId;
use sandbox::object;
use serde_json::{Value, json};

use crate::laws::is_applied;
use crate::schedule::Act;
use crate::server::{APPLY, JSON_PATCH, MERGE, Server};
use crate::source::{OBJECTS, Template};

/// A finalizer that no controller takes off.
const FINALIZER: &str = "example.com/wait";

/// Writes to the object of this index. `sync` is the one that is forged.
pub(crate) fn act(server: &mut Server, act: Act, index: u8, sync: &SyncId) {
    let template = &OBJECTS[usize::from(index) % OBJECTS.len()];
    let id = template.id();
    let live = server.find(&id).cloned();
    // Writes that the API server refuses are none.
    let _ = match (act, live) {
        (Act::Create, _) => server.ask("POST", &template.collection(), "application/json", &body(template)),
        (Act::Edit, Some(live)) => server.ask("PATCH", &template.path(), MERGE, &edit(&live)),
        (Act::Seize, Some(live)) => {
            let mut patch = edit(&live);
            (patch["apiVersion"], patch["kind"]) = (template.0.into(), template.1.into());
            server.ask("PATCH", &format!("{}?fieldManager=other&force=true", template.path()), APPLY, &patch)
        }
        (Act::Delete, Some(_)) => server.ask("DELETE", &template.path(), "application/json", &Value::Null),
        (Act::Unlabel, Some(_)) => {
            let patch = json!({"metadata": {"labels": {label::PART_OF: null}}});
            server.ask("PATCH", &template.path(), MERGE, &patch)
        }
        (Act::Unstamp, Some(live)) => server.ask("PATCH", &template.path(), MERGE, &unstamped(&live)),
        (Act::Disown, Some(_)) => {
            let patch = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
            server.ask("PATCH", &template.path(), JSON_PATCH, &patch)
        }
        (Act::Finalizer, Some(live)) => server.ask("PATCH", &template.path(), MERGE, &finalizer(&live)),
        (Act::Owner, Some(_)) => {
            let owner =
                json!([{"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": uid_of_default(server)}]);
            server.ask("PATCH", &template.path(), MERGE, &json!({"metadata": {"ownerReferences": owner}}))
        }
        (Act::Copy, Some(live)) => {
            let mut copy = object(&live);
            copy["metadata"]["name"] = format!("{}-copy", template.3).into();
            server.ask("POST", &template.collection(), "application/json", &copy)
        }
        (Act::Forge, Some(_)) => {
            let patch = json!({"metadata": {"labels": labels(sync), "annotations": annotations(sync, &id)}});
            server.ask("PATCH", &template.path(), MERGE, &patch)
        }
        (Act::Forge, None) => {
            let mut forged = body(template);
            (forged["metadata"]["labels"], forged["metadata"]["annotations"]) = (labels(sync), annotations(sync, &id));
            server.ask("POST", &template.collection(), "application/json", &forged)
        }
        (Act::Steal, Some(_)) => {
            let patch = json!({"metadata": {"annotations": {annotation::MANAGER: ":root_x"}}});
            server.ask("PATCH", &template.path(), MERGE, &patch)
        }
        (Act::Impersonate, live) => impersonate(server, template, live.is_some(), sync),
        (_, None) => return,
    };
}

/// An object under the agent's own field manager: stamped and applied as the agent does it, or changed with `Update`.
fn impersonate(server: &mut Server, template: &Template, exists: bool, sync: &SyncId) -> Result<Value, (u16, Value)> {
    let mut forged = body(template);
    if exists {
        return server.ask(
            "PATCH",
            &format!("{}?fieldManager={FIELD_MANAGER}", template.path()),
            MERGE,
            &edit(&forged),
        );
    }
    let (labels, annotations) = (labels(sync), annotations(sync, &template.id()));
    (forged["metadata"]["labels"], forged["metadata"]["annotations"]) = (labels, annotations);
    server.ask("PATCH", &format!("{}?fieldManager={FIELD_MANAGER}&force=true", template.path()), APPLY, &forged)
}

/// Takes away all that others have put in the way, so that everything can come to its end.
pub(crate) fn clean(server: &mut Server) {
    for template in &OBJECTS {
        for copy in ["", "-copy"] {
            clean_one(server, template, copy);
        }
    }
}

/// `copy` is what the object's name ends with beside that of the template.
fn clean_one(server: &mut Server, template: &Template, copy: &str) {
    let (id, path) = (template.id(), format!("{}{copy}", template.path()));
    let id = ObjectId::new(&id.group_kind(), id.namespace(), &format!("{}{copy}", id.name()));
    let Some(live) = server.find(&id).cloned() else { return };
    let others = other_finalizers(&live);
    let is_held = others.len() != object::finalizers(&live).count();
    let mut patch = json!({"metadata": {"finalizers": others, "ownerReferences": null}});
    // The sync says that it does not delete it, and asks for this.
    if !is_applied(&live) || live["metadata"]["labels"][label::PART_OF].is_null() {
        patch["metadata"]["annotations"] = json!({annotation::MANAGER: null});
    } else if !is_held && object::list(&live, "/metadata/ownerReferences").is_empty() {
        return;
    }
    let _ = server.ask("PATCH", &path, MERGE, &patch);
}

fn uid_of_default(server: &Server) -> Value {
    server.state.find("namespaces", "", "default").map(|one| object::uid(one).into()).unwrap_or_default()
}

fn labels(sync: &SyncId) -> Value {
    json!({label::PART_OF: sync.part_of(), label::MANAGED_BY: "configmanagement.gke.io"})
}

fn annotations(sync: &SyncId, id: &ObjectId) -> Value {
    json!({
        annotation::MANAGED: "enabled",
        annotation::MANAGER: sync.manager(),
        annotation::RESOURCE_ID: id.resource_id(),
    })
}

/// The object as another client makes it.
fn body(template: &Template) -> Value {
    let Template(api, kind, namespace, name) = template;
    let mut body = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}});
    if !namespace.is_empty() {
        body["metadata"]["namespace"] = (*namespace).into();
    }
    match *kind {
        "ConfigMap" => body["data"] = json!({"v": "theirs"}),
        "Widget" => body["spec"] = json!({"size": 9}),
        "ClusterRole" => body["rules"] = json!([]),
        "Deployment" => {
            let pod = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "x"}]}});
            body["spec"] = json!({"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": pod});
        }
        "CustomResourceDefinition" => {
            let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            body["spec"] = json!({
                "group": "example.com", "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
            });
        }
        _ => {}
    }
    body
}

/// A patch that changes a declared field.
fn edit(live: &Value) -> Value {
    match object::text(live, "/kind") {
        "ConfigMap" => json!({"data": {"v": "drifted"}}),
        "Secret" => json!({"data": {"v": "ZHJpZnQ="}}),
        "Widget" => json!({"spec": {"parts": ["drift"]}}),
        "ClusterRole" => json!({"rules": []}),
        "Deployment" => json!({"spec": {"replicas": 1}}),
        "CustomResourceDefinition" => {
            json!({"spec": {"names": {"kind": "Widget", "plural": "widgets", "shortNames": ["drift"]}}})
        }
        _ => json!({"metadata": {"annotations": {annotation::TOKEN: "drift"}}}),
    }
}

fn unstamped(live: &Value) -> Value {
    let gone = |pointer: &str| {
        let keys = object::map(live, pointer).into_iter().flatten().map(|(key, _)| key.clone());
        keys.map(|key| (key, Value::Null)).collect::<serde_json::Map<_, _>>()
    };
    json!({"metadata": {"labels": gone("/metadata/labels"), "annotations": gone("/metadata/annotations")}})
}

fn finalizer(live: &Value) -> Value {
    let mut left = other_finalizers(live);
    if left.len() == object::finalizers(live).count() {
        left.push(FINALIZER);
    }
    json!({"metadata": {"finalizers": left}})
}

/// The finalizers that others have set, such as the API server's own of a CRD.
fn other_finalizers(live: &Value) -> Vec<&str> {
    object::finalizers(live).filter(|one| *one != FINALIZER).collect()
}

/// The object without what the API server adds.
fn object(live: &Value) -> Value {
    let mut copy = live.clone();
    for key in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
        object::set(&mut copy, key, Value::Null);
    }
    copy
}
