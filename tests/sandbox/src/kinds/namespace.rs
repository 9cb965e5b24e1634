//! The life of namespaces: what may be made in them, and what keeps them.

use serde_json::{Value, json};

use crate::failure::{About, Cause, Failure};
use crate::object;
use crate::resource::Resource;
use crate::state::State;

/// Refuses to create an object in a namespace that is not there or on its way out.
///
/// # Errors
/// Then.
pub fn namespace_takes(state: &State, resource: &Resource, new: &Value) -> Result<(), Failure> {
    let namespace = object::namespace(new);
    let about = About { group: "", resource: "namespaces", name: namespace };
    let live = state.find("namespaces", "", namespace).ok_or_else(|| Failure::not_found(about))?;
    if !object::is_deleting(live) {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let cause =
        Cause::new("NamespaceTerminating", "metadata.namespace", format!("namespace {namespace} is being terminated"));
    Err(Failure::forbidden(resource.about(object::name(new)), &why).with_causes(&[cause]))
}

/// `true` if finalizers in the spec keep an object, as they do with namespaces.
pub fn is_kept(object: &Value) -> bool {
    !object::list(object, "/spec/finalizers").is_empty()
}

/// A namespace begins active, and only the subresource `finalize` changes what keeps it.
pub(super) fn prepare(object: &mut Value, live: Option<&Value>) {
    match live {
        None => {
            let finalizers = object::list(object, "/spec/finalizers");
            if !finalizers.iter().any(|one| one == "kubernetes") {
                let mut finalizers = finalizers.to_vec();
                finalizers.push("kubernetes".into());
                object["spec"] = json!({"finalizers": finalizers});
            }
            object["status"] = json!({"phase": "Active"});
        }
        Some(live) => object["spec"] = live["spec"].clone(),
    }
}
