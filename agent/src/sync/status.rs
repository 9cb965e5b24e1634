//! Turns the report of a sync into the status of its RootSync or RepoSync.
//!
//! Stages, conditions and reasons are those of Config Sync, because dashboards and other tools read them.

use serde_json::{Value, json};

use crate::api::{ErrorSummary, PastCommit, StageStatus, SyncCondition, SyncError, SyncStatus, Time};
use crate::model::finding::{Finding, text};
use crate::model::metadata::SyncId;
use crate::model::shortened::shortened;
use crate::sync::engine::{Report, Stage};

/// Bytes of the errors in one stage, as JSON. Further errors are counted and not written, so that the object stays small.
const ERROR_BYTES: usize = 256 * 1024;
/// Bytes of one error message. The rest is cut off, so that a large one does not take the place of all others.
const MESSAGE_BYTES: usize = 16 * 1024;

/// Number of commits in the history.
const HISTORY: usize = 20;

/// Facts about a sync that its status has besides the report.
#[derive(Clone, Debug)]
pub struct About {
    /// Generation of the spec that the sync runs with.
    pub generation: i64,
    /// Name of the program that serves the sync.
    pub reconciler: String,
    /// The error of a newer spec that cannot be used; the sync goes on with the spec before it.
    pub refused: Option<Finding>,
    /// The sync object is being deleted, and its objects go before it.
    pub going: bool,
}

/// The status that follows `before` when the sync reports `report`. A time changes only where something else changed, so an
/// unchanged sync has an unchanged status.
pub fn status(before: &SyncStatus, report: &Report, about: &About, now: &Time) -> SyncStatus {
    if about.going {
        return going(before, report, about, now);
    }
    let rendered = Stage { findings: Vec::new(), ..report.source.clone() };
    let (source, rendering) = match is_unread(before, &report.source) {
        true => (before.source.clone(), before.rendering.clone()),
        false => (
            stage(&before.source, &report.source, "", now),
            stage(&before.rendering, &rendered, "Rendering skipped", now),
        ),
    };
    let sync = match report.sync.commit.is_empty() && report.sync.findings.is_empty() {
        true => before.sync.clone(),
        false => stage(&before.sync, &report.sync, "", now),
    };
    let syncing = syncing(report, [&source, &sync]);
    let setup = about.refused.as_ref().map_or_else(no_refusal, refusal);
    let conditions = setup.into_iter().chain([syncing]).map(|condition| timed(condition, before, now)).collect();
    SyncStatus {
        observed_generation: about.generation,
        reconciler: about.reconciler.clone(),
        last_synced_commit: if report.synced { report.sync.commit.clone() } else { before.last_synced_commit.clone() },
        source,
        rendering,
        sync,
        conditions,
        history: history(&before.history, report, now),
    }
}

/// `true` if the source that the status tells of was not read since, so that it says as much as before.
fn is_unread(before: &SyncStatus, source: &Stage) -> bool {
    let is_same = before.source.git_status.as_ref() == Some(&*source.git);
    is_same && source.commit.is_empty() && source.findings.is_empty()
}

/// The history with the commit in force. A commit that comes back has a second place in it.
fn history(before: &[PastCommit], report: &Report, now: &Time) -> Vec<PastCommit> {
    let mut history = before.to_vec();
    let commit = &report.sync.commit;
    if !commit.is_empty() && history.last().is_none_or(|last| last.commit != *commit) {
        history.push(PastCommit { commit: commit.clone(), since: now.clone(), synced: None });
        history.drain(..history.len().saturating_sub(HISTORY));
    }
    if let Some(last) = history.last_mut().filter(|last| report.synced && last.synced.is_none()) {
        last.synced = Some(now.clone());
    }
    history
}

