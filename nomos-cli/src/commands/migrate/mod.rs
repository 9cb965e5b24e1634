//! `nomos migrate`: from Config Sync to the agent, and from a ConfigManagement's repository to a RootSync.

mod plan;
mod perform;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::contexts::{self, ClusterContext};
use crate::{Console, FINE, FOUND, completions, duration};
use plan::Migration;

/// Hand a cluster over from Config Sync to the agent, without changing what is synced
///
/// Stops the programs of Config Sync, and the agent, which writes nothing while they run, takes the syncs over: no object is deleted or
/// made anew, and only the metadata of the agent is written. The repository of a ConfigManagement becomes the RootSync root-sync.
/// Config Sync that a fleet manages is refused. Exit status: 0 done, 1 something is in the way on a cluster, 2 the command could not run.
#[derive(clap::Args)]
pub(crate) struct MigrateArgs {
    /// Contexts of the kubeconfig, separated by commas; `all` for all of them [default: the current one]
    #[arg(long, value_delimiter = ',', value_name = "CONTEXTS", add = completions::contexts())]
    contexts: Option<Vec<String>>,

    /// Print every step, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Also delete the ConfigManagement; its name for the cluster must be a flag of the agent
    #[arg(long)]
    remove_configmanagement: bool,

    /// Longest time to wait for a connection to each cluster
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "DURATION")]
    connect_timeout: Duration,

    /// Longest time to wait for each step
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "DURATION")]
    wait_timeout: Duration,
}

/// Migrates one cluster after the other.
pub(crate) fn run(args: &MigrateArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let clusters = chosen(args, kubeconfig, console)?;
    let mut status = FINE;
    for cluster in &clusters {
        console.print(&format!("{}\n", console.paint.bold(&cluster.context)));
        let migrated = contexts::with(cluster, async |client| migrate(args, cluster, &client, console).await);
        if let Err(error) = migrated {
            console.error(&format!("{}: {error:#}", cluster.context));
            status = FOUND;
        }
    }
    Ok(status)
}

fn chosen(args: &MigrateArgs, kubeconfig: Option<&Path>, console: &Console<'_>) -> anyhow::Result<Vec<ClusterContext>> {
    match args.contexts.as_deref() {
        None => Ok(vec![contexts::cluster(kubeconfig, &console.environment, None)?]),
        Some(names) => {
            let all = names.iter().any(|name| name == "all");
            let named = (!all).then_some(names);
            contexts::clusters(kubeconfig, &console.environment, named)?
                .with_context(|| contexts::not_configured(kubeconfig, &console.environment))
        }
    }
}

async fn migrate(
    args: &MigrateArgs,
    cluster: &ClusterContext,
    client: &kube::Client,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let found = perform::look(client, cluster, args.connect_timeout).await?;
    let Migration { steps, next } = match plan::plan(&found, args.remove_configmanagement) {
        Ok(migration) => migration,
        Err(reason) => bail!("{reason}. Nothing is changed"),
    };
    if steps.is_empty() {
        console.print("  Nothing has to be migrated.\n");
    }
    for step in &steps {
        let text = step.text().replace('\n', "\n    ");
        console.print(&format!("  {text}{}\n", if args.dry_run { " (dry run)" } else { "" }));
        if !args.dry_run {
            perform::perform(step, client, args.wait_timeout).await.with_context(|| {
                format!("failed to {}; run this again to go on", step.text().lines().next().unwrap_or_default())
            })?;
        }
    }
    if let Some(next) = next {
        console.print(&format!("  The agent is not installed. Next: {next}\n"));
    }
    Ok(())
}
