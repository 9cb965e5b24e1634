//! The status of RootSync and RepoSync, which other tools and dashboards read.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Time, is_default};
use crate::model::finding::{Finding, text};

/// Status of a sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// Generation of the spec that the status describes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    /// Name of the process that serves the sync.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reconciler: String,
    /// Last commit that was synced without an error.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_synced_commit: String,
    /// Status of reading the source.
    #[serde(default)]
    #[schemars(with = "Option<StageStatus>")]
    pub source: StageStatus,
    /// Status of rendering the source.
    #[serde(default)]
    #[schemars(with = "Option<StageStatus>")]
    pub rendering: StageStatus,
    /// Status of applying the commit to the cluster.
    #[serde(default)]
    #[schemars(with = "Option<StageStatus>")]
    pub sync: StageStatus,
    /// Conditions of the sync.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: Vec<SyncCondition>,
    /// The last commits that came in force, the newest last.
    #[serde(default, skip_serializing_if = "is_default")]
    pub history: Vec<PastCommit>,
}

/// A commit that was in force, or is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastCommit {
    /// The commit.
    pub commit: String,
    /// The time at which it came in force. It was in force until the next one came.
    pub since: Time,
    /// The time at which all of it was applied without an error; none if that did not happen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced: Option<Time>,
}

impl SyncStatus {
    /// The condition of the type `kind`.
    pub fn condition(&self, kind: &str) -> Option<&SyncCondition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// Status of one stage of a sync: source, rendering or sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
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
    /// Time of the last change of this status.
    #[serde(default)]
    pub last_update: Option<Time>,
    /// Result of rendering. The other stages leave it out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// Errors of this stage.
    #[serde(default, skip_serializing_if = "is_default")]
    pub errors: Vec<SyncError>,
    /// Number of errors.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub error_summary: Option<ErrorSummary>,
}

/// The summary of a stage. Server-side apply leaves `null` where it takes the last count out of the map: that is no error too.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<ErrorSummary>, D::Error> {
    Ok(Some(Option::deserialize(value)?.unwrap_or_default()))
}

/// A git source with defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitStatus {
    /// URL.
    pub repo: String,
    /// Revision.
    pub revision: String,
    /// Branch.
    pub branch: String,
    /// Directory relative to the root of the repository, which is `.`.
    pub dir: String,
}

/// An OCI source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OciStatus {
    /// Image.
    pub image: String,
    /// Directory relative to the root of the image, which is `.`.
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
    /// KNV code without its letters, such as 1061.
    pub code: String,
    /// Message, hint and places as text.
    pub error_message: String,
    /// Files and objects that the error names.
    #[serde(default, skip_serializing_if = "is_default")]
    pub error_resources: Vec<ErrorResource>,
}

impl SyncError {
    /// The error that shows a finding.
    pub fn of(finding: &Finding) -> Self {
        Self {
            code: finding.code.number().to_string(),
            error_message: text(finding),
            error_resources: finding.places.iter().map(ErrorResource::of).collect(),
        }
    }
}

/// A file or an object that an error names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorResource {
    /// Path of the file relative to the sync directory.
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

/// Number of errors, in all and in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorSummary {
    /// Number of errors.
    #[serde(default, skip_serializing_if = "is_default")]
    pub total_count: i64,
    /// True if the list leaves errors out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub truncated: bool,
    /// Number of errors in the list.
    #[serde(default, skip_serializing_if = "is_default")]
    pub error_count_after_truncation: i64,
}

impl ErrorSummary {
    /// The summary of a list that holds all `count` errors.
    pub fn complete(count: usize) -> Self {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        Self { total_count: count, truncated: false, error_count_after_truncation: count }
    }
}

/// A condition of a sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncCondition {
    /// Reconciling, Stalled, Syncing, ReconcilerFinalizing or ReconcilerFinalizerFailure.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// Time of the last change of any field.
    #[serde(default)]
    pub last_update_time: Option<Time>,
    /// Time of the last change of the status.
    #[serde(default)]
    pub last_transition_time: Option<Time>,
    /// Reason in one word.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reason: String,
    /// Reason as text.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// Commit, image digest or chart version that the condition describes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub commit: String,
    /// Errors that are in no list which errorSourceRefs names.
    #[serde(default, skip_serializing_if = "is_default")]
    pub errors: Vec<SyncError>,
    /// Fields that list the errors, such as status.source.errors.
    #[serde(default, skip_serializing_if = "is_default")]
    pub error_source_refs: Vec<String>,
    /// Number of errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_summary: Option<ErrorSummary>,
}

impl SyncCondition {
    /// `true` if the status is `True`.
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::{Code, Location, Place};

    #[test]
    fn a_summary_that_an_apply_emptied_counts_no_errors() {
        let stage: StageStatus = serde_json::from_str(r#"{"errorSummary": null}"#).expect("a stage");
        assert_eq!(stage.error_summary, Some(ErrorSummary::complete(0)));
    }

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
