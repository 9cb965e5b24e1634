//! Repositories over ssh: a stand-in for sshd on loopback that runs `git-upload-pack`.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::{PrivateKey, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey, run_stream};
use russh::{Channel, ChannelId};

use super::super::operation::OperationLimits;
use super::super::ssh::{Ssh, SshRuntime};
use super::super::*;
use super::fixture::{Repo, branch, isolate, remote, revision};
use super::{error, file, files};

/// Keys of every kind and format.
const KEYS: [(&str, &str); 8] = [
    ("ed25519", include_str!("keys/ed25519")),
    ("rsa", include_str!("keys/rsa")),
    ("rsa.pem", include_str!("keys/rsa.pem")),
    ("rsa.pkcs8", include_str!("keys/rsa.pkcs8")),
    ("ecdsa", include_str!("keys/ecdsa")),
    ("ecdsa.pem", include_str!("keys/ecdsa.pem")),
    ("ecdsa384", include_str!("keys/ecdsa384")),
    ("ecdsa521", include_str!("keys/ecdsa521")),
];

fn private(name: &str) -> PrivateKey {
    let (_, text) = KEYS.iter().find(|(own, _)| *own == name).unwrap();
    russh::keys::decode_secret_key(text, None).unwrap()
}

fn key(name: &str) -> SshKey {
    SshKey::read(KEYS.iter().find(|(own, _)| *own == name).unwrap().1).ok().unwrap()
}

/// The server's peculiarities.
#[derive(Clone, Default)]
struct ServerManner {
    /// Takes the variable by which clients ask for a version of git's protocol.
    takes_variables: bool,
    /// Closes the channel after so many bytes.
    cut_after: Option<usize>,
}

/// A running server.
struct SshServer {
    port: u16,
    manner: Arc<Mutex<ServerManner>>,
    /// Attempts to log in.
    logins: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl SshServer {
    /// With these keys of its own, for the holder of the key `client`.
    fn start(repo: &Repo, hosts: &[&str], client: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Config {
            keys: hosts.iter().map(|name| private(name)).collect(),
            auth_rejection_time: Duration::ZERO,
            ..Config::default()
        };
        let config = Arc::new(config);
        let manner = Arc::new(Mutex::new(ServerManner { takes_variables: true, cut_after: None }));
        let (root, client) = (repo.path(), private(client).public_key().clone());
        let (asked, logins) = (Arc::clone(&manner), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&logins);
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let manner = asked.lock().unwrap().clone();
                let handler = SshSession {
                    root: root.clone(),
                    client: client.clone(),
                    manner,
                    logins: Arc::clone(&counted),
                    version: None,
                    input: None,
                };
                if let Ok(session) = run_stream(Arc::clone(&config), stream, handler).await {
                    tokio::spawn(session);
                }
            }
        });
        Self { port, manner, logins, _runtime: runtime }
    }

    fn url(&self, repo: &Repo) -> String {
        format!("ssh://git@127.0.0.1:{}{}", self.port, repo.path().display())
    }

    fn known_hosts(&self, names: &[&str]) -> String {
        let line = |name: &&str| {
            let key = private(name).public_key().to_openssh().unwrap();
            format!("[127.0.0.1]:{} {key}\r\n", self.port)
        };
        names.iter().map(line).collect()
    }

    fn remote(&self, repo: &Repo, name: &str, known: &[&str]) -> Remote {
        let known = KnownServers::new(&self.known_hosts(known));
        Remote { login: Login::Ssh(SshLogin { key: key(name), known }), ..remote(&self.url(repo)) }
    }
}

/// One connection.
struct SshSession {
    root: PathBuf,
    client: PublicKey,
    manner: ServerManner,
    logins: Arc<AtomicUsize>,
    version: Option<String>,
    input: Option<Sender<Vec<u8>>>,
}

