//! Endpoints and EndpointSlices of Services, which take over their Service's labels.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::object::{self, list, text};
use crate::selector::Labels;
use crate::store::Key;
use crate::write::Wish;

use super::hand::{Hand, MANAGER};
use super::replicasets::{is_active, is_ready, owner};

const SLICES: &str = "endpointslices.discovery.k8s.io";
const BY_SLICES: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
const BY_ENDPOINTS: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// The label of a slice that says whose it is.
const SERVICE: &str = "kubernetes.io/service-name";

/// Brings both up to date for one Service.
pub(super) fn tend(hand: &mut Hand<'_>, namespace: &str, name: &str) {
    let Some(service) = hand.find("services", namespace, name) else {
        // The slices go with their owner; Endpoints have none.
        let endpoints = hand.find("endpoints", namespace, name);
        if endpoints.is_some_and(|one| one["metadata"]["labels"][BY_ENDPOINTS.0] == BY_ENDPOINTS.1) {
            hand.delete(&Key::new("endpoints", namespace, name), &Wish::default());
        }
        return;
    };
    let Some(selector) = object::map(&service, "/spec/selector") else { return };
    if object::is_deleting(&service) || text(&service, "/spec/type") == "ExternalName" {
        return;
    }
    let selector = Labels::from_map(selector);
    let pods: Vec<Arc<Value>> = hand
        .state
        .store
        .list("pods", namespace)
        .map(|(_, pod)| pod)
        .filter(|pod| selector.select(pod) && is_active(pod) && !text(pod, "/status/podIP").is_empty())
        .cloned()
        .collect();
    endpoints(hand, &service, &pods);
    slices(hand, &service, &pods);
}

/// The ports of a Service as a pod has them.
fn ports(service: &Value, pod: &Value) -> Vec<Value> {
    let number = |target: &Value| match target {
        Value::String(name) => list(pod, "/spec/containers")
            .iter()
            .flat_map(|container| list(container, "/ports"))
            .find(|port| text(port, "/name") == name)
            .map(|port| port["containerPort"].clone()),
        number => Some(number.clone()),
    };
    let all = list(service, "/spec/ports").iter().filter_map(|port| {
        let mut found = json!({"port": number(&port["targetPort"])?, "protocol": port["protocol"]});
        for key in ["name", "appProtocol"] {
            if let Some(value) = port.get(key) {
                found[key] = value.clone();
            }
        }
        Some(found)
    });
    all.collect()
}

fn target(pod: &Value) -> Value {
    let metadata = &pod["metadata"];
    json!({"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]})
}

/// The labels of a Service with those of a controller.
fn labels(service: &Value, own: &[(&str, &str)]) -> Value {
    let mut labels = object::map(service, "/metadata/labels").cloned().unwrap_or_default();
    if text(service, "/spec/clusterIP") == "None" {
        labels.insert("service.kubernetes.io/headless".to_owned(), "".into());
    }
    labels.extend(own.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))));
    Value::Object(labels)
}

