//! A wait that takes too long is told, and does not end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::compile::declared::DeclaredSet;
use crate::compile::parse::{SourceFile, parse};
use crate::compile::{CompileOptions, SourceFormat, compile};
use crate::model::metadata::SyncId;
use crate::model::object::{GroupKind, Object};
use crate::sync::engine::{Command, Event, Notice, Outcome, Report, Settings};
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

fn sync() -> SyncId {
    SyncId::root("root-sync")
}

fn declared() -> Arc<DeclaredSet> {
    let file = SourceFile { path: "all.yaml".into(), content: MANIFESTS.as_bytes().into() };
    let settings = CompileOptions { sync: Some(sync()), ..CompileOptions::offline(SourceFormat::Unstructured) };
    Arc::new(compile(&[Arc::new(parse(&file))], &settings).declared.expect("manifests without mistakes"))
}

fn deployment() -> ObjectId {
    ObjectId::new(&GroupKind::new("apps", "Deployment"), "default", "db")
}

/// The declared object as the API server has it, with this status.
fn live(declared: &DeclaredSet, id: &ObjectId, version: u64, status: Value) -> Object {
    let mut object = declared.objects[id].applied("token", "{}");
    let metadata = object.metadata_mut();
    metadata.insert("uid".into(), "uid".into());
    metadata.insert("generation".into(), 1.into());
    metadata.insert("resourceVersion".into(), version.to_string().into());
    let entry = json!([{"manager": crate::model::metadata::FIELD_MANAGER, "operation": "Apply", "fieldsV1": {}}]);
    metadata.insert("managedFields".into(), entry);
    object.0.insert("status".into(), status);
    object
}

fn applied(object: &Object) -> Outcome {
    Outcome::Applied(Box::new(Live::after_apply(&Observed::of(object), object, &object.id(), &sync())), Vec::new())
}

fn last_report(commands: &[Command]) -> Option<&Report> {
    commands.iter().rev().find_map(|command| match command {
        Command::Report(report) => Some(&**report),
        _ => None,
    })
}

fn applies(commands: &[Command], name: &str) -> bool {
    commands.iter().any(|command| matches!(command, Command::Apply(object, ..) if object.id.name() == name))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_waits_too_long_is_told_and_applied_when_its_dependency_is_ready() {
    let (set, begin) = (declared(), Instant::now());
    let mut state = State::new(Settings {
        sync: sync(),
        in_flight: 4,
        reconcile_timeout: TIMEOUT,
        approved: None,
        how_to_approve: String::new(),
        kinds: Default::default(),
        recorded: Default::default(),
        last_in_force: None,
    });
    let compiled = Event::Compiled { commit: "a".repeat(40), declared: Some(Arc::clone(&set)), findings: Vec::new() };
    state.step(compiled, begin);
    for kind in [GroupKind::new("apps", "Deployment"), GroupKind::new("", "ConfigMap")] {
        state.step(Event::Listing(kind.clone(), 1), begin);
        state.step(Event::Listed(kind, 1), begin);
    }
    let commands = state.step(Event::Recorded, begin);
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
    let read = |command: &Command| matches!(command, Command::Read(id) if *id == deployment());
    let commands = if commands.iter().any(read) { commands } else { state.step(Event::Woken, late + TIMEOUT) };
    assert!(commands.iter().any(read), "an awaited object is read at once: {commands:?}");
    let commands = state.step(Event::Finished(deployment(), Outcome::Read(Box::new(ready))), late + TIMEOUT);
    assert!(applies(&commands, "web"), "{commands:?}");
    assert!(state.last_report().sync.findings.is_empty());
}
