//! Rules for custom resources beside those of their schema.

use serde_json::Value;

use crate::failure::{About, Cause, Failure};
use crate::object::text;
use crate::resource::{Resource, group_version};

/// Refuses an object that says that it is another kind than that of the request.
///
/// # Errors
/// When it is.
pub fn expect_kind(resource: &Resource, object: &Value) -> Result<(), Failure> {
    if resource.custom.is_none() {
        return Ok(());
    }
    let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    let expected = [("kind", kind, resource.kind.clone()), ("apiVersion", api_version, resource.api_version())];
    let wrong = expected.iter().filter(|(_, said, expected)| said != expected);
    let causes: Vec<Cause> = wrong
        .map(|(field, said, expected)| Cause::invalid(*field, &(*said).into(), &format!("must be {expected}")))
        .collect();
    if causes.is_empty() {
        return Ok(());
    }
    let about = About { group: group_version(api_version).0, resource: kind, name: crate::object::name(object) };
    Err(Failure::invalid(about, &causes))
}

/// Checks the fields of an object that its scale subresource reads.
pub(super) fn scale(resource: &Resource, object: &Value, subresource: &str) -> Vec<Cause> {
    let version = resource.custom.as_ref().map(|custom| &custom.version["subresources"]["scale"]);
    let Some(scale) = version.filter(|scale| scale.is_object()) else { return Vec::new() };
    let mut causes = Vec::new();
    for (key, number) in [("specReplicasPath", true), ("statusReplicasPath", true), ("labelSelectorPath", false)] {
        let path = text(scale, &format!("/{key}"));
        if path.is_empty() || (subresource == "status" && key == "specReplicasPath") {
            continue;
        }
        let detail = match at(object, path) {
            Ok(None) => continue,
            Ok(Some(Value::String(_))) if !number => continue,
            Ok(Some(found)) if number && found.as_i64().is_some() => match found.as_i64() {
                Some(..0) => "should be a non-negative integer".to_owned(),
                Some(many) if many > i64::from(i32::MAX) => format!("should be less than or equal to {}", i32::MAX),
                _ => continue,
            },
            Ok(Some(other)) => format!("{path} accessor error: {other} is of another type"),
            Err(found) => format!("{path} accessor error: {found} is no map"),
        };
        causes.push(Cause::invalid(path, &0.into(), &detail));
    }
    causes
}

/// The value at a path of names with a dot before each. `Err` is a value on the way that is no map.
fn at<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, &'a Value> {
    let mut found = object;
    for name in path.trim_start_matches('.').split('.') {
        match found {
            Value::Null => return Ok(None),
            Value::Object(fields) => match fields.get(name) {
                Some(value) => found = value,
                None => return Ok(None),
            },
            other => return Err(other),
        }
    }
    Ok(Some(found))
}
