//! Serves every RootSync of the cluster, as the objects come, change and go, under the name that the cluster has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::wait::{Condition as _, conditions};
use kube::runtime::watcher::{Config, Event as WatchEvent, watch_object, watcher};
use serde::Deserialize as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::config_management::{self, KnownSettings, RootSyncFacts, replace};
use super::config_sync;
use super::holdings::tell_recorded;
use super::lifecycle::{Refusal, SyncChange, SyncVersion};
use super::marks::missing_marks;
use super::records;
use super::removal;
use super::standby::{StandbyEnd, led, stand_by};
use super::supervision::supervised;
use super::sync::{self, ExitReason, Instructions};
use super::syncs::{SyncWork, Syncs};
use super::task::SyncTask;
use super::{AgentContext, Options};
use crate::api::{LocalRepositories, Removal, RootSync, SupportedSpec, SyncStatus, supported};
use crate::io::kubernetes::events::{EventPublisher, Regarding, Severity};
use crate::io::reports::{SyncObject, now, patch_sync_metadata, read_sync_status, write_sync_status};
use crate::model::backoff::Backoff;
use crate::model::error_chain::error_chain;
use crate::model::finding::{Code, Finding, text};
use crate::model::metadata::{CONTROLLER_NAMESPACE, ROOT_SYNC, SyncId, annotation};
use crate::sync::plan::guard::approve_by_annotation;
use crate::sync::status::stalled;

const CRD: &str = "rootsyncs.configsync.gke.io";
/// The pause before a sync that cannot run is started again, and the longest one.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// Serves RootSyncs until the process is told to stop, then lets each sync finish its requests in flight. Nothing is written before
/// this agent leads.
pub(super) async fn serve(context: Arc<AgentContext>, mut stop: watch::Receiver<bool>) {
    let (client, options) = (context.cluster.client.clone(), context.options.clone());
    let ((settings, known), (default, facts)) =
        (watch::channel(KnownSettings::default()), watch::channel(Default::default()));
    let mut tasks = JoinSet::new();
    tasks.spawn(config_management::follow(client.clone(), settings));
    tasks.spawn(config_sync::follow(client.clone(), context.config_sync.clone()));
    let keeper = (Arc::clone(&context), known.clone());
    tasks.spawn(async move {
        led(&keeper.0).await;
        config_management::keep(keeper.0, keeper.1, facts).await;
    });
    let watcher = (Arc::clone(&context), client.clone());
    tasks.spawn(async move {
        led(&watcher.0).await;
        crd_is_established(watcher.1.clone(), records::CRD).await;
        watcher.0.records.follow(watcher.1).await;
    });
    let of_context = Arc::clone(&context);
    let syncs = Syncs::new(move |id, work| {
        let (context, span) = (Arc::clone(&context), sync::span(&id));
        perform(context, id, work).instrument(span).boxed()
    });
    let cluster_name = options.cluster_name.clone();
    let mut roots = Roots {
        syncs,
        options,
        settings: known,
        cluster_name,
        default,
        objects: BTreeMap::new(),
        listed: false,
        dynamic: of_context.dynamic.subscribe(),
        context: of_context,
    };
    tokio::select! {
        () = roots.follow(client) => {}
        // A closed channel is a stop too.
        _ = stop.wait_for(|stop| *stop) => {}
    }
    roots.syncs.stop().await;
}

/// Does the work of one task.
async fn perform(context: Arc<AgentContext>, id: SyncId, work: SyncWork) {
    match work {
        SyncWork::Serve(instructions) if instructions.borrow().task.removal.is_some() => {
            removal::carry_out(context, instructions).await;
        }
        SyncWork::Serve(instructions) => keep_running(context, id, instructions).await,
        SyncWork::Refuse(refusal) => {
            let Refusal { mut object, generation, finding } = *refusal;
            led(&context).await;
            config_sync::left(&context, &id).await;
            tracing::error!(code = %finding.code, "{}", finding.message);
            tell_recorded(&context, &id).await;
            refuse(&context, &id, &mut object, generation, &finding, &mut EventPublisher::default()).await;
        }
    }
}

/// The RootSyncs of the cluster.
struct Roots {
    syncs: Syncs,
    options: Options,
    settings: watch::Receiver<KnownSettings>,
    /// The name that the syncs were told.
    cluster_name: String,
    /// The facts of the RootSync that can be made from the ConfigManagement.
    default: watch::Sender<RootSyncFacts>,
    /// The RootSyncs as they are.
    objects: BTreeMap<SyncId, DynamicObject>,
    /// They were listed once.
    listed: bool,
    /// The syncs with dynamic NamespaceSelectors.
    dynamic: watch::Receiver<BTreeMap<SyncId, bool>>,
    context: Arc<AgentContext>,
}

