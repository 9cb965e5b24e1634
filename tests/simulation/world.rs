//! A world: an API server, repositories, and one process of the agent with its syncs.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use agent::api::SyncStatus;
use agent::compile::declared::DeclaredSet;
use agent::io::kubernetes::client::Cluster;
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
use tokio::runtime::Runtime;

use crate::client::{Client, Wish, moment};
use crate::laws::{Laws, Written};
use crate::server::{Server, about};
use crate::source::Content;
use crate::watches::{Watches, copy};
use crate::wire::{Pending, Wire};

/// The pause between two looks at a repository.
const PERIOD: Duration = Duration::from_secs(15);

/// Turns of the runtime in which a task that can go on does something that is seen.
const TURNS: u8 = 24;

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

pub(crate) struct World<'a> {
    runtime: &'a Runtime,
    pub(crate) begin: Instant,
    pub(crate) server: Server,
    pub(crate) repositories: Vec<Repository>,
    pub(crate) clients: Vec<Client>,
    pub(crate) watches: Watches,
    pub(crate) laws: Laws,
    /// Requests of processes that have ended, which may still be performed.
    pub(crate) ghosts: Vec<(usize, Pending)>,
    pub(crate) backup: Option<(State, BTreeMap<String, usize>)>,
    pub(crate) last: Option<(usize, Event)>,
    pub(crate) trace: bool,
}

impl<'a> World<'a> {
    pub(crate) fn new(runtime: &'a Runtime, syncs: u8, trace: bool) -> Self {
        let names = ["root-sync", "second", "third"];
        let syncs: Vec<SyncId> = names[..usize::from(syncs)].iter().map(|name| SyncId::root(name)).collect();
        let mut world = Self {
            runtime,
            begin: Instant::now(),
            server: Server::new(&syncs),
            repositories: syncs.iter().map(|_| Repository::default()).collect(),
            clients: Vec::new(),
            watches: Watches::default(),
            laws: Laws::new(syncs),
            ghosts: Vec::new(),
            backup: None,
            last: None,
            trace,
        };
        world.start();
        world
    }

    // ---- the process ----

    /// Starts the agent.
    pub(crate) fn start(&mut self) {
        for index in 0..self.laws.syncs.len() {
            let client = self.start_sync(index);
            self.clients.push(client);
        }
        for repository in &mut self.repositories {
            repository.compiled = None;
            repository.next_poll = self.server.time;
        }
    }

