//! The fields that admission and the API server add to pods.

use serde_json::{Value, json};

use crate::clock::{self, Time};
use crate::failure::{About, Failure};
use crate::object::{self, list, text};
use crate::state::State;

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Gives a new pod its account, a token, a priority and patience with nodes that fail.
pub(super) fn admit(state: &State, pod: &mut Value) -> Result<(), Failure> {
    if !pod["spec"].is_object() {
        return Ok(()); // It is refused for that later.
    }
    account(state, pod)?;
    priority(state, pod)?;
    tolerate(pod);
    Ok(())
}

fn account(state: &State, pod: &mut Value) -> Result<(), Failure> {
    let name = match text(pod, "/spec/serviceAccountName") {
        "" => "default".to_owned(),
        name => name.to_owned(),
    };
    let namespace = object::namespace(pod).to_owned();
    let Some(account) = state.find("serviceaccounts", &namespace, &name) else {
        let about = About { group: "", resource: "pods", name: object::name(pod) };
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(Failure::forbidden(about, &why));
    };
    pod["spec"]["serviceAccountName"] = name.as_str().into();
    pod["spec"]["serviceAccount"] = name.into();
    let wanted =
        pod["spec"].get("automountServiceAccountToken").or_else(|| account.get("automountServiceAccountToken"));
    if wanted.is_none_or(|wanted| wanted != false) {
        mount(pod);
    }
    Ok(())
}

/// Mounts a token into every container that has nothing at its place.
fn mount(pod: &mut Value) {
    let known = list(pod, "/spec/volumes").iter().map(|one| text(one, "/name"));
    let known = known.into_iter().find(|name| name.starts_with("kube-api-access-")).map(ToOwned::to_owned);
    let volume = known.clone().unwrap_or_else(|| format!("kube-api-access-{}", clock::suffix()));
    let mut mounted = false;
    for containers in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(containers).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if list(container, "/volumeMounts").iter().any(|one| text(one, "/mountPath") == TOKEN_PATH) {
                continue;
            }
            push(container, "volumeMounts", json!({"name": volume, "readOnly": true, "mountPath": TOKEN_PATH}));
            mounted = true;
        }
    }
    if mounted && known.is_none() {
        let field = json!({"apiVersion": "v1", "fieldPath": "metadata.namespace"});
        let sources = json!([
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
        ]);
        push(
            &mut pod["spec"],
            "volumes",
            json!({"name": volume, "projected": {"sources": sources, "defaultMode": 420}}),
        );
    }
}

fn push(parent: &mut Value, key: &str, item: Value) {
    if !parent[key].is_array() {
        parent[key] = json!([]);
    }
    if let Some(items) = parent[key].as_array_mut() {
        items.push(item);
    }
}

fn priority(state: &State, pod: &mut Value) -> Result<(), Failure> {
    let mut classes = state.store.list("priorityclasses.scheduling.k8s.io", "").map(|(_, class)| class);
    let name = text(pod, "/spec/priorityClassName").to_owned();
    let class = match name.as_str() {
        "" => classes.find(|class| class["globalDefault"] == true),
        name => classes.find(|class| object::name(class) == name),
    };
    if class.is_none() && !name.is_empty() {
        let about = About { group: "", resource: "pods", name: object::name(pod) };
        return Err(Failure::forbidden(about, &format!("no PriorityClass with name {name} was found")));
    }
    let policy = class.and_then(|class| class.get("preemptionPolicy")).cloned();
    if let Some(class) = class {
        pod["spec"]["priorityClassName"] = object::name(class).into();
    }
    pod["spec"]["priority"] = class.map_or_else(|| 0.into(), |class| class["value"].clone());
    if pod["spec"].get("preemptionPolicy").is_none() {
        pod["spec"]["preemptionPolicy"] = policy.unwrap_or_else(|| "PreemptLowerPriority".into());
    }
    Ok(())
}

fn tolerate(pod: &mut Value) {
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers =
            |one: &Value| [key, ""].contains(&text(one, "/key")) && ["NoExecute", ""].contains(&text(one, "/effect"));
        if !list(pod, "/spec/tolerations").iter().any(covers) {
            let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
            push(&mut pod["spec"], "tolerations", toleration);
        }
    }
}

/// The first status of a pod.
pub(super) fn prepare(pod: &mut Value) {
    let class = quality(pod);
    pod["status"] = json!({"phase": "Pending", "qosClass": class});
}

/// The quality-of-service class of a pod.
fn quality(pod: &Value) -> &'static str {
    let containers = list(pod, "/spec/containers").iter().chain(list(pod, "/spec/initContainers"));
    let (mut any, mut all) = (false, true);
    for container in containers {
        for kind in ["cpu", "memory"] {
            let of = |which: &str| container.pointer(&format!("/resources/{which}/{kind}"));
            let (request, limit) = (of("requests"), of("limits"));
            any |= request.is_some() || limit.is_some();
            all &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Sets a condition in a pod's status.
pub fn condition(pod: &mut Value, kind: &str, status: &str, now: Time) {
    let condition =
        json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": now.to_string()});
    let mut conditions: Vec<Value> = list(pod, "/status/conditions").to_vec();
    conditions.retain(|one| one["type"] != kind);
    conditions.push(condition);
    pod["status"]["conditions"] = conditions.into();
}
