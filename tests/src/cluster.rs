//! A cluster as stories use it: the sandbox or a control plane, a client that says who it is, kubectl and `nomos status`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use http::{HeaderValue, Method, Request as HttpRequest, header};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::discovery::v2::APIGroupDiscoveryList;
use sandbox::{Request, Sandbox};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::controlplane::ControlPlane;
use crate::kubectl::kubectl;
use crate::node::Node;
use crate::repository::Repository;
use crate::wait::await_condition;

/// Where RootSyncs are.
pub const SYNCS: &str = "/apis/configsync.gke.io/v1beta1/namespaces/config-management-system/rootsyncs";
/// The file with the kubeconfig of the agent.
const OF_AGENT: &str = "kubeconfig-of-agent";
/// The beginnings of the names of syncs' accounts and their bindings.
const ACCOUNTS: [&str; 3] = ["root-reconciler", "ns-reconciler", "configsync.gke.io:"];
/// The user agent of requests of [`Cluster::get`] and similar functions in the audit log.
const USER_AGENT: &str = "story";

/// The clusters on which stories are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The Kubernetes API in memory.
    Sandbox,
    /// The real control plane.
    ControlPlane,
    /// The real control plane with a node, on which Pods run.
    Node,
}

impl Kind {
    /// The clusters without Pods, for the stories that need none.
    pub const ALL: [Self; 2] = [Self::Sandbox, Self::ControlPlane];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::ControlPlane => "control_plane",
            Self::Node => "node",
        })
    }
}

/// The server of the cluster.
enum Server {
    Sandbox(Sandbox),
    ControlPlane(ControlPlane),
}

/// A cluster of its own.
pub struct Cluster {
    server: Server,
    kubeconfig: PathBuf,
    home: TempDir,
    runtime: Runtime,
    client: kube::Client,
}

impl Cluster {
    /// Starts a cluster that knows nothing of us.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(kind: Kind) -> Result<Self> {
        agent::io::kubernetes::kubeconfig::install_tls();
        let home = tempfile::Builder::new().prefix("nomos-cluster-").tempdir()?;
        let (server, kubeconfig) = match kind {
            Kind::Sandbox => {
                let (sandbox, kubeconfig) = (Sandbox::start()?, home.path().join("kubeconfig"));
                sandbox.kubeconfig(&kubeconfig)?;
                (Server::Sandbox(sandbox), kubeconfig)
            }
            Kind::ControlPlane | Kind::Node => {
                let plane = if kind == Kind::Node { Node::start()? } else { ControlPlane::start()? };
                let kubeconfig = plane.kubeconfig().to_owned();
                (Server::ControlPlane(plane), kubeconfig)
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(client(&kubeconfig))?;
        Ok(Self { server, kubeconfig, home, runtime, client })
    }

    /// Applies our CRDs and makes the namespace of RootSyncs, as an installation does. Where the API server asks for rights, the agent has
    /// an account with those of an installation.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn install(&self) -> Result<()> {
        let crds = crds()?;
        for crd in &crds {
            let path = format!("{}?fieldManager=install&force=true", crd_path(crd));
            self.request(&Method::PATCH, &path, "application/apply-patch+yaml", serde_json::to_vec(crd)?)?;
        }
        self.create_namespace("config-management-system")?;
        for crd in &crds {
            await_condition("the CRD is established", || {
                let live = self.get(&crd_path(crd))?;
                let conditions = live["status"]["conditions"].as_array();
                let mut of_kind = conditions.into_iter().flatten().filter(|it| it["type"] == "Established");
                ensure!(of_kind.any(|it| it["status"] == "True"), "{live:#}");
                Ok(())
            })?;
        }
        if matches!(self.server, Server::ControlPlane(_)) {
            self.install_account()?;
        }
        Ok(())
    }

    /// Applies the account and the rights of the agent, and writes a kubeconfig with a token of that account.
    fn install_account(&self) -> Result<()> {
        let mut rights = String::new();
        for object in manifests()? {
            let kind = object["kind"].as_str().unwrap_or_default();
            if kind == "ServiceAccount" || kind.contains("Role") {
                rights += &format!("---\n{}", serde_yaml::to_string(&object)?);
            }
        }
        let (file, of_agent) = (self.home.path().join("rights.yaml"), self.home.path().join(OF_AGENT));
        fs::write(&file, rights)?;
        self.kubectl(&["apply", "--server-side", "--filename", &file.display().to_string()])?;
        let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let accounts = "/api/v1/namespaces/config-management-system/serviceaccounts";
        let token = self.create(&format!("{accounts}/nomos-agent/token"), &token)?["status"]["token"].clone();
        let mut kubeconfig: Value = serde_yaml::from_str(&fs::read_to_string(&self.kubeconfig)?)?;
        for user in kubeconfig["users"].as_array_mut().into_iter().flatten() {
            user["user"] = json!({"token": token});
        }
        fs::write(of_agent, serde_yaml::to_string(&kubeconfig)?)?;
        Ok(())
    }

