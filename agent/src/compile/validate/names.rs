//! Rules for names that the API server refuses.

use super::Findings;
use crate::compile::parse::{BuiltinKind, Manifest};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::CONTROLLER_NAMESPACES;

/// An object has a name (KNV1031), and the name is valid (KNV1036).
pub(super) fn name(manifest: &Manifest, findings: &mut Findings) {
    let name = manifest.object.id.name();
    if name.is_empty() {
        let finding = Finding::new(Code::MissingObjectName, "The object has no name.");
        findings.push(finding.hint("Set metadata.name.").at(manifest.at_value(&["metadata"])));
        return;
    }
    let (valid, rule) = if manifest.object.id.group() == "rbac.authorization.k8s.io" {
        (is_path_segment(name), "Rename the object: the name must not be `.` or `..` and must not contain `/` or `%`.")
    } else {
        (
            is_subdomain(name),
            "Use at most 253 lower case letters, digits, `-` and `.`. Each part between dots starts and ends with a letter or digit.",
        )
    };
    if !valid {
        let finding = Finding::new(Code::InvalidMetadataName, format!("metadata.name `{name}` is not a valid name."));
        findings.push(finding.hint(rule).at(manifest.at_name()));
    }
}

/// The name of a Namespace, or metadata.namespace, is valid (KNV1055) and not a Namespace of the system (KNV1034).
pub(super) fn namespace(manifest: &Manifest, findings: &mut Findings) {
    let id = &manifest.object.id;
    let is_namespace = manifest.is_any(BuiltinKind::Namespace);
    let (name, field) = if is_namespace { (id.name(), "name") } else { (id.namespace(), "namespace") };
    if name.is_empty() {
        return;
    }
    let place = || manifest.at_value(&["metadata", field]);
    if !is_label(name) {
        let rule = "Use at most 63 lower case letters, digits and `-`. Start and end with a letter or digit.";
        let finding = Finding::new(Code::InvalidNamespace, format!("`{name}` is not a valid name of a namespace."));
        findings.push(finding.hint(rule).at(place()));
    }
    if is_namespace && CONTROLLER_NAMESPACES.contains(&name) {
        let message = format!("The Namespace `{name}` belongs to the system and must not be declared.");
        let hint = "Remove the manifest of the Namespace. Objects in the Namespace may be declared.";
        findings.push(Finding::new(Code::IllegalNamespace, message).hint(hint).at(place()));
    }
}

/// `true` for a DNS label (RFC 1123).
fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_label_of_any_length(name)
}

/// `true` for a DNS subdomain (RFC 1123).
pub(crate) fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label_of_any_length)
}

fn is_label_of_any_length(name: &str) -> bool {
    let letter_or_digit = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.first().is_some_and(letter_or_digit)
        && bytes.last().is_some_and(letter_or_digit)
        && bytes.iter().all(|byte| letter_or_digit(byte) || *byte == b'-')
}

fn is_path_segment(name: &str) -> bool {
    !matches!(name, "." | "..") && !name.contains(['/', '%'])
}
