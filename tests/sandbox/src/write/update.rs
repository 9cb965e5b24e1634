//! Changing objects.

use std::sync::Arc;

use serde_json::Value;

use crate::convert;
use crate::failure::{Cause, Failure};
use crate::kinds;
use crate::merge;
use crate::object;
use crate::resource::Resource;
use crate::schema;
use crate::state::State;

use super::{Ownership, Write, Written, metadata, own, settle};

/// Puts `new`, which has been read, pruned and defaulted, in the place of `live`, which is as it is stored, and is `before` in the
/// version of the request.
///
/// # Errors
/// When it is invalid, or not made from the live object.
pub fn update(
    state: &mut State,
    write: &Write,
    live: &Arc<Value>,
    before: &Arc<Value>,
    mut new: Value,
    ownership: Ownership,
) -> Result<Written, Failure> {
    let resource = write.resource.clone();
    unchanged(&resource, before, &new)?;
    metadata::carry(&mut new, before);
    let mut new = own(state, write, Some(before), new, ownership);
    metadata::keep(&mut new, before);
    reset(&resource, &write.subresource, &mut new, Some(before));
    if write.subresource.is_empty() {
        kinds::prepare(state, &resource, &mut new, Some(before), write.dry_run)?;
    }
    if kinds::has_generation(&resource) {
        // Empty and absent values are the same in built-in kinds.
        let is_new = match resource.custom {
            _ if write.subresource == "status" => false,
            Some(_) => kinds::is_new_generation(&resource, &new, before),
            // Most writes change no such field, empty or not.
            None => {
                kinds::is_new_generation(&resource, &new, live)
                    && kinds::is_new_generation(&resource, &settle(&resource, new.clone())?, live)
            }
        };
        let generation = object::integer(before, "/metadata/generation").unwrap_or(0) + i64::from(is_new);
        object::set(&mut new, "generation", if generation == 0 { Value::Null } else { generation.into() });
    }
    merge::keep_times(&resource.ty, before, &mut new);
    kinds::expect_kind(&resource, &new)?;
    let mut causes = metadata::validate_update(&resource, &new, before);
    causes.extend(kinds::validate(&resource, &new, Some((before, &write.subresource))));
    if !causes.is_empty() {
        return Err(Failure::invalid(resource.about_kind(&write.name), &causes));
    }
    let of_object = ["", "scale"].contains(&write.subresource.as_str());
    let warnings = if of_object { kinds::warnings(&resource, &new, Some(before)) } else { Vec::new() };
    let object = if is_finished(&new) {
        // An object that is not stored is not read again.
        let said = if resource.custom.is_some() { new.into() } else { write.answer(&settle(&resource, new)?.into()) };
        if !write.dry_run {
            state.remove(&write.key());
        }
        said
    } else {
        finish(state, write, live, before, settle(&resource, new)?)
    };
    Ok(Written { object, created: false, warnings })
}

/// Stores what has been found good, unless it is what is there.
fn finish(state: &mut State, write: &Write, live: &Arc<Value>, before: &Arc<Value>, stored: Value) -> Arc<Value> {
    // The API server compares also with what it has read, in which nothing empty is left of a custom resource's metadata.
    let as_read = || convert::to_stored(&write.resource, Value::clone(before));
    if **live == stored && as_read() == stored {
        return Arc::clone(before);
    }
    if write.dry_run {
        return write.answer(&stored.into());
    }
    let stored = state.put(write.key(), stored);
    state.reading(&write.resource, &write.key(), &stored)
}

/// `true` if a deletion was asked for and nothing keeps the object any more.
fn is_finished(object: &Value) -> bool {
    let waits = object::integer(object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) > 0;
    let kept = object::finalizers(object).next().is_some() || kinds::is_kept(object);
    object::is_deleting(object) && !waits && !kept
}

/// Refuses a replacement for an object with another uid.
///
/// # Errors
/// When there is no object, or one with another uid than the replacement's.
pub fn expect_uid(write: &Write, live: Option<&Value>, new: &Value) -> Result<(), Failure> {
    let (expected, found) = (object::uid(new), live.map_or("", object::uid));
    if expected.is_empty() || expected == found {
        return Ok(());
    }
    let resource = &write.resource;
    let group = if resource.custom.is_some() { format!("{}/", resource.group) } else { String::new() };
    let namespace = if resource.namespaced { format!("{}/", write.namespace) } else { String::new() };
    // A dry run does not reach the store, which knows what its keys begin with.
    let root = if write.dry_run { "" } else { "/registry" };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {root}/{group}{}/{namespace}{}, ResourceVersion: 0, \
         AdditionalErrorMsg: Precondition failed: UID in precondition: {expected}, UID in object meta: {found}",
        kinds::storage_path(resource),
        write.name,
    );
    Err(Failure::conflict(resource.about(&write.name), &why))
}

/// Checks resourceVersion where the writer names it.
fn unchanged(resource: &Resource, live: &Value, new: &Value) -> Result<(), Failure> {
    let revision = object::revision(new);
    let about = resource.about(object::name(live));
    if revision.is_empty() && !kinds::is_updated_blindly(resource) {
        let cause = Cause::invalid("metadata.resourceVersion", &0.into(), "must be specified for an update");
        return Err(Failure::invalid(about, &[cause]));
    }
    if !revision.is_empty() && revision != object::revision(live) {
        return Err(Failure::modified(about));
    }
    Ok(())
}

/// The fields that a write sets back to what they were.
pub(super) fn reset_fields(resource: &Resource, subresource: &str) -> &'static [&'static [&'static str]] {
    if subresource.is_empty() && !resource.has_status() {
        return &[];
    }
    schema::reset_fields(&resource.group, &resource.kind, subresource)
}

/// Takes back what may not be written this way: status through the object, everything else through status.
pub(super) fn reset(resource: &Resource, subresource: &str, new: &mut Value, live: Option<&Value>) {
    if subresource == "status"
        && resource.custom.is_some()
        && let Some(live) = live
    {
        let (status, managed) = (object::remove(new, "status"), entries(new));
        *new = object::copy_without(live, &["status"], &["managedFields"]);
        object::replace(new, "status", status);
        object::set(new, "managedFields", managed);
        return;
    }
    for path in reset_fields(resource, subresource) {
        put_back(path, new, live);
    }
}

/// Takes the entries of ownership off an object.
fn entries(object: &mut Value) -> Value {
    object.pointer_mut("/metadata/managedFields").map(Value::take).unwrap_or_default()
}

/// Sets a field to what it was. Metadata as a whole keeps its entries of ownership.
fn put_back(path: &[&str], new: &mut Value, live: Option<&Value>) {
    let managed = (path == ["metadata"]).then(|| entries(new));
    let pointer = format!("/{}", path.join("/"));
    let (above, key) = pointer.rsplit_once('/').unwrap_or_default();
    let was = live.and_then(|live| live.pointer(&pointer)).cloned();
    if let Some(parent) = new.pointer_mut(above) {
        object::replace(parent, key, was);
    }
    if let Some(managed) = managed {
        object::set(new, "managedFields", managed);
    }
}
