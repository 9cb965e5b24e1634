//! Kinds that are not served, and lists of watches that were replaced.

use std::sync::Arc;

use serde_json::json;

use super::super::tests::{deleted, offered, recorded};
use super::*;
use crate::compile::declared::DeclaredSet;
use crate::model::finding::Code;
use crate::model::metadata::{FIELD_MANAGER, SyncId, annotation, label};
use crate::sync::engine::{Event, Notice, Report, Settings};
use crate::sync::plan::guard::APPROVAL;

fn reported(commands: Vec<Command>) -> Option<Report> {
    commands.into_iter().find_map(|command| match command {
        Command::Report(report) => Some(*report),
        _ => None,
    })
}

fn widget() -> GroupKind {
    GroupKind::new("example.com", "Widget")
}

/// A sync that declares nothing, with these Widgets in its record.
fn sync_of(recorded: BTreeSet<ObjectId>) -> State {
    sync_of_kinds(BTreeSet::from([widget()]), recorded)
}

fn sync_of_kinds(kinds: BTreeSet<GroupKind>, recorded: BTreeSet<ObjectId>) -> State {
    State::new(Settings {
        sync: SyncId::root("root-sync"),
        in_flight: 1,
        reconcile_timeout: Duration::from_secs(300),
        approval: None,
        how_to_approve: APPROVAL.to_owned(),
        kinds,
        recorded,
        memory: Default::default(),
        git: Default::default(),
        last_in_force: None,
    })
}

fn nothing(commit: &str) -> Event {
    let declared = Some(Arc::new(DeclaredSet::default()));
    Event::Compiled { commit: commit.to_owned(), declared, findings: Vec::new() }
}

fn ours(id: &ObjectId, version: u64) -> Event {
    let sync = SyncId::root("root-sync");
    let seen = serde_json::from_value(json!({
        "name": id.name(),
        "namespace": id.namespace(),
        "uid": id.name(),
        "resourceVersion": version.to_string(),
        "labels": {label::PART_OF: sync.part_of()},
        "annotations": {
            annotation::MANAGED: "enabled",
            annotation::MANAGER: sync.manager(),
            annotation::RESOURCE_ID: id.resource_id(),
        },
        "managedFields": [{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {}}],
    }));
    Event::Seen(id.clone(), Box::new(seen.expect("metadata")))
}

/// A sync that declares nothing, with twelve recorded Widgets whose kind was not served when the commit came in force and is
/// served now: the time, the Widgets and the commands since then.
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn widgets_that_came_back(commit: &str) -> (State, Instant, Vec<ObjectId>, Vec<Command>) {
    let ids: Vec<ObjectId> = (0..12).map(|n| ObjectId::new(&widget(), "ns", &n.to_string())).collect();
    let mut state = sync_of(ids.iter().cloned().collect());
    let now = Instant::now();
    state.step(nothing(commit), now);
    state.step(Event::Unserved(widget()), now);
    let later = state.next_wake().expect("the kind is looked for");
    let mut commands = state.step(Event::Woken, later);
    commands.extend(state.step(Event::Listing(widget(), 1), later));
    for id in &ids {
        commands.extend(state.step(ours(id, 1), later));
    }
    commands.extend(state.step(Event::Listed(widget(), 1), later));
    (state, later, ids, commands)
}

#[test]
fn deletions_of_a_kind_that_comes_back_are_held() {
    let commit = "a".repeat(40);
    let (mut state, later, ids, mut commands) = widgets_that_came_back(&commit);
    for id in &ids {
        commands.extend(state.step(ours(id, 2), later));
    }
    let held = |command: &Command| matches!(command, Command::Notice(Notice::Failed(finding)) if finding.code == Code::EmptySource);
    assert_eq!(commands.iter().filter(|command| held(command)).count(), 1, "{commands:?}");
    assert!(!commands.iter().any(|command| matches!(command, Command::Delete(..))), "{commands:?}");
    let mut commands = state.step(Event::Approved(Some(offered(&commands))), later);
    commands.extend(recorded(&mut state, later));
    assert!(!deleted(&commands).is_empty(), "{commands:?}");
}

