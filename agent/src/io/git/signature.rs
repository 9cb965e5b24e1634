//! Signatures of commits by ssh and OpenPGP keys, and the keys that may make them.

use gix::bstr::ByteSlice as _;
use russh::keys::ssh_key::SshSig;
use russh::keys::{HashAlg, PublicKey};

use super::Commit;
use super::error::{FailureClass, GitError, from_gix};
use super::openpgp::{self, openpgp_keys};

/// The purpose for which git signs, which a signature names.
const NAMESPACE: &str = "git";

/// The first line of a signature by an ssh key.
const BEGIN_SSH: &[u8] = b"-----BEGIN SSH SIGNATURE-----";

/// The first line of a signature by an OpenPGP key.
const BEGIN_OPENPGP: &[u8] = b"-----BEGIN PGP SIGNATURE-----";

/// The keys of which one must have signed a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signers {
    /// ssh keys, as [`allowed_signers`] reads them.
    pub ssh: String,
    /// OpenPGP keys, as [`openpgp_keys`] reads them.
    pub openpgp: String,
}

/// The reason why a text is no list of allowed signers. The number is that of the line, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignersFault {
    /// The line holds no public key.
    Line(usize),
    /// The line has an option that the agent does not follow.
    Option(usize, String),
    /// There is no key that may sign commits.
    Empty,
}

/// The keys that may sign commits, from a text as `ssh-keygen` reads it: principals, options and a public key in each line.
///
/// # Errors
/// When a line cannot be followed: to pass it over could let others sign, or not let a signer sign.
pub fn allowed_signers(text: &str) -> Result<Vec<PublicKey>, SignersFault> {
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (line, number) = (line.trim(), index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (_principals, rest) = word(line);
        let (key, options) = match key(rest) {
            Some(key) => (key, ""),
            None => {
                let (options, rest) = word(rest);
                (key(rest).ok_or(SignersFault::Line(number))?, options)
            }
        };
        let mut signs_commits = true;
        for option in split(options, ',').into_iter().filter(|option| !option.is_empty()) {
            let namespaces = option.strip_prefix("namespaces=").map(|list| list.trim_matches('"'));
            let namespaces = namespaces.filter(|list| !list.contains(['*', '?', '!']));
            let Some(namespaces) = namespaces else { return Err(SignersFault::Option(number, option.to_owned())) };
            signs_commits = namespaces.split(',').any(|name| name == NAMESPACE);
        }
        if signs_commits {
            keys.push(key);
        }
    }
    if keys.is_empty() { Err(SignersFault::Empty) } else { Ok(keys) }
}

/// The key at the beginning of a text: its type, its value, and perhaps a comment.
fn key(text: &str) -> Option<PublicKey> {
    let mut words = text.split_whitespace();
    PublicKey::from_openssh(&format!("{} {}", words.next()?, words.next()?)).ok()
}

/// The first word, in which quotes hold white space, and the rest.
fn word(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        !quoted && c.is_whitespace()
    });
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (word, rest.trim_start())
}

/// The parts of a text between separators that are not in quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c: char| {
        quoted ^= c == '"';
        !quoted && c == separator
    })
    .collect()
}

/// Checks that a commit is signed by one of the keys in `signers`.
///
/// # Errors
/// When it is not, or cannot be read.
pub(super) fn verify(repo: &gix::Repository, commit: Commit, signers: &Signers, shown: &str) -> Result<(), GitError> {
    let failed = |error: gix::Error| from_gix(&error, shown, "read a commit of");
    let refused = |what: String| {
        let message = format!("the commit {commit} of {shown} {what}, and spec.git.verify lets no such commit pass");
        GitError::new(FailureClass::Unsigned, message)
            .hint("Sign it with a key of the Secret that spec.git.verify names, or add the key of its signer there.")
    };
    let object = repo.find_commit(commit.0).map_err(failed)?;
    let Some((signature, signed)) = object.signature().map_err(failed)? else {
        return Err(refused("is not signed".to_owned()));
    };
    let signed = signed.to_bstring();
    let verified = match signature.trim() {
        ssh if ssh.starts_with(BEGIN_SSH) => by_ssh(&signers.ssh, ssh, &signed),
        pgp if pgp.starts_with(BEGIN_OPENPGP) => {
            openpgp::verify(&openpgp_keys(&signers.openpgp).unwrap_or_default(), &pgp.to_str_lossy(), &signed)
        }
        _ => Err("is signed, but neither by an ssh key nor by an OpenPGP key".to_owned()),
    };
    verified.map_err(refused)
}

/// Checks that a text is signed by one of the ssh keys.
fn by_ssh(signers: &str, signature: &[u8], signed: &[u8]) -> Result<(), String> {
    let Ok(signature) = SshSig::from_pem(signature) else {
        return Err("has a signature that cannot be read".to_owned());
    };
    let keys = allowed_signers(signers).unwrap_or_default();
    let signer = signature.public_key();
    match keys.iter().find(|key| key.key_data() == signer) {
        None => Err(format!("is signed by {}, which is not allowed", signer.fingerprint(HashAlg::Sha256))),
        Some(key) => {
            key.verify(NAMESPACE, signed, &signature).map_err(|_| "has a signature that is not its own".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn lines_are_read_as_ssh_keygen_reads_them() {
        let count = |text: &str| allowed_signers(text).map(|keys| keys.len());
        for line in [
            format!("me@example.com {KEY}"),
            format!("me@example.com,you@example.com {KEY} a comment of words"),
            format!("\"me and you\"  namespaces=\"git\"  {KEY}\r"),
            format!("* namespaces=\"file,git\" {KEY} comment\n# a comment\n\n"),
        ] {
            assert_eq!(count(&line), Ok(1), "{line}");
        }
        assert_eq!(count(&format!("a {KEY}\nb namespaces=\"file\" {KEY}")), Ok(1));
        assert_eq!(count(&format!("a namespaces=\"file\" {KEY}")), Err(SignersFault::Empty));
        assert_eq!(count(""), Err(SignersFault::Empty));
        for wrong in [KEY, "a", "a ssh-ed25519 AAAA", "a b c d"] {
            assert_eq!(count(&format!("# first\n{wrong}")), Err(SignersFault::Line(2)), "{wrong}");
        }
        for option in ["cert-authority", "valid-before=\"20300101\"", "namespaces=\"*\"", "namespaces=\"!git\""] {
            let fault = Err(SignersFault::Option(1, option.to_owned()));
            assert_eq!(count(&format!("a {option} {KEY}")), fault);
            assert_eq!(count(&format!("a namespaces=\"git\",{option} {KEY}")), fault);
        }
    }
}
