//! The simulated world around the engine: an API server, its watches, a repository, and the part of the agent that performs
//! commands.

pub(crate) mod api_server;
mod watches;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::compile::declared::{DeclaredObject, DeclaredSet};
use agent::model::finding::{Code, Finding};
use agent::model::object::{GroupKind, Object, ObjectId};
use agent::sync::engine::{Command, Event, Notice, Report, Settings, SourceCommit, State};
use agent::sync::plan::guard::APPROVAL;
use agent::sync::plan::memory::GuardMemory;

use self::api_server::{before_us, is_selected};
use crate::repository::{Repository, sync, widgets};

/// The number of objects that may be deleted in an hour without approval. Those of the hour before may be late.
const SMALL: usize = 10 + 10;

pub(crate) struct World {
    pub(crate) state: State,
    now: Instant,
    version: u64,
    pub(crate) live: BTreeMap<ObjectId, Object>,
    commands: VecDeque<Command>,
    events: VecDeque<Event>,
    watched: BTreeSet<GroupKind>,
    /// Number of lists that the watches began.
    session: u64,
    /// `true` if the API server serves Widgets.
    served: bool,
    commits: Vec<Repository>,
    compiled: BTreeMap<(usize, bool), Option<Arc<DeclaredSet>>>,
    /// What commits declared before the cluster had other Namespaces.
    reselected: Vec<Arc<DeclaredSet>>,
    /// Commits whose last compilation was without Widgets, because they were not served.
    without_widgets: BTreeSet<usize>,
    approval: Option<String>,
    /// Numbers of the commits for which every approval is given that the engine asks for.
    approved: BTreeSet<usize>,
    /// The deletions of the last hour, in the record.
    memory: GuardMemory,
    /// The objects in the inventory that the agent has recorded.
    record: BTreeSet<ObjectId>,
    reported: Option<String>,
    /// The commit in force.
    syncing: Option<String>,
    /// The times of deletions for commits without approval.
    deleted: Vec<Instant>,
    /// Every object that was ever applied, with its hash.
    applied: BTreeSet<(ObjectId, String)>,
    /// Writes to declared objects.
    pub(crate) writes: usize,
}

