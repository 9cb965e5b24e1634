//! Computes the next number of replicas of each ReplicaSet of a Deployment, from numbers alone.

use std::sync::Arc;

use serde_json::Value;

use crate::object::{self, integer, text};

/// A ReplicaSet, as far as its replicas go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Set {
    uid: String,
    /// In its spec.
    wanted: i64,
    /// Pods that are there.
    there: i64,
    available: i64,
    /// For how many replicas of its Deployment it was scaled last.
    scaled_for: Option<i64>,
}

/// A Deployment and its ReplicaSets, as far as replicas go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    replicas: i64,
    surge: i64,
    unavailable: i64,
    recreates: bool,
    new: Option<Set>,
    /// The oldest first.
    old: Vec<Set>,
}

impl Plan {
    /// `current` is the uid of the ReplicaSet of the present template.
    pub(super) fn new(deployment: &Value, sets: &[Arc<Value>], current: Option<&str>) -> Self {
        let set = |set: &Arc<Value>| Set {
            uid: object::uid(set).to_owned(),
            wanted: integer(set, "/spec/replicas").unwrap_or(0),
            there: integer(set, "/status/replicas").unwrap_or(0),
            available: integer(set, "/status/availableReplicas").unwrap_or(0),
            scaled_for: text(&set["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"], "")
                .parse()
                .ok(),
        };
        let (new, old): (Vec<Set>, Vec<Set>) = sets.iter().map(set).partition(|set| current == Some(set.uid.as_str()));
        Self {
            replicas: integer(deployment, "/spec/replicas").unwrap_or(1).max(0),
            surge: surge(deployment),
            unavailable: unavailable(deployment),
            recreates: text(deployment, "/spec/strategy/type") == "Recreate",
            new: new.into_iter().next(),
            old,
        }
    }

    fn total(&self) -> i64 {
        self.new.iter().chain(&self.old).map(|set| set.wanted).sum()
    }
}

/// The number of pods that may exist beyond the wanted number.
pub(super) fn surge(deployment: &Value) -> i64 {
    if text(deployment, "/spec/strategy/type") == "Recreate" {
        return 0;
    }
    part(deployment, "maxSurge", true)
}

/// The number of wanted pods that may be missing.
pub(super) fn unavailable(deployment: &Value) -> i64 {
    let replicas = integer(deployment, "/spec/replicas").unwrap_or(1);
    if text(deployment, "/spec/strategy/type") == "Recreate" || replicas == 0 {
        return 0;
    }
    let unavailable = part(deployment, "maxUnavailable", false);
    // Both zero would never get anywhere.
    let unavailable = if unavailable == 0 && surge(deployment) == 0 { 1 } else { unavailable };
    unavailable.min(replicas)
}

/// A number, or a share of the replicas.
fn part(deployment: &Value, key: &str, up: bool) -> i64 {
    let replicas = integer(deployment, "/spec/replicas").unwrap_or(1);
    match &deployment["spec"]["strategy"]["rollingUpdate"][key] {
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            if up { (replicas * percent + 99) / 100 } else { replicas * percent / 100 }
        }
        number => number.as_i64().unwrap_or(0),
    }
}

/// The first number of replicas of a new ReplicaSet.
pub(super) fn first(plan: &Plan) -> i64 {
    if plan.recreates {
        return if plan.old.iter().all(|set| set.wanted == 0 && set.there == 0) { plan.replicas } else { 0 };
    }
    (plan.replicas + plan.surge - plan.total()).clamp(0, plan.replicas)
}

/// The replicas that sets have next, by uid. A set that is left out stays as it is.
pub(super) fn scale(plan: &Plan, paused: bool) -> Vec<(String, i64)> {
    let Some(new) = &plan.new else {
        let active: Vec<&Set> = plan.old.iter().filter(|set| set.wanted > 0).collect();
        return match active.as_slice() {
            [only] if paused => vec![(only.uid.clone(), plan.replicas)],
            _ => Vec::new(),
        };
    };
    let idle = plan.old.iter().all(|set| set.wanted == 0);
    let resized = |set: &Set| set.wanted > 0 && set.scaled_for.is_some_and(|count| count != plan.replicas);
    if idle && (resized(new) || paused) {
        return vec![(new.uid.clone(), plan.replicas)];
    }
    if paused {
        return Vec::new();
    }
    if plan.recreates { recreate(plan, new) } else { roll(plan, new) }
}

