//! The documents of the page for viewers with different rights.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::io::journal::{JournalCommit, JournalRepair};
use crate::io::serve::page::access::{GetRight, Sight};
use crate::model::finding::{Code, Place};
use crate::model::object::GroupKind;
use crate::sync::engine::ResourceState;
use crate::sync::health::Health;

fn id(kind: &str, namespace: &str, name: &str) -> ObjectId {
    ObjectId::new(&GroupKind::new("", kind), namespace, name)
}

fn plurals() -> Plurals {
    let kinds = [("ConfigMap", "configmaps"), ("Secret", "secrets"), ("Service", "services")];
    kinds.iter().map(|(kind, plural)| (GroupKind::new("", kind), (*plural).to_owned())).collect()
}

/// A viewer who may get Services of `shop`.
fn tenant() -> Sight {
    let right = GetRight::of_object(&id("Service", "shop", "x"), &plurals()).unwrap();
    Sight::of(BTreeSet::from([right]))
}

fn view(id: &ObjectId, health: Health) -> ObjectView {
    let resource = ResourceState {
        id: id.clone(),
        health,
        token: "abc1234".to_owned(),
        failed: false,
        pruning: false,
        late: false,
        skipped: false,
        waits_for: None,
        stale: false,
        other: None,
        rewritten: Box::default(),
    };
    ObjectView { resource, waits_for: None, path: None, finding: None }
}

