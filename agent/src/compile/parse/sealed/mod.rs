//! Files that [SOPS](https://getsops.io) sealed: each has the field `sops` in its first document, and values of the form `ENC[…]`.
//!
//! The agent opens them with age keys, in memory. Everything else, `nomos` among them, has no key: there a placeholder stands for
//! each sealed value.

mod metadata;
#[cfg(feature = "cluster")]
mod age;
#[cfg(feature = "cluster")]
mod document;
#[cfg(feature = "cluster")]
mod envelope;
#[cfg(feature = "cluster")]
mod keys;
#[cfg(feature = "cluster")]
mod open;
#[cfg(feature = "cluster")]
mod seal;
#[cfg(feature = "cluster")]
mod shares;

use libyaml_safer::{EventData, ScalarStyle};
use serde_json::Value;

use super::events::{YamlEvent, YamlEvents, is_merge};
use super::problem::{ParseProblem, problem};
use super::scanner_workarounds::ScannerInput;
use crate::model::object::Object;
use metadata::SealMetadata;

#[cfg(feature = "cluster")]
pub use age::AgeRecipient;
#[cfg(feature = "cluster")]
pub use keys::{AgeKeys, WrongLine};
#[cfg(feature = "cluster")]
pub use seal::{SealRandomness, sealed};

/// There are no keys where nothing is opened.
#[cfg(not(feature = "cluster"))]
pub(super) enum NoKeys {}
#[cfg(not(feature = "cluster"))]
pub(super) use NoKeys as AgeKeys;

/// Stands for a sealed value that is not opened.
pub const PLACEHOLDER: &str = "<sealed by SOPS>";

/// The field in which SOPS keeps the keys and the checksum of a file.
const FIELD: &str = "sops";
/// The beginning of a sealed value.
const MARK: &str = "ENC[AES256_GCM,";
/// The end of a sealed comment. In a list SOPS writes it as an item.
const COMMENT: &str = ",type:comment]";

/// The kinds, as group and kind, whose objects have the field `sops` on the cluster: an operator there opens them with a key of its own,
/// and checks the checksum of the document. So they are applied as they are.
const OPENED_LATER: [(&str, &str); 3] = [
    // https://github.com/isindir/sops-secrets-operator
    ("isindir.github.com", "SopsSecret"),
    // https://github.com/peak-scale/sops-operator
    ("addons.projectcapsule.dev", "SopsSecret"),
    ("addons.projectcapsule.dev", "GlobalSopsSecret"),
];

/// SOPS writes the values that an anchor names once more in each place, and never a merge.
const NOT_OF_SOPS: &str = "a sealed file has no anchors, aliases and merges: SOPS writes none";
/// SOPS reads both values, and its checksum has them both.
const KEY_TWICE: &str = "a map of this sealed file has a key twice";

/// The fields that decide which object a document is.
const IDENTITY: [&str; 3] = ["apiVersion", "kind", "metadata"];

const SEAL_LESS: &str = "Seal the values alone: with `encrypted_regex: ^(data|stringData)$` in .sops.yaml, or with `sops encrypt \
     --encrypted-regex '^(data|stringData)$'`.";
const SEAL_AGAIN: &str =
    "Change sealed files with `sops edit` alone, and resolve conflicts in them by sealing the file again.";

/// The reason why a sealed file cannot be used. It never has a value.
#[derive(Debug, PartialEq)]
pub(super) struct SealProblem {
    /// As a sentence without capital letter and full stop.
    pub(super) message: String,
    pub(super) hint: String,
    /// The field of the document that it is about.
    pub(super) field: Vec<String>,
    /// `true` if no key is there that opens the file, as for a file for other clusters. Any other problem is a mistake in the file.
    pub(super) of_key: bool,
}

impl SealProblem {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), field: vec![FIELD.to_owned()], of_key: false }
    }

    fn of_key(self) -> Self {
        Self { of_key: true, ..self }
    }

    fn at(self, field: &[String]) -> Self {
        Self { field: field.to_vec(), ..self }
    }
}

/// A document without the field of SOPS.
pub(super) struct UnsealedDocument {
    pub(super) value: Value,
    /// `true` if it has, or had, a sealed value.
    pub(super) sealed: bool,
    /// `true` if it was added since SOPS sealed the file, which therefore does not open.
    pub(super) added: bool,
}

