//! The mirror of a remote repository: a bare repository that holds only the commits that were wanted, without history.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use gix::DynNestedProgress;
use gix::bstr::{BString, ByteSlice};
use gix::progress::Discard;
use gix::protocol::fetch::negotiate::{Action, Round, one_round};
use gix::protocol::fetch::{Arguments, Context, Negotiate, Options, Response, Shallow, Tags};
use gix::protocol::handshake::Ref;
use gix::protocol::ls_refs::RefPrefixes;
use gix::protocol::{Handshake, LsRefsCommand, transport};
use gix::refs::transaction::PreviousValue;

use super::error::{FailureClass, GitError, from_gix};
use super::operation::{Operation, OperationLimits, OperationTransport};
use super::pack::{self, PackFailure};
use super::remote::Remote;
use super::server::GitServer;
use super::{Commit, limited, options};
use crate::io::random::unused_name;
use crate::model::hex::hex;
use crate::model::limits::PACK;
use crate::model::url::shown;

/// Limits for reading the refs of a repository.
const LIST: OperationLimits = OperationLimits { time: Duration::from_secs(30), bytes: 64 << 20 };

/// Limits for fetching a commit.
const FETCH: OperationLimits = OperationLimits { time: Duration::from_secs(600), bytes: 2 << 30 };

/// Every fetch adds a pack. A mirror with this number of packs is replaced by a new one.
pub(super) const MAX_PACKS: usize = 50;

/// Where the refs of fetched commits are. A ref exists only when its commit is complete.
const FETCHED: &str = "refs/nomos/";

/// An open mirror. No other process can open it meanwhile.
pub(super) struct Mirror {
    server: GitServer,
    shown: String,
    directory: PathBuf,
    repo: gix::Repository,
    /// `true` after an object could not be read: the next fetch replaces the mirror.
    suspect: Cell<bool>,
    /// The commit that the mirror was last replaced for. Replacing it again for the same commit would not help.
    replaced: Option<Commit>,
    /// The lock, held as long as the mirror is open. Its time is that of the last use.
    lock: File,
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // Without it the mirror may be forgotten too early.
        let _ = self.lock.set_modified(SystemTime::now());
    }
}

impl Mirror {
    /// Opens the mirror in a directory, or makes an empty one.
    pub(super) fn open(shown: String, server: GitServer, directory: PathBuf) -> Result<Self, GitError> {
        let lock = lock(&directory)?;
        let repo = swept(&directory)
            .and_then(|()| match gix::open_opts(directory.join("repo"), options()) {
                Ok(repo) => Ok(repo),
                Err(_) => create(&directory.join("repo")),
            })
            .map_err(|error| unusable(&directory, &error))?;
        Ok(Self { server, shown, directory, repo, suspect: Cell::new(false), replaced: None, lock })
    }

    /// The object store.
    pub(super) fn repo(&self) -> &gix::Repository {
        &self.repo
    }

    /// Makes the next fetch replace the mirror.
    pub(super) fn suspect(&self) {
        self.suspect.set(true);
    }

    /// The objects that the refs `names` are at, as far as they exist, and the name of the default branch.
    pub(super) fn list(&self, names: &[String]) -> Result<(BTreeMap<String, gix::ObjectId>, Option<String>), GitError> {
        let (mut transport, operation) = self.server.begin(LIST).map_err(|error| self.heard(error))?;
        let refs =
            ls_refs(&mut transport, names).map_err(|error| self.failure(&operation, &error, "read the refs of"))?;
        let mut default_branch = None;
        let mut at = BTreeMap::new();
        for found in refs {
            // For an annotated tag it is the tagged commit.
            let (name, object) = match found {
                Ref::Peeled { full_ref_name, object, .. } | Ref::Direct { full_ref_name, object } => {
                    (full_ref_name, object)
                }
                Ref::Symbolic { full_ref_name, target, object, .. } => {
                    if full_ref_name == "HEAD" {
                        default_branch = Some(target.to_str_lossy().trim_start_matches("refs/heads/").to_owned());
                    }
                    (full_ref_name, object)
                }
                Ref::Unborn { .. } => continue,
            };
            // Old servers show all refs.
            if names.iter().any(|asked| name == asked.as_str()) {
                at.insert(name.to_string(), object);
            }
        }
        Ok((at, default_branch))
    }

