//! One process of the agent: it connects, its syncs read their records and run, and it ends, or one of its syncs alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agent::api::SyncStatus;
use agent::io::kubernetes::client::{ApiError, Cluster};
use agent::io::kubernetes::patience::patiently;
use agent::io::kubernetes::watch::Watches;
use agent::io::reports::read_inventory;
use agent::model::metadata::{SyncId, annotation, label};
use agent::model::object::{GroupKind, ObjectId};
use agent::sync::engine::{Holdings, Settings, SourceCommit};
use agent::sync::inventory::InventoryRecord;
use agent::sync::plan::guard::APPROVAL;
use agent::sync::plan::memory::{GuardMemory, Proof};
use sandbox::object;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Client, moment, supervised};
use crate::executor::Executor;
use crate::watches::OpenWatches;
use crate::wire::Pending;
use crate::world::World;

/// Time that a request of a sync may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// The pause before a process or a sync starts again whose start failed or broke down.
const RESTART: Duration = Duration::from_secs(10);

/// The tasks of a process that is alive.
pub(crate) struct Process {
    pub(crate) executor: Executor,
    connecting: JoinSet<Cluster>,
    /// Known once it is connected.
    connected: Option<Connected>,
    starting: BTreeMap<usize, Starting>,
}

/// What all syncs of a process share.
#[derive(Clone)]
struct Connected {
    cluster: Arc<Cluster>,
    watches: Arc<Watches>,
}

/// A sync that reads its record.
struct Starting {
    cluster: Arc<Cluster>,
    reading: JoinSet<Option<InventoryRecord>>,
}

impl Process {
    /// `true` once each of its syncs runs.
    pub(crate) fn is_running(&self) -> bool {
        self.connected.is_some() && self.starting.is_empty()
    }
}

/// Begins again and again what may fail or break down at a start, as the process or the sync does then.
async fn persistently<T, F: Future<Output = Result<T, ApiError>>>(mut begin: impl FnMut() -> F) -> T {
    loop {
        if let Some(Ok(begun)) = supervised(patiently(&mut begin)).await {
            return begun;
        }
        sleep(RESTART).await;
    }
}

impl World {
    /// Starts the agent.
    pub(crate) fn start(&mut self) {
        let executor = Executor::new();
        let managers = self.laws.syncs.iter().map(SyncId::manager);
        self.all_syncs = managers.map(|manager| (manager, Holdings::Untold)).collect();
        // The one whose name another client writes on objects.
        self.all_syncs.insert(":root_x".to_owned(), Holdings::Known(Arc::default()));
        self.begin = executor.now() - self.server.time;
        self.now = moment(self.begin, self.server.time);
        let entered = executor.enter();
        let client = self.shared().client();
        let mut connecting = JoinSet::new();
        connecting.spawn(async move { persistently(|| Cluster::connect(client.clone())).await });
        drop(entered);
        self.process = Some(Process { executor, connecting, connected: None, starting: BTreeMap::new() });
        self.idle();
    }

    /// Goes on with all that starts. `false` if it still waits.
    pub(crate) fn go_on(&mut self) -> bool {
        let Some(mut process) = self.process.take() else { return false };
        let connected = process.connecting.try_join_next();
        let mut goes_on = connected.is_some();
        if let Some(Ok(cluster)) = connected {
            let cluster = Arc::new(cluster);
            let watches = Arc::new(Watches::new(Arc::clone(&cluster)));
            process.connected = Some(Connected { cluster, watches });
            (0..self.laws.syncs.len()).for_each(|sync| self.start_sync(&mut process, sync, Duration::ZERO));
        }
        let read = process.starting.iter_mut().filter_map(|(sync, starting)| {
            let groups = starting.reading.try_join_next()?.expect("it is supervised");
            Some((*sync, groups))
        });
        for (sync, groups) in read.collect::<Vec<_>>() {
            self.run_sync(&mut process, sync, groups);
            goes_on = true;
        }
        self.process = Some(process);
        goes_on
    }

