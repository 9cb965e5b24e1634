//! The instructions of a sync object that this agent carries out.
//!
//! Every field of the spec, and every annotation that Config Sync defines for RootSyncs and RepoSyncs, is used, stands in
//! [`NO_EFFECT`], or is refused (KNV1061). A field that passes in silence could let a sync do what its owner did not write:
//! without its roleRefs a sync has more rights.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::Value;

use super::invalid::{Fault, finding, invalid, unreadable};
use super::{
    API_SERVER_TIMEOUT, Auth, GitSpec, GitVerification, Overrides, RECONCILE_TIMEOUT, RoleRef, SecretRef, SourceType,
    SyncSpec, parse_duration,
};
use crate::compile::SourceFormat;
use crate::model::finding::Finding;
use crate::model::metadata::{SyncId, SyncKind, annotation};
use crate::model::url::is_local;

const OTHER_SOURCE: &str =
    "The agent reads only the block that spec.sourceType names, and it refuses a sourceType other than git.";
const NO_CONTAINERS: &str = "One process serves every sync, so a sync has no containers of its own.";
const OF_CONFIG_SYNC: &str = "Config Sync writes it for its own components.";

/// Fields and annotations that a sync object may set and that change nothing, each with the reason. A field stands for
/// everything below it.
pub const NO_EFFECT: [(&str, &str); 10] = [
    ("spec.oci", OTHER_SOURCE),
    ("spec.helm", OTHER_SOURCE),
    ("spec.override.resources", NO_CONTAINERS),
    ("spec.override.logLevels", NO_CONTAINERS),
    (
        "spec.override.gitSyncDepth",
        "The agent fetches the one commit that it syncs. The history before it changes nothing on the cluster.",
    ),
    ("spec.override.enableShellInRendering", "The agent does not render, so there is no program to restrict."),
    ("configsync.gke.io/requires-rendering", OF_CONFIG_SYNC),
    (annotation::DYNAMIC_SELECTORS, "The agent writes it: it says if the source has dynamic NamespaceSelectors."),
    ("configsync.gke.io/image-to-sync", OF_CONFIG_SYNC),
    ("applyset.kubernetes.io/tooling", OF_CONFIG_SYNC),
];

/// The logins that the agent has.
const SUPPORTED_AUTH: [Auth; 7] =
    [Auth::None, Auth::Token, Auth::CookieFile, Auth::Ssh, Auth::GithubApp, Auth::GceNode, Auth::GcpServiceAccount];

/// The instructions of a sync object that have an effect, with defaults filled in.
///
/// The annotation `configsync.gke.io/approve-prune` is not part of it: an approval takes effect while the sync runs, and also
/// while the agent refuses a newer spec.
#[derive(Clone, Debug, PartialEq)]
pub struct SupportedSpec {
    /// The repository, without the fields that have no effect.
    pub git: GitSpec,
    /// Layout of the repository. A RepoSync is always unstructured.
    pub format: SourceFormat,
    /// `true` if the ResourceGroup holds the status of every object.
    pub resource_status: bool,
    /// `true` if Namespaces that the source uses and does not declare are created.
    pub implicit_namespaces: bool,
    /// Time that an object waits for another one to become ready before this is reported. The wait goes on.
    pub reconcile_timeout: Duration,
    /// Time that one request to the API server for an object of the sync may take.
    pub api_server_timeout: Duration,
    /// The roles that a RootSync acts with; empty for an administrator, and for a RepoSync.
    pub role_refs: Vec<RoleRef>,
}

impl Default for SupportedSpec {
    /// The instructions of a sync object that says nothing.
    fn default() -> Self {
        Self {
            git: GitSpec::default(),
            format: SourceFormat::Unstructured,
            resource_status: true,
            implicit_namespaces: true,
            reconcile_timeout: RECONCILE_TIMEOUT,
            api_server_timeout: API_SERVER_TIMEOUT,
            role_refs: Vec::new(),
        }
    }
}

/// The answer to a sync object that names a path or a `file:` URL. The agent would read its own disk, which
/// the authors of sync objects need not be allowed to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalRepositories {
    /// The sync is refused.
    #[default]
    Refused,
    /// The repository is read.
    Allowed,
}

impl LocalRepositories {
    /// `true` when a sync object may name this repository.
    pub fn allow(self, url: &str) -> bool {
        self == Self::Allowed || !is_local(url)
    }
}

/// Reads the instructions of a sync object with these annotations and this `spec`.
///
/// # Errors
/// KNV1061 if the spec cannot be read, breaks a rule of Config Sync, or asks for something that this agent does not do.
pub fn supported(
    id: &SyncId,
    annotations: &BTreeMap<String, String>,
    spec: &Value,
    local: LocalRepositories,
) -> Result<SupportedSpec, Finding> {
    let spec = SyncSpec::deserialize(spec).map_err(|error| unreadable(id, &error))?;
    match invalid(id, annotations, &spec) {
        Some(finding) => Err(finding),
        None => instructions(id.kind, spec)
            .and_then(|spec| repository(&spec.git.repo, local).map(|()| spec))
            .and_then(|spec| verification_was_dropped(annotations, &spec.git).map(|()| spec))
            .map_err(|fault| finding(id, fault)),
    }
}

