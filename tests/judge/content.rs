//! Objects that the API server accepts: random ones, of which what it refuses is taken away.

use kube::core::Status;
use serde_json::{Map, Value, json};

/// The way to a value: names of fields, keys, and numbers of items.
pub(crate) type Path = Vec<String>;

/// All places of a value.
pub(crate) fn paths(value: &Value, path: &mut Path, places: &mut Vec<Path>) {
    let mut below = |step: String, value: &Value| {
        path.push(step);
        places.push(path.clone());
        paths(value, path, places);
        path.pop();
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| below(key.clone(), value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, value)| below(at.to_string(), value)),
        _ => {}
    }
}

/// `true` for what says which object it is, and what only the API server writes.
pub(crate) fn is_fixed(path: &Path) -> bool {
    match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["apiVersion" | "kind" | "status" | "metadata"] | ["status", ..] => true,
        ["metadata", field, ..] => !["labels", "annotations", "finalizers"].contains(field),
        _ => false,
    }
}

/// Sets or removes the value at a path.
pub(crate) fn set(value: &mut Value, path: &[String], to: Option<Value>) -> bool {
    let Some((last, above)) = path.split_last() else { return false };
    let parent = above.iter().try_fold(value, |value, step| match value {
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        value => value.get_mut(step),
    });
    match (parent, to) {
        (Some(Value::Object(map)), Some(to)) => map.insert(last.clone(), to).is_none(),
        (Some(Value::Object(map)), None) => map.remove(last).is_some(),
        (Some(Value::Array(items)), to) => {
            let Some(at) = last.parse().ok().filter(|at| *at < items.len()) else { return false };
            match to {
                Some(to) => items[at] = to,
                None => drop(items.remove(at)),
            }
            true
        }
        _ => false,
    }
}

/// The value that a field of this type has when nothing is written to it.
pub(crate) fn blank(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => false.into(),
        Value::Number(_) => 0.into(),
        Value::String(_) => "".into(),
        Value::Array(_) => json!([]),
        Value::Object(_) => json!({}),
    }
}

/// Makes some values empty.
pub(crate) fn blank_some(rng: &mut fastrand::Rng, value: &mut Value) {
    if rng.u8(..14) == 0 {
        *value = blank(value);
        return;
    }
    match value {
        Value::Object(map) => map.values_mut().for_each(|value| blank_some(rng, value)),
        Value::Array(items) => items.iter_mut().for_each(|value| blank_some(rng, value)),
        _ => {}
    }
}

/// Makes some values null.
pub(crate) fn null_some(rng: &mut fastrand::Rng, value: &mut Value) {
    if rng.u8(..10) == 0 {
        *value = Value::Null;
        return;
    }
    match value {
        Value::Object(map) => map.values_mut().for_each(|value| null_some(rng, value)),
        Value::Array(items) => items.iter_mut().for_each(|value| null_some(rng, value)),
        _ => {}
    }
}

/// What every object has, over what is random.
pub(crate) fn overlay(random: &mut Value, base: &Value) {
    match (random, base) {
        (Value::Object(random), Value::Object(base)) => {
            for (key, base) in base {
                overlay(random.entry(key.clone()).or_insert(Value::Null), base);
            }
        }
        (Value::Array(random), Value::Array(base)) => {
            for (at, base) in base.iter().enumerate() {
                if at == random.len() {
                    random.push(Value::Null);
                }
                overlay(&mut random[at], base);
            }
        }
        (random, base) => *random = base.clone(),
    }
}

/// Takes away what the API server refuses; `false` if it does not say where that is.
pub(crate) fn without_refused(content: &mut Value, base: &Value, status: &Status) -> bool {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let mut refused: Vec<Path> = causes.iter().map(|cause| steps(&cause.field)).collect();
    if refused.is_empty() {
        // Errors of types name the field in the message.
        let words = status.message.split_whitespace().filter(|word| word.starts_with('.') && word.ends_with(':'));
        refused.extend(words.map(|word| steps(word.trim_matches(['.', ':']))));
    }
    // Items of one list are removed from its end.
    refused.sort();
    let mut changed = false;
    for mut path in refused.into_iter().rev() {
        while !path.is_empty() {
            let is_base = crate::change::at(base, &path).is_some();
            if !is_base && crate::change::at(content, &path).is_some() && set(content, &path, None) {
                changed = true;
                break;
            }
            path.pop();
        }
    }
    changed
}

/// The steps of a path as the API server writes it, such as `spec.ports[0].name` or `data[a.b]`.
fn steps(field: &str) -> Path {
    let mut steps = Path::new();
    let mut rest = field;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some((key, after)) = inner.split_once(']') else { break };
            steps.push(key.trim_matches('"').to_owned());
            rest = after;
        } else {
            rest = rest.trim_start_matches('.');
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end > 0 {
                steps.push(rest[..end].to_owned());
            }
            rest = &rest[end..];
        }
    }
    steps
}

/// The base with the names of the object in it.
pub(crate) fn named(base: &Value, name: &str, address: &str, namespace: &str) -> Value {
    match base {
        Value::String(text) => {
            let text = text.replace("ADDRESS", address).replace("NAMESPACE", namespace);
            text.replace("KNAME", &format!("K{name}")).replace("NAME", name).into()
        }
        Value::Array(items) => items.iter().map(|item| named(item, name, address, namespace)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), named(value, name, address, namespace)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// Keeps the maps that are declared empty and that the API server itself has filled in an object after an apply. Once another client has
/// written the object in another version, every apply takes those defaults away, and the map with them; the agent leaves them.
pub(crate) fn keep_filled(declared: &Value, live: &Map<String, Value>, after: &mut Map<String, Value>) {
    for (name, declared) in declared.as_object().into_iter().flatten() {
        match (live.get(name), after.get_mut(name)) {
            (Some(Value::Object(live)), Some(Value::Object(after))) => keep_filled(declared, live, after),
            (Some(live), None) if *declared == json!({}) => _ = after.insert(name.clone(), live.clone()),
            _ => {}
        }
    }
}
