//! Objects and fields that change hands: between syncs, and from a sync to another controller.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::tenants::{Tenant, binding, repo_sync};
use crate::world::{Sync, agent, config_map, config_map_path, installed, namespace, shared};

const SCALED: &str = "scaled";
const RENAMED: &str = "renamed";
const IMPLIED: &str = "implied";
const MOVED: &str = "moved";
const UNDELAYED: &str = "undelayed";
const SHARED: &str = "shared-namespace";
const DETACHED: &str = "detached-moved";
const EXPLICIT: &str = "explicit";

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: scaled}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: example.com/web:1.0}]}}
";

pub(crate) fn replicas(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(SCALED))?;
    repository.write("web.yaml", DEPLOYMENT)?;
    repository.write("witness.yaml", &config_map(SCALED, "witness", "before"))?;
    let sync = Sync::unstructured(cluster, SCALED, repository)?;
    let (web, witness) = ("/apis/apps/v1/namespaces/scaled/deployments/web", config_map_path(SCALED, "witness"));
    let applied = |value: &str| {
        await_condition(&format!("the commit with {value} is applied"), || {
            ensure!(cluster.get(&witness)?["data"]["key"] == value, "not yet");
            let commit = sync.repository.head()?;
            ensure!(cluster.get(web)?["metadata"]["annotations"]["configmanagement.gke.io/token"] == commit, "not yet");
            Ok(())
        })
    };
    applied("before")?;
    sync.repository.write("web.yaml", &DEPLOYMENT.replace("  replicas: 3\n", ""))?;
    sync.repository.write("witness.yaml", &config_map(SCALED, "witness", "after"))?;
    sync.repository.commit()?;
    applied("after")?;
    let live = cluster.get(web)?;
    ensure!(live["spec"]["replicas"] == 3, "{live:#}");
    let entries = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    let owner = entries.map(|entry| entry["fieldsV1"]["f:spec"].get("f:replicas")).any(|field| field.is_some());
    ensure!(!owner, "an autoscaler would have to take it: {live:#}");
    Ok(())
}

/// A RootSync is deleted and made anew under another name: the objects are the new one's.
pub(crate) fn between_syncs(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(RENAMED))?;
    repository.write("settings.yaml", &config_map(RENAMED, "settings", "first"))?;
    let old = Sync::unstructured(cluster, RENAMED, repository)?;
    let repository = Arc::clone(&old.repository);
    old.await_synced(&repository.head()?)?;
    let path = config_map_path(RENAMED, "settings");
    let uid = cluster.get(&path)?["metadata"]["uid"].clone();
    drop(old);

    let new = Sync::unstructured(cluster, "renamed-anew", repository)?;
    new.await_synced(&new.repository.head()?)?;
    new.repository.write("settings.yaml", &config_map(RENAMED, "settings", "second"))?;
    new.commit()?;
    let settings = cluster.get(&path)?;
    ensure!(settings["data"]["key"] == "second" && settings["metadata"]["uid"] == uid, "{settings:#}");
    let manager = &settings["metadata"]["annotations"]["configsync.gke.io/manager"];
    ensure!(manager == ":root_renamed-anew", "{settings:#}");
    new.repository.remove("settings.yaml")?;
    new.commit()?;
    ensure!(!cluster.exists(&path)?, "it is not the sync's own");
    Ok(())
}

