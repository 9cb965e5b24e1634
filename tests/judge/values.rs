//! Comparisons of values and of field ownership, for the API server's verdict.

use agent::model::object::Object;
use agent::sync::live::Observed;
use agent::sync::managed_fields::ManagedFieldsEntry;
use serde_json::{Map, Value};

/// The values of an object that clients write, without the order of list items.
pub(crate) fn values(object: &Object) -> Object {
    let mut object = object.clone();
    object.0.remove("status");
    object.metadata_mut().retain(|key, _| !["managedFields", "resourceVersion", "generation"].contains(&key.as_str()));
    // The API server counts every change of a template in it, that of an order too.
    if let Some(Value::Object(annotations)) = object.metadata_mut().get_mut("annotations") {
        annotations.remove("deprecated.daemonset.template.generation");
    }
    object.0.values_mut().for_each(sort);
    object
}

/// `true` if two objects have different values in one place, and not just fields that one of them lacks.
pub(crate) fn is_another(a: &Object, b: &Object) -> bool {
    fn walk(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Object(a), Value::Object(b)) => a.iter().any(|(key, a)| b.get(key).is_some_and(|b| walk(a, b))),
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a.iter().zip(b).any(|(a, b)| walk(a, b)),
            (a, b) => a != b,
        }
    }
    a.0.iter().any(|(key, a)| b.0.get(key).is_some_and(|b| walk(a, b)))
}

/// `true` if two values differ at most in empty lists, and in maps of nothing else, of which an apply may leave no trace either.
pub(crate) fn differ_in_empty_lists(a: &Value, b: &Value) -> bool {
    fn is_empty(value: &Value) -> bool {
        match value {
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => !map.is_empty() && map.values().all(is_empty),
            _ => false,
        }
    }
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let lacks = |other: &Map<String, Value>, (name, value): (&String, &Value)| {
                !other.contains_key(name) && !is_empty(value)
            };
            let is_same = |(name, a)| b.get(name).is_none_or(|b| differ_in_empty_lists(a, b));
            a.iter().all(is_same) && !a.iter().any(|it| lacks(b, it)) && !b.iter().any(|it| lacks(a, it))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| differ_in_empty_lists(a, b))
        }
        (a, b) => a == b,
    }
}

/// The fields of the agent and their version, without those of lists that are empty in this declared object.
pub(crate) fn fields(object: &Object, but_empty_lists_of: Option<&Value>) -> Option<(String, Map<String, Value>)> {
    let entries = Observed::of(object).managed_fields;
    let mut ours = entries.into_iter().find(ManagedFieldsEntry::is_ours)?;
    if let Some(Value::Object(declared)) = but_empty_lists_of {
        remove_empty_lists(declared, &mut ours.fields);
    }
    Some((ours.api_version, ours.fields))
}

/// The number of lists that are empty in this declared object and are fields of the agent.
pub(crate) fn owned_empty_lists(object: &Object, declared: &Value) -> usize {
    let (Some((_, mut fields)), Value::Object(declared)) = (fields(object, None), declared) else { return 0 };
    remove_empty_lists(declared, &mut fields)
}

/// Returns the number of lists.
pub(crate) fn remove_empty_lists(declared: &Map<String, Value>, fields: &mut Map<String, Value>) -> usize {
    let of_field = |(name, value): (&String, &Value)| {
        let key = format!("f:{name}");
        match (value, fields.get_mut(&key)) {
            (Value::Array(items), Some(_)) if items.is_empty() => usize::from(fields.remove(&key).is_some()),
            (Value::Object(inner), Some(Value::Object(node))) => remove_empty_lists(inner, node),
            _ => 0,
        }
    };
    declared.iter().map(of_field).sum()
}

pub(crate) fn sort(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(sort),
        Value::Array(items) => {
            items.iter_mut().for_each(sort);
            items.sort_by_cached_key(Value::to_string);
        }
        _ => {}
    }
}
