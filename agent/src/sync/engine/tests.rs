//! Outages, fights and held commits; and the declared and live objects that the tests of the engine share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::compile::declared::DeclaredSet;
use crate::compile::kind_scopes::Scope;
use crate::compile::parse::{SourceFile, parse};
use crate::compile::{CompileOptions, SourceFormat, compile};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::FIELD_MANAGER;
use crate::model::object::Object;
use crate::sync::live::{Live, Observed};
use crate::sync::plan::guard::APPROVAL;

const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn sync() -> SyncId {
    SyncId::root("root-sync")
}

/// A Deployment, and a ConfigMap that is applied when the Deployment is ready.
pub(super) const MANIFESTS: &str = "
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

/// The declared set of manifests without mistakes. Widgets of example.com are namespaced.
pub(super) fn declared(manifests: &str) -> Arc<DeclaredSet> {
    let file = SourceFile { path: "all.yaml".into(), content: manifests.as_bytes().into() };
    let mut options = CompileOptions { sync: Some(sync()), ..CompileOptions::offline(SourceFormat::Unstructured) };
    if let Ok(kinds) = &mut options.kinds {
        kinds.insert("example.com", "Widget", Scope::Namespaced);
    }
    let compiled = compile(&[Arc::new(parse(&file))], &options);
    Arc::new(compiled.declared.unwrap_or_else(|| panic!("{:?}", compiled.findings)))
}

/// The declared object as the API server has it, with this status.
pub(super) fn live(declared: &DeclaredSet, id: &ObjectId, version: u64, status: Value) -> Object {
    let mut object = declared.objects[id].applied("token", "{}");
    let metadata = object.metadata_mut();
    metadata.insert("uid".into(), "uid".into());
    metadata.insert("generation".into(), 1.into());
    metadata.insert("resourceVersion".into(), version.to_string().into());
    let entry = json!([{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {}}]);
    metadata.insert("managedFields".into(), entry);
    object.0.insert("status".into(), status);
    object
}

/// The answer to an apply that made the object so.
pub(super) fn applied(object: &Object) -> Outcome {
    let live = Live::after_apply(&Observed::of(object), object, object, &object.id(), &sync());
    Outcome::Applied(Box::new(live), Remarks::default())
}

/// The object that the command applies.
fn applied_object(command: &Command) -> Option<ObjectId> {
    match command {
        Command::Apply(object, ..) => Some(object.id.clone()),
        _ => None,
    }
}

pub(super) fn applies(commands: &[Command], name: &str) -> bool {
    commands.iter().any(|command| matches!(command, Command::Apply(object, ..) if object.id.name() == name))
}

/// Each report with resources is a large write: many syncs that are busy at the same time would keep the API server busy with them.
#[test]
fn a_busy_sync_reports_its_objects_rarely() {
    let began = Instant::now();
    let set = declared("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ns}\n");
    let (mut state, commands) = begin_sync(&set, Duration::from_secs(300), began);
    assert!(applies(&commands, "a"));
    let with_resources = |commands: Vec<Command>| -> Vec<bool> {
        let reports = commands.into_iter().filter_map(|command| match command {
            Command::Report(report) => Some(report.resources.is_some()),
            _ => None,
        });
        reports.collect()
    };
    let mut now = began;
    let mut reports = Vec::new();
    while reports.iter().filter(|with| **with).count() < 1 {
        now = state.next_wake().expect("a change is not reported yet");
        reports.extend(with_resources(state.step(Event::Woken, now)));
    }
    assert_eq!(reports, [false, true]);
    assert!(now >= began + Duration::from_secs(30), "{:?}", now - began);
    let (id, _) = set.objects.iter().next().expect("one");
    let commands = state.step(Event::Finished(id.clone(), applied(&live(&set, id, 5, Value::Null))), now);
    assert_eq!(with_resources(commands), [true], "at rest it is told at once");
}

