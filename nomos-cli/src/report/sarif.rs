//! Findings and differences as [SARIF 2.1.0](https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html), which code scanning services and
//! editors read.

use agent::model::finding::{Code, Explanation, Finding, Place};
use serde_json::{Value, json};

use super::{ChangeEffect, ReportedChange, Subject, main_place, words};
use crate::source::sealed_note;

pub(super) fn text(subject: &Subject<'_>) -> anyhow::Result<String> {
    let distinct = subject.distinct();
    let mut codes: Vec<Code> = distinct.iter().map(|(finding, _)| finding.code).collect();
    codes.dedup();
    let results: Vec<Value> = distinct
        .iter()
        .map(|(finding, clusters)| {
            let rule = codes.iter().position(|code| *code == finding.code);
            result(subject, finding, rule, clusters)
        })
        .chain(subject.changes.iter().map(|it| change(subject, it)))
        .collect();
    let mut log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "nomos",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    if let Some(note) = sealed_note(subject.sealed) {
        let notification = json!({ "level": "note", "message": { "text": note } });
        log["runs"][0]["invocations"] =
            json!([{ "executionSuccessful": true, "toolExecutionNotifications": [notification] }]);
    }
    Ok(serde_json::to_string_pretty(&log)? + "\n")
}

fn level(code: Code) -> &'static str {
    if code.blocks() { "error" } else { "warning" }
}

fn rule(code: Code) -> Value {
    let Explanation { meaning, why, fix, example } = code.explanation();
    json!({
        "id": code.to_string(),
        "name": code.name(),
        "shortDescription": { "text": meaning },
        "fullDescription": { "text": format!("{meaning} {why}") },
        "help": {
            "text": format!("{fix}\n\nExample: {example}"),
            "markdown": format!("{fix}\n\n**Example:** `{example}`"),
        },
        "defaultConfiguration": { "level": level(code) },
    })
}

fn result(subject: &Subject<'_>, finding: &Finding, rule: Option<usize>, clusters: &[&str]) -> Value {
    let (main, others) = main_place(finding);
    // A code scanning service can refuse a result without a location: a finding without a place is at the root of the source.
    let main = main.map_or_else(|| json!({ "physicalLocation": file(subject, "") }), |place| location(subject, place));
    let others = others.iter().filter(|place| place.location.is_some());
    json!({
        "ruleId": finding.code.to_string(),
        "ruleIndex": rule,
        "level": level(finding.code),
        "message": { "text": words(finding) },
        "locations": [main],
        "relatedLocations": others.map(|place| location(subject, place)).collect::<Vec<_>>(),
        "properties": { "clusters": clusters },
    })
}

/// A difference. It has a rule of its own, which nothing explains.
fn change(subject: &Subject<'_>, change: &ReportedChange) -> Value {
    let level = match change.effect {
        ChangeEffect::Fail => "error",
        ChangeEffect::Delete => "warning",
        ChangeEffect::Create | ChangeEffect::Change | ChangeEffect::Unknown => "note",
    };
    let mut at = location(subject, &change.place);
    if change.place.location.is_none() {
        at["physicalLocation"] = file(subject, "");
    }
    json!({
        "ruleId": "difference",
        "level": level,
        "message": { "text": format!("{}\n\n{}", change.sentence(), change.words()) },
        "locations": [at],
    })
}

fn location(subject: &Subject<'_>, place: &Place) -> Value {
    let mut location = json!({});
    if let Some(at) = &place.location {
        let mut physical = file(subject, &at.path);
        if at.line > 0 {
            physical["region"] = json!({ "startLine": at.line });
        }
        if at.column > 0 {
            physical["region"]["startColumn"] = at.column.into();
        }
        location["physicalLocation"] = physical;
    }
    if let Some(resource) = &place.resource {
        let group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
        let namespace = if resource.namespace.is_empty() { String::new() } else { format!("{}/", resource.namespace) };
        let name = format!("{}{group} {namespace}{}", resource.kind, resource.name);
        location["logicalLocations"] = json!([{ "fullyQualifiedName": name, "kind": "object" }]);
    }
    location
}

fn file(subject: &Subject<'_>, path: &str) -> Value {
    let path = format!("{}{path}", subject.root);
    let uri = if path.is_empty() { "./".to_owned() } else { encoded(&path) };
    json!({ "artifactLocation": { "uri": uri } })
}

/// A path as a relative URI reference, percent-encoded.
fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
