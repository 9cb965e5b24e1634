//! A watch on the refs of a local repository, by the file system's notifications: a commit is seen within milliseconds. It
//! may miss a change, so the repository is polled too.

use std::path::{Path, PathBuf};

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::error::{FailureClass, GitError};
use super::open_local;

/// A watch that ends when it is dropped.
pub struct Watcher(#[expect(dead_code, reason = "it watches as long as it lives")] RecommendedWatcher);

/// Calls `on_change` from a thread of its own when `HEAD`, `packed-refs` or something under `refs/` was written, maybe more
/// than once for one change. `path` is a bare repository or a work tree, also one made by `git worktree`.
///
/// # Errors
/// When there is no repository, or the system watches no more directories.
pub fn watch(path: &Path, on_change: impl Fn() + Send + 'static) -> Result<Watcher, GitError> {
    let shown = path.display().to_string();
    let repo = open_local(path, &shown)?;
    let common = absolute(repo.common_dir());
    let mut directories = vec![absolute(repo.git_dir()), common.clone()];
    directories.dedup();
    let refs = common.join("refs");
    let handler = {
        let (refs, directories) = (refs.clone(), directories.clone());
        move |event: notify::Result<Event>| match event {
            Ok(event) if !event.need_rescan() && !concerns_refs(&event, &refs, &directories) => {}
            Ok(_) | Err(_) => on_change(),
        }
    };
    let failed = |error: notify::Error| {
        GitError::new(FailureClass::Broken, format!("failed to watch {shown}: {error}"))
            .hint("Raise fs.inotify.max_user_watches; until then it is polled.")
    };
    let mut watcher = notify::recommended_watcher(handler).map_err(failed)?;
    watcher.watch(&refs, RecursiveMode::Recursive).map_err(failed)?;
    for directory in &directories {
        watcher.watch(directory, RecursiveMode::NonRecursive).map_err(failed)?;
    }
    Ok(Watcher(watcher))
}

/// `true` if refs may have changed. Opening and reading, which the agent does itself, locks, and the second report of a
/// renaming are no changes.
fn concerns_refs(event: &Event, refs: &Path, directories: &[PathBuf]) -> bool {
    let writes = !matches!(event.kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)));
    writes
        && event.paths.iter().any(|path| {
            let lock = path.extension().is_some_and(|extension| extension == "lock");
            let pointer = directories.iter().any(|git| *path == git.join("HEAD") || *path == git.join("packed-refs"));
            !lock && (pointer || path.starts_with(refs))
        })
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
