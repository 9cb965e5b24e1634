//! Repositories made with the `git` binary, and a loopback server that hands requests to `git http-backend`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use super::super::{Remote, Store, Want};

/// A work tree and a cache, gone when dropped.
pub(in crate::io) struct Repo {
    root: tempfile::TempDir,
}

impl Repo {
    /// With one commit on `main` that holds `a.yaml`.
    pub(in crate::io) fn new() -> Self {
        let repo = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir(repo.path()).unwrap();
        repo.git("init --quiet --initial-branch=main");
        repo.write("a.yaml", "one");
        repo.commit();
        repo
    }

    pub(in crate::io) fn path(&self) -> PathBuf {
        self.root.path().join("repo")
    }

    pub(in crate::io) fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    pub(in crate::io) fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(in crate::io) fn link(&self, path: &str, target: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// Commits everything and returns the hash.
    pub(in crate::io) fn commit(&self) -> String {
        self.git("add --all");
        self.git("commit --quiet --allow-empty --message=change");
        self.git("rev-parse HEAD")
    }

    /// Runs git with words that hold no spaces, and returns what it prints.
    pub(in crate::io) fn git(&self, arguments: &str) -> String {
        git(&self.path(), arguments)
    }

    pub(in crate::io) fn open(&self, url: &str) -> Store {
        Store::open(&remote(url), &self.cache()).unwrap()
    }
}

pub(in crate::io) fn remote(url: &str) -> Remote {
    Remote { url: url.to_owned(), ..Remote::default() }
}

pub(in crate::io) fn branch(name: &str) -> Want {
    Want::Branch(name.to_owned())
}

pub(in crate::io) fn revision(name: &str) -> Want {
    Want::Revision(name.to_owned())
}

fn git(directory: &Path, arguments: &str) -> String {
    let mut command = Command::new("git");
    isolate(&mut command, directory);
    let output = command.arg("-C").arg(directory).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "git {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(super) fn isolate(command: &mut Command, home: &Path) {
    let path = std::env::var_os("PATH").unwrap();
    command.env_clear().env("PATH", path).env("HOME", home).env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "gc.auto").env("GIT_CONFIG_VALUE_0", "0");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "nomos").env(format!("GIT_{role}_EMAIL"), "nomos@example.com");
        command.env(format!("GIT_{role}_DATE"), "2026-01-01T00:00:00Z");
    }
}

/// The behaviour of the server at the next requests.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Manner {
    Serve,
    /// Only for `user:secret`.
    Ask,
    /// Only with this value of this header.
    AskHeader(&'static str, String),
    Status(u16),
    /// From below `/old/` to this URL.
    Redirect(String),
    LoginPage,
    /// Closes the connection when half of a pack is sent.
    HangUp,
    /// Sends a whole answer with half a pack.
    Truncate,
    /// Resets the connection before it reads a request.
    Reset,
}

/// A server of the repositories in a directory.
pub(in crate::io) struct Server {
    address: String,
    manner: Arc<Mutex<Manner>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(in crate::io) fn of(repo: &Repo) -> Self {
        Self::start(repo, |stream, answer| while answer(stream).is_some() {})
    }

    /// With a certificate for these hosts, which ends in this year and is returned in PEM.
    pub(super) fn with_tls(repo: &Repo, host: &str, until: i32) -> (Self, String) {
        let mut params = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let signing_key = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&signing_key).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = versions.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        let config = Arc::new(config);
        let server = Self::start(repo, move |stream, answer| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            while answer(&mut stream).is_some() {}
        });
        (server, cert.pem())
    }

    /// `serve` answers the requests of a connection one by one.
    fn start(
        repo: &Repo,
        serve: impl Fn(&mut TcpStream, &dyn Fn(&mut dyn Stream) -> Option<()>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            manner: Arc::new(Mutex::new(Manner::Serve)),
            seen: Arc::default(),
        };
        let (root, manner, seen) = (repo.root.path().to_owned(), Arc::clone(&server.manner), Arc::clone(&server.seen));
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (root, manner, seen) = (root.clone(), Arc::clone(&manner), Arc::clone(&seen));
                let serve = Arc::clone(&serve);
                seen.lock().unwrap().push("connect".to_owned());
                let mut stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || serve(&mut stream, &|stream| answer(stream, &root, &manner, &seen)));
            }
        });
        server
    }

    pub(in crate::io) fn url(&self) -> String {
        self.url_of("repo")
    }

    pub(super) fn url_of(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(super) fn be(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// The requests since the last call: `connect`, `refs`, `ls-refs`, `fetch`.
    pub(in crate::io) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// A proxy that carries connections for those with this header `Proxy-Authorization`. Its address.
pub(super) fn proxy(authorization: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let request = Request::read(&mut stream)?;
                if request.method != "CONNECT" || request.header("proxy-authorization") != authorization {
                    return stream.write_all(b"HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n").ok();
                }
                let mut there = TcpStream::connect(&request.path).ok()?;
                stream.write_all(b"HTTP/1.1 200 X\r\n\r\n").ok()?;
                let (mut from, mut to) = (stream.try_clone().ok()?, there.try_clone().ok()?);
                thread::spawn(move || std::io::copy(&mut from, &mut to));
                std::io::copy(&mut there, &mut stream).ok().map(drop)
            });
        }
    });
    address
}

