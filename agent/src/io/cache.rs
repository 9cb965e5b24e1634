//! The directory for mirrors of repositories. Its content is applied to clusters, so that no other user may write to it.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::random::unused_name;

/// The name of the agent's directory in a directory for caches.
const NAME: &str = "nomos-agent";
/// The permissions of the directory: those of its owner.
const PRIVATE: u32 = 0o700;
/// The permissions of its group and of everybody to write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// All permissions of its group and of everybody.
const OF_OTHERS: u32 = 0o077;

/// A directory that is owned by this process's user, and to which no other user may write.
#[derive(Debug)]
pub struct CacheDirectory {
    path: PathBuf,
    /// `true` if it is removed at the end.
    temporary: bool,
}

impl CacheDirectory {
    /// The directory at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or when another user owns it or may write to it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        make(path).with_context(|| format!("cannot make the cache {}", path.display()))?;
        check(path)?;
        Ok(Self { path: path.to_owned(), temporary: false })
    }

    /// The agent's directory in `caches`, the user's directory for caches. Without that, or where nothing can be made in it, a
    /// new directory below the system's one for temporary files.
    ///
    /// # Errors
    /// When the directory is there and another user owns it or may write to it, or when none can be made.
    pub fn private(caches: Option<&Path>) -> anyhow::Result<Self> {
        let path = caches.map(|caches| caches.join(NAME)).filter(|path| make(path).is_ok());
        let Some(path) = path else { return Self::temporary() };
        let metadata = check(&path)?;
        if metadata.mode() & OF_OTHERS != 0 {
            let made = fs::set_permissions(&path, Permissions::from_mode(PRIVATE));
            made.with_context(|| format!("cannot keep others from reading the cache {}", path.display()))?;
        }
        Ok(Self { path, temporary: false })
    }

    fn temporary() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(unused_name(NAME));
        // Fails where something has this name already.
        let made = DirBuilder::new().mode(PRIVATE).create(&path);
        made.with_context(|| format!("cannot make the cache {}; choose one with --cache-dir", path.display()))?;
        Ok(Self { path, temporary: true })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for CacheDirectory {
    fn drop(&mut self) {
        if self.temporary {
            // A failure at the end of the process has no reader.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE).create(path)
}

fn check(path: &Path) -> anyhow::Result<Metadata> {
    let what = || format!("cannot use the cache {}", path.display());
    let metadata = fs::metadata(path).with_context(what)?;
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        bail!(
            "other users may write to the cache {} (its mode is {:o}), and what stands there would be applied: choose a \
             directory of the agent's own with --cache-dir, such as {}",
            path.display(),
            metadata.mode() & 0o7777,
            path.join(NAME).display()
        );
    }
    if metadata.uid() != our_user(path).with_context(what)? {
        bail!(
            "the cache {} belongs to another user (uid {}), and what stands there would be applied: choose a directory of the \
             agent's own with --cache-dir",
            path.display(),
            metadata.uid()
        );
    }
    Ok(metadata)
}

/// The user whom a new file in the directory belongs to.
fn our_user(directory: &Path) -> io::Result<u32> {
    let probe = directory.join(unused_name(".owner"));
    let user = File::create_new(&probe)?.metadata().map(|metadata| metadata.uid());
    fs::remove_file(&probe)?;
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let caches = CacheDirectory::temporary().expect("a directory");
        let path = caches.path().join("there");
        fs::create_dir(&path).expect("made");
        for open in [0o777, 0o1777, 0o720, 0o702] {
            set_mode(&path, open);
            let error = CacheDirectory::open(&path).expect_err("others may write").to_string();
            assert!(error.contains("other users may write") && error.contains("--cache-dir"), "{error}");
        }
        for closed in [0o700, 0o755] {
            set_mode(&path, closed);
            assert_eq!(CacheDirectory::open(&path).expect("ours alone").path(), path);
        }
    }

    #[test]
    fn the_directory_of_another_user_is_refused() {
        let caches = CacheDirectory::temporary().expect("a directory");
        let path = caches.path().join("there");
        fs::create_dir(&path).expect("made");
        // Only root can give a directory away.
        if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
            let error = CacheDirectory::open(&path).expect_err("of another user").to_string();
            assert!(error.contains("belongs to another user (uid 12345)"), "{error}");
        }
    }

    #[test]
    fn the_default_is_private() {
        let home = CacheDirectory::temporary().expect("a directory");
        assert_eq!(mode(home.path()), PRIVATE);
        let caches = home.path().join("of/caches");
        let path = caches.join(NAME);
        assert_eq!(CacheDirectory::private(Some(&caches)).expect("made").path(), path);
        assert_eq!(mode(&path), PRIVATE);
        set_mode(&path, 0o755);
        CacheDirectory::private(Some(&caches)).expect("ours");
        assert_eq!(mode(&path), PRIVATE);
        set_mode(&path, 0o777);
        assert!(CacheDirectory::private(Some(&caches)).is_err());
    }

    #[test]
    fn without_a_home_it_is_new_and_is_removed_at_the_end() {
        let (one, other) = (CacheDirectory::private(None).expect("made"), CacheDirectory::private(None).expect("made"));
        assert_ne!(one.path(), other.path());
        assert_eq!(mode(one.path()), PRIVATE);
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists());
    }
}
