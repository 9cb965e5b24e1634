//! The spec that RootSync and RepoSync share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GitSpec, HelmSpec, OciSpec, Overrides, is_default};

/// Kind of source of truth.
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

/// What to sync from where. The fields that only a RootSync has are said to be so; the schema of RepoSync lacks them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncSpec {
    /// How the source is laid out: hierarchy (default) or unstructured.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(regex(pattern = "^(hierarchy|unstructured|)$"))]
    pub source_format: String,
    /// Kind of source: git (default), oci or helm.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = "^(git|oci|helm)$"))]
    pub source_type: SourceType,
    /// A git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSpec>,
    /// An OCI image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSpec>,
    /// A Helm chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<HelmSpec>,
    /// Settings of the agent for this sync.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Overrides>,
}

/// The one source that a spec's `sourceType` selects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source<'a> {
    /// A git repository.
    Git(&'a GitSpec),
    /// An OCI image.
    Oci(&'a OciSpec),
    /// A Helm chart.
    Helm(&'a HelmSpec),
}

impl SyncSpec {
    /// The source that counts; `None` if its block is missing (KNV1061).
    pub fn source(&self) -> Option<Source<'_>> {
        match self.source_type {
            SourceType::Git => self.git.as_ref().map(Source::Git),
            SourceType::Oci => self.oci.as_ref().map(Source::Oci),
            SourceType::Helm => self.helm.as_ref().map(Source::Helm),
        }
    }

    /// Whether a RootSync's source is unstructured; a RepoSync's always is.
    pub fn is_unstructured(&self) -> bool {
        self.source_format == "unstructured"
    }

    /// The overrides, or those of an empty block.
    pub fn overrides(&self) -> Overrides {
        self.overrides.clone().unwrap_or_default()
    }
}

impl Source<'_> {
    /// Repository, directory and version in one line, as `nomos status` shows it.
    pub fn line(&self) -> String {
        match self {
            Self::Git(git) => format!("{}@{}", with_directory(&git.repo, &git.directory()), git.reference()),
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
        assert_eq!(Source::Git(&git).line(), "https://git.example/x/a@master");
        let helm = HelmSpec { repo: "https://charts.example".into(), chart: "web".into(), ..HelmSpec::default() };
        assert_eq!(Source::Helm(&helm).line(), "https://charts.example/web:latest");
    }

    #[test]
    fn an_empty_spec_is_a_git_sync_without_its_block() {
        let spec: SyncSpec = serde_json::from_str("{}").expect("every field has a default");
        assert_eq!((spec.source_type, spec.source()), (SourceType::Git, None));
    }
}
