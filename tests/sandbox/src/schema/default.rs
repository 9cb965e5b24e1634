//! The values that a schema states for what is absent.

use serde_json::{Map, Value};

use super::{Ref, Type};

/// Puts in what `kind` states for fields that are absent, at every depth. `false` if there is nothing to put in.
pub fn default(kind: &Type, object: &mut Value) -> bool {
    let mut filled = false;
    fill(&kind.root, object, kind.custom.is_some(), &mut filled);
    filled
}

/// `custom`: null is a value where a CustomResourceDefinition says that it is.
fn fill(kind: &Ref, value: &mut Value, custom: bool, filled: &mut bool) {
    let node = kind.node();
    match value {
        Value::Object(fields) => {
            let Some(map) = &node.map else { return };
            for name in &map.defaulted {
                let field = &map.fields[name];
                if let Some(default) = &field.default
                    && fields.get(name).is_none_or(|value| absent(field, value, custom))
                {
                    fields.insert(name.clone(), default.clone());
                    *filled = true;
                }
            }
            for (name, value) in fields.iter_mut() {
                if let Some(field) = map.fields.get(name).or(map.others.as_ref()) {
                    fill_place(field, value, custom, filled);
                }
            }
        }
        Value::Array(items) => {
            let Some(list) = &node.list else { return };
            for item in items {
                fill_place(&list.items, item, custom, filled);
            }
        }
        _ => {}
    }
}

fn fill_place(kind: &Ref, value: &mut Value, custom: bool, filled: &mut bool) {
    if let Some(default) = &kind.default
        && absent(kind, value, custom)
    {
        *value = default.clone();
        *filled = true;
    }
    fill(kind, value, custom, filled);
}

fn absent(kind: &Ref, value: &Value, custom: bool) -> bool {
    value.is_null() && !(custom && kind.nullable)
}

/// An object of the kind before anything is written to it: of a built-in kind, what its decoder starts with.
pub(crate) fn empty(kind: &Type) -> Value {
    let mut object = Value::Object(Map::new());
    if kind.custom.is_none() && !kind.root.is_deduced() {
        let map = kind.root.node().map.as_ref();
        let zeros = map
            .into_iter()
            .flat_map(|map| &map.fields)
            .filter_map(|(name, field)| field.zero.as_ref().map(|zero| (name.clone(), zero.clone())));
        object = Value::Object(zeros.collect());
    }
    object
}