impl Handler for SshSession {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        self.logins.fetch_add(1, Ordering::Relaxed);
        let own = user == "git" && key.public_key.key_data() == self.client.key_data();
        Ok(if own { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn env_request(&mut self, _: ChannelId, name: &str, value: &str, _: &mut Session) -> Result<(), Self::Error> {
        if name == "GIT_PROTOCOL" && self.manner.takes_variables {
            self.version = Some(value.to_owned());
        }
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        let mut program = Command::new("sh");
        isolate(&mut program, &self.root);
        program.arg("-c").arg(String::from_utf8(command.to_vec()).unwrap());
        program.envs(self.version.as_ref().map(|version| ("GIT_PROTOCOL", version)));
        let piped = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let (mut stdin, mut stdout, mut stderr) =
            (child.stdin.take().unwrap(), child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (input, received) = channel::<Vec<u8>>();
        self.input = Some(input);
        std::thread::spawn(move || received.iter().try_for_each(|bytes| stdin.write_all(&bytes)));
        let (handle, mut left) = (session.handle(), self.manner.cut_after.unwrap_or(usize::MAX));
        let runtime = tokio::runtime::Handle::current();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(bytes @ 1..) = stdout.read(&mut buffer) {
                let sent = bytes.min(left);
                left -= sent;
                let _ = runtime.block_on(handle.data(id, buffer[..sent].to_vec()));
                if left == 0 {
                    let _ = runtime.block_on(handle.close(id));
                    let _ = child.kill();
                    break;
                }
            }
            let mut words = Vec::new();
            let _ = stderr.read_to_end(&mut words);
            let status = child.wait().unwrap().code().unwrap_or(255);
            runtime.block_on(async {
                let _ = handle.extended_data(id, 1, words).await;
                let _ = handle.exit_status_request(id, u32::try_from(status).unwrap()).await;
                let _ = handle.close(id).await;
            });
        });
        Ok(())
    }

    async fn data(&mut self, _: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        if let Some(input) = &self.input {
            let _ = input.send(data.to_vec());
        }
        Ok(())
    }
}

#[test]
fn a_repository_over_ssh_is_read_with_either_protocol() {
    for takes_variables in [true, false] {
        let repo = Repo::new();
        repo.git("tag --annotate v1 --message=x");
        let server = SshServer::start(&repo, &["ed25519"], "ed25519");
        server.manner.lock().unwrap().takes_variables = takes_variables;
        let mut store = Store::open(&server.remote(&repo, "ed25519", &["ed25519"]), &repo.cache()).unwrap();
        assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
        assert_eq!(files(&mut store, &revision("v1"), "").unwrap(), [file("a.yaml", "one")]);
        repo.write("a.yaml", "two");
        let second = repo.commit();
        assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "two")]);
        repo.write("a.yaml", "three");
        repo.git("add --all");
        repo.git("commit --quiet --amend --message=forced");
        assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "three")]);
        assert_eq!(files(&mut store, &revision(&second), "").unwrap(), [file("a.yaml", "two")], "kept");
        let gone = error(store.resolve(&branch("gone")));
        assert_eq!(
            (gone.class, gone.hint.as_deref()),
            (FailureClass::NotFound, Some("Check spec.git; its default branch is \"main\"."))
        );
    }
}

