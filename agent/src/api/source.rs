//! The sources that a sync can read: `spec.git`, `spec.oci`, `spec.helm`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{GitStatus, HelmStatus, OciStatus, is_default, parse_duration};
use crate::model::url::shown;

/// Default time between two polls of a git repository or an OCI registry.
const PERIOD: Duration = Duration::from_secs(15);
/// Shortest time between two polls.
pub const SHORTEST_PERIOD: Duration = Duration::from_secs(1);
/// Default time between two polls of a Helm repository, which seldom has a new version.
const HELM_PERIOD: Duration = Duration::from_secs(3600);

/// The login to a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// An SSH key in the Secret's `ssh`.
    Ssh,
    /// A git cookie file in the Secret's `cookie_file`.
    CookieFile,
    /// The service account of the Google Compute Engine node.
    GceNode,
    /// A Google service account by Workload Identity.
    GcpServiceAccount,
    /// A Kubernetes service account by Workload Identity.
    K8sServiceAccount,
    /// User name and token in the Secret's `username` and `token`.
    Token,
    /// A GitHub App whose key is in the Secret.
    GithubApp,
    /// No login.
    #[default]
    None,
}

impl Auth {
    /// The value as it is written in a spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::CookieFile => "cookiefile",
            Self::GceNode => "gcenode",
            Self::GcpServiceAccount => "gcpserviceaccount",
            Self::K8sServiceAccount => "k8sserviceaccount",
            Self::Token => "token",
            Self::GithubApp => "githubapp",
            Self::None => "none",
        }
    }

    /// `true` if the login reads a Secret, which `secretRef` must name.
    pub fn needs_secret(self) -> bool {
        matches!(self, Self::Ssh | Self::CookieFile | Self::Token | Self::GithubApp)
    }
}

/// The name of a Secret in the namespace of the sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Name of the Secret.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: String,
}

/// A git repository.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSpec {
    /// URL of the git repository. Required.
    pub repo: String,
    /// Branch to sync. It has no effect if revision is set and is not HEAD. Default: master.
    #[serde(default, skip_serializing_if = "is_default")]
    pub branch: String,
    /// Branch, tag, ref or full commit to sync. HEAD stands for the branch. Default: HEAD.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revision: String,
    /// Directory of the repository to sync. Default: its root.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dir: String,
    /// Time between two polls of the repository, such as 15s or 1m30s; 0s stands for the default, and less than 1s for 1s.
    /// Default: 15s.
    #[serde(default, skip_serializing_if = "is_default")]
    pub period: String,
    /// Login to the repository. Required.
    #[schemars(with = "String", extend("enum" = ["ssh", "cookiefile", "gcenode", "gcpserviceaccount", "token", "githubapp", "none"]))]
    pub auth: Auth,
    /// Google service account for auth gcpserviceaccount, as which the ServiceAccount of the sync may act: root-reconciler for
    /// root-sync, else root-reconciler-NAME. It has no effect with another auth.
    #[serde(default, rename = "gcpServiceAccountEmail", skip_serializing_if = "is_default")]
    pub gcp_service_account_email: String,
    /// URL of a proxy for auth none, cookiefile, token and githubapp. The key https_proxy of the Secret in secretRef takes
    /// precedence; a proxy with a password belongs there. Default: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub proxy: String,
    /// Secret in the namespace of the sync, with the credentials for auth ssh (key ssh, and known_hosts), cookiefile (key
    /// cookie_file), token (keys username and token) and githubapp. A sync that sets it with another auth is refused (KNV1061).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// True to accept any certificate of the git server, so that others may read the credentials and change the commits. Default:
    /// false.
    #[serde(default, rename = "noSSLVerify", skip_serializing_if = "is_default")]
    pub no_ssl_verify: bool,
    /// Secret in the namespace of the sync whose key cert holds certificate authorities for the git server, in PEM. They are
    /// trusted beside those of the system.
    #[serde(default, rename = "caCertSecretRef", skip_serializing_if = "Option::is_none")]
    pub ca_cert_secret_ref: Option<SecretRef>,
    /// Signatures that commits must have. A commit without one is not applied, and the state before it stays. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<GitVerification>,
}

/// The signatures that commits must have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitVerification {
    /// HEAD, for the commit that is synced. Default: HEAD.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("enum" = ["HEAD"]))]
    pub mode: String,
    /// Secret in the namespace of the sync with the keys that may sign commits. The key allowed_signers holds ssh keys, as ssh-keygen
    /// reads them: a line with a name and a public key for each. Each key that ends in .asc holds OpenPGP keys, as gpg --export
    /// --armor writes them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secret_ref: SecretRef,
}

impl GitSpec {
    /// The ref or commit to fetch: the revision unless it is empty or `HEAD`, else the branch, else `master`.
    pub fn reference(&self) -> &str {
        match (self.revision.as_str(), self.branch.as_str()) {
            ("" | "HEAD", "") => "master",
            ("" | "HEAD", branch) => branch,
            (revision, _) => revision,
        }
    }

    /// The directory to sync as a clean path relative to the root of the repository, which is `.`.
    pub fn directory(&self) -> String {
        clean(&self.dir)
    }

    /// Time between two polls. The default stands in for a period that is zero or is no duration; a shorter one than
    /// [`SHORTEST_PERIOD`] is raised.
    pub fn period(&self) -> Duration {
        period(&self.period, PERIOD)
    }

    /// `true` if the period is shorter than [`SHORTEST_PERIOD`].
    pub fn period_is_raised(&self) -> bool {
        parse_duration(&self.period).is_ok_and(|period| !period.is_zero() && period < SHORTEST_PERIOD)
    }

