//! Which kinds live in namespaces and which in the cluster: a built-in table, what a cluster said, and the CRDs that are
//! declared beside their objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::compile::parse::{Known, Manifest, type_check};
use crate::model::finding::{Code, Finding, Location, Place};
use crate::model::manifest_object::Written;
use crate::model::object::ObjectId;

/// Where objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster.
    Cluster,
    /// Nobody knows (KNV1021).
    Unknown,
}

/// Scopes by group and kind.
#[derive(Clone, Debug, Default)]
pub struct KindScopes(BTreeMap<String, BTreeMap<String, Scope>>);

impl KindScopes {
    /// Sets the scope of a kind.
    pub fn insert(&mut self, group: &str, kind: &str, scope: Scope) {
        self.0.entry(group.to_owned()).or_default().insert(kind.to_owned(), scope);
    }

    /// The scope of a kind: what was inserted, else what is built in.
    pub fn get(&self, group: &str, kind: &str) -> Scope {
        let inserted = self.0.get(group).and_then(|kinds| kinds.get(kind)).copied();
        inserted.or_else(|| built_in(group, kind)).unwrap_or(Scope::Unknown)
    }

    /// Reads the output of `kubectl api-resources`. A finding (KNV1064) when it is malformed.
    pub fn from_api_resources(path: &str, text: &str) -> Result<Self, Finding> {
        let malformed = |line: usize, before: &str, message: String| {
            let column = before.chars().count() as u32 + 1;
            let location = Location { path: path.to_owned(), line: line as u32, column };
            Finding::new(Code::InvalidAPIResources, message)
                .hint(format!("Write it again with: kubectl api-resources > {path}"))
                .at(Place { location: Some(location), resource: None })
        };
        let mut lines = text.lines().enumerate();
        let column = lines.next().and_then(|(_, header)| header.find("APIVERSION"));
        let column = column.ok_or_else(|| malformed(1, "", "The first line has no column APIVERSION.".to_owned()))?;
        let mut scopes = Self::default();
        for (i, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let row = || -> Option<(&str, &str, &str, &str)> {
                let version = line.get(column..)?.split_whitespace().next()?;
                let (rest, kind) = last_word(line)?;
                let (rest, namespaced) = last_word(rest)?;
                Some((version, rest, namespaced, kind))
            };
            let (version, before, namespaced, kind) =
                row().ok_or_else(|| malformed(i + 1, "", "This line is too short.".to_owned()))?;
            let scope = match namespaced {
                "true" => Scope::Namespaced,
                "false" => Scope::Cluster,
                other => {
                    let message = format!("Column NAMESPACED is `{other}`, neither true nor false.");
                    return Err(malformed(i + 1, before, message));
                }
            };
            let group = version.split_once('/').filter(|(_, version)| !version.contains('/'));
            scopes.insert(group.map_or("", |(group, _)| group), kind, scope);
        }
        Ok(scopes)
    }
}

/// What is before the last word of a line, and that word.
fn last_word(line: &str) -> Option<(&str, &str)> {
    let word = line.split_whitespace().next_back()?;
    let rest = line.trim_end().strip_suffix(word)?;
    Some((rest, word))
}

/// Group, namespaced kinds, cluster-scoped kinds.
const BUILT_IN: &[(&str, &str, &str)] = &[
    (
        "",
        "ConfigMap Endpoints Event LimitRange PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota \
         Secret ServiceAccount Service",
        "Namespace Node PersistentVolume",
    ),
    ("admissionregistration.k8s.io", "", "MutatingWebhookConfiguration ValidatingWebhookConfiguration"),
    ("apiextensions.k8s.io", "", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "", "APIService"),
    ("apps", "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet", ""),
    ("autoscaling", "HorizontalPodAutoscaler", ""),
    ("batch", "CronJob Job", ""),
    ("certificates.k8s.io", "", "CertificateSigningRequest"),
    ("coordination.k8s.io", "Lease", ""),
    ("discovery.k8s.io", "EndpointSlice", ""),
    ("extensions", "DaemonSet Deployment Ingress NetworkPolicy ReplicaSet", "PodSecurityPolicy"),
    ("networking.k8s.io", "Ingress NetworkPolicy", "IngressClass"),
    ("node.k8s.io", "", "RuntimeClass"),
    ("scheduling.k8s.io", "", "PriorityClass"),
    ("policy", "PodDisruptionBudget", "PodSecurityPolicy"),
    ("rbac.authorization.k8s.io", "Role RoleBinding", "ClusterRole ClusterRoleBinding"),
    ("storage.k8s.io", "", "CSIDriver CSINode StorageClass VolumeAttachment"),
    ("snapshot.storage.k8s.io", "VolumeSnapshot", "VolumeSnapshotClass VolumeSnapshotContent"),
    ("migration.k8s.io", "", "StorageState StorageVersionMigration"),
    ("cloud.google.com", "BackendConfig", ""),
    ("networking.gke.io", "FrontendConfig ManagedCertificate ServiceNetworkEndpointGroup", ""),
    ("nodemanagement.gke.io", "UpdateInfo", ""),
    ("scalingpolicy.kope.io", "ScalingPolicy", ""),
    ("anthos.cloud.google.com", "Validator", ""),
    (
        "configmanagement.gke.io",
        "",
        "ClusterConfig ClusterSelector ConfigManagement HierarchyConfig NamespaceConfig NamespaceSelector Repo Sync",
    ),
    ("configsync.gke.io", "Environment RepoSync ResourceGroup RootSync", ""),
    ("clusterregistry.k8s.io", "", "Cluster"),
    ("kpt.dev", "Kptfile", ""),
];

