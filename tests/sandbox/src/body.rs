//! Reading request bodies: JSON or YAML, and which fields occur twice.

use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A body, and the paths of fields that occur more than once in it, the last of which counts.
#[derive(Debug, PartialEq)]
pub struct Body {
    /// The content of the body.
    pub value: Value,
    /// As in `spec.replicas`.
    pub duplicates: Vec<String>,
}

/// Reads JSON.
///
/// # Errors
/// With what is wrong with it.
pub fn json(bytes: &[u8]) -> Result<Body, String> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let seed = Seed { path: &mut String::new(), duplicates: &mut duplicates };
    let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let value = value.map_err(|error| match error.is_eof() {
        true => "unexpected end of JSON input".to_owned(),
        false => error.to_string(),
    })?;
    Ok(Body { value, duplicates })
}

/// Reads YAML, which JSON is too.
///
/// # Errors
/// With what is wrong with it.
pub fn yaml(bytes: &[u8]) -> Result<Body, String> {
    let json = json(bytes);
    if json.is_ok() {
        return json;
    }
    let value = serde_yaml::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(Body { value, duplicates: Vec::new() })
}

/// Builds a value as `serde_json` does, but notes the fields that it overwrites.
struct Seed<'a> {
    /// Where the value is.
    path: &'a mut String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let above = self.path.len();
            // Writing to a text cannot fail.
            let _ = write!(self.path, "[{}]", list.len());
            let item = items.next_element_seed(Seed { path: self.path, duplicates: self.duplicates })?;
            self.path.truncate(above);
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let above = self.path.len();
            if above > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            let value = fields.next_value_seed(Seed { path: self.path, duplicates: self.duplicates })?;
            if map.insert(key, value).is_some() {
                self.duplicates.push(self.path.clone());
            }
            self.path.truncate(above);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn duplicates_are_noted_and_the_last_counts() {
        let body = super::json(br#"{"a": {"b": [{"c": 1, "c": 2.5}], "b2": null}, "d": true, "d": false}"#).unwrap();
        assert_eq!(body.value, json!({"a": {"b": [{"c": 2.5}], "b2": null}, "d": false}));
        assert_eq!(body.duplicates, ["a.b[0].c", "d"]);
        assert!(super::json(b"{} x").is_err());
    }

    #[test]
    fn yaml_is_read() {
        assert_eq!(yaml(b"a: [1]\n").unwrap().value, json!({"a": [1]}));
        assert_eq!(yaml(b"{\"a\": [1]}").unwrap().value, json!({"a": [1]}));
        assert!(yaml(b"a: [").is_err());
    }
}
