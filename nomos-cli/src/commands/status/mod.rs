//! `nomos status`: what every sync of every cluster is doing.

mod older;
mod query;
mod report;
mod text;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::ArgAction;
use serde::Serialize;

use crate::columns::Data;
use crate::contexts::{self, Cluster};
use crate::{Console, FINE, FOUND, boolean, duration};
use report::ClusterStatus;

/// Show what the syncs of clusters are doing
///
/// Exit status: 0 everything is synced, 1 something is not, 2 the command could not run.
#[derive(clap::Args)]
pub(crate) struct Status {
    /// Contexts of the kubeconfig to show, separated by commas [default: all; "" for none]
    #[arg(long, value_delimiter = ',', value_name = "CONTEXTS")]
    contexts: Option<Vec<String>>,

    /// Show only syncs in this namespace
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Show only syncs with this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Show the managed resources of each sync
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    resources: bool,

    /// Show again after each such time, until interrupted
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    poll: Option<Duration>,

    /// How long to wait for a cluster
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,

    /// How to lay out the text: blocks, or the table of earlier versions
    #[arg(long, value_enum, default_value_t = Layout::Blocks, value_name = "LAYOUT")]
    format: Layout,

    /// Print data instead of text
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Data>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Layout {
    Blocks,
    Table,
}

#[derive(Serialize)]
struct Document<'a> {
    clusters: &'a [ClusterStatus],
}

/// Shows the status once, or again and again.
pub(crate) fn run(args: &Status, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let clusters = contexts::clusters(kubeconfig, &console.environment, args.contexts.as_deref())?
        .context(contexts::NOT_CONFIGURED)?;
    if args.output.is_none() {
        console.print("Connecting to clusters...\n");
    }
    loop {
        let status = show(args, &clusters, console)?;
        match args.poll.filter(|period| !period.is_zero()) {
            None => return Ok(status),
            Some(period) => std::thread::sleep(period),
        }
    }
}

fn show(args: &Status, clusters: &[Cluster], console: &mut Console<'_>) -> anyhow::Result<u8> {
    let scope = query::Scope { namespace: args.namespace.as_deref(), resources: args.resources };
    let mut statuses = query::statuses(clusters, args.timeout, scope)?;
    for status in &mut statuses {
        status.retain(args.name.as_deref());
    }
    let text = match (args.output, args.format) {
        (Some(data), _) => data.text(&Document { clusters: &statuses })?,
        (None, Layout::Blocks) => text::blocks(&statuses, console.paint),
        (None, Layout::Table) => older::table(&statuses),
    };
    if args.poll.is_some() && console.redraw {
        console.print("\x1b[H\x1b[2J");
    }
    console.print(&text);
    if let Some(hint) = nothing_shown(args, &statuses) {
        console.note(&hint);
        return Ok(FOUND);
    }
    Ok(if statuses.iter().all(ClusterStatus::is_synced) { FINE } else { FOUND })
}

/// What to say when the filters leave nothing of clusters that have syncs.
fn nothing_shown(args: &Status, statuses: &[ClusterStatus]) -> Option<String> {
    let filtered = args.namespace.is_some() || args.name.is_some();
    let empty = statuses.iter().all(|status| status.row.is_none() && status.syncs.is_empty());
    (filtered && empty && !statuses.is_empty())
        .then(|| "No sync matches --namespace and --name. Without them all syncs are shown.\n".to_owned())
}
