//! `nomos init`: creates a hierarchical repository.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use agent::compile::parse::{self, SourceFile};
use agent::io::budget::ReadBudget;
use agent::io::files;
use anyhow::{Context as _, bail};
use clap::ArgAction;

use crate::{Console, FINE, boolean, placed};

/// Create a hierarchical repository
#[derive(clap::Args)]
pub(crate) struct InitArgs {
    /// Directory of the repository; it is created if it does not exist
    #[arg(long, default_value = ".", value_name = "DIR")]
    path: PathBuf,

    /// Also write into a directory that is not empty; files that exist stay as they are
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    force: bool,
}

const SYSTEM: &str = "\
# System

`repo.yaml` says the version of this layout. HierarchyConfigs say which kinds are inherited.
";

/// Directories without manifests at first. Git does not store empty directories, so each gets a `.gitkeep`.
const EMPTY: [&str; 3] = ["cluster", "clusterregistry", "namespaces"];

const README: &str = "\
# Configuration of a cluster

| directory | holds |
|---|---|
| `system/` | the version of this layout, and rules of inheritance |
| `cluster/` | cluster-scoped objects |
| `clusterregistry/` | Clusters and ClusterSelectors |
| `namespaces/` | Namespaces, each in a directory of its name, and the objects in them |

An object in a directory above Namespaces is copied into each of them. Run `nomos vet` before you commit.
";

/// `system/repo.yaml` of a hierarchical repository.
pub(super) const REPO: &str = "\
apiVersion: configmanagement.gke.io/v1
kind: Repo
metadata:
  name: repo
spec:
  version: \"1.0.0\"
";

/// Writes the files. Without `--force`, the directory may hold only hidden files, such as `.git`.
pub(crate) fn run(args: &InitArgs, console: &mut Console<'_>) -> anyhow::Result<u8> {
    if !args.force {
        check_empty(&args.path)?;
    }
    write(&args.path, "README.md", README)?;
    write(&args.path, "system/README.md", SYSTEM)?;
    if !has_repo(&args.path)? {
        write(&args.path, "system/repo.yaml", REPO)?;
    }
    for name in EMPTY {
        placed::check(&args.path, Path::new(name))?;
        let directory = args.path.join(name);
        if !directory.exists() || entries(&directory)?.is_empty() {
            write(&args.path, &format!("{name}/.gitkeep"), "")?;
        }
    }
    console.print("Done!\n");
    Ok(FINE)
}

fn check_empty(path: &Path) -> anyhow::Result<()> {
    if let Some(name) = first_entry(path)? {
        let (path, name) = (path.display(), name.display());
        bail!("{path} is not empty: it contains {name}; choose another directory or add --force");
    }
    Ok(())
}

/// A file or directory that is not hidden, if the directory has one.
///
/// # Errors
///
/// If it cannot be read.
pub(super) fn first_entry(path: &Path) -> anyhow::Result<Option<OsString>> {
    if !path.exists() {
        return Ok(None);
    }
    Ok(entries(path)?.into_iter().find(|name| !name.to_string_lossy().starts_with('.')))
}

/// `true` if any file in `system/` declares a Repo. A second one would be a mistake.
fn has_repo(path: &Path) -> anyhow::Result<bool> {
    let system = path.join("system");
    let found = files::read_dir(&system, &mut ReadBudget::new())
        .with_context(|| format!("failed to read {}", system.display()))?;
    let parsed = found
        .files
        .iter()
        .map(|file| parse::parse(&SourceFile { path: format!("system/{}", file.path), content: file.content.clone() }));
    let mut manifests = parsed.flat_map(|file| file.manifests);
    Ok(manifests.any(|manifest| manifest.object.is_kind("configmanagement.gke.io", "Repo")))
}

fn entries(directory: &Path) -> anyhow::Result<Vec<OsString>> {
    let read = || fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
    let mut names = read().with_context(|| format!("failed to read {}", directory.display()))?;
    names.sort();
    Ok(names)
}

/// Writes a file of the repository, unless there is one, be it a link.
fn write(root: &Path, path: &str, content: &str) -> anyhow::Result<()> {
    let path = Path::new(path);
    placed::check(root, path.parent().unwrap_or(path))?;
    if root.join(path).symlink_metadata().is_ok() { Ok(()) } else { placed::write(root, path, content) }
}