/// All old pods go before the first new one comes.
fn recreate(plan: &Plan, new: &Set) -> Vec<(String, i64)> {
    if plan.old.iter().any(|set| set.wanted > 0) {
        return plan.old.iter().filter(|set| set.wanted > 0).map(|set| (set.uid.clone(), 0)).collect();
    }
    let gone = plan.old.iter().all(|set| set.there == 0);
    if gone { vec![(new.uid.clone(), plan.replicas)] } else { Vec::new() }
}

/// New pods come as far as there may be more, or else old ones go as far as some may be missing.
fn roll(plan: &Plan, new: &Set) -> Vec<(String, i64)> {
    let room = plan.replicas + plan.surge - plan.total();
    let next = match new.wanted.cmp(&plan.replicas) {
        std::cmp::Ordering::Greater => plan.replicas,
        std::cmp::Ordering::Equal => new.wanted,
        std::cmp::Ordering::Less => new.wanted + room.clamp(0, plan.replicas - new.wanted),
    };
    if next != new.wanted {
        return vec![(new.uid.clone(), next)];
    }
    let mut changes = vec![(new.uid.clone(), next)];
    let least = plan.replicas - plan.unavailable;
    let mut left = plan.total() - least - (new.wanted - new.available);
    if left <= 0 {
        return changes;
    }
    let mut old = plan.old.clone();
    // Those that do not serve go first and cost nothing.
    for set in &mut old {
        let useless = (set.wanted - set.available).clamp(0, left);
        set.wanted -= useless;
        left -= useless;
    }
    let available: i64 = new.available + old.iter().map(|set| set.available.min(set.wanted)).sum::<i64>();
    let mut surplus = available - least;
    for set in &mut old {
        let gone = set.wanted.min(surplus).max(0);
        set.wanted -= gone;
        surplus -= gone;
    }
    let before = plan.old.iter().map(|set| set.wanted);
    changes.extend(
        old.iter()
            .zip(before)
            .filter(|(set, before)| set.wanted != *before)
            .map(|(set, _)| (set.uid.clone(), set.wanted)),
    );
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(uid: &str, wanted: i64, available: i64) -> Set {
        Set { uid: uid.to_owned(), wanted, there: wanted, available, scaled_for: None }
    }

    fn plan(new: Option<Set>, old: Vec<Set>) -> Plan {
        Plan { replicas: 4, surge: 1, unavailable: 1, recreates: false, new, old }
    }

    fn scaled(plan: &Plan) -> Vec<(String, i64)> {
        scale(plan, false)
    }

    #[test]
    fn a_rollout_keeps_within_its_bounds() {
        assert_eq!(first(&plan(None, vec![])), 4);
        assert_eq!(first(&plan(None, vec![set("a", 4, 4)])), 1);
        // One new pod is there and does not serve yet: one old one may go.
        let changes = scaled(&plan(Some(set("b", 1, 0)), vec![set("a", 4, 4)]));
        assert_eq!(changes, [("b".to_owned(), 1), ("a".to_owned(), 3)]);
        let changes = scaled(&plan(Some(set("b", 1, 0)), vec![set("a", 3, 3)]));
        assert_eq!(changes, [("b".to_owned(), 2)]);
        // Old pods that never served go at once.
        let changes = scaled(&plan(Some(set("b", 1, 1)), vec![set("a", 4, 0)]));
        assert_eq!(changes, [("b".to_owned(), 1), ("a".to_owned(), 2)]);
    }

    #[test]
    fn recreating_waits_for_the_end_of_the_old_pods() {
        let mut waiting = plan(Some(set("b", 0, 0)), vec![set("a", 4, 4)]);
        waiting.recreates = true;
        assert_eq!(scaled(&waiting), [("a".to_owned(), 0)]);
        waiting.old[0].wanted = 0;
        assert_eq!(scaled(&waiting), []);
        waiting.old[0].there = 0;
        assert_eq!(scaled(&waiting), [("b".to_owned(), 4)]);
    }

    #[test]
    fn only_scaling_goes_on_while_paused() {
        let mut resized = plan(Some(set("b", 2, 2)), vec![]);
        assert_eq!(scale(&resized, true), [("b".to_owned(), 4)]);
        resized.old.push(set("a", 1, 1));
        assert_eq!(scale(&resized, true), []);
    }
}
