//! kubectl as tests run it: the one that is built with the control plane, else the one on the path; without its user's
//! settings.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::controlplane::ControlPlane;

/// A kubectl for the cluster of `kubeconfig`, whose files are kept below `home`. `None` when there is no kubectl.
pub fn kubectl(kubeconfig: &Path, home: &Path) -> Option<Command> {
    let mut command = program()?;
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KUBE") {
            command.env_remove(name);
        }
    }
    command.env("HOME", home).env("KUBECONFIG", kubeconfig);
    Some(command)
}

/// A command that runs kubectl, to which arguments such as `get pods` are added.
pub fn program() -> Option<Command> {
    match ControlPlane::binary() {
        Some(program) => {
            let mut command = Command::new(program);
            command.arg("kubectl");
            Some(command)
        }
        None => on_the_path().map(Command::new),
    }
}

fn on_the_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("kubectl")).find(|program| program.is_file())
}