/// Nothing is kept of an object that is neither the sync's nor declared, however many there are.
#[test]
fn a_stranger_with_the_label_is_not_kept() {
    let now = Instant::now();
    let set = declared("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ns}\n");
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    let id = ObjectId::new(&GroupKind::new("", "ConfigMap"), "ns", "stranger");
    let ours = live(&set, set.objects.keys().next().expect("one"), 5, Value::Null);
    let stranger = |version: u64, resource_id: &str| {
        let mut seen = Observed::of(&ours);
        id.name().clone_into(&mut seen.name);
        seen.resource_version = version.to_string();
        seen.annotations.insert("configsync.gke.io/resource-id".to_owned(), resource_id.into());
        Event::Seen(id.clone(), Box::new(seen))
    };
    state.step(stranger(5, "copied"), now);
    assert!(state.objects.get(&id).is_none());
    state.step(stranger(6, &id.resource_id()), now);
    assert!(state.objects.get(&id).is_none(), "every client can write all that the sync writes");
    state.prunes = Prunes::after(GuardMemory::without_record());
    state.step(stranger(7, &id.resource_id()), now);
    assert!(state.objects.live(&id).is_some(), "without a record that is enough");
    state.step(stranger(8, "changed"), now);
    assert!(state.objects.get(&id).is_none());
}

/// A sync with this declared set in force, on a cluster that has none of its objects; and the commands that follow.
pub(super) fn begin_sync(set: &Arc<DeclaredSet>, reconcile_timeout: Duration, now: Instant) -> (State, Vec<Command>) {
    let mut state = State::new(Settings {
        sync: sync(),
        in_flight: 20,
        reconcile_timeout,
        approval: None,
        how_to_approve: APPROVAL.to_owned(),
        kinds: BTreeSet::new(),
        recorded: BTreeSet::new(),
        memory: Default::default(),
        git: Default::default(),
        layout: Default::default(),
        last_in_force: None,
    });
    state.step(compiled(set), now);
    let kinds: BTreeSet<GroupKind> = set.objects.keys().map(ObjectId::group_kind).collect();
    for kind in kinds {
        state.step(Event::Listing(kind.clone(), 1), now);
        state.step(Event::Listed(kind, 1), now);
    }
    let commands = recorded(&mut state, now);
    (state, commands)
}

/// The newest record is written.
pub(super) fn recorded(state: &mut State, now: Instant) -> Vec<Command> {
    let number = state.recording.number();
    state.step(Event::Recorded(number), now)
}

/// The approval that the last finding about held deletions asks for.
pub(super) fn offered(commands: &[Command]) -> String {
    let mut hints = commands.iter().filter_map(|command| match command {
        Command::Notice(Notice::Failed(finding)) if finding.code == Code::EmptySource => finding.hint.as_deref(),
        _ => None,
    });
    hints.next_back().and_then(|hint| hint.rsplit(' ').next()).expect("deletions are held").to_owned()
}

/// Objects that are deleted.
pub(super) fn deleted(commands: &[Command]) -> Vec<ObjectId> {
    let ids = commands.iter().filter_map(|command| match command {
        Command::Delete(id, ..) => Some(id.clone()),
        _ => None,
    });
    ids.collect()
}

fn compiled(set: &Arc<DeclaredSet>) -> Event {
    Event::Compiled { commit: COMMIT.to_owned(), declared: Some(Arc::clone(set)), findings: Vec::new() }
}

fn config_map(name: &str) -> ObjectId {
    ObjectId::new(&GroupKind::new("", "ConfigMap"), "default", name)
}

/// Manifests of so many Widgets and of the ConfigMap `settings`.
fn widgets(number: usize) -> String {
    let widget =
        |n| format!("---\napiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: w{n}, namespace: default}}\n");
    let settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: default}\n";
    settings.to_owned() + &(0..number).map(widget).collect::<String>()
}

fn away(id: &ObjectId) -> Event {
    let failure =
        Failure { finding: Finding::new(Code::ApiServer, "503"), retry: Retry::Server(Duration::ZERO), refused: false };
    Event::Finished(id.clone(), Outcome::Failed(failure))
}

