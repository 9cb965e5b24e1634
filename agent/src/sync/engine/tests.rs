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
    Outcome::Applied(Box::new(live), Vec::new())
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

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_api_group_that_is_away_delays_no_other_object() {
    let (set, begin) = (declared(&widgets(15)), Instant::now());
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), begin);
    let settings = live(&set, &config_map("settings"), 2, json!({}));
    state.step(Event::Finished(settings.id(), applied(&settings)), begin);
    let ids: Vec<ObjectId> = set.objects.keys().filter(|id| id.kind() == "Widget").cloned().collect();
    for id in &ids {
        state.step(away(id), begin);
    }
    let gone = state.step(Event::Gone(settings.id(), 3), begin);
    assert!(applies(&gone, "settings"), "drift is put back meanwhile: {gone:?}");
    // The group is asked again within half a minute, however long it is away.
    let mut commands = std::collections::VecDeque::from(gone);
    let mut now = begin;
    for _ in 0..400 {
        while let Some(command) = commands.pop_front() {
            let Command::Apply(object, ..) = command else { continue };
            let settings = live(&set, &config_map("settings"), 4, json!({}));
            let answer = match object.id == settings.id() {
                true => Event::Finished(settings.id(), applied(&settings)),
                false => away(&object.id),
            };
            commands.extend(state.step(answer, now));
        }
        let next = state.next_wake().expect("the Widgets are tried again");
        assert!(next <= now + Duration::from_secs(31), "{:?}", next - now);
        now = now.max(next);
        commands.extend(state.step(Event::Woken, now));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_api_server_that_is_away_is_asked_by_one_request() {
    let (set, begin) = (declared(&widgets(15)), Instant::now());
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), begin);
    for id in set.objects.keys() {
        state.step(away(id), begin);
    }
    let wake = state.next_wake().expect("the API server is asked again");
    let sent = state.step(Event::Woken, wake.max(begin + Duration::from_secs(1)));
    assert_eq!(sent.iter().filter(|command| matches!(command, Command::Apply(..))).count(), 1, "{sent:?}");
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
