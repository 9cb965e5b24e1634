//! Keeps the accounts of syncs and their bindings as [`crate::sync::accounts`] wants them, and tells each sync when it has its rights.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{BoxStream, select_all};
use http::Method;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ResourceExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event as WatchEvent, Result as WatchResult, watcher};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::AgentContext;
use super::config_sync::ConfigSyncPrograms;
use crate::io::kubernetes::client::{APPLY, ApiError, Cluster, JSON};
use crate::io::kubernetes::path;
use crate::io::kubernetes::patience::patiently;
use crate::model::backoff::Backoff;
use crate::model::metadata::{RECONCILER_MANAGER, SyncId, label};
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::accounts::{
    AccountKind, AccountObject, AccountObjectId, AccountWrite, Accounts, Rights, SHARED_IN_CLUSTER, TENANT, due,
};

/// The pause before another attempt, and the longest one.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// The field manager of Config Sync for these objects.
const FIELD_MANAGER: &str = "configsync.gke.io/reconciler-manager";
const KINDS: [AccountKind; 3] =
    [AccountKind::ServiceAccount, AccountKind::ClusterRoleBinding, AccountKind::RoleBinding];

/// The rights that each sync has by now, or why it does not have them; nothing about a sync that has not been dealt with.
pub(super) type Granted = BTreeMap<SyncId, Result<Option<Rights>, String>>;

/// Keeps the objects until the agent ends. Nothing is written while a sync object has not been read: its account would be lost.
pub(super) async fn keep(context: Arc<AgentContext>, mut accounts: watch::Receiver<Option<Accounts>>) {
    let client = &context.cluster.client;
    let mut events = select_all(KINDS.map(|kind| follow(client, kind)));
    let mut known = Known::default();
    let mut failures = Failures::new();
    // Their names are known, so that one without its label is found too.
    for name in SHARED_IN_CLUSTER {
        let id = (AccountKind::ClusterRoleBinding, String::new(), name.to_owned());
        let read = async || context.cluster.get::<Value>(&path_of(&context.cluster, &id).await?).await;
        match patiently(read).await {
            Ok(binding) => known.shared.push((id, binding)),
            Err(error) if error.is_not_found() => {}
            Err(error) => tracing::warn!(%error, "cannot read the ClusterRoleBinding {name}"),
        }
    }
    let mut config_sync = context.config_sync.subscribe();
    loop {
        // The manager of Config Sync keeps the accounts while it runs.
        let is_theirs = config_sync.borrow_and_update().as_ref().is_none_or(ConfigSyncPrograms::manages);
        let wanted = accounts.borrow_and_update().clone().filter(|_| !is_theirs && known.listed.len() == KINDS.len());
        let mut again_at = None;
        if let Some(wanted) = wanted {
            let refused = write_due(&context.cluster, &wanted, &mut known, &mut failures).await;
            again_at = failures.values().map(|failure| failure.until).min();
            let granted: Granted = wanted
                .into_iter()
                .map(|(sync, rights)| {
                    let why = refused.get(&sync).cloned();
                    (sync, why.map_or(Ok(rights), Err))
                })
                .collect();
            context.granted.send_if_modified(|before| std::mem::replace(before, granted.clone()) != granted);
        }
        tokio::select! {
            Some((kind, event)) = events.next() => known.take(kind, event),
            Ok(()) = accounts.changed() => {}
            Ok(()) = config_sync.changed() => {}
            () = async { tokio::time::sleep_until(again_at.unwrap_or_else(Instant::now)).await }, if again_at.is_some() => {}
            else => return,
        }
    }
}

/// A write that failed, and is not tried again for a while, whatever happens to other objects.
struct FailedWrite {
    backoff: Backoff,
    until: Instant,
    why: String,
}

type Failures = BTreeMap<AccountObjectId, FailedWrite>;

/// Carries out what is due. Returns the reasons why syncs do not have their rights.
async fn write_due(
    cluster: &Cluster,
    accounts: &Accounts,
    known: &mut Known,
    failures: &mut Failures,
) -> BTreeMap<SyncId, String> {
    let mut refused = BTreeMap::new();
    let due = due(accounts, &known.objects);
    failures.retain(|id, _| due.iter().any(|write| write.id == *id));
    for AccountWrite { id, body, concerns } in due {
        let paused = failures.get(&id).filter(|failure| Instant::now() < failure.until);
        let why = match paused {
            Some(failure) => failure.why.clone(),
            None => match write(cluster, known, &id, body.as_ref()).await {
                Ok(()) => {
                    failures.remove(&id);
                    continue;
                }
                Err(error) => {
                    let (kind, namespace, name) = &id;
                    let at = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
                    let why =
                        format!("cannot write the {} {at}, which gives the sync its rights: {error}", kind.name());
                    tracing::warn!("{why}");
                    let mut backoff = failures.remove(&id).map_or(RETRY, |failure| failure.backoff);
                    let until = Instant::now() + backoff.next_pause();
                    failures.insert(id, FailedWrite { backoff, until, why: why.clone() });
                    why
                }
            },
        };
        refused.extend(concerns.into_iter().map(|sync| (sync, why.clone())));
    }
    refused
}

