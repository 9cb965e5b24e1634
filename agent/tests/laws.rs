//! Laws of the engine, on a simulated API server: whatever happens in whatever order, it comes to rest with the cluster as
//! declared, and nothing that is not its own is ever touched.
#![expect(clippy::disallowed_methods, reason = "a law needs some instant to begin with")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::compile::{NamespaceStrategy, Settings as CompileSettings, SourceFormat, compile};
use agent::declared::{DeclaredObject, DeclaredSet};
use agent::engine::{Command, Event, Failure, Onto, Outcome, Retry, Settings, State};
use agent::finding::{Code, Finding};
use agent::live::{Live, Observed};
use agent::metadata::{ROOT_SYNC, SyncId};
use agent::object::{GroupKind, Object, ObjectId};
use agent::parse::{SourceFile, parse};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const STRANGER: &str = "somebody-elses";

/// What happens between two looks of the engine.
#[derive(Clone, Debug)]
enum Happening {
    /// The repository declares these objects in these versions.
    Commit(BTreeMap<u8, u8>),
    /// Somebody deletes an object.
    Delete(u8),
    /// Somebody changes a field of an object.
    Change(u8),
    /// Somebody takes the part-of label off.
    Unlabel(u8),
    /// The oldest command is answered.
    Answer,
    /// The oldest command fails.
    Fail,
    /// The API server is away for the oldest command.
    Away,
    /// A watch delivers.
    Deliver,
    /// The watches start over.
    Relist,
    /// Whole objects are compared.
    Audit,
    /// Time passes.
    Wait,
}

fn happening() -> impl Strategy<Value = Happening> {
    let commit = prop::collection::btree_map(0..6u8, 0..3u8, 1..6);
    prop_oneof![
        2 => commit.prop_map(Happening::Commit),
        2 => (0..6u8).prop_map(Happening::Delete),
        3 => (0..6u8).prop_map(Happening::Change),
        1 => (0..6u8).prop_map(Happening::Unlabel),
        8 => Just(Happening::Answer),
        1 => Just(Happening::Fail),
        1 => Just(Happening::Away),
        8 => Just(Happening::Deliver),
        1 => Just(Happening::Relist),
        1 => Just(Happening::Audit),
        2 => Just(Happening::Wait),
    ]
}

struct World {
    state: State,
    now: Instant,
    version: u64,
    live: BTreeMap<ObjectId, Object>,
    commands: VecDeque<Command>,
    events: VecDeque<Event>,
    watched: BTreeSet<GroupKind>,
    declared: BTreeMap<u8, u8>,
    commits: u32,
    /// Writes to declared objects.
    writes: usize,
}

fn sync() -> SyncId {
    SyncId::root(ROOT_SYNC)
}

fn settings() -> Settings {
    Settings {
        sync: sync(),
        in_flight: 3,
        approved: None,
        how_to_approve: String::new(),
        kinds: BTreeSet::new(),
        recorded: BTreeSet::new(),
        last_in_force: None,
    }
}

fn id(index: u8) -> ObjectId {
    ObjectId::new(&GroupKind::new("", "ConfigMap"), "ns", &format!("object-{index}"))
}

fn compiled(objects: &BTreeMap<u8, u8>) -> DeclaredSet {
    let mut text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n".to_owned();
    for (index, version) in objects {
        text.push_str(&format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: object-{index}, namespace: ns}}\ndata: {{v: \"{version}\"}}\n"
        ));
    }
    let file = SourceFile { path: "all.yaml".into(), content: text.into_bytes().into() };
    let settings = CompileSettings {
        sync: Some(sync()),
        namespaces: NamespaceStrategy::Explicit,
        ..CompileSettings::offline(SourceFormat::Unstructured)
    };
    let compiled = compile(&[Arc::new(parse(&file))], &settings);
    compiled.declared.unwrap_or_else(|| panic!("{:?}", compiled.findings))
}

/// The fields of a value in the form of managedFields.
fn fields(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (format!("f:{key}"), fields(value))).collect::<Map<_, _>>().into()
        }
        _ => json!({}),
    }
}

fn owned(body: &Object) -> Value {
    let mut all = Value::Object(body.0.clone());
    let map = all.as_object_mut().expect("a map");
    map.remove("apiVersion");
    map.remove("kind");
    let metadata = map.get_mut("metadata").and_then(Value::as_object_mut).expect("a map");
    metadata.remove("name");
    metadata.remove("namespace");
    fields(&all)
}

