//! Findings as a terminal shows them: the offending lines of the source, with a caret below what is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use agent::finding::{Finding, Location, Place, Resource};
use agent::parse::SourceFile;
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};

/// The files that findings are about, read when they are first asked for.
pub(crate) struct Lines<'a> {
    root: &'a Path,
    files: BTreeMap<String, Option<String>>,
}

impl<'a> Lines<'a> {
    /// The files below `root`, and one that is not on disk.
    pub(crate) fn new(root: &'a Path, rendered: Option<&SourceFile>) -> Self {
        let text = |file: &SourceFile| Some(String::from_utf8_lossy(&file.content).into_owned());
        Self { root, files: rendered.map(|file| (file.path.clone(), text(file))).into_iter().collect() }
    }

    /// The line of a place, and what of it is wrong. `None` for a place that is no line, and where it could show a secret.
    fn of(&mut self, place: &Place) -> Option<(String, Range<usize>)> {
        let at = place.location.as_ref().filter(|at| at.line > 0 && at.column > 0)?;
        let root = self.root;
        let read =
            |path: &str| fs::read(root.join(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = self.files.entry(at.path.clone()).or_insert_with(|| read(&at.path)).as_ref()?;
        let line = text.split('\n').nth(at.line as usize - 1)?.trim_end_matches('\r');
        if shows_secret(place, text, line) {
            return None;
        }
        let start = line.char_indices().nth(at.column as usize - 1).map_or(line.len(), |(start, _)| start);
        Some((line.to_owned(), start..start + length(&line[..start], &line[start..])))
    }
}

/// Whether the line of a place can hold a value of a Secret: findings are about names and metadata, but what could not be
/// read has neither, and flow style has everything on one line.
fn shows_secret(place: &Place, text: &str, line: &str) -> bool {
    match &place.resource {
        Some(resource) => resource.kind == "Secret" && line.contains('{'),
        None => text.lines().any(|line| line.contains("kind") && line.contains("Secret")),
    }
}

/// How long the key or value is that `rest` starts with. `before` is what is before it on its line.
fn length(before: &str, rest: &str) -> usize {
    let trimmed = rest.trim_end().len();
    match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => closing(rest, quote).map_or(trimmed, |end| end + 1),
        Some('{' | '[') => 1,
        _ => {
            let flow = before.contains(['{', '[']);
            let ends = |at: usize, c: char| match c {
                ':' => rest[at + 1..].chars().next().is_none_or(char::is_whitespace),
                '#' => rest[..at].ends_with(' '),
                ',' | ']' | '}' => flow,
                _ => false,
            };
            let end = rest.char_indices().find(|(at, c)| ends(*at, *c)).map_or(trimmed, |(at, _)| at);
            rest[..end].trim_end().len()
        }
    }
}

/// Where the quote that `text` starts with is closed.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quote == '"',
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

/// One finding, ending with a newline.
pub(crate) fn text(finding: &Finding, lines: &mut Lines<'_>, colours: bool) -> String {
    let level = if finding.code.blocks() { Level::ERROR } else { Level::WARNING };
    let code = finding.code.to_string();
    let mut group = level.primary_title(&finding.message).id(&code).elements(places(&finding.places, lines));
    if let Some(hint) = &finding.hint {
        group = group.element(Level::HELP.message(hint));
    }
    group = group.element(Level::NOTE.message(format!("for more information, run: nomos explain {code}")));
    let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).render(&[group]) + "\n"
}

fn places(places: &[Place], lines: &mut Lines<'_>) -> Vec<Element<'static>> {
    let mut elements = Vec::new();
    let mut seen = Vec::new();
    for place in places {
        // Copies of one manifest are in one place.
        if seen.contains(&place) {
            continue;
        }
        let kind = if seen.is_empty() { AnnotationKind::Primary } else { AnnotationKind::Context };
        let label = place.resource.as_ref().map(named);
        elements.extend(match (&place.location, lines.of(place)) {
            (Some(at), Some((line, span))) => {
                let annotation = kind.span(span).label(label);
                let snippet = Snippet::source(line).path(visible(&at.path)).line_start(at.line as usize);
                Some(snippet.annotation(annotation).into())
            }
            (Some(at), None) => Some(origin(at).into()),
            (None, _) => label.map(|label| Level::NOTE.message(label).into()),
        });
        seen.push(place);
    }
    elements
}

fn origin(at: &Location) -> Origin<'static> {
    let origin = Origin::path(visible(&at.path));
    match (at.line as usize, at.column as usize) {
        (0, _) => origin,
        (line, 0) => origin.line(line),
        (line, column) => origin.line(line).char_column(column),
    }
}

/// Names of files can hold what a terminal would obey.
fn visible(path: &str) -> String {
    path.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// `Deployment shop/web`
fn named(resource: &Resource) -> String {
    let namespace = if resource.namespace.is_empty() { String::new() } else { format!("{}/", resource.namespace) };
    format!("{} {namespace}{}", resource.kind, resource.name).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_underlined() {
        let table = [
            ("  name: web # c", 8, "web"),
            ("  name: web", 2, "name"),
            ("  name: [a, b]", 8, "["),
            ("  labels: {app: web, b: c}", 16, "web"),
            ("  labels: {app: web, b: c}", 11, "app"),
            ("- \"a\\\"b\": 1", 2, "\"a\\\"b\""),
            ("a: 'it''s'", 3, "'it'"),
            ("a: http://x#y  ", 3, "http://x#y"),
            ("a: b, c", 3, "b, c"),
            ("a: |", 3, "|"),
            ("a: \"open", 3, "\"open"),
            ("a:", 2, ""),
        ];
        for (line, start, expected) in table {
            let length = length(&line[..start], &line[start..]);
            assert_eq!(&line[start..start + length], expected, "{line}");
        }
    }
}