/// The use that is made of a sealed file.
#[derive(Clone, Copy)]
pub(super) enum Unsealing<'a> {
    /// Its values are opened.
    Open(&'a AgeKeys),
    /// Its values are not wanted: placeholders stand for them.
    Hide,
    /// Its values are not to be had: placeholders stand for them, and what SOPS wrote is not checked.
    Closed,
}

/// A document as it is written.
#[derive(Clone, Copy)]
pub(super) struct WrittenDocument<'a> {
    pub(super) text: &'a str,
    /// `true` if it is read as JSON.
    pub(super) is_json: bool,
    /// `true` if a map of it has a key twice.
    pub(super) repeats: bool,
}

/// A sealed file of which some documents were read.
pub(super) enum SealedFile {
    /// Placeholders stand for sealed values.
    Closed,
    /// Placeholders stand for sealed values, and the file is checked as far as that can be done without a key.
    Hidden {
        /// The checksum has the sealed values alone, so that documents without any can be added.
        only_sealed: bool,
    },
    /// Sealed values are opened.
    #[cfg(feature = "cluster")]
    Opened(Box<open::Opening>),
}

/// `true` if SOPS sealed a file that has this document.
pub(super) fn is_sealed(document: &Value) -> bool {
    document.get(FIELD).is_some_and(Value::is_object) && !is_opened_later(document)
}

fn is_opened_later(document: &Value) -> bool {
    let text = |field| document.get(field).and_then(Value::as_str).unwrap_or_default();
    let (group, kind) = (text("apiVersion").split_once('/').map_or("", |(group, _)| group), text("kind"));
    OPENED_LATER.contains(&(group, kind))
}

/// The problem of a file whose first document does not have the field of SOPS, and another one has.
pub(super) fn metadata_elsewhere() -> SealProblem {
    SealProblem::new("the field `sops` is not in the first document of the file, where SOPS writes it", SEAL_AGAIN)
}

impl SealedFile {
    /// Begins a file with its first document, which [is sealed](is_sealed).
    pub(super) fn begin(document: &Value, unsealing: Unsealing<'_>) -> Result<Self, SealProblem> {
        let metadata = || SealMetadata::of(&document[FIELD]);
        match unsealing {
            Unsealing::Closed => Ok(Self::Closed),
            Unsealing::Hide => Ok(Self::Hidden { only_sealed: metadata()?.mac_only_encrypted }),
            Unsealing::Open(keys) => Self::opened(&metadata()?, keys),
        }
    }

    #[cfg(feature = "cluster")]
    fn opened(metadata: &SealMetadata, keys: &AgeKeys) -> Result<Self, SealProblem> {
        Ok(Self::Opened(Box::new(open::Opening::begin(metadata, keys)?)))
    }

    #[cfg(not(feature = "cluster"))]
    fn opened(_: &SealMetadata, keys: &AgeKeys) -> Result<Self, SealProblem> {
        match *keys {}
    }

    /// The next document.
    pub(super) fn document(
        &mut self,
        mut value: Value,
        written: WrittenDocument<'_>,
    ) -> Result<UnsealedDocument, SealProblem> {
        if is_opened_later(&value) {
            let message = "a controller on the cluster opens one of its documents, and the agent the others";
            return Err(SealProblem::new(message, "Seal that document in a file of its own.").at(&["kind".to_owned()]));
        }
        let had_field = value.as_object_mut().is_none_or(|map| map.remove(FIELD).is_some() || map.is_empty());
        if let Some(field) = sealed_identity(&value) {
            let message = format!("`{}` is sealed, and it says which object this is", field.join("."));
            return Err(SealProblem::new(message, SEAL_LESS).at(&field));
        }
        match self {
            Self::Closed => {
                let sealed = hide(&mut value);
                Ok(UnsealedDocument { value, sealed, added: false })
            }
            Self::Hidden { only_sealed } => {
                let check = if written.is_json { Ok(()) } else { check_yaml(written.text) };
                let repeats = || if written.repeats { Err(problem(KEY_TWICE, 0)) } else { Ok(()) };
                check.and_then(|()| repeats()).map_err(|problem| SealProblem::new(problem.message, SEAL_AGAIN))?;
                let sealed = hide(&mut value);
                Ok(UnsealedDocument { value, sealed, added: !had_field && !*only_sealed })
            }
            #[cfg(feature = "cluster")]
            Self::Opened(opening) => {
                // It is read once more, in order: there are not two of it in memory.
                drop(value);
                opening.document(written.text, written.is_json)
            }
        }
    }

