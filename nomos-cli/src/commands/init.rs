//! `nomos init`: a new hierarchical repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::{Console, FINE};

/// Make a new hierarchical repository
#[derive(clap::Args)]
pub(crate) struct Init {
    /// Directory to make it in
    #[arg(long, default_value = ".", value_name = "DIR")]
    path: PathBuf,

    /// Write into a directory that is not empty; files that are there already stay as they are
    #[arg(long)]
    force: bool,
}

const FILES: [(&str, &str); 6] = [
    ("README.md", README),
    (
        "system/README.md",
        "# System\n\nThe version of this layout (`repo.yaml`) and which kinds are inherited (HierarchyConfig).\n",
    ),
    ("system/repo.yaml", REPO),
    ("cluster/.gitkeep", ""),
    ("clusterregistry/.gitkeep", ""),
    ("namespaces/.gitkeep", ""),
];

const README: &str = "\
# Configuration of a cluster

| directory | holds |
|---|---|
| `system/` | the version of this layout, rules of inheritance |
| `cluster/` | cluster-scoped objects |
| `clusterregistry/` | Clusters and ClusterSelectors |
| `namespaces/` | Namespaces, each in a directory of its name, and what belongs into them |

Objects in a directory above Namespaces are copied into each of them. Check with `nomos vet` before you commit.
";

const REPO: &str = "\
apiVersion: configmanagement.gke.io/v1
kind: Repo
metadata:
  name: repo
spec:
  version: \"1.0.0\"
";

/// Writes the files, unless the directory holds something that is not hidden.
pub(crate) fn run(args: &Init, console: &mut Console<'_>) -> anyhow::Result<u8> {
    if !args.force {
        check_empty(&args.path)?;
    }
    for (name, content) in FILES {
        write(&args.path.join(name), content)?;
    }
    console.print("Done!\n");
    Ok(FINE)
}

fn check_empty(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("failed to read {}", path.display()))? {
        let name = entry.with_context(|| format!("failed to read {}", path.display()))?.file_name();
        if !name.to_string_lossy().starts_with('.') {
            bail!(
                "{} is not empty: it holds {}; choose another directory or say --force",
                path.display(),
                name.display()
            );
        }
    }
    Ok(())
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).with_context(|| format!("failed to make {}", parent.display()))?;
    fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))
}
