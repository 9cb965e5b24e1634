//! The documents that the page reads, made of what syncs tell and of what the viewer may see.

use std::collections::BTreeMap;

use serde::Serialize;

use super::access::{Plurals, Sight};
use crate::api::{PastCommit, SyncError, SyncStatus, Time};
use crate::io::journal::{JournalChange, JournalChanges, JournalDiff, JournalEntry, JournalEvent};
use crate::model::finding::{Finding, text};
use crate::model::metadata::SyncId;
use crate::model::object::ObjectId;
use crate::sync::engine::{HeldView, ObjectView, SyncSummary, SyncView};
use crate::sync::status::SUSPENDED;

/// Entries of a timeline.
const ENTRIES: usize = 500;
/// Errors of a sync that are shown.
const ERRORS: usize = 100;
/// The code of held deletions.
const HELD: &str = "2006";

/// A sync, as the page lists it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageSync {
    id: String,
    kind: String,
    namespace: String,
    name: String,
    repo: String,
    #[serde(rename = "ref")]
    reference: String,
    dir: String,
    /// One of `Error`, `Held`, `Stalled`, `Suspended`, `Syncing`, `Pending` and `Synced`.
    state: &'static str,
    /// The commit in force, the time since when it is, and the time at which all of it was applied.
    commit: String,
    since: Option<u64>,
    synced: Option<u64>,
    /// The newest commit.
    newest: String,
    errors: Vec<PageError>,
    /// Number of all errors.
    error_count: usize,
    /// Objects by state; `None` while the sync does not run.
    states: Option<BTreeMap<&'static str, usize>>,
}

/// An error of a sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct PageError {
    code: String,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    hint: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    places: Vec<String>,
}

/// An object, as the page lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PageObject {
    #[serde(flatten)]
    id: PageId,
    state: &'static str,
    /// The first characters of the commit that last changed it.
    #[serde(skip_serializing_if = "String::is_empty")]
    commit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The reason why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The object that it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<PageError>,
    /// `true` if this may be old, because changes of its kind are not known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
}

/// The identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PageId {
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    name: String,
}

/// The objects of a sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct PageObjects {
    objects: Vec<PageObject>,
    /// Number of objects that the viewer may not see.
    hidden: usize,
    held: Option<PageHeld>,
}

/// Deletions that wait for an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageHeld {
    commit: String,
    in_force: bool,
    count: usize,
    /// Those that the viewer may see.
    objects: Vec<PageId>,
    hint: String,
}

/// An entry of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PageEntry {
    at: u64,
    sync: String,
    #[serde(flatten)]
    event: PageEvent,
}

/// The event of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum PageEvent {
    Repair {
        object: PageId,
        by: Option<String>,
        fields: Vec<String>,
        deleted: bool,
        times: usize,
        diff: PageDiff,
    },
    Commit {
        commit: String,
        synced: Option<u64>,
        objects: Option<usize>,
        /// Added, changed and removed objects.
        counts: Option<[usize; 3]>,
        first: Vec<PageChange>,
    },
    Error {
        code: String,
        message: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PageChange {
    object: PageId,
    change: &'static str,
    diff: PageDiff,
}

/// A diff, or the reason why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum PageDiff {
    Lines(String),
    Withheld,
    Unknown,
    ToldByEvent,
    None,
}

impl From<&ObjectId> for PageId {
    fn from(id: &ObjectId) -> Self {
        let [group, kind, namespace, name] = [id.group(), id.kind(), id.namespace(), id.name()].map(str::to_owned);
        Self { group, kind, namespace, name }
    }
}

impl From<&JournalDiff> for PageDiff {
    fn from(diff: &JournalDiff) -> Self {
        match diff {
            JournalDiff::Lines(lines) => Self::Lines(lines.clone()),
            JournalDiff::Withheld => Self::Withheld,
            JournalDiff::Unknown => Self::Unknown,
            JournalDiff::ToldByEvent => Self::ToldByEvent,
        }
    }
}

/// The name of a sync in the documents, as in `RootSync/config-management-system/shop`.
pub(super) fn page_id(sync: &SyncId) -> String {
    format!("{}/{}/{}", sync.kind, sync.namespace, sync.name)
}

