//! Changes of values.

use serde_json::{Value, json};

/// Puts the fields of `more` into `value`.
pub(crate) fn merge(value: &mut Value, more: Value) {
    match (value, more) {
        (Value::Object(value), Value::Object(more)) => {
            for (name, more) in more {
                merge(value.entry(name).or_insert(Value::Null), more);
            }
        }
        (value, more) => *value = more,
    }
}

/// Sets or takes away what is at a JSON pointer, making the objects on the way.
pub(crate) fn edit(value: &mut Value, pointer: &str, to: Option<Value>) {
    let mut place = value;
    let mut steps = pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).peekable();
    while let Some(step) = steps.next() {
        if place.is_null() {
            *place = json!({});
        }
        let is_last = steps.peek().is_none();
        match place {
            Value::Object(object) if is_last => {
                match to {
                    Some(to) => object.insert(step, to),
                    None => object.remove(&step),
                };
                return;
            }
            Value::Object(object) => place = object.entry(step).or_insert(Value::Null),
            Value::Array(items) => {
                let at = step.parse().unwrap_or(items.len());
                if is_last {
                    match to {
                        Some(to) if at < items.len() => items[at] = to,
                        Some(to) => items.push(to),
                        None if at < items.len() => drop(items.remove(at)),
                        None => {}
                    }
                    return;
                }
                let Some(item) = items.get_mut(at) else { return };
                place = item;
            }
            _ => return,
        }
    }
}
