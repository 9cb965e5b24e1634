//! `nomos install`: puts the agent into a cluster, or upgrades it.

use std::path::Path;
use std::time::{Duration, Instant};

use agent::api::format_duration;
use anyhow::{Context as _, bail};
use kube::Client;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::Value;

use crate::columns::Data;
use crate::contexts::{self, ClusterContext};
use crate::installation::{self, Choices, LABEL, NAME};
use crate::{Console, FINE, FOUND, completions, duration};

/// Field manager of the objects of an installation.
const MANAGER: &str = "nomos-install";
/// Time between two looks at the Deployment.
const PERIOD: Duration = Duration::from_millis(500);

/// Put the agent into a cluster, or upgrade it
///
/// Applies the CRDs and the agent, waits until an agent leads, and shows the state of the syncs. It can be repeated: what is
/// there already is brought to the state that the flags of this run say. Flags that are left out have their defaults.
#[derive(clap::Args)]
pub(crate) struct InstallArgs {
    /// Image of the agent; tests/image in the repository of nomos builds it
    #[arg(long, value_name = "IMAGE")]
    image: String,

    /// Secret in the namespace config-management-system with which the image is pulled
    #[arg(long, value_name = "NAME")]
    image_pull_secret: Option<String>,

    /// Number of agents: one serves the syncs, the others take over when it is gone
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=9))]
    replicas: u32,

    /// Name of the cluster, for cluster selectors
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,

    /// Time between two comparisons of whole objects, for changes that leave no trace in metadata [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    audit_period: Option<Duration>,

    /// Time after which another agent takes over from one that is gone: whole seconds [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    lease_duration: Option<Duration>,

    /// Secret with age keys, in keys that end in .agekey, with which the agent opens files that SOPS sealed: in the namespace
    /// config-management-system for RootSyncs, in its own namespace for a RepoSync
    #[arg(long, value_name = "NAME")]
    age_key_secret: Option<String>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", add = completions::contexts())]
    context: Option<String>,

    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Longest time to wait until the agents are ready and one of them leads
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,

    /// Print the manifests in this data format, and do nothing else
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Data>,
}

/// The manifests of an installation.
struct Manifests {
    crds: Vec<DynamicObject>,
    agent: Vec<DynamicObject>,
}

/// Installs the agent, or prints the manifests.
pub(crate) fn run(args: &InstallArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let manifests = manifests(args)?;
    if let Some(format) = args.output {
        print(&manifests, format, console)?;
        return Ok(FINE);
    }
    let cluster = contexts::cluster(kubeconfig, &console.environment, args.context.as_deref())?;
    let ready = contexts::with(&cluster, async |client| install(args, &cluster, &client, &manifests, console).await)?;
    if !ready || args.dry_run {
        return Ok(if ready { FINE } else { FOUND });
    }
    // The state of the syncs does not decide whether the installation succeeded.
    super::status::run(&super::status::StatusArgs::of(&cluster.context), kubeconfig, console)?;
    Ok(FINE)
}

fn manifests(args: &InstallArgs) -> anyhow::Result<Manifests> {
    if args.image.trim().is_empty() || args.image.contains(char::is_whitespace) {
        bail!("--image {:?} is not the name of an image, such as registry.example.com/nomos-agent:0.1.0", args.image);
    }
    let name = args.cluster_name.as_ref().map(|name| format!("--cluster-name={name}"));
    let period = args.audit_period.map(|period| format!("--audit-period={}", format_duration(period)));
    let lease = args.lease_duration.map(|time| format!("--lease-duration={}", format_duration(time)));
    let keys = args.age_key_secret.as_ref().map(|name| format!("--age-key-secret={name}"));
    let choices = Choices {
        image: &args.image,
        image_pull_secret: args.image_pull_secret.as_deref(),
        replicas: args.replicas,
        flags: [name, period, lease, keys].into_iter().flatten().collect(),
    };
    Ok(Manifests { crds: installation::crds()?, agent: installation::agent(&choices)? })
}

