//! Git repositories as sources: which commit a branch, tag or `HEAD` is at, the files of a commit, and when that changes.
//!
//! Objects are read straight from an object store: there is no work tree, no git binary, no hook and no checkout. A remote
//! repository has a bare mirror in a cache directory; a local one (a path, a `file:` URL) is opened where it is.
//! Everything here blocks.

mod error;
mod http;
mod mirror;
mod tree;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gix::bstr::ByteSlice;

use crate::io::files::MAX_FILE_BYTES;
use crate::model::finding::Finding;

pub use error::{Class, GitError};
pub use tree::{Entry, Tree};
pub use watch::{Watcher, watch};

use mirror::Mirror;

/// Where a repository is, and how to get to it.
#[derive(Clone, Default)]
pub struct Remote {
    /// `https:`, `http:` or `file:` URL, or a path. Credentials in it are used and never shown.
    pub url: String,
    /// Instead of credentials in the URL.
    pub credentials: Option<Credentials>,
    /// Certificates in PEM that are trusted beside the system's.
    pub ca: Option<Vec<u8>>,
    /// URL of an HTTP proxy, credentials included. The environment's is not used.
    pub proxy: Option<String>,
    /// Takes any certificate of the server.
    pub skip_tls_verification: bool,
}

/// User and password, or whatever the server takes for them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub user: String,
    /// Password or token.
    pub password: String,
}

