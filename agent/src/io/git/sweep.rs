//! The size of the cache: mirrors that no sync uses any more are removed after a time, and before that when there is no room.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::mirror::{remove, size};

/// A mirror that was not open for so long is removed.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// The extension of a mirror that is being removed.
const REMOVED: &str = "removed";

/// A mirror in the cache.
struct CachedMirror {
    directory: PathBuf,
    bytes: u64,
    /// Its lock and the time at which it was last open; `None` for a mirror that is open.
    unused: Option<(File, SystemTime)>,
}

/// Removes mirrors that are not open: those that were last open long ago, then as many others as it takes to get below `limit`,
/// the longest unused first. Returns the bytes that are left.
///
/// # Errors
/// When the cache cannot be read, or a mirror cannot be removed.
pub fn sweep(cache: &Path, limit: u64, now: SystemTime) -> io::Result<u64> {
    let mut mirrors = mirrors(cache)?;
    let mut left: u64 = mirrors.iter().map(|mirror| mirror.bytes).sum();
    mirrors.sort_by_key(|mirror| mirror.unused.as_ref().map(|(_, since)| *since));
    for CachedMirror { directory, bytes, unused } in mirrors {
        let Some((_lock, since)) = unused else { continue };
        let age = now.duration_since(since).unwrap_or_default();
        if age > FORGOTTEN || left > limit {
            take_away(&directory)?;
            left -= bytes;
        }
    }
    Ok(left)
}

/// Removes a mirror whose lock is held. It has another name before its first file goes, so that no sync opens half of it.
fn take_away(directory: &Path) -> io::Result<()> {
    let away = directory.with_extension(REMOVED);
    remove(&away)?;
    fs::rename(directory, &away)?;
    remove(&away)
}

fn mirrors(cache: &Path) -> io::Result<Vec<CachedMirror>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(cache) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let directory = entry?.path();
        if directory.extension().is_some_and(|extension| extension == REMOVED) {
            // The process ended while it removed the mirror.
            remove(&directory)?;
            continue;
        }
        let Ok(lock) = File::open(directory.join("lock")) else { continue };
        let unused = match lock.try_lock() {
            Ok(()) => lock.metadata()?.modified().ok().map(|since| (lock, since)),
            Err(_) => None,
        };
        found.push(CachedMirror { bytes: size(&directory), directory, unused });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A mirror of 1,000 bytes that was last open so many hours ago.
    fn mirror(cache: &Path, name: &str, hours: u32) -> File {
        let directory = cache.join(name);
        fs::create_dir_all(directory.join("repo")).unwrap();
        fs::write(directory.join("repo/pack"), [0; 1000]).unwrap();
        let lock = File::create(directory.join("lock")).unwrap();
        lock.set_modified(SystemTime::now() - HOUR * hours).unwrap();
        lock
    }

    fn names(cache: &Path) -> Vec<String> {
        let names = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// The sweep removes the lock at some moment between the other files.
    #[test]
    fn a_mirror_that_is_opened_while_it_is_removed_is_whole() {
        for round in 0..20 {
            let cache = tempfile::tempdir().unwrap();
            let directory = cache.path().join("mirror");
            drop(mirror(cache.path(), "mirror", 25));
            (0..300).for_each(|n| fs::write(directory.join(format!("{n}")), "").unwrap());
            std::thread::scope(|scope| {
                let sweep = scope.spawn(|| sweep(cache.path(), 1 << 20, SystemTime::now()));
                while directory.join("lock").exists() && !sweep.is_finished() {
                    std::hint::spin_loop();
                }
                let lock = super::super::mirror::lock(&directory).unwrap();
                fs::write(directory.join("mark"), "").unwrap();
                assert!(sweep.join().unwrap().is_ok(), "round {round}");
                assert!(directory.join("mark").exists() && directory.join("lock").exists(), "round {round}");
                drop(lock);
            });
        }
    }

    #[test]
    fn the_rest_of_a_removed_mirror_goes_with_the_next_sweep() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join("a.removed/repo")).unwrap();
        assert_eq!(sweep(cache.path(), 1 << 20, SystemTime::now()).unwrap(), 0);
        assert_eq!(names(cache.path()), [""; 0]);
    }

    #[test]
    fn mirrors_that_are_not_used_make_room() {
        // A cache for each sweep: programs that other tests start share its locks for a moment.
        for (limit, left, stay) in [
            (1 << 20, 3000, &["new", "older", "open", "reading", "salt"][..]),
            (2000, 2000, &["new", "open", "reading", "salt"]),
            // A mirror that is open stays.
            (0, 1000, &["open", "reading", "salt"]),
        ] {
            let cache = tempfile::tempdir().unwrap();
            let cache = cache.path();
            fs::write(cache.join("salt"), "salt").unwrap();
            fs::create_dir(cache.join("reading")).unwrap();
            let open = mirror(cache, "open", 100);
            open.try_lock().unwrap();
            for (name, hours) in [("old", 25), ("older", 3), ("new", 1)] {
                mirror(cache, name, hours);
            }
            assert_eq!(sweep(cache, limit, SystemTime::now()).unwrap(), left);
            assert_eq!(names(cache), stay);
        }
    }
}
