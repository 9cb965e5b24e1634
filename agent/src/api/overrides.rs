//! The settings of one sync that differ from the defaults: `spec.override`.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::is_default;

/// Default of `reconcileTimeout`.
pub const RECONCILE_TIMEOUT: Duration = Duration::from_secs(300);
/// Default of `apiServerTimeout`.
pub const API_SERVER_TIMEOUT: Duration = Duration::from_secs(15);

/// Settings of one sync that differ from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overrides {
    /// Resources of reconciler containers. They have no effect: one agent serves every sync.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Vec<ContainerResources>,
    /// Number of commits to fetch; 0 stands for all. It has no effect: the agent fetches the one commit that it syncs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub git_sync_depth: Option<i64>,
    /// Status of every object in the ResourceGroup: enabled, or disabled to leave it out. Default: enabled.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(regex(pattern = "^(enabled|disabled|)$"))]
    pub status_mode: String,
    /// Time that an object waits for another one to become ready before this is reported as an error, such as 30s or 5m;
    /// 0s stands for the default. The wait goes on after the error. Default: 5m.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reconcile_timeout: String,
    /// Time that one request to the API server for an object of the sync may take, such as 15s or 1m; 0s stands for the
    /// default. A request that takes longer is an error, and the agent tries again. Default: 15s.
    #[serde(default, skip_serializing_if = "is_default")]
    pub api_server_timeout: String,
    /// True to let rendering start a shell and fetch remote bases. It has no effect: the agent does not render.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_shell_in_rendering: Option<bool>,
    /// Log levels of reconciler containers. They have no effect: one agent serves every sync.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["containerName"]))]
    pub log_levels: Vec<LogLevel>,
    /// Namespaces that the source uses and does not declare: implicit to create them, or explicit to leave them to the
    /// user. It has no effect on a hierarchical source. Default: implicit.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("enum" = ["implicit", "explicit"]))]
    pub namespace_strategy: String,
    /// Roles that the sync acts with instead of cluster-admin.
    #[serde(default, skip_serializing_if = "is_default")]
    pub role_refs: Vec<RoleRef>,
}

/// Resources of one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerResources {
    /// Name of the container.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(regex(
        pattern = "^(reconciler|git-sync|hydration-controller|oci-sync|helm-sync|gcenode-askpass-sidecar|otel-agent)$"
    ))]
    pub container_name: String,
    /// CPU request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_request: Option<Quantity>,
    /// CPU limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<Quantity>,
    /// Memory request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_request: Option<Quantity>,
    /// Memory limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<Quantity>,
}

/// Log level of one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLevel {
    /// Name of the container.
    #[schemars(regex(
        pattern = "^(reconciler|git-sync|hydration-controller|oci-sync|helm-sync|gcenode-askpass-sidecar|otel-agent)$"
    ))]
    pub container_name: String,
    /// Log level from 0, the fewest lines, to 10.
    #[schemars(range(min = 0, max = 10))]
    pub log_level: i32,
}

/// A Role or ClusterRole that a RootSync acts with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleRef {
    /// Role or ClusterRole.
    #[schemars(extend("enum" = ["Role", "ClusterRole"]))]
    pub kind: String,
    /// Name of the Role or ClusterRole.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Namespace in which the role is bound. A ClusterRole without one is bound in the whole cluster.
    #[serde(default, skip_serializing_if = "is_default")]
    pub namespace: String,
}

/// A Kubernetes quantity such as `100m`, `1Gi` or `2`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(pub Value);

impl Quantity {
    /// `true` if the quantity is below zero.
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Value::String(text) => text.trim_start().starts_with('-'),
            number => number.as_f64().is_some_and(|number| number < 0.0),
        }
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true })
    }
}
