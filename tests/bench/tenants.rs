//! Many RootSyncs and RepoSyncs beside a bare loop, and how long others wait while one tenant does its worst.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::git_server::GitServer;
use tests::repository::Repository;
use tokio::runtime::Runtime;

use crate::figures::{bare_loop, client, distribution, first_and_last};
use crate::many::rested;
use crate::row;
use crate::storm::{create_tenant, tenant};
use crate::world::{self, Agent, NAMESPACE, directory, memory, name};

/// Drifts and commits that a distribution is made of.
const TIMES: usize = 100;
const COMMITS: usize = 20;
/// The longest time for anything.
const PATIENCE: Duration = Duration::from_secs(300);

/// Syncs, each with so many objects: one half are RootSyncs, the others RepoSyncs, each in a Namespace of its own.
struct Scene {
    cluster: Cluster,
    repository: Repository,
    syncs: usize,
    objects: usize,
    /// The drifts so far.
    drifts: AtomicUsize,
}

pub(super) fn all(syncs: usize, objects: usize) -> Result<()> {
    row(&format!("== {syncs} RootSyncs and RepoSyncs of {objects} ConfigMaps"), "");
    let runtime = Runtime::new()?;
    let bare = bare(&runtime, syncs * objects)?;
    row("bare loop, 20 in flight, objects a second", &format!("{bare:.0}"));
    let scene = Scene::new(syncs, objects)?;
    let server = GitServer::of(&scene.repository)?;
    let args = ["--tenant-networks", "127.0.0.0/8"].map(AsRef::as_ref);
    let begin = scene.cluster.now()?;
    let agent = Agent::start(&scene.cluster.kubeconfig_of_agent(), &args)?;
    let client = runtime.block_on(client(scene.cluster.kubeconfig()))?;
    let mut events = runtime.block_on(world::watch_all(&client))?;
    let started = Instant::now();
    scene.create_syncs(server.url())?;
    let (first, last) = runtime.block_on(first_and_last(&mut events, syncs * objects, "1"))?;
    let rate = (syncs * objects - 1) as f64 / (last - first).as_secs_f64();
    row("first sync, objects a second (share of the loop)", &format!("{rate:.0} ({:.2})", rate / bare));
    row("first sync, seconds from the first sync object", &format!("{:.1}", (last - started).as_secs_f64()));
    row("first sync, CPU seconds of the agent", &format!("{:.1}", agent.cpu()?));
    rested(&scene.cluster, begin, "first sync")?;
    row("watches", &watches(&scene.cluster, begin)?);
    at_rest(&scene.cluster, &agent)?;
    row("memory at rest, MiB (of it no file)", &memory(&agent)?);
    row("drift at rest, ms", &distribution(scene.drifts(TIMES)?));
    scene.write(0..syncs * objects, 2)?;
    let committed = Instant::now();
    scene.repository.commit()?;
    let syncing = runtime.spawn(async move { first_and_last(&mut events, syncs * objects, "2").await });
    let mut times = Vec::new();
    while !syncing.is_finished() {
        times.extend(scene.drifts(5)?);
    }
    let (_, last) = runtime.block_on(syncing)??;
    row("commit of every file, seconds to the last live", &format!("{:.1}", (last - committed).as_secs_f64()));
    row("drift while it is applied, ms", &distribution(times));
    rested(&scene.cluster, begin, "all so far")?;
    row("memory in the end, MiB (of it no file)", &memory(&agent)?);
    scene.worst(&agent, server.url())?;
    agent.stop()
}

fn bare(runtime: &Runtime, objects: usize) -> Result<f64> {
    let dir = tempfile::Builder::new().prefix("nomos-bench-").tempdir()?;
    let repository = world::Repository::new(dir.path(), objects)?;
    let cluster = Cluster::start(Kind::ControlPlane)?;
    runtime.block_on(async { bare_loop(&repository, &client(cluster.kubeconfig()).await?).await })
}

impl Scene {
    fn new(syncs: usize, objects: usize) -> Result<Self> {
        let cluster = Cluster::start(Kind::ControlPlane)?;
        cluster.install()?;
        cluster.create_namespace(NAMESPACE)?;
        (syncs / 2..syncs).try_for_each(|sync| create_tenant(&cluster, &tenant(sync)))?;
        let repository = Repository::empty()?;
        let scene = Self { cluster, repository, syncs, objects, drifts: AtomicUsize::new(0) };
        scene.write(0..syncs * objects, 1)?;
        scene.repository.commit()?;
        Ok(scene)
    }

    fn namespace(&self, sync: usize) -> String {
        if sync < self.syncs / 2 { NAMESPACE.to_owned() } else { tenant(sync) }
    }

    fn write(&self, objects: std::ops::Range<usize>, version: u32) -> Result<()> {
        for index in objects {
            let sync = index / self.objects;
            let file = format!("{}/{index}.yaml", directory(sync));
            self.repository.write(&file, &manifest(&self.namespace(sync), &name(index), version))?;
        }
        Ok(())
    }

