//! A wait that takes too long is told, and does not end.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::compile::declared::DeclaredSet;
use crate::model::finding::Code;
use crate::model::object::GroupKind;
use crate::sync::engine::tests::{MANIFESTS, applied, applies, begin_sync, declared, deleted, live, recorded};
use crate::sync::engine::{Command, Event, Failure, Notice, Outcome, Report, Retry, Settings};
use crate::sync::live::Observed;

const TIMEOUT: Duration = Duration::from_secs(60);

fn deployment() -> ObjectId {
    ObjectId::new(&GroupKind::new("apps", "Deployment"), "default", "db")
}

fn last_report(commands: &[Command]) -> Option<&Report> {
    commands.iter().rev().find_map(|command| match command {
        Command::Report(report) => Some(&**report),
        _ => None,
    })
}

/// A ConfigMap that depends on this object, if it is named.
fn config_map(name: &str, on: &str) -> String {
    let on = if on.is_empty() { String::new() } else { format!("config.kubernetes.io/depends-on: {on}") };
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: default\n  annotations: {{{on}}}\n"
    )
}

const FOLDER: &str = "/namespaces/default/ConfigMap/folder";

fn map_id(name: &str) -> ObjectId {
    ObjectId::new(&GroupKind::new("", "ConfigMap"), "default", name)
}

fn failures(commands: &[Command]) -> usize {
    commands.iter().filter(|command| matches!(command, Command::Notice(Notice::Failed(_)))).count()
}

fn reads(commands: &[Command], id: &ObjectId) -> bool {
    commands.iter().any(|command| matches!(command, Command::Read(read) if read.id == *id))
}

/// The Deployment is ready, or not.
fn status(is_ready: bool) -> serde_json::Value {
    match is_ready {
        true => json!({
            "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
            "conditions": [{"type": "Available", "status": "True"}],
        }),
        false => json!({}),
    }
}

