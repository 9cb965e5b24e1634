//! Label selectors: `matchLabels` and `matchExpressions`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::compile::parse::Manifest;
use crate::compile::parse::builtin_types;
use crate::compile::validate::malformed;
use crate::model::finding::{Code, Finding};

/// A valid label selector: all its requirements must be fulfilled.
pub(super) struct SelectorMatcher(Vec<Requirement>);

struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl SelectorMatcher {
    /// The finding (KNV1006) about a ClusterSelector or NamespaceSelector that does not have the fields of its type.
    pub(super) fn malformed(manifest: &Manifest) -> Option<Finding> {
        malformed(manifest, &["v1"], builtin_types::SELECTOR)
    }

    /// Reads `spec.selector` of a ClusterSelector or NamespaceSelector.
    ///
    /// # Errors
    ///
    /// A finding if the object is malformed (KNV1006), or if the selector is invalid or empty (KNV1014).
    pub(super) fn of(manifest: &Manifest) -> Result<Self, Finding> {
        if let Some(finding) = Self::malformed(manifest) {
            return Err(finding);
        }
        let selector = manifest.object.field("spec").and_then(|spec| spec.get("selector")).unwrap_or(&Value::Null);
        let kind = manifest.object.kind();
        let invalid = |message: String, hint: &str| {
            let place = manifest.at_value(&["spec", "selector"]);
            Finding::new(Code::InvalidSelector, message).hint(hint).at(place)
        };
        let requirements = requirements(selector)
            .map_err(|problem| invalid(format!("This {kind} is invalid: {problem}."), "Correct spec.selector."))?;
        if requirements.is_empty() {
            let message = format!("This {kind} is invalid: spec.selector is empty.");
            return Err(invalid(
                message,
                "Add matchLabels or matchExpressions. An object that is for all needs no selector annotation: remove it there.",
            ));
        }
        Ok(Self(requirements))
    }

    /// `true` if it selects an object with these labels.
    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match requirement.operator {
                Operator::In => value.is_some_and(|value| requirement.values.contains(value)),
                Operator::NotIn => value.is_none_or(|value| !requirement.values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}

fn requirements(selector: &Value) -> Result<Vec<Requirement>, String> {
    let mut requirements = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        let values = vec![value.as_str().unwrap_or_default().to_owned()];
        requirements.push(Requirement { key: key.clone(), operator: Operator::In, values });
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let values = expression["values"].as_array().into_iter().flatten();
        requirements.push(Requirement {
            key: expression["key"].as_str().unwrap_or_default().to_owned(),
            operator: operator(expression["operator"].as_str().unwrap_or_default())?,
            values: values.map(|value| value.as_str().unwrap_or_default().to_owned()).collect(),
        });
    }
    requirements.iter().try_for_each(check)?;
    Ok(requirements)
}

fn operator(text: &str) -> Result<Operator, String> {
    match text {
        "In" => Ok(Operator::In),
        "NotIn" => Ok(Operator::NotIn),
        "Exists" => Ok(Operator::Exists),
        "DoesNotExist" => Ok(Operator::DoesNotExist),
        _ => Err(format!("the operator `{text}` is not In, NotIn, Exists or DoesNotExist")),
    }
}

fn check(requirement: &Requirement) -> Result<(), String> {
    let Requirement { key, operator, values } = requirement;
    let needs_values = matches!(operator, Operator::In | Operator::NotIn);
    if needs_values && values.is_empty() {
        return Err(format!("the expression for `{key}` needs values"));
    }
    if !needs_values && !values.is_empty() {
        return Err(format!("the expression for `{key}` must not have values"));
    }
    if !is_label_key(key) {
        return Err(format!("`{key}` is not a valid label key"));
    }
    match values.iter().find(|value| !value.is_empty() && !is_name(value)) {
        Some(value) => Err(format!("`{value}` is not a valid label value")),
        None => Ok(()),
    }
}

fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => crate::compile::validate::is_subdomain(prefix) && is_name(name),
        None => is_name(key),
    }
}

/// `true` for at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> Result<bool, String> {
        let selector = serde_json::from_str(selector).expect("JSON");
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        requirements(&selector).map(|requirements| SelectorMatcher(requirements).matches(&labels))
    }

    #[test]
    fn expressions_match_as_in_kubernetes() {
        let not_in = r#"{"matchExpressions":[{"key":"a","operator":"NotIn","values":["x"]}]}"#;
        assert_eq!(selects(not_in, &[]), Ok(true));
        assert_eq!(selects(not_in, &[("a", "x")]), Ok(false));
        assert_eq!(selects(r#"{"matchLabels":{"a":null}}"#, &[("a", "")]), Ok(true));
        assert_eq!(selects(r#"{"matchExpressions":[{"key":"a","operator":"Exists"}]}"#, &[("a", "x")]), Ok(true));
    }

    #[test]
    fn selectors_that_kubernetes_refuses_are_refused() {
        for selector in [
            r#"{"matchExpressions":[{"key":"a","operator":"In"}]}"#,
            r#"{"matchExpressions":[{"key":"a","operator":"Exists","values":["x"]}]}"#,
            r#"{"matchExpressions":[{"key":"a","operator":"Equals","values":["x"]}]}"#,
            r#"{"matchLabels":{"-a":"b"}}"#,
            r#"{"matchLabels":{"a":"b c"}}"#,
            r#"{"matchLabels":{"A/a/b":"b"}}"#,
        ] {
            assert!(selects(selector, &[]).is_err(), "{selector}");
        }
    }
}
