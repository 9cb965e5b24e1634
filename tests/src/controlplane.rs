//! A real Kubernetes control plane for tests: starts the program of
//! `tests/controlplane` and reads its audit log.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use sandbox::Request;
use serde_json::Value;

/// A running control plane. Dropping it ends every process of it and removes
/// its files; so does the end of the test process, however that comes.
pub struct ControlPlane {
    child: Child,
    /// A line of JSON each time that it is ready.
    ready: Lines<BufReader<ChildStdout>>,
    /// Collects what the child says on standard error.
    complaints: Option<JoinHandle<String>>,
    dir: PathBuf,
    kubeconfig: PathBuf,
    audit_log: PathBuf,
    /// The first process in the namespaces of the node, if there is one.
    process: Option<u64>,
}

/// This machine cannot run a cluster with a node, and why.
#[derive(Debug)]
pub struct CannotRun(pub String);

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CannotRun {}

/// The exit status of the program that goes with [`CannotRun`].
const CANNOT_RUN: i32 = 2;

impl ControlPlane {
    /// Where the program is, or `None` if it has not been built:
    /// `NOMOS_CONTROL_PLANE` if that is set, else below the target directory.
    pub fn binary() -> Option<PathBuf> {
        match std::env::var_os("NOMOS_CONTROL_PLANE") {
            Some(path) => Some(path.into()),
            None => Some(default_binary()).filter(|path| path.exists()),
        }
    }

    /// Why what needs the program is left out, if it is. In CI nothing is: a change must not pass because a build was
    /// forgotten.
    pub fn excuse() -> Option<&'static str> {
        let missing = std::env::var_os("CI").is_none() && Self::binary().is_none();
        missing.then_some("the control plane is not built: run `cargo control-plane`")
    }

    /// Builds the program below the target directory, unless what is there is
    /// up to date. The first build takes minutes; progress goes to standard error.
    ///
    /// # Errors
    /// When Go is missing or the build fails; the reason is on standard error.
    pub fn build() -> Result<PathBuf> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane/build");
        let output = default_binary();
        let status = Command::new(&script)
            .arg(&output)
            .status()
            .with_context(|| format!("failed to run {}", script.display()))?;
        if !status.success() {
            bail!("{} failed: {status}", script.display());
        }
        Ok(output)
    }

    /// Starts a control plane of its own in a new temporary directory and
    /// returns when it is ready, usually after three seconds.
    ///
    /// # Errors
    /// When the program has not been built, or with the ends of the components'
    /// logs when it does not come up.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a control plane without an audit log, which would cost the API server time.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_without_audit() -> Result<Self> {
        Self::start_with(&["--audit=false"])
    }

    /// Starts a control plane without an audit log that serves every version of every kind, those too that are off by default.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_all_versions() -> Result<Self> {
        Self::start_with(&["--audit=false", "--all-versions"])
    }

    /// Starts a control plane with only these controllers, for a test that compares every write. They know the objects of `file`
    /// from the beginning. The controller for ServiceAccounts must be among them.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_controllers(controllers: &[&str], file: &Path) -> Result<Self> {
        let controllers = format!("--controllers={}", controllers.join(","));
        Self::start_with(&["--audit=false", &controllers, &format!("--install={}", file.display())])
    }

    /// Starts a control plane and a node whose programs are in this directory, in namespaces of their own. Usually takes six
    /// seconds.
    ///
    /// # Errors
    /// As [`Self::start`]; [`CannotRun`] where this machine cannot run a node.
    pub fn start_with_node(programs: &Path) -> Result<Self> {
        Self::start_with(&[&format!("--node={}", programs.display())])
    }

    fn start_with(options: &[&str]) -> Result<Self> {
        let program = Self::binary().context(
            "the control plane has not been built: run `tests/controlplane/build target/controlplane/controlplane`",
        )?;
        let dir = unused_dir();
        let mut child = Command::new(&program)
            .arg("start")
            .arg("--dir")
            .arg(&dir)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to run {}", program.display()))?;
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let complaints = std::thread::spawn(move || {
            let mut text = Vec::new();
            // After a read error, the text up to it is shown.
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let stdout = child.stdout.take().expect("stdout is piped");
        // From here on dropping it cleans up.
        let mut started = Self {
            child,
            ready: BufReader::new(stdout).lines(),
            complaints: Some(complaints),
            kubeconfig: dir.join("kubeconfig"),
            audit_log: dir.join("audit.log"),
            dir,
            process: None,
        };
        let ready = started.until_ready()?;
        started.kubeconfig = text(&ready, "/kubeconfig").into();
        started.audit_log = text(&ready, "/audit_log").into();
        started.process = ready["process"].as_u64();
        Ok(started)
    }

    /// Reads the next line, which says that the control plane is ready.
    fn until_ready(&mut self) -> Result<Value> {
        let Some(line) = self.ready.next().transpose()? else {
            let (status, complaints) = self.stop()?;
            if status.code() == Some(CANNOT_RUN) {
                bail!(CannotRun(complaints.trim().to_owned()));
            }
            bail!("the control plane is not ready ({status}): {complaints}");
        };
        serde_json::from_str(&line).with_context(|| format!("the control plane printed {line:?}"))
    }

    /// Kills a component, such as `etcd`, starts it again on the state that it left, and returns when the control plane is
    /// ready.
    ///
    /// # Errors
    /// When it does not come up again.
    pub fn restart(&mut self, component: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("the control plane has ended")?;
        writeln!(stdin, "{component}")?;
        self.until_ready().map(|_| ())
    }

    /// Bytes of etcd's database.
    ///
    /// # Errors
    /// When there is none.
    pub fn database_bytes(&self) -> Result<u64> {
        Ok(fs::metadata(self.kubeconfig.with_file_name("etcd").join("member/snap/db"))?.len())
    }

    /// A kubeconfig whose only context, `control-plane`, is the administrator's.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where its state is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The first process in the namespaces of the node.
    ///
    /// # Errors
    /// When there is no node.
    pub fn process(&self) -> Result<u64> {
        self.process.context("this control plane has no node")
    }

    /// The API server's audit log: a line of JSON for each request, written
    /// before the end of its response.
    pub fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    /// The requests in the audit log from the byte offset `from` (0, or what
    /// an earlier call returned), and the offset after the last of them.
    ///
    /// # Errors
    /// When the log cannot be read or a line of it is no JSON.
    pub fn requests(&self, from: u64) -> Result<(Vec<Request>, u64)> {
        let mut log = fs::File::open(&self.audit_log).context("failed to open the audit log")?;
        log.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        complete_lines(&bytes, from)
    }

    /// Ends every process and returns what the program had to say.
    fn stop(&mut self) -> Result<(ExitStatus, String)> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok());
        Ok((status, complaints.unwrap_or_default()))
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if self.complaints.is_none() {
            return; // already stopped
        }
        if let Ok((status, complaints)) = self.stop()
            && !status.success()
        {
            // It broke while tests used it: that explains what they saw.
            let _ = writeln!(std::io::stderr(), "control plane ({status}): {complaints}");
        }
    }
}

