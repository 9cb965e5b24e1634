//! RepoSyncs, and RootSyncs with roles: each acts with the rights of its own account.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, codes, condition, config_map, config_map_path, namespace, shared};

pub(crate) const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ACCOUNTS: &str = "/api/v1/namespaces/config-management-system/serviceaccounts";

/// A RepoSync and the repository that it follows.
pub(crate) struct Tenant<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) repository: Arc<Repository>,
}

impl<'a> Tenant<'a> {
    /// The RepoSync `name` for a repository, in a Namespace that is there.
    pub(crate) fn new(cluster: &'a Cluster, namespace: &str, name: &str, repository: Repository) -> Result<Self> {
        let repository = Arc::new(repository);
        repository.commit()?;
        let tenant = Self { cluster, namespace: namespace.to_owned(), name: name.to_owned(), repository };
        cluster.create(&repo_syncs(namespace), &serde_json::from_str(&tenant.manifest())?)?;
        Ok(tenant)
    }

    /// The RepoSync `repo-sync` in a Namespace of its own, whose account has these rights there: verbs of resources of the core group.
    pub(crate) fn with_rights(
        cluster: &'a Cluster,
        namespace: &str,
        rights: &[(&str, &[&str])],
        repository: Repository,
    ) -> Result<Self> {
        cluster.create_namespace(namespace)?;
        cluster.create(&format!("{RBAC}/namespaces/{namespace}/roles"), &role(namespace, rights))?;
        cluster
            .create(&format!("{RBAC}/namespaces/{namespace}/rolebindings"), &binding(namespace, "Role", "tenant"))?;
        Self::new(cluster, namespace, "repo-sync", repository)
    }

    /// As JSON, which is YAML too.
    fn manifest(&self) -> String {
        repo_sync(&self.namespace, &self.name, &self.repository).to_string()
    }

    pub(crate) fn path(&self) -> String {
        format!("{}/{}", repo_syncs(&self.namespace), self.name)
    }

    pub(crate) fn object(&self) -> Result<Value> {
        self.cluster.get(&self.path())
    }

    pub(crate) fn await_synced(&self) -> Result<Value> {
        let commit = self.repository.head()?;
        await_condition(&format!("the RepoSync {}/{} is synced at {commit}", self.namespace, self.name), || {
            let sync = self.object()?;
            let syncing = condition(&sync, "Syncing")?;
            ensure!(syncing["status"] == "False" && syncing["commit"] == commit, "status: {:#}", sync["status"]);
            ensure!(sync["status"]["lastSyncedCommit"] == commit, "status: {:#}", sync["status"]);
            ensure!(codes(&sync).is_empty(), "status: {:#}", sync["status"]);
            Ok(sync)
        })
    }

    /// Waits until these are the codes of its errors.
    pub(crate) fn await_codes(&self, expected: &[&str]) -> Result<Value> {
        await_condition(&format!("the RepoSync {} has the errors {expected:?}", self.namespace), || {
            let sync = self.object()?;
            ensure!(codes(&sync) == expected, "status: {:#}", sync["status"]);
            Ok(sync)
        })
    }
}

impl Drop for Tenant<'_> {
    /// Its repository goes too: the shared agent would complain about that until the last story ends.
    fn drop(&mut self) {
        let _ = self.cluster.delete(&self.path());
    }
}

pub(crate) fn repo_syncs(namespace: &str) -> String {
    format!("/apis/configsync.gke.io/v1beta1/namespaces/{namespace}/reposyncs")
}

pub(crate) fn repo_sync(namespace: &str, name: &str, repository: &Repository) -> Value {
    json!({
        "apiVersion": "configsync.gke.io/v1beta1",
        "kind": "RepoSync",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"git": {"repo": repository.url(), "branch": "main", "auth": "none"}},
    })
}

/// The Role `tenant`.
fn role(namespace: &str, rights: &[(&str, &[&str])]) -> Value {
    let rule =
        |(resource, verbs): &(&str, &[&str])| json!({"apiGroups": [""], "resources": [resource], "verbs": verbs});
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "tenant", "namespace": namespace},
        "rules": rights.iter().map(rule).collect::<Vec<_>>(),
    })
}

