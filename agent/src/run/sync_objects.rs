//! Serves every RootSync and RepoSync of the cluster, as the objects come, change and go, under the name that the cluster has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::wait::{Condition as _, conditions};
use kube::runtime::watcher::{Event as WatchEvent, watch_object, watcher};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::accounts;
use super::commit_states;
use super::config_management::{self, KnownSettings, RootSyncFacts, replace};
use super::config_sync;
use super::holdings::tell_recorded;
use super::lifecycle::{Refusal, SyncChange, SyncVersion};
use super::marks::missing_marks;
use super::rbac;
use super::records;
use super::removal;
use super::standby::led;
use super::supervision::broken_down;
use super::sync;
use super::syncs::{Syncs, perform};
use super::task::SyncTask;
use super::version::{has_account_of, leave_out_large_spec, version};
use super::{AgentContext, Options};
use crate::api::{Removal, RepoSync, RootSync};
use crate::io::kubernetes::pages::small_pages;
use crate::io::notifications::CommitMessage;
use crate::io::places::party;
use crate::io::reports::patch_sync_metadata;
use crate::model::metadata::{REPO_SYNC, ROOT_SYNC, SyncId, SyncKind};
use crate::sync::accounts::Accounts;

/// The kinds of sync objects, with their CRDs.
const KINDS: [(SyncKind, &str); 2] =
    [(SyncKind::RootSync, "rootsyncs.configsync.gke.io"), (SyncKind::RepoSync, "reposyncs.configsync.gke.io")];
/// Events of sync objects that may wait.
const BACKLOG: usize = 16;
/// The pause for each sync before all are told again of each other: a thousand that come one after the other are told some at a time.
const OF_EACH: Duration = Duration::from_micros(500);

/// Serves sync objects until the process is told to stop, then lets each sync finish its requests in flight. Nothing is written before
/// this agent leads.
///
/// # Errors
/// When a part broke down that all syncs need. The process must end then, to be started anew.
pub(super) async fn serve(
    context: Arc<AgentContext>,
    commits: mpsc::UnboundedReceiver<CommitMessage>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let client = context.cluster.client.clone();
    let ((settings, known), (default, facts)) =
        (watch::channel(KnownSettings::default()), watch::channel(Default::default()));
    let (accounts, wanted) = watch::channel(None);
    let mut tasks = JoinSet::new();
    tasks.spawn(config_management::follow(client.clone(), settings));
    tasks.spawn(config_sync::follow(client.clone(), context.config_sync.clone()));
    let keeper = (Arc::clone(&context), known.clone());
    tasks.spawn(async move {
        led(&keeper.0).await;
        config_management::keep(keeper.0, keeper.1, facts).await;
    });
    let keeper = Arc::clone(&context);
    tasks.spawn(async move {
        led(&keeper).await;
        accounts::keep(keeper, wanted).await;
    });
    let follower = Arc::clone(&context);
    tasks.spawn(async move {
        led(&follower).await;
        rbac::follow(follower).await;
    });
    tasks.spawn(commit_states::keep(Arc::clone(&context), commits));
    let (told, events) = mpsc::channel(BACKLOG);
    for (kind, crd) in KINDS {
        tasks.spawn(follow(client.clone(), kind, crd, told.clone()));
    }
    let watcher = (Arc::clone(&context), client);
    tasks.spawn(async move {
        led(&watcher.0).await;
        crd_is_established(watcher.1.clone(), records::CRD, || async {}.boxed()).await;
        watcher.0.records.follow(watcher.1).await;
    });
    let of_context = Arc::clone(&context);
    let syncs = Syncs::new(move |id, work| {
        let (context, span) = (Arc::clone(&context), sync::span(&id));
        perform(context, id, work).instrument(span).boxed()
    });
    let mut objects = SyncObjects::new(of_context, syncs, (known, default, accounts));
    let ended = tokio::select! {
        () = objects.follow(events) => Ok(()),
        // A closed channel is a stop too.
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        () = broken_down(&mut tasks) => {
            Err(anyhow!("a part of the agent that all syncs need broke down, as the log says; start the agent again"))
        }
    };
    objects.syncs.stop().await;
    ended
}

