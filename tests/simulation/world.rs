//! A world: an API server, repositories, and one process of the agent with its syncs.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::model::finding::{Code, Finding};
use agent::model::metadata::SyncId;
use agent::model::object::{GroupKind, ObjectId};
use agent::sync::engine::{AllSyncs, Event, Holdings};
use agent::sync::moment::Moment;
use sandbox::answer::Incoming;
use sandbox::object;
use sandbox::state::State;
use serde_json::Value;
use tokio::sync::Notify;

use crate::client::{Client, Wish, moment};
use crate::executor::Executor;
use crate::laws::{self, Laws, Written};
use crate::process::Process;
use crate::run::Look;
use crate::schedule::Schedule;
use crate::server::{self, Performed, Server, about};
use crate::source::{Compiled, Content, OBJECTS, Template};
use crate::watches::OpenWatches;
use crate::wire::{self, Pending, Wire};

/// The pause between two looks at a repository.
const PERIOD: Duration = Duration::from_secs(15);

/// The pause between two looks that show the same: the agent looks all the time, and its engine hears the same each time.
const UNCHANGED: Duration = Duration::from_secs(300);

/// The repository of one sync.
#[derive(Default)]
pub(crate) struct Repository {
    pub(crate) commits: Vec<Content>,
    /// The commit that the branch is at.
    pub(crate) head: Option<usize>,
    pub(crate) unreadable: bool,
    /// The last thing that the sync heard of it.
    pub(crate) told: Option<Told>,
    sets: BTreeMap<(usize, bool), Compiled>,
    pub(crate) next_poll: Duration,
}

/// The result of the last look at a repository.
pub(crate) struct Told {
    head: usize,
    /// It will be looked at again, though the branch does not move: kinds are missing, or it could not be read.
    again: bool,
    /// Widgets were served.
    widgets: bool,
}

pub(crate) struct World {
    pub(crate) process: Option<Process>,
    /// Is notified of each request of the agent.
    asked: Arc<Notify>,
    /// The line of each sync, and last that of the requests that are for all syncs.
    pub(crate) lines: Vec<Wire>,
    pub(crate) begin: Instant,
    pub(crate) now: Moment,
    pub(crate) server: Server,
    pub(crate) repositories: Vec<Repository>,
    /// The objects that there may be, by their index in [`OBJECTS`].
    pub(crate) objects: Vec<u8>,
    /// The syncs that run.
    pub(crate) clients: BTreeMap<usize, Client>,
    /// All RootSyncs, with the objects that they have told of.
    pub(crate) all_syncs: AllSyncs,
    pub(crate) watches: OpenWatches,
    pub(crate) laws: Laws,
    /// Requests that nothing waits for any more, and which may still be performed.
    pub(crate) ghosts: Vec<(usize, Pending)>,
    pub(crate) backup: Option<(State, BTreeMap<String, usize>)>,
    /// The cluster was restored from it, and the agent has not found out yet.
    pub(crate) restored: bool,
    pub(crate) trace: bool,
    /// The print of all that has happened, if it is asked for.
    pub(crate) print: Option<DefaultHasher>,
}

impl World {
    pub(crate) fn new(schedule: &Schedule, look: Look) -> Self {
        let all = match schedule.tenants {
            false => ["root-sync", "second", "third"].map(SyncId::root).to_vec(),
            true => {
                let tenants = [("t", "repo-sync"), ("t", "other"), ("u", "repo-sync")];
                let tenants = tenants.map(|(namespace, name)| SyncId::repo(namespace, name));
                [SyncId::root("root-sync")].into_iter().chain(tenants).collect()
            }
        };
        let syncs = all[..usize::from(schedule.syncs)].to_vec();
        let (asked, begin) = (Arc::default(), Instant::now());
        let mut world = Self {
            process: None,
            lines: (0..=syncs.len()).map(|_| Wire::new(&asked)).collect(),
            asked,
            begin,
            now: moment(begin, Duration::ZERO),
            server: Server::new(&syncs),
            repositories: syncs.iter().map(|_| Repository::default()).collect(),
            objects: schedule.objects.clone(),
            clients: BTreeMap::new(),
            all_syncs: AllSyncs::new(),
            watches: OpenWatches::default(),
            laws: Laws::new(syncs),
            ghosts: Vec::new(),
            backup: None,
            restored: false,
            trace: look == Look::Trace,
            print: (look == Look::Print).then(DefaultHasher::new),
        };
        world.start();
        world
    }

