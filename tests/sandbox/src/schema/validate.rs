//! Checks a custom resource against the schema of its CustomResourceDefinition, with the messages of the API server.
//!
//! Rules in CEL (`x-kubernetes-validations`) are not evaluated.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use regex::Regex;
use serde_json::{Map as Fields, Value, json};

use super::{Type, formats};
use crate::failure::Cause;

/// Checks `new`. A wrong value of `old` that has not changed is accepted.
#[must_use]
pub fn validate(kind: &Type, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let Some(custom) = &kind.custom else { return Vec::new() };
    let schema = &custom.schema;
    let mut causes = Vec::new();
    for cause in check(schema, new, old, "").causes {
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    if custom.embeds_objects {
        embedded(schema, new, &mut String::new(), &mut causes);
    }
    let mut twice = Vec::new();
    if custom.names_items {
        duplicates(schema, new, &mut String::new(), &mut twice);
    }
    let mut before = Vec::new();
    if let (Some(old), false) = (old, twice.is_empty()) {
        duplicates(schema, old, &mut String::new(), &mut before);
    }
    if before.is_empty() {
        causes.append(&mut twice);
    }
    causes
}

#[derive(Default)]
struct Outcome {
    causes: Vec<Cause>,
    /// The number of checks. If several alternative schemas fail, the one with the most checks is reported.
    checks: usize,
}

impl Outcome {
    fn add(&mut self, cause: Cause) {
        self.causes.push(cause);
    }

    fn merge(&mut self, other: Self) {
        self.causes.extend(other.causes);
        self.checks += other.checks;
    }

    /// A fault of a value, which the message shows.
    fn value(&mut self, path: &str, value: &Value, said: &str) {
        self.add(Cause::invalid(path.trim_start_matches('.'), value, &format!("{path} in body {said}")));
    }

    /// A fault of nothing in particular.
    fn general(&mut self, said: &str) {
        self.add(Cause::invalid("<nil>", &"".into(), said));
    }

    fn wrong_type(&mut self, path: &str, expected: &str, found: &str) {
        let said = format!("{path} in body must be of type {expected}: {found:?}");
        let cause = Cause::invalid(path.trim_start_matches('.'), &found.into(), &said);
        self.add(Cause { reason: "FieldValueTypeInvalid".into(), ..cause });
    }
}

fn check(schema: &Value, value: &Value, old: Option<&Value>, path: &str) -> Outcome {
    if old == Some(value) { Outcome::default() } else { check_changed(schema, value, old, path) }
}

/// Checks of a text of which a schema says no more than that it is one.
const CHECKS_OF_TEXT: usize = 3;

/// `true` for a text of which the schema says no more than that it is one: most values are such texts.
fn is_plain_text(schema: &Value, value: &Value) -> bool {
    let says_no_more = |said: &Fields<String, Value>| {
        said.get("type").is_some_and(|kind| kind == "string")
            && said.keys().all(|key| ["type", "description"].contains(&key.as_str()))
    };
    value.is_string() && schema.as_object().is_some_and(says_no_more)
}

fn check_changed(schema: &Value, value: &Value, old: Option<&Value>, path: &str) -> Outcome {
    let mut outcome = Outcome::default();
    types(schema, value, path, &mut outcome);
    if !value.is_null() {
        combined(schema, value, path, &mut outcome);
        match value {
            Value::String(text) => texts(schema, text, path, &mut outcome),
            Value::Number(_) => numbers(schema, value, path, &mut outcome),
            Value::Array(items) => lists(schema, items, old, path, &mut outcome),
            Value::Object(fields) => maps(schema, fields, old, path, &mut outcome),
            _ => {}
        }
    }
    if let Some(values) = list(schema, "enum").filter(|values| !values.contains(value)) {
        let texts: Vec<String> =
            values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), Into::into)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        outcome.add(Cause::unsupported(path.trim_start_matches('.'), value, &texts));
    }
    outcome.checks += 1;
    outcome
}

