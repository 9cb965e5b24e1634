//! The status of clusters as data, computed from their objects without any request.

use agent::api::{ErrorSummary, ResourceStatus, SyncCondition, SyncError, SyncSpec, SyncStatus, Time};
use agent::model::metadata::{SyncId, SyncKind};
use agent::model::url::shown_in;
use agent::sync::status::SUSPENDED;
use serde::Serialize;

/// Stands for a commit that is not known.
pub(crate) const NO_COMMIT: &str = "N/A";

/// The status of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterStatus {
    /// The name of the context.
    pub(crate) context: String,
    /// `true` for the current context.
    pub(crate) current: bool,
    /// The state of the cluster, if it has no syncs to show.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub(crate) row: Option<Row>,
    /// The syncs: RootSyncs first, sorted by namespace and name.
    pub(crate) syncs: Vec<SyncReport>,
    /// The ConfigManagement, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config_management: Option<ConfigManagementReport>,
}

/// The facts of a ConfigManagement that are shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigManagementReport {
    /// The name of the cluster, for selectors.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cluster_name: String,
    /// The reasons for which its spec has no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<String>,
}

/// The state of a cluster without syncs to show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    /// `NOT INSTALLED`, `NOT CONFIGURED`, `NOT RUNNING`, `PENDING`, `N/A` or `ERROR`.
    pub(crate) state: &'static str,
    /// One sentence about the state; can be empty.
    pub(crate) message: String,
    /// The error that caused the state, if there is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cause: String,
}

/// The status of one sync.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SyncReport {
    /// RootSync or RepoSync.
    pub(crate) kind: SyncKind,
    /// Namespace of the sync object.
    pub(crate) namespace: String,
    /// Name of the sync object.
    pub(crate) name: String,
    /// The repository, directory and git reference in one line.
    pub(crate) source: String,
    /// The state in one word.
    pub(crate) state: SyncReportState,
    /// Commit, image digest or chart version; `N/A` where there is none.
    pub(crate) commit: String,
    /// The time of the last change of the status; only for a sync that is synced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_update: Option<Time>,
    /// The number of errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_summary: Option<ErrorSummary>,
    /// The full text of each error in the status.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<String>,
    /// The managed objects, sorted by namespace, kind and name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resources: Vec<ResourceStatus>,
}

/// The state of a sync, as `nomos status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum SyncReportState {
    /// The sync cannot continue until a user changes it.
    Stalled,
    /// A user suspended the sync.
    Suspended,
    /// The reconciler of the sync is being set up. Only Config Sync reports this.
    Reconciling,
    /// The agent is reading or applying a commit.
    Pending,
    /// The commit is applied.
    Synced,
    /// The commit has errors.
    Error,
    /// The spec or the status of the sync cannot be parsed.
    Unknown,
}

impl SyncReportState {
    /// The word for it in the text.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stalled => "STALLED",
            Self::Suspended => "SUSPENDED",
            Self::Reconciling => "RECONCILING",
            Self::Pending => "PENDING",
            Self::Synced => "SYNCED",
            Self::Error => "ERROR",
            Self::Unknown => "UNKNOWN",
        }
    }
}

impl ClusterStatus {
    /// `true` if all shown syncs are synced. A cluster without syncs counts as synced only if the filters removed them.
    pub(crate) fn is_synced(&self) -> bool {
        self.row.is_none()
            && self.settings_errors().is_empty()
            && self.syncs.iter().all(|sync| sync.state == SyncReportState::Synced)
    }

    /// The errors of the ConfigManagement.
    pub(crate) fn settings_errors(&self) -> &[String] {
        self.config_management.as_ref().map_or(&[], |settings| &settings.errors)
    }

    /// The place of the cluster among those that users of older versions know; `None` if it does not answer.
    pub(crate) fn is_of_old(&self) -> Option<bool> {
        match self.row.as_ref().map(|row| row.state) {
            Some("N/A" | "ERROR") if self.config_management.is_none() => None,
            Some("NOT INSTALLED" | "NOT CONFIGURED") => Some(true),
            _ => Some(self.config_management.is_some()),
        }
    }

    /// Removes the syncs with another name; none if `name` is `None`.
    pub(crate) fn retain(&mut self, name: Option<&str>) {
        self.syncs.retain(|sync| name.is_none_or(|name| name == sync.name));
    }
}

