//! Tables: objects as people see them. The columns of built-in kinds are those that a real API server publishes.

mod cells;
mod path;
mod rows;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::clock::Time;
use crate::object::{self, list, text};
use crate::resource::{Custom, Resource};
use crate::route::Query;
use crate::view;

const COLUMNS: &[u8] = include_bytes!("../../published/columns.json.gz");

/// The columns of built-in kinds by their collection.
static PUBLISHED: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let mut json = String::new();
    GzDecoder::new(COLUMNS).read_to_string(&mut json).expect("published/columns.json.gz");
    serde_json::from_str(&json).expect("published/columns.json.gz")
});

/// A table of objects. Without columns when the client knows them from an earlier event of its watch.
pub fn table(resource: &Resource, query: &Query, metadata: Value, objects: &[Value], columns: bool) -> Value {
    let now = Time::now();
    let row = |one: &Value| json!({"cells": cells(resource, one, now), "object": included(query, one)});
    let definitions = if columns { definitions(resource) } else { json!([]) };
    let mut table = json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    });
    if !columns {
        table["columnDefinitions"] = Value::Null;
    }
    table
}

/// The object that comes with a row, as the client wants it.
fn included(query: &Query, one: &Value) -> Value {
    match query.get("includeObject") {
        "None" => Value::Null,
        "Object" => one.clone(),
        _ => view::metadata(one.get("metadata").cloned()),
    }
}

/// The columns of built-in kinds that have none of their own.
fn plain() -> Value {
    PUBLISHED.get("roles.rbac.authorization.k8s.io").cloned().unwrap_or_default()
}

fn definitions(resource: &Resource) -> Value {
    let Some(custom) = &resource.custom else {
        return PUBLISHED.get(&resource.collection).cloned().unwrap_or_else(plain);
    };
    let name = plain().get(0).cloned().unwrap_or_default();
    let own = printed(custom).into_iter().map(|column| {
        json!({
            "name": column["name"],
            "type": column["type"],
            "format": text(&column, "/format"),
            "description": description(&column),
            "priority": object::integer(&column, "/priority").unwrap_or(0),
        })
    });
    std::iter::once(name).chain(own).collect()
}

fn description(column: &Value) -> String {
    let said = text(column, "/description");
    if said.is_empty() {
        return format!("Custom resource definition column (in JSONPath format): {}", text(column, "/jsonPath"));
    }
    said.to_owned()
}

/// The columns of a custom resource: its own, or its age.
fn printed(custom: &Custom) -> Vec<Value> {
    let own = list(&custom.version, "/additionalPrinterColumns");
    if own.is_empty() { vec![age_column()] } else { own.to_vec() }
}

fn age_column() -> Value {
    let created = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not \
                   guaranteed to be set in happens-before order across separate operations. Clients may not set this \
                   value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for \
                   lists. More info: \
                   https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
    json!({"name": "Age", "type": "date", "description": created, "jsonPath": ".metadata.creationTimestamp"})
}

fn cells(resource: &Resource, one: &Value, now: Time) -> Vec<Value> {
    let Some(custom) = &resource.custom else { return rows::cells(&resource.collection, one, now) };
    let columns = printed(custom);
    let own = columns.iter().map(|column| custom_cell(column, one, now));
    std::iter::once(object::name(one).into()).chain(own).collect()
}

fn custom_cell(column: &Value, one: &Value, now: Time) -> Value {
    let found = path::find(text(column, "/jsonPath"), one);
    match (text(column, "/type"), found) {
        ("date", found) => cells::since(found.and_then(Value::as_str).unwrap_or_default(), now).into(),
        (_, None | Some(Value::Null)) => Value::Null,
        ("integer", Some(number)) => number.as_i64().or(number.as_f64().map(|number| number as i64)).into(),
        ("number", Some(number)) => number.as_f64().into(),
        ("boolean", Some(value)) => value.as_bool().into(),
        (_, Some(Value::String(text))) => text.as_str().into(),
        (_, Some(other)) => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resources;

    #[test]
    fn every_published_table_has_a_cell_for_each_column() {
        let resources = Resources::new(std::iter::empty());
        for (collection, columns) in PUBLISHED.iter() {
            let resource = resources.of_collection(collection).unwrap();
            let object = json!({"metadata": {"name": "x"}});
            let cells = cells(resource, &object, Time::from_seconds(0));
            assert_eq!(cells.len(), columns.as_array().unwrap().len(), "{collection}");
        }
    }
}
