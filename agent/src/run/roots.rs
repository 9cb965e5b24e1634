//! Serves every RootSync of the cluster: one task each, started, replaced and ended as the objects come, change and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::wait::{Condition as _, conditions};
use kube::runtime::watcher::{Config, Event as WatchEvent, watch_object, watcher};
use serde::Deserialize as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Shared;
use super::sync::{self, Ended, Orders, SyncTask};
use crate::api::{RootSync, SupportedSpec, SyncStatus, supported};
use crate::io::git::shown;
use crate::io::kubernetes::events::{Events, Regarding, Severity};
use crate::io::report::{SyncObject, now, write_sync_status};
use crate::model::finding::{Code, Finding, text};
use crate::model::metadata::{CONTROLLER_NAMESPACE, SyncId, annotation};
use crate::sync::plan::guard::approve_by_annotation;
use crate::sync::status::stalled;

const CRD: &str = "rootsyncs.configsync.gke.io";

struct Running {
    uid: String,
    /// Of the spec that it runs with.
    generation: i64,
    orders: watch::Sender<Orders>,
    task: JoinHandle<()>,
}

/// Serves RootSyncs until told to stop, then lets each finish what is in flight.
pub(super) async fn serve(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let mut running: BTreeMap<SyncId, Running> = BTreeMap::new();
    tokio::select! {
        () = follow(&shared, &mut running) => {}
        // A closed channel is a stop too.
        _ = stop.wait_for(|stop| *stop) => {}
    }
    futures::future::join_all(running.into_values().map(end)).await;
    Ok(())
}

async fn follow(shared: &Arc<Shared>, running: &mut BTreeMap<SyncId, Running>) {
    let crds: Api<CustomResourceDefinition> = Api::all(shared.cluster.client.clone());
    let mut crd = std::pin::pin!(watch_object(crds, CRD).default_backoff());
    while let Some(crd) = crd.next().await {
        match crd {
            Ok(crd) if conditions::is_crd_established().matches_object(crd.as_ref()) => break,
            Ok(Some(_)) => {}
            Ok(None) => tracing::info!("waiting for the CRD {CRD}"),
            Err(error) => tracing::warn!(%error, "the watch on the CRD {CRD} broke off and starts again"),
        }
    }
    // Read one by one: an object that this agent cannot read shall not hide the others.
    let kind = ApiResource::erase::<RootSync>(&());
    let syncs: Api<DynamicObject> = Api::namespaced_with(shared.cluster.client.clone(), CONTROLLER_NAMESPACE, &kind);
    let mut events = std::pin::pin!(watcher(syncs, Config::default()).default_backoff());
    let mut listed: Vec<SyncId> = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(WatchEvent::Init) => listed.clear(),
            Ok(WatchEvent::InitApply(object)) => {
                listed.push(id(&object));
                update(shared, running, object).await;
            }
            Ok(WatchEvent::InitDone) => {
                let gone: Vec<SyncId> = running.keys().filter(|id| !listed.contains(id)).cloned().collect();
                for id in gone {
                    remove(running, &id).await;
                }
            }
            Ok(WatchEvent::Apply(object)) => update(shared, running, object).await,
            Ok(WatchEvent::Delete(object)) => remove(running, &id(&object)).await,
            Err(error) => tracing::warn!(%error, "the watch on RootSyncs broke off and starts again"),
        }
    }
}

fn id(object: &DynamicObject) -> SyncId {
    SyncId::root(object.metadata.name.as_deref().unwrap_or_default())
}

async fn remove(running: &mut BTreeMap<SyncId, Running>, id: &SyncId) {
    if let Some(sync) = running.remove(id) {
        tracing::info!(sync = %id, "the sync was removed; what it applied stays");
        end(sync).await;
    }
}

async fn end(sync: Running) {
    sync.orders.send_modify(|orders| orders.stop = true);
    let _ = sync.task.await;
}

