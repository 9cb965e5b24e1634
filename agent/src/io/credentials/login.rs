//! The remote of a sync, from its spec and the Secrets that it names.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::secret::{NamedSecret, SecretUse, Secrets};
use crate::api::{Auth, GitSpec};
use crate::io::git::{
    Cookie, Credentials, GITHUB, GithubApp, KnownServers, Login, METADATA, Remote, Signers, SignersFault, SshKey,
    SshKeyFault, SshLogin, TokenSource, allowed_signers, cookies, is_rsa_key, openpgp_keys, ssh_server,
};
use crate::model::finding::Finding;

/// The Secret of `spec.git.caCertSecretRef`.
const CA: SecretUse = SecretUse { field: "spec.git.caCertSecretRef", reader: "spec.git.caCertSecretRef" };

/// The Secret of `spec.git.verify`, the key in it with ssh keys, and the end of the names of those with OpenPGP keys.
const SIGNERS: SecretUse = SecretUse { field: "spec.git.verify.secretRef", reader: "spec.git.verify" };
const ALLOWED_SIGNERS: &str = "allowed_signers";
const OPENPGP_KEYS: &str = ".asc";

/// The way to do with a server over ssh for which the Secret has no `known_hosts`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UnknownServers {
    /// Its first key is remembered.
    Remember,
    /// It is refused.
    Refuse,
}

/// The remote.
///
/// # Errors
/// When a Secret is missing, cannot be read, or does not hold what the spec needs.
pub(super) fn remote(git: &GitSpec, secrets: &Secrets, unknown: UnknownServers) -> Result<Remote, Finding> {
    let mut remote = Remote {
        url: git.repo.clone(),
        proxy: Some(git.proxy.clone()).filter(|proxy| !proxy.is_empty()),
        skip_tls_verification: git.no_ssl_verify,
        ..Remote::default()
    };
    if git.ca_cert_secret_ref.as_ref().is_some_and(|secret| !secret.name.is_empty()) {
        remote.ca = Some(ca(&secrets.get(git.ca_cert_secret_ref.as_ref(), CA)?)?);
    }
    if let Some(verify) = &git.verify {
        remote.signers = Some(signers(&secrets.get(Some(&verify.secret_ref), SIGNERS)?)?);
    }
    if let Some(reader) = reader(git.auth) {
        let secret = secrets.get(git.secret_ref.as_ref(), SecretUse { field: "spec.git.secretRef", reader })?;
        remote.login = login(git, &secret, unknown)?;
        remote.proxy = secret.optional("https_proxy")?.or(remote.proxy);
        check_proxy(remote.proxy.as_deref(), || {
            secret.unusable("https_proxy", "is not the URL of a proxy", "Write it like http://user:password@host:port.")
        })?;
    }
    if git.auth == Auth::GceNode {
        remote.login = Login::Token(TokenSource::GceNode { metadata: METADATA.to_owned() });
    }
    fits(git, secrets)?;
    check_proxy(remote.proxy.as_deref(), || {
        let message = "spec.git.proxy is not the URL of a proxy.".to_owned();
        secrets.invalid(message, "Write it like http://proxy.example.com:3128.")
    })?;
    Ok(remote)
}

/// The words for a login that reads a Secret.
fn reader(auth: Auth) -> Option<&'static str> {
    match auth {
        Auth::Token => Some("spec.git.auth: token"),
        Auth::CookieFile => Some("spec.git.auth: cookiefile"),
        Auth::Ssh => Some("spec.git.auth: ssh"),
        Auth::GithubApp => Some("spec.git.auth: githubapp"),
        Auth::None | Auth::GceNode | Auth::GcpServiceAccount | Auth::K8sServiceAccount => None,
    }
}

fn login(git: &GitSpec, secret: &NamedSecret<'_>, unknown: UnknownServers) -> Result<Login, Finding> {
    Ok(match git.auth {
        Auth::CookieFile => Login::Cookies(cookie_file(&git.repo, secret)?),
        Auth::Ssh => Login::Ssh(ssh(&git.repo, secret, unknown)?),
        Auth::GithubApp => Login::Token(TokenSource::GithubApp(github_app(secret)?)),
        _ => Login::Password(Credentials { user: secret.required("username")?, password: secret.required("token")? }),
    })
}

/// Checks that the URL is one for the login.
fn fits(git: &GitSpec, secrets: &Secrets) -> Result<(), Finding> {
    let over_ssh = ssh_server(&git.repo).is_some();
    match (over_ssh, git.auth == Auth::Ssh) {
        (true, false) => Err(secrets.invalid(
            format!("spec.git.repo is reached over ssh, and spec.git.auth is {}.", git.auth.name()),
            "Use auth ssh, or the https URL of the repository.",
        )),
        (false, true) => Err(secrets.invalid(
            "spec.git.auth is ssh, and spec.git.repo is not reached over ssh.".to_owned(),
            "Use the ssh URL of the repository, such as ssh://git@git.example.com/x or git@git.example.com:x, or another auth.",
        )),
        _ => Ok(()),
    }
}

