//! What the repository of a tenant, and the users of its Namespace, try in order to get at what is elsewhere.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::git_server::GitServer;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::tenants::{ALL, RBAC, Tenant, binding, repo_sync, repo_syncs};
use crate::world::{Sync, agent, agent_with, codes, config_map, config_map_path, installed, namespace, shared};

const VICTIM: &str = "tenants-victim";
const MALLORY: &str = "tenants-mallory";
const PASSWORD: &str = "c2VzYW1l";

/// An attack by the repository of a tenant: what it is after, the manifest, and the code of the error that it gets.
type Attack = (&'static str, String, &'static str);

/// A binding for the account of the tenant.
fn granted(kind: &str, metadata: &Value, role: &str) -> String {
    let mut binding = binding(MALLORY, "ClusterRole", role);
    binding["kind"] = kind.into();
    binding["metadata"] = metadata.clone();
    binding.to_string()
}

/// A ConfigMap of the tenant with these annotations.
fn annotated(annotations: &Value) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "taken", "namespace": MALLORY, "annotations": annotations},
        "data": {"key": "$value"},
    })
    .to_string()
}

/// Objects that the tenant would like to write.
fn of_objects(own: &Repository) -> Vec<Attack> {
    let mut redirected = repo_sync(MALLORY, "second", own);
    redirected["spec"]["git"]["dir"] = "elsewhere".into();
    let record = json!({
        "apiVersion": "kpt.dev/v1alpha1",
        "kind": "ResourceGroup",
        "metadata": {"name": "second", "namespace": MALLORY},
        "spec": {"resources": []},
    });
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "nomos-agent", "namespace": "config-management-system"},
        "spec": {"holderIdentity": "mallory"},
    });
    let at = |namespace: &str| json!({"name": "mine", "namespace": namespace});
    vec![
        ("an object elsewhere", config_map(VICTIM, "settings", "taken"), "1058"),
        ("an object of the cluster", namespace("tenants-taken"), "1058"),
        ("a binding in the cluster", granted("ClusterRoleBinding", &json!({"name": "mine"}), "cluster-admin"), "1058"),
        ("a binding elsewhere", granted("RoleBinding", &at(VICTIM), "admin"), "1058"),
        ("a binding above its rights", granted("RoleBinding", &at(MALLORY), "cluster-admin"), "2013"),
        ("its own RepoSync", repo_sync(MALLORY, "repo-sync", own).to_string(), "1069"),
        ("another RepoSync of its Namespace", redirected.to_string(), "2013"),
        ("a RepoSync elsewhere", repo_sync(VICTIM, "repo-sync", own).to_string(), "1058"),
        ("the record of another sync", record.to_string(), "2013"),
        ("the Lease of the agent", lease.to_string(), "1058"),
        ("an object of a RootSync", config_map(MALLORY, "owned", "taken"), "1060"),
    ]
}

/// Annotations by which an object would get at others.
fn of_annotations() -> Vec<Attack> {
    let mutation = format!(
        "- sourceRef: {{kind: Secret, name: key, namespace: {VICTIM}}}\n  sourcePath: $.data.key\n  targetPath: $.data.key\n  \
         token: $value\n"
    );
    let depends_on =
        |name: &str| json!({"config.kubernetes.io/depends-on": format!("/namespaces/{VICTIM}/Secret/{name}")});
    vec![
        ("the metadata of another sync", annotated(&json!({"configsync.gke.io/manager": VICTIM})), "1010"),
        (
            "a value of a Secret elsewhere",
            annotated(&json!({"config.kubernetes.io/apply-time-mutation": mutation})),
            "2009",
        ),
        ("the existence of an object elsewhere", annotated(&depends_on("key")), "2009"),
        ("the existence of none elsewhere", annotated(&depends_on("none")), "2009"),
    ]
}

/// The repository with one attack: the status is returned as text.
fn attack(mallory: &Tenant<'_>, (what, manifest, code): &Attack) -> Result<String> {
    mallory.repository.write("attack.yaml", manifest)?;
    let commit = mallory.repository.commit()?;
    let status = await_condition(&format!("{what} is refused"), || {
        let sync = mallory.object()?;
        ensure!(sync["status"]["source"]["commit"] == commit, "status: {:#}", sync["status"]);
        // Errors of the commit before stay, while another one is refused as a whole.
        ensure!(codes(&sync).contains(code), "status: {:#}", sync["status"]);
        // What only its object is refused for comes in force.
        let in_force = ["1060", "2009", "2013"].contains(code);
        ensure!(!in_force || sync["status"]["sync"]["commit"] == commit, "status: {:#}", sync["status"]);
        Ok(sync["status"].to_string())
    })?;
    ensure!(!status.contains(PASSWORD) && !status.contains("sesame"), "{what}: {status}");
    Ok(status)
}

