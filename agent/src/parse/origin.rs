//! Where an object came from: its file, the document in it, its place in a list; and so where each of its fields is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::documents::{self, Document};
use super::outline::Outline;
use super::{extension, locate};
use crate::finding::{Location, Place, Resource};
use crate::object::Object;

/// The origin of one object.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) path: Arc<str>,
    content: Arc<[u8]>,
    document: Document,
    /// Unless it is the document.
    list: Option<Box<InList>>,
}

/// The place of an object in a list, which may be in a list.
#[derive(Clone, Debug)]
struct InList {
    /// Positions in `items` that lead from the document to the object.
    items: Vec<usize>,
    /// Shared by the objects of a list, so that findings about all of them read the document once. Until it is forgotten.
    outline: Arc<Mutex<Option<Arc<Outline>>>>,
}

impl InList {
    fn outline(&self) -> MutexGuard<'_, Option<Arc<Outline>>> {
        self.outline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin {
    /// The origin of what a document holds.
    pub(super) fn new(path: &Arc<str>, content: &Arc<[u8]>, document: Document) -> Self {
        Self { path: Arc::clone(path), content: Arc::clone(content), document, list: None }
    }

    /// The same of a list: its items share what they need.
    pub(super) fn list(mut self) -> Self {
        self.list.get_or_insert_with(|| Box::new(InList { items: Vec::new(), outline: Arc::default() }));
        self
    }

    /// The origin of an item of this list.
    pub(super) fn item(&self, position: usize) -> Self {
        let mut list = self.list.clone();
        if let Some(list) = &mut list {
            list.items.push(position);
        }
        Self { list, ..Self::new(&self.path, &self.content, self.document) }
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

    /// A byte of the document.
    pub(super) fn byte(&self, at: usize) -> Location {
        let (line, column) = self.document.line_and_column(&self.content, at);
        Location { path: self.path.to_string(), line, column }
    }

    fn located(&self, field: &[&str], key: bool) -> Location {
        let items = self.list.as_ref().map_or(&[][..], |list| &list.items);
        let positions: Vec<String> = items.iter().map(usize::to_string).collect();
        let mut steps: Vec<&str> = positions.iter().flat_map(|position| ["items", position]).collect();
        steps.extend(field);
        let outline = match &self.list {
            Some(list) => Arc::clone(list.outline().get_or_insert_with(|| Arc::new(self.outline()))),
            None => Arc::new(self.outline()),
        };
        let at = locate::field(&outline, &steps, key && !field.is_empty());
        match outline.line(at) {
            (0, _) => self.byte(at),
            (line, start) => {
                let (line, column) = self.document.on_line(&self.content, line, start, at);
                Location { path: self.path.to_string(), line, column }
            }
        }
    }

    /// Drops what the objects of the list share.
    pub(super) fn forget(&self) {
        if let Some(list) = &self.list {
            *list.outline() = None;
        }
    }

    #[cfg(test)]
    pub(super) fn keeps_outline(&self) -> bool {
        self.list.as_ref().is_some_and(|list| list.outline().is_some())
    }

    fn outline(&self) -> Outline {
        let document = self.document.bytes(&self.content);
        let text = std::str::from_utf8(document).unwrap_or_default();
        Outline::of(document, extension(&self.path).is_some_and(|extension| documents::is_json(text, extension)))
    }
}

/// A point in the file of an object that may have no identity.
pub(super) fn place(location: Location, object: &Object) -> Place {
    let named = !object.name().is_empty() || !object.kind().is_empty();
    Place { location: Some(location), resource: named.then(|| Resource::of(object)) }
}
