//! Lists: selection, pages, and the past.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::accept::Form;
use crate::answer::Answer;
use crate::convert;
use crate::failure::{Cause, Failure};
use crate::kinds;
use crate::object;
use crate::resource::Resource;
use crate::route::{Query, options_about};
use crate::selector::{Fields, Labels};
use crate::state::State;
use crate::store::Key;
use crate::view;

use super::Call;

/// The requested objects of a collection.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    pub(super) resource: Arc<Resource>,
    pub(super) namespace: String,
    pub(super) labels: Labels,
    pub(super) fields: Fields,
}

impl Selection {
    pub(super) fn of(call: &Call<'_>) -> Result<Self, Failure> {
        Ok(Self {
            resource: call.resource.clone(),
            namespace: call.place.namespace.clone(),
            labels: Labels::parse(call.query().get("labelSelector"))?,
            fields: Fields::parse(call.query().get("fieldSelector"), &kinds::selectable(&call.resource))?,
        })
    }

    /// `true` if an object is in it, as it is stored.
    pub(super) fn selects(&self, object: &Value) -> bool {
        self.labels.select(object) && self.fields.select(object)
    }

    /// `true` if a place is in it.
    pub(super) fn covers(&self, key: &Key) -> bool {
        key.is_in(&self.resource.collection, &self.namespace)
    }

    /// An object in the version that is asked for, or as much of it as the form takes.
    pub(super) fn shown(&self, object: &Arc<Value>, form: Form) -> Value {
        if form == Form::Metadata && self.resource.custom.is_none() {
            // All versions of a built-in kind have the same metadata.
            return object::of([("metadata", object["metadata"].clone())]);
        }
        Arc::unwrap_or_clone(convert::from_stored(&self.resource, object))
    }
}

/// From which revision on a read may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Revision {
    Latest,
    Exactly(u64),
}

/// Where the next page begins.
struct Continuation {
    revision: u64,
    /// The place after which it begins.
    after: String,
}

impl Continuation {
    fn parse(token: &str) -> Result<Option<Self>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        let parsed = token.strip_prefix("sandbox.").and_then(|rest| rest.split_once('.'));
        let parsed = parsed.and_then(|(revision, after)| Some((revision.parse().ok()?, from_hex(after)?)));
        let (revision, after) = parsed.ok_or_else(|| {
            Failure::bad_request(format!("invalid continue token: continue key is not valid: {token:?}"))
        })?;
        Ok(Some(Self { revision, after }))
    }

    fn token(&self) -> String {
        let after: String = self.after.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("sandbox.{}.{after}", self.revision)
    }
}

fn from_hex(text: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = (0..text.len() / 2)
        .map(|at| text.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok()))
        .collect();
    String::from_utf8(bytes?).ok()
}

/// Lists.
pub(super) fn list(state: &State, call: &Call<'_>) -> Result<Answer, Failure> {
    let selection = Selection::of(call)?;
    let query = call.query();
    let limit = usize::try_from(query.number("limit")?).unwrap_or(usize::MAX);
    let continuation = Continuation::parse(query.get("continue"))?;
    let revision = match &continuation {
        Some(continuation) => Revision::Exactly(continuation.revision),
        None => revision(state, query, limit)?,
    };
    let (found, at) = objects(state, &selection, revision, continuation.is_some())?;
    let after = continuation.map(|continuation| continuation.after).unwrap_or_default();
    let places = found.iter().map(|(key, _)| key.place().to_owned()).collect::<Vec<_>>();
    let mut selected: Stored =
        found.into_iter().filter(|(key, object)| key.place() > after.as_str() && selection.selects(object)).collect();
    let mut metadata = json!({"resourceVersion": at.to_string()});
    // A page from the cache of a real server would be the whole list.
    let unlimited = query.get("resourceVersion") == "0" && query.get("resourceVersionMatch").is_empty();
    // The end of the page is known before the objects are filtered. A list of one name has no second page.
    let last = selected.get(limit.wrapping_sub(1)).map(|(key, _)| key.place().to_owned());
    let last =
        last.filter(|last| !unlimited && !selection.fields.name_one() && places.iter().any(|place| place > last));
    if let Some(last) = last {
        let left = places.iter().filter(|place| **place > last).count();
        selected.truncate(limit);
        metadata["continue"] = Continuation { revision: at, after: last }.token().into();
        if query.get("labelSelector").is_empty() && query.get("fieldSelector").is_empty() {
            metadata["remainingItemCount"] = left.into();
        }
    }
    let objects = selected.iter().map(|(_, object)| selection.shown(object, call.form)).collect();
    Ok(Answer::ok(view::list(&call.resource, call.form, query, metadata, objects)))
}

/// Objects and where they are stored.
type Stored = Vec<(Key, Arc<Value>)>;

/// All objects of a collection and the revision that they are of.
fn objects(
    state: &State,
    selection: &Selection,
    revision: Revision,
    continues: bool,
) -> Result<(Stored, u64), Failure> {
    let (collection, namespace) = (&selection.resource.collection, &selection.namespace);
    match revision {
        Revision::Latest => {
            let all = state.store.list(collection, namespace).map(|(key, object)| (key.clone(), object.clone()));
            Ok((all.collect(), state.store.revision()))
        }
        Revision::Exactly(revision) => {
            let expired = || {
                let message = if continues {
                    "The provided continue parameter is too old to display a consistent list result. You can start a new \
                     list without the continue parameter."
                        .to_owned()
                } else {
                    format!("The resourceVersion for the provided list is too old: {revision}")
                };
                Failure::expired(message)
            };
            let then = state.store.list_at(revision, collection, namespace).ok_or_else(expired)?;
            Ok((then, revision))
        }
    }
}

/// The revision of a list.
fn revision(state: &State, query: &Query, limit: usize) -> Result<Revision, Failure> {
    let (text, matching) = (query.get("resourceVersion"), query.get("resourceVersionMatch"));
    check_match(query)?;
    let wanted = number(text)?;
    if wanted > state.store.revision() {
        return Err(too_large(wanted, state.store.revision()));
    }
    let exactly = matching == "Exact" || (matching.is_empty() && limit > 0 && wanted > 0);
    Ok(if exactly { Revision::Exactly(wanted) } else { Revision::Latest })
}

/// Refuses combinations of parameters that make no sense.
fn check_match(query: &Query) -> Result<(), Failure> {
    let (text, matching) = (query.get("resourceVersion"), query.get("resourceVersionMatch"));
    let cause = match matching {
        "" => return Ok(()),
        _ if text.is_empty() => Cause::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        "Exact" if text == "0" => Cause::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ),
        "Exact" | "NotOlderThan" => return Ok(()),
        other => Cause::unsupported("resourceVersionMatch", &other.into(), &["Exact", "NotOlderThan", ""]),
    };
    Err(Failure::invalid(options_about("ListOptions"), &[cause]))
}

/// A revision as a parameter; nothing is 0.
fn number(text: &str) -> Result<u64, Failure> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        Failure::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: \
             invalid syntax"
        ))
    })
}

fn too_large(wanted: u64, current: u64) -> Failure {
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let cause = Cause::new("ResourceVersionTooLarge", "", "Too large resource version");
    Failure::new(504, "Timeout", message).with_causes(&[cause]).retry_after(1)
}
