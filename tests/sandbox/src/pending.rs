//! What `schema` and `merge` do not do yet.

use serde_json::{Map, Value};

use crate::failure::{About, Cause, Failure};
use crate::schema::Type;

/// Drops what a type does not know and returns the paths.
pub fn prune(_: &Type, _: &mut Value) -> Vec<String> {
    Vec::new()
}

/// What is wrong with an object by its schema.
pub fn validate(_: &Type, _: &Value) -> Vec<Cause> {
    Vec::new()
}

/// A merge patch.
pub fn json_merge(live: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *live = patch.clone();
        return;
    };
    if !live.is_object() {
        *live = Value::Object(Map::new());
    }
    if let Some(own) = live.as_object_mut() {
        for (key, value) in fields {
            if value.is_null() {
                own.remove(key);
            } else {
                json_merge(own.entry(key).or_insert(Value::Null), value);
            }
        }
    }
}

/// Why a JSON patch does not apply.
#[derive(Debug)]
pub struct Refused;

impl Refused {
    /// As an answer.
    pub fn failure(&self, about: About<'_>) -> Failure {
        Failure::conflict(about, "not implemented")
    }
}

/// A JSON patch.
///
/// # Errors
/// Always.
pub fn json_patch(_: &Value, _: &Value) -> Result<Value, Refused> {
    Err(Refused)
}

/// A strategic merge patch.
///
/// # Errors
/// Never.
pub fn strategic(_: &Type, live: &Value, patch: &Value) -> Result<Value, String> {
    let mut new = live.clone();
    json_merge(&mut new, patch);
    Ok(new)
}
