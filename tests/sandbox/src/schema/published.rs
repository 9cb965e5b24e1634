//! The documents that the API server of the pinned Kubernetes version publishes, as `published/` stores them.
//!
//! `documents.gz` is one gzip member after another, `index.json` says where each is: a document is inflated when it is
//! asked for, or sent as it is. `types.json.gz` holds the schemas of all of them once, without descriptions, so that
//! typing an object needs none of the documents.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{LazyLock, OnceLock};

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::node::Definition;

const INDEX: &str = include_str!("../../published/index.json");
const DOCUMENTS: &[u8] = include_bytes!("../../published/documents.gz");
const TYPES: &[u8] = include_bytes!("../../published/types.json.gz");

/// One published document.
#[derive(Debug, Deserialize)]
pub struct Document {
    /// The path of the request, as in `/openapi/v3/apis/apps/v1`. That of aggregated discovery ends in
    /// `;as=APIGroupDiscoveryList`.
    pub path: String,
    start: usize,
    length: usize,
}

impl Document {
    /// The document as a gzip file, ready to be sent with `Content-Encoding: gzip`.
    #[must_use]
    pub fn gzip(&self) -> &'static [u8] {
        &DOCUMENTS[self.start..self.start + self.length]
    }

    /// The document.
    #[must_use]
    pub fn text(&self) -> String {
        inflate(self.gzip())
    }
}

#[derive(Deserialize)]
struct Index {
    version: String,
    documents: Vec<Document>,
}

/// As the tool stores it.
#[derive(Deserialize)]
struct Types {
    definitions: BTreeMap<String, Box<RawValue>>,
    /// Group, version and kind, and the name of the definition.
    kinds: Vec<(String, String, String, String)>,
}

static CONTENT: LazyLock<Index> = LazyLock::new(|| serde_json::from_str(INDEX).expect("published/index.json"));

static DEFINITIONS: LazyLock<(BTreeMap<String, Definition>, Kinds)> = LazyLock::new(|| {
    let types: Types = serde_json::from_str(&inflate(TYPES)).expect("published/types.json.gz");
    let definitions = types.definitions.into_iter().map(|(name, text)| {
        let definition = Definition { name: name.clone(), text, node: OnceLock::new() };
        (name, definition)
    });
    let kinds = types.kinds.into_iter().map(|(group, version, kind, name)| ((group, version, kind), name));
    (definitions.collect(), kinds.collect())
});

/// The definition of each group, version and kind.
type Kinds = BTreeMap<(String, String, String), String>;

/// The version of Kubernetes that published the documents, as in `v1.36.3`.
#[must_use]
pub fn version() -> &'static str {
    &CONTENT.version
}

/// All documents, by path.
#[must_use]
pub fn documents() -> &'static [Document] {
    &CONTENT.documents
}

/// One document by its path.
#[must_use]
pub fn document(path: &str) -> Option<&'static Document> {
    let at = documents().binary_search_by(|document| document.path.as_str().cmp(path)).ok()?;
    Some(&documents()[at])
}

pub(crate) fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.0.get(name)
}

/// The definition of a kind.
pub(crate) fn kind(group: &str, version: &str, kind: &str) -> Option<&'static Definition> {
    definition(DEFINITIONS.1.get(&(group.to_owned(), version.to_owned(), kind.to_owned()))?)
}

/// Group, version and kind of all that have a definition, in order.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    DEFINITIONS.1.keys().map(|(group, version, kind)| (group.as_str(), version.as_str(), kind.as_str()))
}

fn inflate(gzip: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(gzip).read_to_string(&mut text).expect("a document that was stored as gzip of UTF-8");
    text
}
