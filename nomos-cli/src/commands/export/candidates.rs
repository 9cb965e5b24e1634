//! The fields of a live object that may have their default values, and the answers of dry runs without them: pure functions.

use std::collections::BTreeSet;

use agent::model::object::Object;
use agent::sync::live::Observed;
use serde_json::{Map, Value};

use super::default_tables::{self, DefaultField};
use super::makers::MakerFacts;
use super::meant::{self, escaped, field, has_content, names, people, places};

/// Pointers to the fields of a live object that may have their default values, for a dry run without them. A map that would be
/// empty without them is named itself, but at the top.
pub(super) fn default_candidates(live: &Object, facts: &MakerFacts) -> Vec<String> {
    let (kind, value) = (live.group_kind(), Value::Object(live.0.clone()));
    let mut found = BTreeSet::new();
    let mut add = |above: &str, rows: &[DefaultField]| {
        for (pattern, json) in rows {
            let default: Option<Value> = serde_json::from_str(json).ok();
            let is_default = |at: &String| default.is_none() || value.pointer(at) == default.as_ref();
            found.extend(places(&value, &format!("{above}{pattern}")).into_iter().filter(is_default));
        }
    };
    let name = kind.to_string();
    for (_, rows) in default_tables::DEFAULTS.iter().filter(|(kinds, _)| kinds.contains(&name.as_str())) {
        add("", rows);
    }
    for (_, spec) in default_tables::POD_SPECS.iter().filter(|(row, _)| *row == name) {
        add(spec, default_tables::POD_SPEC);
        for containers in default_tables::CONTAINERS {
            add(&format!("{spec}{containers}"), default_tables::CONTAINER);
            default_tables::PROBES
                .iter()
                .for_each(|probe| add(&format!("{spec}{containers}{probe}"), default_tables::PROBE));
        }
    }
    if let Some(crd) = facts.crds.get(&kind) {
        let versions = field(crd, "/spec/versions").and_then(Value::as_array);
        let version = versions.into_iter().flatten().find(|version| version["name"] == live.version());
        if let Some(schema) = version.map(|version| &version["schema"]["openAPIV3Schema"]) {
            add_schema_defaults(schema, &value, String::new(), &mut found);
        }
    }
    for (_, field, other) in default_tables::FOLLOWING.iter().filter(|(row, ..)| *row == name) {
        let is_same = |at: &String| value.pointer(&at.replace(field, other)) == value.pointer(at);
        found.retain(|at| !at.contains(field) || is_same(at));
    }
    let assigned = Value::Object(meant::meant(live.clone(), &[], facts).0);
    let unowned = unowned(live).into_iter().filter(|at| assigned.pointer(at).is_some());
    found.extend(unowned);
    topmost(lifted(&value, found))
}

/// The pointers that are not below another one.
fn topmost(pointers: BTreeSet<String>) -> Vec<String> {
    let is_below = |pointer: &String| {
        let above = pointer.match_indices('/').skip(1).map(|(end, _)| &pointer[..end]);
        above.into_iter().any(|above| pointers.contains(above))
    };
    pointers.iter().filter(|pointer| !is_below(pointer)).cloned().collect()
}

/// Pointers to the parts of an object of any kind that no manager but those of the cluster owns: the API server added them to an apply. An object of
/// which people own nothing, or fields in another version, does not tell.
fn unowned(live: &Object) -> Vec<String> {
    let entries = Observed::of(live).managed_fields;
    let (people, mut found) = (people(&entries).filter(|entry| has_content(entry)).collect::<Vec<_>>(), Vec::new());
    let version = live.0.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if people.is_empty() || people.iter().any(|entry| entry.api_version != version) {
        return found;
    }
    let nodes: Vec<&Map<String, Value>> = people.iter().map(|entry| &entry.fields).collect();
    for (key, value) in &live.0 {
        if !["apiVersion", "kind", "metadata", "status"].contains(&key.as_str()) {
            add_unowned(key, value, &nodes, "", &mut found);
        }
    }
    found
}

/// Adds the field of a map if no manager owns it, or else the parts of it that none owns.
fn add_unowned(key: &str, value: &Value, nodes: &[&Map<String, Value>], above: &str, found: &mut Vec<String>) {
    let at = format!("{above}/{}", escaped(key));
    let own: Vec<_> = nodes.iter().filter_map(|node| node.get(&format!("f:{key}"))?.as_object()).collect();
    if own.is_empty() && !value.is_null() {
        found.push(at);
    } else if at == "/spec" || !own.iter().any(|node| node.is_empty()) {
        // A spec that was empty when it was written; others without fields are owned as a whole.
        add_unowned_below(value, &own, &at, found);
    }
}

