//! `nomos install` and `nomos uninstall` on a cluster without nodes: this story says that the Pods of the agent are there.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind, root_sync_path};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::tenants::{Tenant, binding};
use crate::world::{Sync, agent, await_synced, config_map, config_map_path, installed, namespace, says};

const NAMESPACE: &str = "/api/v1/namespaces/config-management-system";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/config-management-system/deployments/nomos-agent";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/config-management-system/deployments";
const BINDING: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/nomos-agent";
const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rootsyncs.configsync.gke.io";
const INSTALL: &[&str] = &["install", "--image", "registry.example.com/nomos-agent:1.0.0"];

pub(crate) fn comes_and_goes(kind: Kind) -> Result<()> {
    let cluster = Cluster::start(kind)?;
    run(&cluster, &[INSTALL, &["--dry-run"]].concat(), 0, "deployment.apps/nomos-agent would be created")?;
    ensure!(!cluster.exists(NAMESPACE)? && !cluster.exists(CRD)?, "a dry run changed the cluster");

    // No Pod comes.
    run(&cluster, &[INSTALL, &["--timeout", "1s"]].concat(), 1, "deployment.apps/nomos-agent created")?;
    let deployment = cluster.get(DEPLOYMENT)?;
    ensure!(deployment["spec"]["replicas"] == 2, "{deployment:#}");
    are_there(&cluster, 2)?;
    run(&cluster, &[INSTALL, &["--timeout", "1s"]].concat(), 1, "no agent holds the Lease of the cluster yet")?;
    let leader = agent(&cluster, &[])?;
    says(&leader, "this agent holds the Lease")?;
    run(&cluster, INSTALL, 0, "deployment.apps/nomos-agent is unchanged")?;
    leader.terminate()?;
    let next = ["install", "--image", "registry.example.com/nomos-agent:1.1.0", "--timeout", "1s"];
    run(&cluster, &next, 1, "deployment.apps/nomos-agent configured")?;
    are_there(&cluster, 2)?;

    let mut sync = json!({
        "apiVersion": "configsync.gke.io/v1beta1", "kind": "RootSync",
        "metadata": { "name": "root-sync", "finalizers": ["configsync.gke.io/reconciler"] },
        "spec": { "git": { "repo": "https://git.example.com/config", "auth": "none" } },
    });
    let syncs = root_sync_path("");
    cluster.create(syncs.trim_end_matches('/'), &sync)?;
    run(&cluster, &["uninstall"], 2, "confirm with --yes")?;
    ensure!(cluster.exists(DEPLOYMENT)?, "the agent went without an answer");
    cluster.create(DEPLOYMENTS, &config_sync())?;
    run(&cluster, &["uninstall", "--yes"], 2, "Config Sync serves the syncs")?;
    ensure!(cluster.exists(&root_sync_path("root-sync"))?, "a sync of Config Sync was deleted");
    cluster.delete(&format!("{DEPLOYMENTS}/reconciler-manager"))?;
    run(&cluster, &["uninstall", "--yes"], 0, "deployment.apps/nomos-agent deleted")?;
    for path in [DEPLOYMENT, BINDING, &root_sync_path("root-sync")] {
        ensure!(!cluster.exists(path)?, "{path} is still there");
    }
    ensure!(cluster.exists(NAMESPACE)? && cluster.exists(CRD)?, "the Namespace and the CRDs stay");
    run(&cluster, &["uninstall", "--yes"], 0, "What the syncs applied stays")?;

    // A finalizer of another program is not taken off, and it is told.
    sync["metadata"]["finalizers"] = json!(["example.com/keep"]);
    cluster.create(syncs.trim_end_matches('/'), &sync)?;
    run(&cluster, &["uninstall", "--yes", "--timeout", "1s"], 1, "rootsync.configsync.gke.io/root-sync")?;
    cluster.patch(&root_sync_path("root-sync"), &json!({ "metadata": { "finalizers": null } }))?;
    run(&cluster, &["uninstall", "--crds"], 2, "confirm with --yes")?;
    ensure!(cluster.exists(CRD)?, "the CRDs went without an answer");
    run(&cluster, &["uninstall", "--crds", "--yes"], 0, "rootsyncs.configsync.gke.io deleted")?;
    ensure!(!cluster.exists(CRD)?, "the CRDs are still there");
    Ok(())
}

