//! A soak's world: what is declared, what other clients did, and everything that happens to it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::cluster::{Cluster, Kind, SYNCS, approval, is_not_found};
use tests::git_server::GitServer;
use tests::repository::Repository;

use super::declared::{Expected, THEIRS, VERSION, collections, difference, file, manifest, path};
use crate::world::{Agent, NAMESPACE, PART_OF, create_sync, directory, foreigner};

/// Objects of others in the cluster.
const FOREIGN: usize = 200;
/// Problems that are told; more would not help.
const TOLD: usize = 10;

pub(super) struct Scene {
    pub(super) cluster: Cluster,
    agent: Option<Agent>,
    pub(super) random: fastrand::Rng,
    repository: Repository,
    server: GitServer,
    syncs: usize,
    /// Objects that each sync begins with.
    objects: usize,
    declared: BTreeMap<usize, Expected>,
    /// Objects of others, by name.
    foreign: BTreeMap<String, Value>,
    /// All commits, the oldest first.
    commits: Vec<String>,
    /// Commits that not all syncs have, by their place in `commits`, and when they were made.
    unsynced: Vec<(usize, Instant)>,
    /// Drifts that are not put back, and when they were answered.
    drifts: Vec<(usize, Instant)>,
    home: TempDir,
}

/// The times that something took, in seconds.
pub(super) type Seconds = Vec<f64>;

