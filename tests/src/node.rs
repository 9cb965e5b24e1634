//! The node of a cluster, on which Pods run: its programs, the images it has, and its processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use crate::controlplane::{ControlPlane, built};

/// The image that every node has: a small server and client (`tests/node/guest`).
pub const GUEST: &str = "nomos.test/guest:1";

/// The node of a running control plane.
pub struct Node<'a> {
    plane: &'a ControlPlane,
    process: u64,
}

impl<'a> Node<'a> {
    /// The directory of the programs, or `None` if they have not been built: `NOMOS_NODE` if that is set, else below the target
    /// directory.
    pub fn programs() -> Option<PathBuf> {
        match std::env::var_os("NOMOS_NODE") {
            Some(path) => Some(path.into()),
            None => Some(built("controlplane/node")).filter(|path| path.join("stamp").exists()),
        }
    }

    /// Why what needs a node is left out, if it is; never in CI.
    pub fn excuse() -> Option<&'static str> {
        let missing = std::env::var_os("CI").is_none() && Self::programs().is_none();
        let excuse = "the node is not built: run `tests/node/build target/controlplane/node`";
        ControlPlane::excuse().or_else(|| missing.then_some(excuse))
    }

    /// Starts a control plane with a node.
    ///
    /// # Errors
    /// As [`ControlPlane::start_with_node`].
    pub fn start() -> Result<ControlPlane> {
        let programs =
            Self::programs().context("the node has not been built: run `tests/node/build target/controlplane/node`")?;
        ControlPlane::start_with_node(&programs)
    }

    /// The node of this control plane.
    ///
    /// # Errors
    /// When it has none.
    pub fn of(plane: &'a ControlPlane) -> Result<Self> {
        Ok(Self { plane, process: plane.process()? })
    }

    /// Gives the node an image: an OCI layout in a tar. Pods can use it with `imagePullPolicy: Never`.
    ///
    /// # Errors
    /// When it is no image.
    pub fn import(&self, tar: &Path) -> Result<()> {
        self.images(&["import", &tar.display().to_string()])
    }

    /// Gives an image of the node a second name.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn tag(&self, image: &str, name: &str) -> Result<()> {
        self.images(&["tag", image, name])
    }

    fn images(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new(Self::programs().context("the node has not been built")?.join("ctr"));
        command.arg("--address").arg(self.plane.dir().join("containerd.sock"));
        command.args(["--namespace", "k8s.io", "images"]).args(args);
        succeeded(&command.output()?, "ctr").map(|_| ())
    }

    /// Kills the part of the node with this name, such as `kubelet`. It is started again, as a service manager does.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&self, name: &str) -> Result<()> {
        let parent = self.process.to_string();
        let listed = Command::new("ps").args(["--ppid", &parent, "-o", "pid=,args="]).output()?;
        let listed = succeeded(&listed, "ps")?;
        let found = listed.lines().map(str::trim_start).filter_map(|line| line.split_once(' '));
        let id = found.filter(|(_, args)| args.split_whitespace().next() == Some(name)).map(|(id, _)| id).next();
        let id = id.with_context(|| format!("no {name} in:\n{listed}"))?;
        succeeded(&Command::new("sh").args(["-c", &format!("kill -KILL {id}")]).output()?, "kill").map(|_| ())
    }
}

fn succeeded(output: &Output, name: &str) -> Result<String> {
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
