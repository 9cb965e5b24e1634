//! Git repositories as sources: the commit that a branch, tag or `HEAD` is at, the files of a commit, and a watch on changes.
//!
//! Objects are read straight from an object store: there is no work tree, no git binary, no hook and no checkout. A remote
//! repository has a bare mirror in a cache directory; a local one (a path, a `file:` URL) is opened where it is.
//! All functions block.

mod error;
mod operation;
mod reach;
mod cookies;
mod ssh_key;
mod token;
mod openpgp;
mod signature;
mod remote;
mod authorization;
mod http;
mod ssh;
mod server;
mod pack;
mod mirror;
mod sweep;
mod tree;
mod clone;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gix::bstr::ByteSlice;

use crate::io::budget::ReadBudget;
use crate::model::finding::Finding;
use crate::model::limits::FILE_BYTES;
use crate::model::url::shown;

pub use clone::UserClone;
pub use cookies::{Cookie, cookies};
pub use error::{FailureClass, GitError};
pub use openpgp::openpgp_keys;
pub use reach::{Network, Reach};
pub use remote::{Credentials, Login, Remote, ssh_server};
pub use signature::{Signers, SignersFault, allowed_signers};
pub use ssh::host_key;
pub use ssh_key::{HostKey, KnownServers, ServerName, SshKey, SshKeyFault, SshLogin};
pub use sweep::sweep;
pub use token::{
    GITHUB, GOOGLE_CREDENTIALS, GOOGLE_EXCHANGE, GcpServiceAccount, GithubApp, METADATA, SubjectSlot, SubjectToken,
    TokenSource, is_rsa_key, used_for,
};
pub use tree::{BoundedTree, CommitTree, TreeEntry};
pub use watch::{Watcher, watch};

use mirror::Mirror;
use remote::RepositoryLocation;
use server::GitServer;

/// The branch or revision that a sync follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// A branch, without `refs/heads/`, or the tag of this name where there is no such branch; `HEAD` is the default branch.
    Branch(String),
    /// A tag, a branch, a full ref or the full hash of a commit, looked for in this order; `HEAD` is the default branch.
    Revision(String),
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "the branch {name:?}"),
            Self::Revision(name) => write!(f, "the revision {name:?}"),
        }
    }
}

impl Want {
    /// The commit, if its full hash is given, which needs no request.
    fn commit(&self) -> Option<Commit> {
        match self {
            Self::Revision(name) => gix::ObjectId::from_hex(name.as_bytes()).ok().map(Commit),
            Self::Branch(_) => None,
        }
    }

    /// The refs that can be meant. The first that exists is the one.
    fn candidates(&self) -> Vec<String> {
        let names = match self {
            Self::Branch(name) if name == "HEAD" => vec![name.clone()],
            Self::Branch(name) => ["refs/heads/", "refs/tags/"].map(|under| format!("{under}{name}")).into(),
            Self::Revision(name) if name == "HEAD" || name.starts_with("refs/") => vec![name.clone()],
            Self::Revision(name) => ["refs/tags/", "refs/heads/", "refs/"].map(|under| format!("{under}{name}")).into(),
        };
        names.into_iter().filter(|name| gix::validate::reference::name(name.as_str().into()).is_ok()).collect()
    }
}

/// The hash of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(gix::ObjectId);

impl Commit {
    /// From 40 hexadecimal digits.
    pub fn from_hex(hash: &str) -> Option<Self> {
        gix::ObjectId::from_hex(hash.as_bytes()).ok().map(Self)
    }
}

/// 40 hexadecimal digits.
impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The hash of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(gix::ObjectId);

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The refs of a repository and their commits, at one moment.
#[derive(Clone, Debug)]
pub struct Refs {
    shown: String,
    at: BTreeMap<String, gix::ObjectId>,
    default_branch: Option<String>,
}

impl Refs {
    /// The commit of `want`, which must be one of the wants that were listed.
    ///
    /// # Errors
    /// When the repository has no such ref.
    pub fn commit(&self, want: &Want) -> Result<Commit, GitError> {
        if let Some(commit) = want.commit() {
            return Ok(commit);
        }
        match want.candidates().iter().find_map(|name| self.at.get(name)) {
            Some(id) => Ok(Commit(*id)),
            None => Err(self.missing(want)),
        }
    }

    fn missing(&self, want: &Want) -> GitError {
        let error = GitError::new(FailureClass::NotFound, format!("{} does not have {want}", self.shown));
        let short = |name: &str| (4..40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (want, &self.default_branch) {
            (Want::Revision(name), _) if short(name) => error.hint("Give all 40 digits of a commit."),
            (_, Some(branch)) => error.hint(format!("Check spec.git; its default branch is {branch:?}.")),
            (_, None) => error.hint("Check spec.git; the repository has no default branch, it may be empty."),
        }
    }
}

/// A request to a git server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitRequest {
    /// Reads the refs of a repository.
    List,
    /// Fetches a commit, which is unpacked at the end.
    Fetch,
}