    fn create_syncs(&self, url: &str) -> Result<()> {
        let manifests: Vec<String> = (0..self.syncs).map(|sync| self.sync(sync, url).to_string()).collect();
        apply(&self.cluster, &manifests)
    }

    fn sync(&self, sync: usize, url: &str) -> Value {
        if sync < self.syncs / 2 {
            let mut root = sync_object("RootSync", "config-management-system", &directory(sync), url);
            root["spec"]["sourceFormat"] = "unstructured".into();
            return root;
        }
        sync_object("RepoSync", &tenant(sync), &directory(sync), url)
    }

    fn path(&self, index: usize) -> String {
        format!("/api/v1/namespaces/{}/configmaps/{}", self.namespace(index / self.objects), name(index))
    }

    /// Another client changes one object after the other: the times until they are put back. Never one of them again and again: that
    /// would be a fight.
    fn drifts(&self, count: usize) -> Result<Vec<f64>> {
        let next = || self.drifts.fetch_add(1, Ordering::Relaxed) * 7919 % (self.syncs * self.objects);
        (0..count).map(|_| drift_of(&self.cluster, &self.path(next()))).collect()
    }

    /// The times from commits that change one object of the first RootSync, or of the last RepoSync, until it is live.
    fn commits(&self, sync: usize, from: u32) -> Result<Vec<f64>> {
        let index = sync * self.objects;
        let versions = from..from + u32::try_from(COMMITS)?;
        let time = |version: u32| {
            self.write(index..index + 1, version)?;
            self.repository.commit()?;
            let committed = Instant::now();
            until(committed, || {
                Ok(self.cluster.get(&self.path(index))?["data"]["version"] == version.to_string().as_str())
            })
        };
        versions.map(time).collect()
    }

    /// The times of a RootSync and of a tenant beside a tenant that does its worst, and without: on a machine with nothing else to do,
    /// and beside the commits of that tenant, which are made on this machine too.
    fn worst(&self, agent: &Agent, url: &str) -> Result<()> {
        let (root, last) = (0, self.syncs - 1);
        for sync in [root, last] {
            let path = match sync == root {
                true => format!("{}/{}", tests::cluster::SYNCS, directory(sync)),
                false => format!("{}/{}", repo_syncs(&tenant(sync)), directory(sync)),
            };
            self.cluster.patch(&path, &json!({"spec": {"git": {"repo": url, "period": "1s"}}}))?;
        }
        let measure = |when: &str, from: u32| -> Result<()> {
            for (who, sync) in [("a RootSync", root), ("a RepoSync", last)] {
                row(&format!("{when}, commit of {who}, ms"), &distribution(self.commits(sync, from)?));
                // Not one of them again and again: that would be a fight.
                let own = (0..TIMES).map(|drift| self.path(sync * self.objects + 1 + drift % (self.objects - 1)));
                let drifts = own.map(|path| drift_of(&self.cluster, &path)).collect::<Result<_>>()?;
                row(&format!("{when}, drift of {who}, ms"), &distribution(drifts));
            }
            Ok(())
        };
        measure("usually", 100)?;
        let mallory = Mallory::new(&self.cluster)?;
        mallory.commits_during(|| measure("beside commits that no sync reads", 200))?;
        mallory.create_syncs(&self.cluster)?;
        mallory.commits_during(|| measure("beside a hostile tenant", 300))?;
        row("memory then, MiB (of it no file)", &memory(agent)?);
        Ok(())
    }
}

/// A tenant that does its worst: many RepoSyncs, of which some have silent servers, and the others many objects, or objects of many
/// keys, that change with each of many commits.
struct Mallory {
    repository: Repository,
    server: GitServer,
    silent: TcpListener,
    /// The next version.
    version: AtomicU32,
}

const MALLORY: &str = "mallory";
const RAGING: usize = 40;
const SILENT: usize = 60;
const OF_RAGING: usize = 50;
/// The last RepoSync has so many ConfigMaps of so many keys.
const HEAVY: usize = 12;
const KEYS: usize = 12_000;

impl Mallory {
    fn new(cluster: &Cluster) -> Result<Self> {
        create_tenant(cluster, MALLORY)?;
        let repository = Repository::empty()?;
        let server = GitServer::of(&repository)?;
        let silent = TcpListener::bind("127.0.0.1:0")?;
        let mallory = Self { repository, server, silent, version: AtomicU32::new(1) };
        mallory.commit()?;
        Ok(mallory)
    }

