//! Creating objects.

use serde_json::Value;

use crate::clock;
use crate::failure::Failure;
use crate::kinds;
use crate::object;
use crate::schema;
use crate::state::State;
use crate::store::Key;

use super::{Ownership, Write, Written, metadata, own, settle, update};

/// Creates an object that has been read, pruned and defaulted, in the version of the request.
///
/// # Errors
/// When it is invalid, exists, or may not be made now.
pub fn create(state: &mut State, write: &Write, mut new: Value, ownership: Ownership) -> Result<Written, Failure> {
    let resource = write.resource.clone();
    kinds::definition_takes(state, &resource, &new, matches!(ownership, Ownership::ToCompute))?;
    metadata::clean(&mut new);
    let mut new = own(state, write, None, new, ownership);
    update::reset(&resource, "", &mut new, None);
    if resource.custom.is_none() {
        // A removed field can leave an empty value.
        let _ = schema::decode(&resource.ty, &mut new);
    }
    if resource.namespaced {
        object::set(&mut new, "namespace", write.namespace.as_str());
        kinds::namespace_takes(state, &resource, &new)?;
    } else {
        object::set(&mut new, "namespace", "");
    }
    kinds::admit(state, &resource, &mut new)?;
    name(&mut new);
    object::set(&mut new, "uid", clock::uuid());
    object::set(&mut new, "creationTimestamp", write.now.to_string());
    // An object that is created through its status does not get the fields that the cluster sets.
    if write.subresource.is_empty() {
        kinds::prepare(state, &resource, &mut new, None, write.dry_run)?;
    }
    if kinds::has_generation(&resource) {
        object::set(&mut new, "generation", 1);
    }
    kinds::expect_kind(&resource, &new)?;
    let mut causes = metadata::validate(&resource, &new);
    causes.extend(kinds::validate(&resource, &new, None));
    let name = object::name(&new).to_owned();
    if !causes.is_empty() {
        return Err(Failure::invalid(resource.about_kind(&name), &causes));
    }
    let warnings = kinds::warnings(&resource, &new, None);
    let stored = settle(&resource, new)?;
    let key = Key::new(&resource.collection, object::namespace(&stored), &name);
    // The store's own rule: a dry run does not reach it.
    if !write.dry_run && !object::revision(&stored).is_empty() {
        let failure = Failure::new(500, "", "resourceVersion should not be set on objects to be created");
        return Err(Failure { warnings, ..failure });
    }
    if let Some(there) = state.store.get(&key) {
        let about = resource.about(&name);
        let deleting = object::is_deleting(there);
        let failure = if deleting { Failure::still_exists(about) } else { Failure::already_exists(about) };
        return Err(Failure { warnings, ..failure });
    }
    if write.dry_run {
        return Ok(Written { object: write.answer(&stored.into()), created: true, warnings });
    }
    let stored = state.put(key.clone(), stored);
    Ok(Written { object: state.reading(&resource, &key, &stored), created: true, warnings })
}

/// Makes up a name where only its beginning is given.
fn name(new: &mut Value) {
    let beginning = object::field(new, "generateName");
    if object::name(new).is_empty() && !beginning.is_empty() {
        // A name has 63 characters at most, five of which are made up.
        let beginning: String = beginning.chars().take(58).collect();
        object::set(new, "name", beginning + &clock::suffix());
    }
}
