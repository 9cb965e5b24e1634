//! Deleting objects and whole collections, and evicting pods.

use serde_json::{Value, json};

use crate::accept::Form;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::object;
use crate::state::State;
use crate::store::Key;
use crate::view;
use crate::write::{self, Wish};

use super::list::Selection;
use super::{Call, input};

/// Deletes an object.
pub(super) fn delete(state: &mut State, call: &mut Call<'_>) -> Result<Answer, Failure> {
    let (options, wish) = wish(call)?;
    if wish.propagation.is_none() && call.resource.collection == "jobs.batch" {
        call.warnings.push(JOBS.to_owned());
    }
    let mut write = call.write("DeleteOptions")?;
    write.dry_run |= !object::list(&options, "/dryRun").is_empty();
    let gone = write::delete(state, &write, &wish)?;
    // The answer to this old form of the request says that the deletion of dependents takes time.
    let waits = object::is_deleting(&gone) && options["orphanDependents"] == false;
    let is_status = gone["kind"] == "Status";
    let gone = gone.into();
    let object = if is_status { gone } else { view::one(&call.resource, call.form, call.query(), gone) };
    let code = if waits { 202 } else { 200 };
    Ok(Answer::Object { code, object, warnings: std::mem::take(&mut call.warnings) })
}

/// The warning for clients that delete a Job and do not say what happens to its pods.
const JOBS: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove \
                    them or set propagationPolicy=Orphan to suppress this warning";

/// The options of a deletion: from the body, or from the query.
fn wish(call: &Call<'_>) -> Result<(Value, Wish), Failure> {
    let query = call.query();
    let mut options = json!({});
    if call.incoming.body.is_empty() {
        for key in ["propagationPolicy", "orphanDependents", "gracePeriodSeconds"] {
            let value = query.get(key);
            if !value.is_empty() {
                options[key] = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            }
        }
    } else {
        options = input::decode(call, "DeleteOptions")?.value;
    }
    let wish = Wish::from_options(&options)?;
    Ok((options, wish))
}

/// Deletes every object of a collection that is selected.
pub(super) fn delete_collection(state: &mut State, call: &mut Call<'_>) -> Result<Answer, Failure> {
    let (options, mut wish) = wish(call)?;
    wish.of_collection = true;
    let selection = Selection::of(call)?;
    let mut write = call.write("DeleteOptions")?;
    write.dry_run |= !object::list(&options, "/dryRun").is_empty();
    let all = state.store.list(&call.resource.collection, &call.place.namespace);
    let selected: Vec<(Key, Value)> = all
        .filter(|(_, object)| selection.selects(object))
        .map(|(key, object)| (key.clone(), selection.shown(object, Form::Whole)))
        .collect();
    let revision = state.store.revision();
    let mut gone = Vec::new();
    for (_, object) in selected {
        write.namespace = object::namespace(&object).to_owned();
        write.name = object::name(&object).to_owned();
        write::delete(state, &write, &wish)?;
        gone.push(object);
    }
    let metadata = json!({"resourceVersion": revision.to_string()});
    Ok(Answer::ok(view::list(&call.resource, call.form, call.query(), metadata, gone)))
}

/// Evicts a pod, which no budget forbids here.
pub(super) fn evict(state: &mut State, call: &mut Call<'_>) -> Result<Answer, Failure> {
    let body = input::decode(call, "Eviction")?.value;
    let wish = Wish::from_options(&body["deleteOptions"])?;
    let mut write = call.write("CreateOptions")?;
    write.subresource = String::new();
    write::delete(state, &write, &wish)?;
    let object = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Answer::Object { code: 201, object: object.into(), warnings: Vec::new() })
}
