//! The world around the engine: an API server, watches, a repository, and the agent's edge that carries out commands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::compile::declared::{DeclaredObject, DeclaredSet};
use agent::model::finding::{Code, Finding};
use agent::model::object::{GroupKind, Object, ObjectId};
use agent::sync::engine::{ApplyMode, Command, Event, Failure, Notice, Outcome, Report, Retry, Settings, State};
use agent::sync::live::{Live, Observed};
use serde_json::{Map, Value, json};

use crate::repository::{ADOPTED, Repository, TAKEN, object, sync, widgets};

const STRANGER: &str = "somebody-elses";
const PART_OF: &str = "applyset.kubernetes.io/part-of";
const ANOTHER: &str = ":root_another";
/// What may be deleted without approval, and Widgets that are seen only later.
const SMALL: usize = 10 + 2;

pub(crate) struct World {
    pub(crate) state: State,
    now: Instant,
    version: u64,
    pub(crate) live: BTreeMap<ObjectId, Object>,
    commands: VecDeque<Command>,
    events: VecDeque<Event>,
    watched: BTreeSet<GroupKind>,
    /// Number of lists that the watches began.
    session: u64,
    /// Whether Widgets are served.
    served: bool,
    commits: Vec<Repository>,
    compiled: BTreeMap<(usize, bool), Option<Arc<DeclaredSet>>>,
    /// Commits that were compiled last when Widgets were not served: theirs are left out.
    without_widgets: BTreeSet<usize>,
    approved: Option<String>,
    /// What ResourceGroups and status say.
    record: BTreeSet<ObjectId>,
    reported: Option<String>,
    /// The commit in force.
    syncing: Option<String>,
    /// How much was deleted for commits that nobody approved.
    deleted: BTreeMap<String, usize>,
    /// Everything that was ever applied, with its hash.
    applied: BTreeSet<(ObjectId, String)>,
    /// Writes to declared objects.
    pub(crate) writes: usize,
}

fn settings() -> Settings {
    Settings {
        sync: sync(),
        in_flight: 3,
        reconcile_timeout: Duration::from_secs(300),
        approved: None,
        how_to_approve: String::new(),
        kinds: BTreeSet::new(),
        recorded: BTreeSet::new(),
        last_in_force: None,
    }
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

/// Objects that were there before us.
fn before_us() -> Vec<Object> {
    let object = |name: &str, labels: Value, annotations: Value| {
        let metadata = json!({"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1",
            "labels": labels, "annotations": annotations});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"v": "theirs"}});
        serde_json::from_value(object).expect("a map")
    };
    let managed = |manager: &str, name: &str| {
        json!({
            "configsync.gke.io/manager": manager,
            "configmanagement.gke.io/managed": "enabled",
            "configsync.gke.io/resource-id": format!("_configmap_ns_{name}"),
        })
    };
    let taken = object_name(TAKEN);
    vec![
        // Copied from an object of ours, as `kubectl get -o yaml | sed | kubectl apply` does.
        object(STRANGER, json!({PART_OF: sync().part_of()}), managed(":root", "object-0")),
        // Another sync's that no watch shows.
        object(&taken, json!({}), managed(ANOTHER, &taken)),
        object(&object_name(ADOPTED), json!({}), json!({})),
    ]
}

