//! Addresses and node ports of Services, and the fields that go with a type.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::clock;
use crate::failure::{About, Cause, Failure};
use crate::object::{self, integer, list, remove, text};
use crate::state::State;

/// The network of cluster addresses and how many it has.
const FIRST: u32 = u32::from_be_bytes([10, 0, 0, 0]);
const COUNT: u32 = 256;
/// The ports of nodes that are given to Services.
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;
/// Dry runs show ports above all that can be given.
const SHOWN: i64 = 32_769;

/// The values that no table can state.
pub(super) fn default(object: &mut Value) {
    let external = is_external(object);
    let balanced = text(object, "/spec/type") == "LoadBalancer";
    for port in ports(object) {
        let target = port.get("targetPort").cloned().unwrap_or_default();
        if target.is_null() || target == 0 || target == "" {
            port["targetPort"] = port["port"].clone();
        }
    }
    let spec = object::map_at(object, "spec");
    let affinity = spec.get("sessionAffinity").and_then(Value::as_str).unwrap_or_default().to_owned();
    let timeout = spec.get("sessionAffinityConfig").and_then(|config| config.pointer("/clientIP/timeoutSeconds"));
    if affinity == "None" {
        spec.remove("sessionAffinityConfig");
    } else if affinity == "ClientIP" && timeout.is_none_or(Value::is_null) {
        spec.insert("sessionAffinityConfig".to_owned(), json!({"clientIP": {"timeoutSeconds": 10_800}}));
    }
    if external && spec.get("externalTrafficPolicy").is_none_or(|policy| policy.is_null() || policy == "") {
        spec.insert("externalTrafficPolicy".to_owned(), "Cluster".into());
    }
    let addresses = object.pointer_mut("/status/loadBalancer/ingress").and_then(Value::as_array_mut);
    for address in addresses.into_iter().flatten().filter(|_| balanced) {
        if !text(address, "/ip").is_empty() && address.get("ipMode").is_none_or(Value::is_null) {
            address["ipMode"] = "VIP".into();
        }
    }
}

/// Gives a Service its addresses and node ports, and takes from it what its type has not.
pub(super) fn prepare(state: &State, object: &mut Value, live: Option<&Value>, dry_run: bool) -> Result<(), Failure> {
    let mut giver = Giver::new(state, live, dry_run);
    if let Some(live) = live {
        keep(object, live);
    }
    if has_address(object) {
        // One that was made by its status has none, and gets none.
        if live.is_none_or(|live| !has_address(live)) {
            address(state, object)?;
        }
        if !text(object, "/spec/clusterIP").is_empty() {
            object["spec"]["clusterIPs"] = json!([object["spec"]["clusterIP"]]);
        }
        families(object);
    }
    if has_ports(object) {
        match live {
            None => giver.give_new(object)?,
            Some(live) => giver.give(object, live)?,
        }
    }
    match live {
        None => object["status"] = json!({"loadBalancer": {}}),
        Some(live) => drop_with_type(object, live),
    }
    Ok(())
}

/// `true` if a type is one that has ports on the nodes.
pub(super) fn has_ports(service: &Value) -> bool {
    ["NodePort", "LoadBalancer"].contains(&text(service, "/spec/type"))
}

/// `true` if a Service has ports on the nodes, unless it says that it needs none.
fn gets_ports(service: &Value) -> bool {
    has_ports(service) && (text(service, "/spec/type") == "NodePort" || balances(service))
}

fn balances(service: &Value) -> bool {
    service["spec"]["allocateLoadBalancerNodePorts"] != false
}

/// `true` if a Service can be reached from outside.
pub(super) fn is_external(service: &Value) -> bool {
    let inner = text(service, "/spec/type") == "ClusterIP" && !list(service, "/spec/externalIPs").is_empty();
    has_ports(service) || inner
}

/// `true` if a Service asks for no address.
pub(super) fn is_headless(service: &Value) -> bool {
    text(service, "/spec/clusterIP") == "None"
}

fn has_address(service: &Value) -> bool {
    text(service, "/spec/type") != "ExternalName"
}

fn node_port(port: &Value) -> i64 {
    integer(port, "/nodePort").unwrap_or(0)
}

/// The node ports of a Service.
fn node_ports(service: &Value) -> BTreeSet<i64> {
    list(service, "/spec/ports").iter().map(node_port).filter(|number| *number != 0).collect()
}

/// Keeps the addresses and ports of the live Service if the client leaves them out.
fn keep(object: &mut Value, live: &Value) {
    if has_address(live) && has_address(object) {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let left_out = |value: &Value| value.is_null() || value == "" || *value == json!([]);
            if object["spec"].get(key).is_none_or(left_out)
                && let Some(value) = live["spec"].get(key)
            {
                object["spec"][key] = value.clone();
            }
        }
    }
    if gets_ports(live) && gets_ports(object) {
        let used: BTreeSet<i64> = node_ports(live).intersection(&node_ports(object)).copied().collect();
        let known = list(live, "/spec/ports").iter().map(|port| (text(port, "/name").to_owned(), node_port(port)));
        let known: BTreeMap<String, i64> = known.collect();
        for port in ports(object).filter(|port| node_port(port) == 0) {
            let before = known.get(text(port, "/name")).filter(|number| **number != 0 && !used.contains(number));
            if let Some(number) = before {
                port["nodePort"] = (*number).into();
            }
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
        gone.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]);
    }
    if has_ports(live) && !has_ports(object) && node_ports(live).is_superset(&node_ports(object)) {
        for port in ports(object) {
            remove(port, "nodePort");
        }
    }
    if is_external(live) && !is_external(object) {
        gone.push("externalTrafficPolicy");
    }
    let balanced = text(object, "/spec/type") == "LoadBalancer";
    if text(live, "/spec/type") == "LoadBalancer" && !balanced {
        gone.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    for key in gone {
        if object["spec"].get(key) == live["spec"].get(key) {
            remove(&mut object["spec"], key);
        }
    }
    if !balanced {
        object::map_at(object, "status").insert("loadBalancer".to_owned(), json!({}));
    }
}