fn shown(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

fn status(text: &str) -> SyncStatus {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_state_of_a_sync_is_one_word_and_its_errors_have_their_parts() {
    let synced = r#"{"lastSyncedCommit": "a", "source": {"commit": "a"}, "sync": {"commit": "a"}}"#;
    let refused =
        "KNV1029: twice.\\n\\nhint: rename\\n\\nsource: a/copy.yaml:4:9\\nmetadata.name: x\\n\\nFor more information";
    let broken = format!(
        r#"{{"source": {{"commit": "b", "errors": [{{"code": "1029", "errorMessage": "{refused}"}}]}}, "sync": {{"commit": "a"}}}}"#
    );
    let held = r#"{"sync": {"commit": "a", "errors": [{"code": "2006", "errorMessage": "KNV2006: held"}]}}"#;
    let condition = |reason: &str| {
        format!(
            r#"{{"conditions": [{{"type": "Stalled", "status": "True", "reason": "{reason}", "message": "KNV1061: no"}}]}}"#
        )
    };
    let syncing = r#"{"sync": {"commit": "a"}, "conditions": [{"type": "Syncing", "status": "True"}]}"#;
    for (text, expected) in [
        (synced, "Synced"),
        (&broken, "Error"),
        (held, "Held"),
        (&condition("Suspended"), "Suspended"),
        (&condition("Validation"), "Stalled"),
        (syncing, "Syncing"),
        ("{}", "Pending"),
    ] {
        assert_eq!(sync(&SyncId::root("x"), &status(text), None).state, expected, "{text}");
    }
    let errors = sync(&SyncId::root("x"), &status(&broken), None).errors;
    let expected = json!([{"code": "KNV1029", "message": "twice.", "hint": "rename", "places": ["a/copy.yaml:4:9"]}]);
    assert_eq!(shown(errors), expected);
    assert_eq!(sync(&SyncId::root("x"), &status(&condition("Validation")), None).errors[0].code, "KNV1061");
}

#[test]
fn a_viewer_sees_its_own_objects_and_how_many_others_there_are() {
    let (own, other) = (id("Service", "shop", "web"), id("ConfigMap", "shop", "settings"));
    let mut waits = view(&own, Health::Unknown);
    waits.waits_for = Some(other.clone());
    waits.finding = Some(Finding::new(Code::Applier, format!("it waits for {other}")));
    let deletions = vec![own.clone(), other.clone()];
    let finding = Finding::new(Code::EmptySource, "held").hint("approve");
    let held = Some(HeldView { commit: "c".to_owned(), in_force: false, deletions, finding });
    let view = SyncView { objects: vec![waits, view(&other, Health::Current)], held };
    let seen = shown(objects(&view, &tenant(), &plurals()));
    let expected = json!({
        "objects": [{"kind": "Service", "namespace": "shop", "name": "web", "state": "Waiting", "commit": "abc1234",
            "waits": "an object that you may not see"}],
        "hidden": 1,
        "held": {"commit": "c", "inForce": false, "count": 2, "hint": "approve",
            "objects": [{"kind": "Service", "namespace": "shop", "name": "web"}]},
    });
    assert_eq!(seen, expected);
    let all = shown(objects(&view, &Sight::of_all(), &plurals()));
    assert_eq!(
        (all["hidden"].clone(), all["objects"][0]["waits"].clone()),
        (json!(0), json!("configmap/shop/settings"))
    );
    assert!(all["objects"][0]["error"]["message"].as_str().unwrap().contains("settings"), "{all}");
}

#[test]
fn objects_have_one_state_each() {
    let object = view(&id("Service", "shop", "web"), Health::InProgress("wait".into()));
    let with = |change: &dyn Fn(&mut ResourceState)| {
        let mut object = object.clone();
        change(&mut object.resource);
        object.state()
    };
    assert_eq!(with(&|_| {}), "InProgress");
    assert_eq!(with(&|it| it.late = true), "Late");
    assert_eq!(with(&|it| it.failed = true), "Failed");
    assert_eq!(with(&|it| it.pruning = true), "Terminating");
    assert_eq!(with(&|it| it.other = Some("another".into())), "Elsewhere");
}

#[test]
fn the_timeline_has_commits_and_those_repairs_that_the_viewer_may_see() {
    let root = SyncId::root("x");
    let history = r#"{"history": [{"commit": "a", "since": "1970-01-01T00:01:40Z"},
        {"commit": "b", "since": "1970-01-01T00:03:20Z", "synced": "1970-01-01T00:03:21Z"}]}"#;
    let syncs = BTreeMap::from([(root.clone(), status(history))]);
    let entry = |sync: &SyncId, at, event| JournalEntry { at, sync: sync.clone(), event };
    let repair = |object: &ObjectId, diff| {
        let (object, by) = (object.clone(), Some("kubectl".to_owned()));
        JournalEvent::Repaired(JournalRepair { object, by, fields: vec![], deleted: false, diff, times: 2 })
    };
    let (own, secret) = (id("Service", "shop", "web"), id("Secret", "shop", "key"));
    let changed = JournalChange::Changed(JournalDiff::Lines("-a\n+b".to_owned()));
    let changes =
        JournalChanges { counts: [0, 2, 0], first: vec![(own.clone(), changed.clone()), (secret.clone(), changed)] };
    let journal = [
        entry(&root, 90, JournalEvent::InForce(JournalCommit { commit: "a".into(), objects: 3, changes: None })),
        entry(
            &root,
            199,
            JournalEvent::InForce(JournalCommit { commit: "b".into(), objects: 4, changes: Some(changes) }),
        ),
        entry(&root, 250, repair(&own, JournalDiff::Lines("-1\n+2".to_owned()))),
        entry(&root, 260, repair(&secret, JournalDiff::Withheld)),
        entry(&SyncId::repo("bank", "y"), 270, repair(&own, JournalDiff::Unknown)),
        entry(&root, 280, JournalEvent::Failed { code: "KNV1029".into(), message: "twice".into() }),
    ];
    let seen = shown(timeline(&syncs, &journal, &tenant(), &plurals()));
    let types: Vec<&str> = seen.as_array().unwrap().iter().filter_map(|entry| entry["type"].as_str()).collect();
    assert_eq!(types, ["error", "repair", "commit", "commit"], "{seen:#}");
    assert_eq!(seen[1]["diff"], json!({"lines": "-1\n+2"}));
    assert_eq!((&seen[1]["by"], &seen[1]["times"]), (&json!("kubectl"), &json!(2)));
    assert_eq!((&seen[2]["commit"], &seen[2]["counts"]), (&json!("b"), &json!([0, 2, 0])));
    assert_eq!(seen[2]["first"].as_array().unwrap().len(), 1, "{seen:#}");
    assert_eq!((&seen[3]["commit"], &seen[3]["objects"], &seen[3]["counts"]), (&json!("a"), &json!(3), &json!(null)));
    assert!(!seen.to_string().contains("key") && !seen.to_string().contains("bank"), "{seen:#}");
    assert_eq!(shown(timeline(&syncs, &journal, &Sight::of_all(), &plurals()))[1]["diff"], json!("withheld"));
}

#[test]
fn a_finding_is_an_error_with_its_file() {
    let location = crate::model::finding::Location { path: "a.yaml".into(), line: 3, column: 0 };
    let place = Place { location: Some(location), resource: None };
    let error = of_finding(&Finding::new(Code::Applier, "no").hint("do").at(place));
    assert_eq!((error.code.as_str(), error.message.as_str(), error.hint.as_str()), ("KNV2009", "no", "do"));
    assert_eq!(error.places, ["a.yaml:3"]);
}
