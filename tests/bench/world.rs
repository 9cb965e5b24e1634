//! The measured world: a repository of ConfigMaps, the process of the agent, the objects that a watch shows, and the API
//! server's own count of requests.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent::model::metadata::SyncId;
use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tests::agent_process::guardian;
use tests::cluster::{Cluster, SYNCS};
use tokio::sync::mpsc;

pub(super) const NAMESPACE: &str = "bench";
/// The label that says to which sync an object belongs.
pub(super) const PART_OF: &str = "applyset.kubernetes.io/part-of";

/// A git repository with one ConfigMap of about 300 bytes a file.
pub(super) struct Repository(PathBuf);

impl Repository {
    pub(super) fn new(dir: &Path, objects: usize) -> Result<Self> {
        let repository = Self(dir.join("repository"));
        std::fs::create_dir_all(&repository.0)?;
        repository.git(&["init", "--quiet", "--initial-branch=main"])?;
        let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n");
        std::fs::write(repository.0.join("namespace.yaml"), namespace)?;
        repository.write(0..objects, 1)?;
        repository.commit("first")?;
        Ok(repository)
    }

    /// The arguments of an agent that syncs it.
    pub(super) fn flags(&self) -> [&OsStr; 6] {
        let fixed = ["--source-format", "unstructured", "--branch", "main", "--repo"].map(AsRef::as_ref);
        let [format, unstructured, branch, main, repo] = fixed;
        [format, unstructured, branch, main, repo, self.0.as_os_str()]
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes these objects in this version.
    pub(super) fn write(&self, objects: std::ops::Range<usize>, version: u32) -> Result<()> {
        for index in objects {
            std::fs::write(self.0.join(format!("{}.yaml", name(index))), manifest(index, version))?;
        }
        Ok(())
    }

    pub(super) fn commit(&self, message: &str) -> Result<()> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", message])
    }

    fn git(&self, args: &[&str]) -> Result<()> {
        let identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"];
        let status = Command::new("git")
            .args(identity)
            .args(args)
            .current_dir(&self.0)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", &self.0)
            .status()?;
        if status.success() { Ok(()) } else { bail!("git {args:?}: {status}") }
    }
}

pub(super) fn name(index: usize) -> String {
    format!("object-{index:06}")
}

pub(super) fn manifest(index: usize, version: u32) -> String {
    let filler = "x".repeat(140);
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {}\n  namespace: {NAMESPACE}\ndata:\n  value: declared\n  \
         version: \"{version}\"\n  filler: {filler}\n",
        name(index)
    )
}

/// The directory and the name of a sync.
pub(super) fn directory(sync: usize) -> String {
    format!("sync-{sync:03}")
}

/// A ConfigMap of another client. Every other one claims to be of the first sync.
pub(super) fn foreigner(index: usize, bytes: usize) -> Value {
    let part_of = SyncId::root(&directory(0)).part_of();
    let labels = if index.is_multiple_of(2) { json!({}) } else { json!({PART_OF: part_of}) };
    let metadata = json!({"name": format!("foreign-{index:06}"), "labels": labels});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": "x".repeat(bytes)}})
}

/// Makes a RootSync that follows a directory of a repository; both have one name.
pub(super) fn create_sync(cluster: &Cluster, repository: &str, directory: &str) -> Result<()> {
    let git = json!({"repo": repository, "branch": "main", "auth": "none", "dir": directory});
    let object = json!({
        "apiVersion": "configsync.gke.io/v1beta1",
        "kind": "RootSync",
        "metadata": {"name": directory},
        "spec": {"sourceFormat": "unstructured", "git": git},
    });
    cluster.create(SYNCS, &object)?;
    Ok(())
}

/// The agent's process; ended when dropped, and when this process ends in whatever way.
pub(super) struct Agent {
    child: Child,
    guardian: Child,
}

impl Agent {
    /// Starts it; its log goes to standard error.
    pub(super) fn start(kubeconfig: &Path, args: &[&OsStr]) -> Result<Self> {
        Self::run(kubeconfig, args, Stdio::inherit())
    }

    /// Starts it with its log at the end of a file.
    pub(super) fn start_logged(kubeconfig: &Path, args: &[&OsStr], log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        Self::run(kubeconfig, args, log.into())
    }

