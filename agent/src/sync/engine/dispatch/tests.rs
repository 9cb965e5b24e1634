//! The ways in which an object is applied, and how much is sent at once.

use serde_json::{Value, json};

use super::*;
use crate::compile::declared::DeclaredSet;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::SyncId;
use crate::sync::engine::tests::{applied, begin_sync, declared as declared_set, live as live_object, recorded};
use crate::sync::engine::{Event, Outcome};
use crate::sync::live::Observed;

const TIMEOUT: Duration = Duration::from_secs(300);

fn config_maps(number: usize) -> Arc<DeclaredSet> {
    let manifest = |n| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m{n}, namespace: default}}\n");
    declared_set(&(0..number).map(manifest).collect::<String>())
}

fn works(set: &DeclaredSet, id: &ObjectId, version: u64) -> Event {
    Event::Finished(id.clone(), applied(&live_object(set, id, version, json!({}))))
}

/// The objects that are applied.
fn applies(commands: &[Command]) -> Vec<ObjectId> {
    let ids = commands.iter().filter_map(|command| match command {
        Command::Apply(object, ..) => Some(object.id.clone()),
        _ => None,
    });
    ids.collect()
}

fn declared(spec: &Value) -> DeclaredObject {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "b"}, "spec": spec});
    DeclaredObject::new(serde_json::from_value(object).expect("a map"))
}

fn live(edit: impl FnOnce(&mut Live)) -> Live {
    let (sync, id) = (SyncId::root("root-sync"), declared(&json!({})).id);
    let mut live = Live::observe(&Observed::default(), &id, &sync, None, None);
    (live.uid, live.owner, live.version, live.former_writer) = ("uid".into(), Owner::Us, 7, false);
    edit(&mut live);
    live
}

fn updated() -> ApplyMode {
    ApplyMode::Update("uid".into())
}

fn drifted(path: &str) -> Cause {
    Cause::Drifted(Box::new([path.to_owned()]))
}

#[test]
fn fields_change_hands_when_an_object_is_taken_over_or_its_items_are_replaced() {
    let declared = declared(&json!({"replicas": 1}));
    let mode = |cause: &Cause, live: &Live| {
        let claim = if live.owner == Owner::Us { Claim::Proven } else { Claim::None };
        apply_mode(cause, &declared, Some(live), claim)
    };
    assert_eq!(apply_mode(&Cause::Missing, &declared, None, Claim::None), ApplyMode::Create);
    for owner in [Owner::Nobody, Owner::Other("b".into())] {
        let others = live(|it| it.owner = owner);
        assert_eq!(mode(&Cause::Adopted, &others), ApplyMode::TakeOver(7));
        assert_eq!(mode(&drifted(".spec.list[]"), &others), ApplyMode::TakeOver(7));
    }
    for cause in [Cause::Changed, drifted(".spec.list[]")] {
        let of_two = apply_mode(&cause, &declared, Some(&live(|_| {})), Claim::Shared);
        let expected = if cause == Cause::Changed { ApplyMode::TakeOver(7) } else { ApplyMode::Reclaim };
        assert_eq!(of_two, expected, "{cause:?}: another sync declares it too");
        let unproven = apply_mode(&cause, &declared, Some(&live(|_| {})), Claim::None);
        assert_eq!(unproven, ApplyMode::TakeOver(7), "{cause:?}: its metadata alone says that it is the sync's");
    }
    let (ours, written) = (live(|_| {}), live(|it| it.former_writer = true));
    for cause in [Cause::Changed, Cause::Adopted, drifted(".spec.list"), Cause::Drifted(Box::new([]))] {
        assert_eq!(mode(&cause, &ours), updated(), "{cause:?}");
        assert_eq!(mode(&cause, &written), ApplyMode::HandOver, "{cause:?}");
    }
    assert_eq!(mode(&drifted(".spec.list[]"), &ours), ApplyMode::Reclaim);
    assert_eq!(mode(&drifted(".spec.list[]"), &written), ApplyMode::Reclaim);
}

