//! A repository as a sync names it: its URL, and everything that it takes to read it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::cookies::Cookie;
use super::error::{FailureClass, GitError};
use super::reach::Reach;
use super::signature::Signers;
use super::ssh_key::{ServerName, SshLogin};
use super::token::TokenSource;
use crate::model::url::is_local;

/// The URL of a repository, and everything that it takes to read it.
///
/// Two syncs share a copy of a repository, and the answers of its server, only if all of this is equal: so no sync reads what was
/// fetched with the credentials of another one, or with fewer checks of the server.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remote {
    /// `https:`, `http:` or `file:` URL, or a path. Credentials in it are used and never shown.
    pub url: String,
    /// Credentials, which replace those in the URL.
    pub login: Login,
    /// CA certificates in PEM that are trusted beside the system's.
    pub ca: Option<Vec<u8>>,
    /// URL of an HTTP proxy, credentials included. Default: none; the environment's is not used.
    pub proxy: Option<String>,
    /// Accepts any certificate of the server. Default: `false`.
    pub skip_tls_verification: bool,
    /// The keys of which one must have signed a commit. Default: any commit is read.
    pub signers: Option<Signers>,
    /// The addresses at which the server may be. Default: all.
    pub reach: Reach,
}

/// The credentials for a repository.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Login {
    /// Those in the URL, if any.
    #[default]
    Url,
    /// User and password.
    Password(Credentials),
    /// Cookies, each for its server.
    Cookies(Vec<Cookie>),
    /// A key for ssh.
    Ssh(SshLogin),
    /// Tokens that expire soon.
    Token(TokenSource),
}

/// User and password, or what the server takes for them, such as a token.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// Password or token.
    pub password: String,
}

/// Hides both: some servers take the token as the user.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Remote {
    /// The repository with its URL in the form that all spellings of it have in common.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        if let Some(mut url) = reqwest::Url::parse(&self.url).ok().filter(|_| !is_local(&self.url)) {
            url.set_fragment(None);
            let path = url.path().trim_end_matches('/').to_owned();
            url.set_path(&path);
            self.url = url.into();
        }
        self
    }

    /// The server that is asked, with its port: the proxy where there is one. `None` for a repository on this machine.
    pub fn server(&self) -> Option<String> {
        let of_url = |url: &reqwest::Url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?));
        match RepositoryLocation::of(&self.url).ok()? {
            RepositoryLocation::Local(_) => None,
            RepositoryLocation::Remote(RemoteLocation::Http(url, _)) => match &self.proxy {
                None => of_url(&url),
                Some(proxy) if proxy.contains("://") => of_url(&reqwest::Url::parse(proxy).ok()?),
                Some(proxy) => of_url(&reqwest::Url::parse(&format!("http://{proxy}")).ok()?),
            },
            RepositoryLocation::Remote(RemoteLocation::Ssh(SshAddress { host, port, .. })) => {
                Some(format!("{host}:{port}"))
            }
        }
    }

    /// The remote that reads another repository. It has the credentials of this one only if both are on one server.
    #[must_use]
    pub fn elsewhere(&self, url: &str) -> Self {
        let url = url.to_owned();
        match RepositoryLocation::same_server(&self.url, &url) {
            true => Self { url, ..self.clone() },
            false => Self { url, reach: self.reach.clone(), ..Self::default() },
        }
    }

    /// A digest of all of it with `salt`. Without the salt it does not help to guess a password.
    pub(super) fn digest(&self, salt: &[u8]) -> [u8; 32] {
        let mut hasher = DigestHasher(Sha256::new_with_prefix(salt));
        self.hash(&mut hasher);
        hasher.0.finalize().into()
    }
}

/// Hashes with SHA-256.
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
    }
}

/// A URL that can be used.
pub(super) enum RepositoryLocation {
    Local(PathBuf),
    Remote(RemoteLocation),
}

/// The address of a repository on a server.
pub(super) enum RemoteLocation {
    /// A URL without credentials, and those that it held.
    Http(reqwest::Url, Option<Credentials>),
    Ssh(SshAddress),
}

/// The address of a repository that is reached over ssh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SshAddress {
    pub(super) user: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// The path on the server; relative to the user's home directory without a slash at its start.
    pub(super) path: String,
}

impl SshAddress {
    fn of(url: &str) -> Option<Self> {
        let url = gix::url::parse(url).ok()?;
        let path = String::from_utf8(url.path.clone().into()).ok()?;
        // As in ssh://host/~user/path.
        let path = path.strip_prefix('/').filter(|path| path.starts_with('~')).unwrap_or(&path).to_owned();
        let host = url.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
        (!path.is_empty() && path != "/").then(|| Self {
            user: url.user().filter(|user| !user.is_empty()).unwrap_or("git").to_owned(),
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port.unwrap_or(22),
            path,
        })
    }
}

/// The server of a URL over ssh, as `known_hosts` names it; `None` for another URL.
pub fn ssh_server(url: &str) -> Option<ServerName> {
    match RepositoryLocation::of(url).ok()? {
        RepositoryLocation::Remote(RemoteLocation::Ssh(address)) => Some(ServerName::new(&address.host, address.port)),
        _ => None,
    }
}

