//! Random objects of every kind are exported. A sync of the export changes none of them, and makes the same on an empty cluster.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tests::agent_process::Agent;
use tests::cluster::{Cluster, Kind};
use tests::exported::{files, nomos, objects, same_export, unchanged};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::{Court, custom, kinds, round, say, seeds};

/// The clusters of a usual run.
const SEEDS: &str = "0";
/// Objects of each kind.
const OF_EACH: u64 = 2;
/// Kinds with a large CRD.
const LARGE: u64 = 2;
/// Objects of each of those.
const OF_EACH_LARGE: u64 = 5;
/// Groups whose objects decide about requests and kinds of the whole cluster.
const LEFT_OUT: [&str; 2] = ["admissionregistration.k8s.io", "apiregistration.k8s.io"];
/// Secrets are objects like others here.
const FLAGS: [&str; 2] = ["--secrets=plain", "--plain-secrets-in-git"];
const SYNC: &str = "root-sync";

pub(crate) fn is_the_cluster_again() -> Result<()> {
    for seed in seeds("NOMOS_EXPORT_SEEDS", SEEDS)? {
        play(seed).with_context(|| format!("NOMOS_EXPORT_SEEDS={seed}"))?;
    }
    Ok(())
}

fn play(seed: u64) -> Result<()> {
    let first = Cluster::start(Kind::ControlPlane)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // Its webhook converts objects of both clusters.
    let court = Court::complete(&runtime, first.kubeconfig())?;
    runtime.block_on(make(&court, seed))?;
    let repository = Repository::empty()?;
    let path = repository.url();
    nomos(&first, &[&["export", "--path", &path], &FLAGS[..]].concat(), 0)?;
    nomos(&first, &["vet", "--path", &path], 0)?;
    let exported = files(&repository.path())?;
    let commit = repository.commit()?;

    first.install()?;
    let before = objects(&first)?;
    let agent = follow(&first, &repository, &commit)?;
    unchanged(&before, &objects(&first)?)?;
    same_export(&first, &FLAGS, &exported)?;
    drop(agent);
    drop(first);

    let second = Cluster::start(Kind::ControlPlane)?;
    second.install()?;
    let _agent = follow(&second, &repository, &commit)?;
    same_export(&second, &FLAGS, &exported)?;
    drop(court);
    Ok(())
}

/// Makes random objects of all kinds, and says how many.
async fn make(court: &Court, seed: u64) -> Result<()> {
    let mut own = Vec::new();
    for number in 0..custom::KINDS {
        own.push(custom::define(&court.cluster, &court.converter, seed * custom::KINDS + number).await?);
    }
    for number in 0..LARGE {
        own.push(custom::define_large(&court.cluster, seed * LARGE + number).await?);
    }
    kinds::make_namespaces(&court.cluster, &own).await?;
    court.cluster.discover().await?;
    let (mut made, mut number, mut without) = (0, seed << 12, Vec::new());
    for kind in court.kinds.iter().chain(&own).filter(|kind| !LEFT_OUT.contains(&&*kind.group)) {
        let count = if kind.group.starts_with("large") { OF_EACH_LARGE } else { OF_EACH };
        let mut of_kind = 0;
        for _ in 0..count {
            number += 1;
            of_kind += usize::from(round::make(&court.cluster, &court.schemas, kind, number).await?);
        }
        made += of_kind;
        if of_kind == 0 {
            without.push(format!("{}.{}", kind.kind, kind.group));
        }
    }
    say(&format!("seed {seed}: {made} objects; kinds of which the API server took none: {without:?}"));
    Ok(())
}

/// Starts an agent and a RootSync of the export, and waits until that is synced.
fn follow(cluster: &Cluster, repository: &Repository, commit: &str) -> Result<Agent> {
    let program = Path::new(env!("CARGO_BIN_EXE_agent-for-stories"));
    let agent = Agent::start(program, &cluster.kubeconfig_of_agent(), &[])?;
    cluster.create_root_sync(SYNC, repository, "hierarchy")?;
    await_condition("the export is synced", || {
        let status = &cluster.root_sync(SYNC)?["status"];
        ensure!(status["lastSyncedCommit"] == commit, "{:#}", status["sync"]["errors"]);
        Ok(())
    })?;
    Ok(agent)
}
