//! Services.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::failure::Cause;
use crate::kinds::names;
use crate::kinds::service::{is_external, is_headless};
use crate::object::{integer, list, text};

use super::{known, port, port_or_name};

/// A Service.
pub(super) fn service(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let ports = list(object, "/spec/ports");
    let kind = text(object, "/spec/type");
    let headless = is_headless(object);
    if ports.is_empty() && kind != "ExternalName" && !headless {
        causes.push(Cause::required("spec.ports", ""));
    }
    if headless && ["LoadBalancer", "NodePort"].contains(&kind) {
        causes.push(Cause::invalid("spec.clusterIPs[0]", &"None".into(), "may not be set to 'None' for this type"));
    }
    if kind == "ExternalName" {
        causes.extend(external_name(object));
    }
    causes.extend(self::ports(ports, kind));
    causes.extend(names::labels("spec.selector", object.pointer("/spec/selector")));
    causes.extend(known(object, "/spec/sessionAffinity", "spec.sessionAffinity", &["ClientIP", "None"]));
    causes.extend(addresses(object));
    causes.extend(known(object, "/spec/type", "spec.type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]));
    causes.extend(of_load_balancers(object, live));
    causes.extend(traffic(object));
    if let Some(live) = live {
        let (new, old) = (text(object, "/spec/clusterIP"), text(live, "/spec/clusterIP"));
        let kept = text(live, "/spec/type") != "ExternalName" && kind != "ExternalName";
        if kept && !old.is_empty() && new != old {
            causes.push(Cause::invalid("spec.clusterIPs[0]", &json!([new]), "may not change once set"));
        }
    }
    causes
}

fn external_name(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let detail = "may not be set for ExternalName services";
    for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if object["spec"].get(key).is_some_and(|value| !value.is_null() && *value != json!([])) {
            causes.push(Cause::forbidden(format!("spec.{key}"), detail));
        }
    }
    match text(object, "/spec/externalName") {
        "" | "." => causes.push(Cause::required("spec.externalName", "")),
        name => {
            let detail = names::subdomain(name.strip_suffix('.').unwrap_or(name));
            causes.extend(detail.map(|detail| Cause::invalid("spec.externalName", &name.into(), &detail)));
        }
    }
    causes
}

fn ports(ports: &[Value], kind: &str) -> Vec<Cause> {
    let (mut causes, mut names_seen) = (Vec::new(), Vec::new());
    for (at, one) in ports.iter().enumerate() {
        let field = format!("spec.ports[{at}]");
        match text(one, "/name") {
            "" if ports.len() > 1 => causes.push(Cause::required(format!("{field}.name"), "")),
            "" => {}
            name => {
                let detail = names::label(name);
                causes.extend(detail.map(|detail| Cause::invalid(format!("{field}.name"), &name.into(), &detail)));
                if names_seen.contains(&name) {
                    causes.push(Cause::duplicate(format!("{field}.name"), &name.into()));
                }
                names_seen.push(name);
            }
        }
        causes.extend(port(&one["port"], &format!("{field}.port")));
        causes.extend(known(one, "/protocol", &format!("{field}.protocol"), &["SCTP", "TCP", "UDP"]));
        causes.extend(port_or_name(&one["targetPort"], &format!("{field}.targetPort")));
        if let Some(protocol) = one.get("appProtocol").and_then(Value::as_str) {
            let detail = names::qualified(protocol);
            causes
                .extend(detail.map(|detail| Cause::invalid(format!("{field}.appProtocol"), &protocol.into(), &detail)));
        }
        if kind == "ClusterIP" && integer(one, "/nodePort").unwrap_or(0) != 0 {
            let detail = "may not be used when `type` is 'ClusterIP'";
            causes.push(Cause::forbidden(format!("{field}.nodePort"), detail));
        }
    }
    causes.extend(twice(ports));
    causes
}

/// Checks that no port of a protocol occurs twice, also not on the nodes.
fn twice(ports: &[Value]) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (at, one) in ports.iter().enumerate() {
        let same = |key: &'static str| {
            move |other: &Value| other["protocol"] == one["protocol"] && integer(other, key) == integer(one, key)
        };
        let before = &ports[..at];
        if integer(one, "/nodePort").unwrap_or(0) != 0 && before.iter().any(same("/nodePort")) {
            causes.push(Cause::duplicate(format!("spec.ports[{at}].nodePort"), &one["nodePort"]));
        }
        if before.iter().any(same("/port")) {
            let shown = json!({"Name": "", "Protocol": one["protocol"], "AppProtocol": null, "Port": one["port"],
                "TargetPort": 0, "NodePort": 0});
            causes.push(Cause::duplicate(format!("spec.ports[{at}]"), &shown));
        }
    }
    causes
}