/// The status of the Deployment changes, and is read. Returns the commands that follow.
fn see_deployment(state: &mut State, set: &DeclaredSet, version: u64, is_ready: bool, now: Instant) -> Vec<Command> {
    let object = live(set, &deployment(), version, status(is_ready));
    let seen = Event::Seen(deployment(), Box::new(Observed::of(&object)));
    let mut commands = state.step(seen, now);
    if !reads(&commands, &deployment()) {
        commands = state.step(Event::Woken, now + Duration::from_secs(1));
    }
    assert!(reads(&commands, &deployment()), "{commands:?}");
    state.step(Event::Finished(deployment(), Outcome::Read(Box::new(object))), now + Duration::from_secs(1))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_of_others_that_is_not_there_is_told_after_the_first_look_and_once() {
    let (set, mut now, folder) = (declared(&config_map("web", FOLDER)), Instant::now(), map_id("folder"));
    let (mut state, commands) = begin_sync(&set, TIMEOUT, now);
    assert!(reads(&commands, &folder) && failures(&commands) == 0, "{commands:?}");
    for told in [1, 0, 0] {
        let mut commands = state.step(Event::Finished(folder.clone(), Outcome::Absent(0)), now);
        let first = failures(&commands);
        while !reads(&commands, &folder) {
            now = state.next_wake().expect("it is looked at again");
            commands = state.step(Event::Woken, now);
        }
        assert_eq!((first, failures(&commands)), (told, 0));
    }
}

/// Whatever the labels of an object say, it is the sync's only if the record has it.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_of_others_with_the_labels_of_the_sync_is_enough_to_depend_on() {
    let (set, now, folder) = (declared(&config_map("web", FOLDER)), Instant::now(), map_id("folder"));
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    let object = live(&declared(&config_map("folder", "")), &folder, 7, json!({}));
    let commands = state.step(Event::Finished(folder, Outcome::Read(Box::new(object))), now);
    assert!(applies(&commands, "web"), "{commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_goes_is_not_enough_to_depend_on() {
    let stays: String = ["a", "b", "c"].map(|name| config_map(name, "")).concat();
    let (first, second) =
        (declared(&(stays.clone() + &config_map("folder", ""))), declared(&(stays + &config_map("web", FOLDER))));
    let now = Instant::now();
    let (mut state, _) = begin_sync(&first, TIMEOUT, now);
    for id in first.objects.keys() {
        state.step(Event::Finished(id.clone(), applied(&live(&first, id, 5, json!({})))), now);
    }
    let compiled = Event::Compiled { commit: "b".repeat(40), declared: Some(second), findings: Vec::new() };
    let mut commands = state.step(compiled, now);
    commands.extend(recorded(&mut state, now));
    assert!(!applies(&commands, "web") && deleted(&commands) == [map_id("folder")], "{commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn drift_that_waits_for_another_object_is_reported() {
    let (set, now, web) = (declared(MANIFESTS), Instant::now(), map_id("web"));
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    state.step(Event::Finished(deployment(), applied(&live(&set, &deployment(), 2, status(true)))), now);
    state.step(Event::Finished(web.clone(), applied(&live(&set, &web, 3, json!({})))), now);
    assert!(state.is_synced());
    let later = now + TIMEOUT;
    see_deployment(&mut state, &set, 4, false, later);
    // All that this changes is reported.
    while let Some(wake) = state.next_wake().filter(|wake| *wake < later + TIMEOUT / 2) {
        state.step(Event::Woken, wake);
    }
    let drifts = later + TIMEOUT / 2;
    let mut object = live(&set, &web, 5, json!({}));
    object.metadata_mut()["managedFields"] = json!([]);
    let mut commands = state.step(Event::Seen(web.clone(), Box::new(Observed::of(&object))), drifts);
    assert!(!applies(&commands, "web"), "{commands:?}");
    while let Some(wake) = state.next_wake().filter(|wake| *wake < drifts + TIMEOUT / 4) {
        commands.extend(state.step(Event::Woken, wake));
    }
    let resources = last_report(&commands).and_then(|report| report.resources.as_ref()).expect("it waits now");
    assert!(resources.iter().any(|it| it.id == web && it.waits_for == Some(deployment())), "{resources:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_awaited_object_that_is_made_in_the_second_attempt_is_no_repair() {
    let (set, now) = (declared(MANIFESTS), Instant::now());
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    let failure = Failure { finding: Finding::new(Code::ApiServer, "no"), retry: Retry::Object, refused: false };
    let mut commands = state.step(Event::Finished(deployment(), Outcome::Failed(failure)), now);
    let mut wake = now;
    while !applies(&commands, "db") {
        wake = state.next_wake().expect("it is tried again");
        commands = state.step(Event::Woken, wake);
    }
    let object = live(&set, &deployment(), 2, status(true));
    let commands = state.step(Event::Finished(deployment(), applied(&object)), wake);
    let is_repair = |command: &Command| matches!(command, Command::Notice(Notice::Repaired(_)));
    assert!(applies(&commands, "web") && !commands.iter().any(is_repair), "{commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_wait_after_an_attempt_that_failed_begins_anew() {
    let (set, begin, web) = (declared(MANIFESTS), Instant::now(), map_id("web"));
    let (mut state, _) = begin_sync(&set, TIMEOUT, begin);
    state.step(Event::Finished(deployment(), applied(&live(&set, &deployment(), 2, status(false)))), begin);
    let attempt = begin + TIMEOUT - Duration::from_secs(10);
    assert!(applies(&see_deployment(&mut state, &set, 3, true, attempt), "web"));
    let failure = Failure { finding: Finding::new(Code::ApiServer, "no"), retry: Retry::Soon, refused: false };
    let after = attempt + Duration::from_secs(1);
    see_deployment(&mut state, &set, 4, false, after);
    state.step(Event::Finished(web.clone(), Outcome::Failed(failure)), after + Duration::from_secs(1));
    let late = |state: &State| {
        let findings = state.last_report().sync.findings;
        findings.iter().any(|finding| finding.message.contains("not ready within 1m0s"))
    };
    let mut told_at = None;
    while let Some(wake) = state.next_wake().filter(|wake| told_at.is_none() && *wake < begin + TIMEOUT * 3) {
        state.step(Event::Woken, wake);
        told_at = late(&state).then_some(wake);
    }
    assert!(told_at.is_some_and(|at| at >= after + TIMEOUT), "{:?}", told_at.map(|at| at - begin));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn of_a_chain_of_objects_that_go_only_the_last_one_goes_at_first() {
    let stays: String = (0..10).map(|n| config_map(&format!("stays{n}"), "")).collect();
    let chain = config_map("first", "")
        + &config_map("second", "/namespaces/default/ConfigMap/first")
        + &config_map("third", "/namespaces/default/ConfigMap/second");
    let (set, now) = (declared(&(stays.clone() + &chain)), Instant::now());
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    let order = set.objects.keys().filter(|id| id.name() != "second" && id.name() != "third").cloned();
    for id in order.chain([map_id("second"), map_id("third")]) {
        state.step(Event::Finished(id.clone(), applied(&live(&set, &id, 5, json!({})))), now);
    }
    let next = Some(declared(&stays));
    let mut commands =
        state.step(Event::Compiled { commit: "b".repeat(40), declared: next, findings: Vec::new() }, now);
    commands.extend(recorded(&mut state, now));
    assert_eq!(deleted(&commands), [map_id("third")]);
    for (gone, next) in [("third", "second"), ("second", "first")] {
        state.step(Event::Finished(map_id(gone), Outcome::Deleted), now);
        assert_eq!(deleted(&state.step(Event::Gone(map_id(gone), 9), now)), [map_id(next)]);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_waits_too_long_is_told_and_applied_when_its_dependency_is_ready() {
    let (set, begin) = (declared(MANIFESTS), Instant::now());
    let (mut state, commands) = begin_sync(&set, TIMEOUT, begin);
    assert!(applies(&commands, "db") && !applies(&commands, "web"), "{commands:?}");
    let not_ready = live(&set, &deployment(), 2, json!({}));
    let commands = state.step(Event::Finished(deployment(), applied(&not_ready)), begin);
    assert!(!applies(&commands, "web") && state.is_pending(), "{commands:?}");
    let waiting = state.dump(begin).oldest_waiting.expect("the ConfigMap waits");
    assert_eq!(waiting.waits_for, deployment().to_string());

    let late = begin + TIMEOUT;
    let commands = state.step(Event::Woken, late);
    let told = |command: &&Command| matches!(command, Command::Notice(Notice::Failed(finding)) if finding.message.contains("not ready within 1m0s"));
    assert_eq!(commands.iter().filter(told).count(), 1, "{commands:?}");
    let report = last_report(&commands).expect("the error is reported at once");
    assert!(!report.syncing && !report.synced && report.sync.findings.len() == 1, "{report:?}");
    assert!(state.step(Event::Woken, late + TIMEOUT).iter().filter(told).count() == 0, "it is told once");

    let ready = json!({
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "conditions": [{"type": "Available", "status": "True"}],
    });
    let ready = live(&set, &deployment(), 3, ready);
    let commands = state.step(Event::Seen(deployment(), Box::new(Observed::of(&ready))), late + TIMEOUT);
    let read = |command: &Command| matches!(command, Command::Read(read) if read.id == deployment());
    let commands = if commands.iter().any(read) { commands } else { state.step(Event::Woken, late + TIMEOUT) };
    assert!(commands.iter().any(read), "an awaited object is read at once: {commands:?}");
    let failure = Failure { finding: Finding::new(Code::ApiServer, "slow"), retry: Retry::Object, refused: false };
    state.step(Event::Finished(deployment(), Outcome::Failed(failure)), late + TIMEOUT);
    let commands = state.step(Event::Woken, late + TIMEOUT + Duration::from_secs(2));
    assert!(commands.iter().any(read), "a read that failed is repeated: {commands:?}");
    let commands = state.step(Event::Finished(deployment(), Outcome::Read(Box::new(ready))), late + TIMEOUT);
    assert!(applies(&commands, "web"), "{commands:?}");
    assert!(state.last_report().sync.findings.is_empty());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_waits_alone_for_what_is_not_declared_until_that_is_on_the_cluster() {
    let manifest = |name: &str, annotations: &str| {
        format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: default\n{annotations}")
    };
    let on = "  annotations: {config.kubernetes.io/depends-on: /namespaces/default/ConfigMap/folder}\n";
    let (set, mut now) = (declared(&(manifest("web", on) + &manifest("other", ""))), Instant::now());
    let folder = ObjectId::new(&GroupKind::new("", "ConfigMap"), "default", "folder");
    let reads = |commands: &[Command]| {
        commands.iter().any(|command| matches!(command, Command::Read(read) if read.id == folder))
    };
    let (mut state, commands) = begin_sync(&set, TIMEOUT, now);
    assert!(applies(&commands, "other") && !applies(&commands, "web"), "{commands:?}");
    let other = set.objects.keys().find(|id| id.name() == "other").expect("declared").clone();
    let commands = state.step(Event::Finished(other.clone(), applied(&live(&set, &other, 2, json!({})))), now);
    assert!(reads(&commands), "{commands:?}");
    state.step(Event::Finished(folder.clone(), Outcome::Absent(0)), now);
    assert!(!state.is_pending(), "nothing is on its way by itself");
    let findings = state.last_report().sync.findings;
    assert!(findings.len() == 1 && findings[0].message.contains("configmap/default/folder"), "{findings:?}");
    assert!(findings[0].message.contains("not declared here and not ready on the cluster"), "{findings:?}");

    let mut pauses = Vec::new();
    for _ in 0..9 {
        let (before, mut commands) = (now, Vec::new());
        while !reads(&commands) {
            now = state.next_wake().expect("it is looked at again");
            commands = state.step(Event::Woken, now);
        }
        pauses.push((now - before).as_secs());
        if pauses.len() < 9 {
            state.step(Event::Finished(folder.clone(), Outcome::Absent(0)), now);
        }
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    let found = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "folder", "namespace": "default", "uid": "u", "resourceVersion": "7",
    }});
    let found = serde_json::from_value(found).expect("a map");
    let commands = state.step(Event::Finished(folder, Outcome::Read(Box::new(found))), now);
    assert!(applies(&commands, "web"), "{commands:?}");
    assert!(state.last_report().sync.findings.is_empty());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_wait_goes_on_while_the_readiness_of_the_object_is_read() {
    let widget = |annotations: &str| {
        format!(
            "---\napiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: web\n  namespace: default\n{annotations}"
        )
    };
    let on = "  annotations: {config.kubernetes.io/depends-on: apps/namespaces/default/Deployment/db}\n";
    let database = MANIFESTS.split("---").next().expect("the Deployment is first");
    let (first, begin) = (declared(&widget("")), Instant::now());
    let next = declared(&(database.to_owned() + &widget(on)));
    let web = first.objects.keys().next().expect("one").clone();
    let (mut state, _) = begin_sync(&first, TIMEOUT, begin);
    state.step(Event::Finished(web.clone(), applied(&live(&first, &web, 2, json!({})))), begin);
    state.step(Event::Compiled { commit: "b".repeat(40), declared: Some(next.clone()), findings: Vec::new() }, begin);
    let kind = deployment().group_kind();
    state.step(Event::Listing(kind.clone(), 1), begin);
    state.step(Event::Listed(kind, 1), begin);
    assert!(applies(&recorded(&mut state, begin), "db"));
    state.step(Event::Finished(deployment(), applied(&live(&next, &deployment(), 3, json!({})))), begin);

    let later = begin + TIMEOUT / 2;
    let changed = live(&first, &web, 4, json!({}));
    let mut commands = state.step(Event::Seen(web.clone(), Box::new(Observed::of(&changed))), later);
    let reads = |command: &Command| matches!(command, Command::Read(read) if read.id == web);
    let mut now = later;
    while !commands.iter().any(reads) {
        now = state.next_wake().expect("it is read in a moment");
        assert!(now < begin + TIMEOUT);
        commands = state.step(Event::Woken, now);
    }
    state.step(Event::Finished(web.clone(), Outcome::Read(Box::new(changed))), now);
    assert!(state.last_report().sync.findings.is_empty());
    state.step(Event::Woken, begin + TIMEOUT);
    let findings = state.last_report().sync.findings;
    assert!(findings.iter().any(|finding| finding.message.contains("not ready within 1m0s")), "{findings:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_waits_for_one_that_failed_says_so_at_once() {
    let (set, now) = (declared(MANIFESTS), Instant::now());
    let failure = Failure { finding: Finding::new(Code::Applier, "no"), retry: Retry::Object, refused: true };
    let stuck = json!({"observedGeneration": 1, "conditions": [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
    ]});
    let mut others = live(&set, &deployment(), 2, json!({}));
    let metadata = others.metadata_mut();
    metadata["annotations"]["configmanagement.gke.io/managed"] = "enabled".into();
    metadata["annotations"]["configsync.gke.io/manager"] = ":root_other".into();
    metadata["managedFields"] = json!([]);
    let outcomes =
        [Outcome::Failed(failure), applied(&live(&set, &deployment(), 2, stuck)), Outcome::Read(Box::new(others))];
    for outcome in outcomes {
        let (mut state, _) = begin_sync(&set, TIMEOUT, now);
        let why = format!("{outcome:?}");
        state.step(Event::Finished(deployment(), outcome), now);
        let findings = state.last_report().sync.findings;
        let waits = |finding: &Finding| finding.message.contains("ConfigMap") || finding.message.contains("configmap");
        let waits = findings.iter().filter(|finding| waits(finding)).collect::<Vec<_>>();
        assert!(waits.len() == 1 && waits[0].message.contains("which failed"), "{why}: {findings:?}");
        assert!(!state.is_pending(), "{why}: a user has to do something");
    }
}

/// Its account may have rights there, but what others have is no business of a tenant.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_outside_of_the_namespace_of_a_repo_sync_is_not_looked_at() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\n  namespace: default\n  \
                annotations: {config.kubernetes.io/depends-on: /namespaces/other/ConfigMap/folder}\n";
    let (set, mut now) = (declared(text), Instant::now());
    let settings = begin_sync(&set, TIMEOUT, now).0.settings;
    let mut state = State::new(Settings { sync: SyncId::repo("default", "repo-sync"), ..settings });
    let mut commands =
        state.step(Event::Compiled { commit: "b".repeat(40), declared: Some(set), findings: Vec::new() }, now);
    let kind = GroupKind::new("", "ConfigMap");
    commands.extend(state.step(Event::Listing(kind.clone(), 1), now));
    commands.extend(state.step(Event::Listed(kind, 1), now));
    commands.extend(recorded(&mut state, now));
    while let Some(wake) = state.next_wake().filter(|wake| *wake < now + TIMEOUT) {
        now = wake;
        commands.extend(state.step(Event::Woken, now));
    }
    let sends = |command: &&Command| matches!(command, Command::Read(_) | Command::Apply(..));
    assert_eq!(commands.iter().filter(sends).count(), 0, "{commands:?}");
    assert_eq!(failures(&commands), 1, "it is told at once");
    let findings = state.last_report().sync.findings;
    assert!(findings.len() == 1 && findings[0].message.contains("outside of the namespace"), "{findings:?}");
}

/// Its class may bind it only when its first Pod comes.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_claim_that_is_not_bound_yet_is_waited_for_no_longer_and_one_that_is_lost_is() {
    let text = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk, namespace: default}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: web
  namespace: default
  annotations: {config.kubernetes.io/depends-on: /namespaces/default/PersistentVolumeClaim/disk}
";
    let (set, now) = (declared(text), Instant::now());
    let disk = set.objects.keys().find(|id| id.name() == "disk").expect("declared").clone();
    for (phase, is_ready) in [("Pending", true), ("Bound", true), ("Lost", false)] {
        let (mut state, commands) = begin_sync(&set, TIMEOUT, now);
        assert!(applies(&commands, "disk") && !applies(&commands, "web"), "{commands:?}");
        let claim = live(&set, &disk, 2, json!({"phase": phase}));
        let commands = state.step(Event::Finished(disk.clone(), applied(&claim)), now);
        assert_eq!(applies(&commands, "web"), is_ready, "{phase}: {commands:?}");
    }
}
