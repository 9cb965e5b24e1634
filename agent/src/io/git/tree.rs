//! The files of a commit, read from its git trees.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use gix::bstr::{BStr, BString, ByteSlice};
use gix::objs::tree::{EntryKind, EntryMode};
use gix::objs::{FindExt, TreeRefIter};
use gix::{ObjectId, Repository};

use super::error::{FailureClass, GitError, from_gix};
use super::{BlobId, Commit};
use crate::io::budget::ReadBudget;
use crate::io::files::{holds_manifests, is_kustomization, not_utf8, too_large};
use crate::io::links::{self, Directories, DirectoryEntry, Located, MAX_PATH_BYTES, PathNames};
use crate::model::finding::{Code, Finding};
use crate::model::limits::{FILE_BYTES, MAX_FINDINGS};

/// A file that may hold manifests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreeEntry {
    /// Path relative to the sync directory, slash separated. It starts with `../` when a link leads out of that directory.
    pub path: String,
    /// Hash of its content.
    pub blob: BlobId,
}

/// The files of a directory of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitTree {
    /// In order of paths, each once.
    pub entries: Vec<TreeEntry>,
    /// Links that lead to no file, and names that cannot be read (KNV2001).
    pub findings: Vec<Finding>,
}

/// The files of a directory, or the limit that it passes.
pub type BoundedTree = Result<CommitTree, Finding>;

/// The content of a file, unless it is too large.
pub(super) fn read(repo: &Repository, entry: &TreeEntry, shown: &str) -> Result<Result<Arc<[u8]>, Finding>, GitError> {
    let failed = |error| from_gix(&error, shown, &format!("read {} of", entry.path));
    let error = match repo.find_object(entry.blob.0) {
        Ok(object) => return Ok(Ok(object.data.as_slice().into())),
        Err(error) => error,
    };
    match size(repo, entry, shown)? {
        bytes if bytes > FILE_BYTES => Ok(Err(too_large(&entry.path, bytes))),
        _ => Err(failed(error)),
    }
}

/// The size of a file in bytes. Its content is not read.
pub(super) fn size(repo: &Repository, entry: &TreeEntry, shown: &str) -> Result<u64, GitError> {
    let header = repo.find_header(entry.blob.0);
    header.map(|header| header.size()).map_err(|error| from_gix(&error, shown, &format!("read {} of", entry.path)))
}

/// The files below `dir` that may hold manifests. A link to a file counts as its target; a link to a directory is not
/// followed, but `dir` itself may be or go through one.
pub(super) fn list(
    repo: &Repository,
    commit: Commit,
    dir: &str,
    shown: &str,
    budget: &mut ReadBudget,
) -> Result<BoundedTree, GitError> {
    let failed = |error| from_gix(&error, shown, &format!("read the files of commit {commit} of"));
    let root = repo.find_object(commit.0).and_then(|object| object.peel_to_tree()).map_err(failed)?.id;
    let mut trees = Trees { repo, root, directories: HashMap::new(), budget, met_submodule: false };
    let located = match links::locate(&mut trees, PathNames::new(), dir.as_bytes()) {
        Err(Stopped::OverLimit(finding)) => return Ok(Err(finding)),
        Err(Stopped::Failed(error)) => return Err(failed(error)),
        Ok(located) => located,
    };
    let (path, tree) = match located {
        Located::Entry { names, place, is_directory: true } => (names, place),
        Located::Entry { is_directory: false, .. } => {
            return Err(no_directory(dir, commit, shown, "is a file, not a directory"));
        }
        Located::Nothing if trees.met_submodule => {
            let what = "is in a submodule, which the agent does not read,";
            return Err(no_directory(dir, commit, shown, what).hint(SUBMODULE));
        }
        Located::Nothing => return Err(no_directory(dir, commit, shown, "does not exist")),
        Located::Outside => return Err(no_directory(dir, commit, shown, "leads out of the repository")),
    };
    let mut walk = TreeWalk { trees, dir: path, found: CommitTree::default() };
    match walk.descend(tree) {
        Err(Stopped::OverLimit(finding)) => return Ok(Err(finding)),
        Err(Stopped::Failed(error)) => return Err(failed(error)),
        Ok(()) => {}
    }
    let mut found = walk.found;
    found.entries.sort_unstable();
    found.entries.dedup();
    found.findings.sort_unstable();
    Ok(Ok(found))
}

/// The reason why a walk ended early.
enum Stopped {
    /// A limit is passed.
    OverLimit(Finding),
    /// An object cannot be read.
    Failed(gix::Error),
}

impl From<Finding> for Stopped {
    fn from(finding: Finding) -> Self {
        Self::OverLimit(finding)
    }
}

impl From<gix::Error> for Stopped {
    fn from(error: gix::Error) -> Self {
        Self::Failed(error)
    }
}

fn no_directory(dir: &str, commit: Commit, shown: &str, what: &str) -> GitError {
    GitError::new(FailureClass::NotFound, format!("the directory {dir:?} {what} at commit {commit} of {shown}"))
        .hint("Check spec.git.dir: it is relative to the root of the repository, and the case counts.")
}

/// A walk through the directories below the sync directory.
struct TreeWalk<'read> {
    trees: Trees<'read>,
    /// The sync directory, from the root of the repository.
    dir: PathNames,
    found: CommitTree,
}

