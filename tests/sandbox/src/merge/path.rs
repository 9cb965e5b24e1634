//! Where a field is: the steps from an object to a part of it.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde_json::{Number, Value};

/// One step. In the order in which `fieldsV1` lists them. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A field of a map.
    Field(Arc<str>),
    /// The item of a list with these values in its key fields, by name.
    Key(Arc<[(String, Key)]>),
    /// The item of a set.
    Item(Key),
    /// The item of a list that has no better name.
    Index(i64),
}

/// From an object to a part of it.
pub(crate) type Path = Vec<Step>;

/// A value by which items are told apart: 80 and 80.0 are the same.
#[derive(Debug, Clone)]
pub(crate) struct Key(pub(crate) Value);

impl Step {
    pub(crate) fn field(name: &str) -> Self {
        Self::Field(name.into())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.0, &other.0)
    }
}

fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => number_order(a, b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let pairs = a.iter().zip(b).map(|(a, b)| order(a, b));
            pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let pairs = a.iter().zip(b).map(|((x, a), (y, b))| x.cmp(y).then_with(|| order(a, b)));
            pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

fn number_order(a: &Number, b: &Number) -> Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
    }
}

/// `true` if two values are the same for a reader: numbers are compared by value.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    order(a, b) == Ordering::Equal
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(out, ".{name}"),
            Self::Key(fields) => {
                let fields: Vec<String> = fields.iter().map(|(name, key)| format!("{name}={key}")).collect();
                write!(out, "[{}]", fields.join(","))
            }
            Self::Item(key) => write!(out, "[={key}]"),
            Self::Index(index) => write!(out, "[{index}]"),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::String(text) => write!(out, "{text:?}"),
            other => write!(out, "{other}"),
        }
    }
}

/// A path as messages show it, as in `.spec.ports[port=80,protocol="TCP"].name`.
pub(crate) fn shown(path: &[Step]) -> String {
    path.iter().map(ToString::to_string).collect()
}
