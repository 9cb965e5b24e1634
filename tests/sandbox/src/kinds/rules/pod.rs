//! Pods, and the templates of pods.

use std::net::IpAddr;

use serde_json::Value;

use crate::failure::Cause;
use crate::kinds::names;
use crate::object::{self, integer, list, text};

use super::{known, not_negative, one_of, port, port_or_name, unique_names};

/// A pod that is there: of its spec little may change.
pub(super) fn pod(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let mut causes = pod_spec(&object["spec"], "spec");
    if let Some(live) = live {
        let changeable = |object: &Value| {
            let mut spec = object["spec"].clone();
            for key in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"] {
                object::remove(&mut spec, key);
            }
            for containers in ["containers", "initContainers"] {
                let containers = spec.get_mut(containers).and_then(Value::as_array_mut);
                containers.into_iter().flatten().for_each(|one| one["image"] = Value::Null);
            }
            spec
        };
        let (new, old) = (changeable(object), changeable(live));
        if new != old {
            causes.push(Cause::forbidden("spec", POD_UPDATE));
        }
    }
    causes
}

/// The start of the message of the API server. A difference of Go structs follows it.
const POD_UPDATE: &str = "pod updates may not change fields other than \
                          `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                          `spec.tolerations` (only additions to existing tolerations),\
                          `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n";

/// A template of pods.
pub(super) fn template(template: &Value, field: &str) -> Vec<Cause> {
    let mut causes = names::labels(&format!("{field}.labels"), template.pointer("/metadata/labels"));
    causes.extend(names::annotations(&format!("{field}.annotations"), template.pointer("/metadata/annotations")));
    causes.extend(pod_spec(&template["spec"], &format!("{field}.spec")));
    causes
}

fn pod_spec(spec: &Value, field: &str) -> Vec<Cause> {
    let below = |key: &str| format!("{field}.{key}");
    let mut causes = Vec::new();
    for (at, volume) in list(spec, "/volumes").iter().enumerate() {
        causes.extend(named(volume, &format!("{field}.volumes[{at}]")));
    }
    causes.extend(unique_names(spec, "/volumes", &below("volumes")));
    let volumes: Vec<&str> = list(spec, "/volumes").iter().map(|volume| text(volume, "/name")).collect();
    causes.extend(containers(spec, &volumes, field));
    let policies = ["Always", "OnFailure", "Never"];
    causes.extend(known(spec, "/restartPolicy", &below("restartPolicy"), &policies));
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    causes.extend(known(spec, "/dnsPolicy", &below("dnsPolicy"), &policies));
    causes.extend(names::labels(&below("nodeSelector"), spec.get("nodeSelector")));
    causes.extend(users(&spec["securityContext"], &below("securityContext")));
    let account = Some(text(spec, "/serviceAccountName")).filter(|name| !name.is_empty());
    causes.extend(
        account
            .and_then(|name| Some((name, names::subdomain(name)?)))
            .map(|(name, detail)| Cause::invalid(below("serviceAccountName"), &name.into(), &detail)),
    );
    let seconds = integer(spec, "/activeDeadlineSeconds").filter(|seconds| !(1..=I32).contains(seconds));
    causes.extend(seconds.map(|seconds| {
        Cause::invalid(below("activeDeadlineSeconds"), &seconds.into(), "must be between 1 and 2147483647, inclusive")
    }));
    for (at, toleration) in list(spec, "/tolerations").iter().enumerate() {
        causes.extend(self::toleration(toleration, &format!("{field}.tolerations[{at}]")));
    }
    for (at, alias) in list(spec, "/hostAliases").iter().enumerate() {
        causes.extend(self::alias(alias, &format!("{field}.hostAliases[{at}]")));
    }
    causes
}

/// The largest number of a user, and of other things.
const I32: i64 = 2_147_483_647;

/// Users and groups.
fn users(context: &Value, field: &str) -> Vec<Cause> {
    let keys = ["fsGroup", "runAsUser", "runAsGroup"];
    let odd = keys.into_iter().filter_map(|key| {
        let number = integer(context, &format!("/{key}")).filter(|number| !(0..=I32).contains(number))?;
        let detail = "must be between 0 and 2147483647, inclusive";
        Some(Cause::invalid(format!("{field}.{key}"), &number.into(), detail))
    });
    odd.collect()
}

