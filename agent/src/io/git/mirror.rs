//! The mirror of a remote repository: a bare repository that holds only the commits that were wanted, without history.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use gix::bstr::{BString, ByteSlice};
use gix::progress::Discard;
use gix::protocol::handshake::Ref;
use gix::protocol::ls_refs::RefPrefixes;
use gix::protocol::{LsRefsCommand, transport};
use gix::remote::{Direction, fetch};
use sha2::{Digest, Sha256};

use super::error::{FailureClass, GitError, from_gix};
use super::http::{Http, HttpOperation, OperationLimits};
use super::{Commit, limited, options};

/// Limits for reading the refs of a repository.
const LIST: OperationLimits = OperationLimits { time: Duration::from_secs(30), bytes: 64 << 20 };

/// Limits for fetching a commit.
const FETCH: OperationLimits = OperationLimits { time: Duration::from_secs(600), bytes: 2 << 30 };

/// Size of the largest object that is fetched.
const MAX_OBJECT_BYTES: u64 = 256 << 20;

/// Every fetch adds a pack. A mirror with this number of packs is replaced by a new one.
pub(super) const MAX_PACKS: usize = 50;

/// Where the refs of fetched commits are. A ref exists only when its commit is complete.
const FETCHED: &str = "refs/nomos/";

/// An open mirror. No other process can open it meanwhile.
pub(super) struct Mirror {
    pub(super) http: Http,
    shown: String,
    directory: PathBuf,
    repo: gix::Repository,
    /// `true` after an object could not be read: the next fetch replaces the mirror.
    suspect: Cell<bool>,
    /// The commit that the mirror was last replaced for. Replacing it again for the same commit would not help.
    replaced: Option<Commit>,
    /// The lock, held as long as the mirror is open.
    _lock: File,
}

impl Mirror {
    /// Opens the mirror of `shown` under `cache`, or makes an empty one.
    pub(super) fn open(shown: String, http: Http, cache: &Path) -> Result<Self, GitError> {
        let directory = cache.join(name_of(&shown));
        let lock = lock(&directory)?;
        let repo = swept(&directory)
            .and_then(|()| match gix::open_opts(directory.join("repo"), options()) {
                Ok(repo) => Ok(repo),
                Err(_) => create(&directory.join("repo")),
            })
            .map_err(|error| unusable(&directory, &error))?;
        Ok(Self { http, shown, directory, repo, suspect: Cell::new(false), replaced: None, _lock: lock })
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
        let (mut transport, operation) = self.http.begin(LIST);
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
            at.insert(name.to_string(), object);
        }
        Ok((at, default_branch))
    }

    /// Fetches a commit unless the mirror has it. A mirror that is damaged or has too many packs is replaced, if a new one
    /// can be fetched.
    pub(super) fn fetch(&mut self, commit: Commit) -> Result<(), GitError> {
        if self.suspect.take() && self.replaced != Some(commit) {
            return self.replace(commit);
        }
        if has(&self.repo, commit) {
            return Ok(());
        }
        if packs(&self.repo) < MAX_PACKS {
            match self.fetch_into(self.repo.git_dir(), commit) {
                Err(error) if error.class == FailureClass::Broken => {}
                result => return result,
            }
        }
        self.replace(commit)
    }

    fn replace(&mut self, commit: Commit) -> Result<(), GitError> {
        let (old, new) = (self.directory.join("repo"), self.directory.join("repo.new"));
        let fail = |error: io::Error| unusable(&self.directory, &error);
        remove(&new).map_err(fail)?;
        create(&new).map_err(fail)?;
        self.fetch_into(&new, commit)?;
        remove(&old).and_then(|()| fs::rename(&new, &old)).map_err(fail)?;
        self.repo =
            gix::open_opts(&old, options()).map_err(|error| from_gix(&error, &self.shown, "open the copy of"))?;
        self.replaced = Some(commit);
        Ok(())
    }

    fn fetch_into(&self, directory: &Path, commit: Commit) -> Result<(), GitError> {
        let (transport, operation) = self.http.begin(FETCH);
        gix::open_opts(directory, limited(MAX_OBJECT_BYTES))
            .and_then(|repo| receive(&repo, transport, commit))
            .map_err(|error| self.failure(&operation, &error, "fetch from"))
    }

    fn failure(&self, operation: &HttpOperation, error: &gix::Error, doing: &str) -> GitError {
        operation.failure().unwrap_or_else(|| from_gix(error, &self.shown, doing))
    }
}

