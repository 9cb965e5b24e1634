//! A world: an API server, repositories, and one process of the agent with its syncs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::api::SyncStatus;
use agent::compile::declared::DeclaredSet;
use agent::io::kubernetes::client::Cluster;
use agent::io::kubernetes::watch::Watches;
use agent::io::reports::read_inventory;
use agent::model::finding::{Code, Finding};
use agent::model::metadata::{SyncId, annotation, label};
use agent::model::object::{GroupKind, ObjectId};
use agent::sync::engine::{Event, Settings, SourceCommit};
use agent::sync::inventory::InventoryRecord;
use agent::sync::plan::guard::APPROVAL;
use agent::sync::plan::memory::{GuardMemory, Proof};
use sandbox::answer::Incoming;
use sandbox::object;
use sandbox::state::State;
use tokio::sync::{Notify, oneshot};

use crate::client::{Client, Wish, moment};
use crate::executor::Executor;
use crate::laws::{Laws, Written};
use crate::server::{Performed, Server, about};
use crate::source::Content;
use crate::watches::OpenWatches;
use crate::wire::{self, Pending, Wire};

/// The pause between two looks at a repository.
const PERIOD: Duration = Duration::from_secs(15);

/// Time that a request of a sync may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// The declared set of a commit, unless a finding blocks it, and its findings.
type Compiled = (Option<Arc<DeclaredSet>>, Vec<Finding>);

/// The repository of one sync.
#[derive(Default)]
pub(crate) struct Repository {
    pub(crate) commits: Vec<Content>,
    /// The commit that the branch is at.
    pub(crate) head: Option<usize>,
    pub(crate) unreadable: bool,
    /// The commit that was compiled last, and `true` if it has to be compiled again.
    pub(crate) compiled: Option<(usize, bool)>,
    sets: BTreeMap<(usize, bool), Compiled>,
    next_poll: Duration,
}

/// What all syncs of a process share.
struct Process {
    executor: Executor,
    cluster: Arc<Cluster>,
    watches: Arc<Watches>,
}

pub(crate) struct World {
    process: Option<Process>,
    /// Is notified of each request of the agent.
    asked: Arc<Notify>,
    /// The line of the requests that are for all syncs. Its number is the one after those of the syncs.
    shared: Wire,
    pub(crate) begin: Instant,
    pub(crate) server: Server,
    pub(crate) repositories: Vec<Repository>,
    pub(crate) clients: Vec<Client>,
    pub(crate) watches: OpenWatches,
    pub(crate) laws: Laws,
    /// Requests that nothing waits for any more, and which may still be performed.
    pub(crate) ghosts: Vec<(usize, Pending)>,
    pub(crate) backup: Option<(State, BTreeMap<String, usize>)>,
    pub(crate) trace: bool,
}

impl World {
    pub(crate) fn new(syncs: u8, trace: bool) -> Self {
        let names = ["root-sync", "second", "third"];
        let syncs: Vec<SyncId> = names[..usize::from(syncs)].iter().map(|name| SyncId::root(name)).collect();
        let mut world = Self {
            process: None,
            asked: Arc::default(),
            shared: Wire::default(),
            begin: Instant::now(),
            server: Server::new(&syncs),
            repositories: syncs.iter().map(|_| Repository::default()).collect(),
            clients: Vec::new(),
            watches: OpenWatches::default(),
            laws: Laws::new(syncs),
            ghosts: Vec::new(),
            backup: None,
            trace,
        };
        world.start();
        world
    }

    // ---- the process ----

    /// Starts the agent.
    pub(crate) fn start(&mut self) {
        let executor = Executor::new();
        self.begin = executor.now() - self.server.time;
        self.shared = Wire::new(&self.asked);
        let client = {
            let _entered = executor.enter();
            self.shared.client()
        };
        let cluster = immediately(&executor, &mut self.server, &self.shared, Cluster::connect(client));
        let cluster = Arc::new(cluster.expect("the API server answers"));
        let watches = Arc::new(Watches::new(Arc::clone(&cluster)));
        let process = Process { executor, cluster, watches };
        for index in 0..self.laws.syncs.len() {
            let client = self.start_sync(&process, index);
            self.clients.push(client);
        }
        self.process = Some(process);
        for repository in &mut self.repositories {
            repository.compiled = None;
            repository.next_poll = self.server.time;
        }
    }

