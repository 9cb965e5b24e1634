//! The API server of the simulation: the sandbox's store, verbs and controllers, with time passed in and faults on request.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent::model::metadata::{CONTROLLER_NAMESPACE, SyncId};
use agent::model::object::{GroupKind, ObjectId};
use sandbox::answer::{Answer, Incoming};
use sandbox::clock::Time;
use sandbox::controllers::Controllers;
use sandbox::log::Log;
use sandbox::resource::Resources;
use sandbox::route::{Place, Query};
use sandbox::state::State;
use sandbox::verbs::Watch;
use sandbox::{api, fresh, object};
use serde_json::{Value, json};

use crate::faults::{Fault, Kind};
use crate::rights::Rights;
use crate::wire::{AnswerBody, Reply};

/// The second at which every world begins.
const BEGIN: u64 = 1_800_000_000;

/// The content types of patches.
pub(crate) const APPLY: &str = "application/apply-patch+yaml";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";

/// The resources that the API server serves beside those of CRDs: enough for all that happens. The agent searches all kinds of an API
/// server again and again.
fn is_served(group: &str, plural: &str) -> bool {
    let served = match group {
        "" => &["configmaps", "events", "namespaces", "pods", "secrets", "serviceaccounts"][..],
        "apiextensions.k8s.io" => &["customresourcedefinitions"],
        "apps" => &["deployments", "replicasets"],
        "coordination.k8s.io" => &["leases"],
        "rbac.authorization.k8s.io" => &["clusterroles", "rolebindings"],
        _ => &[],
    };
    served.contains(&plural)
}

/// What became of a request of the agent.
pub(crate) enum Performed {
    /// It was not performed.
    Not(Reply),
    Done(Reply),
    /// A watch is open, from this revision on.
    Opened(Box<Watch>, u64),
}

/// The clusters that were made, by their syncs, and what is random from then on.
type Made = BTreeMap<Vec<SyncId>, (Server, Option<u64>)>;

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) state: State,
    pub(crate) controllers: Controllers,
    /// The time since the world began.
    pub(crate) time: Duration,
    pub(crate) faults: Vec<Fault>,
    pub(crate) rights: Rights,
    /// The revision of the last change of each object.
    pub(crate) touched: BTreeMap<ObjectId, u64>,
    noted: u64,
}

impl Server {
    /// A new cluster with the agent's CRDs and an object for each of these syncs.
    pub(crate) fn new(syncs: &[SyncId]) -> Self {
        static MADE: Mutex<Made> = Mutex::new(Made::new());
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let (server, random) = made.entry(syncs.to_vec()).or_insert_with(|| {
            let server = Self::make(syncs);
            (server, sandbox::clock::seeded())
        });
        random.iter().for_each(|random| sandbox::clock::seed(*random));
        server.clone()
    }

    fn make(syncs: &[SyncId]) -> Self {
        let mut server = Self::prepare();
        // What is random follows from here, whether or not this schedule is the first one of its process.
        sandbox::clock::seed(1);
        server.rights = Rights::of(syncs);
        for sync in syncs {
            server.make_namespace(&sync.namespace);
            let path = sync_path(sync);
            let path = path.rsplit_once('/').map_or("", |(collection, _)| collection);
            let body = json!({
                "apiVersion": "configsync.gke.io/v1beta1", "kind": sync.kind.to_string(), "metadata": {"name": sync.name},
                "spec": {"sourceFormat": "unstructured", "git": {"repo": "https://example.com/repo", "auth": "none"}},
            });
            server.ask("POST", path, "application/json", &body).expect("a sync");
        }
        server.note();
        server
    }

    fn prepare() -> Self {
        sandbox::clock::seed(0);
        let mut server = Self {
            state: fresh::state_with(Resources::some(is_served), Time::from_seconds(BEGIN)),
            controllers: Controllers::default(),
            time: Duration::ZERO,
            faults: Vec::new(),
            rights: Rights::default(),
            touched: BTreeMap::new(),
            noted: 0,
        };
        for crd in agent::api::crds() {
            let body = serde_json::to_value(crd).expect("a CRD");
            if ["RootSync", "RepoSync", "ResourceGroup"].contains(&object::text(&body, "/spec/names/kind")) {
                let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
                server.ask("POST", path, "application/json", &body).expect("a CRD");
            }
        }
        server.make_namespace(CONTROLLER_NAMESPACE);
        server.state.store.forget();
        server
    }

    fn make_namespace(&mut self, name: &str) {
        if self.state.find("namespaces", "", name).is_none() {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            self.ask("POST", "/api/v1/namespaces", "application/json", &namespace).expect("a Namespace");
            self.react();
        }
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_seconds(BEGIN + self.time.as_secs())
    }

    /// Lets the controllers do everything that is to be done.
    pub(crate) fn react(&mut self) {
        let now = self.now();
        self.controllers.react(&mut self.state, now);
        self.note();
    }

