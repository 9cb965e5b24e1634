//! Objects whose ApplySet label admission takes off: no watch shows them.

use super::*;
use crate::model::metadata::label;
use crate::sync::engine::{ApplyMode, Settings};

/// The object as admission leaves it.
fn unlabelled(object: &Object, version: u64) -> Object {
    edited(object, version, |object| {
        let labels = object.metadata_mut()["labels"].as_object_mut().expect("a map");
        assert!(labels.remove(label::PART_OF).is_some());
    })
}

/// Steps until the commands are such.
fn until(state: &mut State, commands: &mut Vec<Command>, now: &mut Instant, is_so: impl Fn(&[Command]) -> bool) {
    while !is_so(commands.as_slice()) {
        *now = (*now).max(state.next_wake().expect("something is tried again"));
        *commands = state.step(Event::Woken, *now);
    }
}

/// Another client has written the object, and admission takes the label off in each write from then on. Returns the whole seconds before
/// each of the applies.
fn written(state: &mut State, object: &Object, now: &mut Instant) -> Vec<u64> {
    let mut commands = state.step(Event::Gone(object.id(), 11), *now);
    let mut pauses = Vec::new();
    for version in 12..17 {
        let before = *now;
        until(state, &mut commands, now, |commands| applies(commands, "a"));
        pauses.push((*now - before).as_secs());
        let expected = match version {
            12 => ApplyMode::Create,
            _ => ApplyMode::TakeOver(version - 1),
        };
        let is_it = |command: &Command| matches!(command, Command::Apply(_, _, mode) if *mode == expected);
        assert!(commands.iter().any(is_it), "{version}: {commands:?}");
        commands = state.step(Event::Finished(object.id(), applied(&unlabelled(object, version))), *now);
    }
    pauses
}

#[test]
fn an_object_whose_label_does_not_stay_is_an_error_and_is_applied_again_after_pauses_that_grow() {
    let mut now = begin();
    let (mut state, _, object) = synced(now);
    assert_eq!(written(&mut state, &object, &mut now), [0, 0, 0, 1, 2]);
    let findings = state.last_report().sync.findings;
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    let hint = finding.hint.as_deref().unwrap_or_default();
    assert!(finding.code == Code::Applier && finding.message.contains(label::PART_OF), "{finding:?}");
    assert!(hint.contains(label::PART_OF) && !state.is_synced(), "{hint}");

    // Admission leaves it now, and another client puts it on.
    state.step(seen(&edited(&object, 20, |_| {})), now);
    assert_eq!(state.last_report().sync.findings, []);
}

/// A change that no watch shows is found by the next attempt to apply the object.
#[test]
fn an_object_without_its_label_is_put_back() {
    let mut now = begin();
    let (mut state, _, object) = synced(now);
    written(&mut state, &object, &mut now);
    let mut commands = Vec::new();
    until(&mut state, &mut commands, &mut now, |commands| applies(commands, "a"));
    let mut commands = state.step(Event::Finished(object.id(), Outcome::Absent(0)), now);
    until(&mut state, &mut commands, &mut now, |commands| applies(commands, "a"));
    let makes = |command: &Command| matches!(command, Command::Apply(_, _, ApplyMode::Create));
    assert!(commands.iter().any(makes), "{commands:?}");
}

#[test]
fn an_object_without_its_label_that_a_commit_removes_is_told_until_it_is_gone_or_given_up() {
    for given_up in [false, true] {
        let mut now = begin();
        let (mut state, _, object) = synced(now);
        written(&mut state, &object, &mut now);
        let id = object.id();
        let next = declared("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: ns}\n");
        let (commit, set) = ("b".repeat(40), Some(Arc::clone(&next)));
        let commands = state.step(Event::Compiled { commit, declared: set, findings: Vec::new() }, now);
        let is_recorded =
            |command: &Command| matches!(command, Command::Record(record) if record.objects.contains(&id));
        assert!(commands.iter().any(is_recorded), "{commands:?}");
        let mut commands = recorded(&mut state, now);
        assert!(applies(&commands, "b") && deleted(&commands).is_empty(), "{commands:?}");
        let b = next.objects.keys().next().expect("one object").clone();
        state.step(Event::Finished(b.clone(), applied(&live(&next, &b, 30, Value::Null))), now);
        let told = |state: &State| {
            let findings = state.last_report().sync.findings;
            findings.iter().filter(|finding| finding.message.contains("it is not deleted")).count()
        };
        assert!(told(&state) == 1 && !state.is_synced(), "{:?}", state.last_report().sync.findings);

        until(&mut state, &mut commands, &mut now, |commands| reads(commands, &id));
        let there = unlabelled(&object, 40);
        let mut commands = state.step(Event::Finished(id.clone(), Outcome::Read(Box::new(there.clone()))), now);
        assert!(
            told(&state) == 1 && deleted(&commands).is_empty(),
            "nothing proves that it is the sync's: {commands:?}"
        );
        assert!(!commands.iter().any(|command| matches!(command, Command::Report(_))), "nothing is new: {commands:?}");

        until(&mut state, &mut commands, &mut now, |commands| reads(commands, &id));
        let without_manager = edited(&there, 41, |object| {
            object.metadata_mut()["annotations"].as_object_mut().expect("a map").remove(MANAGER);
        });
        let outcome = if given_up { Outcome::Read(Box::new(without_manager)) } else { Outcome::Absent(0) };
        let commands = state.step(Event::Finished(id.clone(), outcome), now);
        assert!(state.is_synced() && deleted(&commands).is_empty(), "{:?}", state.last_report().sync.findings);
    }
}

