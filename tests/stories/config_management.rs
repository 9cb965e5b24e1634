//! A ConfigManagement: the session that users of older versions know, and the RootSync that is made from it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::cluster::{Cluster, Kind, root_sync_path};
use tests::git_server::GitServer;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, config_map, config_map_path, installed, namespace};

const PATH: &str = "/apis/configmanagement.gke.io/v1/configmanagements/config-management";
const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/configmanagements.configmanagement.gke.io";
const CRD_FILE: &str = "../examples/install/crds/configmanagements.configmanagement.gke.io.yaml";

pub(crate) fn session(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    play_session(&cluster, |server| server.url().to_owned())
}

/// Plays the session on a cluster with an agent, for which a repository has this URL.
pub(crate) fn play_session(cluster: &Cluster, url: impl Fn(&GitServer) -> String) -> Result<()> {
    let home = TempDir::new()?;
    let context = cluster.kubectl(&["config", "current-context"])?.trim().to_owned();
    let status = || cluster.nomos(&["status", "--contexts", &context]);
    await_condition("nothing is configured", || {
        let (code, text) = status();
        ensure!(code == 1 && text.contains("NOT CONFIGURED"), "{code}: {text}");
        ensure!(text.contains(&format!("{context}   ConfigManagement resource is missing")), "{text}");
        Ok(())
    })?;

    let repository = Repository::empty()?;
    repository.copy_example("go-hello", "gohellorepo")?;
    repository.write("gohellorepo/namespaces/go-hello/named.yaml", &named("my-cluster"))?;
    let tagged = repository.commit()?;
    repository.git(&["tag", "1.0.0"])?;
    let server = GitServer::of(&repository)?;
    apply(cluster, home.path(), &manifest(&url(&server), "my-cluster"))?;
    let synced_at = |commit: &str| {
        await_condition(&format!("the table shows SYNCED at {commit}"), || {
            let (code, text) = status();
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let row = ["*", &context, "SYNCED", &commit[..8], "1.0.0"];
            ensure!(code == 0 && text.lines().any(|line| words(line) == row), "{code}: {text}");
            Ok(())
        })
    };
    synced_at(&tagged)?;
    let there = cluster.kubectl(&["get", "-n", "go-hello", "-o", "name", "service,deployment"])?;
    ensure!(there == "service/go-hello\nservice/go-hello-admin\ndeployment.apps/go-hello\n", "{there}");
    cluster.kubectl(&["delete", "namespace", "go-hello"])?;
    await_condition("the Namespace is back", || {
        cluster.kubectl(&["get", "-n", "go-hello", "service/go-hello", "deployment/go-hello"]).map(|_| ())
    })?;
    synced_at(&tagged)?;

    // From now on it is a branch.
    repository.git(&["tag", "--delete", "1.0.0"])?;
    repository.git(&["checkout", "--quiet", "-b", "1.0.0"])?;
    let committed = repository.commit()?;
    synced_at(&committed)?;
    named_clusters(cluster)?;
    synced_at(&committed)?;
    unreachable_context(cluster, home.path(), &context)
}

/// Another name of the cluster takes effect at once, without a commit.
fn named_clusters(cluster: &Cluster) -> Result<()> {
    let path = config_map_path("go-hello", "named");
    ensure!(cluster.exists(&path)?, "the name of the cluster is not used");
    for (name, there) in [("other", false), ("my-cluster", true)] {
        cluster.patch(PATH, &json!({"spec": {"clusterName": name}}))?;
        await_condition(&format!("the cluster is {name}"), || {
            ensure!(cluster.exists(&path)? == there, "{:#}", cluster.root_sync("root-sync")?["status"]);
            Ok(())
        })?;
    }
    Ok(())
}

