//! The status of a Deployment during its rollout.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock::Time;
use crate::object::{self, integer, list, set_count, text};
use crate::store::Key;

use super::deployments::is_of_template;
use super::hand::{Hand, MANAGER};
use super::rollout::unavailable;

/// Brings the status up to date with the ReplicaSets.
pub(super) fn report(hand: &mut Hand<'_>, key: &Key, sets: &[Arc<Value>]) {
    let Some(live) = hand.state.store.get(key).cloned() else { return };
    let now = hand.now;
    let current = sets.iter().find(|set| is_of_template(set, &live));
    hand.change(key, "status", MANAGER, |deployment| {
        let before = deployment["status"].clone();
        count(deployment, sets, current.map(|set| &**set));
        available(deployment, now);
        progressing(deployment, now, &before, current.map(|set| object::name(set)));
    });
}

fn count(deployment: &mut Value, sets: &[Arc<Value>], current: Option<&Value>) {
    let sum = |pointer: &str| sets.iter().filter_map(|set| integer(set, pointer)).sum::<i64>();
    let available = sum("/status/availableReplicas");
    let counts = [
        ("replicas", sum("/status/replicas")),
        ("updatedReplicas", current.and_then(|set| integer(set, "/status/replicas")).unwrap_or(0)),
        ("readyReplicas", sum("/status/readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (sum("/spec/replicas") - available).max(0)),
    ];
    let generation = deployment["metadata"]["generation"].clone();
    let status = object::map_at(deployment, "status");
    for (name, count) in counts {
        set_count(status, name, count.into());
    }
    status.insert("terminatingReplicas".to_owned(), 0.into());
    status.insert("observedGeneration".to_owned(), generation);
}

fn available(deployment: &mut Value, now: Time) {
    let least = integer(deployment, "/spec/replicas").unwrap_or(1) - unavailable(deployment);
    let enough = integer(deployment, "/status/availableReplicas").unwrap_or(0) >= least;
    let said = match enough {
        true => ["Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability."],
        false => ["Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."],
    };
    condition(deployment, now, said);
}

/// `true` if all replicas are of the present template and serve.
pub(super) fn is_complete(deployment: &Value) -> bool {
    let replicas = integer(deployment, "/spec/replicas").unwrap_or(1);
    let count = |name: &str| integer(deployment, &format!("/status/{name}")).unwrap_or(0);
    ["updatedReplicas", "replicas", "availableReplicas"].into_iter().all(|name| count(name) == replicas)
        && count("observedGeneration") >= integer(deployment, "/metadata/generation").unwrap_or(0)
}

fn progressing(deployment: &mut Value, now: Time, before: &Value, set: Option<&str>) {
    let known = list(deployment, "/status/conditions").iter().find(|one| one["type"] == "Progressing").cloned();
    let status = &deployment["status"];
    let count = |status: &Value, name: &str| integer(status, &format!("/{name}")).unwrap_or(0);
    let settled = count(status, "replicas") == count(status, "updatedReplicas")
        && known.as_ref().is_some_and(|known| known["reason"] == "NewReplicaSetAvailable");
    if settled || deployment["spec"]["paused"] == true {
        return;
    }
    let name = set.map_or_else(|| object::name(deployment).to_owned(), ToOwned::to_owned);
    if is_complete(deployment) {
        let message = format!("ReplicaSet {name:?} has successfully progressed.");
        condition(deployment, now, ["Progressing", "True", "NewReplicaSetAvailable", &message]);
        return;
    }
    let more = |name: &str| count(status, name) > count(before, name);
    let old = |status: &Value| count(status, "replicas") - count(status, "updatedReplicas");
    let moves =
        more("updatedReplicas") || more("readyReplicas") || more("availableReplicas") || old(status) < old(before);
    if moves {
        let message = format!("ReplicaSet {name:?} is progressing.");
        // It comes last, as after a change of its status, but keeps the time of that.
        if let Some(known) = known
            && let Some(conditions) = deployment.pointer_mut("/status/conditions").and_then(Value::as_array_mut)
        {
            conditions.retain(|one| one["type"] != "Progressing");
            let then = known["lastTransitionTime"].clone();
            conditions.push(json!({
                "type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": message,
                "lastUpdateTime": now.to_string(), "lastTransitionTime": then,
            }));
            return;
        }
        condition(deployment, now, ["Progressing", "True", "ReplicaSetUpdated", &message]);
    }
}

/// Sets a condition, unless it says the same already.
pub(super) fn condition(deployment: &mut Value, now: Time, condition: [&str; 4]) {
    let [kind, status, reason, message] = condition;
    let conditions = object::map_at(deployment, "status").entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    let known = conditions.iter().find(|one| one["type"] == kind).cloned();
    if known.as_ref().is_some_and(|known| known["status"] == status && known["reason"] == reason) {
        return;
    }
    let same = known.as_ref().filter(|known| known["status"] == status);
    let since = same.map_or_else(|| now.to_string(), |known| text(known, "/lastTransitionTime").to_owned());
    conditions.retain(|one| one["type"] != kind);
    conditions.push(json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": now.to_string(), "lastTransitionTime": since,
    }));
}
