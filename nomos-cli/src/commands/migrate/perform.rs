//! Reads what a migration depends on, and carries its steps out.

use std::time::{Duration, Instant};

use agent::api::CONFIG_MANAGEMENT;
use agent::model::metadata::{CONTROLLER_NAMESPACE, ROOT_SYNC, SYNC_FINALIZERS, deployment_of, label};
use anyhow::{Context as _, bail};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, TypeMeta};
use kube::core::gvk::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::plan::{MigrationFacts, MigrationStep, NAMESPACES, WEBHOOK, kind};
use crate::contexts::{self, AGENTS, ClusterContext, ClusterError};

/// Time between two looks at what is waited for.
const PERIOD: Duration = Duration::from_millis(250);
/// Field manager of what the command writes.
const MANAGER: &str = "nomos-migrate";

/// Reads everything that the plan depends on.
///
/// # Errors
///
/// If the cluster does not answer in time, or refuses.
pub(super) async fn look(
    client: &Client,
    cluster: &ClusterContext,
    timeout: Duration,
) -> anyhow::Result<MigrationFacts> {
    let late = || ClusterError::late(timeout);
    let connected = tokio::time::timeout(timeout, client.apiserver_version()).await;
    let connected = connected.map_or_else(|_| Err(late()), |answer| answer.map_err(ClusterError::from));
    connected.map_err(|error| cluster.failed(error))?;
    tokio::time::timeout(timeout, facts(client)).await.unwrap_or_else(|_| Err(late().into()))
}

async fn facts(client: &Client) -> anyhow::Result<MigrationFacts> {
    let mut found = MigrationFacts::default();
    for namespace in NAMESPACES {
        found.deployments.extend(list(client, "apps", "v1", "Deployment", Some(namespace)).await?);
    }
    for kind in ["RootSync", "RepoSync"] {
        found.syncs.extend(list(client, "configsync.gke.io", "v1beta1", kind, None).await?);
    }
    let management = list(client, "configmanagement.gke.io", "v1", "ConfigManagement", None).await?;
    found.config_management = management.into_iter().find(|object| object.name_any() == CONFIG_MANAGEMENT);
    found.webhook = webhooks(client).get_opt(WEBHOOK).await?;
    Ok(found)
}

/// All objects of a kind; none if the cluster does not have the kind.
async fn list(
    client: &Client,
    group: &str,
    version: &str,
    kind: &str,
    namespace: Option<&str>,
) -> anyhow::Result<Vec<DynamicObject>> {
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk(&gvk);
    let found = contexts::objects(client, namespace, gvk, "").await;
    let mut found = found.with_context(|| format!("failed to list {}", resource.plural))?.unwrap_or_default();
    for object in &mut found {
        // The items of a list have no type of their own.
        object.types = Some(TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
    }
    Ok(found)
}

/// Carries out one step. A step that was carried out before changes nothing.
///
/// # Errors
///
/// If the cluster refuses, or what is waited for does not come in time.
pub(super) async fn perform(step: &MigrationStep, client: &Client, wait: Duration) -> anyhow::Result<()> {
    let namespaced = |group, version, kind, namespace: &str| {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource)
    };
    let root_syncs = namespaced("configsync.gke.io", "v1beta1", "RootSync", CONTROLLER_NAMESPACE);
    match step {
        MigrationStep::Stop { namespace, name } => {
            merge(&namespaced("apps", "v1", "Deployment", namespace), name, json!({ "spec": { "replicas": 0 } })).await
        }
        MigrationStep::AwaitStopped(programs) => await_stopped(client, programs, wait).await,
        MigrationStep::Unhook => merge(&webhooks(client), WEBHOOK, json!({ "webhooks": [] })).await,
        MigrationStep::TakeOff { namespace, name, kind } => {
            take_off(&namespaced("configsync.gke.io", "v1beta1", kind, namespace), name).await
        }
        MigrationStep::MakeRootSync(object) => {
            let object: DynamicObject = serde_json::from_value(object.clone())?;
            let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            root_syncs.create(&params, &object).await?;
            Ok(())
        }
        MigrationStep::ReleaseRootSync => release(&root_syncs).await,
        MigrationStep::EnableMultiRepo => {
            let patch = json!({ "spec": { "enableMultiRepo": true, "git": null } });
            merge(&config_managements(client), CONFIG_MANAGEMENT, patch).await
        }
        MigrationStep::RemoveConfigManagement => {
            config_managements(client).delete(CONFIG_MANAGEMENT, &DeleteParams::default()).await?;
            Ok(())
        }
        MigrationStep::AwaitAgent => await_agent(client, wait).await,
    }
}

