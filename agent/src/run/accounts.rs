//! Keeps the accounts of syncs and their bindings as [`crate::sync::accounts`] wants them, and tells each sync when it has its rights.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, select_all};
use http::Method;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ResourceExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Event as WatchEvent, Result as WatchResult, watcher};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::AgentContext;
use super::config_sync::ConfigSyncPrograms;
use crate::io::kubernetes::client::{APPLY, ApiError, Cluster, JSON};
use crate::io::kubernetes::pages::small_pages;
use crate::io::kubernetes::path;
use crate::model::backoff::Backoff;
use crate::model::metadata::{RECONCILER_MANAGER, SyncId, label};
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::accounts::{
    AccountKind, AccountObject, AccountObjectId, AccountWrite, Accounts, FIELD_MANAGER, Rights, TENANT, due,
};

/// The pause before another attempt, and the longest one.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// Writes in flight: more only make the API server slower.
const AT_ONCE: usize = 16;
/// The pause for each sync before it is looked again what is due, which takes time for each sync.
const OF_EACH: Duration = Duration::from_micros(100);
const KINDS: [AccountKind; 3] =
    [AccountKind::ServiceAccount, AccountKind::ClusterRoleBinding, AccountKind::RoleBinding];

/// The rights that each sync has by now, or why it does not have them; nothing about a sync that has not been dealt with.
pub(super) type Granted = BTreeMap<SyncId, Result<Grant, String>>;

/// The rights that a sync has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) rights: Option<Rights>,
    /// Why one of its roles could not be bound to its account.
    pub(super) lacks: Option<String>,
}

/// Keeps the objects until the agent ends. Nothing is written while a sync object has not been read: its account would be lost.
pub(super) async fn keep(context: Arc<AgentContext>, mut accounts: watch::Receiver<Option<Accounts>>) {
    let client = &context.cluster.client;
    let mut events = select_all(KINDS.map(|kind| follow(client, kind)));
    let mut keeper = AccountKeeper::new(&context.cluster);
    let mut config_sync = context.config_sync.subscribe();
    // Changes in a pause are looked at together.
    let (mut look_at, mut quiet_until) = (Some(Instant::now()), Instant::now());
    loop {
        let has_news = tokio::select! {
            Some((kind, event)) = events.next() => keeper.known.take(kind, event),
            Ok(()) = accounts.changed() => true,
            Ok(()) = config_sync.changed() => true,
            Some(ended) = keeper.writes.next() => {
                keeper.ended(ended);
                keeper.begin_writes();
                true
            }
            () = async { tokio::time::sleep_until(look_at.unwrap_or_else(Instant::now)).await }, if look_at.is_some() => {
                // The manager of Config Sync keeps the accounts while it runs.
                let is_theirs = config_sync.borrow_and_update().as_ref().is_none_or(ConfigSyncPrograms::manages);
                let is_known = keeper.known.listed.len() == KINDS.len();
                let wanted = accounts.borrow_and_update().clone().filter(|_| !is_theirs && is_known);
                quiet_until = Instant::now() + OF_EACH * u32::try_from(wanted.iter().flatten().count()).unwrap_or(u32::MAX);
                if let Some(granted) = keeper.look(wanted) {
                    context.granted.send_if_modified(|before| std::mem::replace(before, granted.clone()) != granted);
                }
                look_at = keeper.next_attempt();
                false
            }
            else => return,
        };
        if has_news {
            look_at = Some(look_at.map_or(quiet_until, |at| at.min(quiet_until)));
        }
    }
}

/// A write that failed, and is not tried again for a while, whatever happens to other objects.
struct FailedWrite {
    backoff: Backoff,
    until: Instant,
    /// `None` if no sync has to wait for it.
    why: Option<String>,
}

/// A write that has ended, with the object as it was written.
type EndedWrite = (AccountObjectId, Result<Option<Value>, ApiError>);

