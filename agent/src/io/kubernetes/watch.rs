//! One metadata watch for each kind, shared by all syncs.
//!
//! A watch selects the objects with the ApplySet label, so neither memory nor traffic depends on the other objects in the
//! cluster. It asks for `PartialObjectMetadata`: it never receives a spec or the data of a Secret.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Error, Event as WatchEvent, watcher};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::{ApiError, Cluster, Served};
use crate::model::metadata::{annotation, label};
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::engine::Event;
use crate::sync::live::Observed;
use crate::sync::managed_fields::ManagedFieldsEntry;

/// The queue of events of one sync.
pub type Sender = mpsc::Sender<Event>;

/// The running watches.
pub struct Watches {
    cluster: Arc<Cluster>,
    running: Mutex<BTreeMap<GroupKind, KindWatch>>,
    /// Number of watches that were started, for the sessions of their lists.
    started: AtomicU64,
}

/// The watch of one kind.
struct KindWatch {
    subscribers: Vec<Sender>,
    task: JoinHandle<()>,
    /// The sessions of its lists begin above this number.
    number: u64,
}

impl Watches {
    /// No watch runs yet.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, running: Mutex::default(), started: AtomicU64::new(0) }
    }

    /// Sends the events of the objects of `kind` to `subscriber`: [`Event::Served`], [`Event::Listing`], the existing
    /// objects, [`Event::Listed`], then every change. [`Event::Unserved`] ends it, if the API server does not serve the kind.
    ///
    /// A watch that runs already starts over for all its subscribers: that is rare, and so no copy of the objects is kept.
    pub fn subscribe(self: &Arc<Self>, kind: GroupKind, subscriber: &Sender) {
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (mut subscribers, predecessor) = running.remove(&kind).map_or_else(
            || (Vec::new(), None),
            |before| {
                before.task.abort();
                (before.subscribers, Some(before.task))
            },
        );
        subscribers.retain(|sender| !sender.is_closed());
        if !subscribers.iter().any(|sender| sender.same_channel(subscriber)) {
            subscribers.push(subscriber.clone());
        }
        let number = (self.started.fetch_add(1, Ordering::Relaxed) + 1) << 32;
        let watch = watch(Arc::clone(self), kind.clone(), subscribers.clone(), number);
        let task = tokio::spawn(async move {
            // An object that the predecessor shows late must not count as shown by the list of this watch.
            if let Some(predecessor) = predecessor {
                let _ = predecessor.await;
            }
            watch.await;
        });
        running.insert(kind, KindWatch { subscribers, task, number });
    }

    /// Forgets the watch of this number, unless another one has replaced it.
    fn ended(&self, kind: &GroupKind, number: u64) {
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if running.get(kind).is_some_and(|watch| watch.number == number) {
            running.remove(kind);
        }
    }
}

