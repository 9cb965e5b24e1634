//! RootSyncs with `spec.override.roleRefs`.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::tenants::{ALL, RBAC, subjects};
use crate::world::{Sync, codes, condition, config_map, config_map_path, shared};

const ROLES: &str = "tenants-roles";

/// A RootSync with roles has these and no others.
pub(crate) fn are_all_that_it_has(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    cluster.create_namespace(ROLES)?;
    for (name, resource) in [("maps", "configmaps"), ("quotas", "resourcequotas")] {
        let rules = json!([{"apiGroups": [""], "resources": [resource], "verbs": ALL}]);
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": format!("{ROLES}-{name}")},
            "rules": rules,
        });
        cluster.create(&format!("{RBAC}/clusterroles"), &role)?;
    }
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(ROLES, "settings", "value"))?;
    let quota =
        format!("apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: quota, namespace: {ROLES}}}\nspec: {{}}\n");
    repository.write("quota.yaml", &quota)?;
    let role = |name: &str, namespace: &str| json!({"kind": "ClusterRole", "name": format!("{ROLES}-{name}"), "namespace": namespace});
    let overrides = |roles: Value| json!({"roleRefs": roles, "namespaceStrategy": "explicit"});
    let maps = overrides(json!([role("maps", ROLES)]));
    let sync = Sync::with_override(cluster, ROLES, repository, &maps)?;
    let status = sync.await_error("2013")?;
    ensure!(codes(&status) == ["2013"], "{:#}", status["status"]);
    await_condition("what the roles allow is applied", || {
        ensure!(cluster.exists(&config_map_path(ROLES, "settings"))?, "not yet");
        Ok(())
    })?;
    let account = "root-reconciler-tenants-roles";
    let admin = format!("{RBAC}/clusterrolebindings/configsync.gke.io:root-reconciler");
    ensure!(!subjects(cluster, &admin)?.contains(&account.to_owned()), "it is an administrator");
    let base = format!("{RBAC}/clusterrolebindings/configsync.gke.io:root-reconciler-base");
    ensure!(subjects(cluster, &base)?.contains(&account.to_owned()), "it has no base role");

    let set = |roles: Value| sync.patch(&json!({"spec": {"override": overrides(roles)}}));
    set(json!([role("maps", ROLES), role("quotas", ROLES)]))?;
    sync.await_synced(&sync.repository.head()?)?;
    let nowhere = format!("{ROLES}-nowhere");
    set(json!([role("maps", ROLES), role("quotas", ROLES), role("maps", &nowhere)]))?;
    goes_on_without(&sync, &nowhere)?;
    set(json!([role("quotas", "")]))?;
    await_condition("the binding of the role that was removed is gone", || {
        let bindings = cluster.get(&format!("{RBAC}/namespaces/{ROLES}/rolebindings"))?;
        ensure!(bindings["items"] == json!([]), "{bindings:#}");
        Ok(())
    })?;
    sync.repository.write("settings.yaml", &config_map(ROLES, "settings", "changed"))?;
    sync.repository.commit()?;
    sync.await_error("2013")?;
    ensure!(cluster.get(&config_map_path(ROLES, "settings"))?["data"]["key"] == "value", "it had no right to");
    sync.patch(&json!({"spec": {"override": null}}))?;
    sync.await_synced(&sync.repository.head()?)?;
    ensure!(subjects(cluster, &admin)?.contains(&account.to_owned()), "it is no administrator");
    ensure!(!subjects(cluster, &base)?.contains(&account.to_owned()), "it has the base role");
    Ok(())
}

/// A role in a Namespace that is not there cannot be given: that is told, and the sync goes on with the roles that it has.
fn goes_on_without(sync: &Sync<'_>, nowhere: &str) -> Result<()> {
    let is_stalled = |expected: bool| {
        await_condition(&format!("stalled: {expected}"), || {
            let object = sync.object()?;
            let stalled = condition(&object, "Stalled")?;
            let names = stalled["message"].as_str().unwrap_or_default().contains(nowhere);
            ensure!((stalled["status"] == "True" && names) == expected, "{stalled:#}");
            Ok(())
        })
    };
    is_stalled(true)?;
    sync.repository.write("late.yaml", &config_map(nowhere, "late", "value"))?;
    let commit = sync.repository.commit()?;
    sync.await_error("2013")?;
    let settings = config_map_path(ROLES, "settings");
    sync.cluster.delete(&settings)?;
    await_condition("what was deleted by hand is back", || {
        ensure!(sync.cluster.exists(&settings)?, "not yet");
        Ok(())
    })?;
    sync.cluster.create_namespace(nowhere)?;
    is_stalled(false)?;
    sync.await_synced(&commit).map(|_| ())
}

/// A RootSync whose roles are of one Namespace declares objects in it, and not the Namespace itself, which is there already.
/// <https://github.com/fluxcd/flux2-multi-tenancy/issues/69>
pub(crate) fn are_of_one_namespace(kind: Kind) -> Result<()> {
    const GIVEN: &str = "tenants-given";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    cluster.create_namespace(GIVEN)?;
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(GIVEN, "settings", "value"))?;
    let roles = json!({"roleRefs": [{"kind": "ClusterRole", "name": "edit", "namespace": GIVEN}]});
    let sync = Sync::with_override(cluster, GIVEN, repository, &roles)?;
    sync.await_synced(&sync.repository.head()?)?;
    let namespace = cluster.get(&format!("/api/v1/namespaces/{GIVEN}"))?;
    ensure!(namespace["metadata"].get("annotations").is_none(), "it was changed: {namespace:#}");
    Ok(())
}