impl RepositoryLocation {
    pub(super) fn of(url: &str) -> Result<Self, GitError> {
        // A URL that does not parse is not shown: it may hold a password.
        let invalid = |what: &str| GitError::new(FailureClass::Broken, what).hint("Check spec.git.repo.");
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            None if is_local(url) && url.is_empty() => Err(invalid("the URL of the repository is empty")),
            None if is_local(url) => Ok(Self::Local(url.into())),
            None | Some("ssh" | "git+ssh" | "ssh+git") => SshAddress::of(url)
                .map(|address| Self::Remote(RemoteLocation::Ssh(address)))
                .ok_or_else(|| invalid("the ssh URL of the repository is not valid")),
            Some("http" | "https") => Self::http(url).ok_or_else(|| invalid("the URL of the repository is not valid")),
            Some("file") => reqwest::Url::parse(url)
                .ok()
                .and_then(|url| url.to_file_path().ok())
                .map(Self::Local)
                .ok_or_else(|| invalid("the file URL of the repository is not valid")),
            Some(scheme) => Err(invalid(&format!("repositories over {scheme:?} are not supported"))
                .hint("Use the https or ssh URL of the repository.")),
        }
    }

    /// `true` if both URLs lead to one server, and over ssh to one user of it.
    fn same_server(one: &str, other: &str) -> bool {
        match (Self::of(one), Self::of(other)) {
            (Ok(Self::Remote(RemoteLocation::Http(one, _))), Ok(Self::Remote(RemoteLocation::Http(other, _)))) => {
                one.origin() == other.origin()
            }
            (Ok(Self::Remote(RemoteLocation::Ssh(one))), Ok(Self::Remote(RemoteLocation::Ssh(other)))) => {
                (one.host, one.port, one.user) == (other.host, other.port, other.user)
            }
            _ => false,
        }
    }

    /// Takes the credentials out of a URL.
    fn http(url: &str) -> Option<Self> {
        let decoded = gix::url::parse(url).ok()?;
        let credentials = decoded.user().map(|user| Credentials {
            user: user.to_owned(),
            password: decoded.password().unwrap_or_default().to_owned(),
        });
        let mut url = reqwest::Url::parse(url).ok()?;
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        url.set_fragment(None);
        Some(Self::Remote(RemoteLocation::Http(url, credentials)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(url: &str) -> Remote {
        Remote { url: url.to_owned(), ..Remote::default() }
    }

    fn password(password: &str) -> Login {
        Login::Password(Credentials { user: "user".into(), password: password.into() })
    }

    #[test]
    fn spellings_of_one_repository_are_one() {
        for spelling in ["HTTPS://Git.Example/x", "https://git.example:443/x/", "https://git.example/x#y"] {
            assert!(remote(spelling).normalised() == remote("https://git.example/x"), "{spelling}");
        }
        for other in ["https://git.example/X", "http://git.example/x", "https://git.example/x?y", "/srv/x/"] {
            assert!(remote(other).normalised() == remote(other), "{other}");
        }
    }

    #[test]
    fn a_proxy_is_the_server_that_is_asked() {
        let server =
            |proxy: Option<&str>| Remote { proxy: proxy.map(Into::into), ..remote("https://git.example/x") }.server();
        for (proxy, expected) in [
            (None, "git.example:443"),
            (Some("http://user:word@proxy.example:3128"), "proxy.example:3128"),
            (Some("proxy.example"), "proxy.example:80"),
            (Some("socks5://proxy.example:1080"), "proxy.example:1080"),
        ] {
            assert_eq!(server(proxy).as_deref(), Some(expected));
        }
    }

    #[test]
    fn addresses_over_ssh_are_those_of_git() {
        let address = |user: &str, host: &str, port, path: &str| {
            Some(SshAddress { user: user.into(), host: host.into(), port, path: path.into() })
        };
        for (url, expected) in [
            ("git@git.example:team/x.git", address("git", "git.example", 22, "team/x.git")),
            ("git.example:x", address("git", "git.example", 22, "x")),
            ("ssh://me@Git.Example/srv/x", address("me", "git.example", 22, "/srv/x")),
            ("ssh://git@git.example:2222/~/x", address("git", "git.example", 2222, "~/x")),
            ("ssh://git@[::1]:2222/x", address("git", "::1", 2222, "/x")),
            ("ssh://git@git.example/", None),
            ("ssh://git@git.example", None),
        ] {
            let found = match RepositoryLocation::of(url) {
                Ok(RepositoryLocation::Remote(RemoteLocation::Ssh(address))) => Some(address),
                _ => None,
            };
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn everything_that_it_takes_to_read_a_repository_tells_copies_apart() {
        let plain = remote("https://git.example/x");
        let others = [
            plain.clone(),
            remote("https://git.example/y"),
            Remote { login: password("one"), ..plain.clone() },
            Remote { login: password("two"), ..plain.clone() },
            Remote { ca: Some(b"ca".to_vec()), ..plain.clone() },
            Remote { proxy: Some("http://proxy.example".into()), ..plain.clone() },
            Remote { skip_tls_verification: true, ..plain.clone() },
            Remote { signers: Some(Signers { ssh: "a".into(), ..Signers::default() }), ..plain.clone() },
            Remote { signers: Some(Signers { openpgp: "a".into(), ..Signers::default() }), ..plain.clone() },
            Remote { reach: Reach::Public([].into()), ..plain.clone() },
        ];
        let digests: std::collections::BTreeSet<_> = others.iter().map(|remote| remote.digest(b"salt")).collect();
        assert_eq!(digests.len(), others.len());
        assert_eq!(plain.digest(b"salt"), others[0].digest(b"salt"));
        assert_ne!(plain.digest(b"salt"), plain.digest(b"other"));
    }

    #[test]
    fn another_repository_is_not_read_with_the_credentials_for_another_server() {
        let own = Remote { login: password("secret"), proxy: Some("p".into()), ..remote("https://git.example/x") };
        assert!(own.elsewhere("https://git.example/y").login == own.login);
        for url in ["https://git.example:444/x", "http://git.example/x", "https://other.example/x", "/srv/x", "x"] {
            assert!(own.elsewhere(url) == remote(url), "{url}");
        }
    }
}
