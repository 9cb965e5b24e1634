//! Pods and what makes them.

use serde_json::{Value, json};

use crate::failure::Cause;
use crate::kinds::names;
use crate::object::{self, list, text};
use crate::selector::Labels;

use super::{not_negative, one_of, port, unique_names};

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

/// What the API server says of it. It goes on with a difference of Go structs.
const POD_UPDATE: &str = "pod updates may not change fields other than \
                          `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                          `spec.tolerations` (only additions to existing tolerations),\
                          `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n";

/// A Deployment or one of its relatives.
pub(super) fn workload(collection: &str, object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let selector = &object["spec"]["selector"];
    causes.extend(not_negative(object, "/spec/replicas", "spec.replicas"));
    let empty = object::map(selector, "/matchLabels").is_none_or(serde_json::Map::is_empty)
        && list(selector, "/matchExpressions").is_empty();
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if empty {
        let detail = "empty selector is invalid for deployment".replace("deployment", singular(collection));
        causes.push(Cause::invalid("spec.selector", &json!({}), &detail));
    }
    causes.extend(template_matches(
        object,
        !selector.is_null() && Labels::from_object(selector).select(&object["spec"]["template"]),
    ));
    causes.extend(template(&object["spec"]["template"], "spec.template"));
    causes.extend(always(object, "spec.template"));
    if collection == "deployments.apps" {
        causes.extend(strategy(object));
    }
    if let Some(live) = live {
        if collection == "statefulsets.apps" {
            causes.extend(stateful(object, live));
        } else if live["spec"]["selector"] != *selector {
            causes.push(Cause::invalid("spec.selector", selector, "field is immutable"));
        }
    }
    causes
}

fn singular(collection: &str) -> &str {
    match collection {
        "deployments.apps" => "deployment",
        "daemonsets.apps" => "daemonset",
        "statefulsets.apps" => "statefulset",
        _ => "deployment",
    }
}

fn template_matches(object: &Value, matches: bool) -> Option<Cause> {
    let labels = object.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
    let detail = "`selector` does not match template `labels`";
    (!matches).then(|| Cause::invalid("spec.template.metadata.labels", &labels, detail))
}

fn strategy(object: &Value) -> Option<Cause> {
    let kind = text(object, "/spec/strategy/type");
    if ["", "Recreate", "RollingUpdate"].contains(&kind) {
        let rolling = object.pointer("/spec/strategy/rollingUpdate").is_some();
        let detail = "may not be specified when strategy `type` is 'Recreate'";
        return (kind == "Recreate" && rolling).then(|| Cause::forbidden("spec.strategy.rollingUpdate", detail));
    }
    let shown = json!({"Type": kind, "RollingUpdate": null});
    Some(Cause::unsupported("spec.strategy", &shown, &["Recreate", "RollingUpdate"]))
}

fn stateful(object: &Value, live: &Value) -> Option<Cause> {
    let fixed = |object: &Value| {
        let mut spec = object["spec"].clone();
        let changeable = [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ];
        changeable.iter().for_each(|key| {
            object::remove(&mut spec, key);
        });
        spec
    };
    let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                  'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    (fixed(object) != fixed(live)).then(|| Cause::forbidden("spec", detail))
}

/// Only Jobs let their pods end.
fn always(object: &Value, field: &str) -> Option<Cause> {
    let policy = text(object, "/spec/template/spec/restartPolicy");
    let wrong = !policy.is_empty() && policy != "Always";
    wrong.then(|| Cause::unsupported(format!("{field}.spec.restartPolicy"), &policy.into(), &["Always"]))
}

/// An old relative of ReplicaSets.
pub(super) fn replication_controller(object: &Value) -> Vec<Cause> {
    let mut causes: Vec<Cause> = not_negative(object, "/spec/replicas", "spec.replicas").into_iter().collect();
    let selector = object::map(object, "/spec/selector").cloned().unwrap_or_default();
    if selector.is_empty() {
        causes.push(Cause::required("spec.selector", ""));
    }
    if object["spec"]["template"].is_null() {
        causes.push(Cause::required("spec.template", ""));
        return causes;
    }
    causes.extend(template_matches(object, Labels::from_map(&selector).select(&object["spec"]["template"])));
    causes.extend(template(&object["spec"]["template"], "spec.template"));
    causes.extend(always(object, "spec.template"));
    causes
}