/// The objects that are attacked.
fn victim(cluster: &Cluster) -> Result<Tenant<'_>> {
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(VICTIM, "settings", "value"))?;
    let victim = Tenant::with_rights(cluster, VICTIM, &[("configmaps", ALL)], repository)?;
    victim.await_synced()?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "data": {"key": PASSWORD}});
    cluster.create(&format!("/api/v1/namespaces/{VICTIM}/secrets"), &secret)?;
    Ok(victim)
}

/// A tenant whose account may do everything in its Namespace that the role `admin` allows.
pub(crate) fn are_refused(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let _victim = victim(cluster)?;
    cluster.create_namespace(MALLORY)?;
    let bindings = format!("{RBAC}/namespaces/{MALLORY}/rolebindings");
    cluster.create(&bindings, &binding(MALLORY, "ClusterRole", "admin"))?;
    let repository = Repository::empty()?;
    repository.write("owned.yaml", &config_map(MALLORY, "owned", "of the platform"))?;
    let root = Sync::unstructured(cluster, MALLORY, repository)?;
    root.await_synced(&root.repository.head()?)?;
    let repository = Repository::empty()?;
    repository.write("own.yaml", &config_map(MALLORY, "own", "value"))?;
    let mallory = Tenant::new(cluster, MALLORY, "repo-sync", repository)?;
    mallory.await_synced()?;
    let second = Repository::empty()?;
    second.write("second.yaml", &config_map(MALLORY, "second", "value"))?;
    let second = Tenant::new(cluster, MALLORY, "second", second)?;

    let from = cluster.now()?;
    let attacks = [of_objects(&mallory.repository), of_annotations()].concat();
    let told: Vec<String> = attacks.iter().map(|it| attack(&mallory, it)).collect::<Result<_>>()?;
    let [.., there, absent] = &*told else { anyhow::bail!("no attacks") };
    let shown = |status: &str| {
        let status: Value = serde_json::from_str(status)?;
        let error = &status["sync"]["errors"][0]["errorMessage"];
        anyhow::Ok(error.as_str().unwrap_or_default().replace("none", "key"))
    };
    ensure!(shown(there)?.contains(VICTIM), "it does not name the object: {there}");
    ensure!(shown(there)? == shown(absent)?, "a difference tells if it exists:\n{there}\n{absent}");
    mallory.repository.remove("attack.yaml")?;
    mallory.repository.commit()?;
    mallory.await_synced()?;

    nothing_is_written(cluster, from)?;
    ensure!(second.object()?["spec"]["git"].get("dir").is_none(), "it was written");
    root.await_synced(&root.repository.head()?)?;
    forged_metadata(cluster, &mallory)
}

/// The account of the tenant has written nothing elsewhere, and has been shown nothing.
fn nothing_is_written(cluster: &Cluster, from: u64) -> Result<()> {
    let user = format!("system:serviceaccount:config-management-system:ns-reconciler-{MALLORY}");
    let (requests, _) = cluster.requests(from)?;
    let reads = ["get", "list", "watch"];
    for request in requests.iter().filter(|request| request.impersonated == user) {
        let harmless = request.namespace == MALLORY || request.code == 403;
        ensure!(harmless, "the account of the tenant reached out: {request:#?}");
        ensure!(request.name != "owned" || reads.contains(&&*request.verb) || request.code >= 400, "{request:#?}");
    }
    ensure!(cluster.get(&config_map_path(VICTIM, "settings"))?["data"]["key"] == "value", "it was written");
    ensure!(cluster.get(&config_map_path(MALLORY, "owned"))?["data"]["key"] == "of the platform", "it was written");
    ensure!(!cluster.exists(&config_map_path(MALLORY, "taken"))?, "it was written");
    Ok(())
}

/// Users forge what a sync reads: an object elsewhere with the label of the sync, and its record.
fn forged_metadata(cluster: &Cluster, mallory: &Tenant<'_>) -> Result<()> {
    let label = mallory.object()?["metadata"]["labels"]["applyset.kubernetes.io/id"].clone();
    let annotations = json!({
        "configsync.gke.io/manager": MALLORY,
        "configsync.gke.io/resource-id": format!("_configmap_{VICTIM}_planted"),
    });
    let labels = json!({"applyset.kubernetes.io/part-of": label});
    let forged = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "planted", "labels": labels, "annotations": annotations},
    });
    cluster.create(&format!("/api/v1/namespaces/{VICTIM}/configmaps"), &forged)?;
    let group = format!("/apis/kpt.dev/v1alpha1/namespaces/{MALLORY}/resourcegroups/repo-sync");
    let row = |name: &str| json!({"group": "", "kind": "ConfigMap", "namespace": VICTIM, "name": name});
    cluster.patch(&group, &json!({"spec": {"resources": [row("planted"), row("settings")]}}))?;
    mallory.repository.write("own.yaml", &config_map(MALLORY, "own", "changed"))?;
    mallory.repository.commit()?;
    mallory.await_synced()?;
    for name in ["settings", "planted"] {
        ensure!(cluster.exists(&config_map_path(VICTIM, name))?, "{name} was deleted");
    }
    await_condition("the record is the sync's own again", || {
        let record = cluster.get(&group)?;
        ensure!(!record.to_string().contains(VICTIM), "{record:#}");
        Ok(())
    })
}

