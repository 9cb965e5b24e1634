//! Findings as failed tests, in the [JUnit XML](https://github.com/testmoapp/junitxml) that CI systems read: a suite for each
//! cluster, a test for each finding. A difference is a test that passes, unless the API server refuses it.

use std::borrow::Cow;
use std::io;

use agent::model::finding::{Finding, text as full_text};
use quick_xml::Writer;
use quick_xml::escape::escape;
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesDecl, BytesText, Event};
use quick_xml::name::QName;

use super::{ChangeEffect, ReportedChange, Subject, main_place};

type Xml = Writer<Vec<u8>>;

pub(super) fn text(subject: &Subject<'_>) -> anyhow::Result<String> {
    let suites: Vec<JunitSuite<'_>> = suites(subject).collect();
    let (tests, failures) = (suites.iter().map(JunitSuite::tests).sum(), suites.iter().map(JunitSuite::failures).sum());
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    xml.create_element("testsuites")
        .with_attribute(attribute("name", subject.command))
        .with_attributes(counts(tests, failures))
        .write_inner_content(|xml| suites.iter().try_for_each(|it| suite(xml, subject, it)))?;
    Ok(String::from_utf8(xml.into_inner())? + "\n")
}

/// The tests about one cluster.
struct JunitSuite<'a> {
    name: &'a str,
    findings: &'a [Finding],
    changes: &'a [ReportedChange],
}

/// A suite for each cluster. Differences are of the first one.
fn suites<'a>(subject: &'a Subject<'_>) -> impl Iterator<Item = JunitSuite<'a>> {
    let clusters = subject.clusters.iter().enumerate();
    clusters.map(|(i, (name, findings))| JunitSuite {
        name,
        findings,
        changes: if i == 0 { subject.changes.as_slice() } else { &[] },
    })
}

impl JunitSuite<'_> {
    fn tests(&self) -> usize {
        (self.findings.len() + self.changes.len()).max(1)
    }

    fn failures(&self) -> usize {
        let failed = self.changes.iter().filter(|change| change.effect == ChangeEffect::Fail);
        self.findings.len() + failed.count()
    }
}

fn suite(xml: &mut Xml, subject: &Subject<'_>, of: &JunitSuite<'_>) -> io::Result<()> {
    let JunitSuite { name, findings, changes } = *of;
    let suite = xml
        .create_element("testsuite")
        .with_attribute(attribute("name", name))
        .with_attributes(counts(of.tests(), of.failures()))
        .with_attribute(attribute("skipped", "0"));
    suite.write_inner_content(|xml| {
        if findings.is_empty() && changes.is_empty() {
            // Some readers reject a suite without tests.
            let case = xml.create_element("testcase").with_attribute(attribute("name", "no findings"));
            case.with_attribute(attribute("classname", name)).write_empty()?;
        }
        findings.iter().try_for_each(|finding| case(xml, subject, finding))?;
        changes.iter().try_for_each(|change| change_case(xml, subject, change))
    })?;
    Ok(())
}

fn change_case(xml: &mut Xml, subject: &Subject<'_>, change: &ReportedChange) -> io::Result<()> {
    let file = change.place.location.as_ref().map_or_else(|| "nomos".to_owned(), |at| subject.file(at));
    let sentence = change.sentence();
    let case = xml
        .create_element("testcase")
        .with_attribute(attribute("name", &sentence))
        .with_attribute(attribute("classname", &file));
    let text = valid(&change.words().replace('\r', ""));
    case.write_inner_content(|xml| {
        let part = match change.effect {
            ChangeEffect::Fail => xml.create_element("failure").with_attribute(attribute("message", &sentence)),
            _ => xml.create_element("system-out"),
        };
        part.write_text_content(BytesText::new(&text))?;
        Ok(())
    })?;
    Ok(())
}

fn counts(tests: usize, failures: usize) -> [Attribute<'static>; 3] {
    [attribute("tests", &tests.to_string()), attribute("failures", &failures.to_string()), attribute("errors", "0")]
}

fn case(xml: &mut Xml, subject: &Subject<'_>, finding: &Finding) -> io::Result<()> {
    let (code, name) = (finding.code, finding.code.name());
    let at = main_place(finding).0.and_then(|place| place.location.as_ref());
    let (file, point) = at.map_or_else(Default::default, |at| (subject.file(at), subject.point(at)));
    let class = if file.is_empty() { "nomos" } else { &file };
    let mut case = xml
        .create_element("testcase")
        .with_attribute(attribute("name", format!("{code} {name} {point}").trim_end()))
        .with_attribute(attribute("classname", class));
    if let Some(at) = at.filter(|at| at.line > 0) {
        case = case.with_attributes([attribute("file", &file), attribute("line", &at.line.to_string())]);
    }
    case.write_inner_content(|xml| {
        let failure = xml.create_element("failure").with_attribute(attribute("type", &code.to_string()));
        let full_text = full_text(finding).replace('\r', "");
        failure
            .with_attribute(attribute("message", &finding.message))
            .write_text_content(BytesText::new(&valid(&full_text)))?;
        Ok(())
    })?;
    Ok(())
}

/// An attribute whose value keeps its line breaks and tabs: a reader takes those that are not escaped for
/// [spaces](https://www.w3.org/TR/xml/#AVNormalize).
fn attribute(key: &'static str, value: &str) -> Attribute<'static> {
    let value = escape(valid(value)).replace('\n', "&#10;").replace('\t', "&#9;").replace('\r', "&#13;");
    Attribute { key: QName(key.as_bytes()), value: Cow::Owned(value.into_bytes()) }
}

/// The text with U+FFFD instead of the control characters that [no XML document may contain](https://www.w3.org/TR/xml/#charsets).
fn valid(text: &str) -> String {
    let is_valid =
        |c: char| !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if is_valid(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}
