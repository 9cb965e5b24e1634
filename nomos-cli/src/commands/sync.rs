//! `nomos sync`: asks for a sync at once, suspends and resumes syncs, by annotations on the sync object.

use std::path::Path;
use std::time::SystemTime;

use agent::api::Time;
use agent::model::metadata::{SyncId, annotation};
use serde_json::Value;

use crate::syncs::{annotate, shown, sync_id};
use crate::{Console, FINE, completions, contexts};

/// Ask for a sync at once, suspend a sync or resume it
///
/// Each sets an annotation on the RootSync or RepoSync, which a repository that declares the object can set too.
#[derive(clap::Args)]
pub(crate) struct SyncArgs {
    #[command(subcommand)]
    action: Steering,
}

#[derive(clap::Subcommand)]
enum Steering {
    /// Have the agent ask the git server, and try again what failed, at once (configsync.gke.io/sync-now)
    Now(Chosen),
    /// Have the agent read, write and put back nothing for the sync (configsync.gke.io/suspend)
    Suspend(Chosen),
    /// Go on with a sync that is suspended
    Resume(Chosen),
}

/// The sync that is meant.
#[derive(clap::Args)]
struct Chosen {
    /// NAME of a RootSync, or NAMESPACE:NAME of a RepoSync, as nomos status shows it
    #[arg(value_name = "SYNC", value_parser = sync_id, add = completions::syncs())]
    sync: SyncId,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", add = completions::contexts())]
    context: Option<String>,
}

/// Sets the annotation.
pub(crate) fn run(args: &SyncArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let now = now();
    let (chosen, annotation, done) = match &args.action {
        Steering::Now(chosen) => (chosen, (annotation::SYNC_NOW, Some(now.as_str())), "is asked to sync now"),
        Steering::Suspend(chosen) => (chosen, (annotation::SUSPEND, Some("true")), "is suspended"),
        Steering::Resume(chosen) => (chosen, (annotation::SUSPEND, None), "is resumed"),
    };
    let cluster = contexts::cluster(kubeconfig, &console.environment, chosen.context.as_deref())?;
    contexts::with(&cluster, async |client| annotate(&cluster, &client, &chosen.sync, annotation).await)?;
    console.print(&format!("{} {done}\n", shown(&chosen.sync)));
    Ok(FINE)
}

/// The time as text, so that each request is another one.
fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let text = match serde_json::to_value(Time::from_unix(since.as_secs())) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    };
    format!("{}.{:03}Z", text.trim_end_matches('Z'), since.subsec_millis())
}