#[test]
fn keys_of_every_kind_and_format_log_in() {
    let repo = Repo::new();
    for (name, _) in KEYS {
        let server = SshServer::start(&repo, &["ed25519"], name);
        let mut store = Store::open(&server.remote(&repo, name, &["ed25519"]), &repo.cache()).unwrap();
        store.resolve(&branch("main")).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
}

#[test]
fn a_server_with_several_keys_shows_one_that_is_known() {
    let repo = Repo::new();
    for known in ["rsa", "ecdsa", "ecdsa384", "ecdsa521", "ed25519"] {
        let server = SshServer::start(&repo, &["ed25519", "rsa", "ecdsa", "ecdsa384", "ecdsa521"], "ed25519");
        let mut store = Store::open(&server.remote(&repo, "ed25519", &[known]), &repo.cache()).unwrap();
        store.resolve(&branch("main")).unwrap_or_else(|error| panic!("{known}: {error:?}"));
    }
}

#[test]
fn a_server_that_is_not_known_gets_no_login() {
    let repo = Repo::new();
    let server = SshServer::start(&repo, &["ed25519"], "rsa");
    let resolve = |known: KnownServers| {
        let login = Login::Ssh(SshLogin { key: key("rsa"), known });
        let remote = Remote { login, ..remote(&server.url(&repo)) };
        Store::open(&remote, &repo.cache()).unwrap().resolve(&branch("main"))
    };
    let own = server.known_hosts(&["ed25519"]);
    let other = KNOWN_ELSEWHERE.replace("PORT", &server.port.to_string());
    for (known, accepted) in [
        (own.clone(), true),
        (format!("garbage\n{own}"), true),
        (own.replace("127.0.0.1", "127.0.*.?"), true),
        (own.replace("[127", "![127.0.0.1]:22,[127"), true),
        (own.replace("[127.0.0.1]:", "127.0.0.1 #"), false),
        (own.replace("[127", "[128"), false),
        (format!("{}@revoked {own}", own), false),
        (format!("@cert-authority {own}"), false),
        (other, false),
        (String::new(), false),
    ] {
        match resolve(KnownServers::new(&known)) {
            Ok(_) => assert!(accepted, "{known}"),
            Err(error) => {
                assert!(!accepted && error.class == FailureClass::Broken, "{known}: {error:?}");
                assert!(error.message.contains("ssh-ed25519 SHA256:") && error.hint.is_some(), "{error:?}");
            }
        }
    }
}

#[test]
fn a_server_has_to_show_the_key_of_the_first_connection_before_it_gets_a_login() {
    let repo = Repo::new();
    let host_key = |server: &SshServer| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(super::super::host_key(&server.url(&repo), &Reach::Everywhere))
    };
    let server = SshServer::start(&repo, &["rsa", "ed25519"], "rsa");
    let first = host_key(&server).unwrap();
    let known = server.known_hosts(&["ed25519"]);
    assert!(known.starts_with(&format!("{} ", first.line)), "{} is not {known}", first.line);
    assert!(first.fingerprint.starts_with("ssh-ed25519 SHA256:"), "{}", first.fingerprint);
    let resolve = |server: &SshServer, line: &str| {
        let login = Login::Ssh(SshLogin { key: key("rsa"), known: KnownServers::remembered(line) });
        let remote = Remote { login, ..remote(&server.url(&repo)) };
        Store::open(&remote, &repo.cache()).unwrap().resolve(&branch("main"))
    };
    for (hosts, expected) in [
        (&["ecdsa"][..], "have no ssh algorithm in common"),
        (&["ed25519"], "shows another host key than at the first connection to [127.0.0.1]:"),
    ] {
        let other = SshServer::start(&repo, hosts, "rsa");
        // The server that answers now has another key than the one that answered first.
        let line = match hosts {
            ["ecdsa"] => first.line.clone(),
            _ => KNOWN_ELSEWHERE.to_owned(),
        };
        let line = line.replace(&server.port.to_string(), "PORT").replace("PORT", &other.port.to_string());
        let refused = error(resolve(&other, &line));
        assert_eq!(refused.class, FailureClass::Broken, "{refused:?}");
        assert!(refused.message.contains(expected), "{refused:?}");
        let hint = refused.hint.unwrap_or_default();
        assert!(hint.contains("remove the annotation configsync.gke.io/ssh-known-hosts"), "{hint}");
        assert_eq!(other.logins.load(Ordering::Relaxed), 0);
    }
    assert_eq!(server.logins.load(Ordering::Relaxed), 0);
    assert!(resolve(&server, &first.line).is_ok());
    assert!(server.logins.load(Ordering::Relaxed) > 0);
    assert_eq!(error(resolve(&server, "")).class, FailureClass::Broken, "nothing is known of the server");
    let url = server.url(&repo);
    drop(server);
    let away = SshServer { port: 1, ..SshServer::start(&repo, &["ed25519"], "rsa") };
    let away = host_key(&away).err().unwrap();
    assert!(away.message.starts_with("no answer from ssh://git@127.0.0.1:1/"), "{away} instead of {url}");
}