/// A process that begins with this object in the record, which no list shows, and a commit that does not declare it.
fn restarted(object: &Object, now: Instant) -> (State, Vec<Command>) {
    restarted_at(object, Arc::new(DeclaredSet::default()), now)
}

/// As `restarted`, with this commit.
fn restarted_at(object: &Object, set: Arc<DeclaredSet>, now: Instant) -> (State, Vec<Command>) {
    let (before, ..) = synced(now);
    let kind = object.id().group_kind();
    let (kinds, recorded) = ([kind.clone()].into(), [object.id()].into());
    let mut state = State::new(Settings { kinds, recorded, ..before.settings });
    state.step(Event::Compiled { commit: "b".repeat(40), declared: Some(set), findings: Vec::new() }, now);
    state.step(Event::Listing(kind.clone(), 1), now);
    let commands = state.step(Event::Listed(kind, 1), now);
    (state, commands)
}

#[test]
fn a_recorded_object_that_no_list_shows_is_read_before_it_is_forgotten() {
    let mut now = begin();
    let (_, set, object) = synced(now);
    let id = object.id();
    let unlabelled = unlabelled(&object, 12);
    let strangers = edited(&unlabelled, 13, |object| _ = object.metadata_mut().remove("annotations"));
    for (answer, is_told, is_deleted) in [
        (Outcome::Absent(0), false, false),
        (Outcome::Read(Box::new(strangers)), false, false),
        (Outcome::Read(Box::new(unlabelled)), true, false),
        // It was made by a request that was on its way when the process before ended.
        (Outcome::Read(Box::new(ours(&set, 14))), false, true),
    ] {
        let (mut state, mut commands) = restarted(&object, now);
        assert!(reads(&commands, &id) && !state.is_synced(), "{commands:?}");
        let failure = Failure { finding: Finding::new(Code::ApiServer, "cut"), retry: Retry::Soon, refused: false };
        commands = state.step(Event::Finished(id.clone(), Outcome::Failed(failure)), now);
        assert!(!state.is_synced(), "it is not known yet");
        until(&mut state, &mut commands, &mut now, |commands| reads(commands, &id));
        let kept = |state: &State| state.there().any(|other| *other == id);
        assert!(kept(&state));
        let mut commands = state.step(Event::Finished(id.clone(), answer), now);
        commands.extend(recorded(&mut state, now));
        let findings = state.last_report().sync.findings;
        let told = findings.iter().filter(|finding| finding.message.contains("it is not deleted")).count();
        assert_eq!((told == 1, !deleted(&commands).is_empty()), (is_told, is_deleted), "{findings:?} {commands:?}");
        assert_eq!((kept(&state), state.is_synced()), (is_told || is_deleted, !is_told && !is_deleted));
    }
}

/// The API server may make the object although its answer is lost, and the process may end before a watch shows it.
#[test]
fn an_object_whose_apply_had_no_answer_stays_in_the_record_until_it_is_read() {
    for refused in [false, true] {
        let now = begin();
        let set = declared("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ns}\ndata: {v: \"1\"}\n");
        let (mut state, commands) = begin_sync(&set, Duration::from_secs(300), now);
        let id = ours(&set, 10).id();
        assert!(applies(&commands, "a"), "{commands:?}");
        let failure = Failure { finding: Finding::new(Code::ApiServer, "cut"), retry: Retry::Soon, refused };
        state.step(Event::Finished(id.clone(), Outcome::Failed(failure)), now);
        let nothing = Some(Arc::new(DeclaredSet::default()));
        let commands =
            state.step(Event::Compiled { commit: "b".repeat(40), declared: nothing, findings: Vec::new() }, now);
        let kept = state.there().any(|other| *other == id);
        assert_eq!((reads(&commands, &id), kept, state.is_synced()), (!refused, !refused, refused), "{commands:?}");
    }
}