/// The sync objects of the cluster.
struct SyncObjects {
    syncs: Syncs,
    options: Options,
    settings: watch::Receiver<KnownSettings>,
    /// The name that the syncs were told.
    cluster_name: String,
    /// The facts of the RootSync that can be made from the ConfigManagement.
    default: watch::Sender<RootSyncFacts>,
    /// The objects as they are.
    objects: BTreeMap<SyncId, DynamicObject>,
    /// The kinds that were listed once.
    listed: BTreeSet<SyncKind>,
    /// The rights that they ask for.
    rights: Accounts,
    /// The rights of all that are served; `None` before they are listed.
    accounts: watch::Sender<Option<Accounts>>,
    /// The syncs with dynamic NamespaceSelectors.
    dynamic: watch::Receiver<BTreeMap<SyncId, bool>>,
    /// Those of which the marks tell.
    heeded: BTreeMap<SyncId, bool>,
    /// Syncs came or went, or ask for other rights, since all were told of each other.
    has_news: bool,
    quiet_until: Instant,
    /// Steps that wait until all were told: a sync begins when the others know of it, so that they know whose its objects are.
    next: Vec<(SyncId, NextStep)>,
    /// The sync objects whose marks are being written, with `true` if they were looked at again meanwhile.
    marking: BTreeMap<SyncId, bool>,
    /// Tells of marks that are written, or could not be.
    marked: (mpsc::UnboundedSender<SyncId>, mpsc::UnboundedReceiver<SyncId>),
    context: Arc<AgentContext>,
}

/// The next step for a sync object that came or changed.
enum NextStep {
    Declare(Box<DynamicObject>, Box<SyncVersion>),
    /// It is being deleted.
    End(Box<SyncVersion>),
    /// Nothing is left to do for it.
    Remove,
}

/// The channels of the sync objects: the settings, and what follows from the objects.
type Channels = (watch::Receiver<KnownSettings>, watch::Sender<RootSyncFacts>, watch::Sender<Option<Accounts>>);

impl SyncObjects {
    fn new(context: Arc<AgentContext>, syncs: Syncs, (settings, default, accounts): Channels) -> Self {
        let options = context.options.clone();
        Self {
            syncs,
            cluster_name: options.cluster_name.clone(),
            options,
            settings,
            default,
            objects: BTreeMap::new(),
            listed: BTreeSet::new(),
            rights: Accounts::new(),
            accounts,
            dynamic: context.dynamic.subscribe(),
            heeded: BTreeMap::new(),
            has_news: false,
            quiet_until: Instant::now(),
            next: Vec::new(),
            marking: BTreeMap::new(),
            marked: mpsc::unbounded_channel(),
            context,
        }
    }

