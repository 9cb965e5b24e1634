//! Deployments: a ReplicaSet for each template, replicas moved from the old ones to the new one, and what they tell of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::object::{self, integer, list, text};
use crate::store::Key;
use crate::write::Wish;

use super::hand::{Hand, MANAGER};
use super::news;
use super::replicasets::{SETS, controller, owner};
use super::rollout::{self, Plan};
use super::rollout_status;

pub(super) const DEPLOYMENTS: &str = "deployments.apps";
const COMPONENT: &str = "deployment-controller";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const WANTED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";
const HASH: &str = "pod-template-hash";
/// Annotations of a Deployment that its ReplicaSets do not take over.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    "deployment.kubernetes.io/revision-history",
    WANTED,
    MOST,
    "deprecated.deployment.rollback.to",
];

/// Takes a Deployment a step further.
pub(super) fn tend(hand: &mut Hand<'_>, key: &Key) {
    let Some(deployment) = hand.state.store.get(key).cloned() else { return };
    let sets = sets(hand, &deployment);
    if object::is_deleting(&deployment) {
        return rollout_status::report(hand, key, &sets);
    }
    let paused = deployment["spec"]["paused"] == true;
    let current = sets.iter().find(|set| is_of_template(set, &deployment)).cloned();
    let current = match (current, paused) {
        (Some(set), _) => Some(adopt(hand, key, &deployment, &sets, &set)),
        (None, true) => None,
        (None, false) => create(hand, key, &deployment, &sets),
    };
    let Some(deployment) = hand.state.store.get(key).cloned() else { return };
    let sets = self::sets(hand, &deployment);
    let plan = Plan::new(&deployment, &sets, current.as_deref().map(object::uid));
    for (uid, replicas) in rollout::scale(&plan, paused) {
        if let Some(set) = sets.iter().find(|set| object::uid(set) == uid) {
            scale(hand, &deployment, set, replicas);
        }
    }
    if !paused {
        clean_up(hand, &deployment, &sets, current.as_deref());
    }
    // As the sets were before: the next look comes with their own events.
    rollout_status::report(hand, key, &sets);
}

/// The ReplicaSets that a Deployment controls, the oldest first.
fn sets(hand: &Hand<'_>, deployment: &Value) -> Vec<Arc<Value>> {
    let all = hand.state.store.list(SETS, object::namespace(deployment)).map(|(_, set)| set);
    let mut own: Vec<Arc<Value>> = all.filter(|set| controller(set) == object::uid(deployment)).cloned().collect();
    own.sort_by_key(|set| (object::field(set, "creationTimestamp").to_owned(), revision(set)));
    own
}

/// The number of a ReplicaSet's template among those of its Deployment.
pub(super) fn revision(set: &Value) -> u64 {
    text(&set["metadata"]["annotations"][REVISION], "").parse().unwrap_or(0)
}

/// `true` if a ReplicaSet's pods are as the Deployment wants them.
pub(super) fn is_of_template(set: &Value, deployment: &Value) -> bool {
    let mut template = set["spec"]["template"].clone();
    if let Some(labels) = template["metadata"].get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    template == deployment["spec"]["template"]
}

/// The annotations of a ReplicaSet of a Deployment.
fn annotations(deployment: &Value, revision: u64) -> Value {
    let taken = object::map(deployment, "/metadata/annotations").into_iter().flatten();
    let taken = taken.filter(|(key, _)| !OWN.contains(&key.as_str()));
    let mut all: Value = taken.map(|(key, value)| (key.clone(), value.clone())).collect();
    if !all.is_object() {
        all = json!({});
    }
    all[REVISION] = revision.to_string().into();
    let replicas = integer(deployment, "/spec/replicas").unwrap_or(1);
    all[WANTED] = replicas.to_string().into();
    all[MOST] = (replicas + rollout::surge(deployment)).to_string().into();
    all
}

fn create(hand: &mut Hand<'_>, key: &Key, deployment: &Value, sets: &[Arc<Value>]) -> Option<Arc<Value>> {
    let hash = hash(&deployment["spec"]["template"]);
    let name = format!("{}-{hash}", object::name(deployment));
    let revision = sets.iter().map(|set| self::revision(set)).max().unwrap_or(0) + 1;
    let mut template = deployment["spec"]["template"].clone();
    object::map_at(&mut template["metadata"], "labels").insert(HASH.to_owned(), hash.as_str().into());
    let mut selector = deployment["spec"]["selector"].clone();
    object::map_at(&mut selector, "matchLabels").insert(HASH.to_owned(), hash.as_str().into());
    let plan = Plan::new(deployment, sets, None);
    let replicas = rollout::first(&plan);
    let mut spec = json!({"replicas": replicas, "selector": selector, "template": template});
    if let Some(seconds) = deployment["spec"].get("minReadySeconds") {
        spec["minReadySeconds"] = seconds.clone();
    }
    let set = json!({
        "metadata": {
            "name": name,
            "namespace": object::namespace(deployment),
            "labels": template["metadata"]["labels"],
            "annotations": annotations(deployment, revision),
            "ownerReferences": [owner(deployment)],
        },
        "spec": spec,
    });
    let created = hand.create(SETS, MANAGER, set)?;
    if replicas > 0 {
        let message = format!("Scaled up replica set {name} from 0 to {replicas}");
        news::tell(hand, COMPONENT, deployment, "ScalingReplicaSet", &message);
    }
    let now = hand.now;
    hand.change(key, "status", MANAGER, |deployment| {
        set_revision(deployment, revision);
        let message = format!("Created new replica set {name:?}");
        rollout_status::condition(deployment, now, ["Progressing", "True", "NewReplicaSetCreated", &message]);
    });
    Some(created)
}