async fn write(
    cluster: &Cluster,
    known: &mut Known,
    id: &AccountObjectId,
    body: Option<&Value>,
) -> Result<(), ApiError> {
    match body {
        Some(body) => match apply(cluster, id, body).await {
            Ok(object) => known.seen(id.clone(), &object),
            // The Namespace goes, and its syncs with it.
            Err(error) if error.is_of_terminating_namespace() && id.2 == TENANT => {}
            Err(error) => return Err(error),
        },
        None => {
            delete(cluster, id).await?;
            known.objects.remove(id);
        }
    }
    Ok(())
}

async fn apply(cluster: &Cluster, id: &AccountObjectId, body: &Value) -> Result<Value, ApiError> {
    let path = path::with_query(&path_of(cluster, id).await?, &[("fieldManager", FIELD_MANAGER), ("force", "true")]);
    cluster.request(Method::PATCH, &path, APPLY, body.to_string().into_bytes()).await
}

async fn delete(cluster: &Cluster, id: &AccountObjectId) -> Result<(), ApiError> {
    let path = path_of(cluster, id).await?;
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions"}).to_string().into_bytes();
    match cluster.request::<Value>(Method::DELETE, &path, JSON, options).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

async fn path_of(cluster: &Cluster, (kind, namespace, name): &AccountObjectId) -> Result<String, ApiError> {
    let group = kind.api_version().rsplit_once('/').map_or("", |(group, _)| group);
    cluster.path(&ObjectId::new(&GroupKind::new(group, kind.name()), namespace, name), "v1").await
}

/// The objects that there are.
#[derive(Default)]
struct Known {
    objects: BTreeMap<AccountObjectId, AccountObject>,
    /// The objects of lists that are not complete.
    listing: BTreeMap<AccountKind, Vec<AccountObjectId>>,
    /// The kinds that were listed.
    listed: BTreeSet<AccountKind>,
    /// Bindings that were read by name, until the first list of their kind is complete.
    shared: Vec<(AccountObjectId, Value)>,
}

impl Known {
    fn seen(&mut self, id: AccountObjectId, object: &Value) {
        self.objects.insert(id, AccountObject::of(object));
    }

    /// The watch shows an object: it may be older than the answer to a write.
    fn shown(&mut self, id: AccountObjectId, object: &Value) {
        let shown = AccountObject::of(object);
        if self.objects.get(&id).is_none_or(|known| known.version < shown.version) {
            self.objects.insert(id, shown);
        }
    }

    fn take(&mut self, kind: AccountKind, event: WatchResult<WatchEvent<DynamicObject>>) {
        let id = |object: &DynamicObject| (kind, object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Ok(WatchEvent::Init) => _ = self.listing.insert(kind, Vec::new()),
            Ok(WatchEvent::InitApply(object)) => {
                self.listing.entry(kind).or_default().push(id(&object));
                self.seen(id(&object), &serde_json::to_value(&object).unwrap_or_default());
            }
            Ok(WatchEvent::InitDone) => {
                let listed = self.listing.remove(&kind).unwrap_or_default();
                self.objects.retain(|id, _| id.0 != kind || listed.contains(id));
                if kind == AccountKind::ClusterRoleBinding {
                    let read = std::mem::take(&mut self.shared);
                    let missed = read.into_iter().filter(|(id, _)| !listed.contains(id));
                    missed.for_each(|(id, binding)| self.seen(id, &binding));
                }
                self.listed.insert(kind);
            }
            Ok(WatchEvent::Apply(object)) => {
                self.shown(id(&object), &serde_json::to_value(&object).unwrap_or_default());
            }
            Ok(WatchEvent::Delete(object)) => _ = self.objects.remove(&id(&object)),
            Err(error) => {
                tracing::warn!(%error, "the watch on {}s of syncs broke off and starts again", kind.name());
            }
        }
    }
}

type AccountEvents = BoxStream<'static, (AccountKind, WatchResult<WatchEvent<DynamicObject>>)>;

fn follow(client: &kube::Client, kind: AccountKind) -> AccountEvents {
    let resource = match kind {
        AccountKind::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
        AccountKind::ClusterRoleBinding => ApiResource::erase::<ClusterRoleBinding>(&()),
        AccountKind::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
    };
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let made = Config::default().labels(&format!("{}={RECONCILER_MANAGER}", label::MADE_BY));
    watcher(objects, made).default_backoff().map(move |event| (kind, event)).boxed()
}
