//! Several agents and one Lease: each is the agent's own candidate with its fence, beside slow and lost requests, pauses, cut networks
//! and deaths. Two of them never write in one term.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use agent::io::kubernetes::connections::Connections;
use agent::io::kubernetes::fence::Fence;
use agent::io::kubernetes::lease::{LEASE, LeaseApi};
use agent::model::metadata::CONTROLLER_NAMESPACE;
use agent::run::leader::{Candidacy, Leader, LeaderConnections};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::executor::Executor;
use crate::server::{APPLY, Performed, Server};
use crate::wire::{Pending, Wire};

/// The duration of the Lease.
const DURATION: Duration = Duration::from_secs(10);
/// The part of it for which a write may be on its way.
pub(crate) const IN_FLIGHT: Duration = Duration::from_secs(2);
/// The time between two looks at what the agents ask.
const SLICE: Duration = Duration::from_millis(100);
/// Agents at a time.
const AGENTS: usize = 3;
/// What happens in a schedule.
const HAPPENINGS: usize = 25;
/// The object that all agents write.
const OBJECT: &str = "/api/v1/namespaces/config-management-system/configmaps/written";

/// A process of the agent.
struct LeaderProcess {
    identity: String,
    lease: Wire,
    writes: Wire,
    gate: Arc<Gate>,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
    /// Nothing that it sends arrives.
    is_cut: bool,
}

/// Stops a process as SIGSTOP does: time passes, and it does nothing.
#[derive(Default)]
struct Gate {
    is_closed: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

struct Gated<F> {
    gate: Arc<Gate>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.gate.is_closed.load(Ordering::Relaxed) {
            *self.gate.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.work.as_mut().poll(context)
    }
}

impl Gate {
    fn set(&self, is_closed: bool) {
        self.is_closed.store(is_closed, Ordering::Relaxed);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }
}

/// One life of an agent: it stands by, leads, writes all the time, and ends when it is told to or has lost the Lease.
async fn live(lease: kube::Client, writes: kube::Client, identity: String, stop: Arc<Notify>) {
    let fence = Fence::default();
    let connections = LeaderConnections { of_lease: Connections::default(), of_others: Connections::default() };
    let mut leader = Leader::new(LeaseApi::new(lease), fence.clone(), connections, identity.clone(), DURATION);
    tokio::select! {
        biased;
        held = leader.acquire(Candidacy::Patient) => assert!(held.is_ok_and(|held| held), "there is a Lease"),
        () = stop.notified() => return leader.release().await,
    }
    let work = async {
        let mut sent = JoinSet::new();
        loop {
            if fence.is_open() {
                let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "written"}, "data": {"by": identity}});
                let request = http::Request::patch(format!("{OBJECT}?fieldManager=agent&force=true"));
                let request = request.header("content-type", APPLY).body(body.to_string().into_bytes());
                let (client, request) = (writes.clone(), request.expect("it is valid"));
                sent.spawn(async move { client.request_text(request).await.map(drop) });
            }
            sleep(SLICE * 2).await;
        }
    };
    tokio::select! {
        biased;
        _ = leader.keep() => {}
        () = work => {}
        () = stop.notified() => {
            // An agent that ends finishes what it has sent before it gives the Lease back.
            sleep(IN_FLIGHT).await;
            leader.release().await;
        }
    }
}

/// A request that has left its agent.
struct Sent {
    identity: String,
    writes: bool,
    /// It does not arrive before.
    due: Duration,
    /// The last moment at which it may arrive.
    until: Duration,
    is_cut: bool,
    pending: Pending,
}

/// The longest time for which a request about the Lease is on its way.
const SLOW: Duration = Duration::from_secs(6);

/// Agents, a cluster, and what is on its way between them.
struct Leaders {
    executor: Executor,
    server: Server,
    agents: Vec<LeaderProcess>,
    born: usize,
    sent: Vec<Sent>,
    in_flight: Duration,
    random: u64,
    /// The agent that wrote in a term, which the Lease counts.
    terms: BTreeMap<i64, String>,
    written: usize,
}

/// Runs a schedule in which a write may be on its way for so long. `Err` tells which law was broken.
pub(crate) fn run(seed: u64, in_flight: Duration) -> Result<(), String> {
    let mut leaders = Leaders {
        executor: Executor::new(),
        server: Server::new(&[]),
        agents: Vec::new(),
        born: 0,
        sent: Vec::new(),
        in_flight,
        random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        terms: BTreeMap::new(),
        written: 0,
    };
    for _ in 0..HAPPENINGS {
        leaders.happen();
        let slices = leaders.pick(80);
        (0..slices).try_for_each(|_| leaders.slice(false))?;
    }
    leaders.end_well()
}

