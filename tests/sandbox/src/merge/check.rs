//! Checks an applied configuration against its type, with the messages of the API server.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::path::Step;
use super::shape::{Shape, field, shape, step};
use crate::schema::{List, ListKind, Ref, Scalar};

/// The message about an item that occurs more than once.
const TWICE: &str = "duplicate entries for key";

/// A field of an applied configuration that does not fit its type.
struct Fault {
    path: String,
    said: String,
}

/// `true` if an object fits its type. Items of its lists may occur twice.
pub(crate) fn fits(kind: &Ref, value: &Value) -> bool {
    let mut faults = Vec::new();
    walk(Some(kind), value, &mut String::new(), &mut faults);
    faults.iter().all(|fault| fault.said.starts_with(TWICE))
}

/// All that is wrong, as one text.
pub(crate) fn check(kind: &Ref, value: &Value) -> Result<(), String> {
    let mut faults = Vec::new();
    walk(Some(kind), value, &mut String::new(), &mut faults);
    let lines: Vec<String> = faults.iter().map(Fault::line).collect();
    match lines.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        several => Err(format!("errors:\n  {}", several.join("\n  "))),
    }
}

impl Fault {
    fn line(&self) -> String {
        if self.path.is_empty() { self.said.clone() } else { format!("{}: {}", self.path, self.said) }
    }
}

/// `path` is where the value is.
fn walk(kind: Option<&Ref>, value: &Value, path: &mut String, faults: &mut Vec<Fault>) {
    let above = path.len();
    let mut fault = |said: String| faults.push(Fault { path: path.clone(), said });
    match (shape(kind, value), value) {
        (_, Value::Null) if kind.is_some() => {}
        (Shape::Map { map, .. }, Value::Object(fields)) => {
            for (name, value) in fields {
                path.push('.');
                path.push_str(name);
                match field(map, name) {
                    Some(kind) => walk(Some(kind), value, path, faults),
                    // The API server looks no further in this map, and takes its fields in no order.
                    None => faults.push(Fault { path: path.clone(), said: "field not declared in schema".into() }),
                }
                path.truncate(above);
            }
        }
        (Shape::Map { .. }, other) => fault(format!("expected map, got {}", shown(other))),
        (Shape::List(list), Value::Array(items)) => walk_list(list, items, path, faults),
        (Shape::List(_), other) => fault(format!("expected list, got {}", shown(other))),
        (Shape::Scalar(scalar), value) => {
            if let Some(said) = scalar_fault(scalar, value) {
                fault(said);
            }
        }
        (Shape::Nothing, _) => fault("schema error: invalid atom: inlined".into()),
    }
}

fn walk_list(list: &List, items: &[Value], path: &mut String, faults: &mut Vec<Fault>) {
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let here = if list.kind == ListKind::Atomic {
            Step::Index(i64::try_from(index).unwrap_or(i64::MAX))
        } else {
            match step(list, item) {
                Ok(here) => here,
                Err(said) => {
                    faults.push(Fault { path: path.clone(), said: format!("element {index}: {said}") });
                    return;
                }
            }
        };
        if !seen.insert(here.clone()) {
            faults.push(Fault { path: path.clone(), said: format!("{TWICE} {here}") });
        }
        let above = path.len();
        // Writing to a text cannot fail.
        let _ = write!(path, "{here}");
        walk(Some(&list.items), item, path, faults);
        path.truncate(above);
    }
}

fn scalar_fault(scalar: Scalar, value: &Value) -> Option<String> {
    match (scalar, value) {
        (Scalar::Number, Value::Number(_)) | (Scalar::Text, Value::String(_)) | (Scalar::Boolean, Value::Bool(_)) => {
            None
        }
        (Scalar::Any, Value::Number(_) | Value::String(_) | Value::Bool(_)) => None,
        (Scalar::Number, other) => Some(format!("expected numeric (int or float), got {}", type_name(other))),
        (Scalar::Text, other) => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", literal(other)))
        }
        (Scalar::Boolean, other) => Some(format!("expected boolean, got {}", shown(other))),
        (Scalar::Any, other) => Some(format!("expected any scalar, got {}", shown(other))),
    }
}

/// The name of a value's type in Go.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go writes it down in its own language.
fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Null => "interface {}(nil)".into(),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name:?}:{}", literal(value))).collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// A value as Go prints it.
fn shown(value: &Value) -> String {
    format!("&{{{}}}", printed(value))
}

pub(crate) fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".into(),
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}:{}", printed(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}
