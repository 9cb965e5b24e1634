//! Serves one sync object: waits until the sync may begin, runs it, and begins again when it cannot run.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::AgentContext;
use super::accounts::Granted;
use super::config_sync;
use super::holdings::tell_recorded;
use super::standby::{StandbyEnd, stand_by};
use super::supervision::supervised;
use super::sync::{self, Instructions};
use super::task::{ExitReason, RESTORED};
use crate::api::{StageStatus, SyncStatus};
use crate::io::kubernetes::events::{EventPublisher, Regarding, Severity};
use crate::io::kubernetes::patience::patiently;
use crate::io::places::party;
use crate::io::reports::{SyncObject, now, read_sync_status, write_sync_status};
use crate::model::backoff::Backoff;
use crate::model::error_chain::error_chain;
use crate::model::finding::{Code, Finding, text};
use crate::model::metadata::SyncId;
use crate::sync::status::{SUSPENDED, SUSPENSION, stalled, suspended};

/// The pause before a sync that cannot run is started again, and the longest one.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// A backup is restored rarely: a record that is found to be older again within this time is shown by an API server that goes on to show
/// what there was before ([kubernetes/kubernetes#95958](https://github.com/kubernetes/kubernetes/issues/95958)).
const SOON: Duration = Duration::from_secs(300);
const STALE: &str = "the API server shows objects as they were before the cluster was restored from a backup; restart kube-apiserver, which has to \
                     be stopped while etcd is restored";

/// Runs a sync. When it cannot run, for want of permissions for example, its status says so and it is tried again.
pub(super) async fn keep_running(
    context: Arc<AgentContext>,
    id: SyncId,
    mut instructions: watch::Receiver<Instructions>,
) {
    let mut events = EventPublisher::default();
    let (mut backoff, mut restored) = (RETRY, None);
    let takes_over = !*context.leads.borrow();
    let StandbyEnd::Leads(mut warm) = stand_by(&context, &mut instructions).await else { return };
    let mut object = instructions.borrow().task.object.clone();
    // Another agent has written it meanwhile.
    if takes_over && !read_anew(&context, &id, &mut object, &instructions).await {
        return;
    }
    loop {
        match await_handover(&context, &id, &mut object, &mut instructions, &mut events).await {
            Handover::Free => {}
            // Config Sync has written it meanwhile.
            Handover::Waited => _ = read_anew(&context, &id, &mut object, &instructions).await,
            Handover::Stopped => return,
        }
        match await_resumption(&context, &id, &mut object, &mut instructions, &mut events).await {
            Handover::Free => {}
            Handover::Waited => continue,
            Handover::Stopped => return,
        }
        tokio::select! {
            () = await_rights(&context, &id, &mut object, &instructions, &mut events) => {}
            // A closed channel is a stop too.
            _ = stopped(instructions.clone()) => return,
        }
        let (sender, mut told) = watch::channel(instructions.borrow_and_update().clone());
        let run = sync::run(Arc::clone(&context), object.clone(), warm.take(), &mut told);
        let ended = tokio::select! {
            ended = supervised(run) => ended,
            () = pass_on(&context, &id, &mut instructions, &sender) => unreachable!("it never ends"),
        };
        let error = match ended {
            Some(Ok(ExitReason::Stopped)) if !instructions.borrow().stop => {
                read_anew(&context, &id, &mut object, &instructions).await;
                continue;
            }
            Some(Ok(ExitReason::Restored)) if !is_again(&mut restored) => {
                tracing::warn!("{RESTORED}. The sync begins anew");
                read_anew(&context, &id, &mut object, &instructions).await;
                continue;
            }
            Some(Ok(ExitReason::Stopped | ExitReason::Synced | ExitReason::NotSynced)) => return,
            Some(Ok(ExitReason::Restored)) => anyhow::anyhow!(STALE),
            Some(Err(error)) => error,
            None => anyhow::anyhow!("it broke down; the log of the agent says where"),
        };
        let finding = Finding::new(Code::ApiServer, format!("the sync cannot run: {}", error_chain(error.as_ref())))
            .hint("the agent tries again by itself; check its permissions if this stays");
        tracing::error!(code = %finding.code, "{}", finding.message);
        tell_recorded(&context, &id).await;
        // The run that ended may have put other commits in force.
        let is_read = read_anew(&context, &id, &mut object, &instructions).await;
        let generation = instructions.borrow().task.generation;
        if let Some(object) = object.as_mut().filter(|_| is_read) {
            refuse(&context, &id, object, generation, &finding, &mut events).await;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_pause()) => {}
            // A closed channel is a stop too.
            _ = instructions.wait_for(|instructions| instructions.stop) => return,
        }
    }
}

/// `true` if a sync has begun anew a short time ago because of a restored backup. Takes the time of now.
fn is_again(restored: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    restored.replace(now).is_some_and(|before| now - before < SOON)
}

