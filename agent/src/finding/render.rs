//! Findings as text: one bare, several as a numbered list (errors §1.2 and §1.3).

use super::{Finding, Place};

/// The full text of one finding, without a trailing newline.
pub fn text(finding: &Finding) -> String {
    let mut out = format!("{}: {}", finding.code, finding.message);
    if let Some(hint) = &finding.hint {
        out.push_str(&format!("\n\nhint: {hint}"));
    }
    let mut blocks: Vec<String> = finding.places.iter().map(block).collect();
    blocks.sort();
    for block in blocks {
        out.push_str("\n\n");
        out.push_str(&block);
    }
    out.push_str(&format!("\n\nFor more information, run: nomos explain {}", finding.code));
    out
}

/// One finding bare, several as a count and a numbered list; sorted and without repeats.
pub fn numbered(findings: &[Finding]) -> String {
    let mut texts: Vec<String> = findings.iter().map(text).collect();
    texts.sort();
    texts.dedup();
    if let [only] = texts.as_slice() {
        return only.clone();
    }
    let mut out = format!("{} error(s)\n", texts.len());
    for (i, text) in texts.iter().enumerate() {
        out.push_str(&format!("\n\n[{}] {text}\n", i + 1));
    }
    out
}

fn block(place: &Place) -> String {
    let mut lines = Vec::new();
    if let Some(at) = &place.location {
        let word = if place.resource.is_some() { "source" } else { "path" };
        lines.push(match (at.line, at.column) {
            (0, _) => format!("{word}: {}", at.path),
            (line, 0) => format!("{word}: {}:{line}", at.path),
            (line, column) => format!("{word}: {}:{line}:{column}", at.path),
        });
    }
    if let Some(resource) = &place.resource {
        let mut field = |name: &str, value: &str| {
            lines.push(if value.is_empty() { format!("{name}:") } else { format!("{name}: {value}") });
        };
        if !resource.namespace.is_empty() {
            field("namespace", &resource.namespace);
        }
        field("metadata.name", &resource.name);
        field("group", &resource.group);
        field("version", &resource.version);
        field("kind", &resource.kind);
    }
    lines.join("\n")
}
