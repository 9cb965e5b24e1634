//! Objects of built-in kinds as protocol buffers, the form in which Kubernetes' own clients send them: read, never
//! written, since those clients take JSON for an answer.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::Time;

const MESSAGES: &[u8] = include_bytes!("../published/messages.json.gz");
/// The first bytes of every object.
const MAGIC: &[u8] = b"k8s\0";

#[derive(Deserialize)]
struct Table {
    /// The message of each kind, as in `apps/v1 Deployment`.
    kinds: BTreeMap<String, String>,
    messages: BTreeMap<String, Vec<Field>>,
}

#[derive(Deserialize)]
struct Field {
    number: u64,
    /// In JSON.
    name: String,
    /// As in Go: `*int32`, `[]core/v1.Container`, `map[string]string`.
    form: String,
    /// `true` if it is left out when it is empty.
    #[serde(default)]
    omitted: bool,
    /// `true` if its fields are those of what it is in.
    #[serde(default)]
    inline: bool,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut json = String::new();
    GzDecoder::new(MESSAGES).read_to_string(&mut json).expect("published/messages.json.gz");
    serde_json::from_str(&json).expect("published/messages.json.gz")
});

/// A field off the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads an object.
///
/// # Errors
/// With what is wrong with it.
pub fn read(bytes: &[u8]) -> Result<Value, String> {
    let bytes = bytes.strip_prefix(MAGIC).ok_or("provided data does not appear to be a protobuf message")?;
    let (mut type_meta, mut raw) = (&[][..], &[][..]);
    for (number, wire) in fields(bytes)? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => type_meta = bytes,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (mut api_version, mut kind) = (String::new(), String::new());
    for (number, wire) in fields(type_meta)? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => api_version = text(bytes),
            (2, Wire::Bytes(bytes)) => kind = text(bytes),
            _ => {}
        }
    }
    let name = TABLE.kinds.get(&format!("{api_version} {kind}"));
    let name = name.ok_or_else(|| format!("no kind {kind:?} is registered for version {api_version:?}"))?;
    let mut object = message(name, raw)?;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(object)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Takes a message apart.
fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Wire<'_>)>, String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let wire = match key & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            1 => Wire::Number(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().map_err(|_| "short number")?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| "long field")?;
                Wire::Bytes(take(&mut bytes, length)?)
            }
            other => return Err(format!("wire type {other}")),
        };
        found.push((key >> 3, wire));
    }
    Ok(found)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    if length > bytes.len() {
        return Err("unexpected end of message".to_owned());
    }
    let (taken, left) = bytes.split_at(length);
    *bytes = left;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err("long number".to_owned())
}

/// A message by the name of its Go type. A few have a form of their own in JSON.
fn message(name: &str, bytes: &[u8]) -> Result<Value, String> {
    let found = fields(bytes)?;
    let number = |wanted| {
        found.iter().find_map(|(at, wire)| match wire {
            Wire::Number(number) if *at == wanted => Some(*number),
            _ => None,
        })
    };
    let bytes_of = |wanted| {
        found.iter().find_map(|(at, wire)| match wire {
            Wire::Bytes(bytes) if *at == wanted => Some(*bytes),
            _ => None,
        })
    };
    match name {
        "apis/meta/v1.Time" | "apis/meta/v1.MicroTime" => {
            let micro = name.ends_with("MicroTime");
            Ok(number(1).map_or(Value::Null, |seconds| time(seconds, number(2).unwrap_or(0), micro)))
        }
        "apis/meta/v1.Duration" => Ok(number(1).unwrap_or(0).into()),
        "api/resource.Quantity" => Ok(text(bytes_of(1).unwrap_or_default()).into()),
        "util/intstr.IntOrString" => Ok(match number(1).unwrap_or(0) {
            0 => signed(number(2).unwrap_or(0)).into(),
            _ => text(bytes_of(3).unwrap_or_default()).into(),
        }),
        "runtime.RawExtension" | "apis/meta/v1.FieldsV1" => {
            let raw = bytes_of(1).unwrap_or_default();
            if raw.is_empty() {
                Ok(Value::Null)
            } else {
                serde_json::from_slice(raw).map_err(|error| error.to_string())
            }
        }
        _ => structure(name, &found),
    }
}

