//! The report: what it says of the sync and of each object, and when it comes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::model::metadata::{SyncId, annotation, label};
use crate::model::object::Object;
use crate::sync::engine::tests::{MANIFESTS, applied, begin_sync, declared, live, recorded};
use crate::sync::engine::{Event, Failure, Outcome, Retry, Settings};
use crate::sync::live::Observed;

const TIMEOUT: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

const ONE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: free, namespace: default}\n";
const TWO: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: free, namespace: default}\n---\n\
                   apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, namespace: default}\n";

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn begin() -> Instant {
    Instant::now()
}

/// With an object that waits for nothing.
fn manifests() -> String {
    format!("{ONE}---{MANIFESTS}")
}

fn deployment() -> ObjectId {
    ObjectId::new(&GroupKind::new("apps", "Deployment"), "default", "db")
}

fn config_map(name: &str) -> ObjectId {
    ObjectId::new(&GroupKind::new("", "ConfigMap"), "default", name)
}

/// The object as the report has it.
fn resource(state: &State, id: &ObjectId) -> ResourceState {
    let resources = state.last_report().resources.expect("a commit is in force");
    resources.into_iter().find(|resource| resource.id == *id).expect("it is in the inventory")
}

fn reports(commands: Vec<Command>) -> Vec<Report> {
    let reports = commands.into_iter().filter_map(|command| match command {
        Command::Report(report) => Some(*report),
        _ => None,
    });
    reports.collect()
}

/// The object while its deletion waits for a finalizer.
fn terminating(set: &crate::compile::declared::DeclaredSet, id: &ObjectId, version: u64) -> Event {
    let mut object = live(set, id, version, Value::Null);
    object.metadata_mut().insert("deletionTimestamp".into(), "2026-01-01T00:00:00Z".into());
    Event::Seen(id.clone(), Box::new(Observed::of(&object)))
}

/// A sync with this one object, which is applied.
fn synced(manifest: &str, now: Instant) -> (State, std::sync::Arc<crate::compile::declared::DeclaredSet>) {
    let set = declared(manifest);
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    for id in set.objects.keys() {
        state.step(Event::Finished(id.clone(), applied(&live(&set, id, 5, json!({})))), now);
    }
    (state, set)
}

#[test]
fn an_object_that_waits_says_for_which_one_and_is_skipped_when_it_waits_in_vain() {
    let (set, now) = (declared(&manifests()), begin());
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    let (free, web) = (config_map("free"), config_map("web"));
    state.step(Event::Finished(free.clone(), applied(&live(&set, &free, 2, Value::Null))), now);
    state.step(Event::Finished(deployment(), applied(&live(&set, &deployment(), 3, json!({})))), now);
    let waits = resource(&state, &web);
    assert_eq!((waits.waits_for, waits.skipped, waits.health), (Some(deployment()), false, Health::Unknown));
    let db = resource(&state, &deployment());
    assert!(matches!(db.health, Health::InProgress(_)), "{db:?}");
    for id in [&free, &web, &deployment()] {
        assert!(!resource(&state, id).pruning, "{id} is declared");
    }
    state.step(Event::Woken, now + TIMEOUT);
    assert!(resource(&state, &web).skipped && !resource(&state, &free).skipped);
    let findings = state.last_report().sync.findings;
    let of_web = findings.iter().find(|finding| finding.message.contains("configmap/default/web")).expect("it is told");
    let file = of_web.places.first().and_then(|place| Some(place.location.as_ref()?.path.as_str()));
    assert_eq!(file, Some("all.yaml"));
}

#[test]
fn an_object_that_another_sync_has_says_so_and_is_skipped() {
    let (set, now, free) = (declared(ONE), begin(), config_map("free"));
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    let mut others = live(&set, &free, 2, Value::Null);
    let metadata = others.metadata_mut();
    metadata["annotations"][annotation::MANAGER] = ":root_other".into();
    metadata["labels"][label::PART_OF] = SyncId::root("other").part_of().into();
    metadata["managedFields"] = json!([]);
    state.step(Event::Finished(free.clone(), Outcome::Read(Box::new(others))), now);
    let left = resource(&state, &free);
    assert_eq!((left.other.as_deref(), left.skipped, left.waits_for), (Some(":root_other"), true, None));
}

#[test]
fn an_object_that_is_not_declared_any_more_is_said_to_go() {
    let now = begin();
    let (mut state, _) = synced(TWO, now);
    let next = declared(ONE);
    state.step(Event::Compiled { commit: "b".repeat(40), declared: Some(next), findings: Vec::new() }, now);
    assert!(resource(&state, &config_map("other")).pruning && !resource(&state, &config_map("free")).pruning);
}

