//! Rendering with the external program `kustomize`, or `kubectl kustomize` where there is none.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use agent::parse::SourceFile;
use anyhow::{Context as _, bail};

/// Path under which findings show what was rendered.
const RENDERED: &str = "kustomize-build.yaml";

/// Whether a directory is rendered before it is read.
pub(crate) fn is_kustomization(root: &Path) -> bool {
    ["kustomization.yaml", "kustomization.yml", "Kustomization"].iter().any(|name| root.join(name).is_file())
}

/// What `kustomize build` prints for a directory.
///
/// # Errors
///
/// The program is missing, or refuses the kustomization.
pub(crate) fn build(root: &Path) -> anyhow::Result<SourceFile> {
    for (program, command) in [("kustomize", "build"), ("kubectl", "kustomize")] {
        match Command::new(program).arg(command).arg(root).output() {
            Ok(output) => return rendered(program, command, output),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("failed to start {program}")),
        }
    }
    bail!("{} holds a kustomization, but neither kustomize nor kubectl is installed to render it", root.display())
}

fn rendered(program: &str, command: &str, output: Output) -> anyhow::Result<SourceFile> {
    if !output.status.success() {
        bail!("{program} {command} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(SourceFile { path: RENDERED.to_owned(), content: output.stdout.into() })
}