    /// `true` if nothing is to be fetched for a commit.
    pub(super) fn has(&self, commit: Commit) -> bool {
        (!self.suspect.get() || self.replaced == Some(commit)) && has(&self.repo, commit)
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> u64 {
        size(&self.directory)
    }

    /// Removes all that was fetched.
    pub(super) fn empty(&mut self) -> Result<(), GitError> {
        self.repo = create(&self.directory.join("repo")).map_err(|error| unusable(&self.directory, &error))?;
        Ok(())
    }

    /// Fetches a commit that the mirror does not [have](Self::has). A mirror that is damaged or has too many packs is replaced, if a
    /// new one can be fetched. `received` is called before what was received is unpacked.
    pub(super) fn fetch(&mut self, commit: Commit, received: &mut dyn FnMut()) -> Result<(), GitError> {
        if self.suspect.take() && self.replaced != Some(commit) {
            return self.replace(commit, received);
        }
        if packs(&self.repo) < MAX_PACKS {
            match self.fetch_into(self.repo.git_dir(), commit, received) {
                // An open repository has places for few more packs, and keeps what it read of the old ones.
                Ok(()) => return self.open_again(),
                Err(error) if error.class == FailureClass::Broken => {}
                Err(error) => return Err(error),
            }
        }
        self.replace(commit, received)
    }

    fn open_again(&mut self) -> Result<(), GitError> {
        let opened = gix::open_opts(self.directory.join("repo"), options());
        self.repo = opened.map_err(|error| from_gix(&error, &self.shown, "open the copy of"))?;
        Ok(())
    }

    fn replace(&mut self, commit: Commit, received: &mut dyn FnMut()) -> Result<(), GitError> {
        let (old, new) = (self.directory.join("repo"), self.directory.join("repo.new"));
        let fail = |error: io::Error| unusable(&self.directory, &error);
        remove(&new).map_err(fail)?;
        create(&new).map_err(fail)?;
        self.fetch_into(&new, commit, received)?;
        remove(&old).and_then(|()| fs::rename(&new, &old)).map_err(fail)?;
        self.open_again()?;
        self.replaced = Some(commit);
        Ok(())
    }

    fn fetch_into(&self, directory: &Path, commit: Commit, received: &mut dyn FnMut()) -> Result<(), GitError> {
        let (transport, operation) = self.server.begin(FETCH).map_err(|error| self.heard(error))?;
        let mut refused = None;
        let fetched = gix::open_opts(directory, limited(PACK.object_bytes)).and_then(|repo| {
            receive(&repo, transport, commit, |pack| match pack::add(pack, &repo, &self.shown, &PACK, received) {
                Ok(keep) => Ok(keep),
                Err(PackFailure::Failed(error)) => Err(error),
                Err(PackFailure::Refused(error)) => {
                    Err(gix::Error::from_error(io::Error::other(refused.insert(error).message.clone())))
                }
            })
        });
        fetched.map_err(|error| refused.unwrap_or_else(|| self.failure(&operation, &error, "fetch from")))
    }

    fn failure(&self, operation: &Operation, error: &gix::Error, doing: &str) -> GitError {
        self.heard(operation.failure().unwrap_or_else(|| from_gix(error, &self.shown, doing)))
    }

    fn heard(&self, error: GitError) -> GitError {
        if error.class == FailureClass::Unauthenticated {
            self.server.refused();
        }
        error
    }
}

/// The refs that start with one of `names`, and `HEAD` for the name of the default branch.
pub(super) fn ls_refs(transport: &mut OperationTransport, names: &[String]) -> gix::Result<Vec<Ref>> {
    let handshake = handshake(transport)?;
    if let Some(refs) = handshake.refs {
        end(transport);
        return Ok(refs);
    }
    let mut prefixes = RefPrefixes::new();
    prefixes.extend(names.iter().map(|name| BString::from(name.as_str())).chain(["HEAD".into()]));
    let command = LsRefsCommand::new(Some(prefixes), &handshake.capabilities, agent_feature());
    let refs = command.invoke_blocking(&mut *transport, &mut Discard, false)?;
    end(transport);
    Ok(refs)
}

/// Lets a server that waits for another request end.
fn end(transport: &mut OperationTransport) {
    // The server has answered already.
    let _ = gix::protocol::indicate_end_of_interaction(transport, false);
}

/// The name of the agent, for servers.
fn agent_feature() -> gix::protocol::command::Feature {
    ("agent", Some(concat!("git/nomos-", env!("CARGO_PKG_VERSION")).to_owned()))
}

fn handshake(transport: &mut OperationTransport) -> gix::Result<Handshake> {
    let upload_pack = transport::Service::UploadPack;
    gix::protocol::handshake(transport, upload_pack, |_| Ok(None), Vec::new(), &mut Discard)
}

/// Fetches a commit without its history. `take` adds the pack to the repository.
fn receive(
    repo: &gix::Repository,
    mut transport: OperationTransport,
    commit: Commit,
    take: impl FnOnce(&mut dyn io::BufRead) -> gix::Result<Option<PathBuf>>,
) -> gix::Result<()> {
    let mut handshake = handshake(&mut transport)?;
    let context = Context {
        handshake: &mut handshake,
        transport: &mut transport,
        user_agent: agent_feature(),
        trace_packetlines: false,
    };
    let options = Options {
        shallow_file: repo.shallow_file()?,
        shallow: &Shallow::DepthAtRemote(NonZeroU32::MIN),
        tags: Tags::None,
        reject_shallow_remote: false,
    };
    let (mut wanted, mut keep) = (OneCommit { commit, known: fetched(repo)? }, None);
    let take = |pack: &mut dyn io::BufRead, _: &mut dyn DynNestedProgress, _: &AtomicBool| {
        keep = take(pack)?;
        Ok(true)
    };
    gix::protocol::fetch(&mut wanted, take, Discard, &AtomicBool::new(false), context, options)?;
    repo.reference(format!("{FETCHED}{commit}"), commit.0, PreviousValue::Any, "fetched")?;
    if let Some(keep) = keep {
        fs::remove_file(keep).map_err(gix::Error::from_error)?;
    }
    Ok(())
}

/// The commits that were fetched.
fn fetched(repo: &gix::Repository) -> gix::Result<Vec<gix::ObjectId>> {
    let references = repo.references()?;
    let fetched = references.prefixed(FETCHED)?.filter_map(Result::ok);
    Ok(fetched.filter_map(|reference| reference.try_id().map(gix::Id::detach)).collect())
}

/// The negotiation about one commit: one request, whatever the server answers.
struct OneCommit {
    commit: Commit,
    known: Vec<gix::ObjectId>,
}

impl Negotiate for OneCommit {
    fn mark_complete_and_common_ref(&mut self) -> gix::Result<Action> {
        Ok(Action::MustNegotiate { remote_ref_target_known: Vec::new() })
    }