fn toleration(one: &Value, field: &str) -> Vec<Cause> {
    let (key, operator, effect) = (text(one, "/key"), text(one, "/operator"), text(one, "/effect"));
    let (value, field) = (text(one, "/value"), |key: &str| format!("{field}.{key}"));
    let mut causes = Vec::new();
    if !key.is_empty() {
        causes.extend(names::qualified(key).map(|detail| Cause::invalid(field("key"), &key.into(), &detail)));
    } else if operator != "Exists" {
        causes.push(Cause::invalid(field("operator"), &operator.into(), "operator must be Exists when `key` is empty"));
    }
    if one.get("tolerationSeconds").is_some_and(|seconds| !seconds.is_null()) && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        causes.push(Cause::invalid(field("effect"), &effect.into(), detail));
    }
    let detail = match operator {
        "" | "Equal" => names::label_value(value),
        "Exists" if !value.is_empty() => Some("value must be empty when `operator` is 'Exists'".to_owned()),
        "Exists" => None,
        other => {
            causes.push(Cause::unsupported(field("operator"), &other.into(), &["Equal", "Exists"]));
            None
        }
    };
    causes.extend(detail.map(|detail| Cause::invalid(field("operator"), &value.into(), &detail)));
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    causes.extend(one_of(one, "/effect", &field("effect"), &effects));
    causes
}

fn alias(alias: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let address = text(alias, "/ip");
    if address.parse::<IpAddr>().is_err() {
        causes.push(Cause::invalid(format!("{field}.ip"), &address.into(), "must be a valid IP address"));
    }
    for (at, name) in list(alias, "/hostnames").iter().enumerate() {
        let detail = names::subdomain(name.as_str().unwrap_or_default());
        causes.extend(detail.map(|detail| Cause::invalid(format!("{field}.hostnames[{at}]"), name, &detail)));
    }
    causes
}

/// All containers: no two have the same name.
fn containers(spec: &Value, volumes: &[&str], field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if list(spec, "/containers").is_empty() {
        causes.push(Cause::required(format!("{field}.containers"), ""));
    }
    let mut seen: Vec<&str> = Vec::new();
    for key in ["containers", "initContainers"] {
        for (at, one) in list(spec, &format!("/{key}")).iter().enumerate() {
            let field = format!("{field}.{key}[{at}]");
            causes.extend(container(one, volumes, &field));
            let name = text(one, "/name");
            if seen.contains(&name) {
                causes.push(Cause::duplicate(format!("{field}.name"), &name.into()));
            } else if key == "containers" || !name.is_empty() {
                seen.push(name);
            }
            let probed = key == "containers" || text(one, "/restartPolicy") == "Always";
            causes.extend(probes(one, probed, &field));
        }
    }
    causes
}

fn probes(container: &Value, probed: bool, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(one) = container.get(key).filter(|one| !one.is_null()) else { continue };
        let field = format!("{field}.{key}");
        if !probed {
            let detail = "may not be set for init containers without restartPolicy=Always";
            causes.push(Cause::forbidden(field, detail));
        } else if key != "lifecycle" {
            causes.extend(probe(one, key == "readinessProbe", &field));
        }
    }
    causes
}

fn probe(probe: &Value, is_patient: bool, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
    let mut handlers = handlers.into_iter().filter(|key| probe.get(*key).is_some_and(|one| !one.is_null()));
    match handlers.next() {
        None => causes.push(Cause::required(field, "must specify a handler type")),
        Some("httpGet") => causes.extend(http(&probe["httpGet"], &format!("{field}.httpGet"))),
        Some("tcpSocket") => {
            causes.extend(port_or_name(&probe["tcpSocket"]["port"], &format!("{field}.tcpSocket.port")))
        }
        Some("exec") if list(probe, "/exec/command").is_empty() => {
            causes.push(Cause::required(format!("{field}.exec.command"), ""));
        }
        Some(_) => {}
    }
    let detail = "may not specify more than 1 handler type";
    causes.extend(handlers.map(|key| Cause::forbidden(format!("{field}.{key}"), detail)));
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        causes.extend(not_negative(probe, &format!("/{key}"), &format!("{field}.{key}")));
    }
    let successes = integer(probe, "/successThreshold").unwrap_or(0);
    if !is_patient && successes != 1 {
        causes.push(Cause::invalid(format!("{field}.successThreshold"), &successes.into(), "must be 1"));
    }
    causes
}

fn http(get: &Value, field: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = port_or_name(&get["port"], &format!("{field}.port")).into_iter().collect();
    if text(get, "/path").is_empty() {
        causes.push(Cause::required(format!("{field}.path"), ""));
    }
    let scheme = text(get, "/scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        causes.push(Cause::unsupported(format!("{field}.scheme"), &scheme.into(), &["HTTP", "HTTPS"]));
    }
    causes
}

