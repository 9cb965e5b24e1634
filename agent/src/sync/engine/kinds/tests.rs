//! Kinds that are not served, and lists of watches that were replaced.

use std::sync::Arc;

use serde_json::json;

use super::super::tests::{applied, begin_sync, declared, deleted, live, offered, recorded};
use super::*;
use crate::compile::declared::DeclaredSet;
use crate::model::finding::Code;
use crate::model::metadata::{FIELD_MANAGER, SyncId, annotation, label};
use crate::sync::engine::prune::Prunes;
use crate::sync::engine::{Event, Notice, Outcome, Report, Settings};
use crate::sync::plan::guard::APPROVAL;
use crate::sync::plan::memory::{GuardMemory, Proof};

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
        layout: Default::default(),
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
    let then = later + Duration::from_secs(1);
    let commands = state.step(Event::Listed(kind, 1), then);
    let reads = |command: &Command| matches!(command, Command::ReadAsAgent(read) if read.id == id);
    assert!(commands.iter().any(reads), "an object without its label is in no list: {commands:?}");
    let report = reported(state.step(Event::Finished(id.clone(), Outcome::Absent(0)), then)).or_else(|| {
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
        commands.extend(state.step(Event::Served(kind.clone(), plural.into(), BTreeSet::new()), now));
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
    assert_eq!(deleted(&commands), [], "others may have made such objects meanwhile: {commands:?}");
    commands.extend(state.step(Event::Counted(crd.clone(), Some(0)), now));
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
        commands.extend(state.step(Event::Served(kind.clone(), plural.into(), BTreeSet::new()), now));
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
    let in_other_words = crate::model::finding::Finding::new(finding.code, "43512: Widget failed to watch");
    state.step(Event::Unwatched(widget(), in_other_words), later);
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

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn objects_of_the_record_that_are_gone_count_for_the_guard() {
    let (now, ids) = (Instant::now(), ["one", "two"].map(|name| ObjectId::new(&widget(), "ns", name)));
    for number in [1, 2] {
        let mut state = sync_of(ids[..number].iter().cloned().collect());
        let mut commands = state.step(nothing(&"a".repeat(40)), now);
        for event in [Event::Listing(widget(), 1), ours(&ids[0], 1), Event::Listed(widget(), 1)] {
            commands.extend(state.step(event, now));
        }
        if number == 2 {
            commands.extend(state.step(Event::Finished(ids[1].clone(), Outcome::Absent(0)), now));
        }
        commands.extend(recorded(&mut state, now));
        let held = |command: &&Command| matches!(command, Command::Notice(Notice::Failed(finding)) if finding.code == Code::EmptySource);
        assert_eq!((commands.iter().filter(held).count(), deleted(&commands).len()), (number - 1, 2 - number));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_lost_record_is_proven_when_every_kind_has_been_shown() {
    let (now, gadget) = (Instant::now(), GroupKind::new("example.com", "Gadget"));
    for (before, after) in [(Proof::Approval, Proof::Record), (Proof::Metadata, Proof::Metadata)] {
        let mut state = sync_of_kinds(BTreeSet::from([widget(), gadget.clone()]), BTreeSet::new());
        state.prunes = Prunes::after(GuardMemory { proof: before, ..GuardMemory::default() });
        state.step(nothing(&"a".repeat(40)), now);
        state.step(Event::Listing(widget(), 1), now);
        state.step(Event::Listed(widget(), 1), now);
        state.step(Event::Unlistable(gadget.clone(), Finding::new(Code::ApiServer, "no")), now);
        assert!(state.in_force().is_some() && state.prunes.memory().proof == before);
        state.step(Event::Listing(gadget.clone(), 1), now);
        assert!(state.prunes.memory().proof == before);
        state.step(Event::Listed(gadget.clone(), 1), now);
        assert!(state.prunes.memory().proof == after);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_kind_that_cannot_be_listed_is_told_until_it_is() {
    let (now, id) = (Instant::now(), ObjectId::new(&widget(), "ns", "wheel"));
    let mut state = sync_of(BTreeSet::from([id.clone()]));
    state.step(nothing(&"a".repeat(40)), now);
    let finding = Finding::new(Code::InsufficientPermission, "failed to list Widget");
    let tell = |state: &mut State, event| {
        let commands = state.step(event, now);
        let is_it = |command: &&Command| matches!(command, Command::Notice(Notice::Failed(told)) if *told == finding);
        let report = state.last_report();
        let stale = report.resources.is_some_and(|all| all.iter().any(|resource| resource.stale));
        (commands.iter().filter(is_it).count(), report.sync.findings.contains(&finding), stale)
    };
    assert_eq!(tell(&mut state, Event::Unlistable(widget(), finding.clone())), (1, true, true));
    assert_eq!(tell(&mut state, Event::Unlistable(widget(), finding.clone())), (0, true, true));
    let in_other_words = Finding::new(finding.code, "43512: Widget failed to list");
    assert_eq!(tell(&mut state, Event::Unlistable(widget(), in_other_words)), (0, true, true));
    assert_eq!(tell(&mut state, Event::Listing(widget(), 1)), (0, true, true), "the list may fail again");
    assert_eq!(tell(&mut state, Event::Unlistable(widget(), finding.clone())), (0, true, true));
    tell(&mut state, Event::Listing(widget(), 2));
    assert_eq!(tell(&mut state, Event::Listed(widget(), 2)), (0, false, false));
    tell(&mut state, Event::Finished(id, Outcome::Absent(0)));
    // While the kind is listed again, the list before is relied on.
    tell(&mut state, Event::Listing(widget(), 3));
    let commit = "b".repeat(40);
    tell(&mut state, nothing(&commit));
    assert_eq!(state.in_force.source.commit, commit);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_kind_that_is_served_again_is_watched_once_an_object_of_it_is_applied() {
    let (set, now) =
        (declared("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a, namespace: ns}\n"), Instant::now());
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    state.step(Event::Unserved(widget()), now);
    let id = set.objects.keys().next().expect("one").clone();
    let object = live(&set, &id, 2, json!({}));
    let commands = state.step(Event::Finished(id, applied(&object)), now);
    let watches = |command: &Command| matches!(command, Command::Watch(kinds) if kinds.contains(&widget()));
    assert!(commands.iter().any(watches), "{commands:?}");
}

/// A CRD of the same group, of which the plural says that it is not the one of the object.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_crd_goes_without_the_objects_of_another_kind() {
    let now = Instant::now();
    let set = declared("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: wheel, namespace: ns}\n");
    let object = set.objects.keys().next().expect("one").clone();
    let definition = GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition");
    let crd = ObjectId::new(&definition, "", "gadgets.example.com");
    for (plural, goes) in [(Some("widgets"), true), (None, false)] {
        let kinds = BTreeSet::from([definition.clone(), widget()]);
        let mut state = sync_of_kinds(kinds.clone(), BTreeSet::from([object.clone(), crd.clone()]));
        let (commit, declared) = ("a".repeat(40), Some(Arc::clone(&set)));
        state.step(Event::Compiled { commit, declared, findings: Vec::new() }, now);
        let served = plural.map(|plural| Event::Served(widget(), plural.into(), BTreeSet::new()));
        let mut events: Vec<Event> = served.into_iter().collect();
        events.extend(kinds.iter().map(|kind| Event::Listing(kind.clone(), 1)));
        events.extend([ours(&object, 1), ours(&crd, 2)]);
        events.extend(kinds.iter().map(|kind| Event::Listed(kind.clone(), 1)));
        events.push(Event::Counted(crd.clone(), Some(0)));
        let mut commands: Vec<Command> = events.into_iter().flat_map(|event| state.step(event, now)).collect();
        commands.extend(recorded(&mut state, now));
        let whole = live(&set, &object, 3, json!({}));
        commands.extend(state.step(Event::Finished(object.clone(), applied(&whole)), now));
        assert_eq!(deleted(&commands) == std::slice::from_ref(&crd), goes, "{plural:?}: {commands:?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_namespace_goes_if_the_objects_in_it_are_of_a_kind_that_is_not_served() {
    let now = Instant::now();
    let namespaces = GroupKind::new("", "Namespace");
    let (object, namespace) = (ObjectId::new(&widget(), "ns", "wheel"), ObjectId::new(&namespaces, "", "ns"));
    for (late, goes) in [(false, true), (false, false), (true, true), (true, false)] {
        let event = match goes {
            true => Event::Unserved(widget()),
            false => Event::Unlistable(widget(), Finding::new(Code::ApiServer, "no")),
        };
        let kinds = BTreeSet::from([namespaces.clone(), widget()]);
        let mut state = sync_of_kinds(kinds, BTreeSet::from([object.clone(), namespace.clone()]));
        let mut commands = state.step(nothing(&"a".repeat(40)), now);
        let listing = Event::Listing(namespaces.clone(), 1);
        let mut events = vec![listing, ours(&namespace, 1), Event::Listed(namespaces.clone(), 1)];
        events.insert(if late { events.len() } else { 0 }, event);
        for event in events {
            commands.extend(state.step(event, now));
        }
        if goes {
            commands.extend(state.step(Event::Approved(Some(offered(&commands))), now));
        }
        commands.extend(recorded(&mut state, now));
        assert_eq!(deleted(&commands) == std::slice::from_ref(&namespace), goes, "late {late}: {commands:?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_sync_that_stops_before_it_has_read_its_source_claims_nothing() {
    let mut state = sync_of(BTreeSet::from([ObjectId::new(&widget(), "ns", "wheel")]));
    state.step(Event::Woken, Instant::now());
    state.stop();
    let report = state.last_report();
    assert!(report.syncing && !report.synced, "{report:?}");
    assert!(report.resources.is_none(), "the record of the process before is right");
}

fn two_config_maps() -> Arc<DeclaredSet> {
    let map = |name: &str| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: ns}}\n");
    declared(&(map("a") + &map("b")))
}

/// A sync of these objects, which are applied.
fn synced(set: &Arc<DeclaredSet>, now: Instant) -> State {
    let (mut state, _) = begin_sync(set, Duration::from_secs(300), now);
    for id in set.objects.keys() {
        state.step(Event::Finished(id.clone(), applied(&live(set, id, 5, json!({})))), now);
    }
    assert!(state.is_synced());
    state
}

fn is_applied(commands: &[Command], id: &ObjectId) -> bool {
    commands.iter().any(|command| matches!(command, Command::Apply(object, ..) if object.id == *id))
}

fn seen(set: &DeclaredSet, id: &ObjectId, version: u64) -> Event {
    Event::Seen(id.clone(), Box::new(crate::sync::live::Observed::of(&live(set, id, version, json!({})))))
}

/// A watch lists its kind again when it has missed changes. The list is at least as new as the newest object in it.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_second_list_of_a_watch_tells_what_is_gone() {
    let (set, now) = (two_config_maps(), Instant::now());
    let [a, b] = [0, 1].map(|n| set.objects.keys().nth(n).expect("two").clone());
    let mut state = synced(&set, now);
    state.step(Event::Listing(a.group_kind(), 1), now);
    state.step(seen(&set, &b, 5), now);
    let commands = state.step(Event::Listed(a.group_kind(), 1), now);
    assert!(is_applied(&commands, &a) && !is_applied(&commands, &b), "{commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_whose_deletion_failed_is_gone_when_a_newer_list_does_not_show_it() {
    let (set, now) = (two_config_maps(), Instant::now());
    let [a, b] = [0, 1].map(|n| set.objects.keys().nth(n).expect("two").clone());
    let mut state = synced(&set, now);
    let one = DeclaredSet { objects: [(a.clone(), set.objects[&a].clone())].into(), ..DeclaredSet::default() };
    let next = Some(Arc::new(one));
    let mut commands =
        state.step(Event::Compiled { commit: "b".repeat(40), declared: next, findings: Vec::new() }, now);
    commands.extend(recorded(&mut state, now));
    assert_eq!(deleted(&commands), std::slice::from_ref(&b));
    let finding = Finding::new(Code::Applier, "no");
    let failure = crate::sync::engine::Failure { finding, retry: crate::sync::engine::Retry::Object, refused: true };
    state.step(Event::Finished(b.clone(), Outcome::Failed(failure)), now);
    assert!(!state.is_synced());
    state.step(Event::Listing(a.group_kind(), 2), now);
    state.step(seen(&set, &a, 9), now);
    let commands = state.step(Event::Listed(a.group_kind(), 2), now);
    let reads = |command: &Command| matches!(command, Command::ReadAsAgent(read) if read.id == b);
    assert!(commands.iter().any(reads), "it may be there without its label: {commands:?}");
    state.step(Event::Finished(b.clone(), Outcome::Absent(0)), now);
    assert!(state.is_synced(), "{:?}", state.last_report());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_of_another_sync_is_in_the_way_no_more_when_its_kind_is_not_served() {
    let manifest = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a, namespace: ns}\n";
    let (set, now) = (declared(manifest), Instant::now());
    let a = set.objects.keys().next().expect("one").clone();
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    let mut others = live(&set, &a, 6, json!({}));
    let metadata = others.metadata_mut();
    metadata["annotations"][annotation::MANAGER] = ":root_other".into();
    metadata["labels"][label::PART_OF] = SyncId::root("other").part_of().into();
    metadata["managedFields"] = json!([]);
    state.step(Event::Finished(a.clone(), Outcome::Read(Box::new(others))), now);
    assert_eq!(state.last_report().sync.findings.len(), 1);
    assert!(is_applied(&state.step(Event::Unserved(widget()), now), &a), "the answer tells that the kind is missing");
}

/// Objects of it may be there when it is served again, and the guard has to know of them.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_kind_of_the_commit_before_is_looked_for_with_the_next_commit() {
    let manifest = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a, namespace: ns}\n";
    let (set, now) = (declared(manifest), Instant::now());
    let mut state = synced(&set, now);
    state.step(Event::Unserved(widget()), now);
    let commands = state.step(nothing(&"b".repeat(40)), now);
    let watches = |command: &Command| matches!(command, Command::Watch(kinds) if kinds.contains(&widget()));
    assert!(commands.iter().any(watches), "{commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_audit_that_is_due_during_another_one_follows_it() {
    let (set, now) = (two_config_maps(), Instant::now());
    let (mut state, kind) = (synced(&set, now), GroupKind::new("", "ConfigMap"));
    let audits = |commands: Vec<Command>| commands.iter().filter(|it| matches!(it, Command::Audit(..))).count();
    assert_eq!([audits(state.step(Event::AuditDue, now)), audits(state.step(Event::AuditDue, now))], [1, 0]);
    let ended = || Event::AuditEnded(kind.clone(), true);
    assert_eq!([audits(state.step(ended(), now)), audits(state.step(ended(), now))], [1, 0]);
}