fn ssh(url: &str, secret: &NamedSecret<'_>, unknown: UnknownServers) -> Result<SshLogin, Finding> {
    let key = SshKey::read(&secret.required("ssh")?).map_err(|fault| match fault {
        SshKeyFault::Encrypted => secret.unusable(
            "ssh",
            "is protected by a passphrase, which the agent does not have",
            "Use a key without one, for this repository alone: ssh-keygen -t ed25519 -N ''.",
        ),
        SshKeyFault::Public => secret.unusable("ssh", "is the public half of a key", "Write the private half into it."),
        SshKeyFault::Unreadable => secret.unusable(
            "ssh",
            "is no private key in the format of OpenSSH or PEM",
            "Write the file that ssh-keygen makes into it, whole.",
        ),
    })?;
    let known = match unknown {
        UnknownServers::Refuse => KnownServers::new(&secret.required("known_hosts")?),
        UnknownServers::Remember => match secret.optional("known_hosts")? {
            Some(text) => KnownServers::new(&text),
            None => return Ok(SshLogin { key, known: KnownServers::remembered("") }),
        },
    };
    match ssh_server(url).filter(|server| !known.knows(server)) {
        None => Ok(SshLogin { key, known }),
        Some(server) => Err(secret.unusable(
            "known_hosts",
            &format!("has no host key for {server}"),
            "Add the line that ssh-keyscan prints, after a comparison of the fingerprint.",
        )),
    }
}

fn github_app(secret: &NamedSecret<'_>) -> Result<GithubApp, Finding> {
    const CLIENT: &str = "github-app-client-id";
    const APPLICATION: &str = "github-app-application-id";
    const KEY: &str = "github-app-private-key";
    const BASE: &str = "github-app-base-url";
    let app = match (secret.optional(CLIENT)?, secret.optional(APPLICATION)?) {
        (Some(_), Some(_)) => {
            let what = format!("is there beside {CLIENT:?}, and one of them is needed");
            return Err(secret.unusable(APPLICATION, &what, "Remove one of them."));
        }
        (Some(id), None) | (None, Some(id)) => id,
        (None, None) => secret.required(CLIENT)?,
    };
    let installation = secret.required("github-app-installation-id")?;
    if !installation.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(secret.unusable("github-app-installation-id", "is no number", "Write the id of the installation."));
    }
    let key = secret.required(KEY)?;
    if !is_rsa_key(&key) {
        return Err(secret.unusable(KEY, "is no RSA key in PEM", "Write the file into it that GitHub made."));
    }
    let base_url = secret.optional(BASE)?.unwrap_or_else(|| GITHUB.to_owned());
    let valid = reqwest::Url::parse(&base_url).is_ok_and(|url| url.has_host() && url.scheme().starts_with("http"));
    if !valid {
        return Err(secret.unusable(BASE, "is no URL", "Write it like https://github.example.com/api/v3."));
    }
    Ok(GithubApp { app, installation, key, base_url })
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

fn signers(secret: &NamedSecret<'_>) -> Result<Signers, Finding> {
    let mut openpgp = String::new();
    let blocks: Vec<&str> = secret.keys().filter(|key| key.ends_with(OPENPGP_KEYS)).collect();
    for key in &blocks {
        let text = secret.required(key)?;
        if openpgp_keys(&text).is_none() {
            let what = "holds no public OpenPGP key";
            return Err(secret.unusable(key, what, "Write into it: gpg --export --armor me@example.com."));
        }
        openpgp.push_str(&text);
        openpgp.push('\n');
    }
    let ssh = secret.optional(ALLOWED_SIGNERS)?;
    let text = match ssh {
        None if !blocks.is_empty() => return Ok(Signers { ssh: String::new(), openpgp }),
        Some(text) => text,
        None => secret.required(ALLOWED_SIGNERS)?,
    };
    let (what, hint) = match allowed_signers(&text) {
        Ok(_) => return Ok(Signers { ssh: text, openpgp }),
        Err(SignersFault::Line(line)) => {
            (format!("has no public ssh key in line {line}"), "Write lines like: me@example.com ssh-ed25519 AAAA....")
        }
        Err(SignersFault::Option(line, option)) => (
            format!("has the option {option} in line {line}, which the agent does not follow"),
            "Use lines without options, or with namespaces=\"git\".",
        ),
        Err(SignersFault::Empty) => {
            ("has no key that may sign commits".to_owned(), "Write lines like: me@example.com ssh-ed25519 AAAA....")
        }
    };
    Err(secret.unusable(ALLOWED_SIGNERS, &what, hint))
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
