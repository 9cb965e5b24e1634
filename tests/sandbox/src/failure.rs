//! Errors of the API: HTTP code, reason, message and details, as a `Status` object.

use std::fmt;

use serde_json::{Map, Value, json};

/// An error that the API server answers, or one that a test asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The HTTP status.
    pub code: u16,
    /// As in `NotFound`. Empty where the API server has none.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Group, kind, name and causes of what the refusal speaks of.
    pub details: Map<String, Value>,
    /// Warnings beside the error.
    pub warnings: Vec<String>,
}

/// The resource that a refusal speaks of.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Empty for the core group.
    pub group: &'a str,
    /// The plural; for invalid objects the kind.
    pub resource: &'a str,
    /// The name of the object.
    pub name: &'a str,
}

impl About<'_> {
    fn details(self) -> Map<String, Value> {
        let fields = [("name", self.name), ("group", self.group), ("kind", self.resource)];
        fields
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }
}

/// Failures whose details are there even when they say nothing.
const EMPTY_DETAILS: [(u16, &str); 6] = [
    (404, "NotFound"),
    (405, "MethodNotAllowed"),
    (406, "NotAcceptable"),
    (415, ""),
    (415, "UnsupportedMediaType"),
    (422, "Invalid"),
];

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            "" => f.write_str(self.resource),
            group => write!(f, "{}.{group}", self.resource),
        }
    }
}

/// One reason why an object is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// As in `FieldValueRequired`.
    pub reason: String,
    /// For people, without the field.
    pub message: String,
    /// As in `spec.replicas`.
    pub field: String,
}

impl Cause {
    /// A cause from its three parts.
    pub fn new(reason: &str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), field: field.into(), message: message.into() }
    }

    /// A field that must be there.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Self::new("FieldValueRequired", field, message)
    }

    /// A field whose value is not acceptable.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {}: {detail}", shown(value)))
    }

    /// A field that may not be set or changed.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {detail}"))
    }

    /// A value that may be there once, and is there before.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueDuplicate", field, format!("Duplicate value: {}", shown(value)))
    }

    /// A field whose value is none of a list.
    pub fn unsupported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let message = format!("Unsupported value: {}: supported values: {}", shown(value), supported.join(", "));
        Self::new("FieldValueNotSupported", field, message)
    }
}

/// As the API server prints a value in a message.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

impl Failure {
    /// A refusal without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Map::new(), warnings: Vec::new() }
    }

    fn about(code: u16, reason: &'static str, about: About<'_>, message: String) -> Self {
        Self { details: about.details(), ..Self::new(code, reason, message) }
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// There is no such object.
    pub fn not_found(about: About<'_>) -> Self {
        Self::about(404, "NotFound", about, format!("{about} {:?} not found", about.name))
    }

    /// Nothing is served at this path of a group that is served.
    pub fn no_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// The path is served, but not for this method.
    pub fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    /// An object of that name exists.
    pub fn already_exists(about: About<'_>) -> Self {
        Self::about(409, "AlreadyExists", about, format!("{about} {:?} already exists", about.name))
    }

    /// The object is not as the request assumed.
    pub fn conflict(about: About<'_>, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {about} {:?}: {why}", about.name);
        Self::about(409, "Conflict", about, message)
    }

    /// An object of that name exists, though not for long.
    pub fn still_exists(about: About<'_>) -> Self {
        let failure = Self::already_exists(about);
        Self { message: format!("object is being deleted: {}", failure.message), ..failure }
    }

    /// The resourceVersion of an update is not the live one.
    pub fn modified(about: About<'_>) -> Self {
        Self::conflict(
            about,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// The request is understood and refused.
    pub fn forbidden(about: About<'_>, why: &str) -> Self {
        let message = match about.name {
            "" => format!("{about} is forbidden: {why}"),
            name => format!("{about} {name:?} is forbidden: {why}"),
        };
        Self::about(403, "Forbidden", about, message)
    }

    /// The server cannot do what it is asked, which is not the request's fault.
    pub fn internal(why: &str) -> Self {
        let details = json!({"causes": [{"message": why}]});
        let details = details.as_object().cloned().unwrap_or_default();
        Self { details, ..Self::new(500, "InternalError", format!("Internal error occurred: {why}")) }
    }

    /// The object breaks rules of its kind. `about.resource` is the kind here.
    pub fn invalid(about: About<'_>, causes: &[Cause]) -> Self {
        let mut said: Vec<String> = Vec::new();
        for cause in causes {
            let text = format!("{}: {}", cause.field, cause.message);
            if !said.contains(&text) {
                said.push(text);
            }
        }
        let said = match said.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{about} {:?} is invalid: {said}", about.name);
        Self::about(422, "Invalid", about, message).with_causes(causes)
    }

    /// The revision of a watch or list is forgotten.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// No answer can be given in none of the media types that the client takes.
    pub fn not_acceptable(accepted: &str) -> Self {
        Self::new(406, "NotAcceptable", format!("406: Not Acceptable\n\nAvailable representations: {accepted}"))
    }

    /// The media type of the body is not supported.
    pub fn unsupported_media_type(accepted: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The error with causes.
    #[must_use]
    pub fn with_causes(mut self, causes: &[Cause]) -> Self {
        let causes = causes.iter().map(|cause| {
            let mut one = json!({"reason": cause.reason, "message": cause.message, "field": cause.field});
            if cause.field.is_empty() {
                one.as_object_mut().expect("made as an object").remove("field");
            }
            one
        });
        self.details.insert("causes".to_owned(), causes.collect());
        self
    }

    /// The error with the number of seconds after which a client may try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.details.insert("retryAfterSeconds".to_owned(), seconds.into());
        self
    }

    /// The object that the client gets.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.details.is_empty() || EMPTY_DETAILS.contains(&(self.code, self.reason)) {
            status["details"] = Value::Object(self.details.clone());
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_object_is_named() {
        let failure = Failure::not_found(About { group: "apps", resource: "deployments", name: "web" });
        assert_eq!(
            failure.status(),
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "deployments.apps \"web\" not found", "reason": "NotFound",
                "details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404,
            })
        );
    }

    #[test]
    fn several_causes_are_bracketed() {
        let about = About { group: "", resource: "Service", name: "web" };
        let causes = [Cause::required("spec.ports", ""), Cause::invalid("spec.type", &"X".into(), "no")];
        let failure = Failure::invalid(about, &causes);
        assert_eq!(
            failure.message,
            "Service \"web\" is invalid: [spec.ports: Required value, spec.type: Invalid value: \"X\": no]"
        );
        assert_eq!(failure.details["causes"][0]["field"], "spec.ports");
    }
}
