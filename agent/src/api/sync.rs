//! The spec that RootSync and RepoSync share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GitSpec, HelmSpec, OciSpec, Overrides, is_default};
use crate::model::url::shown;

/// The kind of source that a sync reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceType {
    /// A git repository.
    #[default]
    Git,
    /// An OCI image.
    Oci,
    /// A Helm chart.
    Helm,
}

/// The source of a sync, and how its objects are applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncSpec {
    /// Layout of the source: hierarchy, where directories have a meaning, or unstructured. Default: hierarchy.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(regex(pattern = "^(hierarchy|unstructured|)$"))]
    pub source_format: String,
    /// Kind of the source: git, oci or helm. Default: git. The agent supports git; it refuses a sync of another kind
    /// (KNV1061).
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = "^(git|oci|helm)$"))]
    pub source_type: SourceType,
    /// The git repository to sync from. Required for sourceType git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSpec>,
    /// The OCI image to sync from. It has no effect unless sourceType is oci.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSpec>,
    /// The Helm chart to sync from. It has no effect unless sourceType is helm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<HelmSpec>,
    /// Settings of this sync that differ from the defaults.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Overrides>,
}

/// The source block that `sourceType` names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SyncSource<'a> {
    /// A git repository.
    Git(&'a GitSpec),
    /// An OCI image.
    Oci(&'a OciSpec),
    /// A Helm chart.
    Helm(&'a HelmSpec),
}

impl SyncSpec {
    /// The source block that `sourceType` names; `None` if the spec does not have it (KNV1061).
    pub fn source(&self) -> Option<SyncSource<'_>> {
        match self.source_type {
            SourceType::Git => self.git.as_ref().map(SyncSource::Git),
            SourceType::Oci => self.oci.as_ref().map(SyncSource::Oci),
            SourceType::Helm => self.helm.as_ref().map(SyncSource::Helm),
        }
    }
}

impl SyncSource<'_> {
    /// Repository, directory and version in one line, as `nomos status` prints them: without credentials.
    pub fn line(&self) -> String {
        match self {
            Self::Git(git) => format!("{}@{}", with_directory(&shown(&git.repo), &git.directory()), git.reference()),
            Self::Oci(oci) => with_directory(&oci.image, &oci.directory()),
            Self::Helm(helm) => {
                let status = helm.status();
                format!("{}/{}:{}", status.repo.trim_end_matches('/'), status.chart, status.version)
            }
        }
    }
}

fn with_directory(base: &str, directory: &str) -> String {
    let base = base.strip_suffix('/').unwrap_or(base);
    if directory == "." { base.to_owned() } else { format!("{base}/{directory}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_in_one_line() {
        let git = GitSpec { repo: "https://git.example/x/".into(), dir: "/a/".into(), ..GitSpec::default() };
        assert_eq!(SyncSource::Git(&git).line(), "https://git.example/x/a@master");
        let git = GitSpec { repo: "https://t0ken@git.example/x".into(), ..GitSpec::default() };
        assert_eq!(SyncSource::Git(&git).line(), "https://git.example/x@master");
        let helm =
            HelmSpec { repo: "https://user:t0ken@charts.example".into(), chart: "web".into(), ..HelmSpec::default() };
        assert_eq!(SyncSource::Helm(&helm).line(), "https://charts.example/web:latest");
    }

    #[test]
    fn an_empty_spec_is_a_git_sync_without_its_block() {
        let spec: SyncSpec = serde_json::from_str("{}").expect("every field has a default");
        assert_eq!((spec.source_type, spec.source()), (SourceType::Git, None));
    }
}