    fn run(kubeconfig: &Path, args: &[&OsStr], log: Stdio) -> Result<Self> {
        // Of the profile `image`, beside the directory of this one's.
        let program = std::env::current_exe()?.with_file_name("../image/nomos-agent");
        let child = Command::new(&program)
            .args(["--listen", "127.0.0.1:0"])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(args)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("build it first: cannot run {}", program.display()))?;
        let guardian = guardian(child.id())?;
        Ok(Self { child, guardian })
    }

    /// Resident memory in MiB, all of it and the part that is no file.
    pub(super) fn memory(&self) -> Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = |key: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0)
        };
        Ok((kib("VmRSS:") / 1024.0, kib("RssAnon:") / 1024.0))
    }

    /// CPU seconds so far.
    pub(super) fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / 100.0)
    }

    /// Sends it a signal, such as `STOP`.
    pub(super) fn signal(&self, name: &str) -> Result<()> {
        Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status()?;
        Ok(())
    }

    /// Ends it as Kubernetes does, and waits.
    pub(super) fn stop(mut self) -> Result<()> {
        self.signal("TERM")?;
        self.child.wait()?;
        Ok(())
    }

    /// `true` if it ended by itself.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Before the agent is reaped: after that, another process can get its id.
        let _ = self.guardian.kill();
        let _ = self.guardian.wait();
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its memory in MiB, and in brackets what of it is no file.
pub(super) fn memory(agent: &Agent) -> Result<String> {
    let (all, anonymous) = agent.memory()?;
    Ok(format!("{all:.1} ({anonymous:.1})"))
}

/// An object as the watch showed it, and when.
pub(super) struct Shown {
    pub(super) at: Instant,
    pub(super) name: String,
    pub(super) value: String,
    pub(super) version: String,
}

/// Everything that happens to the ConfigMaps from now on.
pub(super) async fn watch(client: &Client) -> Result<mpsc::UnboundedReceiver<Shown>> {
    follow(Api::namespaced(client.clone(), NAMESPACE)).await
}

/// As [`watch`], to the ConfigMaps of all Namespaces.
pub(super) async fn watch_all(client: &Client) -> Result<mpsc::UnboundedReceiver<Shown>> {
    follow(Api::all(client.clone())).await
}

async fn follow(api: Api<ConfigMap>) -> Result<mpsc::UnboundedReceiver<Shown>> {
    let mut from = api.list(&Default::default()).await?.metadata.resource_version.unwrap_or_default();
    let mut events = api.watch(&WatchParams::default().timeout(290), &from).await?.boxed();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            while let Some(Ok(event)) = events.next().await {
                let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else { continue };
                from = object.metadata.resource_version.clone().unwrap_or_default();
                if sender.send(shown(object)).is_err() {
                    return;
                }
            }
            // The API server cuts off who does not keep up.
            match api.watch(&WatchParams::default().timeout(290), &from).await {
                Ok(again) => events = again.boxed(),
                Err(_) => return,
            }
        }
    });
    Ok(receiver)
}

fn shown(object: ConfigMap) -> Shown {
    let data = object.data.unwrap_or_default();
    let field = |key: &str| data.get(key).cloned().unwrap_or_default();
    Shown {
        at: Instant::now(),
        name: object.metadata.name.unwrap_or_default(),
        value: field("value"),
        version: field("version"),
    }
}

/// Waits for the first event that `wanted` takes.
pub(super) async fn wait(
    events: &mut mpsc::UnboundedReceiver<Shown>,
    wanted: impl Fn(&Shown) -> bool,
) -> Result<Instant> {
    let found = async {
        while let Some(event) = events.recv().await {
            if wanted(&event) {
                return Ok(event.at);
            }
        }
        bail!("the watch ended")
    };
    tokio::time::timeout(Duration::from_secs(120), found).await.context("it did not happen within two minutes")?
}

/// Requests that the API server answered so far, by verb and resource; watches and its own count of itself left out.
pub(super) async fn requests(client: &Client) -> Result<BTreeMap<String, u64>> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let text = client.request_text(request).await?;
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let label = |name: &str| {
            let rest = line.split_once(&format!("{name}=\""))?.1;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let resource = label("resource").unwrap_or_default();
        let verb = label("verb").unwrap_or_default();
        let count: f64 = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0.0);
        if !resource.is_empty() && verb != "WATCH" && resource != "leases" {
            *counts.entry(format!("{verb} {resource}")).or_default() += count as u64;
        }
    }
    Ok(counts)
}

/// The requests between two counts, as text.
pub(super) fn between(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> String {
    let more: Vec<String> = after
        .iter()
        .filter_map(|(what, count)| {
            let more = count - before.get(what).copied().unwrap_or(0);
            (more > 0).then(|| format!("{more} {what}"))
        })
        .collect();
    if more.is_empty() { "none".to_owned() } else { more.join(", ") }
}
