//! Git repositories of stories: a work tree in a temporary directory, made by the git program under a fixed identity.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// `system/repo.yaml`, which marks a hierarchical repository.
pub const REPO: &str = "\
apiVersion: configmanagement.gke.io/v1
kind: Repo
metadata:
  name: repo
spec:
  version: 1.0.0
";

/// A repository with the branch `main`, removed when dropped.
pub struct Repository {
    dir: TempDir,
}

impl Repository {
    /// A repository with nothing in it.
    ///
    /// # Errors
    /// When git is missing or fails.
    pub fn empty() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("nomos-repository-").tempdir()?;
        let repository = Self { dir };
        fs::create_dir(repository.path())?;
        repository.git(&["init", "--quiet", "--initial-branch=main"])?;
        repository.git(&["config", "user.name", "A Story"])?;
        repository.git(&["config", "user.email", "story@example.com"])?;
        Ok(repository)
    }

    /// A hierarchical repository with `system/repo.yaml`, not committed yet.
    ///
    /// # Errors
    /// As [`Self::empty`].
    pub fn hierarchical() -> Result<Self> {
        let repository = Self::empty()?;
        repository.write("system/repo.yaml", REPO)?;
        Ok(repository)
    }

    /// `examples/go-hello`, in the Namespace `namespace`, not committed yet.
    ///
    /// # Errors
    /// As [`Self::empty`].
    pub fn go_hello(namespace: &str) -> Result<Self> {
        let repository = Self::empty()?;
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/go-hello");
        for file in ["README.md", "system/repo.yaml"] {
            repository.write(file, &fs::read_to_string(example.join(file))?)?;
        }
        for entry in fs::read_dir(example.join("namespaces/go-hello"))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().context("a file name that is no text")?;
            let mut text = fs::read_to_string(entry.path())?;
            if name == "namespace.yaml" {
                text = text.replace("go-hello", namespace);
            }
            repository.write(&format!("namespaces/{namespace}/{name}"), &text)?;
        }
        Ok(repository)
    }

    /// Copies a directory below `examples/` into a directory of the work tree.
    ///
    /// # Errors
    /// When something cannot be copied.
    pub fn copy_example(&self, example: &str, to: &str) -> Result<()> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        copy(&examples.join(example), &self.path().join(to)).with_context(|| format!("failed to copy {example}"))
    }

    /// The work tree, which is what a sync is given as `repo`.
    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("repository")
    }

    /// The path as text.
    pub fn url(&self) -> String {
        self.path().display().to_string()
    }

    /// Writes a file of the work tree.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().context("a path in the repository")?)?;
        fs::write(path, text)?;
        Ok(())
    }

    /// Replaces text in a file of the work tree.
    ///
    /// # Errors
    /// When the text does not occur in it.
    pub fn replace(&self, path: &str, from: &str, to: &str) -> Result<()> {
        let text = fs::read_to_string(self.path().join(path))?;
        if !text.contains(from) {
            bail!("{path} does not contain {from:?}");
        }
        self.write(path, &text.replace(from, to))
    }

    /// Removes a file or directory of the work tree.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, path: &str) -> Result<()> {
        let path = self.path().join(path);
        if path.is_dir() {
            fs::remove_dir_all(path)?
        } else {
            fs::remove_file(path)?
        }
        Ok(())
    }

    /// Commits the work tree as it is and returns the commit.
    ///
    /// # Errors
    /// When git fails.
    pub fn commit(&self) -> Result<String> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "A change"])?;
        self.head()
    }

    /// The newest commit.
    ///
    /// # Errors
    /// When there is none.
    pub fn head(&self) -> Result<String> {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in the work tree and returns what it printed.
    ///
    /// # Errors
    /// When git is missing or fails.
    pub fn git(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GIT_") {
                command.env_remove(name);
            }
        }
        let output = command
            .args(args)
            .current_dir(self.path())
            .env("HOME", self.dir.path())
            .env("XDG_CONFIG_HOME", self.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .context("failed to run git")?;
        if !output.status.success() {
            bail!("git {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