#[test]
fn what_is_recorded_stays_so_until_its_kind_is_listed() {
    let kind = widget();
    let id = ObjectId::new(&kind, "ns", "wheel");
    let mut state = sync_of(BTreeSet::from([id.clone()]));
    let now = Instant::now();
    assert!(
        matches!(state.step(nothing(&"a".repeat(40)), now).as_slice(), [Command::Watch(kinds)] if kinds.contains(&kind))
    );
    let report = reported(state.step(Event::Unserved(kind.clone()), now)).expect("it is at rest");
    let resources = report.resources.expect("they are new");
    assert!(matches!(resources.as_slice(), [resource] if resource.id == id && resource.pruning), "{resources:?}");

    let later = state.next_wake().expect("the kind is looked for");
    assert!(matches!(state.step(Event::Woken, later).as_slice(), [Command::Watch(kinds)] if kinds.contains(&kind)));
    state.step(Event::Listing(kind.clone(), 1), later);
    let report = reported(state.step(Event::Listed(kind, 1), later + Duration::from_secs(1))).or_else(|| {
        let due = state.next_wake()?;
        reported(state.step(Event::Woken, due))
    });
    assert_eq!(report.and_then(|report| report.resources), Some(Vec::new()));
    assert_eq!(state.next_wake(), None);
}