/// Addresses from outside, and how long a client stays where it is.
fn addresses(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (at, address) in list(object, "/spec/externalIPs").iter().enumerate() {
        let detail = match address.as_str().unwrap_or_default().parse::<IpAddr>() {
            Err(_) => Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
            Ok(one) if one.is_unspecified() => Some("may not be unspecified"),
            Ok(one) if one.is_loopback() => Some("may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            Ok(IpAddr::V4(one)) if one.is_link_local() => Some("may not be in the link-local range"),
            Ok(IpAddr::V4(one)) if one.octets()[..3] == [224, 0, 0] => {
                Some("may not be in the link-local multicast range")
            }
            Ok(_) => None,
        };
        causes.extend(detail.map(|detail| Cause::invalid(format!("spec.externalIPs[{at}]"), address, detail)));
    }
    let (timeout, field) = ("/spec/sessionAffinityConfig/clientIP/timeoutSeconds", "spec.sessionAffinityConfig");
    let seconds = integer(object, timeout).filter(|seconds| !(1..=86_400).contains(seconds));
    causes.extend(seconds.map(|seconds| {
        let detail = "must be greater than 0 and less than 86400";
        Cause::invalid(format!("{field}.clientIP.timeoutSeconds"), &seconds.into(), detail)
    }));
    causes
}

/// Checks fields that only Services of the type LoadBalancer may have.
fn of_load_balancers(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let is_one = |object: &Value| text(object, "/spec/type") == "LoadBalancer";
    let class = object["spec"].get("loadBalancerClass").filter(|class| !class.is_null());
    let field = "spec.loadBalancerClass";
    let mut causes = Vec::new();
    if !is_one(object) {
        let detail = "may only be used when `type` is 'LoadBalancer'";
        causes.extend(class.map(|_| Cause::forbidden(field, detail)));
        let ports = object["spec"].get("allocateLoadBalancerNodePorts").filter(|value| !value.is_null());
        causes.extend(ports.map(|_| Cause::forbidden("spec.allocateLoadBalancerNodePorts", detail)));
        if !list(object, "/spec/loadBalancerSourceRanges").is_empty() {
            causes.push(Cause::forbidden("spec.LoadBalancerSourceRanges", detail));
        }
        return causes;
    }
    if let Some(class) = class {
        let detail = names::qualified(class.as_str().unwrap_or_default());
        causes.extend(detail.map(|detail| Cause::invalid(field, class, &detail)));
    }
    if live.is_some_and(|live| is_one(live) && live["spec"].get("loadBalancerClass") != class) {
        causes.push(Cause::invalid(field, class.unwrap_or(&Value::Null), "may not change once set"));
    }
    causes
}

fn traffic(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (external, policies) = ("spec.externalTrafficPolicy", ["Cluster", "Local"]);
    let policy = text(object, "/spec/externalTrafficPolicy");
    if is_external(object) {
        causes.extend(known(object, "/spec/externalTrafficPolicy", external, &policies));
    } else if !policy.is_empty() {
        causes.push(Cause::invalid(external, &policy.into(), "may only be set for externally-accessible services"));
    }
    let pointer = "/spec/internalTrafficPolicy";
    if object.pointer(pointer).is_some_and(|policy| !policy.is_null()) {
        let policy = text(object, pointer);
        let odd = !policies.contains(&policy);
        causes.extend(odd.then(|| Cause::unsupported("spec.internalTrafficPolicy", &policy.into(), &policies)));
    } else if ["ClusterIP", "LoadBalancer", "NodePort"].contains(&text(object, "/spec/type")) {
        causes.push(Cause::required("spec.internalTrafficPolicy", ""));
    }
    let distribution = object.pointer("/spec/trafficDistribution").filter(|value| !value.is_null());
    let distributions = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    causes.extend(
        distribution
            .filter(|one| !distributions.iter().any(|known| *one == known))
            .map(|one| Cause::unsupported("spec.trafficDistribution", one, &distributions)),
    );
    causes
}

/// The addresses that a load balancer has given.
pub(super) fn status(object: &Value) -> Vec<Cause> {
    let field = "status.loadBalancer.ingress";
    let addresses = list(object, "/status/loadBalancer/ingress");
    if text(object, "/spec/type") != "LoadBalancer" && !addresses.is_empty() {
        return vec![Cause::forbidden(field, "may only be used when `spec.type` is 'LoadBalancer'")];
    }
    let mut causes = Vec::new();
    for (at, one) in addresses.iter().enumerate() {
        let field = |key: &str| format!("{field}[{at}].{key}");
        let (address, host) = (text(one, "/ip"), text(one, "/hostname"));
        if !address.is_empty() && address.parse::<IpAddr>().is_err() {
            causes.push(Cause::invalid(field("ip"), &address.into(), "must be a valid IP address"));
        }
        match one.get("ipMode").filter(|mode| !mode.is_null()) {
            None if !address.is_empty() => {
                causes.push(Cause::required(field("ipMode"), "must be specified when `ip` is set"));
            }
            Some(_) if address.is_empty() => {
                causes.push(Cause::forbidden(field("ipMode"), "may not be specified when `ip` is not set"));
            }
            Some(mode) if mode != "VIP" && mode != "Proxy" => {
                causes.push(Cause::unsupported(field("ipMode"), mode, &["Proxy", "VIP"]));
            }
            _ => {}
        }
        if !host.is_empty() {
            let detail = names::subdomain(host);
            let address = host.parse::<IpAddr>().is_ok().then(|| "must be a DNS name, not an IP address".to_owned());
            causes.extend(
                detail
                    .into_iter()
                    .chain(address)
                    .map(|detail| Cause::invalid(field("hostname"), &host.into(), &detail)),
            );
        }
    }
    causes
}
