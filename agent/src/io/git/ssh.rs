//! Git's requests over ssh, for the protocol code of gix. There is no program `ssh`: the key is in no file, and the connection
//! has the limits of its operation.

use std::io::{self, Read, Write};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::git::{ConnectMode, blocking_io::Connection};
use russh::client::{self, AuthResult, Handle, Handler, Msg};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Preferred};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::error::{FailureClass, GitError};
use super::operation::{CONNECT, HALF_AN_ANSWER, NO_ANSWER, Operation, OperationLimits, OperationTransport};
use super::reach::Reach;
use super::remote::SshAddress;
use super::ssh_key::{ALGORITHMS, KnownServers, ServerName, SshLogin, is_rsa};
use crate::model::error_chain::root_cause;
use crate::model::shared::lock;
use crate::model::shortened::shortened;
use crate::model::visible::visible;

/// Bytes of the server's words for people that are kept.
const WORDS: usize = 2048;
/// Bytes of them that a message shows.
const SHOWN_WORDS: usize = 300;

/// A server, and the key for it.
pub(super) struct Ssh {
    shown: String,
    address: SshAddress,
    login: SshLogin,
    reach: Reach,
}

impl Ssh {
    pub(super) fn new(shown: String, address: SshAddress, login: SshLogin, reach: Reach) -> Self {
        Self { shown, address, login, reach }
    }

    /// A transport for one operation.
    ///
    /// # Errors
    /// When the server cannot be reached, is not known, or does not let the agent in.
    pub(super) fn begin(&self, limits: OperationLimits) -> Result<(OperationTransport, Arc<Operation>), GitError> {
        let operation = Arc::new(Operation::new(self.shown.clone(), limits));
        let stream = SshStream(Arc::new(Mutex::new(self.connect(&operation)?)));
        let (path, host) = (self.address.path.clone(), None::<(&str, _)>);
        let connection = Connection::new(stream.clone(), stream, Protocol::V2, path, host, ConnectMode::Process, false);
        Ok((Box::new(connection), operation))
    }

    fn connect(&self, operation: &Arc<Operation>) -> Result<OpenStream, GitError> {
        let failed = |error: io::Error| operation.unreachable(NO_ANSWER, &root_cause(&error));
        let runtime = SshRuntime::new().map_err(failed)?;
        let time = operation.left().map_err(failed)?;
        let opened = runtime.block_on(async { tokio::time::timeout(time, self.open(operation)).await });
        let (handle, channel) = opened.unwrap_or_else(|_| Err(operation.unreachable(NO_ANSWER, "timed out")))?;
        Ok(OpenStream {
            runtime,
            channel,
            _handle: handle,
            operation: Arc::clone(operation),
            left: Vec::new(),
            read: 0,
            words: Vec::new(),
            exit: None,
            answered: false,
        })
    }

