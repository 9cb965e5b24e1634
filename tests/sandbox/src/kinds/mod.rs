//! Particular kinds: default values that no published schema states, rules, and life cycles.

mod custom;
mod defaults;
mod definition;
mod namespace;
pub mod names;
mod pod;
mod rules;
mod service;
mod upkeep;
mod warnings;

use serde_json::Value;

use crate::clock::Time;
use crate::failure::{Cause, Failure};
use crate::object;
use crate::resource::Resource;
use crate::schema;
use crate::state::{CRDS, State};

pub use custom::expect_kind;
pub use definition::definition_takes;
pub use namespace::{is_kept, namespace_takes};
pub use pod::condition as pod_condition;

/// Kinds that count their generations, and the fields whose change is a new one. Custom resources do so too.
const GENERATIONS: [(&str, &[&str]); 26] = [
    ("customresourcedefinitions.apiextensions.k8s.io", &["spec"]),
    ("daemonsets.apps", &["spec"]),
    ("deployments.apps", &["spec", ANNOTATIONS]),
    ("replicasets.apps", &["spec"]),
    ("statefulsets.apps", &["spec"]),
    ("cronjobs.batch", &["spec"]),
    ("jobs.batch", &["spec"]),
    ("deviceclasses.resource.k8s.io", &["spec"]),
    ("resourceslices.resource.k8s.io", &["spec"]),
    ("endpointslices.discovery.k8s.io", &["addressType", "endpoints", "ports", LABELS]),
    ("flowschemas.flowcontrol.apiserver.k8s.io", &["spec"]),
    ("prioritylevelconfigurations.flowcontrol.apiserver.k8s.io", &["spec"]),
    ("ingressclasses.networking.k8s.io", &["spec"]),
    ("ingresses.networking.k8s.io", &["spec"]),
    ("networkpolicies.networking.k8s.io", &["spec"]),
    ("mutatingadmissionpolicies.admissionregistration.k8s.io", &["spec"]),
    ("mutatingadmissionpolicybindings.admissionregistration.k8s.io", &["spec"]),
    ("mutatingwebhookconfigurations.admissionregistration.k8s.io", &["webhooks"]),
    ("validatingadmissionpolicies.admissionregistration.k8s.io", &["spec"]),
    ("validatingadmissionpolicybindings.admissionregistration.k8s.io", &["spec"]),
    ("validatingwebhookconfigurations.admissionregistration.k8s.io", &["webhooks"]),
    ("poddisruptionbudgets.policy", &["spec"]),
    ("pods", &["spec"]),
    ("podtemplates", &["template"]),
    ("priorityclasses.scheduling.k8s.io", &[]),
    ("replicationcontrollers", &["spec"]),
];

/// Stand for parts of the metadata among the fields of [`GENERATIONS`].
const LABELS: &str = "labels";
const ANNOTATIONS: &str = "annotations";

/// Kinds whose deletion is answered with the object that is gone.
const RETURNED: [&str; 16] = [
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "deviceclasses.resource.k8s.io",
    "namespaces",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourceclaims.resource.k8s.io",
    "resourceclaimtemplates.resource.k8s.io",
    "resourcequotas",
    "resourceslices.resource.k8s.io",
    "serviceaccounts",
    "services",
    "storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
];

fn generation_fields(resource: &Resource) -> Option<&'static [&'static str]> {
    GENERATIONS.iter().find(|(collection, _)| *collection == resource.collection).map(|(_, fields)| *fields)
}

/// `true` if objects count their generations.
pub fn has_generation(resource: &Resource) -> bool {
    resource.custom.is_some() || generation_fields(resource).is_some()
}

/// `true` if a change makes a new generation. For custom resources every change does but that of metadata and, if it is a
/// subresource, status.
pub fn is_new_generation(resource: &Resource, new: &Value, live: &Value) -> bool {
    match generation_fields(resource) {
        Some(fields) => fields.iter().any(|field| match *field {
            LABELS | ANNOTATIONS => new["metadata"].get(field) != live["metadata"].get(field),
            field => new.get(field) != live.get(field),
        }),
        None => {
            let ignored = |key: &str| key == "metadata" || (key == "status" && resource.has_status());
            let content = |object| {
                let fields = Value::as_object(object).into_iter().flatten();
                fields.filter(|(key, _)| !ignored(key))
            };
            !content(new).eq(content(live))
        }
    }
}

