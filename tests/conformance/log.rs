//! A log: what clients ask, one step after the other, without saying which cluster answers.
//!
//! Texts of a step may hold places for what only a cluster can tell: `<tag>` (a word of the run, so that runs do not
//! meet), `<uid PATH>`, `<rv PATH>` and `<old rv PATH>` (what the client last saw of the object at that path, or else anything),
//! `<since PATH>` and `<long since PATH>` (the same versions, or else nothing).

use std::fmt;

use serde_json::Value;

/// One step of a log.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A request that is answered at once.
    Ask(Request),
    /// A watch that lasts until the log ends.
    Watch(Watch),
    /// Waits for what the cluster does by itself.
    Await(Until, String),
    /// Asks until the answer has this status.
    Probe(Request, u16),
}

/// A change that the cluster makes by itself to the object at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// It is gone, or nothing waits for the garbage collector.
    Collected,
    /// It is gone or going.
    Deleting,
    /// It is gone, or nothing owns it.
    Unowned,
    /// It is no CRD, or one whose names are accepted and that serves what it declares, unless it is going, or it is gone.
    Served,
    /// It can be read.
    Readable,
    /// It does not exist.
    Gone,
}

/// A request as a client sends it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// Without the question mark.
    pub(crate) query: String,
    /// Empty where there is no body.
    pub(crate) content_type: &'static str,
    pub(crate) accept: &'static str,
    pub(crate) body: Body,
}

/// The body of a request.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Nothing,
    Json(Value),
    Text(String),
    /// The object that the client last saw at `path`, with other values at some JSON pointers; `None` removes the value.
    Seen {
        path: String,
        edits: Vec<(String, Option<Value>)>,
    },
}

/// A watch of a collection.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) accept: &'static str,
    /// The object by which the watch sees that the log has ended.
    pub(crate) last: String,
}

/// Whole objects.
pub(crate) const JSON: &str = "application/json";
/// Metadata alone, as the agent asks for it.
pub(crate) const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// Metadata alone, of a list.
pub(crate) const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
impl Request {
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        let (query, body) = (String::new(), Body::Nothing);
        Self { method, path: path.into(), query, content_type: "", accept: JSON, body }
    }

    pub(crate) fn json(mut self, body: Value) -> Self {
        self.content_type = JSON;
        self.body = Body::Json(body);
        self
    }

    pub(crate) fn text(mut self, content_type: &'static str, text: &str) -> Self {
        self.content_type = content_type;
        self.body = Body::Text(text.to_owned());
        self
    }

    pub(crate) fn of_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// Adds a parameter.
    pub(crate) fn with(mut self, parameter: impl AsRef<str>) -> Self {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        self.query.push_str(parameter.as_ref());
        self
    }
}

impl Body {
    /// Puts the name of the object in the place of `<name>`.
    pub(crate) fn name(&mut self, name: &str) {
        let named = |value: &mut Value| {
            let text = value.to_string().replace("<name>", name);
            *value = serde_json::from_str(&text).expect("JSON with another name");
        };
        match self {
            Self::Json(body) => named(body),
            Self::Text(text) => *text = text.replace("<name>", name),
            Self::Seen { edits, .. } => edits.iter_mut().filter_map(|(_, value)| value.as_mut()).for_each(named),
            Self::Nothing => {}
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.query.is_empty() { "" } else { "?" };
        write!(f, "{} {}{mark}{}", self.method, self.path, self.query)?;
        if !self.content_type.is_empty() && self.content_type != JSON {
            write!(f, " ({})", self.content_type)?;
        }
        if self.accept != JSON {
            write!(f, " as {}", self.accept)?;
        }
        match &self.body {
            Body::Nothing => Ok(()),
            Body::Json(body) => write!(f, "\n    {body}"),
            Body::Text(text) => write!(f, "\n    {text:?}"),
            Body::Seen { path, edits } => {
                write!(f, "\n    what was seen at {path}")?;
                edits.iter().try_for_each(|(pointer, value)| match value {
                    Some(value) => write!(f, "\n      {pointer} = {value}"),
                    None => write!(f, "\n      without {pointer}"),
                })
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(request) => request.fmt(f),
            Self::Watch(watch) => write!(f, "WATCH {}?{} as {}", watch.path, watch.query, watch.accept),
            Self::Await(until, path) => write!(f, "AWAIT {until:?} {path}"),
            Self::Probe(request, status) => write!(f, "UNTIL {status}: {request}"),
        }
    }
}
