//! SIGTERM in the middle of a sync: the request in flight ends, the status is written, the Lease is given back, the exit code is 0,
//! all within the time that a Pod of the installation has.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::cluster::Kind;
use tests::wait::await_condition;

use crate::killed::{applied, many, slow_down};
use crate::world::{Sync, agent, condition, installed};

const OBJECTS: usize = 3000;
/// `terminationGracePeriodSeconds` of `examples/install`.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) fn writes_status(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    slow_down(&cluster);
    let agent = agent(&cluster, &[])?;
    let sync = Sync::unstructured(&cluster, "root-sync", many(OBJECTS)?)?;
    await_condition("the sync has begun", || {
        let applied = applied(&cluster)?;
        ensure!(applied > 50, "{applied} ConfigMaps");
        Ok(())
    })?;
    let from = cluster.now()?;
    let (status, took) = agent.terminate()?;
    ensure!(status.code() == Some(0), "{status}");
    ensure!(took < GRACE, "it took {took:?}");
    ensure!(applied(&cluster)? < OBJECTS, "the sync had ended before it was stopped");

    let (requests, _) = cluster.requests(from)?;
    // That of the RootSync may have said before what it says in the end; what was applied since is told by the ResourceGroup.
    let last = |request: &sandbox::Request| request.resource == "resourcegroups" && request.subresource == "status";
    ensure!(requests.iter().any(last), "no status was written");
    let object = sync.object()?;
    let commit = sync.repository.head()?;
    let syncing = condition(&object, "Syncing")?;
    ensure!(syncing["status"] == "True" && syncing["commit"] == commit, "{object:#}");
    ensure!(object["status"]["lastSyncedCommit"] != commit, "{object:#}");
    Ok(())
}