impl Roots {
    /// Follows the RootSyncs, and the name of the cluster.
    async fn follow(&mut self, client: kube::Client) {
        crd_is_established(client.clone(), CRD).await;
        // A closed channel ends this with the agent.
        let _ = self.settings.wait_for(|settings| *settings != KnownSettings::Unknown).await;
        self.rename();
        // Each object is read on its own: an object that this agent cannot read hides no other. One in another namespace is told
        // that it cannot be served there.
        let kind = ApiResource::erase::<RootSync>(&());
        let objects: Api<DynamicObject> = Api::all_with(client, &kind);
        let mut events = std::pin::pin!(watcher(objects, Config::default()).default_backoff());
        let mut listed: Vec<SyncId> = Vec::new();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                Some(id) = self.syncs.ended() => {
                    self.syncs.change(&id, SyncChange::Ended);
                    continue;
                }
                Ok(()) = self.settings.changed() => {
                    self.rename();
                    continue;
                }
                Ok(()) = self.dynamic.changed() => {
                    self.dynamic.mark_unchanged();
                    let going = |object: &DynamicObject| object.metadata.deletion_timestamp.is_some();
                    self.objects.iter().filter(|(_, it)| !going(it)).for_each(|(id, object)| self.mark(id, object));
                    continue;
                }
            };
            match event {
                Some(Ok(WatchEvent::Init)) => listed.clear(),
                Some(Ok(WatchEvent::InitApply(object))) => listed.push(self.update(object)),
                Some(Ok(WatchEvent::InitDone)) => {
                    let gone: Vec<SyncId> = self.objects.keys().filter(|id| !listed.contains(id)).cloned().collect();
                    gone.iter().for_each(|id| self.remove(id));
                    self.listed = true;
                    self.tell_all();
                }
                Some(Ok(WatchEvent::Apply(object))) => {
                    self.update(object);
                }
                Some(Ok(WatchEvent::Delete(object))) => self.remove(&id(&object)),
                Some(Err(error)) => tracing::warn!(%error, "the watch on RootSyncs broke off and starts again"),
                None => return,
            }
        }
    }

    /// Takes in a sync object as it is now.
    fn update(&mut self, object: DynamicObject) -> SyncId {
        let id = id(&object);
        if id == SyncId::root(ROOT_SYNC) {
            let facts = RootSyncFacts::of(&object);
            self.default.send_if_modified(|before| replace(before, facts));
        }
        self.objects.insert(id.clone(), object.clone());
        // Before it begins: the others shall know of it when they see its objects.
        self.tell_all();
        if object.metadata.deletion_timestamp.is_none() {
            self.mark(&id, &object);
            self.declare(&id, object);
        } else if !removal::is_over(&object) {
            let version = version(&id, &self.cluster_name, self.options.local_repositories, object);
            self.syncs.change(&id, SyncChange::Declared(Box::new(version)));
        } else {
            self.syncs.remove(&id);
        }
        id
    }

    /// Writes the marks that the sync object lacks. When that fails, the next change of the object tries it again.
    fn mark(&self, id: &SyncId, object: &DynamicObject) {
        let dynamic = self.dynamic.borrow().get(id).copied();
        let Some(metadata) = missing_marks(id, object, dynamic) else { return };
        if self.context.config_sync.borrow().as_ref().is_some_and(|programs| programs.serves(id).is_some()) {
            // The status that the agent writes when it takes the sync over is such a change.
            return;
        }
        let (context, id) = (Arc::clone(&self.context), id.clone());
        tokio::spawn(async move {
            led(&context).await;
            config_sync::left(&context, &id).await;
            if let Err(error) = patch_sync_metadata(&context.cluster, &id, &metadata).await {
                tracing::debug!(sync = %id, %error, "cannot write the ApplySet and the finalizer");
            }
        });
    }

    /// Tells all syncs which RootSyncs there are.
    fn tell_all(&self) {
        if !self.listed {
            return;
        }
        let served = self
            .objects
            .iter()
            .filter(|(id, object)| id.namespace == CONTROLLER_NAMESPACE && !removal::is_over(object));
        self.context.tell_root_syncs(&served.map(|(id, _)| id.manager()).collect());
    }

    fn remove(&mut self, id: &SyncId) {
        if *id == SyncId::root(ROOT_SYNC) {
            self.default.send_if_modified(|before| replace(before, RootSyncFacts::default()));
        }
        self.objects.remove(id);
        self.syncs.remove(id);
        self.tell_all();
    }

    /// Tells the syncs the name of the cluster, if it has changed.
    fn rename(&mut self) {
        let name = self.settings.borrow_and_update().cluster_name(&self.options.cluster_name).to_owned();
        if name == self.cluster_name {
            return;
        }
        tracing::info!(cluster_name = name, "the name of the cluster, for selectors");
        self.cluster_name = name;
        for (id, object) in self.objects.clone() {
            if object.metadata.deletion_timestamp.is_none() {
                self.declare(&id, object);
            }
        }
    }

    /// Nothing of a sync that is about to go is deleted because the name of the cluster goes with it.
    fn declare(&mut self, id: &SyncId, object: DynamicObject) {
        if self.settings.borrow().leaves_behind(&object) {
            let (context, id) = (Arc::clone(&self.context), id.clone());
            tokio::spawn(async move { tell_recorded(&context, &id).await });
            return;
        }
        let version = version(id, &self.cluster_name, self.options.local_repositories, object);
        self.syncs.change(id, SyncChange::Declared(Box::new(version)));
    }
}