/// The agent deletes what the syncs applied, dependents first, before it goes.
pub(crate) fn prunes(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let mut syncs = Vec::new();
    for name in ["one", "two"] {
        let repository = Repository::empty()?;
        repository.write("namespace.yaml", &namespace(name))?;
        repository.write("settings.yaml", &config_map(name, "settings", "one"))?;
        let sync = Sync::unstructured(&cluster, name, repository)?;
        sync.await_synced(&sync.repository.head()?)?;
        syncs.push(sync);
    }
    // Another one declares objects of the first, and may come before it or after it.
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace("one"))?;
    repository.write("settings.yaml", &config_map("one", "settings", "one"))?;
    let other = Sync::unstructured(&cluster, "other", repository)?;
    other.await_error("1060")?;
    run(&cluster, &["uninstall", "--prune", "--yes"], 0, "What the syncs applied is deleted")?;
    are_gone(&cluster, &["one", "two"])
}

/// One sync declares another, and says that its objects stay. With `--prune` they go, and nothing comes back meanwhile.
pub(crate) fn prunes_syncs_of_syncs(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let (outer, inner) = (Repository::empty()?, Repository::empty()?);
    inner.write("namespace.yaml", &namespace("inner"))?;
    inner.write("settings.yaml", &config_map("inner", "settings", "one"))?;
    let commit = inner.commit()?;
    outer.write("namespace.yaml", &namespace("outer"))?;
    // Its name comes before that of the sync that declares it.
    outer.write("sync.yaml", &sync_object("inner", &inner, "Orphan"))?;
    let sync = Sync::unstructured(&cluster, "outer", outer)?;
    sync.await_synced(&sync.repository.head()?)?;
    await_synced(&cluster, "inner", &commit)?;
    let from = cluster.now()?;
    run(&cluster, &["uninstall", "--prune", "--yes"], 0, "What the syncs applied is deleted")?;
    are_gone(&cluster, &["inner", "outer"])?;
    let (requests, _) = cluster.requests(from)?;
    let made = requests.iter().find(|request| {
        let kinds = ["rootsyncs", "namespaces", "configmaps"];
        request.code == 201
            && request.user_agent.starts_with("nomos-agent/")
            && kinds.contains(&request.resource.as_str())
    });
    ensure!(made.is_none(), "something was made anew: {made:#?}");
    Ok(())
}

/// Two syncs declare each other: neither waits for the other for ever.
pub(crate) fn prunes_a_circle(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let (one, two) = (Repository::empty()?, Repository::empty()?);
    for (repository, name, other, others) in [(&one, "one", "two", &two), (&two, "two", "one", &one)] {
        repository.write("namespace.yaml", &namespace(name))?;
        repository.write("settings.yaml", &config_map(name, "settings", "one"))?;
        repository.write("sync.yaml", &sync_object(other, others, "Foreground"))?;
    }
    let commit = two.commit()?;
    let sync = Sync::unstructured(&cluster, "one", one)?;
    sync.await_synced(&sync.repository.head()?)?;
    await_synced(&cluster, "two", &commit)?;
    run(&cluster, &["uninstall", "--prune", "--yes"], 0, "What the syncs applied is deleted")?;
    are_gone(&cluster, &["one", "two"])
}

/// A RootSync gives the RepoSyncs of two Namespaces their rights, by which their objects go before the rights do.
pub(crate) fn prunes_tenants(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let root = Repository::empty()?;
    let mut tenants = Vec::new();
    for name in ["one", "two"] {
        cluster.create_namespace(name)?;
        root.write(&format!("{name}.yaml"), &binding(name, "ClusterRole", "edit").to_string())?;
        let repository = Repository::empty()?;
        for map in 0..5 {
            repository.write(&format!("{map}.yaml"), &config_map(name, &format!("settings-{map}"), "one"))?;
        }
        tenants.push(Tenant::new(&cluster, name, "repo-sync", repository)?);
    }
    let root = Sync::unstructured(&cluster, "root-sync", root)?;
    root.await_synced(&root.repository.head()?)?;
    for tenant in &tenants {
        tenant.await_synced()?;
    }
    run(&cluster, &["uninstall", "--prune", "--yes"], 0, "What the syncs applied is deleted")?;
    for tenant in &tenants {
        ensure!(!cluster.exists(&tenant.path())?, "{} is left: {:#}", tenant.path(), tenant.object()?);
        let settings = config_map_path(&tenant.namespace, "settings-0");
        ensure!(!cluster.exists(&settings)?, "{settings} is left");
    }
    Ok(())
}

