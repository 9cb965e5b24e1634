//! Findings as [workflow commands](https://docs.github.com/actions/reference/workflow-commands-for-github-actions): GitHub Actions
//! shows them beside the lines of a pull request.

use agent::model::finding::{Finding, Location, Warning};

use super::{Subject, main_place, words};

pub(super) fn text(subject: &Subject<'_>) -> String {
    let findings = subject.distinct().into_iter().map(|(finding, clusters)| command(subject, finding, &clusters));
    findings.chain(subject.warnings.iter().map(|it| warning(subject, it))).collect()
}

/// A warning, shown at the last of its places: of a key that is set twice, that value is in effect.
fn warning(subject: &Subject<'_>, warning: &Warning) -> String {
    let Some((at, others)) = warning.locations.split_last() else { return String::new() };
    let mut message = format!("{}\n\nhint: {}", warning.message, warning.hint);
    message.extend(others.iter().map(|at| format!("\nsee also: {}", subject.point(at))));
    let place = place(subject, at).map(|(name, value)| format!("{name}={}", property(&value))).collect::<Vec<_>>();
    format!("::warning {}::{}\n", place.join(","), data(&message))
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
    let properties: Vec<String> =
        properties.iter().map(|(name, value)| format!("{name}={}", property(value))).collect();
    let mut message = words(finding);
    let elsewhere: Vec<&Location> = others.iter().filter_map(|place| place.location.as_ref()).collect();
    message.extend(elsewhere.iter().map(|at| format!("\nsee also: {}", subject.point(at))));
    if clusters.len() < subject.clusters.len() {
        message.push_str(&format!("\nclusters: {}", clusters.join(", ")));
    }
    format!("::{level} {}::{}\n", properties.join(","), data(&message))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
