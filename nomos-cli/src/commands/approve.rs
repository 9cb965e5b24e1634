//! `nomos approve`: approves deletions that are held, after it has shown them.

use std::path::Path;

use agent::api::{ErrorResource, SyncError, SyncStatus};
use agent::model::metadata::{SyncId, annotation};
use agent::model::object::{GroupKind, ObjectId};
use agent::sync::plan::guard::HeldMessage;
use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::syncs::{annotate, read, shown, sync_id};
use crate::{Console, FINE, Paint, completions, contexts};

/// Approve the deletions that a sync holds
///
/// Deletions that are too many are held until a user approves exactly these (KNV2006). Shows each of them, as many as the status of
/// the sync has room for (about a thousand), and asks. The approval is the annotation configsync.gke.io/approve-prune.
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
        let Some((error, approval)) = held(&status) else {
            console.print(&format!("{} holds no deletions\n", shown(&args.sync)));
            return Ok(FINE);
        };
        if !args.yes {
            console.page(&text(&args.sync, error, console.paint));
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
fn held(status: &SyncStatus) -> Option<(&SyncError, &str)> {
    let errors = [&status.sync, &status.source].into_iter().flat_map(|stage| &stage.errors);
    errors.into_iter().find_map(|error| {
        let text = error.error_message.as_str();
        let at = text.find(&format!("{}=", annotation::APPROVE_PRUNE))? + annotation::APPROVE_PRUNE.len() + 1;
        text[at..].split_whitespace().next().map(|approval| (error, approval))
    })
}

/// The deletions, each in a line.
fn text(sync: &SyncId, error: &SyncError, paint: Paint) -> String {
    let Some(held) = HeldMessage::of(&error.error_message) else {
        return format!("{}\n\n", error.error_message.trim_end());
    };
    let mut text = format!("{}: {}\n", shown(sync), held.head);
    for name in error.error_resources.iter().filter_map(named) {
        // Objects that go along are told beside the name.
        let along = held.names.split_once(&format!("{name} (with ")).and_then(|(_, along)| along.split_once(')'));
        let along = along.map_or_else(String::new, |(along, _)| format!(" (with {along})"));
        text += &paint.bad(&format!("delete {name}{along}\n"));
    }
    let missing = held.deletions.saturating_sub(error.error_resources.len());
    if missing > 0 {
        text += &format!("and {missing} more, which the status does not list; nomos ui shows those that you may see\n");
    }
    text + &format!("{}.\n", held.tail.trim_end())
}

/// The object as nomos diff names it.
fn named(resource: &ErrorResource) -> Option<String> {
    let kind = resource.gvk.as_ref()?;
    Some(ObjectId::new(&GroupKind::new(&kind.group, &kind.kind), &resource.namespace, &resource.name).to_string())
}

#[cfg(test)]
mod tests {
    use agent::sync::plan::guard::{HeldPrune, Prune};

    use super::*;

    #[test]
    fn the_approval_is_the_one_that_the_error_asks_for() {
        let mut status = SyncStatus::default();
        assert!(held(&status).is_none());
        let text = "KNV2006: commit abc is held\n\nhint: approve these deletions: kubectl annotate rootsync x -n y \
                    --overwrite configsync.gke.io/approve-prune=abc.12345678\n\nFor more information";
        let error = |message: &str| SyncError { error_message: message.to_owned(), ..SyncError::default() };
        status.sync.errors = vec![error("KNV2009: other"), error(text)];
        assert_eq!(held(&status), Some((&status.sync.errors[1], "abc.12345678")));
    }

    #[test]
    fn each_deletion_is_in_a_line_once() {
        let id = |kind: &str, name: &str| ObjectId::new(&GroupKind::new("", kind), "shop", name);
        let crd = ObjectId::new(
            &GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition"),
            "",
            "gadgets.example.com",
        );
        let prune = Prune {
            inventory: [&crd]
                .into_iter()
                .chain(&(0..30).map(|n| id("ConfigMap", &n.to_string())).collect::<Vec<_>>())
                .collect(),
            deletions: (0..30)
                .map(|n| (id("ConfigMap", &format!("c{n:02}")), "".into()))
                .chain([(crd.clone(), "".into())])
                .collect(),
            taking_along: vec![(crd, Some(2))],
            ..Prune::default()
        };
        let finding = prune.finding(&HeldPrune {
            commit: "abc",
            in_force: false,
            dynamic: false,
            recent: 0,
            approval: "abc.0",
            refused: None,
            how_to_approve: "approve APPROVAL",
        });
        let mut error = SyncError::of(&finding);
        let shown = text(&SyncId::root("root-sync"), &error, Paint::default());
        let head = "root-sync: KNV2006: commit abc is held: it would delete 31 of 31 objects\ndelete customresourcedefinition.\
                    apiextensions.k8s.io/gadgets.example.com (with 2 gadgets.example.com that are not of this sync)\n";
        assert!(shown.starts_with(head), "{shown}");
        assert!(
            shown.ends_with(
                "delete configmap/shop/c29\nNothing of it is applied; the state before it stays in force.\n"
            ),
            "{shown}"
        );
        assert_eq!(shown.lines().count(), 33, "{shown}");
        // An older agent writes fewer.
        error.error_resources.truncate(20);
        let shown = text(&SyncId::root("root-sync"), &error, Paint::default());
        assert!(shown.contains("\nand 11 more, which the status does not list"), "{shown}");
    }
}
