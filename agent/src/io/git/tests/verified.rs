//! Commits that git and ssh-keygen signed.

use std::fs;
use std::process::Command;

use super::super::{FailureClass, Remote, Store};
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
    let remote = Remote { signers: Some(signers.to_owned()), ..remote(repo.path().to_str().unwrap()) };
    let mut store = Store::open(&remote, &repo.cache()).unwrap();
    let commit = store.resolve(&branch("main")).unwrap();
    store.fetch(commit, &mut || {}).map_err(|error| (error.class, error.message))
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
