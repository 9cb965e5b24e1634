//! The verbs of resources, a file for each.

mod apply;
mod input;
mod list;
mod read;
mod remove;
mod review;
mod scale;
mod watch;
mod write;

use std::sync::Arc;

use crate::accept::{self, Form};
use crate::answer::{Answer, Incoming};
use crate::clock::Time;
use crate::failure::Failure;
use crate::resource::Resource;
use crate::route::{self, Place, Query};
use crate::state::State;

pub use watch::Watch;

/// A request on a resource.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    incoming: &'a Incoming,
    place: &'a Place,
    resource: Arc<Resource>,
    form: Form,
    now: Time,
    warnings: Vec<String>,
}

impl Call<'_> {
    fn query(&self) -> &Query {
        &self.incoming.query
    }

    /// The owner of written fields: the field manager, or the name of the client.
    fn manager(&self) -> String {
        let named = self.query().get("fieldManager");
        let agent = self.incoming.user_agent.split('/').next().unwrap_or_default();
        let manager = if named.is_empty() { agent } else { named };
        if manager.is_empty() { "unknown".to_owned() } else { manager.chars().take(128).collect() }
    }
}

/// Answers a request on a resource.
///
/// # Errors
/// When it is refused.
pub(crate) fn answer(state: &mut State, incoming: &Incoming, place: &Place, now: Time) -> Result<Answer, Failure> {
    let resource = state.resources.get(&place.group, &place.version, &place.resource).cloned();
    let Some(resource) = resource else {
        let served = state.resources.serves(&place.group, Some(&place.version));
        let in_group = place.group.is_empty() || state.resources.serves(&place.group, None);
        let known = ["", "apis"].contains(&place.group.as_str());
        return if known || served || (in_group && !is_custom(state, place)) {
            Err(Failure::no_resource())
        } else {
            Ok(Answer::nothing())
        };
    };
    let answer = of_resource(state, incoming, place, now, resource.clone())?;
    Ok(answer.with_warning(deprecated(&resource)))
}

/// The warning for clients of a deprecated resource.
fn deprecated(resource: &Resource) -> Option<&'static str> {
    match resource.collection.as_str() {
        "endpoints" => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        "componentstatuses" => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

fn of_resource(
    state: &mut State,
    incoming: &Incoming,
    place: &Place,
    now: Time,
    resource: Arc<Resource>,
) -> Result<Answer, Failure> {
    let verb = route::verb(&incoming.method, place, &incoming.query);
    if resource.namespaced == place.namespace.is_empty() && (!resource.namespaced || !place.name.is_empty()) {
        return Err(Failure::no_resource());
    }
    let form = if place.subresource.is_empty() { accept::form(&incoming.accept)? } else { Form::Whole };
    let mut call = Call { incoming, place, resource: resource.clone(), form, now, warnings: Vec::new() };
    let answer =
        if place.subresource.is_empty() { whole(state, &mut call, verb) } else { below(state, &mut call, verb) };
    answer.map_err(|mut failure| {
        failure.warnings.splice(..0, std::mem::take(&mut call.warnings));
        failure
    })
}

/// Answers a request on objects themselves.
fn whole(state: &mut State, call: &mut Call<'_>, verb: &str) -> Result<Answer, Failure> {
    let (place, resource) = (call.place, call.resource.clone());
    let nameless = place.name.is_empty() && ["update", "patch"].contains(&verb);
    if nameless || !resource.verbs.iter().any(|one| one == verb) || (verb == "create" && is_misplaced(call)) {
        return Err(Failure::method_not_allowed());
    }
    match verb {
        "get" => read::get(state, call),
        "list" => list::list(state, call),
        "watch" => watch::watch(state, call),
        "create" if resource.verbs.len() == 1 => review::review(state, call),
        "create" => write::create(state, call),
        "update" => write::update(state, call),
        "patch" => write::patch(state, call),
        "delete" => remove::delete(state, call),
        _ => remove::delete_collection(state, call),
    }
}

/// `true` if a place belongs to a group that only CustomResourceDefinitions have.
fn is_custom(state: &State, place: &Place) -> bool {
    let mut of_group = state.resources.iter().filter(|one| one.group == place.group);
    of_group.all(|one| one.custom.is_some())
}

/// Objects are made in their namespace, under no name.
fn is_misplaced(call: &Call<'_>) -> bool {
    call.resource.namespaced == call.place.namespace.is_empty() || !call.place.name.is_empty()
}

/// Answers a request on a subresource.
fn below(state: &mut State, call: &mut Call<'_>, verb: &str) -> Result<Answer, Failure> {
    let name = call.place.subresource.clone();
    let Some(subresource) = call.resource.subresource(&name).cloned() else {
        let custom = call.resource.custom.is_some();
        let about = call.resource.about(&call.place.name);
        return Err(if custom { Failure::not_found(about) } else { Failure::no_resource() });
    };
    if !subresource.verbs.iter().any(|one| one == verb) {
        return Err(Failure::method_not_allowed());
    }
    match (name.as_str(), verb) {
        ("scale", _) => scale::answer(state, call, verb),
        ("status" | "ephemeralcontainers" | "resize" | "approval", "get") => read::get(state, call),
        ("status" | "ephemeralcontainers" | "resize" | "approval" | "finalize", "update") => write::update(state, call),
        ("status" | "ephemeralcontainers" | "resize" | "approval", "patch") => write::patch(state, call),
        ("binding", "create") => write::bind(state, call),
        ("eviction", "create") => remove::evict(state, call),
        ("token", "create") => review::token(state, call),
        _ => {
            state.read(&call.resource, &call.place.namespace, &call.place.name)?;
            Err(Failure::bad_request(format!("pod {} does not have a host assigned", call.place.name)))
        }
    }
}
