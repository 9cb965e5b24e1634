//! Health of an object from its own fields, by the rules that kubectl and other tools share
//! ([kstatus](https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus)).

use serde_json::Value;

use crate::model::object::{Object, ObjectId};

/// The state of an object on its way to what it declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// The agent has not read the object yet.
    #[default]
    Unknown,
    /// The object is what it declares.
    Current,
    /// A controller still works on it, for this reason.
    InProgress(Box<str>),
    /// It will not become current without a change, for this reason.
    Failed(Box<str>),
    /// It is being deleted.
    Terminating,
}

impl Health {
    /// The word for it in the status of a ResourceGroup.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Current => "Current",
            Self::InProgress(_) => "InProgress",
            Self::Failed(_) => "Failed",
            Self::Terminating => "Terminating",
        }
    }

    /// The reason why the object is not current.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::InProgress(message) | Self::Failed(message) => Some(message),
            _ => None,
        }
    }
}

/// `true` if objects of this kind are current as soon as they exist and stay so: they need not be read for their health.
pub fn is_always_current(id: &ObjectId) -> bool {
    matches!(
        (id.group(), id.kind()),
        ("", "Namespace" | "ConfigMap" | "Secret" | "ServiceAccount" | "LimitRange" | "ResourceQuota" | "Endpoints")
            | (
                "rbac.authorization.k8s.io"
                    | "networking.k8s.io"
                    | "storage.k8s.io"
                    | "scheduling.k8s.io"
                    | "node.k8s.io",
                _
            )
            | ("admissionregistration.k8s.io" | "discovery.k8s.io", _)
            | ("batch", "CronJob")
    )
}

/// The health of a whole object.
pub fn of(object: &Object) -> Health {
    if object.metadata("deletionTimestamp").is_some() {
        return Health::Terminating;
    }
    let status = StatusFields(object);
    let generation = object.metadata("generation").and_then(Value::as_i64);
    if let (Some(observed), Some(generation)) = (status.number("observedGeneration"), generation)
        && observed != generation
    {
        return progress(format!("generation {generation} is not observed yet, only {observed}"));
    }
    if let Some(message) = status.condition_is("Reconciling", "True") {
        return progress(message);
    }
    if let Some(message) = status.condition_is("Stalled", "True") {
        return failed(message);
    }
    match (object.group(), object.kind()) {
        ("", "Service") => service(object),
        ("", "Pod") => pod(&status),
        // Its volume is gone, and does not come back.
        ("", "PersistentVolumeClaim") if status.text("phase") == "Lost" => failed("phase is \"Lost\""),
        ("", "PersistentVolumeClaim") => phase(&status, "Bound"),
        ("apps", "Deployment") => deployment(object, &status),
        ("apps", "StatefulSet") => stateful_set(object, &status),
        ("apps", "DaemonSet") => daemon_set(&status, generation),
        ("apps", "ReplicaSet") => replica_set(object, &status),
        ("policy", "PodDisruptionBudget") => observed(&status, generation),
        ("batch", "Job") => job(&status),
        ("batch", "CronJob") | ("", "ConfigMap" | "Secret") => Health::Current,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => crd(&status),
        _ => ready(&status),
    }
}

fn progress(message: impl Into<Box<str>>) -> Health {
    Health::InProgress(message.into())
}

fn failed(message: impl Into<Box<str>>) -> Health {
    Health::Failed(message.into())
}

/// Reads fields below `.status`.
struct StatusFields<'a>(&'a Object);

