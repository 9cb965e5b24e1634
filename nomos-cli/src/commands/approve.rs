//! `nomos approve`: approves deletions that are held, after it has shown them.

use std::path::Path;

use agent::api::SyncStatus;
use agent::model::metadata::{SyncId, annotation};
use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::syncs::{annotate, read, shown, sync_id};
use crate::{Console, FINE, completions, contexts};

/// Approve the deletions that a sync holds
///
/// Deletions that are too many are held until a user approves exactly these (KNV2006). Shows them and asks. The approval is
/// the annotation configsync.gke.io/approve-prune.
#[derive(clap::Args)]
pub(crate) struct ApproveArgs {
    /// NAME of a RootSync, or NAMESPACE:NAME of a RepoSync, as nomos status shows it
    #[arg(value_name = "SYNC", value_parser = sync_id, add = completions::syncs())]
    sync: SyncId,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", add = completions::contexts())]
    context: Option<String>,
}

/// Approves what the status says is held.
pub(crate) fn run(args: &ApproveArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let cluster = contexts::cluster(kubeconfig, &console.environment, args.context.as_deref())?;
    contexts::with(&cluster, async |client| {
        let object = read(&cluster, &client, &args.sync).await?;
        let status = match &object.data["status"] {
            Value::Null => SyncStatus::default(),
            status => serde_json::from_value(status.clone()).context("the status of the sync cannot be read")?,
        };
        let Some((text, approval)) = held(&status) else {
            console.print(&format!("{} holds no deletions\n", shown(&args.sync)));
            return Ok(FINE);
        };
        if !args.yes {
            console.note(&format!("{}\n\n", text.trim_end()));
            match console.ask("Delete them? Type yes: ").as_deref() {
                Some("yes") => {}
                Some(_) => bail!("nothing is approved"),
                None => bail!("nothing is approved: there is no terminal to ask on; confirm with --yes"),
            }
        }
        annotate(&cluster, &client, &args.sync, (annotation::APPROVE_PRUNE, Some(approval))).await?;
        console.print(&format!("{approval} is approved for {}\n", shown(&args.sync)));
        Ok(FINE)
    })
}

/// The error about held deletions, and the approval that it asks for.
fn held(status: &SyncStatus) -> Option<(&str, &str)> {
    let errors = [&status.sync, &status.source].into_iter().flat_map(|stage| &stage.errors);
    errors.map(|error| error.error_message.as_str()).find_map(|text| {
        let at = text.find(&format!("{}=", annotation::APPROVE_PRUNE))? + annotation::APPROVE_PRUNE.len() + 1;
        text[at..].split_whitespace().next().map(|approval| (text, approval))
    })
}

#[cfg(test)]
mod tests {
    use agent::api::SyncError;

    use super::*;

    #[test]
    fn the_approval_is_the_one_that_the_error_asks_for() {
        let mut status = SyncStatus::default();
        assert_eq!(held(&status), None);
        let text = "KNV2006: commit abc is held\n\nhint: approve these deletions: kubectl annotate rootsync x -n y \
                    --overwrite configsync.gke.io/approve-prune=abc.12345678\n\nFor more information";
        let error = |message: &str| SyncError { error_message: message.to_owned(), ..SyncError::default() };
        status.sync.errors = vec![error("KNV2009: other"), error(text)];
        assert_eq!(held(&status), Some((text, "abc.12345678")));
    }
}
