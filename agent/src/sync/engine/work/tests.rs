//! Objects that are left alone: before a commit is in force, while they are another sync's, and while they are in the way.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::*;
use crate::compile::declared::{DeclaredObject, DeclaredSet};
use crate::model::metadata::{FIELD_MANAGER, SyncId, annotation, label};
use crate::model::object::Object;
use crate::sync::engine::tests::{applied, begin_sync, declared, live};
use crate::sync::engine::{ApplyMode, Event, Failure, Outcome, Retry, Settings};
use crate::sync::live::Observed;

const TIMEOUT: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn begin() -> Instant {
    Instant::now()
}

/// The fields of a value in the form of managedFields.
fn fields(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (format!("f:{key}"), fields(value))).collect::<Map<_, _>>().into()
        }
        _ => json!({}),
    }
}

/// The declared object as an apply leaves it.
fn ours(set: &DeclaredSet, id: &ObjectId, version: u64) -> Object {
    let mut object = live(set, id, version, Value::Null);
    let metadata =
        json!({"labels": object.0["metadata"]["labels"], "annotations": object.0["metadata"]["annotations"]});
    let owned = fields(&json!({"metadata": metadata, "spec": object.0.get("spec").cloned().unwrap_or(json!({}))}));
    object.metadata_mut()["managedFields"] =
        json!([{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": owned}]);
    object
}

fn seen(object: &Object) -> Event {
    Event::Seen(object.id(), Box::new(Observed::of(object)))
}

/// A sync that begins with this record and finds these objects; and the commands that follow when all kinds are listed.
fn restarted(
    recorded: &[ObjectId],
    objects: &[Object],
    commit: Option<&Arc<DeclaredSet>>,
    now: Instant,
) -> (State, Vec<Command>) {
    let settings = begin_sync(&Arc::default(), TIMEOUT, now).0.settings;
    let kinds = objects.iter().map(Object::group_kind).collect();
    let mut state = State::new(Settings { recorded: recorded.iter().cloned().collect(), kinds, ..settings });
    let mut commands = Vec::new();
    if let Some(set) = commit {
        commands.extend(state.step(compiled(set), now));
    }
    let mut kinds: Vec<_> = objects.iter().map(Object::group_kind).collect();
    kinds.extend(commit.into_iter().flat_map(|set| set.objects.keys().map(ObjectId::group_kind)));
    kinds.sort();
    kinds.dedup();
    for kind in kinds {
        commands.extend(state.step(Event::Listing(kind.clone(), 1), now));
        for object in objects.iter().filter(|object| object.group_kind() == kind) {
            commands.extend(state.step(seen(object), now));
        }
        commands.extend(state.step(Event::Listed(kind, 1), now));
    }
    (state, commands)
}

fn compiled(set: &Arc<DeclaredSet>) -> Event {
    Event::Compiled { commit: "b".repeat(40), declared: Some(Arc::clone(set)), findings: Vec::new() }
}

/// An object would be written, read, deleted or given up.
fn touches(commands: &[Command]) -> bool {
    commands.iter().any(|command| {
        matches!(
            command,
            Command::Apply(..) | Command::Annotate(..) | Command::Read(_) | Command::Delete(..) | Command::Abandon(_)
        )
    })
}

fn only(set: &DeclaredSet) -> ObjectId {
    set.objects.keys().next_back().expect("one object").clone()
}

/// A ConfigMap with this value, and the Namespace that it needs.
fn in_needed_namespace(value: &str) -> (Arc<DeclaredSet>, ObjectId) {
    let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\n";
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    let mut set = declared(&format!("{config_map}data: {{x: \"{value}\"}}\n{namespace}"));
    let id = only(&set);
    let mut needed = DeclaredObject::new(set.objects[&id].body());
    needed.implicit = true;
    Arc::make_mut(&mut set).objects.insert(id.clone(), Arc::new(needed));
    (set, id)
}

const WIDGET: &str =
    "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a, namespace: default}\nspec: {size: 1}\n";

#[test]
fn nothing_is_given_up_before_a_commit_is_in_force() {
    let now = begin();
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: default\n  \
                annotations: {client.lifecycle.config.k8s.io/deletion: detach}\n";
    let set = declared(text);
    let a = only(&set);
    let (mut state, commands) = restarted(std::slice::from_ref(&a), &[ours(&set, &a, 5)], None, now);
    assert!(!touches(&commands), "{commands:?}");
    let mut commands = state.step(compiled(&Arc::default()), now);
    commands.extend(crate::sync::engine::tests::recorded(&mut state, now));
    assert!(commands.iter().any(|command| matches!(command, Command::Abandon(id) if *id == a)), "{commands:?}");
}

/// Its readiness is in its status, of which the metadata tells nothing.
#[test]
fn the_readiness_of_what_is_as_declared_is_read_after_a_restart() {
    let (set, now) = (declared(WIDGET), begin());
    let a = only(&set);
    let (_, commands) = restarted(std::slice::from_ref(&a), &[ours(&set, &a, 5)], Some(&set), now);
    let audits = |command: &Command| matches!(command, Command::Audit(kind, _) if *kind == a.group_kind());
    assert!(commands.iter().any(audits) && !touches(&commands), "{commands:?}");
}

#[test]
fn a_namespace_that_is_only_needed_and_is_another_syncs_is_none_of_the_syncs_objects() {
    let now = begin();
    let (set, namespace) = in_needed_namespace("1");
    let mut others = ours(&set, &namespace, 5);
    others.metadata_mut()["annotations"][annotation::MANAGER] = ":root_other".into();
    others.metadata_mut()["labels"][label::PART_OF] = SyncId::root("other").part_of().into();
    let (state, _) = restarted(&[], &[others], Some(&set), now);
    assert!(state.objects.live(&namespace).is_some() && !state.objects.is_recorded(&namespace));
}

#[test]
fn an_object_that_another_sync_takes_is_reported_at_once_and_looked_at_when_it_changes() {
    let (set, now) = (declared(WIDGET), begin());
    let a = only(&set);
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    state.step(Event::Finished(a.clone(), applied(&live(&set, &a, 5, json!({})))), now);
    let mut wake = now;
    while let Some(next) = state.next_wake() {
        wake = next;
        for command in state.step(Event::Woken, wake) {
            if let Command::Read(_) = command {
                state.step(Event::Finished(a.clone(), Outcome::Read(Box::new(ours(&set, &a, 5)))), wake);
            }
        }
    }
    let mut taken = ours(&set, &a, 6);
    taken.metadata_mut()["annotations"][annotation::MANAGER] = ":root_other".into();
    taken.metadata_mut()["labels"][label::PART_OF] = SyncId::root("other").part_of().into();
    let commands = state.step(seen(&taken), wake);
    let is_told = |command: &Command| match command {
        Command::Report(report) => report.sync.findings.iter().any(|it| it.code == Code::ManagementConflict),
        _ => false,
    };
    assert!(commands.iter().any(is_told), "{commands:?}");
    for _ in 0..20 {
        let Some(next) = state.next_wake() else { break };
        let commands = state.step(Event::Woken, next);
        let writes = commands.iter().any(|command| matches!(command, Command::Apply(..) | Command::Annotate(..)));
        assert!(!writes, "a watch shows it: {commands:?}");
    }
    assert_eq!(state.next_wake(), None);
    assert!(state.objects.live(&a).is_some());
    state.step(compiled(&Arc::default()), wake);
    assert!(state.objects.live(&a).is_none(), "what is another sync's and not declared is nothing to this one");
}

/// No watch shows it, and it may be gone.
#[test]
fn a_commit_finds_out_anew_what_is_in_the_way_of_an_object() {
    let (set, now) = (declared(WIDGET), begin());
    let a = only(&set);
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    let mut others = ours(&set, &a, 6);
    others.metadata_mut()["annotations"][annotation::MANAGER] = ":root_other".into();
    others.metadata_mut().remove("labels");
    let commands = state.step(Event::Finished(a.clone(), Outcome::Read(Box::new(others))), now);
    let findings = state.last_report().sync.findings;
    assert!(findings.len() == 1 && findings[0].code == Code::ManagementConflict, "{findings:?}");
    assert!(!touches(&commands), "{commands:?}");
    let next = declared(&WIDGET.replace("size: 1", "size: 2"));
    let mut commands = state.step(compiled(&next), now);
    commands.extend(crate::sync::engine::tests::recorded(&mut state, now));
    let makes = |command: &Command| matches!(command, Command::Apply(_, _, ApplyMode::Create));
    assert!(commands.iter().any(makes), "{commands:?}");
}

#[test]
fn a_namespace_that_no_watch_shows_is_looked_at_when_an_object_in_it_fails_and_not_for_each_commit() {
    let now = begin();
    let ((first, namespace), (second, _)) = (in_needed_namespace("1"), in_needed_namespace("2"));
    let a = first.objects.keys().next().expect("the ConfigMap").clone();
    let looks = |commands: &[Command]| {
        commands.iter().any(|command| matches!(command, Command::Apply(object, ..) if object.id == namespace))
    };
    let fails = || {
        let finding = Finding::new(Code::Applier, "not found");
        Event::Finished(a.clone(), Outcome::Failed(Failure { finding, retry: Retry::Soon, refused: true }))
    };
    for watched in [false, true] {
        let (mut state, commands) = begin_sync(&first, TIMEOUT, now);
        assert!(looks(&commands), "{commands:?}");
        let mut others = ours(&first, &namespace, 6);
        others.0.insert("status".to_owned(), json!({"phase": "Active"}));
        let metadata = others.metadata_mut();
        metadata.remove("annotations");
        if !watched {
            metadata.remove("labels");
        }
        let commands = state.step(Event::Finished(namespace.clone(), Outcome::Read(Box::new(others))), now);
        assert!(touches(&commands) && !looks(&commands), "objects can be in it: {commands:?}");
        state.step(Event::Finished(a.clone(), applied(&live(&first, &a, 7, json!({})))), now);
        let mut commands = state.step(compiled(&second), now);
        commands.extend(crate::sync::engine::tests::recorded(&mut state, now));
        assert!(!looks(&commands) && touches(&commands), "{commands:?}");
        assert_eq!(looks(&state.step(fails(), now)), !watched);
    }
}

/// No watch shows an object without the label, so that an attempt to make it tells if it is still there.
#[test]
fn an_object_in_the_way_that_is_being_deleted_is_looked_at_after_pauses_that_grow_and_told_when_it_takes_too_long() {
    let set = declared("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n");
    let (mut now, a) = (begin(), only(&set));
    let late = now + TIMEOUT;
    let (mut state, mut commands) = begin_sync(&set, TIMEOUT, now);
    let going = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "a", "namespace": "default", "uid": "u", "resourceVersion": "7", "finalizers": ["x/y"],
        "deletionTimestamp": "2026-01-01T00:00:00Z",
    }});
    let going: Object = serde_json::from_value(going).expect("a map");
    let told = |state: &State| {
        let findings = state.last_report().sync.findings;
        findings.iter().any(|finding| finding.message.contains("is declared and is being deleted"))
    };
    let (mut pauses, mut last) = (Vec::new(), now);
    while now <= late + Duration::from_secs(30) {
        if commands.iter().any(|command| matches!(command, Command::Apply(object, ..) if object.id == a)) {
            pauses.push((now - last).as_secs());
            last = now;
            commands = state.step(Event::Finished(a.clone(), Outcome::Read(Box::new(going.clone()))), now);
            let due = state.next_wake();
            state.evaluate(&a, now);
            assert_eq!(state.next_wake(), due, "it is looked at then, whatever happens meanwhile");
            assert_eq!(told(&state), now >= late, "{:?}", now);
        } else {
            now = now.max(state.next_wake().expect("it is looked at again"));
            commands = state.step(Event::Woken, now);
        }
    }
    assert_eq!(pauses[..5], [0, 1, 2, 4, 8], "{pauses:?}");
    let mut commands = state.step(Event::Woken, now + LONGEST_PAUSE);
    commands
        .extend(state.step(Event::Finished(a.clone(), applied(&live(&set, &a, 8, json!({})))), now + LONGEST_PAUSE));
    assert!(state.is_synced() && !told(&state), "{commands:?}");
}