async fn update(shared: &Arc<Shared>, running: &mut BTreeMap<SyncId, Running>, object: DynamicObject) {
    let id = id(&object);
    if object.metadata.deletion_timestamp.is_some() {
        remove(running, &id).await;
        return;
    }
    let uid = object.metadata.uid.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or(0);
    let annotations = object.metadata.annotations.clone().unwrap_or_default();
    let approved = annotations.get(annotation::APPROVE_PRUNE).cloned();
    let supported = supported(&id, &annotations, &object.data["spec"]);
    let before = running.get(&id).filter(|sync| sync.uid == uid && !sync.task.is_finished());
    if let Some(sync) = before {
        let orders = |refused| Orders { approved: approved.clone(), refused, stop: false };
        let unchanged = sync.generation == generation && sync.orders.borrow().refused.is_none();
        match &supported {
            // With a spec that cannot be acted on the state of the one before stays in force.
            Err(finding) => {
                if sync.tell(orders(Some((finding.clone(), generation)))) {
                    tracing::error!(sync = %id, code = %finding.code, "{}", finding.message);
                }
                return;
            }
            Ok(_) if unchanged => {
                sync.tell(orders(None));
                return;
            }
            Ok(_) => {}
        }
    }
    if let Some(before) = running.remove(&id) {
        end(before).await;
    }
    let status = SyncStatus::deserialize(&object.data["status"]).unwrap_or_default();
    let mut object = SyncObject { status, uid: uid.clone() };
    let spec = match supported {
        Ok(spec) => spec,
        Err(finding) => {
            tracing::error!(sync = %id, code = %finding.code, "{}", finding.message);
            refuse(shared, &id, &mut object, generation, &finding, &mut Events::default()).await;
            return;
        }
    };
    let task = task(id.clone(), object, generation, spec);
    let (orders, told) = watch::channel(Orders { approved, ..Orders::default() });
    let task = tokio::spawn(keep_running(Arc::clone(shared), id.clone(), task, told));
    running.insert(id, Running { uid, generation, orders, task });
}

fn task(id: SyncId, object: SyncObject, generation: i64, spec: SupportedSpec) -> SyncTask {
    let SupportedSpec { git, format, resource_status, implicit_namespaces, reconcile_timeout, api_server_timeout } =
        spec;
    // Of another repository or directory it would be another state.
    let last = &object.status.sync;
    let same_source =
        last.git_status.as_ref().is_some_and(|was| was.repo == shown(&git.repo) && was.dir == git.directory());
    let last_in_force = Some(last.commit.clone()).filter(|commit| same_source && !commit.is_empty());
    SyncTask {
        how_to_approve: approve_by_annotation(&id.kind.to_string(), &id.namespace, &id.name, "COMMIT"),
        format,
        period: git.period(),
        git,
        object: Some(object),
        generation,
        last_in_force,
        resource_status,
        implicit_namespaces,
        reconcile_timeout,
        api_server_timeout,
        sync: id,
    }
}

impl Running {
    /// `false` when it has been told so already.
    fn tell(&self, orders: Orders) -> bool {
        self.orders.send_if_modified(|before| orders != std::mem::replace(before, orders.clone()))
    }
}

/// A sync that cannot run, for want of permissions say, says so and tries again.
async fn keep_running(shared: Arc<Shared>, id: SyncId, mut task: SyncTask, mut orders: watch::Receiver<Orders>) {
    let mut events = Events::default();
    let mut pause = Duration::from_secs(1);
    loop {
        let error = match sync::run(Arc::clone(&shared), task.clone(), &mut orders).await {
            Ok(Ended::Stopped | Ended::Synced | Ended::NotSynced) => return,
            Err(error) => error,
        };
        let finding = Finding::new(Code::ApiServer, format!("the sync cannot run: {error:#}"))
            .hint("the agent tries again by itself; check its permissions if this stays");
        tracing::error!(sync = %id, code = %finding.code, "{}", finding.message);
        if let Some(object) = &mut task.object {
            refuse(&shared, &id, object, task.generation, &finding, &mut events).await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Who gives no orders any more wants nothing any more.
            _ = orders.wait_for(|orders| orders.stop) => return,
        }
        pause = (pause * 2).min(Duration::from_secs(60));
    }
}

/// A sync that does not run says why, once.
async fn refuse(
    shared: &Shared,
    id: &SyncId,
    object: &mut SyncObject,
    generation: i64,
    finding: &Finding,
    events: &mut Events,
) {
    let status = stalled(&object.status, finding, generation, &now());
    if status == object.status {
        return;
    }
    match write_sync_status(&shared.cluster, id, &object.uid, &status).await {
        Ok(()) => object.status = status,
        Err(error) => tracing::warn!(sync = %id, %error, "cannot write the status"),
    }
    let (reason, note) = (finding.code.to_string(), text(finding));
    let regarding = Regarding::sync(id, &object.uid);
    if let Err(error) = events.publish(&shared.cluster, &regarding, Severity::Warning, &reason, &note).await {
        tracing::debug!(%error, "cannot publish an Event");
    }
}
