//! ClusterRoles that gather the rules of others.

use serde_json::Value;

use crate::object::{self, list};
use crate::selector::Labels;
use crate::store::Key;

use super::hand::Hand;

const ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const MANAGER: &str = "clusterrole-aggregation-controller";

/// Brings all of them up to date.
pub(super) fn tend(hand: &mut Hand<'_>) {
    let gathers = |role: &Value| !list(role, "/aggregationRule/clusterRoleSelectors").is_empty();
    let gathering = hand.state.store.list(ROLES, "").filter(|(_, role)| gathers(role)).map(|(key, _)| key.clone());
    for key in gathering.collect::<Vec<Key>>() {
        let Some(role) = hand.state.store.get(&key).cloned() else { continue };
        let selectors = list(&role, "/aggregationRule/clusterRoleSelectors");
        let mut rules: Vec<&Value> = Vec::new();
        for selector in selectors.iter().map(Labels::from_object) {
            let others = hand.state.store.list(ROLES, "").map(|(_, other)| other);
            for other in others.filter(|other| selector.select(other) && object::name(other) != object::name(&role)) {
                for rule in list(other, "/rules") {
                    if !rules.contains(&rule) {
                        rules.push(rule);
                    }
                }
            }
        }
        // Mostly nothing has changed.
        if !list(&role, "/rules").iter().eq(rules.iter().copied()) {
            let rules: Value = rules.into_iter().cloned().collect();
            hand.apply(&key, MANAGER, |config| config["rules"] = rules);
        }
    }
}