impl Leaders {
    /// A number below `below`.
    fn pick(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).unwrap_or(0) % below
    }

    fn start(&mut self) {
        let _entered = self.executor.enter();
        self.born += 1;
        let identity = format!("agent-{}", self.born);
        let (asked, gate, stop) = (Arc::new(Notify::new()), Arc::<Gate>::default(), Arc::new(Notify::new()));
        let (lease, writes) = (Wire::new(&asked), Wire::new(&asked));
        let life = live(lease.client(), writes.client(), identity.clone(), Arc::clone(&stop));
        let task = tokio::spawn(Gated { gate: Arc::clone(&gate), work: Box::pin(life) });
        self.agents.push(LeaderProcess { identity, lease, writes, gate, stop, task, is_cut: false });
    }

    fn happen(&mut self) {
        let at = self.pick(AGENTS);
        let kind = self.pick(8);
        let Some(agent) = self.agents.get_mut(at) else { return };
        match kind {
            0 | 1 => agent.gate.set(true),
            2 | 3 => agent.is_cut = true,
            4 => agent.task.abort(),
            5 => agent.stop.notify_one(),
            _ => self.recover(),
        }
    }

    fn recover(&mut self) {
        for agent in &mut self.agents {
            agent.gate.set(false);
            agent.is_cut = false;
        }
    }

    /// Lets a little time pass, in which some of what is on its way arrives; or all of it.
    fn slice(&mut self, all: bool) -> Result<(), String> {
        self.executor.settle();
        self.collect();
        if self.agents.len() < AGENTS && (all || self.pick(10) == 0) {
            self.start();
        }
        for sent in std::mem::take(&mut self.sent) {
            let luck = self.pick(10);
            match self.server.time {
                now if now > sent.until => {}
                now if now < sent.due && !all => self.sent.push(sent),
                // What is sent while the network is cut is lost, and the agent hears nothing.
                _ if sent.is_cut => {
                    let due = sent.until + SLICE;
                    self.sent.push(Sent { due, ..sent });
                }
                _ if luck == 0 && !all => {}
                _ => self.arrive(sent, all || luck > 2)?,
            }
        }
        self.executor.settle();
        self.server.time += SLICE;
        self.executor.jump(SLICE);
        Ok(())
    }

    /// Takes up what the agents have sent, and forgets those that have ended. One of eight requests takes long.
    fn collect(&mut self) {
        let now = self.server.time;
        for agent in std::mem::take(&mut self.agents) {
            for (wire, writes) in [(&agent.lease, false), (&agent.writes, true)] {
                for pending in wire.take_all() {
                    let longest = if writes { self.in_flight } else { SLOW };
                    let slices = usize::try_from(longest.as_millis() / SLICE.as_millis()).unwrap_or(0);
                    let waits = if self.pick(8) == 0 { self.pick(slices) } else { 0 };
                    let due = now + SLICE * u32::try_from(waits).unwrap_or(0);
                    let (identity, is_cut) = (agent.identity.clone(), agent.is_cut);
                    self.sent.push(Sent { identity, writes, due, until: now + longest, is_cut, pending });
                }
            }
            if !agent.task.is_finished() {
                self.agents.push(agent);
            }
        }
    }

    /// A request reaches the API server; its answer may be lost.
    fn arrive(&mut self, sent: Sent, is_answered: bool) -> Result<(), String> {
        let Sent { identity, writes, mut pending, .. } = sent;
        // The agents look at the Lease from time to time too.
        if pending.is_watch() {
            return Ok(());
        }
        if writes {
            self.upheld(&identity)?;
            self.written += 1;
        }
        if let Performed::Done(reply) = self.server.plain(&pending.incoming)
            && is_answered
        {
            pending.reply = Some(reply);
            pending.answer();
        }
        Ok(())
    }

    /// The agent that writes holds the Lease, or the last one that did; and no other has written in its term.
    fn upheld(&mut self, identity: &str) -> Result<(), String> {
        let lease = self.server.state.find("leases.coordination.k8s.io", CONTROLLER_NAMESPACE, LEASE);
        let spec = lease.ok_or("a write before there is a Lease")?["spec"].clone();
        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        if !holder.is_empty() && holder != identity {
            return Err(format!("{identity} writes while {holder} holds the Lease"));
        }
        let term = spec["leaseTransitions"].as_i64().unwrap_or(0);
        let writer = self.terms.entry(term).or_insert_with(|| identity.to_owned());
        if writer == identity { Ok(()) } else { Err(format!("{identity} and {writer} write in the term {term}")) }
    }

    /// When nothing is in the way any more, an agent writes.
    fn end_well(&mut self) -> Result<(), String> {
        self.recover();
        let before = self.written;
        (0..400).try_for_each(|_| self.slice(true))?;
        if self.written == before { Err("no agent writes in the end".to_owned()) } else { Ok(()) }
    }
}