/// Prints the manifests as a stream of documents, or as a List in JSON.
fn print(manifests: &Manifests, format: Data, console: &mut Console<'_>) -> anyhow::Result<()> {
    let objects: Vec<&DynamicObject> = manifests.crds.iter().chain(&manifests.agent).collect();
    let text = match format {
        Data::Json => format.text(&serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects }))?,
        Data::Yaml => {
            let document = |object: &&DynamicObject| anyhow::Ok(format!("---\n{}", format.text(object)?));
            objects.iter().map(document).collect::<anyhow::Result<String>>()?
        }
    };
    console.print_data(&text);
    Ok(())
}

/// Applies everything and waits. `false` if the agent did not become ready.
async fn install(
    args: &InstallArgs,
    cluster: &ClusterContext,
    client: &Client,
    manifests: &Manifests,
    console: &mut Console<'_>,
) -> anyhow::Result<bool> {
    installation::refuse_beside_config_sync(cluster, client).await?;
    for object in manifests.crds.iter().chain(&manifests.agent) {
        let change = apply(client, object, args.dry_run).await;
        let change = change.with_context(|| format!("failed to apply {}", installation::name(object)))?;
        console.print(&format!(
            "{} {change}{}\n",
            installation::name(object),
            if args.dry_run { " (dry run)" } else { "" }
        ));
    }
    if args.dry_run {
        return Ok(true);
    }
    wait(args.timeout, client, console).await
}

/// Applies one object, and says what that changed.
async fn apply(client: &Client, object: &DynamicObject, dry_run: bool) -> anyhow::Result<&'static str> {
    let api = installation::api(client, object);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let before = api.get_opt(name).await?;
    if before.as_ref().is_some_and(|before| before.metadata.deletion_timestamp.is_some()) {
        bail!("it is being deleted; wait until it is gone, and run this again");
    }
    let params = PatchParams { dry_run, ..PatchParams::apply(MANAGER).force() };
    let role = |binding: &DynamicObject| binding.data.get("roleRef").cloned();
    if before.as_ref().is_some_and(|before| role(before) != role(object)) {
        if dry_run {
            return Ok("would be configured");
        }
        // The role of a binding cannot be changed.
        api.delete(name, &DeleteParams::default()).await?;
    }
    let after = match api.patch(name, &params, &Patch::Apply(object)).await {
        // In a dry run the Namespace is not there either.
        Err(kube::Error::Api(status)) if dry_run && before.is_none() && status.code == 404 => {
            return Ok("would be created");
        }
        after => after?,
    };
    let same = before.map(|before| content(before) == content(after));
    Ok(match (same, dry_run) {
        (None, false) => "created",
        (None, true) => "would be created",
        (Some(true), _) => "is unchanged",
        (Some(false), false) => "configured",
        (Some(false), true) => "would be configured",
    })
}

/// The object without what an apply without effect may change.
fn content(mut object: DynamicObject) -> Value {
    object.metadata.managed_fields = None;
    object.metadata.resource_version = None;
    // Controllers write it at any time.
    if let Some(fields) = object.data.as_object_mut() {
        fields.remove("status");
    }
    serde_json::to_value(object).unwrap_or_default()
}