/// A Namespace that one sync only has objects in belongs to the sync that declares it, whichever was first.
pub(crate) fn implicit_namespaces(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(IMPLIED, "settings", "value"))?;
    let implying = Sync::unstructured(cluster, "implying", repository)?;
    implying.await_synced(&implying.repository.head()?)?;
    let repository = Repository::empty()?;
    let labelled = namespace(IMPLIED).replace("metadata:\n", "metadata:\n  labels: {team: web}\n");
    repository.write("namespace.yaml", &labelled)?;
    let declaring = Sync::unstructured(cluster, "declaring", repository)?;
    declaring.await_synced(&declaring.repository.head()?)?;
    let live = cluster.get(&format!("/api/v1/namespaces/{IMPLIED}"))?;
    ensure!(live["metadata"]["labels"]["team"] == "web", "{live:#}");
    ensure!(live["metadata"]["annotations"]["configsync.gke.io/manager"] == ":root_declaring", "{live:#}");
    implying.repository.write("more.yaml", &config_map(IMPLIED, "more", "value"))?;
    implying.commit()?;
    ensure!(cluster.get(&format!("/api/v1/namespaces/{IMPLIED}"))?["metadata"]["labels"]["team"] == "web", "a fight");
    Ok(())
}

/// One commit moves an object, and a Namespace with an object in it, from the directory of one sync to that of another one.
pub(crate) fn between_directories(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Arc::new(Repository::empty()?);
    repository.write("one/namespace.yaml", &namespace(MOVED))?;
    repository.write("one/stays.yaml", &namespace("moved-not"))?;
    repository.write("one/settings.yaml", &config_map(MOVED, "settings", "first"))?;
    repository.write("two/witness.yaml", &namespace("moved-witness"))?;
    let commit = repository.commit()?;
    let one = Sync::of_directory(cluster, "moved-one", Arc::clone(&repository), "one")?;
    let two = Sync::of_directory(cluster, "moved-two", Arc::clone(&repository), "two")?;
    one.await_synced(&commit)?;
    two.await_synced(&commit)?;
    let paths = [config_map_path(MOVED, "settings"), format!("/api/v1/namespaces/{MOVED}")];
    let uids =
        || paths.iter().map(|path| Ok(cluster.get(path)?["metadata"]["uid"].clone())).collect::<Result<Vec<_>>>();
    let before = uids()?;
    repository.git(&["mv", "one/namespace.yaml", "one/settings.yaml", "two"])?;
    let commit = repository.commit()?;
    one.await_synced(&commit)?;
    two.await_synced(&commit)?;
    ensure!(uids()? == before, "they are other objects");
    let settings = cluster.get(&paths[0])?;
    ensure!(settings["metadata"]["annotations"]["configsync.gke.io/manager"] == ":root_moved-two", "{settings:#}");
    Ok(())
}

/// An object with `detach` moves from one sync to another: in one commit, and with a time in which nobody manages it.
pub(crate) fn detached(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Arc::new(Repository::empty()?);
    let detached = |name: &str, value: &str| {
        let annotation = "metadata:\n  annotations: {client.lifecycle.config.k8s.io/deletion: detach}\n";
        config_map(DETACHED, name, value).replace("metadata:\n", annotation)
    };
    repository.write("one/namespace.yaml", &namespace(DETACHED))?;
    repository.write("one/at-once.yaml", &detached("at-once", "first"))?;
    repository.write("one/later.yaml", &detached("later", "first"))?;
    repository.write("two/witness.yaml", &namespace("detached-witness"))?;
    let commit = repository.commit()?;
    let one = Sync::of_directory(cluster, "detached-one", Arc::clone(&repository), "one")?;
    let two = Sync::of_directory(cluster, "detached-two", Arc::clone(&repository), "two")?;
    let both_synced = |commit: &str| one.await_synced(commit).and_then(|_| two.await_synced(commit)).map(|_| ());
    both_synced(&commit)?;
    let paths = ["at-once", "later"].map(|name| config_map_path(DETACHED, name));
    let uids =
        || paths.iter().map(|path| Ok(cluster.get(path)?["metadata"]["uid"].clone())).collect::<Result<Vec<_>>>();
    let before = uids()?;

    repository.git(&["mv", "one/at-once.yaml", "two"])?;
    repository.remove("one/later.yaml")?;
    both_synced(&repository.commit()?)?;
    let manager = |path: &str| -> Result<Value> {
        Ok(cluster.get(path)?["metadata"]["annotations"]["configsync.gke.io/manager"].clone())
    };
    ensure!(manager(&paths[0])? == ":root_detached-two", "not the other one's");
    ensure!(manager(&paths[1])?.is_null(), "it is managed");
    for name in ["at-once", "later"] {
        repository.write(&format!("two/{name}.yaml"), &detached(name, "second"))?;
    }
    both_synced(&repository.commit()?)?;
    for path in &paths {
        ensure!(manager(path)? == ":root_detached-two" && cluster.get(path)?["data"]["key"] == "second", "{path}");
    }
    ensure!(uids()? == before, "they are other objects");
    Ok(())
}