    /// Makes the RepoSyncs, and waits until one of them is at work.
    fn create_syncs(&self, cluster: &Cluster) -> Result<()> {
        let mut manifests = Vec::new();
        for index in 0..=RAGING + SILENT {
            let mut sync = sync_object("RepoSync", MALLORY, &directory(index), self.server.url());
            sync["spec"]["git"]["period"] = "1s".into();
            if (RAGING..RAGING + SILENT).contains(&index) {
                sync["spec"]["git"]["proxy"] = format!("http://{}", self.silent.local_addr()?).into();
            }
            manifests.push(sync.to_string());
        }
        apply(cluster, &manifests)?;
        let path = format!("/api/v1/namespaces/{MALLORY}/configmaps/raging-0");
        until(Instant::now(), || cluster.exists(&path)).map(drop)
    }

    fn commit(&self) -> Result<()> {
        let version = self.version.fetch_add(1, Ordering::Relaxed);
        for index in 0..RAGING * OF_RAGING {
            let file = format!("{}/{index}.yaml", directory(index / OF_RAGING));
            self.repository.write(&file, &manifest(MALLORY, &format!("raging-{index}"), version))?;
        }
        for map in 0..HEAVY {
            let data: BTreeMap<String, String> =
                (0..KEYS).map(|key| (format!("k{key}"), version.to_string())).collect();
            let metadata = json!({"name": format!("heavy-{map}"), "namespace": MALLORY});
            let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
            self.repository.write(&format!("{}/{map}.yaml", directory(RAGING + SILENT)), &manifest.to_string())?;
        }
        self.repository.commit()?;
        Ok(())
    }

    /// Commits all the time while this is measured.
    fn commits_during(&self, measured: impl FnOnce() -> Result<()>) -> Result<()> {
        let (ended, from) = (AtomicBool::new(false), self.version.load(Ordering::Relaxed));
        std::thread::scope(|scope| {
            let raging = scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    self.commit()?;
                    std::thread::sleep(Duration::from_secs(2));
                }
                Ok::<_, anyhow::Error>(self.version.load(Ordering::Relaxed) - from)
            });
            let measured = measured();
            ended.store(true, Ordering::Relaxed);
            let commits = raging.join().unwrap_or_else(|_| anyhow::bail!("it broke down"))?;
            row("commits of the hostile tenant", &commits.to_string());
            measured
        })
    }
}

fn repo_syncs(namespace: &str) -> String {
    format!("/apis/configsync.gke.io/v1beta1/namespaces/{namespace}/reposyncs")
}

fn sync_object(kind: &str, namespace: &str, name: &str, url: &str) -> Value {
    json!({
        "apiVersion": "configsync.gke.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"git": {"repo": url, "branch": "main", "auth": "none", "dir": name}},
    })
}

fn manifest(namespace: &str, name: &str, version: u32) -> String {
    let data = json!({"value": "declared", "version": version.to_string(), "filler": "x".repeat(140)});
    let metadata = json!({"name": name, "namespace": namespace});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}).to_string()
}

/// By one `kubectl apply`.
fn apply(cluster: &Cluster, manifests: &[String]) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("nomos-bench-").tempdir()?;
    let file = dir.path().join("syncs.yaml");
    std::fs::write(&file, manifests.join("\n---\n"))?;
    cluster.kubectl(&["apply", "--server-side", "--filename", &file.display().to_string()])?;
    Ok(())
}

fn drift_of(cluster: &Cluster, path: &str) -> Result<f64> {
    cluster.patch(path, &json!({"data": {"value": "drifted"}}))?;
    until(Instant::now(), || Ok(cluster.get(path)?["data"]["value"] == "declared"))
}

/// The milliseconds until it is so.
fn until(since: Instant, mut is_so: impl FnMut() -> Result<bool>) -> Result<f64> {
    while !is_so()? {
        ensure!(since.elapsed() < PATIENCE, "it takes more than {} seconds", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(since.elapsed().as_secs_f64() * 1000.0)
}

/// The watches of the agent since `from`, by resource.
fn watches(cluster: &Cluster, from: u64) -> Result<String> {
    let (requests, _) = cluster.requests(from)?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for request in requests.iter().filter(|it| it.user_agent.starts_with("nomos-agent/") && it.verb == "watch") {
        *counts.entry(request.resource.clone()).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(resource, count)| format!("{count} {resource}")).collect();
    Ok(counts.join(", "))
}

fn at_rest(cluster: &Cluster, agent: &Agent) -> Result<()> {
    let (from, cpu) = (cluster.now()?, agent.cpu()?);
    std::thread::sleep(Duration::from_secs(60));
    let used = agent.cpu()? - cpu;
    let (requests, _) = cluster.requests(from)?;
    let own = requests.iter().filter(|request| request.user_agent.starts_with("nomos-agent/"));
    let (leases, others): (Vec<_>, Vec<_>) = own.partition(|request| request.resource == "leases");
    let others = others.iter().filter(|request| request.verb != "watch").count();
    row(
        "60 s at rest, requests (of it of the Lease), CPU seconds",
        &format!("{} ({}), {used:.2}", leases.len() + others, leases.len()),
    );
    Ok(())
}