/// The writes that are due, of which some are in flight. None waits for another one, but for that of the same object.
struct AccountKeeper {
    cluster: Arc<Cluster>,
    known: Known,
    failures: BTreeMap<AccountObjectId, FailedWrite>,
    /// Those that were due at the last look and have not begun.
    due: VecDeque<AccountWrite>,
    in_flight: BTreeSet<AccountObjectId>,
    writes: FuturesUnordered<BoxFuture<'static, EndedWrite>>,
}

impl AccountKeeper {
    fn new(cluster: &Arc<Cluster>) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            known: Known::default(),
            failures: BTreeMap::new(),
            due: VecDeque::new(),
            in_flight: BTreeSet::new(),
            writes: FuturesUnordered::new(),
        }
    }

    /// Looks what is due, begins to write it, and returns the rights that syncs have. `None` leaves everything as it is.
    fn look(&mut self, accounts: Option<Accounts>) -> Option<Granted> {
        self.due.clear();
        let accounts = accounts?;
        let due = due(&accounts, &self.known.objects);
        let ids: BTreeSet<&AccountObjectId> = due.iter().map(|write| &write.id).collect();
        self.failures.retain(|id, _| ids.contains(id));
        // Syncs without their rights, and why they will not have them soon; and those that can do without one of their roles.
        let (mut lacking, mut lacks): (BTreeMap<SyncId, Option<String>>, BTreeMap<SyncId, Option<String>>) =
            Default::default();
        for AccountWrite { id, concerns, is_awaited, .. } in &due {
            let why = match self.failures.get(id) {
                Some(FailedWrite { why: None, .. }) => continue,
                failure => failure.and_then(|failure| failure.why.clone()),
            };
            for sync in concerns {
                let told = if *is_awaited { &mut lacking } else { &mut lacks };
                let told = told.entry(sync.clone()).or_default();
                *told = why.clone().or(told.take());
            }
        }
        let now = Instant::now();
        let is_paused = |id: &AccountObjectId| self.failures.get(id).is_some_and(|failure| now < failure.until);
        self.due = due.into_iter().filter(|write| !is_paused(&write.id)).collect();
        self.begin_writes();
        let granted = accounts.into_iter().filter_map(|(sync, rights)| match lacking.remove(&sync) {
            None => {
                let lacks = lacks.remove(&sync).flatten();
                Some((sync, Ok(Grant { rights, lacks })))
            }
            Some(Some(why)) => Some((sync, Err(why))),
            Some(None) => None,
        });
        Some(granted.collect())
    }

    /// The time of the next attempt at something that failed.
    fn next_attempt(&self) -> Option<Instant> {
        self.failures.iter().filter(|(id, _)| !self.in_flight.contains(id)).map(|(_, failure)| failure.until).min()
    }

    /// Begins the next writes, as many as there may be in flight.
    fn begin_writes(&mut self) {
        let mut later = VecDeque::new();
        while self.writes.len() < AT_ONCE
            && let Some(write) = self.due.pop_front()
        {
            if self.in_flight.contains(&write.id) {
                later.push_back(write);
                continue;
            }
            self.in_flight.insert(write.id.clone());
            let (cluster, AccountWrite { id, body, .. }) = (Arc::clone(&self.cluster), write);
            self.writes.push(Box::pin(async move {
                let answer = send(&cluster, &id, body.as_ref()).await;
                (id, answer)
            }));
        }
        later.append(&mut self.due);
        self.due = later;
    }

    fn ended(&mut self, (id, answer): EndedWrite) {
        self.in_flight.remove(&id);
        let error = match answer {
            Ok(None) => {
                self.failures.remove(&id);
                self.known.objects.remove(&id);
                return;
            }
            Ok(Some(object)) if self.known.shown(id.clone(), &object) => {
                self.failures.remove(&id);
                return;
            }
            // It changed nothing. If it is due still, it is not written again and again.
            Ok(Some(_)) => return self.pause(id, None),
            Err(error) => error,
        };
        // A deletion that failed is not followed by what was to take its place.
        self.due.retain(|write| write.id != id);
        let (kind, namespace, name) = &id;
        // The Namespace goes, and its syncs with it.
        let why = (!error.is_of_terminating_namespace() || name != TENANT).then(|| {
            let at = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
            format!("cannot write the {} {at}, which gives the sync its rights: {error}", kind.name())
        });
        if let Some(why) = &why {
            tracing::warn!("{why}");
        }
        self.pause(id, why);
    }

    fn pause(&mut self, id: AccountObjectId, why: Option<String>) {
        let mut backoff = self.failures.remove(&id).map_or(RETRY, |failure| failure.backoff);
        let until = Instant::now() + backoff.next_pause();
        self.failures.insert(id, FailedWrite { backoff, until, why });
    }
}

