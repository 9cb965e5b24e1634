//! Runs a schedule: its steps one after the other, and then everything to its end.

use std::hash::Hasher as _;
use std::time::Duration;

use agent::model::finding::{Code, Resource};
use agent::model::metadata::annotation;
use agent::model::object::ObjectId;
use agent::sync::engine::Event;
use sandbox::object;
use serde_json::json;

use crate::actors;
use crate::client::Client;
use crate::faults::Fault;
use crate::schedule::{End, Schedule, Step};
use crate::server::{MERGE, sync_path};
use crate::source::{Content, OBJECTS, needs};
use crate::world::{World, name};

/// The longest time in which everything that can come to its end does: the longest pause of anything that is tried again
/// and again, some times over.
const END: Duration = Duration::from_secs(3600);

/// The longest time in which everything that does not fail, and does not depend on what fails, is as declared: longer than any
/// pause before something is tried again.
const SOON: Duration = Duration::from_secs(600);

/// So many approvals follow each other at the most, as more deletions are found.
const APPROVALS: usize = 3;

/// The objects that each sync declares in the end, by their index in [`crate::source::OBJECTS`].
const LAST: [&[u8]; 3] = [&[0, 1, 2, 3, 4, 5, 6], &[7, 8], &[9]];
/// Those of a RootSync and tenants.
const LAST_OF_TENANTS: [&[u8]; 4] = [&[0, 1, 2, 3, 4, 5, 6], &[10, 11], &[12], &[13]];

/// What is kept of a run beside its result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Nothing,
    /// Each step, request and event is printed.
    Trace,
    /// A number that follows from all that has happened: two runs that differ have different ones.
    Print,
}

/// Runs a schedule, and gives the print of what has happened, or 0 if it is not asked for. `Err` tells which law was broken.
pub(crate) fn run(schedule: &Schedule, look: Look) -> Result<u64, String> {
    let mut world = World::new(schedule, look);
    for step in &schedule.steps {
        if world.trace {
            println!("{step:?}");
        }
        world.happen(step);
        if matches!(step, Step::Run | Step::Wait(_)) {
            world.lose_restored_lease();
        }
        world.upheld()?;
    }
    world.end_well(schedule.end)?;
    Ok(world.print.map_or(0, |print| print.finish()))
}

impl World {
    fn upheld(&mut self) -> Result<(), String> {
        self.laws.broken.take().map_or(Ok(()), Err)
    }

    fn pick(&self, pick: u8) -> usize {
        usize::from(pick) % self.repositories.len()
    }

    fn happen(&mut self, step: &Step) {
        match step {
            Step::Answer(pick) | Step::Perform(pick) => self.answer_one(*pick, matches!(step, Step::Answer(_))),
            Step::Deliver(pick, times) => (0..*times).for_each(|_| self.deliver(self.pick(*pick))),
            Step::Pump(pick) => {
                let behind = self.watches.behind(&self.server);
                if let Some(watch) = behind.get(usize::from(*pick) % behind.len().max(1)) {
                    self.pump(*watch);
                }
            }
            Step::React => self.server.react(),
            Step::Run => self.rest(Duration::ZERO),
            Step::Wait(millis) => {
                self.jump(Duration::from_millis(u64::from(*millis)));
                self.wake();
            }
            Step::Commit(pick, content) => self.commit(self.pick(*pick), content.clone()),
            Step::Rewind(pick, by) => self.rewind(self.pick(*pick), usize::from(*by)),
            Step::Unreadable(pick) => {
                let sync = self.pick(*pick);
                (self.repositories[sync].unreadable, self.repositories[sync].told) = (true, None);
            }
            Step::Poll(pick) => self.poll(self.pick(*pick)),
            Step::Approve(pick) => self.approve(self.pick(*pick)),
            Step::Revoke(pick) => self.revoke(self.pick(*pick)),
            Step::Expire(pick) => {
                self.watches.end(usize::from(*pick / 2), pick % 2 == 0);
                self.idle();
            }
            Step::Twice(pick) => {
                self.watches.repeat(usize::from(*pick));
                self.idle();
            }
            Step::Audit(pick) => {
                let sync = self.pick(*pick);
                self.tell(sync, Event::AuditDue);
            }
            Step::Crash(performed) => {
                self.end(*performed);
                self.start();
            }
            Step::BreakDown(pick) => {
                self.break_down(self.pick(*pick), Duration::ZERO);
                self.idle();
            }
            Step::Act(act, index) => {
                let sync = self.laws.syncs[usize::from(*index) % self.laws.syncs.len()].clone();
                actors::act(&mut self.server, *act, *index, &sync);
                self.laws.acted(&self.server);
            }
            Step::Withdraw(pick, index, readable) => self.server.rights.withdraw(self.pick(*pick), *index, *readable),
            Step::Give(pick, told) => self.give(self.pick(*pick), *told),
            Step::Fault(fault) => self.server.faults.push(*fault),
            Step::Mend => self.mend(),
            Step::Backup => self.backup = Some((self.server.state.clone(), self.laws.owners.clone())),
            Step::Restore => self.restore(),
        }
    }