fn structure(name: &str, found: &[(u64, Wire<'_>)]) -> Result<Value, String> {
    let known = TABLE.messages.get(name).ok_or_else(|| format!("no message {name}"))?;
    let mut object = Map::new();
    for field in known {
        let wires: Vec<&Wire<'_>> =
            found.iter().filter(|(number, _)| *number == field.number).map(|(_, wire)| wire).collect();
        if wires.is_empty() {
            continue;
        }
        let value = value(&field.form, &wires)?;
        if field.inline {
            object.extend(value.as_object().cloned().into_iter().flatten());
        } else if !(value.is_null() || (field.omitted && is_empty(&field.form, &value))) {
            object.insert(field.name.clone(), value);
        }
    }
    Ok(Value::Object(object))
}

/// `true` if Go leaves a value out of JSON. The target of a pointer is never empty.
fn is_empty(form: &str, value: &Value) -> bool {
    match value {
        _ if form.starts_with('*') => false,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty() && form.starts_with("map["),
        Value::Null => true,
    }
}

/// All occurrences of a field as one value.
fn value(form: &str, wires: &[&Wire<'_>]) -> Result<Value, String> {
    let form = form.trim_start_matches('*');
    if let Some(item) = form.strip_prefix("[]") {
        return wires.iter().map(|wire| value(item, &[wire])).collect();
    }
    let last = *wires.last().ok_or("no value")?;
    if let Some(item) = form.strip_prefix("map[string]") {
        return entries(item, wires);
    }
    match (form, last) {
        ("bool", Wire::Number(number)) => Ok((*number != 0).into()),
        ("int32" | "int64" | "int", Wire::Number(number)) => Ok(signed(*number).into()),
        ("uint32" | "uint64", Wire::Number(number)) => Ok((*number).into()),
        ("float64", Wire::Number(number)) => Ok(f64::from_bits(*number).into()),
        ("string", Wire::Bytes(bytes)) => Ok(text(bytes).into()),
        ("bytes", Wire::Bytes(bytes)) => Ok(base64(bytes).into()),
        (form, Wire::Bytes(bytes)) => match form.strip_prefix("items:") {
            Some(item) => {
                let items = fields(bytes)?;
                items.iter().map(|(_, wire)| value(item, &[wire])).collect()
            }
            None => message(form, bytes),
        },
        (form, _) => Err(format!("a number where {form} should be")),
    }
}

fn entries(form: &str, wires: &[&Wire<'_>]) -> Result<Value, String> {
    let mut map = Map::new();
    for wire in wires {
        let Wire::Bytes(bytes) = wire else { return Err("a number where a map should be".to_owned()) };
        let entry = fields(bytes)?;
        let part = |number| entry.iter().find(|(at, _)| *at == number).map(|(_, wire)| wire);
        let key = match part(1) {
            Some(Wire::Bytes(bytes)) => text(bytes),
            _ => String::new(),
        };
        let empty = Wire::Bytes(&[]);
        map.insert(key, value(form, &[part(2).unwrap_or(&empty)])?);
    }
    Ok(Value::Object(map))
}

/// Negative numbers are written as their complement.
fn signed(number: u64) -> i64 {
    i64::from_le_bytes(number.to_le_bytes())
}

fn time(seconds: u64, nanoseconds: u64, micro: bool) -> Value {
    let text = Time::from_seconds(seconds).to_string();
    if !micro {
        return text.into();
    }
    format!("{}.{:06}Z", text.trim_end_matches('Z'), nanoseconds / 1_000).into()
}

/// Bytes as JSON has them.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let padded = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let number = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for at in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * at) & 63) as usize];
            text.push(if at > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn object(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
        let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &type_meta), field(2, message)].concat()
    }

    #[test]
    fn objects_are_read() {
        let metadata = [field(1, b"s"), field(2, b""), field(11, &[field(1, b"a"), field(2, b"b")].concat())].concat();
        let entry = [field(1, b"k"), field(2, b"hello")].concat();
        let secret = object("v1", "Secret", &[field(1, &metadata), field(2, &entry)].concat());
        assert_eq!(
            read(&secret).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": "s", "labels": {"a": "b"}}, "data": {"k": "aGVsbG8="},
            })
        );
    }

    #[test]
    fn null_pointers_are_kept_and_embedded_fields_are_lifted() {
        // Replicas of zero behind a pointer, seconds of zero that are left out.
        let spec = [vec![1 << 3, 0, 5 << 3, 0], Vec::new()].concat();
        let deployment = read(&object("apps/v1", "Deployment", &field(2, &spec))).unwrap();
        assert_eq!(deployment["spec"], json!({"replicas": 0}));
        let volume = [field(1, b"v"), field(2, &field(2, &[]))].concat();
        let pod = read(&object("v1", "Pod", &field(2, &field(1, &volume)))).unwrap();
        assert_eq!(pod["spec"]["volumes"], json!([{"name": "v", "emptyDir": {}}]));
    }

    #[test]
    fn bytes_that_are_no_object_are_refused() {
        assert!(read(b"{}").is_err());
        assert!(read(&object("v1", "Nothing", &[])).is_err());
        assert!(read(&object("v1", "Secret", &[10, 200])).is_err());
        assert_eq!(base64(b"a"), "YQ==");
    }
}
