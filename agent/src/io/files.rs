//! Manifests from a directory, for `nomos vet`, `nomos hydrate` and `nomos diff`. Those of a commit are read by the module `git`.

mod work_tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::budget::ReadBudget;
use crate::compile::parse::{self, SourceFile};
use crate::model::finding::{Code, Finding, Location, Warning};
use crate::model::limits::{FILE_BYTES, MAX_FINDINGS};

use work_tree::{LinkEnd, WorkTree};

/// The manifest files of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Every manifest file, by path.
    pub files: Vec<SourceFile>,
    /// Files that could not be read.
    pub findings: Vec<Finding>,
    /// Directories that are submodules, because they hold a file `.git`. Their paths end with a slash.
    pub submodules: Vec<String>,
    /// A warning for each link with which the agent refuses a commit.
    pub refused_links: Vec<Warning>,
    /// The limit that the directory passes. Then there are no files.
    pub over_limit: Option<Finding>,
}

/// Every `.yaml`, `.yml` and `.json` file under `root`, and every kustomization, sorted by path.
///
/// Only regular files count: symbolic links are not followed, but `root` may be one, and one with the name of a kustomization
/// counts as a kustomization. Directories named `.git` are skipped. A
/// file that cannot be read, is too large or has a name that is not UTF-8 becomes a finding (KNV2001).
///
/// # Errors
/// When `root` is not a directory that can be listed.
pub fn read_dir(root: &Path, budget: &mut ReadBudget) -> io::Result<Files> {
    Ok(walk(root, budget)?.read(budget))
}

/// The files that [`read_dir`] finds, and those to which links lead as the agent follows them: within the git repository that `root`
/// is in, or within `root` if it is in none. Such a file is read once, and its path may begin with `../`.
///
/// # Errors
/// When `root` is not a directory that can be listed.
pub fn read_source(root: &Path, budget: &mut ReadBudget) -> io::Result<Files> {
    let root = fs::canonicalize(root)?;
    let mut walked = walk(&root, budget)?;
    if walked.found.over_limit.is_none()
        && let Err(over) = walked.follow_links(&WorkTree::around(&root), budget)
    {
        walked.found.over_limit = Some(over);
    }
    Ok(walked.read(budget))
}

