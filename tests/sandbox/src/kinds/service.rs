//! Addresses of Services.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::object;
use crate::state::State;

/// The network of cluster addresses and how many it has.
const FIRST: u32 = u32::from_be_bytes([10, 0, 0, 0]);
const COUNT: u32 = 256;

/// Gives a Service its cluster address.
pub(super) fn prepare(state: &State, object: &mut Value, live: Option<&Value>) -> Result<(), Failure> {
    if let Some(live) = live {
        for key in ["clusterIP", "clusterIPs"] {
            if object["spec"].get(key).is_none()
                && live["spec"].get(key).is_some()
                && object["spec"]["type"] != "ExternalName"
            {
                object["spec"][key] = live["spec"][key].clone();
            }
        }
        return Ok(());
    }
    object["status"] = json!({"loadBalancer": {}});
    if object["spec"]["type"] == "ExternalName" {
        return Ok(());
    }
    if object::text(object, "/spec/clusterIP").is_empty() {
        let address = free(state)
            .ok_or_else(|| Failure::new(500, "InternalError", "failed to allocate a serviceIP: range is full"))?;
        object["spec"]["clusterIP"] = address.to_string().into();
    }
    object["spec"]["clusterIPs"] = json!([object["spec"]["clusterIP"]]);
    Ok(())
}

/// The first address that no Service has. Low addresses are left to those who ask for one.
fn free(state: &State) -> Option<Ipv4Addr> {
    let taken: BTreeSet<String> =
        state.store.list("services", "").map(|(_, one)| object::text(one, "/spec/clusterIP").to_owned()).collect();
    let own = COUNT / 16;
    let order = (own + 1..COUNT - 1).chain(1..=own);
    order.map(|at| Ipv4Addr::from(FIRST + at)).find(|address| !taken.contains(&address.to_string()))
}
