//! The status of clusters as data, derived from what they hold. Nothing here talks to anybody.

use agent::api::{ErrorSummary, ResourceStatus, SyncCondition, SyncError, SyncSpec, SyncStatus, Time};
use agent::model::metadata::{SyncId, SyncKind};
use serde::Serialize;

/// Commit where there is none.
pub(crate) const NO_COMMIT: &str = "N/A";

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterStatus {
    /// Name of the context.
    pub(crate) context: String,
    /// Whether it is the current context.
    pub(crate) current: bool,
    /// What there is to say instead of syncs.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub(crate) row: Option<Row>,
    /// Its syncs: RootSyncs first, by namespace and name.
    pub(crate) syncs: Vec<SyncReport>,
}

/// The state of a cluster as a whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    /// `NOT INSTALLED`, `NOT CONFIGURED`, `NOT RUNNING`, `UNKNOWN`, `N/A` or `ERROR`.
    pub(crate) state: &'static str,
    /// What happened, in short.
    pub(crate) message: String,
    /// What happened, as far as is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cause: String,
}

/// One sync.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SyncReport {
    /// RootSync or RepoSync.
    pub(crate) kind: SyncKind,
    /// Namespace of the sync object.
    pub(crate) namespace: String,
    /// Name of the sync object.
    pub(crate) name: String,
    /// Repository, directory and reference.
    pub(crate) source: String,
    /// State.
    pub(crate) state: State,
    /// Commit, image digest or chart version; `N/A` where there is none.
    pub(crate) commit: String,
    /// When it was last synced; only when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_update: Option<Time>,
    /// How many errors there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_summary: Option<ErrorSummary>,
    /// The errors that the status lists, in full.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<String>,
    /// The managed objects by namespace, kind and name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resources: Vec<ResourceStatus>,
}

/// State of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum State {
    /// It cannot go on.
    Stalled,
    /// Its agent is being set up.
    Reconciling,
    /// A commit is being read or applied.
    Pending,
    /// The commit is applied.
    Synced,
    /// The commit has errors.
    Error,
    /// The object cannot be understood.
    Unknown,
}

impl State {
    /// The word that is shown.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stalled => "STALLED",
            Self::Reconciling => "RECONCILING",
            Self::Pending => "PENDING",
            Self::Synced => "SYNCED",
            Self::Error => "ERROR",
            Self::Unknown => "UNKNOWN",
        }
    }
}

impl ClusterStatus {
    /// Whether there is at least one sync and all are synced; a cluster of which filters left nothing is, too.
    pub(crate) fn is_synced(&self) -> bool {
        self.row.is_none() && self.syncs.iter().all(|sync| sync.state == State::Synced)
    }

    /// Keeps the syncs of a name.
    pub(crate) fn retain(&mut self, name: Option<&str>) {
        self.syncs.retain(|sync| name.is_none_or(|name| name == sync.name));
    }
}

impl SyncReport {
    /// `<root>` or the namespace that is synced, as in `<root>:root-sync`.
    pub(crate) fn scope(&self) -> &str {
        match self.kind {
            SyncKind::RootSync => "<root>",
            SyncKind::RepoSync => &self.namespace,
        }
    }
}

/// The report about one sync.
pub(crate) fn report(
    id: SyncId,
    spec: &SyncSpec,
    status: &SyncStatus,
    mut resources: Vec<ResourceStatus>,
) -> SyncReport {
    for resource in &mut resources {
        if resource
            .conditions
            .iter()
            .any(|condition| condition.kind == "OwnershipOverlap" && condition.status == "True")
        {
            resource.status = "Conflict".to_owned();
        }
    }
    resources.sort_by_cached_key(|resource| (resource.id.namespace.clone(), resource_name(resource)));
    let (state, commit, error_summary, errors) = state(status);
    SyncReport {
        kind: id.kind,
        namespace: id.namespace,
        name: id.name,
        source: spec.source().map_or_else(|| NO_COMMIT.to_owned(), |source| source.line()),
        state,
        commit: if commit.is_empty() { NO_COMMIT.to_owned() } else { commit.to_owned() },
        last_update: status.sync.last_update.clone().filter(|_| state == State::Synced),
        error_summary,
        errors,
        resources,
    }
}

/// `deployment.apps/web`
pub(crate) fn resource_name(resource: &ResourceStatus) -> String {
    let kind = resource.id.kind.to_lowercase();
    let dot = if resource.id.group.is_empty() { "" } else { "." };
    format!("{kind}{dot}{}/{}", resource.id.group, resource.id.name)
}