/// A RoleBinding for the account of the RepoSync `repo-sync`.
pub(crate) fn binding(namespace: &str, kind: &str, role: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "tenant", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{
            "kind": "ServiceAccount",
            "name": format!("ns-reconciler-{namespace}"),
            "namespace": "config-management-system",
        }],
    })
}

/// All verbs that an apply, its answer and a deletion need.
pub(crate) const ALL: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete"];

/// The names of the subjects of a binding; none if it is not there.
pub(crate) fn subjects(cluster: &Cluster, path: &str) -> Result<Vec<String>> {
    if !cluster.exists(path)? {
        return Ok(Vec::new());
    }
    let binding = cluster.get(path)?;
    let subjects = binding["subjects"].as_array().into_iter().flatten();
    Ok(subjects.filter_map(|it| it["name"].as_str().map(str::to_owned)).collect())
}

const SHOP: &str = "tenants-shop";

/// The RepoSync of this name for a repository with one ConfigMap, which does not say its Namespace. It is not made yet.
fn of_shop<'a>(cluster: &'a Cluster, name: &str, settings: &str) -> Result<Tenant<'a>> {
    let repository = Arc::new(Repository::empty()?);
    repository.write("settings.yaml", &config_map("", settings, "value").replace("  namespace: \n", ""))?;
    repository.commit()?;
    Ok(Tenant { cluster, namespace: SHOP.to_owned(), name: name.to_owned(), repository })
}

/// One commit of a RootSync brings a Namespace with two RepoSyncs and the rights of their accounts; another one takes all of it away.
pub(crate) fn come_with_a_root_sync(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let (first, second) = (of_shop(cluster, "repo-sync", "settings")?, of_shop(cluster, "second", "more")?);
    let accounts = [format!("ns-reconciler-{SHOP}"), format!("ns-reconciler-{SHOP}-second-6")];
    let mut rights = binding(SHOP, "ClusterRole", "edit");
    let subject = |name| json!({"kind": "ServiceAccount", "name": name, "namespace": "config-management-system"});
    rights["subjects"] = accounts.iter().map(subject).collect();
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(SHOP))?;
    repository.write("rights.yaml", &rights.to_string())?;
    repository.write("first.yaml", &first.manifest())?;
    repository.write("second.yaml", &second.manifest())?;
    repository.write("stays.yaml", &namespace("tenants-stay"))?;
    let root = Sync::unstructured(cluster, "tenants", repository)?;
    root.await_synced(&root.repository.head()?)?;
    let status = first.await_synced()?;
    second.await_synced()?;
    ensure!(status["metadata"]["labels"]["applyset.kubernetes.io/id"].is_string(), "{status:#}");
    for (settings, manager) in [("settings", SHOP), ("more", "tenants-shop_second")] {
        let object = cluster.get(&config_map_path(SHOP, settings))?;
        ensure!(object["metadata"]["annotations"]["configsync.gke.io/manager"] == manager, "{object:#}");
    }
    let record = cluster.get(&format!("/apis/kpt.dev/v1alpha1/namespaces/{SHOP}/resourcegroups/repo-sync"))?;
    ensure!(record["spec"]["resources"][0]["name"] == "settings", "{record:#}");
    for account in &accounts {
        let object = cluster.get(&format!("{ACCOUNTS}/{account}"))?;
        ensure!(object["metadata"]["labels"]["configsync.gke.io/sync-namespace"] == SHOP, "{object:#}");
    }
    let base = format!("{RBAC}/namespaces/{SHOP}/rolebindings/configsync.gke.io:ns-reconciler");
    await_condition("the binding is for both accounts", || {
        ensure!(subjects(cluster, &base)? == accounts, "{:#}", cluster.get(&base)?);
        Ok(())
    })?;
    let cluster_scope = format!("{RBAC}/clusterrolebindings/configsync.gke.io:ns-reconciler:cluster-scope");
    let has_all = |subjects: Vec<String>| accounts.iter().all(|account| subjects.contains(account));
    ensure!(has_all(subjects(cluster, &cluster_scope)?), "{:#}", cluster.get(&cluster_scope)?);
    drift_is_put_back(cluster)?;

    for file in ["namespace.yaml", "rights.yaml", "first.yaml", "second.yaml"] {
        root.repository.remove(file)?;
    }
    root.commit()?;
    await_condition("the tenants are gone with their Namespace", || {
        ensure!(!cluster.exists(&format!("/api/v1/namespaces/{SHOP}"))?, "the Namespace is there");
        for account in &accounts {
            ensure!(!cluster.exists(&format!("{ACCOUNTS}/{account}"))?, "{account} is there");
        }
        ensure!(!has_all(subjects(cluster, &cluster_scope)?), "{:#}", cluster.get(&cluster_scope)?);
        Ok(())
    })
}

