//! The ways in which an object is applied.

use serde_json::{Value, json};

use super::*;
use crate::model::metadata::SyncId;
use crate::sync::live::Observed;

fn declared(spec: &Value) -> DeclaredObject {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "b"}, "spec": spec});
    DeclaredObject::new(serde_json::from_value(object).expect("a map"))
}

fn live(edit: impl FnOnce(&mut Live)) -> Live {
    let (sync, id) = (SyncId::root("root-sync"), declared(&json!({})).id);
    let mut live = Live::observe(&Observed::default(), &id, &sync, None, None);
    (live.uid, live.owner, live.version, live.former_writer) = ("uid".into(), Owner::Us, 7, false);
    edit(&mut live);
    live
}

fn updated() -> ApplyMode {
    ApplyMode::Update("uid".into())
}

fn drifted(path: &str) -> Cause {
    Cause::Drifted(Box::new([path.to_owned()]))
}

#[test]
fn fields_change_hands_when_an_object_is_taken_over_or_its_items_are_replaced() {
    let declared = declared(&json!({"replicas": 1}));
    let mode = |cause: &Cause, live: &Live| apply_mode(cause, &declared, Some(live));
    assert_eq!(apply_mode(&Cause::Missing, &declared, None), ApplyMode::Create);
    for owner in [Owner::Nobody, Owner::Other("b".into())] {
        let others = live(|it| it.owner = owner);
        assert_eq!(mode(&Cause::Adopted, &others), ApplyMode::TakeOver(7));
        assert_eq!(mode(&drifted(".spec.list[]"), &others), ApplyMode::TakeOver(7));
    }
    let (ours, written) = (live(|_| {}), live(|it| it.former_writer = true));
    for cause in [Cause::Changed, Cause::Adopted, drifted(".spec.list"), Cause::Drifted(Box::new([]))] {
        assert_eq!(mode(&cause, &ours), updated(), "{cause:?}");
        assert_eq!(mode(&cause, &written), ApplyMode::HandOver, "{cause:?}");
    }
    assert_eq!(mode(&drifted(".spec.list[]"), &ours), ApplyMode::Reclaim);
    assert_eq!(mode(&drifted(".spec.list[]"), &written), ApplyMode::Reclaim);
}

#[test]
fn a_field_that_is_not_declared_any_more_is_given_up_before_the_apply() {
    let running = live(|it| it.running_field = Some("replicas"));
    let mode = |spec: Value, live: &Live| apply_mode(&Cause::Changed, &declared(&spec), Some(live));
    assert_eq!(mode(json!({"replicas": 1}), &running), updated());
    assert_eq!(mode(json!({}), &running), ApplyMode::HandOver);
    assert_eq!(mode(json!({}), &live(|_| {})), updated(), "it was not applied before");
}