    /// The source as the status of a sync shows it: with defaults filled in, and without credentials.
    pub fn status(&self) -> GitStatus {
        GitStatus {
            repo: shown(&self.repo).into_owned(),
            revision: or(&self.revision, "HEAD"),
            branch: or(&self.branch, "master"),
            dir: self.directory(),
        }
    }
}

/// An OCI image that holds configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OciSpec {
    /// Image with a tag or digest. Required. Default tag: latest.
    pub image: String,
    /// Directory of the image to sync. Default: its root.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dir: String,
    /// Time between two polls of the registry, such as 15s or 1m30s. Default: 15s.
    #[serde(default, skip_serializing_if = "is_default")]
    pub period: String,
    /// Login to the registry. Required.
    #[schemars(with = "String", extend("enum" = ["gcenode", "gcpserviceaccount", "k8sserviceaccount", "none"]))]
    pub auth: Auth,
    /// Google service account for auth gcpserviceaccount.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gcp_service_account_email: String,
    /// Secret whose key cert holds the certificate authority of the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert_secret_ref: Option<SecretRef>,
}

impl OciSpec {
    /// The directory to sync as a clean path relative to the root of the image, which is `.`.
    pub fn directory(&self) -> String {
        clean(&self.dir)
    }

    /// Time between two polls. The default stands in for a period that is zero or is no duration.
    pub fn period(&self) -> Duration {
        period(&self.period, PERIOD)
    }

    /// The source as the status of a sync shows it.
    pub fn status(&self) -> OciStatus {
        OciStatus { image: self.image.clone(), dir: self.directory() }
    }
}

/// A Helm chart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HelmSpec {
    /// URL of the Helm repository. Required.
    pub repo: String,
    /// Name of the chart. Required.
    pub chart: String,
    /// Version of the chart, a range of versions, or latest. Default: latest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub version: String,
    /// Name of the Helm release. Default: the name of the chart.
    #[serde(default, skip_serializing_if = "is_default")]
    pub release_name: String,
    /// Values for the chart. They take precedence over the values of valuesFileRefs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub values: Option<Value>,
    /// ConfigMaps with values for the chart. A later one takes precedence over an earlier one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub values_file_refs: Vec<ValuesFileRef>,
    /// True to apply the CRDs of the chart too. Default: false.
    #[serde(default, rename = "includeCRDs", skip_serializing_if = "is_default")]
    pub include_crds: bool,
    /// Time between two polls for a new version, such as 30m. Default: 1h.
    #[serde(default, skip_serializing_if = "is_default")]
    pub period: String,
    /// Login to the Helm repository. Required.
    #[schemars(with = "String", extend("enum" = ["none", "gcpserviceaccount", "k8sserviceaccount", "token", "gcenode"]))]
    pub auth: Auth,
    /// Google service account for auth gcpserviceaccount.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gcp_service_account_email: String,
    /// Secret with the credentials for auth token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Secret whose key cert holds the certificate authority of the Helm repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert_secret_ref: Option<SecretRef>,
    /// Namespace of the Helm release, which templates can read. Default: default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub namespace: String,
    /// Namespace of every object of the chart that sets none. It cannot be set together with namespace.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deploy_namespace: String,
}

impl HelmSpec {
    /// Time between two polls. The default stands in for a period that is zero or is no duration.
    pub fn period(&self) -> Duration {
        period(&self.period, HELM_PERIOD)
    }

    /// The source as the status of a sync shows it: without credentials.
    pub fn status(&self) -> HelmStatus {
        let repo = shown(&self.repo).into_owned();
        HelmStatus { repo, version: or(&self.version, "latest"), chart: self.chart.clone() }
    }
}

/// An immutable ConfigMap in the namespace of the sync, with Helm values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValuesFileRef {
    /// Name of the ConfigMap.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: String,
    /// Key in the data of the ConfigMap. Default: values.yaml.
    #[serde(default, skip_serializing_if = "is_default")]
    pub data_key: String,
}

/// The path without empty and `.` elements. An element `..` removes the one before it and never leaves the root.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

fn period(text: &str, default: Duration) -> Duration {
    let asked = parse_duration(text).ok().filter(|period| !period.is_zero());
    asked.unwrap_or(default).max(SHORTEST_PERIOD)
}

fn or(text: &str, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text.to_owned() }
}

/// Schema of a map with any content.
pub(super) fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true, "nullable": true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_wins_over_branch_unless_it_is_head() {
        let reference = |revision: &str, branch: &str| {
            GitSpec { revision: revision.into(), branch: branch.into(), ..GitSpec::default() }.reference().to_owned()
        };
        assert_eq!(reference("", ""), "master");
        assert_eq!(reference("HEAD", "main"), "main");
        assert_eq!(reference("v1", "main"), "v1");
    }

    #[test]
    fn directories_are_relative_and_clean() {
        for (dir, cleaned) in [("", "."), ("/", "."), ("/a//b/", "a/b"), ("./a/../b", "b"), ("../x", "x")] {
            assert_eq!(clean(dir), cleaned, "{dir}");
        }
    }

    #[test]
    fn periods_have_defaults() {
        let every = |period: &str| GitSpec { period: period.into(), ..GitSpec::default() }.period().as_secs();
        assert_eq!((every(""), every("0s"), every("soon"), every("1m30s")), (15, 15, 15, 90));
        assert_eq!(HelmSpec::default().period().as_secs(), 3600);
        let spec = |period: &str| GitSpec { period: period.into(), ..GitSpec::default() };
        assert_eq!((every("1ns"), spec("999ms").period_is_raised()), (1, true));
        assert_eq!(["", "0", "soon", "1s", "15s"].map(|period| spec(period).period_is_raised()), [false; 5]);
    }
}
