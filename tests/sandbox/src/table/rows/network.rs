//! Services and what belongs to the network.

use serde_json::Value;

use crate::clock::Time;
use crate::object::{integer, list, text};

use crate::table::cells::{NONE, age, each, first, labels, or_none, selector};

/// All cells but the name, if it is one of these kinds.
pub(super) fn cells(collection: &str, one: &Value, now: Time) -> Option<Vec<Value>> {
    let age = age(one, now);
    Some(match collection {
        "services" => service(one, age),
        "endpoints" => {
            let addresses: Vec<String> = list(one, "/subsets")
                .iter()
                .flat_map(|subset| {
                    let ports = list(subset, "/ports");
                    let of = |address: &Value| {
                        let ip = text(address, "/ip").to_owned();
                        let with = ports.iter().map(|port| format!("{ip}:{}", port["port"])).collect::<Vec<_>>();
                        if with.is_empty() { vec![ip] } else { with }
                    };
                    list(subset, "/addresses").iter().flat_map(of).collect::<Vec<_>>()
                })
                .collect();
            vec![first(&addresses, 3).into(), age]
        }
        "endpointslices.discovery.k8s.io" => {
            let ports: Vec<String> = list(one, "/ports").iter().map(|port| port["port"].to_string()).collect();
            let addresses: Vec<String> =
                list(one, "/endpoints").iter().map(|one| text(one, "/addresses/0").to_owned()).collect();
            let unset = |items: &[String]| if items.is_empty() { "<unset>".to_owned() } else { first(items, 3) };
            vec![one["addressType"].clone(), unset(&ports).into(), unset(&addresses).into(), age]
        }
        "ingresses.networking.k8s.io" => {
            let hosts: Vec<String> = list(one, "/spec/rules")
                .iter()
                .map(|rule| text(rule, "/host"))
                .filter(|host| !host.is_empty())
                .map(ToOwned::to_owned)
                .collect();
            let hosts = if hosts.is_empty() { "*".to_owned() } else { first(&hosts, 3) };
            let secure = !list(one, "/spec/tls").is_empty();
            let ports = if secure { "80, 443" } else { "80" };
            let address = each(one, "/status/loadBalancer/ingress", "/ip");
            vec![or_none(one, "/spec/ingressClassName"), hosts.into(), address.into(), ports.into(), age]
        }
        "ingressclasses.networking.k8s.io" => {
            let parameters = match one.pointer("/spec/parameters") {
                Some(one) => format!("{}/{}", text(one, "/kind"), text(one, "/name")),
                None => NONE.to_owned(),
            };
            vec![text(one, "/spec/controller").into(), parameters.into(), age]
        }
        "networkpolicies.networking.k8s.io" => vec![selector(one, "/spec/podSelector"), age],
        "ipaddresses.networking.k8s.io" => {
            let parent = one.pointer("/spec/parentRef").unwrap_or(&Value::Null);
            let (resource, namespace, name) =
                (text(parent, "/resource"), text(parent, "/namespace"), text(parent, "/name"));
            // The published columns leave out the age, the row does not.
            vec![format!("{resource}/{namespace}/{name}").into()]
        }
        "servicecidrs.networking.k8s.io" => {
            let all: Vec<&str> = list(one, "/spec/cidrs").iter().filter_map(Value::as_str).collect();
            vec![all.join(",").into(), age]
        }
        _ => return None,
    })
}

fn service(one: &Value, age: Value) -> Vec<Value> {
    let port = |port: &Value| {
        let number = &port["port"];
        match integer(port, "/nodePort") {
            Some(node) => format!("{number}:{node}/{}", text(port, "/protocol")),
            None => format!("{number}/{}", text(port, "/protocol")),
        }
    };
    let ports: Vec<String> = list(one, "/spec/ports").iter().map(port).collect();
    let ports = if ports.is_empty() { NONE.to_owned() } else { ports.join(",") };
    let own: Vec<&str> = list(one, "/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    let given: Vec<&str> = list(one, "/status/loadBalancer/ingress")
        .iter()
        .map(|one| if text(one, "/ip").is_empty() { text(one, "/hostname") } else { text(one, "/ip") })
        .collect();
    let external = match text(one, "/spec/type") {
        "ExternalName" => text(one, "/spec/externalName").to_owned(),
        "LoadBalancer" if own.is_empty() && given.is_empty() => "<pending>".to_owned(),
        _ if own.is_empty() && given.is_empty() => NONE.to_owned(),
        _ => [given, own].concat().join(","),
    };
    vec![
        text(one, "/spec/type").into(),
        or_none(one, "/spec/clusterIP"),
        external.into(),
        ports.into(),
        age,
        labels(one.pointer("/spec/selector")),
    ]
}