/// Sends a write. Returns the object as it was written.
async fn send(cluster: &Cluster, id: &AccountObjectId, body: Option<&Value>) -> Result<Option<Value>, ApiError> {
    match body {
        Some(body) => apply(cluster, id, body).await.map(Some),
        None => delete(cluster, id).await.map(|()| None),
    }
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
}

impl Known {
    fn seen(&mut self, id: AccountObjectId, object: &Value) {
        self.objects.insert(id, AccountObject::of(object));
    }

    /// The watch shows an object, or the answer to a write: the other one may be newer. `true` if the object is another one.
    fn shown(&mut self, id: AccountObjectId, object: &Value) -> bool {
        let shown = AccountObject::of(object);
        let is_new = self.objects.get(&id).is_none_or(|known| known.version < shown.version);
        if is_new {
            self.objects.insert(id, shown);
        }
        is_new
    }

    /// `true` for an object of syncs, or one that was: other bindings of the cluster are not kept in memory.
    fn matters(&self, id: &AccountObjectId, object: &DynamicObject) -> bool {
        let names = ["root-reconciler", "ns-reconciler", "configsync.gke.io:"];
        object.labels().contains_key(label::MADE_BY)
            || names.iter().any(|name| id.2.starts_with(name))
            || self.objects.contains_key(id)
    }

