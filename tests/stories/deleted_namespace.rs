//! A user deletes a Namespace. It comes back with all declared objects as soon as it has terminated.

use anyhow::{Result, ensure};
use tests::cluster::Kind;
use tests::wait::await_condition;

use crate::world::{Sync, shared};

const NAME: &str = "deleted-namespace";

pub(crate) fn comes_back(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let sync = Sync::go_hello(cluster, NAME)?;
    let path = format!("/api/v1/namespaces/{NAME}");
    let before = cluster.get(&path)?["metadata"]["uid"].clone();
    cluster.kubectl(&["delete", "namespace", NAME, "--wait=true"])?;
    let objects = ["services/go-hello", "services/go-hello-admin"].map(|name| format!("{path}/{name}"));
    let apps = format!("/apis/apps/v1/namespaces/{NAME}/deployments/go-hello");
    let ingress = format!("/apis/networking.k8s.io/v1/namespaces/{NAME}/ingresses/go-hello");
    await_condition("everything is back", || {
        ensure!(cluster.get(&path)?["metadata"]["uid"] != before, "it is the old Namespace");
        objects.iter().chain([&apps, &ingress]).try_for_each(|path| cluster.get(path).map(|_| ()))
    })?;
    sync.await_synced(&sync.repository.head()?)?;
    Ok(())
}
