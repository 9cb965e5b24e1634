//! The deletion of a sync object: what becomes of its objects comes first, then its record goes, and then its finalizers.
//!
//! Nothing is read of the repository, and it does not matter in which state the sync was: all that counts is its record.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{DynamicObject, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::AgentContext;
use super::config_sync;
use super::serving::{await_rights, stopped};
use super::standby::led;
use super::supervision::supervised;
use super::sync::{self, Instructions};
use super::task::{ExitReason, RESTORED, SyncTask};
use crate::api::{Removal, SyncStatus};
use crate::io::kubernetes::client::ApiError;
use crate::io::kubernetes::events::EventPublisher;
use crate::io::reports::{SyncObject, delete_inventory, patch_sync_metadata, read_sync, write_sync_status};
use crate::model::backoff::Backoff;
use crate::model::error_chain::error_chain;
use crate::model::metadata::{SYNC_FINALIZERS, SyncId, SyncKind};

/// The pause before another attempt, and the longest one.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// The pause between two looks at the namespace of a RepoSync that is being deleted.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// `true` for a sync object that only another program keeps: the agent has done all that its deletion asks for.
pub(super) fn is_over(object: &DynamicObject) -> bool {
    let waits_for_agent = object.finalizers().iter().any(|finalizer| SYNC_FINALIZERS.contains(&&**finalizer));
    object.metadata.deletion_timestamp.is_some() && !waits_for_agent
}

/// Does what the deletion of a sync object asks for, until that is done or another instruction comes.
pub(super) async fn carry_out(context: Arc<AgentContext>, mut instructions: watch::Receiver<Instructions>) {
    let mut backoff = RETRY;
    let sync = instructions.borrow().task.sync.clone();
    tokio::select! {
        // Config Sync ends its own syncs itself.
        () = async { led(&context).await; config_sync::left(&context, &sync).await } => {}
        // A closed channel is a stop too.
        _ = stopped(instructions.clone()) => return,
    }
    loop {
        let task = Arc::clone(&instructions.borrow().task);
        let ended = tokio::select! {
            ended = supervised(attempt(&context, &task, &mut instructions)) => ended,
            // The rights of the sync may go with its namespace before its objects do.
            () = namespace_goes(&context, &task.sync) => continue,
        };
        let error = match ended {
            Some(Ok(())) => return,
            Some(Err(error)) => error_chain(error.as_ref()),
            None => "it broke down".to_owned(),
        };
        tracing::error!(error, "cannot end the sync that is being deleted; the agent tries again");
        tokio::select! {
            () = tokio::time::sleep(backoff.next_pause()) => {}
            () = stopped(instructions.clone()) => return,
        }
    }
}

/// Waits until the namespace of a RepoSync is being deleted.
async fn namespace_goes(context: &AgentContext, sync: &SyncId) {
    if sync.kind == SyncKind::RootSync {
        std::future::pending::<()>().await;
    }
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        if is_taken_along(context, sync).await.unwrap_or(false) {
            // The next attempt leaves the objects alone.
            return;
        }
    }
}

async fn attempt(
    context: &Arc<AgentContext>,
    task: &SyncTask,
    instructions: &mut watch::Receiver<Instructions>,
) -> anyhow::Result<()> {
    let Some(SyncObject { uid, .. }) = &task.object else { return Ok(()) };
    let Some(object) = read_sync(&context.cluster, &task.sync, uid).await? else { return Ok(()) };
    if finalizers(&object).iter().all(|finalizer| !SYNC_FINALIZERS.contains(finalizer)) {
        return Ok(());
    }
    match task.removal {
        None | Some(Removal::Keep) => tracing::info!("the sync is being deleted; the objects that it applied stay"),
        Some(_) if is_taken_along(context, &task.sync).await? => tracing::warn!(
            "the sync is being deleted with its CRD or namespace, and not for itself; the objects that it applied stay"
        ),
        Some(removal) => {
            tracing::info!(?removal, "the sync is being deleted, after its objects");
            let status = SyncStatus::deserialize(&object["status"]).unwrap_or_default();
            let (mut object, mut events) = (Some(SyncObject { status, uid: uid.clone() }), EventPublisher::default());
            tokio::select! {
                () = await_rights(context, &task.sync, &mut object, instructions, &mut events) => {}
                // A closed channel is a stop too.
                () = stopped(instructions.clone()) => return Ok(()),
            }
            match sync::run(Arc::clone(context), object, None, instructions).await? {
                ExitReason::Stopped => return Ok(()),
                ExitReason::Restored => anyhow::bail!(RESTORED),
                ExitReason::Synced | ExitReason::NotSynced => {}
            }
            delete_inventory(&context.cluster, &task.sync).await?;
        }
    }
    Ok(take_finalizers_off(context, task, uid).await?)
}

/// `true` if the CRD of the sync objects, or the namespace, is being deleted, so that this sync is not deleted for itself.
async fn is_taken_along(context: &AgentContext, sync: &SyncId) -> Result<bool, ApiError> {
    let plural = format!("{}s", sync.kind.to_string().to_lowercase());
    let crd = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.configsync.gke.io");
    for container in [crd, format!("/api/v1/namespaces/{}", sync.namespace)] {
        match context.cluster.get::<Value>(&container).await {
            Ok(object) if object["metadata"]["deletionTimestamp"].is_null() => {}
            Ok(_) => return Ok(true),
            Err(error) if error.code() == 404 => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Lets the sync object go. Finalizers of other programs may keep it: then its status says no more that its objects go.
async fn take_finalizers_off(context: &AgentContext, task: &SyncTask, uid: &str) -> Result<(), ApiError> {
    let Some(object) = read_sync(&context.cluster, &task.sync, uid).await? else { return Ok(()) };
    let mut others = finalizers(&object);
    others.retain(|finalizer| !SYNC_FINALIZERS.contains(finalizer));
    // The version makes sure that no finalizer is lost that another program adds meanwhile.
    let metadata = json!({"finalizers": others, "resourceVersion": object["metadata"]["resourceVersion"]});
    patch_sync_metadata(&context.cluster, &task.sync, &metadata).await?;
    if !others.is_empty() {
        let mut status = SyncStatus::deserialize(&object["status"]).unwrap_or_default();
        status.conditions.retain(|condition| !condition.kind.starts_with("ReconcilerFinaliz"));
        write_sync_status(&context.cluster, &task.sync, uid, &status).await?;
    }
    Ok(())
}
