//! Every namespace has a ServiceAccount `default`.

use serde_json::json;

use crate::object;

use super::hand::{Hand, MANAGER};

/// Makes it if it is missing.
pub(super) fn tend(hand: &mut Hand<'_>, namespace: &str) {
    let Some(live) = hand.find("namespaces", "", namespace) else { return };
    if object::is_deleting(&live) || hand.find("serviceaccounts", namespace, "default").is_some() {
        return;
    }
    hand.create("serviceaccounts", MANAGER, json!({"metadata": {"name": "default", "namespace": namespace}}));
}
