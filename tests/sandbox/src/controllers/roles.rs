//! ClusterRoles that gather the rules of others.

use serde_json::Value;

use crate::object::{self, list};
use crate::selector::Labels;

use super::hand::Hand;
use super::places;

const ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const MANAGER: &str = "clusterrole-aggregation-controller";

/// Brings all of them up to date.
pub(super) fn tend(hand: &mut Hand<'_>) {
    for key in places(hand.state, ROLES, "") {
        let Some(role) = hand.state.store.get(&key).cloned() else { continue };
        let selectors = list(&role, "/aggregationRule/clusterRoleSelectors");
        if selectors.is_empty() {
            continue;
        }
        let mut rules: Vec<Value> = Vec::new();
        for selector in selectors.iter().map(Labels::from_object) {
            let others = hand.state.store.list(ROLES, "").map(|(_, other)| other);
            for other in others.filter(|other| selector.select(other) && object::name(other) != object::name(&role)) {
                for rule in list(other, "/rules") {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
        if list(&role, "/rules") != rules {
            hand.apply(&key, MANAGER, |config| config["rules"] = rules.into());
        }
    }
}