    fn executor(&self) -> &Executor {
        &self.process.as_ref().expect("the agent runs").executor
    }

    /// The line of the requests that are for all syncs.
    pub(crate) fn shared(&self) -> &Wire {
        &self.lines[self.lines.len() - 1]
    }

    // ---- requests ----

    /// The requests that wait, as line and place in it.
    pub(crate) fn waiting(&self) -> Vec<(usize, usize)> {
        let of = |(line, wire): (usize, &Wire)| (0..wire.waiting()).map(move |at| (line, at));
        self.lines.iter().enumerate().flat_map(of).collect()
    }

    pub(crate) fn has_waiting(&self, line: usize) -> bool {
        self.lines[line].waiting() > 0
    }

    /// Performs a request, if that was not done before, and lets its answer arrive or not.
    pub(crate) fn answer(&mut self, line: usize, at: usize, arrives: bool) {
        let wire = self.lines[line].clone();
        let mut pending = wire.take(at);
        if pending.reply.is_none() {
            pending.reply = Some(self.perform(line, &pending, false));
        }
        match arrives || pending.is_watch() {
            true => pending.answer(),
            false => wire.put_back(at, pending),
        }
        self.idle();
    }

    pub(crate) fn perform(&mut self, sync: usize, pending: &Pending, late: bool) -> wire::Reply {
        let (incoming, place) = (&pending.incoming, about(&pending.incoming));
        let find = |server: &Server| server.at(&place).cloned();
        let before = find(&self.server);
        self.laws.sent(sync, incoming, &place, before.as_deref());
        let (performed, reply) = match self.server.perform(incoming, &place) {
            Performed::Not(reply) => (false, reply),
            Performed::Done(reply) => (true, reply),
            Performed::Opened(watch, from) => {
                let resource = self.server.state.resources.get(&place.group, &place.version, &place.resource);
                let kind = resource.map_or("", |resource| &resource.kind);
                let lines = self.watches.open(GroupKind::new(&place.group, kind), watch, from);
                (false, Ok((200, wire::AnswerBody::Lines(lines))))
            }
        };
        let code = reply.as_ref().map_or(0, |(code, _)| *code);
        if let Some(print) = &mut self.print {
            (sync, &incoming.method, &incoming.path, &incoming.body, code, late).hash(print);
        }
        if self.trace {
            println!("      {sync}: {} {} -> {code}", incoming.method, incoming.path);
            if std::env::var_os("NOMOS_SIMULATION_BODIES").is_some() {
                println!("        {}", String::from_utf8_lossy(&incoming.body));
            }
        }
        if performed {
            let after = find(&self.server);
            let time = self.server.time;
            let (own, restored) = (pending.own(), self.restored);
            self.laws.written(&Written { sync, incoming, place: &place, own, before, after, late, restored, time });
            match find(&self.server) {
                Some(_) if incoming.method == "GET" => {}
                Some(_) if laws::is_group(&place) => self.laws.recorded(&self.server),
                Some(live) if !laws::is_report(&place) => self.laws.recorded_one(&self.server, &live),
                _ => {}
            }
        } else if let (Some(before), Ok((404, _))) = (before, &reply) {
            self.laws.denied(sync, &before);
        }
        reply
    }

    // ---- time ----