/// Its status is not in the metadata that a list shows.
#[test]
fn readiness_that_was_not_read_is_unknown_but_for_objects_that_have_none() {
    let (set, now) = (declared(&manifests()), begin());
    let settings = begin_sync(&set, TIMEOUT, now).0.settings;
    let recorded = set.objects.keys().cloned().collect();
    let mut state = State::new(Settings { recorded, ..settings });
    let declared = Some(set.clone());
    state.step(Event::Compiled { commit: "b".repeat(40), declared, findings: Vec::new() }, now);
    let kinds = [deployment().group_kind(), config_map("free").group_kind()];
    for kind in &kinds {
        state.step(Event::Listing(kind.clone(), 1), now);
    }
    for id in set.objects.keys() {
        let object = Observed::of(&live(&set, id, 5, Value::Null));
        state.step(Event::Seen(id.clone(), Box::new(object)), now);
    }
    for kind in &kinds {
        state.step(Event::Listed(kind.clone(), 1), now);
    }
    assert_eq!(resource(&state, &deployment()).health, Health::Unknown);
    assert_eq!(resource(&state, &config_map("free")).health, Health::Current);
}

#[test]
fn only_objects_of_the_kinds_that_cannot_be_watched_are_said_to_be_old() {
    let now = begin();
    let (mut state, _) = synced(&manifests(), now);
    assert!(!resource(&state, &deployment()).stale);
    state.step(Event::Unwatched(deployment().group_kind(), Finding::new(Code::ApiServer, "no watch")), now);
    assert!(resource(&state, &deployment()).stale && !resource(&state, &config_map("free")).stale);
}

#[test]
fn a_sync_is_syncing_while_anything_of_its_commit_is_unanswered() {
    let (set, now, free) = (declared(ONE), begin(), config_map("free"));
    let settings = begin_sync(&set, TIMEOUT, now).0.settings;
    let mut state = State::new(settings);
    let compiled = || Event::Compiled { commit: "b".repeat(40), declared: Some(set.clone()), findings: Vec::new() };
    state.step(compiled(), now);
    assert!(state.last_report().syncing, "its kinds are not listed");
    let (mut state, _) = synced(ONE, now);
    assert!(!state.last_report().syncing);
    state.step(Event::RecordTouched, now);
    assert!(state.last_report().syncing, "the record is unanswered");
    recorded(&mut state, now);
    assert!(!state.last_report().syncing);
    let next = declared("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: free, namespace: default}\ndata: {a: b}\n");
    state.step(Event::Compiled { commit: "c".repeat(40), declared: Some(next.clone()), findings: Vec::new() }, now);
    assert!(state.last_report().syncing, "an apply is unanswered");
    state.step(Event::Finished(free.clone(), applied(&live(&next, &free, 6, json!({})))), now);
    assert!(!state.last_report().syncing);
}

#[test]
fn a_sync_is_syncing_until_the_commit_before_is_read_again() {
    let now = begin();
    let settings = begin_sync(&declared(ONE), TIMEOUT, now).0.settings;
    let last = SourceCommit { commit: "b".repeat(40), git: settings.git.clone(), ..Default::default() };
    let mut state = State::new(Settings { last_in_force: Some(last), ..settings });
    state.step(Event::SourceFailed(Finding::new(Code::Source, "no")), now);
    assert!(state.last_report().syncing);
    state.step(Event::Restored { commit: "b".repeat(40), declared: None }, now);
    assert!(!state.last_report().syncing);
}

#[test]
fn a_commit_with_mistakes_is_not_synced_though_its_objects_are_applied() {
    let (now, mistake) = (begin(), Finding::new(Code::Source, "no key"));
    let (mut state, set) = synced(ONE, now);
    assert!(state.is_synced());
    let commit = state.in_force.source.commit.clone();
    state.step(Event::Compiled { commit, declared: Some(set), findings: vec![mistake] }, now);
    assert!(state.is_idle() && !state.is_synced());
}

#[test]
fn a_failure_that_may_pass_keeps_a_sync_from_being_synced() {
    let now = begin();
    let (mut state, _) = synced(ONE, now);
    state.step(Event::Gone(config_map("free"), 6), now);
    let failure = Failure { finding: Finding::new(Code::Applier, "x"), retry: Retry::Soon, refused: false };
    let reports = reports(state.step(Event::Finished(config_map("free"), Outcome::Failed(failure)), now));
    assert!(!state.is_synced() && reports.iter().all(|report| !report.synced), "{reports:?}");
}

