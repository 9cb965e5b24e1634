//! Files in a directory that others may have filled, such as the output directory of a clone: a symbolic link or a special file in it
//! leads out, and is not followed. A file is replaced as a whole or not at all.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Fails if a directory on the way from `root` to a file, or the file, is a symbolic link or a special file. `root` itself may be one.
pub(crate) fn check(root: &Path, path: &Path) -> anyhow::Result<()> {
    let mut place = root.to_owned();
    for part in path {
        place.push(part);
        let kind = match place.symlink_metadata() {
            Ok(found) => found.file_type(),
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("failed to read {}", place.display())),
        };
        let named = match kind {
            kind if kind.is_file() || kind.is_dir() => continue,
            kind if kind.is_symlink() => "a symbolic link",
            _ => "a special file, such as a FIFO",
        };
        bail!("{} is {named}, which nomos does not follow; remove it, or choose another directory", place.display());
    }
    Ok(())
}

/// The content of a file below `root`; `None` if there is none.
pub(crate) fn read(root: &Path, path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    check(root, path)?;
    let place = root.join(path);
    match fs::read(&place) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", place.display())),
    }
}

/// Writes a file below `root`, and the directories on the way to it. If that fails, the earlier file stays.
pub(crate) fn write(root: &Path, path: &Path, text: &str) -> anyhow::Result<()> {
    check(root, path)?;
    let place = root.join(path);
    let directory = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory).with_context(|| format!("failed to create {}", directory.display()))?;
    replace(directory, &place, text).with_context(|| format!("failed to write {}", place.display()))
}

fn replace(directory: &Path, place: &Path, text: &str) -> io::Result<()> {
    let beside = Beside(directory.join(format!(".nomos-{:016x}.tmp", RandomState::new().hash_one("file"))));
    let mut file = File::create_new(&beside.0)?;
    if let Ok(earlier) = place.symlink_metadata() {
        file.set_permissions(earlier.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    fs::rename(&beside.0, place)
}

/// A file that is removed again unless it was renamed.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::tests::TestDirectory;

    #[test]
    fn nothing_that_leads_out_is_followed() {
        let directory = TestDirectory::with(&[("secret", "hunter2"), ("elsewhere/a", "hunter2"), ("out/b", "b")]);
        let root = directory.path().join("root");
        symlink("out", &root).expect("a file system with links");
        symlink("../secret", root.join("file")).expect("a file system with links");
        symlink("../elsewhere", root.join("directory")).expect("a file system with links");
        symlink("../new", root.join("dangling")).expect("a file system with links");
        let _socket = UnixListener::bind(root.join("special")).expect("a socket");
        for path in ["file", "directory/a", "directory/new", "dangling", "special"].map(Path::new) {
            for error in [read(&root, path).map(|_| ()), write(&root, path, "text")] {
                let error = error.expect_err("it leads out").to_string();
                assert!(error.contains("nomos does not follow; remove it"), "{error}");
            }
        }
        assert_eq!(directory.read("secret") + &directory.read("elsewhere/a"), "hunter2hunter2");
        assert!(!directory.path().join("new").exists() && !directory.path().join("elsewhere/new").exists());
        assert_eq!(read(&root, Path::new("b")).expect("a file").as_deref(), Some(&b"b"[..]));
        assert_eq!(read(&root, Path::new("b/c")).expect("no file"), None);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_its_permissions() {
        let directory = TestDirectory::with(&[("a", "earlier")]);
        let (place, again) = (directory.path().join("a"), directory.path().join("again"));
        fs::set_permissions(&place, fs::Permissions::from_mode(0o600)).expect("its owner");
        fs::hard_link(&place, &again).expect("a file system with links");
        write(directory.path(), Path::new("a"), "new").expect("written");
        assert_eq!(
            directory.read("a") + &directory.read("again"),
            "newearlier",
            "it was written beside the earlier one"
        );
        assert_eq!(place.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 2);
    }
}
