//! `spec.override`: settings of the agent for one sync.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{is_default, parse_duration};

const RECONCILE_TIMEOUT: Duration = Duration::from_secs(300);
const API_SERVER_TIMEOUT: Duration = Duration::from_secs(15);

/// Settings for one sync.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overrides {
    /// Resources of reconciler containers. One agent serves every sync, so they have no effect.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Vec<ContainerResources>,
    /// Number of commits to fetch; 0 fetches all. Default: as many as are needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub git_sync_depth: Option<i64>,
    /// Whether the ResourceGroup carries the status of every object: enabled (default) or disabled.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(regex(pattern = "^(enabled|disabled|)$"))]
    pub status_mode: String,
    /// How long to wait for objects that others depend on, as in 30s or 5m. Default: 5m.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reconcile_timeout: String,
    /// How long a request to the API server may take. Default: 15s.
    #[serde(default, skip_serializing_if = "is_default")]
    pub api_server_timeout: String,
    /// Whether rendering may start a shell and fetch remote bases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_shell_in_rendering: Option<bool>,
    /// Log levels of reconciler containers. One agent serves every sync, so they have no effect.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["containerName"]))]
    pub log_levels: Vec<LogLevel>,
    /// Whether missing Namespaces are created: implicit (default) or explicit. Unstructured repositories only.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("enum" = ["implicit", "explicit"]))]
    pub namespace_strategy: String,
    /// Roles the sync acts with. Default: cluster-admin.
    #[serde(default, skip_serializing_if = "is_default")]
    pub role_refs: Vec<RoleRef>,
}

impl Overrides {
    /// How long to wait for objects that others depend on. Zero or unreadable counts as the default.
    pub fn reconcile_timeout(&self) -> Duration {
        timeout(&self.reconcile_timeout, RECONCILE_TIMEOUT)
    }

    /// How long a request to the API server may take. Zero or unreadable counts as the default.
    pub fn api_server_timeout(&self) -> Duration {
        timeout(&self.api_server_timeout, API_SERVER_TIMEOUT)
    }

    /// Whether the ResourceGroup carries the status of every object.
    pub fn resource_status(&self) -> bool {
        self.status_mode != "disabled"
    }

    /// Whether Namespaces that are referenced but not declared are created.
    pub fn implicit_namespaces(&self) -> bool {
        self.namespace_strategy != "explicit"
    }
}

fn timeout(text: &str, default: Duration) -> Duration {
    parse_duration(text).ok().filter(|timeout| !timeout.is_zero()).unwrap_or(default)
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
    /// CPU it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_request: Option<Quantity>,
    /// CPU it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<Quantity>,
    /// Memory it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_request: Option<Quantity>,
    /// Memory it may use.
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
    /// From 0, the least, to 10.
    #[schemars(range(min = 0, max = 10))]
    pub log_level: i32,
}

/// A Role or ClusterRole that a RootSync acts with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleRef {
    /// Role or ClusterRole.
    #[schemars(extend("enum" = ["Role", "ClusterRole"]))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Where it is bound: one Namespace, or, for a ClusterRole without one, the whole cluster.
    #[serde(default, skip_serializing_if = "is_default")]
    pub namespace: String,
}

/// An amount, as in `100m`, `1Gi` or `2`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(pub Value);

impl Quantity {
    /// Whether it is below zero.
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