impl Scene {
    /// A cluster with the syncs, whose objects nobody has applied yet.
    pub(super) fn new(syncs: usize, objects: usize, seed: u64) -> Result<Self> {
        let repository = Repository::empty()?;
        let mut declared = BTreeMap::new();
        for index in 0..syncs * objects {
            let expected = Expected { sync: index / objects, version: 1, theirs: false };
            repository.write(&file(index, expected.sync), &manifest(index, 1).to_string())?;
            declared.insert(index, expected);
        }
        let commits = vec![repository.commit()?];
        let server = GitServer::of(&repository)?;
        let cluster = Cluster::start(Kind::ControlPlane)?;
        cluster.install()?;
        cluster.create_namespace(NAMESPACE)?;
        let mut foreign = BTreeMap::new();
        for index in 0..FOREIGN {
            let object =
                cluster.create(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps"), &foreigner(index, 10))?;
            foreign.insert(object["metadata"]["name"].as_str().unwrap_or_default().to_owned(), object);
        }
        let home = tempfile::Builder::new().prefix("nomos-soak-").tempdir()?;
        for sync in 0..syncs {
            create_sync(&cluster, server.url(), &directory(sync))?;
        }
        let agent = Some(start(&cluster, &home)?);
        let random = fastrand::Rng::with_seed(seed);
        let unsynced = vec![(0, Instant::now())];
        let drifts = Vec::new();
        Ok(Self {
            cluster,
            agent,
            random,
            repository,
            server,
            syncs,
            objects,
            declared,
            foreign,
            commits,
            unsynced,
            drifts,
            home,
        })
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unsynced.is_empty() && self.drifts.is_empty()
    }

    /// The things that are waited for.
    pub(super) fn unsettled(&self) -> String {
        let drifts: Vec<String> = self.drifts.iter().map(|(index, _)| path(*index)).collect();
        format!("{} commits, drifts of {}", self.unsynced.len(), drifts.join(", "))
    }

    /// The log of all agents.
    pub(super) fn log(&self) -> PathBuf {
        self.home.path().join("agent.log")
    }

    /// Changes some objects of one sync, and now and then many; some come and some go.
    pub(super) fn commit(&mut self) -> Result<()> {
        let sync = self.random.usize(0..self.syncs);
        let own: Vec<usize> =
            self.declared.iter().filter(|(_, object)| object.sync == sync).map(|(index, _)| *index).collect();
        let most = if self.random.u8(0..20) == 0 { self.objects / 10 } else { 20 };
        for _ in 0..self.random.usize(1..=most.clamp(1, own.len())) {
            let index = own[self.random.usize(0..own.len())];
            let Some(expected) = self.declared.get_mut(&index) else { continue };
            expected.version += 1;
            self.repository.write(&file(index, sync), &manifest(index, expected.version).to_string())?;
        }
        if self.random.bool() {
            let index = self.declared.last_key_value().map_or(0, |(index, _)| index + 1);
            self.repository.write(&file(index, sync), &manifest(index, 1).to_string())?;
            self.declared.insert(index, Expected { sync, version: 1, theirs: false });
        }
        if self.random.bool() && own.len() > self.objects / 2 {
            let index = own[self.random.usize(0..own.len())];
            self.repository.remove(&file(index, sync))?;
            self.declared.remove(&index);
        }
        self.commits.push(self.repository.commit()?);
        self.unsynced.push((self.commits.len() - 1, Instant::now()));
        Ok(())
    }

    /// Another client changes an object, or adds something of its own to it.
    pub(super) fn drift(&mut self) {
        let place = self.random.usize(0..self.declared.len());
        let Some((&index, expected)) = self.declared.iter_mut().nth(place) else { return };
        let path = path(index);
        let annotate = |key: &str, value: Value| json!({"metadata": {"annotations": {key: value}}});
        let choice = self.random.u8(0..6);
        let (result, is_drift) = match choice {
            0 => (self.cluster.delete(&path), true),
            1 => (self.cluster.patch(&path, &annotate(VERSION, Value::Null)), true),
            2 => (self.cluster.patch(&path, &json!({"metadata": {"labels": {PART_OF: null}}})), true),
            3 => (self.cluster.patch(&path, &annotate(THEIRS, "kept".into())), false),
            _ => (self.cluster.patch(&path, &annotate(VERSION, "drifted".into())), true),
        };
        match result {
            Ok(_) if is_drift => {
                // An object that is deleted takes everything of others along.
                expected.theirs &= choice != 0;
                self.drifts.push((index, Instant::now()));
            }
            Ok(_) => expected.theirs = true,
            // It is not applied yet.
            Err(error) if is_not_found(&error) => {}
            Err(_) => {
                // Without an answer it may have been done.
                expected.theirs = false;
                self.drifts.push((index, Instant::now()));
            }
        }
    }

    /// SIGKILL, and the agent starts again.
    pub(super) fn kill_agent(&mut self) -> Result<()> {
        drop(self.agent.take());
        self.agent = Some(start(&self.cluster, &self.home)?);
        Ok(())
    }

    /// The running agent.
    pub(super) fn agent(&mut self) -> Result<&Agent> {
        let agent = self.agent.as_mut().context("there is an agent")?;
        ensure!(!agent.has_ended()?, "the agent has ended by itself");
        Ok(agent)
    }

    pub(super) fn reset_git(&mut self, resets: bool) {
        self.server.reset_connections(resets);
    }

    /// The times of the drifts that are put back since the last look.
    pub(super) fn restored(&mut self) -> Seconds {
        let mut times = Seconds::new();
        for (index, since) in std::mem::take(&mut self.drifts) {
            let Some(expected) = self.declared.get(&index) else { continue };
            match self.cluster.get(&path(index)) {
                Ok(live) if difference(&live, index, expected, true).is_none() => {
                    times.push(since.elapsed().as_secs_f64());
                }
                Ok(_) | Err(_) => self.drifts.push((index, since)),
            }
        }
        times
    }

    /// The times of the commits that all syncs have since the last look. Held deletions are approved.
    pub(super) fn synced(&mut self) -> Result<Seconds> {
        // While the API server starts it says nothing.
        let Ok(list) = self.cluster.get(SYNCS) else { return Ok(Seconds::new()) };
        let mut newest = self.commits.len() - 1;
        for sync in list["items"].as_array().into_iter().flatten() {
            let has = sync["status"]["lastSyncedCommit"].as_str().unwrap_or_default();
            match self.commits.iter().rposition(|commit| commit == has) {
                Some(place) => newest = newest.min(place),
                None => return Ok(Seconds::new()),
            }
            let status = sync["status"].to_string();
            let name = sync["metadata"]["name"].as_str().context("a name")?;
            let approved = sync["metadata"]["annotations"]["configsync.gke.io/approve-prune"].as_str();
            if let Some(approval) = approval(&status).filter(|approval| approved != Some(approval)) {
                self.cluster.annotate_approval(name, approval)?;
            }
        }
        let mut times = Seconds::new();
        self.unsynced.retain(|(place, since)| {
            let is_synced = *place <= newest;
            if is_synced {
                times.push(since.elapsed().as_secs_f64());
            }
            !is_synced
        });
        Ok(times)
    }

    /// Everything in the cluster that is not as it must be.
    pub(super) fn problems(&self) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let mut live = self.live()?;
        for (index, expected) in &self.declared {
            match live.remove(&path(*index)) {
                Some(object) => problems.extend(difference(&object, *index, expected, false)),
                None => problems.push(format!("{} is missing", path(*index))),
            }
        }
        for (name, before) in &self.foreign {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{name}");
            if live
                .remove(&path)
                .is_none_or(|now| now["metadata"] != before["metadata"] || now["data"] != before["data"])
            {
                problems.push(format!("{name} of another client is changed or gone"));
            }
        }
        let ours = live.into_iter().filter(|(_, object)| object["metadata"]["labels"][PART_OF].is_string());
        problems.extend(ours.map(|(path, _)| format!("{path} is not declared any more")));
        problems.truncate(TOLD);
        Ok(problems)
    }

    /// All objects of the Namespace, by path.
    fn live(&self) -> Result<BTreeMap<String, Value>> {
        let mut live = BTreeMap::new();
        for collection in collections() {
            let mut token = String::new();
            loop {
                let mut page = self.cluster.get(&format!("{collection}?limit=1000&continue={token}"))?;
                token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
                for object in page["items"].as_array_mut().context("a list")?.drain(..) {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    live.insert(format!("{collection}/{name}"), object);
                }
                if token.is_empty() {
                    break;
                }
            }
        }
        Ok(live)
    }
}

fn start(cluster: &Cluster, home: &TempDir) -> Result<Agent> {
    let cache = home.path().join("cache");
    let args: [&OsStr; 2] = ["--cache-dir".as_ref(), cache.as_os_str()];
    Agent::start_logged(cluster.kubeconfig(), &args, &home.path().join("agent.log"))
}

/// A pause between two events of one sort: half to one and a half of the mean.
pub(super) fn pause(random: &mut fastrand::Rng, mean: Duration) -> Duration {
    mean.mul_f64(0.5 + random.f64())
}
