//! Requests and their answers.

use std::sync::Arc;

use serde_json::Value;

use crate::failure::Failure;
use crate::route::Query;
use crate::verbs::Watch;

/// A request without its transport.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    /// As in `GET`.
    pub method: String,
    /// Without the query, as it was sent.
    pub path: String,
    /// The query, which follows the question mark of the URL.
    pub query: Query,
    /// The header of that name; empty when it is not there. So are the others.
    pub accept: String,
    /// The header `Content-Type`.
    pub content_type: String,
    /// The header `User-Agent`.
    pub user_agent: String,
    /// The header `Impersonate-User`.
    pub impersonated: String,
    /// All of it.
    pub body: Vec<u8>,
}

/// An answer without its transport.
#[derive(Debug)]
pub enum Answer {
    /// An object, a list or a `Status`.
    Object {
        /// The HTTP status.
        code: u16,
        /// The object, which is sent as JSON.
        object: Arc<Value>,
        /// Warnings about things that the client should not do.
        warnings: Vec<String>,
    },
    /// Anything else.
    Text {
        /// The HTTP status.
        code: u16,
        /// The media type.
        content_type: &'static str,
        /// The body.
        text: String,
    },
    /// Events as they come.
    Watch(Box<Watch>),
}

impl Answer {
    /// An object that was found or changed.
    pub fn ok(object: impl Into<Arc<Value>>) -> Self {
        Self::Object { code: 200, object: object.into(), warnings: Vec::new() }
    }

    /// The answer with a warning, if it is an object. Other answers carry none.
    #[must_use]
    pub fn with_warning(mut self, warning: Option<&str>) -> Self {
        if let Self::Object { warnings, .. } = &mut self {
            warnings.extend(warning.map(ToOwned::to_owned));
        }
        self
    }

    /// A plain text.
    pub fn text(code: u16, text: impl Into<String>) -> Self {
        Self::Text { code, content_type: "text/plain; charset=utf-8", text: text.into() }
    }

    /// The answer for a path that does not exist.
    pub fn nothing() -> Self {
        Self::text(404, "404 page not found\n")
    }

    /// The HTTP status.
    pub fn code(&self) -> u16 {
        match self {
            Self::Object { code, .. } | Self::Text { code, .. } => *code,
            Self::Watch(_) => 200,
        }
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Object { code: failure.code, object: failure.status().into(), warnings: failure.warnings }
    }
}