/// A sync with this status. `summary` is there while it runs.
pub(super) fn sync(id: &SyncId, status: &SyncStatus, summary: Option<&SyncSummary>) -> PageSync {
    let errors = errors(status);
    let git = status.source.git_status.as_ref().or(status.sync.git_status.as_ref()).cloned().unwrap_or_default();
    let in_force = status.history.last().filter(|last| last.commit == status.sync.commit);
    let synced = in_force.and_then(|last| last.synced.as_ref()).and_then(Time::unix);
    let since = in_force.map(|last| &last.since).or(status.sync.last_update.as_ref()).and_then(Time::unix);
    PageSync {
        id: page_id(id),
        kind: id.kind.to_string(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        repo: git.repo,
        reference: if git.revision.is_empty() || git.revision == "HEAD" { git.branch } else { git.revision },
        dir: git.dir,
        state: state(status, &errors),
        commit: status.sync.commit.clone(),
        since: since.filter(|_| !status.sync.commit.is_empty()),
        synced,
        newest: status.source.commit.clone(),
        error_count: count(status).max(errors.len()),
        errors,
        states: summary.map(|summary| summary.states.clone()),
    }
}

/// The state of a sync in one word.
fn state(status: &SyncStatus, errors: &[PageError]) -> &'static str {
    let stalled = status.condition("Stalled").filter(|stalled| stalled.status == "True");
    let of_commit =
        |status: &SyncStatus| match status.condition("Syncing").is_some_and(|syncing| syncing.status == "True") {
            true => "Syncing",
            false if status.sync.commit.is_empty() => "Pending",
            false if status.last_synced_commit == status.source.commit => "Synced",
            false => "Syncing",
        };
    match stalled {
        Some(stalled) if stalled.reason == SUSPENDED => "Suspended",
        Some(_) => "Stalled",
        None if errors.iter().any(|error| !error.code.ends_with(HELD)) => "Error",
        None if !errors.is_empty() => "Held",
        None => of_commit(status),
    }
}

fn count(status: &SyncStatus) -> usize {
    let summaries = [&status.source, &status.sync].map(|stage| stage.error_summary.as_ref());
    summaries.into_iter().flatten().map(|summary| usize::try_from(summary.total_count).unwrap_or(0)).sum()
}

/// The errors of a status. That of a sync which does not run is its condition.
fn errors(status: &SyncStatus) -> Vec<PageError> {
    let stalled = status.condition("Stalled").filter(|stalled| stalled.status == "True");
    let stalled = stalled.filter(|stalled| stalled.reason != SUSPENDED).map(|stalled| error(&stalled.message, ""));
    let stages = [&status.source, &status.rendering, &status.sync].into_iter().flat_map(|stage| &stage.errors);
    let of_stages = stages.map(|SyncError { code, error_message, .. }| error(error_message, code));
    stalled.into_iter().chain(of_stages).take(ERRORS).collect()
}

