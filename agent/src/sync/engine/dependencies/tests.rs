//! A wait that takes too long is told, and does not end.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::model::finding::Code;
use crate::model::object::GroupKind;
use crate::sync::engine::tests::{applied, applies, begin_sync, declared, live, recorded};
use crate::sync::engine::{Command, Event, Failure, Notice, Outcome, Report, Retry, Settings};
use crate::sync::live::Observed;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A Deployment, and a ConfigMap that is applied when the Deployment is ready.
const MANIFESTS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: db, namespace: default}
spec: {replicas: 1, selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: db}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: web
  namespace: default
  annotations: {config.kubernetes.io/depends-on: apps/namespaces/default/Deployment/db}
";

fn deployment() -> ObjectId {
    ObjectId::new(&GroupKind::new("apps", "Deployment"), "default", "db")
}

fn last_report(commands: &[Command]) -> Option<&Report> {
    commands.iter().rev().find_map(|command| match command {
        Command::Report(report) => Some(&**report),
        _ => None,
    })
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