    /// The kubeconfig of the agent: that of its account, or the administrator's where there is none.
    pub fn kubeconfig_of_agent(&self) -> PathBuf {
        let of_agent = self.home.path().join(OF_AGENT);
        if of_agent.exists() { of_agent } else { self.kubeconfig.clone() }
    }

    /// Makes a Namespace.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn create_namespace(&self, name: &str) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.create("/api/v1/namespaces", &namespace).map(|_| ())
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The sandbox itself, which can be told to fail.
    ///
    /// # Errors
    /// When it is a real cluster, which cannot.
    pub fn sandbox(&self) -> Result<&Sandbox> {
        match &self.server {
            Server::Sandbox(sandbox) => Ok(sandbox),
            Server::ControlPlane(_) => bail!("a real control plane cannot be told to fail"),
        }
    }

    /// The node, which only a cluster of that kind has.
    ///
    /// # Errors
    /// When it has none.
    pub fn node(&self) -> Result<Node<'_>> {
        match &self.server {
            Server::Sandbox(_) => bail!("the sandbox has no node"),
            Server::ControlPlane(plane) => Node::of(plane),
        }
    }

    /// The real control plane itself, whose components can be restarted.
    ///
    /// # Errors
    /// When it is the sandbox.
    pub fn control_plane(&mut self) -> Result<&mut ControlPlane> {
        match &mut self.server {
            Server::Sandbox(_) => bail!("the sandbox is no control plane"),
            Server::ControlPlane(plane) => Ok(plane),
        }
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let output = self.kubectl_command()?.args(args).output().context("failed to run kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {said}", args.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// kubectl, yet without arguments.
    ///
    /// # Errors
    /// When there is none.
    pub fn kubectl_command(&self) -> Result<Command> {
        kubectl(&self.kubeconfig, self.home.path()).context("there is no kubectl")
    }

    /// Runs `kubectl edit` with an editor that passes the object's YAML through `sed` with this script.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn edit(&self, args: &[&str], script: &str) -> Result<()> {
        let editor = self.home.path().join("editor");
        fs::write(&editor, format!("sed -e '{script}' \"$1\" >\"$1.edited\" && mv \"$1.edited\" \"$1\"\n"))?;
        let mut kubectl = self.kubectl_command()?;
        let output = kubectl.arg("edit").args(args).env("KUBE_EDITOR", format!("sh {}", editor.display())).output()?;
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && said.contains(" edited"), "kubectl edit {}: {said}", args.join(" "));
        Ok(())
    }

    /// Runs `nomos` and returns its exit status and all that it printed.
    pub fn nomos(&self, args: &[&str]) -> (u8, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = nomos_cli::Console::new(&mut out, &mut err, nomos_cli::Environment::default());
        let kubeconfig = self.kubeconfig().as_os_str().to_owned();
        let args = ["nomos", "--kubeconfig"]
            .map(Into::into)
            .into_iter()
            .chain([kubeconfig])
            .chain(args.iter().map(Into::into));
        let code = nomos_cli::run(args, &mut console);
        (code, String::from_utf8_lossy(&out).into_owned() + &String::from_utf8_lossy(&err))
    }

    /// An object or a list by its path, such as `/api/v1/namespaces/shop/services/web`.
    ///
    /// # Errors
    /// When it does not exist or the API server does not answer.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.request(&Method::GET, path, "", Vec::new())
    }

    /// The groups of kinds but the core one, as aggregated discovery shows them.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn groups(&self) -> Result<APIGroupDiscoveryList> {
        Ok(self.runtime.block_on(self.client.list_api_groups_aggregated())?)
    }

    /// `true` if there is an object at `path`.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn exists(&self, path: &str) -> Result<bool> {
        match self.get(path) {
            Ok(_) => Ok(true),
            Err(error) if is_not_found(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes an object in the collection at `path`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.request(&Method::POST, path, "application/json", serde_json::to_vec(object)?)
    }

    /// Changes an object by a merge patch.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn patch(&self, path: &str, patch: &Value) -> Result<Value> {
        self.request(&Method::PATCH, path, "application/merge-patch+json", serde_json::to_vec(patch)?)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.request(&Method::DELETE, path, "", Vec::new())
    }

    fn request(&self, method: &Method, path: &str, content_type: &'static str, body: Vec<u8>) -> Result<Value> {
        let mut request = HttpRequest::builder().method(method).uri(path);
        if !content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let answer = self.runtime.block_on(self.client.request(request.body(body)?));
        answer.with_context(|| format!("{method} {path}"))
    }

    /// Makes the RootSync `name` that follows the branch `main` of `repository`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn create_root_sync(&self, name: &str, repository: &Repository, format: &str) -> Result<()> {
        self.create_root_sync_with(name, repository, (format, ""), &Value::Null)
    }

    /// Makes the RootSync `name` as [`Cluster::create_root_sync`] does, for a directory of the repository, with this `spec.override`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn create_root_sync_with(
        &self,
        name: &str,
        repository: &Repository,
        (format, dir): (&str, &str),
        overrides: &Value,
    ) -> Result<()> {
        let mut git = json!({"repo": repository.url(), "branch": "main", "auth": "none"});
        if !dir.is_empty() {
            git["dir"] = dir.into();
        }
        let mut object = json!({
            "apiVersion": "configsync.gke.io/v1beta1",
            "kind": "RootSync",
            "metadata": {"name": name},
            "spec": {"sourceFormat": format, "git": git},
        });
        if !overrides.is_null() {
            object["spec"]["override"] = overrides.clone();
        }
        self.create(SYNCS, &object)?;
        Ok(())
    }

    /// The RootSync `name` as it is.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn root_sync(&self, name: &str) -> Result<Value> {
        self.get(&root_sync_path(name))
    }

    /// The approval that the status of the RootSync `name` asks for.
    ///
    /// # Errors
    /// When it holds no deletions, or the API server refuses.
    pub fn approval(&self, name: &str) -> Result<String> {
        let status = self.root_sync(name)?["status"].to_string();
        approval(&status).map(str::to_owned).with_context(|| format!("{name} holds no deletions: {status}"))
    }

    /// Approves the deletions that the RootSync `name` holds, as its status says.
    ///
    /// # Errors
    /// When it holds none, or the API server refuses.
    pub fn approve_prune(&self, name: &str) -> Result<()> {
        self.annotate_approval(name, &self.approval(name)?)
    }

    /// Sets the annotation that approves deletions on the RootSync `name`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn annotate_approval(&self, name: &str, approval: &str) -> Result<()> {
        let annotations = json!({"configsync.gke.io/approve-prune": approval});
        self.patch(&root_sync_path(name), &json!({"metadata": {"annotations": annotations}})).map(|_| ())
    }

    /// The requests from the offset `from` on, and the offset after them.
    ///
    /// # Errors
    /// When the requests cannot be read.
    pub fn requests(&self, from: u64) -> Result<(Vec<Request>, u64)> {
        match &self.server {
            Server::Sandbox(sandbox) => {
                let (requests, end) = sandbox.requests(usize::try_from(from)?);
                Ok((requests, end as u64))
            }
            Server::ControlPlane(plane) => plane.requests(from),
        }
    }

    /// The writes of the agent to objects, but not those to its own status, record, Lease and Events, and to the accounts of syncs.
    ///
    /// # Errors
    /// When the requests cannot be read.
    pub fn writes(&self, from: u64) -> Result<Vec<Request>> {
        let own = |request: &Request| {
            ["configsync.gke.io", "kpt.dev", "events.k8s.io", "coordination.k8s.io"]
                .contains(&request.api_group.as_str())
                || request.resource == "events"
                || ACCOUNTS.iter().any(|prefix| request.name.starts_with(prefix))
        };
        let (mut requests, _) = self.requests(from)?;
        requests.retain(|request| request.user_agent.starts_with("nomos-agent/"));
        requests.retain(|request| !["get", "list", "watch"].contains(&request.verb.as_str()) && !own(request));
        Ok(requests)
    }

    /// The end of the requests so far, to start counting from.
    ///
    /// # Errors
    /// When the requests cannot be read.
    pub fn now(&self) -> Result<u64> {
        Ok(self.requests(0)?.1)
    }
}

