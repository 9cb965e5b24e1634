//! Custom resources as the API server reads them: without fields that the schema does not name.

use serde_json::{Map as Fields, Number, Value};

use super::node::{Map, Ref};
use super::{Type, decode};

/// The fields that every object has.
const OBJECT: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Brings a custom resource into the form in which it is stored, but for its defaults, and returns the paths of the fields
/// that the schema does not name and that are dropped.
pub(super) fn custom(kind: &Type, object: &mut Value) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    whole_numbers(object);
    unknown.extend(metadata(object, "")?);
    if kind.custom.is_some() {
        let mut walk = Walk { unknown: Vec::new(), failed: None };
        walk.value(&kind.root, object, "", true);
        if let Some(failed) = walk.failed {
            return Err(failed);
        }
        walk.unknown.sort();
        unknown.extend(walk.unknown);
        nulls(&kind.root, object);
    }
    Ok(unknown)
}

/// Reads `metadata` of an object that is at `path`.
fn metadata(object: &mut Value, path: &str) -> Result<Vec<String>, String> {
    let kind = Ref::shared("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    let Some(metadata) = object.get_mut("metadata") else { return Ok(Vec::new()) };
    let path = if path.is_empty() { "metadata".to_owned() } else { format!("{path}.metadata") };
    decode::part(&kind, metadata, &path)
}

struct Walk {
    unknown: Vec<String>,
    failed: Option<String>,
}

impl Walk {
    /// `whole`: a whole object stands here.
    fn value(&mut self, kind: &Ref, value: &mut Value, path: &str, whole: bool) {
        let node = kind.node();
        let whole = whole || node.embedded;
        match value {
            Value::Object(fields) => {
                // Where there is no map, validation says what was wanted.
                if let Some(map) = &node.map {
                    self.fields(map, fields, path, whole, node.preserves_unknown);
                }
            }
            Value::Array(items) => {
                let Some(list) = &node.list else { return };
                for (at, item) in items.iter_mut().enumerate() {
                    self.value(&list.items, item, &format!("{path}[{at}]"), false);
                }
            }
            _ => {}
        }
        if node.embedded && !path.is_empty() {
            match metadata(value, path) {
                Ok(unknown) => self.unknown.extend(unknown),
                Err(error) => self.failed = Some(error),
            }
        }
    }

    fn fields(&mut self, map: &Map, fields: &mut Fields<String, Value>, path: &str, whole: bool, keeps: bool) {
        let names: Vec<String> = fields.keys().cloned().collect();
        for name in names {
            if whole && OBJECT.contains(&name.as_str()) {
                continue;
            }
            let here = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let kind = map.fields.get(&name).or(map.others.as_ref().filter(|_| map.names_others));
            match (kind, fields.get_mut(&name)) {
                (Some(kind), Some(value)) => self.value(kind, value, &here, false),
                (None, _) if !keeps => {
                    fields.remove(&name);
                    self.unknown.push(here);
                }
                _ => {}
            }
        }
    }
}

/// Null is nothing where the schema has no null and no default.
fn nulls(kind: &Ref, value: &mut Value) {
    let node = kind.node();
    match value {
        Value::Object(fields) => {
            let Some(map) = &node.map else { return };
            let named = |name: &str| map.fields.get(name).or(map.others.as_ref().filter(|_| map.names_others));
            fields.retain(|name, value| {
                let nothing = |kind: &Ref| value.is_null() && !kind.nullable && kind.default.is_none();
                !named(name).is_some_and(nothing)
            });
            for (name, value) in fields.iter_mut() {
                if let Some(kind) = named(name) {
                    nulls(kind, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(list) = &node.list else { return };
            items.iter_mut().for_each(|item| nulls(&list.items, item));
        }
        _ => {}
    }
}

/// 1.0 is stored as 1.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
            if let Some(whole) = whole.and_then(|whole| format!("{whole}").parse::<i64>().ok()) {
                *number = Number::from(whole);
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        _ => {}
    }
}
