//! ConfigManagement: the settings of a cluster as older versions of Config Sync have them, and the RootSync that follows from
//! them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Auth, GitSpec, SecretRef, SyncSpec, is_default};

/// The name of the only ConfigManagement that has an effect.
pub const CONFIG_MANAGEMENT: &str = "config-management";
/// The Secret with the credentials of `spec.git`.
const GIT_CREDS: &str = "git-creds";

const OF_CONFIG_SYNC: &str = "It is for programs of Config Sync that a cluster with this agent does not have.";
const OTHER_PRODUCT: &str = "It is for another product.";

/// Fields of a ConfigManagement that change nothing, each with the reason. A field stands for everything below it.
pub const CONFIG_MANAGEMENT_NO_EFFECT: [(&str, &str); 14] = [
    ("spec.enableLegacyFields", "spec.git is always read."),
    ("spec.preventDrift", "There is no admission webhook: the agent puts drift back."),
    ("spec.importer", OF_CONFIG_SYNC),
    ("spec.syncer", OF_CONFIG_SYNC),
    ("spec.channel", OF_CONFIG_SYNC),
    ("spec.version", OF_CONFIG_SYNC),
    ("spec.ConfigSyncLogLevel", OF_CONFIG_SYNC),
    ("spec.ConfigSyncDisableFSWatcher", OF_CONFIG_SYNC),
    ("spec.metricsGCPServiceAccountEmail", OF_CONFIG_SYNC),
    ("spec.patches", OF_CONFIG_SYNC),
    ("spec.hierarchyController", OTHER_PRODUCT),
    ("spec.policyController", OTHER_PRODUCT),
    ("spec.binauthz", OTHER_PRODUCT),
    ("spec.configConnector", OTHER_PRODUCT),
];

/// The settings of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "cluster", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "cluster",
    kube(
        group = "configmanagement.gke.io",
        version = "v1",
        kind = "ConfigManagement",
        plural = "configmanagements",
        status = "ConfigManagementStatus",
        doc = "ConfigManagement names a cluster and the git repository that it is kept as. The only one is config-management."
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ConfigManagementSpec {
    /// Name of the cluster, for cluster selectors. It takes precedence over the flag --cluster-name of the agent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cluster_name: String,
    /// The git repository to sync from. The agent makes the RootSync root-sync from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<ConfigManagementGit>,
    /// Layout of the repository: hierarchy, where directories have a meaning, or unstructured. Default: hierarchy.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(regex(pattern = "^(hierarchy|unstructured|)$"))]
    pub source_format: String,
    /// RootSyncs are served always. When it is true, root-sync stays when git is removed, as a RootSync of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_multi_repo: Option<bool>,
    /// It has no effect: git is always read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_legacy_fields: Option<bool>,
    /// It has no effect: there is no admission webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prevent_drift: Option<bool>,
    /// Release channel of Config Sync. It has no effect.
    #[serde(default, skip_serializing_if = "is_default")]
    pub channel: String,
    /// Version of Config Sync. It has no effect.
    #[serde(default, skip_serializing_if = "is_default")]
    pub version: String,
    /// Log level of programs of Config Sync. It has no effect.
    #[serde(default, rename = "ConfigSyncLogLevel", skip_serializing_if = "Option::is_none")]
    pub log_level: Option<i64>,
    /// It has no effect: no program watches files.
    #[serde(default, rename = "ConfigSyncDisableFSWatcher", skip_serializing_if = "Option::is_none")]
    pub disable_fs_watcher: Option<bool>,
    /// Google service account for metrics. It has no effect.
    #[serde(default, rename = "metricsGCPServiceAccountEmail", skip_serializing_if = "is_default")]
    pub metrics_gcp_service_account_email: String,
    /// Resources of a program of Config Sync. They have no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::source::any_object")]
    pub importer: Option<Value>,
    /// Resources of a program of Config Sync. They have no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::source::any_object")]
    pub syncer: Option<Value>,
    /// Settings of Hierarchy Controller. They have no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::source::any_object")]
    pub hierarchy_controller: Option<Value>,
    /// Settings of Policy Controller. They have no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::source::any_object")]
    pub policy_controller: Option<Value>,
    /// Settings of Binary Authorization. They have no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::source::any_object")]
    pub binauthz: Option<Value>,
    /// Settings of Config Connector. They have no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::source::any_object")]
    pub config_connector: Option<Value>,
    /// Patches of objects of Config Sync. They have no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "objects")]
    pub patches: Option<Value>,
}

fn objects(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let item = serde_json::json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    schemars::json_schema!({ "type": "array", "nullable": true, "items": item })
}

/// The git repository of a ConfigManagement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigManagementGit {
    /// URL of the git repository. Required.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(regex(pattern = "^(((https?|git|ssh)://)|git@)"))]
    pub sync_repo: String,
    /// Branch to sync. Default: master.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sync_branch: String,
    /// Branch, tag or full commit to sync. HEAD stands for the branch. Default: HEAD.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sync_rev: String,
    /// Directory of the repository to sync. Default: its root.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy_dir: String,
    /// Login to the repository: ssh, cookiefile, gcenode, gcpserviceaccount, token or none. Required. Those with credentials read
    /// the Secret git-creds in the namespace config-management-system.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("enum" = ["ssh", "cookiefile", "gcenode", "gcpserviceaccount", "token", "none"]))]
    pub secret_type: String,
    /// Google service account for secretType gcpserviceaccount.
    #[serde(default, rename = "gcpServiceAccountEmail", skip_serializing_if = "is_default")]
    pub gcp_service_account_email: String,
    /// Seconds between two polls of the repository. Default: 15.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sync_wait: i64,
    /// Proxy for the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ConfigManagementProxy>,
}

