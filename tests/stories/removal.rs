//! RootSyncs that are deleted: what becomes of their objects, in whichever state the sync and the agent are.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind, approval, root_sync_path};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, condition, config_map, config_map_path, installed, namespace, shared};

const GROUPS: &str = "/apis/kpt.dev/v1alpha1/namespaces/config-management-system/resourcegroups";
const HELD: &str = "example.com/held";

/// A repository of a Namespace with three ConfigMaps, of which one depends on another.
fn repository(name: &str) -> Result<Repository> {
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(name))?;
    for settings in ["one", "two"] {
        repository.write(&format!("{settings}.yaml"), &config_map(name, settings, "value"))?;
    }
    let annotation = format!("  annotations:\n    config.kubernetes.io/depends-on: /namespaces/{name}/ConfigMap/one\n");
    let dependent = config_map(name, "dependent", "value").replace("\ndata:", &format!("\n{annotation}data:"));
    repository.write("dependent.yaml", &dependent)?;
    Ok(repository)
}

/// The RootSync `name` with such a repository, synced, with this policy.
fn synced<'a>(cluster: &'a Cluster, name: &str, policy: &str) -> Result<Sync<'a>> {
    let overrides = json!({"reconcileTimeout": "1s"});
    let sync = Sync::with_override(cluster, name, repository(name)?, &overrides)?;
    set_policy(&sync, policy.into())?;
    sync.await_synced(&sync.repository.head()?)?;
    ensure!(sync.object()?["metadata"]["finalizers"] == json!(["configsync.gke.io/reconciler"]), "no finalizer");
    Ok(sync)
}

fn set_policy(sync: &Sync<'_>, policy: Value) -> Result<()> {
    let annotations = json!({"configsync.gke.io/deletion-propagation-policy": policy});
    sync.patch(&json!({"metadata": {"annotations": annotations}}))
}

fn hold(cluster: &Cluster, path: &str, held: bool) -> Result<()> {
    let finalizers = if held { json!([HELD]) } else { Value::Null };
    cluster.patch(path, &json!({"metadata": {"finalizers": finalizers}}))?;
    Ok(())
}

fn is_gone(cluster: &Cluster, name: &str) -> Result<()> {
    await_condition(&format!("the RootSync {name} is gone"), || {
        let path = root_sync_path(name);
        ensure!(!cluster.exists(&path)?, "{:#}", cluster.get(&path)?);
        Ok(())
    })?;
    ensure!(!cluster.exists(&format!("{GROUPS}/{name}"))?, "its record is there");
    Ok(())
}

/// The objects of the sync are gone: its Namespace was the last.
fn is_emptied(cluster: &Cluster, name: &str) -> Result<()> {
    is_gone(cluster, name)?;
    ensure!(!cluster.exists(&format!("/api/v1/namespaces/{name}"))?, "the Namespace {name} is there");
    Ok(())
}

/// Says that the object has none of a sync's metadata.
fn is_nobodys(object: &Value) -> Result<()> {
    for field in ["labels", "annotations"] {
        let keys: Vec<_> = object["metadata"][field].as_object().into_iter().flatten().map(|(key, _)| key).collect();
        let ours = |key: &&&String| {
            ["configsync", "configmanagement", "applyset", "owning-inv"].iter().any(|of| key.contains(of))
        };
        ensure!(!keys.iter().any(|key| ours(&key)), "{object:#}");
    }
    Ok(())
}

/// The agent is away when the sync is deleted. What hangs is waited for and told, and what is detached stays.
pub(crate) fn foreground(kind: Kind) -> Result<()> {
    let (cluster, name) = (installed(kind)?, "foreground");
    let first = agent(&cluster, &[])?;
    let sync = synced(&cluster, name, "Foreground")?;
    let detached = config_map("kept", "detached", "value");
    let detached =
        detached.replace("\ndata:", "\n  annotations: {client.lifecycle.config.k8s.io/deletion: detach}\ndata:");
    sync.repository.write("kept.yaml", &namespace("kept"))?;
    sync.repository.write("detached.yaml", &detached)?;
    sync.commit()?;
    // A copy with all of the sync's metadata is none of its objects.
    let mut copy = cluster.get(&config_map_path(name, "one"))?;
    copy["metadata"]["name"] = "copy".into();
    copy["metadata"]["namespace"] = "default".into();
    for field in ["uid", "resourceVersion", "managedFields", "creationTimestamp"] {
        copy["metadata"][field] = Value::Null;
    }
    cluster.create("/api/v1/namespaces/default/configmaps", &copy)?;
    let [one, dependent] = ["one", "dependent"].map(|settings| config_map_path(name, settings));
    hold(&cluster, &dependent, true)?;
    first.terminate()?;
    cluster.delete(&sync.path())?;
    ensure!(cluster.exists(&sync.path())?, "it did not wait for the agent");

    let _agent = agent(&cluster, &[])?;
    await_condition("what hangs is told", || {
        let object = sync.object()?;
        ensure!(condition(&object, "ReconcilerFinalizing")?["reason"] == "ResourcesDeleting", "{object:#}");
        let failure = condition(&object, "ReconcilerFinalizerFailure")?;
        let message = failure["errors"][0]["errorMessage"].as_str().unwrap_or_default();
        ensure!(message.contains("dependent") && failure["reason"] == "DestroyFailure", "{object:#}");
        Ok(())
    })?;
    ensure!(cluster.get(&one)?["metadata"]["deletionTimestamp"].is_null(), "it went before its dependent");
    hold(&cluster, &dependent, false)?;
    is_emptied(&cluster, name)?;
    is_nobodys(&cluster.get("/api/v1/namespaces/kept")?)?;
    is_nobodys(&cluster.get(&config_map_path("kept", "detached"))?)?;
    ensure!(cluster.exists(&config_map_path("default", "copy"))?, "a copy was deleted");
    Ok(())
}

