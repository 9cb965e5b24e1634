//! Creating, updating and patching objects and their status.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::body;
use crate::failure::{Cause, Failure};
use crate::kinds;
use crate::merge;
use crate::object;
use crate::route::options_about;
use crate::state::State;
use crate::view;
use crate::write::{self, Ownership, Write, Written};

use super::{Call, apply, input};

impl Call<'_> {
    /// The write that this call asks for.
    pub(super) fn write(&self, options: &str) -> Result<Write, Failure> {
        Ok(Write {
            resource: self.resource.clone(),
            namespace: self.place.namespace.clone(),
            name: self.place.name.clone(),
            subresource: self.place.subresource.clone(),
            manager: self.manager(),
            dry_run: self.query().dry_run(options)?,
            now: self.now,
        })
    }

    /// The answer to a write.
    pub(super) fn answer(&mut self, written: Written) -> Answer {
        let code = if written.created { 201 } else { 200 };
        let object = view::one(&self.resource, self.form, self.query(), written.object);
        self.warnings.extend(written.warnings);
        Answer::Object { code, object, warnings: std::mem::take(&mut self.warnings) }
    }
}

/// Creates an object.
pub(super) fn create(state: &mut State, call: &mut Call<'_>) -> Result<Answer, Failure> {
    let write = call.write("CreateOptions")?;
    let object = input::object(call, "CreateOptions")?;
    let written = write::create(state, &write, object, Ownership::ToCompute)?;
    Ok(call.answer(written))
}

/// Replaces an object or its status.
pub(super) fn update(state: &mut State, call: &mut Call<'_>) -> Result<Answer, Failure> {
    let write = call.write("UpdateOptions")?;
    let mut object = input::object(call, "UpdateOptions")?;
    let Some(live) = state.get(&call.resource, &write.namespace, &write.name).cloned() else {
        let about = call.resource.about(&write.name);
        if !kinds::is_created_by_update(&call.resource, &write.subresource) {
            return Err(Failure::not_found(about));
        }
        write::expect_uid(&write, None, &object)?;
        if !write.dry_run {
            object::set(&mut object, "resourceVersion", "");
        }
        let written = write::create(state, &write, object, Ownership::ToCompute)?;
        return Ok(call.answer(written));
    };
    write::expect_uid(&write, Some(&live), &object)?;
    let object = if write.subresource == "finalize" { finalized(&live, &object) } else { object };
    let before = state.reading(&call.resource, &write.key(), &live);
    let written = write::update(state, &write, &live, &before, object, Ownership::ToCompute)?;
    Ok(call.answer(written))
}

/// The live namespace with the finalizers of another.
fn finalized(live: &Value, new: &Value) -> Value {
    let mut object = live.clone();
    object::set(&mut object, "resourceVersion", object::revision(new));
    object::set(&mut object, "uid", object::uid(new));
    object["spec"] = new.get("spec").cloned().unwrap_or_else(|| json!({}));
    object
}

/// Changes an object or its status by a patch of any type.
pub(super) fn patch(state: &mut State, call: &mut Call<'_>) -> Result<Answer, Failure> {
    if apply::is_apply(call) {
        return apply::apply(state, call);
    }
    let media_type = call.incoming.content_type.split(';').next().unwrap_or_default().trim().to_owned();
    if !known(call).contains(&media_type.as_str()) {
        return Err(unknown(call));
    }
    check_options(call)?;
    let write = call.write("PatchOptions")?;
    let live = state.get(&call.resource, &write.namespace, &write.name).cloned();
    let live = live.ok_or_else(|| Failure::not_found(call.resource.about(&write.name)))?;
    let before = state.reading(&call.resource, &write.key(), &live);
    let (mut new, duplicates) = patched(call, &before, &media_type)?;
    let said = new.clone();
    let readable = changed_kind(call, &new).and_then(|()| input::read(call, &mut new, duplicates, "PatchOptions"));
    readable.map_err(|failure| if failure.code == 400 { unreadable(&said, &failure) } else { failure })?;
    input::place(call, &mut new)?;
    let written = write::update(state, &write, &live, &before, new, Ownership::ToCompute)?;
    Ok(call.answer(written))
}

