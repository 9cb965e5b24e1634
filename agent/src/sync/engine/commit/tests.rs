//! Commits that come again, and sources that cannot be read or are not followed any more.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::api::GitStatus;
use crate::model::finding::Code;
use crate::sync::engine::tests::{applied, applies, begin_sync, declared, deleted, live, recorded};
use crate::sync::engine::{Event, Failure, Outcome, Retry, Settings};
use crate::sync::live::Observed;

const TIMEOUT: Duration = Duration::from_secs(60);

fn config_map(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: ns}}\n")
}

fn compiled(commit: &str, set: &Arc<DeclaredSet>) -> Event {
    Event::Compiled { commit: commit.to_owned(), declared: Some(Arc::clone(set)), findings: Vec::new() }
}

fn restores(commands: &[Command]) -> usize {
    commands.iter().filter(|command| matches!(command, Command::Restore(_))).count()
}

fn syncing(commands: &[Command]) -> usize {
    commands.iter().filter(|command| matches!(command, Command::Notice(Notice::Syncing { .. }))).count()
}

fn told(commands: &[Command]) -> usize {
    commands.iter().filter(|command| matches!(command, Command::Notice(Notice::Failed(_)))).count()
}

/// A commit is compiled again whenever the kinds of the cluster may have changed.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_commit_that_is_compiled_again_begins_anew_only_if_it_declares_something_else() {
    let (set, now) = (declared(&(config_map("a") + &config_map("b"))), Instant::now());
    let other_content = declared(&(config_map("a") + "data: {x: y}\n" + &config_map("b")));
    let other_object = declared(&(config_map("a") + &config_map("c")));
    for (again, applied_again) in [(&set, false), (&other_content, true), (&other_object, true)] {
        let (mut state, _) = begin_sync(&set, TIMEOUT, now);
        let ids: Vec<ObjectId> = set.objects.keys().cloned().collect();
        let [a, b] = ids.as_slice() else { panic!("{ids:?}") };
        state.step(Event::Finished(b.clone(), applied(&live(&set, b, 10, json!({})))), now);
        let failure = Failure { finding: Finding::new(Code::Applier, "no"), retry: Retry::Object, refused: true };
        state.step(Event::Finished(a.clone(), Outcome::Failed(failure)), now);
        let commit = state.in_force.source.commit.clone();
        let mut commands = state.step(compiled(&commit, again), now);
        commands.extend(recorded(&mut state, now));
        assert_eq!(applies(&commands, "a"), applied_again, "its pause goes on otherwise: {commands:?}");
        assert_eq!(syncing(&commands), 0, "it is the same commit: {commands:?}");
        let commands = state.step(compiled(&"b".repeat(40), &set), now);
        let waits = Arc::ptr_eq(again, &other_object);
        assert_eq!(
            syncing(&commands),
            usize::from(!waits),
            "an object is being made that it does not declare: {commands:?}"
        );
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_source_that_cannot_be_read_is_told_once_and_the_commit_of_before_is_asked_for() {
    let now = Instant::now();
    let last = SourceCommit { commit: "b".repeat(40), git: Default::default(), ..Default::default() };
    let mut state = begin_sync(&declared(&config_map("a")), TIMEOUT, now).0;
    let settings = Settings { last_in_force: Some(last), ..state.settings.clone() };
    state = State::new(settings);
    let finding = |text: &str| Finding::new(Code::Source, text);
    let commands = state.step(Event::SourceFailed(finding("no such host")), now);
    assert_eq!((told(&commands), restores(&commands)), (1, 1), "{commands:?}");
    assert_eq!(state.last_report().source.findings, [finding("no such host")]);
    let commands = state.step(Event::SourceFailed(finding("no such host")), now);
    assert_eq!((told(&commands), restores(&commands)), (0, 0), "{commands:?}");
    assert_eq!(told(&state.step(Event::SourceFailed(finding("no such ref")), now)), 1);
    assert_eq!(state.last_report().source.findings, [finding("no such ref")]);
    // It cannot be read either, until the reason is another one.
    state.step(Event::Restored { commit: "b".repeat(40), declared: None }, now);
    assert_eq!(restores(&state.step(Event::SourceFailed(finding("no such ref")), now)), 0);
    for (reason, asked) in [("no such directory", 1), ("no such host", 0)] {
        assert_eq!(restores(&state.step(Event::SourceFailed(finding(reason)), now)), asked, "{reason}");
    }
}

/// Other Namespaces or keys give another set.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn the_commit_in_force_is_asked_for_only_while_another_one_is_the_newest() {
    let now = Instant::now();
    let set = Arc::new(DeclaredSet { dynamic: true, ..(*declared(&config_map("a"))).clone() });
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    let commit = state.in_force.source.commit.clone();
    assert_eq!(restores(&state.step(compiled(&commit, &set), now)), 0);
    let broken = |commit: &str| Event::Compiled { commit: commit.repeat(40), declared: None, findings: Vec::new() };
    assert_eq!(restores(&state.step(broken("b"), now)), 1);
    assert_eq!(
        restores(&state.step(Event::SourceFailed(Finding::new(Code::Source, "no")), now)),
        0,
        "it is on its way"
    );
    assert_eq!(restores(&state.step(broken("c"), now)), 1);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_deletion_is_withdrawn_when_another_source_is_followed() {
    let now = Instant::now();
    let first = declared(&(config_map("a") + &config_map("b")));
    let git = |repo: &str| Arc::new(GitStatus { repo: repo.to_owned(), ..GitStatus::default() });
    for (repo, withdrawn) in [("", false), ("another", true)] {
        let (mut state, _) = begin_sync(&first, TIMEOUT, now);
        for id in first.objects.keys() {
            state.step(Event::Finished(id.clone(), applied(&live(&first, id, 10, json!({})))), now);
        }
        let mut commands = state.step(compiled(&"b".repeat(40), &declared(&config_map("a"))), now);
        commands.extend(recorded(&mut state, now));
        assert_eq!(deleted(&commands).len(), 1);
        let spec = SpecChange { git: git(repo), layout: Default::default(), reconcile_timeout: TIMEOUT };
        let commands = state.step(Event::SpecChanged(Box::new(spec)), now);
        assert_eq!(commands.iter().any(|command| matches!(command, Command::Withdraw)), withdrawn, "{commands:?}");
        let report = state.last_report();
        assert_eq!((report.source.git, report.source.commit), (git(repo), String::new()), "nothing of it is read yet");
        assert!(report.syncing && !report.synced);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_finding_of_several_commits_is_told_once() {
    let now = Instant::now();
    let (mut state, _) = begin_sync(&declared(&config_map("a")), TIMEOUT, now);
    let broken = |commit: &str, texts: &[&str]| Event::Compiled {
        commit: commit.repeat(40),
        declared: None,
        findings: texts.iter().map(|text| Finding::new(Code::Source, *text)).collect(),
    };
    assert_eq!(told(&state.step(broken("b", &["one"]), now)), 1);
    assert_eq!(told(&state.step(broken("c", &["one", "two"]), now)), 1);
    assert_eq!(told(&state.step(broken("d", &["two"]), now)), 0);
}

/// The source answers with the commit in force when the newest one is there already, and waits for the list of another kind.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn the_commit_in_force_does_not_take_the_place_of_the_newest_one() {
    let now = Instant::now();
    let (set, again) = (declared(&config_map("a")), declared(&(config_map("a") + &config_map("b"))));
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: ns}\n";
    let newest = declared(&(config_map("a") + "---\n" + secret));
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    let a = set.objects.keys().next().expect("one").clone();
    state.step(Event::Finished(a.clone(), applied(&live(&set, &a, 10, json!({})))), now);
    let in_force = state.in_force.source.commit.clone();
    state.step(compiled(&"c".repeat(40), &newest), now);
    state.step(Event::Restored { commit: in_force, declared: Some(again) }, now);
    let kind = GroupKind::new("", "Secret");
    let mut commands = state.step(Event::Listing(kind.clone(), 1), now);
    commands.extend(state.step(Event::Listed(kind, 1), now));
    commands.extend(recorded(&mut state, now));
    assert!(applies(&commands, "s") && !applies(&commands, "b"), "{commands:?}");
}

/// The last good commit, of which users are not told while a newer one is refused: they approve the newest one only.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_good_commit_before_a_broken_one_that_would_delete_too_much_is_not_offered() {
    let maps = |numbers: std::ops::Range<usize>| numbers.map(|n| config_map(&format!("c{n}"))).collect::<String>();
    let (first, now) = (declared(&maps(0..20)), Instant::now());
    let (mut state, _) = begin_sync(&first, TIMEOUT, now);
    for id in first.objects.keys() {
        state.step(Event::Finished(id.clone(), applied(&live(&first, id, 5, json!({})))), now);
    }
    let widget = "---\napiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, namespace: ns}\n";
    let next = declared(&(maps(0..1) + widget));
    state.step(compiled("b", &next), now);
    let broken = Finding::new(Code::Source, "broken");
    state.step(Event::Compiled { commit: "c".repeat(40), declared: None, findings: vec![broken.clone()] }, now);
    let kind = GroupKind::new("example.com", "Widget");
    state.step(Event::Listing(kind.clone(), 1), now);
    let commands = state.step(Event::Listed(kind, 1), now);
    let report = state.last_report();
    assert!(report.sync.findings.is_empty() && report.source.findings == [broken], "{report:?}");
    assert_eq!((told(&commands), &report.sync.commit), (0, &"a".repeat(40)));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn the_source_of_the_commit_in_force_is_told() {
    let (set, now) = (declared(&config_map("a")), Instant::now());
    let settings = begin_sync(&set, TIMEOUT, now).0.settings;
    let git = Arc::new(GitStatus { repo: "here".to_owned(), ..GitStatus::default() });
    let mut state = State::new(Settings { git: Arc::clone(&git), ..settings });
    assert!(!state.is_idle(), "nothing is read yet");
    state.step(compiled("b", &set), now);
    let kind = GroupKind::new("", "ConfigMap");
    state.step(Event::Listing(kind.clone(), 1), now);
    state.step(Event::Listed(kind, 1), now);
    assert_eq!(*state.git_in_force(), *git);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_sync_whose_source_cannot_be_read_is_idle() {
    let now = Instant::now();
    let mut state = State::new(begin_sync(&Arc::default(), TIMEOUT, now).0.settings);
    assert!(!state.is_idle());
    state.step(Event::SourceFailed(Finding::new(Code::Source, "no")), now);
    assert!(state.is_idle());
}

/// Another client does not stop, and a Deployment does not become ready, because a commit comes that says nothing of them.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn fights_and_late_objects_stay_so_with_the_next_commit() {
    let unready = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: w, namespace: ns}\n";
    let (first, now) = (declared(&(config_map("a") + unready)), Instant::now());
    let second = declared(&(config_map("a") + &config_map("b") + unready));
    let ids: Vec<ObjectId> = first.objects.keys().cloned().collect();
    let [a, w] = ["a", "w"].map(|name| ids.iter().find(|id| id.name() == name).expect("declared").clone());
    let (mut state, _) = begin_sync(&first, TIMEOUT, now);
    state.step(Event::Finished(a.clone(), applied(&live(&first, &a, 6, json!({})))), now);
    state.step(Event::Finished(w.clone(), applied(&live(&first, &w, 7, json!({})))), now);
    for version in 0..6 {
        let mut drifted = live(&first, &a, 10 + 2 * version, json!({}));
        drifted.metadata_mut()["managedFields"] = json!([{"manager": "rival", "operation": "Update", "fieldsV1": {}}]);
        state.step(Event::Seen(a.clone(), Box::new(Observed::of(&drifted))), now);
        state.step(Event::Finished(a.clone(), applied(&live(&first, &a, 11 + 2 * version, json!({})))), now);
    }
    let fights = |state: &State| {
        let findings = state.last_report().sync.findings;
        findings.iter().any(|it| it.code == Code::Fight && it.message.contains("the field manager \"rival\""))
    };
    assert!(fights(&state), "{:?}", state.last_report().sync.findings);
    let is_late = |state: &State| {
        let resources = state.last_report().resources.expect("in force");
        resources.iter().any(|it| it.id == w && it.late)
    };
    state.step(compiled("b", &second), now + TIMEOUT / 12);
    assert!(fights(&state) && !is_late(&state));
    state.step(Event::Woken, now + TIMEOUT);
    assert!(is_late(&state), "the time runs from its apply on");
    state.step(compiled("c", &first), now + TIMEOUT);
    assert!(is_late(&state));
}