/// The status of a sync whose objects go before it. The commit stays the one that was applied last.
fn going(before: &SyncStatus, report: &Report, about: &About, now: &Time) -> SyncStatus {
    let findings = report.sync.findings.clone();
    let git = before.sync.git_status.clone().unwrap_or_default();
    let last = Stage { commit: before.sync.commit.clone(), findings, git: git.into() };
    let told = Report { sync: last, syncing: true, ..Report::default() };
    let condition = |kind: &str, reason: &str, message: &str| SyncCondition {
        kind: kind.into(),
        status: "True".into(),
        reason: reason.into(),
        message: message.into(),
        ..SyncCondition::default()
    };
    let sync = match told.sync.commit.is_empty() && told.sync.findings.is_empty() {
        true => before.sync.clone(),
        false => stage(&before.sync, &told.sync, "", now),
    };
    let failed = (!sync.errors.is_empty()).then(|| SyncCondition {
        errors: sync.errors.clone(),
        error_summary: sync.error_summary.clone(),
        ..condition("ReconcilerFinalizerFailure", "DestroyFailure", "Failed to delete managed resource objects")
    });
    let deleting = condition("ReconcilerFinalizing", "ResourcesDeleting", "Deleting managed resource objects");
    let syncing = syncing(&told, [&StageStatus::default(), &sync]);
    let conditions = no_refusal().into_iter().chain([syncing, deleting]).chain(failed);
    SyncStatus {
        observed_generation: about.generation,
        sync,
        conditions: conditions.map(|condition| timed(condition, before, now)).collect(),
        ..before.clone()
    }
}

/// The status of a sync that does not run: its spec is invalid, or the API server refuses something that it needs.
pub fn stalled(before: &SyncStatus, finding: &Finding, generation: i64, now: &Time) -> SyncStatus {
    SyncStatus {
        observed_generation: generation,
        conditions: refusal(finding).into_iter().map(|condition| timed(condition, before, now)).collect(),
        ..before.clone()
    }
}

/// The reason of the condition `Stalled` of a sync that a user suspended.
pub const SUSPENDED: &str = "Suspended";
/// Its message.
pub const SUSPENSION: &str = "suspended by the annotation configsync.gke.io/suspend: nothing is read, written or put back until \
                              it is taken off (nomos sync resume)";

/// The status of a sync that a user suspended. It does not say that the sync is synced: drift is not seen.
pub fn suspended(before: &SyncStatus, generation: i64, now: &Time) -> SyncStatus {
    let [reconciling, stalled] = no_refusal();
    let stalled =
        SyncCondition { status: "True".into(), reason: SUSPENDED.into(), message: SUSPENSION.into(), ..stalled };
    SyncStatus {
        observed_generation: generation,
        conditions: [reconciling, stalled].map(|condition| timed(condition, before, now)).into(),
        ..before.clone()
    }
}

/// The status of a sync whose newer spec is invalid and that goes on with the spec before it.
pub fn refused(before: &SyncStatus, finding: &Finding, generation: i64, now: &Time) -> SyncStatus {
    let mut status = stalled(before, finding, generation, now);
    status.conditions.extend(before.condition("Syncing").cloned());
    status
}

/// The document that writes `status` to the sync object with this uid. The API server refuses it (HTTP 409) when another
/// object has the name now. That there are no errors is written too: an apply leaves those that another client wrote, such as Config Sync.
pub fn status_document(sync: &SyncId, uid: &str, status: &SyncStatus) -> Value {
    let mut status = serde_json::to_value(status).unwrap_or_default();
    for stage in ["source", "rendering", "sync"] {
        let stage = &mut status[stage];
        if stage["errors"].is_null() {
            stage["errors"] = json!([]);
        }
        let none = [("totalCount", json!(0)), ("truncated", json!(false)), ("errorCountAfterTruncation", json!(0))];
        for (count, none) in none {
            let count = &mut stage["errorSummary"][count];
            if count.is_null() {
                *count = none;
            }
        }
    }
    json!({
        "apiVersion": "configsync.gke.io/v1beta1",
        "kind": sync.kind.to_string(),
        "metadata": {"name": sync.name, "namespace": sync.namespace, "uid": uid},
        "status": status,
    })
}

