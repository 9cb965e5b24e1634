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

use crate::columns::{OutputForm, output_form};
use crate::contexts::{self, ClusterContext};
use crate::{Console, FINE, FOUND, Paint, boolean, completions, duration};
use older::OlderTable;
use query::StatusNews;
use report::ClusterStatus;

/// Show the state of the syncs of clusters
///
/// Exit status: 0 every sync is synced, 1 a sync is not synced or a cluster does not answer, 2 the command could not run.
#[derive(clap::Args)]
pub(crate) struct StatusArgs {
    /// Contexts of the kubeconfig to show, separated by commas [default: all; "" for none]
    #[arg(long, alias = "context", value_delimiter = ',', value_name = "CONTEXTS", add = completions::contexts())]
    contexts: Option<Vec<String>>,

    /// Show only syncs in this namespace; needs no right to read other namespaces
    #[arg(short, long, value_name = "NAMESPACE", add = completions::namespaces())]
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

    /// Show the state again whenever it is another one
    #[arg(short, long)]
    watch: bool,

    /// Longest time to wait for each cluster
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,

    /// Layout of the text: blocks, or the table of older versions of nomos [default: the table if each cluster has a
    /// ConfigManagement or nothing, else blocks]
    #[arg(long, value_enum, value_name = "LAYOUT")]
    format: Option<Layout>,

    /// Print in this form instead of as text: json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_parser = output_form, value_name = "FORM")]
    output: Option<OutputForm>,

    /// Leave out the titles of columns
    #[arg(long)]
    no_headers: bool,
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
            watch: false,
            timeout: Duration::from_secs(15),
            format: None,
            output: None,
            no_headers: false,
        }
    }

    /// The whole state of one cluster, once, in blocks.
    pub(crate) fn whole(context: &str, timeout: Duration) -> Self {
        Self { resources: true, timeout, format: Some(Layout::Blocks), ..Self::of(context) }
    }
}

/// Time between two looks of `--watch`.
const WATCH: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Layout {
    Blocks,
    Table,
}

#[derive(Serialize)]
struct StatusDocument<'a> {
    clusters: &'a [ClusterStatus],
}

/// Shows the status once, or again and again with `--poll` and `--watch`.
pub(crate) fn run(args: &StatusArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let clusters = contexts::clusters(kubeconfig, &console.environment, args.contexts.as_deref())?
        .with_context(|| contexts::not_configured(kubeconfig, &console.environment))?;
    if args.output.is_none() && !args.no_headers {
        console.print("Connecting to clusters...\n");
    }
    let poll = args.poll.filter(|period| !period.is_zero());
    let Some(period) = poll.or(args.watch.then_some(WATCH)) else {
        return show(args, &clusters, &mut None, console);
    };
    let mut shown = Some(String::new());
    loop {
        show(args, &clusters, &mut shown, console)?;
        if poll.is_some() {
            shown = Some(String::new());
        }
        std::thread::sleep(period);
    }
}

/// Shows the status once. `shown` is the text that the user has seen before, if it is shown again and again.
fn show(
    args: &StatusArgs,
    clusters: &[ClusterContext],
    shown: &mut Option<String>,
    console: &mut Console<'_>,
) -> anyhow::Result<u8> {
    let scope = query::QueryScope { namespace: args.namespace.as_deref(), resources: args.resources };
    let contexts = clusters.iter().map(|cluster| cluster.context.as_str());
    let mut view = View {
        layout: args.format,
        headers: !args.no_headers,
        table: OlderTable::of(contexts),
        paint: console.paint,
        statuses: clusters.iter().map(|_| None).collect(),
        shown: 0,
    };
    // A status that is shown again and again, data, and one cluster are shown as a whole.
    let (streams, mut waits) = (args.output.is_none() && shown.is_none() && clusters.len() > 1, true);
    let progress = match clusters {
        [cluster] if shown.is_none() => Some(console.begin(&format!("asking the cluster {}", cluster.context))),
        _ => None,
    };
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
    drop(progress);
    let text = view.arrived() + &view.end();
    let statuses: Vec<ClusterStatus> = view.statuses.into_iter().flatten().map(|(status, _)| status).collect();
    print(args, &statuses, text, shown, console)?;
    if let Some(hint) = nothing_shown(args, &statuses) {
        console.note(&hint);
        return Ok(FOUND);
    }
    Ok(if statuses.iter().all(ClusterStatus::is_synced) { FINE } else { FOUND })
}

/// Prints the status, unless the user has seen the same text.
fn print(
    args: &StatusArgs,
    statuses: &[ClusterStatus],
    text: String,
    shown: &mut Option<String>,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let text = match &args.output {
        Some(form) => form.text(&StatusDocument { clusters: statuses }, &names(statuses))?,
        None => text,
    };
    if shown.as_ref() == Some(&text) {
        return Ok(());
    }
    if shown.is_some() && console.redraw {
        console.clear();
    }
    match (&args.output, shown.is_some()) {
        (Some(_), _) => console.print_data(&text),
        (None, true) => console.print(&text),
        (None, false) => console.page(&text),
    }
    *shown = shown.take().map(|_| text);
    Ok(())
}

/// The names of all syncs, as `kubectl get -o name` shows them.
fn names(statuses: &[ClusterStatus]) -> Vec<String> {
    let syncs = statuses.iter().flat_map(|status| &status.syncs);
    syncs.map(|sync| format!("{}.configsync.gke.io/{}", sync.kind.to_string().to_lowercase(), sync.name)).collect()
}

/// The status of the clusters that have answered, and the part of it that the user has seen.
struct View {
    layout: Option<Layout>,
    /// `true` if columns have titles.
    headers: bool,
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
        if layout == Layout::Table && self.shown == 0 && self.headers {
            text.push_str(&self.table.head());
        }
        for (status, shown) in self.statuses.iter_mut().flatten().filter(|(_, shown)| !shown) {
            (*shown, self.shown) = (true, self.shown + 1);
            match layout {
                Layout::Blocks => text.push_str(&text::blocks(std::slice::from_ref(status), self.paint, self.headers)),
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
                let head = if self.shown == 0 && self.headers { self.table.head() } else { String::new() };
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
    let filters = match (&args.namespace, &args.name) {
        (None, None) => return None,
        (Some(_), None) => "--namespace. Remove it",
        (None, Some(_)) => "--name. Remove it",
        (Some(_), Some(_)) => "--namespace and --name. Remove them",
    };
    let empty = statuses.iter().all(|status| status.row.is_none() && status.syncs.is_empty());
    (empty && !statuses.is_empty()).then(|| format!("No sync matches {filters} to see all syncs.\n"))
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