/// A deletion that waits for an approval may wait for days.
#[test]
fn an_undeclared_object_that_a_watch_shows_no_more_is_read() {
    for (goes, expected) in [(false, true), (true, false)] {
        let now = begin();
        let (mut state, _, object) = synced(now);
        let id = object.id();
        let other = declared("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: ns}\n");
        let commit = "b".repeat(40);
        state.step(Event::Compiled { commit, declared: Some(other), findings: Vec::new() }, now);
        if goes {
            let terminating = edited(&object, 11, |object| {
                object.metadata_mut().insert("deletionTimestamp".into(), "then".into());
            });
            state.step(seen(&terminating), now);
        }
        let commands = state.step(Event::Gone(id.clone(), 12), now);
        let kept = state.there().any(|other| *other == id);
        assert_eq!((reads(&commands, &id), kept), (expected, expected), "{commands:?}");
        if expected {
            let commands =
                state.step(Event::Finished(id.clone(), Outcome::Read(Box::new(unlabelled(&object, 12)))), now);
            let findings = state.last_report().sync.findings;
            assert!(findings.iter().any(|finding| finding.message.contains("it is not deleted")), "{findings:?}");
            assert!(deleted(&commands).is_empty(), "{commands:?}");
            let commands = state.step(Event::Asked, now);
            assert!(reads(&commands, &id), "a user wants it to be looked at now: {commands:?}");
        }
    }
}

/// The next commit declares the object again, and waits for the list of a new kind.
#[test]
fn an_object_that_nothing_has_shown_is_read_while_the_next_commit_declares_it() {
    let mut now = begin();
    let (_, _, object) = synced(now);
    let id = object.id();
    let (mut state, _) = restarted(&object, now);
    let failure = || Failure { finding: Finding::new(Code::ApiServer, "cut"), retry: Retry::Soon, refused: false };
    // The commit waits no longer, and begins with another attempt.
    state.step(Event::Finished(id.clone(), Outcome::Failed(failure())), now);
    state.step(Event::Finished(id.clone(), Outcome::Failed(failure())), now);
    let both = declared(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ns}\ndata: {v: \"1\"}\n---\n\
         apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, namespace: ns}\n",
    );
    state.step(Event::Compiled { commit: "c".repeat(40), declared: Some(both), findings: Vec::new() }, now);
    let mut commands = Vec::new();
    until(&mut state, &mut commands, &mut now, |commands| reads(commands, &id));
    state.step(Event::Finished(id.clone(), Outcome::Read(Box::new(unlabelled(&object, 12)))), now);
    let nothing = Some(Arc::new(DeclaredSet::default()));
    state.step(Event::Compiled { commit: "d".repeat(40), declared: nothing, findings: Vec::new() }, now);
    let findings = state.last_report().sync.findings;
    assert!(findings.iter().any(|finding| finding.message.contains("it is not deleted")), "{findings:?}");
}

#[test]
fn a_disabled_object_that_nothing_has_shown_is_given_up_or_forgotten() {
    let now = begin();
    let (_, set, object) = synced(now);
    let id = object.id();
    let disabled = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: ns\n  annotations: \
                    {configmanagement.gke.io/managed: disabled}\n";
    for (answer, is_given_up) in [
        (Outcome::Absent(0), false),
        (Outcome::Read(Box::new(unlabelled(&object, 12))), true),
        (Outcome::Read(Box::new(ours(&set, 12))), true),
    ] {
        let (mut state, commands) = restarted_at(&object, declared(disabled), now);
        assert!(reads(&commands, &id) && !state.is_synced(), "{commands:?}");
        let mut commands = state.step(Event::Finished(id.clone(), answer), now);
        commands.extend(recorded(&mut state, now));
        let given_up = commands.iter().any(|command| matches!(command, Command::Abandon(it) if *it == id));
        assert_eq!((given_up, state.is_synced()), (is_given_up, !is_given_up), "{commands:?}");
    }
}

/// Users who keep an object take an annotation off, as the finding about it says.
#[test]
fn an_object_that_is_not_the_sync_s_any_more_when_its_kind_is_listed_leaves_the_record() {
    let now = begin();
    let (_, _, object) = synced(now);
    let kind = object.id().group_kind();
    let (before, ..) = synced(now);
    let (kinds, in_record) = ([kind.clone()].into(), [object.id()].into());
    let mut state = State::new(Settings { kinds, recorded: in_record, ..before.settings });
    let nothing = Some(Arc::new(DeclaredSet::default()));
    state.step(Event::Compiled { commit: "b".repeat(40), declared: nothing, findings: Vec::new() }, now);
    state.step(Event::Unlistable(kind.clone(), Finding::new(Code::ApiServer, "no answer")), now);
    assert_eq!(state.there().count(), 1);
    state.step(Event::Listing(kind.clone(), 1), now);
    let kept = edited(&object, 12, |object| {
        object.metadata_mut()["annotations"].as_object_mut().expect("a map").remove(MANAGER);
    });
    state.step(seen(&kept), now);
    state.step(Event::Listed(kind, 1), now);
    assert_eq!(state.there().count(), 0);
}
