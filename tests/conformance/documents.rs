//! Compares the OpenAPI documents about custom resources: whole schemas, and the operations at each path.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Client;
use serde_json::{Map, Value, json};

use crate::log::Request;
use crate::normal::differences;
use crate::side::{PATIENCE, Side};

/// The group whose documents are compared.
const GROUP: &str = "com.example.";
/// Time between two requests for a document that is not published yet.
const PAUSE: Duration = Duration::from_millis(100);

/// Fails unless both clusters publish the same of the kinds that all logs share.
pub(crate) async fn agree(clients: &[Client; 2]) -> Result<()> {
    for (path, schemas) in [
        ("/openapi/v3/apis/example.com/v1", "/components/schemas"),
        ("/openapi/v3/apis/example.com/v1alpha1", "/components/schemas"),
        ("/openapi/v2", "/definitions"),
    ] {
        let mut said = Vec::new();
        for client in clients {
            said.push(document(client, path, schemas).await.with_context(|| path.to_owned())?);
        }
        let found = differences(&said[0], &said[1]);
        ensure!(found.is_empty(), "{path}: {} differences\n  {}", found.len(), found.join("\n  "));
    }
    Ok(())
}

/// The part of a document about the group. Waits until the cluster has published it.
async fn document(client: &Client, path: &str, schemas: &str) -> Result<Value> {
    let mut side = Side::new(client.clone(), "all".into());
    let waited = async {
        loop {
            let document = side.ask(&Request::new("GET", path)).await?.body;
            let said = of_group(&document, schemas);
            let kinds = if path.ends_with("alpha1") { ["Gadget"].as_slice() } else { &["Blob", "Gadget", "Widget"] };
            if kinds.iter().all(|kind| said["schemas"].to_string().contains(&format!("\"kind\":\"{kind}\""))) {
                return anyhow::Ok(said);
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.context("it does not come")?
}

fn of_group(document: &Value, schemas: &str) -> Value {
    let schemas = document.pointer(schemas).and_then(Value::as_object).into_iter().flatten();
    let schemas =
        schemas.filter(|(name, _)| name.starts_with(GROUP)).map(|(name, schema)| (name.clone(), schema.clone()));
    let paths = document["paths"].as_object().into_iter().flatten();
    let paths = paths.filter(|(path, _)| path.starts_with("/apis/example.com/v1"));
    let paths = paths.map(|(path, operations)| (path.clone(), done(operations)));
    json!({"schemas": schemas.collect::<Map<_, _>>(), "paths": paths.collect::<Map<_, _>>()})
}

/// The operations at a path, each with the kind it is for.
fn done(operations: &Value) -> Value {
    let methods = operations.as_object().into_iter().flatten().filter(|(_, operation)| operation.is_object());
    let of =
        |operation: &Value| json!([operation["x-kubernetes-action"], operation["x-kubernetes-group-version-kind"]]);
    methods.map(|(method, operation)| (method.clone(), of(operation))).collect::<Map<_, _>>().into()
}
