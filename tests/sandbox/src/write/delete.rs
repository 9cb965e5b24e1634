//! Deleting objects: at once, when what keeps them is gone, or when their time has come.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::convert;
use crate::failure::{Cause, Failure};
use crate::kinds;
use crate::object;
use crate::resource::Resource;
use crate::route::options_about;
use crate::state::{CRDS, State};

use super::Write;

/// The treatment of the objects that the deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They stay.
    Orphan,
    /// They are deleted first.
    Foreground,
    /// They are deleted afterwards.
    Background,
}

/// The options of a deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The treatment of dependents, if the client says it.
    pub propagation: Option<Propagation>,
    /// Seconds until the object goes.
    pub grace: Option<i64>,
    /// The uid that the object must have.
    pub uid: Option<String>,
    /// The revision that the object must have.
    pub revision: Option<String>,
    /// `true` if all of a collection are deleted.
    pub of_collection: bool,
}

impl Wish {
    /// Reads `DeleteOptions`.
    ///
    /// # Errors
    /// When they contradict themselves.
    pub fn from_options(options: &Value) -> Result<Self, Failure> {
        let policy = object::text(options, "/propagationPolicy");
        let orphans = options.get("orphanDependents").and_then(Value::as_bool);
        let mut causes = Vec::new();
        if !policy.is_empty() && orphans.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(Cause::invalid("propagationPolicy", &policy.into(), detail));
        }
        let propagation = match policy {
            "" => orphans.map(|orphans| if orphans { Propagation::Orphan } else { Propagation::Background }),
            "Orphan" => Some(Propagation::Orphan),
            "Foreground" => Some(Propagation::Foreground),
            "Background" => Some(Propagation::Background),
            other => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                causes.push(Cause::unsupported("propagationPolicy", &other.into(), &known));
                None
            }
        };
        if !causes.is_empty() {
            return Err(Failure::invalid(options_about("DeleteOptions"), &causes));
        }
        let text = |pointer| options.pointer(pointer).and_then(Value::as_str).map(ToOwned::to_owned);
        Ok(Self {
            propagation,
            grace: object::integer(options, "/gracePeriodSeconds"),
            uid: text("/preconditions/uid"),
            revision: text("/preconditions/resourceVersion"),
            of_collection: false,
        })
    }
}

