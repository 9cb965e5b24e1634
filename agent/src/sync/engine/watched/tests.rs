//! Restored backups, forged metadata, and objects that cannot be deleted.

mod reported;
mod restored;
mod unlabelled;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::compile::declared::DeclaredSet;
use crate::model::finding::{Code, Finding};
use crate::model::object::{Object, ObjectId};
use crate::sync::engine::tests::{applied, applies, begin_sync, declared, deleted, live, recorded};
use crate::sync::engine::{Command, Event, Failure, Outcome, Retry, State};
use crate::sync::live::Observed;

const MANAGER: &str = "configsync.gke.io/manager";

/// The fields of a value in the form of managedFields.
fn fields(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (format!("f:{key}"), fields(value))).collect::<Map<_, _>>().into()
        }
        _ => json!({}),
    }
}

/// The ConfigMap `a` as our apply leaves it.
fn ours(set: &DeclaredSet, version: u64) -> Object {
    let id = set.objects.keys().next().expect("one object");
    let mut object = live(set, id, version, Value::Null);
    let metadata =
        json!({"labels": object.0["metadata"]["labels"], "annotations": object.0["metadata"]["annotations"]});
    let owned = fields(&json!({"metadata": metadata, "data": object.0["data"]}));
    let entry = json!([{"manager": "configsync.gke.io", "operation": "Apply", "time": "then", "fieldsV1": owned}]);
    object.metadata_mut().insert("managedFields".into(), entry);
    object
}

/// A sync of this one object, which it has applied at version 10; and the object.
fn synced(now: Instant) -> (State, Arc<DeclaredSet>, Object) {
    let set = declared("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ns}\ndata: {v: \"1\"}\n");
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    let object = ours(&set, 10);
    state.step(Event::Finished(object.id(), applied(&object)), now);
    assert!(state.is_synced());
    (state, set, object)
}

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn begin() -> Instant {
    Instant::now()
}

fn seen(object: &Object) -> Event {
    Event::Seen(object.id(), Box::new(Observed::of(object)))
}

fn reads(commands: &[Command], id: &ObjectId) -> bool {
    commands.iter().any(|command| matches!(command, Command::Read(read) | Command::ReadAsAgent(read) if read.id == *id))
}

fn edited(object: &Object, version: u64, edit: impl FnOnce(&mut Object)) -> Object {
    let mut object = object.clone();
    object.metadata_mut().insert("resourceVersion".into(), version.to_string().into());
    edit(&mut object);
    object
}

