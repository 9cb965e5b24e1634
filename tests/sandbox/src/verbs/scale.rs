//! The subresource `scale`: the number of replicas of whatever has some.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::body;
use crate::convert;
use crate::failure::{Cause, Failure};
use crate::merge;
use crate::object;
use crate::resource::Resource;
use crate::state::State;
use crate::write::{self, Ownership};

use super::{Call, apply, input};

/// Where an object keeps its scale, as JSON pointers; the last one is empty where there is none.
struct Places {
    replicas: String,
    current: String,
    selector: String,
}

fn places(resource: &Resource) -> Places {
    let Some(custom) = &resource.custom else {
        return Places {
            replicas: "/spec/replicas".to_owned(),
            current: "/status/replicas".to_owned(),
            selector: "/spec/selector".to_owned(),
        };
    };
    let pointer = |key: &str| object::text(&custom.version, &format!("/subresources/scale/{key}")).replace('.', "/");
    Places {
        replicas: pointer("specReplicasPath"),
        current: pointer("statusReplicasPath"),
        selector: pointer("labelSelectorPath"),
    }
}

/// Reads or writes a scale.
pub(super) fn answer(state: &mut State, call: &mut Call<'_>, verb: &str) -> Result<Answer, Failure> {
    let resource = call.resource.clone();
    let sent = (verb == "update").then(|| sent(call)).transpose()?;
    let live = state.get(&resource, &call.place.namespace, &call.place.name).cloned();
    let live = live.ok_or_else(|| Failure::not_found(resource.about(&call.place.name)))?;
    let before = scale(&resource, &convert::from_stored(&resource, &live))?;
    match (verb, sent) {
        ("get", _) => Ok(Answer::ok(before)),
        (_, Some(new)) => {
            write::expect_uid(&call.write("UpdateOptions")?, Some(&live), &new)?;
            set(state, call, &live, &new)
        }
        _ if apply::is_apply(call) => applied(state, call, &live, &before),
        _ => {
            let new = patched(call, &before)?;
            set(state, call, &live, &new)
        }
    }
}

fn applied(state: &mut State, call: &mut Call<'_>, live: &Arc<Value>, before: &Value) -> Result<Answer, Failure> {
    let resource = call.resource.clone();
    let write = call.write("PatchOptions")?;
    apply::check_manager(call)?;
    let config = apply::body(call)?;
    let version = object::text(&config, "/apiVersion");
    if version != "autoscaling/v1" {
        return Err(Failure::bad_request(format!(
            "incorrect version specified in apply patch. Specified patch version: {version}, expected: autoscaling/v1"
        )));
    }
    let place = places(&resource).replicas;
    let steps: Vec<&str> = place.split('/').skip(1).collect();
    let parent = convert::from_stored(&resource, live);
    let force = call.query().is_on("force");
    let applied =
        write::merging(state, &write, |merging| merge::apply_scale(merging, &parent, before, &config, &steps, force));
    let (scale, new) = applied.map_err(|refusal| apply::refused(&refusal))?;
    finish(state, call, live, &scale, new)
}

/// The scale in the body of an update.
fn sent(call: &Call<'_>) -> Result<Value, Failure> {
    let mut sent = input::decode(call, "Scale")?.value;
    input::place(call, &mut sent)?;
    Ok(sent)
}

fn patched(call: &Call<'_>, before: &Value) -> Result<Value, Failure> {
    let body = body::yaml(&call.incoming.body)
        .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
    let new = match call.incoming.content_type.split(';').next().unwrap_or_default() {
        "application/json-patch+json" => merge::json_patch(before, &body.value),
        _ => merge::json_merge(before, &body.value),
    };
    new.map_err(|refusal| apply::refused(&refusal))
}