    fn start_sync(&mut self, process: &Process, index: usize) -> Client {
        let _entered = process.executor.enter();
        let sync = self.laws.syncs[index].clone();
        let wire = Wire::new(&self.asked);
        let mut cluster = process.cluster.with_time_limit(PATIENCE);
        cluster.client = wire.client();
        let cluster = Arc::new(cluster);
        let (asked, of) = (Arc::clone(&cluster), sync.clone());
        let read = async move { read_inventory(&asked, &of).await };
        let groups = immediately(&process.executor, &mut self.server, &wire, read).expect("the API server answers");
        let now = moment(self.begin, self.server.time);
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
        let id = ObjectId::new(&GroupKind::new("configsync.gke.io", "RootSync"), &sync.namespace, &sync.name);
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
            last_in_force: (!last.is_empty()).then(|| SourceCommit { commit: last, git: Arc::default() }),
        };
        Client::new(settings, object::uid(&live), status, groups, wire, cluster, &process.watches)
    }

    /// The kinds of objects with the label of a sync, and its CRDs: without a record.
    fn search(&self, sync: &SyncId) -> (BTreeSet<GroupKind>, BTreeSet<ObjectId>) {
        let part_of = sync.part_of();
        let labelled = self.server.state.store.all().map(|(_, one)| one);
        let labelled = labelled.filter(|one| one["metadata"]["labels"][label::PART_OF] == part_of.as_str());
        let ids: BTreeSet<ObjectId> = labelled.map(|one| crate::server::id(one)).collect();
        let kinds = ids.iter().map(ObjectId::group_kind).filter(|kind| self.server.serves(kind)).collect();
        (kinds, ids.into_iter().filter(ObjectId::is_crd).collect())
    }

    fn executor(&self) -> &Executor {
        &self.process.as_ref().expect("the agent runs").executor
    }

    fn wire(&self, line: usize) -> &Wire {
        self.clients.get(line).map_or(&self.shared, |client| &client.wire)
    }

    /// Ends the agent. Those of its requests whose bits are set will be performed all the same.
    pub(crate) fn end(&mut self, performed: u8) {
        for line in 0..self.clients.len() {
            let left = self.clients[line].wire.take_all();
            let performed = left.into_iter().enumerate().filter(|(at, _)| performed >> (at % 8) & 1 == 1);
            performed.for_each(|(_, pending)| self.leave(line, pending));
        }
        self.clients.clear();
        self.process = None;
        self.watches = OpenWatches::default();
    }

    /// A sync breaks down and starts again. Its requests are performed all the same.
    pub(crate) fn break_down(&mut self, sync: usize) {
        let Some(process) = self.process.take() else { return };
        let left = self.clients[sync].wire.take_all();
        left.into_iter().for_each(|pending| self.leave(sync, pending));
        drop(self.clients.remove(sync));
        let client = self.start_sync(&process, sync);
        self.clients.insert(sync, client);
        self.process = Some(process);
        self.repositories[sync].compiled = None;
        self.repositories[sync].next_poll = self.server.time;
    }

    /// Nothing waits for the answer any more.
    fn leave(&mut self, line: usize, pending: Pending) {
        if pending.reply.is_none() && pending.incoming.method != "GET" {
            self.ghosts.push((line, pending));
        }
    }

    // ---- requests ----

    /// The requests that wait, as line and place in it.
    pub(crate) fn waiting(&self) -> Vec<(usize, usize)> {
        let of = |line| (0..self.wire(line).waiting()).map(move |at| (line, at));
        (0..=self.clients.len()).flat_map(of).collect()
    }

    pub(crate) fn has_waiting(&self, line: usize) -> bool {
        self.wire(line).waiting() > 0
    }

    /// Performs a request, if that was not done before, and lets its answer arrive or not.
    pub(crate) fn answer(&mut self, line: usize, at: usize, arrives: bool) {
        let wire = self.wire(line).clone();
        let mut pending = wire.take(at);
        if pending.reply.is_none() {
            pending.reply = Some(self.perform(line, &pending.incoming, false));
        }
        match arrives || pending.is_watch() {
            true => pending.answer(),
            false => wire.put_back(at, pending),
        }
        self.idle();
    }

    pub(crate) fn perform(&mut self, sync: usize, incoming: &Incoming, late: bool) -> wire::Reply {
        let place = about(incoming);
        let find = |server: &Server| {
            let resource = server.state.resources.get(&place.group, &place.version, &place.resource)?;
            server.state.get(resource, &place.namespace, &place.name).cloned()
        };
        let before = find(&self.server);
        let (performed, reply) = match self.server.perform(incoming) {
            Performed::Not(reply) => (false, reply),
            Performed::Done(reply) => (true, reply),
            Performed::Opened(watch, from) => {
                let resource = self.server.state.resources.get(&place.group, &place.version, &place.resource);
                let kind = resource.map_or("", |resource| &resource.kind);
                let lines = self.watches.open(GroupKind::new(&place.group, kind), watch, from);
                (false, Ok((200, wire::AnswerBody::Lines(lines))))
            }
        };
        if self.trace {
            let code = reply.as_ref().map_or(0, |(code, _)| *code);
            println!("      {sync}: {} {} -> {code}", incoming.method, incoming.path);
            if std::env::var_os("NOMOS_SIMULATION_BODIES").is_some() {
                println!("        {}", String::from_utf8_lossy(&incoming.body));
            }
        }
        if performed {
            let after = find(&self.server);
            let time = self.server.time;
            self.laws.written(&Written { sync, incoming, before, after, late, time });
        }
        reply
    }

    // ---- time ----

    /// Lets the tasks run until each waits.
    pub(crate) fn idle(&mut self) {
        loop {
            self.executor().settle();
            let now = moment(self.begin, self.server.time);
            let process = self.process.as_ref().expect("the agent runs");
            let _entered = process.executor.enter();
            let mut collected = false;
            self.clients.iter_mut().for_each(|client| collected |= client.collect(&now));
            if !collected {
                break;
            }
        }
        for line in 0..=self.clients.len() {
            for pending in self.wire(line).abandoned() {
                self.leave(line, pending);
            }
        }
        self.watches.tidy();
    }

    /// Lets time pass at once.
    pub(crate) fn jump(&mut self, time: Duration) {
        self.executor().jump(time);
        self.catch_up();
    }

    /// Lets time pass until a task asks for something, or until then.
    pub(crate) fn pass(&mut self, until: Duration) {
        self.executor().pass(self.begin + until, &self.asked);
        self.catch_up();
    }

    fn catch_up(&mut self) {
        self.server.time = self.executor().now().saturating_duration_since(self.begin);
        self.idle();
    }

    /// `true` if no watch has to be opened and no list to be read before everything is told.
    pub(crate) fn is_following(&self) -> bool {
        let joined =
            |client: &Client| client.joined.iter().all(|(kind, listed)| *listed && self.watches.has_told(kind, 0));
        self.clients.iter().all(joined)
    }

    /// Lets everything but the engines see that time has passed.
    pub(crate) fn wake_clients(&mut self) {
        let now = moment(self.begin, self.server.time);
        let process = self.process.as_ref().expect("the agent runs");
        let entered = process.executor.enter();
        let mut woken = false;
        self.clients.iter_mut().for_each(|client| woken |= client.wake(&now));
        drop(entered);
        if woken {
            self.idle();
        }
    }

    // ---- events ----

    pub(crate) fn step(&mut self, sync: usize, event: Event) {
        let now = moment(self.begin, self.server.time);
        if self.trace {
            println!("      {sync}: {}", event.summary());
        }
        let revoked = matches!(event, Event::Approved(None));
        let process = self.process.as_ref().expect("the agent runs");
        let entered = process.executor.enter();
        let wishes = self.clients[sync].step(event, &now);
        drop(entered);
        if revoked {
            let leaving = self.clients[sync].wire.leaving();
            self.laws.revoked(sync, &self.server, &leaving);
        }
        // The tasks that were spawned send their first requests.
        self.idle();
        for wish in wishes {
            self.grant(sync, wish);
        }
    }

    fn grant(&mut self, sync: usize, wish: Wish) {
        match wish {
            Wish::Restore(commit) => {
                let number = number(&commit);
                let declared = self.compiled(sync, number).0;
                self.clients[sync].inbox.push_back(Event::Restored { commit, declared });
            }
            Wish::InForce(commit) => {
                let leaving = self.clients[sync].wire.leaving();
                self.laws.in_force(sync, commit, &self.server, &leaving);
            }
            Wish::Reported(report) => {
                if report.synced {
                    self.is_honest(sync, &report.sync.commit);
                }
            }
        }
    }

    /// Checks that a sync that says that it is synced is.
    fn is_honest(&mut self, sync: usize, commit: &str) {
        let Some(set) = self.compiled(sync, number(commit)).0 else {
            self.laws.breaks(format!("sync {sync} is synced at {commit}, which does not compile"));
            return;
        };
        let Self { clients, watches, laws, server, .. } = self;
        let Client { inbox, joined, .. } = &clients[sync];
        let is_told = |server: &Server, id: &ObjectId| {
            let kind = id.group_kind();
            let told = |revision: &u64| joined.get(&kind) == Some(&true) && watches.has_told(&kind, *revision);
            let told = server.touched.get(id).is_none_or(told);
            told && !inbox.iter().any(|event| is_about(event, id, &kind))
        };
        laws.synced(sync, &set, server, is_told);
    }

    pub(crate) fn deliver(&mut self, sync: usize) {
        if let Some(event) = self.clients[sync].inbox.pop_front() {
            self.step(sync, event);
        }
    }

    /// A watch tells what is new.
    pub(crate) fn pump(&mut self, watch: usize) {
        self.watches.pump(watch, &self.server);
        self.idle();
    }

    // ---- repositories ----

    pub(crate) fn compiled(&mut self, sync: usize, number: usize) -> Compiled {
        let widgets = self.server.serves(&GroupKind::new("example.com", "Widget"));
        let repository = &mut self.repositories[sync];
        let id = &self.laws.syncs[sync];
        let content = &repository.commits[number];
        repository.sets.entry((number, widgets)).or_insert_with(|| content.compile(id, widgets)).clone()
    }

    /// A sync looks at its repository.
    pub(crate) fn poll(&mut self, sync: usize) {
        self.repositories[sync].next_poll = self.server.time + PERIOD;
        let event = match self.repositories[sync].head {
            Some(head) if !self.repositories[sync].unreadable => {
                let (declared, findings) = self.compiled(sync, head);
                let again = findings.iter().any(|finding| finding.code == Code::UnknownKind);
                self.repositories[sync].compiled = Some((head, again));
                Event::Compiled { commit: name(head), declared, findings }
            }
            _ => {
                let repository = &mut self.repositories[sync];
                repository.compiled = repository.head.map(|head| (head, true));
                Event::SourceFailed(Finding::new(Code::Source, "not there"))
            }
        };
        self.clients[sync].inbox.push_back(event);
    }

    /// The time of the next look at a repository that shows something new.
    pub(crate) fn next_poll(&self, sync: usize) -> Option<Duration> {
        let Repository { head, compiled, next_poll, .. } = &self.repositories[sync];
        match (head, compiled) {
            (None, _) => None,
            (Some(head), Some((done, again))) if head == done => again.then_some(*next_poll),
            _ => Some(self.server.time),
        }
    }
}

/// Answers the requests of a future at once, without faults.
fn immediately<T: Send + 'static>(
    executor: &Executor,
    server: &mut Server,
    wire: &Wire,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    let _entered = executor.enter();
    let (sender, mut result) = oneshot::channel();
    tokio::spawn(async move {
        let _ = sender.send(future.await);
    });
    loop {
        executor.settle();
        if let Ok(result) = result.try_recv() {
            return result;
        }
        while wire.waiting() > 0 {
            let mut pending = wire.take(0);
            if let Performed::Done(reply) = server.plain(&pending.incoming) {
                pending.reply = Some(reply);
            }
            pending.answer();
        }
    }
}

fn is_about(event: &Event, id: &ObjectId, kind: &GroupKind) -> bool {
    match event {
        Event::Seen(other, _) | Event::Gone(other, _) => other == id,
        Event::Listing(other, _) | Event::Listed(other, _) | Event::Unserved(other) | Event::Unlistable(other, _) => {
            other == kind
        }
        _ => false,
    }
}

/// The name of a commit.
pub(crate) fn name(number: usize) -> String {
    format!("{number:040}")
}

fn number(commit: &str) -> usize {
    commit.parse().expect("made of a number")
}