/// A cluster that hangs costs the time-out, and hides no other.
fn unreachable_context(cluster: &Cluster, home: &Path, context: &str) -> Result<()> {
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut config: Value = serde_yaml::from_str(&std::fs::read_to_string(cluster.kubeconfig())?)?;
    let server = format!("http://{}", silent.local_addr()?);
    let list = |config: &mut Value, key: &str, item: Value| {
        config[key].as_array_mut().map(|list| list.insert(0, item)).with_context(|| format!("no {key}"))
    };
    list(&mut config, "clusters", json!({"name": "away", "cluster": {"server": server}}))?;
    list(&mut config, "users", json!({"name": "away", "user": {}}))?;
    list(&mut config, "contexts", json!({"name": "away", "context": {"cluster": "away", "user": "away"}}))?;
    let path = home.join("two-clusters");
    std::fs::write(&path, config.to_string())?;
    let start = std::time::Instant::now();
    let (code, text) = run_nomos(&path, &["status", "--timeout", "4s"])?;
    ensure!(code == 1 && start.elapsed() < Duration::from_secs(10), "{code} after {:?}: {text}", start.elapsed());
    for words in [&format!("*         {context}"), "SYNCED", "away   Failed to connect to cluster"] {
        ensure!(text.contains(words), "no {words:?} in {text}");
    }
    Ok(())
}

fn run_nomos(kubeconfig: &Path, args: &[&str]) -> Result<(u8, String)> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = nomos_cli::Console::new(&mut out, &mut err, nomos_cli::Environment::default());
    let kubeconfig = kubeconfig.to_str().context("a path in ASCII")?;
    let args = ["nomos", "--kubeconfig", kubeconfig].into_iter().chain(args.iter().copied()).map(Into::into);
    let code = nomos_cli::run(args, &mut console);
    Ok((code, String::from_utf8(out)? + &String::from_utf8(err)?))
}

/// A ConfigMap for the cluster of this name.
fn named(cluster: &str) -> String {
    let annotation = format!("  annotations:\n    configsync.gke.io/cluster-name-selector: {cluster}\n");
    config_map("go-hello", "named", "value").replace("\ndata:\n", &format!("\n{annotation}data:\n"))
}

fn manifest(url: &str, cluster_name: &str) -> Value {
    let git = json!({
        "syncRepo": url, "syncBranch": "1.0.0", "secretType": "none", "policyDir": "gohellorepo", "syncWait": 1,
    });
    json!({
        "apiVersion": "configmanagement.gke.io/v1", "kind": "ConfigManagement",
        "metadata": {"name": "config-management"}, "spec": {"clusterName": cluster_name, "git": git},
    })
}

fn apply(cluster: &Cluster, home: &Path, manifest: &Value) -> Result<()> {
    let file = home.join("config-management.yaml");
    std::fs::write(&file, serde_yaml::to_string(manifest)?)?;
    let said = cluster.kubectl(&["apply", "-f", file.to_str().context("a path in ASCII")?])?;
    ensure!(said.contains("configmanagement.configmanagement.gke.io/config-management"), "{said}");
    Ok(())
}

