//! CustomResourceDefinitions as the API server stores them.

use serde_json::{Value, json};

use crate::clock::Time;
use crate::controllers::condition;
use crate::failure::Failure;
use crate::object::{self, map_at, text};
use crate::resource::{Resource, stored_version};
use crate::state::{CRDS, State};

/// The finalizer that keeps a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Refuses to create a custom resource whose definition is on its way out.
///
/// # Errors
/// Then: to a POST, which computes no ownership before, the API server says that the method is not allowed.
pub fn definition_takes(state: &State, resource: &Resource, new: &Value, is_posted: bool) -> Result<(), Failure> {
    const WHY: &str = "create not allowed while custom resource definition is terminating";
    let definition = format!("{}.{}", resource.plural, resource.group);
    let live = resource.custom.as_ref().and_then(|_| state.find(CRDS, "", &definition));
    match live.is_some_and(|live| object::is_deleting(live)) {
        true if is_posted => Err(Failure::new(405, "MethodNotAllowed", WHY)),
        true => Err(Failure::forbidden(resource.about(object::name(new)), WHY)),
        false => Ok(()),
    }
}

/// Names that follow from others, and how versions are converted.
pub(super) fn default(object: &mut Value) {
    let names = &object["spec"]["names"];
    let (kind, singular, list) = (text(names, "/kind").to_owned(), text(names, "/singular"), text(names, "/listKind"));
    let singular = if singular.is_empty() { kind.to_lowercase() } else { singular.to_owned() };
    let list = if list.is_empty() && !kind.is_empty() { format!("{kind}List") } else { list.to_owned() };
    let spec = map_at(object, "spec");
    spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        names.insert("singular".to_owned(), singular.into());
        names.insert("listKind".to_owned(), list.into());
    }
    let stored = stored_version(object).to_owned();
    if object::list(object, "/status/storedVersions").is_empty() && !stored.is_empty() {
        map_at(object, "status").insert("storedVersions".to_owned(), json!([stored]));
    }
}

/// A new definition has no accepted names yet. Every version in which objects are stored is remembered.
pub(super) fn prepare(object: &mut Value, live: Option<&Value>) {
    if live.is_none() {
        object["status"] =
            json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []});
    }
    let stored = stored_version(object).to_owned();
    if let Some(versions) = object.pointer_mut("/status/storedVersions").and_then(Value::as_array_mut)
        && !stored.is_empty()
        && versions.iter().all(|one| *one != stored)
    {
        versions.push(stored.into());
    }
}

/// A definition that is deleted waits for its objects.
pub(super) fn deletion_begins(object: &mut Value, now: Time) {
    let mut finalizers: Vec<String> = object::finalizers(object).map(ToOwned::to_owned).collect();
    if !finalizers.iter().any(|one| one == CLEANUP) {
        finalizers.push(CLEANUP.to_owned());
    }
    object::set(object, "finalizers", finalizers);
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    condition(object, now, ["Terminating", "True", "InstanceDeletionPending", message]);
}