    /// Follows the sync objects, and the name of the cluster.
    async fn follow(&mut self, mut events: mpsc::Receiver<(SyncKind, ObjectsEvent)>) {
        // A closed channel ends this with the agent.
        let _ = self.settings.wait_for(|settings| *settings != KnownSettings::Unknown).await;
        self.rename();
        let mut listed: BTreeMap<SyncKind, Vec<SyncId>> = BTreeMap::new();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some((kind, event)) => self.take(kind, event, &mut listed),
                    None => return,
                },
                Some(id) = self.syncs.ended() => self.ended(&id),
                Some(id) = self.marked.1.recv() => self.mark_again(&id),
                () = tokio::time::sleep_until(self.quiet_until), if self.has_news => self.tell_news(),
                Ok(()) = self.settings.changed() => self.rename(),
                Ok(()) = self.dynamic.changed() => self.heed_dynamic(),
            }
        }
    }

    fn take(&mut self, kind: SyncKind, event: ObjectsEvent, listed: &mut BTreeMap<SyncKind, Vec<SyncId>>) {
        self.context.journal.touch();
        match event {
            WatchEvent::Init => _ = listed.insert(kind, Vec::new()),
            WatchEvent::InitApply(object) => {
                let id = self.update(kind, object);
                listed.entry(kind).or_default().push(id);
            }
            WatchEvent::InitDone => {
                let listed: BTreeSet<SyncId> = listed.remove(&kind).unwrap_or_default().into_iter().collect();
                let gone = self.objects.keys().filter(|id| id.kind == kind && !listed.contains(id));
                let gone: Vec<SyncId> = gone.cloned().collect();
                gone.iter().for_each(|id| self.remove(id));
                self.listed.insert(kind);
                self.has_news = true;
            }
            WatchEvent::Apply(object) => _ = self.update(kind, object),
            WatchEvent::Delete(object) => self.remove(&id(kind, &object)),
        }
    }

    /// The marks of these syncs may be other ones.
    fn heed_dynamic(&mut self) {
        let changed: Vec<(SyncId, bool)> = {
            let dynamic = self.dynamic.borrow_and_update();
            dynamic
                .iter()
                .filter(|(id, dynamic)| self.heeded.get(id) != Some(dynamic))
                .map(|(id, it)| (id.clone(), *it))
                .collect()
        };
        for (id, dynamic) in changed {
            self.heeded.insert(id.clone(), dynamic);
            self.mark(&id);
        }
    }

    /// Tells all syncs of each other, and does what waits for that.
    fn tell_news(&mut self) {
        self.has_news = false;
        self.tell_all();
        self.quiet_until = Instant::now() + OF_EACH * u32::try_from(self.objects.len()).unwrap_or(u32::MAX);
        for (id, step) in std::mem::take(&mut self.next) {
            self.carry_out(&id, step);
        }
    }

    /// Does this as soon as all syncs were told of the news, if there are some.
    fn then(&mut self, id: &SyncId, step: NextStep) {
        match self.has_news {
            true => self.next.push((id.clone(), step)),
            false => self.carry_out(id, step),
        }
    }

    fn carry_out(&mut self, id: &SyncId, step: NextStep) {
        match step {
            NextStep::Declare(object, version) => self.declare(id, &object, *version),
            NextStep::End(version) => self.syncs.change(id, SyncChange::Declared(version)),
            NextStep::Remove => self.syncs.remove(id),
        }
    }

    /// Takes in a sync object as it is now.
    fn update(&mut self, kind: SyncKind, mut object: DynamicObject) -> SyncId {
        let id = id(kind, &object);
        // Nothing reads them, and they are the larger part of the object.
        object.metadata.managed_fields = None;
        leave_out_large_spec(&mut object);
        if id == SyncId::root(ROOT_SYNC) {
            let facts = RootSyncFacts::of(&object);
            self.default.send_if_modified(|before| replace(before, facts));
        }
        let before = self.objects.insert(id.clone(), object.clone());
        let is_new = before.is_none_or(|before| before.metadata.uid != object.metadata.uid);
        let goes = object.metadata.deletion_timestamp.is_some();
        let version = Box::new(self.version(&id, object.clone()));
        let asks_anew = self.take_rights(&id, &version);
        self.has_news |= is_new || asks_anew || goes;
        if is_new {
            self.judge_twin(&id);
        }
        if !goes {
            self.mark(&id);
            self.then(&id, NextStep::Declare(Box::new(object), version));
        } else if !removal::is_over(&object) {
            self.then(&id, NextStep::End(version));
        } else {
            self.then(&id, NextStep::Remove);
            self.judge_twin(&id);
        }
        id
    }

    /// Writes the marks that the sync object lacks. When that fails, the next change of the object tries it again.
    fn mark(&mut self, id: &SyncId) {
        if let Some(again) = self.marking.get_mut(id) {
            *again = true;
            return;
        }
        let dynamic = self.heeded.get(id).copied();
        let object = self.objects.get(id).filter(|object| object.metadata.deletion_timestamp.is_none());
        let Some(metadata) = object.and_then(|object| missing_marks(id, object, dynamic)) else { return };
        if self.context.config_sync.borrow().as_ref().is_some_and(|programs| programs.serves(id).is_some()) {
            // The status that the agent writes when it takes the sync over is such a change.
            return;
        }
        self.marking.insert(id.clone(), false);
        let (context, marked, id) = (Arc::clone(&self.context), self.marked.0.clone(), id.clone());
        tokio::spawn(async move {
            led(&context).await;
            config_sync::left(&context, &id).await;
            let _place = context.budget.start(&party(&id)).await;
            if let Err(error) = patch_sync_metadata(&context.cluster, &id, &metadata).await {
                tracing::debug!(sync = %id, %error, "cannot write the ApplySet and the finalizer");
            }
            // It fails when the agent ends.
            let _ = marked.send(id);
        });
    }

    /// The marks of a sync object were written, or could not be: it may have changed meanwhile.
    fn mark_again(&mut self, id: &SyncId) {
        if self.marking.remove(id) == Some(true) {
            self.mark(id);
        }
    }

    /// Tells all syncs which syncs there are.
    fn tell_all(&self) {
        if self.listed.len() < KINDS.len() {
            return;
        }
        let served = self.objects.iter().filter(|(id, object)| id.is_in_place() && !removal::is_over(object));
        let served: BTreeSet<&SyncId> = served.map(|(id, _)| id).collect();
        self.context.holdings.tell_syncs(&served);
        // It fails when the agent ends.
        let _ = self.context.commits.send(CommitMessage::Served(served.iter().copied().cloned().collect()));
        let accounts = self.rights.iter().filter(|(id, _)| served.contains(id));
        let accounts: Accounts = accounts.map(|(id, rights)| (id.clone(), rights.clone())).collect();
        self.accounts.send_if_modified(|before| replace(before, Some(accounts)));
    }

    /// The RepoSync that keeps this one from being served: the accounts of both would have one name, and that one is older.
    fn older_twin(&self, id: &SyncId) -> Option<SyncId> {
        let twin = id.twin()?;
        let age = |id: &SyncId| {
            let object = self.objects.get(id).filter(|object| !removal::is_over(object))?;
            let made = object.metadata.creation_timestamp.as_ref();
            Some((made.map(|time| time.0), id.name != REPO_SYNC))
        };
        (age(&twin)? < age(id)?).then_some(twin)
    }

    /// A RepoSync has come or gone: another one may not be served because of it, or may be served again.
    fn judge_twin(&mut self, id: &SyncId) {
        let Some(twin) = id.twin() else { return };
        let Some(object) = self.objects.get(&twin).cloned() else { return };
        if self.older_twin(&twin).is_some() {
            // The spec in force is not followed any more.
            self.then(&twin, NextStep::Remove);
        }
        let version = Box::new(self.version(&twin, object.clone()));
        self.take_rights(&twin, &version);
        self.then(&twin, NextStep::Declare(Box::new(object), version));
    }

    /// Takes in the rights that a sync object asks for; `true` if they are others. While its spec cannot be read they stay as they are.
    fn take_rights(&mut self, id: &SyncId, version: &SyncVersion) -> bool {
        if self.older_twin(id).is_some() {
            return self.rights.remove(id).is_some();
        }
        let before = self.rights.get(id);
        let asked = version.task.as_ref().ok().and_then(|task| task.rights.clone());
        let rights = asked.map_or_else(|| before.cloned().flatten(), Some);
        let asks_anew = before != Some(&rights);
        self.rights.insert(id.clone(), rights);
        asks_anew
    }

    fn remove(&mut self, id: &SyncId) {
        if *id == SyncId::root(ROOT_SYNC) {
            self.default.send_if_modified(|before| replace(before, RootSyncFacts::default()));
        }
        self.objects.remove(id);
        self.rights.remove(id);
        self.heeded.remove(id);
        self.next.retain(|(other, _)| other != id);
        self.syncs.remove(id);
        self.context.metrics.stalled(id, false);
        self.has_news = true;
        self.judge_twin(id);
    }

    /// The task of a sync has ended. One of an object that is gone may have found out meanwhile that it cannot run.
    fn ended(&mut self, id: &SyncId) {
        self.syncs.change(id, SyncChange::Ended);
        if !self.objects.contains_key(id) {
            self.context.metrics.stalled(id, false);
        }
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
                let version = Box::new(self.version(&id, object.clone()));
                self.then(&id, NextStep::Declare(Box::new(object), version));
            }
        }
    }

    /// Nothing of a sync that is about to go is deleted because the name of the cluster goes with it.
    fn declare(&mut self, id: &SyncId, object: &DynamicObject, version: SyncVersion) {
        if self.settings.borrow().leaves_behind(object) {
            let (context, id) = (Arc::clone(&self.context), id.clone());
            tokio::spawn(async move { tell_recorded(&context, &id).await });
            return;
        }
        self.syncs.change(id, SyncChange::Declared(Box::new(version)));
    }

    /// The sync object as it is served. One that has the account of another one is not served, and its objects stay when it goes.
    fn version(&self, id: &SyncId, object: DynamicObject) -> SyncVersion {
        let version = version(id, &self.cluster_name, self.options.local_repositories, object);
        let Some(twin) = self.older_twin(id) else { return version };
        let SyncVersion { generation, task, .. } = version;
        let task = match task {
            Ok(task) if task.removal.is_some() => Ok(SyncTask { removal: Some(Removal::Keep), ..task }),
            Ok(SyncTask { object: Some(object), .. }) => {
                Err(Refusal { object, generation, finding: has_account_of(id, &twin) })
            }
            task => task,
        };
        SyncVersion { task, ..version }
    }
}

