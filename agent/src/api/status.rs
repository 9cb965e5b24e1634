//! The status of RootSync and RepoSync: what other tools and dashboards read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Time, is_default};
use crate::model::finding::{Finding, text};

/// Status of a sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    /// Name of the process that serves the sync.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reconciler: String,
    /// Last commit that was synced without any error.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_synced_commit: String,
    /// Reading the source.
    #[serde(default)]
    #[schemars(with = "Option<Stage>")]
    pub source: Stage,
    /// Rendering the source.
    #[serde(default)]
    #[schemars(with = "Option<Stage>")]
    pub rendering: Stage,
    /// Applying it to the cluster.
    #[serde(default)]
    #[schemars(with = "Option<Stage>")]
    pub sync: Stage,
    /// Latest observations.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: Vec<SyncCondition>,
}

impl SyncStatus {
    /// The condition of a type.
    pub fn condition(&self, kind: &str) -> Option<&SyncCondition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// Status of one of the stages source, rendering and sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// The git repository, for git sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_status: Option<GitStatus>,
    /// The image, for OCI sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci_status: Option<OciStatus>,
    /// The chart, for Helm sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_status: Option<HelmStatus>,
    /// Commit, image digest or chart version.
    #[serde(default, skip_serializing_if = "is_default")]
    pub commit: String,
    /// When this was last written.
    #[serde(default)]
    pub last_update: Option<Time>,
    /// How rendering went; rendering only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// Errors of this stage.
    #[serde(default, skip_serializing_if = "is_default")]
    pub errors: Vec<SyncError>,
    /// How many errors there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_summary: Option<ErrorSummary>,
}

/// A git source, with defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitStatus {
    /// URL.
    pub repo: String,
    /// Revision.
    pub revision: String,
    /// Branch.
    pub branch: String,
    /// Directory, relative to the root of the repository; `.` for the root.
    pub dir: String,
}

/// An OCI source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OciStatus {
    /// Image.
    pub image: String,
    /// Directory, relative to the root of the image; `.` for the root.
    pub dir: String,
}

/// A Helm source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HelmStatus {
    /// URL of the repository.
    pub repo: String,
    /// Version of the chart.
    pub version: String,
    /// Name of the chart.
    pub chart: String,
}

/// One error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncError {
    /// Digits of the KNV code.
    pub code: String,
    /// The whole text.
    pub error_message: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "is_default")]
    pub error_resources: Vec<ErrorResource>,
}

impl SyncError {
    /// A finding as a status shows it.
    pub fn of(finding: &Finding) -> Self {
        Self {
            code: finding.code.number().to_string(),
            error_message: text(finding),
            error_resources: finding.places.iter().map(ErrorResource::of).collect(),
        }
    }
}

/// A file or an object that an error is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorResource {
    /// Path of the file, relative to the sync directory.
    #[serde(default, skip_serializing_if = "is_default")]
    pub source_path: String,
    /// Name of the object.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: String,
    /// Namespace of the object.
    #[serde(default, skip_serializing_if = "is_default")]
    pub namespace: String,
    /// Group, version and kind of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gvk: Option<Gvk>,
}

impl ErrorResource {
    fn of(place: &crate::model::finding::Place) -> Self {
        let source_path = place.location.as_ref().map_or_else(String::new, |location| location.path.clone());
        match &place.resource {
            None => Self { source_path, ..Self::default() },
            Some(resource) => Self {
                source_path,
                name: resource.name.clone(),
                namespace: resource.namespace.clone(),
                gvk: Some(Gvk {
                    group: resource.group.clone(),
                    version: resource.version.clone(),
                    kind: resource.kind.clone(),
                }),
            },
        }
    }
}

/// Group, version and kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gvk {
    /// API group, empty for the core group.
    pub group: String,
    /// API version without its group.
    pub version: String,
    /// Kind.
    pub kind: String,
}

/// How many errors there are, and how many of them are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorSummary {
    /// All errors.
    #[serde(default, skip_serializing_if = "is_default")]
    pub total_count: i64,
    /// Whether some are left out of the list.
    #[serde(default, skip_serializing_if = "is_default")]
    pub truncated: bool,
    /// Errors in the list.
    #[serde(default, skip_serializing_if = "is_default")]
    pub error_count_after_truncation: i64,
}

impl ErrorSummary {
    /// The summary of a list that holds all errors.
    pub fn complete(count: usize) -> Self {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        Self { total_count: count, truncated: false, error_count_after_truncation: count }
    }
}

/// One observation about a sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncCondition {
    /// Reconciling, Stalled, Syncing, ReconcilerFinalizing or ReconcilerFinalizerFailure.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// When any field last changed.
    #[serde(default)]
    pub last_update_time: Option<Time>,
    /// When the status last changed.
    #[serde(default)]
    pub last_transition_time: Option<Time>,
    /// Why, in one word.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reason: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// Commit, image digest or chart version that it is about.
    #[serde(default, skip_serializing_if = "is_default")]
    pub commit: String,
    /// Errors, where errorSourceRefs does not name them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub errors: Vec<SyncError>,
    /// Where the errors are listed: status.source.errors and the like.
    #[serde(default, skip_serializing_if = "is_default")]
    pub error_source_refs: Vec<String>,
    /// How many errors there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_summary: Option<ErrorSummary>,
}

impl SyncCondition {
    /// Whether the status is `True`.
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::{Code, Location, Place};

    #[test]
    fn an_empty_status_is_written_as_go_writes_it() {
        let text = serde_json::to_string(&SyncStatus::default()).expect("plain data");
        assert_eq!(
            text,
            r#"{"source":{"lastUpdate":null},"rendering":{"lastUpdate":null},"sync":{"lastUpdate":null}}"#
        );
        assert_eq!(serde_json::from_str::<SyncStatus>("{}").expect("all optional"), SyncStatus::default());
    }

    #[test]
    fn a_path_error_names_only_its_path() {
        let location = Location { path: "a.yaml".into(), line: 3, column: 1 };
        let finding = Finding::new(Code::Path, "bad").at(Place { location: Some(location), resource: None });
        let error = serde_json::to_value(SyncError::of(&finding)).expect("plain data");
        assert_eq!(error["code"], "2001");
        assert_eq!(error["errorResources"], serde_json::json!([{ "sourcePath": "a.yaml" }]));
    }
}