/// The scopes of kinds that `kubectl api-resources` printed, which may lie at the root of a repository.
///
/// # Errors
/// When there is such a file but it cannot be read, or is too large.
pub fn read_api_resources(root: &Path) -> io::Result<Option<SourceFile>> {
    const NAME: &str = "api-resources.txt";
    match read_bounded(&root.join(NAME)) {
        Ok(Ok(content)) => Ok(Some(SourceFile { path: NAME.to_owned(), content })),
        Ok(Err(bytes)) => Err(io::Error::new(io::ErrorKind::FileTooLarge, too_large(NAME, bytes).message)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A warning for each submodule below `root`: the agent refuses a commit that has one. `found` are the directories that
/// [`read_dir`] found; others are named by the file `.gitmodules` of the repository, whose directories are empty where
/// submodules are not checked out.
pub fn submodules(root: &Path, found: &[String]) -> Vec<Warning> {
    let mut places: BTreeMap<String, Vec<Location>> = BTreeMap::new();
    for directory in found {
        let location = Location { path: directory.clone(), line: 0, column: 0 };
        places.entry(directory.trim_end_matches('/').to_owned()).or_default().push(location);
    }
    for (path, location) in named_submodules(root).unwrap_or_default() {
        places.entry(path).or_default().push(location);
    }
    let warning = |(path, locations)| Warning {
        message: format!("{path} is a submodule. The agent refuses a commit with a submodule in the sync directory."),
        hint: "Put its files into this repository, or sync its repository by a RootSync of its own.".to_owned(),
        locations,
    };
    places.into_iter().map(warning).collect()
}

/// The submodules below `root` that `.gitmodules` names, by their paths as seen from `root`. `None` without a git repository.
fn named_submodules(root: &Path) -> Option<Vec<(String, Location)>> {
    let root = fs::canonicalize(root).ok()?;
    let repository = root.ancestors().find(|directory| directory.join(".git").exists())?;
    let below = root.strip_prefix(repository).ok()?;
    let content = read_bounded(&repository.join(".gitmodules")).ok()?.ok()?;
    let file = format!("{}.gitmodules", "../".repeat(below.components().count()));
    let text = String::from_utf8_lossy(&content);
    let paths = text.lines().enumerate().filter_map(|(index, line)| {
        let (key, value) = line.split_once('=')?;
        let path = Path::new(value.trim().trim_matches('"')).strip_prefix(below).ok()?.to_str()?;
        let is_path = key.trim().eq_ignore_ascii_case("path") && !path.is_empty();
        let number = |at: usize| u32::try_from(at + 1).unwrap_or(u32::MAX);
        let (line, column) = (number(index), number(key.len() - key.trim_start().len()));
        is_path.then(|| (path.to_owned(), Location { path: file.clone(), line, column }))
    });
    Some(paths.collect())
}

/// `true` if a file `.git` leads to a further work tree of a repository, which is no submodule.
fn is_work_tree(file: &Path) -> bool {
    let content = read_bounded(file).ok().and_then(Result::ok).unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    text.contains("/worktrees/") && !text.contains("/modules/")
}

/// `true` if a file of this path is read. The case counts, and `.yaml` alone is a name with that extension.
pub(super) fn holds_manifests(path: &[u8]) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|extension| path.ends_with(extension.as_bytes())) || is_kustomization(path)
}

/// `true` if a file of this path is a kustomization. Its name alone decides.
pub(super) fn is_kustomization(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    std::str::from_utf8(name).is_ok_and(parse::is_kustomization)
}

/// The finding for a file beyond [`FILE_BYTES`].
pub(super) fn too_large(path: &str, bytes: u64) -> Finding {
    let message = format!("{path} has {} MiB; files of at most {} MiB are read", bytes >> 20, FILE_BYTES >> 20);
    Finding::new(Code::Path, message).hint("Split it, or give it another extension if it is no manifest.").at_path(path)
}

/// The finding for a name that is not UTF-8. In `path` replacement characters stand for other bytes.
pub(super) fn not_utf8(path: &str) -> Finding {
    Finding::new(Code::Path, format!("the name {path:?} is not UTF-8")).hint("Rename the file.").at_path(path)
}

/// Manifest files: the path of each as seen from the root, and its path in the file system.
type Places = Vec<(String, PathBuf)>;

/// The entries of a directory, and of those below it.
#[derive(Default)]
struct Walked {
    /// Files that may hold manifests.
    files: Places,
    /// Links, but for those with the name of a kustomization.
    links: Places,
    /// Directories below the root that are repositories of their own.
    repositories: BTreeSet<PathBuf>,
    /// The result so far, without files.
    found: Files,
}

/// Finds the entries under `root`. Its files are not opened.
fn walk(root: &Path, budget: &mut ReadBudget) -> io::Result<Walked> {
    let mut walked = Walked::default();
    let mut directories = vec![(String::new(), root.to_owned())];
    while let Some((prefix, directory)) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if prefix.is_empty() => return Err(error),
            Err(error) => {
                walked.found.findings.push(unreadable(&prefix, &error));
                continue;
            }
        };
        for entry in entries {
            match entry.and_then(|entry| Ok((entry.file_type()?, entry))) {
                Ok((kind, entry)) => {
                    let name = entry.file_name();
                    let path = format!("{prefix}{}", name.to_string_lossy());
                    if let Err(over) = budget.entry(path.as_bytes()) {
                        walked.found.over_limit = Some(over);
                        return Ok(walked);
                    }
                    if name == ".git" {
                        let is_below = !prefix.is_empty();
                        if is_below && kind.is_file() && !is_work_tree(&entry.path()) {
                            walked.found.submodules.push(prefix.clone());
                        }
                        if is_below {
                            walked.repositories.insert(directory.clone());
                        }
                    } else if kind.is_dir() {
                        directories.push((path + "/", entry.path()));
                    } else if is_read(kind, name.as_encoded_bytes()) {
                        walked.files.push((path, entry.path()));
                    } else if kind.is_symlink() {
                        walked.links.push((path, entry.path()));
                    }
                }
                Err(error) => walked.found.findings.push(unreadable(&prefix, &error)),
            }
        }
    }
    Ok(walked)
}