fn no_refusal() -> [SyncCondition; 2] {
    ["Reconciling", "Stalled"].map(|kind| SyncCondition {
        kind: kind.into(),
        status: "False".into(),
        ..SyncCondition::default()
    })
}

fn refusal(finding: &Finding) -> [SyncCondition; 2] {
    let condition = |kind: &str, reason: &str, message: String, count| SyncCondition {
        kind: kind.into(),
        status: "True".into(),
        reason: reason.into(),
        message,
        error_summary: Some(ErrorSummary::complete(count)),
        ..SyncCondition::default()
    };
    [
        condition("Reconciling", "Setup", "Setup stalled".into(), 0),
        condition("Stalled", "Validation", shortened(text(finding), MESSAGE_BYTES), 1),
    ]
}

fn stage(before: &StageStatus, reported: &Stage, message: &str, now: &Time) -> StageStatus {
    let (errors, summary) = errors(&reported.findings);
    let mut stage = StageStatus {
        git_status: Some((*reported.git).clone()),
        commit: reported.commit.clone(),
        message: message.to_owned(),
        error_summary: Some(summary),
        errors,
        last_update: before.last_update.clone(),
        ..StageStatus::default()
    };
    if stage != *before || stage.last_update.is_none() {
        stage.last_update = Some(now.clone());
    }
    stage
}

fn errors(findings: &[Finding]) -> (Vec<SyncError>, ErrorSummary) {
    let mut summary = ErrorSummary::complete(findings.len());
    let mut bytes = 0;
    let mut errors = Vec::new();
    for mut error in findings.iter().map(SyncError::of) {
        error.error_message = shortened(error.error_message, MESSAGE_BYTES);
        bytes += serde_json::to_string(&error).map_or(0, |text| text.len());
        if bytes > ERROR_BYTES {
            summary.truncated = true;
            break;
        }
        errors.push(error);
    }
    summary.error_count_after_truncation = i64::try_from(errors.len()).unwrap_or(i64::MAX);
    (errors, summary)
}

/// `written` are the stages source and sync as the status has them.
fn syncing(report: &Report, written: [&StageStatus; 2]) -> SyncCondition {
    let refused = report.source.findings.iter().any(|finding| finding.code.blocks());
    let condition = |status: &str, reason: &str, message: &str, stage: &Stage| {
        let sources = ["status.source.errors", "status.sync.errors"].into_iter().zip([&report.source, &report.sync]);
        let sources = sources.zip(written).filter(|((_, stage), _)| !stage.findings.is_empty());
        let mut summary = ErrorSummary::complete(0);
        let mut refs = Vec::new();
        for ((name, _), written) in sources {
            refs.push(name.to_owned());
            let listed = written.error_summary.clone().unwrap_or_default();
            summary.total_count += listed.total_count;
            summary.truncated |= listed.truncated;
            summary.error_count_after_truncation += listed.error_count_after_truncation;
        }
        SyncCondition {
            kind: "Syncing".into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
            commit: stage.commit.clone(),
            error_source_refs: refs,
            error_summary: Some(summary),
            ..SyncCondition::default()
        }
    };
    match (refused, report.syncing) {
        (true, _) => condition("False", "Source", "Source", &report.source),
        (false, true) => condition("True", "Sync", "Syncing", &report.sync),
        (false, false) => condition("False", "Sync", "Sync Completed", &report.sync),
    }
}

