//! The symbolic links of a directory, followed in the git work tree that it is in as the agent follows those of a commit.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::io::budget::ReadBudget;
use crate::io::links::{self, Directories, DirectoryEntry, Located, PathNames};
use crate::model::finding::{Finding, Location, Warning};

/// The git work tree that a directory is in, or the directory itself if it is in none.
pub(super) struct WorkTree {
    root: PathBuf,
    /// The directory, from the root.
    directory: PathNames,
}

/// The end of a link.
pub(super) enum LinkEnd {
    /// A file: its path as seen from the directory, which may begin with `../`, and its place.
    File(Vec<u8>, PathBuf),
    /// A directory, in which a link is not followed.
    Directory,
    /// The agent refuses a commit with such a link.
    Refused(Warning),
}

impl WorkTree {
    /// The work tree around a directory, in whose path are no links.
    pub(super) fn around(directory: &Path) -> Self {
        let root = directory.ancestors().find(|above| above.join(".git").exists()).unwrap_or(directory);
        Self { root: root.to_owned(), directory: names(root, directory) }
    }

    /// Follows a link of the directory: its path as seen from there, and its place.
    ///
    /// # Errors
    /// The limit that is passed.
    pub(super) fn follow(&self, path: &str, link: &Path, budget: &mut ReadBudget) -> Result<LinkEnd, Finding> {
        let from = names(&self.root, link.parent().unwrap_or(link));
        let name = link.file_name().unwrap_or_default().as_bytes();
        let refused = |whither: &str| {
            LinkEnd::Refused(Warning {
                message: format!(
                    "The link {path} leads {whither}. The agent refuses a commit with such a link in the sync directory."
                ),
                hint: links::HINT.to_owned(),
                locations: vec![Location { path: path.to_owned(), line: 0, column: 0 }],
            })
        };
        Ok(match links::locate(&mut Lookup { root: &self.root, budget }, from, name)? {
            Located::Entry { is_directory: true, .. } => LinkEnd::Directory,
            Located::Entry { names, place, .. } => LinkEnd::File(links::relative(&self.directory, &names), place),
            Located::Nothing => refused("to nothing"),
            Located::Outside if self.is_repository() => refused("out of the repository"),
            Located::Outside => refused("out of the directory, which is in no git repository"),
        })
    }

    fn is_repository(&self) -> bool {
        self.root.join(".git").exists()
    }
}

/// The names on the way from one directory to another one below it.
fn names(root: &Path, below: &Path) -> PathNames {
    let way = below.strip_prefix(root).unwrap_or(Path::new(""));
    way.iter().map(|name| name.as_bytes().to_vec()).collect()
}

/// Looks entries up in a work tree, and opens none.
struct Lookup<'read> {
    root: &'read Path,
    budget: &'read mut ReadBudget,
}

impl Directories for Lookup<'_> {
    type Place = PathBuf;
    type Error = Finding;

    fn root(&self) -> PathBuf {
        self.root.to_owned()
    }

    fn entry(&mut self, directory: &PathBuf, name: &[u8]) -> Result<DirectoryEntry<PathBuf>, Finding> {
        self.budget.in_time(name)?;
        let place = directory.join(OsStr::from_bytes(name));
        let Some(kind) = place.symlink_metadata().ok().map(|found| found.file_type()) else {
            return Ok(DirectoryEntry::Nothing);
        };
        Ok(if kind.is_symlink() {
            place
                .read_link()
                .map_or(DirectoryEntry::Nothing, |to| DirectoryEntry::Link(to.as_os_str().as_bytes().to_vec()))
        } else if kind.is_file() {
            DirectoryEntry::File(place)
        } else if kind.is_dir() && name != b".git" && !place.join(".git").exists() {
            DirectoryEntry::Directory(place)
        } else {
            // No commit has the directory `.git`, nor the files of another repository, such as a submodule.
            DirectoryEntry::Nothing
        })
    }
}
