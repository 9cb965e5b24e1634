//! The simulated API server: it answers commands, and others write to its objects.

use std::time::Duration;

use agent::compile::declared::DeclaredObject;
use agent::model::finding::{Code, Finding};
use agent::model::metadata::FIELD_MANAGER;
use agent::model::object::{GroupKind, Object, ObjectId};
use agent::sync::engine::{ApplyMode, Command, Event, Failure, Outcome, Remarks, Retry};
use agent::sync::live::{Live, Observed};
use serde_json::{Map, Value, json};

use super::{SMALL, World, number};
use crate::repository::{ADOPTED, TAKEN, object, sync, widgets};

const STRANGER: &str = "foreign";
const PART_OF: &str = "applyset.kubernetes.io/part-of";
const ANOTHER: &str = ":root_another";

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

/// The object as a sync of the agent leaves it. All syncs have one field manager.
fn applied_by_a_sync(mut object: Object) -> Object {
    let annotations = json!({"f:configsync.gke.io/manager": {}});
    let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:metadata": {"f:annotations": annotations}}});
    object.metadata_mut().insert("managedFields".to_owned(), json!([entry]));
    object
}

/// The objects that exist before the sync starts.
pub(super) fn before_us() -> Vec<Object> {
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
        // A copy of an object of the sync, as `kubectl get -o yaml | sed | kubectl apply` makes it.
        object(STRANGER, json!({PART_OF: sync().part_of()}), managed(":root", "object-0")),
        // An object of another sync. The watch does not show it.
        applied_by_a_sync(object(&taken, json!({}), managed(ANOTHER, &taken))),
        object(&object_name(ADOPTED), json!({}), json!({})),
    ]
}

fn object_name(index: u8) -> String {
    object(index).name().to_owned()
}

impl World {
    /// The object with copied labels that belongs to no sync. The engine must never change it.
    pub(crate) fn strangers(&self) -> Vec<Object> {
        self.live.values().filter(|object| object.name() == STRANGER).cloned().collect()
    }

    /// Writes an object and sends its event to the watch.
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
            Command::Record(record) => {
                (self.record, self.memory) = (record.objects, record.memory);
                self.step(Event::Recorded(record.number));
                return;
            }
            Command::AskServer => {
                self.step(Event::ServerAsked(None));
                return;
            }
            Command::Count(crd) => {
                self.step(Event::Counted(crd, Some(0)));
                return;
            }
            Command::Apply(declared, commit, onto) => (declared.id.clone(), self.apply(&declared, &commit, &onto)),
            Command::Read(declared) | Command::ReadAsAgent(declared) if self.serves(&declared.id) => {
                let found = self.live.get(&declared.id).cloned();
                (declared.id.clone(), found.map_or(Outcome::Absent(0), |object| Outcome::Read(Box::new(object))))
            }
            Command::Read(declared) | Command::ReadAsAgent(declared) => (declared.id.clone(), failure(Retry::Soon)),
            Command::Delete(id, uid, version, _) => {
                let outcome = self.delete(&id, &uid, version);
                (id, outcome)
            }
            other => panic!("not expected here: {other:?}"),
        };
        self.step(Event::Finished(id, outcome));
    }

    /// Deletions that are not answered yet count as not sent.
    pub(super) fn withdraw_deletions(&mut self) {
        let is_deletion = |command: &Command| matches!(command, Command::Delete(..));
        let (deletions, others) = std::mem::take(&mut self.commands).into_iter().partition(is_deletion);
        self.commands = others;
        for command in deletions {
            if let Command::Delete(id, ..) = command {
                self.events.push_back(Event::Finished(id, Outcome::Withdrawn));
            }
        }
    }

    fn serves(&self, id: &ObjectId) -> bool {
        self.served || !id.is_of(&widgets())
    }

    fn apply(&mut self, declared: &DeclaredObject, commit: &str, onto: &ApplyMode) -> Outcome {
        if !self.serves(&declared.id) {
            return failure(Retry::Soon);
        }
        let there = self.live.get(&declared.id);
        if let (ApplyMode::Create, Some(there)) = (onto, there) {
            return Outcome::Read(Box::new(there.clone()));
        }
        let is_named = |uid: &str| there.is_some_and(|there| there.metadata("uid").is_some_and(|other| other == uid));
        if matches!(onto, ApplyMode::Update(uid) if !is_named(uid)) {
            return there.map_or(Outcome::Absent(0), |there| Outcome::Read(Box::new(there.clone())));
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
        let live = Live::after_apply(&Observed::of(&body), &body, &body, &declared.id, &sync());
        Outcome::Applied(Box::new(live), Remarks::default())
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

    /// Checks that commits without approval delete only a few objects in an hour.
    fn count_deletion(&mut self) {
        if self.syncing.as_ref().is_none_or(|commit| self.approved.contains(&number(commit))) {
            return;
        }
        let now = self.now;
        self.deleted.retain(|at| now - *at < Duration::from_secs(3600));
        self.deleted.push(now);
        assert!(self.deleted.len() <= SMALL, "too much is deleted in an hour without approval");
    }

    pub(crate) fn fail(&mut self, retry: Retry) {
        let Some(at) = self
            .commands
            .iter()
            .position(|command| !matches!(command, Command::Record(_) | Command::Count(_) | Command::AskServer))
        else {
            return;
        };
        let id = match self.commands.remove(at) {
            Some(Command::Apply(declared, ..) | Command::Read(declared) | Command::ReadAsAgent(declared)) => {
                declared.id.clone()
            }
            Some(Command::Delete(id, ..)) => id,
            other => panic!("not expected here: {other:?}"),
        };
        self.step(Event::Finished(id, failure(retry)));
    }
}

pub(crate) fn is_selected(object: &Object) -> bool {
    object.label(PART_OF).is_some()
}

/// `true` if another sync manages the object.
pub(crate) fn is_taken(object: &Object) -> bool {
    object.annotation("configsync.gke.io/manager") == Some(ANOTHER)
}

fn failure(retry: Retry) -> Outcome {
    Outcome::Failed(Failure { finding: Finding::new(Code::Applier, "no"), retry, refused: true })
}