fn of_cluster(client: &Client, group: &str, kind: &str) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind)))
}

fn webhooks(client: &Client) -> Api<DynamicObject> {
    of_cluster(client, "admissionregistration.k8s.io", "ValidatingWebhookConfiguration")
}

fn config_managements(client: &Client) -> Api<DynamicObject> {
    of_cluster(client, "configmanagement.gke.io", "ConfigManagement")
}

async fn merge(api: &Api<DynamicObject>, name: &str, patch: Value) -> anyhow::Result<()> {
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(name, &params, &Patch::Merge(patch)).await?;
    Ok(())
}

/// Changes an object as it is; a change by another program meanwhile is a reason to look again.
async fn change(
    api: &Api<DynamicObject>,
    name: &str,
    patch: impl Fn(&DynamicObject) -> Option<Value>,
) -> anyhow::Result<()> {
    loop {
        let Some(live) = api.get_opt(name).await? else { return Ok(()) };
        let Some(mut patch) = patch(&live) else { return Ok(()) };
        patch["metadata"]["resourceVersion"] = live.metadata.resource_version.clone().into();
        match merge(api, name, patch).await {
            Err(error) if matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 409) => {}
            done => return done,
        }
    }
}

/// The agent takes the other finalizer over.
async fn take_off(api: &Api<DynamicObject>, name: &str) -> anyhow::Result<()> {
    let without = |live: &DynamicObject| {
        let kept: Vec<&String> =
            live.finalizers().iter().filter(|finalizer| *finalizer != SYNC_FINALIZERS[1]).collect();
        (kept.len() < live.finalizers().len()).then(|| json!({ "metadata": { "finalizers": kept } }))
    };
    change(api, name, without).await
}

async fn release(root_syncs: &Api<DynamicObject>) -> anyhow::Result<()> {
    let released = |live: &DynamicObject| {
        let owners: Vec<_> = live.owner_references().iter().filter(|owner| owner.kind != "ConfigManagement").collect();
        Some(json!({ "metadata": { "labels": { label::MADE_FROM: null }, "ownerReferences": owners } }))
    };
    change(root_syncs, ROOT_SYNC, released).await
}

/// Waits until no Pod of these Deployments is left.
async fn await_stopped(client: &Client, programs: &[(String, String)], wait: Duration) -> anyhow::Result<()> {
    until(wait, async || {
        let mut left = Vec::new();
        for namespace in NAMESPACES.iter().filter(|namespace| programs.iter().any(|(of, _)| of == *namespace)) {
            let pods = list(client, "", "v1", "Pod", Some(namespace)).await?;
            let is_over =
                |pod: &DynamicObject| matches!(pod.data["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            let is_of = |pod: &DynamicObject| {
                let name = pod.name_any();
                let deployment = deployment_of(&name, pod.labels());
                programs.iter().any(|(of, program)| of == namespace && program == deployment)
            };
            let own = pods.iter().filter(|pod| !is_over(pod) && is_of(pod));
            left.extend(own.map(|pod| format!("pod/{} in {namespace}", pod.name_any())));
        }
        Ok(left)
    })
    .await
}

/// Waits until the agent has written the status of each RootSync, be it that it cannot serve it.
async fn await_agent(client: &Client, wait: Duration) -> anyhow::Result<()> {
    until(wait, async || {
        let syncs = list(client, "configsync.gke.io", "v1beta1", "RootSync", None).await?;
        let waits = |sync: &&DynamicObject| {
            let status = &sync.data["status"];
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            let stalled = conditions.find(|it| it["type"] == "Stalled" && it["status"] == "True");
            if let Some(stalled) = stalled {
                return !stalled["message"].as_str().is_some_and(|said| said.starts_with("KNV1061"));
            }
            status["reconciler"] != AGENTS[0] || status["observedGeneration"].as_i64() < sync.metadata.generation
        };
        let waiting = syncs.iter().filter(waits);
        Ok(waiting.map(|sync| format!("{} {}", kind(sync), sync.name_any())).collect())
    })
    .await
}

/// Looks again and again, until nothing is left.
async fn until(wait: Duration, left: impl AsyncFn() -> anyhow::Result<Vec<String>>) -> anyhow::Result<()> {
    let deadline = Instant::now() + wait;
    loop {
        let left = left().await?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("still waiting after {} for {}", agent::api::format_duration(wait), left.join(", "));
        }
        tokio::time::sleep(PERIOD).await;
    }
}
