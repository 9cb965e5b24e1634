//! The rules that a RootSync or RepoSync has to meet, as far as they can be checked on the object alone (KNV1061).

use std::collections::BTreeMap;

use super::{Auth, GitSpec, HelmSpec, OciSpec, Overrides, SourceType, SyncSource, SyncSpec, parse_duration};
use crate::model::finding::{Code, Finding, Resource};
use crate::model::metadata::{CONTROLLER_NAMESPACE, SyncId, SyncKind, annotation};
use crate::model::url::shown_in;

const MAX_ROOT_SYNC_NAME: usize = 38;
const MAX_REPO_SYNC_NAMES: usize = 45;

const GIT_AUTH: [Auth; 7] =
    [Auth::Ssh, Auth::CookieFile, Auth::GceNode, Auth::Token, Auth::None, Auth::GcpServiceAccount, Auth::GithubApp];
const OCI_AUTH: [Auth; 4] = [Auth::GceNode, Auth::GcpServiceAccount, Auth::K8sServiceAccount, Auth::None];
const HELM_AUTH: [Auth; 5] = [Auth::GceNode, Auth::GcpServiceAccount, Auth::K8sServiceAccount, Auth::None, Auth::Token];
const PROXY_AUTH: [Auth; 4] = [Auth::None, Auth::CookieFile, Auth::Token, Auth::GithubApp];

