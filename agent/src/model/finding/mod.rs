//! Findings: mistakes of users as values. A finding has a code, a message, a hint and the places that it is about.

mod table;
mod codes;
mod likeness;
mod merge;
mod render;

pub use codes::{Code, Explanation, RETIRED};
pub(crate) use merge::{MergeBy, merged};
pub use render::{numbered, text, warning};

use serde::Serialize;

use crate::model::object::{Object, ObjectId};

/// One mistake, or one failure that a user must know about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The KNV code.
    pub code: Code,
    /// The mistake, in one or a few sentences, without the code. It never has values of Secrets.
    pub message: String,
    /// The way to correct the mistake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The places of the mistake: several if objects or files contradict each other.
    pub places: Vec<Place>,
}

/// A probable mistake that no rule forbids. It does not block and does not change the exit status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Warning {
    /// The probable mistake, in one or two sentences.
    pub message: String,
    /// The way to correct it.
    pub hint: String,
    /// The places of the probable mistake.
    pub locations: Vec<Location>,
}

/// A file, an object, or an object in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, and the position of the key or value in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// The object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
}

/// A point in a source file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// The path relative to the sync directory, separated by slashes. The path of a directory ends with a slash.
    pub path: String,
    /// The line, from 1; 0 for the whole file.
    pub line: u32,
    /// The column in characters, from 1; 0 for the whole line or file.
    pub column: u32,
}

impl Location {
    /// `path`, `path:line` or `path:line:column`: editors and terminals turn this form into a link.
    pub fn point(&self) -> String {
        match (self.line, self.column) {
            (0, _) => self.path.clone(),
            (line, 0) => format!("{}:{line}", self.path),
            (line, column) => format!("{}:{line}:{column}", self.path),
        }
    }
}

/// The identity of an object, with the version in its manifest or in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Resource {
    /// The API group, empty for the core group.
    pub group: String,
    /// The API version without its group.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// The namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Resource {
    /// The resource of a declared or live object.
    pub fn of(object: &Object) -> Self {
        Self {
            group: object.group().to_owned(),
            version: object.version().to_owned(),
            kind: object.kind().to_owned(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
        }
    }

    /// The resource of an identity and a version.
    pub fn named(id: &ObjectId, version: &str) -> Self {
        Self {
            group: id.group().to_owned(),
            version: version.to_owned(),
            kind: id.kind().to_owned(),
            namespace: id.namespace().to_owned(),
            name: id.name().to_owned(),
        }
    }
}

impl Finding {
    /// A finding without places or hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, places: Vec::new() }
    }

    /// Adds a hint, or replaces it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.places.push(place);
        self
    }

    /// Adds a file as a place, or a directory if `path` ends with a slash.
    #[must_use]
    pub fn at_path(self, path: impl Into<String>) -> Self {
        self.at(Place { location: Some(Location { path: path.into(), line: 0, column: 0 }), resource: None })
    }

    /// Adds an object that is in no file as a place.
    #[must_use]
    pub fn about(self, resource: Resource) -> Self {
        self.at(Place { location: None, resource: Some(resource) })
    }
}
