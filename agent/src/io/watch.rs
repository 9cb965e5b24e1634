//! One metadata watch per kind, shared by every sync.
//!
//! Only objects with the ApplySet label are watched, so neither memory nor traffic depends on what else lives in the
//! cluster. What is watched is `PartialObjectMetadata`: never a spec, never a Secret's data.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Error, Event as WatchEvent, watcher};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::cluster::{ApiError, Cluster};
use crate::engine::Event;
use crate::live::Observed;
use crate::metadata::label;
use crate::object::{GroupKind, ObjectId};
use crate::ownership::Entry;

/// Where the events of a sync go.
pub type Sender = mpsc::Sender<Event>;

/// The running watches.
pub struct Watches {
    cluster: Arc<Cluster>,
    running: Mutex<BTreeMap<GroupKind, Running>>,
}

struct Running {
    subscribers: Vec<Sender>,
    task: AbortHandle,
}

impl Watches {
    /// None yet.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, running: Mutex::default() }
    }

    /// Sends what happens to objects of `kind` to `subscriber`, beginning with a list of them.
    ///
    /// A watch that runs already starts over for everybody: that is rare, and keeps no copy of what was seen.
    pub fn subscribe(self: &Arc<Self>, kind: GroupKind, subscriber: &Sender) {
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut subscribers = running.remove(&kind).map_or_else(Vec::new, |before| {
            before.task.abort();
            before.subscribers
        });
        subscribers.retain(|sender| !sender.is_closed());
        if !subscribers.iter().any(|sender| sender.same_channel(subscriber)) {
            subscribers.push(subscriber.clone());
        }
        let task = tokio::spawn(watch(Arc::clone(self), kind.clone(), subscribers.clone())).abort_handle();
        running.insert(kind, Running { subscribers, task });
    }

    fn ended(&self, kind: &GroupKind) {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(kind);
    }
}

async fn watch(watches: Arc<Watches>, kind: GroupKind, subscribers: Vec<Sender>) {
    let served = loop {
        match watches.cluster.served(&kind).await {
            Ok(served) => break served,
            Err(ApiError::Unserved(_)) => {
                unserved(&watches, kind, &subscribers).await;
                return;
            }
            Err(error) => {
                tracing::warn!(%kind, %error, "cannot find out where the kind is served; trying again");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    };
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(watches.cluster.client.clone(), &served.resource);
    let config = Config::default().labels(label::PART_OF);
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let told = match event {
            Ok(event) => tell(&kind, served.namespaced, event, &subscribers).await,
            Err(error) if is_unserved(&error) => {
                watches.cluster.forget(&kind);
                unserved(&watches, kind, &subscribers).await;
                return;
            }
            Err(Error::InitialListFailed(error)) => {
                let finding = ApiError::from(error).finding(&format!("list {kind}"));
                for subscriber in &subscribers {
                    // A sync that has ended needs no word.
                    let _ = subscriber.send(Event::Unlistable(kind.clone(), finding.clone())).await;
                }
                true
            }
            Err(error) => {
                tracing::debug!(%kind, %error, "the watch broke off and starts again");
                true
            }
        };
        if !told {
            watches.ended(&kind);
            return;
        }
    }
}

async fn unserved(watches: &Watches, kind: GroupKind, subscribers: &[Sender]) {
    watches.ended(&kind);
    for subscriber in subscribers {
        // A sync that has ended needs no word.
        let _ = subscriber.send(Event::Unserved(kind.clone())).await;
    }
}

fn is_unserved(error: &Error) -> bool {
    match error {
        Error::InitialListFailed(kube::Error::Api(status)) | Error::WatchStartFailed(kube::Error::Api(status)) => {
            status.code == 404
        }
        _ => false,
    }
}

/// `false` when nobody listens any more.
async fn tell(
    kind: &GroupKind,
    namespaced: bool,
    event: WatchEvent<PartialObjectMeta<DynamicObject>>,
    subscribers: &[Sender],
) -> bool {
    let mut heard = false;
    let seen = match event {
        WatchEvent::Init => None,
        WatchEvent::InitDone => None,
        WatchEvent::Apply(ref object) | WatchEvent::InitApply(ref object) | WatchEvent::Delete(ref object) => {
            Some(observed(object))
        }
    };
    for subscriber in subscribers {
        let event = match (&event, &seen) {
            (WatchEvent::Init, _) => Event::Listing(kind.clone()),
            (WatchEvent::InitDone, _) => Event::Listed(kind.clone()),
            (_, None) => continue,
            (WatchEvent::Delete(_), Some(seen)) => Event::Gone(id(kind, namespaced, seen), seen.version()),
            (_, Some(seen)) => Event::Seen(id(kind, namespaced, seen), Box::new(seen.clone())),
        };
        heard |= subscriber.send(event).await.is_ok();
    }
    heard
}

fn id(kind: &GroupKind, namespaced: bool, seen: &Observed) -> ObjectId {
    ObjectId::new(kind, if namespaced { &seen.namespace } else { "" }, &seen.name)
}

fn observed(object: &PartialObjectMeta<DynamicObject>) -> Observed {
    let metadata = &object.metadata;
    let texts = |map: &Option<BTreeMap<String, String>>| {
        map.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into())).collect()
    };
    Observed {
        name: metadata.name.clone().unwrap_or_default(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        deletion_timestamp: metadata.deletion_timestamp.as_ref().map(|time| time.0.to_string()),
        labels: texts(&metadata.labels),
        annotations: texts(&metadata.annotations),
        owner_references: metadata.owner_references.iter().flatten().map(|owner| owner.uid.clone().into()).collect(),
        managed_fields: metadata.managed_fields.iter().flatten().map(entry).collect(),
    }
}

fn entry(entry: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry) -> Entry {
    Entry {
        manager: entry.manager.clone().unwrap_or_default(),
        operation: entry.operation.clone().unwrap_or_default(),
        subresource: entry.subresource.clone().unwrap_or_default(),
        time: entry.time.as_ref().map(|time| time.0.to_string()).unwrap_or_default(),
        fields: entry.fields_v1.as_ref().and_then(|fields| fields.0.as_object()).cloned().unwrap_or_default(),
    }
}
