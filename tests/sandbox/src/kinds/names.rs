//! The rules for names, labels and annotations.

use serde_json::Value;

use crate::failure::Cause;
use crate::resource::Resource;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                     and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                         and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
                         validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
                         an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                         validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                           and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or \
                           '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
/// The maximum size of all annotations together, in bytes.
const ANNOTATIONS: usize = 256 * 1024;

/// Checks the name of an object.
pub fn check(resource: &Resource, name: &str) -> Option<String> {
    match resource.group.as_str() {
        "rbac.authorization.k8s.io" => path_segment(name),
        "" if ["namespaces", "services"].contains(&resource.plural.as_str()) => label(name),
        _ => subdomain(name),
    }
}

fn too_long(text: &str, most: usize) -> Option<String> {
    (text.len() > most).then(|| format!("must be no more than {most} bytes"))
}

fn is_lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let ends = text.starts_with(is_lower) && text.ends_with(is_lower);
    ends && text.chars().all(|c| is_lower(c) || c == '-')
}

/// A part of a DNS name.
pub fn label(text: &str) -> Option<String> {
    too_long(text, 63).or_else(|| (!is_label(text)).then(|| LABEL.to_owned()))
}

/// A DNS name.
pub fn subdomain(text: &str) -> Option<String> {
    too_long(text, 253).or_else(|| (!text.split('.').all(is_label)).then(|| SUBDOMAIN.to_owned()))
}

/// Checks text that must be able to stand between two slashes of a path.
pub fn path_segment(name: &str) -> Option<String> {
    if name == "." || name == ".." {
        return Some(format!("may not be '{name}'"));
    }
    let part = ["/", "%"].into_iter().find(|part| name.contains(part))?;
    Some(format!("may not contain '{part}'"))
}

fn is_word(text: &str) -> bool {
    let ends =
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    ends && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// The name of a port.
pub fn port(text: &str) -> Option<String> {
    let allowed = |c: char| is_lower(c) || c == '-';
    let why = if text.is_empty() || !text.chars().all(allowed) {
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    } else if !text.contains(|c: char| c.is_ascii_lowercase()) {
        "must contain at least one letter (a-z)"
    } else if text.contains("--") {
        "must not contain consecutive hyphens"
    } else if text.starts_with('-') || text.ends_with('-') {
        "must not begin or end with a hyphen"
    } else {
        return too_long(text, 15);
    };
    Some(why.to_owned())
}

/// Finalizers that need no domain.
pub const STANDARD_FINALIZERS: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];

/// A name with or without a domain before it, as keys of labels are.
pub fn qualified(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        ["", _] => return Some("prefix part must be non-empty".to_owned()),
        [prefix, name] => match subdomain(prefix) {
            Some(detail) => return Some(format!("prefix part {detail}")),
            None => name,
        },
        _ => {
            let form = QUALIFIED.trim_start_matches("name part must ");
            return Some(format!(
                "a qualified name must {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                form
            ));
        }
    };
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    too_long(name, 63)
        .map(|detail| format!("name part {detail}"))
        .or_else(|| (!is_word(name)).then(|| QUALIFIED.to_owned()))
}

/// Checks labels.
pub fn labels(field: &str, labels: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        if let Some(detail) = qualified(key) {
            causes.push(Cause::invalid(field, &key.as_str().into(), &detail));
        }
        if let Some(detail) = value.as_str().and_then(label_value) {
            causes.push(Cause::invalid(field, value, &detail));
        }
    }
    causes
}

/// The value of a label.
pub fn label_value(text: &str) -> Option<String> {
    too_long(text, 63).or_else(|| (!text.is_empty() && !is_word(text)).then(|| LABEL_VALUE.to_owned()))
}

/// Checks annotations.
pub fn annotations(field: &str, annotations: Option<&Value>) -> Vec<Cause> {
    let (mut causes, mut size) = (Vec::new(), 0);
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        if let Some(detail) = qualified(&key.to_lowercase()) {
            causes.push(Cause::invalid(field, &key.as_str().into(), &detail));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS {
        let detail = format!("Too long: may not be more than {ANNOTATIONS} bytes");
        causes.push(Cause::new("FieldValueTooLong", field, detail));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "a.b-c", "1"] {
            assert_eq!(subdomain(good), None, "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a..b", "a_b"] {
            assert!(subdomain(bad).is_some(), "{bad}");
        }
        assert!(label("a.b").is_some() && label("1a").is_none());
    }

    #[test]
    fn keys_are_checked() {
        for good in ["a", "A_b.c", "example.com/a"] {
            assert_eq!(qualified(good), None, "{good}");
        }
        for bad in ["", "a b", "/a", "a/", "a/b/c", "_a", "Example/a"] {
            assert!(qualified(bad).is_some(), "{bad}");
        }
    }
}
