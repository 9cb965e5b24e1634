//! The real SOPS, built from the Go module proxy (`tests/sops`), with two age keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// The files of two age keys, as age-keygen writes them.
pub const KEYS: [&str; 2] = [
    include_str!("../../agent/src/compile/parse/sealed/fixtures/one.agekey"),
    include_str!("../../agent/src/compile/parse/sealed/fixtures/other.agekey"),
];

/// The fields that are sealed in manifests.
const DATA: &str = "^(data|stringData)$";

/// SOPS, which knows the first key or both.
pub struct Sops {
    program: PathBuf,
    home: TempDir,
}

impl Sops {
    /// `true` if it is built: at `NOMOS_SOPS` if that is set, else below the target directory.
    pub fn is_possible() -> bool {
        program().exists()
    }

    /// Writes its keys.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn new() -> Result<Self> {
        let home = tempfile::Builder::new().prefix("nomos-sops-").tempdir()?;
        for (at, key) in KEYS.iter().enumerate() {
            fs::write(home.path().join(at.to_string()), key)?;
        }
        Ok(Self { program: program(), home })
    }

    /// The file with a key.
    pub fn key_file(&self, key: usize) -> PathBuf {
        self.home.path().join(key.to_string())
    }

    /// The text with its data sealed for a key.
    ///
    /// # Errors
    /// When SOPS refuses it.
    pub fn sealed(&self, text: &str, key: usize) -> Result<String> {
        let file = self.home.path().join("plain.yaml");
        fs::write(&file, text)?;
        let file = file.display().to_string();
        self.run(&["encrypt", "--age", recipient(key)?, "--encrypted-regex", DATA, &file], key)
    }

    /// The text of a sealed file.
    ///
    /// # Errors
    /// When SOPS cannot open it with this key.
    pub fn opened(&self, file: &Path, key: usize) -> Result<String> {
        self.run(&["decrypt", &file.display().to_string()], key)
    }

    /// Sets a value in a sealed file, as in `["data"]["a"]`.
    ///
    /// # Errors
    /// When SOPS cannot open it with this key.
    pub fn set(&self, file: &Path, key: usize, at: &str, value: &str) -> Result<()> {
        self.run(&["set", &file.display().to_string(), at, &format!("{value:?}")], key).map(|_| ())
    }

    fn run(&self, args: &[&str], key: usize) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(args).env_clear().env("HOME", self.home.path()).env("SOPS_AGE_KEY_FILE", self.key_file(key));
        let output = command.current_dir(self.home.path()).output();
        let output =
            output.with_context(|| format!("failed to run {}; tests/sops/build makes it", self.program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "sops {}: {said}", args.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// The public key of a key.
///
/// # Errors
/// When its file has none.
pub fn recipient(key: usize) -> Result<&'static str> {
    KEYS[key].lines().next().and_then(|line| line.rsplit(' ').next()).context("age-keygen writes it first")
}

fn program() -> PathBuf {
    match std::env::var_os("NOMOS_SOPS") {
        Some(path) => path.into(),
        None => crate::controlplane::built("controlplane/sops"),
    }
}