    fn start_sync(&mut self, index: usize) -> Client {
        let sync = self.laws.syncs[index].clone();
        let wire = Wire::default();
        let cluster = self.immediately(&wire, Cluster::connect(wire.client())).expect("the API server answers");
        let groups = self.immediately(&wire, read_inventory(&cluster, &sync)).expect("the API server answers");
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
        Client::new(settings, object::uid(&live), status, groups, wire, Arc::new(cluster))
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

    /// Ends the agent. Its requests may still be performed.
    pub(crate) fn end(&mut self) {
        for (index, client) in self.clients.drain(..).enumerate() {
            while client.wire.waiting() > 0 {
                let pending = client.wire.take(0);
                if pending.reply.is_none() && pending.incoming.method != "GET" {
                    self.ghosts.push((index, pending));
                }
            }
        }
        self.watches = Watches::default();
        self.last = None;
    }

    /// Answers the requests of a future at once, without faults.
    fn immediately<T>(&mut self, wire: &Wire, future: impl Future<Output = T>) -> T {
        let Self { runtime, server, .. } = self;
        runtime.block_on(async {
            let mut future = pin!(future);
            loop {
                if let Poll::Ready(result) = futures::poll!(future.as_mut()) {
                    return result;
                }
                tokio::task::yield_now().await;
                while wire.waiting() > 0 {
                    let mut pending = wire.take(0);
                    pending.reply = Some(Ok(server.plain(&pending.incoming)));
                    pending.answer();
                }
            }
        })
    }

    // ---- requests ----

    /// The requests that wait, as sync and place in its line.
    pub(crate) fn waiting(&self) -> Vec<(usize, usize)> {
        let of = |(index, client): (usize, &Client)| {
            (0..client.wire.waiting()).map(move |at| (index, at)).collect::<Vec<_>>()
        };
        self.clients.iter().enumerate().flat_map(of).collect()
    }

    /// Performs a request, if that was not done before, and lets its answer arrive or not.
    pub(crate) fn answer(&mut self, sync: usize, at: usize, arrives: bool) {
        let wire = self.clients[sync].wire.clone();
        let mut pending = wire.take(at);
        if pending.reply.is_none() {
            pending.reply = Some(self.perform(sync, &pending.incoming, false));
        }
        match arrives {
            true => pending.answer(),
            false => wire.put_back(at, pending),
        }
        self.idle();
    }

    pub(crate) fn perform(&mut self, sync: usize, incoming: &Incoming, late: bool) -> crate::wire::Reply {
        let place = about(incoming);
        let find = |server: &Server| {
            let resource = server.state.resources.get(&place.group, &place.version, &place.resource)?;
            server.state.get(resource, &place.namespace, &place.name).cloned()
        };
        let before = find(&self.server);
        let (performed, reply) = self.server.perform(incoming);
        if self.trace {
            let code = reply.as_ref().map_or(0, |(code, _)| *code);
            println!("      {sync}: {} {} -> {code}", incoming.method, incoming.path);
            if std::env::var_os("NOMOS_SIMULATION_BODIES").is_some() {
                println!("        {}", String::from_utf8_lossy(&incoming.body));
            }
        }
        if performed {
            let after = find(&self.server);
            self.laws.written(&Written { sync, incoming, before, after, late });
        }
        reply
    }

    /// Lets the tasks run until each waits for an answer.
    pub(crate) fn idle(&mut self) {
        let now = moment(self.begin, self.server.time);
        let clients = &self.clients;
        self.runtime.block_on(async {
            // A task can wait for the answer to another one's request. Some turns without a change mean that all wait.
            let (mut before, mut turns) = (Vec::new(), 0);
            while turns < TURNS && !clients.iter().all(|client| client.wire.is_idle()) {
                let counts: Vec<(usize, usize)> = clients.iter().map(|client| client.wire.counts()).collect();
                turns = if counts == before { turns + 1 } else { 0 };
                before = counts;
                tokio::task::yield_now().await;
            }
        });
        self.clients.iter_mut().for_each(|client| client.collect(&now));
    }

    // ---- events ----

    pub(crate) fn step(&mut self, sync: usize, event: Event) {
        let now = moment(self.begin, self.server.time);
        if self.trace {
            println!("      {sync}: {}", event.summary());
        }
        if let Some(copied) = copy(&event) {
            self.last = Some((sync, copied));
        }
        let wishes = self.clients[sync].step(event, &now);
        // The tasks that were spawned send their first requests.
        self.idle();
        for wish in wishes {
            self.grant(sync, wish);
        }
    }

    fn grant(&mut self, sync: usize, wish: Wish) {
        match wish {
            Wish::Watch(kind) => self.watches.subscribe(&kind, sync),
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
        let inbox = &clients[sync].inbox;
        let is_told = |server: &Server, id: &ObjectId| {
            let kind = id.group_kind();
            let told = server.touched.get(id).is_none_or(|revision| watches.has_told(&kind, *revision));
            told && !inbox.iter().any(|event| is_about(event, id, &kind))
        };
        laws.synced(sync, &set, server, is_told);
    }

    pub(crate) fn deliver(&mut self, sync: usize) {
        if let Some(event) = self.clients[sync].inbox.pop_front() {
            self.step(sync, event);
        }
    }

    pub(crate) fn pump(&mut self, kind: &GroupKind) {
        for (sync, event) in self.watches.pump(kind, &mut self.server) {
            self.clients[sync].inbox.push_back(event);
        }
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