/// Another key for the server.
const KNOWN_ELSEWHERE: &str =
    "[127.0.0.1]:PORT ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ\n";

#[test]
fn refusals_over_ssh_are_told_apart() {
    let repo = Repo::new();
    let server = SshServer::start(&repo, &["ed25519"], "ed25519");
    let mut refused = Store::open(&server.remote(&repo, "rsa", &["ed25519"]), &repo.cache()).unwrap();
    let refused = error(refused.resolve(&branch("main")));
    assert_eq!(
        (refused.class, refused.message.contains("does not let the user \"git\" in")),
        (FailureClass::Unauthenticated, true)
    );
    let mut elsewhere = server.remote(&repo, "ed25519", &["ed25519"]);
    elsewhere.url += "-none";
    let missing = error(Store::open(&elsewhere, &repo.cache()).unwrap().resolve(&branch("main")));
    assert_eq!(missing.class, FailureClass::NotFound, "{missing:?}");
    assert!(missing.message.contains("does not appear to be a git repository"), "{missing}");

    let mut store = Store::open(&server.remote(&repo, "ed25519", &["ed25519"]), &repo.cache()).unwrap();
    let commit = store.resolve(&branch("main")).unwrap();
    for bytes in [10, 300] {
        server.manner.lock().unwrap().cut_after = Some(bytes);
        let cut = error(store.fetch(commit, &mut || ()));
        assert_eq!(cut.class, FailureClass::Unreachable, "{cut:?}");
    }
    server.manner.lock().unwrap().cut_after = None;
    assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    let port = server.port;
    drop(server);
    let away = error(store.resolve(&branch("main")));
    assert_eq!(away.class, FailureClass::Unreachable);
    assert!(away.message.starts_with(&format!("no answer from ssh://git@127.0.0.1:{port}/")), "{away}");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let address = remote::SshAddress { user: "git".into(), host: "127.0.0.1".into(), port, path: "/x".into() };
    let ssh = Ssh::new(
        "shown".into(),
        address,
        SshLogin { key: key("ed25519"), known: KnownServers::new("") },
        Reach::Everywhere,
    );
    let failure = ssh.begin(OperationLimits { time: Duration::from_millis(50), bytes: 1 << 20 }).err().unwrap();
    assert_eq!(
        (failure.class, failure.message.as_str()),
        (FailureClass::Unreachable, "no answer from shown: timed out")
    );
}

#[test]
fn a_key_that_needs_a_passphrase_or_is_none_is_told() {
    for (text, fault) in [
        (include_str!("keys/encrypted"), SshKeyFault::Encrypted),
        (include_str!("keys/encrypted.pem"), SshKeyFault::Encrypted),
        (include_str!("keys/encrypted.pkcs8"), SshKeyFault::Encrypted),
        (include_str!("keys/ed25519.pub"), SshKeyFault::Public),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", SshKeyFault::Unreadable),
        ("hunter2", SshKeyFault::Unreadable),
        ("", SshKeyFault::Unreadable),
    ] {
        assert_eq!(SshKey::read(text).err(), Some(fault), "{text}");
    }
    for (name, text) in KEYS {
        let windows = format!("\r\n{}\r\n\r\n", text.replace('\n', "\r\n"));
        assert!(SshKey::read(&windows).is_ok(), "{name}");
    }
}

#[test]
fn the_end_of_a_connection_does_not_wait_for_a_name() {
    let runtime = SshRuntime::new().unwrap();
    let (known, name) = channel::<()>();
    let lookup = runtime.spawn_blocking(move || name.recv());
    drop(runtime);
    drop((known, lookup));
}