    fn start_sync(&self, process: &mut Process, index: usize, pause: Duration) {
        let Some(connected) = &process.connected else { return };
        let _entered = process.executor.enter();
        let mut cluster = connected.cluster.with_time_limit(PATIENCE).acting_as(&self.laws.syncs[index]);
        cluster.client = self.lines[index].client();
        let cluster = Arc::new(cluster);
        let (asked, of) = (cluster.as_agent(), self.laws.syncs[index].clone());
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            sleep(pause).await;
            persistently(|| read_inventory(&asked, &of)).await
        });
        process.starting.insert(index, Starting { cluster, reading });
    }

    fn run_sync(&mut self, process: &mut Process, index: usize, groups: Option<InventoryRecord>) {
        let (Some(connected), Some(starting)) = (&process.connected, process.starting.remove(&index)) else { return };
        let _entered = process.executor.enter();
        let sync = self.laws.syncs[index].clone();
        let now = self.now.clone();
        let memory = groups.as_ref().map_or_else(GuardMemory::without_record, |groups| groups.memory(&now));
        let mut recorded = groups.as_ref().map(InventoryRecord::objects).unwrap_or_default();
        let mut kinds: BTreeSet<GroupKind> = recorded.iter().map(ObjectId::group_kind).collect();
        self.laws.unrecorded.remove(&index);
        if memory.proof != Proof::Record {
            self.laws.unrecorded.insert(index);
            let found = self.search(&sync);
            kinds.extend(found.0);
            recorded.extend(found.1);
        }
        let kind = GroupKind::new("configsync.gke.io", &sync.kind.to_string());
        let id = ObjectId::new(&kind, &sync.namespace, &sync.name);
        let live = self.server.find(&id).expect("nobody deletes it").clone();
        let status = serde_json::from_value::<SyncStatus>(live["status"].clone()).unwrap_or_default();
        let last = status.sync.commit.clone();
        let settings = Settings {
            sync,
            in_flight: 3,
            reconcile_timeout: Duration::from_secs(300),
            approval: live["metadata"]["annotations"][annotation::APPROVE_PRUNE].as_str().map(ToOwned::to_owned),
            how_to_approve: APPROVAL.to_owned(),
            memory,
            kinds,
            recorded,
            git: Arc::default(),
            layout: Default::default(),
            last_in_force: (!last.is_empty()).then(|| SourceCommit { commit: last, ..Default::default() }),
        };
        self.laws.approved.retain(|(other, _)| *other != index);
        settings.approval.iter().for_each(|approval| self.laws.approve(index, approval));
        let (cluster, uid) = (starting.cluster, object::uid(&live));
        self.clients.insert(index, Client::new(settings, uid, status, groups, cluster, &connected.watches));
        self.tell_syncs(index);
        self.repositories[index].told = None;
        self.repositories[index].next_poll = self.server.time;
    }

    /// The kinds of objects with the label of a sync, and its CRDs: without a record.
    fn search(&self, sync: &SyncId) -> (BTreeSet<GroupKind>, BTreeSet<ObjectId>) {
        let part_of = sync.part_of();
        let labelled = self.server.state.store.all().map(|(_, one)| one);
        let labelled = labelled.filter(|one| one["metadata"]["labels"][label::PART_OF] == part_of.as_str());
        let ids: BTreeSet<ObjectId> = labelled.map(|one| crate::server::id(one)).filter(|id| sync.covers(id)).collect();
        let kinds = ids.iter().map(ObjectId::group_kind).filter(|kind| self.server.serves(kind)).collect();
        (kinds, ids.into_iter().filter(ObjectId::is_crd).collect())
    }

    /// Ends the agent. Those of its requests whose bits are set will be performed all the same.
    pub(crate) fn end(&mut self, performed: u8) {
        for line in 0..self.lines.len() {
            let left = self.lines[line].take_all();
            let performed = left.into_iter().enumerate().filter(|(at, _)| performed >> (at % 8) & 1 == 1);
            performed.for_each(|(_, pending)| self.leave(line, pending));
        }
        self.clients.clear();
        self.process = None;
        self.watches = OpenWatches::default();
    }

    /// A sync breaks down and starts again after a pause. Its requests are performed all the same.
    pub(crate) fn break_down(&mut self, sync: usize, pause: Duration) {
        let Some(mut process) = self.process.take() else { return };
        let left = self.lines[sync].take_all();
        left.into_iter().for_each(|pending| self.leave(sync, pending));
        self.clients.remove(&sync);
        process.starting.remove(&sync);
        self.start_sync(&mut process, sync, pause);
        self.process = Some(process);
    }

    /// Syncs whose tasks broke down start again. `true` if there were any.
    pub(crate) fn start_broken(&mut self) -> bool {
        let broken = self.clients.iter().filter(|(_, client)| client.is_broken).map(|(sync, _)| *sync);
        let broken = broken.collect::<Vec<_>>();
        broken.iter().for_each(|sync| self.break_down(*sync, RESTART));
        !broken.is_empty()
    }

    /// Nothing waits for the answer any more. A status is written at once or not at all: a process or a sync that starts reads it after
    /// a pause, and compares with it.
    pub(crate) fn leave(&mut self, line: usize, pending: Pending) {
        if pending.reply.is_some() || pending.incoming.method == "GET" {
            return;
        }
        if pending.incoming.path.ends_with("/status") {
            let _ = self.perform(line, &pending, true);
        } else {
            self.ghosts.push((line, pending));
        }
    }
}