impl TreeWalk<'_> {
    fn descend(&mut self, tree: ObjectId) -> Result<(), Stopped> {
        let mut buffer = Vec::new();
        let mut pending = vec![(BString::default(), tree)];
        while let Some((prefix, tree)) = pending.pop() {
            for entry in self.trees.repo.objects.find_tree_iter(&tree, &mut buffer)? {
                let entry = entry?;
                if prefix.len() + entry.filename.len() > MAX_PATH_BYTES {
                    self.trees.budget.entry(&prefix)?;
                    self.finding(|| {
                        Finding::new(Code::Path, format!("there is a path of more than {MAX_PATH_BYTES} bytes"))
                    });
                    continue;
                }
                let mut path = prefix.clone();
                path.extend_from_slice(entry.filename);
                self.trees.budget.entry(&path)?;
                if [".", "..", ".git"].iter().any(|name| entry.filename == name) || entry.filename.contains(&b'/') {
                    continue;
                }
                match entry.mode.kind() {
                    EntryKind::Tree => {
                        path.push(b'/');
                        pending.push((path, entry.oid.to_owned()));
                    }
                    EntryKind::Blob | EntryKind::BlobExecutable => self.file(path, entry.oid.to_owned()),
                    EntryKind::Link => self.link(prefix.as_ref(), path.as_ref(), entry.filename)?,
                    EntryKind::Commit => self.finding(|| submodule(path.as_ref())),
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, path: BString, blob: ObjectId) {
        if !holds_manifests(&path) {
            return;
        }
        match String::from_utf8(path.into()) {
            Ok(path) => self.found.entries.push(TreeEntry { path, blob: BlobId(blob) }),
            Err(error) => self.finding(|| not_utf8(&String::from_utf8_lossy(error.as_bytes()))),
        }
    }

    fn link(&mut self, prefix: &BStr, path: &BStr, name: &BStr) -> Result<(), Stopped> {
        let mut from = self.dir.clone();
        from.extend(links::parts(prefix));
        match links::locate(&mut self.trees, from, name)? {
            Located::Entry { is_directory: true, .. } => {}
            // The name of a kustomization counts, and not that of its content.
            Located::Entry { place, .. } if is_kustomization(name) => self.file(path.to_owned(), place),
            Located::Entry { names, place, .. } => self.file(links::relative(&self.dir, &names).into(), place),
            Located::Nothing => self.finding(|| dangling(path, "to nothing")),
            Located::Outside => self.finding(|| dangling(path, "out of the repository")),
        }
        Ok(())
    }

    fn finding(&mut self, finding: impl FnOnce() -> Finding) {
        if self.found.findings.len() < MAX_FINDINGS {
            self.found.findings.push(finding());
        }
    }
}

const SUBMODULE: &str = "Put its files into this repository, or sync its repository by a RootSync of its own.";

/// The objects of a submodule are those of another repository, so without them the commit is not what its author sees.
fn submodule(path: &BStr) -> Finding {
    Finding::new(Code::Path, format!("{path} is a submodule, which the agent does not read"))
        .hint(SUBMODULE)
        .at_path(path.to_str_lossy())
}

fn dangling(path: &BStr, whither: &str) -> Finding {
    Finding::new(Code::Path, format!("the link {path} leads {whither}")).hint(links::HINT).at_path(path.to_str_lossy())
}

type DirectoryEntries = BTreeMap<BString, (EntryMode, ObjectId)>;

/// The trees of a commit.
struct Trees<'read> {
    repo: &'read Repository,
    root: ObjectId,
    /// Directories that were read, so that many links into a large directory stay cheap.
    directories: HashMap<ObjectId, Rc<DirectoryEntries>>,
    budget: &'read mut ReadBudget,
    /// A submodule was looked up.
    met_submodule: bool,
}

impl Directories for Trees<'_> {
    type Place = ObjectId;
    type Error = Stopped;

    fn root(&self) -> ObjectId {
        self.root
    }

    fn entry(&mut self, directory: &ObjectId, name: &[u8]) -> Result<DirectoryEntry<ObjectId>, Stopped> {
        self.budget.in_time(name)?;
        let Some((mode, id)) = self.directory(*directory)?.get(name).copied() else {
            return Ok(DirectoryEntry::Nothing);
        };
        Ok(match mode.kind() {
            EntryKind::Tree => DirectoryEntry::Directory(id),
            EntryKind::Blob | EntryKind::BlobExecutable => DirectoryEntry::File(id),
            EntryKind::Link => self.target(id)?.map_or(DirectoryEntry::Nothing, DirectoryEntry::Link),
            EntryKind::Commit => {
                self.met_submodule = true;
                DirectoryEntry::Nothing
            }
        })
    }
}

impl Trees<'_> {
    fn directory(&mut self, tree: ObjectId) -> Result<Rc<DirectoryEntries>, Stopped> {
        if let Some(directory) = self.directories.get(&tree) {
            return Ok(Rc::clone(directory));
        }
        let mut buffer = Vec::new();
        let entries: TreeRefIter<'_> = self.repo.objects.find_tree_iter(&tree, &mut buffer)?;
        let mut directory = DirectoryEntries::new();
        for entry in entries {
            let entry = entry?;
            self.budget.entry(entry.filename)?;
            directory.insert(entry.filename.to_owned(), (entry.mode, entry.oid.to_owned()));
        }
        let directory = Rc::new(directory);
        self.directories.insert(tree, Rc::clone(&directory));
        Ok(directory)
    }

    /// The target of a link; `None` if it is longer than a path can be.
    fn target(&self, link: ObjectId) -> gix::Result<Option<Vec<u8>>> {
        if self.repo.find_header(link)?.size() > MAX_PATH_BYTES as u64 {
            return Ok(None);
        }
        Ok(Some(self.repo.find_object(link)?.detach().data))
    }
}
