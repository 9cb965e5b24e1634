//! A new cluster reaches SYNCED, and has the declared objects with their metadata.

use anyhow::{Result, ensure};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent};

pub(crate) fn reaches_synced(kind: Kind) -> Result<()> {
    let cluster = Cluster::start(kind)?;
    shows(&cluster, 1, &["NOT INSTALLED"])?;
    cluster.install()?;
    // For a moment the API server asks for patience with kinds that are new.
    await_condition("nomos status knows the CRDs", || shows(&cluster, 1, &["NOT CONFIGURED"]))?;
    let _agent = agent(&cluster, &[])?;
    let sync = Sync::hierarchical(&cluster, "root-sync", Repository::go_hello("go-hello")?)?;
    let commit = sync.repository.head()?;
    sync.await_synced(&commit)?;
    shows(&cluster, 0, &["<root>:root-sync", "@main", "SYNCED @ ", &commit, "service/go-hello-admin"])?;
    everything_exists(&cluster)
}

fn shows(cluster: &Cluster, code: u8, words: &[&str]) -> Result<()> {
    let (status, text) = cluster.nomos(&["status"]);
    ensure!(status == code, "nomos status ended with {status}:\n{text}");
    for word in words {
        ensure!(text.contains(word), "no {word:?} in:\n{text}");
    }
    Ok(())
}

fn everything_exists(cluster: &Cluster) -> Result<()> {
    let names = ["deployment/go-hello", "service/go-hello", "service/go-hello-admin", "ingress/go-hello"];
    let there = cluster.kubectl(&[&["get", "-n", "go-hello", "-o", "name"][..], &names].concat())?;
    let expected =
        "deployment.apps/go-hello\nservice/go-hello\nservice/go-hello-admin\ningress.networking.k8s.io/go-hello\n";
    ensure!(there == expected, "{there}");
    let namespace = cluster.kubectl(&["get", "namespace", "go-hello", "-o", "jsonpath={.status.phase}"])?;
    ensure!(namespace == "Active", "{namespace}");
    Ok(())
}
