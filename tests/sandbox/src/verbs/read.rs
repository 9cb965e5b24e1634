//! Getting one object.

use crate::answer::Answer;
use crate::failure::Failure;
use crate::state::State;
use crate::view;

use super::Call;

/// Gets it.
pub(super) fn get(state: &State, call: &Call<'_>) -> Result<Answer, Failure> {
    let object = state.read(&call.resource, &call.place.namespace, &call.place.name)?;
    Ok(Answer::ok(view::one(&call.resource, call.form, call.query(), object)))
}
