//! Debian's sshd on loopback: one process for each connection, which ends with it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::repository::Repository;

const SSHD: &str = "/usr/sbin/sshd";

/// A server for the holder of one key. It ends with the test process.
pub struct SshServer {
    directory: TempDir,
    port: u16,
    user: String,
}

impl SshServer {
    /// `true` if there is an sshd on this machine.
    pub fn is_possible() -> bool {
        Path::new(SSHD).exists()
    }

    /// Starts it.
    ///
    /// # Errors
    /// When keys cannot be made, or no port is free.
    pub fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("nomos-sshd-").tempdir()?;
        for name in ["host", "client"] {
            make_key(&directory.path().join(name))?;
        }
        let config = directory.path().join("config");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let text = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n\
             AcceptEnv GIT_PROTOCOL\nLogLevel ERROR\n",
            path("host"),
            path("client.pub")
        );
        fs::write(&config, text)?;
        // It is there where sshd runs as a service.
        let _ = fs::create_dir_all("/run/sshd");
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let user = String::from_utf8(Command::new("id").arg("-un").output()?.stdout)?.trim().to_owned();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection without a server is closed.
                let _ = serve(&config, stream);
            }
        });
        Ok(Self { directory, port, user })
    }

    /// The URL of a repository on this machine.
    pub fn url(&self, repository: &Repository) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.port, repository.url())
    }

    /// The private key that it lets in.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn key(&self) -> Result<String> {
        fs::read_to_string(self.path("client")).context("the key")
    }

    /// The line of `known_hosts` for it.
    ///
    /// # Errors
    /// When its key cannot be read.
    pub fn known_hosts(&self) -> Result<String> {
        Ok(format!("[127.0.0.1]:{} {}", self.port, fs::read_to_string(self.path("host.pub"))?))
    }

    /// From the next connection on it has another key.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn change_host_key(&self) -> Result<()> {
        make_key(&self.path("other"))?;
        for end in ["", ".pub"] {
            fs::rename(self.path(&format!("other{end}")), self.path(&format!("host{end}")))?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn make_key(path: &Path) -> Result<()> {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status()?;
    ensure!(made.success(), "ssh-keygen fails");
    Ok(())
}

fn serve(config: &Path, stream: TcpStream) -> Result<()> {
    let (input, output) = (OwnedFd::from(stream.try_clone()?), OwnedFd::from(stream));
    let mut command = Command::new(SSHD);
    command.arg("-i").arg("-f").arg(config).env_clear().env("PATH", "/usr/sbin:/usr/bin:/bin");
    let mut child = command.stdin(Stdio::from(input)).stdout(Stdio::from(output)).stderr(Stdio::null()).spawn()?;
    thread::spawn(move || child.wait());
    Ok(())
}