fn address(state: &State, object: &mut Value) -> Result<(), Failure> {
    let wanted = text(object, "/spec/clusterIP").to_owned();
    if wanted.is_empty() {
        let why = || format!("failed to allocate a serviceIP for Service {:?}: range is full", object::name(object));
        let free = free(state).ok_or_else(|| Failure::internal(&why()))?;
        object["spec"]["clusterIP"] = free.to_string().into();
    } else if wanted != "None" {
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
    Ok(())
}

fn families(object: &mut Value) {
    let both = is_headless(object) && object::map(object, "/spec/selector").is_none_or(serde_json::Map::is_empty);
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

/// Gives ports of the nodes.
struct Giver {
    /// Those that others have, and those that were given.
    taken: BTreeSet<i64>,
    given: BTreeSet<i64>,
    dry_run: bool,
}

impl Giver {
    fn new(state: &State, live: Option<&Value>, dry_run: bool) -> Self {
        let own = live.map(object::uid);
        let others = state.store.list("services", "").filter(|(_, one)| own != Some(object::uid(one)));
        Self { taken: others.flat_map(|(_, one)| node_ports(one)).collect(), given: BTreeSet::new(), dry_run }
    }

    fn any(&mut self) -> Result<i64, Failure> {
        let count = NODE_PORTS.end() - NODE_PORTS.start() + 1;
        let first = clock::below(count);
        let mut all = (0..count).map(|at| NODE_PORTS.start() + (first + at) % count);
        let number = if self.dry_run {
            Some(self.given.last().map_or(SHOWN, |last| last + 1))
        } else {
            all.find(|number| !self.taken.contains(number) && !self.given.contains(number))
        };
        let full = || Failure::internal("failed to allocate a nodePort: range is full");
        let number = number.ok_or_else(full)?;
        self.given.insert(number);
        Ok(number)
    }

    /// Gives a port that is asked for.
    fn this(&mut self, number: i64) -> Result<(), String> {
        if !self.dry_run && !NODE_PORTS.contains(&number) {
            return Err("provided port is not in the valid range. The range of valid ports is 30000-32767".to_owned());
        }
        if self.taken.contains(&number) || !self.given.insert(number) {
            return Err("provided port is already allocated".to_owned());
        }
        Ok(())
    }

    /// A new Service has one port on the nodes for all protocols of a port.
    fn give_new(&mut self, object: &mut Value) -> Result<(), Failure> {
        let gets = balances(object);
        let mut of_port: BTreeMap<i64, i64> = BTreeMap::new();
        let wanted: Vec<(i64, i64)> = ports(object).map(|port| (number(port), node_port(port))).collect();
        let name = object.clone();
        for (at, port) in ports(object).enumerate() {
            let (of, own) = wanted[at];
            if own == 0 && !gets {
                continue;
            }
            let refused = |number: i64, why: String| refused(&name, at, number, &why);
            match of_port.get(&of).copied() {
                None => {
                    let asked = wanted.iter().find(|(port, node_port)| *port == of && *node_port != 0);
                    let number = match asked {
                        Some((_, number)) => {
                            self.this(*number).map(|()| *number).map_err(|why| refused(*number, why))?
                        }
                        None => self.any()?,
                    };
                    port["nodePort"] = number.into();
                    of_port.insert(of, number);
                }
                Some(number) if own == 0 => port["nodePort"] = number.into(),
                Some(number) if own != number => self.this(own).map_err(|why| refused(own, why))?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// A Service that is there keeps its ports.
    fn give(&mut self, object: &mut Value, live: &Value) -> Result<(), Failure> {
        let gets = gets_ports(object);
        let old = node_ports(live);
        self.taken.extend(&old);
        let mut seen: Vec<(String, i64)> = Vec::new();
        let name = object.clone();
        for (at, port) in ports(object).enumerate() {
            let mut number = node_port(port);
            if number == 0 && !gets {
                continue;
            }
            if number == 0 {
                number = self.any()?;
                port["nodePort"] = number.into();
            } else if !old.contains(&number) && !self.given.contains(&number) {
                self.this(number).map_err(|why| refused(&name, at, number, &why))?;
            }
            let one = (text(port, "/protocol").to_owned(), number);
            if seen.contains(&one) {
                return Err(Failure::new(500, "", format!("duplicate nodePort: {{{} {}}}", one.0, one.1)));
            }
            seen.push(one);
        }
        Ok(())
    }
}

fn number(port: &Value) -> i64 {
    integer(port, "/port").unwrap_or(0)
}

fn refused(object: &Value, at: usize, number: i64, why: &str) -> Failure {
    invalid(object, Cause::invalid(format!("spec.ports[{at}].nodePort"), &number.into(), why))
}
