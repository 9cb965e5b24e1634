//! Values of other objects are read before an object is applied, and again when those have changed.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::model::object::{GroupKind, Object};
use crate::sync::engine::tests::{applied, applies, begin_sync, declared, live};
use crate::sync::engine::{Command, Event, Failure, Notice, Outcome, Retry};
use crate::sync::live::Observed;

const TIMEOUT: Duration = Duration::from_secs(60);

const SOURCE: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: source, namespace: default}
data: {a: declared}
---
";

const TARGET: &str = "
apiVersion: v1
kind: ConfigMap
metadata:
  name: target
  namespace: default
  annotations:
    config.kubernetes.io/apply-time-mutation: |
      - sourceRef: {kind: ConfigMap, name: source}
        sourcePath: $.data.a
        targetPath: $.data.b
        token: ${a}
data: {b: 'is ${a}'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other, namespace: default}
";

fn id(name: &str) -> ObjectId {
    ObjectId::new(&GroupKind::new("", "ConfigMap"), "default", name)
}

struct Scene {
    state: State,
    set: Arc<DeclaredSet>,
    now: Instant,
    commands: Vec<Command>,
}

impl Scene {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn new(manifests: &str) -> Self {
        let (set, now) = (declared(manifests), Instant::now());
        let (state, commands) = begin_sync(&set, TIMEOUT, now);
        Self { state, set, now, commands }
    }

    /// An object of an earlier place in the order is there.
    fn other_is_applied(&mut self) {
        let other = live(&self.set, &id("other"), 1, Value::Null);
        self.step(Event::Finished(id("other"), applied(&other)));
    }

    fn step(&mut self, event: Event) {
        self.commands = self.state.step(event, self.now);
    }

    fn source(&self, version: u64, value: &str) -> Object {
        let mut source = live(&self.set, &id("source"), version, Value::Null);
        source.0.insert("data".to_owned(), json!({"a": value}));
        source
    }

    /// After a calm time another client has changed the source.
    fn see_source(&mut self, version: u64) {
        self.now += Duration::from_secs(30);
        let seen = Observed::of(&self.source(version, ""));
        self.step(Event::Seen(id("source"), Box::new(seen)));
    }

    /// The target is to be filled, and nothing else of it is sent.
    fn fills(&self) -> bool {
        let fills = |command: &Command| matches!(command, Command::Fill(declared, _) if declared.id == id("target"));
        self.commands.iter().any(fills) && !applies(&self.commands, "target")
    }

    /// Answers the command with the source as it is.
    fn fill(&mut self, version: u64, value: &str) {
        let source = self.source(version, value);
        let target = &self.set.objects[&id("target")];
        let declared = Arc::new(target.filled(&[&Value::Object(source.0)]).expect("a value"));
        let sources = vec![SourceVersion { id: id("source"), uid: "uid".into(), version }];
        let form = FilledForm { declared, of: target.hash, sources };
        self.step(Event::Finished(id("target"), Outcome::Filled(Box::new(form))));
    }

    /// The value that is applied, and is there from now on.
    fn apply(&mut self, version: u64) -> Option<Value> {
        let applied_form = self.commands.iter().find_map(|command| match command {
            Command::Apply(declared, ..) if declared.id == id("target") => Some(Arc::clone(declared)),
            _ => None,
        })?;
        let set = DeclaredSet { objects: [(id("target"), Arc::clone(&applied_form))].into(), ..DeclaredSet::default() };
        let object = live(&set, &id("target"), version, Value::Null);
        self.step(Event::Finished(id("target"), applied(&object)));
        Some(applied_form.body().0["data"]["b"].clone())
    }
}

/// A sync whose target was applied with the first value.
fn filled() -> Scene {
    let mut scene = Scene::new(&(SOURCE.to_owned() + TARGET));
    assert!(applies(&scene.commands, "source") && applies(&scene.commands, "other") && !scene.fills());
    scene.other_is_applied();
    let source = scene.source(2, "one");
    scene.step(Event::Finished(id("source"), applied(&source)));
    assert!(scene.fills(), "{:?}", scene.commands);
    scene.fill(2, "one");
    assert_eq!(scene.apply(3), Some("is one".into()));
    assert!(scene.state.is_synced(), "{:?}", scene.state.dump(scene.now));
    scene.now += Duration::from_secs(30);
    scene
}