pub(crate) fn root_sync(kind: Kind) -> Result<()> {
    let (cluster, home) = (installed(kind)?, TempDir::new()?);
    // The agent serves RootSyncs where the kind is not known, and notices when it comes.
    cluster.delete(CRD)?;
    await_condition("the CRD is gone", || {
        ensure!(!cluster.exists(CRD)?, "not yet");
        Ok(())
    })?;
    let _agent = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    repository.write("gohellorepo/system/repo.yaml", tests::repository::REPO)?;
    repository.write("gohellorepo/namespaces/made/namespace.yaml", &namespace("made"))?;
    repository.write("gohellorepo/namespaces/made/settings.yaml", &config_map("made", "settings", "one"))?;
    let other = Repository::empty()?;
    other.write("namespace.yaml", &namespace("other"))?;
    let other = Sync::unstructured(&cluster, "other", other)?;
    other.await_synced(&other.repository.head()?)?;

    let crd = Path::new(env!("CARGO_MANIFEST_DIR")).join(CRD_FILE);
    cluster.kubectl(&["apply", "--server-side", "-f", crd.to_str().context("a path in ASCII")?])?;
    let commit = repository.commit()?;
    repository.git(&["tag", "1.0.0"])?;
    let server = GitServer::of(&repository)?;
    await_condition("the kind is served", || apply(&cluster, home.path(), &manifest(server.url(), "")))?;
    await_synced(&cluster, &commit)?;
    await_status(&cluster, &json!([]))?;
    let object = cluster.root_sync("root-sync")?;
    ensure!(object["metadata"]["ownerReferences"][0]["kind"] == "ConfigManagement", "{object:#}");
    ensure!(object["metadata"]["labels"]["configsync.gke.io/made-from"] == "config-management", "{object:#}");
    ensure!(cluster.kubectl(&["get", "configmanagement"])?.contains("true"), "kubectl get does not show it");

    // A change of the RootSync is put back, a change of the ConfigManagement arrives, and a wrong one changes nothing.
    cluster.patch(&root_sync_path("root-sync"), &json!({"spec": {"git": {"dir": "elsewhere"}}}))?;
    await_field(&cluster, "dir", &json!("gohellorepo"))?;
    cluster.patch(PATH, &json!({"spec": {"git": {"syncWait": 2, "syncRev": "1.0.0", "syncBranch": null}}}))?;
    await_field(&cluster, "revision", &json!("1.0.0"))?;
    await_field(&cluster, "branch", &Value::Null)?;
    // Without a branch and a revision it is the branch master, which the repository gets later.
    cluster.patch(PATH, &json!({"spec": {"git": {"syncRev": null}}}))?;
    await_field(&cluster, "revision", &Value::Null)?;
    await_condition("the branch master is missed", || {
        let status = cluster.root_sync("root-sync")?["status"]["source"].to_string();
        ensure!(status.contains("KNV2004") && status.contains("master"), "{status}");
        Ok(())
    })?;
    repository.git(&["branch", "master"])?;
    await_condition("the branch master is synced", || {
        let status = cluster.root_sync("root-sync")?["status"].clone();
        ensure!(status["source"]["gitStatus"]["branch"] == "master", "{status:#}");
        ensure!(status["source"]["errors"] == json!([]) && status["sync"]["commit"] == *commit, "{status:#}");
        Ok(())
    })?;
    cluster.patch(PATH, &json!({"spec": {"git": {"syncRev": "1.0.0"}}}))?;
    await_field(&cluster, "revision", &json!("1.0.0"))?;
    cluster.patch(PATH, &json!({"spec": {"git": {"syncWait": -1, "syncRev": "other"}}}))?;
    await_status(&cluster, &json!(["spec.git.syncWait: -1 is less than 0; use a number of seconds"]))?;
    await_field(&cluster, "revision", &json!("1.0.0"))?;

    it_goes(&cluster, &server, &commit)?;
    another_wins(&cluster, home.path(), &server, &other.repository)?;
    await_synced(&cluster, &commit)?;
    await_status(&cluster, &json!([]))?;
    it_is_released(&cluster, home.path(), &server, &commit)
}

/// Without spec.git the RootSync goes, and its objects stay. So it is when the ConfigManagement goes.
fn it_goes(cluster: &Cluster, server: &GitServer, commit: &str) -> Result<()> {
    let settings = config_map_path("made", "settings");
    for end in ["git", "object"] {
        cluster.patch(PATH, &json!({"spec": {"git": manifest(server.url(), "")["spec"]["git"]}}))?;
        cluster.patch(PATH, &json!({"spec": {"git": {"syncRev": null}}}))?;
        await_status(cluster, &json!([]))?;
        await_synced(cluster, commit)?;
        match end {
            "git" => cluster.patch(PATH, &json!({"spec": {"git": null}})).map(|_| ())?,
            _ => cluster.kubectl(&["delete", "configmanagement", "config-management"]).map(|_| ())?,
        }
        await_condition("the RootSync is gone", || {
            ensure!(!cluster.exists(&root_sync_path("root-sync"))?, "not yet");
            Ok(())
        })?;
        ensure!(cluster.exists(&settings)?, "its objects are gone too");
    }
    Ok(())
}

