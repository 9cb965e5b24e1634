//! Tables: objects as people see them.

use serde_json::{Value, json};

use crate::object;
use crate::resource::Resource;
use crate::route::Query;
use crate::view;

/// A table of objects. Without columns when the client knows them from an earlier event of its watch.
pub fn table(_resource: &Resource, query: &Query, metadata: Value, objects: &[Value], columns: bool) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|one| json!({"cells": [object::name(one), one["metadata"]["creationTimestamp"]], "object": included(query, one)}))
        .collect();
    let definitions = json!([
        {"name": "Name", "type": "string", "format": "name", "description": "Name of the object", "priority": 0},
        {"name": "Created At", "type": "date", "format": "", "description": "When it was made", "priority": 0},
    ]);
    let definitions = if columns { definitions } else { json!([]) };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

/// What comes with a row.
fn included(query: &Query, one: &Value) -> Value {
    match query.get("includeObject") {
        "None" => Value::Null,
        "Object" => one.clone(),
        _ => view::metadata(one),
    }
}