#[test]
fn a_value_is_read_again_when_its_object_changed_and_applied_when_it_is_another() {
    let mut scene = filled();
    scene.see_source(5);
    assert!(scene.fills(), "{:?}", scene.commands);
    scene.fill(5, "one");
    assert!(scene.commands.iter().all(|command| !matches!(command, Command::Apply(..) | Command::Read(_))));
    assert!(scene.state.is_synced());
    scene.see_source(6);
    // The read shows a newer object than the watch.
    scene.fill(7, "two");
    assert_eq!(scene.apply(8), Some("is two".into()));
    scene.see_source(7);
    assert!(!scene.fills() && scene.state.is_synced(), "{:?}", scene.commands);
}

#[test]
fn an_object_made_anew_is_another_source() {
    let mut scene = filled();
    let mut anew = scene.source(9, "one");
    anew.metadata_mut().insert("uid".into(), "another".into());
    scene.step(Event::Gone(id("source"), 8));
    scene.step(Event::Finished(id("source"), applied(&anew)));
    assert!(scene.fills(), "{:?}", scene.commands);
}

#[test]
fn what_is_judged_is_the_form_with_the_values() {
    let mut scene = filled();
    let form = Arc::clone(scene.state.declared_form(&id("target")).as_ref().expect("declared"));
    assert_ne!(form.hash, scene.set.objects[&id("target")].hash);
    assert_eq!(scene.state.objects.live(&id("target")).and_then(|live| live.hash), Some(form.hash));
    scene.step(Event::Gone(id("target"), 10));
    assert_eq!(scene.apply(11), Some("is one".into()), "no value is read for a repair");
}

#[test]
fn a_source_without_the_value_is_told_and_its_change_ends_the_pause() {
    let mut scene = Scene::new(&(SOURCE.to_owned() + TARGET));
    scene.other_is_applied();
    let source = scene.source(2, "one");
    scene.step(Event::Finished(id("source"), applied(&source)));
    let finding = crate::model::finding::Finding::new(crate::model::finding::Code::Applier, "no value");
    let failure = Failure { finding, retry: Retry::Object, refused: true };
    scene.step(Event::Finished(id("target"), Outcome::Failed(failure)));
    let told = |command: &Command| matches!(command, Command::Notice(Notice::Failed(_)));
    assert!(scene.commands.iter().any(told) && !scene.fills());
    scene.see_source(3);
    assert!(scene.fills(), "{:?}", scene.commands);
    scene.fill(3, "three");
    assert_eq!(scene.apply(4), Some("is three".into()));
}

#[test]
fn drift_is_put_back_with_the_last_values_while_a_source_has_none() {
    let mut scene = filled();
    scene.see_source(5);
    assert!(scene.fills(), "{:?}", scene.commands);
    let finding = crate::model::finding::Finding::new(crate::model::finding::Code::Applier, "no value");
    let failure = || Failure { finding: finding.clone(), retry: Retry::Object, refused: true };
    scene.step(Event::Finished(id("target"), Outcome::Failed(failure())));
    let told = |command: &Command| matches!(command, Command::Notice(Notice::Failed(_)));
    assert!(scene.commands.iter().any(told) && !scene.fills());
    let findings = |scene: &Scene| scene.state.last_report().sync.findings;
    assert_eq!((findings(&scene), scene.state.is_synced()), (vec![finding.clone()], false));
    scene.step(Event::Gone(id("target"), 10));
    assert_eq!(scene.apply(11), Some("is one".into()));
    assert_eq!(findings(&scene), std::slice::from_ref(&finding), "the source still has no value");
    let failed = |scene: &Scene| {
        let resources = scene.state.last_report().resources.expect("a last report has them");
        resources.iter().any(|resource| resource.id == id("target") && resource.failed)
    };
    assert!(failed(&scene));
    // It is tried again by itself, less and less often.
    let begin = scene.now;
    for _ in 0..10 {
        scene.now = scene.state.next_wake().expect("it is tried again").max(scene.now);
        scene.step(Event::Woken);
        if scene.fills() {
            scene.step(Event::Finished(id("target"), Outcome::Failed(failure())));
            assert!(!scene.commands.iter().any(told), "it is told once");
        }
    }
    assert!(scene.now > begin + Duration::from_secs(60), "{:?}", scene.now - begin);
    scene.see_source(20);
    assert!(scene.fills(), "{:?}", scene.commands);
    scene.fill(20, "two");
    assert_eq!(scene.apply(21), Some("is two".into()));
    assert!(scene.state.is_synced() && findings(&scene).is_empty() && !failed(&scene));
}