fn settings() -> Settings {
    Settings {
        sync: sync(),
        in_flight: 3,
        reconcile_timeout: Duration::from_secs(300),
        approval: None,
        how_to_approve: APPROVAL.to_owned(),
        kinds: BTreeSet::new(),
        recorded: BTreeSet::new(),
        memory: GuardMemory::default(),
        git: Arc::default(),
        layout: Default::default(),
        last_in_force: None,
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            state: State::new(settings()),
            now: Instant::now(),
            version: 1,
            live: before_us().into_iter().map(|object| (object.id(), object)).collect(),
            commands: VecDeque::new(),
            events: VecDeque::new(),
            watched: BTreeSet::new(),
            session: 0,
            served: true,
            commits: Vec::new(),
            compiled: BTreeMap::new(),
            reselected: Vec::new(),
            without_widgets: BTreeSet::new(),
            approval: None,
            approved: BTreeSet::new(),
            memory: GuardMemory::default(),
            record: BTreeSet::new(),
            reported: None,
            syncing: None,
            deleted: Vec::new(),
            applied: BTreeSet::new(),
            writes: 0,
        }
    }

    // ---- the repository ----

    pub(crate) fn commit(&mut self, repository: Repository, approved: bool) {
        self.commits.push(repository);
        if approved {
            self.approve();
        }
        self.compile_newest();
    }

    /// The newest commit is compiled again, and the result is this one.
    pub(crate) fn reselect(&mut self, repository: Repository) {
        let follows = |newest: &usize| !self.commits[*newest].broken && self.commits[*newest].dynamic;
        let Some(newest) = self.commits.len().checked_sub(1).filter(follows) else { return };
        self.commits[newest] = repository;
        for served in [false, true] {
            self.reselected.extend(self.compiled.remove(&(newest, served)).flatten());
        }
        self.approve();
        self.compile_newest();
    }

    pub(crate) fn newest(&self) -> &Repository {
        self.commits.last().expect("there was a commit")
    }

    pub(crate) fn approve(&mut self) {
        let Some(newest) = self.commits.len().checked_sub(1) else { return };
        self.approved.insert(newest);
        let findings = self.state.last_report().sync.findings;
        findings.iter().for_each(|finding| self.approve_if_asked(finding));
    }

    /// Gives the approval that the finding asks for, when its commit is an approved one.
    fn approve_if_asked(&mut self, finding: &Finding) {
        let Some(hint) = finding.hint.as_ref().filter(|_| finding.code == Code::EmptySource) else { return };
        let approval = hint.rsplit(' ').next().expect("the approval");
        let commit = approval.split('.').next().expect("the commit");
        if self.approved.contains(&number(commit)) {
            self.approval = Some(approval.to_owned());
            self.step(Event::Approved(self.approval.clone()));
        }
    }

    pub(crate) fn unreadable(&mut self) {
        self.step(Event::SourceFailed(Finding::new(Code::Source, "not there")));
    }

    fn compile_newest(&mut self) {
        let Some(newest) = self.commits.len().checked_sub(1) else { return };
        let declared = self.compiled(newest);
        let findings = if declared.is_none() { vec![Finding::new(Code::NameCollision, "twice")] } else { Vec::new() };
        self.step(Event::Compiled { commit: name(newest), declared, findings });
    }

    pub(super) fn compiled(&mut self, number: usize) -> Option<Arc<DeclaredSet>> {
        let (repository, served) = (&self.commits[number], self.served);
        if served {
            self.without_widgets.remove(&number);
        } else {
            self.without_widgets.insert(number);
        }
        self.compiled.entry((number, served)).or_insert_with(|| repository.compile(served)).clone()
    }

    /// The commit in force, and `true` if it was compiled when Widgets were served.
    pub(crate) fn in_force(&self) -> Option<(&Repository, bool)> {
        let commit = self.state.last_report().sync.commit;
        let number = (!commit.is_empty()).then(|| number(&commit))?;
        Some((&self.commits[number], !self.without_widgets.contains(&number)))
    }

    // ---- the agent ----

    pub(crate) fn step(&mut self, event: Event) {
        let mut asked = Vec::new();
        for command in self.state.step(event, self.now) {
            match command {
                Command::Watch(kinds) => kinds.iter().for_each(|kind| self.watch(kind)),
                Command::Audit(kind, _) => {
                    let shown = |object: &&Object| object.group_kind() == kind && (self.served || kind != widgets());
                    let found: Vec<Object> = self.live.values().filter(shown).cloned().collect();
                    self.events.extend(found.into_iter().map(|object| Event::Audited(Box::new(object))));
                    self.events.push_back(Event::AuditEnded(kind, true));
                }
                Command::Report(report) => self.report(*report),
                Command::Notice(Notice::Syncing { commit, .. }) => self.syncing = Some(commit),
                Command::Notice(Notice::Failed(finding)) => asked.push(finding),
                Command::Notice(_) | Command::Share(_) => {}
                // The first answer counts: the engine takes in no other while a commit waits to come in force.
                Command::Restore(_) if self.events.iter().any(|event| matches!(event, Event::Restored { .. })) => {}
                Command::Restore(SourceCommit { commit, .. }) => {
                    self.events.push_back(Event::Restored { commit, declared: None });
                }
                Command::Apply(declared, commit, onto) => {
                    self.may_be_applied(&declared);
                    self.commands.push_back(Command::Apply(declared, commit, onto));
                }
                Command::Withdraw => self.withdraw_deletions(),
                command => self.commands.push_back(command),
            }
        }
        asked.iter().for_each(|finding| self.approve_if_asked(finding));
    }

    fn report(&mut self, report: Report) {
        if !report.sync.commit.is_empty() {
            self.reported = Some(report.sync.commit);
        }
        if let Some(resources) = report.resources {
            self.record = resources.into_iter().map(|resource| resource.id).collect();
        }
    }

    /// Checks that the object that this one depends on was applied before, in the version that is declared with this one.
    fn may_be_applied(&self, declared: &DeclaredObject) {
        let Some(on) = declared.depends_on() else { return };
        let on = on.rsplit('/').next().expect("a name");
        let form = |set: &Arc<DeclaredSet>| {
            let same = set.objects.get(&declared.id).is_some_and(|object| object.hash == declared.hash);
            let dependency = set.objects.values().find(|object| object.id.name() == on).filter(|_| same)?;
            Some((dependency.id.clone(), dependency.hash.to_string()))
        };
        let mut forms = self.compiled.values().flatten().chain(&self.reselected).filter_map(form);
        assert!(forms.any(|form| self.applied.contains(&form)), "{} before {on}", declared.id);
    }

    pub(crate) fn restart(&mut self) {
        self.commands.clear();
        self.events.clear();
        self.watched.clear();
        self.syncing = None;
        let ours = |object: &&Object| is_selected(object) && (self.served || object.group_kind() != widgets());
        let kinds = match self.record.is_empty() {
            true => self.live.values().filter(ours).map(Object::group_kind).collect(),
            false => self.record.iter().map(ObjectId::group_kind).collect(),
        };
        self.state = State::new(Settings {
            approval: self.approval.clone(),
            memory: self.memory.clone(),
            kinds,
            recorded: self.record.clone(),
            last_in_force: self.reported.clone().map(|commit| SourceCommit { commit, ..Default::default() }),
            ..settings()
        });
        self.compile_newest();
    }

    // ---- time ----

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.step(Event::Woken);
    }

    /// Answers commands, delivers events and lets time pass until the engine has nothing to do.
    pub(crate) fn rest(&mut self) {
        assert!(self.rested(None), "it does not come to rest: {:#?}", self.state.last_report());
    }

    /// Lets everything come to its end, but lets at most so much time pass: the engine retries a blocked object for ever.
    pub(crate) fn rest_for(&mut self, time: Duration) {
        assert!(self.rested(Some(self.now + time)), "it does not come to rest: {:#?}", self.state.last_report());
    }

    fn rested(&mut self, until: Option<Instant>) -> bool {
        for _ in 0..5000 {
            if !self.commands.is_empty() {
                self.answer();
            } else if !self.events.is_empty() {
                self.deliver();
            } else if let Some(wake) = self.state.next_wake().filter(|wake| until.is_none_or(|until| *wake <= until)) {
                self.now = self.now.max(wake);
                self.step(Event::Woken);
            } else {
                return true;
            }
        }
        false
    }
}

fn name(number: usize) -> String {
    format!("{number:040}")
}

fn number(commit: &str) -> usize {
    commit.parse().expect("made of a number")
}
