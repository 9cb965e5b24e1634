//! The objects that a new cluster has, and the columns of the tables that it sends to kubectl, in the form of
//! `tests/sandbox/published/`.

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Map, Value, json};

use crate::raw::Raw;

/// Replaces the time of the start of the cluster.
const START: &str = "1970-01-01T00:00:00Z";
/// Resources that differ between control planes, or that come and go.
const LEFT_OUT: [&str; 3] = ["componentstatuses", "events", "leases"];

/// Asks a control plane for all its objects and leaves out what differs from one to the next.
///
/// # Errors
/// When it does not answer.
pub fn objects(server: &Raw) -> Result<Value> {
    let mut objects = Vec::new();
    for (path, kind) in listed(server)? {
        if LEFT_OUT.iter().any(|name| path.ends_with(&format!("/{name}"))) {
            continue;
        }
        let list = get(server, &path, "application/json")?;
        for object in each(&list["items"]) {
            let mut object = object.clone();
            object["apiVersion"] = list["apiVersion"].clone();
            object["kind"] = kind.as_str().into();
            same_everywhere(&mut object);
            objects.push(object);
        }
    }
    Ok(Value::Array(objects))
}

/// Asks a control plane for the columns of its tables: by plural and group, as in `deployments.apps`.
///
/// # Errors
/// When it does not answer.
pub fn columns(server: &Raw) -> Result<Value> {
    let mut columns = Map::new();
    for (path, _) in listed(server)? {
        let table = get(server, &format!("{path}?limit=1"), "application/json;as=Table;g=meta.k8s.io;v=v1")?;
        let parts: Vec<&str> = path.split('/').collect();
        let key = match parts.as_slice() {
            [_, "apis", group, _, plural] => format!("{plural}.{group}"),
            _ => parts.last().copied().unwrap_or_default().to_owned(),
        };
        columns.insert(key, table["columnDefinitions"].clone());
    }
    Ok(Value::Object(columns))
}

/// The path and the kind of everything that can be listed.
fn listed(server: &Raw) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for group in ["/api/v1".to_owned()].into_iter().chain(groups(server)?) {
        for resource in each(&get(server, &group, "application/json")?["resources"]) {
            let text = |key: &str| resource[key].as_str().unwrap_or_default();
            if each(&resource["verbs"]).any(|verb| verb == "list") && !text("name").contains('/') {
                found.push((format!("{group}/{}", text("name")), text("kind").to_owned()));
            }
        }
    }
    Ok(found)
}

/// The preferred version of each group, without the second name of Events.
fn groups(server: &Raw) -> Result<Vec<String>> {
    let groups = get(server, "/apis", "application/json")?;
    let paths = each(&groups["groups"]).filter(|group| group["name"] != "events.k8s.io");
    Ok(paths
        .filter_map(|group| group.pointer("/preferredVersion/groupVersion").and_then(Value::as_str))
        .map(|version| format!("/apis/{version}"))
        .collect())
}

fn get(server: &Raw, path: &str, accept: &str) -> Result<Value> {
    let (status, text) = server.send(&Method::GET, path, "", accept, Vec::new())?;
    ensure!(status == 200, "{path}: {status} {text}");
    serde_json::from_str(&text).with_context(|| path.to_owned())
}

fn same_everywhere(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("uid");
        metadata.remove("resourceVersion");
    }
    if object["metadata"]["name"] == "extension-apiserver-authentication" {
        let files = object["data"].as_object_mut().into_iter().flat_map(|data| data.values_mut());
        files.for_each(|file| *file = json!("none"));
    }
    if let Some(port) = object.pointer_mut("/spec/ports/0/targetPort") {
        *port = 6443.into(); // The usual one of an API server.
    }
    timeless(object);
}

/// Replaces every time, and the day that one ConfigMap tells.
fn timeless(value: &mut Value) {
    match value {
        Value::String(text) if is_time(text) => *value = START.into(),
        Value::Array(items) => items.iter_mut().for_each(timeless),
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| match key.as_str() {
            "since" => *value = "1970-01-01".into(),
            _ => timeless(value),
        }),
        _ => {}
    }
}

fn is_time(text: &str) -> bool {
    text.len() == START.len() && text.ends_with('Z') && text.as_bytes()[10] == b'T'
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_differ_between_clusters_are_left_out() {
        let mut object = json!({"metadata": {
            "uid": "1", "resourceVersion": "2", "name": "x", "creationTimestamp": "2026-01-02T03:04:05Z",
        }});
        same_everywhere(&mut object);
        assert_eq!(object, json!({"metadata": {"name": "x", "creationTimestamp": START}}));
    }
}