    /// `true` if something may be due because of the event.
    fn take(&mut self, kind: AccountKind, event: WatchResult<WatchEvent<DynamicObject>>) -> bool {
        let id = |object: &DynamicObject| (kind, object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Ok(WatchEvent::Init) => _ = self.listing.insert(kind, Vec::new()),
            Ok(WatchEvent::InitApply(object)) => {
                if self.matters(&id(&object), &object) {
                    self.listing.entry(kind).or_default().push(id(&object));
                    self.seen(id(&object), &serde_json::to_value(&object).unwrap_or_default());
                }
                return false;
            }
            Ok(WatchEvent::InitDone) => {
                let listed = self.listing.remove(&kind).unwrap_or_default();
                self.objects.retain(|id, _| id.0 != kind || listed.contains(id));
                self.listed.insert(kind);
            }
            Ok(WatchEvent::Apply(object)) if !self.matters(&id(&object), &object) => return false,
            Ok(WatchEvent::Apply(object)) => {
                return self.shown(id(&object), &serde_json::to_value(&object).unwrap_or_default());
            }
            Ok(WatchEvent::Delete(object)) => return self.objects.remove(&id(&object)).is_some(),
            Err(error) => {
                tracing::warn!(%error, "the watch on {}s of syncs broke off and starts again", kind.name());
            }
        }
        true
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
    // Bindings are known by their names too, so that one that lost its label does not keep rights.
    let made = match kind {
        AccountKind::ServiceAccount => small_pages().labels(&format!("{}={RECONCILER_MANAGER}", label::MADE_BY)),
        AccountKind::ClusterRoleBinding | AccountKind::RoleBinding => small_pages(),
    };
    watcher(objects, made).default_backoff().map(move |event| (kind, event)).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RoleRef;

    /// The object of a write, as the API server answers.
    fn written(write: &AccountWrite, version: &str) -> Value {
        let mut object = write.body.clone().expect("it is no deletion");
        object["metadata"]["resourceVersion"] = version.into();
        object
    }

    #[tokio::test]
    async fn a_write_that_fails_holds_up_its_own_sync() {
        let mut keeper = AccountKeeper::new(&Arc::new(Cluster::unreachable()));
        let (one, other) = (SyncId::repo("a", "repo-sync"), SyncId::repo("b", "repo-sync"));
        let wanted: Accounts = [&one, &other].map(|sync| (sync.clone(), Some(Rights::default()))).into();
        assert_eq!(keeper.look(Some(wanted.clone())), Some(Granted::new()), "nothing is written yet");
        assert_eq!(keeper.in_flight.len(), 5, "two accounts, two bindings, and one that they share");
        let refused = (AccountKind::RoleBinding, "b".to_owned(), TENANT.to_owned());
        for write in due(&wanted, &BTreeMap::new()) {
            let answer = match write.id == refused {
                true => Err(ApiError::Unreachable("no answer".to_owned())),
                false => Ok(Some(written(&write, "1"))),
            };
            keeper.ended((write.id, answer));
        }
        let granted = keeper.look(Some(wanted)).expect("they are wanted");
        assert_eq!(granted[&one], Ok(Grant { rights: Some(Rights::default()), lacks: None }));
        assert!(granted[&other].as_ref().is_err_and(|why| why.contains("RoleBinding b/")));
        assert!(keeper.due.is_empty() && keeper.in_flight.is_empty() && keeper.next_attempt().is_some());
        assert_eq!(keeper.look(None), None);
    }

    #[tokio::test]
    async fn a_role_that_cannot_be_bound_is_told_and_holds_nothing_up() {
        let mut keeper = AccountKeeper::new(&Arc::new(Cluster::unreachable()));
        let role = RoleRef { kind: "ClusterRole".to_owned(), name: "edit".to_owned(), namespace: "nowhere".to_owned() };
        let (sync, rights) = (SyncId::root("root-sync"), Rights { roles: vec![role], google: String::new() });
        let wanted: Accounts = [(sync.clone(), Some(rights.clone()))].into();
        keeper.look(Some(wanted.clone()));
        for write in due(&wanted, &BTreeMap::new()) {
            let answer = match write.id.1 == "nowhere" {
                true => Err(ApiError::Unreachable("no Namespace".to_owned())),
                false => Ok(Some(written(&write, "1"))),
            };
            keeper.ended((write.id, answer));
        }
        let granted = keeper.look(Some(wanted)).expect("they are wanted");
        let Ok(Grant { rights: had, lacks: Some(lacks) }) = &granted[&sync] else { panic!("{granted:?}") };
        assert_eq!(*had, Some(rights));
        assert!(lacks.contains("RoleBinding nowhere/") && lacks.contains("no Namespace"), "{lacks}");
    }

    #[tokio::test]
    async fn a_write_that_changes_nothing_is_not_repeated_at_once() {
        let mut keeper = AccountKeeper::new(&Arc::new(Cluster::unreachable()));
        let sync = SyncId::repo("a", "repo-sync");
        let wanted: Accounts = [(sync, Some(Rights::default()))].into();
        let id = (AccountKind::RoleBinding, "a".to_owned(), TENANT.to_owned());
        let other = json!({"metadata": {"resourceVersion": "1"}, "roleRef": {"kind": "ClusterRole", "name": TENANT}});
        keeper.known.shown(id.clone(), &other);
        keeper.look(Some(wanted.clone()));
        assert!(keeper.in_flight.contains(&id));
        keeper.ended((id.clone(), Ok(Some(other))));
        keeper.look(Some(wanted));
        assert!(!keeper.in_flight.contains(&id) && keeper.next_attempt().is_some());
    }
}
