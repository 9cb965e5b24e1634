//! ReplicaSets: as many pods as they want.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::object::{self, integer, list, set_count, text};
use crate::selector::Labels;
use crate::store::Key;
use crate::write::Wish;

use super::hand::{Hand, MANAGER};
use super::news;

pub(super) const SETS: &str = "replicasets.apps";
const COMPONENT: &str = "replicaset-controller";

/// Takes a ReplicaSet a step further.
pub(super) fn tend(hand: &mut Hand<'_>, key: &Key) {
    let Some(set) = hand.state.store.get(key).cloned() else { return };
    let pods = pods(hand, &set);
    if !object::is_deleting(&set) {
        let wanted = usize::try_from(integer(&set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
        for _ in pods.len()..wanted {
            create(hand, &set);
        }
        for pod in surplus(&pods, wanted) {
            delete(hand, &set, &pod);
        }
    }
    // As the pods were before: the next look comes with the pods' own events.
    report(hand, key, &set, &pods);
}

/// The active pods that a set controls.
fn pods(hand: &Hand<'_>, set: &Value) -> Vec<Arc<Value>> {
    let selector = Labels::from_object(&set["spec"]["selector"]);
    let pods = hand.state.store.list("pods", object::namespace(set)).map(|(_, pod)| pod);
    pods.filter(|pod| is_active(pod) && controller(pod) == object::uid(set) && selector.select(pod)).cloned().collect()
}

/// `true` if a pod counts.
pub(super) fn is_active(pod: &Value) -> bool {
    !object::is_deleting(pod) && !["Failed", "Succeeded"].contains(&text(pod, "/status/phase"))
}

/// The uid of the owner that controls an object.
pub(super) fn controller(object: &Value) -> &str {
    let owners = list(object, "/metadata/ownerReferences");
    owners.iter().find(|owner| owner["controller"] == true).map_or("", |owner| text(owner, "/uid"))
}

/// A reference to a controlling owner.
pub(super) fn owner(object: &Value) -> Value {
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}

fn create(hand: &mut Hand<'_>, set: &Value) {
    let template = &set["spec"]["template"];
    let mut metadata = json!({
        "generateName": format!("{}-", object::name(set)),
        "namespace": object::namespace(set),
        "ownerReferences": [owner(set)],
    });
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(key) {
            metadata[key] = value.clone();
        }
    }
    let pod = json!({"metadata": metadata, "spec": template["spec"]});
    if let Some(pod) = hand.create("pods", MANAGER, pod) {
        let message = format!("Created pod: {}", object::name(&pod));
        news::tell(hand, COMPONENT, set, "SuccessfulCreate", &message);
    }
}

/// The pods to give up: those that are furthest from serving, the youngest first.
fn surplus(pods: &[Arc<Value>], wanted: usize) -> Vec<Arc<Value>> {
    let mut pods = pods.to_vec();
    pods.sort_by_key(|pod| {
        let bound = !text(pod, "/spec/nodeName").is_empty();
        let age = std::cmp::Reverse(object::revision(pod).parse::<u64>().unwrap_or(0));
        (bound, text(pod, "/status/phase") == "Running", is_ready(pod), age)
    });
    let count = pods.len().saturating_sub(wanted);
    pods.truncate(count);
    pods
}

fn delete(hand: &mut Hand<'_>, set: &Value, pod: &Value) {
    hand.delete(&Key::new("pods", object::namespace(pod), object::name(pod)), &Wish::default());
    news::tell(hand, COMPONENT, set, "SuccessfulDelete", &format!("Deleted pod: {}", object::name(pod)));
}

/// `true` if a pod is ready.
pub(super) fn is_ready(pod: &Value) -> bool {
    list(pod, "/status/conditions").iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn report(hand: &mut Hand<'_>, key: &Key, set: &Value, pods: &[Arc<Value>]) {
    let template = object::map(set, "/spec/template/metadata/labels").cloned().unwrap_or_default();
    let labelled = Labels::from_map(&template);
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let counts = [
        ("fullyLabeledReplicas", pods.iter().filter(|pod| labelled.select(pod)).count()),
        ("readyReplicas", ready),
        ("availableReplicas", ready),
    ];
    let generation = set["metadata"]["generation"].clone();
    hand.change(key, "status", MANAGER, |set| {
        let status = object::map_at(set, "status");
        status.insert("replicas".to_owned(), pods.len().into());
        for (name, count) in counts {
            set_count(status, name, count.into());
        }
        status.insert("terminatingReplicas".to_owned(), 0.into());
        status.insert("observedGeneration".to_owned(), generation);
    });
}