impl GitRequest {
    /// Its name for other programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Fetch => "fetch",
        }
    }
}

/// Is told of each request to a git server: how long it took, and `true` if it worked.
pub type GitObserver = Arc<dyn Fn(GitRequest, Duration, bool) + Send + Sync>;

/// The git objects of one repository.
pub struct Store {
    /// The URL without tokens.
    shown: String,
    /// The keys of which one must have signed a commit.
    signers: Option<Signers>,
    backend: StoreBackend,
    observer: Option<GitObserver>,
}

/// Where the objects are kept.
enum StoreBackend {
    Local { path: PathBuf, repo: Box<gix::Repository> },
    Mirror(Box<Mirror>),
}

impl Store {
    /// Opens a local repository, or the mirror of a remote one in a directory of its own under `cache`. Asks no server.
    ///
    /// Only one store can have the same mirror open. Remotes that differ in anything, such as their credentials, have mirrors of
    /// their own.
    ///
    /// # Errors
    /// When the URL cannot be used, the local repository cannot be opened, or the cache cannot be written.
    pub fn open(remote: &Remote, cache: &Path) -> Result<Self, GitError> {
        let signers = remote.signers.clone();
        match RepositoryLocation::of(&remote.url)? {
            RepositoryLocation::Local(path) => {
                let shown = path.display().to_string();
                let repo = Box::new(open_local(&path, &shown)?);
                Ok(Self { shown, signers, backend: StoreBackend::Local { path, repo }, observer: None })
            }
            RepositoryLocation::Remote(location) => {
                let shown = shown(&remote.url).into_owned();
                let directory = mirror::directory(cache, remote)?;
                let server = GitServer::of(remote, location, &shown)?;
                let mirror = Mirror::open(shown.clone(), server, directory)?;
                Ok(Self { backend: StoreBackend::Mirror(Box::new(mirror)), signers, shown, observer: None })
            }
        }
    }

    /// The store that tells of its requests.
    #[must_use]
    pub fn observed(self, observer: Option<GitObserver>) -> Self {
        Self { observer, ..self }
    }

    /// The bytes of its mirror; 0 for a local repository.
    pub fn mirrored(&self) -> u64 {
        match &self.backend {
            StoreBackend::Local { .. } => 0,
            StoreBackend::Mirror(mirror) => mirror.bytes(),
        }
    }

