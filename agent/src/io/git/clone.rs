//! The clone in which a user works: its commits are read from its object store, so that the work tree stays as it is.

use std::path::Path;
use std::sync::Arc;

use gix::bstr::ByteSlice;

use super::{Commit, FailureClass, GitError, options, tree};
use crate::compile::parse::SourceFile;
use crate::io::budget::ReadBudget;
use crate::io::files::Files;

/// A git repository on the disk of a user.
pub struct UserClone {
    repo: gix::Repository,
    /// Its work tree, or the repository itself if it has none.
    shown: String,
}

impl UserClone {
    /// The repository that a directory is in, as git finds it; `None` if it is in none that can be read.
    pub fn around(directory: &Path) -> Option<Self> {
        let trusted = gix::sec::trust::Mapping { full: options(), reduced: options() };
        let found = gix::ThreadSafeRepository::discover_opts(directory, Default::default(), trusted).ok()?;
        let repo = found.to_thread_local();
        let shown = repo.workdir().unwrap_or_else(|| repo.git_dir()).display().to_string();
        Some(Self { repo, shown })
    }

    /// The root of the work tree; `None` for a bare repository.
    pub fn work_tree(&self) -> Option<&Path> {
        self.repo.workdir()
    }

    /// The commit that git knows by this name: a hash or its first digits, a branch, a tag, `origin/main`, `HEAD~2`.
    ///
    /// # Errors
    /// When there is no such commit.
    pub fn commit(&self, revision: &str) -> Result<Commit, GitError> {
        let found = self.repo.rev_parse_single(revision).and_then(|id| id.object()).and_then(|it| it.peel_to_commit());
        found.map(|commit| Commit(commit.id)).map_err(|_| {
            GitError::new(FailureClass::NotFound, format!("{} has no commit {revision:?}", self.shown))
                .hint("Fetch it (git fetch), or name a branch, a tag or a commit that git log shows.")
        })
    }

    /// The first line of a commit's message; empty if the clone does not have the commit.
    pub fn subject(&self, commit: Commit) -> String {
        let commit = self.repo.find_object(commit.0).ok().and_then(|object| object.try_into_commit().ok());
        let message = commit.as_ref().and_then(|commit| commit.message_raw().ok());
        message.and_then(|message| message.lines().next()).unwrap_or_default().to_str_lossy().into_owned()
    }

    /// `true` if the clone has this commit.
    pub fn has(&self, commit: Commit) -> bool {
        self.repo.find_object(commit.0).is_ok_and(|object| object.kind == gix::object::Kind::Commit)
    }

    /// The URLs of its remotes.
    pub fn remotes(&self) -> Vec<String> {
        let config = self.repo.config_snapshot();
        let remotes = config.sections_by_name("remote").into_iter().flatten();
        remotes.flat_map(|remote| remote.values("url")).map(|url| url.to_str_lossy().into_owned()).collect()
    }

    /// The content of a file of a commit, by its path from the root of the repository; `None` if the clone does not have it.
    pub fn file(&self, commit: Commit, path: &str) -> Option<Arc<[u8]>> {
        let tree = self.repo.find_object(commit.0).ok()?.peel_to_tree().ok()?;
        let entry = tree.lookup_entry_by_path(path).ok()??;
        Some(entry.object().ok()?.data.as_slice().into())
    }

    /// The files below a directory of a commit that may hold manifests.
    ///
    /// # Errors
    /// When there is no such directory, it leaves the repository, or objects are missing or damaged.
    pub fn files(&self, commit: Commit, directory: &str, budget: &mut ReadBudget) -> Result<Files, GitError> {
        let over = |over| Ok(Files { over_limit: Some(over), ..Files::default() });
        let listed = match tree::list(&self.repo, commit, directory, &self.shown, budget) {
            Ok(Ok(listed)) => listed,
            Ok(Err(limit)) => return over(limit),
            Err(error) => return Err(error),
        };
        let mut files = Files { findings: listed.findings, ..Files::default() };
        for entry in listed.entries {
            match tree::read(&self.repo, &entry, &self.shown)? {
                Ok(content) => {
                    if let Err(limit) = budget.content(&entry.path, content.len() as u64) {
                        return over(limit);
                    }
                    files.files.push(SourceFile { path: entry.path, content });
                }
                Err(finding) => files.findings.push(finding),
            }
        }
        Ok(files)
    }
}
