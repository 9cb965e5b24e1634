//! Seals an object as SOPS does, so that SOPS opens and edits it.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha512};

use super::age::{AgeRecipient, encrypted};
use super::document::{self, Node};
use super::envelope::{self, DataKey};
use super::metadata::SealMetadata;
use super::open::{Rule, bound};
use super::{FIELD, IDENTITY, sealed_identity};
use crate::model::yaml;

/// The fields of a Secret whose values are sealed.
const SECRETS: [&str; 2] = ["data", "stringData"];
/// The version of SOPS whose form is written.
const VERSION: &str = "3.13.3";

/// Random bytes, for keys.
pub struct SealRandomness<'a>(pub &'a mut dyn FnMut() -> [u8; 32]);

/// The object with its values sealed for these recipients, at this time in RFC 3339; of a Secret its data. `None` if a label or an
/// annotation has the name of a field that is sealed: SOPS would seal it too, and no object has sealed metadata.
pub fn sealed(
    object: &Value,
    recipients: &[AgeRecipient],
    last_modified: &str,
    SealRandomness(random): SealRandomness<'_>,
) -> Option<Value> {
    let chosen = expression(object);
    let metadata = SealMetadata { encrypted_regex: Some(chosen.clone()), ..SealMetadata::default() };
    let rule = Rule::of(&metadata).unwrap_or_else(|problem| unreachable!("{}", problem.message));
    let written = document::read(&yaml::text(object), false).expect("what nomos writes can be read");
    let mut sealer = Sealer { key: random(), rule, checksum: Sha512::new(), random };
    let mut value = sealer.seal(written, &mut Vec::new());
    if sealed_identity(&value).is_some() {
        return None;
    }
    let computed: String = sealer.checksum.clone().finalize().iter().map(|byte| format!("{byte:02X}")).collect();
    let mac = envelope::seal(&computed, "str", &sealer.key, last_modified, (sealer.random)());
    let age: Vec<Value> = recipients
        .iter()
        .map(|recipient| {
            let enc = encrypted(&sealer.key, recipient, [(sealer.random)(), (sealer.random)()]);
            json!({"recipient": recipient.text(), "enc": enc})
        })
        .collect();
    value[FIELD] = json!({
        "age": age, "encrypted_regex": chosen, "lastmodified": last_modified, "mac": mac, "version": VERSION,
    });
    Some(value)
}

/// The expression for the fields that are sealed: all that do not say which object this is, or of a Secret its data.
fn expression(object: &Value) -> String {
    let fields = object.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
    let fields: Vec<&str> = match (object["apiVersion"].as_str(), object["kind"].as_str()) {
        (Some("v1"), Some("Secret")) => SECRETS.to_vec(),
        _ => fields.filter(|field| !IDENTITY.contains(field)).collect(),
    };
    format!("^({})$", fields.iter().map(|field| regex::escape(field)).collect::<Vec<_>>().join("|"))
}

struct Sealer<'a> {
    key: DataKey,
    rule: Rule,
    checksum: Sha512,
    random: &'a mut dyn FnMut() -> [u8; 32],
}

impl Sealer<'_> {
    fn seal(&mut self, node: Node, path: &mut Vec<String>) -> Value {
        match node {
            Node::Map(fields) => {
                let mut map = Map::new();
                for field in fields {
                    path.push(field.name);
                    map.insert(field.key, self.seal(field.node, path));
                    path.pop();
                }
                map.into()
            }
            Node::List(items) => items.into_iter().map(|item| self.seal(item, path)).collect(),
            Node::Scalar { hashed: None, value } => value,
            Node::Scalar { hashed: Some(hashed), value } => {
                self.checksum.update(&hashed);
                if !self.rule.seals(path) {
                    return value;
                }
                let kind = match &value {
                    Value::Bool(_) => "bool",
                    Value::Number(number) if number.is_i64() => "int",
                    Value::Number(_) => "float",
                    _ => "str",
                };
                envelope::seal(&hashed, kind, &self.key, &bound(path), (self.random)()).into()
            }
        }
    }
}