/// A Job: its pods are as they were.
pub(super) fn job(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let mut causes = template(&object["spec"]["template"], "spec.template");
    causes.extend(ends(object, "/spec/template", "spec.template"));
    for key in ["parallelism", "completions", "backoffLimit"] {
        causes.extend(not_negative(object, &format!("/spec/{key}"), &format!("spec.{key}")));
    }
    if let Some(live) = live {
        for key in ["template", "selector", "completions"] {
            let (new, old) = (&object["spec"][key], &live["spec"][key]);
            if new != old {
                causes.push(Cause::invalid(format!("spec.{key}"), new, "field is immutable"));
            }
        }
    }
    causes
}

/// What makes Jobs.
pub(super) fn cron_job(object: &Value) -> Vec<Cause> {
    let field = "spec.jobTemplate.spec.template";
    let mut causes = template(&object["spec"]["jobTemplate"]["spec"]["template"], field);
    causes.extend(ends(object, "/spec/jobTemplate/spec/template", field));
    if text(object, "/spec/schedule").is_empty() {
        causes.push(Cause::required("spec.schedule", ""));
    }
    causes.extend(one_of(object, "/spec/concurrencyPolicy", "spec.concurrencyPolicy", &["Allow", "Forbid", "Replace"]));
    causes
}

fn ends(object: &Value, pointer: &str, field: &str) -> Option<Cause> {
    let policy = text(object, &format!("{pointer}/spec/restartPolicy"));
    let known = ["OnFailure", "Never"];
    (!known.contains(&policy))
        .then(|| Cause::unsupported(format!("{field}.spec.restartPolicy"), &policy.into(), &known))
}

fn template(template: &Value, field: &str) -> Vec<Cause> {
    let mut causes = names::labels(&format!("{field}.labels"), template.pointer("/metadata/labels"));
    causes.extend(pod_spec(&template["spec"], &format!("{field}.spec")));
    causes
}

fn pod_spec(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (at, volume) in list(spec, "/volumes").iter().enumerate() {
        causes.extend(named(volume, &format!("{field}.volumes[{at}]")));
    }
    causes.extend(unique_names(spec, "/volumes", &format!("{field}.volumes")));
    let volumes: Vec<&str> = list(spec, "/volumes").iter().map(|volume| text(volume, "/name")).collect();
    if list(spec, "/containers").is_empty() {
        causes.push(Cause::required(format!("{field}.containers"), ""));
    }
    for containers in ["containers", "initContainers"] {
        for (at, one) in list(spec, &format!("/{containers}")).iter().enumerate() {
            causes.extend(container(one, &volumes, &format!("{field}.{containers}[{at}]")));
        }
        causes.extend(unique_names(spec, &format!("/{containers}"), &format!("{field}.{containers}")));
    }
    let policies = ["Always", "OnFailure", "Never"];
    causes.extend(one_of(spec, "/restartPolicy", &format!("{field}.restartPolicy"), &policies));
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    causes.extend(one_of(spec, "/dnsPolicy", &format!("{field}.dnsPolicy"), &policies));
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
    for (at, one) in list(container, "/ports").iter().enumerate() {
        let field = format!("{field}.ports[{at}]");
        match one.get("containerPort").filter(|number| **number != 0) {
            None => causes.push(Cause::required(format!("{field}.containerPort"), "")),
            Some(number) => causes.extend(port(number, &format!("{field}.containerPort"))),
        }
        causes.extend(one_of(one, "/protocol", &format!("{field}.protocol"), &["SCTP", "TCP", "UDP"]));
    }
    for (at, one) in list(container, "/env").iter().enumerate() {
        if text(one, "/name").is_empty() {
            causes.push(Cause::required(format!("{field}.env[{at}].name"), ""));
        }
        if !text(one, "/value").is_empty() && one.get("valueFrom").is_some() {
            let detail = "may not be specified when `value` is not empty";
            let field = format!("{field}.env[{at}].valueFrom");
            causes.push(Cause::invalid(field, &"".into(), detail));
        }
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
    causes.extend(one_of(container, "/imagePullPolicy", &format!("{field}.imagePullPolicy"), &policies));
    causes
}