#[test]
fn a_source_that_changes_all_the_time_is_read_less_and_less_often() {
    for with_value in [true, false] {
        let mut scene = filled();
        let finding = crate::model::finding::Finding::new(crate::model::finding::Code::Applier, "no value");
        let (begin, mut version, mut reads) = (scene.now, 100, 0);
        let mut answer = |scene: &mut Scene, version| {
            if scene.fills() {
                reads += 1;
                match with_value {
                    true => scene.fill(version, "one"),
                    false => {
                        let failure = Failure { finding: finding.clone(), retry: Retry::Object, refused: true };
                        scene.step(Event::Finished(id("target"), Outcome::Failed(failure)));
                    }
                }
            }
            reads
        };
        while scene.now < begin + Duration::from_secs(600) {
            scene.now += Duration::from_millis(50);
            version += 1;
            let seen = Observed::of(&scene.source(version, ""));
            scene.step(Event::Seen(id("source"), Box::new(seen)));
            answer(&mut scene, version);
        }
        let reads = answer(&mut scene, version);
        assert!((10..25).contains(&reads), "{reads}");
        // The last change is heeded.
        scene.now = scene.state.next_wake().expect("it is read again").max(scene.now);
        assert!(scene.now <= begin + Duration::from_secs(661) && !scene.state.is_synced());
        scene.step(Event::Woken);
        assert!(scene.fills(), "{:?}", scene.commands);
        scene.fill(version, "two");
        assert_eq!(scene.apply(version + 1), Some("is two".into()));
    }
}

/// Before the values are known for the first time, nothing can be put back.
#[test]
fn a_source_without_a_value_that_changes_all_the_time_is_read_less_and_less_often() {
    let mut scene = Scene::new(&(SOURCE.to_owned() + TARGET));
    scene.other_is_applied();
    let source = scene.source(2, "one");
    scene.step(Event::Finished(id("source"), applied(&source)));
    let finding = crate::model::finding::Finding::new(crate::model::finding::Code::Applier, "no value");
    let (begin, mut version, mut reads) = (scene.now, 100, 0);
    while scene.now < begin + Duration::from_secs(600) {
        if scene.fills() {
            reads += 1;
            let failure = Failure { finding: finding.clone(), retry: Retry::Object, refused: true };
            scene.step(Event::Finished(id("target"), Outcome::Failed(failure)));
        }
        scene.now += Duration::from_millis(50);
        version += 1;
        let seen = Observed::of(&scene.source(version, ""));
        scene.step(Event::Seen(id("source"), Box::new(seen)));
    }
    assert!((10..25).contains(&reads), "{reads}");
}

#[test]
fn a_source_that_is_not_declared_makes_its_object_wait_alone() {
    let mut scene = Scene::new(TARGET);
    assert!(applies(&scene.commands, "other") && !scene.fills());
    scene.other_is_applied();
    // It is on the cluster, and no watch tells of its changes.
    let others = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "source", "namespace": "default", "uid": "uid", "resourceVersion": "1"}, "data": {"a": "x"}});
    let others: Object = serde_json::from_value(others).expect("a map");
    scene.step(Event::Finished(id("source"), Outcome::Read(Box::new(others))));
    assert!(!scene.fills() && !applies(&scene.commands, "target"), "{:?}", scene.commands);
    let finding = scene.state.waiting_finding(&id("target")).expect("it is told").message;
    assert!(finding.contains("configmap/default/source") && finding.contains("not declared here"), "{finding}");
    assert!(finding.contains("of which it takes values"), "{finding}");
}

#[test]
fn a_cycle_of_values_and_dependencies_is_refused() {
    let depends = SOURCE.replace(
        "namespace: default}",
        "namespace: default, annotations: {config.kubernetes.io/depends-on: /namespaces/default/ConfigMap/target}}",
    );
    let set = declared(&(depends + TARGET));
    let finding = crate::sync::plan::order::order(&set).expect_err("a cycle");
    assert!(finding.message.starts_with("cyclic dependency"), "{finding:?}");
}

