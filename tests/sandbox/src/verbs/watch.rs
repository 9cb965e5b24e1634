//! Watches: what is there, if that is asked for, and every change from then on.

use serde_json::{Value, json};

use crate::accept::Form;
use crate::answer::Answer;
use crate::failure::{Cause, Failure};
use crate::object;
use crate::route::{Query, options_about};
use crate::state::State;
use crate::store::{Change, Event};
use crate::view;

use super::Call;
use super::list::Selection;

/// A watch of a client. It takes its events from the history of the state.
#[derive(Debug)]
pub struct Watch {
    selection: Selection,
    form: Form,
    query: Query,
    /// Events up to this revision have been sent.
    sent: u64,
    /// The events that are sent first.
    first: Vec<Value>,
    bookmarks: bool,
    /// The revision of the last bookmark or event.
    told: u64,
    told_columns: bool,
    /// Seconds after which the client wants it to end; 0 for never.
    pub timeout: u64,
}

/// Opens a watch.
pub(super) fn watch(state: &State, call: &Call<'_>) -> Result<Answer, Failure> {
    let selection = Selection::of(call)?;
    let query = call.query();
    let bookmarks = query.is_on("allowWatchBookmarks");
    let initial = initial(query)?;
    let (text, current) = (query.get("resourceVersion"), state.store.revision());
    let from = if text.is_empty() { 0 } else { number(text)? };
    let mut watch = Watch {
        selection,
        form: call.form,
        query: query.clone(),
        sent: if from == 0 || initial == Some(true) { current } else { from },
        first: Vec::new(),
        bookmarks,
        told: 0,
        told_columns: false,
        timeout: query.number("timeoutSeconds")?,
    };
    if initial == Some(true) && from > current {
        return Err(too_large(from, current));
    }
    if initial.unwrap_or(from == 0) {
        watch.begin(state, initial == Some(true) && bookmarks);
    }
    Ok(Answer::Watch(Box::new(watch)))
}

impl Watch {
    /// Tells what is there.
    fn begin(&mut self, state: &State, marks_end: bool) {
        let (collection, namespace) = (self.selection.resource.collection.clone(), self.selection.namespace.clone());
        let found: Vec<Value> = state
            .store
            .list(&collection, &namespace)
            .filter(|(_, object)| self.selection.selects(object))
            .map(|(_, object)| self.selection.shown(object, self.form))
            .collect();
        for object in found {
            let event = self.event("ADDED", object);
            self.first.push(event);
        }
        if marks_end {
            let mut bookmark = self.bookmark_object(self.sent);
            bookmark["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
            let event = self.event("BOOKMARK", bookmark);
            self.first.push(event);
        }
        self.told = self.sent;
    }

    fn event(&mut self, kind: &str, object: Value) -> Value {
        let object = view::event(&self.selection.resource, self.form, &self.query, object, !self.told_columns);
        self.told_columns = true;
        object::of([("type", kind.into()), ("object", object)])
    }

    fn bookmark_object(&self, revision: u64) -> Value {
        json!({
            "kind": self.selection.resource.kind,
            "apiVersion": self.selection.resource.api_version(),
            "metadata": {"resourceVersion": revision.to_string()},
        })
    }

    /// `true` if its resource is still served: watches end with their kind.
    pub fn is_served(&self, state: &State) -> bool {
        let resource = &self.selection.resource;
        state.resources.get(&resource.group, &resource.version, &resource.plural).is_some()
    }

    /// The events since the last call.
    ///
    /// # Errors
    /// When that has been forgotten: the watch ends with this as its last event.
    pub fn events(&mut self, state: &State) -> Result<Vec<Value>, Value> {
        let mut told = std::mem::take(&mut self.first);
        let Some(events) = state.store.events_after(self.sent) else {
            let message = format!("too old resource version: {} ({})", self.sent, state.store.forgotten());
            return Err(json!({"type": "ERROR", "object": Failure::expired(message).status()}));
        };
        let relevant: Vec<Event> = events.filter(|event| self.selection.covers(&event.key)).cloned().collect();
        // The resource may have been defined anew since: what is shown is in the version that was asked for.
        for event in relevant {
            if let Some((kind, object)) = self.seen(&event) {
                told.push(self.event(kind, object));
                self.told = event.revision;
            }
        }
        self.sent = self.sent.max(state.store.revision());
        Ok(told)
    }

    /// The event for a client that sees only the selected objects.
    fn seen(&self, event: &Event) -> Option<(&'static str, Value)> {
        let before = event.before.as_ref().filter(|object| self.selection.selects(object));
        let now = self.selection.selects(&event.object) && event.change != Change::Deleted;
        match (before, now) {
            (None, true) => Some(("ADDED", self.selection.shown(&event.object, self.form))),
            (Some(_), true) => Some(("MODIFIED", self.selection.shown(&event.object, self.form))),
            (Some(before), false) => {
                // As it was when it was last seen, but with the revision of the change.
                let mut object = self.selection.shown(before, self.form);
                object["metadata"]["resourceVersion"] = event.revision.to_string().into();
                Some(("DELETED", object))
            }
            (None, false) => None,
        }
    }

    /// A bookmark, if the client takes them and has not been told of the latest revision yet.
    pub fn bookmark(&mut self) -> Option<Value> {
        if !self.bookmarks || self.told >= self.sent {
            return None;
        }
        self.told = self.sent;
        let object = self.bookmark_object(self.sent);
        Some(self.event("BOOKMARK", object))
    }
}

/// `true` if the watch starts with the existing objects; `None` if the client does not say.
fn initial(query: &Query) -> Result<Option<bool>, Failure> {
    let refuse = |detail: &str, field: &str| {
        Err(Failure::invalid(options_about("ListOptions"), &[Cause::forbidden(field, detail)]))
    };
    let matching = query.get("resourceVersionMatch");
    if !query.has("sendInitialEvents") {
        return match matching {
            "" => Ok(None),
            matching => {
                let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                let mut causes = vec![Cause::forbidden("resourceVersionMatch", detail)];
                if matching != "NotOlderThan" {
                    causes.push(Cause::unsupported("resourceVersionMatch", &matching.into(), &["NotOlderThan"]));
                }
                Err(Failure::invalid(options_about("ListOptions"), &causes))
            }
        };
    }
    if matching != "NotOlderThan" {
        return refuse(
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            "resourceVersionMatch",
        );
    }
    Ok(Some(query.is_on("sendInitialEvents")))
}

fn number(text: &str) -> Result<u64, Failure> {
    let message =
        || format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
    text.parse().map_err(|_| Failure::new(500, "", message()))
}

fn too_large(wanted: u64, current: u64) -> Failure {
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let cause = Cause::new("ResourceVersionTooLarge", "", "Too large resource version");
    Failure::new(504, "Timeout", message).with_causes(&[cause]).retry_after(1)
}