fn endpoints(hand: &mut Hand<'_>, service: &Value, pods: &[Arc<Value>]) {
    let mut by_ports: Vec<(Vec<Value>, Vec<Value>, Vec<Value>)> = Vec::new();
    for pod in pods {
        let ports = ports(service, pod);
        let mut address = json!({"ip": pod["status"]["podIP"], "targetRef": target(pod)});
        if let Some(node) = pod["spec"].get("nodeName") {
            address["nodeName"] = node.clone();
        }
        let at = by_ports.iter().position(|(known, ..)| *known == ports).unwrap_or_else(|| {
            by_ports.push((ports, Vec::new(), Vec::new()));
            by_ports.len() - 1
        });
        let ready = is_ready(pod) || service["spec"]["publishNotReadyAddresses"] == true;
        if ready { by_ports[at].1.push(address) } else { by_ports[at].2.push(address) }
    }
    let subset = |(ports, ready, waiting): (Vec<Value>, Vec<Value>, Vec<Value>)| {
        let parts = [("addresses", ready), ("notReadyAddresses", waiting), ("ports", ports)];
        let parts = parts.into_iter().filter(|(_, items)| !items.is_empty());
        Value::Object(parts.map(|(key, items)| (key.to_owned(), items.into())).collect::<Map<_, _>>())
    };
    let subsets: Vec<Value> = by_ports.into_iter().map(subset).collect();
    let labels = labels(service, &[BY_ENDPOINTS]);
    let (namespace, name) = (object::namespace(service), object::name(service));
    let Some(live) = hand.find("endpoints", namespace, name) else {
        let trigger = service["metadata"]["creationTimestamp"].clone();
        let metadata =
            json!({"name": name, "namespace": namespace, "labels": labels, "annotations": {TRIGGER: trigger}});
        hand.create("endpoints", MANAGER, with(json!({"metadata": metadata}), "subsets", subsets));
        return;
    };
    if list(&live, "/subsets") != subsets || live["metadata"]["labels"] != labels {
        let moved = list(&live, "/subsets") != subsets;
        let now = hand.now;
        hand.change(&Key::new("endpoints", namespace, name), "", MANAGER, |endpoints| {
            object::set(endpoints, "labels", labels);
            object::set(endpoints, "annotations", if moved { json!({TRIGGER: now.to_string()}) } else { Value::Null });
            *endpoints = with(endpoints.clone(), "subsets", subsets);
        });
    }
}

fn with(mut object: Value, key: &str, items: Vec<Value>) -> Value {
    object::replace(&mut object, key, (!items.is_empty()).then(|| items.into()));
    object
}

fn slices(hand: &mut Hand<'_>, service: &Value, pods: &[Arc<Value>]) {
    let (namespace, name) = (object::namespace(service), object::name(service));
    let of_nodes: Vec<&Arc<Value>> =
        pods.iter().filter(|pod| hand.state.find("nodes", "", text(pod, "/spec/nodeName")).is_some()).collect();
    let endpoint = |pod: &&Arc<Value>| {
        let ready = is_ready(pod);
        json!({
            "addresses": [pod["status"]["podIP"]],
            "conditions": {"ready": ready || service["spec"]["publishNotReadyAddresses"] == true, "serving": ready, "terminating": false},
            "nodeName": pod["spec"]["nodeName"],
            "targetRef": target(pod),
        })
    };
    let endpoints: Value = match of_nodes.is_empty() {
        true => Value::Null,
        false => of_nodes.iter().map(endpoint).collect(),
    };
    let ports: Value = of_nodes.first().map_or(Value::Null, |pod| ports(service, pod).into());
    let labels = labels(service, &[BY_SLICES, (SERVICE, name)]);
    let live = hand.state.store.list(SLICES, namespace).find(|(_, slice)| {
        let labels = &slice["metadata"]["labels"];
        labels[SERVICE] == name && labels[BY_SLICES.0] == BY_SLICES.1 && !object::is_deleting(slice)
    });
    let Some((key, live)) = live.map(|(key, live)| (key.clone(), live.clone())) else {
        let trigger = service["metadata"]["creationTimestamp"].clone();
        let family = if text(service, "/spec/clusterIP").contains(':') { "IPv6" } else { "IPv4" };
        let slice = json!({
            "metadata": {
                "generateName": format!("{name}-"), "namespace": namespace, "labels": labels,
                "annotations": {TRIGGER: trigger}, "ownerReferences": [owner(service)],
            },
            "addressType": family,
            "endpoints": endpoints,
            "ports": ports,
        });
        hand.create(SLICES, MANAGER, slice);
        return;
    };
    let moved = live["endpoints"] != endpoints || live["ports"] != ports;
    if moved || live["metadata"]["labels"] != labels {
        let now = hand.now;
        hand.change(&key, "", MANAGER, |slice| {
            object::set(slice, "labels", labels);
            object::set(slice, "annotations", if moved { json!({TRIGGER: now.to_string()}) } else { Value::Null });
            slice["endpoints"] = endpoints;
            slice["ports"] = ports;
        });
    }
}