fn built_in(group: &str, kind: &str) -> Option<Scope> {
    let (_, namespaced, cluster) = BUILT_IN.iter().find(|row| row.0 == group)?;
    let has = |kinds: &str| kinds.split(' ').any(|it| it == kind);
    if has(namespaced) {
        Some(Scope::Namespaced)
    } else if has(cluster) {
        Some(Scope::Cluster)
    } else {
        None
    }
}

/// One object on its way to the declared set: a manifest and what was decided about it so far.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) manifest: Arc<Manifest>,
    /// The namespace that it was put into; `None`: what it declares.
    pub(crate) placed: Option<Arc<str>>,
    pub(crate) scope: Scope,
}

impl Draft {
    pub(crate) fn new(manifest: Arc<Manifest>) -> Self {
        Self { manifest, placed: None, scope: Scope::Unknown }
    }

    pub(crate) fn object(&self) -> &Written {
        &self.manifest.object
    }

    pub(crate) fn namespace(&self) -> &str {
        self.placed.as_deref().unwrap_or(self.manifest.object.id.namespace())
    }

    pub(crate) fn id(&self) -> ObjectId {
        self.manifest.object.id.in_namespace(self.namespace())
    }
}

/// What a CustomResourceDefinition defines.
pub(crate) struct Crd<'a> {
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) plural: &'a str,
    scope: Scope,
    served: bool,
}

/// Reads a CRD; `None` for every other kind. A finding (KNV1065) when it is malformed.
pub(crate) fn crd(manifest: &Manifest) -> Option<Result<Crd<'_>, Finding>> {
    let object = &manifest.object;
    if !manifest.is_any(Known::CustomResourceDefinition) {
        return None;
    }
    let malformed = |message: String, hint: &str, field: &[&str]| {
        let finding =
            Finding::new(Code::MalformedCRD, format!("This CustomResourceDefinition is malformed: {message}."));
        Some(Err(finding.hint(hint).at(manifest.at_value(field))))
    };
    if !manifest.is(Known::CustomResourceDefinition) {
        let message = format!("apiextensions.k8s.io has no version {}", object.version());
        return malformed(message, "Set apiVersion to `apiextensions.k8s.io/v1`.", &["apiVersion"]);
    }
    let parts = if object.version() == "v1" { type_check::CRD } else { type_check::CRD_V1BETA1 };
    if let Some(mismatch) = type_check::mismatch(object, parts) {
        let hint = "Correct the field: nothing is converted, and one that is malformed makes the whole kind unknown.";
        return malformed(mismatch.message(), hint, &mismatch.steps());
    }
    let spec = object.field("spec").unwrap_or(&Value::Null);
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    // A version by the older form, `spec.version`, is served. In v1 the first version is read as that.
    let version =
        if object.version() == "v1" { versions.first().map(|it| &it["name"]) } else { Some(&spec["version"]) };
    let has_version = version.and_then(Value::as_str).is_some_and(|version| !version.is_empty());
    Some(Ok(Crd {
        group: spec["group"].as_str().unwrap_or_default(),
        kind: spec["names"]["kind"].as_str().unwrap_or_default(),
        plural: spec["names"]["plural"].as_str().unwrap_or_default(),
        scope: if spec["scope"] == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
        served: has_version || versions.iter().any(|it| it["served"] == true),
    }))
}

/// Gives every draft its scope. Findings: malformed CRDs and, if `report_unknown`, kinds of unknown scope.
pub(crate) fn assign(drafts: &mut [Draft], kinds: &KindScopes, report_unknown: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut declared = KindScopes::default();
    for crd in drafts.iter().filter_map(|draft| crd(&draft.manifest)) {
        match crd {
            Ok(crd) if crd.served => declared.insert(crd.group, crd.kind, crd.scope),
            Ok(_) => {}
            Err(finding) => findings.push(finding),
        }
    }
    for draft in drafts {
        let (group, kind) = (draft.manifest.object.id.group(), draft.manifest.object.id.kind());
        let own = declared.0.get(group).and_then(|kinds| kinds.get(kind)).copied();
        draft.scope = own.unwrap_or_else(|| kinds.get(group, kind));
        if draft.scope == Scope::Unknown && report_unknown {
            let kind = draft.manifest.object.id.group_kind();
            let message =
                format!("The cluster does not know the kind {kind}. The object is left out until its CRD exists.");
            findings.push(
                Finding::new(Code::UnknownKind, message)
                    .hint(format!("Declare the CRD of {kind} in the same source, or install it first."))
                    .at(draft.manifest.at_value(&["kind"])),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_resources_override_the_built_in_table() {
        let text = "NAME  SHORTNAMES  APIVERSION  NAMESPACED  KIND\r\n\
                    widgets           acme.com/v1 true        Widget\r\n\
                    pods  po          v1          false       Pod\n";
        let scopes = KindScopes::from_api_resources("api-resources.txt", text).expect("well-formed");
        assert_eq!(scopes.get("acme.com", "Widget"), Scope::Namespaced);
        assert_eq!(scopes.get("", "Pod"), Scope::Cluster);
        assert_eq!(scopes.get("", "Secret"), Scope::Namespaced);
        assert_eq!(scopes.get("apps", "Secret"), Scope::Unknown);
    }

    #[test]
    fn malformed_api_resources_are_a_finding() {
        let header = "NAME APIVERSION NAMESPACED KIND";
        for rows in [
            "",
            "x",
            &format!("{header}\npods v1 True Pod"),
            &format!("{header}\na"),
            &format!("{header}\npods v1 true Pod create,get"),
        ] {
            assert!(KindScopes::from_api_resources("a", rows).is_err(), "{rows}");
        }
    }
}
