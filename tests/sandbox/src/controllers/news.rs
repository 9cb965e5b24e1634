//! Events that controllers publish about what they do.

use serde_json::{Value, json};

use crate::object;

use super::hand::{Hand, MANAGER};

/// Publishes one about an object.
pub(super) fn tell(hand: &mut Hand<'_>, component: &str, about: &Value, reason: &str, message: &str) {
    let now = hand.now.to_string();
    // Revisions are unique, as the times are that real names are made of.
    let name = format!("{}.{:016x}", object::name(about), hand.state.store.revision());
    let metadata = &about["metadata"];
    let event = json!({
        "metadata": {"name": name, "namespace": metadata["namespace"]},
        "involvedObject": {
            "kind": about["kind"], "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"],
            "apiVersion": about["apiVersion"], "resourceVersion": metadata["resourceVersion"],
        },
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "type": "Normal",
        "eventTime": null,
        "reportingComponent": component,
        "reportingInstance": "",
    });
    hand.create("events", MANAGER, event);
}