/// Its answer would be lost.
#[test]
fn readiness_that_is_due_while_a_command_is_unanswered_does_not_take_its_place() {
    let (set, now) = (declared(WIDGET), begin());
    let a = only(&set);
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    state.step(Event::Finished(a.clone(), applied(&live(&set, &a, 5, json!({})))), now);
    let mut drifted = ours(&set, &a, 6);
    drifted.metadata_mut()["managedFields"] = json!([]);
    assert!(touches(&state.step(seen(&drifted), now)));
    let later = now + Duration::from_secs(5);
    assert!(!touches(&state.step(Event::Woken, later)) && state.is_repaired(&a));
    let commands = state.step(Event::Finished(a.clone(), applied(&ours(&set, &a, 7))), later);
    let is_told = |command: &Command| matches!(command, Command::Notice(Notice::Repaired(_)));
    assert!(commands.iter().any(is_told), "{commands:?}");
}

/// An object of another sync, which no watch shows.
fn in_the_way(set: &DeclaredSet, id: &ObjectId) -> Object {
    let mut others = ours(set, id, 6);
    others.metadata_mut()["annotations"][annotation::MANAGER] = ":root_other".into();
    others.metadata_mut().remove("labels");
    others
}

#[test]
fn an_object_in_the_way_that_no_watch_shows_is_told_once_and_tried_to_be_made_again_and_again() {
    let (set, mut now) = (declared(WIDGET), begin());
    let a = only(&set);
    let next = declared(&WIDGET.replace("size: 1", "size: 2"));
    let told = |commands: &[Command]| {
        commands.iter().filter(|command| matches!(command, Command::Notice(Notice::Failed(_)))).count()
    };
    let makes = |commands: &[Command]| {
        commands.iter().any(|command| matches!(command, Command::Apply(_, _, crate::sync::engine::ApplyMode::Create)))
    };
    let (mut state, mut commands) = begin_sync(&set, TIMEOUT, now);
    for (number, commit) in [&set, &set, &next].into_iter().enumerate() {
        if number == 2 {
            commands = state.step(compiled(commit), now);
            commands.extend(crate::sync::engine::tests::recorded(&mut state, now));
        }
        while !makes(&commands) {
            now = state.next_wake().expect("it is tried again");
            commands = state.step(Event::Woken, now);
        }
        let read = Outcome::Read(Box::new(in_the_way(&set, &a)));
        commands = state.step(Event::Finished(a.clone(), read), now);
        assert_eq!(told(&commands), usize::from(number == 0), "{number}");
        assert!(!state.is_pending(), "a user has to do something");
    }
}

/// Another client took its entry away, and may do so again and again.
#[test]
fn an_object_that_ignores_mutation_and_has_lost_the_proof_is_repaired() {
    let text = WIDGET.replace(
        "namespace: default",
        "namespace: default, annotations: {client.lifecycle.config.k8s.io/mutation: ignore}",
    );
    let (set, now) = (declared(&text), begin());
    let a = only(&set);
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    state.step(Event::Finished(a.clone(), applied(&ours(&set, &a, 5))), now);
    assert!(state.is_synced());
    let mut unproven = ours(&set, &a, 6);
    unproven.metadata_mut()["managedFields"] = json!([]);
    let commands = state.step(seen(&unproven), now);
    assert!(commands.iter().any(|command| matches!(command, Command::Annotate(..))), "{commands:?}");
    let commands = state.step(Event::Finished(a.clone(), applied(&ours(&set, &a, 7))), now);
    let is_told = |command: &Command| matches!(command, Command::Notice(Notice::Repaired(_)));
    assert!(commands.iter().any(is_told), "{commands:?}");
}