/// Waits until the API server serves the kind of a CRD.
async fn crd_is_established(client: kube::Client, name: &str) {
    let crds: Api<CustomResourceDefinition> = Api::all(client);
    let mut crd = std::pin::pin!(watch_object(crds, name).default_backoff());
    while let Some(crd) = crd.next().await {
        match crd {
            Ok(crd) if conditions::is_crd_established().matches_object(crd.as_ref()) => return,
            Ok(Some(_)) => {}
            Ok(None) => tracing::info!("waiting for the CRD {name}"),
            Err(error) => tracing::warn!(%error, "the watch on the CRD {name} broke off and starts again"),
        }
    }
}

fn id(object: &DynamicObject) -> SyncId {
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    SyncId { namespace, ..SyncId::root(object.metadata.name.as_deref().unwrap_or_default()) }
}

fn version(id: &SyncId, cluster_name: &str, local: LocalRepositories, object: DynamicObject) -> SyncVersion {
    let uid = object.metadata.uid.unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or(0);
    let annotations = object.metadata.annotations.unwrap_or_default();
    let approval = annotations.get(annotation::APPROVE_PRUNE).cloned();
    let status = SyncStatus::deserialize(&object.data["status"]).unwrap_or_default();
    let written = SyncObject { status, uid: uid.clone() };
    let spec = supported(id, &annotations, &object.data["spec"], local);
    let removal = object.metadata.deletion_timestamp.is_some().then(|| match id.namespace == CONTROLLER_NAMESPACE {
        true => Removal::of(&annotations),
        false => Removal::Keep,
    });
    let task = match spec {
        spec if removal.is_some() => {
            let task = task(id.clone(), cluster_name.to_owned(), written, generation, spec.unwrap_or_default());
            Ok(SyncTask { removal, ..task })
        }
        Ok(spec) => Ok(task(id.clone(), cluster_name.to_owned(), written, generation, spec)),
        Err(finding) => Err(Refusal { object: written, generation, finding }),
    };
    SyncVersion { uid, generation, approval, task }
}

fn task(id: SyncId, cluster_name: String, object: SyncObject, generation: i64, spec: SupportedSpec) -> SyncTask {
    let SupportedSpec { git, format, resource_status, implicit_namespaces, reconcile_timeout, api_server_timeout } =
        spec;
    SyncTask {
        how_to_approve: approve_by_annotation(&id.kind.to_string(), &id.namespace, &id.name),
        format,
        period: git.period(),
        git,
        cluster_name,
        object: Some(object),
        generation,
        resource_status,
        implicit_namespaces,
        reconcile_timeout,
        api_server_timeout,
        removal: None,
        sync: id,
    }
}