    /// The branch goes back by so many commits.
    fn rewind(&mut self, sync: usize, by: usize) {
        let repository = &mut self.repositories[sync];
        repository.head = repository.head.map(|head| head.saturating_sub(by));
    }

    fn give(&mut self, sync: usize, told: bool) {
        self.server.rights.give(sync);
        if told {
            self.tell(sync, Event::RightsChanged);
        }
    }

    fn answer_one(&mut self, pick: u8, arrives: bool) {
        let (waiting, ghosts) = (self.waiting(), self.ghosts.len());
        let all = waiting.len() + ghosts;
        if all == 0 {
            return;
        }
        let at = usize::from(pick) % all;
        match waiting.get(at) {
            Some((sync, place)) => self.answer(*sync, *place, arrives),
            None => {
                let (sync, pending) = self.ghosts.remove(at - waiting.len());
                let _ = self.perform(sync, &pending, true);
            }
        }
    }

    pub(crate) fn commit(&mut self, sync: usize, content: Content) {
        let repository = &mut self.repositories[sync];
        repository.commits.push(content);
        repository.head = Some(repository.commits.len() - 1);
        if repository.unreadable {
            (repository.unreadable, repository.told) = (false, None);
        }
    }

    /// An operator follows the hint of held deletions, or sets an approval that nothing asked for.
    fn approve(&mut self, sync: usize) {
        let report = self.clients.get(&sync).map(|client| client.state.last_report());
        let findings = report.map(|report| report.sync.findings).unwrap_or_default();
        let offered = findings.iter().find(|finding| finding.code == Code::EmptySource);
        let hint = offered.and_then(|finding| finding.hint.as_deref()).unwrap_or_default();
        let approval = hint.rsplit_once(' ').map_or_else(|| name(0), |(_, approval)| approval.to_owned());
        self.annotate(sync, Some(approval));
    }

    /// An operator takes an approval back. It counts as soon as the sync has heard of it.
    fn revoke(&mut self, sync: usize) {
        self.annotate(sync, None);
    }

    fn annotate(&mut self, sync: usize, approval: Option<String>) {
        let path = sync_path(&self.laws.syncs[sync]);
        let patch = json!({"metadata": {"annotations": {annotation::APPROVE_PRUNE: approval}}});
        self.server.ask("PATCH", &path, MERGE, &patch).expect("a sync can be annotated");
        self.tell(sync, Event::Approved(approval));
    }

    fn mend(&mut self) {
        self.server.faults.clear();
        for repository in &mut self.repositories {
            if std::mem::take(&mut repository.unreadable) {
                repository.told = None;
            }
        }
    }

    fn restore(&mut self) {
        let Some((state, owners)) = &self.backup else { return };
        self.server.restore(&state.clone());
        self.laws.owners.clone_from(owners);
        self.laws.restored();
        self.restored = true;
        self.watches.expire_all();
        let Self { clients, server, process, now, .. } = self;
        let Some(process) = process else { return };
        let _entered = process.executor.enter();
        for client in clients.values_mut() {
            let namespace = client.id.namespace.clone();
            let group = |name: &str| server.state.find("resourcegroups.kpt.dev", &namespace, name);
            client.hear_groups(|name| object::revision(group(name)?).parse().ok(), now);
        }
    }

    /// The version of the Lease has fallen, and the agent ends as soon as it renews it.
    fn lose_restored_lease(&mut self) {
        if self.restored {
            self.end(u8::MAX);
            self.perform_ghosts();
            self.restored = false;
            self.start();
        }
    }

