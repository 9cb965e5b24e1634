//! Objects that are declared in a version that is not served any more.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::compile::declared::DeclaredSet;
use crate::model::finding::Finding;
use crate::sync::engine::tests::{applied, applies, begin_sync, declared, live, recorded};
use crate::sync::engine::{Command, Event, Failure, Outcome, Retry};
use crate::sync::live::Observed;

const MANIFESTS: &str = "apiVersion: example.com/v1alpha1\nkind: Widget\nmetadata: {name: old, namespace: ns}\n---\n\
                         apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: new, namespace: ns}\n";

fn widget() -> GroupKind {
    GroupKind::new("example.com", "Widget")
}

fn old() -> ObjectId {
    ObjectId::new(&widget(), "ns", "old")
}

fn served(versions: &[&str]) -> Event {
    Event::Served(widget(), "widgets".into(), versions.iter().map(|version| (*version).to_owned()).collect())
}

fn answer(set: &DeclaredSet, version: u64) -> Event {
    Event::Finished(old(), Outcome::Read(Box::new(live(set, &old(), version, json!({})))))
}

fn cannot_be_read() -> Event {
    let finding = Finding::new(Code::UnknownKind, "not in this version");
    Event::Finished(old(), Outcome::Failed(Failure { finding, retry: Retry::Soon, refused: true }))
}

/// The objects that the commands read.
fn read(commands: &[Command]) -> Vec<ObjectId> {
    let read = commands.iter().filter_map(|command| match command {
        Command::Read(object) => Some(object.id.clone()),
        _ => None,
    });
    read.collect()
}

fn is_told(state: &State) -> bool {
    state.last_report().sync.findings.iter().any(|finding| finding.code == Code::UnknownKind)
}

/// A sync of two objects, which it has applied while the kind was served in both of their versions.
fn synced(now: Instant) -> (State, Arc<DeclaredSet>) {
    let set = declared(MANIFESTS);
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    state.step(served(&["v1", "v1alpha1"]), now);
    for id in set.objects.keys() {
        state.step(Event::Finished(id.clone(), applied(&live(&set, id, 10, json!({})))), now);
    }
    assert!(state.is_synced(), "{:?}", state.last_report());
    (state, set)
}

/// Reads of the object fail until users hear of it; it is left alone then. Returns the time.
fn told(state: &mut State, mut now: Instant) -> Instant {
    for attempt in 0..4 {
        let mut commands = state.step(cannot_be_read(), now);
        while attempt < 3 && read(&commands).is_empty() {
            now = now.max(state.next_wake().expect("it is read again"));
            commands = state.step(Event::Woken, now);
        }
    }
    assert!(is_told(state) && !state.is_synced(), "{:?}", state.last_report());
    now
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn objects_of_a_version_that_goes_are_told_until_it_is_back() {
    let begin = Instant::now();
    let (mut state, set) = synced(begin);
    assert!(read(&state.step(served(&["v1", "v1alpha1"]), begin)).is_empty(), "nothing has changed");
    let commands = state.step(served(&["v1"]), begin);
    assert_eq!(read(&commands), [old()], "{commands:?}");
    let now = told(&mut state, begin);

    let commands = state.step(served(&["v1", "v1alpha1"]), now);
    assert_eq!(read(&commands), [old()], "{commands:?}");
    assert!(is_told(&state), "it was not read yet");
    state.step(answer(&set, 10), now);
    assert!(!is_told(&state) && state.is_synced(), "{:?}", state.last_report());
}

/// The object is deleted while its version is not served, and made again as soon as that is served.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_is_put_back_at_once_when_its_version_is_back() {
    let begin = Instant::now();
    let (mut state, set) = synced(begin);
    state.step(served(&["v1"]), begin);
    state.step(answer(&set, 10), begin);
    let mut now = begin;
    let mut commands = state.step(Event::Gone(old(), 11), now);
    for _ in 0..6 {
        while !applies(&commands, "old") {
            now = now.max(state.next_wake().expect("it is tried again"));
            commands = state.step(Event::Woken, now);
        }
        commands = state.step(cannot_be_read(), now);
    }
    assert!(is_told(&state) && !applies(&commands, "old"), "{commands:?}");
    let commands = state.step(served(&["v1", "v1alpha1"]), now);
    assert!(applies(&commands, "old"), "{commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_commit_and_a_list_tell_of_objects_whose_version_is_not_served() {
    let begin = Instant::now();
    let (mut state, set) = synced(begin);
    state.step(served(&["v1"]), begin);
    let now = told(&mut state, begin);
    let (commit, declared) = ("b".repeat(40), Some(Arc::clone(&set)));
    let mut commands = state.step(Event::Compiled { commit, declared, findings: Vec::new() }, now);
    commands.extend(recorded(&mut state, now));
    assert_eq!(read(&commands), [old()], "the failure of the commit before is forgotten: {commands:?}");
    let now = told(&mut state, now);

    state.step(Event::Listing(widget(), 2), now);
    for id in set.objects.keys() {
        let seen = Observed::of(&live(&set, id, 10, json!({})));
        state.step(Event::Seen(id.clone(), Box::new(seen)), now);
    }
    let commands = state.step(Event::Listed(widget(), 2), now);
    assert!(read(&commands).is_empty() && is_told(&state), "it is still left alone: {commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_audit_leaves_out_versions_that_are_not_served() {
    let now = Instant::now();
    let (mut state, set) = synced(now);
    state.step(served(&["v1"]), now);
    state.step(answer(&set, 10), now);
    let commands = state.step(Event::AuditDue, now);
    let audited = commands.iter().find_map(|command| match command {
        Command::Audit(kind, versions) if *kind == widget() => Some(Vec::from_iter(versions.clone())),
        _ => None,
    });
    assert_eq!(audited, Some(vec!["v1".to_owned()]), "{commands:?}");
}

/// All objects would be read at the beginning of each process.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn nothing_is_read_because_the_versions_become_known() {
    let (set, now) = (declared(MANIFESTS), Instant::now());
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    for id in set.objects.keys() {
        state.step(Event::Finished(id.clone(), applied(&live(&set, id, 10, json!({})))), now);
    }
    for _ in 0..2 {
        let mut commands = state.step(served(&["v1", "v1alpha1"]), now);
        commands.extend(state.step(Event::Woken, now + Duration::from_secs(2)));
        assert_eq!(read(&commands), []);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_about_which_a_command_is_unanswered_is_read_after_the_answer() {
    let now = Instant::now();
    let (mut state, set) = synced(now);
    state.step(Event::Seen(old(), Box::new(Observed::of(&live(&set, &old(), 11, json!({}))))), now);
    let later = now + Duration::from_secs(1);
    assert_eq!(read(&state.step(Event::Woken, later)), [old()]);
    assert_eq!(read(&state.step(served(&["v1"]), later)), []);
    let mut commands = state.step(answer(&set, 11), later);
    commands.extend(state.step(Event::Woken, later + Duration::from_secs(1)));
    assert_eq!(read(&commands), [old()]);
}
