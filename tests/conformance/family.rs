//! Owners and what they own: what the garbage collector does for the propagation policies.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::edit::merge;
use crate::generate::asked;
use crate::kinds::{Kind, Names};
use crate::log::{Request, Step, Until};
use crate::shape::pick;

/// Makes an owner with one to three dependents, deletes it, and waits until nothing more happens.
pub(crate) fn family(kind: &Kind, rng: &mut Rng) -> Vec<Step> {
    let mut steps = Vec::new();
    let ask = |steps: &mut Vec<Step>, name: &str, request| steps.extend(asked(kind, name, request));
    let owner = kind.path("owner");
    ask(&mut steps, "owner", create(kind, "owner", &json!({}), rng));
    let dependents = ["one", "two", "three"].into_iter().take(rng.usize(1..4)).collect::<Vec<_>>();
    for name in &dependents {
        let mut reference = json!({
            "apiVersion": kind.api_version, "kind": kind.kind,
            "name": kind.name("owner"), "uid": format!("<uid {owner}>"),
        });
        if rng.bool() {
            reference["blockOwnerDeletion"] = rng.bool().into();
        }
        if rng.u8(..4) == 0 {
            reference["controller"] = true.into();
        }
        let mut metadata = json!({"ownerReferences": [reference]});
        if rng.u8(..5) == 0 {
            metadata["finalizers"] = json!(["example.com/hold"]);
        }
        ask(&mut steps, name, create(kind, name, &metadata, rng));
    }
    let policy = *pick(rng, &["Background", "Foreground", "Orphan"]);
    ask(&mut steps, "owner", Request::new("DELETE", owner.clone()).json(json!({"propagationPolicy": policy})));
    let mut names = dependents.clone();
    names.push("owner");
    // Those with a finalizer hold their owner too, until it is taken away.
    for name in &dependents {
        let until = if policy == "Orphan" { Until::Unowned } else { Until::Deleting };
        steps.push(Step::Await(until, kind.path(name)));
    }
    for name in names {
        let patch = json!({"metadata": {"finalizers": null}});
        let mut release = Request::new("PATCH", kind.path(name)).json(patch);
        release.content_type = "application/merge-patch+json";
        if name != "owner" {
            ask(&mut steps, name, release);
        }
    }
    for name in dependents {
        let until = if policy == "Orphan" { Until::Unowned } else { Until::Gone };
        steps.push(Step::Await(until, kind.path(name)));
        ask(&mut steps, name, Request::new("GET", kind.path(name)));
        ask(&mut steps, name, Request::new("DELETE", kind.path(name)));
    }
    steps.push(Step::Await(Until::Gone, owner));
    steps
}

fn create(kind: &Kind, name: &str, metadata: &Value, rng: &mut Rng) -> Request {
    let mut manifest = kind.head(name);
    // Without their owner, definitions are deleted while the cluster is still busy with their names, in any order: it has to
    // be valid.
    let least = (kind.names == Names::Definitions && name == "owner") || rng.bool();
    merge(&mut manifest, if least { kind.body.least() } else { kind.body.value(rng) });
    merge(&mut manifest["metadata"], metadata.clone());
    Request::new("POST", kind.collection()).json(manifest)
}