fn object_name(index: u8) -> String {
    object(index).name().to_owned()
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            state: State::new(settings()),
            now: Instant::now(),
            version: 1,
            live: before_us().into_iter().map(|object| (object.id(), object)).collect(),
            commands: VecDeque::new(),
            events: VecDeque::new(),
            watched: BTreeSet::new(),
            session: 0,
            served: true,
            commits: Vec::new(),
            compiled: BTreeMap::new(),
            without_widgets: BTreeSet::new(),
            approved: None,
            record: BTreeSet::new(),
            reported: None,
            syncing: None,
            deleted: BTreeMap::new(),
            applied: BTreeSet::new(),
            writes: 0,
        }
    }

    /// What is nobody's business but its owners'.
    pub(crate) fn strangers(&self) -> Vec<Object> {
        self.live.values().filter(|object| object.name() == STRANGER).cloned().collect()
    }

    // ---- the repository ----

    pub(crate) fn commit(&mut self, repository: Repository, approved: bool) {
        self.commits.push(repository);
        if approved {
            self.approve();
        }
        self.compile_newest();
    }

    pub(crate) fn newest(&self) -> &Repository {
        self.commits.last().expect("there was a commit")
    }

    pub(crate) fn approve(&mut self) {
        let Some(newest) = self.commits.len().checked_sub(1) else { return };
        self.approved = Some(name(newest));
        self.step(Event::Approved(name(newest)));
    }

    pub(crate) fn unreadable(&mut self) {
        self.step(Event::SourceFailed(Finding::new(Code::Source, "not there")));
    }

    fn compile_newest(&mut self) {
        let Some(newest) = self.commits.len().checked_sub(1) else { return };
        let declared = self.compiled(newest);
        let findings = if declared.is_none() { vec![Finding::new(Code::NameCollision, "twice")] } else { Vec::new() };
        self.step(Event::Compiled { commit: name(newest), declared, findings });
    }

    fn compiled(&mut self, number: usize) -> Option<Arc<DeclaredSet>> {
        let (repository, served) = (&self.commits[number], self.served);
        if served {
            self.without_widgets.remove(&number);
        } else {
            self.without_widgets.insert(number);
        }
        self.compiled.entry((number, served)).or_insert_with(|| repository.compile(served)).clone()
    }

    /// What the commit in force declares, and whether it was compiled when Widgets were served.
    pub(crate) fn in_force(&self) -> Option<(&Repository, bool)> {
        let commit = self.state.last_report().sync.commit;
        let number = (!commit.is_empty()).then(|| number(&commit))?;
        Some((&self.commits[number], !self.without_widgets.contains(&number)))
    }

    // ---- the agent ----

    pub(crate) fn step(&mut self, event: Event) {
        for command in self.state.step(event, self.now) {
            match command {
                Command::Watch(kinds) => kinds.iter().for_each(|kind| self.watch(kind)),
                Command::Audit(kind) => {
                    let shown = |object: &&Object| object.group_kind() == kind && (self.served || kind != widgets());
                    let found: Vec<Object> = self.live.values().filter(shown).cloned().collect();
                    self.events.extend(found.into_iter().map(|object| Event::Audited(Box::new(object))));
                    self.events.push_back(Event::AuditEnded(kind));
                }
                Command::Report(report) => self.report(*report),
                Command::Notice(Notice::Syncing { commit, .. }) => self.syncing = Some(commit),
                Command::Notice(_) => {}
                Command::Restore(commit) => {
                    let declared = self.compiled(number(&commit));
                    self.events.push_back(Event::Restored { commit, declared });
                }
                Command::Apply(declared, commit, onto) => {
                    self.may_be_applied(&declared);
                    self.commands.push_back(Command::Apply(declared, commit, onto));
                }
                command => self.commands.push_back(command),
            }
        }
    }

    fn report(&mut self, report: Report) {
        if !report.sync.commit.is_empty() {
            self.reported = Some(report.sync.commit);
        }
        if let Some(resources) = report.resources {
            self.record = resources.into_iter().map(|resource| resource.id).collect();
        }
    }

    /// What it depends on was applied before, in the form that is declared with it.
    fn may_be_applied(&self, declared: &DeclaredObject) {
        let Some(on) = declared.depends_on() else { return };
        let on = on.rsplit('/').next().expect("a name");
        let form = |set: &Arc<DeclaredSet>| {
            let same = set.objects.get(&declared.id).is_some_and(|object| object.hash == declared.hash);
            let dependency = set.objects.values().find(|object| object.id.name() == on).filter(|_| same)?;
            Some((dependency.id.clone(), dependency.hash.to_string()))
        };
        let mut forms = self.compiled.values().flatten().filter_map(form);
        assert!(forms.any(|form| self.applied.contains(&form)), "{} before {on}", declared.id);
    }

    pub(crate) fn restart(&mut self) {
        self.commands.clear();
        self.events.clear();
        self.watched.clear();
        self.syncing = None;
        let ours = |object: &&Object| is_selected(object) && (self.served || object.group_kind() != widgets());
        let kinds = match self.record.is_empty() {
            true => self.live.values().filter(ours).map(Object::group_kind).collect(),
            false => self.record.iter().map(ObjectId::group_kind).collect(),
        };
        self.state = State::new(Settings {
            approved: self.approved.clone(),
            kinds,
            recorded: self.record.clone(),
            last_in_force: self.reported.clone(),
            ..settings()
        });
        self.compile_newest();
    }

    // ---- watches ----

    fn watch(&mut self, kind: &GroupKind) {
        if *kind == widgets() && !self.served {
            self.events.push_back(Event::Unserved(kind.clone()));
        } else {
            self.watched.insert(kind.clone());
            self.list(kind);
        }
    }

    fn list(&mut self, kind: &GroupKind) {
        self.session += 1;
        self.events.push_back(Event::Listing(kind.clone(), self.session));
        let shown = |object: &&Object| object.group_kind() == *kind && is_selected(object);
        for object in self.live.values().filter(shown) {
            self.events.push_back(Event::Seen(object.id(), Box::new(Observed::of(object))));
        }
        self.events.push_back(Event::Listed(kind.clone(), self.session));
    }

    pub(crate) fn relist(&mut self) {
        let kinds = self.watched.clone();
        kinds.iter().for_each(|kind| self.list(kind));
    }

    pub(crate) fn deliver(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.step(event);
        }
    }

    pub(crate) fn serve(&mut self, served: bool) {
        if self.served == served {
            return;
        }
        self.served = served;
        if served {
            // A commit with an unknown kind is compiled again until there is none.
            self.compile_newest();
        } else if self.watched.remove(&widgets()) {
            self.events.push_back(Event::Unserved(widgets()));
        }
    }

    // ---- the API server ----

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

    pub(crate) fn remove(&mut self, id: &ObjectId) {
        self.version += 1;
        if let Some(old) = self.live.remove(id)
            && is_selected(&old)
            && self.watched.contains(&id.group_kind())
        {
            self.events.push_back(Event::Gone(id.clone(), self.version));
        }
    }

    pub(crate) fn change(&mut self, id: &ObjectId) {
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

    pub(crate) fn unlabel(&mut self, id: &ObjectId) {
        let Some(mut object) = self.live.get(id).cloned() else { return };
        let metadata = object.metadata_mut();
        metadata.get_mut("labels").and_then(Value::as_object_mut).map(|labels| labels.remove(PART_OF));
        if let Some(owned) = metadata
            .get_mut("managedFields")
            .and_then(|entries| entries.pointer_mut("/0/fieldsV1/f:metadata/f:labels"))
            .and_then(Value::as_object_mut)
        {
            owned.remove(&format!("f:{PART_OF}"));
        }
        self.put(object);
    }

    /// Answers the oldest command.
    pub(crate) fn answer(&mut self) {
        let Some(command) = self.commands.pop_front() else { return };
        let (id, outcome) = match command {
            Command::Record(ids) => {
                self.record = ids;
                self.step(Event::Recorded);
                return;
            }
            Command::Apply(declared, commit, onto) => (declared.id.clone(), self.apply(&declared, &commit, onto)),
            Command::Read(id) if self.serves(&id) => {
                let found = self.live.get(&id).cloned();
                (id, found.map_or(Outcome::Absent(0), |object| Outcome::Read(Box::new(object))))
            }
            Command::Read(id) => (id, failure(Retry::Soon)),
            Command::Delete(id, uid, version) => {
                let outcome = self.delete(&id, &uid, version);
                (id, outcome)
            }
            other => panic!("not expected here: {other:?}"),
        };
        self.step(Event::Finished(id, outcome));
    }

    fn serves(&self, id: &ObjectId) -> bool {
        self.served || !id.is_of(&widgets())
    }

    fn apply(&mut self, declared: &DeclaredObject, commit: &str, onto: ApplyMode) -> Outcome {
        if !self.serves(&declared.id) {
            return failure(Retry::Soon);
        }
        let there = self.live.get(&declared.id);
        if let (ApplyMode::Create, Some(there)) = (onto, there) {
            return Outcome::Read(Box::new(there.clone()));
        }
        assert!(!there.is_some_and(is_taken), "another sync's object is never written to");
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
        self.applied.insert((declared.id.clone(), declared.hash.to_string()));
        Outcome::Applied(Box::new(Live::after_apply(&Observed::of(&body), &body, &declared.id, &sync())), Vec::new())
    }

    fn delete(&mut self, id: &ObjectId, uid: &str, version: u64) -> Outcome {
        assert_ne!(id.name(), STRANGER, "a stranger's object is never deleted");
        if !self.serves(id) {
            return failure(Retry::Soon);
        }
        let Some(object) = self.live.get(id) else { return Outcome::Absent(0) };
        let seen = Observed::of(object);
        if seen.uid != uid || seen.version() != version {
            return failure(Retry::Soon);
        }
        self.count_deletion();
        self.writes += 1;
        self.remove(id);
        Outcome::Deleted
    }

    /// Without approval only a little is deleted.
    fn count_deletion(&mut self) {
        let Some(commit) = self.syncing.clone().filter(|commit| Some(commit) != self.approved.as_ref()) else { return };
        if self.commits[number(&commit)].wiped {
            let deleted = self.deleted.entry(commit).or_default();
            *deleted += 1;
            assert!(*deleted <= SMALL, "a commit that nobody approved deletes everything");
        }
    }

    pub(crate) fn fail(&mut self, retry: Retry) {
        let Some(at) = self.commands.iter().position(|command| !matches!(command, Command::Record(_))) else { return };
        let id = match self.commands.remove(at) {
            Some(Command::Apply(declared, ..)) => declared.id.clone(),
            Some(Command::Read(id) | Command::Delete(id, ..)) => id,
            other => panic!("not expected here: {other:?}"),
        };
        self.step(Event::Finished(id, failure(retry)));
    }

    // ---- time ----

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.step(Event::Woken);
    }

    /// Lets everything come to its end without anything new happening.
    pub(crate) fn rest(&mut self) {
        assert!(self.rested(None), "it does not come to rest: {:#?}", self.state.last_report());
    }

    /// The same, but at most for so long: what is in the way is looked at for ever.
    pub(crate) fn rest_for(&mut self, time: Duration) {
        assert!(self.rested(Some(self.now + time)), "it does not come to rest: {:#?}", self.state.last_report());
    }

    fn rested(&mut self, until: Option<Instant>) -> bool {
        for _ in 0..5000 {
            if !self.commands.is_empty() {
                self.answer();
            } else if !self.events.is_empty() {
                self.deliver();
            } else if let Some(wake) = self.state.next_wake().filter(|wake| until.is_none_or(|until| *wake <= until)) {
                self.now = self.now.max(wake);
                self.step(Event::Woken);
            } else {
                return true;
            }
        }
        false
    }
}

fn name(number: usize) -> String {
    format!("{number:040}")
}

fn number(commit: &str) -> usize {
    commit.parse().expect("made of a number")
}

pub(crate) fn is_selected(object: &Object) -> bool {
    object.label(PART_OF).is_some()
}

/// Whether another sync manages it.
pub(crate) fn is_taken(object: &Object) -> bool {
    object.annotation("configsync.gke.io/manager") == Some(ANOTHER)
}

fn failure(retry: Retry) -> Outcome {
    Outcome::Failed(Failure { finding: Finding::new(Code::Applier, "no"), retry })
}