/// Runs a sync. When it cannot run, for want of permissions for example, its status says so and it is tried again.
async fn keep_running(context: Arc<AgentContext>, id: SyncId, mut instructions: watch::Receiver<Instructions>) {
    let mut events = EventPublisher::default();
    let mut backoff = RETRY;
    let StandbyEnd::Leads(mut warm) = stand_by(&context, &mut instructions).await else { return };
    let mut object = instructions.borrow().task.object.clone();
    if warm.is_some() {
        // Another agent has written it meanwhile.
        read_anew(&context, &id, &mut object).await;
    }
    loop {
        match await_handover(&context, &id, &mut object, &mut instructions, &mut events).await {
            Handover::Free => {}
            // Config Sync has written it meanwhile.
            Handover::Waited => read_anew(&context, &id, &mut object).await,
            Handover::Stopped => return,
        }
        let (sender, mut told) = watch::channel(instructions.borrow_and_update().clone());
        let run = sync::run(Arc::clone(&context), object.clone(), warm.take(), &mut told);
        let ended = tokio::select! {
            ended = supervised(run) => ended,
            () = pass_on(&context, &id, &mut instructions, &sender) => unreachable!("it never ends"),
        };
        let error = match ended {
            Some(Ok(ExitReason::Stopped)) if !instructions.borrow().stop => {
                read_anew(&context, &id, &mut object).await;
                continue;
            }
            Some(Ok(ExitReason::Stopped | ExitReason::Synced | ExitReason::NotSynced)) => return,
            Some(Err(error)) => error,
            None => anyhow::anyhow!("it broke down; the log of the agent says where"),
        };
        let finding = Finding::new(Code::ApiServer, format!("the sync cannot run: {}", error_chain(error.as_ref())))
            .hint("the agent tries again by itself; check its permissions if this stays");
        tracing::error!(code = %finding.code, "{}", finding.message);
        tell_recorded(&context, &id).await;
        let generation = instructions.borrow().task.generation;
        if let Some(object) = &mut object {
            refuse(&context, &id, object, generation, &finding, &mut events).await;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_pause()) => {}
            // A closed channel is a stop too.
            _ = instructions.wait_for(|instructions| instructions.stop) => return,
        }
        // The run that ended may have put other commits in force.
        read_anew(&context, &id, &mut object).await;
    }
}

/// The end of a wait for Config Sync to leave a sync.
enum Handover {
    /// It does not serve the sync.
    Free,
    /// It did, and does not any more.
    Waited,
    /// The sync was told to stop.
    Stopped,
}

/// Waits until no program of Config Sync serves the sync. The status says so once: such a program may write another status, and
/// there is no fight about it.
async fn await_handover(
    context: &AgentContext,
    id: &SyncId,
    object: &mut Option<SyncObject>,
    instructions: &mut watch::Receiver<Instructions>,
    events: &mut EventPublisher,
) -> Handover {
    let mut programs = context.config_sync.subscribe();
    let mut told = false;
    loop {
        let known = programs.borrow_and_update().as_ref().map(|programs| programs.serves(id));
        match known {
            Some(None) if told => {
                tracing::info!("Config Sync does not serve the sync any more; the agent takes it over");
                return Handover::Waited;
            }
            Some(None) => return Handover::Free,
            Some(Some(finding)) if !told => {
                told = true;
                tracing::error!(code = %finding.code, "{}", finding.message);
                tell_recorded(context, id).await;
                let generation = instructions.borrow().task.generation;
                read_anew(context, id, object).await;
                if let Some(object) = object {
                    refuse(context, id, object, generation, &finding, events).await;
                }
            }
            _ => {}
        }
        tokio::select! {
            // The sender is in the context.
            _ = programs.changed() => {}
            // A closed channel is a stop too.
            _ = instructions.wait_for(|instructions| instructions.stop) => return Handover::Stopped,
        }
    }
}

/// Passes the instructions on to a run, and tells it to stop when a program of Config Sync begins to serve the sync.
async fn pass_on(
    context: &AgentContext,
    id: &SyncId,
    instructions: &mut watch::Receiver<Instructions>,
    run: &watch::Sender<Instructions>,
) {
    let mut interrupted = false;
    loop {
        tokio::select! {
            Ok(()) = instructions.changed() => {
                let mut next = instructions.borrow_and_update().clone();
                next.stop |= interrupted;
                run.send_replace(next);
            }
            () = config_sync::comes(context, id), if !interrupted => {
                interrupted = true;
                run.send_modify(|instructions| instructions.stop = true);
            }
            else => std::future::pending().await,
        }
    }
}

/// Reads the status of a sync object again.
async fn read_anew(context: &AgentContext, id: &SyncId, object: &mut Option<SyncObject>) {
    let Some(object) = object else { return };
    object.status = read_sync_status(&context.cluster, id).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the status");
        SyncStatus::default()
    });
}

/// Writes into the status, and tells by an Event, why a sync does not run. A status that says so already is left alone.
async fn refuse(
    context: &AgentContext,
    id: &SyncId,
    object: &mut SyncObject,
    generation: i64,
    finding: &Finding,
    events: &mut EventPublisher,
) {
    let status = stalled(&object.status, finding, generation, &now().time);
    if status == object.status {
        return;
    }
    match write_sync_status(&context.cluster, id, &object.uid, &status).await {
        Ok(()) => object.status = status,
        Err(error) => tracing::warn!(%error, "cannot write the status"),
    }
    let (reason, note) = (finding.code.to_string(), text(finding));
    let regarding = Regarding::sync(id, &object.uid);
    if let Err(error) = events.publish(&context.cluster, &regarding, Severity::Warning, &reason, &note).await {
        tracing::debug!(%error, "cannot publish an Event");
    }
}
