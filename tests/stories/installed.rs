//! The agent as it is installed: Pods of its image on a node, which follow a repository by its name, and are killed, drained,
//! upgraded and removed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind, root_sync_path};
use tests::controlplane::CannotRun;
use tests::git_server::GitServer;
use tests::node::GUEST;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::config_management::play_session;
use crate::node::{await_available, web};
use crate::page;
use crate::world::{AGENT, await_synced, config_map};

pub(crate) const IMAGE: &str = "nomos.test/nomos-agent";
const SYNC: &str = "shop";
const AGENTS: &str = "/api/v1/namespaces/config-management-system/pods";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/config-management-system/leases/nomos-agent";
/// Objects of the commit in the middle of which the agent is upgraded.
const MANY: usize = 200;

pub(crate) fn serves(kind: Kind) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let image = image(scratch.path())?;
    let cluster = Cluster::start(kind)?;
    let node = cluster.node()?;
    node.import(&image)?;
    node.tag(&format!("{IMAGE}:1"), &format!("{IMAGE}:2"))?;
    node.tag(GUEST, "example.com/go-hello:1.0")?;
    install(&cluster, "1")?;
    let namespace = cluster.get("/api/v1/namespaces/config-management-system")?;
    ensure!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted", "{namespace:#}");

    play_session(&cluster, url_in_pods)?;
    cluster.kubectl(&["delete", "configmanagement", "config-management"])?;
    let repository = Repository::empty()?;
    repository.write("web.yaml", &web(2))?;
    let commit = repository.commit()?;
    let server = GitServer::of(&repository)?;
    create_sync(&cluster, &url_in_pods(&server))?;
    await_synced(&cluster, SYNC, &commit)?;
    await_available(&cluster, 2)?;
    let (code, text) = cluster.nomos(&["status"]);
    ensure!(code == 0 && text.contains("SYNCED"), "nomos status ended with {code}:\n{text}");

    page_is_forwarded(&cluster)?;
    leader_is_deleted(&cluster, &repository)?;
    node_is_drained(&cluster, &repository)?;
    is_upgraded(&cluster, &repository)?;
    is_removed(&cluster)
}

/// The repository's URL for Pods: the name leads to this machine, whose address is another one there.
pub(crate) fn url_in_pods(server: &GitServer) -> String {
    server.url().replace("127.0.0.1", "git.example.com")
}

/// `nomos ui` leads to the page of the agent that serves, and its address gives the token once.
fn page_is_forwarded(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "serviceaccount", "viewer", "-n", "default"])?;
    let may = ["--clusterrole=cluster-admin", "--serviceaccount=default:viewer"];
    cluster.kubectl(&[&["create", "clusterrolebinding", "viewer"][..], &may].concat())?;
    let (said, kubeconfig) = (Said::default(), cluster.kubeconfig().as_os_str().to_owned());
    let (mut out, mut err) = (said.clone(), said.clone());
    // It ends with this process.
    std::thread::spawn(move || {
        let mut console = nomos_cli::Console::new(&mut out, &mut err, nomos_cli::Environment::default());
        let args = ["nomos", "ui", "--no-browser", "--service-account", "default:viewer", "--kubeconfig"];
        nomos_cli::run(args.map(Into::into).into_iter().chain([kubeconfig]), &mut console)
    });
    let url = await_condition("nomos ui says where the page is", || {
        let url = said.text().split_whitespace().find_map(|word| word.strip_prefix("http://").map(str::to_owned));
        url.with_context(|| said.text())
    })?;
    let (address, code) = url.split_once('/').context("a path")?;
    let door = page::get(address, &format!("/{code}"), None)?;
    let token = door.header("location").and_then(|to| to.strip_prefix("/ui/#token=")).context("no token")?;
    let again = page::get(address, &format!("/{code}"), None)?;
    ensure!(again.header("location") == Some("/ui/#token="), "the address works twice");
    let overview = page::get(address, "/ui/api/overview", Some(token));
    let overview = overview.with_context(|| said.text())?.json()?;
    ensure!(overview["leads"] == true && overview["syncs"].to_string().contains(SYNC), "{overview:#}");
    ensure!(page::get(address, "/ui/api/overview", None)?.status == 401, "the forwarded port needs no token");
    Ok(())
}

/// Text that a thread prints.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Another agent takes over, and the Deployment brings the number of agents back.
fn leader_is_deleted(cluster: &Cluster, repository: &Repository) -> Result<()> {
    let before = leader(cluster)?;
    cluster.kubectl(&["delete", "pod", "-n", "config-management-system", &before])?;
    repository.write("web.yaml", &web(3))?;
    await_synced(cluster, SYNC, &repository.commit()?)?;
    await_available(cluster, 3)?;
    let after = leader(cluster)?;
    ensure!(after != before, "{after} is gone");
    await_agents(cluster, "1")
}

