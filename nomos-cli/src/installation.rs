//! The objects of an installation: the CRDs and the manifests of the agent, as `examples/install` holds them.

use std::time::{Duration, SystemTime};

use agent::io::kubernetes::lease::{LEASE, state};
use agent::model::metadata::CONTROLLER_NAMESPACE;
use agent::sync::election::LeaseState;
use anyhow::{Context as _, bail};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, TypeMeta};
use kube::core::gvk::GroupVersionKind;
use serde::Deserialize as _;

use crate::contexts::{AGENTS, ClusterContext};

/// The manifests of the agent.
const AGENT: &str = include_str!("../../examples/install/agent.yaml");
/// Name of the Deployment of Config Sync's manager.
const CONFIG_SYNC: &str = AGENTS[1];
/// Name of the agent's Deployment, and the value of the label that all its objects have.
pub(crate) const NAME: &str = AGENTS[0];
/// The label that all objects of the agent have.
pub(crate) const LABEL: &str = "app.kubernetes.io/name";

/// Difference between the clocks of two machines that is normal.
const CLOCKS: Duration = Duration::from_secs(30);

/// The choices of one installation.
#[derive(Clone, Debug)]
pub(crate) struct Choices<'a> {
    /// The image of the agent.
    pub(crate) image: &'a str,
    /// Secret of the type `kubernetes.io/dockerconfigjson`, in the agent's namespace.
    pub(crate) image_pull_secret: Option<&'a str>,
    /// Number of agents: one serves the syncs, the others stand by.
    pub(crate) replicas: u32,
    /// Flags of the agent.
    pub(crate) flags: Vec<String>,
}

/// The CRDs, sorted by name.
///
/// # Errors
///
/// If the program was built wrongly.
pub(crate) fn crds() -> anyhow::Result<Vec<DynamicObject>> {
    agent::api::crds()
        .into_iter()
        .map(|crd| {
            let mut object: DynamicObject = serde_json::from_value(serde_json::to_value(crd)?)?;
            object.types = Some(TypeMeta {
                api_version: "apiextensions.k8s.io/v1".to_owned(),
                kind: "CustomResourceDefinition".to_owned(),
            });
            Ok(object)
        })
        .collect()
}

/// The objects of the agent, in the order in which they are applied: its Namespace is the first.
///
/// # Errors
///
/// If the program was built wrongly.
pub(crate) fn agent(choices: &Choices<'_>) -> anyhow::Result<Vec<DynamicObject>> {
    let mut objects = plain()?;
    let deployment = objects.iter_mut().find(|object| kind(object) == "Deployment").context("no Deployment")?;
    deployment.data["spec"]["replicas"] = choices.replicas.into();
    let spec = deployment.data.pointer_mut("/spec/template/spec").context("the Deployment has no Pods")?;
    if let Some(secret) = choices.image_pull_secret {
        spec["imagePullSecrets"] = serde_json::json!([{ "name": secret }]);
    }
    let container = &mut spec["containers"][0];
    container["image"] = choices.image.into();
    if let Some(args) = container["args"].as_array_mut() {
        args.extend(choices.flags.iter().map(|flag| flag.as_str().into()));
    }
    let version = choices.image.rsplit('/').next().and_then(|name| name.split_once(':'));
    if let Some((_, version)) = version.filter(|_| !choices.image.contains('@')) {
        deployment
            .metadata
            .labels
            .get_or_insert_default()
            .insert("app.kubernetes.io/version".to_owned(), version.to_owned());
    }
    Ok(objects)
}

/// The objects of the agent as the file has them.
///
/// # Errors
///
/// If the program was built wrongly.
pub(crate) fn plain() -> anyhow::Result<Vec<DynamicObject>> {
    serde_yaml::Deserializer::from_str(AGENT)
        .map(|document| DynamicObject::deserialize(document).context("a manifest of the agent cannot be read"))
        .collect()
}

/// The kind of an object.
pub(crate) fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| &types.kind)
}

/// The name of an object with its namespace, such as `reposync.configsync.gke.io/repo-sync in shop`.
pub(crate) fn full_name(object: &DynamicObject) -> String {
    let place = object.metadata.namespace.as_ref().map_or_else(String::new, |namespace| format!(" in {namespace}"));
    format!("{}{place}", name(object))
}

/// The name of an object as kubectl writes it, such as `deployment.apps/nomos-agent`.
pub(crate) fn name(object: &DynamicObject) -> String {
    let resource = resource(object);
    let group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
    format!("{}{group}/{}", resource.kind.to_lowercase(), object.metadata.name.as_deref().unwrap_or_default())
}