fn named(item: &Value, field: &str) -> Option<Cause> {
    match text(item, "/name") {
        "" => Some(Cause::required(format!("{field}.name"), "")),
        name => names::label(name).map(|detail| Cause::invalid(format!("{field}.name"), &name.into(), &detail)),
    }
}

fn container(container: &Value, volumes: &[&str], field: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = named(container, field).into_iter().collect();
    if text(container, "/image").is_empty() {
        causes.push(Cause::required(format!("{field}.image"), ""));
    }
    causes.extend(ports(container, field));
    for (at, one) in list(container, "/env").iter().enumerate() {
        causes.extend(variable(one, &format!("{field}.env[{at}]")));
    }
    for (at, one) in list(container, "/volumeMounts").iter().enumerate() {
        let (name, field) = (text(one, "/name"), format!("{field}.volumeMounts[{at}]"));
        if name.is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if !volumes.contains(&name) {
            let message = format!("Not found: {name:?}");
            causes.push(Cause::new("FieldValueNotFound", format!("{field}.name"), message));
        }
        if text(one, "/mountPath").is_empty() {
            causes.push(Cause::required(format!("{field}.mountPath"), ""));
        }
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    causes.extend(known(container, "/imagePullPolicy", &format!("{field}.imagePullPolicy"), &policies));
    let policies = ["File", "FallbackToLogsOnError"];
    causes.extend(known(
        container,
        "/terminationMessagePolicy",
        &format!("{field}.terminationMessagePolicy"),
        &policies,
    ));
    for key in ["limits", "requests"] {
        causes.extend(amounts(container, &format!("/resources/{key}"), &format!("{field}.resources.{key}")));
    }
    causes.extend(users(&container["securityContext"], &format!("{field}.securityContext")));
    causes
}

fn ports(container: &Value, field: &str) -> Vec<Cause> {
    let (mut causes, mut seen) = (Vec::new(), Vec::new());
    for (at, one) in list(container, "/ports").iter().enumerate() {
        let field = |key: &str| format!("{field}.ports[{at}].{key}");
        match text(one, "/name") {
            "" => {}
            name => match names::port(name) {
                Some(detail) => causes.push(Cause::invalid(field("name"), &name.into(), &detail)),
                None if seen.contains(&name) => causes.push(Cause::duplicate(field("name"), &name.into())),
                None => seen.push(name),
            },
        }
        for (key, needed) in [("containerPort", true), ("hostPort", false)] {
            match one.get(key).filter(|number| !number.is_null() && **number != 0) {
                None if needed => causes.push(Cause::required(field(key), "")),
                number => causes.extend(number.and_then(|number| port(number, &field(key)))),
            }
        }
        causes.extend(known(one, "/protocol", &field("protocol"), &["SCTP", "TCP", "UDP"]));
    }
    causes
}

fn variable(one: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = text(one, "/name");
    let printable = |c: char| (' '..='~').contains(&c) && c != '=';
    if name.is_empty() {
        causes.push(Cause::required(format!("{field}.name"), ""));
    } else if !name.chars().all(printable) {
        let detail = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        causes.push(Cause::invalid(format!("{field}.name"), &name.into(), detail));
    }
    if let Some(from) = one.get("valueFrom").filter(|from| !from.is_null()) {
        let sources = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
        let sources = sources.iter().filter(|key| from.get(**key).is_some_and(|one| !one.is_null())).count();
        let detail = match sources {
            0 => "must specify one of its sources",
            _ if !text(one, "/value").is_empty() => "may not be specified when `value` is not empty",
            1 => return causes,
            _ => "may not have more than one field specified at a time",
        };
        causes.push(Cause::invalid(format!("{field}.valueFrom"), &"".into(), detail));
    }
    causes
}

/// Amounts of what containers use.
fn amounts(container: &Value, pointer: &str, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (name, amount) in object::map(container, pointer).into_iter().flatten() {
        let field = format!("{field}[{name}]");
        let standard =
            ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str()) || name.starts_with("hugepages-");
        let detail = names::qualified(name).or_else(|| {
            let own = !standard && !name.contains('/');
            own.then(|| "must be a standard resource type or fully qualified".to_owned())
        });
        causes.extend(detail.map(|detail| Cause::invalid(field.as_str(), &name.as_str().into(), &detail)));
        if amount.as_str().is_some_and(|amount| amount.starts_with('-')) {
            causes.push(Cause::invalid(field, amount, "must be greater than or equal to 0"));
        }
    }
    causes
}
