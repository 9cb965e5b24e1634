//! Starts the clusters, agents and syncs of stories.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::agent_process::{Agent, Log};
use tests::cluster::{Cluster, Kind, root_sync_path};
use tests::forwarder::Forwarder;
use tests::repository::Repository;
use tests::wait::await_condition;

/// The agent's program.
pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_agent-for-stories");

/// Lines of an agent's log that a failed story shows.
const SHOWN: usize = 60;

/// A cluster with an agent that serves its RootSyncs.
pub(crate) struct World {
    // Dropped before the cluster, so that it does not complain about its loss.
    _agent: Agent,
    pub(crate) cluster: Cluster,
    /// Where the agent serves `/metrics`.
    pub(crate) address: String,
    log: Log,
}

/// One of each kind, made when a story asks for it.
static SHARED: [Mutex<Option<Arc<World>>>; Kind::ALL.len()] = [const { Mutex::new(None) }; Kind::ALL.len()];

thread_local! {
    /// Logs of the agents that the story of this thread has seen, each from a line on.
    static LOGS: RefCell<Vec<(Log, usize)>> = const { RefCell::new(Vec::new()) };
}

/// The cluster that all stories share which need none of their own. Their syncs and Namespaces differ.
pub(crate) fn shared(kind: Kind) -> Result<Arc<World>> {
    let mut shared = SHARED[kind as usize].lock().unwrap_or_else(PoisonError::into_inner);
    let world = match shared.as_ref() {
        Some(world) => Arc::clone(world),
        None => {
            let cluster = installed(kind)?;
            let agent = agent(&cluster, &[])?;
            let (address, log) = (agent.address()?, agent.log().clone());
            Arc::clone(shared.insert(Arc::new(World { _agent: agent, cluster, address, log })))
        }
    };
    remember(&world.log);
    Ok(world)
}

/// Ends the shared clusters, which a static would keep for ever.
pub(crate) fn end() {
    for shared in &SHARED {
        shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// A cluster of its own, with our CRDs.
pub(crate) fn installed(kind: Kind) -> Result<Cluster> {
    let cluster = Cluster::start(kind)?;
    cluster.install()?;
    Ok(cluster)
}

/// An agent for one repository has the rights of whoever starts it, one for sync objects those of an installation.
fn kubeconfig(cluster: &Cluster, args: &[&str]) -> PathBuf {
    if args.contains(&"--repo") { cluster.kubeconfig().to_owned() } else { cluster.kubeconfig_of_agent() }
}

/// An agent of its own.
pub(crate) fn agent(cluster: &Cluster, args: &[&str]) -> Result<Agent> {
    let agent = Agent::start(Path::new(AGENT), &kubeconfig(cluster, args), args)?;
    remember(agent.log());
    Ok(agent)
}

/// An agent of its own with these arguments and environment variables alone.
pub(crate) fn agent_with(cluster: &Cluster, args: &[&str], environment: &[(&str, &str)]) -> Result<Agent> {
    let agent = Agent::start_with(Path::new(AGENT), &kubeconfig(cluster, args), args, environment)?;
    remember(agent.log());
    Ok(agent)
}

/// An agent of its own whose connections to the API server go through a forwarder.
pub(crate) fn agent_through_forwarder(cluster: &Cluster, args: &[&str]) -> Result<(Forwarder, Agent)> {
    let (forwarder, file) = Forwarder::before(&cluster.kubeconfig_of_agent())?;
    let agent = Agent::start(Path::new(AGENT), file.path(), args)?;
    // It reads the file when it starts.
    agent.address()?;
    await_condition("the agent has read its kubeconfig", || {
        let said = agent.log().lines(0).join("\n");
        ensure!(said.contains("Lease"), "{said}");
        Ok(())
    })?;
    remember(agent.log());
    Ok((forwarder, agent))
}

/// Waits until the agent has said this.
pub(crate) fn says(agent: &Agent, text: &str) -> Result<()> {
    await_condition(&format!("the agent says: {text}"), || {
        let said = agent.log().lines(0).join("\n");
        ensure!(said.contains(text), "{said}");
        Ok(())
    })
}

/// Shows the last lines of this log when the story fails.
pub(crate) fn remember(log: &Log) {
    let from = log.lines(0).len();
    LOGS.with_borrow_mut(|logs| logs.push((log.clone(), from)));
}

/// A new story begins on this thread.
pub(crate) fn forget_logs() {
    LOGS.with_borrow_mut(Vec::clear);
}

/// The last log lines of the agents of this thread's story.
pub(crate) fn logs() -> String {
    let last = |(log, from): &(Log, usize)| {
        let lines = log.lines(*from);
        format!("the agent said last:\n{}\n", lines[lines.len().saturating_sub(SHOWN)..].join("\n"))
    };
    LOGS.with_borrow(|logs| logs.iter().map(last).collect())
}

/// A RootSync and the repository that it follows.
pub(crate) struct Sync<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: String,
    pub(crate) repository: Arc<Repository>,
}

impl<'a> Sync<'a> {
    /// Commits a hierarchical repository and makes the RootSync `name` for it.
    pub(crate) fn hierarchical(
        cluster: &'a Cluster,
        name: &str,
        repository: impl Into<Arc<Repository>>,
    ) -> Result<Self> {
        Self::create(cluster, name, repository.into(), "hierarchy", &Value::Null)
    }

    /// Commits an unstructured repository and makes the RootSync `name` for it.
    pub(crate) fn unstructured(
        cluster: &'a Cluster,
        name: &str,
        repository: impl Into<Arc<Repository>>,
    ) -> Result<Self> {
        Self::create(cluster, name, repository.into(), "unstructured", &Value::Null)
    }

    /// Commits an unstructured repository and makes the RootSync `name` for it with this `spec.override`.
    pub(crate) fn with_override(
        cluster: &'a Cluster,
        name: &str,
        repository: impl Into<Arc<Repository>>,
        overrides: &Value,
    ) -> Result<Self> {
        Self::create(cluster, name, repository.into(), "unstructured", overrides)
    }

    /// Makes the RootSync `name` for a directory of an unstructured repository.
    pub(crate) fn of_directory(
        cluster: &'a Cluster,
        name: &str,
        repository: Arc<Repository>,
        dir: &str,
    ) -> Result<Self> {
        cluster.create_root_sync_with(name, &repository, ("unstructured", dir), &Value::Null)?;
        Ok(Self { cluster, name: name.to_owned(), repository })
    }

    fn create(
        cluster: &'a Cluster,
        name: &str,
        repository: Arc<Repository>,
        format: &str,
        overrides: &Value,
    ) -> Result<Self> {
        repository.commit()?;
        cluster.create_root_sync_with(name, &repository, (format, ""), overrides)?;
        Ok(Self { cluster, name: name.to_owned(), repository })
    }

    /// `go-hello` in the Namespace `name`, synced.
    pub(crate) fn go_hello(cluster: &'a Cluster, name: &str) -> Result<Self> {
        let sync = Self::hierarchical(cluster, name, Repository::go_hello(name)?)?;
        sync.await_synced(&sync.repository.head()?)?;
        Ok(sync)
    }

    /// Commits and waits until that is synced.
    pub(crate) fn commit(&self) -> Result<String> {
        let commit = self.repository.commit()?;
        self.await_synced(&commit)?;
        Ok(commit)
    }

    /// The RootSync as it is.
    pub(crate) fn object(&self) -> Result<Value> {
        self.cluster.root_sync(&self.name)
    }

    /// Waits until `commit` is applied without errors.
    pub(crate) fn await_synced(&self, commit: &str) -> Result<Value> {
        await_synced(self.cluster, &self.name, commit)
    }

    /// Waits until an error with this code is in the status, without the letters `KNV`.
    pub(crate) fn await_error(&self, code: &str) -> Result<Value> {
        await_condition(&format!("the RootSync {} has the error {code}", self.name), || {
            let sync = self.object()?;
            ensure!(codes(&sync).contains(&code), "status: {:#}", sync["status"]);
            Ok(sync)
        })
    }

    /// Approves the deletions that are held.
    pub(crate) fn approve(&self) -> Result<()> {
        self.cluster.approve_prune(&self.name)
    }

    /// Changes the RootSync by a merge patch.
    pub(crate) fn patch(&self, patch: &Value) -> Result<()> {
        self.cluster.patch(&self.path(), patch).map(|_| ())
    }

    /// The path of the RootSync.
    pub(crate) fn path(&self) -> String {
        root_sync_path(&self.name)
    }
}

impl Drop for Sync<'_> {
    /// Its repository goes too: the shared agent would complain about that until the last story ends.
    fn drop(&mut self) {
        let _ = self.cluster.delete(&self.path());
    }
}