    fn perform_ghosts(&mut self) {
        while let Some((sync, pending)) = self.ghosts.pop() {
            let _ = self.perform(sync, &pending, true);
        }
    }

    // ---- time ----

    /// Whatever waits for this time happens.
    fn wake(&mut self) {
        self.wake_clients();
        let now = self.now.instant;
        for sync in 0..self.repositories.len() {
            let wake = self.clients.get(&sync).and_then(|client| client.state.next_wake());
            if wake.is_some_and(|at| at <= now) {
                self.step(sync, Event::Woken);
            }
            if self.next_poll(sync).is_some_and(|at| at <= self.server.time) {
                self.poll(sync);
            }
        }
    }

    /// Lets everything come to its end, while at most so much time passes.
    pub(crate) fn rest(&mut self, time: Duration) {
        let until = self.server.time + time;
        for round in 0.. {
            self.wake();
            let busy = self.busy();
            if self.laws.broken.is_some() {
                return;
            }
            if !busy {
                let next = self.next_time().filter(|at| *at <= until);
                let now = self.server.time;
                match next {
                    _ if !self.is_following() && now < until => self.pass(next.unwrap_or(until)),
                    Some(at) => self.jump(at.saturating_sub(now)),
                    None => break,
                }
            }
            if round > 3_000 {
                self.laws.breaks("it does not come to rest");
                return;
            }
        }
        self.jump(until.saturating_sub(self.server.time));
    }

    /// Does everything that can be done at this time once. `true` if there was anything.
    fn busy(&mut self) -> bool {
        let mut busy = false;
        self.perform_ghosts();
        for (line, _) in self.waiting() {
            if self.has_waiting(line) {
                self.answer(line, 0, true);
                busy = true;
            }
        }
        self.server.react();
        // From the last on, since a watch may end.
        for watch in self.watches.behind(&self.server).into_iter().rev() {
            self.pump(watch);
            busy = true;
        }
        for sync in 0..self.repositories.len() {
            while self.clients.get(&sync).is_some_and(|client| !client.inbox.is_empty()) && self.laws.broken.is_none() {
                self.deliver(sync);
                busy = true;
            }
        }
        busy
    }

    /// The next time at which something happens.
    fn next_time(&self) -> Option<Duration> {
        let wakes = self.clients.values().filter_map(Client::next_wake);
        let wakes = wakes.map(|at| at.saturating_duration_since(self.begin));
        let polls = (0..self.repositories.len()).filter_map(|sync| self.next_poll(sync));
        wakes.chain(polls).min()
    }

    // ---- the end ----

    /// Faults end, and what is in the way is taken away: everything must come to its end, and stay so.
    fn end_well(&mut self, end: End) -> Result<(), String> {
        self.lose_restored_lease();
        self.fail_alone()?;
        self.mend();
        (0..self.repositories.len()).for_each(|sync| self.server.rights.give(sync));
        if end.rests {
            self.rest(END);
        }
        self.upheld()?;
        self.clean();
        self.declare_all();
        self.rest_with_approvals(END);
        self.upheld()?;
        for sync in 0..self.repositories.len() {
            let Some(client) = self.clients.get(&sync) else { return Err(format!("sync {sync} does not start")) };
            if !client.state.is_synced() {
                let report = client.state.last_report();
                let dump = client.state.dump(self.now.instant);
                return Err(format!(
                    "sync {sync} does not come to its end: {:#?} {:#?} {dump:#?}",
                    report.source, report.sync
                ));
            }
            if client.is_writing() {
                return Err(format!("sync {sync} never ends to write"));
            }
        }
        self.laws.writes.clear();
        self.rest(END);
        if end.restarts {
            self.end(0);
            self.start();
            self.rest(END);
        }
        self.upheld()?;
        match self.laws.writes.first() {
            Some(write) => Err(format!("a write at rest, or after a restart: {write}")),
            None => Ok(()),
        }
    }

    /// People take away what is in the way.
    fn clean(&mut self) {
        actors::clean(&mut self.server);
        self.laws.acted(&self.server);
    }

    /// Each repository has its own objects once more.
    fn declare_all(&mut self) {
        for (sync, objects) in self.last().into_iter().enumerate() {
            self.commit(sync, Content::plain(&objects));
        }
    }

