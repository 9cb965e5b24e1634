//! Keys for ssh: the private one that logs in, and those by which servers are known.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, KnownHosts, Marker};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};

/// The credentials for a server that is reached over ssh.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SshLogin {
    /// The private key.
    pub key: SshKey,
    /// The keys that servers have to show.
    pub known: KnownServers,
}

/// A private key, as it stands in a file.
#[derive(Clone)]
pub struct SshKey {
    text: String,
    pub(super) key: Arc<PrivateKey>,
}

/// The reason why a text is no key to log in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SshKeyFault {
    /// A passphrase is needed.
    Encrypted,
    /// It is the public half.
    Public,
    /// It has another form.
    Unreadable,
}

impl SshKey {
    /// Reads a key in the format of OpenSSH, PKCS#1, PKCS#8 or SEC1.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn read(text: &str) -> Result<Self, SshKeyFault> {
        // Lines may end like those of Windows, and spaces may have come with a copy.
        let text = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .fold(String::new(), |all, line| all + line + "\n");
        if text.contains("ENCRYPTED") {
            return Err(SshKeyFault::Encrypted);
        }
        if !text.starts_with("-----BEGIN ") {
            return Err(if text.parse::<PublicKey>().is_ok() { SshKeyFault::Public } else { SshKeyFault::Unreadable });
        }
        match russh::keys::decode_secret_key(&text, None) {
            Ok(key) if key.is_encrypted() => Err(SshKeyFault::Encrypted),
            Ok(key) => Ok(Self { text, key: Arc::new(key) }),
            Err(russh::keys::Error::KeyIsEncrypted) => Err(SshKeyFault::Encrypted),
            Err(_) => Err(SshKeyFault::Unreadable),
        }
    }
}

/// The text tells keys apart.
impl PartialEq for SshKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for SshKey {}

impl PartialOrd for SshKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SshKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for SshKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// The keys of servers, as they stand in a file `known_hosts`. Lines that cannot be read are left out, as OpenSSH does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KnownServers {
    text: String,
    /// `true` for the keys that servers showed at the first connection; `false` for those that a user wrote.
    pub(super) remembered: bool,
}

/// The key that a server shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    /// Its line in a file `known_hosts`.
    pub line: String,
    /// Its algorithm and its digest, as operators of servers publish them.
    pub fingerprint: String,
}

impl HostKey {
    pub(super) fn of(server: &ServerName, key: &PublicKey) -> Self {
        let written = key.to_openssh().unwrap_or_default();
        Self {
            line: format!("{server} {}", written.split(' ').take(2).collect::<Vec<_>>().join(" ")),
            fingerprint: format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256)),
        }
    }
}

/// An address of a server, in the form that `known_hosts` has: with the port in brackets unless it is 22.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName(String);

impl ServerName {
    pub(super) fn new(host: &str, port: u16) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Self(if port == 22 { host } else { format!("[{host}]:{port}") })
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl KnownServers {
    /// From the text of a file that a user wrote.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), remembered: false }
    }

    /// From lines of [`HostKey`].
    pub fn remembered(text: &str) -> Self {
        Self { text: text.to_owned(), remembered: true }
    }

    /// `true` for keys that servers showed at the first connection.
    pub fn is_remembered(&self) -> bool {
        self.remembered
    }

    fn entries<'a>(&'a self, server: &'a ServerName) -> impl Iterator<Item = Entry> + 'a {
        KnownHosts::new(&self.text).filter_map(Result::ok).filter(|entry| fits_host(entry.host_patterns(), &server.0))
    }

    /// `true` if a key of the server is in the file.
    pub fn knows(&self, server: &ServerName) -> bool {
        !self.algorithms(server).is_empty()
    }

    /// The algorithms of the keys of a server, best first.
    pub(super) fn algorithms(&self, server: &ServerName) -> Vec<Algorithm> {
        let known: Vec<Algorithm> = self
            .entries(server)
            .filter(|entry| entry.marker().is_none())
            .map(|entry| entry.public_key().algorithm())
            .collect();
        ALGORITHMS.iter().filter(|offered| known.iter().any(|known| same(known, offered))).cloned().collect()
    }

    /// `true` if the server has this key.
    pub(super) fn has(&self, server: &ServerName, key: &PublicKey) -> bool {
        let of_key = |entry: &Entry| entry.public_key().key_data() == key.key_data();
        let revoked = self.entries(server).any(|entry| entry.marker() == Some(&Marker::Revoked) && of_key(&entry));
        !revoked && self.entries(server).any(|entry| entry.marker().is_none() && of_key(&entry))
    }
}

/// The algorithms for keys of servers that are good enough, best first.
pub(super) const ALGORITHMS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: russh::keys::EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: russh::keys::EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: russh::keys::EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// `true` if a key of the one algorithm signs by the other: an RSA key by several.
fn same(known: &Algorithm, offered: &Algorithm) -> bool {
    known == offered || (is_rsa(known) && is_rsa(offered))
}

pub(super) fn is_rsa(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { .. })
}

fn fits_host(patterns: &HostPatterns, server: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            ring::hmac::verify(&key, server.as_bytes(), hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let fits = |pattern: &str| glob(pattern.to_ascii_lowercase().as_bytes(), server.as_bytes());
            let excluded = patterns.iter().filter_map(|pattern| pattern.strip_prefix('!')).any(fits);
            !excluded && patterns.iter().any(|pattern| !pattern.starts_with('!') && fits(pattern))
        }
    }
}

/// `true` if the text fits a pattern with `*` and `?`. Takes time in proportion to the product of both lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // The prefixes of the text that fit the pattern so far, by length.
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    for sign in pattern {
        if *sign == b'*' {
            let first = fits.iter().position(|fits| *fits).unwrap_or(text.len() + 1);
            fits.iter_mut().skip(first).for_each(|fits| *fits = true);
        } else {
            for at in (0..text.len()).rev() {
                fits[at + 1] = fits[at] && (*sign == b'?' || *sign == text[at]);
            }
            fits[0] = false;
        }
    }
    fits[text.len()]
}