/// Sets the default values of the kind in an object. They count as if the client had sent them.
pub fn default(resource: &Resource, object: &mut Value) {
    defaults::set(resource, object);
}

/// Changes a new object as the admission plugins of a plain cluster do. These changes have no field manager.
///
/// # Errors
/// When a plugin refuses the object.
pub fn admit(state: &State, resource: &Resource, object: &mut Value) -> Result<(), Failure> {
    match resource.collection.as_str() {
        "pods" => pod::admit(state, object)?,
        collection => upkeep::admit(collection, object),
    }
    Ok(())
}

/// Sets the fields that the API server chooses: addresses, a first status. These fields have no field manager.
///
/// # Errors
/// When there is nothing left to find.
pub fn prepare(
    state: &State,
    resource: &Resource,
    object: &mut Value,
    live: Option<&Value>,
    dry_run: bool,
) -> Result<(), Failure> {
    match resource.collection.as_str() {
        "namespaces" => namespace::prepare(object, live),
        "services" => service::prepare(state, object, live, dry_run)?,
        "pods" if live.is_none() => pod::prepare(object),
        CRDS => definition::prepare(object, live),
        collection => upkeep::prepare(collection, object, live),
    }
    Ok(())
}

/// Checks an object. `live` is the stored object and the subresource of the request.
pub fn validate(resource: &Resource, object: &Value, live: Option<(&Value, &str)>) -> Vec<Cause> {
    match live {
        _ if resource.custom.is_some() => {
            let mut causes = schema::validate(&resource.ty, object, live.map(|(live, _)| live));
            causes.extend(custom::scale(resource, object, live.map_or("", |(_, subresource)| subresource)));
            causes
        }
        None => rules::check(resource, object, None),
        Some((live, "")) => rules::check(resource, object, Some(live)),
        Some((live, "status")) => rules::check_status(resource, object, live),
        Some(_) => Vec::new(),
    }
}

/// The warnings about an object that is valid, but probably a mistake.
pub fn warnings(resource: &Resource, object: &Value, live: Option<&Value>) -> Vec<String> {
    warnings::of(resource, object, live)
}

/// Refuses the deletion of what a cluster cannot live without.
///
/// # Errors
/// When the object is such a one.
pub fn may_delete(resource: &Resource, name: &str) -> Result<(), Failure> {
    let kept = ["default", "kube-system", "kube-public"];
    if resource.collection == "namespaces" && kept.contains(&name) {
        return Err(Failure::forbidden(resource.about(name), "this namespace may not be deleted"));
    }
    Ok(())
}

