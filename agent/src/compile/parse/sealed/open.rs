//! Opens the documents of a sealed file, and checks that they are those that SOPS sealed.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha512};

use super::document::{Field, Node};
use super::envelope::{self, DataKey, OpenedValue};
use super::metadata::{SealMetadata, SealRule};
use super::{AgeKeys, FIELD, SEAL_AGAIN, SealProblem, UnsealedDocument, document, shares};

/// Begins the checksum that has the sealed values alone: the SHA-256 of `sops`.
const ONLY_SEALED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b,
    0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// Bytes that a compiled rule may take.
const RULE_SIZE: usize = 1 << 20;

/// Bytes of the names of all fields above a value: each value is bound to all of them.
const MAX_PATH: usize = 4 << 10;

/// A sealed file that is being opened.
pub(in super::super) struct Opening {
    key: DataKey,
    rule: Rule,
    /// The checksum has the sealed values alone.
    only_sealed: bool,
    checksum: Sha512,
    /// The sealed checksum, and the time that it is bound to.
    mac: String,
    last_modified: String,
    /// `true` if the document that is opened has a sealed value.
    found: bool,
}

/// The way to the value that is opened.
#[derive(Default)]
struct Way {
    /// The names of the fields above it.
    path: Vec<String>,
    /// Their keys as Kubernetes reads them, and positions in lists.
    steps: Vec<String>,
    /// Bytes of the names.
    bytes: usize,
    /// The number of names that the rule chooses.
    chosen: usize,
}

/// A rule by which values are sealed, from the names of the fields above them.
pub(super) struct Rule {
    fields: SealedFields,
    /// `true` if the chosen values are sealed, `false` if all others are.
    seals: bool,
}

enum SealedFields {
    Suffix(String),
    Match(Regex),
}

impl Rule {
    pub(super) fn of(metadata: &SealMetadata) -> Result<Self, SealProblem> {
        let rule = metadata.rule()?;
        let seals = matches!(rule, SealRule::BelowSuffix(_) | SealRule::BelowMatch(_));
        let fields = match rule {
            SealRule::NotBelowSuffix(suffix) | SealRule::BelowSuffix(suffix) => SealedFields::Suffix(suffix.to_owned()),
            SealRule::NotBelowMatch(text) | SealRule::BelowMatch(text) => {
                let regex = RegexBuilder::new(text).size_limit(RULE_SIZE).build();
                let wrong = |_| SealProblem::new("the expression for its sealed values cannot be read", SEAL_AGAIN);
                SealedFields::Match(regex.map_err(wrong)?)
            }
        };
        Ok(Self { fields, seals })
    }

    /// `true` if the rule names this field.
    fn chooses(&self, name: &str) -> bool {
        match &self.fields {
            SealedFields::Suffix(suffix) => name.ends_with(suffix),
            SealedFields::Match(regex) => regex.is_match(name),
        }
    }

    /// `true` if a value below these fields is sealed.
    pub(super) fn seals(&self, path: &[String]) -> bool {
        path.iter().any(|name| self.chooses(name)) == self.seals
    }
}

/// The text that a value below these fields is bound to.
pub(super) fn bound(path: &[String]) -> String {
    path.join(":") + ":"
}

impl Opening {
    /// Opens the data key of a file.
    pub(super) fn begin(metadata: &SealMetadata, keys: &AgeKeys) -> Result<Self, SealProblem> {
        let SealMetadata { mac_only_encrypted: only_sealed, mac, last_modified, .. } = metadata;
        let mut checksum = Sha512::new();
        if *only_sealed {
            checksum.update(ONLY_SEALED);
        }
        Ok(Self {
            key: data_key(metadata, keys)?,
            rule: Rule::of(metadata)?,
            only_sealed: *only_sealed,
            checksum,
            mac: mac.clone(),
            last_modified: last_modified.clone(),
            found: false,
        })
    }