/// The account of the first RepoSync puts drift back, and `nomos status` shows its objects.
fn drift_is_put_back(cluster: &Cluster) -> Result<()> {
    let settings = config_map_path(SHOP, "settings");
    let from = cluster.now()?;
    cluster.patch(&settings, &json!({"data": {"key": "drifted"}}))?;
    await_condition("the drift is put back", || {
        ensure!(cluster.get(&settings)?["data"]["key"] == "value", "not yet");
        Ok(())
    })?;
    cluster.delete(&settings)?;
    await_condition("the ConfigMap is back", || {
        ensure!(cluster.exists(&settings)?, "not yet");
        Ok(())
    })?;
    let user = format!("system:serviceaccount:config-management-system:ns-reconciler-{SHOP}");
    let writes = cluster.writes(from)?;
    let own: Vec<_> = writes.iter().filter(|write| write.namespace == SHOP).collect();
    ensure!(!own.is_empty() && own.iter().all(|write| write.impersonated == user), "{own:#?}");
    let (_, said) = cluster.nomos(&["status", "--namespace", SHOP]);
    ensure!(said.contains(&format!("{SHOP}:repo-sync")) && said.contains("SYNCED"), "{said}");
    ensure!(said.contains("settings"), "no managed resources: {said}");
    Ok(())
}

/// What the account may not do is an error of the object, and the rest is applied. Rights that come and go take effect.
pub(crate) fn have_the_rights_of_their_accounts(kind: Kind) -> Result<()> {
    const BANK: &str = "tenants-bank";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(BANK, "settings", "first"))?;
    let secret = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: key, namespace: {BANK}}}\nstringData: {{key: {value}}}\n"
        )
    };
    repository.write("secret.yaml", &secret("first"))?;
    let tenant = Tenant::with_rights(cluster, BANK, &[("configmaps", ALL)], repository)?;
    let status = tenant.await_codes(&["2013"])?;
    let error = &status["status"]["sync"]["errors"][0];
    ensure!(error["errorResources"][0]["name"] == "key", "{error:#}");
    let message = error["errorMessage"].as_str().unwrap_or_default();
    ensure!(message.contains("the account of the sync") && message.contains("secret.yaml"), "{message}");
    ensure!(cluster.get(&config_map_path(BANK, "settings"))?["data"]["key"] == "first", "the rest is not applied");

    let roles = format!("{RBAC}/namespaces/{BANK}/roles/tenant");
    let rules = |rights: &[(&str, &[&str])]| cluster.patch(&roles, &json!({"rules": role(BANK, rights)["rules"]}));
    rules(&[("configmaps", ALL), ("secrets", ALL)])?;
    tenant.await_synced()?;
    rules(&[("configmaps", ALL)])?;
    tenant.repository.write("secret.yaml", &secret("second"))?;
    tenant.repository.write("settings.yaml", &config_map(BANK, "settings", "second"))?;
    tenant.repository.commit()?;
    tenant.await_codes(&["2013"])?;
    ensure!(cluster.get(&config_map_path(BANK, "settings"))?["data"]["key"] == "second", "the rest is not applied");
    let secret = cluster.get(&format!("/api/v1/namespaces/{BANK}/secrets/key"))?;
    ensure!(secret["data"]["key"] == "Zmlyc3Q=", "the account had no right to change it");
    Ok(())
}

