//! The OpenAPI documents: those that are published, and those of custom resources.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::schema;
use crate::state::State;

/// The whole document of version 2, as JSON.
pub fn v2(_state: &State, _accept: &str) -> Option<Answer> {
    let text = schema::document("/openapi/v2")?.text();
    Some(Answer::Text { code: 200, content_type: "application/json", text })
}

/// Where the documents of version 3 are.
pub fn index(_state: &State) -> Value {
    schema::document("/openapi/v3")
        .and_then(|document| serde_json::from_str(&document.text()).ok())
        .unwrap_or_else(|| json!({}))
}

/// One document of version 3.
pub fn v3(_state: &State, path: &str) -> Option<Answer> {
    let text = schema::document(&format!("/openapi/v3/{path}"))?.text();
    Some(Answer::Text { code: 200, content_type: "application/json", text })
}
