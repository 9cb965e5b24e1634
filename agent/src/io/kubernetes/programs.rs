//! Deployments and Pods, as far as the agent reads them: the whole type of a Pod is half a megabyte of program.

use k8s_openapi::api::{apps, core};
use kube::api::{ApiResource, NotUsed, Object};
use kube::{Api, Client};
use serde::Deserialize;

/// A Deployment.
pub type Deployment = Object<DeploymentSpec, NotUsed>;

/// A Pod.
pub type Pod = Object<NotUsed, PodStatus>;

/// The spec of a Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct DeploymentSpec {
    /// The number of Pods; 1 if there is none.
    pub replicas: Option<i32>,
}

/// The status of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// The [phase](https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase).
    pub phase: Option<String>,
    /// Its address, once it has one.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
}

/// The Deployments of a Namespace.
pub fn deployments(client: Client, namespace: &str) -> Api<Deployment> {
    Api::namespaced_with(client, namespace, &ApiResource::erase::<apps::v1::Deployment>(&()))
}

/// The Pods of a Namespace.
pub fn pods(client: Client, namespace: &str) -> Api<Pod> {
    Api::namespaced_with(client, namespace, &ApiResource::erase::<core::v1::Pod>(&()))
}