impl StatusFields<'_> {
    fn field(&self, name: &str) -> Option<&Value> {
        self.0.0.get("status")?.get(name)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.field(name)?.as_i64()
    }

    fn count(&self, name: &str) -> i64 {
        self.number(name).unwrap_or(0)
    }

    fn text(&self, name: &str) -> &str {
        self.field(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn condition(&self, kind: &str) -> Option<&Value> {
        self.field("conditions")?.as_array()?.iter().find(|c| c["type"] == kind)
    }

    /// The message of a condition that has this status.
    fn condition_is(&self, kind: &str, status: &str) -> Option<String> {
        let condition = self.condition(kind).filter(|c| c["status"] == status)?;
        let text = |field: &str| condition[field].as_str().filter(|text| !text.is_empty());
        Some(text("message").or(text("reason")).unwrap_or(kind).to_owned())
    }
}

fn service(object: &Object) -> Health {
    let spec = object.0.get("spec");
    let field = |name: &str| spec.and_then(|s| s.get(name)).and_then(Value::as_str).unwrap_or_default();
    if field("type") == "LoadBalancer" && field("clusterIP").is_empty() {
        progress("Service has no cluster IP yet")
    } else {
        Health::Current
    }
}

fn pod(status: &StatusFields<'_>) -> Health {
    match status.text("phase") {
        "Succeeded" => Health::Current,
        "Failed" => failed("Pod has failed"),
        "Running" if status.condition_is("Ready", "True").is_some() => Health::Current,
        "" => progress("Pod phase not available"),
        phase => progress(format!("Pod is {phase} but not ready")),
    }
}

fn phase(status: &StatusFields<'_>, wanted: &str) -> Health {
    match status.text("phase") {
        phase if phase == wanted => Health::Current,
        phase => progress(format!("phase is {phase:?}, not {wanted:?}")),
    }
}

fn replicas(object: &Object) -> i64 {
    object.0.get("spec").and_then(|s| s.get("replicas")).and_then(Value::as_i64).unwrap_or(1)
}

/// The first count that is less than `wanted`.
fn short_of(wanted: i64, counts: &[(&str, i64)]) -> Option<Health> {
    counts.iter().find(|(_, count)| *count < wanted).map(|(name, count)| progress(format!("{name}: {count}/{wanted}")))
}

fn deployment(object: &Object, status: &StatusFields<'_>) -> Health {
    if let Some(condition) = status.condition("Progressing")
        && condition["reason"] == "ProgressDeadlineExceeded"
    {
        return failed("Progress deadline exceeded");
    }
    let wanted = replicas(object);
    let updated = status.count("updatedReplicas");
    if let Some(short) = short_of(wanted, &[("Replicas", status.count("replicas")), ("Updated", updated)]) {
        return short;
    }
    if status.count("replicas") > updated {
        return progress(format!("Pending termination: {}", status.count("replicas") - updated));
    }
    let available = status.count("availableReplicas");
    if let Some(short) = short_of(wanted, &[("Available", available), ("Ready", status.count("readyReplicas"))]) {
        return short;
    }
    if status.number("observedGeneration").is_none() || status.condition_is("Available", "True").is_none() {
        return progress("Deployment is not available");
    }
    Health::Current
}

fn stateful_set(object: &Object, status: &StatusFields<'_>) -> Health {
    let spec = |pointer: &str| object.0.get("spec").and_then(|s| s.pointer(pointer));
    if spec("/updateStrategy/type").is_some_and(|kind| kind == "OnDelete") {
        return Health::Current;
    }
    let wanted = replicas(object);
    let counts = [("Replicas", status.count("replicas")), ("Ready", status.count("readyReplicas"))];
    if let Some(short) = short_of(wanted, &counts) {
        return short;
    }
    if status.count("replicas") > wanted {
        return progress(format!("Pending termination: {}", status.count("replicas") - wanted));
    }
    let partition = spec("/updateStrategy/rollingUpdate/partition").and_then(Value::as_i64).unwrap_or(0);
    if partition > 0 {
        let updated = status.count("updatedReplicas");
        return short_of(wanted - partition, &[("Updated", updated)]).unwrap_or(Health::Current);
    }
    if let Some(short) = short_of(wanted, &[("Current", status.count("currentReplicas"))]) {
        return short;
    }
    if status.text("currentRevision") != status.text("updateRevision") {
        return progress("Waiting for updated revision to match current");
    }
    Health::Current
}

fn daemon_set(status: &StatusFields<'_>, generation: Option<i64>) -> Health {
    if generation.is_some() && status.number("observedGeneration").is_none() {
        return progress("no observed generation yet");
    }
    let Some(wanted) = status.number("desiredNumberScheduled") else {
        return progress("no number of scheduled pods yet");
    };
    let counts = [
        ("Current", status.count("currentNumberScheduled")),
        ("Updated", status.count("updatedNumberScheduled")),
        ("Available", status.count("numberAvailable")),
        ("Ready", status.count("numberReady")),
    ];
    short_of(wanted, &counts).unwrap_or(Health::Current)
}

fn replica_set(object: &Object, status: &StatusFields<'_>) -> Health {
    let wanted = replicas(object);
    let counts = [
        ("Labelled", status.count("fullyLabeledReplicas")),
        ("Available", status.count("availableReplicas")),
        ("Ready", status.count("readyReplicas")),
    ];
    if let Some(message) = status.condition_is("ReplicaFailure", "True") {
        return progress(message);
    }
    if let Some(short) = short_of(wanted, &counts) {
        return short;
    }
    if status.count("replicas") > wanted {
        return progress(format!("Pending termination: {}", status.count("replicas") - wanted));
    }
    Health::Current
}

fn observed(status: &StatusFields<'_>, generation: Option<i64>) -> Health {
    if status.number("observedGeneration") == generation {
        Health::Current
    } else {
        progress("generation is not observed yet")
    }
}

fn job(status: &StatusFields<'_>) -> Health {
    if let Some(message) = status.condition_is("Failed", "True") {
        return failed(message);
    }
    if status.condition_is("Complete", "True").is_some() || status.field("startTime").is_some() {
        return Health::Current;
    }
    progress("Job has not started")
}

fn crd(status: &StatusFields<'_>) -> Health {
    if let Some(message) = status.condition_is("NamesAccepted", "False") {
        return failed(message);
    }
    if status.condition_is("Established", "True").is_some() {
        return Health::Current;
    }
    match status.condition("Established") {
        Some(c) if c["status"] == "False" && c["reason"] != "Installing" => {
            failed(c["message"].as_str().unwrap_or("not established"))
        }
        _ => progress("Install in progress"),
    }
}

fn ready(status: &StatusFields<'_>) -> Health {
    match status.condition("Ready") {
        Some(condition) if condition["status"] != "True" => {
            progress(status.condition_is("Ready", "False").unwrap_or_else(|| "Ready is unknown".to_owned()))
        }
        _ => Health::Current,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: Value, word: &str, message: Option<&str>) {
        let object: Object = serde_json::from_value(value).expect("a map");
        let health = of(&object);
        assert_eq!((health.word(), health.message()), (word, message));
    }

    #[test]
    fn each_kind_has_its_rules() {
        check(json!({"kind": "ConfigMap", "apiVersion": "v1"}), "Current", None);
        check(
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"deletionTimestamp": "x"}}),
            "Terminating",
            None,
        );
        check(
            json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "status": {"phase": "Pending"}}),
            "InProgress",
            Some("phase is \"Pending\", not \"Bound\""),
        );
        check(
            json!({"kind": "X", "apiVersion": "a/v1", "status": {"conditions": [{"type": "Ready", "status": "False", "message": "no"}]}}),
            "InProgress",
            Some("no"),
        );
        check(
            json!({"kind": "X", "apiVersion": "a/v1", "metadata": {"generation": 2}, "status": {"observedGeneration": 1}}),
            "InProgress",
            Some("generation 2 is not observed yet, only 1"),
        );
        check(
            json!({"kind": "X", "apiVersion": "a/v1", "status": {"conditions": [{"type": "Stalled", "status": "True", "reason": "Bad"}]}}),
            "Failed",
            Some("Bad"),
        );
    }

    #[test]
    fn a_deployment_becomes_current_with_its_replicas() {
        let with = |status: Value| json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": status});
        check(with(json!({})), "InProgress", Some("Replicas: 0/2"));
        let mut status = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1, "availableReplicas": 1});
        check(with(status.clone()), "InProgress", Some("Available: 1/2"));
        status["availableReplicas"] = 2.into();
        status["readyReplicas"] = 2.into();
        check(with(status.clone()), "InProgress", Some("Deployment is not available"));
        status["conditions"] = json!([{"type": "Available", "status": "True"}]);
        check(with(status), "Current", None);
    }
}
