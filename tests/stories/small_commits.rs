//! A small commit needs few writes: the work is proportional to the change.

use anyhow::{Result, ensure};
use sandbox::Request;
use tests::cluster::{Cluster, Kind};
use tests::wait::await_condition;

use crate::world::{Sync, shared};

const NAME: &str = "small-commits";
const OWN: &str = "own-writes";

pub(crate) fn one_file_is_one_apply(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let sync = Sync::go_hello(cluster, NAME)?;
    let directory = format!("namespaces/{NAME}");

    let from = cluster.now()?;
    sync.repository.replace(&format!("{directory}/deployment.yaml"), "value: hello", "value: good morning")?;
    sync.commit()?;
    ensure!(writes(cluster, from)? == ["patch deployments go-hello"], "{:?}", writes(cluster, from)?);

    let from = cluster.now()?;
    sync.repository.write("README.md", "Nothing that is applied.\n")?;
    sync.commit()?;
    ensure!(writes(cluster, from)?.is_empty(), "{:?}", writes(cluster, from)?);

    let from = cluster.now()?;
    sync.repository.remove(&format!("{directory}/service-admin.yaml"))?;
    sync.commit()?;
    ensure!(writes(cluster, from)? == ["delete services go-hello-admin"], "{:?}", writes(cluster, from)?);
    ensure!(!cluster.exists(&format!("/api/v1/namespaces/{NAME}/services/go-hello-admin"))?, "it is still there");
    Ok(())
}

/// Beside the object itself: status, inventory and an Event, whatever the size of the repository.
pub(crate) fn few_writes_of_our_own(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let sync = Sync::go_hello(cluster, OWN)?;
    let token = |commit: &str| {
        await_condition("the inventory is written", || {
            let path = format!("/apis/kpt.dev/v1alpha1/namespaces/config-management-system/resourcegroups/{OWN}");
            let group = cluster.get(&path)?;
            let mut statuses = group["status"]["resourceStatuses"].as_array().into_iter().flatten();
            ensure!(statuses.any(|it| it["sourceHash"] == commit[..7] && it["kind"] == "Service"), "{group:#}");
            Ok(())
        })
    };
    token(&sync.repository.head()?)?;
    // The Deployment has said all that it has to say about itself.
    await_condition("its readiness is read", || {
        let group = cluster.nomos(&["status", "--name", OWN]).1;
        ensure!(["Replicas: 0/2", "Available: 0/2"].iter().any(|end| group.contains(end)), "{group}");
        Ok(())
    })?;

    let from = cluster.now()?;
    sync.repository.replace(&format!("namespaces/{OWN}/service.yaml"), "port: 80", "port: 8080")?;
    let commit = sync.commit()?;
    token(&commit)?;
    let own = await_condition("an Event says so", || {
        let (requests, _) = cluster.requests(from)?;
        let of_sync = |it: &Request| it.name == OWN || it.name.starts_with(&format!("{OWN}."));
        let own = requests.into_iter().filter(|it| it.user_agent.starts_with("nomos-agent/") && of_sync(it));
        let own: Vec<String> = own
            .map(|it| format!("{} {} {}", it.verb, it.resource, it.subresource))
            .filter(|it| !it.starts_with("get"))
            .collect();
        ensure!(own.iter().any(|it| it.starts_with("create events")), "{own:?}");
        Ok(own)
    })?;
    ensure!(own.len() <= 4, "{own:?}");
    Ok(())
}

/// The writes of the agent in the Namespace of this story.
fn writes(cluster: &Cluster, from: u64) -> Result<Vec<String>> {
    let writes = cluster.writes(from)?;
    let here = writes.iter().filter(|request| request.namespace == NAME);
    Ok(here.map(|request| format!("{} {} {}", request.verb, request.resource, request.name)).collect())
}