impl World {
    fn new() -> Self {
        let stranger = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": STRANGER, "namespace": "ns", "uid": "stranger", "resourceVersion": "1",
            // Copied from an object of ours, as `kubectl get -o yaml | sed | kubectl apply` does.
            "labels": {"applyset.kubernetes.io/part-of": sync().part_of()},
            "annotations": {
                "configsync.gke.io/manager": ":root",
                "configmanagement.gke.io/managed": "enabled",
                "configsync.gke.io/resource-id": "_configmap_ns_object-0",
            },
        }});
        let stranger: Object = serde_json::from_value(stranger).expect("a map");
        Self {
            state: State::new(settings()),
            now: Instant::now(),
            version: 1,
            live: BTreeMap::from([(stranger.id(), stranger)]),
            commands: VecDeque::new(),
            events: VecDeque::new(),
            watched: BTreeSet::new(),
            declared: BTreeMap::new(),
            commits: 0,
            writes: 0,
        }
    }

    fn step(&mut self, event: Event) {
        for command in self.state.step(event, self.now) {
            match command {
                Command::Watch(kinds) => {
                    self.watched.extend(kinds.iter().cloned());
                    kinds.iter().for_each(|kind| self.list(kind));
                }
                Command::Audit(kind) => {
                    let found: Vec<Object> = self.live.values().filter(|o| o.group_kind() == kind).cloned().collect();
                    self.events.extend(found.into_iter().map(|object| Event::Audited(Box::new(object))));
                    self.events.push_back(Event::AuditEnded(kind));
                }
                Command::Report(_) | Command::Notice(_) => {}
                command => self.commands.push_back(command),
            }
        }
    }

    fn list(&mut self, kind: &GroupKind) {
        self.events.push_back(Event::Listing(kind.clone()));
        let found: Vec<Object> =
            self.live.values().filter(|o| o.group_kind() == *kind && is_selected(o)).cloned().collect();
        for object in found {
            self.events.push_back(Event::Seen(object.id(), Box::new(Observed::of(&object))));
        }
        self.events.push_back(Event::Listed(kind.clone()));
    }

    /// Writes an object and tells the watch.
    fn put(&mut self, mut object: Object) -> Object {
        self.version += 1;
        object.metadata_mut().insert("resourceVersion".into(), self.version.to_string().into());
        let id = object.id();
        let was = self.live.insert(id.clone(), object.clone()).is_some_and(|old| is_selected(&old));
        if self.watched.contains(&id.group_kind()) {
            if is_selected(&object) {
                self.events.push_back(Event::Seen(id, Box::new(Observed::of(&object))));
            } else if was {
                self.events.push_back(Event::Gone(id, self.version));
            }
        }
        object
    }

    fn remove(&mut self, id: &ObjectId) {
        self.version += 1;
        if let Some(old) = self.live.remove(id)
            && is_selected(&old)
        {
            self.events.push_back(Event::Gone(id.clone(), self.version));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Commit(objects) => self.commit(objects),
            Happening::Delete(index) => self.remove(&id(index)),
            Happening::Change(index) => self.change(&id(index)),
            Happening::Unlabel(index) => self.unlabel(&id(index)),
            Happening::Answer => self.answer(),
            Happening::Fail => self.fail(Retry::Object),
            Happening::Away => self.fail(Retry::Server(Duration::ZERO)),
            Happening::Deliver => {
                if let Some(event) = self.events.pop_front() {
                    self.step(event);
                }
            }
            Happening::Relist => {
                let kinds = self.watched.clone();
                kinds.iter().for_each(|kind| self.list(kind));
            }
            Happening::Audit => self.step(Event::AuditDue),
            Happening::Wait => {
                self.now += Duration::from_secs(1);
                self.step(Event::Woken);
            }
        }
    }

    fn commit(&mut self, objects: BTreeMap<u8, u8>) {
        self.commits += 1;
        let declared = Some(Arc::new(compiled(&objects)));
        let commit = format!("{:040}", self.commits);
        self.declared = objects;
        // Large prunes are not what is tested here.
        self.step(Event::Approved(commit.clone()));
        self.step(Event::Compiled { commit, declared, findings: Vec::new() });
    }

    fn change(&mut self, id: &ObjectId) {
        let Some(mut object) = self.live.get(id).cloned() else { return };
        object.0["data"]["v"] = "drifted".into();
        if let Some(entries) = object.metadata_mut().get_mut("managedFields").and_then(Value::as_array_mut) {
            for entry in entries {
                if let Some(fields) = entry["fieldsV1"].as_object_mut() {
                    fields.remove("f:data");
                }
            }
        }
        self.put(object);
    }

    fn unlabel(&mut self, id: &ObjectId) {
        let Some(mut object) = self.live.get(id).cloned() else { return };
        let part_of = "applyset.kubernetes.io/part-of";
        let metadata = object.metadata_mut();
        metadata.get_mut("labels").and_then(Value::as_object_mut).map(|labels| labels.remove(part_of));
        if let Some(owned) = metadata
            .get_mut("managedFields")
            .and_then(|entries| entries.pointer_mut("/0/fieldsV1/f:metadata/f:labels"))
            .and_then(Value::as_object_mut)
        {
            owned.remove(&format!("f:{part_of}"));
        }
        self.put(object);
    }

    fn answer(&mut self) {
        let Some(command) = self.commands.pop_front() else { return };
        let (id, outcome) = match command {
            Command::Record(_) => {
                self.step(Event::Recorded);
                return;
            }
            Command::Apply(declared, commit, onto) => (declared.id.clone(), self.apply(&declared, &commit, onto)),
            Command::Read(id) => {
                let found = self.live.get(&id).cloned();
                (id, found.map_or(Outcome::Absent(0), |object| Outcome::Read(Box::new(object))))
            }
            Command::Delete(id, uid, version) => {
                let outcome = self.delete(&id, &uid, version);
                (id, outcome)
            }
            other => panic!("not expected here: {other:?}"),
        };
        self.step(Event::Finished(id, outcome));
    }

    fn apply(&mut self, declared: &DeclaredObject, commit: &str, onto: Onto) -> Outcome {
        if let (Onto::Nothing, Some(there)) = (onto, self.live.get(&declared.id)) {
            return Outcome::Read(Box::new(there.clone()));
        }
        let namespace = ObjectId::new(&GroupKind::new("", "Namespace"), "", "ns");
        if !declared.id.namespace().is_empty() && !self.live.contains_key(&namespace) {
            return failure(Retry::Soon);
        }
        let mut body = declared.applied(commit, "{}");
        let entry = json!([{
            "manager": "configsync.gke.io", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": owned(&body),
        }]);
        let uid = match self.live.get(&declared.id) {
            Some(old) => old.metadata("uid").cloned().unwrap_or_default(),
            None => format!("uid-{}", self.version).into(),
        };
        body.metadata_mut().insert("uid".into(), uid);
        body.metadata_mut().insert("managedFields".into(), entry);
        let same = self.live.get(&declared.id).is_some_and(|old| {
            let mut old = old.clone();
            old.metadata_mut().remove("resourceVersion");
            old == body
        });
        if same {
            body = self.live[&declared.id].clone();
        } else {
            self.writes += 1;
            body = self.put(body);
        }
        Outcome::Applied(Box::new(Live::after_apply(&Observed::of(&body), &body, &declared.id, &sync())), Vec::new())
    }

    fn delete(&mut self, id: &ObjectId, uid: &str, version: u64) -> Outcome {
        assert_ne!(id.name(), STRANGER, "a stranger's object is never deleted");
        let Some(object) = self.live.get(id) else { return Outcome::Absent(0) };
        let seen = Observed::of(object);
        if seen.uid != uid || seen.version() != version {
            return failure(Retry::Soon);
        }
        self.writes += 1;
        self.remove(id);
        Outcome::Deleted
    }

    fn fail(&mut self, retry: Retry) {
        let Some(at) = self.commands.iter().position(|command| !matches!(command, Command::Record(_))) else { return };
        let id = match self.commands.remove(at) {
            Some(Command::Apply(declared, ..)) => declared.id.clone(),
            Some(Command::Read(id) | Command::Delete(id, ..)) => id,
            other => panic!("not expected here: {other:?}"),
        };
        self.step(Event::Finished(id, failure(retry)));
    }

    /// Lets everything come to its end without anything new happening.
    fn rest(&mut self) {
        for _ in 0..2000 {
            if !self.commands.is_empty() {
                self.answer();
            } else if let Some(event) = self.events.pop_front() {
                self.step(event);
            } else if let Some(wake) = self.state.next_wake() {
                self.now = self.now.max(wake);
                self.step(Event::Woken);
            } else {
                return;
            }
        }
        panic!("it does not come to rest");
    }
}