#[test]
fn work_is_reported_after_half_a_second_and_then_every_few_seconds() {
    let (set, now) = (declared(TWO), begin());
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    assert_eq!(state.next_wake(), Some(now + SECOND / 2));
    let first = now + SECOND / 2;
    assert_eq!(reports(state.step(Event::Woken, first)).len(), 1);
    let failure = Failure { finding: Finding::new(Code::Applier, "x"), retry: Retry::Object, refused: true };
    let commands = state.step(Event::Finished(config_map("free"), Outcome::Failed(failure)), first + SECOND / 2);
    assert!(reports(commands).is_empty() && state.report.due() == Some(first + PERIOD), "{:?}", state.report.due());
}

/// The status of the process before is right until then.
#[test]
fn a_sync_without_a_commit_in_force_is_reported_late() {
    let (set, now) = (declared(ONE), begin());
    let mut state = State::new(begin_sync(&set, TIMEOUT, now).0.settings);
    let commands =
        state.step(Event::Compiled { commit: "b".repeat(40), declared: Some(set), findings: Vec::new() }, now);
    assert!(reports(commands).is_empty());
    assert_eq!(state.next_wake(), Some(now + PERIOD));
    assert_eq!(reports(state.step(Event::Woken, now + PERIOD)).len(), 1);
}

#[test]
fn changes_of_objects_at_rest_are_gathered_for_a_second() {
    let now = begin();
    let (mut state, set) = synced(TWO, now);
    for (name, version, after) in [("free", 6, SECOND / 4), ("other", 7, SECOND / 2)] {
        let commands = state.step(terminating(&set, &config_map(name), version), now + after);
        assert!(reports(commands).is_empty(), "{name}");
    }
    let due = state.report.due().expect("the second change is not told");
    let told = reports(state.step(Event::Woken, due));
    assert_eq!(due, now + SECOND);
    let resources = told[0].resources.as_ref().expect("they changed");
    assert!(resources.iter().all(|resource| resource.health == Health::Terminating), "{resources:?}");
}

/// Readiness that is just being read is not told, and a timer that is due already would wake the engine again and again.
#[test]
fn resources_that_are_due_wait_for_the_end_of_an_audit() {
    let now = begin();
    let (mut state, set) = synced(TWO, now);
    state.step(Event::AuditDue, now);
    state.step(terminating(&set, &config_map("free"), 6), now);
    let mut at = now;
    while at < now + RESOURCES {
        at = state.next_wake().expect("the change is not told");
        let told = reports(state.step(Event::Woken, at));
        assert!(told.iter().all(|report| report.resources.is_none()), "{told:?}");
    }
    assert!(state.next_wake().is_none_or(|wake| wake > at));
    state.step(Event::AuditEnded(config_map("free").group_kind(), true), at);
    let told = reports(state.step(Event::Woken, state.next_wake().expect("it is told now")));
    assert!(told.iter().any(|report| report.resources.is_some()), "{told:?}");
}

#[test]
fn the_definitions_of_a_sync_are_those_that_it_has_or_may_have() {
    let crd = |name: &str| {
        let group = name.split_once('.').expect("a group").1;
        format!(
            "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: {name}}}\n\
             spec: {{group: {group}, scope: Namespaced, names: {{kind: As, plural: as}}, versions: [{{name: v1, served: true, storage: \
             true, schema: {{openAPIV3Schema: {{type: object}}}}}}]}}\n"
        )
    };
    let id = |name: &str| ObjectId::new(&GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition"), "", name);
    let (set, now) = (declared(&(crd("as.a.b") + &crd("as.c.d"))), begin());
    let settings = begin_sync(&set, TIMEOUT, now).0.settings;
    let mut state = State::new(Settings { recorded: [id("as.e.f")].into(), ..settings });
    state.step(Event::Compiled { commit: "b".repeat(40), declared: Some(set.clone()), findings: Vec::new() }, now);
    state.step(Event::Listing(id("x").group_kind(), 1), now);
    state.step(Event::Listed(id("x").group_kind(), 1), now);
    state.step(Event::Finished(id("as.e.f"), Outcome::Failed(away())), now);
    recorded(&mut state, now);
    let object: Object = live(&set, &id("as.a.b"), 5, json!({}));
    state.step(Event::Finished(id("as.a.b"), applied(&object)), now);
    assert_eq!(state.definitions(), [id("as.a.b"), id("as.e.f")].into());
}

fn away() -> Failure {
    Failure { finding: Finding::new(Code::ApiServer, "503"), retry: Retry::Object, refused: false }
}
