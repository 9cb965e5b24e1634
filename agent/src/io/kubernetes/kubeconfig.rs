//! Kubeconfigs as kubectl reads them, where kube's own reading differs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{Request, Response};
use kube::Config;
use kube::client::{Body, ConfigExt as _};
use kube::config::{AuthInfo, Cluster as ClusterEntry, ExecAuthCluster, Kubeconfig};
use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn};

use crate::io::proxy::ProxyVariables;
use crate::model::error_chain::{error_chain, root_cause};

/// Why a kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such context, or no current one.
    #[error("the kubeconfig has no context {0:?}; it has {1}")]
    Context(String, String),
    /// The context names a cluster that is not there.
    #[error("the context names the cluster {0:?}, which the kubeconfig does not have")]
    Cluster(String),
    /// A value cannot be read.
    #[error("{0} cannot be read: {1}")]
    Value(&'static str, String),
    /// A file cannot be read.
    #[error("cannot read the {0} {1}: {2}")]
    File(&'static str, String, String),
}

/// Reads one file.
///
/// # Errors
/// The cause in one line, without the path.
pub fn read(path: &Path) -> Result<Kubeconfig, String> {
    Kubeconfig::read_from(path).map_err(|error| {
        let cause = root_cause(&error);
        // Further lines of the message quote the file, which can hold credentials.
        cause.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// The files of `$KUBECONFIG` merged, or else the file in the home directory; `None` if none of them is there.
///
/// # Errors
/// When a file cannot be read. `read` says how.
pub fn load<E>(
    list: Option<&std::ffi::OsStr>,
    home: Option<&Path>,
    read: impl Fn(&Path) -> Result<Kubeconfig, E>,
    merge: impl Fn(Kubeconfig, Kubeconfig) -> Result<Kubeconfig, E>,
) -> Result<Option<Kubeconfig>, E> {
    let files: Vec<PathBuf> = match (list.filter(|list| !list.is_empty()), home) {
        (Some(list), _) => std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect(),
        (None, Some(home)) => vec![home.join(".kube").join("config")],
        (None, None) => Vec::new(),
    };
    let mut merged: Option<Kubeconfig> = None;
    for file in files.iter().filter(|file| file.exists()) {
        let mut next = read(file)?;
        // Empty is not set: a later file may set it.
        next.current_context = next.current_context.filter(|name| !name.is_empty());
        merged = Some(match merged {
            Some(first) => merge(first, next)?,
            None => next,
        });
    }
    Ok(merged)
}

/// The configuration of a client for a context, or for the current one.
///
/// # Errors
/// When the context or its cluster is missing, or a value or file cannot be read.
pub fn config(kubeconfig: &Kubeconfig, context: Option<&str>, proxies: &ProxyVariables) -> Result<Config, ConfigError> {
    let name = context.or(kubeconfig.current_context.as_deref()).unwrap_or_default();
    let all = || kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = kubeconfig.contexts.iter().find(|context| context.name == name);
    let context = found
        .and_then(|context| context.context.as_ref())
        .ok_or_else(|| ConfigError::Context(name.to_owned(), all()))?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster
        .and_then(|cluster| cluster.cluster.clone())
        .ok_or_else(|| ConfigError::Cluster(context.cluster.clone()))?;
    let user = kubeconfig.auth_infos.iter().find(|user| Some(&user.name) == context.user.as_ref());
    let user = user.and_then(|user| user.auth_info.clone()).unwrap_or_default();
    let cluster = filled("the cluster", &cluster)?;
    let server = cluster.server.as_deref().unwrap_or("http://localhost:8080");
    let url = uri("the address of the server", server)?;
    let mut config = Config::new(url);
    config.root_cert = certificates(&cluster)?;
    config.proxy_url = proxy(&cluster, &config.cluster_url, proxies)?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    // No certificate is compared with them: without this, those of the system would be read.
    config.root_cert = config.root_cert.or_else(|| config.accept_invalid_certs.then(Vec::new));
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.default_namespace = context.namespace.clone().unwrap_or_else(|| "default".to_owned());
    config.auth_info = login(&user, &cluster)?;
    config.tls_server_name = cluster.tls_server_name;
    Ok(config)
}

/// The token with which a client of this configuration logs in, be it one that a login program gives; `None` for other logins.
///
/// # Errors
/// When the login fails.
pub async fn bearer_token(config: &Config) -> Result<Option<String>, BoxError> {
    let Some(layer) = config.auth_layer()? else { return Ok(None) };
    // kube adds the header to a request that is sent nowhere.
    let echo = service_fn(async |request: Request<Body>| {
        let mut answer = Response::new(Body::empty());
        *answer.headers_mut() = request.into_parts().0.headers;
        Ok::<_, BoxError>(answer)
    });
    let answer = layer.layer(echo).oneshot(Request::new(Body::empty())).await?;
    let header = answer.headers().get(AUTHORIZATION).map(|value| value.to_str()).transpose()?;
    Ok(header.and_then(|header| header.strip_prefix("Bearer ")).map(str::to_owned))
}

/// An entry without its empty values: they are not set.
fn filled<T: Serialize + DeserializeOwned>(what: &'static str, entry: &T) -> Result<T, ConfigError> {
    // No message quotes a value, which may be a password.
    let wrong = |_| ConfigError::Value(what, "it has not the form of its kind".to_owned());
    let mut value = serde_json::to_value(entry).map_err(wrong)?;
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| value != "");
    }
    serde_json::from_value(value).map_err(wrong)
}

fn uri(what: &'static str, text: &str) -> Result<http::Uri, ConfigError> {
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    text.parse().map_err(|error: http::uri::InvalidUri| ConfigError::Value(what, error.to_string()))
}

/// The certificate authorities of the cluster; `None` for those of the system.
fn certificates(cluster: &ClusterEntry) -> Result<Option<Vec<Vec<u8>>>, ConfigError> {
    const WHAT: &str = "certificate-authority";
    let wrong = |error: String| ConfigError::Value(WHAT, error);
    // It decodes the data or reads the file.
    let read = ExecAuthCluster::try_from(cluster).map_err(|error| wrong(error_chain(&error)))?;
    let Some(pem) = read.certificate_authority_data else { return Ok(None) };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    Ok(Some(read.map_err(|error| wrong(error.to_string()))?.into_iter().map(|one| one.to_vec()).collect()))
}

fn proxy(
    cluster: &ClusterEntry,
    server: &http::Uri,
    proxies: &ProxyVariables,
) -> Result<Option<http::Uri>, ConfigError> {
    let scheme = server.scheme_str().unwrap_or("https");
    let port = server.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
    // The one of the kubeconfig is for this cluster, whatever NO_PROXY says.
    let proxy = cluster.proxy_url.clone().or_else(|| proxies.proxy(scheme, server.host().unwrap_or_default(), port));
    proxy.map(|proxy| uri("the address of the proxy", &proxy)).transpose()
}

/// The login of a user.
fn login(user: &AuthInfo, cluster: &ClusterEntry) -> Result<AuthInfo, ConfigError> {
    let mut user = filled("the user", user)?;
    if let Some(file) = &user.token_file {
        let read = std::fs::read_to_string(file);
        let token = read.map_err(|error| ConfigError::File("token file", file.clone(), error.to_string()))?;
        // A token with the line break that editors put at its end cannot be sent. kube reads a file again when it changes, as
        // it is: so a file without one stays a file.
        match token.trim() == token {
            true => user.token = None,
            false => (user.token, user.token_file) = (Some(token.trim().to_owned().into()), None),
        }
    }
    if let Some(exec) = &mut user.exec
        && exec.provide_cluster_info
    {
        let read = ExecAuthCluster::try_from(cluster);
        exec.cluster = Some(read.map_err(|error| ConfigError::Value("certificate-authority", error.to_string()))?);
    }
    Ok(user)
}

/// Makes rustls the one of the process that does TLS. Client certificates are sent as they are, also those of X.509 version 1,
/// which `openssl x509 -req` makes: the server judges them. It does nothing where a provider is installed already.
pub fn install_tls() {
    let _ = CryptoProvider { key_provider: &PrivateKeys, ..ring::default_provider() }.install_default();
}

/// Reads private keys as ring does.
#[derive(Debug)]
struct PrivateKeys;

impl KeyProvider for PrivateKeys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Ok(Arc::new(UncheckedKey(ring::default_provider().key_provider.load_private_key(key)?)))
    }
}

/// A key that does not tell its public half. rustls compares that with the certificate, and would refuse one that it cannot read.
#[derive(Debug)]
struct UncheckedKey(Arc<dyn SigningKey>);

impl SigningKey for UncheckedKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.0.choose_scheme(offered)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}