/// A connection, encrypted or not.
trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &mut dyn Stream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut words = lines[0].split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let header = |line: &String| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers: Vec<_> = lines[1..].iter().filter_map(header).collect();
        let mut request = Self { method, path, query, headers, body: Vec::new() };
        request.body = vec![0; request.header("content-length").parse().unwrap_or(0)];
        reader.read_exact(&mut request.body).ok()?;
        Some(request)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(header, _)| header == name).map_or("", |(_, value)| value)
    }

    fn kind(&self) -> &'static str {
        match &self.body {
            body if body.is_empty() => "refs",
            body if body.windows(15).any(|part| part == b"command=ls-refs") => "ls-refs",
            _ => "fetch",
        }
    }
}

/// Answers one request; `None` closes the connection.
fn answer(stream: &mut dyn Stream, root: &Path, manner: &Mutex<Manner>, seen: &Mutex<Vec<String>>) -> Option<()> {
    if *manner.lock().unwrap() == Manner::Reset {
        // A connection that is closed with unread bytes is reset.
        let _ = stream.read(&mut [0]).ok()?;
        return None;
    }
    let request = Request::read(&mut *stream)?;
    seen.lock().unwrap().push(request.kind().to_owned());
    let manner = manner.lock().unwrap().clone();
    let pack = request.kind() == "fetch";
    let (status, headers, mut body) = match manner {
        Manner::Status(status) => (status, String::new(), Vec::new()),
        Manner::Ask if request.header("authorization") != "Basic dXNlcjpzZWNyZXQ=" => {
            (401, "WWW-Authenticate: Basic realm=\"git\"\r\n".to_owned(), Vec::new())
        }
        Manner::AskHeader(name, ref value) if request.header(name) != value => (401, String::new(), Vec::new()),
        Manner::LoginPage => (200, "Content-Type: text/html\r\n".to_owned(), b"<html>".to_vec()),
        Manner::Redirect(ref to) if request.path.starts_with("/old/") => {
            (301, format!("Location: {to}{}?{}\r\n", &request.path[5..], request.query), Vec::new())
        }
        _ => backend(&request, root),
    };
    let length = body.len();
    if pack && matches!(manner, Manner::HangUp | Manner::Truncate) {
        body.truncate(length / 2);
    }
    let length = if manner == Manner::Truncate { body.len() } else { length };
    write!(stream, "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n").ok()?;
    stream.write_all(&body).ok()?;
    (manner != Manner::HangUp || !pack).then_some(())
}

fn backend(request: &Request, root: &Path) -> (u16, String, Vec<u8>) {
    let mut command = Command::new("git");
    isolate(&mut command, root);
    command.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("REQUEST_METHOD", &request.method).env("PATH_INFO", &request.path).env("QUERY_STRING", &request.query);
    command.env("CONTENT_TYPE", request.header("content-type")).env("GIT_PROTOCOL", request.header("git-protocol"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&request.body).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let headers = String::from_utf8(output[..end + 2].to_vec()).unwrap();
    let status = headers.split_once("Status: ").map_or(200, |(_, rest)| rest[..3].parse().unwrap());
    (status, headers, output[end + 4..].to_vec())
}
