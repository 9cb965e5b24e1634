//! Tells when the refs of a local repository may have changed, within milliseconds. Polling remains what is relied on.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::error::{Class, GitError};
use super::open_local;

/// Watches as long as it lives.
pub struct Watcher(#[expect(dead_code, reason = "it watches as long as it lives")] RecommendedWatcher);

/// Calls `on_change` from a thread of its own when `HEAD`, `packed-refs` or something under `refs/` was written, maybe more
/// than once for one change. `path` is a bare repository or a work tree, also one made by `git worktree`.
///
/// # Errors
/// When there is no repository, or the system watches no more directories.
pub fn watch(path: &Path, on_change: impl Fn() + Send + 'static) -> Result<Watcher, GitError> {
    let shown = path.display().to_string();
    let repo = open_local(path, &shown)?;
    let own = absolute(repo.git_dir());
    let common = absolute(repo.common_dir());
    let (refs, directories) = (common.join("refs"), [own.clone(), common.clone()]);
    let concerns = move |path: &Path| {
        let lock = path.extension().is_some_and(|extension| extension == "lock");
        let named = |name: Option<&OsStr>| name.is_some_and(|name| name == "HEAD" || name == "packed-refs");
        !lock
            && (path.starts_with(&refs)
                || (named(path.file_name()) && directories.iter().any(|d| path.parent() == Some(d))))
    };
    let handler = move |event: notify::Result<Event>| match event {
        Ok(event) if !writes(&event.kind) && !event.need_rescan() => {}
        Ok(event) if event.paths.iter().any(|path| concerns(path)) || event.need_rescan() => on_change(),
        Ok(_) => {}
        Err(_) => on_change(),
    };
    let failed = |error: notify::Error| {
        GitError::new(Class::Broken, format!("failed to watch {shown}: {error}"))
            .hint("Raise fs.inotify.max_user_watches; until then it is polled.")
    };
    let mut watcher = notify::recommended_watcher(handler).map_err(failed)?;
    watcher.watch(&common.join("refs"), RecursiveMode::Recursive).map_err(failed)?;
    watcher.watch(&common, RecursiveMode::NonRecursive).map_err(failed)?;
    if own != common {
        watcher.watch(&own, RecursiveMode::NonRecursive).map_err(failed)?;
    }
    Ok(Watcher(watcher))
}

/// Opening and reading, which we do ourselves, and the second report of a renaming are no changes.
fn writes(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)))
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
