//! The budget of one reading of a source. The finding about a limit that is passed ends the reading.

use std::time::Instant;

use crate::compile::parse::{MANIFEST, ParsedFile};
use crate::model::duration::format_duration;
use crate::model::finding::{Code, Finding};
use crate::model::limits::{READ, ReadLimits};

/// The rest of what one reading may take. Every method takes something, or returns the finding about the limit that it passes.
#[derive(Debug)]
pub struct ReadBudget {
    limits: ReadLimits,
    deadline: Instant,
    entries: usize,
    path_bytes: u64,
    content_bytes: u64,
    object_bytes: u64,
}

impl ReadBudget {
    /// The budget of a reading that begins now.
    pub fn new() -> Self {
        Self::of(READ)
    }

    /// The budget of a reading with other limits.
    pub(super) fn of(limits: ReadLimits) -> Self {
        let deadline = Instant::now() + limits.time;
        Self { limits, deadline, entries: 0, path_bytes: 0, content_bytes: 0, object_bytes: 0 }
    }

    /// Begins the time of the reading again, after waiting for something else.
    pub fn restart_clock(&mut self) {
        self.deadline = Instant::now() + self.limits.time;
    }

    /// A file or a directory, with the bytes of its path that are kept.
    pub fn entry(&mut self, path: &[u8]) -> Result<(), Finding> {
        self.entries += 1;
        self.path_bytes += path.len() as u64;
        let at = || String::from_utf8_lossy(path).into_owned();
        if self.entries > self.limits.entries {
            return Err(passed(format!("there are more than {} files and directories", self.limits.entries), at()));
        }
        if self.path_bytes > self.limits.path_bytes {
            let limit = in_words(self.limits.path_bytes);
            return Err(passed(format!("the paths of all files have more than {limit} together"), at()));
        }
        self.time(at)
    }

    /// The content of a file.
    pub fn content(&mut self, path: &str, bytes: u64) -> Result<(), Finding> {
        self.content_bytes += bytes;
        if self.content_bytes > self.limits.content_bytes {
            let limit = in_words(self.limits.content_bytes);
            return Err(passed(format!("the manifests have more than {limit} together"), path.to_owned()));
        }
        self.time(|| path.to_owned())
    }

    /// The objects of a file. Those of a file of the same content as one before are in memory already.
    pub fn objects(&mut self, file: &ParsedFile, in_memory: bool) -> Result<(), Finding> {
        self.object_bytes += if in_memory { MANIFEST * file.manifests.len() as u64 } else { file.bytes };
        if self.object_bytes > self.limits.object_bytes {
            let limit = in_words(self.limits.object_bytes);
            return Err(passed(
                format!("the files and their objects take more than {limit} of memory"),
                file.path.clone(),
            ));
        }
        self.time(|| file.path.clone())
    }

    /// A step of a walk that takes nothing but time.
    pub fn in_time(&self, path: &[u8]) -> Result<(), Finding> {
        self.time(|| String::from_utf8_lossy(path).into_owned())
    }

    /// The bytes of memory that the files take.
    pub fn bytes(&self) -> u64 {
        self.object_bytes
    }

    /// `true` if the time is over. Another reading may be faster; the other limits depend on the source alone.
    pub fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn time(&self, path: impl FnOnce() -> String) -> Result<(), Finding> {
        if !self.is_late() {
            return Ok(());
        }
        Err(passed(format!("reading takes longer than {}", format_duration(self.limits.time)), path()))
    }
}

impl Default for ReadBudget {
    fn default() -> Self {
        Self::new()
    }
}

fn passed(limit: String, path: String) -> Finding {
    let message = format!("The source is not read to its end: {limit}.");
    let hint = "Sync a subdirectory, or split the repository. If the commit is a mistake, revert it.";
    Finding::new(Code::Path, message).hint(hint).at_path(path)
}

/// A number of bytes as users read it.
fn in_words(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{bytes} bytes"),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::compile::parse::{SourceFile, parse};

    fn said(result: Result<(), Finding>) -> String {
        let finding = result.expect_err("the limit is passed");
        assert_eq!(finding.places[0].location.as_ref().map(|at| at.path.as_str()), Some("a.yaml"));
        assert!(finding.code.blocks() && finding.hint.is_some());
        finding.message
    }

    #[test]
    fn each_limit_is_a_finding_of_its_own() {
        let limits = ReadLimits { entries: 1, path_bytes: 10, content_bytes: 10, object_bytes: 500, ..READ };
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
        let parsed =
            |content: String| parse(&SourceFile { path: "a.yaml".to_owned(), content: content.as_bytes().into() });
        let (one, two) = (parsed(text.to_owned()), parsed(format!("{text}---\n{text}")));
        assert!(one.bytes < 500 && two.bytes > 500, "{} {}", one.bytes, two.bytes);
        let large = parsed(format!("{text}data: {{a: {}}}\n", "x".repeat(1000)));
        let mut budget = ReadBudget::of(limits);
        assert_eq!(
            (budget.entry(b"a.yaml"), budget.content("a.yaml", 10), budget.objects(&one, false)),
            (Ok(()), Ok(()), Ok(()))
        );
        assert!(said(budget.entry(b"a.yaml")).contains("more than 1 files and directories"));
        assert!(said(budget.content("a.yaml", 1)).contains("more than 10 bytes"));
        assert!(said(budget.objects(&two, false)).contains("of memory"));
        let mut budget = ReadBudget::of(ReadLimits { entries: 2, ..limits });
        assert_eq!(budget.entry(b"b.yaml"), Ok(()));
        assert!(said(budget.entry(b"a.yaml")).contains("the paths of all files"));
        let mut budget = ReadBudget::of(ReadLimits { object_bytes: 10 * MANIFEST, ..limits });
        assert!(
            (0..10).all(|_| budget.objects(&large, true).is_ok()),
            "they are in memory already, but for their places"
        );
        assert!(said(budget.objects(&large, true)).contains("of memory"));
        let mut budget = ReadBudget::of(ReadLimits { time: Duration::ZERO, ..limits });
        assert!(said(budget.entry(b"a.yaml")).contains("longer than"));
    }
}
