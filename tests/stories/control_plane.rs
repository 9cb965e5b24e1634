//! The control plane of these stories leaves nothing behind, whether it is asked to end or killed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tests::cluster::Kind;
use tests::controlplane::ControlPlane;
use tests::wait::await_condition;

pub(crate) fn leaves_nothing(_: Kind) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("asked");
    // A parent that ends or is killed closes the standard input of the program.
    let mut asked = start(&dir, &[])?;
    let children = descendants(asked.id())?;
    ensure!(children.len() > 1, "its parts are no processes of their own: {children:?}");
    drop(asked.stdin.take());
    let status = await_condition("it ends", || asked.try_wait()?.context("it runs"))?;
    ensure!(status.success(), "{status}");
    are_gone(&children)?;
    ensure!(!dir.exists(), "its files are left");

    let mut killed = start(&scratch.path().join("killed"), &[])?;
    let children = descendants(killed.id())?;
    killed.kill()?;
    killed.wait()?;
    are_gone(&children)
}

/// Returns when it is ready.
pub(crate) fn start(dir: &Path, options: &[&str]) -> Result<Child> {
    let program = ControlPlane::binary().context("the control plane is not built")?;
    let mut command = Command::new(program);
    command
        .arg("start")
        .arg("--dir")
        .arg(dir)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("it is piped")?).read_line(&mut line)?;
    ensure!(line.contains("kubeconfig"), "it is not ready: {line:?}");
    Ok(child)
}

/// The ids of all processes with the ids of their parents.
fn processes() -> Result<Vec<(u32, u32)>> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid=,state="]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        let (id, parent) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        // One that is dead and not reaped yet is no process any more.
        (!words.next()?.starts_with('Z')).then_some((id, parent))
    };
    Ok(text.lines().filter_map(read).collect())
}

pub(crate) fn descendants(of: u32) -> Result<Vec<u32>> {
    let processes = processes()?;
    let mut found = vec![of];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(processes.iter().filter(|(_, its)| *its == parent).map(|(id, _)| *id));
        at += 1;
    }
    Ok(found.split_off(1))
}

pub(crate) fn are_gone(ids: &[u32]) -> Result<()> {
    await_condition("its processes are gone", || {
        let left: Vec<u32> = processes()?.into_iter().map(|(id, _)| id).filter(|id| ids.contains(id)).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}
