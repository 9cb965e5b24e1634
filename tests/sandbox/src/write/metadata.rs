//! The rules of metadata that hold for every kind.

use serde_json::Value;

use crate::failure::Cause;
use crate::kinds::names;
use crate::object::{self, metadata};
use crate::resource::Resource;

/// Takes from a new object what only the API server may say.
pub(super) fn clean(new: &mut Value) {
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation", "creationTimestamp", "uid"]
    {
        metadata(new).remove(key);
    }
}

/// Gives a changed object what only the API server may say.
pub(super) fn carry(new: &mut Value, live: &Value) {
    for key in ["creationTimestamp", "generation", "resourceVersion", "name", "namespace"] {
        object::set(new, key, live["metadata"].get(key).cloned().unwrap_or_default());
    }
    if object::uid(new).is_empty() {
        object::set(new, "uid", object::uid(live));
    }
    metadata(new).remove("selfLink");
}

/// Keeps what may be left out but not changed. Who leaves it out gives it up.
pub(super) fn keep(new: &mut Value, live: &Value) {
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if new["metadata"].get(key).is_none_or(Value::is_null) {
            object::set(new, key, live["metadata"].get(key).cloned().unwrap_or_default());
        }
    }
}

/// Checks the metadata of an object.
pub(super) fn validate(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match object::name(object) {
        "" => causes.push(Cause::required("metadata.name", "name or generateName is required")),
        name => {
            if let Some(detail) = names::check(resource, name) {
                causes.push(Cause::invalid("metadata.name", &name.into(), &detail));
            }
        }
    }
    causes.extend(names::labels("metadata.labels", object::at(object, "/metadata/labels")));
    causes.extend(names::annotations("metadata.annotations", object::at(object, "/metadata/annotations")));
    causes.extend(owners(object));
    causes.extend(finalizers(resource, object));
    causes
}

/// Checks the metadata of an object, and that immutable metadata has not changed.
pub(super) fn validate_update(resource: &Resource, object: &Value, live: &Value) -> Vec<Cause> {
    let mut causes = validate(resource, object);
    for key in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (new, old) = (&object["metadata"][key], &live["metadata"][key]);
        if new != old {
            causes.push(Cause::invalid(format!("metadata.{key}"), new, "field is immutable"));
        }
    }
    if object::is_deleting(live) {
        let known: Vec<&str> = object::finalizers(live).collect();
        let new: Vec<&str> = object::finalizers(object).filter(|one| !known.contains(one)).collect();
        if !new.is_empty() {
            let quoted: Vec<String> = new.iter().map(|one| format!("{one:?}")).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                quoted.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &detail));
        }
    }
    causes
}

fn owners(object: &Value) -> Vec<Cause> {
    let (mut causes, mut controllers) = (Vec::new(), 0);
    for (at, owner) in object::list(object, "/metadata/ownerReferences").iter().enumerate() {
        let field = |key: &str| format!("metadata.ownerReferences[{at}].{key}");
        for (key, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if object::text(owner, &format!("/{key}")).is_empty() {
                let value = owner.get(key).cloned().unwrap_or_else(|| "".into());
                causes.push(Cause::invalid(field(key), &value, detail));
            }
        }
        controllers += usize::from(owner["controller"] == true);
    }
    if controllers > 1 {
        let detail = "Only one reference can have Controller set to true";
        causes.push(Cause::invalid("metadata.ownerReferences", &object["metadata"]["ownerReferences"], detail));
    }
    causes
}

/// Kinds of the API extensions and custom ones are only asked for qualified names, as that of their own clean-up is.
fn finalizers(resource: &Resource, object: &Value) -> Vec<Cause> {
    let any = resource.custom.is_some() || resource.group == "apiextensions.k8s.io";
    let check = |(at, name): (usize, &str)| {
        let standard = any || names::STANDARD_FINALIZERS.contains(&name);
        let own = (!standard && !name.contains('/')).then_some(
            "name is neither a standard finalizer name nor is it \
                                                               fully qualified",
        );
        let odd = names::qualified(name).map(|detail| Cause::invalid("metadata.finalizers", &name.into(), &detail));
        let own = own.map(|detail| Cause::invalid(format!("metadata.finalizers[{at}]"), &name.into(), detail));
        odd.into_iter().chain(own)
    };
    object::finalizers(object).enumerate().flat_map(check).collect()
}
