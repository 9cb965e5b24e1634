//! Changes of objects at rest that users are told about.

use super::*;
use crate::sync::engine::Report;

/// The last report among these commands.
fn reported(commands: Vec<Command>) -> Report {
    let reports = commands.into_iter().filter_map(|command| match command {
        Command::Report(report) => Some(*report),
        _ => None,
    });
    reports.last().expect("a report")
}

#[test]
fn a_declared_object_that_another_client_deletes_and_a_finalizer_keeps_is_told() {
    let (begin, minute) = (begin(), Duration::from_secs(60));
    let (mut state, _, object) = synced(begin);
    let going = edited(&object, 11, |object| {
        object.metadata_mut().insert("deletionTimestamp".into(), "2026-01-01T00:00:00Z".into());
    });
    let report = reported(state.step(seen(&going), begin + minute));
    assert!(report.syncing && !report.synced);
    assert_eq!(report.resources.expect("its state changed")[0].health.word(), "Terminating");
    let at = state.next_wake().expect("users are told");
    let report = reported(state.step(Event::Woken, at.max(begin + minute * 10)));
    assert!(report.sync.findings[0].message.contains("does not come to its end"), "{:?}", report.sync.findings);
    assert!(!report.syncing && !report.synced);
    // It is gone, and is made anew.
    let later = begin + minute * 20;
    assert!(applies(&state.step(Event::Gone(object.id(), 12), later), "a"));
    let again = edited(&object, 13, |object| _ = object.metadata_mut().insert("uid".into(), "another".into()));
    let report = reported(state.step(Event::Finished(object.id(), applied(&again)), later));
    assert!(report.synced && report.sync.findings.is_empty(), "{report:?}");
}

#[test]
fn a_repair_that_fails_and_one_that_works_again_are_in_the_resources() {
    let begin = begin();
    let (mut state, _, object) = synced(begin);
    let failed = |commands| reported(commands).resources.expect("its state changed")[0].failed;
    let later = begin + Duration::from_secs(60);
    assert!(applies(&state.step(seen(&edited(&object, 11, lose)), later), "a"));
    let failure = Failure { finding: Finding::new(Code::Applier, "no"), retry: Retry::Object, refused: true };
    assert!(failed(state.step(Event::Finished(object.id(), Outcome::Failed(failure)), later)));
    let later = later + Duration::from_secs(60);
    assert!(applies(&state.step(Event::Woken, later), "a"));
    let again = Event::Finished(object.id(), applied(&edited(&object, 12, |_| {})));
    assert!(!failed(state.step(again, later)));
}
