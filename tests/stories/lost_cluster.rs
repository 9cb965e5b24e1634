//! A second, empty cluster with the same RootSync gets all objects, and each kind before its objects.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;

use crate::custom_resources::{crd, widget, widget_path};
use crate::world::{Sync, agent, installed};

const NAME: &str = "lost-cluster";
const GROUP: &str = "lost.example.com";

pub(crate) fn comes_back(kind: Kind) -> Result<()> {
    let repository = Repository::go_hello(NAME)?;
    repository.write("cluster/crd.yaml", &crd(GROUP))?;
    repository.write(&format!("namespaces/{NAME}/widget.yaml"), &widget(GROUP, "wheel", 3))?;

    let first = installed(kind)?;
    let first_agent = agent(&first, &[])?;
    let sync = Sync::hierarchical(&first, "root-sync", repository)?;
    let commit = sync.repository.head()?;
    sync.await_synced(&commit)?;
    is_complete(&first)?;
    let repository = Arc::clone(&sync.repository);
    drop(first_agent);
    drop(sync);
    drop(first);

    let second = installed(kind)?;
    let _agent = agent(&second, &[])?;
    let from = second.now()?;
    let sync = Sync::hierarchical(&second, "root-sync", repository)?;
    let commit = sync.repository.head()?;
    sync.await_synced(&commit)?;
    is_complete(&second)?;

    let writes = second.writes(from)?;
    let first_of = |resource: &str| writes.iter().position(|request| request.resource == resource);
    let kind = first_of("customresourcedefinitions").context("the CRD was not applied")?;
    let object = first_of("widgets").context("the Widget was not applied")?;
    ensure!(kind < object, "{writes:#?}");
    Ok(())
}

fn is_complete(cluster: &Cluster) -> Result<()> {
    cluster.get(&format!("/api/v1/namespaces/{NAME}/services/go-hello"))?;
    cluster.get(&format!("/apis/apps/v1/namespaces/{NAME}/deployments/go-hello"))?;
    let widget = cluster.get(&widget_path(GROUP, NAME, "wheel"))?;
    ensure!(widget["spec"]["size"] == 3, "{widget:#}");
    Ok(())
}
