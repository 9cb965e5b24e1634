//! The rules of built-in kinds that clients run into most: what is refused with 422, and in which words.

mod config;
mod rbac;
mod service;
mod workload;

use serde_json::Value;

use crate::failure::Cause;
use crate::object::{self, list, text};
use crate::resource::Resource;

pub(super) use service::ports_of_all as node_ports;

/// What is wrong with an object of a built-in kind.
pub(super) fn check(resource: &Resource, object: &Value, live: Option<&Value>) -> Vec<Cause> {
    match resource.collection.as_str() {
        "configmaps" => config::config_map(object, live),
        "secrets" => config::secret(object, live),
        "services" => service::service(object, live),
        "pods" => workload::pod(object, live),
        "deployments.apps" | "replicasets.apps" | "daemonsets.apps" | "statefulsets.apps" => {
            workload::workload(&resource.collection, object, live)
        }
        "replicationcontrollers" => workload::replication_controller(object),
        "jobs.batch" => workload::job(object, live),
        "cronjobs.batch" => workload::cron_job(object),
        "roles.rbac.authorization.k8s.io" | "clusterroles.rbac.authorization.k8s.io" => {
            rbac::role(object, resource.namespaced)
        }
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            rbac::binding(object, live, resource.namespaced)
        }
        "ingresses.networking.k8s.io" => config::ingress(object),
        "poddisruptionbudgets.policy" => config::budget(object),
        "horizontalpodautoscalers.autoscaling" => config::autoscaler(object),
        "priorityclasses.scheduling.k8s.io" => immutable(object, live, &["value", "preemptionPolicy"]),
        "storageclasses.storage.k8s.io" => {
            immutable(object, live, &["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"])
        }
        "customresourcedefinitions.apiextensions.k8s.io" => config::definition(object, live),
        _ => Vec::new(),
    }
}

/// Fields that nobody may change.
fn immutable(object: &Value, live: Option<&Value>, fields: &[&str]) -> Vec<Cause> {
    let Some(live) = live else { return Vec::new() };
    let changed = fields.iter().filter(|field| object.get(field) != live.get(field));
    changed.map(|field| Cause::invalid(*field, &object[field], "field is immutable")).collect()
}

/// A number that must not be negative.
fn not_negative(object: &Value, pointer: &str, field: &str) -> Option<Cause> {
    let number = object::integer(object, pointer).filter(|number| *number < 0)?;
    Some(Cause::invalid(field, &number.into(), "must be greater than or equal to 0"))
}

/// A port of an address.
fn port(value: &Value, field: &str) -> Option<Cause> {
    match value {
        Value::Number(_) => {
            let good = value.as_i64().is_some_and(|number| (1..=65_535).contains(&number));
            (!good).then(|| Cause::invalid(field, value, "must be between 1 and 65535, inclusive"))
        }
        _ => None,
    }
}

/// A text that is one of a list.
fn one_of(object: &Value, pointer: &str, field: &str, known: &[&str]) -> Option<Cause> {
    let found = text(object, pointer);
    (!found.is_empty() && !known.contains(&found)).then(|| Cause::unsupported(field, &found.into(), known))
}

/// Items of which no two may have the same name.
fn unique_names(object: &Value, pointer: &str, field: &str) -> Vec<Cause> {
    let mut seen = Vec::new();
    let mut causes = Vec::new();
    for (at, item) in list(object, pointer).iter().enumerate() {
        let name = text(item, "/name");
        if seen.contains(&name) {
            let message = format!("Duplicate value: {name:?}");
            causes.push(Cause::new("FieldValueDuplicate", format!("{field}[{at}].name"), message));
        }
        seen.push(name);
    }
    causes
}