    /// Empties its mirror. The next commit is fetched as a whole.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn empty(&mut self) -> Result<(), GitError> {
        match &mut self.backend {
            StoreBackend::Local { .. } => Ok(()),
            StoreBackend::Mirror(mirror) => mirror.empty(),
        }
    }

    /// The directory of a repository that is not reached over the network, for [`watch`].
    pub fn local_path(&self) -> Option<&Path> {
        match &self.backend {
            StoreBackend::Local { path, .. } => Some(path),
            StoreBackend::Mirror(_) => None,
        }
    }

    /// Asks for the refs of all `wants`: two requests, whatever their number, and none if all are full hashes.
    ///
    /// # Errors
    /// When the repository cannot be asked.
    pub fn list(&mut self, wants: &BTreeSet<Want>) -> Result<Refs, GitError> {
        let named = || wants.iter().filter(|want| want.commit().is_none());
        let names: Vec<String> = named().flat_map(Want::candidates).collect();
        let (at, default_branch) = match &mut self.backend {
            StoreBackend::Local { path, repo } => {
                // Opened again, because a user may have made it anew.
                **repo = open_local(path, &self.shown)?;
                (local_refs(repo, &names, &self.shown)?, default_branch(repo))
            }
            StoreBackend::Mirror(_) if named().next().is_none() => (BTreeMap::new(), None),
            StoreBackend::Mirror(mirror) => {
                let start = Instant::now();
                let listed = mirror.list(&names);
                self.observer.iter().for_each(|told| told(GitRequest::List, start.elapsed(), listed.is_ok()));
                listed?
            }
        };
        Ok(Refs { shown: self.shown.clone(), at, default_branch })
    }

    /// The commit that `want` is at now.
    ///
    /// # Errors
    /// When the repository cannot be asked, or does not have it.
    pub fn resolve(&mut self, want: &Want) -> Result<Commit, GitError> {
        self.list(&[want.clone()].into())?.commit(want)
    }

    /// Makes the files of a commit readable. Sends no request when they are readable already. `received` is called when a
    /// server has sent them, before they are unpacked.
    ///
    /// # Errors
    /// When the repository does not have the commit, or it cannot be fetched.
    pub fn fetch(&mut self, commit: Commit, received: &mut dyn FnMut()) -> Result<(), GitError> {
        match &mut self.backend {
            StoreBackend::Mirror(mirror) if mirror.has(commit) => {}
            StoreBackend::Mirror(mirror) => {
                let start = Instant::now();
                let fetched = mirror.fetch(commit, received);
                self.observer.iter().for_each(|told| told(GitRequest::Fetch, start.elapsed(), fetched.is_ok()));
                fetched?;
            }
            StoreBackend::Local { repo, .. } if repo.has_object(commit.0) => {}
            StoreBackend::Local { .. } => {
                let message = format!("{} does not have the commit {commit}", self.shown);
                return Err(GitError::new(FailureClass::NotFound, message));
            }
        }
        Ok(())
    }

    /// Checks that a fetched commit is signed as the remote asks.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub fn verify(&self, commit: Commit) -> Result<(), GitError> {
        match &self.signers {
            Some(signers) => self.checked(signature::verify(self.repo(), commit, signers, &self.shown)),
            None => Ok(()),
        }
    }

    /// The files below `dir` of a fetched commit that may hold manifests, by path; or the limit that they pass.
    ///
    /// No file is read: the caller reads with [`Store::read`] those that it does not have with the same path and blob.
    ///
    /// # Errors
    /// When there is no such directory, it leaves the repository, or objects are missing or damaged.
    pub fn tree(&self, commit: Commit, dir: &str, budget: &mut ReadBudget) -> Result<BoundedTree, GitError> {
        self.checked(tree::list(self.repo(), commit, dir, &self.shown, budget))
    }

    /// The size of a file, without reading it.
    ///
    /// # Errors
    /// When the object is missing or damaged.
    pub fn size(&self, entry: &TreeEntry) -> Result<u64, GitError> {
        self.checked(tree::size(self.repo(), entry, &self.shown))
    }

    /// The content of a file, or the finding that it is too large.
    ///
    /// # Errors
    /// When the object is missing or damaged.
    pub fn read(&self, entry: &TreeEntry) -> Result<Result<Arc<[u8]>, Finding>, GitError> {
        self.checked(tree::read(self.repo(), entry, &self.shown))
    }

    fn repo(&self) -> &gix::Repository {
        match &self.backend {
            StoreBackend::Local { repo, .. } => repo,
            StoreBackend::Mirror(mirror) => mirror.repo(),
        }
    }

    /// Passes a result on. If the mirror has a damaged object, the next fetch replaces it.
    fn checked<T>(&self, result: Result<T, GitError>) -> Result<T, GitError> {
        if let (Err(GitError { class: FailureClass::Broken, .. }), StoreBackend::Mirror(mirror)) =
            (&result, &self.backend)
        {
            mirror.suspect();
        }
        result
    }
}

/// Options to open a repository for reading: without the user's configuration and the environment, and without objects that
/// are larger than a file may be.
fn options() -> gix::open::Options {
    limited(FILE_BYTES)
}

/// [`options`] with a limit in bytes to each object that is unpacked: a small pack can hold a huge object.
fn limited(object: u64) -> gix::open::Options {
    gix::open::Options::isolated().config_overrides([format!("gitoxide.objects.allocLimit={object}")])
}

fn open_local(path: &Path, shown: &str) -> Result<gix::Repository, GitError> {
    gix::open_opts(path, options()).map_err(|error| {
        let what = match (path.exists(), path.join(".git").exists() || path.join("HEAD").exists()) {
            (true, true) => return error::from_gix(&error, shown, "open"),
            (true, false) => "is not a git repository",
            (false, _) => "is not there",
        };
        GitError::new(FailureClass::NotFound, format!("{shown} {what}")).hint("Check spec.git.repo.")
    })
}

fn local_refs(
    repo: &gix::Repository,
    names: &[String],
    shown: &str,
) -> Result<BTreeMap<String, gix::ObjectId>, GitError> {
    let mut at = BTreeMap::new();
    for name in names {
        let failed = |error| error::from_gix(&error, shown, "read the refs of");
        let Some(mut found) = repo.try_find_reference(name.as_str()).map_err(failed)? else { continue };
        // The lookup also finds refs of which this is only the end of the name. A symbolic ref may lead to a branch without
        // commits.
        if found.name().as_bstr() != name.as_str() {
            continue;
        }
        match found.peel_to_id() {
            Ok(id) => drop(at.insert(name.clone(), id.detach())),
            Err(error) if error.is_not_found() && name == "HEAD" => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(at)
}

fn default_branch(repo: &gix::Repository) -> Option<String> {
    let head = repo.head().ok().filter(|head| !head.is_unborn())?;
    Some(head.referent_name()?.shorten().to_str_lossy().into_owned())
}

#[cfg(test)]
pub(super) mod tests;
