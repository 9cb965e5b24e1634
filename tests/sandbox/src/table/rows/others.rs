//! All other kinds.

use serde_json::{Value, json};

use crate::clock::Time;
use crate::object::{self, integer, list, map, text};

use crate::table::cells::{NONE, age, count, first, number, or_none, since};

/// All cells but the name, if it is one of these kinds.
pub(super) fn cells(collection: &str, one: &Value, now: Time) -> Option<Vec<Value>> {
    let age = age(one, now);
    let shown = |pointer: &str| Value::from(text(one, pointer));
    Some(match collection {
        "configmaps" => vec![(count(one, "/data") + count(one, "/binaryData")).into(), age],
        "secrets" => vec![shown("/type"), count(one, "/data").into(), age],
        "namespaces" => vec![shown("/status/phase"), age],
        "serviceaccounts" => vec![age],
        "nodes" => node(one, age),
        "resourcequotas" => {
            let part = |limits: bool| {
                let all = map(one, "/status/hard").into_iter().flatten();
                let all = all.filter(|(key, _)| key.starts_with("limits.") == limits);
                let used = |key: &str| text(&one["status"]["used"][key], "").to_owned();
                all.map(|(key, hard)| format!("{key}: {}/{}", used(key), hard.as_str().unwrap_or_default()))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            vec![part(false).into(), part(true).into(), age]
        }
        "componentstatuses" => vec!["".into(), "".into(), "".into()],
        "leases.coordination.k8s.io" => vec![shown("/spec/holderIdentity"), age],
        "runtimeclasses.node.k8s.io" => vec![shown("/handler"), age],
        "priorityclasses.scheduling.k8s.io" => {
            let global = one.get("globalDefault").cloned().unwrap_or(false.into());
            vec![number(one, "/value"), global, age, shown("/preemptionPolicy")]
        }
        "poddisruptionbudgets.policy" => {
            let bound = |key: &str| match &one["spec"][key] {
                Value::Null => json!("N/A"),
                Value::String(text) => text.as_str().into(),
                number => number.to_string().into(),
            };
            vec![bound("minAvailable"), bound("maxUnavailable"), number(one, "/status/disruptionsAllowed"), age]
        }
        "horizontalpodautoscalers.autoscaling" => {
            let target = one.pointer("/spec/scaleTargetRef").unwrap_or(&Value::Null);
            let reference = format!("{}/{}", text(target, "/kind"), text(target, "/name"));
            let (least, most) = (or_none(one, "/spec/minReplicas"), number(one, "/spec/maxReplicas"));
            vec![reference.into(), targets(one).into(), least, most, number(one, "/status/currentReplicas"), age]
        }
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => binding(one, age),
        "apiservices.apiregistration.k8s.io" => {
            let service = match text(one, "/spec/service/name") {
                "" => "Local".to_owned(),
                name => format!("{}/{name}", text(one, "/spec/service/namespace")),
            };
            let conditions = list(one, "/status/conditions");
            let available =
                conditions.iter().find(|one| one["type"] == "Available").map_or("Unknown", |one| text(one, "/status"));
            vec![service.into(), available.into(), age]
        }
        _ => return policies(collection, one, age),
    })
}

fn policies(collection: &str, one: &Value, age: Value) -> Option<Vec<Value>> {
    let shown = |pointer: &str| Value::from(text(one, pointer));
    let param = || match one.pointer("/spec/paramKind") {
        Some(kind) => format!("{}/{}", text(kind, "/apiVersion"), text(kind, "/kind")),
        None => "<unset>".to_owned(),
    };
    let reference = || match text(one, "/spec/paramRef/name") {
        "" => "<unset>",
        name => name,
    };
    Some(match collection {
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
        | "validatingwebhookconfigurations.admissionregistration.k8s.io" => vec![count(one, "/webhooks").into(), age],
        "validatingadmissionpolicies.admissionregistration.k8s.io" => {
            vec![count(one, "/spec/validations").into(), param().into(), age]
        }
        "mutatingadmissionpolicies.admissionregistration.k8s.io" => {
            vec![count(one, "/spec/mutations").into(), param().into(), age]
        }
        "validatingadmissionpolicybindings.admissionregistration.k8s.io"
        | "mutatingadmissionpolicybindings.admissionregistration.k8s.io" => {
            vec![shown("/spec/policyName"), reference().into(), age]
        }
        "certificatesigningrequests.certificates.k8s.io" => {
            let said: Vec<&str> = list(one, "/status/conditions").iter().map(|one| text(one, "/type")).collect();
            let condition = if said.is_empty() { "Pending".to_owned() } else { said.join(",") };
            let lasts = integer(one, "/spec/expirationSeconds")
                .map_or(NONE.to_owned(), |seconds| crate::table::cells::duration(seconds.unsigned_abs()));
            vec![age, shown("/spec/signerName"), shown("/spec/username"), lasts.into(), condition.into()]
        }
        "flowschemas.flowcontrol.apiserver.k8s.io" => {
            let dangling = list(one, "/status/conditions").iter().find(|one| one["type"] == "Dangling");
            let missing = dangling.map_or("?", |one| text(one, "/status"));
            let method = or_none(one, "/spec/distinguisherMethod/type");
            let level = shown("/spec/priorityLevelConfiguration/name");
            vec![level, number(one, "/spec/matchingPrecedence"), method, age, missing.into()]
        }
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io" => {
            let shares = ["/spec/limited", "/spec/exempt"]
                .map(|pointer| integer(one, &format!("{pointer}/nominalConcurrencyShares")));
            let shares = shares.into_iter().flatten().next().map_or(NONE.into(), Value::from);
            let queue = |key: &str| or_none(one, &format!("/spec/limited/limitResponse/queuing/{key}"));
            vec![shown("/spec/type"), shares, queue("queues"), queue("handSize"), queue("queueLengthLimit"), age]
        }
        "deviceclasses.resource.k8s.io" | "resourceclaimtemplates.resource.k8s.io" => vec![age],
        "resourceclaims.resource.k8s.io" => {
            let state = if one.pointer("/status/allocation").is_some() { "allocated" } else { "pending" };
            vec![state.into(), age]
        }
        "resourceslices.resource.k8s.io" => {
            vec![shown("/spec/nodeName"), shown("/spec/driver"), shown("/spec/pool/name"), age]
        }
        _ => return None,
    })
}

