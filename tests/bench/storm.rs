//! Many RepoSyncs that come at once: whether the agent keeps its Lease, and what it takes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tests::cluster::{Cluster, Kind};
use tests::git_server::GitServer;
use tests::repository::Repository;

use crate::many::rested;
use crate::row;
use crate::world::{Agent, memory};

/// The longest time until all of them are synced.
const PATIENCE: Duration = Duration::from_secs(600);

/// So many RepoSyncs of one object each, in so many Namespaces, by one `kubectl apply`; then the agent is killed and starts again.
pub(super) fn all(syncs: usize, namespaces: usize) -> Result<()> {
    row(&format!("== {syncs} RepoSyncs in {namespaces} Namespaces by one kubectl apply"), "");
    let repository = Repository::empty()?;
    let server = GitServer::of(&repository)?;
    let manifests = manifests(&repository, server.url(), (syncs, namespaces))?;
    let commit = repository.commit()?;
    let cluster = Cluster::start(Kind::ControlPlane)?;
    cluster.install()?;
    (0..namespaces).try_for_each(|index| create_tenant(&cluster, &tenant(index)))?;
    let home = tempfile::Builder::new().prefix("nomos-storm-").tempdir()?;
    let (file, log) = (home.path().join("syncs.yaml"), home.path().join("agent.log"));
    std::fs::write(&file, manifests)?;
    let start = || {
        let args = ["--tenant-networks", "127.0.0.0/8"].map(AsRef::as_ref);
        Agent::start_logged(&cluster.kubeconfig_of_agent(), &args, &log)
    };
    let mut agent = start()?;
    let from = cluster.now()?;
    let begun = Instant::now();
    cluster.kubectl(&["apply", "--server-side", "--filename", &file.display().to_string()])?;
    row("kubectl apply, seconds", &format!("{:.1}", begun.elapsed().as_secs_f64()));
    let outcome = until_synced(&cluster, &mut agent, &commit, syncs);
    let said = std::fs::read_to_string(&log)?;
    outcome.map_err(|error| error.context(said))?;
    row("all synced, seconds from the begin", &format!("{:.1}", begun.elapsed().as_secs_f64()));
    row("CPU seconds of the agent", &format!("{:.1}", agent.cpu()?));
    row("memory, MiB (of it no file)", &memory(&agent)?);
    let from = rested(&cluster, from, "first sync")?;
    agent.signal("KILL")?;
    drop(agent);
    // Everything that the agent before has read is old.
    repository.replace("sync-0/object.yaml", "\"value\"", "\"other\"")?;
    for index in 0..syncs {
        repository.write(&format!("sync-{index}/note.txt"), "other")?;
    }
    let commit = repository.commit()?;
    let begun = Instant::now();
    let mut agent = start()?;
    let outcome = until_synced(&cluster, &mut agent, &commit, syncs);
    let said = std::fs::read_to_string(&log)?;
    outcome.map_err(|error| error.context(said))?;
    row("after a kill, all synced at another commit, seconds", &format!("{:.1}", begun.elapsed().as_secs_f64()));
    row("CPU seconds of the agent", &format!("{:.1}", agent.cpu()?));
    row("memory, MiB (of it no file)", &memory(&agent)?);
    rested(&cluster, from, "restart")?;
    let said = std::fs::read_to_string(&log)?;
    row("lines of the log about the Lease", &said.lines().filter(|line| line.contains("Lease")).count().to_string());
    agent.stop()
}

/// The RepoSyncs, each with a directory of its own.
fn manifests(repository: &Repository, url: &str, (syncs, namespaces): (usize, usize)) -> Result<String> {
    let mut manifests = String::new();
    for index in 0..syncs {
        let (name, namespace) = (format!("sync-{index}"), tenant(index % namespaces));
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": &name, "namespace": &namespace},
            "data": {"key": "value"},
        });
        repository.write(&format!("{name}/object.yaml"), &object.to_string())?;
        let sync = json!({
            "apiVersion": "configsync.gke.io/v1beta1",
            "kind": "RepoSync",
            "metadata": {"name": &name, "namespace": &namespace},
            "spec": {"git": {"repo": url, "branch": "main", "auth": "none", "dir": &name}},
        });
        manifests += &format!("---\n{sync}\n");
    }
    Ok(manifests)
}

pub(super) fn tenant(index: usize) -> String {
    format!("tenant-{index}")
}

/// A Namespace in which all accounts of syncs may do everything that the role `admin` allows.
pub(super) fn create_tenant(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.create_namespace(name)?;
    let group = "system:serviceaccounts:config-management-system";
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "syncs"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
    });
    cluster.create(&format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/rolebindings"), &binding)?;
    Ok(())
}

fn until_synced(cluster: &Cluster, agent: &mut Agent, commit: &str, syncs: usize) -> Result<()> {
    let started = Instant::now();
    let mut synced = 0;
    while started.elapsed() < PATIENCE {
        ensure!(!agent.has_ended()?, "the agent has ended; {synced} of {syncs} are synced");
        let list = cluster.get("/apis/configsync.gke.io/v1beta1/reposyncs")?;
        let all = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        synced = all.iter().filter(|sync| sync["status"]["lastSyncedCommit"] == commit).count();
        if synced == syncs {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    bail!("{synced} of {syncs} are synced after {} seconds", PATIENCE.as_secs())
}
