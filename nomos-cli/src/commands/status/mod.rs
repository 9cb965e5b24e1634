//! `nomos status`: the state of the syncs of clusters.

mod older;
pub(crate) mod query;
pub(crate) mod report;
mod text;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::ArgAction;
use serde::Serialize;

use crate::columns::Data;
use crate::contexts::{self, ClusterContext};
use crate::{Console, FINE, FOUND, Paint, boolean, duration};
use older::OlderTable;
use query::StatusNews;
use report::ClusterStatus;

/// Show the state of the syncs of clusters
///
/// Exit status: 0 every sync is synced, 1 a sync is not synced or a cluster does not answer, 2 the command could not run.
#[derive(clap::Args)]
pub(crate) struct StatusArgs {
    /// Contexts of the kubeconfig to show, separated by commas [default: all; "" for none]
    #[arg(long, value_delimiter = ',', value_name = "CONTEXTS")]
    contexts: Option<Vec<String>>,

    /// Show only syncs in this namespace; needs no right to read other namespaces
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Show only syncs with this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Also show the managed objects of each sync
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    resources: bool,

    /// Show the state again and again, after waiting so long each time [default: show it once]
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    poll: Option<Duration>,

    /// Longest time to wait for each cluster
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,

    /// Layout of the text: blocks, or the table of older versions of nomos [default: the table if each cluster has a
    /// ConfigManagement or nothing, else blocks]
    #[arg(long, value_enum, value_name = "LAYOUT")]
    format: Option<Layout>,

    /// Print in this data format instead of as text
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Data>,
}

impl StatusArgs {
    /// The state of one cluster, once.
    pub(crate) fn of(context: &str) -> Self {
        Self {
            contexts: Some(vec![context.to_owned()]),
            namespace: None,
            name: None,
            resources: false,
            poll: None,
            timeout: Duration::from_secs(15),
            format: None,
            output: None,
        }
    }

    /// The whole state of one cluster, once, in blocks.
    pub(crate) fn whole(context: &str, timeout: Duration) -> Self {
        Self { resources: true, timeout, format: Some(Layout::Blocks), ..Self::of(context) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Layout {
    Blocks,
    Table,
}

#[derive(Serialize)]
struct StatusDocument<'a> {
    clusters: &'a [ClusterStatus],
}

/// Shows the status once, or again and again with `--poll`.
pub(crate) fn run(args: &StatusArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
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

fn show(args: &StatusArgs, clusters: &[ClusterContext], console: &mut Console<'_>) -> anyhow::Result<u8> {
    let scope = query::QueryScope { namespace: args.namespace.as_deref(), resources: args.resources };
    let contexts = clusters.iter().map(|cluster| cluster.context.as_str());
    let mut view = View {
        layout: args.format,
        table: OlderTable::of(contexts),
        paint: console.paint,
        statuses: clusters.iter().map(|_| None).collect(),
        shown: 0,
    };
    // A status that is shown again and again, and data, are shown as a whole.
    let (streams, mut waits) = (args.output.is_none() && args.poll.is_none(), true);
    query::statuses(clusters, args.timeout, scope, |news| {
        match news {
            StatusNews::Patience => waits = false,
            StatusNews::Status(index, mut status) => {
                status.retain(args.name.as_deref());
                view.statuses[index] = Some((*status, false));
            }
        }
        if streams && !waits {
            console.print(&view.arrived());
        }
    })?;
    let text = view.arrived() + &view.end();
    let statuses: Vec<ClusterStatus> = view.statuses.into_iter().flatten().map(|(status, _)| status).collect();
    if args.poll.is_some() && console.redraw {
        console.clear();
    }
    match args.output {
        Some(data) => console.print_data(&data.text(&StatusDocument { clusters: &statuses })?),
        None => console.print(&text),
    }
    if let Some(hint) = nothing_shown(args, &statuses) {
        console.note(&hint);
        return Ok(FOUND);
    }
    Ok(if statuses.iter().all(ClusterStatus::is_synced) { FINE } else { FOUND })
}

/// The status of the clusters that have answered, and the part of it that the user has seen.
struct View {
    layout: Option<Layout>,
    table: OlderTable,
    paint: Paint,
    /// Each with `true` if it is shown. The order is that of the contexts.
    statuses: Vec<Option<(ClusterStatus, bool)>>,
    shown: usize,
}

impl View {
    /// The text about the clusters that have answered since the last call, in their order.
    fn arrived(&mut self) -> String {
        let mut text = String::new();
        if self.statuses.iter().flatten().next().is_none() {
            return text;
        }
        let layout = self.layout();
        if layout == Layout::Table && self.shown == 0 {
            text.push_str(&self.table.head());
        }
        for (status, shown) in self.statuses.iter_mut().flatten().filter(|(_, shown)| !shown) {
            (*shown, self.shown) = (true, self.shown + 1);
            match layout {
                Layout::Blocks => text.push_str(&text::blocks(std::slice::from_ref(status), self.paint)),
                Layout::Table => text.push_str(&self.table.rows(status)),
            }
        }
        text
    }

    /// The text that follows when all clusters have answered.
    fn end(&mut self) -> String {
        match self.layout() {
            Layout::Blocks => String::new(),
            Layout::Table => {
                let head = if self.shown == 0 { self.table.head() } else { String::new() };
                head + &OlderTable::errors(self.statuses.iter().flatten().map(|(status, _)| status))
            }
        }
    }

    /// The layout of the flag, or the usual one of the clusters that have answered first.
    fn layout(&mut self) -> Layout {
        let statuses = self.statuses.iter().flatten().map(|(status, _)| status);
        *self.layout.get_or_insert_with(|| usual(statuses))
    }
}

/// The layout that users of these clusters know. Clusters that do not answer have no say.
fn usual<'a>(statuses: impl Iterator<Item = &'a ClusterStatus>) -> Layout {
    let mut answers = statuses.filter_map(ClusterStatus::is_of_old).peekable();
    if answers.peek().is_some() && answers.all(|is_of_old| is_of_old) { Layout::Table } else { Layout::Blocks }
}

/// A message for the case that no sync matches the filters.
fn nothing_shown(args: &StatusArgs, statuses: &[ClusterStatus]) -> Option<String> {
    let filtered = args.namespace.is_some() || args.name.is_some();
    let empty = statuses.iter().all(|status| status.row.is_none() && status.syncs.is_empty());
    (filtered && empty && !statuses.is_empty())
        .then(|| "No sync matches --namespace and --name. Remove them to see all syncs.\n".to_owned())
}

#[cfg(test)]
mod tests {
    use super::report::{ConfigManagementReport, Row};
    use super::*;

    #[test]
    fn the_table_is_for_clusters_with_a_config_management_or_nothing() {
        let row = |state| ClusterStatus {
            row: Some(Row { state, message: String::new(), cause: String::new() }),
            ..ClusterStatus::default()
        };
        let settings = Some(ConfigManagementReport::default());
        let old = ClusterStatus { config_management: settings, ..ClusterStatus::default() };
        let (new, away, empty) = (ClusterStatus::default(), row("N/A"), row("NOT CONFIGURED"));
        for (clusters, expected) in [
            (vec![&old], Layout::Table),
            (vec![&empty, &old, &away], Layout::Table),
            (vec![&old, &new], Layout::Blocks),
            (vec![&away], Layout::Blocks),
            (vec![], Layout::Blocks),
        ] {
            assert_eq!(usual(clusters.iter().copied()), expected, "{clusters:?}");
        }
    }
}