/// The sync cannot read its repository, or its spec is refused, or a commit is held, or it never synced.
pub(crate) fn foreground_in_any_state(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let sourceless = synced(cluster, "going-sourceless", "Foreground")?;
    sourceless.patch(&json!({"spec": {"git": {"branch": "none"}}}))?;
    sourceless.await_error("2004")?;
    let refused = synced(cluster, "going-refused", "Foreground")?;
    refused.patch(&json!({"spec": {"sourceType": "helm"}}))?;
    await_condition("it is refused", || {
        ensure!(condition(&refused.object()?, "Stalled")?["status"] == "True", "not yet");
        Ok(())
    })?;
    let held = synced(cluster, "going-held", "Foreground")?;
    for file in ["namespace.yaml", "one.yaml", "two.yaml", "dependent.yaml"] {
        held.repository.remove(file)?;
    }
    held.repository.write("other.yaml", &config_map("default", "going-held", "value"))?;
    held.repository.commit()?;
    held.await_error("2006")?;
    let empty = Repository::empty()?;
    empty.write("broken.yaml", "kind: [")?;
    let never = Sync::unstructured(cluster, "going-never", empty)?;
    set_policy(&never, "Foreground".into())?;
    never.await_error("2001")?;
    for sync in [&sourceless, &refused, &held, &never] {
        cluster.delete(&sync.path())?;
    }
    for sync in [&sourceless, &refused, &held, &never] {
        is_emptied(cluster, &sync.name)?;
    }
    Ok(())
}

/// Without its record, nothing says that the objects are the sync's: a user approves what goes.
pub(crate) fn without_record(kind: Kind) -> Result<()> {
    let (cluster, name) = (installed(kind)?, "going-lost");
    let first = agent(&cluster, &[])?;
    let sync = synced(&cluster, name, "Foreground")?;
    first.terminate()?;
    cluster.delete(&format!("{GROUPS}/{name}"))?;
    cluster.delete(&sync.path())?;
    let _agent = agent(&cluster, &[])?;
    let status = sync.await_error("2006")?["status"].to_string();
    ensure!(cluster.exists(&config_map_path(name, "one"))?, "it was deleted without a proof");
    cluster.annotate_approval(name, approval(&status).unwrap_or_default())?;
    is_emptied(&cluster, name)
}

/// Orphan takes the metadata off. Without a policy the objects stay as they are, for a sync that follows.
pub(crate) fn orphan(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let sync = synced(cluster, "orphaned", "Orphan")?;
    let path = config_map_path("orphaned", "one");
    let uid = cluster.get(&path)?["metadata"]["uid"].clone();
    cluster.delete(&sync.path())?;
    is_gone(cluster, "orphaned")?;
    for path in [&path, "/api/v1/namespaces/orphaned"] {
        is_nobodys(&cluster.get(path)?)?;
    }
    ensure!(cluster.get(&path)?["metadata"]["uid"] == uid, "it was made anew");

    let sync = synced(cluster, "left", "")?;
    let path = config_map_path("left", "one");
    let before = cluster.get(&path)?;
    cluster.delete(&sync.path())?;
    await_condition("the RootSync is gone", || {
        ensure!(!cluster.exists(&sync.path())?, "not yet");
        Ok(())
    })?;
    ensure!(cluster.get(&path)? == before, "it was changed");
    Ok(())
}

/// Another policy while the sync waits for an object that hangs.
pub(crate) fn changed_policy(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    for (name, policy) in [("turned-orphan", json!("Orphan")), ("turned-none", Value::Null)] {
        let sync = synced(cluster, name, "Foreground")?;
        let [one, dependent] = ["one", "dependent"].map(|settings| config_map_path(name, settings));
        hold(cluster, &dependent, true)?;
        cluster.delete(&sync.path())?;
        await_condition("the deletion has begun", || {
            ensure!(cluster.get(&dependent)?["metadata"]["deletionTimestamp"].is_string(), "not yet");
            Ok(())
        })?;
        set_policy(&sync, policy.clone())?;
        await_condition("the RootSync is gone", || {
            ensure!(!cluster.exists(&sync.path())?, "{:#}", sync.object()?);
            Ok(())
        })?;
        let left = cluster.get(&one)?;
        ensure!(left["metadata"]["deletionTimestamp"].is_null(), "{left:#}");
        ensure!(is_nobodys(&left).is_ok() == policy.is_string(), "{left:#}");
        hold(cluster, &dependent, false)?;
    }
    Ok(())
}