    /// The objects that each sync declares in the end: those that there may be, or all of its own where that would be none.
    fn last(&self) -> Vec<Vec<u8>> {
        let has_tenants = self.laws.syncs.iter().any(|sync| sync.scope().is_some());
        let last = if has_tenants { &LAST_OF_TENANTS[..] } else { &LAST };
        let there = |all: &&[u8]| all.iter().copied().filter(|index| self.objects.contains(index)).collect::<Vec<_>>();
        let last = last[..self.repositories.len()].iter();
        last.map(|all| Some(there(all)).filter(|there| !there.is_empty()).unwrap_or_else(|| all.to_vec())).collect()
    }

    /// Approvals are asked for one after the other, as more deletions are found.
    fn rest_with_approvals(&mut self, time: Duration) {
        for _ in 0..APPROVALS {
            self.rest(time);
            if !self.approve_held() {
                return;
            }
        }
        self.rest(time);
    }

    /// An operator approves the deletions of each sync that is not synced. `false` if all are.
    fn approve_held(&mut self) -> bool {
        let held = self.clients.iter().filter(|(_, client)| !client.state.is_synced()).map(|(sync, _)| *sync);
        let held = held.collect::<Vec<_>>();
        held.iter().for_each(|sync| self.approve(*sync));
        !held.is_empty()
    }

    /// Objects that fail, however long, and those that a sync has no rights on delay only what depends on them.
    fn fail_alone(&mut self) -> Result<(), String> {
        let lasting = std::mem::take(&mut self.server.faults).into_iter().filter(Fault::is_of_objects_for_ever);
        let lasting = lasting.collect::<Vec<_>>();
        if lasting.is_empty() && self.server.rights.are_complete() {
            return Ok(());
        }
        self.mend();
        self.server.faults.clone_from(&lasting);
        self.clean();
        self.declare_all();
        let mut found = Ok(());
        for approved in 0..=APPROVALS {
            self.rest(SOON);
            self.upheld()?;
            found = self.others_are_applied(&lasting);
            // The rest fails for ever, and asks for no approval.
            if found.is_ok() {
                break;
            }
            if approved < APPROVALS {
                self.approve_held();
            }
        }
        found
    }

    /// Checks that all is as declared but for what fails, and what depends on that.
    fn others_are_applied(&mut self, lasting: &[Fault]) -> Result<(), String> {
        let rights = self.server.rights.clone();
        // A sync without rights on an object does not release it either.
        let fails =
            |index: u8| lasting.iter().any(|fault| fault.is_of_object(index)) || !rights.lacking(index).is_empty();
        for (sync, objects) in self.last().into_iter().enumerate() {
            let possible = objects.into_iter().filter(|index| !needs(*index).iter().any(|on| fails(*on)));
            let (failing, free): (Vec<u8>, Vec<u8>) = possible.partition(|index| fails(*index));
            for index in free {
                if self.is_awaited_from_another(sync, index, fails) {
                    continue;
                }
                self.is_applied(sync, index).map_err(|wrong| format!("object {index} fails alone, but {wrong}"))?;
            }
            for index in failing.into_iter().filter(|index| rights.lacking(*index).contains(&sync)) {
                let id = OBJECTS[usize::from(index)].id();
                if self.is_applied(sync, index).is_err() && !self.is_told(sync, &id) {
                    return Err(format!("sync {sync} has no rights on {id}, and does not say so"));
                }
            }
        }
        Ok(())
    }

    /// `true` for an object of another sync that cannot delete all that it has: it may have to delete this one, or hand it over,
    /// after one whose deletion fails.
    fn is_awaited_from_another(&self, sync: usize, index: u8, fails: impl Fn(u8) -> bool) -> bool {
        let owner = |index: u8| {
            let live = self.server.find(&OBJECTS[usize::from(index)].id())?;
            self.laws.owners.get(object::uid(live)).copied()
        };
        let of = owner(index).filter(|of| *of != sync);
        of.is_some() && (0..OBJECTS.len() as u8).any(|other| fails(other) && owner(other) == of)
    }

    /// `true` if the status of a sync has a finding about an object.
    fn is_told(&self, sync: usize, id: &ObjectId) -> bool {
        let findings =
            self.clients.get(&sync).map(|client| client.state.last_report().sync.findings).unwrap_or_default();
        let names = |resource: &Resource| (&*resource.kind, &*resource.name) == (id.kind(), id.name());
        findings.iter().any(|finding| finding.places.iter().filter_map(|place| place.resource.as_ref()).any(names))
    }
}