/// State, commit and errors: the first that holds of stalled, reconciling, not yet known, under way, done.
fn state(status: &SyncStatus) -> (State, &str, Option<ErrorSummary>, Vec<String>) {
    if let Some(stalled) = status.condition("Stalled").filter(|condition| condition.is_true()) {
        let summary = stalled.error_summary.clone().unwrap_or_else(|| ErrorSummary::complete(1));
        return (State::Stalled, "", Some(summary), vec![stalled.message.clone()]);
    }
    if status.condition("Reconciling").is_some_and(SyncCondition::is_true) {
        return (State::Reconciling, "", None, Vec::new());
    }
    let Some(syncing) = status.condition("Syncing") else { return without_condition(status) };
    let listed = if syncing.error_source_refs.is_empty() {
        texts(&syncing.errors)
    } else {
        syncing.error_source_refs.iter().flat_map(|stage| texts(errors_of(status, stage))).collect()
    };
    let summary = syncing.error_summary.clone().or_else(|| complete(&listed)).filter(|summary| summary.total_count > 0);
    let state = match (syncing.is_true(), &summary) {
        (true, _) => State::Pending,
        (false, None) if listed.is_empty() => State::Synced,
        (false, _) => State::Error,
    };
    (state, &syncing.commit, summary, listed)
}

/// Before the first `Syncing` condition: what commits and errors of the stages tell.
fn without_condition(status: &SyncStatus) -> (State, &str, Option<ErrorSummary>, Vec<String>) {
    let stages = [&status.source, &status.rendering, &status.sync];
    let errors: Vec<String> = stages.iter().flat_map(|stage| texts(&stage.errors)).collect();
    let commit = status.sync.commit.as_str();
    let state = if !errors.is_empty() {
        State::Error
    } else if commit.is_empty() || commit != status.source.commit {
        State::Pending
    } else {
        State::Synced
    };
    (state, commit, complete(&errors), errors)
}

fn complete(errors: &[String]) -> Option<ErrorSummary> {
    (!errors.is_empty()).then(|| ErrorSummary::complete(errors.len()))
}

fn errors_of<'a>(status: &'a SyncStatus, stage: &str) -> &'a [SyncError] {
    match stage {
        "status.source.errors" => &status.source.errors,
        "status.rendering.errors" => &status.rendering.errors,
        "status.sync.errors" => &status.sync.errors,
        _ => &[],
    }
}

fn texts(errors: &[SyncError]) -> Vec<String> {
    errors.iter().map(|error| error.error_message.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(status: Value) -> (State, String, Vec<String>) {
        let status: SyncStatus = serde_json::from_value(status).expect("a status");
        let report = report(SyncId::root("root-sync"), &SyncSpec::default(), &status, Vec::new());
        (report.state, report.commit, report.errors)
    }

    #[test]
    fn the_first_condition_that_holds_decides() {
        let condition =
            |kind: &str, status: &str| json!({ "type": kind, "status": status, "commit": "abc", "message": "m" });
        let all = ["Stalled", "Reconciling", "Syncing"].map(|kind| condition(kind, "True"));
        assert_eq!(of(json!({ "conditions": all })), (State::Stalled, "N/A".into(), vec!["m".into()]));
        assert_eq!(of(json!({ "conditions": all[1..] })), (State::Reconciling, "N/A".into(), vec![]));
        assert_eq!(of(json!({ "conditions": all[2..] })), (State::Pending, "abc".into(), vec![]));
        assert_eq!(of(json!({ "conditions": [condition("Syncing", "False")] })), (State::Synced, "abc".into(), vec![]));
        assert_eq!(of(json!({})), (State::Pending, "N/A".into(), vec![]));
    }

    #[test]
    fn errors_are_those_that_the_condition_refers_to() {
        let error = |text: &str| json!({ "code": "2009", "errorMessage": text });
        let status = json!({
            "source": { "commit": "abc", "errors": [error("old")] },
            "sync": { "commit": "abc", "errors": [error("new")] },
            "conditions": [{
                "type": "Syncing", "status": "False", "commit": "abc",
                "errorSourceRefs": ["status.sync.errors"], "errorSummary": { "totalCount": 1 },
            }],
        });
        assert_eq!(of(status), (State::Error, "abc".into(), vec!["new".into()]));
    }

    #[test]
    fn without_conditions_the_commits_decide() {
        assert_eq!(of(json!({ "source": { "commit": "a" }, "sync": { "commit": "a" } })).0, State::Synced);
        assert_eq!(of(json!({ "source": { "commit": "b" }, "sync": { "commit": "a" } })).0, State::Pending);
    }
}