/// As when an admission webhook is away, or the server of an aggregated API: more objects than may be in flight, first in order.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn objects_that_fail_as_if_the_api_server_were_away_delay_no_other_object() {
    let text = (0..50)
        .map(|n| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: w{n}, namespace: default}}\n"));
    let all =
        text.collect::<String>() + "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\n";
    let (set, begin) = (declared(&all), Instant::now());
    let (mut state, commands) = begin_sync(&set, Duration::from_secs(300), begin);
    let web = ObjectId::new(&GroupKind::new("", "Service"), "default", "web");
    let (mut commands, mut now) = (std::collections::VecDeque::from(commands), begin);
    let answer = |state: &mut State, commands: &mut std::collections::VecDeque<Command>, version: u64, now: Instant| {
        let mut applied_web = false;
        while let Some(command) = commands.pop_front() {
            commands.extend(match command {
                Command::AskServer => state.step(Event::ServerAsked(None), now),
                Command::Apply(object, ..) if object.id == web => {
                    applied_web = true;
                    state.step(Event::Finished(web.clone(), applied(&live(&set, &web, version, json!({})))), now)
                }
                Command::Apply(object, ..) => state.step(away(&object.id), now),
                _ => continue,
            });
        }
        applied_web
    };
    assert!(answer(&mut state, &mut commands, 10, now), "the commit goes on");
    let mut deleted_at = begin;
    for number in 0..800 {
        let next = state.next_wake().expect("the others are tried again");
        assert!(next <= now + Duration::from_secs(31), "{:?}", next - now);
        now = now.max(next);
        commands.extend(state.step(Event::Woken, now));
        // An object that is deleted more often is fought over.
        if now < deleted_at + Duration::from_secs(660) {
            answer(&mut state, &mut commands, 0, now);
            continue;
        }
        deleted_at = now;
        commands.extend(state.step(Event::Gone(web.clone(), 11 + 2 * number), now));
        assert!(
            answer(&mut state, &mut commands, 12 + 2 * number, now),
            "drift is put back at once, after {:?}",
            now - begin
        );
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_repair_tells_how_long_ago_its_drift_was_seen() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\n";
    let (set, begin) = (declared(text), Instant::now());
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), begin);
    let web = ObjectId::new(&GroupKind::new("", "Service"), "default", "web");
    let finished = |version| Event::Finished(web.clone(), applied(&live(&set, &web, version, json!({}))));
    let after = |told: &[Command]| {
        told.iter().find_map(|command| match command {
            Command::Notice(Notice::Repaired(repaired)) => Some(repaired.after),
            _ => None,
        })
    };
    assert_eq!(after(&state.step(finished(10), begin)), None);
    let seen = begin + Duration::from_secs(60);
    assert_eq!(state.step(Event::Gone(web.clone(), 11), seen).iter().filter_map(applied_object).count(), 1);
    let restored = seen + Duration::from_secs(3);
    assert_eq!(after(&state.step(finished(12), restored)), Some(restored - seen));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_api_server_that_is_away_gets_one_request_at_a_time() {
    let (set, begin) = (declared(&widgets(15)), Instant::now());
    let (mut state, commands) = begin_sync(&set, Duration::from_secs(300), begin);
    let mut unanswered: Vec<ObjectId> = commands.iter().filter_map(applied_object).collect();
    let failure = || {
        let finding = Finding::new(Code::ApiServer, "503");
        Event::ServerAsked(Some(Failure { finding, retry: Retry::Server(Duration::ZERO), refused: false }))
    };
    let asks = |sent: &[Command]| sent.iter().filter(|command| matches!(command, Command::AskServer)).count();
    let first: Vec<Command> = unanswered.drain(..).flat_map(|id| state.step(away(&id), begin)).collect();
    assert_eq!((asks(&first), first.iter().filter_map(applied_object).count()), (1, 0), "{first:?}");
    let mut now = begin;
    state.step(failure(), now);
    for _ in 0..20 {
        now = now.max(state.next_wake().expect("the API server is asked again"));
        let sent = state.step(Event::Woken, now);
        assert_eq!(sent.iter().filter_map(applied_object).count(), 0, "{sent:?}");
        if asks(&sent) > 0 {
            state.step(failure(), now);
        }
    }
    assert!(now >= begin + Duration::from_secs(120), "the pauses grow: {:?}", now - begin);
    while state.is_pending() {
        now = now.max(state.next_wake().expect("the API server is asked again"));
        assert!(now <= begin + Duration::from_secs(1200), "all objects are tried again");
        let mut sent = std::collections::VecDeque::from(state.step(Event::Woken, now));
        while let Some(command) = sent.pop_front() {
            sent.extend(match (&command, applied_object(&command)) {
                (Command::AskServer, _) => state.step(Event::ServerAsked(None), now),
                (_, Some(id)) => state.step(Event::Finished(id.clone(), applied(&live(&set, &id, 2, json!({})))), now),
                _ => continue,
            });
        }
    }
}