/// Makes a ReplicaSet that has been there before the latest one again.
fn adopt(hand: &mut Hand<'_>, key: &Key, deployment: &Value, sets: &[Arc<Value>], set: &Arc<Value>) -> Arc<Value> {
    let others = sets.iter().filter(|other| object::uid(other) != object::uid(set));
    let newest = others.map(|other| revision(other)).max().unwrap_or(0);
    let revision = revision(set).max(newest + 1);
    let wanted = annotations(deployment, revision);
    let place = Key::new(SETS, object::namespace(set), object::name(set));
    if is_behind(&set["metadata"]["annotations"], &wanted) {
        hand.change(&place, "", MANAGER, |set| {
            let annotations = object::map_at(&mut set["metadata"], "annotations");
            annotations.extend(wanted.as_object().cloned().into_iter().flatten());
        });
    }
    if text(&deployment["metadata"]["annotations"][REVISION], "") != revision.to_string().as_str() {
        let now = hand.now;
        let told = list(deployment, "/status/conditions").iter().any(|one| one["type"] == "Progressing");
        hand.change(key, "status", MANAGER, |deployment| {
            set_revision(deployment, revision);
            if !told {
                let message = format!("Found new replica set {:?}", object::name(set));
                rollout_status::condition(deployment, now, ["Progressing", "True", "FoundNewReplicaSet", &message]);
            }
        });
    }
    hand.state.store.get(&place).cloned().unwrap_or_else(|| set.clone())
}

/// `true` if an annotation is missing or has another value. Scaling brings the counts up to date itself.
fn is_behind(live: &Value, wanted: &Value) -> bool {
    let wanted = wanted.as_object().into_iter().flatten();
    wanted.filter(|(key, _)| ![WANTED, MOST].contains(&key.as_str())).any(|(key, value)| live.get(key) != Some(value))
}

fn set_revision(deployment: &mut Value, revision: u64) {
    let annotations = object::map_at(&mut deployment["metadata"], "annotations");
    annotations.insert(REVISION.to_owned(), revision.to_string().into());
}

fn scale(hand: &mut Hand<'_>, deployment: &Value, set: &Value, replicas: i64) {
    let before = integer(set, "/spec/replicas").unwrap_or(0);
    let wanted = annotations(deployment, revision(set));
    let counts = |annotations: &Value| (annotations[WANTED].clone(), annotations[MOST].clone());
    if before == replicas && counts(&set["metadata"]["annotations"]) == counts(&wanted) {
        return;
    }
    let place = Key::new(SETS, object::namespace(set), object::name(set));
    hand.change(&place, "", MANAGER, |set| {
        set["spec"]["replicas"] = replicas.into();
        let annotations = object::map_at(&mut set["metadata"], "annotations");
        annotations.insert(WANTED.to_owned(), wanted[WANTED].clone());
        annotations.insert(MOST.to_owned(), wanted[MOST].clone());
    });
    if before != replicas {
        let way = if replicas > before { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {} from {before} to {replicas}", object::name(set));
        news::tell(hand, COMPONENT, deployment, "ScalingReplicaSet", &message);
    }
}

/// Deletes the oldest ReplicaSets beyond the history limit, once the rollout is over.
fn clean_up(hand: &mut Hand<'_>, deployment: &Value, sets: &[Arc<Value>], current: Option<&Value>) {
    let Ok(limit) = usize::try_from(integer(deployment, "/spec/revisionHistoryLimit").unwrap_or(10)) else { return };
    if !rollout_status::is_complete(deployment) {
        return;
    }
    let idle = |set: &&Arc<Value>| {
        integer(set, "/status/replicas").unwrap_or(0) == 0
            && integer(set, "/spec/replicas").unwrap_or(0) == 0
            && !object::is_deleting(set)
    };
    let old: Vec<&Arc<Value>> =
        sets.iter().filter(|set| current.is_none_or(|current| object::uid(current) != object::uid(set))).collect();
    let surplus = old.len().saturating_sub(limit);
    for set in old.into_iter().take(surplus).filter(idle) {
        hand.delete(&Key::new(SETS, object::namespace(set), object::name(set)), &Wish::default());
    }
}

/// The hash that tells the pods of one template from those of others. Its letters make no words.
fn hash(template: &Value) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hasher = DefaultHasher::new();
    template.to_string().hash(&mut hasher);
    let mut left = hasher.finish();
    let letter = |_| {
        let letter = LETTERS[(left % LETTERS.len() as u64) as usize];
        left /= LETTERS.len() as u64;
        char::from(letter)
    };
    (0..9).map(letter).collect()
}