fn resource(object: &DynamicObject) -> ApiResource {
    let gvk = object.types.as_ref().and_then(|types| GroupVersionKind::try_from(types).ok());
    ApiResource::from_gvk(&gvk.unwrap_or_else(|| GroupVersionKind::gvk("", "v1", "")))
}

/// The API of an object's kind, in its namespace if it has one.
pub(crate) fn api(client: &Client, object: &DynamicObject) -> Api<DynamicObject> {
    let resource = resource(object);
    match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// The API of a kind in the namespace of the agent.
pub(crate) fn in_namespace(client: &Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), CONTROLLER_NAMESPACE, &resource)
}

/// Fails on a cluster whose syncs Config Sync serves: two programs would fight over every object.
///
/// # Errors
///
/// If its manager runs, or the cluster cannot be asked.
pub(crate) async fn refuse_beside_config_sync(cluster: &ClusterContext, client: &Client) -> anyhow::Result<()> {
    let deployments = in_namespace(client, "apps", "v1", "Deployment");
    let found = deployments.get_opt(CONFIG_SYNC).await.map_err(|error| cluster.failed(error))?;
    // `nomos migrate` leaves it without Pods.
    if found.is_some_and(|deployment| deployment.data["spec"]["replicas"] != 0) {
        bail!(
            "Config Sync serves the syncs of the cluster {}: its Deployment {CONFIG_SYNC} is in {CONTROLLER_NAMESPACE}. \
             Nothing is changed; stop it with nomos migrate first",
            cluster.context
        );
    }
    Ok(())
}

/// `true` if an agent has renewed the Lease within its duration.
///
/// # Errors
///
/// If the Lease cannot be read.
pub(crate) async fn agent_leads(client: &Client) -> anyhow::Result<bool> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), CONTROLLER_NAMESPACE);
    let Some(lease) = leases.get_opt(LEASE).await.context("failed to read the Lease of the agents")? else {
        return Ok(false);
    };
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| SystemTime::from(time.0));
    let LeaseState { holder, duration, .. } = state(&lease);
    let age = renewed.and_then(|renewed| SystemTime::now().duration_since(renewed).ok()).unwrap_or_default();
    Ok(!holder.is_empty() && age < duration + CLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_reach_the_deployment_and_nothing_else() {
        let choices = Choices {
            image: "registry.example.com:5000/nomos-agent:1.2.0",
            image_pull_secret: Some("registry"),
            replicas: 3,
            flags: vec!["--cluster-name=prod".to_owned()],
        };
        let (objects, plain) = (agent(&choices).expect("readable"), plain().expect("readable"));
        for (object, plain) in objects.iter().zip(&plain) {
            assert_eq!(object == plain, kind(object) != "Deployment", "{}", name(object));
        }
        let deployment = objects.iter().find(|object| kind(object) == "Deployment").expect("there");
        assert_eq!(deployment.metadata.labels.as_ref().expect("labels")["app.kubernetes.io/version"], "1.2.0");
        assert_eq!(deployment.data["spec"]["replicas"], 3);
        let pod = deployment.data.pointer("/spec/template/spec").expect("there");
        assert_eq!(pod["imagePullSecrets"][0]["name"], "registry");
        assert_eq!(pod["containers"][0]["image"], choices.image);
        let args = pod["containers"][0]["args"].as_array().expect("a list");
        assert_eq!(args.last().expect("flags"), "--cluster-name=prod");
    }

    #[test]
    fn every_object_is_the_agents_and_the_namespace_comes_first() {
        let objects = plain().expect("readable");
        assert_eq!(name(&objects[0]), format!("namespace/{CONTROLLER_NAMESPACE}"));
        for object in &objects {
            let labels = object.metadata.labels.as_ref().expect("labels");
            assert_eq!(labels.get(LABEL).map(String::as_str), Some(NAME), "{}", name(object));
            let namespace = object.metadata.namespace.as_deref();
            assert!(namespace.is_none_or(|namespace| namespace == CONTROLLER_NAMESPACE), "{}", name(object));
        }
    }

    #[test]
    fn the_kustomization_names_every_file() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/install");
        let text = std::fs::read_to_string(directory.join("kustomization.yaml")).expect("readable");
        let kustomization: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
        let named = kustomization["resources"].as_array().expect("a list").iter().filter_map(|name| name.as_str());
        let mut files: Vec<String> = crds()
            .expect("readable")
            .iter()
            .map(|crd| format!("crds/{}.yaml", crd.metadata.name.as_deref().unwrap_or_default()))
            .collect();
        files.push("agent.yaml".to_owned());
        assert_eq!(named.collect::<Vec<_>>(), files);
    }
}