/// Waits until the API server serves the kind of a CRD. While there is no such CRD, `absent` is called.
async fn crd_is_established(client: kube::Client, name: &str, absent: impl Fn() -> BoxFuture<'static, ()>) {
    let crds: Api<CustomResourceDefinition> = Api::all(client);
    let mut crd = std::pin::pin!(watch_object(crds, name).default_backoff());
    while let Some(crd) = crd.next().await {
        match crd {
            Ok(crd) if conditions::is_crd_established().matches_object(crd.as_ref()) => return,
            Ok(Some(_)) => {}
            Ok(None) => {
                tracing::info!("waiting for the CRD {name}");
                absent().await;
            }
            Err(error) => tracing::warn!(%error, "the watch on the CRD {name} broke off and starts again"),
        }
    }
}

type ObjectsEvent = WatchEvent<DynamicObject>;

/// Follows the sync objects of a kind. Each is read on its own: an object that this agent cannot read hides no other, and one in a
/// namespace for the other kind is told that it cannot be served there.
async fn follow(client: kube::Client, kind: SyncKind, crd: &'static str, told: mpsc::Sender<(SyncKind, ObjectsEvent)>) {
    let none = told.clone();
    // Without the kind there is no object of it.
    let absent = move || {
        let none = none.clone();
        async move { _ = none.send((kind, WatchEvent::InitDone)).await }.boxed()
    };
    crd_is_established(client.clone(), crd, absent).await;
    let resource = match kind {
        SyncKind::RootSync => ApiResource::erase::<RootSync>(&()),
        SyncKind::RepoSync => ApiResource::erase::<RepoSync>(&()),
    };
    let objects: Api<DynamicObject> = Api::all_with(client, &resource);
    let mut events = std::pin::pin!(watcher(objects, small_pages()).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if told.send((kind, event)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "the watch on {kind}s broke off and starts again"),
        }
    }
}

fn id(kind: SyncKind, object: &DynamicObject) -> SyncId {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    SyncId { kind, namespace: text(&object.metadata.namespace), name: text(&object.metadata.name) }
}
