//! Requests to a control plane as they are, and what it answers, whatever that is.

use anyhow::{Context, Result};
use http::{Method, Request, header};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::runtime::Runtime;

use crate::controlplane::ControlPlane;

/// A control plane of its own, and the administrator's client to it.
pub struct Raw {
    runtime: Runtime,
    client: kube::Client,
    /// Ends with this.
    _plane: ControlPlane,
}

impl Raw {
    /// Starts a control plane that has nothing but what it starts with.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Self> {
        // An error says that another cluster of this process has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plane = ControlPlane::start_without_audit()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let kubeconfig = Kubeconfig::read_from(plane.kubeconfig())?;
        let client = runtime.block_on(async {
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
            anyhow::Ok(kube::Client::try_from(config)?)
        })?;
        Ok(Self { runtime, client, _plane: plane })
    }

    /// Sends a request and returns status and body. `kind` is the content type of `body`, `accept` what may come back.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn send(&self, method: &Method, path: &str, kind: &str, accept: &str, body: Vec<u8>) -> Result<(u16, String)> {
        let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(Body::from(body))?;
        self.runtime.block_on(async {
            let answer = self.client.send(request).await.with_context(|| format!("{method} {path}"))?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect_bytes().await?;
            Ok((status, String::from_utf8(body.into())?))
        })
    }
}