async fn watch(watches: Arc<Watches>, kind: GroupKind, subscribers: Vec<Sender>, number: u64) {
    let mut session = number;
    let served = loop {
        match watches.cluster.served(&kind).await {
            Ok(served) => break served,
            Err(ApiError::Unserved(_)) => {
                unserved(&watches, kind, number, &subscribers).await;
                return;
            }
            Err(error) => {
                tracing::warn!(%kind, %error, "cannot find out where the kind is served; trying again");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    };
    send_to_all(&subscribers, || Event::Served(kind.clone(), served.resource.plural.as_str().into())).await;
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(watches.cluster.client.clone(), &served.resource);
    let config = Config::default().labels(label::PART_OF);
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let received = match event {
            Ok(event) => {
                session += u64::from(matches!(event, WatchEvent::Init));
                send(&kind, &served, session, event, &subscribers).await
            }
            Err(error) if is_unserved(&error) => {
                watches.cluster.forget(&kind);
                unserved(&watches, kind, number, &subscribers).await;
                return;
            }
            Err(Error::InitialListFailed(error)) => {
                let finding = ApiError::from(error).finding(&format!("list {kind}"));
                send_to_all(&subscribers, || Event::Unlistable(kind.clone(), finding.clone())).await;
                true
            }
            Err(error) => {
                tracing::debug!(%kind, %error, "the watch broke off and starts again");
                true
            }
        };
        if !received {
            watches.ended(&kind, number);
            return;
        }
    }
}

async fn unserved(watches: &Watches, kind: GroupKind, number: u64, subscribers: &[Sender]) {
    watches.ended(&kind, number);
    send_to_all(subscribers, || Event::Unserved(kind.clone())).await;
}

async fn send_to_all(subscribers: &[Sender], event: impl Fn() -> Event) {
    for subscriber in subscribers {
        // A sync that has ended takes no events.
        let _ = subscriber.send(event()).await;
    }
}

fn is_unserved(error: &Error) -> bool {
    match error {
        Error::InitialListFailed(kube::Error::Api(status)) | Error::WatchStartFailed(kube::Error::Api(status)) => {
            ApiError::Refused(status.clone()).is_unserved()
        }
        _ => false,
    }
}

/// Sends an event to all subscribers; `false` when none of them takes it any more.
async fn send(
    kind: &GroupKind,
    served: &Served,
    session: u64,
    event: WatchEvent<PartialObjectMeta<DynamicObject>>,
    subscribers: &[Sender],
) -> bool {
    let mut received = false;
    let event = match event {
        WatchEvent::Init => KindEvent::Listing(session),
        WatchEvent::InitDone => KindEvent::Listed(session),
        WatchEvent::Delete(object) => KindEvent::Gone(Box::new(observed(object))),
        WatchEvent::Apply(object) | WatchEvent::InitApply(object) => KindEvent::Seen(Box::new(observed(object))),
    };
    let Some((last, others)) = subscribers.split_last() else { return false };
    for subscriber in others {
        received |= subscriber.send(event.clone().of(kind, served)).await.is_ok();
    }
    received | last.send(event.of(kind, served)).await.is_ok()
}

/// An event of a watch, to be copied for each subscriber.
#[derive(Clone)]
enum KindEvent {
    Listing(u64),
    Listed(u64),
    Seen(Box<Observed>),
    Gone(Box<Observed>),
}

impl KindEvent {
    fn of(self, kind: &GroupKind, served: &Served) -> Event {
        match self {
            Self::Listing(session) => Event::Listing(kind.clone(), session),
            Self::Listed(session) => Event::Listed(kind.clone(), session),
            Self::Seen(seen) => Event::Seen(id(kind, served, &seen), seen),
            Self::Gone(seen) => Event::Gone(id(kind, served, &seen), seen.version()),
        }
    }
}

fn id(kind: &GroupKind, served: &Served, seen: &Observed) -> ObjectId {
    ObjectId::new(kind, if served.namespaced { &seen.namespace } else { "" }, &seen.name)
}

fn observed(object: PartialObjectMeta<DynamicObject>) -> Observed {
    let metadata = object.metadata;
    let texts = |map: Option<BTreeMap<String, String>>| {
        map.into_iter().flatten().map(|(key, value)| (key, value.into())).collect()
    };
    // The manifest of a Secret is not kept; the owner of the annotation still shows.
    let mut annotations: Map<String, Value> = texts(metadata.annotations);
    annotations.remove(annotation::LAST_APPLIED);
    Observed {
        name: metadata.name.unwrap_or_default(),
        namespace: metadata.namespace.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        resource_version: metadata.resource_version.unwrap_or_default(),
        deletion_timestamp: metadata.deletion_timestamp.map(|time| time.0.to_string()),
        labels: texts(metadata.labels),
        annotations,
        owner_references: metadata.owner_references.into_iter().flatten().map(|owner| owner.uid.into()).collect(),
        managed_fields: metadata.managed_fields.into_iter().flatten().map(entry).collect(),
    }
}

fn entry(entry: k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry) -> ManagedFieldsEntry {
    let fields = match entry.fields_v1.map(|fields| fields.0) {
        Some(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    ManagedFieldsEntry {
        manager: entry.manager.unwrap_or_default(),
        operation: entry.operation.unwrap_or_default(),
        subresource: entry.subresource.unwrap_or_default(),
        time: entry.time.map(|time| time.0.to_string()).unwrap_or_default(),
        fields,
    }
}