#[test]
fn the_end_of_an_older_list_does_not_complete_a_newer_one() {
    let id = ObjectId::new(&widget(), "ns", "wheel");
    let mut state = sync_of(BTreeSet::from([id.clone()]));
    let now = Instant::now();
    state.step(nothing(&"a".repeat(40)), now);
    state.step(Event::Listing(widget(), 1), now);
    state.step(Event::Listing(widget(), 2), now);
    state.step(Event::Listed(widget(), 1), now);
    assert!(state.in_force.declared.is_none(), "the first list may be incomplete");
    state.step(Event::Listing(widget(), 1), now);
    state.step(ours(&id, 1), now);
    state.step(Event::Listed(widget(), 2), now);
    assert!(state.in_force.declared.is_some());
    assert!(state.objects.live(&id).is_some());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_crd_is_deleted_after_the_objects_of_its_kind_whatever_the_plural() {
    let (vertex, definition) =
        (GroupKind::new("example.com", "Vertex"), GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition"));
    let object = ObjectId::new(&vertex, "ns", "a");
    let crd = ObjectId::new(&definition, "", "vertices.example.com");
    let kinds = BTreeSet::from([definition.clone(), vertex.clone()]);
    let mut state = sync_of_kinds(kinds, BTreeSet::from([object.clone(), crd.clone()]));
    let now = Instant::now();
    state.step(nothing(&"a".repeat(40)), now);
    let mut commands = Vec::new();
    for (kind, plural, id) in [(&definition, "customresourcedefinitions", &crd), (&vertex, "vertices", &object)] {
        commands.extend(state.step(Event::Served(kind.clone(), plural.into()), now));
        commands.extend(state.step(Event::Listing(kind.clone(), 1), now));
        commands.extend(state.step(ours(id, 1), now));
    }
    for kind in [&definition, &vertex] {
        commands.extend(state.step(Event::Listed(kind.clone(), 1), now));
    }
    commands.extend(state.step(Event::Counted(crd.clone(), Some(1)), now));
    commands.extend(state.step(Event::Approved(Some(offered(&commands))), now));
    commands.extend(state.step(Event::Counted(crd.clone(), Some(1)), now));
    commands.extend(recorded(&mut state, now));
    assert_eq!(deleted(&commands), std::slice::from_ref(&object), "{commands:?}");
    let mut commands = state.step(Event::Finished(object.clone(), crate::sync::engine::Outcome::Deleted), now);
    commands.extend(state.step(Event::Gone(object, 2), now));
    assert_eq!(deleted(&commands), [crd], "{commands:?}");
}

#[test]
fn a_commit_in_force_that_is_held_stays_so_when_the_source_fails_and_comes_back() {
    let commit = "a".repeat(40);
    let (mut state, later, _, held) = widgets_that_came_back(&commit);
    state.step(Event::SourceFailed(crate::model::finding::Finding::new(Code::Source, "not there")), later);
    state.step(nothing(&commit), later);
    assert!(!state.is_synced(), "the commit is still held");
    let mut commands = state.step(Event::Approved(Some(offered(&held))), later);
    commands.extend(recorded(&mut state, later));
    assert!(!deleted(&commands).is_empty(), "{commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_crd_is_kept_for_an_object_that_is_kept() {
    let definition = GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition");
    let object = ObjectId::new(&widget(), "ns", "wheel");
    let crd = ObjectId::new(&definition, "", "widgets.example.com");
    let mut state =
        sync_of_kinds(BTreeSet::from([definition.clone(), widget()]), BTreeSet::from([object.clone(), crd.clone()]));
    let now = Instant::now();
    state.step(nothing(&"a".repeat(40)), now);
    let mut commands = Vec::new();
    for (kind, plural) in [(&definition, "customresourcedefinitions"), (&widget(), "widgets")] {
        commands.extend(state.step(Event::Served(kind.clone(), plural.into()), now));
        commands.extend(state.step(Event::Listing(kind.clone(), 1), now));
    }
    commands.extend(state.step(ours(&crd, 1), now));
    let Event::Seen(id, mut seen) = ours(&object, 1) else { return };
    seen.annotations.insert(annotation::DELETION.into(), "detach".into());
    commands.extend(state.step(Event::Seen(id, seen), now));
    for kind in [&definition, &widget()] {
        commands.extend(state.step(Event::Listed(kind.clone(), 1), now));
    }
    commands.extend(recorded(&mut state, now));
    for id in [crd, object] {
        let abandoned = commands.iter().any(|command| matches!(command, Command::Abandon(other) if *other == id));
        let deleted = commands.iter().any(|command| matches!(command, Command::Delete(..)));
        assert!(abandoned && !deleted, "{id}: {commands:?}");
        commands = state.step(Event::Finished(id, crate::sync::engine::Outcome::Abandoned), now);
    }
}

#[test]
fn a_watch_that_is_away_is_told_until_it_is_back() {
    let (mut state, later, ..) = widgets_that_came_back(&"a".repeat(40));
    let finding = crate::model::finding::Finding::new(Code::InsufficientPermission, "failed to watch Widget");
    let told = |commands: &[Command]| {
        let is_it = |command: &&Command| matches!(command, Command::Notice(Notice::Failed(told)) if *told == finding);
        commands.iter().filter(is_it).count()
    };
    let commands = state.step(Event::Unwatched(widget(), finding.clone()), later);
    assert_eq!(told(&commands), 1);
    assert_eq!(told(&state.step(Event::Unwatched(widget(), finding.clone()), later)), 0, "it is news once");
    assert!(state.last_report().sync.findings.contains(&finding));
    // A list that works does not make up for the watch.
    state.step(Event::Listing(widget(), 2), later);
    state.step(Event::Listed(widget(), 2), later);
    assert!(state.last_report().sync.findings.contains(&finding));
    state.step(Event::Watched(widget()), later);
    assert!(!state.last_report().sync.findings.contains(&finding));
    // With the kind the watch is over, and another one begins when the kind is back.
    state.step(Event::Unwatched(widget(), finding.clone()), later);
    state.step(Event::Unserved(widget()), later);
    assert!(!state.last_report().sync.findings.contains(&finding));
}
