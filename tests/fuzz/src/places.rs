//! Places are in the file that they name.

use std::collections::BTreeMap;

use agent::compile::parse::ParsedFile;
use agent::model::finding::{Finding, Location, Place, text};

/// Length in characters of each line of each file.
pub(crate) struct Files(BTreeMap<String, Vec<usize>>);

impl Files {
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let lines = |content: &[u8]| content.split(|byte| *byte == b'\n').map(characters).collect();
        Self(files.into_iter().map(|(path, content)| (path.to_owned(), lines(content))).collect())
    }

    /// Findings have places where they say, and are texts.
    pub(crate) fn hold(&self, findings: &[Finding]) {
        for finding in findings {
            assert!(text(finding).starts_with("KNV"), "{finding:?}");
            assert!(!finding.message.is_empty() && finding.hint.is_some(), "{finding:?}");
            finding.places.iter().for_each(|place| self.holds(place));
        }
    }

    /// Objects are where their files have them, each field of their metadata as well.
    pub(crate) fn hold_objects(&self, file: &ParsedFile) {
        for manifest in &file.manifests {
            self.holds(&manifest.at_name());
            self.holds(&manifest.at_value(&[]));
            self.holds(&manifest.at_value(&["spec", "0", "a", "b"]));
            for (key, _) in manifest.object.annotations() {
                self.holds(&manifest.at_annotation(key));
            }
            for (key, _) in manifest.object.labels() {
                self.holds(&manifest.at_value(&["metadata", "labels", key]));
            }
        }
    }

    fn holds(&self, place: &Place) {
        let Some(Location { path, line, column }) = &place.location else { return };
        let (line, column) = (*line as usize, *column as usize);
        if path.ends_with('/') {
            return assert_eq!((line, column), (0, 0), "{place:?}");
        }
        let lines = self.0.get(path).unwrap_or_else(|| panic!("no such file: {place:?}"));
        if line == 0 {
            return assert_eq!(column, 0, "{place:?}");
        }
        let length = lines.get(line - 1).unwrap_or_else(|| panic!("no such line: {place:?}"));
        assert!((1..=length + 1).contains(&column), "the line has {length} characters: {place:?}");
    }
}

fn characters(line: &[u8]) -> usize {
    String::from_utf8_lossy(line).chars().count()
}