fn types(schema: &Value, value: &Value, path: &str, outcome: &mut Outcome) {
    let either = schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
    let expected = if either { "integer,string" } else { text(schema, "type") };
    let format = formats::known(expected, text(schema, "format"));
    if expected.is_empty() && format.is_empty() {
        return;
    }
    outcome.checks += 1;
    let found = match value {
        Value::Null if schema.get("nullable") == Some(&Value::Bool(true)) => return,
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let whole = value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let fits = expected.split(',').any(|expected| {
        expected == found
            || (expected == "number" && found == "integer")
            || (expected == "integer" && found == "number" && whole)
    });
    // The API server minds the format before the type.
    let numeric = expected.contains("integer") || expected.contains("number");
    match value {
        _ if fits => {}
        Value::String(_) | Value::Array(_) if !format.is_empty() && !numeric => {}
        Value::String(_) | Value::Array(_) => outcome.wrong_type(path, expected, found),
        Value::Number(number) if !format.is_empty() => {
            outcome.wrong_type(path, format, if number.is_f64() { "float64" } else { "int64" });
        }
        _ if !format.is_empty() && !value.is_null() => outcome.wrong_type(path, format, ""),
        _ => outcome.wrong_type(path, expected, found),
    }
}

fn combined(schema: &Value, value: &Value, path: &str, outcome: &mut Outcome) {
    let tried = |key: &str| -> Option<Vec<Outcome>> {
        Some(list(schema, key)?.iter().map(|schema| check(schema, value, None, path)).collect())
    };
    let name = || format!("{:?}", path.trim_start_matches('.'));
    if let Some(tried) = tried("anyOf")
        && !tried.iter().any(|tried| tried.causes.is_empty())
    {
        outcome.general(&format!("{} must validate at least one schema (anyOf)", name()));
        outcome.merge(best(tried));
    }
    if let Some(tried) = tried("oneOf") {
        let valid = tried.iter().filter(|tried| tried.causes.is_empty()).count();
        let found =
            if valid == 0 { "Found none valid".to_owned() } else { format!("Found {valid} valid alternatives") };
        if valid != 1 {
            outcome.general(&format!("{} must validate one and only one schema (oneOf). {found}", name()));
        }
        if valid == 0 {
            outcome.merge(best(tried));
        }
    }
    if let Some(tried) = tried("allOf") {
        let valid = tried.iter().filter(|tried| tried.causes.is_empty()).count();
        let (all, none) = (valid == tried.len(), if valid == 0 { ". None validated" } else { "" });
        tried.into_iter().for_each(|tried| outcome.merge(tried));
        if !all {
            outcome.general(&format!("{} must validate all the schemas (allOf){none}", name()));
        }
    }
    if let Some(not) = schema.get("not")
        && check(not, value, None, path).causes.is_empty()
    {
        outcome.general(&format!("{} must not validate the schema (not)", name()));
    }
}

/// The first of those with the most checks.
fn best(tried: Vec<Outcome>) -> Outcome {
    tried.into_iter().reduce(|best, next| if next.checks > best.checks { next } else { best }).unwrap_or_default()
}

fn texts(schema: &Value, value: &str, path: &str, outcome: &mut Outcome) {
    outcome.checks += 1;
    let length = value.chars().count() as u64;
    if let Some(most) = count(schema, "maxLength").filter(|most| length > *most) {
        let bytes = if most == 1 { "byte" } else { "bytes" };
        let said = format!("Too long: may not be more than {most} {bytes}");
        outcome.add(Cause::new("FieldValueTooLong", path.trim_start_matches('.'), said));
    } else if let Some(least) = count(schema, "minLength").filter(|least| length < *least) {
        outcome.value(path, &value.into(), &format!("should be at least {least} chars long"));
    } else if let Some(pattern) = schema.get("pattern").and_then(Value::as_str).filter(|pattern| !pattern.is_empty()) {
        // The CustomResourceDefinition was refused if it is no pattern.
        if Regex::new(pattern).is_ok_and(|regex| !regex.is_match(value)) {
            outcome.value(path, &value.into(), &format!("should match '{pattern}'"));
        }
    }
    let format = formats::known(text(schema, "type"), text(schema, "format"));
    if !formats::fits(format, value) {
        outcome.wrong_type(path, format, value);
    }
}

fn numbers(schema: &Value, value: &Value, path: &str, outcome: &mut Outcome) {
    outcome.checks += 1;
    let Some(number) = value.as_f64() else { return };
    // The API server compares whole numbers with whole numbers.
    let whole = |bound: f64| if value.is_f64() { bound } else { bound.trunc() };
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64).map(whole);
    let exclusive = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    if text(schema, "type") == "integer" {
        let format = formats::known("integer", text(schema, "format"));
        let most = if format == "int32" { f64::from(i32::MAX) } else { f64::MAX };
        if number.fract() != 0.0 || number.abs() > most {
            let format = if format.is_empty() { "(default format)".into() } else { format!("with format {format}") };
            outcome.general(&format!("Checked value must be of type integer {format} in {path}"));
        }
    }
    if let Some(factor) = bound("multipleOf") {
        if factor <= 0.0 {
            let said = format!("factor MultipleOf declared for {path} must be positive: {factor}");
            outcome.add(Cause::invalid(path.trim_start_matches('.'), &json!(factor as i64), &said));
        } else if (number / factor).fract() != 0.0 {
            outcome.value(path, value, &format!("should be a multiple of {factor}"));
        }
    }
    if let Some(most) = bound("maximum") {
        let open = exclusive("exclusiveMaximum");
        if number > most || (open && number >= most) {
            let said = if open { "less than" } else { "less than or equal to" };
            outcome.value(path, value, &format!("should be {said} {most}"));
        }
    }
    if let Some(least) = bound("minimum") {
        let open = exclusive("exclusiveMinimum");
        if number < least || (open && number <= least) {
            let said = if open { "greater than" } else { "greater than or equal to" };
            outcome.value(path, value, &format!("should be {said} {least}"));
        }
    }
}

