//! The result of a write: the object and its `metadata.managedFields`.
//!
//! The steps of a write that stores an object, in the order of the API server:
//!
//! 1. The new object: [`apply`], or a patch ([`strategic`], [`json_merge`], [`json_patch`]) of the live one, or what the
//!    client sent.
//! 2. [`crate::schema::decode`] and [`crate::schema::default`].
//! 3. Unless it was applied: [`update`], which sets the owner of the changed fields; [`scale`] after a write to the number of
//!    replicas.
//! 4. The endpoint resets fields: `status` on the object itself, all other fields on `/status`.
//! 5. [`keep_times`], so that a write that changes nothing changes nothing.
//! 6. [`crate::schema::store`].

mod check;
mod compare;
mod json;
mod managed;
mod owner;
mod path;
mod retype;
mod scale;
mod set;
mod shape;
mod strategic;
mod values;

use serde_json::Value;

use crate::object;
use crate::schema::{self, Type};
use managed::{Managed, Owner};
use path::Path;
use set::Set;

pub use json::{json_merge, json_patch};
pub use scale::{apply_scale, scale};
pub use strategic::strategic;

/// The annotation in which client-side apply keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A write, but for what it writes.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    /// The type of the object in `api_version`.
    pub kind: &'a Type,
    /// The version of the request, as in `apps/v1`. The live and the new object are in this version.
    pub api_version: &'a str,
    /// The field manager: the query parameter `fieldManager`, or the first word of the user agent.
    pub manager: &'a str,
    /// As in `status`; empty for the object itself.
    pub subresource: &'a str,
    /// In the form `2026-01-02T15:04:05Z`.
    pub now: &'a str,
    /// The fields that the endpoint resets, and of which a write does not make the writer the owner: [`schema::reset_fields`].
    pub reset_fields: &'a [&'a [&'a str]],
    /// The types of the kind's other versions, by `apiVersion`. Entries of versions that it does not know end.
    pub other_versions: &'a dyn Fn(&str) -> Option<Type>,
}

/// A field that an applied configuration changes and another manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    owner: Owner,
    path: Path,
}

impl Conflict {
    /// The message of a cause, which names the owner of the field, as in `conflict with "kubectl" using v1`.
    #[must_use]
    pub fn message(&self) -> String {
        format!("conflict with {}", self.owner.shown())
    }

    /// The field, as in `.spec.replicas`.
    #[must_use]
    pub fn field(&self) -> String {
        path::shown(&self.path)
    }
}

/// Why a configuration is not applied, or a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// 409; causes of the type `FieldManagerConflict`.
    Conflicts(Vec<Conflict>),
    /// 400, with this message.
    BadRequest(String),
    /// 422, with this message.
    Unprocessable(String),
    /// 500, with this message.
    Failed(String),
}

impl Refusal {
    /// The message of the status.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::BadRequest(message) | Self::Unprocessable(message) | Self::Failed(message) => message.clone(),
            Self::Conflicts(conflicts) => match conflicts.as_slice() {
                [only] => format!("Apply failed with 1 conflict: {}: {}", only.message(), only.field()),
                several => format!("Apply failed with {} conflicts: {}", several.len(), lines(several).join("\n")),
            },
        }
    }
}

/// The conflicts of each owner below its name.
fn lines(conflicts: &[Conflict]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut last = None;
    for conflict in conflicts {
        if last != Some(&conflict.owner) {
            lines.push(format!("conflicts with {}:", conflict.owner.shown()));
            last = Some(&conflict.owner);
        }
        lines.push(format!("- {}", conflict.field()));
    }
    lines
}

/// Applies `config` to `live`. The result has no defaults yet.
///
/// # Errors
/// When it is not of its type, or changes what others own and `force` is not set.
pub fn apply(write: &Write<'_>, live: Option<&Value>, config: &Value, force: bool) -> Result<Value, Refusal> {
    checked(write, config)?;
    let mut managed = match live {
        Some(live) => managed::decode(live)
            .map_err(|error| Refusal::Failed(format!("failed to decode managed fields: {error}")))?,
        None => Managed::new(),
    };
    let before = live.map_or_else(|| schema::empty(write.kind), managed::stripped);
    if let (true, Some(_)) = (managed.is_empty(), live) {
        managed = write.updated(&schema::empty(write.kind), &before, managed, "before-first-apply");
    }
    let applied = write.applied(&before, config, managed.clone(), force).or_else(|refusal| match refusal {
        Refusal::Conflicts(conflicts) if write.manager == "kubectl" => {
            let own = of_last_applied(write, &before).unwrap_or_default();
            let left: Vec<Conflict> = conflicts.into_iter().filter(|conflict| !own.has(&conflict.path)).collect();
            if left.is_empty() { write.applied(&before, config, managed, true) } else { Err(Refusal::Conflicts(left)) }
        }
        refusal => Err(refusal),
    });
    let (new, managed) = applied?;
    let mut new = new.unwrap_or(before);
    if write.manager == "kubectl" {
        set_last_applied(&mut new, config);
    }
    managed::encode(&mut new, managed);
    Ok(new)
}