/// The proxy of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigManagementProxy {
    /// URL of the proxy, if httpsProxy is not set.
    #[serde(default, skip_serializing_if = "is_default")]
    pub http_proxy: String,
    /// URL of the proxy.
    #[serde(default, skip_serializing_if = "is_default")]
    pub https_proxy: String,
}

/// Status of a ConfigManagement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigManagementStatus {
    /// Version of the agent that wrote the status.
    #[serde(default, skip_serializing_if = "is_default")]
    pub config_management_version: String,
    /// True if the agent does what the spec says. The state of the sync is in the RootSync.
    pub healthy: bool,
    /// State of an installation by Config Sync. The agent leaves it out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub phase: String,
    /// The reasons for which the spec, or a part of it, has no effect.
    #[serde(default, skip_serializing_if = "is_default")]
    pub errors: Vec<String>,
}

impl ConfigManagementSpec {
    /// The spec of the RootSync that `spec.git` asks for; `None` without `spec.git`.
    ///
    /// # Errors
    /// When a required field is missing or has a value that no RootSync has.
    pub fn root_sync(&self) -> Result<Option<SyncSpec>, String> {
        let Some(git) = &self.git else { return Ok(None) };
        // Every field is named, so that a new one does not compile until it is used or put into the table above.
        let ConfigManagementGit {
            sync_repo,
            sync_branch,
            sync_rev,
            policy_dir,
            secret_type,
            gcp_service_account_email,
            sync_wait,
            proxy,
        } = git.clone();
        if sync_repo.is_empty() {
            return Err("spec.git.syncRepo is missing; add the URL of the repository".to_owned());
        }
        if secret_type.is_empty() {
            return Err("spec.git.secretType is missing; add the login, such as none, ssh or token".to_owned());
        }
        let auth: Auth = serde_json::from_value(secret_type.as_str().into())
            .map_err(|_| format!("spec.git.secretType: {secret_type} is no login; use none, ssh or token"))?;
        let seconds = u64::try_from(sync_wait)
            .map_err(|_| format!("spec.git.syncWait: {sync_wait} is less than 0; use a number of seconds"))?;
        let ConfigManagementProxy { http_proxy, https_proxy } = proxy.unwrap_or_default();
        let git = GitSpec {
            repo: sync_repo,
            branch: sync_branch,
            revision: sync_rev,
            dir: policy_dir,
            period: if seconds == 0 { String::new() } else { format!("{seconds}s") },
            auth,
            gcp_service_account_email,
            proxy: if https_proxy.is_empty() { http_proxy } else { https_proxy },
            secret_ref: auth.needs_secret().then(|| SecretRef { name: GIT_CREDS.to_owned() }),
            ..GitSpec::default()
        };
        Ok(Some(SyncSpec { source_format: self.source_format.clone(), git: Some(git), ..SyncSpec::default() }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(git: &Value) -> Result<Value, String> {
        let spec: ConfigManagementSpec = serde_json::from_value(json!({ "git": git })).expect("a spec");
        Ok(serde_json::to_value(spec.root_sync()?).expect("plain data"))
    }

    #[test]
    fn the_fields_of_git_become_those_of_a_root_sync() {
        let git = json!({
            "syncRepo": "https://git.example/x", "syncBranch": "1.0.0", "syncRev": "abc", "policyDir": "a/b",
            "secretType": "token", "syncWait": 30, "proxy": { "httpProxy": "http://p:1", "httpsProxy": "http://p:2" },
        });
        let expected = json!({ "sourceType": "git", "git": {
            "repo": "https://git.example/x", "branch": "1.0.0", "revision": "abc", "dir": "a/b", "period": "30s",
            "auth": "token", "proxy": "http://p:2", "secretRef": { "name": "git-creds" },
        }});
        assert_eq!(spec(&git), Ok(expected));
        let git =
            json!({ "syncRepo": "git@git.example:x", "secretType": "none", "proxy": { "httpProxy": "http://p:1" } });
        let expected = json!({ "repo": "git@git.example:x", "auth": "none", "proxy": "http://p:1" });
        assert_eq!(spec(&git).map(|spec| spec["git"].clone()), Ok(expected));
        assert_eq!(ConfigManagementSpec::default().root_sync(), Ok(None));
    }

    #[test]
    fn a_field_that_is_missing_or_wrong_is_named() {
        for (git, field) in [
            (json!({ "secretType": "none" }), "spec.git.syncRepo"),
            (json!({ "syncRepo": "https://git.example/x" }), "spec.git.secretType"),
            (json!({ "syncRepo": "https://git.example/x", "secretType": "magic" }), "spec.git.secretType: magic"),
            (json!({ "syncRepo": "x", "secretType": "none", "syncWait": -1 }), "spec.git.syncWait: -1"),
        ] {
            let error = spec(&git).expect_err(field);
            assert!(error.starts_with(field), "{error}");
        }
    }

    #[cfg(feature = "cluster")]
    #[test]
    fn the_crd_and_the_readme_tell_of_each_field_without_effect() {
        let crd =
            crate::api::crds().into_iter().find(|crd| crd.spec.names.kind == "ConfigManagement").expect("its CRD");
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).expect("plain data");
        let readme = include_str!("../../../README.md");
        let row = readme.lines().find(|line| line.starts_with("| without effect |")).expect("the row");
        for (field, reason) in CONFIG_MANAGEMENT_NO_EFFECT {
            let pointer = format!("/openAPIV3Schema/properties/{}/description", field.replace('.', "/properties/"));
            let description = schema.pointer(&pointer).and_then(Value::as_str).unwrap_or_default();
            assert!(description.contains("no effect") && !reason.is_empty(), "{field}: {description}");
            let name = format!("`{}`", field.trim_start_matches("spec."));
            assert!(row.contains(&name), "README.md does not name {name} in: {row}");
        }
    }
}