#[test]
fn a_field_that_is_not_declared_any_more_is_given_up_before_the_apply() {
    let running = live(|it| it.running_field = Some("replicas"));
    let mode = |spec: Value, live: &Live| apply_mode(&Cause::Changed, &declared(&spec), Some(live), Claim::Proven);
    assert_eq!(mode(json!({"replicas": 1}), &running), updated());
    assert_eq!(mode(json!({}), &running), ApplyMode::HandOver);
    assert_eq!(mode(json!({}), &live(|_| {})), updated(), "it was not applied before");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_outage_is_told_once_and_ends_when_the_api_server_answers_a_command() {
    let (set, begin) = (config_maps(23), Instant::now());
    let (mut state, commands) = begin_sync(&set, TIMEOUT, begin);
    let sent = applies(&commands);
    assert_eq!(sent.len(), 20);
    let away = || Failure {
        finding: Finding::new(Code::ApiServer, "503"),
        retry: Retry::Server(Duration::ZERO),
        refused: false,
    };
    let asks = |commands: &[Command]| commands.iter().any(|command| matches!(command, Command::AskServer));
    let told = |commands: &[Command]| {
        commands.iter().filter(|command| matches!(command, Command::Notice(Notice::Failed(_)))).count()
    };
    let commands = state.step(Event::Finished(sent[0].clone(), Outcome::Failed(away())), begin);
    assert!(asks(&commands) && applies(&commands).is_empty(), "{commands:?}");
    let commands = state.step(works(&set, &sent[1], 10), begin);
    assert!(applies(&commands).is_empty(), "it may have been sent before the outage: {commands:?}");
    assert_eq!(told(&state.step(Event::ServerAsked(Some(away())), begin)), 1);
    let later = begin + LONGEST_OUTAGE_PAUSE;
    assert!(asks(&state.step(Event::Woken, later)));
    assert_eq!(told(&state.step(Event::ServerAsked(Some(away())), later)), 0);
    assert_eq!(applies(&state.step(works(&set, &sent[2], 10), later)).len(), 3);
}

/// A sync of 30 ConfigMaps that are applied.
fn synced(now: Instant) -> (State, Arc<DeclaredSet>) {
    let set = config_maps(30);
    let (mut state, commands) = begin_sync(&set, TIMEOUT, now);
    let mut sent = applies(&commands);
    while let Some(id) = sent.pop() {
        sent.extend(applies(&state.step(works(&set, &id, 10), now)));
    }
    (state, set)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn repairs_have_places_of_their_own_and_other_work_leaves_the_api_server_to_them() {
    let now = Instant::now();
    let (mut state, set) = synced(now);
    assert!(state.is_synced());
    let gone = |id: &ObjectId| Event::Gone(id.clone(), 11);
    let repairs: usize = set.objects.keys().map(|id| applies(&state.step(gone(id), now)).len()).sum();
    assert_eq!(repairs, 25, "a quarter more than the 20 of a commit");

    let one = config_maps(1);
    let (mut state, commands) = begin_sync(&one, TIMEOUT, now);
    let drifted = applies(&commands).remove(0);
    state.step(works(&one, &drifted, 10), now);
    assert_eq!(applies(&state.step(gone(&drifted), now)).len(), 1);
    state.step(Event::Compiled { commit: "b".repeat(40), declared: Some(Arc::clone(&set)), findings: Vec::new() }, now);
    assert_eq!(applies(&recorded(&mut state, now)).len(), 4, "a quarter of the 20, with the repair");
    assert_eq!(applies(&state.step(works(&set, &drifted, 12), now)).len(), 16);
}

/// Its content is left alone, but the label and the annotations of the sync would be those of the client that wrote last.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_ignores_mutation_is_taken_over_as_it_was_read() {
    let manifest = |value: &str| {
        declared_set(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: default\n  annotations: \
             {{client.lifecycle.config.k8s.io/mutation: ignore}}\ndata: {{x: \"{value}\"}}\n"
        ))
    };
    let (set, next, now) = (manifest("1"), manifest("2"), Instant::now());
    let id = set.objects.keys().next().expect("one").clone();
    let annotated = |commands: &[Command]| {
        commands.iter().find_map(|command| match command {
            Command::Annotate(_, _, mode) => Some(mode.clone()),
            _ => None,
        })
    };
    let (mut state, commands) = begin_sync(&set, TIMEOUT, now);
    assert_eq!(applies(&commands).len(), 1);
    let mut others = live_object(&set, &id, 7, json!({}));
    others.metadata_mut().remove("labels");
    others.metadata_mut().remove("annotations");
    let mut unapplied = others.clone();
    unapplied.metadata_mut().remove("managedFields");
    let read = |object: Object| Event::Finished(id.clone(), Outcome::Read(Box::new(object)));
    let commands = state.step(read(unapplied), now);
    assert_eq!(annotated(&commands), Some(AnnotateMode::Prove("uid".into(), Some(7))), "{commands:?}");
    let (mut state, _) = begin_sync(&set, TIMEOUT, now);
    let commands = state.step(read(others), now);
    assert_eq!(annotated(&commands), Some(AnnotateMode::TakeOver(7)), "{commands:?}");
    state.step(works(&set, &id, 8), now);
    let declared = Some(Arc::clone(&next));
    let mut commands = state.step(Event::Compiled { commit: "b".repeat(40), declared, findings: Vec::new() }, now);
    commands.extend(recorded(&mut state, now));
    assert_eq!(annotated(&commands), Some(AnnotateMode::Update), "it is the sync's already: {commands:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn drift_of_an_object_that_is_queued_for_a_commit_is_put_back_before_its_turn() {
    let now = Instant::now();
    let (mut state, set) = synced(now);
    let manifest = |n: usize| {
        format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m{n}, namespace: default}}\ndata: {{x: y}}\n")
    };
    let next = declared_set(&(0..30).map(manifest).collect::<String>());
    let mut commands =
        state.step(Event::Compiled { commit: "b".repeat(40), declared: Some(next), findings: Vec::new() }, now);
    commands.extend(recorded(&mut state, now));
    let sent = applies(&commands);
    assert_eq!((sent.len(), state.queued()), (20, 10));
    let queued = set.objects.keys().find(|id| !sent.contains(id)).expect("ten are queued");
    let mut seen = Observed::of(&live_object(&set, queued, 11, json!({})));
    seen.managed_fields.clear();
    let commands = state.step(Event::Seen(queued.clone(), Box::new(seen)), now);
    assert_eq!(applies(&commands), std::slice::from_ref(queued));
}

/// Labels and annotations say that the object is the sync's, and the record does not: its end is no drift.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_that_is_not_in_the_record_is_made_after_the_record_is_written() {
    let (set, now) = (config_maps(1), Instant::now());
    let id = set.objects.keys().next().expect("one");
    let settings = begin_sync(&set, TIMEOUT, now).0.settings;
    let mut state = State::new(settings);
    let kind = id.group_kind();
    let stamped = Observed::of(&live_object(&set, id, 5, Value::Null));
    let events = [
        Event::Compiled { commit: "c".repeat(40), declared: Some(Arc::clone(&set)), findings: Vec::new() },
        Event::Listing(kind.clone(), 1),
        Event::Seen(id.clone(), Box::new(stamped)),
        Event::Listed(kind, 1),
        Event::Gone(id.clone(), 6),
    ];
    let commands: Vec<Command> = events.into_iter().flat_map(|event| state.step(event, now)).collect();
    assert_eq!(applies(&commands), [], "{commands:?}");
    assert_eq!(applies(&recorded(&mut state, now)), std::slice::from_ref(id));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn what_failed_before_comes_after_all_that_was_never_tried() {
    let (set, mut now) = (config_maps(60), Instant::now());
    let (mut state, mut commands) = begin_sync(&set, TIMEOUT, now);
    let refused = || Failure { finding: Finding::new(Code::Applier, "422"), retry: Retry::Object, refused: true };
    let mut tried = Vec::new();
    for _ in 0..3 {
        let sent = applies(&commands);
        assert!(sent.len() == 20 && sent.iter().all(|id| !tried.contains(id)), "{sent:?} after {tried:?}");
        commands.clear();
        for id in &sent {
            commands.extend(state.step(Event::Finished(id.clone(), Outcome::Failed(refused())), now));
        }
        tried.extend(sent);
        now += Duration::from_secs(10);
        commands.extend(state.step(Event::Woken, now));
    }
    // They leave room for work that comes later.
    let again = applies(&commands);
    assert!(again.len() == 10 && again.iter().all(|id| tried.contains(id)), "{again:?}");
}

/// Another sync has taken the object that waited for it.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn an_object_of_others_that_no_object_waits_for_any_more_is_not_read() {
    let map = |name: &str, on: &str| {
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: default\n  annotations: {{{on}}}\n"
        )
    };
    let on = "config.kubernetes.io/depends-on: /namespaces/default/ConfigMap/folder";
    let (set, now) = (declared_set(&(map("web", on) + &map("other", ""))), Instant::now());
    let id = |name: &str| ObjectId::new(&crate::model::object::GroupKind::new("", "ConfigMap"), "default", name);
    let reads = |commands: &[Command]| {
        commands.iter().any(|command| matches!(command, Command::Read(read) if read.id == id("folder")))
    };
    let mut others = live_object(&set, &id("web"), 6, json!({}));
    let metadata = others.metadata_mut();
    metadata["annotations"]["configsync.gke.io/manager"] = ":root_other".into();
    metadata["labels"]["applyset.kubernetes.io/part-of"] = SyncId::root("other").part_of().into();
    metadata["managedFields"] = json!([]);
    for is_taken in [false, true] {
        let (mut state, _) = begin_sync(&set, TIMEOUT, now);
        assert!(reads(&state.step(works(&set, &id("other"), 5), now)));
        state.step(Event::Finished(id("folder"), Outcome::Absent(0)), now);
        assert_eq!(applies(&state.step(Event::Gone(id("other"), 6), now)), [id("other")]);
        let finding = Finding::new(Code::ApiServer, "503");
        let away = Failure { finding, retry: Retry::Server(Duration::ZERO), refused: false };
        state.step(Event::Finished(id("other"), Outcome::Failed(away)), now);
        let later = now + Duration::from_secs(2);
        assert!(!reads(&state.step(Event::Woken, later)), "the API server is away");
        if is_taken {
            state.step(Event::Seen(id("web"), Box::new(Observed::of(&others))), later);
        }
        let commands = state.step(Event::ServerAsked(None), later);
        assert_eq!(reads(&commands), !is_taken, "{commands:?}");
    }
}

/// As after the loss of the record: the object is there as it was applied, but for a field that another client has taken.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn drift_of_an_object_that_is_not_in_the_record_is_put_back_after_the_record_is_written() {
    let (set, now) = (config_maps(1), Instant::now());
    let id = set.objects.keys().next().expect("one").clone();
    let settings = begin_sync(&set, TIMEOUT, now).0.settings;
    let mut state = State::new(crate::sync::engine::Settings { recorded: Default::default(), ..settings });
    let declared = Some(Arc::clone(&set));
    let mut commands = state.step(Event::Compiled { commit: "b".repeat(40), declared, findings: Vec::new() }, now);
    commands.extend(state.step(Event::Listing(id.group_kind(), 1), now));
    let mut object = live_object(&set, &id, 5, json!({}));
    object.metadata_mut()["managedFields"][0]["fieldsV1"] = json!({"f:data": {"f:other": {}}});
    commands.extend(state.step(Event::Seen(id.clone(), Box::new(Observed::of(&object))), now));
    commands.extend(state.step(Event::Listed(id.group_kind(), 1), now));
    assert!(applies(&commands).is_empty(), "{commands:?}");
    assert_eq!(applies(&recorded(&mut state, now)), [id]);
}
