//! Changes that other clients make: every type of patch, applies, replacements, scales, status and ownership, in any served version.

use agent::io::kubernetes::client::{ApiError, Cluster};
use agent::model::metadata::{FIELD_MANAGER, annotation};
use anyhow::Result;
use fastrand::Rng;
use http::Method;
use serde_json::{Map, Value, json};

use crate::content::{Path, blank, is_fixed, paths, set};
use crate::kinds::{Kind, Version};
use crate::schema::{Schemas, free};

pub(crate) const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const OPERATIONS: &str = "application/json-patch+json";

/// Attempts to find a change that the API server accepts.
const ATTEMPTS: usize = 6;

/// An object that others change.
pub(crate) struct Target<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) schemas: &'a Schemas,
    pub(crate) kind: &'a Kind,
    pub(crate) name: &'a str,
    /// As it is declared, in one of the versions.
    pub(crate) declared: &'a Value,
}

struct Request {
    method: Method,
    path: String,
    media_type: &'static str,
    body: Value,
}

impl Target<'_> {
    /// Makes one change, and returns it in words; `None` if the API server refuses all attempts.
    pub(crate) async fn change(&self, rng: &mut Rng) -> Result<Option<String>> {
        for _ in 0..ATTEMPTS {
            let version = &self.kind.versions[rng.usize(..self.kind.versions.len())];
            let path = self.kind.path(version, self.name);
            let live: Value = match self.cluster.get(&path).await {
                Ok(live) => live,
                Err(error) if error.code() == 404 => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let Some(request) = self.request(rng, version, &path, &live) else { continue };
            let body = request.body.to_string();
            let told = format!("{} {} {} {body}", request.method, request.path, request.media_type);
            let sent =
                self.cluster.request::<Value>(request.method, &request.path, request.media_type, body.into_bytes());
            match sent.await {
                Ok(_) => return Ok(Some(told)),
                Err(ApiError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn request(&self, rng: &mut Rng, version: &Version, path: &str, live: &Value) -> Option<Request> {
        let manager = ["kubectl-edit", "kubectl-patch", "helm", "controller"][rng.usize(..4)];
        let mut to = live.clone();
        for _ in 0..rng.usize(1..4) {
            self.mutate(rng, &version.schema, &mut to);
        }
        let update = |media_type, body: Value| Request {
            method: if media_type == crate::JSON { Method::PUT } else { Method::PATCH },
            path: format!("{path}?fieldManager={manager}"),
            media_type,
            body,
        };
        Some(match rng.u8(..28) {
            0..4 => update(crate::JSON, to),
            4..8 => update(MERGE, merge_difference(live, &to)),
            8..11 => {
                let mut operations = Vec::new();
                differences("", live, &to, &mut operations);
                update(OPERATIONS, operations.into())
            }
            11..14 if self.kind.built_in => update(STRATEGIC, strategic(rng, merge_difference(live, &to))),
            14..19 => applied(rng, path, manager, live, &to),
            19 => applied(rng, path, FIELD_MANAGER, live, &to),
            20 => Request {
                path: format!("{path}?fieldManager={FIELD_MANAGER}"),
                ..update(MERGE, merge_difference(live, &to))
            },
            21 if self.kind.has_scale => {
                let body = json!({"spec": {"replicas": rng.u8(..4)}});
                Request { path: format!("{path}/scale?fieldManager={manager}"), ..update(MERGE, body) }
            }
            22 | 23 if self.kind.has_status => {
                let schema = version.schema["properties"]["status"].clone();
                let status = self.schemas.value(rng, "status", &schema, 1)?;
                let body = json!({"status": status, "metadata": {"labels": {"more": "1"}}});
                Request { path: format!("{path}/status?fieldManager={manager}"), ..update(MERGE, body) }
            }
            24 | 25 => update(MERGE, json!({"metadata": {"managedFields": entries(rng, live)}})),
            26 => update(crate::JSON, live.clone()),
            _ => update(MERGE, json!({"metadata": {"annotations": {"note": "1"}, "labels": {"more": "1"}}})),
        })
    }

    /// Changes the object at one place, likely at one that is declared.
    fn mutate(&self, rng: &mut Rng, schema: &Value, object: &mut Value) {
        let mut places = Vec::new();
        paths(object, &mut Path::new(), &mut places);
        places.retain(|path| !is_fixed(path));
        let declared: Vec<Path> = places.iter().filter(|path| at(self.declared, path).is_some()).cloned().collect();
        let places = if declared.is_empty() || rng.u8(..3) == 0 { &places } else { &declared };
        if places.is_empty() {
            return;
        }
        let path = &places[rng.usize(..places.len())];
        let of = self.schemas.at(schema, path);
        let Some(now) = at(object, path).cloned() else { return };
        let new = |rng: &mut Rng, of: Option<&Value>, path: &Path| match of {
            Some(of) => {
                self.schemas.value(rng, path.last().map_or("", |name| name), of, path.len()).unwrap_or_default()
            }
            None => free(rng, 2),
        };
        let changed = match (rng.u8(..10), now) {
            (0 | 1, _) => None,
            (2, value) => Some(blank(&value)),
            (3..6, _) => Some(new(rng, of, path)),
            (_, Value::Array(mut items)) => {
                match rng.u8(..4) {
                    0 => items.reverse(),
                    1 => items.truncate(1),
                    _ => {
                        let of = of.map(|of| &self.schemas.resolve(of).schema["items"]);
                        items.insert(rng.usize(..=items.len()), new(rng, of, path));
                    }
                }
                Some(items.into())
            }
            (_, Value::Object(mut map)) => {
                let fields = of.and_then(|of| self.schemas.resolve(of).schema["properties"].as_object());
                let names: Vec<&String> = fields.into_iter().flatten().map(|(name, _)| name).collect();
                let name =
                    if names.is_empty() { ["a", "b", "z"][rng.usize(..3)] } else { names[rng.usize(..names.len())] };
                let mut inner = path.clone();
                inner.push(name.to_owned());
                map.insert(name.to_owned(), new(rng, self.schemas.at(schema, &inner), &inner));
                Some(map.into())
            }
            (_, Value::String(text)) => Some(format!("{text}x").into()),
            (_, Value::Number(number)) => Some((number.as_i64().unwrap_or(0) + 1).into()),
            (_, Value::Bool(value)) => Some((!value).into()),
            (_, Value::Null) => Some(json!({})),
        };
        set(object, path, changed);
    }
}

/// The value at a path.
pub(crate) fn at<'a>(value: &'a Value, path: &Path) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        value => value.get(step),
    })
}

