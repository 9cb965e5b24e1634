//! The scope of kinds: which kinds live in a namespace and which in the cluster. A built-in table, and what a cluster says.

use std::collections::BTreeMap;

use crate::model::finding::{Code, Finding, Location, Place};

/// The place where objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace, like Role.
    Namespaced,
    /// In the cluster as a whole, like ClusterRole.
    Cluster,
    /// Not known: the kind is not built in, and neither the cluster nor a declared CRD defines it (KNV1021).
    Unknown,
}

/// The scope of each kind that a cluster serves or a CRD defines, over the table of built-in kinds.
#[derive(Clone, Debug, Default)]
pub struct KindScopes(BTreeMap<String, BTreeMap<String, Scope>>);

impl KindScopes {
    /// Sets the scope of a kind. It overrides the built-in table.
    pub fn insert(&mut self, group: &str, kind: &str, scope: Scope) {
        self.0.entry(group.to_owned()).or_default().insert(kind.to_owned(), scope);
    }

    /// The scope that was set for a kind.
    pub(crate) fn set(&self, group: &str, kind: &str) -> Option<Scope> {
        self.0.get(group).and_then(|kinds| kinds.get(kind)).copied()
    }

    /// The scope of a kind: the one that was set, else the one of the built-in table.
    pub fn get(&self, group: &str, kind: &str) -> Scope {
        self.set(group, kind).or_else(|| built_in(group, kind)).unwrap_or(Scope::Unknown)
    }

    /// Reads the output of `kubectl api-resources`, the columns of which end with APIVERSION, NAMESPACED and KIND.
    ///
    /// # Errors
    ///
    /// KNV1064 at the first line that is malformed.
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

/// The text before the last word of a line, and that word.
fn last_word(line: &str) -> Option<(&str, &str)> {
    let word = line.split_whitespace().next_back()?;
    let rest = line.trim_end().strip_suffix(word)?;
    Some((rest, word))
}

/// Rows of group, namespaced kinds and cluster-scoped kinds: the kinds that Config Sync knows without a cluster.
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
