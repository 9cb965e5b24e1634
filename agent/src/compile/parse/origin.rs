//! Where an object came from: its file, the document in it, its place in a list; and so where each of its fields is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::documents::{self, DocumentRange, extension};
use super::locate;
use super::spans::DocumentSpans;
use crate::model::finding::{Location, Place, Resource, Warning};
use crate::model::object::Object;

/// The origin of one object.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) path: Arc<str>,
    content: Arc<[u8]>,
    document: DocumentRange,
    /// Unless it is a small document.
    shared: Option<Box<SharedSpans>>,
}

/// The place of an object in a document that many findings can be about.
#[derive(Clone, Debug, Default)]
struct SharedSpans {
    /// Positions in `items` that lead from the document to the object, which may be in a list in a list.
    items: Vec<usize>,
    /// Shared by the objects of a list, so that findings about all of them read the document once, until it is forgotten.
    spans: Arc<Mutex<Option<Arc<DocumentSpans>>>>,
}

impl SharedSpans {
    fn spans(&self) -> MutexGuard<'_, Option<Arc<DocumentSpans>>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The spans of larger documents is kept once it was needed.
const SMALL: usize = 4096;

impl Origin {
    /// The origin of what a document holds.
    pub(super) fn new(path: &Arc<str>, content: &Arc<[u8]>, document: DocumentRange) -> Self {
        let shared = (document.bytes(content).len() > SMALL).then(Box::default);
        Self { path: Arc::clone(path), content: Arc::clone(content), document, shared }
    }

    /// The same of a list: its items share what they need.
    pub(super) fn list(mut self) -> Self {
        self.shared.get_or_insert_default();
        self
    }

    /// The origin of an item of this list.
    pub(super) fn item(&self, position: usize) -> Self {
        let mut shared = self.shared.clone();
        if let Some(shared) = &mut shared {
            shared.items.push(position);
        }
        Self { path: Arc::clone(&self.path), content: Arc::clone(&self.content), document: self.document, shared }
    }

    /// Where the document starts.
    pub(super) fn start(&self) -> Location {
        self.byte(documents::first_text(self.document.bytes(&self.content)))
    }

    /// The value of `field`, or of the nearest field above it that the file states.
    pub(super) fn value(&self, field: &[&str]) -> Location {
        self.located(field, false)
    }

    /// The key of `field`, or of the nearest field above it that the file states.
    pub(super) fn key(&self, field: &[&str]) -> Location {
        self.located(field, true)
    }

    /// A warning for each of the first keys that a map of the document states several times, with its first places and the
    /// last.
    pub(super) fn repeated_keys(&self) -> Vec<Warning> {
        const KEYS: usize = 20;
        const PLACES: usize = 5;
        const LETTERS: usize = 100;
        let spans = self.spans();
        let warning = |(key, mut places): (&str, Vec<usize>)| {
            let (key, times): (String, usize) = (key.chars().take(LETTERS).collect(), places.len());
            places.drain(times.min(PLACES) - 1..times - 1);
            Warning {
                message: format!("The key `{key}` is set {times} times in one map; the last one counts."),
                hint: "Remove all but one.".to_owned(),
                locations: places.into_iter().map(|at| self.at(&spans, at)).collect(),
            }
        };
        spans.repeated().into_iter().take(KEYS).map(warning).collect()
    }

    /// A byte of the document.
    pub(super) fn byte(&self, at: usize) -> Location {
        let (line, column) = self.document.line_and_column(&self.content, at);
        Location { path: self.path.to_string(), line, column }
    }

    fn located(&self, field: &[&str], key: bool) -> Location {
        let items = self.shared.as_ref().map_or(&[][..], |shared| &shared.items);
        let positions: Vec<String> = items.iter().map(usize::to_string).collect();
        let mut steps: Vec<&str> = positions.iter().flat_map(|position| ["items", position]).collect();
        steps.extend(field);
        let spans = match &self.shared {
            Some(shared) => Arc::clone(shared.spans().get_or_insert_with(|| Arc::new(self.spans()))),
            None => Arc::new(self.spans()),
        };
        self.at(&spans, locate::field(&spans, &steps, key && !field.is_empty()))
    }

    /// A byte of the document whose spans this is.
    fn at(&self, spans: &DocumentSpans, at: usize) -> Location {
        let (line, start) = spans.line(at);
        let document = self.document.bytes(&self.content);
        let [from, to] = [start, at].map(|at| spans.characters_before(document, at));
        let (first_line, first_column) = self.document.line_and_column(&self.content, 0);
        let before = if line == 0 { first_column } else { 1 };
        Location { path: self.path.to_string(), line: first_line + line as u32, column: before + (to - from) as u32 }
    }

    /// Drops what the objects of the document share.
    pub(super) fn forget(&self) {
        if let Some(shared) = &self.shared {
            *shared.spans() = None;
        }
    }

    #[cfg(test)]
    pub(super) fn keeps_spans(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.spans().is_some())
    }

    fn spans(&self) -> DocumentSpans {
        let document = self.document.bytes(&self.content);
        let text = std::str::from_utf8(document).unwrap_or_default();
        DocumentSpans::of(document, extension(&self.path).is_some_and(|extension| documents::is_json(text, extension)))
    }
}

/// A point in the file of an object that may have no identity.
pub(super) fn place(location: Location, object: &Object) -> Place {
    let named = !object.name().is_empty() || !object.kind().is_empty();
    Place { location: Some(location), resource: named.then(|| Resource::of(object)) }
}