    /// A request of somebody else than the agent.
    ///
    /// # Errors
    /// The code and the body of a refusal.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, (u16, Value)> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let incoming = Incoming {
            method: method.to_owned(),
            path: path.to_owned(),
            query: Query::parse(query),
            content_type: content_type.to_owned(),
            user_agent: "people".to_owned(),
            body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
            ..Incoming::default()
        };
        match self.answer(&incoming) {
            Answer::Object { code: 200..=299, object, .. } => Ok(Arc::unwrap_or_clone(object)),
            Answer::Object { code, object, .. } => Err((code, Arc::unwrap_or_clone(object))),
            other => Err((other.code(), Value::Null)),
        }
    }

    pub(crate) fn answer(&mut self, incoming: &Incoming) -> Answer {
        let now = self.now();
        let answer = api::answer(&mut self.state, incoming, &Log::default(), now);
        self.note();
        answer
    }

    /// Performs a request of the agent, unless a fault is in its way.
    pub(crate) fn perform(&mut self, incoming: &Incoming, place: &Place) -> Performed {
        if !self.rights.allow(incoming, place) {
            return Performed::Not(whole(refusal(403, 0)));
        }
        match self.fault(incoming, place) {
            Some(Kind::Refuse(code, after)) => Performed::Not(whole(refusal(code, after))),
            Some(Kind::Hangup) => Performed::Not(Err(io::Error::new(io::ErrorKind::ConnectionReset, "hung up"))),
            Some(Kind::Undecodable) => Performed::Not(whole((200, b"<html>".to_vec()))),
            Some(Kind::Lost) => {
                self.answer(incoming);
                Performed::Done(Err(io::Error::new(io::ErrorKind::ConnectionReset, "lost")))
            }
            Some(Kind::Panic) => {
                self.answer(incoming);
                Performed::Done(Ok((200, AnswerBody::Panic)))
            }
            Some(Kind::Cut) => match self.answer(incoming) {
                Answer::Watch(_) => Performed::Done(whole((200, b"{\"type\":\"ADD".to_vec()))),
                answer => {
                    let (code, mut body) = bytes(answer);
                    body.truncate(body.len() / 2);
                    Performed::Done(whole((code, body)))
                }
            },
            None => self.plain(incoming),
        }
    }

    /// Performs a request of the agent without a fault.
    pub(crate) fn plain(&mut self, incoming: &Incoming) -> Performed {
        let from = incoming.query.get("resourceVersion").parse().unwrap_or(0);
        match self.answer(incoming) {
            // After a restore of a backup.
            Answer::Watch(_) if from > self.state.store.revision() => Performed::Not(whole(refusal(410, 0))),
            Answer::Watch(watch) => Performed::Opened(watch, from),
            answer => Performed::Done(whole(bytes(answer))),
        }
    }

    fn fault(&mut self, incoming: &Incoming, place: &Place) -> Option<Kind> {
        let at = self.faults.iter().position(|fault| fault.matches(incoming, place))?;
        let kind = self.faults[at].kind;
        if self.faults[at].strike() {
            self.faults.remove(at);
        }
        Some(kind)
    }

    /// Notes which objects have changed.
    pub(crate) fn note(&mut self) {
        let Some(events) = self.state.store.events_after(self.noted) else {
            self.noted = self.state.store.revision();
            return;
        };
        for event in events {
            self.touched.insert(id(&event.object), event.revision);
        }
        self.noted = self.state.store.revision();
    }

    /// The object that a request is about, as it is stored.
    pub(crate) fn at(&self, place: &Place) -> Option<&Arc<Value>> {
        let resource = self.state.resources.get(&place.group, &place.version, &place.resource)?;
        self.state.get(resource, &place.namespace, &place.name)
    }

    /// An object as it is stored.
    pub(crate) fn find(&self, id: &ObjectId) -> Option<&Arc<Value>> {
        let collection = match id.group() {
            "" => plural(id),
            group => format!("{}.{group}", plural(id)),
        };
        self.state.find(&collection, id.namespace(), id.name())
    }

    /// `true` if the kind is served.
    pub(crate) fn serves(&self, kind: &GroupKind) -> bool {
        self.state.resources.iter().any(|resource| *resource.kind == *kind.kind && *resource.group == *kind.group)
    }

    /// The state as it was at an earlier time, with lower revisions: a restored backup of etcd.
    pub(crate) fn restore(&mut self, backup: &State) {
        self.state = backup.clone();
        self.controllers = Controllers::default();
        self.noted = self.state.store.revision();
        let revision = self.noted;
        self.touched.values_mut().for_each(|touched| *touched = revision);
    }
}

/// The path of a sync object.
pub(crate) fn sync_path(sync: &SyncId) -> String {
    let (plural, SyncId { namespace, name, .. }) = (sync.kind.to_string().to_lowercase(), sync);
    format!("/apis/configsync.gke.io/v1beta1/namespaces/{namespace}/{plural}s/{name}")
}

/// The identity of an object.
pub(crate) fn id(whole: &Value) -> ObjectId {
    let (api, kind) = (object::text(whole, "/apiVersion"), object::text(whole, "/kind"));
    let group = api.split_once('/').map_or("", |(group, _)| group);
    ObjectId::new(&GroupKind::new(group, kind), object::namespace(whole), object::name(whole))
}

fn plural(id: &ObjectId) -> String {
    format!("{}s", id.kind().to_lowercase())
}

/// The object that a request is about, as in `ConfigMap a/one`; the name is empty for collections.
pub(crate) fn about(incoming: &Incoming) -> Place {
    Place::parse(&incoming.path).unwrap_or_default()
}

fn whole((code, body): (u16, Vec<u8>)) -> Reply {
    Ok((code, AnswerBody::Whole(body)))
}

fn bytes(answer: Answer) -> (u16, Vec<u8>) {
    match answer {
        Answer::Object { code, object, .. } => (code, serde_json::to_vec(&*object).expect("its keys are texts")),
        Answer::Text { code, text, .. } => (code, text.into_bytes()),
        Answer::Watch(_) => (500, Vec::new()),
    }
}

fn refusal(code: u16, after: u32) -> (u16, Vec<u8>) {
    let reason = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        413 => "RequestEntityTooLarge",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    // A 404 that names an object says that the object is not there.
    let details = if code == 404 { json!({"name": "x"}) } else { json!({"retryAfterSeconds": after}) };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "asked to fail", "reason": reason, "details": details, "code": code,
    });
    (code, status.to_string().into_bytes())
}
