//! The origin of an object: its file, the document in the file and its position in a list. The places of its fields follow from
//! that.

use std::sync::{Arc, Mutex, MutexGuard};

use super::documents::{self, DocumentRange, extension};
use super::locate;
use super::spans::DocumentSpans;
use crate::model::finding::{Location, Place, Resource, Warning};
use crate::model::object::Object;
use crate::model::shared::lock;

/// The origin of one object.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) path: Arc<str>,
    content: Arc<[u8]>,
    document: DocumentRange,
    /// `None` for an object that is alone in a small document.
    shared: Option<Box<SharedSpans>>,
}

/// The position of an object in a document that many findings can be about, and the spans of that document.
#[derive(Clone, Debug, Default)]
struct SharedSpans {
    /// The positions in `items` from the document to the object, which may be in a list in a list.
    items: Vec<usize>,
    /// The spans of the document. The objects of a list share them, so that all findings about them read the document once.
    spans: Arc<Mutex<Option<Arc<DocumentSpans>>>>,
}

impl SharedSpans {
    fn spans(&self) -> MutexGuard<'_, Option<Arc<DocumentSpans>>> {
        lock(&self.spans)
    }
}

/// The size of a document above which its spans are kept once a finding needed them.
const SMALL: usize = 4096;

impl Origin {
    /// The origin of the object in a document.
    pub(super) fn new(path: &Arc<str>, content: &Arc<[u8]>, document: DocumentRange) -> Self {
        let shared = (document.bytes(content).len() > SMALL).then(Box::default);
        Self { path: Arc::clone(path), content: Arc::clone(content), document, shared }
    }

    /// The origin of a list. Its items share the spans of the document.
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

    /// This origin in another file that has the same content.
    pub(super) fn in_file(&self, path: &Arc<str>) -> Self {
        let (content, shared) = (Arc::clone(&self.content), self.shared.clone());
        Self { path: Arc::clone(path), content, document: self.document, shared }
    }

    /// The start of the document.
    pub(super) fn start(&self) -> Location {
        self.byte(documents::first_text(self.document.bytes(&self.content)))
    }

    /// The place of the value of `field`, or of the nearest field above it that the file has.
    pub(super) fn value(&self, field: &[&str]) -> Location {
        self.located(field, false)
    }

    /// The place of the key of `field`, or of the nearest field above it that the file has.
    pub(super) fn key(&self, field: &[&str]) -> Location {
        self.located(field, true)
    }

    /// A warning for each key that a map of the document has several times, with the first places and the last. A document gives
    /// at most 20 warnings.
    pub(super) fn repeated_keys(&self) -> Vec<Warning> {
        const KEYS: usize = 20;
        const PLACES: usize = 5;
        const LETTERS: usize = 100;
        let spans = self.spans();
        let warning = |(key, mut places): (&str, Vec<usize>)| {
            let (key, times): (String, usize) = (key.chars().take(LETTERS).collect(), places.len());
            places.drain(times.min(PLACES) - 1..times - 1);
            Warning {
                message: format!("The key `{key}` is in one map {times} times. The last value is used."),
                hint: "Remove the key in all places but one.".to_owned(),
                locations: places.into_iter().map(|at| self.at(&spans, at)).collect(),
            }
        };
        spans.repeated().into_iter().take(KEYS).map(warning).collect()
    }

    /// The place of a byte of the document.
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

    /// The place of a byte of the document that has these spans.
    fn at(&self, spans: &DocumentSpans, at: usize) -> Location {
        let (line, start) = spans.line(at);
        let document = self.document.bytes(&self.content);
        let [from, to] = [start, at].map(|at| spans.characters_before(document, at));
        let (first_line, first_column) = self.document.line_and_column(&self.content, 0);
        let before = if line == 0 { first_column } else { 1 };
        Location { path: self.path.to_string(), line: first_line + line as u32, column: before + (to - from) as u32 }
    }

    /// Drops the spans that the objects of the document share.
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

/// The place of a finding about an object, which may have neither name nor kind.
pub(super) fn place(location: Location, object: &Object) -> Place {
    let named = !object.name().is_empty() || !object.kind().is_empty();
    Place { location: Some(location), resource: named.then(|| Resource::of(object)) }
}
