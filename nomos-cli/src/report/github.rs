//! Findings and differences as [workflow commands](https://docs.github.com/actions/reference/workflow-commands-for-github-actions): GitHub Actions
//! shows them beside the lines of a pull request.

use agent::model::finding::{Finding, Location, Warning};

use super::{ChangeEffect, ReportedChange, Subject, main_place, words};
use crate::source::sealed_note;

pub(super) fn text(subject: &Subject<'_>) -> String {
    let findings = subject.distinct().into_iter().map(|(finding, clusters)| command(subject, finding, &clusters));
    let warnings = subject.warnings.iter().map(|it| warning(subject, it));
    let sealed = sealed_note(subject.sealed).map(|note| format!("::notice ::{}\n", data(&note)));
    findings.chain(warnings).chain(sealed).chain(subject.changes.iter().map(|it| change(subject, it))).collect()
}

/// A difference, beside the manifest that makes it.
fn change(subject: &Subject<'_>, change: &ReportedChange) -> String {
    let level = match change.effect {
        ChangeEffect::Fail => "error",
        ChangeEffect::Delete => "warning",
        ChangeEffect::Create | ChangeEffect::Change | ChangeEffect::Unknown => "notice",
    };
    let mut properties = vec![("title", change.sentence())];
    properties.extend(change.place.location.iter().flat_map(|at| place(subject, at)));
    format!("::{level} {}::{}\n", listed(&properties), data(&change.words()))
}

fn listed(properties: &[(&str, String)]) -> String {
    properties.iter().map(|(name, value)| format!("{name}={}", property(value))).collect::<Vec<_>>().join(",")
}

/// A warning, shown at the last of its places: of a key that is set twice, that value is in effect.
fn warning(subject: &Subject<'_>, warning: &Warning) -> String {
    let Some((at, others)) = warning.locations.split_last() else { return String::new() };
    let mut message = format!("{}\n\nhint: {}", warning.message, warning.hint);
    message.extend(others.iter().map(|at| format!("\nsee also: {}", subject.point(at))));
    format!("::warning {}::{}\n", listed(&place(subject, at).collect::<Vec<_>>()), data(&message))
}

/// The properties that name a place: a whole file has no line.
fn place<'a>(subject: &Subject<'_>, at: &'a Location) -> impl Iterator<Item = (&'static str, String)> + use<'a> {
    let numbers = [("line", at.line), ("col", at.column)].into_iter();
    let numbers = numbers.filter(|(_, n)| *n > 0).map(|(name, n)| (name, n.to_string()));
    std::iter::once(("file", subject.file(at))).chain(numbers)
}

fn command(subject: &Subject<'_>, finding: &Finding, clusters: &[&str]) -> String {
    let (main, others) = main_place(finding);
    let level = if finding.code.blocks() { "error" } else { "warning" };
    let mut properties = vec![("title", format!("{} {}", finding.code, finding.code.name()))];
    if let Some(at) = main.and_then(|place| place.location.as_ref()) {
        properties.extend(place(subject, at));
    }
    let mut message = words(finding);
    let elsewhere: Vec<&Location> = others.iter().filter_map(|place| place.location.as_ref()).collect();
    message.extend(elsewhere.iter().map(|at| format!("\nsee also: {}", subject.point(at))));
    if clusters.len() < subject.clusters.len() {
        message.push_str(&format!("\nclusters: {}", clusters.join(", ")));
    }
    format!("::{level} {}::{}\n", listed(&properties), data(&message))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
