//! Server-side apply.

use serde_json::Value;

use crate::answer::Answer;
use crate::body;
use crate::failure::{Cause, Failure};
use crate::kinds;
use crate::merge::{self, Refusal};
use crate::object;
use crate::route::options_about;
use crate::schema;
use crate::state::State;
use crate::write::{self, Ownership};

use super::{Call, input};

/// Applies an object or a part of its status.
pub(super) fn apply(state: &mut State, call: &mut Call<'_>) -> Result<Answer, Failure> {
    let write = call.write("PatchOptions")?;
    check_manager(call)?;
    let resource = call.resource.clone();
    let live = state.get(&resource, &write.namespace, &write.name).cloned();
    let made = write.subresource.is_empty() || kinds::is_created_by_update(&resource, &write.subresource);
    if live.is_none() && !made {
        return Err(Failure::not_found(resource.about(&write.name)));
    }
    let config = config(call)?;
    let before = live.as_ref().map(|live| state.reading(&resource, &write.key(), live));
    let force = call.query().is_on("force");
    let applied = write::merging(state, &write, |merging| merge::apply(merging, before.as_deref(), &config, force));
    let mut new = applied.map_err(|refusal| refused(&refusal))?;
    // Custom resources are looked at as they were merged, and read again when they are stored.
    if resource.custom.is_none() {
        schema::decode(&resource.ty, &mut new).map_err(|error| Failure::new(500, "", error))?;
    }
    schema::default(&resource.ty, &mut new);
    kinds::default(&resource, &mut new);
    let uid = object::uid(&config);
    if live.is_none() && !uid.is_empty() {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(Failure::conflict(resource.about(&write.name), &why));
    }
    input::place(call, &mut new)?;
    let written = match (live, before) {
        (Some(live), Some(before)) => write::update(state, &write, &live, &before, new, Ownership::Computed)?,
        _ => {
            if !write.dry_run {
                object::set(&mut new, "resourceVersion", "");
            }
            write::create(state, &write, new, Ownership::Computed)?
        }
    };
    Ok(call.answer(written))
}

/// `true` if a patch is an apply.
pub(super) fn is_apply(call: &Call<'_>) -> bool {
    let media_type = call.incoming.content_type.split(';').next().unwrap_or_default().trim();
    ["application/apply-patch+yaml", "application/apply-patch+cbor"].contains(&media_type)
}

/// Checks that the request names its field manager.
pub(super) fn check_manager(call: &Call<'_>) -> Result<(), Failure> {
    if call.query().get("fieldManager").is_empty() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(Failure::invalid(options_about("PatchOptions"), &[cause]));
    }
    Ok(())
}

/// The applied configuration. It must have a kind.
pub(super) fn body(call: &Call<'_>) -> Result<Value, Failure> {
    let body = body::yaml(&call.incoming.body)
        .map_err(|error| Failure::bad_request(format!("error decoding YAML: {error}")))?;
    let config = body.value;
    for (field, pointer) in [("apiVersion", "/apiVersion"), ("kind", "/kind")] {
        if object::text(&config, pointer).is_empty() {
            return Err(Failure::bad_request(format!(
                "invalid object type: Object '{field}' is missing in the applied object"
            )));
        }
    }
    Ok(config)
}

/// The applied configuration with the kind, name and namespace of the request, without fields that cannot be applied.
fn config(call: &mut Call<'_>) -> Result<Value, Failure> {
    let mut config = body(call)?;
    input::identify(&call.resource, &mut config)?;
    if config["kind"] != call.resource.kind {
        let (api_version, kind) = (object::text(&config, "/apiVersion"), object::text(&config, "/kind"));
        return Err(Failure::bad_request(format!("invalid object type: {api_version}, Kind={kind}")));
    }
    Ok(config)
}

/// A refusal to apply or to patch as an answer.
pub(super) fn refused(refusal: &Refusal) -> Failure {
    match refusal {
        Refusal::BadRequest(message) => Failure::bad_request(message.as_str()),
        Refusal::Unprocessable(message) => Failure::new(422, "Invalid", message.as_str()),
        Refusal::Failed(message) => Failure::new(500, "", message.as_str()),
        Refusal::Conflicts(conflicts) => {
            let cause =
                |conflict: &merge::Conflict| Cause::new("FieldManagerConflict", conflict.field(), conflict.message());
            let causes: Vec<Cause> = conflicts.iter().map(cause).collect();
            Failure::new(409, "Conflict", refusal.message()).with_causes(&causes)
        }
    }
}