/// Waits until the Deployment has become what was applied and an agent leads, and tells on a terminal what it waits for.
async fn wait(timeout: Duration, client: &Client, console: &mut Console<'_>) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let mut told = String::new();
    loop {
        let state = state(client).await;
        let Err(waiting) = state else {
            console.print(&format!(
                "The agent is ready after {}.\n",
                format_duration(Duration::from_secs(begun.elapsed().as_secs()))
            ));
            return Ok(true);
        };
        if begun.elapsed() >= timeout {
            console.error(&format!(
                "the agent is not ready after {}: {waiting}. It goes on by itself; look with: kubectl -n config-management-system describe pods",
                format_duration(timeout)
            ));
            return Ok(false);
        }
        if console.progress && waiting != told {
            console.note(&format!("waiting: {waiting}\n"));
            told = waiting;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Nothing if the agents are ready and one of them serves the syncs, else what is missing.
async fn state(client: &Client) -> Result<(), String> {
    let deployment = installation::in_namespace(client, "apps", "v1", "Deployment").get(NAME).await;
    let deployment = deployment.map_err(|error| format!("the API server does not show the Deployment: {error}"))?;
    if is_rolled_out(&deployment) {
        return match installation::agent_leads(client).await {
            _ if deployment.data["spec"]["replicas"] == 0 => Ok(()),
            Ok(true) => Ok(()),
            Ok(false) => Err("no agent holds the Lease of the cluster yet".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        };
    }
    let pods = installation::in_namespace(client, "", "v1", "Pod");
    let pods = pods.list(&ListParams::default().labels(&format!("{LABEL}={NAME}"))).await;
    let pods = pods.map_err(|error| format!("the API server does not show the Pods: {error}"))?;
    Err(pods.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).find_map(trouble).unwrap_or_else(
        || {
            let condition = condition(&deployment.data, "ReplicaFailure", "True");
            condition.unwrap_or_else(|| "the Pod of the agent starts".to_owned())
        },
    ))
}

/// As `kubectl rollout status` decides it.
fn is_rolled_out(deployment: &DynamicObject) -> bool {
    let status = |field: &str| deployment.data["status"][field].as_i64().unwrap_or(0);
    let asked = deployment.data["spec"]["replicas"].as_i64().unwrap_or(1);
    status("observedGeneration") >= deployment.metadata.generation.unwrap_or(0)
        && status("updatedReplicas") == asked
        && status("replicas") == asked
        && status("availableReplicas") == asked
}

/// The reason for which a Pod does not become ready, as far as its status tells.
fn trouble(pod: &DynamicObject) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if let Some(message) = condition(&pod.data, "PodScheduled", "False") {
        return Some(format!("the Pod {name} has no node: {message}"));
    }
    let state = &pod.data["status"]["containerStatuses"][0]["state"];
    let text = |state: &Value, field: &str| state[field].as_str().unwrap_or_default().to_owned();
    if let Some(waiting) = state.get("waiting").filter(|waiting| waiting["reason"] != "ContainerCreating") {
        return Some(format!(
            "the Pod {name} does not start: {} {}",
            text(waiting, "reason"),
            text(waiting, "message")
        ));
    }
    state.get("terminated").map(|ended| format!("the Pod {name} ended with status {}", ended["exitCode"]))
}

/// The message of a condition that has this status.
fn condition(data: &Value, name: &str, status: &str) -> Option<String> {
    let conditions = data["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == name && condition["status"] == status)?;
    Some(found["message"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn a_deployment_is_rolled_out_when_only_new_pods_are_left_and_available() {
        let status = |observed: i64, replicas: i64, updated: i64, available: i64| {
            is_rolled_out(&object(json!({
                "metadata": { "name": NAME, "generation": 2 }, "spec": { "replicas": 1 },
                "status": { "observedGeneration": observed, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available },
            })))
        };
        assert!(status(2, 1, 1, 1));
        assert!(!status(1, 1, 1, 1));
        assert!(!status(2, 2, 1, 1));
        assert!(!status(2, 1, 0, 1));
        assert!(!status(2, 1, 1, 0));
    }

    #[test]
    fn the_trouble_of_a_pod_is_told() {
        let pod = |status: Value| trouble(&object(json!({ "metadata": { "name": "a" }, "status": status })));
        let waiting = |reason: &str| json!({ "containerStatuses": [{ "state": { "waiting": { "reason": reason, "message": "no such image" } } }] });
        assert_eq!(
            pod(waiting("ErrImagePull")).as_deref(),
            Some("the Pod a does not start: ErrImagePull no such image")
        );
        assert_eq!(pod(waiting("ContainerCreating")), None);
        let unscheduled =
            json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "message": "0/1 nodes" }] });
        assert_eq!(pod(unscheduled).as_deref(), Some("the Pod a has no node: 0/1 nodes"));
        assert_eq!(pod(json!({ "containerStatuses": [{ "state": { "running": {} } }] })), None);
    }
}