    async fn open(&self, operation: &Operation) -> Result<(Handle<ServerCheck>, Channel<Msg>), GitError> {
        let SshAddress { user, host, port, path } = &self.address;
        let server = ServerName::new(host, *port);
        let connected = async {
            let addresses = self.reach.resolve(host, *port).await?;
            TcpStream::connect(&*addresses).await
        };
        let socket = match tokio::time::timeout(CONNECT, connected).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(operation.unreachable(NO_ANSWER, &root_cause(&error))),
            Err(_) => return Err(operation.unreachable(NO_ANSWER, "timed out")),
        };
        // A failure costs some milliseconds.
        let _ = socket.set_nodelay(true);
        let unknown = Arc::new(Mutex::new(None));
        let check = ServerCheck {
            server: server.clone(),
            known: self.login.known_hosts.clone(),
            unknown: Arc::clone(&unknown),
        };
        let connected = client::connect_stream(Arc::new(self.config(&server)), socket, check).await;
        let mut handle = connected.map_err(|error| match lock(&unknown).take() {
            Some(fingerprint) => unknown_server(&operation.shown, &server, &fingerprint),
            None => failure(operation, &error),
        })?;
        let failed = |error: russh::Error| failure(operation, &error);
        let hash = match is_rsa(&self.login.key.key.algorithm()) {
            // Servers that do not say what they take are old; SHA-1 is what none should take.
            true => handle.best_supported_rsa_hash().await.map_err(failed)?.flatten().or(Some(HashAlg::Sha256)),
            false => None,
        };
        let key = PrivateKeyWithHashAlg::new(Arc::clone(&self.login.key.key), hash);
        if !matches!(handle.authenticate_publickey(user.as_str(), key).await.map_err(failed)?, AuthResult::Success) {
            return Err(refused(&operation.shown, user));
        }
        let channel = handle.channel_open_session().await.map_err(failed)?;
        // A server that does not take the variable speaks the version before.
        channel.set_env(false, "GIT_PROTOCOL", "version=2").await.map_err(failed)?;
        channel.exec(false, format!("git-upload-pack {}", quoted(path))).await.map_err(failed)?;
        Ok((handle, channel))
    }

    fn config(&self, server: &ServerName) -> client::Config {
        // A server with several keys has to show one that is known.
        let known = self.login.known_hosts.as_ref().map(|known| known.algorithms(server));
        let key = known.filter(|known| !known.is_empty()).unwrap_or_else(|| ALGORITHMS.to_vec());
        client::Config {
            preferred: Preferred { key: key.into(), ..Preferred::default() },
            keepalive_interval: Some(Duration::from_secs(15)),
            ..client::Config::default()
        }
    }
}

/// The path in quotes of a shell.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', "'\\''").replace('!', "'\\!'"))
}

fn failure(operation: &Operation, error: &russh::Error) -> GitError {
    match error {
        russh::Error::NoCommonAlgo { .. } => {
            let message = format!("{} and the agent have no ssh algorithm in common: {error}", operation.shown);
            GitError::new(FailureClass::Broken, message).hint(
                "The server needs a key of ed25519, ecdsa or rsa with SHA-2; if known_hosts has a key of another kind, add \
                 that of the server.",
            )
        }
        error => operation.unreachable(NO_ANSWER, &root_cause(error)),
    }
}

fn unknown_server(shown: &str, server: &ServerName, fingerprint: &str) -> GitError {
    let message = format!("{shown} shows a host key that known_hosts does not have for {server}: {fingerprint}");
    GitError::new(FailureClass::Broken, message).hint(
        "Compare the fingerprint with what the operator of the server says; then put the line that ssh-keyscan prints into the \
         key known_hosts of the Secret in spec.git.secretRef.",
    )
}

fn refused(shown: &str, user: &str) -> GitError {
    let message = format!("{shown} does not let the user {user:?} in with the key");
    GitError::new(FailureClass::Unauthenticated, message).hint(
        "Give the public half of the key ssh of the Secret in spec.git.secretRef read access on the server, and check the user in \
         spec.git.repo.",
    )
}

/// The judge of the server's key.
struct ServerCheck {
    server: ServerName,
    known: Option<KnownServers>,
    /// The fingerprint of a key that is not known.
    unknown: Arc<Mutex<Option<String>>>,
}

impl Handler for ServerCheck {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let known = self.known.as_ref().is_none_or(|known| known.has(&self.server, key));
        if !known {
            let fingerprint = format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256));
            *lock(&self.unknown) = Some(fingerprint);
        }
        Ok(known)
    }
}

/// Runs a connection while something is read or written. Its end does not wait for the name of a server to be looked up.
pub(super) struct SshRuntime(Option<Runtime>);

impl SshRuntime {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Some(tokio::runtime::Builder::new_current_thread().enable_all().build()?)))
    }
}

impl Deref for SshRuntime {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("it is there until the end")
    }
}