/// For how many seconds a deleted object stays.
pub fn grace(resource: &Resource, live: &Value, wished: Option<i64>) -> i64 {
    if resource.collection != "pods" {
        return 0;
    }
    let own = object::integer(live, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
    let done = ["Failed", "Succeeded"].contains(&object::text(live, "/status/phase"));
    let unbound = object::text(live, "/spec/nodeName").is_empty();
    if unbound || done { 0 } else { wished.unwrap_or(own).max(0) }
}

/// `true` if objects are marked as being deleted even when they go at once.
pub fn ends_gracefully(resource: &Resource) -> bool {
    resource.collection == "pods"
}

/// `true` for kinds whose dependents stay by default.
pub fn leaves_orphans(resource: &Resource) -> bool {
    ["jobs.batch", "replicationcontrollers"].contains(&resource.collection.as_str())
}

/// `true` if the garbage collector cares for dependents of its objects.
pub fn is_collected(resource: &Resource) -> bool {
    resource.collection != "events"
}

/// Further changes of an object whose deletion has been requested and must wait.
pub fn deletion_begins(resource: &Resource, object: &mut Value, now: Time) {
    match resource.collection.as_str() {
        "namespaces" => object["status"]["phase"] = "Terminating".into(),
        CRDS => definition::deletion_begins(object, now),
        _ => return,
    }
    object::metadata(object).remove("deletionGracePeriodSeconds");
}

/// `true` if a deletion is answered with the object.
pub fn returns_deleted(resource: &Resource) -> bool {
    RETURNED.contains(&resource.collection.as_str())
}

/// `true` if an update need not name the version that it is made from.
pub fn is_updated_blindly(resource: &Resource) -> bool {
    const NEVER: [&str; 19] = [
        "apiservices.apiregistration.k8s.io",
        "clustertrustbundles.certificates.k8s.io",
        "csidrivers.storage.k8s.io",
        "csinodes.storage.k8s.io",
        "csistoragecapacities.storage.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io",
        "leasecandidates.coordination.k8s.io",
        "leases.coordination.k8s.io",
        "mutatingadmissionpolicies.admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "podcertificaterequests.certificates.k8s.io",
        "poddisruptionbudgets.policy",
        "runtimeclasses.node.k8s.io",
        "storageversions.internal.apiserver.k8s.io",
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "volumeattachments.storage.k8s.io",
    ];
    resource.custom.is_none() && !NEVER.contains(&resource.collection.as_str())
}

/// Where a real cluster stores the objects, as some refusals tell.
pub fn storage_path(resource: &Resource) -> String {
    match resource.collection.as_str() {
        "services" => "services/specs".to_owned(),
        "endpoints" => "services/endpoints".to_owned(),
        "nodes" => "minions".to_owned(),
        "replicationcontrollers" => "controllers".to_owned(),
        "ingresses.networking.k8s.io" => "ingress".to_owned(),
        "customresourcedefinitions.apiextensions.k8s.io" | "apiservices.apiregistration.k8s.io" => {
            format!("{}/{}", resource.group, resource.plural)
        }
        _ => resource.plural.clone(),
    }
}

/// `true` if an update of the object or of its status may create it.
pub fn is_created_by_update(resource: &Resource, subresource: &str) -> bool {
    if !["", "status"].contains(&subresource) {
        return false;
    }
    let created = [
        "runtimeclasses.node.k8s.io",
        "rolebindings.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
        "roles.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "leases.coordination.k8s.io",
        "limitranges",
        "events",
        "services",
        "endpoints",
    ];
    created.contains(&resource.collection.as_str())
}

/// By which fields objects can be selected.
pub fn selectable(resource: &Resource) -> Vec<&str> {
    const FIELDS: [(&str, &[&str]); 11] = [
        (
            "pods",
            &[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork",
                "status.phase",
                "status.podIP",
                "status.podIPs",
                "status.nominatedNodeName",
            ],
        ),
        (
            "events",
            &[
                "involvedObject.kind",
                "involvedObject.namespace",
                "involvedObject.name",
                "involvedObject.uid",
                "involvedObject.apiVersion",
                "involvedObject.resourceVersion",
                "involvedObject.fieldPath",
                "reason",
                "reportingComponent",
                "source",
                "type",
            ],
        ),
        ("namespaces", &["status.phase"]),
        ("secrets", &["type"]),
        ("nodes", &["spec.unschedulable"]),
        ("services", &["spec.clusterIP", "spec.type"]),
        ("replicasets.apps", &["status.replicas"]),
        ("replicationcontrollers", &["status.replicas"]),
        ("jobs.batch", &["status.successful"]),
        ("certificatesigningrequests.certificates.k8s.io", &["spec.signerName"]),
        ("resourceslices.resource.k8s.io", &["spec.driver", "spec.nodeName"]),
    ];
    let mut fields = vec!["metadata.name", "metadata.namespace"];
    fields.extend(FIELDS.iter().filter(|(collection, _)| *collection == resource.collection).flat_map(|(_, own)| *own));
    if let Some(custom) = &resource.custom {
        let paths = object::list(&custom.version, "/selectableFields").iter();
        fields.extend(paths.map(|field| object::text(field, "/jsonPath").trim_start_matches('.')));
    }
    fields
}
