//! A node runs Pods as a cluster does, whatever becomes of its parts, and leaves nothing behind.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::git_server::GitServer;
use tests::node::{GUEST, Node};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::control_plane::{are_gone, descendants, start};

/// Two Pods that Pod Security lets into a Namespace that enforces "restricted", and a budget that keeps one of them.
const WEB: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
    pod-security.kubernetes.io/enforce: restricted
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      securityContext:
        runAsNonRoot: true
        seccompProfile: {type: RuntimeDefault}
      containers:
      - name: web
        image: GUEST
        imagePullPolicy: Never
        args: [serve]
        readinessProbe:
          httpGet: {port: 8080}
          periodSeconds: 1
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
---
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
spec:
  selector: {app: web}
  ports:
  - port: 80
    targetPort: 8080
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: web
  namespace: shop
spec:
  minAvailable: 1
  selector:
    matchLabels: {app: web}
";

pub(crate) fn runs_pods(kind: Kind) -> Result<()> {
    let cluster = with_web(kind)?;
    let pods = pods(&cluster)?;
    ensure!(pods.len() == 2, "{pods:#?}");
    let from_a_pod = |args: &[&str]| {
        let name = text(&pods[0], "/metadata/name");
        cluster.kubectl(&[&["exec", "-n", "shop", name, "--", "/guest"], args].concat())
    };
    // A Service by its name answers with the name of a Pod.
    let names: Vec<&str> = pods.iter().map(|pod| text(pod, "/metadata/name")).collect();
    await_condition("the Service answers", || {
        let answer = from_a_pod(&["get", "http://web"])?;
        ensure!(names.contains(&answer.trim()), "{answer}");
        Ok(())
    })?;
    let version = from_a_pod(&["get", "https://kubernetes.default/version"])?;
    ensure!(version.contains("gitVersion"), "{version}");
    ensure!(from_a_pod(&["lookup", "web.elsewhere"]).is_err(), "a name that no Service has");
    // A server of this test by the name of a machine elsewhere.
    let repository = Repository::go_hello("go-hello")?;
    let head = repository.commit()?;
    let server = GitServer::of(&repository)?;
    let url = server.url().replace("127.0.0.1", "git.example.com");
    let refs = from_a_pod(&["get", &format!("{url}/info/refs?service=git-upload-pack")])?;
    ensure!(refs.contains(&head), "{refs}");
    let log = cluster.kubectl(&["logs", "-n", "shop", names[0]])?;
    ensure!(log.is_empty(), "{log}");
    let root = json!({"metadata": {"name": "root"}, "spec": {"containers": [{"name": "root", "image": GUEST}]}});
    let refused = cluster.create(PODS, &root).err().context("Pod Security holds")?;
    ensure!(format!("{refused:#}").contains("violates PodSecurity"), "{refused:#}");
    Ok(())
}

pub(crate) fn pods_outlive_a_kubelet(kind: Kind) -> Result<()> {
    let cluster = with_web(kind)?;
    let before = containers(&cluster)?;
    cluster.node()?.kill("kubelet")?;
    // The next one starts a Pod beside those that it finds.
    cluster.kubectl(&["scale", "-n", "shop", "deployment/web", "--replicas=3"])?;
    await_available(&cluster, 3)?;
    let after = containers(&cluster)?;
    ensure!(before.iter().all(|container| after.contains(container)), "{before:?} are not among {after:?}");
    Ok(())
}

pub(crate) fn is_drained(kind: Kind) -> Result<()> {
    let cluster = with_web(kind)?;
    // No Pod can take the place of one that is evicted, so that the budget keeps the other.
    let refused = cluster.kubectl(&["drain", "node", "--timeout=6s"]).err().context("the drain ends")?.to_string();
    ensure!(refused.contains("disruption budget"), "{refused}");
    await_available(&cluster, 1)?;
    cluster.kubectl(&["delete", "-n", "shop", "poddisruptionbudget/web"])?;
    cluster.kubectl(&["drain", "node", "--timeout=60s"])?;
    await_available(&cluster, 0)?;
    cluster.kubectl(&["uncordon", "node"])?;
    await_available(&cluster, 2)
}

pub(crate) fn leaves_nothing(_: Kind) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let option = format!("--node={}", Node::programs().context("the node is not built")?.display());
    for (name, kill) in [("asked", false), ("killed", true)] {
        let dir = scratch.path().join(name);
        let mut started = start(&dir, &[&option])?;
        let processes = descendants(started.id())?;
        let cgroups = || -> Result<Vec<String>> {
            let of = |id: &u32| format!("nomos-node-{id}");
            let roots = fs::read_dir("/sys/fs/cgroup")?.collect::<std::io::Result<Vec<_>>>()?;
            let roots = roots.iter().map(|entry| entry.path()).chain([Path::new("/sys/fs/cgroup").to_owned()]);
            let all = roots.flat_map(|root| processes.iter().map(move |id| root.join(of(id))));
            Ok(all.filter(|path| path.exists()).map(|path| path.display().to_string()).collect())
        };
        ensure!(!cgroups()?.is_empty(), "its Pods have no cgroup");
        if kill {
            started.kill()?;
        }
        drop(started.stdin.take());
        started.wait()?;
        are_gone(&processes)?;
        ensure!(cgroups()?.is_empty(), "{:?} are left", cgroups()?);
        ensure!(!dir.exists(), "its files are left");
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        ensure!(!mounts.contains(&dir.display().to_string()), "{mounts}");
        let links = fs::read_to_string("/proc/net/dev")?;
        ensure!(!links.contains("cni0"), "{links}");
    }
    Ok(())
}

/// A cluster on whose node two Pods of the Deployment `web` are available.
fn with_web(kind: Kind) -> Result<Cluster> {
    let cluster = Cluster::start(kind)?;
    let file = tempfile::NamedTempFile::new()?;
    fs::write(&file, web(2))?;
    cluster.kubectl(&["apply", "-f", &file.path().display().to_string()])?;
    await_available(&cluster, 2)?;
    Ok(cluster)
}

/// The Namespace `shop` with so many Pods of the Deployment `web`, their Service and their budget.
pub(crate) fn web(replicas: u32) -> String {
    WEB.replace("GUEST", GUEST).replace("replicas: 2", &format!("replicas: {replicas}"))
}

/// Waits until so many Pods of `web` are available.
pub(crate) fn await_available(cluster: &Cluster, count: u64) -> Result<()> {
    await_condition(&format!("{count} Pods are available"), || {
        let deployment = cluster.get("/apis/apps/v1/namespaces/shop/deployments/web")?;
        let available = deployment["status"]["availableReplicas"].as_u64().unwrap_or_default();
        let is_seen = deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"];
        ensure!(is_seen && available == count, "{:#}", cluster.get(PODS)?);
        Ok(())
    })
}

const PODS: &str = "/api/v1/namespaces/shop/pods";

fn pods(cluster: &Cluster) -> Result<Vec<Value>> {
    cluster.get(PODS)?["items"].as_array().cloned().context("a list of Pods")
}

/// The containers that run, each with its number of restarts.
fn containers(cluster: &Cluster) -> Result<Vec<String>> {
    let state = |pod: &Value| {
        let container = &pod["status"]["containerStatuses"][0];
        format!("{} {}", container["containerID"], container["restartCount"])
    };
    Ok(pods(cluster)?.iter().map(state).collect())
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
