//! `nomos bugreport` on a cluster with secrets in many places: none of them is in the file.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tests::cluster::{Cluster, Kind, SYNCS};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, installed, namespace};

const SYSTEM: &str = "/api/v1/namespaces/config-management-system";
/// The secrets; those in the Secret stand in messages too.
const SECRETS: [&str; 8] = [
    "hunter2-in-data",
    "aHVudGVyMi1pbi1kYXRh",
    "in-an-annotation",
    "in-a-variable",
    "in-an-argument",
    "in-a-url",
    "in-a-config-map",
    "in-git",
];

pub(crate) fn has_no_secret(kind: Kind) -> Result<()> {
    let (cluster, home) = (installed(kind)?, TempDir::new()?);
    let _agent = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace("shop"))?;
    let managed = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "managed", "namespace": "shop"}, "stringData": {"key": "in-git"},
    });
    repository.write("secret.yaml", &managed.to_string())?;
    let sync = Sync::unstructured(&cluster, "shop", repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    plant(&cluster)?;
    let file = home.path().join("report.zip");
    let path = file.to_str().context("a path in ASCII")?;
    let (code, said) = cluster.nomos(&["bugreport", "-o", path]);
    ensure!(said.contains(&format!("Created file {path}")), "{code}: {said}");
    let whole = unzipped(&file)?;
    for secret in SECRETS {
        ensure!(!whole.contains(secret) && !said.contains(secret), "{secret} is in the report:\n{said}\n{whole}");
    }
    for there in [
        "namespaces/config-management-system/RootSync-shop.yaml",
        "namespaces/config-management-system/ResourceGroup-shop.yaml",
        "namespaces/config-management-system/deployments.yaml",
        "namespaces/config-management-system/events.yaml",
        "namespaces/config-management-system/leases.yaml",
        "--cluster-name=prod",
        "reason: Planted",
        "<root>:shop",
        "<nomos CLI>",
        "repo: https://127.0.0.1:1/x?...",
    ] {
        ensure!(whole.contains(there), "no {there:?} in the report:\n{said}\n{whole}");
    }
    let (code, said) = cluster.nomos(&["bugreport", "-o", path]);
    ensure!(code == 2 && said.contains("exists already"), "{code}: {said}");
    let (code, said) = cluster.nomos(&["bugreport", "--context", "nowhere"]);
    ensure!(code == 2 && said.contains("no context nowhere"), "{code}: {said}");
    Ok(())
}

/// Puts secrets into objects of the agent's namespace, and waits until the agent has told of a repository.
fn plant(cluster: &Cluster) -> Result<()> {
    let annotations = json!({
        "example.com/note": "in-an-annotation", "kubectl.kubernetes.io/last-applied-configuration": "{\"data\":\"in-an-annotation\"}",
    });
    let metadata = |name: &str| json!({"name": name, "annotations": annotations});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata("git-creds"), "stringData": {"token": "hunter2-in-data"}});
    cluster.create(&format!("{SYSTEM}/secrets"), &secret)?;
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("proxy"), "data": {"key": "in-a-config-map"}});
    cluster.create(&format!("{SYSTEM}/configmaps"), &config)?;
    let container = json!({
        "name": "agent", "image": "example.com/agent:1", "args": ["--cluster-name=prod", "--key=in-an-argument", "in-an-argument"],
        "env": [{"name": "TOKEN", "value": "in-a-variable"}],
    });
    let labels = json!({"app": "x"});
    cluster.create("/apis/apps/v1/namespaces/config-management-system/deployments", &json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("nomos-agent"),
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": [container]}},
        },
    }))?;
    let about = json!({"kind": "Secret", "name": "git-creds", "namespace": "config-management-system"});
    let metadata_of_event = json!({"name": "e", "namespace": "config-management-system"});
    cluster.create(&format!("{SYSTEM}/events"), &json!({
        "apiVersion": "v1", "kind": "Event", "metadata": metadata_of_event, "involvedObject": about, "reason": "Planted",
        "message": "login with hunter2-in-data at https://me:in-a-url@git.example failed",
    }))?;
    let git = json!({"repo": "https://me:in-a-url@127.0.0.1:1/x?private_token=in-a-url", "auth": "none"});
    cluster.create(SYNCS, &json!({
        "apiVersion": "configsync.gke.io/v1beta1", "kind": "RootSync", "metadata": metadata("unreadable"), "spec": {"git": git},
    }))?;
    await_condition("the sync says that it cannot read", || {
        let sync = cluster.root_sync("unreadable")?;
        ensure!(sync["status"]["source"]["errors"].is_array(), "{sync:#}");
        Ok(())
    })
}

/// A report on a cluster, with all of its files.
pub(crate) fn whole_report(cluster: &Cluster) -> Result<String> {
    let home = TempDir::new()?;
    let file = home.path().join("report.zip");
    let (code, said) = cluster.nomos(&["bugreport", "-o", file.to_str().context("a path in ASCII")?]);
    ensure!(said.contains("Created file"), "{code}: {said}");
    Ok(said + &unzipped(&file)?)
}

/// The names and the contents of all files.
fn unzipped(file: &std::path::Path) -> Result<String> {
    let mut zip = zip::ZipArchive::new(File::open(file)?)?;
    let mut whole = String::new();
    for at in 0..zip.len() {
        let mut file = zip.by_index(at)?;
        whole.push_str(&format!("==> {}\n", file.name()?));
        file.read_to_string(&mut whole)?;
    }
    Ok(whole)
}
