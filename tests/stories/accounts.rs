//! The accounts of RepoSyncs: two of one name, and the logins of their own Namespaces.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::{Cluster, Kind};
use tests::git_server::GitServer;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::tenants::{ALL, RBAC, Tenant, binding, repo_sync};
use crate::world::{agent, condition, config_map, config_map_path, installed, shared};

fn repository(namespace: &str, value: &str) -> Result<Repository> {
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(namespace, "settings", value))?;
    Ok(repository)
}

fn await_value(cluster: &Cluster, namespace: &str, value: &str) -> Result<()> {
    await_condition(&format!("the ConfigMap of {namespace} is {value}"), || {
        let settings = cluster.get(&config_map_path(namespace, "settings"))?;
        ensure!(settings["data"]["key"] == value, "{settings:#}");
        Ok(())
    })
}

/// The account of the RepoSync `b` of one Namespace has the name of that of `repo-sync` of another one. The older RepoSync keeps it.
pub(crate) fn of_one_name(kind: Kind) -> Result<()> {
    const FIRST: &str = "accounts";
    const SECOND: &str = "accounts-b-1";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    for namespace in [FIRST, SECOND] {
        cluster.create_namespace(namespace)?;
        let mut rights = binding(namespace, "ClusterRole", "edit");
        rights["subjects"][0]["name"] = format!("ns-reconciler-{SECOND}").into();
        cluster.create(&format!("{RBAC}/namespaces/{namespace}/rolebindings"), &rights)?;
    }
    let first = Tenant::new(cluster, FIRST, "b", repository(FIRST, "one")?)?;
    let synced = first.await_synced()?;
    // The age of an object is in seconds.
    let made = synced["metadata"]["creationTimestamp"].clone();
    await_condition("a second has passed", || {
        let maps = format!("/api/v1/namespaces/{FIRST}/configmaps");
        let clock =
            cluster.create(&maps, &json!({"metadata": {"name": "clock"}}))?["metadata"]["creationTimestamp"].clone();
        cluster.delete(&format!("{maps}/clock"))?;
        ensure!(clock != made, "not yet");
        Ok(())
    })?;
    let probing = repository(SECOND, "one")?;
    let probe = config_map(SECOND, "probe", "one");
    let depends = format!(
        "metadata:\n  annotations:\n    config.kubernetes.io/depends-on: /namespaces/{FIRST}/ConfigMap/settings\n"
    );
    probing.write("probe.yaml", &probe.replacen("metadata:\n", &depends, 1))?;
    let second = Tenant::new(cluster, SECOND, "repo-sync", probing)?;
    await_condition("the younger one is refused", || {
        let object = second.object()?;
        let stalled = condition(&object, "Stalled")?;
        let message = stalled["message"].as_str().unwrap_or_default();
        ensure!(message.contains("KNV1061") && message.contains("the older one"), "{object:#}");
        Ok(())
    })?;
    cluster.patch(&config_map_path(FIRST, "settings"), &json!({"data": {"key": "drift"}}))?;
    await_value(cluster, FIRST, "one")?;
    first.repository.write("settings.yaml", &config_map(FIRST, "settings", "two"))?;
    first.repository.commit()?;
    first.await_synced()?;
    ensure!(!cluster.exists(&config_map_path(SECOND, "settings"))?, "the younger one applied something");

    // The younger one has the account now, which has rights in the Namespace of the other one. It reads nothing there.
    cluster.delete(&first.path())?;
    await_value(cluster, SECOND, "one")?;
    await_condition("what points out of the Namespace is told", || {
        let status = second.object()?["status"].to_string();
        ensure!(status.contains("it depends on configmap/accounts/settings"), "{status}");
        Ok(())
    })?;
    ensure!(!cluster.exists(&config_map_path(SECOND, "probe"))?, "it learnt of the ConfigMap");
    Ok(())
}

/// A RepoSync of the older API version reads its repository with the Secret of its own Namespace.
pub(crate) fn own_login(kind: Kind) -> Result<()> {
    const OWN: &str = "accounts-login";
    let cluster = &installed(kind)?;
    let _agent = agent(cluster, &["--tenant-networks", "127.0.0.0/8"])?;
    cluster.create_namespace(OWN)?;
    cluster.create(&format!("{RBAC}/namespaces/{OWN}/rolebindings"), &binding(OWN, "ClusterRole", "edit"))?;
    let login = json!({"metadata": {"name": "login"}, "stringData": {"username": "reader", "token": "of-tenant-91c3"}});
    cluster.create(&format!("/api/v1/namespaces/{OWN}/secrets"), &login)?;
    let repository = repository(OWN, "one")?;
    let commit = repository.commit()?;
    let server = GitServer::of(&repository)?;
    server.require("reader", "of-tenant-91c3");
    let mut sync = repo_sync(OWN, "repo-sync", &repository);
    sync["apiVersion"] = "configsync.gke.io/v1alpha1".into();
    sync["spec"]["git"] =
        json!({"repo": server.url(), "branch": "main", "auth": "token", "secretRef": {"name": "login"}});
    let syncs = format!("/apis/configsync.gke.io/v1alpha1/namespaces/{OWN}/reposyncs");
    cluster.create(&syncs, &sync)?;
    await_condition("the RepoSync is synced", || {
        let sync = cluster.get(&format!("{syncs}/repo-sync"))?;
        ensure!(sync["status"]["lastSyncedCommit"] == commit, "{sync:#}");
        Ok(())
    })?;
    cluster.delete(&format!("{syncs}/repo-sync"))?;
    Ok(())
}

/// Errors that another client wrote into the status, as Config Sync leaves them behind, go with the next status.
pub(crate) fn foreign_errors(kind: Kind) -> Result<()> {
    const FORGED: &str = "accounts-forged";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let tenant = Tenant::with_rights(cluster, FORGED, &[("configmaps", ALL)], repository(FORGED, "one")?)?;
    tenant.await_synced()?;
    let error = json!([{"code": "2009", "errorMessage": "KNV2009: of another client"}]);
    let stage =
        json!({"errors": error, "errorSummary": {"totalCount": 1, "truncated": true, "errorCountAfterTruncation": 1}});
    let status = json!({"status": {"source": stage, "rendering": stage, "sync": stage, "lastSyncedCommit": "abc"}});
    cluster.patch(&format!("{}/status", tenant.path()), &status)?;
    tenant.repository.write("settings.yaml", &config_map(FORGED, "settings", "two"))?;
    tenant.repository.commit()?;
    tenant.await_synced()?;
    await_condition("no error is left", || {
        let status = tenant.object()?["status"].clone();
        for stage in ["source", "rendering", "sync"] {
            let stage = &status[stage];
            ensure!(stage["errors"] == json!([]) && stage["errorSummary"]["totalCount"] == 0, "{stage:#}");
            ensure!(stage["errorSummary"]["truncated"] == false, "{stage:#}");
        }
        Ok(())
    })
}
