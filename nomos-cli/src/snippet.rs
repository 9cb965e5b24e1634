//! Findings on a terminal: each with its lines of the source, and carets below the key or value that it is about.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use agent::compile::parse::SourceFile;
use agent::model::finding::{Code, Finding, Location, Place, Resource};
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};

use crate::Paint;

/// The files that findings are about. Each is read when a line of it is first needed.
pub(crate) struct Lines<'a> {
    root: &'a Path,
    files: BTreeMap<String, Option<Text>>,
}

/// A file as text.
struct Text {
    text: String,
    /// The byte at which each line starts.
    starts: Vec<usize>,
    /// The first line of each YAML document, counted from 1, and `true` if the document can hold a Secret.
    documents: Vec<(u32, bool)>,
}

impl Text {
    fn of(bytes: &[u8]) -> Self {
        let text = inert(&String::from_utf8_lossy(bytes));
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut documents = vec![(1, false)];
        for (number, line) in (1..).zip(text.split('\n')) {
            if line.starts_with("---") {
                documents.push((number, false));
            }
            if let Some((_, secret)) = documents.last_mut() {
                *secret |= line.contains("Secret");
            }
        }
        Self { text, starts, documents }
    }

    /// `true` if the document with this line can hold a Secret.
    fn says_secret(&self, line: u32) -> bool {
        let until = self.documents.partition_point(|(first, _)| *first <= line);
        self.documents[..until].last().is_some_and(|(_, secret)| *secret)
    }

    /// The line with this number, counted from 1.
    fn line(&self, line: u32) -> Option<&str> {
        let start = *self.starts.get(line as usize - 1)?;
        let end = self.starts.get(line as usize).map_or(self.text.len(), |next| next - 1);
        // A byte order mark has no column.
        let line = &self.text[start..end];
        Some(line.strip_prefix('\u{feff}').unwrap_or(line).trim_end_matches('\r'))
    }
}

impl<'a> Lines<'a> {
    /// The files below `root`, and the output of kustomize if there is one.
    pub(crate) fn new(root: &'a Path, rendered: Option<&SourceFile>) -> Self {
        let rendered = rendered.map(|file| (file.path.clone(), Some(Text::of(&file.content))));
        Self { root, files: rendered.into_iter().collect() }
    }

    /// The line of a place, and the range of bytes that the place is about. `None` for a place without a line, and if the line
    /// could show a value of a Secret.
    fn of(&mut self, code: Code, place: &Place) -> Option<(String, Range<usize>)> {
        let at = place.location.as_ref().filter(|at| at.line > 0 && at.column > 0)?;
        let root = self.root;
        let read = |path: &str| fs::read(root.join(path)).ok().map(|bytes| Text::of(&bytes));
        let text = self.files.entry(at.path.clone()).or_insert_with(|| read(&at.path)).as_ref()?;
        let line = text.line(at.line)?;
        if shows_secret(code, place, text, at.line, line) {
            return None;
        }
        let start = line.char_indices().nth(at.column as usize - 1).map_or(line.len(), |(start, _)| start);
        Some((line.to_owned(), start..start + length(&line[..start], &line[start..])))
    }
}

/// `true` if the line of a place can hold a value of a Secret.
///
/// A finding about an object is at a name or at metadata, but for one about an incomplete object, which can be at a value. In flow style the same line can hold the data of the object, or of
/// another object of a list. A finding without an object is about a file that could not be parsed, and can be at any line.
fn shows_secret(code: Code, place: &Place, text: &Text, at: u32, line: &str) -> bool {
    match &place.resource {
        Some(resource) if code == Code::Resource && matches!(resource.kind.as_str(), "Secret" | "ConfigMap") => true,
        Some(resource) => line.contains(['{', '}']) && (resource.kind == "Secret" || text.says_secret(at)),
        None => text.documents.iter().any(|(_, secret)| *secret),
    }
}