/// Hides the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What to follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// A branch, without `refs/heads/`.
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
    /// The full hash that is wanted, which needs no looking up.
    fn commit(&self) -> Option<Commit> {
        match self {
            Self::Revision(name) => gix::ObjectId::from_hex(name.as_bytes()).ok().map(Commit),
            Self::Branch(_) => None,
        }
    }

    /// The refs that can be meant, the first that exists is.
    fn candidates(&self) -> Vec<String> {
        let names = match self {
            Self::Branch(name) => vec![format!("refs/heads/{name}")],
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

/// The commits that a repository's refs were at, at one moment.
#[derive(Clone, Debug)]
pub struct Refs {
    shown: String,
    at: BTreeMap<String, gix::ObjectId>,
    default_branch: Option<String>,
}

impl Refs {
    /// The commit of `want`, which must be one of those that were listed.
    ///
    /// # Errors
    /// When there is none.
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
        let error = GitError::new(Class::NotFound, format!("{} does not have {want}", self.shown));
        let short = |name: &str| (4..40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (want, &self.default_branch) {
            (Want::Revision(name), _) if short(name) => error.hint("Give all 40 digits of a commit."),
            (_, Some(branch)) => error.hint(format!("Check spec.git; its default branch is {branch:?}.")),
            (_, None) => error.hint("Check spec.git; the repository has no default branch, it may be empty."),
        }
    }
}

/// A URL as it may be shown: without credentials, or a hint that it is of no use.
pub fn shown(url: &str) -> String {
    match Place::of(url) {
        Ok(Place::Local(path)) => path.display().to_string(),
        Ok(Place::Remote(url, _)) => url.to_string(),
        Err(error) => error.message,
    }
}

/// The objects of one repository.
pub struct Store {
    /// The URL without credentials.
    shown: String,
    source: Source,
}

enum Source {
    Local { path: PathBuf, repo: Box<gix::Repository> },
    Mirror(Box<Mirror>),
}

impl Store {
    /// Opens a local repository, or the mirror of a remote one in a directory of its own under `cache`. Asks no server.
    ///
    /// Nobody else may have that mirror open. Whoever shares a `cache` can read what the others fetched of the same URL:
    /// give those who may not different ones.
    ///
    /// # Errors
    /// When the URL is of no use, the local repository cannot be opened, or the cache cannot be written.
    pub fn open(remote: &Remote, cache: &Path) -> Result<Self, GitError> {
        match Place::of(&remote.url)? {
            Place::Local(path) => {
                let shown = path.display().to_string();
                let repo = Box::new(open_local(&path, &shown)?);
                Ok(Self { shown, source: Source::Local { path, repo } })
            }
            Place::Remote(url, credentials) => {
                let shown = url.to_string();
                let mut http = http::Http::new(remote, url)?;
                http.set_credentials(remote.credentials.as_ref().or(credentials.as_ref()));
                Ok(Self { source: Source::Mirror(Box::new(Mirror::open(shown.clone(), http, cache)?)), shown })
            }
        }
    }

    /// The directory of a repository that is not reached over the network, for [`watch`].
    pub fn local_path(&self) -> Option<&Path> {
        match &self.source {
            Source::Local { path, .. } => Some(path),
            Source::Mirror(_) => None,
        }
    }

    /// Replaces credentials that changed or ran out.
    pub fn set_credentials(&mut self, credentials: &Credentials) {
        if let Source::Mirror(mirror) = &mut self.source {
            mirror.http.set_credentials(Some(credentials));
        }
    }

    /// Where the refs of all `wants` are now: two requests, whatever their number, and none for full hashes alone.
    ///
    /// # Errors
    /// When the repository cannot be asked.
    pub fn list(&mut self, wants: &[Want]) -> Result<Refs, GitError> {
        let named = || wants.iter().filter(|want| want.commit().is_none());
        let names: Vec<String> = named().flat_map(Want::candidates).collect();
        let (at, default_branch) = match &mut self.source {
            Source::Local { path, repo } => {
                // Opened again, because somebody may have made it anew.
                **repo = open_local(path, &self.shown)?;
                (local_refs(repo, &names, &self.shown)?, default_branch(repo))
            }
            Source::Mirror(_) if named().next().is_none() => (BTreeMap::new(), None),
            Source::Mirror(mirror) => mirror.list(&names)?,
        };
        Ok(Refs { shown: self.shown.clone(), at, default_branch })
    }

    /// The commit that `want` is at now.
    ///
    /// # Errors
    /// When the repository cannot be asked, or does not have it.
    pub fn resolve(&mut self, want: &Want) -> Result<Commit, GitError> {
        self.list(std::slice::from_ref(want))?.commit(want)
    }

    /// Makes the files of a commit readable. Asks nobody when they are already.
    ///
    /// # Errors
    /// When the repository does not have the commit, or it cannot be fetched.
    pub fn fetch(&mut self, commit: Commit) -> Result<(), GitError> {
        match &mut self.source {
            Source::Mirror(mirror) => mirror.fetch(commit),
            Source::Local { repo, .. } if repo.has_object(commit.0) => Ok(()),
            Source::Local { .. } => {
                Err(GitError::new(Class::NotFound, format!("{} does not have the commit {commit}", self.shown)))
            }
        }
    }

    /// The files below `dir` of a fetched commit that may hold manifests, by path.
    ///
    /// Nothing of the files is read: only what the caller does not have of the same path and blob needs [`Store::read`].
    ///
    /// # Errors
    /// When there is no such directory, it leaves the repository, or objects are missing or damaged.
    pub fn tree(&self, commit: Commit, dir: &str) -> Result<Tree, GitError> {
        self.checked(tree::list(self.repo(), commit, dir, &self.shown))
    }

    /// What is in a file, or the finding that it is too large.
    ///
    /// # Errors
    /// When the object is missing or damaged.
    pub fn read(&self, entry: &Entry) -> Result<Result<Arc<[u8]>, Finding>, GitError> {
        self.checked(tree::read(self.repo(), entry, &self.shown))
    }

    fn repo(&self) -> &gix::Repository {
        match &self.source {
            Source::Local { repo, .. } => repo,
            Source::Mirror(mirror) => mirror.repo(),
        }
    }

    /// A mirror with a damaged object is replaced by the next fetch.
    fn checked<T>(&self, result: Result<T, GitError>) -> Result<T, GitError> {
        if let (Err(GitError { class: Class::Broken, .. }), Source::Mirror(mirror)) = (&result, &self.source) {
            mirror.suspect();
        }
        result
    }
}

/// A URL that was understood.
enum Place {
    Local(PathBuf),
    Remote(reqwest::Url, Option<Credentials>),
}

impl Place {
    fn of(url: &str) -> Result<Self, GitError> {
        // What does not parse is not shown: it may hold a password.
        let invalid = |what: &str| GitError::new(Class::Broken, what).hint("Check spec.git.repo.");
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            None if url.split('/').next().is_some_and(|host| host.contains(':')) => {
                Err(invalid("repositories over ssh are not supported").hint("Use the https URL of the repository."))
            }
            None if url.is_empty() => Err(invalid("the URL of the repository is empty")),
            None => Ok(Self::Local(url.into())),
            Some("http" | "https") => {
                Self::remote(url).ok_or_else(|| invalid("the URL of the repository is not valid"))
            }
            Some("file") => reqwest::Url::parse(url)
                .ok()
                .and_then(|url| url.to_file_path().ok())
                .map(Self::Local)
                .ok_or_else(|| invalid("the file URL of the repository is not valid")),
            Some(scheme) => Err(invalid(&format!("repositories over {scheme:?} are not supported"))
                .hint("Use the https URL of the repository.")),
        }
    }

    /// Takes the credentials out of a URL.
    fn remote(url: &str) -> Option<Self> {
        let decoded = gix::url::parse(url).ok()?;
        let credentials = decoded.user().map(|user| Credentials {
            user: user.to_owned(),
            password: decoded.password().unwrap_or_default().to_owned(),
        });
        let mut url = reqwest::Url::parse(url).ok()?;
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        url.set_fragment(None);
        Some(Self::Remote(url, credentials))
    }
}

/// For reading: never the user's configuration or the environment, and no object that is too large for a file.
fn options() -> gix::open::Options {
    limited(MAX_FILE_BYTES)
}

/// With a limit in bytes to each object that is unpacked: a small pack can hold a huge one.
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
        GitError::new(Class::NotFound, format!("{shown} {what}")).hint("Check spec.git.repo.")
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
        // The lookup is a search; and a symbolic ref may lead to a branch without commits.
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
mod tests;
