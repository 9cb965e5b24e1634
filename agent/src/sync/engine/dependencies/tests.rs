//! A wait that takes too long is told, and does not end.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::model::finding::Code;
use crate::model::object::GroupKind;
use crate::sync::engine::tests::{applied, applies, begin_sync, declared, live};
use crate::sync::engine::{Command, Event, Failure, Notice, Outcome, Report, Retry};
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

    let mut commands = Vec::new();
    while !reads(&commands) {
        now = state.next_wake().expect("it is looked at again");
        commands = state.step(Event::Woken, now);
    }
    let found = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "folder", "namespace": "default", "uid": "u", "resourceVersion": "7",
    }});
    let found = serde_json::from_value(found).expect("a map");
    let commands = state.step(Event::Finished(folder, Outcome::Read(Box::new(found))), now);
    assert!(applies(&commands, "web"), "{commands:?}");
    assert!(state.last_report().sync.findings.is_empty());
}