    /// Opens the next document.
    pub(super) fn document(&mut self, text: &str, is_json: bool) -> Result<UnsealedDocument, SealProblem> {
        let read = document::read(text, is_json);
        let node = read.map_err(|problem| SealProblem::new(problem.message, SEAL_AGAIN))?;
        let Node::Map(fields) = node else {
            return Err(SealProblem::new("a document of it is no map", SEAL_AGAIN).at(&[]));
        };
        self.found = false;
        let fields = fields.into_iter().filter(|field| field.name != FIELD).collect();
        let value = self.open(Node::Map(fields), &mut Way::default())?.unwrap_or_default();
        Ok(UnsealedDocument { value, sealed: self.found, added: false })
    }

    /// Opens a value; `None` for a comment.
    fn open(&mut self, node: Node, way: &mut Way) -> Result<Option<Value>, SealProblem> {
        match node {
            Node::Map(fields) => {
                let mut map = Map::new();
                for Field { name, key, node } in fields {
                    let (bytes, chosen) = (name.len(), usize::from(self.rule.chooses(&name)));
                    (way.bytes, way.chosen) = (way.bytes + bytes, way.chosen + chosen);
                    if way.bytes > MAX_PATH {
                        return Err(wrong("is below names of fields that are too long", &way.steps));
                    }
                    way.path.push(name);
                    way.steps.push(key.clone());
                    match self.open(node, way)? {
                        Some(value) => _ = map.insert(key, value),
                        None => return Err(wrong("is a comment", &way.steps)),
                    }
                    way.path.pop();
                    way.steps.pop();
                    (way.bytes, way.chosen) = (way.bytes - bytes, way.chosen - chosen);
                }
                Ok(Some(map.into()))
            }
            Node::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (at, item) in items.into_iter().enumerate() {
                    way.steps.push(at.to_string());
                    list.extend(self.open(item, way)?);
                    way.steps.pop();
                }
                Ok(Some(list.into()))
            }
            Node::Scalar { hashed: None, value } => Ok(Some(value)),
            Node::Scalar { hashed: Some(hashed), value } if (way.chosen > 0) != self.rule.seals => {
                if !self.only_sealed {
                    self.checksum.update(hashed);
                }
                Ok(Some(value))
            }
            Node::Scalar { value, .. } => {
                let Value::String(sealed) = value else { return Err(wrong("is not sealed", &way.steps)) };
                // SOPS seals no empty text.
                if sealed.is_empty() {
                    return Ok(Some(sealed.into()));
                }
                self.found = true;
                match envelope::open(&sealed, &self.key, &bound(&way.path)).map_err(|why| wrong(why, &way.steps))? {
                    OpenedValue::Comment => Ok(None),
                    OpenedValue::Value(value, hashed) => {
                        self.checksum.update(hashed);
                        Ok(Some(value))
                    }
                }
            }
        }
    }

    /// Compares the checksum.
    pub(super) fn end(self) -> Result<(), SealProblem> {
        let computed: String = self.checksum.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
        match envelope::open(&self.mac, &self.key, &self.last_modified) {
            Ok(OpenedValue::Value(Value::String(mac), _)) if mac == computed => Ok(()),
            _ => Err(SealProblem::new(
                "its checksum (`sops.mac`) is another one: the file was changed since SOPS sealed it",
                SEAL_AGAIN,
            )),
        }
    }
}

fn wrong(why: &str, steps: &[String]) -> SealProblem {
    SealProblem::new(format!("the value of `{}` {why}", steps.join(".")), SEAL_AGAIN).at(steps)
}

/// The data key of a file, from the groups whose keys are there.
fn data_key(metadata: &SealMetadata, keys: &AgeKeys) -> Result<DataKey, SealProblem> {
    let opened =
        metadata.groups.iter().filter_map(|group| group.iter().find_map(|key| keys.open(&key.recipient, &key.enc)));
    let shares: Vec<Vec<u8>> = opened.collect();
    let whole = match (metadata.groups.len(), shares.as_slice()) {
        (1, [key]) => Some(key.clone()),
        (2.., shares) if shares.len() >= metadata.shamir_threshold.max(2) => shares::combined(shares),
        _ => None,
    };
    let recipients: Vec<&str> = metadata.groups.iter().flatten().map(|key| key.recipient.as_str()).collect();
    whole.and_then(|key| DataKey::try_from(key).ok()).ok_or_else(|| keys.problem(&recipients))
}