/// An error from its text, which begins with the code and the message; hint and places follow in blocks of their own.
fn error(text: &str, code: &str) -> PageError {
    let (first, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let with_code = first.split_once(": ").filter(|(code, _)| code.starts_with("KNV"));
    let known = if code.is_empty() { String::new() } else { format!("KNV{code}") };
    let (code, message) = with_code.map_or((known, first), |(code, message)| (code.to_owned(), message));
    let hint = rest.split("\n\n").find_map(|block| block.strip_prefix("hint: ")).unwrap_or_default();
    let place = |line: &str| line.strip_prefix("source: ").or_else(|| line.strip_prefix("path: ")).map(str::to_owned);
    PageError {
        code,
        message: message.to_owned(),
        hint: hint.to_owned(),
        places: rest.lines().filter_map(place).take(10).collect(),
    }
}

fn of_finding(finding: &Finding) -> PageError {
    error(&text(finding), "")
}

/// The objects of a sync that the viewer sees.
pub(super) fn objects(view: &SyncView, sight: &Sight, plurals: &Plurals) -> PageObjects {
    let (shown, hidden): (Vec<&ObjectView>, Vec<&ObjectView>) =
        view.objects.iter().partition(|object| sight.sees(&object.resource.id, plurals));
    PageObjects {
        objects: shown.into_iter().map(|view| object(view, sight, plurals)).collect(),
        hidden: hidden.len(),
        held: view.held.as_ref().map(|held| self::held(held, sight, plurals)),
    }
}

fn object(view: &ObjectView, sight: &Sight, plurals: &Plurals) -> PageObject {
    let resource = &view.resource;
    let of_other = resource.other.as_ref().map(|other| format!("it belongs to another sync: {other}"));
    let waits = view.waits_for.as_ref();
    PageObject {
        id: PageId::from(&resource.id),
        state: view.state(),
        commit: resource.token.clone(),
        path: view.path.clone(),
        message: resource.health.message().map(str::to_owned).filter(|text| !text.is_empty()).or(of_other),
        waits: waits.map(|other| match sight.sees(other, plurals) {
            true => other.to_string(),
            false => "an object that you may not see".to_owned(),
        }),
        // The text of a wait names the other object.
        error: view.finding.as_ref().filter(|_| waits.is_none_or(|other| sight.sees(other, plurals))).map(of_finding),
        stale: resource.stale,
    }
}

fn held(held: &HeldView, sight: &Sight, plurals: &Plurals) -> PageHeld {
    PageHeld {
        commit: held.commit.clone(),
        in_force: held.in_force,
        count: held.deletions.len(),
        objects: held.deletions.iter().filter(|id| sight.sees(id, plurals)).map(PageId::from).collect(),
        hint: held.finding.hint.clone().unwrap_or_default(),
    }
}

/// The last entries of these syncs, the newest first: commits from the history in their statuses, everything else from the journal.
pub(super) fn timeline(
    syncs: &BTreeMap<SyncId, SyncStatus>,
    journal: &[JournalEntry],
    sight: &Sight,
    plurals: &Plurals,
) -> Vec<PageEntry> {
    let told = journal.iter().filter(|entry| syncs.contains_key(&entry.sync));
    let mut entries: Vec<PageEntry> = told.filter_map(|entry| of_journal(entry, sight, plurals)).collect();
    for (id, status) in syncs {
        for past in &status.history {
            let commit = commit(id, past, journal, sight, plurals);
            entries.extend(commit);
        }
    }
    entries.sort_by(|one, other| (other.at, &one.sync).cmp(&(one.at, &other.sync)));
    entries.truncate(ENTRIES);
    entries
}

fn of_journal(entry: &JournalEntry, sight: &Sight, plurals: &Plurals) -> Option<PageEntry> {
    let event = match &entry.event {
        JournalEvent::InForce(_) => return None,
        JournalEvent::Failed { code, message } => PageEvent::Error { code: code.clone(), message: message.clone() },
        JournalEvent::Repaired(repair) if sight.sees(&repair.object, plurals) => PageEvent::Repair {
            object: PageId::from(&repair.object),
            by: repair.by.clone(),
            fields: repair.fields.clone(),
            deleted: repair.deleted,
            times: repair.times,
            diff: PageDiff::from(&repair.diff),
        },
        JournalEvent::Repaired(_) => return None,
    };
    Some(PageEntry { at: entry.at, sync: page_id(&entry.sync), event })
}

/// A commit of the history, with what the journal knows of it. The commit may have been in force several times: the entry of that time
/// is the nearest.
fn commit(
    id: &SyncId,
    past: &PastCommit,
    journal: &[JournalEntry],
    sight: &Sight,
    plurals: &Plurals,
) -> Option<PageEntry> {
    let at = past.since.unix()?;
    let of_commit = journal.iter().filter(|entry| entry.sync == *id).filter_map(|entry| match &entry.event {
        JournalEvent::InForce(known) if known.commit == past.commit => Some((entry.at.abs_diff(at), known)),
        _ => None,
    });
    let known = of_commit.min_by_key(|(apart, _)| *apart).map(|(_, known)| known);
    let changes = known.and_then(|known| known.changes.as_ref());
    let event = PageEvent::Commit {
        commit: past.commit.clone(),
        synced: past.synced.as_ref().and_then(Time::unix),
        objects: known.map(|known| known.objects),
        counts: changes.map(|changes| changes.counts),
        first: changes.map(|changes| page_changes(changes, sight, plurals)).unwrap_or_default(),
    };
    Some(PageEntry { at, sync: page_id(id), event })
}

fn page_changes(changes: &JournalChanges, sight: &Sight, plurals: &Plurals) -> Vec<PageChange> {
    let seen = changes.first.iter().filter(|(id, _)| sight.sees(id, plurals));
    seen.map(|(id, change)| {
        let (change, diff) = match change {
            JournalChange::Added => ("added", PageDiff::None),
            JournalChange::Removed => ("removed", PageDiff::None),
            JournalChange::Changed(diff) => ("changed", PageDiff::from(diff)),
        };
        PageChange { object: PageId::from(id), change, diff }
    })
    .collect()
}

#[cfg(test)]
mod tests;
