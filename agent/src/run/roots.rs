//! Serves every RootSync of the cluster: one task each, started, replaced and ended as the objects come, change and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::{Config, Event as WatchEvent, watcher};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Shared;
use super::sync::{self, Control, Ended, SyncTask};
use crate::api::{Auth, RootSync, Source, SyncStatus, invalid};
use crate::compile::SourceFormat;
use crate::finding::{Code, Finding};
use crate::io::git::shown;
use crate::io::report::{SyncObject, now, write_sync_status};
use crate::metadata::{CONTROLLER_NAMESPACE, SyncId, annotation};
use crate::plan::guard::approve_by_annotation;
use crate::status::stalled;

const CRD: &str = "rootsyncs.configsync.gke.io";

struct Running {
    uid: String,
    generation: i64,
    approved: Option<String>,
    orders: mpsc::Sender<Control>,
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
    if crds.get_opt(CRD).await.ok().flatten().is_none() {
        tracing::info!("waiting for the CRD {CRD}");
    }
    while let Err(error) = await_condition(crds.clone(), CRD, conditions::is_crd_established()).await {
        tracing::warn!(%error, "cannot watch for the CRD {CRD}; trying again");
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let syncs: Api<RootSync> = Api::namespaced(shared.cluster.client.clone(), CONTROLLER_NAMESPACE);
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
            Err(error) => tracing::debug!(%error, "the watch on RootSyncs broke off and starts again"),
        }
    }
}

fn id(object: &RootSync) -> SyncId {
    SyncId::root(object.metadata.name.as_deref().unwrap_or_default())
}

async fn remove(running: &mut BTreeMap<SyncId, Running>, id: &SyncId) {
    if let Some(sync) = running.remove(id) {
        tracing::info!(sync = %id, "the sync was removed; what it applied stays");
        end(sync).await;
    }
}

async fn end(sync: Running) {
    // It may have ended by itself.
    let _ = sync.orders.send(Control::Stop).await;
    let _ = sync.task.await;
}

async fn update(shared: &Arc<Shared>, running: &mut BTreeMap<SyncId, Running>, object: RootSync) {
    let id = id(&object);
    if object.metadata.deletion_timestamp.is_some() {
        remove(running, &id).await;
        return;
    }
    let uid = object.metadata.uid.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or(0);
    let annotations = object.metadata.annotations.clone().unwrap_or_default();
    let approved = annotations.get(annotation::APPROVE_PRUNE).cloned();
    if let Some(sync) = running.get_mut(&id)
        && sync.uid == uid
        && sync.generation == generation
        && !sync.task.is_finished()
    {
        if let Some(commit) = approved.clone().filter(|_| sync.approved != approved) {
            let _ = sync.orders.send(Control::Approve(commit)).await;
        }
        sync.approved = approved;
        return;
    }
    if let Some(before) = running.remove(&id) {
        end(before).await;
    }
    let status = object.status.clone().unwrap_or_default();
    let finding = invalid(&id, &annotations, &object.spec.0).or_else(|| unsupported(&object));
    let git = match (finding, object.spec.0.source()) {
        (None, Some(Source::Git(git))) => git.clone(),
        (finding, _) => {
            let finding = finding.unwrap_or_else(|| Finding::new(Code::InvalidSync, "the sync has no source"));
            refuse(shared, &id, &uid, generation, &status, &finding).await;
            return;
        }
    };
    // Of another repository or directory it would be another state.
    let same_source =
        status.sync.git_status.as_ref().is_some_and(|was| was.repo == shown(&git.repo) && was.dir == git.directory());
    let last_in_force = Some(status.sync.commit.clone()).filter(|commit| same_source && !commit.is_empty());
    let overrides = object.spec.0.overrides();
    let task = SyncTask {
        how_to_approve: approve_by_annotation(&id.kind.to_string(), &id.namespace, &id.name, "COMMIT"),
        format: if object.spec.0.is_unstructured() { SourceFormat::Unstructured } else { SourceFormat::Hierarchy },
        period: git.period(),
        git,
        object: Some(SyncObject { status, uid: uid.clone() }),
        generation,
        last_in_force,
        approved: approved.clone(),
        resource_status: overrides.resource_status(),
        implicit_namespaces: overrides.implicit_namespaces(),
        sync: id.clone(),
    };
    let (orders, inbox) = mpsc::channel(4);
    let task = tokio::spawn(keep_running(Arc::clone(shared), id.clone(), task, inbox));
    running.insert(id, Running { uid, generation, approved, orders, task });
}

/// A sync that cannot run, for want of permissions say, says so and tries again.
async fn keep_running(shared: Arc<Shared>, id: SyncId, task: SyncTask, mut inbox: mpsc::Receiver<Control>) {
    let mut pause = Duration::from_secs(1);
    loop {
        let error = match sync::run(Arc::clone(&shared), task.clone(), &mut inbox).await {
            Ok(Ended::Stopped | Ended::Synced | Ended::NotSynced) => return,
            Err(error) => error,
        };
        let finding = Finding::new(Code::ApiServer, format!("the sync cannot run: {error:#}"))
            .hint("the agent tries again by itself; check its permissions if this stays");
        if let Some(object) = &task.object {
            refuse(&shared, &id, &object.uid, task.generation, &object.status, &finding).await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            Some(Control::Stop) = inbox.recv() => return,
        }
        pause = (pause * 2).min(Duration::from_secs(60));
    }
}

/// What this agent cannot do yet is refused, never ignored.
fn unsupported(object: &RootSync) -> Option<Finding> {
    let refuse = |what: &str| {
        Finding::new(Code::InvalidSync, format!("{what} is not supported by this agent"))
            .hint("sync from a git repository that needs no credentials (sourceType: git, auth: none)")
    };
    match object.spec.0.source() {
        Some(Source::Git(git)) if git.auth == Auth::None => None,
        Some(Source::Git(git)) => Some(refuse(&format!("spec.git.auth: {}", git.auth.name()))),
        Some(Source::Oci(_)) => Some(refuse("spec.sourceType: oci")),
        Some(Source::Helm(_)) => Some(refuse("spec.sourceType: helm")),
        None => None,
    }
}

async fn refuse(shared: &Shared, id: &SyncId, uid: &str, generation: i64, before: &SyncStatus, finding: &Finding) {
    tracing::error!(sync = %id, code = %finding.code, "{}", finding.message);
    let status = stalled(before, finding, generation, &now());
    if status != *before
        && let Err(error) = write_sync_status(&shared.cluster, id, uid, &status).await
    {
        tracing::warn!(sync = %id, %error, "cannot write the status");
    }
}
