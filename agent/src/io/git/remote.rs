//! A repository as a sync names it: its URL, and everything that it takes to read it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::cookies::Cookie;
use super::error::{FailureClass, GitError};
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

    /// The remote that reads another repository. It has the credentials of this one only if both are on one server.
    #[must_use]
    pub fn elsewhere(&self, url: &str) -> Self {
        let url = url.to_owned();
        let origin = |url: &str| reqwest::Url::parse(url).ok().map(|url| url.origin());
        match origin(&url).is_some_and(|there| there.is_tuple() && origin(&self.url) == Some(there)) {
            true => Self { url, ..self.clone() },
            false => Self { url, ..Self::default() },
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
    Remote(reqwest::Url, Option<Credentials>),
}

impl RepositoryLocation {
    pub(super) fn of(url: &str) -> Result<Self, GitError> {
        // A URL that does not parse is not shown: it may hold a password.
        let invalid = |what: &str| GitError::new(FailureClass::Broken, what).hint("Check spec.git.repo.");
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            None if !is_local(url) => {
                Err(invalid("repositories over ssh are not supported").hint("Use the https URL of the repository."))
            }
            None if url.is_empty() => Err(invalid("the URL of the repository is empty")),
            None => Ok(Self::Local(url.into())),
            Some("http" | "https") => {
                Self::remote(url).ok_or_else(|| invalid("the URL of the repository is not valid"))
            }
            Some("file") => reqwest::Url::parse(url)
                .ok()
                .and_then(|url| url.to_file_path().ok())
                .map(Self::Local)
                .ok_or_else(|| invalid("the file URL of the repository is not valid")),
            Some(scheme) => Err(invalid(&format!("repositories over {scheme:?} are not supported"))
                .hint("Use the https URL of the repository.")),
        }
    }

    /// Takes the credentials out of a URL.
    fn remote(url: &str) -> Option<Self> {
        let decoded = gix::url::parse(url).ok()?;
        let credentials = decoded.user().map(|user| Credentials {
            user: user.to_owned(),
            password: decoded.password().unwrap_or_default().to_owned(),
        });
        let mut url = reqwest::Url::parse(url).ok()?;
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        url.set_fragment(None);
        Some(Self::Remote(url, credentials))
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