/// Entries of managed fields, of which some are gone or say less.
fn entries(rng: &mut Rng, live: &Value) -> Value {
    let mut entries = live["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    match rng.u8(..5) {
        0 => return json!([{}]),
        1 => entries.retain(|entry| entry["manager"] != FIELD_MANAGER),
        2 => entries.retain(|entry| entry["manager"] == FIELD_MANAGER),
        3 => {
            for entry in &mut entries {
                if let Some(fields) = entry["fieldsV1"].as_object_mut() {
                    fields.retain(|_, _| rng.u8(..3) > 0);
                }
            }
        }
        _ => {
            if let Some(entry) = entries.iter_mut().find(|entry| entry["manager"] == FIELD_MANAGER) {
                entry["manager"] = "thief".into();
            }
        }
    }
    if entries.is_empty() { json!([{}]) } else { entries.into() }
}

fn merge_difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let mut difference = Map::new();
    for (key, value) in to.iter().filter(|(key, value)| from.get(*key) != Some(*value)) {
        difference
            .insert(key.clone(), from.get(key).map_or_else(|| value.clone(), |from| merge_difference(from, value)));
    }
    difference.extend(from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), Value::Null)));
    difference.into()
}

fn differences(path: &str, from: &Value, to: &Value, operations: &mut Vec<Value>) {
    let below = |key: &str| format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => {
            for key in from.keys().filter(|key| !to.contains_key(*key)) {
                operations.push(json!({"op": "remove", "path": below(key)}));
            }
            for (key, value) in to {
                match from.get(key) {
                    Some(from) => differences(&below(key), from, value, operations),
                    None => operations.push(json!({"op": "add", "path": below(key), "value": value})),
                }
            }
        }
        (Value::Array(from), Value::Array(to)) if from.len() == to.len() => {
            from.iter().zip(to).enumerate().for_each(|(at, (from, to))| {
                differences(&below(&at.to_string()), from, to, operations);
            });
        }
        _ if from != to => operations.push(json!({"op": "replace", "path": path, "value": to})),
        _ => {}
    }
}

/// Replaces some lists as a whole.
fn strategic(rng: &mut Rng, mut patch: Value) -> Value {
    fn walk(rng: &mut Rng, value: &mut Value) {
        match value {
            Value::Object(map) => map.values_mut().for_each(|value| walk(rng, value)),
            Value::Array(items) if items.iter().all(Value::is_object) && rng.u8(..3) == 0 => {
                items.push(json!({"$patch": "replace"}));
            }
            _ => {}
        }
    }
    walk(rng, &mut patch);
    patch
}

/// An apply of what differs, or of more.
fn applied(rng: &mut Rng, path: &str, manager: &str, live: &Value, to: &Value) -> Request {
    let mut body = if rng.u8(..4) == 0 { to.clone() } else { part(live, to) };
    body["apiVersion"] = live["apiVersion"].clone();
    body["kind"] = live["kind"].clone();
    body["metadata"]["name"] = live["metadata"]["name"].clone();
    if let Some(metadata) = body["metadata"].as_object_mut() {
        metadata.retain(|key, _| ["name", "namespace", "labels", "annotations", "finalizers"].contains(&key.as_str()));
    }
    if manager == FIELD_MANAGER && body["metadata"]["annotations"].is_object() {
        // The values of these follow from the commit, which the judge does not know.
        for key in [annotation::TOKEN, annotation::GIT_CONTEXT] {
            body["metadata"]["annotations"][key] = live["metadata"]["annotations"][key].clone();
        }
    }
    let force = ["&", "&force=true"][usize::from(rng.u8(..3) > 0)];
    let path = format!("{path}?fieldManager={manager}{force}");
    Request { method: Method::PATCH, path, media_type: APPLY, body }
}

/// The fields of `to` that differ; lists whole.
fn part(from: &Value, to: &Value) -> Value {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => {
            let changed = to.iter().filter(|(key, value)| from.get(*key) != Some(*value));
            changed
                .map(|(key, value)| (key.clone(), part(from.get(key).unwrap_or(&Value::Null), value)))
                .collect::<Map<_, _>>()
                .into()
        }
        _ => to.clone(),
    }
}
