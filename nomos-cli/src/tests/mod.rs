//! Tests of whole command lines, which run in this process: they compare the output and the exit status.

#[cfg(feature = "cluster")]
mod clusters;
mod flags;
mod hydrate;
mod init;
mod reference;
mod snippets;
pub(crate) mod terminal;
mod vet;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Console, Environment};

/// A temporary directory of one test. It is removed at the end of the test.
pub(crate) struct TestDirectory(PathBuf);

impl TestDirectory {
    /// An empty directory.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("nomos-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path.canonicalize().expect("just made"))
    }

    /// A directory with these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let directory = Self::new();
        files.iter().for_each(|(path, text)| directory.write(path, text));
        directory
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("writable");
        fs::write(path, text).expect("writable");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).expect("there")
    }

    /// The paths of all files in a directory and below it, sorted.
    fn files(&self, directory: &str) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.0.join(directory), "", &mut found);
        found.sort();
        found
    }
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("readable");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() { collect(&entry.path(), &format!("{name}/"), found) } else { found.push(name) }
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The exit status and the output of a command.
#[derive(Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) status: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn ran(status: u8, out: &str, err: &str) -> Ran {
    Ran { status, out: out.to_owned(), err: err.to_owned() }
}

/// Runs `nomos` in a directory, without any environment variable. In `words` and in the output, `DIR` stands for the directory.
pub(crate) fn nomos(directory: &TestDirectory, words: &str) -> Ran {
    nomos_on(directory, words, |_| {})
}

/// Runs `nomos` like [`nomos`], after `prepare` has changed the console.
pub(crate) fn nomos_on(directory: &TestDirectory, words: &str, prepare: impl FnOnce(&mut Console<'_>)) -> Ran {
    program_on(directory, &format!("nomos {words}"), prepare)
}

/// Runs the program whose name is the first word.
fn program_on(directory: &TestDirectory, words: &str, prepare: impl FnOnce(&mut Console<'_>)) -> Ran {
    let path = directory.path().display().to_string();
    let words = words.split_whitespace().map(|word| OsString::from(word.replace("DIR", &path)));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let environment = Environment { directory: Some(directory.path().to_owned()), ..Environment::default() };
    let mut console = Console::new(&mut out, &mut err, environment);
    prepare(&mut console);
    let status = crate::run(words, &mut console);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8").replace(&path, "DIR");
    Ran { status, out: text(out), err: text(err) }
}

const REPO: &str =
    "apiVersion: configmanagement.gke.io/v1\nkind: Repo\nmetadata: {name: repo}\nspec: {version: 1.0.0}\n";
const SHOP: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
pub(crate) const FINE: &str = "✅ No validation issues found.\n";

fn config_map(name: &str, annotations: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  annotations: {{{annotations}}}\n")
}