    fn add_wants(&mut self, arguments: &mut Arguments, _: &[bool]) -> bool {
        arguments.want(self.commit.0);
        true
    }

    fn one_round(
        &mut self,
        _: &mut one_round::State,
        arguments: &mut Arguments,
        _: Option<&Response>,
    ) -> gix::Result<(Round, bool)> {
        self.known.iter().for_each(|id| arguments.have(id));
        let haves_sent = self.known.len();
        let round =
            Round { haves_sent, in_vain: 0, haves_to_send: 0, previous_response_had_at_least_one_in_common: false };
        Ok((round, true))
    }
}

/// `true` if a commit was fetched completely.
fn has(repo: &gix::Repository, commit: Commit) -> bool {
    let fetched = repo.try_find_reference(format!("{FETCHED}{commit}").as_str());
    matches!(fetched, Ok(Some(_))) && repo.has_object(commit.0)
}

fn packs(repo: &gix::Repository) -> usize {
    let count = |entries: fs::ReadDir| {
        entries.flatten().filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack")).count()
    };
    fs::read_dir(repo.git_dir().join("objects/pack")).map_or(0, count)
}

/// The directory of the mirror of a remote: safe in a file system, readable for users, and of this remote alone. Its name tells
/// nothing of credentials.
pub(super) fn directory(cache: &Path, remote: &Remote) -> Result<PathBuf, GitError> {
    let salt = salt(cache).map_err(|error| unusable(cache, &error))?;
    let url = shown(&remote.url);
    let path = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let last = path.rsplit(['/', ':']).next().unwrap_or_default();
    let readable: String = last.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    let digest = remote.digest(&salt);
    Ok(cache.join(format!("{readable}-{}", hex(&digest[..8]))))
}

/// Random bytes of this cache. Without them, a name cannot be tried against guesses of a password.
fn salt(cache: &Path) -> io::Result<Vec<u8>> {
    let path = cache.join("salt");
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        salt => return salt,
    }
    fs::create_dir_all(cache)?;
    let mut salt = [0; 32];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut salt);
    filled.map_err(|_| io::Error::other("the system gives no random bytes"))?;
    // Whole, or not at all: another thread may do the same.
    let new = cache.join(unused_name("salt"));
    fs::write(&new, salt)?;
    let linked = fs::hard_link(&new, &path);
    fs::remove_file(&new)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::read(&path),
    }
}

