//! A git server on loopback, which can reset its connections and ask for credentials. It hands requests to `git http-backend`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use base64::Engine as _;

use crate::repository::Repository;

/// A server of one repository, which has two URLs. It ends with the test process.
pub struct GitServer {
    url: String,
    manner: Arc<Manner>,
}

/// The answers to requests from now on.
#[derive(Default)]
struct Manner {
    resets: AtomicBool,
    /// The header `Authorization` that a request needs.
    needed: Mutex<Option<String>>,
}

impl GitServer {
    /// Serves a repository.
    ///
    /// # Errors
    /// When no port is free.
    pub fn of(repository: &Repository) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/repository", listener.local_addr()?);
        let manner = Arc::new(Manner::default());
        let root = repository.path().parent().context("in a directory of its own")?.to_owned();
        let asked = Arc::clone(&manner);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, manner) = (root.clone(), Arc::clone(&asked));
                thread::spawn(move || while answer(&stream, &root, &manner).is_some() {});
            }
        });
        Ok(Self { url, manner })
    }

    /// The URL of the repository.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of the repository as services have it: with an owner.
    pub fn url_with_owner(&self) -> String {
        self.url.replace("/repository", "/team/repository")
    }

    /// From now on every connection is reset when it sends a request; or none is.
    pub fn reset_connections(&self, resets: bool) {
        self.manner.resets.store(resets, Ordering::Relaxed);
    }

    /// From now on a request is answered only for this user and password, and with HTTP 401 without.
    pub fn require(&self, user: &str, password: &str) {
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        *self.manner.needed.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("Basic {encoded}"));
    }
}

/// Answers one request; `None` closes the connection.
fn answer(mut stream: &TcpStream, root: &Path, manner: &Manner) -> Option<()> {
    let mut reader = BufReader::with_capacity(1, stream);
    if reader.fill_buf().ok()?.is_empty() || manner.resets.load(Ordering::Relaxed) {
        // A connection that is closed with unread bytes is reset.
        return None;
    }
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let mut values = lines.iter().filter_map(|line| line.split_once(": "));
        values.find(|(own, _)| own.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    };
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let needed = manner.needed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if needed.is_some_and(|needed| header("authorization") != needed) {
        return write!(stream, "HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n").ok();
    }
    let mut words = lines.first()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.strip_prefix("/team").unwrap_or(path);
    let environment = [
        ("REQUEST_METHOD", method),
        ("PATH_INFO", path),
        ("QUERY_STRING", query),
        ("CONTENT_TYPE", header("content-type")),
        ("GIT_PROTOCOL", header("git-protocol")),
    ];
    let output = backend(root, &environment, &body)?;
    let end = output.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&output[..end + 2]);
    let status = head.split_once("Status: ").map_or("200", |(_, rest)| &rest[..3]);
    write!(stream, "HTTP/1.1 {status} X\r\n{head}Content-Length: {}\r\n\r\n", output.len() - end - 4).ok()?;
    stream.write_all(&output[end + 4..]).ok()
}

fn backend(root: &Path, environment: &[(&str, &str)], body: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new("git");
    let path = std::env::var_os("PATH")?;
    command.arg("http-backend").env_clear().env("PATH", path).env("HOME", root).env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").envs(environment.iter().copied());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    child.stdin.take()?.write_all(body).ok()?;
    Some(child.wait_with_output().ok()?.stdout)
}