/// Parses the lines of `bytes` that have their end; `from` is their offset.
fn complete_lines(bytes: &[u8], from: u64) -> Result<(Vec<Request>, u64)> {
    let end = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    let requests =
        bytes[..end].split(|&b| b == b'\n').filter(|line| !line.is_empty()).map(request).collect::<Result<_>>()?;
    Ok((requests, from + end as u64))
}

fn request(line: &[u8]) -> Result<Request> {
    let event: Value =
        serde_json::from_slice(line).with_context(|| format!("audit line {:?}", String::from_utf8_lossy(line)))?;
    let code = event.pointer("/responseStatus/code");
    Ok(Request {
        verb: text(&event, "/verb"),
        user_agent: text(&event, "/userAgent"),
        impersonated: text(&event, "/impersonatedUser/username"),
        resource: text(&event, "/objectRef/resource"),
        subresource: text(&event, "/objectRef/subresource"),
        api_group: text(&event, "/objectRef/apiGroup"),
        namespace: text(&event, "/objectRef/namespace"),
        name: text(&event, "/objectRef/name"),
        code: code
            .and_then(Value::as_u64)
            .and_then(|code| code.try_into().ok())
            .context("an audit line without a status code")?,
        uri: text(&event, "/requestURI"),
    })
}

fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

fn default_binary() -> PathBuf {
    built("controlplane/controlplane")
}

/// A path below the target directory.
pub(crate) fn built(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root.join(target).join(path)
}

/// A path that does not exist yet. The program creates and removes it.
fn unused_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("nomos-control-plane-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        if !path.exists() {
            return path;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = concat!(
        r#"{"verb":"patch","userAgent":"nomos/1","requestURI":"/apis/apps/v1/x","objectRef":{"resource":"deployments","apiGroup":"apps","namespace":"a","name":"b","subresource":"status"},"responseStatus":{"code":409}}"#,
        "\n",
        r#"{"verb":"get","userAgent":"nomos/1","requestURI":"/version","responseStatus":{"code":200}}"#,
        "\n",
        r#"{"verb":"ge"#,
    );

    #[test]
    fn only_complete_lines_are_read() {
        let (requests, next) = complete_lines(LINES.as_bytes(), 100).unwrap();
        assert_eq!(next, 100 + LINES.rfind('\n').unwrap() as u64 + 1);
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].subresource, "status");
        assert_eq!(requests[0].code, 409);
        assert_eq!(requests[1].uri, "/version");
        assert_eq!(requests[1].name, "");
        assert_eq!(complete_lines(b"{", 7).unwrap(), (vec![], 7));
    }
}
