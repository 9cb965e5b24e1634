//! Comparisons of computed objects, managed fields and errors with those of the API server.

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value};

/// Fields of metadata that only the API server writes.
const ITS_OWN: [&str; 5] = ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"];

/// Checks that two objects have the same entries of managed fields. A time that one of them made and the other kept is a
/// difference; times that both made may differ by a second.
pub(crate) fn managed(ours: &Value, real: &Value, live: Option<&Value>) -> Result<()> {
    let entries = |object: &Value| object.pointer("/metadata/managedFields").cloned().unwrap_or(Value::Null);
    let (ours, real) = (entries(ours), entries(real));
    let live = live.map(entries).unwrap_or_default();
    ensure!(order(&ours) == order(&real), "entries:\n  ours {ours}\n  real {real}\n  live {live}");
    for (own, their) in list(&ours).zip(list(&real)) {
        ensure!(own["fieldsV1"] == their["fieldsV1"], "fields:\n  ours {own}\n  real {their}\n  live {live}");
        let kept = |entry: &Value| list(&live).any(|old| owner(old) == owner(entry) && old["time"] == entry["time"]);
        let same = own["time"] == their["time"] || (!kept(own) && !kept(their));
        ensure!(same, "times:\n  ours {own}\n  real {their}\n  live {live}");
    }
    Ok(())
}

fn list(entries: &Value) -> impl Iterator<Item = &Value> {
    entries.as_array().into_iter().flatten()
}

fn owner(entry: &Value) -> Value {
    let mut owner = entry.clone();
    for key in ["fieldsV1", "time"] {
        owner.as_object_mut().map(|fields| fields.remove(key));
    }
    owner
}

fn order(entries: &Value) -> Vec<Value> {
    list(entries).map(owner).collect()
}

/// Checks that the object of the API server has the fields of `ours`. Returns pointers to further fields that both it and `live`
/// have.
pub(crate) fn values(ours: &Value, real: &Value, live: Option<&Value>) -> Result<Vec<String>> {
    let content = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| !ITS_OWN.contains(&key.as_str()));
        }
        object.as_object_mut().map(|fields| fields.remove("status"));
        object
    };
    let live = live.map(content);
    let mut kept = Vec::new();
    same("", &content(ours), &content(real), live.as_ref(), &mut kept)?;
    Ok(kept)
}

fn same(path: &str, ours: &Value, real: &Value, live: Option<&Value>, kept: &mut Vec<String>) -> Result<()> {
    match (ours, real) {
        (Value::Object(own), Value::Object(their)) => {
            let none = Map::new();
            let before = live.and_then(Value::as_object).unwrap_or(&none);
            for (key, value) in own {
                let path = format!("{path}/{}", key.replace('/', "~1"));
                let Some(their) = their.get(key) else { bail!("{path}: only ours: {value}") };
                same(&path, value, their, before.get(key), kept)?;
            }
            let more = their.keys().filter(|key| !own.contains_key(*key) && before.contains_key(*key));
            kept.extend(more.map(|key| format!("{path}/{}", key.replace('/', "~1"))));
            Ok(())
        }
        (Value::Array(own), Value::Array(their)) if own.len() == their.len() => own
            .iter()
            .zip(their)
            .enumerate()
            .try_for_each(|(at, (own, their))| same(&format!("{path}/{at}"), own, their, None, kept)),
        _ => {
            // The API server sets a default for an empty value.
            let empty = [Value::from(""), Value::from(0), Value::Null].contains(ours);
            ensure!(ours == real || empty, "{path}:\n  ours {ours}\n  real {real}");
            Ok(())
        }
    }
}

/// Puts back what was sent empty: it is lost when an object is stored.
pub(crate) fn with_empty(real: &mut Value, sent: &Value) {
    match (real, sent) {
        (Value::Object(real), Value::Object(sent)) => {
            for (key, sent) in sent {
                let list = sent.as_array().is_some_and(Vec::is_empty);
                let empty = list || sent.as_object().is_some_and(Map::is_empty);
                match real.get_mut(key) {
                    Some(real) if list && real.is_null() => *real = sent.clone(),
                    Some(real) => with_empty(real, sent),
                    None if empty => {
                        real.insert(key.clone(), sent.clone());
                    }
                    None => {}
                }
            }
        }
        (Value::Array(real), Value::Array(sent)) => {
            real.iter_mut().zip(sent).for_each(|(real, sent)| with_empty(real, sent));
        }
        _ => {}
    }
}

/// `true` if two errors have the same message. The API server names only some of several wrong fields.
pub(crate) fn messages(ours: &str, real: &str) -> bool {
    const TYPED: &str = "failed to create typed patch object ";
    if !real.starts_with(TYPED) {
        return ours == real;
    }
    let parts = |text: &str| -> Vec<String> {
        let faults = text.split_once("): ").map_or(text, |(_, faults)| faults).trim_start_matches("errors:");
        faults.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    ours.starts_with(TYPED) && parts(real).iter().all(|fault| parts(ours).contains(fault))
}