fn check_options(call: &Call<'_>) -> Result<(), Failure> {
    if call.query().has("force") {
        let cause = Cause::forbidden("force", "may not be specified for non-apply patch");
        return Err(Failure::invalid(options_about("PatchOptions"), &[cause]));
    }
    Ok(())
}

/// The types of patches that are taken, but for applies.
fn known(call: &Call<'_>) -> &'static [&'static str] {
    let all =
        &["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];
    if call.resource.custom.is_some() { &all[..2] } else { all }
}

/// The refusal of a patch of another type. That of built-in kinds comes from the router.
fn unknown(call: &Call<'_>) -> Failure {
    if call.resource.custom.is_none() {
        return Failure::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
    }
    let accepted = [known(call), &["application/apply-patch+yaml"]].concat().join(", ");
    Failure::unsupported_media_type(&accepted)
}

/// The live object with the patch, and the fields that occur twice in the patch.
pub(super) fn patched(call: &Call<'_>, live: &Value, media_type: &str) -> Result<(Value, Vec<String>), Failure> {
    let body = body::json(&call.incoming.body)
        .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
    let (new, duplicates) = match media_type {
        "application/json-patch+json" => (merge::json_patch(live, &body.value), Vec::new()),
        "application/merge-patch+json" => (merge::json_merge(live, &body.value), body.duplicates),
        _ => (merge::strategic(&call.resource.ty, live, &body.value), body.duplicates),
    };
    Ok((new.map_err(|refusal| apply::refused(&refusal))?, duplicates))
}

/// A patch that makes something of an object that cannot even be read.
fn unreadable(said: &Value, failure: &Failure) -> Failure {
    let about = crate::failure::About { group: "", resource: "", name: "" };
    // Without whose fault it is: here it is the patch's.
    let why = failure.message.split_once(" cannot be handled as a ").and_then(|(_, rest)| rest.split_once(": "));
    let why = why.map_or(failure.message.as_str(), |(_, why)| why);
    Failure::invalid(about, &[Cause::invalid("patch", &said.to_string().into(), why)])
}

/// A patch cannot make another kind of an object.
fn changed_kind(call: &Call<'_>, new: &Value) -> Result<(), Failure> {
    let (api_version, kind) = (object::text(new, "/apiVersion"), object::text(new, "/kind"));
    let said = !api_version.is_empty() && !kind.is_empty();
    if (api_version == call.resource.api_version() && kind == call.resource.kind)
        || (call.resource.custom.is_some() && said)
    {
        return Ok(());
    }
    let mut new = new.clone();
    input::identify(&call.resource, &mut new)
}

/// Binds a pod to a node.
pub(super) fn bind(state: &mut State, call: &mut Call<'_>) -> Result<Answer, Failure> {
    let body = input::decode(call, "Binding")?.value;
    let live = state.get(&call.resource, &call.place.namespace, &call.place.name).cloned();
    let live = live.ok_or_else(|| Failure::not_found(call.resource.about(&call.place.name)))?;
    if !object::text(&live, "/spec/nodeName").is_empty() {
        let why =
            format!("pod {} is already assigned to node {:?}", call.place.name, object::text(&live, "/spec/nodeName"));
        return Err(Failure::conflict(
            crate::failure::About { group: "", resource: "pods/binding", name: &call.place.name },
            &why,
        ));
    }
    let mut new = Value::clone(&live);
    new["spec"]["nodeName"] = object::text(&body, "/target/name").into();
    kinds::pod_condition(&mut new, "PodScheduled", "True", call.now);
    if !call.query().dry_run("CreateOptions")? {
        let key = crate::store::Key::new(&call.resource.collection, &call.place.namespace, &call.place.name);
        state.put(key, new);
    }
    let object = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Answer::Object { code: 201, object: object.into(), warnings: Vec::new() })
}
