//! Reviews, which are answered and not stored: of access (always allowed), of users, and tokens.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::failure::Failure;
use crate::object;
use crate::state::State;

use super::{Call, input};

/// Answers a review.
pub(super) fn review(_state: &State, call: &mut Call<'_>) -> Result<Answer, Failure> {
    let resource = call.resource.clone();
    let mut review = input::decode(call, &resource.kind)?.value;
    input::identify(&resource, &mut review)?;
    if review["metadata"].is_null() {
        review["metadata"] = json!({});
    }
    let user = if call.incoming.impersonated.is_empty() { "admin" } else { &call.incoming.impersonated };
    let user = json!({"username": user, "groups": ["system:masters", "system:authenticated"]});
    let everything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    let status = match resource.kind.as_str() {
        "SelfSubjectRulesReview" => json!({
            "incomplete": false,
            "resourceRules": everything,
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }),
        "SelfSubjectReview" => json!({"userInfo": user}),
        "TokenReview" => token_review(&review, &user),
        "Binding" => return Err(Failure::new(501, "NotImplemented", "bind through the subresource of the pod")),
        _ => json!({"allowed": true, "reason": "every request is allowed here"}),
    };
    review["status"] = status;
    Ok(Answer::Object { code: 201, object: review.into(), warnings: Vec::new() })
}

fn token_review(review: &Value, user: &Value) -> Value {
    match object::text(review, "/spec/token") {
        "" => json!({"user": {}, "error": "[invalid bearer token, token lookup failed]"}),
        _ => json!({"authenticated": true, "user": user}),
    }
}

/// Makes a token for a service account. Every token is as good as none here.
pub(super) fn token(state: &State, call: &mut Call<'_>) -> Result<Answer, Failure> {
    let account = state.read(&call.resource, &call.place.namespace, &call.place.name)?;
    let mut request = input::decode(call, "TokenRequest")?.value;
    let seconds = object::integer(&request, "/spec/expirationSeconds").unwrap_or(3600);
    request["kind"] = "TokenRequest".into();
    request["apiVersion"] = "authentication.k8s.io/v1".into();
    request["metadata"] = json!({"name": call.place.name, "namespace": call.place.namespace});
    request["spec"]["expirationSeconds"] = seconds.into();
    request["status"] = json!({
        "token": format!("sandbox.{}", object::uid(&account)),
        "expirationTimestamp": call.now.after(seconds.unsigned_abs()).to_string(),
    });
    Ok(Answer::Object { code: 201, object: request.into(), warnings: Vec::new() })
}
