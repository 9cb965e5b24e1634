//! Writes the files of a report into one zip file.

use std::fs::OpenOptions;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::ReportFile;
use crate::Environment;

/// The path of the zip file. An existing file is not overwritten.
pub(super) fn target(asked: Option<&Path>, environment: &Environment, seconds: u64) -> anyhow::Result<PathBuf> {
    let name = format!("bug_report_{seconds}.zip");
    let current = environment.directory.clone().unwrap_or_default();
    let target = match asked.map(|asked| current.join(asked)) {
        None => current.join(name),
        Some(directory) if directory.is_dir() => directory.join(name),
        Some(file) => file,
    };
    if target.exists() {
        bail!("{} exists already; choose another file with --output", target.display());
    }
    Ok(target)
}

/// The text as one component of a path, on every system.
pub(super) fn component(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c }).collect();
    if text.chars().all(|c| c == '.') { format!("_{text}") } else { text }
}

/// Writes the zip file, which only the user may read.
pub(super) fn write(target: &Path, files: &[ReportFile]) -> anyhow::Result<()> {
    let what = || format!("failed to write {}", target.display());
    let bytes = zipped(&target.file_stem().unwrap_or_default().to_string_lossy(), files).with_context(what)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(target).and_then(|mut file| file.write_all(&bytes)).with_context(what)
}

/// The bytes of a zip file with these files below a directory.
pub(super) fn zipped(directory: &str, files: &[ReportFile]) -> anyhow::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for file in files {
        zip.start_file(format!("{directory}/{}", file.path), SimpleFileOptions::default())?;
        zip.write_all(file.text.as_bytes())?;
    }
    Ok(zip.finish()?.into_inner())
}
