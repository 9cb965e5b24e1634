//! Objects whose ApplySet label admission takes off: no watch shows them.

use super::*;
use crate::model::metadata::label;
use crate::sync::engine::ApplyMode;

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

        until(&mut state, &mut commands, &mut now, |commands| reads(commands, &id));
        let without_manager = edited(&there, 41, |object| {
            object.metadata_mut()["annotations"].as_object_mut().expect("a map").remove(MANAGER);
        });
        let outcome = if given_up { Outcome::Read(Box::new(without_manager)) } else { Outcome::Absent(0) };
        let commands = state.step(Event::Finished(id.clone(), outcome), now);
        assert!(state.is_synced() && deleted(&commands).is_empty(), "{:?}", state.last_report().sync.findings);
    }
}
