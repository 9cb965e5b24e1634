//! Findings as failed tests, in the XML that CI systems read: a suite for each cluster, a test for each finding.

use std::fmt::Write as _;

use agent::model::finding::{Finding, text as full_text};

use super::{Subject, main_place};

pub(super) fn text(subject: &Subject<'_>) -> String {
    let suites: String = subject.clusters.iter().map(|(name, findings)| suite(subject, name, findings)).collect();
    let failures: usize = subject.clusters.iter().map(|(_, findings)| findings.len()).sum();
    let tests: usize = subject.clusters.iter().map(|(_, findings)| findings.len().max(1)).sum();
    let counts = counts(tests, failures);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"nomos vet\" {counts}>\n{suites}</testsuites>\n"
    )
}

fn suite(subject: &Subject<'_>, name: &str, findings: &[Finding]) -> String {
    let name = escaped(name);
    let counts = counts(findings.len().max(1), findings.len());
    let mut out = format!("  <testsuite name=\"{name}\" {counts} skipped=\"0\">\n");
    if findings.is_empty() {
        // Some readers take a suite without tests for a broken one.
        let _ = writeln!(out, "    <testcase name=\"no findings\" classname=\"{name}\"/>");
    }
    out.extend(findings.iter().map(|finding| case(subject, finding)));
    out + "  </testsuite>\n"
}

fn counts(tests: usize, failures: usize) -> String {
    format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\"")
}

fn case(subject: &Subject<'_>, finding: &Finding) -> String {
    let (code, name) = (finding.code, finding.code.name());
    let at = main_place(finding).0.and_then(|place| place.location.as_ref());
    let (file, point) = at.map_or_else(Default::default, |at| (subject.file(at), subject.point(at)));
    let class = escaped(if file.is_empty() { "nomos" } else { &file });
    let mut place = String::new();
    if let Some(at) = at.filter(|at| at.line > 0) {
        let _ = write!(place, " file=\"{}\" line=\"{}\"", escaped(&file), at.line);
    }
    format!(
        "    <testcase name=\"{}\" classname=\"{class}\"{place}>\n      \
         <failure type=\"{code}\" message=\"{}\">{}</failure>\n    </testcase>\n",
        escaped(format!("{code} {name} {point}").trim_end()),
        escaped(&finding.message),
        element(&full_text(finding)),
    )
}

/// Text between tags, where white space may stand as it is and not every reader understands it otherwise.
fn element(text: &str) -> String {
    escaped(text).replace("&#10;", "\n").replace("&#9;", "\t").replace("&#13;", "")
}

/// Text of an attribute. Characters that XML cannot say become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}