fn checked(write: &Write<'_>, config: &Value) -> Result<(), Refusal> {
    let text = |pointer: &str| object::at(config, pointer).and_then(Value::as_str).unwrap_or_default();
    if object::at(config, "/metadata/managedFields").is_some_and(|entries| !entries.is_null()) {
        return Err(Refusal::BadRequest("metadata.managedFields must be nil".into()));
    }
    check::check(&write.kind.root, config).map_err(|faults| {
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let (version, kind) = (text("/apiVersion"), text("/kind"));
        let version = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
        Refusal::Failed(format!(
            "failed to create typed patch object ({namespace}/{name}; {version}, Kind={kind}): {faults}"
        ))
    })
}

/// The fields that client-side apply has written and the object still has: `kubectl` becomes their owner without a conflict.
fn of_last_applied(write: &Write<'_>, live: &Value) -> Option<Set> {
    let last: Value = serde_json::from_str(last_applied(live)?).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(write.api_version) {
        return None;
    }
    let kind = &write.kind.root;
    check::check(kind, &last).ok()?;
    let found = compare::compare(kind, &last, live);
    Some(compare::fields(kind, &last).difference(&found.modified).difference(&found.added).difference(&found.removed))
}

fn last_applied(object: &Value) -> Option<&str> {
    let text = object.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()?;
    Some(text).filter(|text| !text.is_empty())
}

/// Keeps the annotation of client-side apply, if there is one, in step with what is applied.
fn set_last_applied(new: &mut Value, config: &Value) {
    if last_applied(new).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    new["metadata"]["annotations"][LAST_APPLIED] = format!("{config}\n").into();
}

/// `new` with the entries that a create, an update or a patch leaves.
#[must_use]
pub fn update(write: &Write<'_>, live: Option<&Value>, mut new: Value) -> Value {
    let of_live = || live.and_then(|live| managed::decode(live).ok()).unwrap_or_default();
    let managed = if !write.subresource.is_empty() {
        of_live()
    } else if managed::is_reset(&new) {
        Managed::new()
    } else {
        managed::decode(&new).ok().filter(|managed| !managed.is_empty()).unwrap_or_else(of_live)
    };
    managed::strip(&mut new);
    if managed.is_empty() && live.is_some() {
        // The object has no entries yet; they start with the first apply.
        return new;
    }
    let before = live.map_or_else(|| schema::empty(write.kind), managed::stripped);
    let root = &write.kind.root;
    let fit = |object| check::fits(root, object) && write.fit(&managed, None, object);
    if !fit(&before) || !fit(&new) {
        // The API server forgets whose the fields are when it cannot compare them.
        return new;
    }
    let mut managed = write.updated(&before, &schema::compared(root, &new), managed, write.manager);
    managed::cap(&mut managed);
    managed::encode(&mut new, managed);
    new
}

/// Puts back the times of entries if nothing else differs from `live`, so that nothing differs.
pub fn keep_times(kind: &Type, live: &Value, new: &mut Value) {
    // Empty and absent values are the same in built-in kinds, but no others.
    if kind.custom.is_some() && !is_same_but_times(live, new) || kind.custom.is_none() && has_other_values(live, new) {
        return;
    }
    let timeless = |object: &Value| {
        let mut object = object.clone();
        let entries = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        // Empty and absent values are the same in built-in kinds.
        if kind.custom.is_none() && schema::store(kind, &mut object).is_err() {
            return Value::Null;
        }
        object
    };
    if timeless(live) == timeless(new)
        && let Some(entries) = object::at(live, "/metadata/managedFields")
    {
        new["metadata"]["managedFields"] = entries.clone();
    }
}

/// `true` if a value that is not empty has another one in its place. Times of entries do not count.
fn has_other_values(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => one
            .iter()
            .any(|(key, value)| key != "time" && other.get(key).is_some_and(|other| has_other_values(value, other))),
        (Value::Array(one), Value::Array(other)) => {
            let differ = |(one, other)| has_other_values(one, other);
            !one.is_empty() && !other.is_empty() && (one.len() != other.len() || one.iter().zip(other).any(differ))
        }
        (Value::String(one), Value::String(other)) => one != other && !one.is_empty() && !other.is_empty(),
        _ => false,
    }
}

/// `true` if two objects differ in the times of their entries alone.
fn is_same_but_times(one: &Value, other: &Value) -> bool {
    let same = |one: Option<&Value>, other: Option<&Value>, different: &str| match (one, other) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let rest =
                |fields: &serde_json::Map<String, Value>| fields.len() - usize::from(fields.contains_key(different));
            let mut all = one.iter().filter(|(key, _)| *key != different);
            rest(one) == rest(other) && all.all(|(key, value)| other.get(key) == Some(value))
        }
        (one, other) => one == other,
    };
    let (metadata, of_other) = (one.get("metadata"), other.get("metadata"));
    let (entries, of_others) =
        (metadata.and_then(|it| it.get("managedFields")), of_other.and_then(|it| it.get("managedFields")));
    let same_entries = match (entries, of_others) {
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(Some(one), Some(other), "time"))
        }
        (one, other) => one == other,
    };
    same(Some(one), Some(other), "metadata") && same(metadata, of_other, "managedFields") && same_entries
}

#[cfg(test)]
mod tests;
