//! The shape of a value by its type, and the path step to an item of a list.

use serde_json::Value;

use super::path::{Key, Step};
use crate::schema::{List, ListKind, Map, Ref, Scalar};

/// The kinds of value that a type leaves open for one value.
#[derive(Clone, Copy)]
pub(crate) struct Shapes<'a> {
    scalar: Option<Scalar>,
    list: Option<&'a List>,
    map: Option<&'a Map>,
    atomic: bool,
}

/// The shape of a value.
#[derive(Clone, Copy)]
pub(crate) enum Shape<'a> {
    Map {
        map: &'a Map,
        /// The map is one value.
        atomic: bool,
    },
    List(&'a List),
    Scalar(Scalar),
    /// The type allows no value at all.
    Nothing,
}

impl<'a> Shapes<'a> {
    /// Null and an absent value leave all open that the type does; so does a value that does not fit.
    pub(crate) fn of(kind: Option<&'a Ref>, value: Option<&Value>) -> Self {
        let Some(kind) = kind else {
            return Self { scalar: None, list: None, map: None, atomic: false };
        };
        let node = kind.node();
        let atomic = kind.atomic.unwrap_or_else(|| node.map.as_ref().is_some_and(|map| map.atomic));
        let all = Self { scalar: node.scalar, list: node.list.as_ref(), map: node.map.as_ref(), atomic };
        match value {
            None | Some(Value::Null) => all,
            Some(Value::Array(_)) if all.list.is_some() => Self { scalar: None, map: None, ..all },
            Some(Value::Object(_)) if all.map.is_some() => Self { scalar: None, list: None, ..all },
            Some(Value::Array(_) | Value::Object(_)) => all,
            Some(_) if all.scalar.is_some() => Self { list: None, map: None, ..all },
            Some(_) => all,
        }
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        self.scalar == other.scalar
            && self.list.is_some() == other.list.is_some()
            && self.map.is_some() == other.map.is_some()
    }

    pub(crate) fn shape(&self) -> Shape<'a> {
        match *self {
            Self { map: Some(map), atomic, .. } => Shape::Map { map, atomic },
            Self { scalar: Some(scalar), .. } => Shape::Scalar(scalar),
            Self { list: Some(list), .. } => Shape::List(list),
            _ => Shape::Nothing,
        }
    }
}

/// The shape of a value of this type.
pub(crate) fn shape<'a>(kind: Option<&'a Ref>, value: &Value) -> Shape<'a> {
    Shapes::of(kind, Some(value)).shape()
}

/// The type of a field of a map.
pub(crate) fn field<'a>(map: &'a Map, name: &str) -> Option<&'a Ref> {
    map.fields.get(name).or(map.others.as_ref())
}

/// The step to an item of a list that is not one value.
pub(crate) fn step(list: &List, item: &Value) -> Result<Step, String> {
    match &list.kind {
        ListKind::Keyed(keys) => keyed(list, keys, item),
        ListKind::Set => match item {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
            scalar => Ok(Step::Item(Key(scalar.clone()))),
        },
        ListKind::Atomic => Err("invalid indexing of non-associative list".into()),
    }
}

fn keyed(list: &List, keys: &[String], item: &Value) -> Result<Step, String> {
    let fields = match item {
        Value::Object(fields) => fields,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let default = |key: &str| list.items.node().map.as_ref()?.fields.get(key)?.default.as_ref();
    let value = |key: &String| Some((key.clone(), Key(fields.get(key).or_else(|| default(key))?.clone())));
    let named: Vec<(String, Key)> = keys.iter().filter_map(value).collect();
    if named.is_empty() {
        let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            keys.join(" ")
        ));
    }
    Ok(Step::Key(named.into()))
}