/// Waits until the sync is told to stop.
pub(super) async fn stopped(mut instructions: watch::Receiver<Instructions>) {
    let _ = instructions.wait_for(|instructions| instructions.stop).await;
}

/// Waits until the account of a sync has its rights. When they cannot be given, the status says so.
pub(super) async fn await_rights(
    context: &AgentContext,
    id: &SyncId,
    object: &mut Option<SyncObject>,
    instructions: &watch::Receiver<Instructions>,
    events: &mut EventPublisher,
) {
    let (mut granted, mut instructions) = (context.granted.subscribe(), instructions.clone());
    loop {
        let task = Arc::clone(&instructions.borrow_and_update().task);
        let why = match granted.borrow_and_update().get(id) {
            Some(Ok(grant)) if task.rights.is_none() || grant.rights == task.rights => return,
            Some(Err(why)) => Some(why.clone()),
            _ => None,
        };
        if let (Some(why), Some(object)) = (why, object.as_mut()) {
            let finding = not_granted(&format!("the sync cannot run: {why}"));
            tell_recorded(context, id).await;
            refuse(context, id, object, task.generation, &finding, events).await;
        }
        tokio::select! {
            // The sender is in the context.
            _ = granted.changed() => {}
            Ok(()) = instructions.changed() => {}
        }
    }
}

/// The finding about rights that a sync cannot be given.
fn not_granted(message: &str) -> Finding {
    Finding::new(Code::InsufficientPermission, message).hint(
        "create the Namespace that a role of spec.override.roleRefs names, or correct the role; if the agent itself lacks the right, \
         run `nomos install` again. The agent tries again by itself",
    )
}

/// The finding about rights that a sync which runs does not have, and goes on without.
fn lacking(granted: &Granted, id: &SyncId) -> Option<Finding> {
    let why = match granted.get(id)? {
        Ok(grant) => grant.lacks.as_ref()?,
        Err(why) => why,
    };
    Some(not_granted(&format!("the sync goes on with the rights that it has: {why}")))
}

/// The end of a wait for Config Sync to leave a sync, or for a user to resume it.
enum Handover {
    /// The sync may begin.
    Free,
    /// It may begin now, after it had to wait.
    Waited,
    /// The sync was told to stop.
    Stopped,
}

/// Waits until no program of Config Sync serves the sync. The status says so once: such a program may write another status, and
/// there is no fight about it.
async fn await_handover(
    context: &AgentContext,
    id: &SyncId,
    object: &mut Option<SyncObject>,
    instructions: &mut watch::Receiver<Instructions>,
    events: &mut EventPublisher,
) -> Handover {
    let mut programs = context.config_sync.subscribe();
    let mut told = false;
    loop {
        let known = programs.borrow_and_update().as_ref().map(|programs| programs.serves(id));
        match known {
            Some(None) if told => {
                tracing::info!("Config Sync does not serve the sync any more; the agent takes it over");
                return Handover::Waited;
            }
            Some(None) => return Handover::Free,
            Some(Some(finding)) if !told => {
                told = true;
                tracing::error!(code = %finding.code, "{}", finding.message);
                tell_recorded(context, id).await;
                let generation = instructions.borrow().task.generation;
                let is_read = read_anew(context, id, object, instructions).await;
                if let Some(object) = object.as_mut().filter(|_| is_read) {
                    refuse(context, id, object, generation, &finding, events).await;
                }
            }
            _ => {}
        }
        tokio::select! {
            // The sender is in the context.
            _ = programs.changed() => {}
            // A closed channel is a stop too.
            _ = instructions.wait_for(|instructions| instructions.stop) => return Handover::Stopped,
        }
    }
}

/// Waits until a sync that a user suspended is resumed. The status says that it is suspended.
async fn await_resumption(
    context: &AgentContext,
    id: &SyncId,
    object: &mut Option<SyncObject>,
    instructions: &mut watch::Receiver<Instructions>,
    events: &mut EventPublisher,
) -> Handover {
    let (mut waited, mut is_told, mut backoff) = (false, false, RETRY);
    let end = loop {
        let Instructions { task, suspended, stop, .. } = instructions.borrow_and_update().clone();
        match (stop, suspended, waited) {
            (true, ..) => break Handover::Stopped,
            (false, false, true) => break Handover::Waited,
            (false, false, false) => break Handover::Free,
            (false, true, _) => {}
        }
        if !waited {
            waited = true;
            context.metrics.suspended(id, true);
            context.metrics.stalled(id, false);
            tracing::info!("the sync is suspended");
            tell_recorded(context, id).await;
        }
        if !is_told {
            let is_read = read_anew(context, id, object, instructions).await;
            is_told = match object.as_mut().filter(|_| is_read) {
                Some(object) => suspend(context, id, object, task.generation, events).await,
                None => true,
            };
        }
        tokio::select! {
            changed = instructions.changed() => if changed.is_err() { break Handover::Stopped },
            () = tokio::time::sleep(backoff.next_pause()), if !is_told => {}
        }
    };
    context.metrics.suspended(id, false);
    end
}