/// A message without its full stop, and a hint.
pub(super) type Fault = (String, &'static str);

/// The first broken rule: of the name, then of the annotations, the source and the overrides. `None` if all are met.
pub(super) fn invalid(id: &SyncId, annotations: &BTreeMap<String, String>, spec: &SyncSpec) -> Option<Finding> {
    let fault = name(id)
        .and_then(|()| deletion(annotations))
        .and_then(|()| source(spec))
        .and_then(|()| spec.overrides.as_ref().map_or(Ok(()), overrides))
        .err()?;
    Some(finding(id, fault))
}

/// The finding KNV1061 about a sync object.
pub(super) fn finding(id: &SyncId, (message, hint): Fault) -> Finding {
    Finding::new(Code::InvalidSync, format!("{message}.")).hint(hint).about(sync_resource(id))
}

/// The finding about a spec without the form of [`SyncSpec`]: the CRD in the cluster is of another version.
pub(super) fn unreadable(id: &SyncId, reason: &serde_json::Error) -> Finding {
    // It may quote a URL that stands in the place of another field.
    let reason = reason.to_string();
    Finding::new(Code::InvalidSync, format!("The spec cannot be read: {}.", shown_in(&reason)))
        .hint("Correct it, or install the CRDs and the agent of one version.")
        .about(sync_resource(id))
}

/// The resource of a sync object.
pub(crate) fn sync_resource(id: &SyncId) -> Resource {
    Resource {
        group: "configsync.gke.io".to_owned(),
        version: "v1beta1".to_owned(),
        kind: id.kind.to_string(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
    }
}

fn name(id: &SyncId) -> Result<(), Fault> {
    match id.kind {
        SyncKind::RootSync => {
            check(id.namespace == CONTROLLER_NAMESPACE, || {
                (
                    format!(
                        "A RootSync must be in the namespace {CONTROLLER_NAMESPACE}; this one is in {}",
                        id.namespace
                    ),
                    "Move it there, or use a RepoSync for one namespace.",
                )
            })?;
            check(id.name.len() <= MAX_ROOT_SYNC_NAME, || {
                (
                    format!(
                        "The name of a RootSync may have {MAX_ROOT_SYNC_NAME} characters, this one has {}",
                        id.name.len()
                    ),
                    "Choose a shorter name.",
                )
            })
        }
        SyncKind::RepoSync => {
            check(id.namespace != CONTROLLER_NAMESPACE, || {
                (
                    format!("A RepoSync may not be in the namespace {CONTROLLER_NAMESPACE}"),
                    "Create it in the namespace that it syncs.",
                )
            })?;
            let length = id.name.len() + id.namespace.len();
            check(length <= MAX_REPO_SYNC_NAMES, || {
                (
                    format!(
                        "Name and namespace of a RepoSync may have {MAX_REPO_SYNC_NAMES} characters together, these have {length}"
                    ),
                    "Choose a shorter name.",
                )
            })
        }
    }
}

fn deletion(annotations: &BTreeMap<String, String>) -> Result<(), Fault> {
    match annotations.get(annotation::DELETION_PROPAGATION).map(String::as_str) {
        None | Some("Foreground" | "Orphan") => Ok(()),
        Some(other) => fault(
            format!("The annotation {} is {other:?}", annotation::DELETION_PROPAGATION),
            "Set it to Foreground, so that the objects are deleted with the sync, or to Orphan, so that they stay and are nobody's; \
             without it they stay as they are.",
        ),
    }
}

fn source(spec: &SyncSpec) -> Result<(), Fault> {
    match spec.source() {
        Some(SyncSource::Git(git)) => self::git(git),
        Some(SyncSource::Oci(oci)) => self::oci(oci),
        Some(SyncSource::Helm(helm)) => self::helm(helm),
        None => {
            let block = match spec.source_type {
                SourceType::Git => "git",
                SourceType::Oci => "oci",
                SourceType::Helm => "helm",
            };
            fault(format!("spec.sourceType is {block}, but spec.{block} is missing"), "Add it.")
        }
    }
}

fn git(git: &GitSpec) -> Result<(), Fault> {
    given("spec.git.repo", &git.repo)?;
    auth("git", git.auth, &GIT_AUTH)?;
    service_account("git", git.auth, &git.gcp_service_account_email)?;
    check(git.proxy.is_empty() || PROXY_AUTH.contains(&git.auth), || {
        (
            format!("spec.git.proxy does not work with spec.git.auth {}", git.auth.name()),
            "Remove the proxy, or use auth none, cookiefile, token or githubapp.",
        )
    })?;
    secret("git", git.auth, git.secret_ref.as_ref().map(|secret| secret.name.as_str()))?;
    period("spec.git.period", &git.period)
}

fn oci(oci: &OciSpec) -> Result<(), Fault> {
    given("spec.oci.image", &oci.image)?;
    auth("oci", oci.auth, &OCI_AUTH)?;
    service_account("oci", oci.auth, &oci.gcp_service_account_email)?;
    period("spec.oci.period", &oci.period)
}

fn helm(helm: &HelmSpec) -> Result<(), Fault> {
    given("spec.helm.repo", &helm.repo)?;
    given("spec.helm.chart", &helm.chart)?;
    check(!helm.chart.contains('/'), || {
        (format!("spec.helm.chart is {:?}", helm.chart), "Put everything before the last slash into spec.helm.repo.")
    })?;
    auth("helm", helm.auth, &HELM_AUTH)?;
    service_account("helm", helm.auth, &helm.gcp_service_account_email)?;
    secret("helm", helm.auth, helm.secret_ref.as_ref().map(|secret| secret.name.as_str()))?;
    check(helm.namespace.is_empty() || helm.deploy_namespace.is_empty(), || {
        ("spec.helm has both namespace and deployNamespace".to_owned(), "Remove one of them.")
    })?;
    for (i, file) in helm.values_file_refs.iter().enumerate() {
        given(&format!("spec.helm.valuesFileRefs[{i}].name"), &file.name)?;
    }
    period("spec.helm.period", &helm.period)
}

fn overrides(overrides: &Overrides) -> Result<(), Fault> {
    for (i, role) in overrides.role_refs.iter().enumerate() {
        check(role.kind != "Role" || !role.namespace.is_empty(), || {
            (
                format!("spec.override.roleRefs[{i}] is the Role {:?} without a namespace", role.name),
                "Say in which namespace the Role is, or name a ClusterRole.",
            )
        })?;
    }
    for container in &overrides.resources {
        for (field, quantity) in [
            ("cpuRequest", &container.cpu_request),
            ("cpuLimit", &container.cpu_limit),
            ("memoryRequest", &container.memory_request),
            ("memoryLimit", &container.memory_limit),
        ] {
            check(!quantity.as_ref().is_some_and(super::Quantity::is_negative), || {
                (
                    format!("spec.override.resources: {field} of {} is negative", container.container_name),
                    "Make it positive.",
                )
            })?;
        }
    }
    period("spec.override.reconcileTimeout", &overrides.reconcile_timeout)?;
    period("spec.override.apiServerTimeout", &overrides.api_server_timeout)
}

fn auth(block: &str, auth: Auth, allowed: &[Auth]) -> Result<(), Fault> {
    check(allowed.contains(&auth), || {
        let names: Vec<&str> = allowed.iter().map(|auth| auth.name()).collect();
        (
            format!("spec.{block}.auth is {}; allowed are {}", auth.name(), names.join(", ")),
            "Use one of the allowed ways to log in.",
        )
    })
}

fn service_account(block: &str, auth: Auth, email: &str) -> Result<(), Fault> {
    check(auth != Auth::GcpServiceAccount || is_service_account(email), || {
        (
            format!("spec.{block}.auth is gcpserviceaccount, but spec.{block}.gcpServiceAccountEmail is {email:?}"),
            "Name the service account, as in sync-app@my-project.iam.gserviceaccount.com.",
        )
    })
}

/// `<6 to 30 characters>@<project>.iam.gserviceaccount.com`
fn is_service_account(email: &str) -> bool {
    email.split_once('@').is_some_and(|(name, domain)| {
        (6..=30).contains(&name.chars().count())
            && domain.strip_suffix(".iam.gserviceaccount.com").is_some_and(|project| !project.is_empty())
    })
}

fn secret(block: &str, auth: Auth, name: Option<&str>) -> Result<(), Fault> {
    let name = name.unwrap_or_default();
    check(name.is_empty() || auth.needs_secret(), || {
        (
            format!("spec.{block}.secretRef is set, but spec.{block}.auth {} reads no Secret", auth.name()),
            "Remove secretRef, or use an auth that needs it.",
        )
    })?;
    check(!name.is_empty() || !auth.needs_secret(), || {
        (
            format!("spec.{block}.auth is {}, but spec.{block}.secretRef.name is missing", auth.name()),
            "Name the Secret that holds the credentials.",
        )
    })
}

fn period(field: &str, text: &str) -> Result<(), Fault> {
    match parse_duration(text) {
        Err(why) if !text.is_empty() => {
            fault(format!("{field}: {why}"), "Correct the duration, or remove the field for the default.")
        }
        _ => Ok(()),
    }
}

fn given(field: &str, text: &str) -> Result<(), Fault> {
    check(!text.is_empty(), || (format!("{field} is missing"), "Add it."))
}

fn check(holds: bool, otherwise: impl FnOnce() -> Fault) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn fault(message: String, hint: &'static str) -> Result<(), Fault> {
    Err((message, hint))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(id: &SyncId, spec: Value) -> Option<String> {
        let spec: SyncSpec = serde_json::from_value(spec).expect("a spec that the schema allows");
        invalid(id, &BTreeMap::new(), &spec).map(|finding| finding.message)
    }

    fn git(fields: Value) -> Option<String> {
        let mut git = json!({ "repo": "https://git.example/x", "auth": "none" });
        for (key, value) in fields.as_object().expect("a map") {
            git[key] = value.clone();
        }
        message(&SyncId::root("root-sync"), json!({ "git": git }))
    }

    #[test]
    fn a_plain_sync_is_valid() {
        assert_eq!(git(json!({})), None);
        assert_eq!(git(json!({ "auth": "token", "secretRef": { "name": "git-creds" }, "period": "1m" })), None);
    }

    #[test]
    fn mistakes_in_git() {
        for (fields, expected) in [
            (json!({ "repo": "" }), "spec.git.repo is missing"),
            (
                json!({ "auth": "k8sserviceaccount" }),
                "spec.git.auth is k8sserviceaccount; allowed are ssh, cookiefile, gcenode, token, none, gcpserviceaccount, githubapp",
            ),
            (
                json!({ "auth": "gcpserviceaccount", "gcpServiceAccountEmail": "a@b" }),
                "spec.git.auth is gcpserviceaccount, but spec.git.gcpServiceAccountEmail is \"a@b\"",
            ),
            (json!({ "auth": "ssh" }), "spec.git.auth is ssh, but spec.git.secretRef.name is missing"),
            (
                json!({ "secretRef": { "name": "x" } }),
                "spec.git.secretRef is set, but spec.git.auth none reads no Secret",
            ),
            (
                json!({ "auth": "ssh", "proxy": "http://p", "secretRef": { "name": "x" } }),
                "spec.git.proxy does not work with spec.git.auth ssh",
            ),
            (json!({ "period": "15" }), "spec.git.period: \"15\" is no duration; write it like 15s, 1m30s or 2h"),
        ] {
            assert_eq!(git(fields), Some(format!("{expected}.")));
        }
    }

    #[test]
    fn mistakes_elsewhere() {
        let root = SyncId::root("root-sync");
        let expect = |spec: Value, expected: &str| assert_eq!(message(&root, spec), Some(format!("{expected}.")));
        expect(json!({}), "spec.sourceType is git, but spec.git is missing");
        let helm = |extra: Value| {
            let mut helm = json!({ "repo": "https://charts", "chart": "web", "auth": "none" });
            helm.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
            json!({ "sourceType": "helm", "helm": helm })
        };
        expect(helm(json!({ "chart": "a/b" })), "spec.helm.chart is \"a/b\"");
        let both = json!({ "namespace": "a", "deployNamespace": "b" });
        expect(helm(both), "spec.helm has both namespace and deployNamespace");
        expect(helm(json!({ "valuesFileRefs": [{}] })), "spec.helm.valuesFileRefs[0].name is missing");
        let git = json!({ "repo": "https://git.example/x", "auth": "none" });
        let roles = json!({ "git": git, "override": { "roleRefs": [{ "kind": "Role", "name": "x" }] } });
        expect(roles, "spec.override.roleRefs[0] is the Role \"x\" without a namespace");
        let resources = json!({ "resources": [{ "containerName": "reconciler", "cpuLimit": "-1" }] });
        expect(
            json!({ "git": git, "override": resources }),
            "spec.override.resources: cpuLimit of reconciler is negative",
        );
    }

    #[test]
    fn names_and_namespaces() {
        let spec = || json!({ "git": { "repo": "https://git.example/x", "auth": "none" } });
        let repo = |namespace: &str, name: &str| SyncId {
            kind: SyncKind::RepoSync,
            namespace: namespace.into(),
            name: name.into(),
        };
        assert_eq!(message(&repo("shop", "repo-sync"), spec()), None);
        assert!(message(&repo(CONTROLLER_NAMESPACE, "x"), spec()).is_some());
        assert!(message(&repo("shop", &"x".repeat(42)), spec()).is_some());
        assert!(message(&SyncId::root(&"x".repeat(39)), spec()).is_some());
        let elsewhere = SyncId { namespace: "shop".into(), ..SyncId::root("root-sync") };
        assert!(message(&elsewhere, spec()).is_some());
    }
}
