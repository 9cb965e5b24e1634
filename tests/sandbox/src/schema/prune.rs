//! Custom resources as the API server reads them: without fields that the schema does not name.

use std::fmt::Write as _;

use serde_json::{Number, Value};

use super::node::{Map, Node, Ref};
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
        let mut walk = Walk { path: String::new(), unknown: Vec::new(), failed: None };
        walk.value(Some(&kind.root), object, true);
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
    /// Where it is.
    path: String,
    unknown: Vec<String>,
    failed: Option<String>,
}

impl Walk {
    /// `kind` is none where the schema has nothing to say: nothing below is known. `whole`: a whole object stands here.
    fn value(&mut self, kind: Option<&Ref>, value: &mut Value, whole: bool) {
        let node = kind.map(Ref::node);
        let embedded = node.is_some_and(|node| node.embedded);
        self.parts(node, value, whole || embedded, node.is_some_and(|node| node.preserves_unknown));
        if embedded && !self.path.is_empty() {
            let path = &self.path;
            let mut said = ["apiVersion", "kind"].into_iter().filter_map(|key| Some((key, value.get(key)?)));
            if let Some((key, odd)) = said.find(|(_, value)| !value.is_string()) {
                self.failed = Some(format!("{path}.{key}: Invalid value: {odd}: must be a string"));
            }
            match metadata(value, path) {
                Ok(unknown) => self.unknown.extend(unknown),
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// A value of another sort than its schema wants has no known parts: validation says what was wanted.
    fn parts(&mut self, node: Option<&Node>, value: &mut Value, whole: bool, keeps: bool) {
        match value {
            Value::Object(fields) => {
                let map = node.and_then(|node| node.map.as_ref());
                let mut dropped = Vec::new();
                for (name, value) in fields.iter_mut() {
                    let kind = map.and_then(|map| named(map, name));
                    if kind.is_none() && keeps || whole && OBJECT.contains(&name.as_str()) {
                        continue;
                    }
                    let above = self.path.len();
                    if above > 0 {
                        self.path.push('.');
                    }
                    self.path.push_str(name);
                    match kind {
                        Some(kind) => self.value(Some(kind), value, false),
                        None => {
                            self.unknown.push(self.path.clone());
                            dropped.push(name.clone());
                        }
                    }
                    self.path.truncate(above);
                }
                // Mostly there are none.
                dropped.iter().for_each(|name| _ = fields.remove(name));
            }
            Value::Array(items) => {
                let kind = node.and_then(|node| node.list.as_ref()).map(|list| &list.items);
                for (at, item) in items.iter_mut().enumerate() {
                    let above = self.path.len();
                    // Writing to a text cannot fail.
                    let _ = write!(self.path, "[{at}]");
                    match keeps {
                        true => self.parts(kind.map(Ref::node), item, false, true),
                        false => self.value(kind, item, false),
                    }
                    self.path.truncate(above);
                }
            }
            _ => {}
        }
    }
}

/// The schema of a field.
fn named<'a>(map: &'a Map, name: &str) -> Option<&'a Ref> {
    map.fields.get(name).or(map.others.as_ref().filter(|_| map.names_others))
}

/// Null is nothing where the schema has no null and no default.
fn nulls(kind: &Ref, value: &mut Value) {
    let node = kind.node();
    match value {
        Value::Object(fields) => {
            let Some(map) = &node.map else { return };
            let mut nothing = Vec::new();
            for (name, value) in fields.iter_mut() {
                match named(map, name) {
                    Some(kind) if value.is_null() && !kind.nullable && kind.default.is_none() => {
                        nothing.push(name.clone());
                    }
                    Some(kind) => nulls(kind, value),
                    None => {}
                }
            }
            nothing.iter().for_each(|name| _ = fields.remove(name));
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
