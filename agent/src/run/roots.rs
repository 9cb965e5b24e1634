//! Serves every RootSync of the cluster: one task each, started, replaced and ended as the objects come, change and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::{Config, Event as WatchEvent, watcher};
use serde::Deserialize as _;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Shared;
use super::sync::{self, Control, Ended, SyncTask};
use crate::api::{Auth, GitSpec, RootSync, Source, SyncSpec, SyncStatus, invalid, unreadable};
use crate::compile::SourceFormat;
use crate::finding::{Code, Finding, text};
use crate::io::events::{Events, Regarding, Severity};
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
    // It may have ended by itself.
    let _ = sync.orders.send(Control::Stop).await;
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
    let same = |sync: &&mut Running| sync.uid == uid && !sync.task.is_finished();
    if let Some(sync) = running.get_mut(&id).filter(same)
        && sync.generation == generation
    {
        if let Some(commit) = approved.clone().filter(|_| sync.approved != approved) {
            let _ = sync.orders.send(Control::Approve(commit)).await;
        }
        sync.approved = approved;
        return;
    }
    let status = SyncStatus::deserialize(&object.data["status"]).unwrap_or_default();
    let (spec, git) = match usable(&id, &annotations, &object.data) {
        Ok(usable) => usable,
        Err(finding) => {
            tracing::error!(sync = %id, code = %finding.code, "{}", finding.message);
            match running.get_mut(&id).filter(same) {
                // With a spec that cannot be acted on the state of the one before stays in force.
                Some(sync) => {
                    sync.generation = generation;
                    let _ = sync.orders.send(Control::Refuse(Box::new(finding), generation)).await;
                }
                None => refuse(shared, &id, &uid, generation, &status, &finding).await,
            }
            return;
        }
    };
    if let Some(before) = running.remove(&id) {
        end(before).await;
    }
    // Of another repository or directory it would be another state.
    let same_source =
        status.sync.git_status.as_ref().is_some_and(|was| was.repo == shown(&git.repo) && was.dir == git.directory());
    let last_in_force = Some(status.sync.commit.clone()).filter(|commit| same_source && !commit.is_empty());
    let overrides = spec.overrides();
    let task = SyncTask {
        how_to_approve: approve_by_annotation(&id.kind.to_string(), &id.namespace, &id.name, "COMMIT"),
        format: if spec.is_unstructured() { SourceFormat::Unstructured } else { SourceFormat::Hierarchy },
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
        tracing::error!(sync = %id, code = %finding.code, "{}", finding.message);
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

/// What a sync is to do, if this agent can do it: what it cannot is refused, never ignored.
fn usable(id: &SyncId, annotations: &BTreeMap<String, String>, object: &Value) -> Result<(SyncSpec, GitSpec), Finding> {
    let spec = SyncSpec::deserialize(&object["spec"]).map_err(|error| unreadable(id, &error))?;
    if let Some(finding) = invalid(id, annotations, &spec) {
        return Err(finding);
    }
    let refuse = |what: &str| {
        Err(Finding::new(Code::InvalidSync, format!("{what} is not supported by this agent"))
            .hint("sync from a git repository that needs no credentials (sourceType: git, auth: none)"))
    };
    match spec.source() {
        Some(Source::Git(git)) if git.auth == Auth::None => {
            let git = git.clone();
            Ok((spec, git))
        }
        Some(Source::Git(git)) => refuse(&format!("spec.git.auth: {}", git.auth.name())),
        Some(Source::Oci(_)) => refuse("spec.sourceType: oci"),
        Some(Source::Helm(_)) => refuse("spec.sourceType: helm"),
        None => Err(Finding::new(Code::InvalidSync, "the sync has no source")),
    }
}

/// A sync that does not run says why.
async fn refuse(shared: &Shared, id: &SyncId, uid: &str, generation: i64, before: &SyncStatus, finding: &Finding) {
    let status = stalled(before, finding, generation, &now());
    if status == *before {
        return;
    }
    if let Err(error) = write_sync_status(&shared.cluster, id, uid, &status).await {
        tracing::warn!(sync = %id, %error, "cannot write the status");
    }
    let (reason, note) = (finding.code.to_string(), text(finding));
    let regarding = Regarding::sync(id, uid);
    let mut events = Events::default();
    if let Err(error) = events.publish(&shared.cluster, &regarding, Severity::Warning, &reason, &note).await {
        tracing::debug!(%error, "cannot publish an Event");
    }
}