/// An object of others changes between each read of it and the attempt to take it over.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_changes_all_the_time_is_taken_over_after_pauses_that_grow() {
    let (set, begin) = (declared(&widgets(0)), Instant::now());
    let (mut state, mut commands) = begin_sync(&set, Duration::from_secs(300), begin);
    let id = config_map("settings");
    let (mut now, mut version, mut attempts) = (begin, 10, 0);
    while now < begin + Duration::from_secs(600) {
        let applied = commands.iter().any(|command| applied_object(command).is_some());
        if applied {
            attempts += 1;
            version += 1;
            let mut others = live(&set, &id, version, json!({}));
            others.metadata_mut().remove("labels");
            others.metadata_mut().remove("annotations");
            commands = state.step(Event::Finished(id.clone(), Outcome::Read(Box::new(others))), now);
        } else {
            now = now.max(state.next_wake().expect("it is tried again"));
            commands = state.step(Event::Woken, now);
        }
        assert!(!state.is_synced(), "it is left alone for a while, and is not as declared");
        if attempts == 2 {
            assert_eq!(now, begin, "an object that changed once is taken over at once");
        }
    }
    assert!((10..45).contains(&attempts), "{attempts}");
}

/// A client that comes back every three minutes is told of too, after five times; and no more when it has missed its turn.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_fight_may_be_slow() {
    let (set, begin) = (declared(&widgets(0)), Instant::now());
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), begin);
    let id = config_map("settings");
    let minutes = |number: u64| Duration::from_secs(60 * number);
    let (mut now, mut version) = (begin, 2);
    let settings = live(&set, &id, version, json!({}));
    state.step(Event::Finished(id.clone(), applied(&settings)), begin);
    // The engine wakes whenever it wants to, until a time; the repairs that it sends work at once.
    let told = |state: &State| {
        let findings = state.last_report().sync.findings;
        findings.into_iter().find(|finding| finding.code == Code::Fight).map(|finding| finding.message)
    };
    let mut pauses = Vec::new();
    for turn in 1..=9_u64 {
        assert_eq!(told(&state).is_some(), turn > 5, "before the change {turn}: {:?}", told(&state));
        assert_eq!(state.is_synced(), turn <= 5);
        let returned = now + minutes(3);
        while let Some(wake) = state.next_wake().filter(|wake| *wake < returned) {
            state.step(Event::Woken, wake);
        }
        let mut commands = state.step(Event::Gone(id.clone(), version + 1), returned);
        (now, version) = (returned, version + 2);
        while !commands.iter().any(|command| applied_object(command).is_some()) {
            now = state.next_wake().expect("it is put back");
            commands = state.step(Event::Woken, now);
        }
        pauses.push((now - returned).as_secs());
        state.step(Event::Finished(id.clone(), applied(&live(&set, &id, version, json!({})))), now);
    }
    assert_eq!(pauses, [0, 0, 0, 0, 0, 1, 2, 4, 8]);
    let told_at_last = told(&state).expect("it goes on");
    assert!(
        told_at_last.contains("is changed again and again, after 3m0s at the latest, by another client"),
        "{told_at_last}"
    );
    while told(&state).is_some() {
        let wake = state.next_wake().expect("the fight is over some time");
        assert!(wake <= now + minutes(4), "a minute after the next turn at the latest");
        state.step(Event::Woken, wake);
    }
    assert!(state.is_synced());
    // It was forgotten: one change is no fight.
    state.step(Event::Woken, now + minutes(11));
    state.step(Event::Gone(id.clone(), version + 1), now + minutes(12));
    state.step(Event::Finished(id.clone(), applied(&live(&set, &id, version + 2, json!({})))), now + minutes(12));
    assert_eq!(told(&state), None);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_fight_ends_when_the_other_client_stops() {
    let (set, begin) = (declared(&widgets(0)), Instant::now());
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), begin);
    let mut version = 2;
    let mut settings = live(&set, &config_map("settings"), version, json!({}));
    state.step(Event::Finished(settings.id(), applied(&settings)), begin);
    for _ in 0..6 {
        state.step(Event::Gone(settings.id(), version + 1), begin);
        version += 2;
        settings = live(&set, &config_map("settings"), version, json!({}));
        state.step(Event::Finished(settings.id(), applied(&settings)), begin);
    }
    let fights = |state: &State| {
        let findings = state.last_report().sync.findings;
        findings.iter().filter(|finding| finding.code == Code::Fight).count()
    };
    assert_eq!((fights(&state), state.is_synced()), (1, false));
    let mut reported = false;
    while fights(&state) == 1 {
        let wake = state.next_wake().expect("the fight cools down");
        assert!(wake <= begin + Duration::from_secs(120), "{:?}", wake - begin);
        let commands = state.step(Event::Woken, wake);
        reported = commands.iter().any(|command| matches!(command, Command::Report(report) if report.synced));
    }
    assert!(reported && state.is_synced(), "the end of the fight is reported");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_sync_that_stops_sends_nothing_more() {
    let (set, now) = (declared(&widgets(30)), Instant::now());
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    let finished = |id: &ObjectId| Event::Finished(id.clone(), applied(&live(&set, id, 10, json!({}))));
    let commands = state.step(finished(&config_map("settings")), now);
    let sent: Vec<ObjectId> = commands.iter().filter_map(applied_object).collect();
    assert_eq!((sent.len(), state.queued()), (20, 10));
    assert!(state.in_force().is_some_and(|it| Arc::ptr_eq(it, &set)));
    state.stop();
    for id in &sent {
        assert!(state.is_busy() && !state.is_at_rest());
        assert_eq!(state.step(finished(id), now).iter().filter_map(applied_object).count(), 0);
    }
    assert!(!state.is_busy());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_sync_is_at_rest_when_nothing_is_on_its_way() {
    let (set, now) = (declared(&widgets(0)), Instant::now());
    let id = config_map("settings");
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    assert!(!state.is_repaired(&id) && !state.is_idle() && !state.is_at_rest());
    let finished = |version| Event::Finished(id.clone(), applied(&live(&set, &id, version, json!({}))));
    state.step(finished(10), now);
    assert!(state.is_at_rest());
    state.step(Event::Gone(id.clone(), 11), now);
    assert!(state.is_repaired(&id) && !state.is_idle() && !state.is_at_rest());
    let failure = Failure { finding: Finding::new(Code::Applier, "x"), retry: Retry::Soon, refused: false };
    state.step(Event::Finished(id.clone(), Outcome::Failed(failure)), now);
    assert!(!state.is_repaired(&id) && state.is_idle() && !state.is_at_rest(), "it is tried again in a moment");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_record_that_another_client_changed_is_written_again() {
    let (set, now) = (declared(&widgets(0)), Instant::now());
    let id = config_map("settings");
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    state.step(Event::Finished(id.clone(), applied(&live(&set, &id, 10, json!({})))), now);
    let last = state.recording.number();
    let written = |commands: &[Command]| commands.iter().any(|command| matches!(command, Command::Record(_)));
    assert!(state.is_synced() && written(&state.step(Event::RecordTouched, now)));
    state.step(Event::Recorded(last), now);
    assert!(state.is_busy(), "it was the answer to the one before");
    let finding = Finding::new(Code::ApiServer, "no");
    let told = |commands: Vec<Command>| {
        let is_it = |command: &&Command| matches!(command, Command::Notice(Notice::Failed(told)) if *told == finding);
        commands.iter().filter(is_it).count()
    };
    assert_eq!(told(state.step(Event::Unrecorded(finding.clone()), now)), 1);
    assert_eq!(told(state.step(Event::Unrecorded(finding.clone()), now)), 0);
    assert_eq!(state.last_report().sync.findings, std::slice::from_ref(&finding));
    state.step(Event::Recorded(last + 1), now);
    assert!(!state.is_busy() && state.is_synced());
    assert_eq!(told(state.step(Event::Unrecorded(finding.clone()), now)), 0, "it is written meanwhile");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_commit_waits_for_the_objects_that_are_just_made_and_that_it_does_not_declare() {
    let now = Instant::now();
    let of = |manifest: &str| {
        declared(&format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: ns{manifest}}}\n"))
    };
    let set = of("");
    let disabled = of(", annotations: {configmanagement.gke.io/managed: disabled}");
    for (next, waits) in [(Arc::new(DeclaredSet::default()), true), (disabled, true), (of(", labels: {x: z}"), false)] {
        let (mut state, commands) = begin_sync(&set, Duration::from_secs(300), now);
        assert!(applies(&commands, "a"), "{commands:?}");
        let commit = "b".repeat(40);
        state.step(Event::Compiled { commit: commit.clone(), declared: Some(next), findings: Vec::new() }, now);
        assert_eq!(state.in_force.source.commit != commit, waits);
        let id = set.objects.keys().next().expect("one object").clone();
        state.step(Event::Finished(id.clone(), applied(&live(&set, &id, 2, json!({})))), now);
        assert_eq!(state.in_force.source.commit, commit);
    }
}
