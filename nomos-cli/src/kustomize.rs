//! Rendering with the external program `kustomize`, or `kubectl kustomize` where there is none.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use agent::compile::parse::SourceFile;
use agent::model::finding::{Code, Finding};
use anyhow::{Context as _, bail};

/// Path under which a terminal shows lines of what was rendered. There is no such file.
const SHOWN: &str = "kustomize-build.yaml";

/// What was rendered.
pub(crate) struct Rendered {
    /// The kustomization.
    pub(crate) from: &'static str,
    /// What came of it, which is not on disk.
    pub(crate) file: SourceFile,
}

/// Files that make a directory one to render.
const FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The file because of which a directory is rendered before it is read.
pub(crate) fn kustomization(root: &Path) -> Option<&'static str> {
    FILES.into_iter().find(|name| root.join(name).symlink_metadata().is_ok())
}

/// What `kustomize build` prints for a directory with this kustomization, or what it refuses (KNV1068).
///
/// # Errors
///
/// The program is missing.
pub(crate) fn build(root: &Path, from: &'static str) -> anyhow::Result<Result<Rendered, Finding>> {
    for (program, command) in [("kustomize", "build"), ("kubectl", "kustomize")] {
        match Command::new(program).arg(command).arg(root).output() {
            Ok(output) => {
                let file = rendered(program, command, output);
                return Ok(file.map(|file| Rendered { from, file }).map_err(|finding| finding.at_path(from)));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("failed to start {program}")),
        }
    }
    bail!("{} holds a kustomization, but neither kustomize nor kubectl is installed to render it", root.display())
}

fn rendered(program: &str, command: &str, output: Output) -> Result<SourceFile, Finding> {
    if output.status.success() {
        return Ok(SourceFile { path: SHOWN.to_owned(), content: output.stdout.into() });
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let message = format!("{program} {command} failed: {}", words.trim());
    let hint = format!("Run {program} {command} in that directory and correct what it says.");
    Err(Finding::new(Code::ActionableHydration, message).hint(hint))
}