/// The length of the key or value at the start of `rest`, in bytes. `before` is the text before it on its line.
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

/// The byte of the quote that closes the one at the start of `text`; `None` if it is not closed on this line.
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

/// The text of one finding. It ends with a newline.
pub(crate) fn text(finding: &Finding, lines: &mut Lines<'_>, paint: Paint) -> String {
    let level = if finding.code.blocks() { Level::ERROR } else { Level::WARNING };
    let code = finding.code.to_string();
    let mut group = level.primary_title(inert(&finding.message)).id(&code).elements(places(finding, lines));
    if let Some(hint) = &finding.hint {
        group = group.element(Level::HELP.message(inert(hint)));
    }
    group = group.element(Level::NOTE.message(format!("for more information, run: nomos explain {code}")));
    let renderer = if paint.on { Renderer::styled() } else { Renderer::plain() };
    paint.adopt(&renderer.decor_style(DecorStyle::Ascii).render(&[group])) + "\n"
}

fn places(finding: &Finding, lines: &mut Lines<'_>) -> Vec<Element<'static>> {
    let mut elements = Vec::new();
    let mut seen = BTreeSet::new();
    for place in &finding.places {
        let kind = if seen.is_empty() { AnnotationKind::Primary } else { AnnotationKind::Context };
        // Copies of one manifest have the same place.
        if !seen.insert(place) {
            continue;
        }
        let label = place.resource.as_ref().map(named);
        elements.extend(match (&place.location, lines.of(finding.code, place)) {
            (Some(at), Some((line, span))) => {
                let annotation = kind.span(span).label(label);
                let snippet = Snippet::source(line).path(visible(&at.path)).line_start(at.line as usize);
                Some(snippet.annotation(annotation).into())
            }
            (Some(at), None) => Some(origin(at).into()),
            (None, _) => label.map(|label| Level::NOTE.message(label).into()),
        });
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

/// The path with its control characters escaped, which a terminal could take for commands.
fn visible(path: &str) -> String {
    path.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// The text with a picture in the place of each escape character, so that those of the renderer are the only ones. It is one character
/// too: columns stay as they are.
fn inert(text: &str) -> String {
    text.replace('\u{1b}', "\u{241b}")
}

/// `Deployment shop/web`
fn named(resource: &Resource) -> String {
    let namespace = if resource.namespace.is_empty() { String::new() } else { format!("{}/", resource.namespace) };
    inert(format!("{} {namespace}{}", resource.kind, resource.name).trim_end())
}

#[cfg(test)]
mod tests {
    use agent::model::finding::Code;

    use super::*;
    use crate::tests::terminal::{assert_harmless, printed};

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

    #[test]
    fn control_characters_of_a_source_do_not_reach_the_terminal() {
        let pieces =
            ["a", "\t", "\u{1b}[31m", "\0", "é", "\u{202e}", "👩‍👧", "\u{feff}", "'", "{", ": ", "\u{300}", "#", "\r"];
        let line = pieces.concat();
        for text in [line.clone(), format!("{line}\n{line}\r\n\n"), pieces.join("\n")] {
            let file = SourceFile { path: "\u{1b}.yaml".to_owned(), content: text.as_bytes().into() };
            let mut lines = Lines::new(Path::new("/nowhere"), Some(&file));
            for (line, column) in (0..5).flat_map(|line| (0..40).map(move |column| (line, column))) {
                let location = Location { path: file.path.clone(), line, column };
                let place = Place { location: Some(location), resource: None };
                let finding = Finding::new(Code::Path, "bad").at(place.clone()).at(place);
                let shown = super::text(&finding, &mut lines, Paint { on: false });
                assert!(shown.starts_with("error[KNV2001]: bad\n") && !shown.contains('\u{1b}'), "{shown}");
                let coloured = super::text(&finding, &mut lines, Paint { on: true });
                assert_harmless(&printed(|console| console.note(&coloured)));
            }
        }
    }
}