/// Without implicit Namespaces a sync waits for the Namespace that it has objects in, and leaves it alone.
pub(crate) fn explicit_namespaces(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(EXPLICIT, "settings", "value"))?;
    let explicit = json!({"namespaceStrategy": "explicit"});
    let sync = Sync::with_override(cluster, EXPLICIT, repository, &explicit)?;
    let path = format!("/api/v1/namespaces/{EXPLICIT}");
    let status = sync.await_error("2009")?["status"].to_string();
    ensure!(status.contains("namespaces") && status.contains(EXPLICIT), "{status}");
    ensure!(!cluster.exists(&path)?, "it was made");
    cluster.create_namespace(EXPLICIT)?;
    let commit = sync.repository.head()?;
    sync.await_synced(&commit)?;
    let unmarked = || -> Result<()> {
        let live = cluster.get(&path)?;
        ensure!(!live["metadata"].to_string().contains("configsync.gke.io"), "{live:#}");
        Ok(())
    };
    unmarked()?;

    // The strategy changes: that Namespace is still of others, and one that is not there is made.
    sync.patch(&json!({"spec": {"override": {"namespaceStrategy": "implicit"}}}))?;
    sync.repository.write("more.yaml", &config_map("explicit-not", "more", "value"))?;
    let commit = sync.commit()?;
    unmarked()?;
    let made = "/api/v1/namespaces/explicit-not";
    let manager =
        || -> Result<Value> { Ok(cluster.get(made)?["metadata"]["annotations"]["configsync.gke.io/manager"].clone()) };
    ensure!(manager()? == ":root_explicit", "it is not marked: {:#}", cluster.get(made)?);
    sync.patch(&json!({"spec": {"override": explicit}}))?;
    await_condition("the Namespace that was made is given up", || {
        ensure!(manager()?.is_null(), "{:#}", cluster.get(made)?);
        Ok(())
    })?;
    sync.await_synced(&commit)?;
    ensure!(cluster.exists(&config_map_path("explicit-not", "more"))?, "the object in it is gone");
    ensure!(cluster.exists(&config_map_path(EXPLICIT, "settings"))?, "the object is gone");
    Ok(())
}

/// A Namespace that a sync does not declare any more stays while another sync has objects in it.
pub(crate) fn namespace_of_several(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    for name in [SHARED, "shared-not"] {
        repository.write(&format!("{name}.yaml"), &namespace(name))?;
    }
    let one = Sync::unstructured(cluster, "shared-one", repository)?;
    one.await_synced(&one.repository.head()?)?;
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(SHARED, "settings", "value"))?;
    repository.write("witness.yaml", &namespace("shared-witness"))?;
    let two = Sync::unstructured(cluster, "shared-two", repository)?;
    two.await_synced(&two.repository.head()?)?;

    one.repository.remove(&format!("{SHARED}.yaml"))?;
    let commit = one.repository.commit()?;
    let told = one.await_error("2009")?["status"].to_string();
    ensure!(told.contains(":root_shared-two"), "{told}");
    let namespace = cluster.get(&format!("/api/v1/namespaces/{SHARED}"))?;
    ensure!(namespace["metadata"]["deletionTimestamp"].is_null(), "{namespace:#}");

    two.repository.remove("settings.yaml")?;
    two.commit()?;
    one.await_synced(&commit)?;
    ensure!(!cluster.exists(&format!("/api/v1/namespaces/{SHARED}"))?, "the Namespace is left");
    Ok(())
}