/// The path of the RootSync `name`.
pub fn root_sync_path(name: &str) -> String {
    format!("{SYNCS}/{name}")
}

/// Our CRDs, as they are installed.
fn crds() -> Result<Vec<Value>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/install/crds");
    let files = std::fs::read_dir(&directory)?.collect::<std::io::Result<Vec<_>>>()?;
    files.iter().map(|file| Ok(serde_yaml::from_str(&std::fs::read_to_string(file.path())?)?)).collect()
}

/// The manifests of the agent, as they are installed.
fn manifests() -> Result<Vec<Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/install/agent.yaml");
    let text = fs::read_to_string(file)?;
    serde_yaml::Deserializer::from_str(&text).map(|document| Ok(Value::deserialize(document)?)).collect()
}

fn crd_path(crd: &Value) -> String {
    let name = crd["metadata"]["name"].as_str().unwrap_or_default();
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
}

/// `true` if the API server answered 404 Not Found.
pub fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 404)
}

/// The client of a kubeconfig that says who it is.
///
/// # Errors
/// When the kubeconfig cannot be used.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
    // Whoever waits tries again.
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

/// The approval that a finding about held deletions asks for.
pub fn approval(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("approve-prune=").or_else(|| text.split_once("--approve-prune "))?;
    rest.split(|c: char| !c.is_ascii_hexdigit() && c != '.').next()
}
