//! Sealed values: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`, each bound to the names of the fields above it.

use aes_gcm::aead::array::ArraySize;
use aes_gcm::aead::consts::{U12, U32};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use super::MARK;
use super::document::shown_bool;

/// The key with which the values of one file are sealed.
pub(super) type DataKey = [u8; 32];

/// Bytes of the checksum of one value.
const TAG: usize = 16;

/// A value that was opened.
#[derive(Debug, PartialEq)]
pub(super) enum OpenedValue {
    /// A value, and the text that the checksum of the file has of it.
    Value(Value, String),
    /// A comment, which is no value.
    Comment,
}

/// Opens a sealed value. `bound` is the text that it is bound to.
///
/// # Errors
/// The reason, which never has the value.
pub(super) fn open(sealed: &str, key: &DataKey, bound: &str) -> Result<OpenedValue, &'static str> {
    const FORM: &str = "does not have the form that SOPS writes";
    let inner = sealed.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(']')).ok_or(FORM)?;
    let (data, rest) = inner.strip_prefix("data:").and_then(|rest| rest.split_once(",iv:")).ok_or(FORM)?;
    let (iv, rest) = rest.split_once(",tag:").ok_or(FORM)?;
    let (tag, kind) = rest.split_once(",type:").ok_or(FORM)?;
    let decoded = |text: &str| STANDARD.decode(text).map_err(|_| FORM);
    let (mut data, iv, tag) = (decoded(data)?, decoded(iv)?, decoded(tag)?);
    if tag.len() != TAG {
        return Err(FORM);
    }
    data.extend(tag);
    let plain = match iv.len() {
        32 => decrypted::<U32>(&data, &iv, key, bound),
        12 => decrypted::<U12>(&data, &iv, key, bound),
        _ => None,
    };
    const CHANGED: &str = "was changed, moved or renamed since SOPS sealed it, or is of another file";
    let text = String::from_utf8(plain.ok_or(CHANGED)?).map_err(|_| "is no text")?;
    value(text, kind).ok_or("is not of the type that it says")
}

fn decrypted<N: ArraySize>(data: &[u8], iv: &[u8], key: &DataKey, bound: &str) -> Option<Vec<u8>> {
    let nonce = Nonce::<N>::try_from(iv).ok()?;
    let cipher = AesGcm::<Aes256, N>::new(&(*key).into());
    cipher.decrypt(&nonce, Payload { msg: data, aad: bound.as_bytes() }).ok()
}

fn value(text: String, kind: &str) -> Option<OpenedValue> {
    let (value, hashed) = match kind {
        "str" | "bytes" | "time" => (text.as_str().into(), text),
        "int" => {
            let int: i64 = text.parse().ok()?;
            (int.into(), int.to_string())
        }
        "float" => {
            let float: f64 = text.parse().ok()?;
            let number = super::super::scalar::whole_or_float(float).or_else(|| Number::from_f64(float))?;
            (number.into(), float.to_string())
        }
        "bool" => {
            let bool = match text.as_str() {
                "True" | "true" | "TRUE" | "t" | "T" | "1" => true,
                "False" | "false" | "FALSE" | "f" | "F" | "0" => false,
                _ => return None,
            };
            (bool.into(), shown_bool(bool))
        }
        "comment" => return Some(OpenedValue::Comment),
        _ => return None,
    };
    Some(OpenedValue::Value(value, hashed))
}

/// Seals a text. An empty one stays empty.
pub(super) fn seal(text: &str, kind: &str, key: &DataKey, bound: &str, iv: [u8; 32]) -> String {
    if text.is_empty() {
        return String::new();
    }
    let cipher = AesGcm::<Aes256, U32>::new(&(*key).into());
    let payload = Payload { msg: text.as_bytes(), aad: bound.as_bytes() };
    let sealed = cipher.encrypt(&Nonce::<U32>::from(iv), payload).expect("a value is far below the limit of AES-GCM");
    let (data, tag) = sealed.split_at(sealed.len() - TAG);
    let [data, iv, tag] = [data, &iv, tag].map(|bytes| STANDARD.encode(bytes));
    format!("{MARK}data:{data},iv:{iv},tag:{tag},type:{kind}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_with_its_key_at_its_place_alone() {
        let (key, other) = ([1; 32], [2; 32]);
        let sealed = seal("hunter2", "str", &key, "data:pw:", [3; 32]);
        let opened = OpenedValue::Value("hunter2".into(), "hunter2".to_owned());
        assert_eq!(open(&sealed, &key, "data:pw:"), Ok(opened));
        assert!(open(&sealed, &other, "data:pw:").is_err());
        assert!(open(&sealed, &key, "data:other:").is_err());
        assert!(open(&sealed.replace("type:str", "type:int"), &key, "data:pw:").is_err());
        for form in ["hunter2", "ENC[AES256_GCM,data:,iv:,tag:,type:str]", "ENC[AES256_GCM,data:eA==]", MARK] {
            assert!(open(form, &key, "").is_err(), "{form}");
        }
    }

    #[test]
    fn values_have_their_types() {
        let key = [1; 32];
        let opened = |text: &str, kind: &str| match open(&seal(text, kind, &key, "", [0; 32]), &key, "") {
            Ok(OpenedValue::Value(value, hashed)) => format!("{value} {hashed}"),
            other => format!("{other:?}"),
        };
        assert_eq!(opened("5", "int"), "5 5");
        assert_eq!(opened("1.50", "float"), "1.5 1.5");
        assert_eq!(opened("True", "bool"), "true True");
        assert_eq!(opened("x", "comment"), "Ok(Comment)");
        assert!(opened("x", "int").starts_with("Err"));
        assert!(opened("x", "other").starts_with("Err"));
    }
}