fn set(state: &mut State, call: &mut Call<'_>, live: &Arc<Value>, scale_object: &Value) -> Result<Answer, Failure> {
    let resource = call.resource.clone();
    let before = convert::from_stored(&resource, live);
    let mut new = Value::clone(&before);
    let place = places(&resource).replicas;
    put(&mut new, &place, object::integer(scale_object, "/spec/replicas").unwrap_or(0));
    let write = call.write("UpdateOptions")?;
    let steps: Vec<&str> = place.split('/').skip(1).collect();
    let new = write::merging(state, &write, |merging| merge::scale(merging, &before, new, &steps));
    finish(state, call, live, scale_object, new)
}

/// Stores an object whose entries are those after the write, with the number of a scale.
fn finish(
    state: &mut State,
    call: &mut Call<'_>,
    live: &Arc<Value>,
    scale_object: &Value,
    mut new: Value,
) -> Result<Answer, Failure> {
    let resource = call.resource.clone();
    let replicas = object::integer(scale_object, "/spec/replicas").unwrap_or(0);
    // That of a custom resource is looked at in the whole.
    if replicas < 0 && resource.custom.is_none() {
        let about = crate::failure::About { group: "autoscaling", resource: "Scale", name: &call.place.name };
        let cause = Cause::invalid("spec.replicas", &replicas.into(), "must be greater than or equal to 0");
        return Err(Failure::invalid(about, &[cause]));
    }
    // A request without a version is about the live object.
    if !object::revision(scale_object).is_empty() {
        object::set(&mut new, "resourceVersion", object::revision(scale_object));
    }
    put(&mut new, &places(&resource).replicas, replicas);
    let write = call.write("UpdateOptions")?;
    let before = convert::from_stored(&resource, live);
    let written = write::update(state, &write, live, &before, new, Ownership::Computed)?;
    let object = scale(&resource, &written.object)?;
    Ok(Answer::Object { code: 200, object: object.into(), warnings: written.warnings })
}

/// Sets an integer at a pointer, with the maps above it.
fn put(object: &mut Value, pointer: &str, value: i64) {
    let (above, key) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    let mut at = object;
    for part in above.split('/').filter(|part| !part.is_empty()) {
        object::map_at(at, part);
        at = &mut at[part];
    }
    at[key] = value.into();
}

/// An object as a scale.
fn scale(resource: &Resource, live: &Value) -> Result<Value, Failure> {
    let places = places(resource);
    let number = |pointer: &str| object::integer(live, pointer);
    if number(&places.replicas).is_none() && resource.custom.is_some() {
        let message = format!("the spec replicas field {:?} does not exist", places.replicas.replace('/', "."));
        return Err(Failure::new(500, "InternalError", format!("Internal error occurred: {message}")));
    }
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = live["metadata"].get(key) {
            metadata[key] = value.clone();
        }
    }
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {},
        "status": {"replicas": number(&places.current).unwrap_or(0)},
    });
    if let Some(replicas) = number(&places.replicas).filter(|replicas| *replicas != 0) {
        scale["spec"]["replicas"] = replicas.into();
    }
    let selector = selector(live.pointer(&places.selector));
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    Ok(scale)
}

/// A selector in its text form.
fn selector(selector: Option<&Value>) -> String {
    match selector {
        Some(Value::String(text)) => text.clone(),
        Some(selector) if selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some() => {
            let equal = object::map(selector, "/matchLabels").into_iter().flatten();
            let equal =
                equal.map(|(key, value)| (key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
            let others = object::list(selector, "/matchExpressions").iter().map(expression);
            let mut terms: Vec<(String, String)> = equal.chain(others).collect();
            terms.sort();
            terms.into_iter().map(|(_, term)| term).collect::<Vec<_>>().join(",")
        }
        Some(Value::Object(equal)) => {
            let terms = equal.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
            terms.collect::<Vec<_>>().join(",")
        }
        _ => String::new(),
    }
}

fn expression(expression: &Value) -> (String, String) {
    let key = object::text(expression, "/key").to_owned();
    let mut values: Vec<&str> = object::list(expression, "/values").iter().filter_map(Value::as_str).collect();
    values.sort_unstable();
    let values = values.join(",");
    let term = match object::text(expression, "/operator") {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "Exists" => key.clone(),
        _ => format!("!{key}"),
    };
    (key, term)
}