/// Longest wait for a lock. Programs that this process starts share its open files for a moment, and so keep the lock of a
/// mirror that was closed just before.
const PATIENCE: Duration = Duration::from_secs(2);

/// Locks the mirror in a directory, which is made if it is not there.
pub(super) fn lock(directory: &Path) -> Result<File, GitError> {
    let fail = |error: io::Error| unusable(directory, &error);
    fs::create_dir_all(directory).map_err(fail)?;
    let path = directory.join("lock");
    let end = Instant::now() + PATIENCE;
    loop {
        let file = File::create(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) if is_at(&file, &path) => {
                file.set_modified(SystemTime::now()).map_err(fail)?;
                return Ok(file);
            }
            // The mirror was being removed.
            Ok(()) => fs::create_dir_all(directory).map_err(fail)?,
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::WouldBlock) => {
                let message = format!("{} is in use by another agent", directory.display());
                return Err(GitError::new(FailureClass::Unreachable, message)
                    .hint("Give each agent a cache directory of its own."));
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
    }
}

/// `true` if this is the file at the path.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(own), Ok(there)) if identity(&own) == identity(&there))
}

fn create(directory: &Path) -> io::Result<gix::Repository> {
    remove(directory)?;
    let kind = gix::create::Kind::Bare;
    gix::ThreadSafeRepository::init_opts(directory, kind, gix::create::Options::default(), options())
        .map(Into::into)
        .map_err(io::Error::other)
}

/// The bytes of all files below a directory. Files that come and go meanwhile may count or not.
pub(super) fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

/// Removes a directory, if it is there.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the leftovers of a killed process: locks, half a pack, half a new mirror. The lock of the mirror is held, so no
/// other process uses them.
fn swept(directory: &Path) -> io::Result<()> {
    remove(&directory.join("repo.new"))?;
    let mut directories = vec![directory.join("repo")];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else if name.ends_with(".lock")
                || name.ends_with(".keep")
                || name.starts_with(".tmp")
                || name.starts_with("tmp_")
            {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

fn unusable(directory: &Path, error: &io::Error) -> GitError {
    GitError::new(FailureClass::Broken, format!("the cache {} cannot be used: {error}", directory.display()))
        .hint("Check its permissions and the free space; it may be deleted when the agent is stopped.")
}
