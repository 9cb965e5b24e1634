//! Small things that the API server does for kinds: labels, finalizers and a first status.

use serde_json::{Value, json};

use crate::object::{self, list};

/// Adds what admission adds to a new object.
pub(super) fn admit(collection: &str, object: &mut Value) {
    match collection {
        "persistentvolumeclaims" => finalize(object, "kubernetes.io/pvc-protection"),
        "persistentvolumes" => finalize(object, "kubernetes.io/pv-protection"),
        "nodes" => {
            let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
            if !list(object, "/spec/taints").iter().any(|one| one["key"] == taint["key"]) {
                let mut taints = list(object, "/spec/taints").to_vec();
                taints.push(taint);
                object::map_at(object, "spec").insert("taints".to_owned(), taints.into());
            }
        }
        _ => {}
    }
}

fn finalize(object: &mut Value, name: &str) {
    let mut finalizers: Vec<String> = object::finalizers(object).map(ToOwned::to_owned).collect();
    if !finalizers.iter().any(|one| one == name) {
        finalizers.push(name.to_owned());
        object::set(object, "finalizers", finalizers);
    }
}

/// Sets the fields that a new object gets before it is stored.
pub(super) fn prepare(collection: &str, object: &mut Value, live: Option<&Value>) {
    if live.is_some() {
        return;
    }
    match collection {
        "persistentvolumeclaims" => object["status"] = json!({"phase": "Pending"}),
        "persistentvolumes" => {
            let now = object["metadata"]["creationTimestamp"].clone();
            object["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
        }
        "jobs.batch" => job(object),
        _ => {}
    }
}

/// A Job finds its pods by its own uid.
fn job(object: &mut Value) {
    if object["spec"]["manualSelector"] == true || !object["spec"]["template"].is_object() {
        return;
    }
    let (uid, name) = (object::uid(object).to_owned(), object::name(object).to_owned());
    let taken = object.pointer("/spec/template/metadata/labels") == object["metadata"].get("labels");
    let labels = [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ];
    let template = object::metadata(&mut object["spec"]["template"]);
    if let Some(known) = template.entry("labels").or_insert_with(|| json!({})).as_object_mut() {
        for (key, value) in labels {
            known.entry(key).or_insert_with(|| value.as_str().into());
        }
    }
    if taken {
        // They were the template's by default, and stay so.
        let labels = object["spec"]["template"]["metadata"]["labels"].clone();
        object::set(object, "labels", labels);
    }
    object["spec"]["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
}
