//! Commits that git and ssh-keygen signed.

use std::fs;
use std::process::Command;

use super::super::{FailureClass, Remote, Signers, Store};
use super::fixture::{Repo, branch, isolate, remote};

/// Makes a key in a file beside the work tree, and returns its line for allowed signers.
fn key(repo: &Repo, name: &str, kind: &str) -> String {
    let file = repo.path().with_file_name(name);
    let mut command = Command::new("ssh-keygen");
    isolate(&mut command, &repo.path());
    let output = command.args(["-q", "-N", "", "-C", name, "-t", kind, "-f"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    format!("{name}@example.com {}", fs::read_to_string(file.with_extension("pub")).unwrap())
}

/// Commits with a signature by the key of this name.
fn commit(repo: &Repo, key: &str) {
    let file = repo.path().with_file_name(key);
    let sign = format!("-c gpg.format=ssh -c user.signingkey={}", file.display());
    repo.git(&format!("{sign} commit --quiet --allow-empty --gpg-sign --message=signed"));
}

fn fetched(repo: &Repo, signers: &str) -> Result<(), (FailureClass, String)> {
    verified(repo, Signers { ssh: signers.to_owned(), ..Signers::default() })
}

fn verified(repo: &Repo, signers: Signers) -> Result<(), (FailureClass, String)> {
    let remote = Remote { signers: Some(signers), ..remote(repo.path().to_str().unwrap()) };
    let mut store = Store::open(&remote, &repo.cache()).unwrap();
    let commit = store.resolve(&branch("main")).unwrap();
    store.fetch(commit, &mut || {}).unwrap();
    store.verify(commit).map_err(|error| (error.class, error.message))
}

#[test]
fn a_commit_that_is_not_signed_as_asked_is_refused() {
    let repo = Repo::new();
    let keys = ["ed25519", "ecdsa", "rsa"].map(|kind| (kind, key(&repo, kind, kind)));
    let refused = |signers: &str, word: &str| {
        let (class, message) = fetched(&repo, signers).unwrap_err();
        assert!(class == FailureClass::Unsigned && message.contains(word), "{word}: {message}");
    };
    let all: String = keys.iter().map(|(_, line)| line.as_str()).collect();
    refused(&all, "is not signed");
    for (kind, line) in &keys {
        commit(&repo, kind);
        assert_eq!(fetched(&repo, line), Ok(()), "{kind}");
        assert_eq!(fetched(&repo, &all), Ok(()), "{kind}");
        let others: String = keys.iter().filter(|(other, _)| other != kind).map(|(_, line)| line.as_str()).collect();
        refused(&others, "which is not allowed");
    }
    // The signature of another commit.
    let signed = repo.git("cat-file commit HEAD");
    let forged = repo.path().with_file_name("forged");
    fs::write(&forged, signed.replace("\n\nsigned", "\n\nforged") + "\n").unwrap();
    let forged = repo.git(&format!("hash-object -t commit -w {}", forged.display()));
    repo.git(&format!("update-ref refs/heads/main {forged}"));
    refused(&all, "is not its own");
}

/// A key that GnuPG exported.
macro_rules! gpg_key {
    ($name:literal) => {
        include_str!(concat!("keys/openpgp/", $name, ".asc"))
    };
}

/// A commit that git and GnuPG signed on 2025-01-10, with keys that are from 2025-01-01.
macro_rules! gpg_commit {
    ($name:literal) => {
        include_str!(concat!("keys/openpgp/", $name, ".commit"))
    };
}

/// Makes a commit the newest one.
fn put(repo: &Repo, commit: &str) {
    let file = repo.path().with_file_name("commit");
    fs::write(&file, commit).unwrap();
    let hash = repo.git(&format!("hash-object -t commit -w {}", file.display()));
    repo.git(&format!("update-ref refs/heads/main {hash}"));
}

#[test]
fn a_commit_passes_that_an_openpgp_key_signed_while_it_was_valid() {
    let repo = Repo::new();
    let verified = |keys: &str| {
        verified(&repo, Signers { openpgp: keys.to_owned(), ..Signers::default() }).map_err(|(class, message)| {
            assert_eq!(class, FailureClass::Unsigned, "{message}");
            message
        })
    };
    let refused = |keys: &str, word: &str| {
        let message = verified(keys).unwrap_err();
        assert!(message.contains(word), "{word}: {message}");
    };
    let other = gpg_key!("other");
    refused(other, "is not signed");
    // A key that signs itself; one that has a subkey for it; one that is expired, revoked or withdrawn since, as it was before.
    for (commit, key) in [
        (gpg_commit!("ed25519"), gpg_key!("ed25519")),
        (gpg_commit!("rsa"), gpg_key!("rsa")),
        (gpg_commit!("p256"), gpg_key!("p256")),
        (gpg_commit!("expired"), gpg_key!("expired.before")),
        (gpg_commit!("revoked"), gpg_key!("revoked.before")),
        (gpg_commit!("withdrawn"), gpg_key!("withdrawn.before")),
    ] {
        put(&repo, commit);
        assert_eq!(verified(key), Ok(()), "{commit}");
        assert_eq!(verified(&format!("{other}\n{key}")), Ok(()), "{commit}");
        refused(other, "which is not allowed");
        refused("", "which is not allowed");
        put(&repo, &commit.replace("\n\nsigned", "\n\nforged"));
        refused(key, "is not its own");
    }
    for (commit, key, word) in [
        (gpg_commit!("expired"), gpg_key!("expired"), "which had expired"),
        (gpg_commit!("revoked"), gpg_key!("revoked"), "which is revoked"),
        (gpg_commit!("withdrawn"), gpg_key!("withdrawn"), "which is revoked"),
        (gpg_commit!("sha1"), gpg_key!("ed25519"), "of a kind that is not believed"),
    ] {
        put(&repo, commit);
        refused(key, word);
    }
    put(&repo, &gpg_commit!("ed25519").replace("iIoEABYI", "!!!!"));
    refused(gpg_key!("ed25519"), "cannot be read");
}