fn timed(mut condition: SyncCondition, before: &SyncStatus, now: &Time) -> SyncCondition {
    let old = before.condition(&condition.kind);
    condition.last_transition_time = match old {
        Some(old) if old.status == condition.status => old.last_transition_time.clone(),
        _ => Some(now.clone()),
    };
    condition.last_update_time = old.and_then(|old| old.last_update_time.clone());
    if old != Some(&condition) {
        condition.last_update_time = Some(now.clone());
    }
    condition
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::GitStatus;
    use crate::model::finding::Code;

    fn about() -> About {
        About { generation: 2, reconciler: "nomos-agent".into(), refused: None, going: false }
    }

    fn report(commit: &str, findings: Vec<Finding>) -> Report {
        let synced = findings.is_empty();
        let sync = Stage { commit: commit.into(), ..Stage::default() };
        Report {
            source: Stage { commit: commit.into(), findings, ..Stage::default() },
            sync,
            synced,
            ..Report::default()
        }
    }

    #[test]
    fn an_unchanged_report_changes_no_status() {
        let first = status(&SyncStatus::default(), &report("a", vec![]), &about(), &Time::from_unix(1));
        assert_eq!(first.last_synced_commit, "a");
        assert_eq!(status(&first, &report("a", vec![]), &about(), &Time::from_unix(9)), first);
    }

    #[test]
    fn a_report_of_a_source_that_was_not_read_takes_no_error_away() {
        let failed = report("a", vec![Finding::new(Code::Source, "not there")]);
        let first = status(&SyncStatus::default(), &failed, &about(), &Time::from_unix(1));
        let unread = Report { syncing: true, ..Report::default() };
        let second = status(&first, &unread, &about(), &Time::from_unix(2));
        assert_eq!((&second.source, &second.rendering), (&first.source, &first.rendering));
        assert!(!second.source.errors.is_empty());
        // Another source is followed: the errors of the one before are not its own.
        let git = Arc::new(GitStatus { branch: "other".into(), ..GitStatus::default() });
        let unread = Report { source: Stage { git, ..Stage::default() }, ..unread };
        assert!(status(&first, &unread, &about(), &Time::from_unix(3)).source.errors.is_empty());
    }

    #[test]
    fn the_history_has_the_last_commits_in_force() {
        let at = Time::from_unix;
        let past = |commit: &str, since, synced: Option<u64>| PastCommit {
            commit: commit.into(),
            since: at(since),
            synced: synced.map(at),
        };
        let syncing = |commit: &str| Report { synced: false, syncing: true, ..report(commit, vec![]) };
        let first = status(&SyncStatus::default(), &syncing("a"), &about(), &at(1));
        assert_eq!(first.history, [past("a", 1, None)]);
        let second = status(&first, &report("a", vec![]), &about(), &at(2));
        assert_eq!(second.history, [past("a", 1, Some(2))]);
        let third = status(&second, &report("b", vec![Finding::new(Code::Applier, "x")]), &about(), &at(3));
        let fourth = status(&third, &report("a", vec![]), &about(), &at(4));
        assert_eq!(fourth.history, [past("a", 1, Some(2)), past("b", 3, None), past("a", 4, Some(4))]);
        // A commit that is not in force, or none at all, changes nothing.
        let mut refused = report("a", vec![]);
        refused.source.commit = "c".into();
        for report in [refused, Report::default()] {
            assert_eq!(status(&fourth, &report, &about(), &at(5)).history, fourth.history);
        }
        let commits = (0..2 * HISTORY as u64).map(|n| n.to_string());
        let many = commits.fold(fourth, |before, commit| status(&before, &report(&commit, vec![]), &about(), &at(9)));
        let names: Vec<&str> = many.history.iter().map(|past| past.commit.as_str()).collect();
        assert_eq!((names.len(), names[0], names[HISTORY - 1]), (HISTORY, "20", "39"));
    }

    #[test]
    fn the_status_says_that_a_spec_is_refused_while_the_one_before_stays_in_force() {
        let first = status(&SyncStatus::default(), &report("a", vec![]), &about(), &Time::from_unix(1));
        let refused = Some(Finding::new(Code::InvalidSync, "no such auth"));
        let about = About { generation: 3, refused, ..about() };
        let finding = about.refused.as_ref().expect("set above");
        let at_once = super::refused(&first, finding, 3, &Time::from_unix(2));
        assert_eq!(status(&at_once, &report("a", vec![]), &about, &Time::from_unix(9)), at_once);
        let second = status(&first, &report("b", vec![]), &about, &Time::from_unix(2));
        let stalled = second.condition("Stalled").expect("always there");
        assert_eq!((stalled.status.as_str(), stalled.reason.as_str()), ("True", "Validation"));
        assert_eq!((second.observed_generation, second.last_synced_commit.as_str()), (3, "b"));
        assert_eq!(status(&second, &report("b", vec![]), &about, &Time::from_unix(9)), second);
    }

    #[test]
    fn a_sync_that_goes_says_so_and_what_cannot_go() {
        let first = status(&SyncStatus::default(), &report("a", vec![]), &about(), &Time::from_unix(1));
        let about = About { going: true, ..about() };
        let second = status(&first, &report("b", vec![]), &about, &Time::from_unix(2));
        let kinds = |status: &SyncStatus| status.conditions.iter().map(|c| c.kind.clone()).collect::<Vec<_>>();
        assert_eq!(kinds(&second), ["Reconciling", "Stalled", "Syncing", "ReconcilerFinalizing"]);
        assert_eq!((second.sync.commit.as_str(), second.last_synced_commit.as_str()), ("a", "a"));
        let mut stuck = report("b", vec![]);
        stuck.sync.findings = vec![Finding::new(Code::Applier, "it hangs")];
        let third = status(&second, &stuck, &about, &Time::from_unix(3));
        let failure = third.condition("ReconcilerFinalizerFailure").expect("it is told");
        assert_eq!((failure.reason.as_str(), failure.errors.len()), ("DestroyFailure", 1));
        let syncing = third.condition("Syncing").expect("always there");
        assert_eq!((syncing.status.as_str(), syncing.error_source_refs.len()), ("True", 1));
        assert_eq!(status(&third, &stuck, &about, &Time::from_unix(9)), third, "nothing new is nothing to write");
        assert_eq!(kinds(&status(&third, &report("b", vec![]), &about, &Time::from_unix(4))), kinds(&second));
    }

    #[test]
    fn a_large_error_leaves_room_for_the_others() {
        let large = Finding::new(Code::Applier, "\"".repeat(ERROR_BYTES));
        let small = Finding::new(Code::Applier, "small");
        let found = errors(&[large.clone(), small]);
        assert_eq!((found.0.len(), found.1.truncated), (2, false));
        assert!(found.0[0].error_message.ends_with("bytes more)"));
        let many = vec![large; 20];
        let (written, summary) = errors(&many);
        assert!(serde_json::to_string(&written).expect("plain data").len() <= ERROR_BYTES + 100);
        assert_eq!((summary.total_count, summary.truncated), (20, true));
    }

    #[test]
    fn the_condition_says_that_errors_are_left_out() {
        let large = Finding::new(Code::Applier, "x".repeat(MESSAGE_BYTES));
        let written = status(&SyncStatus::default(), &report("a", vec![large; 40]), &about(), &Time::from_unix(1));
        let summary =
            written.condition("Syncing").and_then(|syncing| syncing.error_summary.clone()).expect("a summary");
        assert_eq!(Some(&summary), written.source.error_summary.as_ref());
        assert!(summary.truncated && summary.total_count == 40, "{summary:?}");
        assert_eq!(usize::try_from(summary.error_count_after_truncation), Ok(written.source.errors.len()));
    }

    #[test]
    fn a_refused_commit_is_a_source_error() {
        let finding = Finding::new(Code::NameCollision, "twice");
        let first = status(&SyncStatus::default(), &report("a", vec![]), &about(), &Time::from_unix(1));
        let mut broken = report("a", vec![finding]);
        broken.source.commit = "b".into();
        let second = status(&first, &broken, &about(), &Time::from_unix(2));
        let syncing = second.condition("Syncing").expect("always there");
        assert_eq!((syncing.reason.as_str(), syncing.commit.as_str()), ("Source", "b"));
        assert_eq!(syncing.error_source_refs, ["status.source.errors"]);
        assert_eq!((second.source.errors.len(), second.last_synced_commit.as_str()), (1, "a"));
        assert_eq!(second.sync.last_update, first.sync.last_update);
    }
}