/// Deletes an object and returns it if it is still there, or as a `Status` of success.
///
/// # Errors
/// When it is not there, not the one that is meant, or may not be deleted.
pub fn delete(state: &mut State, write: &Write, wish: &Wish) -> Result<Value, Failure> {
    let resource = write.resource.clone();
    let live = state.get(&resource, &write.namespace, &write.name).cloned();
    let live = live.ok_or_else(|| Failure::not_found(resource.about(&write.name)))?;
    expected(&resource, &live, wish)?;
    kinds::may_delete(&resource, &write.name)?;
    // The object is written again in the version of the request, which may not know all fields of a custom resource.
    let mut stored = match resource.custom {
        Some(_) => convert::to_stored(&resource, Arc::unwrap_or_clone(write.answer(&live))),
        None => Value::clone(&live),
    };
    let deleting = object::is_deleting(&live);
    let grace = kinds::grace(&resource, &live, wish.grace);
    let left = object::integer(&live, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
    if deleting && left > 0 && wish.grace.is_none_or(|grace| grace >= left) {
        return Ok(Arc::unwrap_or_clone(write.answer(&live))); // It is on its way, and this would not hurry it.
    }
    // At first a definition waits for its objects, unless it goes with others. What becomes of the objects that it owns
    // is asked afterwards.
    let waits = resource.collection == CRDS && !deleting && !wish.of_collection;
    if !waits {
        object::set(&mut stored, "finalizers", finalizers(&resource, &live, wish.propagation));
    }
    let kept = waits || object::finalizers(&stored).next().is_some() || kinds::is_kept(&stored);
    if grace > 0 || kept {
        if !waits {
            renew(&mut stored);
        }
        mark(&mut stored, write, grace);
        if waits || resource.collection != CRDS {
            kinds::deletion_begins(&resource, &mut stored, write.now);
        }
        return Ok(store(state, write, &live, stored));
    }
    let mut answer = Arc::unwrap_or_clone(write.answer(&live));
    if kinds::ends_gracefully(&resource) && !deleting {
        renew(&mut answer);
        mark(&mut answer, write, 0);
        if !write.dry_run {
            state.put(write.key(), convert::to_stored(&resource, answer.clone()));
        }
    }
    if !write.dry_run
        && let Some(gone) = state.remove(&write.key())
    {
        object::set(&mut answer, "resourceVersion", object::revision(&gone));
    }
    Ok(if kinds::returns_deleted(&resource) { answer } else { success(&resource, &answer) })
}

fn store(state: &mut State, write: &Write, live: &Arc<Value>, stored: Value) -> Value {
    let unchanged = write.dry_run || **live == stored;
    let stored = if unchanged { stored.into() } else { state.put(write.key(), stored) };
    Arc::unwrap_or_clone(write.answer(&stored))
}

/// Counts the deletion among the generations.
fn renew(stored: &mut Value) {
    if !object::is_deleting(stored)
        && let Some(generation) = object::integer(stored, "/metadata/generation")
    {
        object::set(stored, "generation", generation + 1);
    }
}

/// Marks an object as being deleted.
fn mark(stored: &mut Value, write: &Write, grace: i64) {
    if !object::is_deleting(stored) || grace > 0 {
        object::set(stored, "deletionTimestamp", write.now.after(grace.unsigned_abs()).to_string());
    }
    object::set(stored, "deletionGracePeriodSeconds", grace);
}

/// The finalizers by which the garbage collector learns of a wish.
fn finalizers(resource: &Resource, live: &Value, propagation: Option<Propagation>) -> Vec<String> {
    const OWN: [(&str, Propagation); 2] =
        [("orphan", Propagation::Orphan), ("foregroundDeletion", Propagation::Foreground)];
    let there = |name: &str| object::finalizers(live).any(|one| one == name);
    let said = OWN.iter().find(|(name, _)| there(name)).map(|(_, wish)| *wish);
    let usual = kinds::leaves_orphans(resource).then_some(Propagation::Orphan);
    let wish = propagation.or(said).or(usual).filter(|_| kinds::is_collected(resource));
    let others = object::finalizers(live).filter(|one| OWN.iter().all(|(name, _)| name != one));
    let added = OWN.iter().filter(|(_, one)| Some(*one) == wish).map(|(name, _)| *name);
    others.chain(added).map(ToOwned::to_owned).collect()
}

fn expected(resource: &Resource, live: &Value, wish: &Wish) -> Result<(), Failure> {
    let about = resource.about_kind(object::name(live));
    if resource.collection == CRDS {
        return expected_definition(resource, live, wish);
    }
    if let Some(uid) = wish.uid.as_deref().filter(|uid| *uid != object::uid(live)) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            object::uid(live)
        );
        return Err(Failure::conflict(about, &why));
    }
    if let Some(revision) = wish.revision.as_deref().filter(|revision| *revision != object::revision(live)) {
        let why = format!(
            "the ResourceVersion in the precondition ({revision}) does not match the ResourceVersion in record ({}). \
             The object might have been modified",
            object::revision(live)
        );
        return Err(Failure::conflict(about, &why));
    }
    Ok(())
}

/// Checks the same for a CustomResourceDefinition, with other messages.
fn expected_definition(resource: &Resource, live: &Value, wish: &Wish) -> Result<(), Failure> {
    let expected = [("UID", &wish.uid, object::uid(live)), ("ResourceVersion", &wish.revision, object::revision(live))];
    for (what, wished, found) in expected {
        if let Some(wished) = wished.as_deref().filter(|wished| *wished != found) {
            let why = format!("Precondition failed: {what} in precondition: {wished}, {what} in object meta: {found}");
            return Err(Failure::conflict(resource.about(object::name(live)), &why));
        }
    }
    Ok(())
}

/// The answer for a client that deleted an object at once.
fn success(resource: &Resource, object: &Value) -> Value {
    let mut details = json!({"name": object::name(object), "kind": resource.plural, "uid": object::uid(object)});
    if !resource.group.is_empty() {
        details["group"] = resource.group.as_str().into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