/// Passes the instructions on to a run, with what its account cannot be given, and tells it to stop when a program of Config Sync
/// begins to serve the sync, or a user suspends it.
async fn pass_on(
    context: &AgentContext,
    id: &SyncId,
    instructions: &mut watch::Receiver<Instructions>,
    run: &watch::Sender<Instructions>,
) {
    let mut interrupted = false;
    let mut granted = context.granted.subscribe();
    granted.mark_changed();
    loop {
        tokio::select! {
            Ok(()) = instructions.changed() => {}
            // The sender is in the context.
            Ok(()) = granted.changed() => {}
            () = config_sync::comes(context, id), if !interrupted => interrupted = true,
            else => std::future::pending().await,
        }
        let mut next = instructions.borrow_and_update().clone();
        interrupted |= next.suspended;
        next.stop |= interrupted;
        let rights = lacking(&granted.borrow_and_update(), id);
        next.refused = next.refused.or_else(|| Some((rights?, next.task.generation)));
        run.send_if_modified(|told| std::mem::replace(told, next.clone()) != next);
    }
}

/// Reads the status of a sync object again, as long as the API server is away or busy too. `false` if the sync is told to stop before
/// there is an answer: what is known of the status may be old, and is not to be written.
async fn read_anew(
    context: &AgentContext,
    id: &SyncId,
    object: &mut Option<SyncObject>,
    instructions: &watch::Receiver<Instructions>,
) -> bool {
    let Some(object) = object else { return true };
    let reading = async {
        let _place = context.budget.start(&party(id)).await;
        patiently(|| read_sync_status(&context.cluster, id)).await
    };
    let read = tokio::select! {
        biased;
        () = stopped(instructions.clone()) => return false,
        read = reading => read,
    };
    if let Err(error) = &read {
        tracing::warn!(%error, "cannot read the status; no commit of it is put in force again");
    }
    object.status = newest(std::mem::take(&mut object.status), read.ok());
    true
}

/// The status that was read, or else the one before, without the commit in force: another one may have followed that, and an old
/// one must not come in force again.
fn newest(before: SyncStatus, read: Option<SyncStatus>) -> SyncStatus {
    let sync = StageStatus { commit: String::new(), ..before.sync.clone() };
    read.unwrap_or(SyncStatus { sync, ..before })
}

/// Writes into the status, and tells by an Event, why a sync does not run. A status that says so already is left alone.
pub(super) async fn refuse(
    context: &AgentContext,
    id: &SyncId,
    object: &mut SyncObject,
    generation: i64,
    finding: &Finding,
    events: &mut EventPublisher,
) {
    context.metrics.stalled(id, true);
    let status = stalled(&object.status, finding, generation, &now().time);
    if status == object.status {
        return;
    }
    write(context, id, object, status).await;
    let event = (Severity::Warning, finding.code.to_string(), text(finding));
    tell(context, id, object, event, events).await;
}

/// Writes into the status, and tells by an Event, that a user suspended the sync. `false` if it cannot be written.
async fn suspend(
    context: &AgentContext,
    id: &SyncId,
    object: &mut SyncObject,
    generation: i64,
    events: &mut EventPublisher,
) -> bool {
    let status = suspended(&object.status, generation, &now().time);
    if status == object.status {
        return true;
    }
    let is_written = write(context, id, object, status).await;
    if is_written {
        let event = (Severity::Normal, SUSPENDED.to_owned(), SUSPENSION.to_owned());
        tell(context, id, object, event, events).await;
    }
    is_written
}

/// Writes the status of a sync that does not run. `false` if it cannot be written.
async fn write(context: &AgentContext, id: &SyncId, object: &mut SyncObject, status: SyncStatus) -> bool {
    match write_sync_status(&context.cluster, id, &object.uid, &status).await {
        Ok(()) => {
            object.status = status;
            context.journal.touch();
            true
        }
        Err(error) => {
            tracing::warn!(%error, "cannot write the status");
            false
        }
    }
}

async fn tell(
    context: &AgentContext,
    id: &SyncId,
    object: &SyncObject,
    (severity, reason, note): (Severity, String, String),
    events: &mut EventPublisher,
) {
    let regarding = Regarding::sync(id, &object.uid);
    if let Err(error) = events.publish(&context.cluster, &regarding, severity, &reason, &note).await {
        tracing::debug!(%error, "cannot publish an Event");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_of_a_status_that_may_be_old_does_not_come_in_force_again() {
        let of = |commit: &str| {
            let sync = StageStatus { commit: commit.to_owned(), ..StageStatus::default() };
            SyncStatus { sync, last_synced_commit: "first".to_owned(), ..SyncStatus::default() }
        };
        assert_eq!(newest(of("first"), Some(of("second"))), of("second"));
        assert_eq!(newest(of("first"), None), of(""));
    }
}