/// It could not be made again before a commit came that does not declare it. What another client makes in its place is none of the sync's.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_is_gone_and_not_declared_any_more_leaves_the_record() {
    let (set, now) = (declared(&(config_map("a") + &config_map("b"))), Instant::now());
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    for id in set.objects.keys() {
        state.step(Event::Finished(id.clone(), applied(&live(&set, id, 5, json!({})))), now);
    }
    let a = set.objects.keys().next().expect("two").clone();
    assert!(applies(&state.step(Event::Gone(a.clone(), 6), now), "a"));
    let failure = Failure { finding: Finding::new(Code::Applier, "no"), retry: Retry::Object, refused: true };
    state.step(Event::Finished(a.clone(), Outcome::Failed(failure)), now);
    assert!(state.objects.is_recorded(&a));
    state.step(compiled("b", &declared(&config_map("b"))), now);
    assert!(!state.objects.is_recorded(&a));
}

/// A read makes no object, however long its answer takes.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_commit_waits_for_no_object_that_is_being_read() {
    let manifest = config_map("a").replace(
        "namespace: ns",
        "namespace: ns, annotations: {config.kubernetes.io/depends-on: /namespaces/ns/ConfigMap/folder}",
    );
    let (set, now) = (declared(&manifest), Instant::now());
    let (mut state, commands) = begin_sync(&set, TIMEOUT, now);
    assert!(commands.iter().any(|command| matches!(command, Command::Read(_))), "{commands:?}");
    state.step(compiled("b", &declared(&config_map("b"))), now);
    assert_eq!(state.in_force.source.commit, "b");
}

/// The deletions of a commit are measured by the objects that it found.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn objects_that_a_commit_makes_are_newer_than_it() {
    let (set, now) = (declared(&config_map("a")), Instant::now());
    let a = set.objects.keys().next().expect("one").clone();
    let is_newer = |state: &State| state.objects.get(&a).is_some_and(|tracked| tracked.newer);
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    state.step(Event::Finished(a.clone(), applied(&live(&set, &a, 5, json!({})))), now);
    assert!(is_newer(&state));
    let next = declared(&(config_map("a") + "data: {x: y}\n"));
    assert!(applies(&state.step(compiled("b", &next), now), "a"));
    state.step(Event::Finished(a.clone(), applied(&live(&next, &a, 6, json!({})))), now);
    assert!(!is_newer(&state), "it was there before");
}