impl Drop for SshRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The program on the server, as a stream.
struct OpenStream {
    runtime: SshRuntime,
    channel: Channel<Msg>,
    _handle: Handle<ServerCheck>,
    operation: Arc<Operation>,
    /// Bytes that were received, of which `read` were read.
    left: Vec<u8>,
    read: usize,
    /// The words of the server for people.
    words: Vec<u8>,
    exit: Option<u32>,
    answered: bool,
}

/// Both ends of the stream.
#[derive(Clone)]
struct SshStream(Arc<Mutex<OpenStream>>);

impl OpenStream {
    /// Waits for bytes.
    fn fill(&mut self) -> io::Result<()> {
        while self.read == self.left.len() {
            let time = self.operation.left()?;
            let (runtime, channel) = (&self.runtime, &mut self.channel);
            let message = runtime.block_on(async { tokio::time::timeout(time, channel.wait()).await });
            match message {
                Ok(Some(ChannelMsg::Data { data })) => {
                    self.operation.charge(data.len())?;
                    (self.left, self.read, self.answered) = (data.to_vec(), 0, true);
                }
                Ok(Some(ChannelMsg::ExtendedData { data, .. })) => {
                    self.operation.charge(data.len())?;
                    let space = WORDS.saturating_sub(self.words.len()).min(data.len());
                    self.words.extend_from_slice(&data[..space]);
                }
                Ok(Some(ChannelMsg::ExitStatus { exit_status })) => self.exit = Some(exit_status),
                Ok(Some(ChannelMsg::Close) | None) => return Err(self.ended()),
                // The status and the words may follow.
                Ok(Some(_)) => {}
                Err(_) => return Err(self.operation.fail(self.operation.unreachable(NO_ANSWER, "timed out"))),
            }
        }
        Ok(())
    }

    /// The failure of a program that ended although more was expected.
    fn ended(&self) -> io::Error {
        let words = String::from_utf8_lossy(&self.words);
        let words = shortened(
            visible(words.split_whitespace().collect::<Vec<_>>().join(" ").as_str()).into_owned(),
            SHOWN_WORDS,
        );
        let said = |parts: &[&str]| parts.iter().any(|part| words.to_ascii_lowercase().contains(part));
        let shown = &self.operation.shown;
        self.operation.fail(match self.exit {
            Some(status) if status != 0 && !self.answered => {
                let (class, hint) = match () {
                    () if said(&["denied", "not allowed", "unauthorized", "permission"]) => (
                        FailureClass::Unauthenticated,
                        "Give the key of the Secret in spec.git.secretRef read access to the repository.",
                    ),
                    () if said(&["not found", "does not exist", "not appear to be a git repository", "no such"]) => (
                        FailureClass::NotFound,
                        "Check spec.git.repo; many servers say so too when the key does not allow to see a repository.",
                    ),
                    () => (FailureClass::Broken, "Check spec.git.repo."),
                };
                GitError::new(class, format!("{shown} ends with the status {status}: {words}")).hint(hint)
            }
            _ => self
                .operation
                .unreachable(HALF_AN_ANSWER, if words.is_empty() { "the connection was closed" } else { &words }),
        })
    }
}

impl Read for SshStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = lock(&self.0);
        if buffer.is_empty() {
            return Ok(0);
        }
        stream.fill()?;
        let bytes = buffer.len().min(stream.left.len() - stream.read);
        buffer[..bytes].copy_from_slice(&stream.left[stream.read..stream.read + bytes]);
        stream.read += bytes;
        Ok(bytes)
    }
}

impl Write for SshStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stream = lock(&self.0);
        let time = stream.operation.left()?;
        let sent = stream.runtime.block_on(async { tokio::time::timeout(time, stream.channel.data(bytes)).await });
        match sent {
            Ok(Ok(())) => Ok(bytes.len()),
            Ok(Err(error)) => {
                Err(stream.operation.fail(stream.operation.unreachable(HALF_AN_ANSWER, &root_cause(&error))))
            }
            Err(_) => Err(stream.operation.fail(stream.operation.unreachable(NO_ANSWER, "timed out"))),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
