//! Manifests from a directory, for `nomos vet` and `nomos hydrate`. Those of a commit are read by the module `git`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::budget::ReadBudget;
use crate::compile::parse::{self, SourceFile};
use crate::model::finding::{Code, Finding, Location, Warning};
use crate::model::limits::FILE_BYTES;

/// The manifest files of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Every manifest file, by path.
    pub files: Vec<SourceFile>,
    /// Files that could not be read.
    pub findings: Vec<Finding>,
    /// Directories that are submodules, because they hold a file `.git`. Their paths end with a slash.
    pub submodules: Vec<String>,
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
    let (mut findings, mut submodules) = (Vec::new(), Vec::new());
    let files = walk(root, budget, (&mut findings, &mut submodules))?.and_then(|places| {
        let mut files = Vec::new();
        for (path, place) in places {
            match read_manifest(path, &place) {
                Ok(file) => {
                    budget.content(&file.path, file.content.len() as u64)?;
                    files.push(file);
                }
                Err(finding) => findings.push(finding),
            }
        }
        Ok(files)
    });
    findings.sort_unstable();
    submodules.sort_unstable();
    Ok(match files {
        Ok(files) => Files { files, findings, submodules, over_limit: None },
        Err(over) => Files { files: Vec::new(), findings, submodules, over_limit: Some(over) },
    })
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

/// The manifest files under `root`, sorted; or the limit that `root` passes.
fn walk(
    root: &Path,
    budget: &mut ReadBudget,
    (findings, submodules): (&mut Vec<Finding>, &mut Vec<String>),
) -> io::Result<Result<Places, Finding>> {
    let mut files = Vec::new();
    let mut directories = vec![(String::new(), root.to_owned())];
    while let Some((prefix, directory)) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if prefix.is_empty() => return Err(error),
            Err(error) => {
                findings.push(unreadable(&prefix, &error));
                continue;
            }
        };
        for entry in entries {
            match entry.and_then(|entry| Ok((entry.file_type()?, entry))) {
                Ok((kind, entry)) => {
                    let name = entry.file_name();
                    let path = format!("{prefix}{}", name.to_string_lossy());
                    if let Err(over) = budget.entry(path.as_bytes()) {
                        return Ok(Err(over));
                    }
                    if kind.is_file() && name == ".git" && !prefix.is_empty() && !is_work_tree(&entry.path()) {
                        submodules.push(prefix.clone());
                    } else if kind.is_dir() && name != ".git" {
                        directories.push((path + "/", entry.path()));
                    } else if is_read(kind, name.as_encoded_bytes()) {
                        files.push((path, entry.path()));
                    }
                }
                Err(error) => findings.push(unreadable(&prefix, &error)),
            }
        }
    }
    files.sort_unstable();
    Ok(Ok(files))
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

/// The content of a file, or its size in bytes when it is too large.
fn read_bounded(path: &Path) -> io::Result<Result<Arc<[u8]>, u64>> {
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
    fn links_are_ignored_but_for_the_root_and_kustomizations() {
        let root = directory(&["real/a.yaml"]);
        symlink("a.yaml", root.path().join("real/link.yaml")).unwrap();
        symlink("../real", root.path().join("real/again")).unwrap();
        symlink("nothing", root.path().join("real/Kustomization")).unwrap();
        symlink("real", root.path().join("root")).unwrap();
        assert_eq!(paths(&read_dir(&root.path().join("root")).unwrap()), ["Kustomization", "a.yaml"]);
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
}