/// After the `nomos migrate` of Config Sync, the RootSync is the user's.
fn it_is_released(cluster: &Cluster, home: &Path, server: &GitServer, commit: &str) -> Result<()> {
    apply(cluster, home, &manifest(server.url(), ""))?;
    await_synced(cluster, commit)?;
    let uid = cluster.root_sync("root-sync")?["metadata"]["uid"].clone();
    cluster.patch(PATH, &json!({"spec": {"enableMultiRepo": true, "git": null}}))?;
    await_condition("the RootSync has no mark", || {
        let metadata = cluster.root_sync("root-sync")?["metadata"].clone();
        ensure!(metadata["uid"] == uid, "another RootSync: {metadata:#}");
        let mark = &metadata["labels"]["configsync.gke.io/made-from"];
        ensure!(mark.is_null() && metadata["ownerReferences"].is_null(), "{metadata:#}");
        Ok(())
    })?;
    cluster.kubectl(&["delete", "configmanagement", "config-management"])?;
    cluster.patch(&config_map_path("made", "settings"), &json!({"data": {"key": "other"}}))?;
    await_condition("the drift is put back", || {
        let settings = cluster.get(&config_map_path("made", "settings"))?;
        ensure!(settings["data"]["key"] != "other", "{settings:#}");
        Ok(())
    })?;
    cluster.delete(&root_sync_path("root-sync")).map(|_| ())
}

/// A RootSync of a user stays as it is until the user deletes it.
fn another_wins(cluster: &Cluster, home: &Path, server: &GitServer, repository: &Repository) -> Result<()> {
    cluster.create_root_sync("root-sync", repository, "unstructured")?;
    apply(cluster, home, &manifest(server.url(), ""))?;
    await_condition("the ConfigManagement says so", || {
        let errors = cluster.get(PATH)?["status"]["errors"].to_string();
        ensure!(errors.contains("was not made from this ConfigManagement"), "{errors}");
        Ok(())
    })?;
    let (code, text) = cluster.nomos(&["status"]);
    ensure!(code == 1 && text.contains("was not made from this ConfigManagement"), "{code}: {text}");
    await_field(cluster, "branch", &json!("main"))?;
    cluster.delete(&root_sync_path("root-sync")).map(|_| ())
}

fn await_synced(cluster: &Cluster, commit: &str) -> Result<()> {
    await_condition(&format!("root-sync is synced at {commit}"), || {
        let sync = cluster.root_sync("root-sync")?;
        ensure!(sync["status"]["lastSyncedCommit"] == commit, "{:#}", sync["status"]);
        Ok(())
    })
}

/// Waits until the status of the ConfigManagement has these errors.
fn await_status(cluster: &Cluster, errors: &Value) -> Result<()> {
    await_condition(&format!("the ConfigManagement has the errors {errors}"), || {
        let status = cluster.get(PATH)?["status"].clone();
        let none = json!([]);
        let found = status.get("errors").unwrap_or(&none);
        ensure!(status["healthy"] == (found == &none) && found == errors, "{status:#}");
        ensure!(status["configManagementVersion"].is_string(), "{status:#}");
        Ok(())
    })
}

/// Waits until a field of the RootSync's `spec.git` has a value.
fn await_field(cluster: &Cluster, field: &str, value: &Value) -> Result<()> {
    await_condition(&format!("spec.git.{field} of root-sync is {value}"), || {
        let spec = cluster.root_sync("root-sync")?["spec"]["git"].clone();
        ensure!(&spec[field] == value, "{spec:#}");
        Ok(())
    })
}
