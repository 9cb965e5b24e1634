//! Every path of the API: resources, discovery, schemas, health, metrics.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::accept;
use crate::answer::{Answer, Incoming};
use crate::clock::Time;
use crate::discovery;
use crate::failure::Failure;
use crate::log::Log;
use crate::openapi;
use crate::route::Place;
use crate::schema;
use crate::state::State;
use crate::verbs;

/// Answers a request.
pub fn answer(state: &mut State, incoming: &Incoming, log: &Log, now: Time) -> Answer {
    if let Some(place) = Place::parse(&incoming.path) {
        return verbs::answer(state, incoming, &place, now).unwrap_or_else(Answer::from);
    }
    if !["GET", "HEAD"].contains(&incoming.method.as_str()) {
        return Failure::method_not_allowed().into();
    }
    other(state, incoming, log).unwrap_or_else(Answer::nothing)
}

fn other(state: &State, incoming: &Incoming, log: &Log) -> Option<Answer> {
    let path = incoming.path.trim_end_matches('/');
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        [] => Some(Answer::ok(paths(state))),
        ["version"] => Some(published("/version")?),
        ["healthz" | "livez" | "readyz", ..] => Some(health(incoming)),
        ["metrics"] => Some(Answer::Text { code: 200, content_type: "text/plain; version=0.0.4", text: log.metrics() }),
        ["api" | "apis"] if accept::is_aggregated_discovery(&incoming.accept) => Some(Answer::Text {
            code: 200,
            content_type: "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            text: discovery::aggregated(&state.resources, parts[0] == "api").to_owned(),
        }),
        ["api"] => Some(Answer::ok(discovery::core())),
        ["api", version] => Some(found(discovery::resources(&state.resources, "", version))),
        ["apis"] => Some(Answer::ok(discovery::groups(&state.resources))),
        ["apis", group] => discovery::group(&state.resources, group).map(Answer::ok),
        ["apis", group, version] if state.resources.serves(group, None) => {
            Some(found(discovery::resources(&state.resources, group, version)))
        }
        ["openapi", "v2"] => openapi::v2(state, &incoming.accept),
        ["openapi", "v3"] => Some(Answer::ok(openapi::index(state))),
        ["openapi", "v3", rest @ ..] => openapi::v3(state, &rest.join("/")),
        _ => published(path),
    }
}

/// A document of a group that is served, or that this version of it is not.
fn found(document: Option<Value>) -> Answer {
    document.map_or_else(|| Failure::no_resource().into(), Answer::ok)
}

/// A document that is the same on every cluster.
fn published(path: &str) -> Option<Answer> {
    let text = schema::document(path)?.text();
    Some(Answer::Text { code: 200, content_type: "application/json", text })
}

fn health(incoming: &Incoming) -> Answer {
    let name = incoming.path.trim_matches('/').split('/').next().unwrap_or_default();
    let text =
        if incoming.query.has("verbose") { format!("[+]ping ok\n{name} check passed\n") } else { "ok".to_owned() };
    Answer::text(200, text)
}

/// The paths that `/` lists.
fn paths(state: &State) -> Value {
    let mut paths: BTreeMap<String, ()> = [
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    .into_iter()
    .map(|path| (path.to_owned(), ()))
    .collect();
    for resource in state.resources.iter().filter(|resource| !resource.group.is_empty()) {
        paths.insert(format!("/apis/{}", resource.group), ());
        paths.insert(format!("/apis/{}/{}", resource.group, resource.version), ());
    }
    json!({"paths": paths.into_keys().collect::<Vec<_>>()})
}