impl Walked {
    /// Adds the files to which links lead. A link of another repository, which no commit of this one has, is left out.
    fn follow_links(&mut self, tree: &WorkTree, budget: &mut ReadBudget) -> Result<(), Finding> {
        let mut links = std::mem::take(&mut self.links);
        links.sort_unstable();
        for (path, link) in links {
            if link.ancestors().skip(1).any(|directory| self.repositories.contains(directory)) {
                continue;
            }
            match tree.follow(&path, &link, budget)? {
                LinkEnd::File(target, place) if holds_manifests(&target) => {
                    budget.entry(&target)?;
                    self.files.push((String::from_utf8_lossy(&target).into_owned(), place));
                }
                LinkEnd::File(..) | LinkEnd::Directory => {}
                LinkEnd::Refused(warning) if self.found.refused_links.len() < MAX_FINDINGS => {
                    self.found.refused_links.push(warning);
                }
                LinkEnd::Refused(_) => {}
            }
        }
        Ok(())
    }

    /// Reads the files, unless a limit is passed.
    fn read(self, budget: &mut ReadBudget) -> Files {
        let Self { files: mut places, mut found, .. } = self;
        places.sort_unstable();
        places.dedup();
        for (path, place) in places {
            if found.over_limit.is_some() {
                break;
            }
            match read_manifest(path, &place) {
                Ok(file) => {
                    found.over_limit = budget.content(&file.path, file.content.len() as u64).err();
                    found.files.push(file);
                }
                Err(finding) => found.findings.push(finding),
            }
        }
        if found.over_limit.is_some() {
            found.files = Vec::new();
        }
        found.findings.sort_unstable();
        found.submodules.sort_unstable();
        found
    }
}

fn is_read(kind: fs::FileType, name: &[u8]) -> bool {
    kind.is_file() && holds_manifests(name) || kind.is_symlink() && is_kustomization(name)
}

