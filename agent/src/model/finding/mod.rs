//! Findings: mistakes of users as values, each with a code, the places it is about and a hint.

mod codes;
mod merge;
mod render;
mod table;

pub use codes::{Code, Explanation, RETIRED};
pub(crate) use merge::{MergeBy, merged};
pub use render::{numbered, text, warning};

use serde::Serialize;

use crate::model::object::{Object, ObjectId};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The KNV code.
    pub code: Code,
    /// What is wrong, in one or a few sentences, without the code.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where; two when two are to blame.
    pub places: Vec<Place>,
}

/// What is no mistake by any rule, and yet hardly meant. It changes nothing, no exit status either.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Warning {
    /// What is odd, in one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// Where.
    pub locations: Vec<Location>,
}

/// A file, an object, or an object in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file and the offending key or value in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// The object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
}

/// A point in a source file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// Path relative to the sync directory, slash separated. A directory ends with a slash.
    pub path: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// Column in characters, from 1; 0 when the whole line or file is meant.
    pub column: u32,
}

impl Location {
    /// `path`, `path:line` or `path:line:column`: what editors and terminals make clickable.
    pub fn point(&self) -> String {
        match (self.line, self.column) {
            (0, _) => self.path.clone(),
            (line, 0) => format!("{}:{line}", self.path),
            (line, column) => format!("{}:{line}:{column}", self.path),
        }
    }
}

/// Identity of an object, with the version that it was declared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: String,
    /// API version without its group.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Resource {
    /// The identity of a declared or live object.
    pub fn of(object: &Object) -> Self {
        Self {
            group: object.group().to_owned(),
            version: object.version().to_owned(),
            kind: object.kind().to_owned(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
        }
    }

    /// The identity of an object of which only that is known.
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

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with one more place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.places.push(place);
        self
    }

    /// The same about a file or (ending in a slash) a directory as a whole.
    #[must_use]
    pub fn at_path(self, path: impl Into<String>) -> Self {
        self.at(Place { location: Some(Location { path: path.into(), line: 0, column: 0 }), resource: None })
    }

    /// The same about an object that is in no file.
    #[must_use]
    pub fn about(self, resource: Resource) -> Self {
        self.at(Place { location: None, resource: Some(resource) })
    }
}