fn is_selected(object: &Object) -> bool {
    object.label("applyset.kubernetes.io/part-of").is_some()
}

fn failure(retry: Retry) -> Outcome {
    Outcome::Failed(Failure { finding: Finding::new(Code::Applier, "no"), retry })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_comes_to_rest_as_declared(happenings in prop::collection::vec(happening(), 1..60)) {
        let mut world = World::new();
        let stranger = world.live.values().next().cloned().expect("there");
        for happening in happenings {
            world.happen(happening);
        }
        world.commit(BTreeMap::from([(0, 0), (1, 1), (2, 2)]));
        world.rest();
        prop_assert!(world.state.is_synced());
        prop_assert_eq!(&world.live[&stranger.id()], &stranger);
        for index in 0..6 {
            let declared = world.declared.get(&index).map(|version| json!(version.to_string()));
            // Without its label an object that is not declared any more is nobody's, and stays.
            let ours = |object: &&Object| declared.is_some() || is_selected(object);
            let value = world.live.get(&id(index)).filter(ours).map(|object| object.0["data"]["v"].clone());
            prop_assert_eq!(value, declared, "object {}", index);
        }
        // Once more: there is nothing to do.
        let writes = world.writes;
        world.commit(world.declared.clone());
        world.happen(Happening::Relist);
        world.rest();
        prop_assert_eq!(world.writes, writes);
    }

    #[test]
    fn a_restart_writes_nothing(objects in prop::collection::btree_map(0..6u8, 0..3u8, 1..6)) {
        let mut world = World::new();
        world.commit(objects.clone());
        world.rest();
        let writes = world.writes;
        world.state = State::new(settings());
        world.watched.clear();
        world.commit(objects);
        world.rest();
        prop_assert!(world.state.is_synced());
        prop_assert_eq!(world.writes, writes);
    }
}
