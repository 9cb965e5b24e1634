//! Commands that are refused or fail, and what is told of those that work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::compile::declared::DeclaredSet;
use crate::model::metadata::annotation;
use crate::model::object::Object;
use crate::sync::engine::tests::{applied, applies, begin_sync, declared, deleted, live, recorded};
use crate::sync::engine::{ApplyMode, Event};
use crate::sync::live::Observed;

const TIMEOUT: Duration = Duration::from_secs(60);

fn config_map(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: ns}}\n")
}

fn id(set: &DeclaredSet, name: &str) -> ObjectId {
    set.objects.keys().find(|id| id.name() == name).expect("it is declared").clone()
}

fn works(set: &DeclaredSet, name: &str, version: u64) -> Event {
    let id = id(set, name);
    Event::Finished(id.clone(), applied(&live(set, &id, version, json!({}))))
}

fn fails(id: &ObjectId, code: Code, refused: bool) -> Event {
    let failure = Failure { finding: Finding::new(code, "no"), retry: Retry::Object, refused };
    Event::Finished(id.clone(), Outcome::Failed(failure))
}

/// Another client may make an object under its name, and copy labels and annotations to it.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_was_never_made_is_not_recorded() {
    let (set, now) = (declared(&config_map("a")), Instant::now());
    let a = id(&set, "a");
    for refused in [true, false] {
        let (mut state, commands) = begin_sync(&set, TIMEOUT, now);
        assert!(applies(&commands, "a"));
        state.step(fails(&a, Code::Applier, refused), now);
        assert_eq!(state.objects.is_recorded(&a), !refused, "without an answer it may have been made");

        let (mut state, _) = begin_sync(&set, TIMEOUT, now);
        state.step(works(&set, "a", 10), now);
        assert!(applies(&state.step(Event::Gone(a.clone(), 11), now), "a"));
        state.step(fails(&a, Code::Applier, refused), now);
        assert!(state.objects.is_recorded(&a), "it was made before");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn new_rights_end_the_pauses_of_what_was_forbidden() {
    let (set, now) = (declared(&(config_map("a") + &config_map("b") + &config_map("c"))), Instant::now());
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    state.step(works(&set, "c", 10), now);
    let forbidden = || fails(&id(&set, "a"), Code::InsufficientPermission, true);
    state.step(forbidden(), now);
    state.step(fails(&id(&set, "b"), Code::Applier, true), now);
    let sent = |commands: Vec<Command>| ["a", "b", "c"].map(|name| applies(&commands, name));
    assert_eq!(sent(state.step(Event::Woken, now)), [false, false, false]);
    assert_eq!(sent(state.step(Event::RightsChanged, now)), [true, false, false]);
    state.step(forbidden(), now);
    assert_eq!(sent(state.step(Event::Asked, now)), [true, true, false], "a user asks for it");
}

/// A user does as the hint says: an immutable field can be changed when the object is made anew.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_whose_apply_failed_is_made_anew_as_soon_as_it_is_deleted() {
    let (first, now) = (declared(&config_map("a")), Instant::now());
    let (mut state, _) = begin_sync(&first, TIMEOUT, now);
    state.step(works(&first, "a", 10), now);
    let second = declared(&(config_map("a") + "data: {x: y}\n"));
    let commands = state
        .step(Event::Compiled { commit: "b".repeat(40), declared: Some(second.clone()), findings: Vec::new() }, now);
    assert!(applies(&commands, "a"));
    let a = id(&second, "a");
    let told = |commands: &[Command]| told_failures(commands);
    assert_eq!(told(&state.step(fails(&a, Code::Applier, true), now)), 1);
    assert!(applies(&state.step(Event::Gone(a.clone(), 11), now), "a"));
    let commands = state.step(fails(&a, Code::Applier, true), now);
    assert_eq!((told(&commands), applies(&commands, "a")), (0, false), "it fails as before, and the pauses go on");
    assert!(!applies(&state.step(Event::Woken, now + FIRST_PAUSE), "a"));
    assert!(applies(&state.step(Event::Woken, now + FIRST_PAUSE * 3), "a"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_the_sync_itself_has_deleted_is_no_drift_when_it_is_declared_again() {
    let (both, one, now) =
        (declared(&(config_map("a") + &config_map("b"))), declared(&config_map("a")), Instant::now());
    let compiled = |name: &str, set: &Arc<DeclaredSet>| Event::Compiled {
        commit: name.repeat(40),
        declared: Some(Arc::clone(set)),
        findings: Vec::new(),
    };
    for by_sync in [true, false] {
        let (mut state, _) = begin_sync(&both, TIMEOUT, now);
        state.step(works(&both, "a", 10), now);
        state.step(works(&both, "b", 10), now);
        let b = id(&both, "b");
        if by_sync {
            let mut commands = state.step(compiled("b", &one), now);
            commands.extend(recorded(&mut state, now));
            assert!(deleted(&commands).contains(&b));
            state.step(Event::Finished(b.clone(), Outcome::Deleted), now);
            state.step(compiled("c", &both), now);
        }
        let mut commands = state.step(Event::Gone(b.clone(), 12), now);
        commands.extend(recorded(&mut state, now));
        assert!(applies(&commands, "b"));
        commands.extend(state.step(works(&both, "b", 13), now));
        let repaired = commands.iter().filter(|one| matches!(one, Command::Notice(Notice::Repaired(_)))).count();
        assert_eq!(repaired, usize::from(!by_sync));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_commit_tells_how_much_it_wrote_and_deleted() {
    let (first, second) = (config_map("a") + &config_map("b"), config_map("b") + &config_map("c"));
    let (first, second, now) = (declared(&first), declared(&second), Instant::now());
    let told = |commands: &[Command]| {
        commands.iter().find_map(|command| match command {
            Command::Notice(Notice::Synced { applied, pruned, .. }) => Some((*applied, *pruned)),
            _ => None,
        })
    };
    let (mut state, _) = begin_sync(&first, TIMEOUT, now);
    assert_eq!(told(&state.step(works(&first, "a", 10), now)), None);
    assert_eq!(told(&state.step(works(&first, "b", 11), now)), Some((2, 0)));
    state.step(Event::Gone(id(&first, "a"), 12), now);
    state.step(works(&first, "a", 13), now);
    let (commit, declared) = ("b".repeat(40), Some(Arc::clone(&second)));
    state.step(Event::Compiled { commit, declared, findings: Vec::new() }, now);
    assert!(applies(&recorded(&mut state, now), "c"));
    let commands = state.step(works(&second, "c", 14), now);
    let a = id(&first, "a");
    assert_eq!(deleted(&commands), std::slice::from_ref(&a));
    let mut commands = state.step(Event::Finished(a.clone(), Outcome::Deleted), now);
    commands.extend(state.step(Event::Gone(a, 15), now));
    assert_eq!(told(&commands), Some((1, 1)));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_does_not_become_ready_in_time_is_late_until_it_is() {
    let (set, begin) =
        (declared("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, namespace: ns}\n"), Instant::now());
    let (mut state, _) = begin_sync(&set, TIMEOUT, begin);
    let is_late = |state: &State| state.last_report().resources.is_some_and(|all| all.iter().any(|it| it.late));
    state.step(works(&set, "a", 10), begin);
    state.step(Event::Woken, begin + TIMEOUT - Duration::from_secs(1));
    assert!(!is_late(&state));
    state.step(Event::Woken, begin + TIMEOUT);
    assert!(is_late(&state));
    let status = json!({
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "conditions": [{"type": "Available", "status": "True"}],
    });
    let (a, now) = (id(&set, "a"), begin + TIMEOUT + Duration::from_secs(5));
    let ready = live(&set, &a, 11, status);
    state.step(Event::Seen(a.clone(), Box::new(Observed::of(&ready))), begin + TIMEOUT);
    let commands = state.step(Event::Woken, now);
    assert!(commands.iter().any(|command| matches!(command, Command::Read(_))), "{commands:?}");
    state.step(Event::Finished(a, Outcome::Read(Box::new(ready))), now);
    assert!(!is_late(&state));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_fight_is_told_at_its_beginning_and_not_with_each_repair() {
    let (set, mut now) = (declared(&config_map("a")), Instant::now());
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    state.step(works(&set, "a", 10), now);
    let mut told = Vec::new();
    for turn in 1..=9 {
        let mut commands = state.step(Event::Gone(id(&set, "a"), 10 * turn + 1), now);
        while !applies(&commands, "a") {
            now = now.max(state.next_wake().expect("it is put back"));
            commands = state.step(Event::Woken, now);
        }
        let commands = state.step(works(&set, "a", 10 * (turn + 1)), now);
        let is_it =
            |it: &Command| matches!(it, Command::Notice(Notice::Failed(finding)) if finding.code == Code::Fight);
        told.extend(commands.iter().any(is_it).then_some(turn));
    }
    assert!(told.contains(&5) && !told.contains(&9), "{told:?}");
}

/// The findings about objects that the commands tell.
fn told_failures(commands: &[Command]) -> usize {
    let is_it = |it: &&Command| matches!(it, Command::Notice(Notice::Failed(finding)) if finding.code == Code::Applier);
    commands.iter().filter(is_it).count()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_failure_in_other_words_each_time_is_told_once_an_hour() {
    let (set, begin) = (declared(&config_map("a")), Instant::now());
    let (mut state, _) = begin_sync(&set, TIMEOUT, begin);
    let (a, mut now) = (id(&set, "a"), begin);
    // The number of findings that are told, and the words of the status; the object is then tried again.
    let mut fail = |words: &str| {
        let finding = Finding::new(Code::Applier, words);
        let outcome = Outcome::Failed(Failure { finding, retry: Retry::Object, refused: true });
        let (failed, mut commands) = (now, state.step(Event::Finished(a.clone(), outcome), now));
        let (told, findings) = (told_failures(&commands), state.last_report().sync.findings);
        while !applies(&commands, "a") {
            now = now.max(state.next_wake().expect("it is tried again"));
            commands = state.step(Event::Woken, now);
        }
        (told, findings.into_iter().map(|finding| finding.message).collect::<Vec<_>>(), failed - begin)
    };
    let (mut last, mut told_at, mut at) = (String::new(), Vec::new(), Duration::ZERO);
    for port in 40_000.. {
        let words = format!("read tcp 10.0.0.1:{port}->10.0.0.2:443: reset");
        let (told, shown, failed) = fail(&words);
        if told > 0 {
            (last, at) = (words, failed);
            told_at.push(at);
        }
        assert_eq!(shown, [last.as_str()]);
        assert!(told == 1 || failed - at < Duration::from_secs(3600), "{told_at:?}");
        if failed > Duration::from_secs(9000) {
            break;
        }
    }
    assert_eq!(told_at.len(), 3, "{told_at:?}");
    assert_eq!(fail("write tcp: reset").0, 1);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_is_not_as_it_was_applied_is_applied_again_after_pauses_that_grow() {
    let ignores = "{client.lifecycle.config.k8s.io/mutation: ignore}";
    let ignoring = config_map("a").replace("namespace: ns", &format!("namespace: ns, annotations: {ignores}"));
    let both = [annotation::DECLARED_HASH, annotation::MANAGER];
    for (manifest, taken_off) in [(config_map("a"), &both[..1]), (config_map("a"), &both[..]), (ignoring, &both[..])] {
        let (set, mut now) = (declared(&manifest), Instant::now());
        let (mut state, _) = begin_sync(&set, TIMEOUT, now);
        let a = id(&set, "a");
        let (mut told, mut pauses) = (0, Vec::new());
        for version in 10..16 {
            let mut object = live(&set, &a, version, json!({}));
            for key in taken_off {
                let annotations = object.metadata_mut()["annotations"].as_object_mut().expect("a map");
                assert!(annotations.remove(*key).is_some());
            }
            let before = now;
            state.step(Event::Seen(a.clone(), Box::new(Observed::of(&object))), now);
            let mut commands = state.step(Event::Finished(a.clone(), applied(&object)), now);
            told += told_failures(&commands);
            while !commands.iter().any(|command| matches!(command, Command::Apply(..) | Command::Annotate(..))) {
                now = now.max(state.next_wake().expect("it is tried again"));
                commands = state.step(Event::Woken, now);
                told += told_failures(&commands);
            }
            pauses.push((now - before).as_secs());
        }
        assert_eq!((told, &*pauses), (1, &[0, 0, 1, 2, 4, 8][..]), "{taken_off:?}");
        let findings = state.last_report().sync.findings;
        let lost = if taken_off.len() == 1 {
            "its annotation configsync.gke.io/declared-hash did"
        } else {
            annotation::MANAGER
        };
        let is_it = |finding: &Finding| finding.message.contains(lost) && finding.message.contains("not come back");
        assert!(findings.iter().any(is_it), "{findings:?}");
        assert!(findings.iter().all(|it| !it.message.contains("label")), "{findings:?}");
        state.step(works(&set, "a", 20), now);
        assert!(state.last_report().sync.findings.is_empty());
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_commit_that_comes_in_force_during_an_apply_is_no_failure_of_it() {
    let form = |n: u64| declared(&format!("{}data: {{n: \"{n}\"}}\n", config_map("a")));
    let (mut before, now) = (form(0), Instant::now());
    let (mut state, _) = begin_sync(&before, TIMEOUT, now);
    for version in 10..16 {
        let next = form(version);
        let (commit, declared) = (version.to_string().repeat(20), Some(Arc::clone(&next)));
        state.step(Event::Compiled { commit, declared, findings: Vec::new() }, now);
        recorded(&mut state, now);
        let commands = state.step(works(&before, "a", version), now);
        assert!(applies(&commands, "a"), "{commands:?}");
        assert_eq!(told_failures(&commands), 0, "{commands:?}");
        before = next;
    }
}

/// Each further change has to wait, or a client that changes it all the time would make the sync try all the time.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn the_first_drift_of_an_object_that_fails_does_not_wait() {
    let (set, now) = (declared(&config_map("a")), Instant::now());
    let a = id(&set, "a");
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    state.step(works(&set, "a", 10), now);
    let next = declared(&format!("{}data: {{n: \"2\"}}\n", config_map("a")));
    let mut commands =
        state.step(Event::Compiled { commit: "b".repeat(40), declared: Some(next), findings: Vec::new() }, now);
    commands.extend(recorded(&mut state, now));
    assert!(applies(&commands, "a"), "{commands:?}");
    for (version, is_first) in [(11, true), (12, false)] {
        let failure = Failure { finding: Finding::new(Code::Applier, "no"), retry: Retry::Object, refused: false };
        state.step(Event::Finished(a.clone(), Outcome::Failed(failure)), now);
        let mut drifted = live(&set, &a, version, json!({}));
        drifted.metadata_mut()["managedFields"] = json!([]);
        let commands = state.step(Event::Seen(a.clone(), Box::new(Observed::of(&drifted))), now);
        assert_eq!(applies(&commands, "a"), is_first, "{commands:?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn fields_that_admission_changed_are_told_until_the_next_apply_and_are_no_error() {
    let (set, now) = (declared(&config_map("a")), Instant::now());
    let a = id(&set, "a");
    let rewrites = |version: u64, fields: &[&str]| {
        let mut outcome = applied(&live(&set, &a, version, json!({})));
        if let Outcome::Applied(_, remarks) = &mut outcome {
            remarks.rewritten = fields.iter().map(|field| (*field).to_owned()).collect();
        }
        Event::Finished(a.clone(), outcome)
    };
    let told = |commands: &[Command]| commands.iter().any(|it| matches!(it, Command::Notice(Notice::Rewritten(_))));
    let reported = |commands: &[Command]| {
        commands.iter().any(|it| matches!(it, Command::Report(report) if report.resources.is_some()))
    };
    let fields = |state: &State| {
        let report = state.last_report();
        assert!(report.sync.findings.is_empty() && report.source.findings.is_empty(), "{report:?}");
        let mut all = report.resources.expect("a full report").into_iter();
        all.find(|it| it.id == a).expect("it is the sync's").rewritten.to_vec()
    };
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    let commands = state.step(rewrites(10, &[".data.x"]), now);
    assert!(told(&commands) && reported(&commands) && state.is_synced(), "{commands:?}");
    assert_eq!(fields(&state), [".data.x"]);
    assert!(applies(&state.step(Event::Asked, now), "a"), "admission may leave it as it is now");
    state.step(rewrites(10, &[".data.x"]), now);

    let second = declared(&(config_map("a") + &config_map("b")));
    let (commit, declared) = ("b".repeat(40), Some(Arc::clone(&second)));
    state.step(Event::Compiled { commit, declared, findings: Vec::new() }, now);
    assert_eq!(fields(&state), [".data.x"], "another commit does not change the object");

    assert!(applies(&recorded(&mut state, now), "b"));
    state.step(works(&second, "b", 11), now);
    assert!(applies(&state.step(Event::Gone(a.clone(), 12), now), "a"));
    let many: Vec<String> = (0..100).map(|n| format!(".data.x{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    state.step(rewrites(13, &many), now);
    assert_eq!(fields(&state), many[..REWRITTEN_FIELDS]);
    assert!(applies(&state.step(Event::Gone(a.clone(), 14), now), "a"));
    assert!(!told(&state.step(works(&second, "a", 15), now)));
    assert!(fields(&state).is_empty());
}

/// A report with resources is a large write for every few hundred objects.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_apply_is_news_of_the_inventory_only_if_it_changes_what_is_told_of_the_object() {
    let begin = Instant::now();
    let set =
        declared("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a, namespace: ns}\nspec: {size: 1}\n");
    let a = id(&set, "a");
    let object = |version, status: &Value| live(&set, &a, version, status.clone());
    // The reports of the next minute that have resources. The object is read when its readiness may have changed.
    let reported = |state: &mut State, mut commands: Vec<Command>, now: Instant, read: Object| {
        let mut reports = 0;
        loop {
            for command in std::mem::take(&mut commands) {
                match command {
                    Command::Report(report) => reports += usize::from(report.resources.is_some()),
                    Command::Read(_) => {
                        let answer = Event::Finished(a.clone(), Outcome::Read(Box::new(read.clone())));
                        commands.extend(state.step(answer, now));
                    }
                    _ => {}
                }
            }
            let Some(wake) = state.next_wake().filter(|wake| *wake < now + TIMEOUT) else { return reports };
            if commands.is_empty() {
                commands = state.step(Event::Woken, wake);
            }
        }
    };
    let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    let failed = json!({"conditions": [{"type": "Stalled", "status": "True"}]});
    let (mut state, _) = begin_sync(&set, TIMEOUT, begin);
    let finished = |version, status| Event::Finished(a.clone(), applied(&object(version, status)));
    let commands = state.step(finished(10, &ready), begin);
    assert!(reported(&mut state, commands, begin, object(10, &ready)) > 0);
    let mut version = 10;
    for (status, news) in [(&ready, 0), (&failed, 1), (&failed, 0), (&ready, 1)] {
        let now = begin + Duration::from_secs(1000 * version);
        let mut seen = Observed::of(&object(version + 1, status));
        seen.managed_fields.clear();
        let commands = state.step(Event::Seen(a.clone(), Box::new(seen)), now);
        assert!(applies(&commands, "a"), "{commands:?}");
        version += 2;
        let commands = state.step(finished(version, status), now);
        assert_eq!(reported(&mut state, commands, now, object(version, status)), news, "version {version}");
    }
}

/// Another client may have made the object since the request was answered.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_answer_that_an_object_is_absent_counts_only_if_it_is_newer_than_what_is_known() {
    let (set, now) = (declared(&config_map("a")), Instant::now());
    let a = id(&set, "a");
    for (absent_at, is_gone) in [(11, true), (10, false), (0, true)] {
        let (mut state, _) = begin_sync(&set, TIMEOUT, now);
        state.step(works(&set, "a", 10), now);
        let mut seen = Observed::of(&live(&set, &a, 11, json!({})));
        seen.managed_fields.clear();
        assert!(applies(&state.step(Event::Seen(a.clone(), Box::new(seen)), now), "a"));
        let commands = state.step(Event::Finished(a.clone(), Outcome::Absent(absent_at)), now);
        let makes = |command: &Command| matches!(command, Command::Apply(_, _, ApplyMode::Create));
        assert!(applies(&commands, "a") && commands.iter().any(makes) == is_gone, "{absent_at}: {commands:?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_failure_that_is_likely_over_in_a_moment_keeps_its_pause_when_the_object_is_deleted() {
    let (set, now) = (declared(&config_map("a")), Instant::now());
    let a = id(&set, "a");
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    state.step(works(&set, "a", 10), now);
    assert!(applies(&state.step(Event::Gone(a.clone(), 11), now), "a"));
    let failure = Failure { finding: Finding::new(Code::ResourceConflict, "no"), retry: Retry::Soon, refused: true };
    state.step(Event::Finished(a.clone(), Outcome::Failed(failure)), now);
    let seen = Observed::of(&live(&set, &a, 12, json!({})));
    state.step(Event::Seen(a.clone(), Box::new(seen)), now);
    assert!(!applies(&state.step(Event::Gone(a, 13), now), "a"));
    assert!(applies(&state.step(Event::Woken, now + FIRST_SHORT_PAUSE), "a"));
}

/// Without an answer, an apply may have made the object. What is the sync's already, and what the API server refused, needs no list that
/// shows it.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn only_an_object_that_may_have_become_the_sync_s_is_to_be_shown() {
    let (set, now) = (declared(&config_map("a")), Instant::now());
    let a = id(&set, "a");
    let unlisted = |state: &State| state.unlisted().count();
    for refused in [true, false] {
        let (mut state, _) = begin_sync(&set, TIMEOUT, now);
        state.step(works(&set, "a", 10), now);
        let mut drifted = live(&set, &a, 11, json!({}));
        drifted.metadata_mut()["managedFields"] = json!([]);
        let seen = Event::Seen(a.clone(), Box::new(Observed::of(&drifted)));
        assert!(applies(&state.step(seen, now), "a"));
        state.step(fails(&a, Code::Applier, refused), now);
        assert_eq!(unlisted(&state), 0, "it is the sync's");

        let (mut state, _) = begin_sync(&set, TIMEOUT, now);
        let mut of_nobody = live(&set, &a, 9, json!({}));
        of_nobody.metadata_mut().remove("labels");
        let commands = state.step(Event::Finished(a.clone(), Outcome::Read(Box::new(of_nobody))), now);
        assert!(applies(&commands, "a"), "{commands:?}");
        state.step(fails(&a, Code::Applier, refused), now);
        assert_eq!(unlisted(&state), usize::from(!refused));
    }
}

/// A failure that a write has ended is told no more, also if admission changes what was written.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_write_that_works_ends_the_failure_of_the_one_before() {
    let (set, now) = (declared(&config_map("a")), Instant::now());
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    let a = id(&set, "a");
    state.step(fails(&a, Code::Applier, true), now);
    assert_eq!(state.last_report().sync.findings.len(), 1);
    assert!(applies(&state.step(Event::Woken, now + FIRST_PAUSE), "a"));
    let mut object = live(&set, &a, 10, json!({}));
    object.metadata_mut()["annotations"].as_object_mut().expect("a map").remove(annotation::DECLARED_HASH);
    let commands = state.step(Event::Finished(a, applied(&object)), now + FIRST_PAUSE);
    assert!(applies(&commands, "a") && state.last_report().sync.findings.is_empty(), "{commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_failure_among_writes_that_do_not_stay_makes_no_new_beginning() {
    let (set, mut now) = (declared(&config_map("a")), Instant::now());
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    let a = id(&set, "a");
    let unkept = |state: &mut State, version: u64, now: Instant| {
        let mut object = live(&set, &a, version, json!({}));
        object.metadata_mut()["annotations"].as_object_mut().expect("a map").remove(annotation::DECLARED_HASH);
        applies(&state.step(Event::Finished(a.clone(), applied(&object)), now), "a")
    };
    assert!(unkept(&mut state, 10, now) && unkept(&mut state, 11, now));
    state.step(fails(&a, Code::Applier, true), now);
    now += FIRST_PAUSE;
    assert!(applies(&state.step(Event::Woken, now), "a"));
    assert!(!unkept(&mut state, 12, now), "it is left alone for a while");
}
