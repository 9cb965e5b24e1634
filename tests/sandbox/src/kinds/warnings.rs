//! Warnings about objects that are valid, but probably a mistake.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::object::{self, integer, list, text};
use crate::resource::Resource;

use super::{names, service};

/// The warnings for a client that creates an object, or changes `live` into it.
pub(super) fn of(resource: &Resource, object: &Value, live: Option<&Value>) -> Vec<String> {
    match resource.collection.as_str() {
        "services" => of_service(object),
        "deployments.apps" => of_deployment(object, live),
        _ if resource.custom.is_some() => of_finalizers(object, live),
        _ => Vec::new(),
    }
}

/// Finalizers that are new to a custom resource.
fn of_finalizers(object: &Value, live: Option<&Value>) -> Vec<String> {
    let known: BTreeSet<&str> = live.into_iter().flat_map(object::finalizers).collect();
    let new: BTreeSet<&str> = object::finalizers(object).filter(|one| !known.contains(one)).collect();
    let mut said = Vec::new();
    for name in new {
        let field = format!("metadata.finalizers: {name:?}");
        said.extend(names::qualified(name).map(|detail| format!("{field}: {detail}")));
        if !name.contains('/') && !names::STANDARD_FINALIZERS.contains(&name) {
            let how = if name.contains('.') { " including a path (/)" } else { "" };
            said.push(format!(
                "{field}: prefer a domain-qualified finalizer name{how} to avoid accidental conflicts with other \
                 finalizer writers"
            ));
        }
    }
    said
}

fn of_service(object: &Value) -> Vec<String> {
    let mut said = Vec::new();
    let external = text(object, "/spec/type") == "ExternalName";
    let headless = service::is_headless(object) && text(object, "/spec/type") == "ClusterIP";
    let addresses = !list(object, "/spec/externalIPs").is_empty();
    if headless && addresses {
        said.push("spec.externalIPs is ignored for headless services".to_owned());
    }
    if headless && text(object, "/spec/sessionAffinity") != "None" {
        said.push("spec.SessionAffinity is ignored for headless services".to_owned());
    }
    if addresses && !headless && !external {
        said.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if addresses && external {
        said.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !external && !text(object, "/spec/externalName").is_empty() {
        said.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    said
}

/// A change that makes no new generation has been warned of before.
fn of_deployment(object: &Value, live: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    let generation = |object: &Value| integer(object, "/metadata/generation");
    if live.is_some_and(|live| generation(live) == generation(object)) {
        return said;
    }
    if let Some(detail) = names::label(object::name(object)).filter(|_| live.is_none()) {
        said.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label \
             is recommended: [{detail}]"
        ));
    }
    said.extend(of_pod(&object["spec"]["template"]["spec"], "spec.template.spec"));
    said
}

fn of_pod(spec: &Value, field: &str) -> Vec<String> {
    let mut said = Vec::new();
    for (key, name, what) in [("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")] {
        let items = list(spec, &format!("/{key}"));
        let names: Vec<&str> = items.iter().map(|item| text(item, &format!("/{name}"))).collect();
        for (at, one) in names.iter().enumerate().filter(|(at, one)| names[..*at].contains(one)) {
            said.push(format!("{field}.{key}[{at}].{name}: duplicate {what} {one:?}"));
        }
        for (at, _) in names.iter().enumerate().filter(|(_, one)| key == "imagePullSecrets" && one.is_empty()) {
            said.push(format!("{field}.{key}[{at}].{name}: invalid empty name \"\""));
        }
    }
    let kinds = ["initContainers", "containers"];
    let all = kinds.into_iter().flat_map(|kind| {
        let containers = list(spec, &format!("/{kind}")).iter().enumerate();
        containers.map(move |(at, one)| (format!("{field}.{kind}[{at}]"), one))
    });
    let all: Vec<(String, &Value)> = all.collect();
    for (field, container) in &all {
        said.extend(fractions(container, field));
        said.extend(hidden(container, field));
    }
    said.extend(ports(&all));
    if integer(spec, "/terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let what = "must be >= 0; negative values are invalid and will be treated as 1";
        said.push(format!("{field}.terminationGracePeriodSeconds: {what}"));
    }
    said
}

/// Parts of bytes.
fn fractions(container: &Value, field: &str) -> Vec<String> {
    let mut said = Vec::new();
    for name in ["memory", "ephemeral-storage"] {
        for kind in ["limits", "requests"] {
            let amount = text(container, &format!("/resources/{kind}/{name}"));
            if amount.ends_with(['m', 'u', 'n']) {
                let what = format!("fractional byte value {amount:?} is invalid, must be an integer");
                said.push(format!("{field}.resources.{kind}[{name}]: {what}"));
            }
        }
    }
    said
}

/// Variables that come again without speaking of what they were before.
fn hidden(container: &Value, field: &str) -> Vec<String> {
    let all = list(container, "/env");
    let mut said = Vec::new();
    for (at, one) in all.iter().enumerate() {
        let (name, value) = (text(one, "/name"), text(one, "/value"));
        let before = format!("$({name})");
        let speaks = value.contains(&before) && value != before && one.get("valueFrom").is_none();
        if !speaks && all[..at].iter().any(|other| text(other, "/name") == name) {
            let what = format!("hides previous definition of {name:?}, which may be dropped when using apply");
            said.push(format!("{field}.env[{at}]: {what}"));
        }
    }
    said
}

/// Ports of several containers, or several ports of one, that are the same.
fn ports(containers: &[(String, &Value)]) -> Vec<String> {
    let mut said = Vec::new();
    let all = containers.iter().flat_map(|(field, container)| {
        let ports = list(container, "/ports").iter().enumerate();
        ports.map(move |(at, port)| (format!("{field}.ports[{at}]"), port))
    });
    let all: Vec<(String, &Value)> = all.collect();
    let number = |port: &Value, key: &str| integer(port, key).unwrap_or(0);
    for (at, (field, port)) in all.iter().enumerate() {
        let same = |other: &&(String, &Value)| {
            number(other.1, "/containerPort") == number(port, "/containerPort")
                && other.1["protocol"] == port["protocol"]
        };
        for (other_field, other) in all[..at].iter().filter(same) {
            let host = |port: &Value| (number(port, "/hostPort"), text(port, "/hostIP").to_owned());
            let ((own, own_ip), (others, others_ip)) = (host(port), host(other));
            let what = if own == others && own_ip == others_ip {
                "duplicate"
            } else if own == 0 || others == 0 {
                "overlapping"
            } else if own == others && own_ip.is_empty() != others_ip.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            said.push(format!("{field}: {what} port definition with {other_field}"));
        }
    }
    for (at, (field, port)) in all.iter().enumerate() {
        let name = text(port, "/name");
        if let Some((other, _)) = all[..at].iter().find(|(_, other)| !name.is_empty() && text(other, "/name") == name) {
            let what = format!("services and probes that select ports by name will use {other}");
            said.push(format!("{field}: duplicate port name {name:?} with {other}, {what}"));
        }
    }
    said
}