/// A RootSync takes an object from a RepoSync; of two RepoSyncs the first keeps it, and leaves it to the other one.
pub(crate) fn conflicts(kind: Kind) -> Result<()> {
    const SHARED: &str = "tenants-shared";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = || {
        let repository = Repository::empty()?;
        repository.write("settings.yaml", &config_map(SHARED, "settings", "value"))?;
        anyhow::Ok(repository)
    };
    let first = Tenant::with_rights(cluster, SHARED, &[("configmaps", ALL)], repository()?)?;
    first.await_synced()?;
    let mut rights = binding(SHARED, "Role", "tenant");
    rights["metadata"]["name"] = "second".into();
    rights["subjects"][0]["name"] = format!("ns-reconciler-{SHARED}-second-6").into();
    cluster.create(&format!("{RBAC}/namespaces/{SHARED}/rolebindings"), &rights)?;
    let second = Tenant::new(cluster, SHARED, "second", repository()?)?;
    let status = second.await_codes(&["1060"])?;
    ensure!(status["status"].to_string().contains(SHARED), "{:#}", status["status"]);
    let path = config_map_path(SHARED, "settings");
    let manager = |expected: &str| {
        await_condition(&format!("the ConfigMap is {expected}'s"), || {
            let object = cluster.get(&path)?;
            ensure!(object["metadata"]["annotations"]["configsync.gke.io/manager"] == expected, "{object:#}");
            Ok(object["metadata"]["uid"].clone())
        })
    };
    let uid = manager(SHARED)?;
    let of_root = repository()?;
    of_root.write("other.yaml", &config_map(SHARED, "other", "value"))?;
    let root = Sync::unstructured(cluster, SHARED, of_root)?;
    root.await_synced(&root.repository.head()?)?;
    ensure!(manager(":root_tenants-shared")? == uid, "it was made anew");
    first.await_codes(&["1060"])?;
    drop(second);
    root.repository.remove("settings.yaml")?;
    root.commit()?;
    ensure!(manager(SHARED)? == uid, "it was made anew");
    first.await_synced()?;
    let second = Tenant::new(cluster, SHARED, "second", repository()?)?;
    second.await_codes(&["1060"])?;
    first.repository.remove("settings.yaml")?;
    first.repository.write("other.yaml", &config_map(SHARED, "third", "value"))?;
    first.repository.commit()?;
    first.await_synced()?;
    ensure!(manager("tenants-shared_second")? == uid, "it was made anew");
    second.await_synced()?;
    Ok(())
}

/// A tenant declares the RoleBinding that a RootSync gave it, by which it may make it, and a quota that it may not make: it keeps neither
/// when the RootSync takes them away.
pub(crate) fn keep_nothing_that_they_were_given(kind: Kind) -> Result<()> {
    const KEEPS: &str = "tenants-keeps";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    cluster.create_namespace(KEEPS)?;
    let rights = binding(KEEPS, "ClusterRole", "admin");
    let quota =
        format!("apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: quota, namespace: {KEEPS}}}\nspec: {{}}\n");
    let repository = |maps: &str| {
        let repository = Repository::empty()?;
        repository.write("rights.yaml", &rights.to_string())?;
        repository.write("quota.yaml", &quota)?;
        repository.write("settings.yaml", &config_map(KEEPS, maps, "value"))?;
        anyhow::Ok(repository)
    };
    let root = Sync::unstructured(cluster, KEEPS, repository("of-root")?)?;
    root.await_synced(&root.repository.head()?)?;
    let tenant = Tenant::new(cluster, KEEPS, "repo-sync", repository("of-tenant")?)?;
    tenant.await_codes(&["1060", "2013"])?;
    for file in ["rights.yaml", "quota.yaml"] {
        root.repository.remove(file)?;
    }
    root.commit()?;
    ensure!(!cluster.exists(&format!("{RBAC}/namespaces/{KEEPS}/rolebindings/tenant"))?, "the tenant keeps its rights");
    ensure!(
        !cluster.exists(&format!("/api/v1/namespaces/{KEEPS}/resourcequotas/quota"))?,
        "the tenant keeps the quota"
    );
    Ok(())
}

