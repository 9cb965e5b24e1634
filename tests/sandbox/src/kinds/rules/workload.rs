//! Rules for kinds that create pods.

use serde_json::{Value, json};

use crate::failure::Cause;
use crate::kinds::names;
use crate::object::{self, list, text};
use crate::selector::Labels;

use super::pod::template;
use super::{not_negative, one_of};

/// A Deployment or one of its relatives.
pub(super) fn workload(collection: &str, object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let selector = &object["spec"]["selector"];
    for key in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        causes.extend(not_negative(object, &format!("/spec/{key}"), &format!("spec.{key}")));
    }
    causes.extend(self::selector(selector, collection));
    causes.extend(template_matches(
        object,
        !selector.is_null() && Labels::from_object(selector).select(&object["spec"]["template"]),
    ));
    causes.extend(template(&object["spec"]["template"], "spec.template"));
    causes.extend(always(object, "spec.template"));
    if collection == "deployments.apps" {
        causes.extend(strategy(object));
        causes.extend(deadline(object));
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

fn selector(selector: &Value, collection: &str) -> Vec<Cause> {
    if selector.is_null() {
        return vec![Cause::required("spec.selector", "")];
    }
    let mut causes = names::labels("spec.selector.matchLabels", selector.get("matchLabels"));
    for (at, term) in list(selector, "/matchExpressions").iter().enumerate() {
        let field = |key: &str| format!("spec.selector.matchExpressions[{at}].{key}");
        let values = list(term, "/values");
        match text(term, "/operator") {
            "In" | "NotIn" if values.is_empty() => {
                causes.push(Cause::required(field("values"), "must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(Cause::forbidden(field("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => causes.push(Cause::invalid(field("operator"), &other.into(), "not a valid selector operator")),
        }
        let key = text(term, "/key");
        causes.extend(names::qualified(key).map(|detail| Cause::invalid(field("key"), &key.into(), &detail)));
    }
    let empty = object::map(selector, "/matchLabels").is_none_or(serde_json::Map::is_empty)
        && list(selector, "/matchExpressions").is_empty();
    if empty {
        let detail = format!("empty selector is invalid for {}", singular(collection));
        causes.push(Cause::invalid("spec.selector", &json!({}), &detail));
    }
    causes
}

fn strategy(object: &Value) -> Vec<Cause> {
    let field = "spec.strategy.rollingUpdate";
    let rolling = object.pointer("/spec/strategy/rollingUpdate").filter(|rolling| !rolling.is_null());
    match (text(object, "/spec/strategy/type"), rolling) {
        ("Recreate", None) => Vec::new(),
        ("Recreate", Some(_)) => {
            vec![Cause::forbidden(field, "may not be specified when strategy `type` is 'Recreate'")]
        }
        ("RollingUpdate", None) => vec![Cause::required(field, "this should be defaulted and never be nil")],
        ("RollingUpdate", Some(rolling)) => self::rolling(rolling, field),
        (kind, _) => {
            let shown = json!({"Type": kind, "RollingUpdate": null});
            vec![Cause::unsupported("spec.strategy", &shown, &["Recreate", "RollingUpdate"])]
        }
    }
}

/// Checks `maxSurge` and `maxUnavailable`.
fn rolling(rolling: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let percent = |value: &Value| {
        let number = value.as_str()?.strip_suffix('%')?;
        number.bytes().all(|digit| digit.is_ascii_digit()).then(|| number.parse::<i64>().ok())?
    };
    let number = |value: &Value| {
        let said = || value.as_str().and_then(|text| text.parse().ok());
        percent(value).or_else(|| value.as_i64()).or_else(said).unwrap_or(0)
    };
    let (least, most) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    for (key, value) in [("maxUnavailable", least), ("maxSurge", most)] {
        let detail = match value {
            Value::String(_) if percent(value).is_none() => "a valid percent string must be a number and '%'",
            Value::Number(_) if number(value) < 0 => "must be greater than or equal to 0",
            _ => continue,
        };
        causes.push(Cause::invalid(format!("{field}.{key}"), value, detail));
    }
    let field = format!("{field}.maxUnavailable");
    if number(least) == 0 && number(most) == 0 {
        causes.push(Cause::invalid(field.as_str(), least, "may not be 0 when `maxSurge` is 0"));
    }
    if percent(least).is_some_and(|percent| percent > 100) {
        causes.push(Cause::invalid(field, least, "must not be greater than 100%"));
    }
    causes
}

fn deadline(object: &Value) -> Vec<Cause> {
    let field = "spec.progressDeadlineSeconds";
    let Some(seconds) = object::integer(object, "/spec/progressDeadlineSeconds") else { return Vec::new() };
    let early = seconds <= object::integer(object, "/spec/minReadySeconds").unwrap_or(0);
    let early = early.then(|| Cause::invalid(field, &seconds.into(), "must be greater than minReadySeconds"));
    not_negative(object, "/spec/progressDeadlineSeconds", field).into_iter().chain(early).collect()
}

/// The counts in the status of a Deployment.
pub(super) fn deployment_status(object: &Value, live: &Value) -> Vec<Cause> {
    let count = |object: &Value, key: &str| object::integer(object, &format!("/status/{key}")).unwrap_or(0);
    let counts = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    let negative = |key| not_negative(object, &format!("/status/{key}"), &format!("status.{key}"));
    let mut causes: Vec<Cause> = counts.into_iter().filter_map(negative).collect();
    let mut over = |key: &str, most: &str, detail: &str| {
        if count(object, key) > count(object, most) {
            causes.push(Cause::invalid(format!("status.{key}"), &count(object, key).into(), detail));
        }
    };
    for key in ["updatedReplicas", "readyReplicas", "availableReplicas"] {
        over(key, "replicas", "cannot be greater than status.replicas");
    }
    over("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas");
    if count(object, "collisionCount") < count(live, "collisionCount") {
        let value = count(object, "collisionCount").into();
        causes.push(Cause::invalid("status.collisionCount", &value, "cannot be decremented"));
    }
    causes
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

/// Checks a CronJob.
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