/// Deletions wait for what the other syncs have, and a sync that does not run holds them up no more than any other.
pub(crate) fn stalled_delays_nothing(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(UNDELAYED))?;
    for name in ["stays", "first", "second"] {
        repository.write(&format!("{name}.yaml"), &config_map(UNDELAYED, name, "value"))?;
    }
    let sync = Sync::unstructured(&cluster, UNDELAYED, repository)?;
    let roles = json!({"roleRefs": [{"kind": "Role", "name": "view"}]});
    let _stalled = Sync::with_override(&cluster, "undelayed-stalled", Repository::empty()?, &roles)?;
    {
        let _agent = agent(&cluster, &[])?;
        sync.await_synced(&sync.repository.head()?)?;
        sync.repository.remove("first.yaml")?;
        sync.commit()?;
        ensure!(!cluster.exists(&config_map_path(UNDELAYED, "first"))?, "it is not deleted");
    }
    // Another program keeps a RootSync that is deleted.
    let kept = Sync::with_override(&cluster, "undelayed-kept", Repository::empty()?, &Value::Null)?;
    cluster.patch(&kept.path(), &json!({"metadata": {"finalizers": ["example.com/keeps"]}}))?;
    cluster.delete(&kept.path())?;
    let _agent = agent(&cluster, &[])?;
    sync.repository.remove("second.yaml")?;
    sync.commit()?;
    ensure!(!cluster.exists(&config_map_path(UNDELAYED, "second"))?, "it is not deleted");
    Ok(())
}

/// One commit moves an object from the directory of a RootSync to that of a RepoSync that the RootSync declares.
pub(crate) fn to_a_tenant(kind: Kind) -> Result<()> {
    const MOVES: &str = "tenants-moves";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Arc::new(Repository::empty()?);
    let mut sync = repo_sync(MOVES, "repo-sync", &repository);
    sync["spec"]["git"]["dir"] = "tenant".into();
    repository.write("root/namespace.yaml", &namespace(MOVES))?;
    repository.write("root/rights.yaml", &binding(MOVES, "ClusterRole", "edit").to_string())?;
    repository.write("root/sync.yaml", &sync.to_string())?;
    repository.write("tenant/stays.yaml", &config_map(MOVES, "stays", "value"))?;
    let tenant = Tenant {
        cluster,
        namespace: MOVES.to_owned(),
        name: "repo-sync".to_owned(),
        repository: Arc::clone(&repository),
    };
    let files: Vec<String> = (0..5).map(|number| format!("moves-{number}.yaml")).collect();
    for file in &files {
        let name = file.trim_end_matches(".yaml");
        repository.write(&format!("root/{file}"), &config_map(MOVES, name, "value"))?;
    }
    repository.commit()?;
    let root = Sync::of_directory(cluster, MOVES, Arc::clone(&repository), "root")?;
    root.await_synced(&repository.head()?)?;
    tenant.await_synced()?;
    for file in &files {
        let name = file.trim_end_matches(".yaml");
        let path = config_map_path(MOVES, name);
        let uid = cluster.get(&path)?["metadata"]["uid"].clone();
        repository.remove(&format!("root/{file}"))?;
        repository.write(&format!("tenant/{file}"), &config_map(MOVES, name, "value"))?;
        repository.commit()?;
        root.await_synced(&repository.head()?)?;
        tenant.await_synced()?;
        let object = cluster.get(&path)?;
        ensure!(object["metadata"]["uid"] == uid, "{name} was made anew");
        ensure!(object["metadata"]["annotations"]["configsync.gke.io/manager"] == MOVES, "{object:#}");
    }
    Ok(())
}
