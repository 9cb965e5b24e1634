//! References to objects, as the annotation `config.kubernetes.io/depends-on` writes them.

use crate::model::object::{GroupKind, ObjectId};

/// The way to write them, for hints.
pub const REFERENCE_FORM: &str =
    "Write group/namespaces/<namespace>/<kind>/<name>, or group/<kind>/<name>, comma separated.";

/// Reads `group/namespaces/<ns>/<kind>/<name>` and `group/<kind>/<name>`, comma separated.
///
/// # Errors
/// The reason why one of them is none, in words that follow a colon.
pub fn references(text: &str) -> Result<Vec<ObjectId>, String> {
    let mut ids: Vec<ObjectId> = Vec::new();
    for reference in text.split(',').map(str::trim) {
        let parts: Vec<&str> = reference.split('/').collect();
        let id = match parts.as_slice() {
            [group, "namespaces", namespace, kind, name] => {
                ObjectId::new(&GroupKind::new(group, kind), namespace, name)
            }
            [group, kind, name] => ObjectId::new(&GroupKind::new(group, kind), "", name),
            _ => return Err(format!("{reference:?} is no reference to an object")),
        };
        if id.kind().is_empty() || id.name().is_empty() {
            return Err(format!("{reference:?} names no object"));
        }
        if ids.contains(&id) {
            return Err(format!("{reference:?} is there twice"));
        }
        ids.push(id);
    }
    Ok(ids)
}