// The patterns below name every field and have no `..`: a new field does not compile until it is used, refused, or put into
// `NO_EFFECT`.

fn instructions(kind: SyncKind, spec: SyncSpec) -> Result<SupportedSpec, Fault> {
    let SyncSpec { source_format, source_type, git, oci: _, helm: _, overrides } = spec;
    let other_source = |name| refuse_if(true, &format!("spec.sourceType: {name}"), "Sync from a git repository.");
    match source_type {
        SourceType::Git => {}
        SourceType::Oci => other_source("oci")?,
        SourceType::Helm => other_source("helm")?,
    }
    let git = git_instructions(git.ok_or_else(|| ("spec.git is missing".to_owned(), "Add it."))?)?;
    let Overrides {
        resources: _,
        git_sync_depth: _,
        status_mode,
        reconcile_timeout,
        api_server_timeout,
        enable_shell_in_rendering: _,
        log_levels: _,
        namespace_strategy,
        role_refs,
    } = overrides.unwrap_or_default();
    let tenant = kind == SyncKind::RepoSync;
    refuse_if(
        tenant && !role_refs.is_empty(),
        "spec.override.roleRefs",
        "A RepoSync has the rights that its account was given.",
    )?;
    refuse_if(
        tenant && git.auth == Auth::GceNode,
        "spec.git.auth: gcenode",
        "It is the identity of the node and not of a tenant: use gcpserviceaccount in a RepoSync.",
    )?;
    Ok(SupportedSpec {
        git,
        format: match kind {
            SyncKind::RootSync if source_format != "unstructured" => SourceFormat::Hierarchy,
            SyncKind::RootSync | SyncKind::RepoSync => SourceFormat::Unstructured,
        },
        resource_status: status_mode != "disabled",
        implicit_namespaces: namespace_strategy != "explicit",
        reconcile_timeout: timeout(&reconcile_timeout, RECONCILE_TIMEOUT),
        api_server_timeout: timeout(&api_server_timeout, API_SERVER_TIMEOUT),
        role_refs,
    })
}

fn git_instructions(git: GitSpec) -> Result<GitSpec, Fault> {
    let GitSpec {
        repo,
        branch,
        revision,
        dir,
        period,
        auth,
        gcp_service_account_email,
        proxy,
        secret_ref,
        no_ssl_verify,
        ca_cert_secret_ref,
        verify,
    } = git;
    if let Some(GitVerification { mode, secret_ref }) = &verify {
        refuse_if(!["", "HEAD"].contains(&mode.as_str()), &format!("spec.git.verify.mode: {mode}"), "Use mode HEAD.")?;
        if secret_ref.name.is_empty() {
            let message = "spec.git.verify.secretRef is missing".to_owned();
            return Err((message, "Name the Secret with the key allowed_signers, or with OpenPGP keys."));
        }
    }
    refuse_if(
        !SUPPORTED_AUTH.contains(&auth),
        &format!("spec.git.auth: {}", auth.name()),
        "Use another login, such as auth: gcenode, token or ssh.",
    )?;
    let named = |secret: Option<SecretRef>| secret.filter(|secret| !secret.name.is_empty());
    let (secret_ref, ca_cert_secret_ref) = (named(secret_ref), named(ca_cert_secret_ref));
    Ok(GitSpec {
        repo,
        branch,
        revision,
        dir,
        period,
        auth,
        gcp_service_account_email,
        proxy,
        secret_ref,
        no_ssl_verify,
        ca_cert_secret_ref,
        verify,
    })
}

/// An older CRD does not have the field, and the API server drops it without a word: then commits would not be verified. kubectl
/// leaves behind what was applied.
fn verification_was_dropped(annotations: &BTreeMap<String, String>, git: &GitSpec) -> Result<(), Fault> {
    let applied = annotations.get(annotation::LAST_APPLIED).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let asked =
        applied.is_some_and(|applied| applied.pointer("/spec/git/verify").is_some_and(|verify| !verify.is_null()));
    match asked && git.verify.is_none() {
        true => Err((
            "spec.git.verify was applied, and the object does not have it: the CRD in the cluster is older".to_owned(),
            "Install the CRDs of this version, as nomos install does, and apply the object again, with the field or without it.",
        )),
        false => Ok(()),
    }
}

fn repository(url: &str, local: LocalRepositories) -> Result<(), Fault> {
    if local.allow(url) {
        return Ok(());
    }
    let message = "spec.git.repo is a path or a file URL, which would be read from the disk of the agent";
    Err((
        message.to_owned(),
        "Use the https URL of the repository. If everybody who writes sync objects may read the disk of the agent, start it \
         with --allow-local-repositories.",
    ))
}

/// Empty and zero stand for the default. A text that is no duration was refused before.
fn timeout(text: &str, default: Duration) -> Duration {
    parse_duration(text).ok().filter(|timeout| !timeout.is_zero()).unwrap_or(default)
}

fn refuse_if(asked_for: bool, what: &str, hint: &'static str) -> Result<(), Fault> {
    if asked_for { Err((format!("{what} is not supported by this agent"), hint)) } else { Ok(()) }
}

#[cfg(all(test, feature = "cluster"))]
mod tests;