    /// Checks that the documents that were read are the sealed ones.
    pub(super) fn end(self) -> Result<(), SealProblem> {
        match self {
            Self::Closed | Self::Hidden { .. } => Ok(()),
            #[cfg(feature = "cluster")]
            Self::Opened(opening) => opening.end(),
        }
    }
}

/// Finds what SOPS does not write, and reads in another way. Keys that are there twice are found where the document is decoded.
fn check_yaml(text: &str) -> Result<(), ParseProblem> {
    let input = ScannerInput::new(text);
    let mut events = YamlEvents::new(&input)?;
    loop {
        let YamlEvent { data, at } = events.next()?;
        let is_of_sops = match &data {
            EventData::DocumentEnd { .. } | EventData::StreamEnd => return Ok(()),
            EventData::Scalar { anchor: None, tag, value, plain_implicit, style, .. } => {
                let plain = *style == ScalarStyle::Plain && *plain_implicit;
                !is_merge(value, tag.as_deref(), plain)
            }
            EventData::MappingStart { anchor, .. } | EventData::SequenceStart { anchor, .. } => anchor.is_none(),
            EventData::Scalar { .. } | EventData::Alias { .. } => false,
            _ => true,
        };
        if !is_of_sops {
            return Err(problem(NOT_OF_SOPS, at));
        }
    }
}

/// `true` for a text that SOPS made of a value, or that stands for one: outside of a sealed file nothing makes a value of it.
pub(crate) fn is_unopened(text: &str) -> bool {
    text == PLACEHOLDER || (text.starts_with(MARK) && text.ends_with(']'))
}

/// `true` if a string in a JSON text may be [such a text](is_unopened).
pub(crate) fn may_have_unopened(json: &str) -> bool {
    [MARK, PLACEHOLDER].iter().any(|text| json.contains(&format!("\"{text}")))
}

fn is_sealed_value(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with(MARK))
}

/// The field with a sealed value that decides which object a document is, also in the items of a list.
fn sealed_identity(value: &Value) -> Option<Vec<String>> {
    let map = value.as_object()?;
    let own = IDENTITY.iter().find_map(|field| Some(below(field, sealed_field(map.get(*field)?)?)));
    own.or_else(|| {
        let items = map.get("items")?.as_array()?.iter().enumerate();
        let (at, field) = items.filter_map(|(at, item)| Some((at, sealed_identity(item)?))).next()?;
        Some(below("items", below(&at.to_string(), field)))
    })
}

/// The path to the first sealed value.
fn sealed_field(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Object(map) => map.iter().find_map(|(key, value)| Some(below(key, sealed_field(value)?))),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(at, item)| Some(below(&at.to_string(), sealed_field(item)?)))
        }
        _ => is_sealed_value(value).then(Vec::new),
    }
}

fn below(step: &str, mut field: Vec<String>) -> Vec<String> {
    field.insert(0, step.to_owned());
    field
}

/// Puts placeholders in the place of sealed values. `true` if there are any.
fn hide(value: &mut Value) -> bool {
    let all = |values: &mut dyn Iterator<Item = &mut Value>| values.map(hide).filter(|hidden| *hidden).count() > 0;
    match value {
        Value::Object(map) => all(&mut map.values_mut()),
        Value::Array(items) => {
            let before = items.len();
            items.retain(|item| !(is_sealed_value(item) && item.as_str().is_some_and(|it| it.ends_with(COMMENT))));
            all(&mut items.iter_mut()) || items.len() < before
        }
        _ if is_sealed_value(value) => {
            *value = PLACEHOLDER.into();
            true
        }
        _ => false,
    }
}

/// The reason why objects of this kind must not have sealed values; `None` if they may.
pub(super) fn refused_kind(object: &Object, is_builtin: bool) -> Option<String> {
    let reads = is_builtin || matches!(object.group(), "configsync.gke.io" | "configmanagement.gke.io");
    reads.then(|| format!("a {} has a sealed value, and nomos itself reads it", object.kind()))
}

/// The hint for [`refused_kind`].
pub(super) const READABLE: &str =
    "Take the object out of the sealed file: what nomos reads may be told in findings and in logs.";

#[cfg(all(test, feature = "cluster"))]
mod tests;