/// The node of the agents is drained, and no other takes their Pods: the first goes, the budget keeps the second, and that one serves.
fn node_is_drained(cluster: &Cluster, repository: &Repository) -> Result<()> {
    let before = leader(cluster)?;
    cluster.kubectl(&["label", "pod", "-n", "config-management-system", &before, "drained=first"])?;
    let drain = |pods: &str, timeout: &str| {
        cluster.kubectl(&["drain", "node", "--delete-emptydir-data", "--pod-selector", pods, "--timeout", timeout])
    };
    drain("drained=first", "60s")?;
    let refused = drain("app.kubernetes.io/name=nomos-agent", "6s").err().context("the drain ends")?.to_string();
    ensure!(refused.contains("disruption budget"), "{refused}");
    repository.write("web.yaml", &web(2))?;
    await_synced(cluster, SYNC, &repository.commit()?)?;
    let after = leader(cluster)?;
    ensure!(after != before, "{after} is gone");
    cluster.kubectl(&["uncordon", "node"])?;
    await_agents(cluster, "1")?;
    await_available(cluster, 2)
}

/// The next image takes over in the middle of a commit.
fn is_upgraded(cluster: &Cluster, repository: &Repository) -> Result<()> {
    let name = |number: usize| format!("settings-{number}");
    for number in 0..MANY {
        repository.write(&format!("settings/{number}.yaml"), &config_map("shop", &name(number), "value"))?;
    }
    let commit = repository.commit()?;
    let path = "/api/v1/namespaces/shop/configmaps";
    await_condition("the commit is being applied", || {
        let list = cluster.get(path)?;
        ensure!(list["items"].as_array().is_some_and(|items| items.len() > 1), "nothing is applied");
        Ok(())
    })?;
    install(cluster, "2")?;
    await_synced(cluster, SYNC, &commit)?;
    for number in 0..MANY {
        ensure!(cluster.exists(&format!("{path}/{}", name(number)))?, "{} is missing", name(number));
    }
    // It serves: the next commit is its own.
    repository.write("web.yaml", &web(1))?;
    await_synced(cluster, SYNC, &repository.commit()?)?;
    await_available(cluster, 1)
}

/// Nothing of the agent is left but its Namespace, and what it applied stays.
fn is_removed(cluster: &Cluster) -> Result<()> {
    let (code, text) = cluster.nomos(&["uninstall", "--yes"]);
    ensure!(code == 0, "nomos uninstall ended with {code}:\n{text}");
    await_available(cluster, 1)?;
    ensure!(!cluster.exists(&root_sync_path(SYNC))?, "the RootSync is left");
    await_condition("the agents are gone", || {
        let pods = cluster.get(AGENTS)?;
        ensure!(pods["items"] == json!([]), "{pods:#}");
        Ok(())
    })?;
    let namespaces = cluster.get("/api/v1/namespaces")?;
    ensure!(!namespaces.to_string().contains("deletionTimestamp"), "{namespaces:#}");
    Ok(())
}

/// The agent of this test as an image.
pub(crate) fn image(directory: &Path) -> Result<PathBuf> {
    let output = directory.join("agent.tar");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("image/build");
    let mut command = Command::new(&script);
    command.args(["--binary", AGENT, "--name", &format!("{IMAGE}:1")]).arg(&output);
    let built = command.output().with_context(|| format!("failed to run {}", script.display()))?;
    let said = String::from_utf8_lossy(&built.stderr);
    match built.status.code() {
        Some(0) => Ok(output),
        Some(2) => bail!(CannotRun(format!("no image of the agent: {}", said.trim()))),
        _ => bail!("{}: {said}", script.display()),
    }
}

/// Installs two agents of the image with this tag.
fn install(cluster: &Cluster, tag: &str) -> Result<()> {
    let image = format!("{IMAGE}:{tag}");
    let (code, text) = cluster.nomos(&["install", "--image", &image, "--lease-duration", "4s", "--timeout", "60s"]);
    ensure!(code == 0, "nomos install ended with {code}:\n{text}\n{:#}", cluster.get(AGENTS)?);
    await_agents(cluster, tag)
}

/// Waits until two Pods of the image with this tag are all agents, and ready.
fn await_agents(cluster: &Cluster, tag: &str) -> Result<()> {
    let is_ready = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        status["ready"] == true && pod["spec"]["containers"][0]["image"] == format!("{IMAGE}:{tag}")
    };
    await_condition("two agents are ready", || {
        let pods = cluster.get(AGENTS)?;
        let items = pods["items"].as_array().context("a list of Pods")?;
        ensure!(items.len() == 2 && items.iter().all(is_ready), "{pods:#}");
        Ok(())
    })
}

/// The Pod of the agent that writes.
fn leader(cluster: &Cluster) -> Result<String> {
    let lease = cluster.get(LEASE)?;
    let holder = lease["spec"]["holderIdentity"].as_str().and_then(|holder| holder.split_once('_'));
    holder.map(|(pod, _)| pod.to_owned()).with_context(|| format!("no agent holds {lease:#}"))
}

fn create_sync(cluster: &Cluster, url: &str) -> Result<()> {
    let object = json!({
        "apiVersion": "configsync.gke.io/v1beta1",
        "kind": "RootSync",
        "metadata": {"name": SYNC},
        "spec": {
            "sourceFormat": "unstructured",
            "git": {"repo": url, "branch": "main", "auth": "none", "period": "1s"},
        },
    });
    let collection = root_sync_path("");
    cluster.create(collection.trim_end_matches('/'), &object).map(|_| ())
}
