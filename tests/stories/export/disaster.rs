//! A cluster that was never in git is lost with all that is in it, and an empty one becomes the same from its export.

use std::fs;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use serde_json::json;
use tests::cluster::{Cluster, Kind, root_sync_path};
use tests::exported::nomos;
use tests::git_server::GitServer;
use tests::node::GUEST;
use tests::repository::Repository;
use tests::sops::{KEYS, recipient};
use tests::wait::await_condition;

use crate::installed::{IMAGE, image, url_in_pods};
use crate::world::await_synced;

const SHOP: &str = include_str!("shop.yaml");
const NAMESPACE: &str = "shop";
/// The Secret with the age key, in the namespace of the agent.
const KEY: &str = "sops-age";
/// What people look at to see if all is well.
const KINDS: &str = "deployments,services,ingresses,persistentvolumeclaims,secrets";
/// The promise of README.
const MINUTE: Duration = Duration::from_secs(60);
const LOGIN: &str = "/api/v1/namespaces/shop/secrets/login";

pub(crate) fn is_survived(kind: Kind) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let image = image(scratch.path())?;
    let repository = Repository::empty()?;
    let (before, login) = exported(kind, &repository)?;
    let commit = repository.commit()?;
    let server = GitServer::of(&repository)?;

    let second = Cluster::start(kind)?;
    second.node()?.import(&image)?;
    let begin = Instant::now();
    let flags = ["--image", &format!("{IMAGE}:1"), "--age-key-secret", KEY, "--timeout", "60s"];
    nomos(&second, &[&["install"], &flags[..]].concat(), 0)?;
    let key = base64::engine::general_purpose::STANDARD.encode(KEYS[0]);
    let key = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEY}, "data": {"age.agekey": key}});
    second.create("/api/v1/namespaces/config-management-system/secrets", &key)?;
    let git = json!({"repo": url_in_pods(&server), "branch": "main", "auth": "none", "period": "1s"});
    let sync = json!({
        "apiVersion": "configsync.gke.io/v1beta1", "kind": "RootSync", "metadata": {"name": "root-sync"},
        "spec": {"sourceFormat": "hierarchy", "git": git},
    });
    second.create(root_sync_path("").trim_end_matches('/'), &sync)?;
    await_synced(&second, "root-sync", &commit)?;
    await_condition("everything is back", || {
        let after = listing(&second)?;
        ensure!(after == before, "before:\n{}\nafter:\n{}", before.join("\n"), after.join("\n"));
        Ok(())
    })?;
    ensure!(begin.elapsed() < MINUTE, "it took {:?} from the installation on", begin.elapsed());
    ensure!(second.get(LOGIN)?["data"] == login, "the Secret has other values");
    Ok(())
}

/// Fills a repository with the export of a cluster, which is gone then. Returns what kubectl showed of the cluster, and the data of its
/// Secret.
fn exported(kind: Kind, repository: &Repository) -> Result<(Vec<String>, serde_json::Value)> {
    let first = Cluster::start(kind)?;
    let file = tempfile::NamedTempFile::new()?;
    fs::write(&file, SHOP.replace("GUEST", GUEST))?;
    first.kubectl(&["create", "--filename", &file.path().display().to_string()])?;
    for (name, replicas) in [("web", 2), ("worker", 1)] {
        await_condition(&format!("{name} runs"), || {
            let live = first.get(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}"))?;
            ensure!(live["status"]["availableReplicas"] == replicas, "{live:#}");
            Ok(())
        })?;
    }
    let path = repository.url();
    nomos(&first, &["export", "--path", &path, "--secrets=sops", "--age", recipient(0)?], 0)?;
    nomos(&first, &["vet", "--path", &path], 0)?;
    let secret = fs::read_to_string(repository.path().join("namespaces/shop/secret-login.yaml"))?;
    let login = first.get(LOGIN)?["data"].clone();
    let value = login["password"].as_str().context("a value")?;
    ensure!(secret.contains("ENC[") && !secret.contains(value), "{secret}");
    Ok((listing(&first)?, login))
}

/// The lines of kubectl, without ages, addresses and the widths of columns.
fn listing(cluster: &Cluster) -> Result<Vec<String>> {
    let text = cluster.kubectl(&["get", KINDS, "--namespace", NAMESPACE, "--output=wide"])?;
    let shown = |word: &str| match word {
        word if is_age(word) => "AGE".to_owned(),
        word if word.parse::<IpAddr>().is_ok() => "ADDRESS".to_owned(),
        word => word.to_owned(),
    };
    Ok(text.lines().map(|line| line.split_whitespace().map(shown).collect::<Vec<_>>().join(" ")).collect())
}

/// `true` for words such as `7s` and `3m12s`.
fn is_age(word: &str) -> bool {
    let all = word.chars().all(|c| c.is_ascii_digit() || "dhms".contains(c));
    all && word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with(|c: char| c.is_ascii_alphabetic())
}