/// A Namespace that is deleted takes its RepoSync along, whatever the sync's policy.
pub(crate) fn go_with_their_namespaces(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    for (policy, name) in [(Value::Null, "tenants-goes"), ("Foreground".into(), "tenants-goes-first")] {
        let repository = Repository::empty()?;
        repository.write("settings.yaml", &config_map(name, "settings", "value"))?;
        let tenant = Tenant::with_rights(cluster, name, &[("configmaps", ALL)], repository)?;
        let annotations = json!({"configsync.gke.io/deletion-propagation-policy": policy});
        cluster.patch(&tenant.path(), &json!({"metadata": {"annotations": annotations}}))?;
        tenant.await_synced()?;
        cluster.delete(&format!("/api/v1/namespaces/{name}"))?;
        await_condition(&format!("the Namespace {name} is gone"), || {
            let path = format!("/api/v1/namespaces/{name}");
            ensure!(!cluster.exists(&path)?, "{:#}", cluster.get(&path)?);
            ensure!(!cluster.exists(&format!("{ACCOUNTS}/ns-reconciler-{name}"))?, "its account is there");
            Ok(())
        })?;
    }
    // One that is deleted for itself takes its objects along.
    let name = "tenants-ends";
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(name, "settings", "value"))?;
    let tenant = Tenant::with_rights(cluster, name, &[("configmaps", ALL)], repository)?;
    let annotations = json!({"configsync.gke.io/deletion-propagation-policy": "Foreground"});
    cluster.patch(&tenant.path(), &json!({"metadata": {"annotations": annotations}}))?;
    tenant.await_synced()?;
    cluster.delete(&tenant.path())?;
    await_condition("the RepoSync is gone after its objects", || {
        ensure!(!cluster.exists(&tenant.path())?, "{:#}", tenant.object()?);
        Ok(())
    })?;
    ensure!(!cluster.exists(&config_map_path(name, "settings"))?, "its object is there");
    await_condition("its account is gone", || {
        ensure!(!cluster.exists(&format!("{ACCOUNTS}/ns-reconciler-{name}"))?, "not yet");
        let bindings = cluster.get(&format!("{RBAC}/namespaces/{name}/rolebindings"))?;
        ensure!(bindings["items"].as_array().is_some_and(|all| all.len() == 1), "{bindings:#}");
        Ok(())
    })
}

/// One commit takes a RepoSync away together with the RoleBinding of its account, and the Namespace stays. The RepoSync takes its objects
/// along, for which it needs the rights.
/// <https://github.com/fluxcd/flux2/issues/2595>
pub(crate) fn lose_their_rights_last(kind: Kind) -> Result<()> {
    const LEAVES: &str = "tenants-leaves";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    cluster.create_namespace(LEAVES)?;
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(LEAVES, "settings", "value"))?;
    repository.commit()?;
    let repository = Arc::new(repository);
    let tenant = Tenant { cluster, namespace: LEAVES.to_owned(), name: "repo-sync".to_owned(), repository };
    let mut sync = repo_sync(LEAVES, "repo-sync", &tenant.repository);
    sync["metadata"]["annotations"] = json!({"configsync.gke.io/deletion-propagation-policy": "Foreground"});
    let repository = Repository::empty()?;
    repository.write("sync.yaml", &sync.to_string())?;
    repository.write("role.yaml", &role(LEAVES, &[("configmaps", ALL)]).to_string())?;
    repository.write("binding.yaml", &binding(LEAVES, "Role", "tenant").to_string())?;
    repository.write("stays.yaml", &config_map(LEAVES, "stays", "value"))?;
    let root = Sync::unstructured(cluster, LEAVES, repository)?;
    root.await_synced(&root.repository.head()?)?;
    tenant.await_synced()?;
    for file in ["sync.yaml", "role.yaml", "binding.yaml"] {
        root.repository.remove(file)?;
    }
    root.commit()?;
    ensure!(!cluster.exists(&tenant.path())?, "it is there: {:#}", tenant.object()?);
    ensure!(!cluster.exists(&config_map_path(LEAVES, "settings"))?, "its object is there");
    ensure!(!cluster.exists(&format!("{RBAC}/namespaces/{LEAVES}/rolebindings/tenant"))?, "its rights are there");
    Ok(())
}
