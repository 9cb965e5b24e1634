//! `nomos wait`: waits until syncs are synced.

use std::path::Path;
use std::time::{Duration, Instant};

use agent::api::{ResourceStatus, format_duration};
use agent::model::metadata::SyncId;
use agent::sync::inventory::REWRITTEN;

use super::status::query::{self, QueryScope};
use super::status::report::{SyncReport, SyncReportState, resource_name};
use crate::contexts::ClusterError;
use crate::syncs::{shown, sync_id};
use crate::{Console, FINE, FOUND, completions, contexts, duration};

/// Time between two looks at the syncs.
const PERIOD: Duration = Duration::from_millis(500);

/// Time that each look has, however little of the time limit is left.
const SHORTEST: Duration = Duration::from_secs(2);

/// Time for the look that only explains.
const EXPLAINING: Duration = Duration::from_secs(5);

/// Wait until syncs are synced
///
/// Exit status: 0 all are synced, 1 one of them is not within the timeout, 2 the command could not run.
#[derive(clap::Args)]
pub(crate) struct WaitArgs {
    /// NAME of a RootSync, or NAMESPACE:NAME of a RepoSync, as nomos status shows it [default: all syncs of the cluster]
    #[arg(value_name = "SYNC", value_parser = sync_id, add = completions::syncs())]
    syncs: Vec<SyncId>,

    /// The commit that has to be applied, or its first characters [default: the newest one that the agent knows]
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,

    /// Tell what is waited for also without a terminal, such as in the log of a CI job
    #[arg(short, long)]
    watch: bool,

    /// Longest time to wait
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", add = completions::contexts())]
    context: Option<String>,
}

/// Waits, and tells on a terminal what it waits for.
pub(crate) fn run(args: &WaitArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let cluster = contexts::cluster(kubeconfig, &console.environment, args.context.as_deref())?;
    let begun = Instant::now();
    contexts::with(&cluster, async |client| {
        let mut told = Vec::new();
        let mut tell = |missing: Vec<String>, console: &mut Console<'_>| {
            if (console.progress || args.watch) && missing != told {
                console.note(&format!("waiting: {}\n", missing.join("; ")));
                told = missing;
            }
        };
        loop {
            let look = query::syncs(&client, QueryScope { namespace: None, resources: false });
            // A look that the time limit cuts off has shown nothing, not even a cause. The first one has time for an answer.
            let left = args.timeout.saturating_sub(begun.elapsed()).max(SHORTEST);
            let late = |_| cluster.failed(ClusterError::late(args.timeout));
            let found = tokio::time::timeout(left, look).await.map_err(late)?;
            let (row, syncs) = match found {
                // It may answer at the next look.
                Err(error) if begun.elapsed() < args.timeout && is_passing(&error) => {
                    let cause = cluster.failed(error).to_string();
                    tell(cause.lines().next().map(str::to_owned).into_iter().collect(), console);
                    tokio::time::sleep(PERIOD).await;
                    continue;
                }
                found => found.map_err(|error| cluster.failed(error))?,
            };
            let mut missing = missing(args, &syncs);
            missing.extend(
                row.filter(|row| syncs.is_empty() || row.state == "NOT RUNNING")
                    .map(|row| format!("the cluster is {} {}", row.state, row.message).trim_end().to_owned()),
            );
            if missing.is_empty() {
                for sync in syncs.iter().filter(|sync| is_meant(args, sync)) {
                    console.print(&format!("{} SYNCED {}\n", shown(&sync.id()), sync.commit));
                }
                return Ok(FINE);
            }
            if begun.elapsed() >= args.timeout {
                let after = format_duration(args.timeout);
                console.error(&format!("not synced after {after}: {}", missing.join("; ")));
                // It only explains: without it the status is the same.
                let look = query::syncs(&client, QueryScope { namespace: None, resources: true });
                let found = tokio::time::timeout(EXPLAINING, look).await;
                let syncs = found.ok().and_then(Result::ok).map(|(_, syncs)| syncs).unwrap_or_default();
                for (sync, why) in syncs.iter().filter(|sync| is_meant(args, sync)).filter_map(unready) {
                    console.note(&format!("{sync}: {why}\n"));
                }
                return Ok(FOUND);
            }
            tell(missing, console);
            tokio::time::sleep(PERIOD).await;
        }
    })
}

/// `true` for a cluster that is away or busy.
fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500,
        _ => true,
    }
}

fn is_meant(args: &WaitArgs, sync: &SyncReport) -> bool {
    args.syncs.is_empty() || args.syncs.contains(&sync.id())
}

/// The objects of a sync that are not ready, in words: how many, and the first that says why.
fn unready(sync: &SyncReport) -> Option<(String, String)> {
    let unready: Vec<_> = sync.resources.iter().filter(|resource| resource.status != "Current").collect();
    let reason = |resource: &ResourceStatus| {
        resource
            .conditions
            .iter()
            .filter(|condition| condition.kind != REWRITTEN)
            .map(|condition| condition.message.trim())
            .find(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let first = unready.iter().find(|resource| reason(resource).is_some()).or(unready.first())?;
    let why = reason(first).map(|why| format!(": {why}")).unwrap_or_default();
    let (name, namespace) = (resource_name(first), &first.id.namespace);
    let name = if namespace.is_empty() { name } else { format!("{name} in {namespace}") };
    let which = format!("{name} is {}{why}", first.status);
    let text = match unready.len() {
        1 => which,
        number => format!("{number} objects are not ready, such as {which}"),
    };
    Some((shown(&sync.id()), text))
}

/// The syncs that are not as they are to be, each with what it is.
fn missing(args: &WaitArgs, syncs: &[SyncReport]) -> Vec<String> {
    let absent = args.syncs.iter().filter(|wanted| !syncs.iter().any(|sync| sync.id() == **wanted));
    let absent = absent.map(|wanted| format!("there is no {wanted}"));
    let meant = syncs.iter().filter(|sync| is_meant(args, sync));
    let is_there = |sync: &SyncReport| {
        let commit = args.commit.as_deref().is_none_or(|commit| sync.commit.starts_with(commit));
        sync.state == SyncReportState::Synced && commit
    };
    let others = meant.filter(|sync| !is_there(sync)).map(|sync| {
        let errors = sync.errors.first().and_then(|error| error.lines().next()).unwrap_or_default();
        format!("{} is {} at {} {errors}", shown(&sync.id()), sync.state.word(), sync.commit).trim_end().to_owned()
    });
    absent.chain(others).collect()
}