/// Waits until a RootSync has applied `commit` without errors.
pub(crate) fn await_synced(cluster: &Cluster, name: &str, commit: &str) -> Result<Value> {
    await_condition(&format!("the RootSync {name} is synced at {commit}"), || {
        let sync = cluster.root_sync(name)?;
        let status = &sync["status"];
        let syncing = condition(&sync, "Syncing")?;
        ensure!(status["lastSyncedCommit"] == commit, "status: {status:#}");
        ensure!(syncing["status"] == "False" && syncing["commit"] == commit, "status: {status:#}");
        ensure!(codes(&sync).is_empty(), "status: {status:#}");
        Ok(sync)
    })
}

/// The condition of this type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Result<&'a Value> {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.and_then(|conditions| conditions.iter().find(|condition| condition["type"] == kind));
    found.with_context(|| format!("no condition {kind} in {object:#}"))
}

/// The codes of all errors of a RootSync.
pub(crate) fn codes(sync: &Value) -> Vec<&str> {
    let errors = |stage: &str| sync["status"][stage]["errors"].as_array().into_iter().flatten();
    ["source", "rendering", "sync"].into_iter().flat_map(errors).filter_map(|error| error["code"].as_str()).collect()
}

/// Waits for an Event about the RootSync `name`.
pub(crate) fn await_event(cluster: &Cluster, name: &str, kind: &str, reason: &str) -> Result<()> {
    await_condition(&format!("there is an Event {reason}"), || {
        let events = cluster.get("/apis/events.k8s.io/v1/namespaces/config-management-system/events")?;
        let found = events["items"].as_array().into_iter().flatten().any(|event| {
            event["regarding"]["kind"] == "RootSync"
                && event["regarding"]["name"] == name
                && event["reportingController"] == "nomos-agent"
                && event["type"] == kind
                && event["reason"] == reason
        });
        ensure!(found, "{events:#}");
        Ok(())
    })
}

/// A manifest of a ConfigMap.
pub(crate) fn config_map(namespace: &str, name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\ndata:\n  key: {value}\n"
    )
}

/// A manifest of a Namespace.
pub(crate) fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n")
}

/// The path of a ConfigMap.
pub(crate) fn config_map_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/{name}")
}
