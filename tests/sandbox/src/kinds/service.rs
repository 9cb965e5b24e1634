//! Addresses and node ports of Services, and the fields that go with a type.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::failure::{About, Cause, Failure};
use crate::object::{self, integer, list, remove, text};
use crate::state::State;

use super::rules;

/// The network of cluster addresses and how many it has.
const FIRST: u32 = u32::from_be_bytes([10, 0, 0, 0]);
const COUNT: u32 = 256;
/// The ports of nodes that are given to Services.
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

/// Gives a Service its addresses and node ports, and takes from it what its type has not.
pub(super) fn prepare(state: &State, object: &mut Value, live: Option<&Value>) -> Result<(), Failure> {
    match live {
        None => object["status"] = json!({"loadBalancer": {}}),
        Some(live) => {
            keep(object, live);
            drop_with_type(object, live);
        }
    }
    if !object["spec"].is_object() || !has_address(object) {
        return Ok(());
    }
    address(state, object, live)?;
    families(object);
    if has_node_ports(object) {
        node_ports(state, object, live)?;
    }
    Ok(())
}

fn has_address(service: &Value) -> bool {
    ["ClusterIP", "NodePort", "LoadBalancer"].contains(&text(service, "/spec/type"))
}

fn has_node_ports(service: &Value) -> bool {
    match text(service, "/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn is_external(service: &Value) -> bool {
    ["NodePort", "LoadBalancer"].contains(&text(service, "/spec/type"))
}

/// What was given once stays when it is left out.
fn keep(object: &mut Value, live: &Value) {
    if has_address(live) && has_address(object) {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if object["spec"].get(key).is_none_or(Value::is_null)
                && let Some(value) = live["spec"].get(key)
            {
                object["spec"][key] = value.clone();
            }
        }
    }
    if !(is_external(live) && is_external(object)) {
        return;
    }
    let known = list(live, "/spec/ports").to_vec();
    for port in ports(object) {
        let same = |old: &&Value| old["port"] == port["port"] && old["protocol"] == port["protocol"];
        if integer(port, "/nodePort").unwrap_or(0) == 0
            && let Some(number) = known.iter().find(same).and_then(|old| old.get("nodePort"))
        {
            port["nodePort"] = number.clone();
        }
    }
}

fn ports(object: &mut Value) -> impl Iterator<Item = &mut Value> {
    object.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten()
}

/// Another type takes away what the client has not changed itself.
fn drop_with_type(object: &mut Value, live: &Value) {
    let mut gone: Vec<&str> = Vec::new();
    if has_address(live) && !has_address(object) {
        gone.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    }
    if is_external(live) && !is_external(object) {
        gone.push("externalTrafficPolicy");
        for port in ports(object) {
            remove(port, "nodePort");
        }
    }
    if text(live, "/spec/type") == "LoadBalancer" && text(object, "/spec/type") != "LoadBalancer" {
        gone.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    for key in gone {
        if object["spec"].get(key) == live["spec"].get(key) {
            remove(&mut object["spec"], key);
        }
    }
}

fn address(state: &State, object: &mut Value, live: Option<&Value>) -> Result<(), Failure> {
    let wanted = text(object, "/spec/clusterIP").to_owned();
    if wanted.is_empty() {
        let full = || Failure::new(500, "InternalError", "failed to allocate a serviceIP: range is full");
        object["spec"]["clusterIP"] = free(state).ok_or_else(full)?.to_string().into();
    } else if wanted != "None" && live.is_none() {
        let why = match wanted.parse::<Ipv4Addr>() {
            Ok(address) if !(FIRST..FIRST + COUNT).contains(&u32::from(address)) => {
                Some("the provided network does not match the current range")
            }
            Ok(_) => taken(state).contains(&wanted).then_some("provided IP is already allocated"),
            Err(_) => Some("it is no address"),
        };
        if let Some(why) = why {
            let detail = format!("failed to allocate IP {wanted}: {why}");
            return Err(invalid(object, Cause::invalid("spec.clusterIPs", &json!([wanted]), &detail)));
        }
    }
    object["spec"]["clusterIPs"] = json!([object["spec"]["clusterIP"]]);
    Ok(())
}

fn families(object: &mut Value) {
    let both = text(object, "/spec/clusterIP") == "None"
        && object::map(object, "/spec/selector").is_none_or(serde_json::Map::is_empty);
    let (families, policy) =
        if both { (json!(["IPv4", "IPv6"]), "RequireDualStack") } else { (json!(["IPv4"]), "SingleStack") };
    for (key, value) in [("ipFamilies", families), ("ipFamilyPolicy", policy.into())] {
        if object["spec"].get(key).is_none_or(Value::is_null) {
            object["spec"][key] = value;
        }
    }
}

fn invalid(object: &Value, cause: Cause) -> Failure {
    Failure::invalid(About { group: "", resource: "Service", name: object::name(object) }, &[cause])
}

fn taken(state: &State) -> BTreeSet<String> {
    state.store.list("services", "").map(|(_, one)| text(one, "/spec/clusterIP").to_owned()).collect()
}

/// The first address that no Service has. Low addresses are left to those who ask for one.
fn free(state: &State) -> Option<Ipv4Addr> {
    let taken = taken(state);
    let own = COUNT / 16;
    let order = (own + 1..COUNT - 1).chain(1..=own);
    order.map(|at| Ipv4Addr::from(FIRST + at)).find(|address| !taken.contains(&address.to_string()))
}

fn node_ports(state: &State, object: &mut Value, live: Option<&Value>) -> Result<(), Failure> {
    let others = state.store.list("services", "").map(|(_, one)| &**one);
    let own = live.map(object::uid);
    let mut taken = rules::node_ports(others.filter(|one| own != Some(object::uid(one))));
    let mut refused = None;
    for (at, port) in ports(object).enumerate() {
        let wanted = integer(port, "/nodePort").unwrap_or(0);
        let why = match wanted {
            0 => None,
            _ if !NODE_PORTS.contains(&wanted) => {
                Some("provided port is not in the valid range. The range of valid ports is 30000-32767")
            }
            _ => taken.contains(&wanted).then_some("provided port is already allocated"),
        };
        if let Some(why) = why {
            refused = Some(Cause::invalid(format!("spec.ports[{at}].nodePort"), &wanted.into(), why));
            break;
        }
        let number = if wanted == 0 { NODE_PORTS.clone().find(|number| !taken.contains(number)) } else { Some(wanted) };
        taken.extend(number);
        port["nodePort"] = number.into();
    }
    refused.map_or(Ok(()), |cause| Err(invalid(object, cause)))
}