/// A tenant cannot have the agent read what the tenant does not reach: its disk, its own machine, the metadata server of its node.
pub(crate) fn repositories_of_inner_networks(kind: Kind) -> Result<()> {
    const INNER: &str = "tenants-inner";
    let cluster = installed(kind)?;
    let _agent = agent_with(&cluster, &[], &[])?;
    cluster.create_namespace(INNER)?;
    let repository = Repository::empty()?;
    for (name, url, code) in [
        ("disk", repository.url(), "1061"),
        ("loopback", "https://127.0.0.1:1/x".to_owned(), "2004"),
        ("name", "https://localhost:1/x".to_owned(), "2004"),
        ("metadata", "http://169.254.169.254/x".to_owned(), "2004"),
        ("disguised", "http://[::ffff:10.0.0.1]/x".to_owned(), "2004"),
    ] {
        let mut sync = repo_sync(INNER, name, &repository);
        sync["spec"]["git"]["repo"] = url.into();
        cluster.create(&repo_syncs(INNER), &sync)?;
        await_condition(&format!("the repository {name} is refused"), || {
            let sync = cluster.get(&format!("{}/{name}", repo_syncs(INNER)))?;
            let status = sync["status"].to_string();
            ensure!(status.contains(&format!("KNV{code}")), "{:#}", sync["status"]);
            ensure!(code != "2004" || status.contains("--tenant-networks"), "{:#}", sync["status"]);
            Ok(())
        })?;
    }
    Ok(())
}

/// A server that takes connections and says nothing: its address, and the number of its connections so far.
fn silent_server() -> Result<(String, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (address, count) = (listener.local_addr()?.to_string(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            kept.push(stream);
            counted.store(kept.len(), Ordering::Relaxed);
        }
    });
    Ok((address, count))
}

/// The time from a commit until its ConfigMap is live.
fn arrival(cluster: &Cluster, repository: &Repository, namespace: &str, value: &str) -> Result<Duration> {
    repository.write("own.yaml", &config_map(namespace, "own", value))?;
    repository.commit()?;
    let committed = Instant::now();
    await_condition("the commit arrives", || {
        let live = cluster.get(&config_map_path(namespace, "own"))?;
        ensure!(live["data"]["key"] == value, "{live}");
        Ok(committed.elapsed())
    })
}

/// Many RepoSyncs of one Namespace have servers that say nothing, or such proxies before the server of others. The agent waits
/// half a minute for each.
pub(crate) fn silent_servers(kind: Kind) -> Result<()> {
    const SILENT: &str = "tenants-silent";
    const HONEST: &str = "tenants-honest";
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &["--tenant-networks", "127.0.0.0/8"])?;
    let (of_root, of_tenant) = (Repository::empty()?, Repository::empty()?);
    of_root.write("own.yaml", &config_map("default", "own", "first"))?;
    of_tenant.write("own.yaml", &config_map(HONEST, "own", "first"))?;
    let (server, servers) = (GitServer::of(&of_root)?, GitServer::of(&of_tenant)?);
    let root = Sync::unstructured(&cluster, "tenants-silent", of_root)?;
    let honest = Tenant::with_rights(&cluster, HONEST, &[("configmaps", ALL)], of_tenant)?;
    let git = |url: &str| json!({"spec": {"git": {"repo": url, "period": "1s"}}});
    root.patch(&git(server.url()))?;
    cluster.patch(&honest.path(), &git(servers.url()))?;
    root.await_synced(&root.repository.head()?)?;
    honest.await_synced()?;

    cluster.create_namespace(SILENT)?;
    let (silent, connections) = silent_server()?;
    for index in 0..60 {
        let mut sync = repo_sync(SILENT, &format!("silent-{index}"), &honest.repository);
        let proxied = [server.url(), servers.url()].get(index % 3).map(|url| (format!("{url}-{index}"), true));
        let (url, is_proxied) = proxied.unwrap_or((format!("http://{silent}/{index}"), false));
        sync["spec"]["git"]["repo"] = url.into();
        if is_proxied {
            sync["spec"]["git"]["proxy"] = format!("http://{silent}").into();
        }
        cluster.create(&repo_syncs(SILENT), &sync)?;
    }
    await_condition("the silent server is asked", || {
        let connections = connections.load(Ordering::Relaxed);
        ensure!(connections >= 3, "{connections} connections");
        Ok(())
    })?;
    for value in ["second", "third", "fourth"] {
        for (repository, namespace) in [(&root.repository, "default"), (&honest.repository, HONEST)] {
            let took = arrival(&cluster, repository, namespace, value)?;
            ensure!(took < Duration::from_secs(10), "a commit in {namespace} took {took:?}");
        }
    }
    Ok(())
}