fn lists(schema: &Value, items: &[Value], old: Option<&Value>, path: &str, outcome: &mut Outcome) {
    outcome.checks += 1;
    if let Some(of_items) = schema.get("items") {
        for (at, item) in items.iter().enumerate() {
            let old = old.and_then(|old| same_item(schema, item, old));
            outcome.merge(check(of_items, item, old, &format!("{path}[{at}]")));
        }
    }
    let length = items.len() as u64;
    if let Some(least) = count(schema, "minItems").filter(|least| length < *least) {
        outcome.value(path, &length.into(), &format!("should have at least {least} items"));
    }
    if let Some(most) = count(schema, "maxItems").filter(|most| length > *most) {
        too_many(path, length, most, outcome);
    }
    let twice = |(at, item): (usize, &Value)| items[..at].contains(item);
    if schema.get("uniqueItems") == Some(&Value::Bool(true)) && items.iter().enumerate().any(twice) {
        outcome.value(path, &"".into(), "shouldn't contain duplicates");
    }
}

fn too_many(path: &str, length: u64, most: u64, outcome: &mut Outcome) {
    let items = if most == 1 { "item" } else { "items" };
    let said = format!("Too many: {length}: must have at most {most} {items}");
    outcome.add(Cause::new("FieldValueTooMany", path.trim_start_matches('.'), said));
}

/// The item of an older list that has the same key.
fn same_item<'a>(schema: &Value, item: &Value, old: &'a Value) -> Option<&'a Value> {
    let keys = list(schema, "x-kubernetes-list-map-keys")?;
    old.as_array()?.iter().find(|old| keys.iter().filter_map(Value::as_str).all(|key| old.get(key) == item.get(key)))
}

fn maps(schema: &Value, fields: &Fields<String, Value>, old: Option<&Value>, path: &str, outcome: &mut Outcome) {
    outcome.checks += 1;
    let length = fields.len() as u64;
    if let Some(least) = count(schema, "minProperties").filter(|least| length < *least) {
        outcome.value(path, &length.into(), &format!("should have at least {least} properties"));
    }
    if let Some(most) = count(schema, "maxProperties").filter(|most| length > *most) {
        too_many(path, length, most, outcome);
    }
    let properties = schema.get("properties");
    let others = schema.get("additionalProperties");
    for (name, value) in fields {
        let old = old.and_then(|old| old.get(name));
        let mut below = |schema: &Value| {
            if old == Some(value) {
                return;
            }
            if is_plain_text(schema, value) {
                outcome.checks += CHECKS_OF_TEXT;
            } else {
                let here = if path.is_empty() { name.clone() } else { [path, ".", name].concat() };
                outcome.merge(check_changed(schema, value, old, &here));
            }
        };
        match (properties.and_then(|properties| properties.get(name)), others) {
            (Some(property), _) => below(property),
            (None, Some(Value::Bool(false))) => {
                let said = format!("{path}.{name} in body is a forbidden property");
                outcome.add(Cause::invalid(path.trim_start_matches('.'), &name.as_str().into(), &said));
            }
            (None, Some(others)) => below(others),
            (None, None) => {}
        }
    }
    let required = list(schema, "required").into_iter().flatten().filter_map(Value::as_str);
    for name in required.filter(|name| !fields.contains_key(*name)) {
        outcome.add(Cause::required(format!("{path}.{name}").trim_start_matches('.'), ""));
    }
}

