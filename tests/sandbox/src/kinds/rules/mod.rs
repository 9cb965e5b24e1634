//! The rules of built-in kinds that clients meet most, with the messages of the 422 errors.

mod config;
mod definition;
mod pod;
mod rbac;
mod service;
mod workload;

use serde_json::Value;

use crate::failure::Cause;
use crate::kinds::names;
use crate::object::{self, list, text};
use crate::resource::Resource;

/// Checks an object of a built-in kind.
pub(super) fn check(resource: &Resource, object: &Value, live: Option<&Value>) -> Vec<Cause> {
    match resource.collection.as_str() {
        "configmaps" => config::config_map(object, live),
        "secrets" => config::secret(object, live),
        "services" => service::service(object, live),
        "pods" => pod::pod(object, live),
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
        "customresourcedefinitions.apiextensions.k8s.io" => definition::definition(object, live),
        _ => Vec::new(),
    }
}

/// Checks the status of an object.
pub(super) fn check_status(resource: &Resource, object: &Value, live: &Value) -> Vec<Cause> {
    match resource.collection.as_str() {
        "services" => service::status(object),
        "deployments.apps" => workload::deployment_status(object, live),
        _ => Vec::new(),
    }
}

/// Checks that immutable fields have not changed.
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

/// A port of an address, or the name that it has elsewhere.
fn port_or_name(value: &Value, field: &str) -> Option<Cause> {
    match value {
        Value::String(name) => names::port(name).map(|detail| Cause::invalid(field, value, &detail)),
        number => port(number, field),
    }
}

/// A text that must be there and is one of a list.
fn known(object: &Value, pointer: &str, field: &str, known: &[&str]) -> Option<Cause> {
    if text(object, pointer).is_empty() {
        Some(Cause::required(field, ""))
    } else {
        one_of(object, pointer, field, known)
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
            causes.push(Cause::duplicate(format!("{field}[{at}].name"), &name.into()));
        }
        seen.push(name);
    }
    causes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::Resources;

    /// The fields and reasons of what is wrong with an object, once it has its defaults.
    fn wrong(group: &str, plural: &str, object: &Value, live: Option<&Value>) -> Vec<String> {
        let resources = Resources::new(std::iter::empty());
        let resource = resources.get(group, "v1", plural).unwrap();
        let read = |object: &Value| {
            let mut object = object.clone();
            crate::schema::decode(&resource.ty, &mut object).unwrap();
            crate::kinds::default(resource, &mut object);
            object
        };
        let causes = check(resource, &read(object), live.map(read).as_ref());
        causes.iter().map(|cause| format!("{} {}", cause.field, cause.reason)).collect()
    }

    #[test]
    fn services_are_checked() {
        let service = |spec: Value| wrong("", "services", &json!({"spec": spec}), None);
        let port = json!({"port": 80, "targetPort": "http"});
        assert_eq!(service(json!({"ports": [port]})), [""; 0]);
        assert_eq!(service(json!({})), ["spec.ports FieldValueRequired"]);
        let odd = json!({"ports": [{"port": 0, "targetPort": "8443"}], "loadBalancerClass": "example.com/lb"});
        let fields =
            ["spec.ports[0].port", "spec.ports[0].targetPort"].map(|field| format!("{field} FieldValueInvalid"));
        let class = "spec.loadBalancerClass FieldValueForbidden".to_owned();
        assert_eq!(service(odd), [fields[0].clone(), fields[1].clone(), class]);
        let twice = json!({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 1}]});
        let duplicates = ["spec.ports[1].name FieldValueDuplicate", "spec.ports[1] FieldValueDuplicate"];
        assert_eq!(service(twice), duplicates);
        assert_eq!(service(json!({"ports": [port], "externalIPs": ["x"]})), ["spec.externalIPs[0] FieldValueInvalid"]);
    }

    #[test]
    fn templates_of_pods_are_checked() {
        let deployment = |pod: Value| {
            let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": pod});
            let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template});
            wrong("apps", "deployments", &json!({"spec": spec}), None)
        };
        let container = json!({"name": "a", "image": "a"});
        assert_eq!(deployment(json!({"containers": [container]})), [""; 0]);
        let same = json!({"containers": [container], "initContainers": [container]});
        assert_eq!(deployment(same), ["spec.template.spec.initContainers[0].name FieldValueDuplicate"]);
        for (toleration, causes) in [
            (json!({"key": "a", "operator": "Exists"}), &[][..]),
            (json!({"value": "a"}), &["operator FieldValueInvalid"]),
            (json!({"key": "a", "operator": "Odd"}), &["operator FieldValueNotSupported"]),
            (json!({"key": "a", "effect": "Odd"}), &["effect FieldValueNotSupported"]),
        ] {
            let found = deployment(json!({"containers": [container], "tolerations": [toleration]}));
            let field = "spec.template.spec.tolerations[0]";
            assert_eq!(found, causes.iter().map(|cause| format!("{field}.{cause}")).collect::<Vec<_>>());
        }
    }

    #[test]
    fn immutable_values_are_not_even_emptied() {
        let live = json!({"immutable": true, "data": {"a": "b"}});
        assert_eq!(wrong("", "configmaps", &live, Some(&live)), [""; 0]);
        let emptied = json!({"immutable": true, "data": {"a": "b"}, "binaryData": {}});
        assert_eq!(wrong("", "configmaps", &emptied, Some(&live)), ["binaryData FieldValueForbidden"]);
        let (live, emptied) = (json!({"immutable": true}), json!({"immutable": true, "data": {}}));
        assert_eq!(wrong("", "configmaps", &emptied, Some(&live)), [""; 0]);
        assert_eq!(wrong("", "secrets", &emptied, Some(&live)), ["data FieldValueForbidden"]);
    }
}