/// A manifest of a RootSync with this policy for its objects when it goes.
fn sync_object(name: &str, repository: &Repository, policy: &str) -> String {
    format!(
        "apiVersion: configsync.gke.io/v1beta1\nkind: RootSync\nmetadata:\n  name: {name}\n  namespace: config-management-system\n  \
         annotations: {{configsync.gke.io/deletion-propagation-policy: {policy}}}\nspec:\n  sourceFormat: unstructured\n  \
         git: {{repo: \"{}\", branch: main, auth: none}}\n",
        repository.url()
    )
}

/// These RootSyncs are gone, with the Namespaces of their names.
fn are_gone(cluster: &Cluster, names: &[&str]) -> Result<()> {
    for name in names {
        for path in [root_sync_path(name), format!("/api/v1/namespaces/{name}")] {
            ensure!(!cluster.exists(&path)?, "{path} is left: {:#}", cluster.get(&path)?);
        }
    }
    Ok(())
}

/// A user deleted the Namespace and the CRDs first, and the node of an agent is gone.
pub(crate) fn goes_whatever_the_state(kind: Kind) -> Result<()> {
    let cluster = Cluster::start(kind)?;
    run(&cluster, &[INSTALL, &["--timeout", "1s"]].concat(), 1, "deployment.apps/nomos-agent created")?;
    run(&cluster, &["uninstall", "--prune", "--yes"], 2, "no agent holds the Lease")?;
    ensure!(cluster.exists(DEPLOYMENT)?, "something was removed although no agent can delete what the syncs applied");
    let sync = json!({
        "apiVersion": "configsync.gke.io/v1beta1", "kind": "RootSync",
        "metadata": { "name": "root-sync", "finalizers": ["configsync.gke.io/reconciler"] },
        "spec": { "git": { "repo": "https://git.example.com/config", "auth": "none" } },
    });
    cluster.create(root_sync_path("").trim_end_matches('/'), &sync)?;
    let pod = json!({
        "metadata": { "name": "lost", "labels": { "app.kubernetes.io/name": "nomos-agent" } },
        "spec": {
            "nodeName": "gone", "terminationGracePeriodSeconds": 1, "containers": [{
                "name": "agent", "image": "agent:1",
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        },
    });
    cluster.create(&format!("{NAMESPACE}/pods"), &pod)?;
    cluster.delete(CRD)?;
    cluster.delete(NAMESPACE)?;
    await_condition("the RootSync is being deleted", || {
        let live = cluster.get(&root_sync_path("root-sync"))?;
        ensure!(live["metadata"]["deletionTimestamp"].is_string(), "{live:#}");
        Ok(())
    })?;
    run(&cluster, &["uninstall", "--crds", "--yes"], 0, "rootsync.configsync.gke.io/root-sync deleted")?;
    await_condition("nothing is left", || {
        for path in [NAMESPACE, CRD, BINDING] {
            ensure!(!cluster.exists(path)?, "{path} is still there");
        }
        Ok(())
    })
}

/// The manager of Config Sync.
fn config_sync() -> Value {
    let labels = json!({ "app": "reconciler-manager" });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "reconciler-manager" },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "manager", "image": "manager:1" }] } },
        },
    })
}

/// Waits until the Deployment is available, and says that its Pods are ready, as a node would. Without Pods the ReplicaSets say it.
fn are_there(cluster: &Cluster, pods: u64) -> Result<()> {
    await_condition("the agent is available", || {
        let ready = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
        for path in names(cluster, "/api/v1/namespaces/config-management-system/pods")? {
            cluster.patch(&format!("{path}/status"), &ready)?;
        }
        for path in names(cluster, "/apis/apps/v1/namespaces/config-management-system/replicasets")? {
            let asked = cluster.get(&path)?["spec"]["replicas"].clone();
            let status = json!({ "replicas": asked, "readyReplicas": asked, "availableReplicas": asked });
            cluster.patch(&format!("{path}/status"), &json!({ "status": status }))?;
        }
        let status = cluster.get(DEPLOYMENT)?["status"].clone();
        ensure!(status["availableReplicas"] == pods && status["replicas"] == pods, "{status:#}");
        Ok(())
    })
}

/// The paths of the objects in a collection.
fn names(cluster: &Cluster, collection: &str) -> Result<Vec<String>> {
    let list = cluster.get(collection)?;
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items.filter_map(|item| Some(format!("{collection}/{}", item["metadata"]["name"].as_str()?))).collect())
}

fn run(cluster: &Cluster, args: &[&str], code: u8, says: &str) -> Result<()> {
    let (found, said) = cluster.nomos(args);
    ensure!(found == code && said.contains(says), "nomos {}: exit status {found}\n{said}", args.join(" "));
    Ok(())
}