/// The refs that start with one of `names`, and `HEAD` for the name of the default branch.
pub(super) fn ls_refs(transport: &mut super::http::Transport, names: &[String]) -> gix::Result<Vec<Ref>> {
    let no_credentials = |_| Ok(None);
    let upload_pack = transport::Service::UploadPack;
    let handshake = gix::protocol::handshake(&mut *transport, upload_pack, no_credentials, Vec::new(), &mut Discard)?;
    if let Some(refs) = handshake.refs {
        return Ok(refs);
    }
    let mut prefixes = RefPrefixes::new();
    prefixes.extend(names.iter().map(|name| BString::from(name.as_str())).chain(["HEAD".into()]));
    let agent = ("agent", Some(concat!("git/nomos-", env!("CARGO_PKG_VERSION")).into()));
    LsRefsCommand::new(Some(prefixes), &handshake.capabilities, agent).invoke_blocking(transport, &mut Discard, false)
}

/// Fetches a commit without its history.
fn receive(repo: &gix::Repository, transport: super::http::Transport, commit: Commit) -> gix::Result<()> {
    // The second, which matches nothing, keeps the server from listing every ref.
    let wanted = [format!("+{commit}:{FETCHED}{commit}"), format!("{FETCHED}none")];
    let url = transport::client::TransportWithoutIO::to_url(&transport).into_owned();
    let remote = repo
        .remote_at_without_url_rewrite(url.as_bstr())?
        .with_refspecs(wanted.iter().map(|spec| spec.as_bytes().as_bstr()), Direction::Fetch)?
        .with_fetch_tags(fetch::Tags::None);
    let never = AtomicBool::new(false);
    remote
        .to_connection_with_transport(transport)
        .with_credentials(|_| Ok(None))
        .prepare_fetch(Discard, gix::remote::ref_map::Options::default())?
        .with_shallow(fetch::Shallow::DepthAtRemote(NonZeroU32::MIN))
        .receive(Discard, &never)?;
    Ok(())
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

/// The name of a mirror's directory: safe in a file system, and readable for users.
fn name_of(shown: &str) -> String {
    let digest = Sha256::digest(shown.as_bytes());
    let last = shown.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let readable: String = last.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    digest[..8].iter().fold(format!("{readable}-"), |name, byte| format!("{name}{byte:02x}"))
}

/// Longest wait for a lock. Programs that this process starts share its open files for a moment, and so keep the lock of a
/// mirror that was closed just before.
const PATIENCE: Duration = Duration::from_secs(2);

fn lock(directory: &Path) -> Result<File, GitError> {
    let fail = |error: io::Error| unusable(directory, &error);
    fs::create_dir_all(directory).map_err(fail)?;
    let file = File::create(directory.join("lock")).map_err(fail)?;
    let end = Instant::now() + PATIENCE;
    let mut locked = file.try_lock();
    while matches!(locked, Err(TryLockError::WouldBlock)) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(GitError::new(FailureClass::Unreachable, format!("{} is in use by another agent", directory.display()))
                .hint("Give each agent a cache directory of its own."))
        }
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

fn create(directory: &Path) -> io::Result<gix::Repository> {
    remove(directory)?;
    let kind = gix::create::Kind::Bare;
    gix::ThreadSafeRepository::init_opts(directory, kind, gix::create::Options::default(), options())
        .map(Into::into)
        .map_err(io::Error::other)
}

fn remove(directory: &Path) -> io::Result<()> {
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