/// Items that are there more than once, of lists in which they may not be.
fn duplicates(schema: &Value, value: &Value, path: &mut String, causes: &mut Vec<Cause>) {
    let above = path.len();
    match value {
        Value::Object(fields) => {
            let others = schema.get("additionalProperties").filter(|others| others.is_object());
            for (name, value) in fields {
                let property = schema.get("properties").and_then(|properties| properties.get(name));
                let Some(schema) = property.or(others) else { continue };
                match property {
                    Some(_) => enter(path, name),
                    None => path.extend(["[", name.as_str(), "]"]),
                }
                duplicates(schema, value, path, causes);
                path.truncate(above);
            }
        }
        Value::Array(items) => {
            let keys = list(schema, "x-kubernetes-list-map-keys").unwrap_or_default();
            let key = |item: &Value| match text(schema, "x-kubernetes-list-type") {
                "set" => Some(item.clone()),
                "map" => Some(
                    keys.iter()
                        .filter_map(|key| Some((key.as_str()?.to_owned(), item.get(key.as_str()?)?.clone())))
                        .collect(),
                ),
                _ => None,
            };
            let of_maps = text(schema, "x-kubernetes-list-type") == "map";
            let odd = items.iter().position(|item| of_maps && !item.is_null() && !item.is_object());
            if let Some(at) = odd {
                let why = "must be an object for an array of list-type map";
                causes.push(Cause::invalid(format!("{path}[{at}]"), &items[at], why));
            }
            let (mut seen, mut told) = (BTreeSet::new(), BTreeSet::new());
            for (at, item) in items.iter().enumerate().filter(|_| odd.is_none()) {
                let Some(key) = key(item) else { break };
                if !seen.insert(key.to_string()) && told.insert(key.to_string()) {
                    let said = format!("Duplicate value: {key}");
                    causes.push(Cause::new("FieldValueDuplicate", format!("{path}[{at}]"), said));
                }
            }
            if let Some(schema) = schema.get("items") {
                for (at, item) in items.iter().enumerate() {
                    enter_item(path, at);
                    duplicates(schema, item, path, causes);
                    path.truncate(above);
                }
            }
        }
        _ => {}
    }
}

/// Objects within the object say what they are.
fn embedded(schema: &Value, value: &Value, path: &mut String, causes: &mut Vec<Cause>) {
    let above = path.len();
    if schema.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true)) && value.is_object() {
        for name in ["apiVersion", "kind"] {
            let here = format!("{path}.{name}");
            match value.get(name) {
                None => causes.push(Cause::required(here, "")),
                Some(Value::String(text)) if text.is_empty() => {
                    causes.push(Cause::invalid(here, &"".into(), "must not be empty"));
                }
                Some(_) => {}
            }
        }
    }
    match value {
        Value::Object(fields) => {
            let others = schema.get("additionalProperties").filter(|others| others.is_object());
            for (name, value) in fields {
                let property = schema.get("properties").and_then(|properties| properties.get(name));
                if let Some(schema) = property.or(others) {
                    enter(path, name);
                    embedded(schema, value, path, causes);
                    path.truncate(above);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (at, item) in items.iter().enumerate() {
                enter_item(path, at);
                embedded(schema, item, path, causes);
                path.truncate(above);
            }
        }
        _ => {}
    }
}

/// Goes on to a field.
fn enter(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// Goes on to an item of a list.
fn enter_item(path: &mut String, at: usize) {
    // Writing to a text cannot fail.
    let _ = write!(path, "[{at}]");
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn count(schema: &Value, key: &str) -> Option<u64> {
    schema.get(key).and_then(Value::as_u64)
}

fn list<'a>(schema: &'a Value, key: &str) -> Option<&'a [Value]> {
    schema.get(key).and_then(Value::as_array).map(Vec::as_slice).filter(|list| !list.is_empty())
}

#[cfg(test)]
mod tests;
