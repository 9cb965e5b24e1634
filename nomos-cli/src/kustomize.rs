//! Rendering with the program `kustomize`, or with `kubectl kustomize` if `kustomize` is not installed.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use agent::compile::parse::{KUSTOMIZATIONS, SourceFile};
use agent::model::finding::{Code, Finding};
use anyhow::Context as _;

/// The path that findings on a terminal give for rendered lines. There is no such file.
const SHOWN: &str = "kustomize-build.yaml";

/// The output of kustomize.
#[derive(Clone)]
pub(crate) struct Rendered {
    /// The name of the kustomization file.
    pub(crate) from: &'static str,
    /// The rendered manifests. They are not on disk.
    pub(crate) file: SourceFile,
}

/// The name of the kustomization file in a directory, which is then rendered before it is read; `None` if there is none.
pub(crate) fn kustomization(root: &Path) -> Option<&'static str> {
    let is_file = |name: &&str| root.join(name).symlink_metadata().is_ok_and(|found| !found.is_dir());
    KUSTOMIZATIONS.into_iter().find(is_file)
}

/// Runs `kustomize build` on a directory with the kustomization file `from`. If kustomize fails, the result is a finding
/// (KNV1068). `None` if neither program is installed.
///
/// # Errors
///
/// If the program cannot be started.
pub(crate) fn build(root: &Path, from: &'static str) -> anyhow::Result<Option<Result<Rendered, Finding>>> {
    for (program, command) in [("kustomize", "build"), ("kubectl", "kustomize")] {
        match Command::new(program).arg(command).arg(root).output() {
            Ok(output) => {
                let file = rendered(program, command, output);
                return Ok(Some(file.map(|file| Rendered { from, file }).map_err(|finding| finding.at_path(from))));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("failed to start {program}")),
        }
    }
    Ok(None)
}

fn rendered(program: &str, command: &str, output: Output) -> Result<SourceFile, Finding> {
    if output.status.success() {
        return Ok(SourceFile { path: SHOWN.to_owned(), content: output.stdout.into() });
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let message = format!("{program} {command} failed: {}", words.trim());
    let hint = format!("Run `{program} {command}` in that directory and correct the errors that it prints.");
    Err(Finding::new(Code::ActionableHydration, message).hint(hint))
}