fn node(one: &Value, age: Value) -> Vec<Value> {
    let ready = list(one, "/status/conditions").iter().find(|one| one["type"] == "Ready");
    let mut status = match ready {
        Some(ready) if ready["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if one["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let labels = map(one, "/metadata/labels").into_iter().flatten();
    let roles: Vec<&str> = labels.filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/")).collect();
    let roles = if roles.is_empty() { NONE.to_owned() } else { roles.join(",") };
    let address = |kind: &str| {
        let all = list(one, "/status/addresses").iter();
        all.into_iter().find(|one| one["type"] == kind).map_or(NONE, |one| text(one, "/address"))
    };
    let info = |key: &str| match text(&one["status"]["nodeInfo"], &format!("/{key}")) {
        "" => "<unknown>",
        known => known,
    };
    vec![
        status.into(),
        roles.into(),
        age,
        text(one, "/status/nodeInfo/kubeletVersion").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        info("osImage").into(),
        info("kernelVersion").into(),
        info("containerRuntimeVersion").into(),
    ]
}

/// The targets of an autoscaler, without current values: nothing measures them here.
fn targets(one: &Value) -> String {
    let metric = |metric: &Value| {
        let target = metric.pointer("/resource/target").unwrap_or(&Value::Null);
        let name = text(metric, "/resource/name");
        match integer(target, "/averageUtilization") {
            Some(percent) => format!("{name}: <unknown>/{percent}%"),
            None => format!("{name}: <unknown>/{}", text(target, "/averageValue")),
        }
    };
    let mut all: Vec<String> = list(one, "/spec/metrics").iter().map(metric).collect();
    if let Some(percent) = integer(one, "/spec/targetCPUUtilizationPercentage") {
        all.push(format!("cpu: <unknown>/{percent}%"));
    }
    first(&all, 2)
}

fn binding(one: &Value, age: Value) -> Vec<Value> {
    let role = format!("{}/{}", text(one, "/roleRef/kind"), text(one, "/roleRef/name"));
    let of = |kind: &str| {
        let subjects = list(one, "/subjects").iter().filter(|subject| subject["kind"] == kind);
        let names = subjects.map(|subject| match text(subject, "/namespace") {
            "" => text(subject, "/name").to_owned(),
            namespace => format!("{namespace}/{}", text(subject, "/name")),
        });
        names.collect::<Vec<_>>().join(", ")
    };
    vec![role.into(), age, of("User").into(), of("Group").into(), of("ServiceAccount").into()]
}

/// An Event.
pub(super) fn event(one: &Value, now: Time) -> Vec<Value> {
    let shown = |pointer: &str| Value::from(text(one, pointer));
    let time = |pointer: &str| match text(one, pointer) {
        "" => since(text(one, "/eventTime"), now),
        time => since(time, now),
    };
    let about = one.pointer("/involvedObject").or_else(|| one.get("regarding")).unwrap_or(&Value::Null);
    let object = format!("{}/{}", text(about, "/kind").to_lowercase(), text(about, "/name"));
    let component = match text(one, "/source/component") {
        "" => match text(one, "/reportingComponent") {
            "" => text(one, "/reportingController"),
            component => component,
        },
        component => component,
    };
    let instance = match text(one, "/source/host") {
        "" => text(one, "/reportingInstance"),
        host => host,
    };
    let source = match instance {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    };
    let message = if one.get("note").is_some() { text(one, "/note") } else { text(one, "/message") }.trim();
    vec![
        time("/lastTimestamp").into(),
        shown("/type"),
        shown("/reason"),
        object.into(),
        text(about, "/fieldPath").into(),
        source.into(),
        message.into(),
        time("/firstTimestamp").into(),
        integer(one, "/count").unwrap_or(1).into(),
        object::name(one).into(),
    ]
}
