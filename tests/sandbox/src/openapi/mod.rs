//! The OpenAPI documents: those that are published, and those of custom resources.

mod custom;

use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::resource::Resource;
use crate::schema;
use crate::state::State;

/// Where documents of version 3 keep their schemas, and those of version 2.
const SCHEMAS: [&str; 2] = ["#/components/schemas/", "#/definitions/"];

/// The whole document of version 2, as JSON.
pub fn v2(state: &State, _accept: &str) -> Option<Answer> {
    let text = schema::document("/openapi/v2")?.text();
    if customs(state).next().is_none() {
        return Some(json_answer(text));
    }
    let mut document: Value = serde_json::from_str(&text).ok()?;
    for resource in customs(state) {
        extend(&mut document["paths"], custom::paths(resource, SCHEMAS[1]));
        extend(&mut document["definitions"], custom::schemas(resource, SCHEMAS[1]));
    }
    Some(json_answer(document.to_string()))
}

/// Where the documents of version 3 are.
pub fn index(state: &State) -> Value {
    let published = schema::document("/openapi/v3").and_then(|found| serde_json::from_str(&found.text()).ok());
    let mut index: Value = published.unwrap_or_else(|| json!({}));
    for resource in customs(state) {
        let path = format!("apis/{}", resource.api_version());
        // Clients keep a document for as long as its address is the same.
        let address = format!("/openapi/v3/{path}?hash={}", state.store.revision());
        index["paths"][path] = json!({"serverRelativeURL": address});
    }
    index
}

/// One document of version 3.
pub fn v3(state: &State, path: &str) -> Option<Answer> {
    if let Some(published) = schema::document(&format!("/openapi/v3/{path}")) {
        return Some(json_answer(published.text()));
    }
    let mut resources = customs(state).filter(|one| path == format!("apis/{}", one.api_version())).peekable();
    resources.peek()?;
    let (mut paths, mut schemas) = (json!({}), custom::shared());
    for resource in resources {
        extend(&mut paths, custom::paths(resource, SCHEMAS[0]));
        extend(&mut schemas, custom::schemas(resource, SCHEMAS[0]));
    }
    let info = json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"});
    let document = json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}});
    Some(json_answer(document.to_string()))
}

fn customs(state: &State) -> impl Iterator<Item = &Resource> {
    state.resources.iter().map(|resource| &**resource).filter(|resource| resource.custom.is_some())
}

fn extend(value: &mut Value, more: Map<String, Value>) {
    value.as_object_mut().into_iter().for_each(|object| object.extend(more.clone()));
}

fn json_answer(text: String) -> Answer {
    Answer::Text { code: 200, content_type: "application/json", text }
}