impl SyncReport {
    /// The identity of the sync.
    pub(crate) fn id(&self) -> SyncId {
        SyncId { kind: self.kind, namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// `<root>` for a RootSync, the namespace for a RepoSync. It is shown before the name, as in `<root>:root-sync`.
    pub(crate) fn scope(&self) -> &str {
        match self.kind {
            SyncKind::RootSync => "<root>",
            SyncKind::RepoSync => &self.namespace,
        }
    }
}

/// Makes the report about one sync. The status of an object that another sync declares too is `Conflict`.
pub(crate) fn report(
    id: SyncId,
    spec: &SyncSpec,
    status: &SyncStatus,
    mut resources: Vec<ResourceStatus>,
) -> SyncReport {
    for resource in &mut resources {
        for condition in &mut resource.conditions {
            condition.message = shown_in(&condition.message).into_owned();
        }
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
    // Other agents may quote the repository with credentials.
    let errors = errors.iter().map(|error| shown_in(error).into_owned()).collect();
    SyncReport {
        kind: id.kind,
        namespace: id.namespace,
        name: id.name,
        source: spec.source().map_or_else(|| NO_COMMIT.to_owned(), |source| source.line()),
        state,
        commit: if commit.is_empty() { NO_COMMIT.to_owned() } else { commit.to_owned() },
        last_update: status.sync.last_update.clone().filter(|_| state == SyncReportState::Synced),
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

/// The state, the commit and the errors. The first condition that is true decides: Stalled, Reconciling, Syncing.
fn state(status: &SyncStatus) -> (SyncReportState, &str, Option<ErrorSummary>, Vec<String>) {
    if let Some(stalled) = status.condition("Stalled").filter(|condition| condition.is_true()) {
        if stalled.reason == SUSPENDED {
            return (SyncReportState::Suspended, &status.last_synced_commit, None, Vec::new());
        }
        let summary = stalled.error_summary.clone().unwrap_or_else(|| ErrorSummary::complete(1));
        return (SyncReportState::Stalled, "", Some(summary), vec![stalled.message.clone()]);
    }
    if status.condition("Reconciling").is_some_and(SyncCondition::is_true) {
        return (SyncReportState::Reconciling, "", None, Vec::new());
    }
    let Some(syncing) = status.condition("Syncing") else { return without_condition(status) };
    let listed = if syncing.error_source_refs.is_empty() {
        texts(&syncing.errors)
    } else {
        syncing.error_source_refs.iter().flat_map(|stage| texts(errors_of(status, stage))).collect()
    };
    let summary = syncing.error_summary.clone().or_else(|| complete(&listed)).filter(|summary| summary.total_count > 0);
    let state = match (syncing.is_true(), &summary) {
        (true, _) => SyncReportState::Pending,
        (false, None) if listed.is_empty() => SyncReportState::Synced,
        (false, _) => SyncReportState::Error,
    };
    (state, &syncing.commit, summary, listed)
}

/// The state of a status without a `Syncing` condition, from the commits and errors of its stages.
fn without_condition(status: &SyncStatus) -> (SyncReportState, &str, Option<ErrorSummary>, Vec<String>) {
    let stages = [&status.source, &status.rendering, &status.sync];
    let errors: Vec<String> = stages.iter().flat_map(|stage| texts(&stage.errors)).collect();
    let commit = status.sync.commit.as_str();
    let state = if !errors.is_empty() {
        SyncReportState::Error
    } else if commit.is_empty() || commit != status.source.commit {
        SyncReportState::Pending
    } else {
        SyncReportState::Synced
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

    fn of(status: Value) -> (SyncReportState, String, Vec<String>) {
        let status: SyncStatus = serde_json::from_value(status).expect("a status");
        let report = report(SyncId::root("root-sync"), &SyncSpec::default(), &status, Vec::new());
        (report.state, report.commit, report.errors)
    }

    #[test]
    fn the_first_true_condition_decides() {
        let condition =
            |kind: &str, status: &str| json!({ "type": kind, "status": status, "commit": "abc", "message": "m" });
        let all = ["Stalled", "Reconciling", "Syncing"].map(|kind| condition(kind, "True"));
        assert_eq!(of(json!({ "conditions": all })), (SyncReportState::Stalled, "N/A".into(), vec!["m".into()]));
        assert_eq!(of(json!({ "conditions": all[1..] })), (SyncReportState::Reconciling, "N/A".into(), vec![]));
        assert_eq!(of(json!({ "conditions": all[2..] })), (SyncReportState::Pending, "abc".into(), vec![]));
        assert_eq!(
            of(json!({ "conditions": [condition("Syncing", "False")] })),
            (SyncReportState::Synced, "abc".into(), vec![])
        );
        assert_eq!(of(json!({})), (SyncReportState::Pending, "N/A".into(), vec![]));
    }

    #[test]
    fn only_errors_that_the_condition_refers_to_are_shown() {
        let error = |text: &str| json!({ "code": "2009", "errorMessage": text });
        let status = json!({
            "source": { "commit": "abc", "errors": [error("old")] },
            "sync": { "commit": "abc", "errors": [error("new")] },
            "conditions": [{
                "type": "Syncing", "status": "False", "commit": "abc",
                "errorSourceRefs": ["status.sync.errors"], "errorSummary": { "totalCount": 1 },
            }],
        });
        assert_eq!(of(status), (SyncReportState::Error, "abc".into(), vec!["new".into()]));
    }

    #[test]
    fn without_conditions_the_commits_decide() {
        assert_eq!(of(json!({ "source": { "commit": "a" }, "sync": { "commit": "a" } })).0, SyncReportState::Synced);
        assert_eq!(of(json!({ "source": { "commit": "b" }, "sync": { "commit": "a" } })).0, SyncReportState::Pending);
    }
}
