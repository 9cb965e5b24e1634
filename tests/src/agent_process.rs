//! The agent as a process of its own, which a story may kill.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::wait::await_condition;

/// The lines that the agent has written to standard error.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// All lines from the line number `from` on.
    pub fn lines(&self, from: usize) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(from..).unwrap_or_default().to_vec()
    }

    fn follow(&self, stderr: ChildStderr) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
    }
}

/// A running agent. It is killed when this is dropped, and when the test process ends in whatever way.
pub struct Agent {
    child: Child,
    guardian: Child,
    log: Log,
    _home: Option<TempDir>,
}

impl Agent {
    /// Starts `program` on the cluster of `kubeconfig`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, kubeconfig: &Path, args: &[&str]) -> Result<Self> {
        // Stories make their repositories on this disk.
        let args: Vec<&str> = args.iter().copied().chain(["--allow-local-repositories"]).collect();
        Self::start_with(program, kubeconfig, &args, &[])
    }

    /// Starts `program` on the cluster of `kubeconfig` with these arguments and environment variables alone.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_with(program: &Path, kubeconfig: &Path, args: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("nomos-agent-").tempdir()?;
        let mut command = Command::new(program);
        arguments(&mut command, kubeconfig, home.path()).args(args).envs(environment.iter().copied());
        Self::run(command, Some(home))
    }

    /// Starts `program` on the cluster of `kubeconfig` with its cache in `home` and with so many KiB of address space.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_limited(program: &Path, kubeconfig: &Path, home: &Path, address_space: u64) -> Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("ulimit -c 0 && ulimit -v {address_space} && exec \"$@\""), "sh"]).arg(program);
        // Each arena of the allocator takes address space that nothing is in.
        arguments(&mut command, kubeconfig, home).arg("--allow-local-repositories").env("MALLOC_ARENA_MAX", "1");
        Self::run(command, None)
    }

    fn run(mut command: Command, home: Option<TempDir>) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to run {}", command.get_program().display()))?;
        let log = Log::default();
        log.follow(child.stderr.take().context("stderr is piped")?);
        let guardian = guardian(child.id())?;
        Ok(Self { child, guardian, log, _home: home })
    }

    /// The log of the agent so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Where it serves `/healthz`, `/readyz`, `/metrics` and `/debug/syncs`.
    ///
    /// # Errors
    /// When it does not say so.
    pub fn address(&self) -> Result<String> {
        await_condition("the agent says where it listens", || {
            let lines = self.log.lines(0);
            let values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut found = values.filter_map(|line| line["address"].as_str().map(ToOwned::to_owned));
            found.next().with_context(|| lines.join("\n"))
        })
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn kill(mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the agent had ended by itself");
        self.child.kill()?;
        Ok(())
    }

    /// SIGTERM; returns how the agent ended and how long that took.
    ///
    /// # Errors
    /// When it does not end.
    pub fn terminate(mut self) -> Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        self.signal("TERM")?;
        let status = self.ended()?;
        Ok((status, start.elapsed()))
    }

    /// Sends it a signal, such as `STOP`.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn signal(&self, name: &str) -> Result<()> {
        let kill = format!("kill -{name} {}", self.child.id());
        ensure!(Command::new("sh").args(["-c", &kill]).status()?.success(), "cannot send SIG{name}");
        Ok(())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not end.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        let (child, log) = (&mut self.child, &self.log);
        await_condition("the agent ends", || match child.try_wait()? {
            Some(status) => Ok(status),
            None => bail!("it said:\n{}", log.lines(0).join("\n")),
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Before the agent is reaped: after that, another process can get its id.
        let _ = self.guardian.kill();
        let _ = self.guardian.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The arguments of every agent, and its environment.
fn arguments<'a>(command: &'a mut Command, kubeconfig: &Path, home: &Path) -> &'a mut Command {
    command.arg("--kubeconfig").arg(kubeconfig).arg("--cache-dir").arg(home.join("cache"));
    // An agent that follows a killed one need not wait until the Lease has run out.
    command.args(["--listen", "127.0.0.1:0", "--identity", "story"]).env_clear().env("HOME", home)
}

/// Kills the process `id` when its own standard input closes, which is what happens when this process dies.
///
/// # Errors
/// When there is no shell.
pub fn guardian(id: u32) -> Result<Child> {
    let script = format!("read -r _; kill -KILL {id}");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("failed to run sh")
}
