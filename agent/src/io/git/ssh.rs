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
use super::remote::{RemoteLocation, RepositoryLocation};
use super::ssh_key::{ALGORITHMS, HostKey, KnownServers, ServerName, SshLogin, is_rsa};
use crate::model::error_chain::root_cause;
use crate::model::metadata::annotation::KNOWN_HOSTS;
use crate::model::shared::lock;
use crate::model::shortened::shortened;
use crate::model::url;
use crate::model::visible::visible;

/// Bytes of the server's words for people that are kept.
const WORDS: usize = 2048;
/// Bytes of them that a message shows.
const SHOWN_WORDS: usize = 300;
/// Longest time until a server shows its key.
const HOST_KEY: Duration = Duration::from_secs(15);

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
        let mut handle = match connect((host, *port), &self.reach, &self.login.known).await {
            Ok(handle) => handle,
            Err(NoServer::Unknown(shown)) => {
                return Err(unknown_server(&operation.shown, &server, &shown, &self.login.known));
            }
            Err(NoServer::Failed(error)) => return Err(failure(operation, &error, &self.login.known)),
            Err(NoServer::Unreachable(why)) => return Err(operation.unreachable(NO_ANSWER, &why)),
        };
        let failed = |error: russh::Error| failure(operation, &error, &self.login.known);
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
}

/// The key that the server of a URL over ssh shows. Nothing is sent that could log in.
///
/// # Errors
/// When the server cannot be reached, or shows no key.
pub async fn host_key(url: &str, reach: &Reach) -> Result<HostKey, GitError> {
    let shown = url::shown(url);
    let RepositoryLocation::Remote(RemoteLocation::Ssh(SshAddress { host, port, .. })) = RepositoryLocation::of(url)?
    else {
        let message = format!("{shown} is not reached over ssh");
        return Err(GitError::new(FailureClass::Broken, message).hint("Check spec.git.repo."));
    };
    let none = KnownServers::remembered("");
    let asked = tokio::time::timeout(HOST_KEY, connect((&host, port), reach, &none)).await;
    let why = match asked {
        Ok(Err(NoServer::Unknown(key))) => return Ok(key),
        Ok(Ok(_)) => "no host key".to_owned(),
        Ok(Err(NoServer::Failed(error))) => root_cause(&error),
        Ok(Err(NoServer::Unreachable(why))) => why,
        Err(_) => "timed out".to_owned(),
    };
    Err(GitError::new(FailureClass::Unreachable, format!("{NO_ANSWER} {shown}: {why}")))
}

/// The reason why there is no connection to a server that may be believed.
enum NoServer {
    Unreachable(String),
    /// It shows this key.
    Unknown(HostKey),
    Failed(russh::Error),
}

/// A connection to a server that shows a known key. Nothing is sent yet that could log in.
async fn connect(
    (host, port): (&str, u16),
    reach: &Reach,
    known: &KnownServers,
) -> Result<Handle<ServerCheck>, NoServer> {
    let server = ServerName::new(host, port);
    let connected = async {
        let addresses = reach.resolve(host, port).await?;
        TcpStream::connect(&*addresses).await
    };
    let socket = match tokio::time::timeout(CONNECT, connected).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return Err(NoServer::Unreachable(root_cause(&error))),
        Err(_) => return Err(NoServer::Unreachable("timed out".to_owned())),
    };
    // A failure costs some milliseconds.
    let _ = socket.set_nodelay(true);
    // A server with several keys has to show one that is known.
    let key = Some(known.algorithms(&server)).filter(|known| !known.is_empty()).unwrap_or_else(|| ALGORITHMS.to_vec());
    let config = client::Config {
        preferred: Preferred { key: key.into(), ..Preferred::default() },
        keepalive_interval: Some(Duration::from_secs(15)),
        ..client::Config::default()
    };
    let unknown = Arc::new(Mutex::new(None));
    let check = ServerCheck { server, known: known.clone(), unknown: Arc::clone(&unknown) };
    client::connect_stream(Arc::new(config), socket, check).await.map_err(|error| match lock(&unknown).take() {
        Some(shown) => NoServer::Unknown(shown),
        None => NoServer::Failed(error),
    })
}

/// The path in quotes of a shell.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', "'\\''").replace('!', "'\\!'"))
}

fn failure(operation: &Operation, error: &russh::Error, known: &KnownServers) -> GitError {
    match error {
        russh::Error::NoCommonAlgo { .. } => {
            let message = format!("{} and the agent have no ssh algorithm in common: {error}", operation.shown);
            let hint = match known.remembered {
                false => "if known_hosts has a key of another kind, add that of the server.".to_owned(),
                true => {
                    format!("if it had one of another kind before, remove the annotation {KNOWN_HOSTS} of the sync.")
                }
            };
            GitError::new(FailureClass::Broken, message)
                .hint(format!("The server needs a key of ed25519, ecdsa or rsa with SHA-2; {hint}"))
        }
        error => operation.unreachable(NO_ANSWER, &root_cause(error)),
    }
}

fn unknown_server(shown: &str, server: &ServerName, key: &HostKey, known: &KnownServers) -> GitError {
    let fingerprint = &key.fingerprint;
    let (message, hint) = match known.remembered {
        false => (
            format!("{shown} shows a host key that known_hosts does not have for {server}: {fingerprint}"),
            "Compare the fingerprint with what the operator of the server says; then put the line that ssh-keyscan prints into \
             the key known_hosts of the Secret in spec.git.secretRef."
                .to_owned(),
        ),
        true => (
            format!("{shown} shows another host key than at the first connection to {server}: {fingerprint}"),
            format!(
                "Somebody may be between the agent and the server, so it gets no login. If the operator of the server says that \
                 this is its key, remove the annotation {KNOWN_HOSTS} of the sync, or put the key into known_hosts of the Secret in \
                 spec.git.secretRef."
            ),
        ),
    };
    GitError::new(FailureClass::Broken, message).hint(hint)
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
    known: KnownServers,
    /// A key that is not known.
    unknown: Arc<Mutex<Option<HostKey>>>,
}

impl Handler for ServerCheck {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let known = self.known.has(&self.server, key);
        if !known {
            *lock(&self.unknown) = Some(HostKey::of(&self.server, key));
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