/// Adds the parts of a value that no manager owns. A list item without an owner is not added: no field of a list is removed alone.
fn add_unowned_below(value: &Value, nodes: &[&Map<String, Value>], at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| add_unowned(key, value, nodes, at, found)),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let own: Vec<_> = nodes
                    .iter()
                    .filter_map(|node| node.iter().find(|(key, _)| names(key, item))?.1.as_object())
                    .collect();
                if !own.is_empty() && !own.iter().any(|node| node.is_empty()) {
                    add_unowned_below(item, &own, &format!("{at}/{index}"), found);
                }
            }
        }
        _ => {}
    }
}

/// Adds the fields that have the default values of a schema.
fn add_schema_defaults(schema: &Value, value: &Value, at: String, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, below) in map {
                let schema = match schema["properties"].get(key) {
                    Some(schema) => schema,
                    None => &schema["additionalProperties"],
                };
                let at = format!("{at}/{}", escaped(key));
                if schema.get("default") == Some(below) {
                    found.insert(at);
                } else {
                    add_schema_defaults(schema, below, at, found);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                add_schema_defaults(&schema["items"], item, format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// Names a map in the place of its fields, if all of them are named. No map directly below the object is named so, and no list item.
fn lifted(object: &Value, mut fields: BTreeSet<String>) -> BTreeSet<String> {
    loop {
        let parents: BTreeSet<String> =
            fields.iter().filter_map(|field| Some(field.rsplit_once('/')?.0.to_owned())).collect();
        let is_whole = |parent: &String| {
            let is_item = parent.rsplit_once('/').is_none_or(|(_, last)| last.parse::<usize>().is_ok());
            let map = object.pointer(parent).and_then(Value::as_object);
            let all =
                |map: &Map<String, Value>| map.keys().all(|key| fields.contains(&format!("{parent}/{}", escaped(key))));
            !is_item && parent.matches('/').count() > 1 && map.is_some_and(all)
        };
        let Some(parent) = parents.into_iter().find(is_whole) else { return fields };
        let below = format!("{parent}/");
        fields.retain(|field| !field.starts_with(&below));
        fields.insert(parent);
    }
}

/// The answer of a dry run without some candidates.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// The object is the same as before.
    Same,
    /// These candidates may be given back; others were not. Of a map, some fields may be.
    Fewer(Vec<String>),
    /// All of them were given back, and the rest is another.
    Changed,
}

/// Compares the answer of a dry run with the object.
pub(super) fn given_back(live: &Object, answer: &Object, candidates: &[String]) -> Answered {
    let compared = |object: &Object| {
        let mut object = object.clone();
        object.0.remove("status");
        object.metadata_mut().retain(|key, _| ["labels", "annotations"].contains(&key.as_str()));
        Value::Object(object.0)
    };
    let (live, answer) = (compared(live), compared(answer));
    if live == answer {
        return Answered::Same;
    }
    let is_same = |at: &&String| live.pointer(at) == answer.pointer(at);
    let (same, others): (Vec<&String>, Vec<&String>) = candidates.iter().partition(is_same);
    if others.is_empty() {
        // Without the type of a strategy the API server can fill in more than the type.
        let keys = |object: &Value, at: &str| {
            object.pointer(at).and_then(Value::as_object).map(|map| map.keys().cloned().collect())
        };
        let is_alone = |at: &&String| {
            let parent = at.rsplit_once('/').map_or("", |(parent, _)| parent);
            let (before, after): (Option<Vec<String>>, Option<Vec<String>>) =
                (keys(&live, parent), keys(&answer, parent));
            before == after
        };
        let alone: Vec<String> = candidates.iter().filter(is_alone).cloned().collect();
        return if alone.len() < candidates.len() { Answered::Fewer(alone) } else { Answered::Changed };
    }
    let fields = others.into_iter().flat_map(|at| below(&live, at));
    Answered::Fewer(same.into_iter().cloned().chain(fields).collect())
}

/// Pointers to the fields of a map at a pointer.
pub(super) fn fields_of(object: &Object, at: &str) -> Vec<String> {
    below(&Value::Object(object.0.clone()), at)
}

fn below(value: &Value, at: &str) -> Vec<String> {
    let map = value.pointer(at).and_then(Value::as_object);
    map.into_iter().flat_map(Map::keys).map(|key| format!("{at}/{}", escaped(key))).collect()
}
