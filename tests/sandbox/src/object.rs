//! Reading and writing the metadata of objects that are plain values.

use serde_json::{Map, Value};

/// An object of these fields, which are moved into it: `json!` copies every value that it is given.
pub fn of<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// The value at a JSON pointer. It makes no texts on the way, as the method of values does.
pub fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.contains('~') {
        return object.pointer(pointer);
    }
    pointer.split('/').skip(1).try_fold(object, |found, token| match found {
        Value::Object(fields) => fields.get(token),
        Value::Array(items) => items.get(token.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The text at a JSON pointer, or nothing of it.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    field(object, "name")
}

/// `metadata.namespace`, empty for what is cluster-scoped.
pub fn namespace(object: &Value) -> &str {
    field(object, "namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    field(object, "uid")
}

/// `metadata.resourceVersion`.
pub fn revision(object: &Value) -> &str {
    field(object, "resourceVersion")
}

/// A field of the metadata that is a text.
pub fn field<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get("metadata").and_then(|metadata| metadata.get(key)).and_then(Value::as_str).unwrap_or_default()
}

/// `true` if a deletion has been asked for.
pub fn is_deleting(object: &Value) -> bool {
    !field(object, "deletionTimestamp").is_empty()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    list(object, "/metadata/finalizers").iter().filter_map(Value::as_str)
}

/// A list at a JSON pointer; empty where there is none.
pub fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A map at a JSON pointer.
pub fn map<'a>(object: &'a Value, pointer: &str) -> Option<&'a Map<String, Value>> {
    at(object, pointer).and_then(Value::as_object)
}

/// An integer at a JSON pointer.
pub fn integer(object: &Value, pointer: &str) -> Option<i64> {
    at(object, pointer).and_then(Value::as_i64)
}

/// The map at `key`, made empty when it is missing or null.
pub fn map_at<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let parent = object.as_object_mut().expect("made an object");
    let child = parent.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    child.as_object_mut().expect("made an object")
}

/// The metadata, made when it is missing.
pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    map_at(object, "metadata")
}

/// Sets a field of the metadata, or removes it when the value is empty.
pub fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    let value = value.into();
    let empty = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if empty {
        metadata(object).remove(key);
    } else {
        metadata(object).insert(key.to_owned(), value);
    }
}

/// Sets a count in a status, where none is told by its absence.
pub fn set_count(status: &mut Map<String, Value>, name: &str, count: Value) {
    if count == 0 {
        status.remove(name);
    } else {
        status.insert(name.to_owned(), count);
    }
}

/// A copy without these fields of the object and of its metadata.
pub fn copy_without(object: &Value, fields: &[&str], of_metadata: &[&str]) -> Value {
    let copied = |(key, value): (&String, &Value)| match value {
        Value::Object(metadata) if key == "metadata" => (key.clone(), fields_without(metadata, of_metadata)),
        value => (key.clone(), value.clone()),
    };
    match object {
        Value::Object(all) => all.iter().filter(|(key, _)| !fields.contains(&key.as_str())).map(copied).collect(),
        other => other.clone(),
    }
}

fn fields_without(fields: &Map<String, Value>, without: &[&str]) -> Value {
    let left = fields.iter().filter(|(key, _)| !without.contains(&key.as_str()));
    left.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Takes a top-level field away.
pub fn remove(object: &mut Value, key: &str) -> Option<Value> {
    object.as_object_mut().and_then(|fields| fields.remove(key))
}

/// Sets a top-level field, or removes it.
pub fn replace(object: &mut Value, key: &str, value: Option<Value>) {
    match value {
        Some(value) => {
            if let Some(fields) = object.as_object_mut() {
                fields.insert(key.to_owned(), value);
            }
        }
        None => {
            remove(object, key);
        }
    }
}