    /// Lets the tasks run until each waits.
    pub(crate) fn idle(&mut self) {
        loop {
            self.executor().settle();
            let now = self.now.clone();
            let process = self.process.as_ref().expect("the agent runs");
            let entered = process.executor.enter();
            let mut collected = false;
            self.clients.values_mut().for_each(|client| collected |= client.collect(&now));
            drop(entered);
            if !(self.start_broken() | self.go_on() | collected) {
                break;
            }
        }
        for line in 0..self.lines.len() {
            let own = |incoming: &Incoming| {
                let live = self.server.at(&about(incoming))?;
                self.is_own(line, live).then(|| object::uid(live).to_owned())
            };
            self.lines[line].note(own);
            for pending in self.lines[line].abandoned() {
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
        self.now = moment(self.begin, self.server.time);
        self.idle();
    }

    /// `true` if no watch has to be opened and no list to be read before everything is told.
    pub(crate) fn is_following(&self) -> bool {
        let joined =
            |client: &Client| client.joined.iter().all(|(kind, listed)| *listed && self.watches.has_told(kind, 0));
        self.process.as_ref().is_some_and(Process::is_running) && self.clients.values().all(joined)
    }

    /// Lets everything but the engines see that time has passed.
    pub(crate) fn wake_clients(&mut self) {
        let now = self.now.clone();
        let process = self.process.as_ref().expect("the agent runs");
        let entered = process.executor.enter();
        let mut woken = false;
        self.clients.values_mut().for_each(|client| woken |= client.wake(&now));
        drop(entered);
        if woken {
            self.idle();
        }
    }

    // ---- events ----

    pub(crate) fn step(&mut self, sync: usize, event: Event) {
        let now = self.now.clone();
        if self.trace {
            println!("      {sync}: {}", event.summary());
        }
        if let Some(print) = &mut self.print {
            (sync, event.summary(), self.server.time).hash(print);
        }
        let revoked = matches!(event, Event::Approved(None));
        if let Event::Approved(Some(approval)) = &event {
            self.laws.approve(sync, approval);
        }
        let process = self.process.as_ref().expect("the agent runs");
        let entered = process.executor.enter();
        let wishes = self.clients.get_mut(&sync).map(|client| client.step(event, &now)).unwrap_or_default();
        drop(entered);
        if revoked {
            let (leaving, unheard) = (self.lines[sync].leaving(), self.has_unheard(sync));
            self.laws.revoked(sync, &self.server, &leaving, unheard);
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
                self.tell(sync, Event::Restored { commit, declared });
            }
            Wish::Share(held) => {
                let manager = self.laws.syncs[sync].manager();
                self.all_syncs.insert(manager, Holdings::Known(held));
                (0..self.repositories.len()).for_each(|sync| self.tell_syncs(sync));
            }
            Wish::InForce(commit) => {
                let (leaving, unheard) = (self.lines[sync].leaving(), self.has_unheard(sync));
                self.laws.in_force(sync, commit, &self.server, &leaving, unheard);
            }
            Wish::Reported(report) => {
                if report.synced {
                    self.is_honest(sync, &report.sync.commit);
                }
            }
        }
    }

    pub(crate) fn tell_syncs(&mut self, sync: usize) {
        let syncs = Arc::new(self.all_syncs.clone());
        self.tell(sync, Event::Syncs(syncs));
    }

    /// Checks that a sync that says that it is synced is. In a cluster that was just restored, versions count anew.
    fn is_honest(&mut self, sync: usize, commit: &str) {
        if self.restored {
            return;
        }
        let Some(set) = self.compiled(sync, number(commit)).0 else {
            self.laws.breaks(format!("sync {sync} is synced at {commit}, which does not compile"));
            return;
        };
        let Self { clients, watches, laws, server, .. } = self;
        let Some(client) = clients.get(&sync) else { return };
        laws.synced(sync, &set, server, |server, id| is_told(client, watches, server, id));
    }

    /// `true` for an object that is a sync's own, as far as the sync has heard.
    fn is_own(&self, sync: usize, live: &Value) -> bool {
        let is_told = |client: &Client| is_told(client, &self.watches, &self.server, &server::id(live));
        self.laws.owners.get(object::uid(live)) == Some(&sync)
            || self.clients.get(&sync).is_some_and(|client| !is_told(client))
    }

    /// `true` if a sync has not heard that an object is gone, is being deleted, or has lost its stamp.
    fn has_unheard(&self, sync: usize) -> bool {
        let is_gone = |id: &ObjectId| self.server.find(id).is_none_or(|live| self.laws.is_taken(live));
        let Some(client) = self.clients.get(&sync) else { return false };
        // Its own objects are of kinds that it follows.
        let follows = |id: &ObjectId| client.joined.contains_key(&id.group_kind());
        let mut gone = OBJECTS.iter().map(Template::id).filter(|id| follows(id) && is_gone(id));
        gone.any(|id| !is_told(client, &self.watches, &self.server, &id))
    }

    /// Checks that an object of the newest commit is as declared.
    pub(crate) fn is_applied(&mut self, sync: usize, index: u8) -> Result<(), String> {
        let head = self.repositories[sync].head.ok_or("nothing is declared")?;
        let set = self.compiled(sync, head).0.ok_or("the commit does not compile")?;
        let declared = set.objects.get(&OBJECTS[usize::from(index)].id()).ok_or("it is not declared")?;
        self.laws.is_as_declared(sync, declared, &mut self.server)
    }

    pub(crate) fn deliver(&mut self, sync: usize) {
        if let Some(event) = self.clients.get_mut(&sync).and_then(|client| client.inbox.pop_front()) {
            self.step(sync, event);
        }
    }

    /// A sync that runs will take in an event.
    pub(crate) fn tell(&mut self, sync: usize, event: Event) {
        if let Some(client) = self.clients.get_mut(&sync) {
            client.inbox.push_back(event);
        }
    }

    /// A watch tells what is new.
    pub(crate) fn pump(&mut self, watch: usize) {
        if self.watches.pump(watch, &self.server) {
            self.idle();
        }
    }

    // ---- repositories ----

    pub(crate) fn compiled(&mut self, sync: usize, number: usize) -> Compiled {
        let widgets = self.serves_widgets();
        let repository = &mut self.repositories[sync];
        let id = &self.laws.syncs[sync];
        let content = &repository.commits[number];
        repository.sets.entry((number, widgets)).or_insert_with(|| content.compile(id, widgets)).clone()
    }

    /// A sync looks at its repository.
    pub(crate) fn poll(&mut self, sync: usize) {
        if !self.clients.contains_key(&sync) {
            return;
        }
        self.repositories[sync].next_poll = self.server.time + PERIOD;
        let event = match self.repositories[sync].head {
            Some(head) if !self.repositories[sync].unreadable => {
                let (declared, findings) = self.compiled(sync, head);
                let again = findings.iter().any(|finding| finding.code == Code::UnknownKind);
                self.repositories[sync].told = Some(Told { head, again, widgets: self.serves_widgets() });
                Event::Compiled { commit: name(head), declared, findings }
            }
            _ => {
                let widgets = self.serves_widgets();
                let repository = &mut self.repositories[sync];
                repository.told = repository.head.map(|head| Told { head, again: true, widgets });
                Event::SourceFailed(Finding::new(Code::Source, "not there"))
            }
        };
        self.tell(sync, event);
    }

    fn serves_widgets(&self) -> bool {
        self.server.serves(&GroupKind::new("example.com", "Widget"))
    }

    /// The time of the next look at a repository.
    pub(crate) fn next_poll(&self, sync: usize) -> Option<Duration> {
        self.clients.get(&sync)?;
        let Repository { head, told, next_poll, .. } = &self.repositories[sync];
        match (head, told) {
            (None, _) => None,
            (Some(head), Some(told)) if *head == told.head => {
                let pause = if told.widgets == self.serves_widgets() { UNCHANGED - PERIOD } else { Duration::ZERO };
                told.again.then(|| *next_poll + pause)
            }
            _ => Some(self.server.time),
        }
    }
}

/// `true` if a sync has heard everything about an object.
fn is_told(client: &Client, watches: &OpenWatches, server: &Server, id: &ObjectId) -> bool {
    let (Client { inbox, joined, .. }, kind) = (client, id.group_kind());
    let told = |revision: &u64| joined.get(&kind) == Some(&true) && watches.has_told(&kind, *revision);
    server.touched.get(id).is_none_or(told)
        && !client.doubts_its_record()
        && !inbox.iter().any(|event| is_about(event, id, &kind))
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