/// Another client names a sync that there is not.
fn steal(object: &mut Object) {
    object.0["metadata"]["annotations"][MANAGER] = ":root_x".into();
    let entry = &mut object.0["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:annotations"];
    entry.as_object_mut().expect("a map").remove(&format!("f:{MANAGER}"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn after_a_restore_an_older_version_in_a_list_is_read_and_believed() {
    let now = Instant::now();
    let (mut state, _, object) = synced(now);
    let (id, kind) = (object.id(), object.group_kind());
    let restored = edited(&object, 5, |object| object.0["data"]["v"] = "0".into());
    assert!(!reads(&state.step(seen(&restored), now), &id), "a late event of a watch");
    state.step(Event::Listing(kind.clone(), 2), now);
    let commands = state.step(seen(&restored), now);
    assert!(reads(&commands, &id), "{commands:?}");
    state.step(Event::Listed(kind, 2), now);
    let commands = state.step(Event::Finished(id.clone(), Outcome::Read(Box::new(restored))), now);
    assert!(applies(&commands, "a"), "{commands:?}");
}

/// A list does not show an object that the commit in force does not declare, and may be older than it. Then the commit before comes
/// again, which declares it.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_a_list_has_not_shown_is_in_doubt_for_the_next_commit_too() {
    let now = Instant::now();
    let (mut state, set, object) = synced(now);
    let other = declared("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: ns}\n");
    let compiled = |commit: &str, set: &Arc<DeclaredSet>| Event::Compiled {
        commit: commit.repeat(40),
        declared: Some(Arc::clone(set)),
        findings: Vec::new(),
    };
    state.step(compiled("b", &other), now);
    state.step(Event::Listing(object.group_kind(), 2), now);
    state.step(Event::Listed(object.group_kind(), 2), now);
    let mut commands = state.step(compiled("c", &set), now);
    commands.extend(recorded(&mut state, now));
    assert!(reads(&commands, &object.id()), "{commands:?}");
    assert!(!state.is_synced());
}

/// An object is made while its kind is listed again, and the list does not show it: it is older than the object, or another client has
/// deleted the object before the list was made, and no event follows.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_is_made_during_a_list_is_read_unless_the_list_shows_it() {
    for (answered, shown) in [(true, false), (false, false), (true, true)] {
        let now = Instant::now();
        let (mut state, set, object) = synced(now);
        let (id, kind) = (object.id(), object.group_kind());
        assert!(applies(&state.step(Event::Gone(id.clone(), 11), now), "a"));
        let made = ours(&set, 12);
        state.step(Event::Listing(kind.clone(), 2), now);
        let mut events = [Event::Listed(kind, 2), Event::Finished(id.clone(), applied(&made))];
        if answered {
            events.reverse();
        }
        let [first, last] = events;
        let mut commands = state.step(first, now);
        if shown {
            commands.extend(state.step(seen(&made), now));
        }
        commands.extend(state.step(last, now));
        assert_eq!((reads(&commands, &id), state.is_synced()), (!shown, shown), "{answered} {shown}: {commands:?}");
    }
}

/// A list shows an object, then the object is read, and the list ends before the answer.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_a_list_has_shown_is_there() {
    let now = Instant::now();
    let (mut state, _, object) = synced(now);
    let (id, kind) = (object.id(), object.group_kind());
    let changed = edited(&object, 12, |object| {
        object.0["metadata"]["managedFields"][0]["time"] = "later".into();
    });
    state.step(Event::Listing(kind.clone(), 2), now);
    assert!(reads(&state.step(seen(&changed), now), &id));
    state.step(Event::Listed(kind, 2), now);
    let commands = state.step(Event::Finished(id, Outcome::Read(Box::new(changed))), now);
    assert!(!applies(&commands, "a") && state.is_synced(), "{commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_manager_that_no_sync_has_named_is_put_back() {
    let now = Instant::now();
    let (mut state, _, object) = synced(now);
    let forged = edited(&object, 11, steal);
    let commands = state.step(seen(&forged), now);
    assert!(applies(&commands, "a"), "{commands:?}");
}

/// The answer to an apply is lost, and the object shows that it worked. As long as it is left alone, the sync is not synced.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_change_after_an_apply_without_an_answer_is_put_back_at_once() {
    for stolen in [false, true] {
        let now = Instant::now();
        let (mut state, set, object) = synced(now);
        let commands = state.step(Event::Gone(object.id(), 11), now);
        assert!(applies(&commands, "a"), "{commands:?}");
        let failure = Failure { finding: Finding::new(Code::ApiServer, "cut"), retry: Retry::Soon, refused: false };
        state.step(Event::Finished(object.id(), Outcome::Failed(failure)), now);
        state.step(seen(&ours(&set, 12)), now);
        if stolen {
            let commands = state.step(seen(&edited(&object, 13, steal)), now);
            assert!(applies(&commands, "a"), "{commands:?}");
        }
        assert!(!state.is_synced());
        let commands = state.step(Event::Woken, now + Duration::from_secs(1));
        assert_eq!((applies(&commands, "a"), state.is_synced()), (false, !stolen), "{commands:?}");
        let told = |command: &Command| matches!(command, Command::Report(report) if report.synced);
        assert_eq!(commands.iter().any(told), !stolen, "{commands:?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_apply_in_our_name_is_looked_at() {
    let now = Instant::now();
    let (mut state, _, object) = synced(now);
    let forged = edited(&object, 11, |object| {
        object.0["data"]["v"] = "theirs".into();
        object.0["metadata"]["managedFields"][0]["time"] = "later".into();
    });
    let commands = state.step(seen(&forged), now);
    assert!(reads(&commands, &object.id()), "{commands:?}");
    let commands = state.step(Event::Finished(object.id(), Outcome::Read(Box::new(forged))), now);
    assert!(applies(&commands, "a"), "{commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_cannot_be_deleted_is_told() {
    let now = Instant::now();
    let (mut state, _, object) = synced(now);
    let other = declared("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: ns}\ndata: {v: \"1\"}\n");
    let owned = edited(&object, 11, |object| {
        object.metadata_mut().insert("ownerReferences".into(), json!([{"uid": "x"}]));
    });
    state.step(seen(&owned), now);
    let commit = "b".repeat(40);
    state.step(Event::Compiled { commit, declared: Some(other), findings: Vec::new() }, now);
    let findings = state.last_report().sync.findings;
    assert!(findings.iter().any(|finding| finding.message.contains("ownerReferences")), "{findings:?}");
    state.step(Event::Gone(object.id(), 12), now);
    assert_eq!(state.last_report().sync.findings, []);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_of_another_sync_that_is_given_to_us_stays_its_own() {
    let now = Instant::now();
    let (mut state, _, object) = synced(now);
    let another = edited(&object, 11, |object| {
        object.metadata_mut().insert("uid".into(), "another".into());
        object.0["metadata"]["annotations"][MANAGER] = ":root_x".into();
    });
    state.step(seen(&another), now);
    assert!(!state.is_synced(), "it is a conflict");
    let given = edited(&object, 12, |object| {
        object.metadata_mut().insert("uid".into(), "another".into());
        let entry = &mut object.0["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:annotations"];
        entry.as_object_mut().expect("a map").remove(&format!("f:{MANAGER}"));
    });
    let commands = state.step(seen(&given), now);
    assert!(!applies(&commands, "a") && !reads(&commands, &object.id()), "{commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_with_our_labels_alone_is_no_error() {
    let now = Instant::now();
    let (mut state, _, object) = synced(now);
    let id = ObjectId::new(&object.group_kind(), "ns", "forged");
    let forged = edited(&object, 11, |object| {
        let metadata = object.metadata_mut();
        metadata.insert("name".into(), "forged".into());
        metadata.remove("managedFields");
        object.0["metadata"]["annotations"]["configsync.gke.io/resource-id"] = id.resource_id().into();
    });
    state.step(seen(&forged), now);
    assert!(state.is_synced(), "{:?}", state.last_report().sync.findings);
}

/// A list after a deletion and one before it look the same: what is not shown is applied again, and what is there after all is
/// found by that apply.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_deleted_object_that_a_new_list_does_not_show_is_made_again() {
    let text =
        |name: &str| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: ns}}\n");
    let (both, one) = (declared(&(text("a") + &text("b"))), declared(&text("a")));
    let commit = |set: &Arc<DeclaredSet>, name: &str| Event::Compiled {
        commit: name.repeat(40),
        declared: Some(Arc::clone(set)),
        findings: Vec::new(),
    };
    for is_listed_first in [false, true] {
        let now = Instant::now();
        let (mut state, _) = begin_sync(&both, Duration::from_secs(300), now);
        let ids: Vec<ObjectId> = both.objects.keys().cloned().collect();
        for id in &ids {
            state.step(Event::Finished(id.clone(), applied(&live(&both, id, 10, Value::Null))), now);
        }
        let mut commands = state.step(commit(&one, "b"), now);
        commands.extend(recorded(&mut state, now));
        assert_eq!(deleted(&commands), [ids[1].clone()]);
        state.step(commit(&both, "c"), now);
        let kind = ids[1].group_kind();
        let mut events = vec![
            Event::Listing(kind.clone(), 2),
            Event::Listed(kind, 2),
            Event::Finished(ids[1].clone(), Outcome::Deleted),
        ];
        if !is_listed_first {
            events.rotate_right(1);
        }
        let mut commands: Vec<Command> = events.into_iter().flat_map(|event| state.step(event, now)).collect();
        commands.extend(recorded(&mut state, now));
        assert!(applies(&commands, "b"), "listed first: {is_listed_first}: {commands:?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_readiness_that_cannot_be_read_is_asked_for_more_and_more_rarely() {
    let mut now = Instant::now();
    let begin = now;
    let set = declared("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: ns}\n");
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    let web = live(&set, set.objects.keys().next().expect("one"), 10, json!({}));
    state.step(Event::Finished(web.id(), applied(&web)), now);
    let mut commands = state.step(seen(&edited(&web, 11, |_| {})), now);
    let mut failed = 0;
    while failed < 10 {
        now = now.max(state.next_wake().expect("it is read again"));
        commands.extend(state.step(Event::Woken, now));
        if reads(&std::mem::take(&mut commands), &web.id()) {
            failed += 1;
            let finding = Finding::new(Code::Applier, "no");
            let failure = Failure { finding, retry: Retry::Object, refused: true };
            commands.extend(state.step(Event::Finished(web.id(), Outcome::Failed(failure)), now));
        }
    }
    assert!(now > begin + Duration::from_secs(300), "{:?}", now - begin);
    let findings = state.last_report().sync.findings;
    assert!(findings.iter().any(|finding| finding.message == "no"), "it is told: {findings:?}");
}

/// As when admission changes a declared field of an object that another client writes.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_audit_finds_what_metadata_does_not_show() {
    let now = Instant::now();
    let audited = |object: &Object| Event::Audited(Box::new(object.clone()));
    let changed = |object: &Object, version| edited(object, version, |it| it.0["data"]["v"] = "2".into());
    let (mut state, _, object) = synced(now);
    let commands = state.step(Event::AuditDue, now);
    let is_it = |command: &Command| matches!(command, Command::Audit(kind, versions) if *kind == object.group_kind() && versions.iter().eq(["v1"]));
    assert!(commands.iter().any(is_it) && !state.is_idle(), "{commands:?}");
    let commands = state.step(audited(&object), now);
    assert!(!applies(&commands, "a") && !reads(&commands, &object.id()), "{commands:?}");
    state.step(Event::AuditEnded(object.group_kind(), true), now);
    assert!(state.is_idle());
    let commands = state.step(audited(&changed(&object, 10)), now);
    assert!(applies(&commands, "a"), "{commands:?}");
    state.step(Event::Finished(object.id(), applied(&edited(&object, 11, |_| {}))), now);
    assert!(state.is_synced());

    let (mut state, ..) = synced(now);
    let commands = state.step(audited(&changed(&object, 9)), now);
    assert!(!applies(&commands, "a") && reads(&commands, &object.id()), "it may be of before the apply: {commands:?}");

    let (mut state, ..) = synced(now);
    let anew = edited(&changed(&object, 9), 9, |object| {
        object.metadata_mut().insert("uid".into(), "another".into());
    });
    let commands = state.step(audited(&anew), now);
    assert!(reads(&commands, &object.id()), "it may be of an object that went before: {commands:?}");

    let (mut state, ..) = synced(now);
    let other = edited(&changed(&object, 11), 11, |object| _ = object.0.insert("apiVersion".into(), "v2".into()));
    let commands = state.step(audited(&other), now);
    assert!(!applies(&commands, "a") && !reads(&commands, &object.id()), "it is declared in v1: {commands:?}");
}

#[test]
fn an_audit_that_fails_is_tried_again_after_pauses_that_grow() {
    let mut now = begin();
    let (mut state, _, object) = synced(now);
    let audits = |commands: &[Command]| commands.iter().any(|command| matches!(command, Command::Audit(..)));
    let mut commands = state.step(Event::AuditDue, now);
    for pause in [15, 30, 60] {
        assert!(audits(&commands), "{commands:?}");
        state.step(Event::AuditEnded(object.group_kind(), false), now);
        assert!(state.is_synced(), "an audit that cannot be made says nothing of the objects");
        let next = state.next_wake().expect("another audit");
        assert_eq!(next - now, Duration::from_secs(pause));
        now = next;
        commands = state.step(Event::Woken, now);
    }
    state.step(Event::AuditEnded(object.group_kind(), true), now);
    assert_eq!(state.next_wake(), None);
}

#[test]
fn an_audit_that_failed_waits_for_the_end_of_an_outage() {
    let now = begin();
    let (mut state, _, object) = synced(now);
    state.step(Event::AuditDue, now);
    state.step(Event::AuditEnded(object.group_kind(), false), now);
    let away = || Failure {
        finding: Finding::new(Code::ApiServer, "away"),
        retry: Retry::Server(Duration::ZERO),
        refused: false,
    };
    state.step(Event::Gone(object.id(), 11), now);
    state.step(Event::Finished(object.id(), Outcome::Failed(away())), now);
    let later = now + Duration::from_secs(16);
    state.step(Event::ServerAsked(Some(away())), later);
    assert!(state.next_wake().is_some_and(|at| at > later), "or it would be woken all the time");
    let commands = state.step(Event::ServerAsked(None), later);
    assert!(commands.iter().any(|command| matches!(command, Command::Audit(..))), "{commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_audit_reads_each_kind_in_its_declared_versions() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ns}\n---\n\
        apiVersion: example.com/v2\nkind: Widget\nmetadata: {name: a, namespace: ns}\n";
    let (set, now) = (declared(text), Instant::now());
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    let audits = state.step(Event::AuditDue, now).into_iter().filter_map(|command| match command {
        Command::Audit(kind, versions) => Some((kind.kind, Vec::from_iter(versions))),
        _ => None,
    });
    let all = [("ConfigMap".to_owned(), vec!["v1".to_owned()]), ("Widget".to_owned(), vec!["v2".to_owned()])];
    assert_eq!(Vec::from_iter(audits), all);
}

/// Another client takes the values out of our entry.
fn lose(object: &mut Object) {
    let entry = &mut object.0["metadata"]["managedFields"][0]["fieldsV1"];
    entry.as_object_mut().expect("a map").remove("f:data");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_change_while_a_command_is_unanswered_is_put_back_too() {
    let now = Instant::now();
    let begin = || {
        let (mut state, _, object) = synced(now);
        assert!(applies(&state.step(seen(&edited(&object, 11, lose)), now), "a"));
        (state, object)
    };
    let repaired = |object: &Object| Event::Finished(object.id(), applied(&edited(object, 12, |_| {})));
    let (mut state, object) = begin();
    assert!(!applies(&state.step(repaired(&object), now), "a") && state.is_synced());
    let (mut state, object) = begin();
    assert!(!applies(&state.step(seen(&edited(&object, 13, lose)), now), "a"));
    assert!(applies(&state.step(repaired(&object), now), "a"), "it came after the apply");
    let (mut state, object) = begin();
    assert!(!applies(&state.step(Event::Gone(object.id(), 13), now), "a"));
    assert!(applies(&state.step(repaired(&object), now), "a"), "it was deleted after the apply");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_event_that_is_older_than_the_object_says_nothing() {
    let now = Instant::now();
    let (mut state, _, object) = synced(now);
    assert!(!applies(&state.step(seen(&edited(&object, 9, lose)), now), "a"));
    assert!(!applies(&state.step(Event::Gone(object.id(), 9), now), "a"));
    assert!(state.is_synced());
    assert!(applies(&state.step(Event::Gone(object.id(), 10), now), "a"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_goes_to_another_sync_is_left_to_it() {
    let now = Instant::now();
    let (mut state, _, object) = synced(now);
    let others = edited(&object, 11, |object| object.0["metadata"]["annotations"][MANAGER] = ":root_x".into());
    let commands = state.step(seen(&others), now);
    assert!(!applies(&commands, "a") && !reads(&commands, &object.id()), "{commands:?}");
    let findings = state.last_report().sync.findings;
    assert!(findings.len() == 1 && findings[0].code == Code::ManagementConflict, "{findings:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_without_the_proof_that_it_was_applied_is_told_and_stays() {
    let now = Instant::now();
    let (mut state, _, object) = synced(now);
    let other = declared("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: ns}\ndata: {v: \"1\"}\n");
    let commit = "b".repeat(40);
    state.step(Event::Compiled { commit, declared: Some(other), findings: Vec::new() }, now);
    let unproven = edited(&object, 11, |object| _ = object.metadata_mut().remove("managedFields"));
    let mut commands = state.step(seen(&unproven), now);
    commands.extend(recorded(&mut state, now));
    assert_eq!(deleted(&commands), []);
    let findings = state.last_report().sync.findings;
    assert!(findings.iter().any(|finding| finding.message.contains("took away the proof")), "{findings:?}");
}

/// As after the loss of the record, or an apply whose answer was lost with the process.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_is_as_declared_already_becomes_the_sync_s_own() {
    let now = Instant::now();
    let (before, set, object) = synced(now);
    let mut state = State::new(before.settings.clone());
    let compiled = |commit: &str, declared: &Arc<DeclaredSet>| Event::Compiled {
        commit: commit.repeat(40),
        declared: Some(Arc::clone(declared)),
        findings: Vec::new(),
    };
    let kind = object.group_kind();
    state.step(compiled("a", &set), now);
    for event in [Event::Listing(kind.clone(), 1), seen(&object), Event::Listed(kind, 1)] {
        state.step(event, now);
    }
    let commands = recorded(&mut state, now);
    assert!(!applies(&commands, "a") && state.objects.is_recorded(&object.id()), "{commands:?}");
    let mut commands = state.step(compiled("b", &Arc::default()), now);
    commands.extend(recorded(&mut state, now));
    assert_eq!(deleted(&commands), [object.id()]);
}

/// Another client has changed it, and perhaps taken its label off, so that no watch shows it any more.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_whose_deletion_found_that_it_had_changed_is_read_and_goes_only_if_it_is_still_the_sync_s() {
    for is_ours in [true, false] {
        let now = Instant::now();
        let (mut state, _, object) = synced(now);
        let id = object.id();
        state.step(
            Event::Compiled { commit: "b".repeat(40), declared: Some(Arc::default()), findings: Vec::new() },
            now,
        );
        assert_eq!(deleted(&recorded(&mut state, now)), std::slice::from_ref(&id));
        let finding = Finding::new(Code::ResourceConflict, "the object has changed");
        let failure = Failure { finding, retry: Retry::Soon, refused: true };
        state.step(Event::Finished(id.clone(), Outcome::Failed(failure)), now);
        let now = now + Duration::from_secs(1);
        let commands = state.step(Event::Woken, now);
        assert!(reads(&commands, &id) && deleted(&commands).is_empty(), "{commands:?}");
        let changed = edited(&object, 11, |object| {
            if !is_ours {
                object.metadata_mut().remove("labels");
            }
        });
        let commands = state.step(Event::Finished(id.clone(), Outcome::Read(Box::new(changed))), now);
        let goes = commands.iter().any(|command| matches!(command, Command::Delete(_, _, 11, _)));
        assert_eq!((goes, state.objects.live(&id).is_some()), (is_ours, is_ours), "{commands:?}");
        assert!(is_ours || state.is_synced(), "{:?}", state.last_report().sync.findings);
    }
}
