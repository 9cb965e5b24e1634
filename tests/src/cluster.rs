//! A cluster as stories use it: a control plane, a client that says who it is, and `nomos status`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use http::{HeaderValue, Method, Request as HttpRequest, header};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::controlplane::{ControlPlane, Request};
use crate::repository::Repository;

/// Where RootSyncs are.
const SYNCS: &str = "/apis/configsync.gke.io/v1beta1/namespaces/config-management-system/rootsyncs";
/// How the requests of [`Cluster::get`] and its like show in the audit log.
const USER_AGENT: &str = "story";

/// A control plane of its own.
pub struct Cluster {
    plane: ControlPlane,
    runtime: Runtime,
    client: kube::Client,
}

impl Cluster {
    /// Starts a control plane that knows nothing of us.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Self> {
        // An error says that another cluster of this process has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plane = ControlPlane::start()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(client(plane.kubeconfig()))?;
        Ok(Self { plane, runtime, client })
    }

    /// Applies our CRDs and makes the namespace of RootSyncs, as an installation does.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn install(&self) -> Result<()> {
        self.kubectl(&["apply", "--server-side", "-f", &crds()])?;
        self.kubectl(&["create", "namespace", "config-management-system"])?;
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &crds()])?;
        Ok(())
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        self.plane.kubeconfig()
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let output = self.plane.kubectl(args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {said}", args.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs `kubectl edit` with an editor that passes the object's YAML through `sed` with this script.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn edit(&self, args: &[&str], script: &str) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let editor = dir.path().join("editor");
        fs::write(&editor, format!("sed -e '{script}' \"$1\" >\"$1.edited\" && mv \"$1.edited\" \"$1\"\n"))?;
        let mut kubectl = self.plane.kubectl_command(&[&["edit"], args].concat());
        let output = kubectl.env("KUBE_EDITOR", format!("sh {}", editor.display())).output()?;
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

    /// Whether something is at `path`.
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
        let git = json!({"repo": repository.url(), "branch": "main", "auth": "none"});
        let object = json!({
            "apiVersion": "configsync.gke.io/v1beta1",
            "kind": "RootSync",
            "metadata": {"name": name},
            "spec": {"sourceFormat": format, "git": git},
        });
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

    /// The requests from the offset `from` on, and the offset after them.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn requests(&self, from: u64) -> Result<(Vec<Request>, u64)> {
        self.plane.requests(from)
    }

    /// The writes of the agent to objects, but not those to its own status, record and Events.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn writes(&self, from: u64) -> Result<Vec<Request>> {
        let own = |request: &Request| {
            ["configsync.gke.io", "kpt.dev", "events.k8s.io"].contains(&request.api_group.as_str())
                || request.resource == "events"
        };
        let (mut requests, _) = self.requests(from)?;
        requests.retain(|request| request.user_agent.starts_with("nomos-agent/"));
        requests.retain(|request| !["get", "list", "watch"].contains(&request.verb.as_str()) && !own(request));
        Ok(requests)
    }

    /// The end of the audit log, to start counting from.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn now(&self) -> Result<u64> {
        Ok(self.requests(0)?.1)
    }
}

/// The path of the RootSync `name`.
pub fn root_sync_path(name: &str) -> String {
    format!("{SYNCS}/{name}")
}

/// The directory of our CRDs.
pub fn crds() -> String {
    format!("{}/../examples/install/crds", env!("CARGO_MANIFEST_DIR"))
}

/// Whether the API server said that there is no such thing.
pub fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 404)
}

async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
    Ok(kube::Client::try_from(config)?)
}
