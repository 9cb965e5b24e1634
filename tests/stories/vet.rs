//! `nomos vet` asks the cluster about kinds that the source does not define.

use anyhow::{Result, ensure};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::custom_resources::{create_kind, widget};
use crate::world::{namespace, shared};

const GROUP: &str = "asked.example.com";

pub(crate) fn asks_the_cluster(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::hierarchical()?;
    repository.write("namespaces/asked/namespace.yaml", &namespace("asked"))?;
    repository.write("namespaces/asked/widget.yaml", &widget(GROUP, "wheel", 3))?;
    says(cluster, &repository, &[], 1, "KNV1021: ")?;
    says(cluster, &repository, &["--no-api-server-check"], 0, "No validation issues found.")?;

    create_kind(cluster, GROUP)?;
    await_condition("the cluster knows the kind", || {
        says(cluster, &repository, &[], 0, "No validation issues found.")
    })?;
    // The cluster also says that the kind belongs into Namespaces.
    repository.write("cluster/widget.yaml", &widget(GROUP, "axle", 3))?;
    says(cluster, &repository, &[], 1, "KNV1039: ")?;
    says(cluster, &repository, &["--no-api-server-check"], 0, "No validation issues found.")
}

fn says(cluster: &Cluster, repository: &Repository, flags: &[&str], status: u8, word: &str) -> Result<()> {
    let (ended, said) = cluster.nomos(&[&["vet", "--path", &repository.url()], flags].concat());
    ensure!(ended == status && said.contains(word), "not {status} and {word:?}: {ended}\n{said}");
    Ok(())
}
