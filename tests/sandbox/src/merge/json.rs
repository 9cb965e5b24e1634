//! JSON merge patches (RFC 7386) and JSON patches (RFC 6902).

use serde_json::Value;

use super::Refusal;
use super::path::same;
use crate::schema::json_name;

/// `live` as a JSON merge patch changes it.
///
/// # Errors
/// When the patch is no object.
pub fn json_merge(live: &Value, patch: &Value) -> Result<Value, Refusal> {
    if !patch.is_object() {
        let kind = json_name(patch);
        let said = format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
        return Err(Refusal::BadRequest(format!("error decoding patch: {said}")));
    }
    Ok(merged(live.clone(), patch))
}

fn merged(live: Value, patch: &Value) -> Value {
    match (live, patch) {
        (Value::Object(mut fields), Value::Object(patch)) => {
            for (name, value) in patch {
                let old = fields.remove(name).unwrap_or(Value::Null);
                if !value.is_null() {
                    fields.insert(name.clone(), merged(old, value));
                }
            }
            Value::Object(fields)
        }
        (Value::Object(_), other) => other.clone(),
        (_, new) => without_nulls(new),
    }
}

/// Fields that a patch removes from what is not there.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        scalar => scalar.clone(),
    }
}

/// `live` as the operations of a JSON patch change it.
///
/// # Errors
/// When the patch is none, or an operation cannot be done.
pub fn json_patch(live: &Value, patch: &Value) -> Result<Value, Refusal> {
    let Some(operations) = patch.as_array() else {
        let kind = json_name(patch);
        let said = format!("json: cannot unmarshal {kind} into Go value of type []handlers.jsonPatchOp");
        return Err(Refusal::BadRequest(format!("error decoding patch: {said}")));
    };
    let done = operations.iter().try_fold(live.clone(), one);
    // The API server does not say which operation failed.
    done.ok_or_else(|| Refusal::Unprocessable("the server rejected our request due to an error in our request".into()))
}

fn one(mut object: Value, operation: &Value) -> Option<Value> {
    let text = |key: &str| operation.get(key).and_then(Value::as_str);
    let path = text("path")?;
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match text("op")? {
        "add" => add(&mut object, path, value())?,
        "remove" => {
            remove(&mut object, path)?;
        }
        "replace" => replace(&mut object, path, value())?,
        "move" => {
            let moved = remove(&mut object, text("from")?)?;
            add(&mut object, path, moved)?;
        }
        "copy" => {
            let copied = look(&mut object, text("from")?)?;
            add(&mut object, path, copied)?;
        }
        "test" => {
            let found = look(&mut object, path)?;
            same(&found, &value()).then_some(())?;
        }
        _ => return None,
    }
    Some(object)
}

/// Parent and last step of a path.
fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn find<'a>(object: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    if path.is_empty() {
        return Some(object);
    }
    let (parent, last) = split(path)?;
    match find(object, parent)? {
        Value::Object(fields) => fields.get_mut(&last),
        Value::Array(items) => {
            let at = index(&last, items.len())?;
            items.get_mut(at)
        }
        _ => None,
    }
}

/// The value at a path. A field that a map does not have is null.
fn look(object: &mut Value, path: &str) -> Option<Value> {
    let Some((parent, last)) = split(path) else { return Some(object.clone()) };
    match find(object, parent)? {
        Value::Object(fields) => Some(fields.get(&last).cloned().unwrap_or_default()),
        Value::Array(items) => items.get(index(&last, items.len())?).cloned(),
        _ => None,
    }
}

/// Puts a value in the place of another. The API server does not mind when a map has no other.
fn replace(object: &mut Value, path: &str, value: Value) -> Option<()> {
    let Some((parent, last)) = split(path) else {
        *object = Some(value).filter(Value::is_object)?;
        return Some(());
    };
    match find(object, parent)? {
        Value::Object(fields) => {
            fields.insert(last, value);
        }
        Value::Array(items) => {
            let at = index(&last, items.len())?;
            items[at] = value;
        }
        _ => return None,
    }
    Some(())
}

/// One of so many places in a list. Those below zero count from behind.
fn index(text: &str, places: usize) -> Option<usize> {
    let at: i64 = text.parse().ok()?;
    let at = if at < 0 { at + i64::try_from(places).ok()? } else { at };
    usize::try_from(at).ok().filter(|at| *at < places)
}

fn add(object: &mut Value, path: &str, value: Value) -> Option<()> {
    let (parent, last) = split(path)?;
    match find(object, parent)? {
        Value::Object(fields) => {
            fields.insert(last, value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let at = index(&last, items.len() + 1)?;
            items.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(object: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = split(path)?;
    match find(object, parent)? {
        Value::Object(fields) => fields.remove(&last),
        Value::Array(items) => {
            let at = index(&last, items.len())?;
            Some(items.remove(at))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_patch_removes_by_null() {
        let live = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        let patch = json!({"a": {"b": null, "e": {"f": null, "g": 1}}, "d": [{"h": null}]});
        let merged = json_merge(&live, &patch).unwrap();
        assert_eq!(merged, json!({"a": {"c": 2, "e": {"g": 1}}, "d": [{}]}));
    }

    #[test]
    fn operations_are_done_in_order_or_not_at_all() {
        let live = json!({"a": {"x/y": [1, 2]}});
        let patch = json!([
            {"op": "test", "path": "/a/x~1y/0", "value": 1},
            {"op": "add", "path": "/a/x~1y/-", "value": 3},
            {"op": "add", "path": "/a/x~1y/1", "value": 9},
            {"op": "remove", "path": "/a/x~1y/0"},
            {"op": "move", "from": "/a/x~1y", "path": "/b"},
            {"op": "copy", "from": "/b/0", "path": "/c"},
            {"op": "replace", "path": "/c", "value": 7},
            {"op": "replace", "path": "/d", "value": 8},
            {"op": "test", "path": "/e", "value": null},
        ]);
        assert_eq!(json_patch(&live, &patch).unwrap(), json!({"a": {}, "b": [9, 2, 3], "c": 7, "d": 8}));
        for operation in [
            json!({"op": "test", "path": "/a", "value": 1}),
            json!({"op": "remove", "path": "/z"}),
            json!({"op": "replace", "path": "/z/z", "value": 1}),
            json!({"op": "test", "path": "/z/z", "value": null}),
            json!({"op": "add", "path": "/z/z", "value": 1}),
            json!({"op": "add", "path": "/a/x~1y/7", "value": 1}),
            json!({"op": "jump", "path": "/a"}),
        ] {
            assert!(json_patch(&live, &json!([operation])).is_err(), "{operation}");
        }
    }
}