#[test]
fn values_that_are_known_are_not_read_again_for_the_next_commit_and_failures_end_with_their_object() {
    let mut scene = filled();
    let stays = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: new, namespace: default}\n";
    let compiled = |commit: &str, manifests: &str| Event::Compiled {
        commit: commit.repeat(40),
        declared: Some(declared(manifests)),
        findings: Vec::new(),
    };
    scene.step(compiled("b", &(SOURCE.to_owned() + TARGET + stays)));
    let mut commands = std::mem::take(&mut scene.commands);
    commands.extend(crate::sync::engine::tests::recorded(&mut scene.state, scene.now));
    let fills = |command: &Command| matches!(command, Command::Fill(..));
    assert!(applies(&commands, "new") && !commands.iter().any(fills), "{commands:?}");
    scene.set = declared(&(SOURCE.to_owned() + TARGET + stays));
    let new = live(&scene.set, &id("new"), 4, Value::Null);
    scene.step(Event::Finished(id("new"), applied(&new)));
    scene.see_source(5);
    assert!(scene.fills(), "{:?}", scene.commands);
    let finding = crate::model::finding::Finding::new(crate::model::finding::Code::Applier, "no value");
    let failure = Failure { finding, retry: Retry::Object, refused: true };
    scene.step(Event::Finished(id("target"), Outcome::Failed(failure)));
    assert_eq!(scene.state.last_report().sync.findings.len(), 1);
    scene.step(compiled("c", &(SOURCE.to_owned() + stays)));
    assert!(scene.state.last_report().sync.findings.is_empty());
}

#[test]
fn a_sync_is_not_synced_while_it_pauses_before_it_reads_a_newer_value() {
    let mut scene = filled();
    scene.see_source(5);
    scene.fill(5, "one");
    assert!(scene.state.is_synced());
    let seen = Observed::of(&scene.source(6, ""));
    scene.step(Event::Seen(id("source"), Box::new(seen)));
    assert!(!scene.fills() && !scene.state.is_synced(), "{:?}", scene.commands);
}

/// As after a restart: while its values are not known, changes of the object say little.
#[test]
fn an_object_that_changed_before_its_values_were_read_is_compared_with_them() {
    let before = filled();
    let form = before.state.declared_form(&id("target")).expect("declared");
    let complete = DeclaredSet { objects: [(id("target"), form)].into(), ..DeclaredSet::default() };
    let seen = |version: u64, fields: Value| {
        let mut target = live(&complete, &id("target"), version, Value::Null);
        target.metadata_mut()["managedFields"][0]["fieldsV1"] = fields;
        Event::Seen(id("target"), Box::new(Observed::of(&target)))
    };
    let others = ["source", "other"].map(|name| {
        let object = live(&before.set, &id(name), 2, Value::Null);
        Event::Seen(id(name), Box::new(Observed::of(&object)))
    });
    let recorded = before.set.objects.keys().cloned().collect();
    let settings = crate::sync::engine::Settings { recorded, ..before.state.settings.clone() };
    let mut scene = Scene { state: State::new(settings), ..before };
    let declared = Some(Arc::clone(&scene.set));
    let kind = id("target").group_kind();
    let mut events = vec![
        Event::Compiled { commit: "b".repeat(40), declared, findings: Vec::new() },
        Event::Listing(kind.clone(), 1),
        seen(3, json!({"f:data": {}})),
        seen(4, json!({"f:data": {"f:b": {}}})),
    ];
    events.extend(others);
    events.push(Event::Listed(kind, 1));
    let mut commands = Vec::new();
    for event in events {
        scene.step(event);
        commands.append(&mut scene.commands);
    }
    while let Some(at) = commands.iter().position(|command| matches!(command, Command::Apply(..))) {
        let Command::Apply(object, ..) = commands.remove(at) else { continue };
        let object = live(&scene.set, &object.id, 5, Value::Null);
        scene.step(Event::Finished(object.id(), applied(&object)));
        commands.append(&mut scene.commands);
    }
    assert!(commands.iter().any(|command| matches!(command, Command::Fill(..))), "{commands:?}");
    scene.fill(5, "one");
    let reads = |command: &Command| matches!(command, Command::Read(read) if read.id == id("target"));
    assert!(scene.commands.iter().any(reads) && !applies(&scene.commands, "target"), "{:?}", scene.commands);
}
