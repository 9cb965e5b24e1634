//! The remote of a sync, from its spec and the Secrets that it names.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::secret::{NamedSecret, SecretUse, Secrets};
use crate::api::{Auth, GitSpec};
use crate::io::git::{Cookie, Credentials, Login, Remote, cookies};
use crate::model::finding::Finding;

/// The Secret of `spec.git.caCertSecretRef`.
const CA: SecretUse = SecretUse { field: "spec.git.caCertSecretRef", reader: "spec.git.caCertSecretRef" };

/// The remote.
///
/// # Errors
/// When a Secret is missing, cannot be read, or does not hold what the spec needs.
pub(super) fn remote(git: &GitSpec, secrets: &Secrets) -> Result<Remote, Finding> {
    let mut remote = Remote {
        url: git.repo.clone(),
        proxy: Some(git.proxy.clone()).filter(|proxy| !proxy.is_empty()),
        skip_tls_verification: git.no_ssl_verify,
        ..Remote::default()
    };
    if git.ca_cert_secret_ref.as_ref().is_some_and(|secret| !secret.name.is_empty()) {
        remote.ca = Some(ca(&secrets.get(git.ca_cert_secret_ref.as_ref(), CA)?)?);
    }
    if git.auth.needs_secret() {
        let reader = match git.auth {
            Auth::CookieFile => "spec.git.auth: cookiefile",
            _ => "spec.git.auth: token",
        };
        let secret = secrets.get(git.secret_ref.as_ref(), SecretUse { field: "spec.git.secretRef", reader })?;
        remote.login = match git.auth {
            Auth::CookieFile => Login::Cookies(cookie_file(&git.repo, &secret)?),
            _ => {
                Login::Password(Credentials { user: secret.required("username")?, password: secret.required("token")? })
            }
        };
        remote.proxy = secret.optional("https_proxy")?.or(remote.proxy);
        check_proxy(remote.proxy.as_deref(), || {
            secret.unusable("https_proxy", "is not the URL of a proxy", "Write it like http://user:password@host:port.")
        })?;
    }
    check_proxy(remote.proxy.as_deref(), || {
        let message = "spec.git.proxy is not the URL of a proxy.".to_owned();
        secrets.invalid(message, "Write it like http://proxy.example.com:3128.")
    })?;
    Ok(remote)
}

fn ca(secret: &NamedSecret<'_>) -> Result<Vec<u8>, Finding> {
    let text = secret.required("cert")?.into_bytes();
    let mut roots = RootCertStore::empty();
    let added = CertificateDer::pem_slice_iter(&text).try_for_each(|certificate| roots.add(certificate.ok()?).ok());
    match added {
        Some(()) if !roots.is_empty() => Ok(text),
        _ => Err(secret.unusable("cert", "holds no certificate in PEM", "Write the certificate of the CA into it.")),
    }
}

fn cookie_file(url: &str, secret: &NamedSecret<'_>) -> Result<Vec<Cookie>, Finding> {
    let cookies = cookies(&secret.required("cookie_file")?).map_err(|line| {
        let what = format!("is no cookie file: line {line} does not have seven fields between tabs");
        secret.unusable("cookie_file", &what, "Use the file that git's http.cookieFile reads.")
    })?;
    let host = reqwest::Url::parse(url).ok();
    match host.filter(|url| !cookies.iter().any(|cookie| cookie.is_for_host(url))) {
        None => Ok(cookies),
        Some(url) => {
            let host = url.host_str().unwrap_or_default();
            let what = format!("has no cookie for {}://{host}", url.scheme());
            Err(secret.unusable("cookie_file", &what, "Add one for the host in spec.git.repo."))
        }
    }
}

fn check_proxy(proxy: Option<&str>, otherwise: impl FnOnce() -> Finding) -> Result<(), Finding> {
    let valid = |proxy: &str| {
        // Without a scheme it is HTTP.
        let url = if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
        let url = reqwest::Url::parse(&url).ok().filter(|url| url.has_host() && url.scheme().starts_with("http"));
        url.is_some() && reqwest::Proxy::all(proxy).is_ok()
    };
    if proxy.is_none_or(valid) { Ok(()) } else { Err(otherwise()) }
}