fn read_manifest(path: String, place: &Path) -> Result<SourceFile, Finding> {
    if path.contains('\n') {
        let finding = Finding::new(Code::Path, format!("the name {path:?} has a line break")).hint("Rename the file.");
        return Err(finding.at_path(path.replace('\n', "\\n")));
    }
    if place.to_str().is_none() && path.contains(char::REPLACEMENT_CHARACTER) {
        return Err(not_utf8(&path));
    }
    if is_kustomization(path.as_bytes()) {
        return Ok(SourceFile { path, content: Arc::default() });
    }
    match read_bounded(place) {
        Ok(Ok(content)) => Ok(SourceFile { path, content }),
        Ok(Err(bytes)) => Err(too_large(&path, bytes)),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

/// The content of a file, or its size in bytes when it is too large. A FIFO or a device, which could be waited for without end, is
/// not opened.
fn read_bounded(path: &Path) -> io::Result<Result<Arc<[u8]>, u64>> {
    let kind = fs::metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(io::Error::other("it is no regular file"));
    }
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > FILE_BYTES {
        return Ok(Err(bytes));
    }
    let mut content = Vec::with_capacity(usize::try_from(bytes).expect("a file of 16 MiB fits into memory") + 1);
    let read = file.take(FILE_BYTES + 1).read_to_end(&mut content)? as u64;
    Ok(if read > FILE_BYTES { Err(read) } else { Ok(content.into()) })
}

fn unreadable(path: &str, error: &io::Error) -> Finding {
    Finding::new(Code::Path, format!("{path} cannot be read: {error}")).hint("Check its permissions.").at_path(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::model::limits::{READ, ReadLimits};

    fn read_dir(root: &Path) -> io::Result<Files> {
        super::read_dir(root, &mut ReadBudget::new())
    }

    fn read_source(root: &Path) -> Files {
        super::read_source(root, &mut ReadBudget::new()).unwrap()
    }

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        root
    }

    fn paths(found: &Files) -> Vec<&str> {
        found.files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn only_manifest_files_are_read_in_order_of_path() {
        let root = directory(&[
            "b.yaml",
            "a/z.yml",
            "a/b/c.json",
            "a.yaml",
            ".yaml",
            "README.md",
            "UPPER.YAML",
            "Kptfile",
            "yaml",
            ".git/config.yaml",
            "sub/.git/x.yaml",
            ".github/w.yaml",
            "z/Kustomization",
            "kustomization",
            "api-resources.txt",
        ]);
        let found = read_dir(root.path()).unwrap();
        let read = [".github/w.yaml", ".yaml", "a.yaml", "a/b/c.json", "a/z.yml", "b.yaml", "z/Kustomization"];
        assert_eq!(paths(&found), read);
        assert_eq!(&*found.files[3].content, b"a/b/c.json");
        assert_eq!(found.findings, []);
    }

    #[test]
    fn links_in_a_directory_are_ignored_but_for_the_root_and_kustomizations() {
        let root = directory(&["real/a.yaml", "b.yaml"]);
        symlink("../b.yaml", root.path().join("real/link.yaml")).unwrap();
        symlink("../real", root.path().join("real/again")).unwrap();
        symlink("nothing", root.path().join("real/Kustomization")).unwrap();
        symlink("real", root.path().join("root")).unwrap();
        let found = read_dir(&root.path().join("root")).unwrap();
        assert_eq!((paths(&found), found.refused_links.len()), (vec!["Kustomization", "a.yaml"], 0));
    }

    /// As the test `links_to_files_are_read_at_their_target` of commits.
    #[test]
    fn links_in_a_source_are_read_at_their_target() {
        let root = directory(&[".git/HEAD", "sync/sub/real.yaml", "shared/common.yaml", "shared/data.txt"]);
        for (link, target) in [
            ("sync/alias.yaml", "sub/real.yaml"),
            ("sync/no-extension", "./sub/../sub/real.yaml"),
            ("sync/sub/chain.yaml", "../alias.yaml"),
            ("sync/common.yaml", "../shared/common.yaml"),
            ("sync/through.yaml", "dir/common.yaml"),
            ("sync/data.yaml", "../shared/data.txt"),
            ("sync/dir", "../shared"),
            ("sync/dir.yaml", "../shared"),
            ("sync/Kustomization", "../shared/data.txt"),
            ("current", "sync"),
        ] {
            symlink(target, root.path().join(link)).unwrap();
        }
        for dir in ["sync", "current", "current/sub/.."] {
            let found = read_source(&root.path().join(dir));
            assert_eq!(paths(&found), ["../shared/common.yaml", "Kustomization", "sub/real.yaml"], "{dir}");
            assert_eq!(&*found.files[0].content, b"shared/common.yaml");
            assert_eq!((found.findings, found.refused_links, found.over_limit), (vec![], vec![], None));
        }
        // Without a repository around it, nothing outside of the directory is read.
        fs::remove_dir_all(root.path().join(".git")).unwrap();
        let found = read_source(&root.path().join("sync"));
        assert_eq!((paths(&found), found.refused_links.len()), (vec!["Kustomization", "sub/real.yaml"], 5));
        let limits = ReadLimits { entries: 12, ..READ };
        let found = super::read_source(&root.path().join("sync"), &mut ReadBudget::of(limits)).unwrap();
        assert_eq!((found.files.len(), found.over_limit.is_some()), (0, true), "a file behind a link counts");
    }

    #[test]
    fn links_that_the_agent_refuses_are_warnings_and_not_read() {
        let root = directory(&[
            "outside.yaml",
            "repo/.git/config.yaml",
            "repo/a.yaml",
            "repo/module/.git",
            "repo/module/b.yaml",
            "repo/sync/c.yaml",
            "repo/sync/module/.git",
        ]);
        let absolute = root.path().join("repo/a.yaml");
        for (link, target) in [
            ("absolute.yaml", absolute.to_str().unwrap()),
            ("dangling", "none.yaml"),
            ("dir", "/"),
            ("git.yaml", "../.git/config.yaml"),
            ("loop.yaml", "loop.yaml"),
            ("module.yaml", "../module/b.yaml"),
            ("module/link", "none.yaml"),
            ("out.yaml", "../../outside.yaml"),
            ("through.yaml", "../a.yaml/b"),
            ("zero.yaml", "/dev/zero"),
        ] {
            symlink(target, root.path().join("repo/sync").join(link)).unwrap();
        }
        let found = read_source(&root.path().join("repo/sync"));
        let messages: Vec<_> = found.refused_links.iter().map(|warning| warning.message.as_str()).collect();
        let refused = |link: &str, whither: &str| {
            format!(
                "The link {link} leads {whither}. The agent refuses a commit with such a link in the sync directory."
            )
        };
        assert_eq!(paths(&found), ["c.yaml"]);
        assert_eq!(found.findings, []);
        assert_eq!(
            messages,
            [
                refused("absolute.yaml", "out of the repository"),
                refused("dangling", "to nothing"),
                refused("dir", "out of the repository"),
                refused("git.yaml", "to nothing"),
                refused("loop.yaml", "to nothing"),
                refused("module.yaml", "to nothing"),
                refused("out.yaml", "out of the repository"),
                refused("through.yaml", "to nothing"),
                refused("zero.yaml", "out of the repository"),
            ]
        );
        assert_eq!(found.refused_links[0].locations[0].path, "absolute.yaml");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_finding() {
        let root = directory(&["good.yaml"]);
        let bad = std::ffi::OsStr::from_bytes(b"bad\xff.yaml");
        fs::write(root.path().join(bad), "").unwrap();
        File::create(root.path().join("huge.json")).unwrap().set_len(FILE_BYTES + 1).unwrap();
        File::create(root.path().join("limit.yml")).unwrap().set_len(FILE_BYTES).unwrap();
        let found = read_dir(root.path()).unwrap();
        assert_eq!(paths(&found), ["good.yaml", "limit.yml"]);
        let messages: Vec<_> = found.findings.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(
            messages,
            ["huge.json has 16 MiB; files of at most 16 MiB are read", "the name \"bad\u{fffd}.yaml\" is not UTF-8"]
        );
    }

    #[test]
    fn a_name_with_a_line_break_is_a_finding() {
        let found = read_dir(directory(&["a\nb.yaml", "c.yaml"]).path()).unwrap();
        assert_eq!((paths(&found), found.findings.len()), (vec!["c.yaml"], 1));
        assert_eq!(found.findings[0].message, "the name \"a\\nb.yaml\" has a line break");
    }

    #[test]
    fn a_file_that_may_not_be_opened_is_a_finding() {
        let root = directory(&["a.yaml", "b.yaml"]);
        fs::set_permissions(root.path().join("a.yaml"), fs::Permissions::from_mode(0o000)).unwrap();
        if File::open(root.path().join("a.yaml")).is_ok() {
            return; // The superuser may open everything.
        }
        let found = read_dir(root.path()).unwrap();
        assert_eq!((paths(&found), found.findings.len()), (vec!["b.yaml"], 1));
    }

    #[test]
    fn a_missing_root_is_an_error_and_a_huge_one_passes_a_limit() {
        let root = directory(&["a.yaml", "b.yaml", "c.yaml"]);
        assert_eq!(read_dir(&root.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read_dir(&root.path().join("a.yaml")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        for limits in [
            ReadLimits { entries: 2, ..READ },
            ReadLimits { path_bytes: 17, ..READ },
            ReadLimits { content_bytes: 17, ..READ },
        ] {
            let found = super::read_dir(root.path(), &mut ReadBudget::of(limits)).unwrap();
            assert_eq!((found.files.len(), found.over_limit.is_some()), (0, true), "{limits:?}");
        }
        let enough = ReadLimits { entries: 3, path_bytes: 18, content_bytes: 18, ..READ };
        assert_eq!(super::read_dir(root.path(), &mut ReadBudget::of(enough)).unwrap().files.len(), 3);
    }

    #[test]
    fn cached_api_resources_are_optional() {
        let root = directory(&["a.yaml"]);
        assert_eq!(read_api_resources(root.path()).unwrap(), None);
        fs::write(root.path().join("api-resources.txt"), "NAME").unwrap();
        assert_eq!(&*read_api_resources(root.path()).unwrap().unwrap().content, b"NAME");
    }

    #[test]
    fn a_device_is_not_opened() {
        let root = directory(&[]);
        symlink("/dev/null", root.path().join("api-resources.txt")).unwrap();
        assert_eq!(read_api_resources(root.path()).unwrap_err().to_string(), "it is no regular file");
    }
}
