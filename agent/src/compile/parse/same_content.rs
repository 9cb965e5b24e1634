//! Files of the same content: one of them is parsed, and the others have its result.

use std::sync::Arc;

use super::documents::{Extension, extension};
use super::file_names::{has_name_of_a_tool, is_kustomization};
use super::{Manifest, ParsedFile};
use crate::model::finding::Location;

/// The way in which a file is read, as far as it follows from the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reading(Extension);

/// The way in which the file `path` is read: files of the same content that are read alike have the same objects and findings.
/// `None` if more of the path than its extension counts.
pub fn reading(path: &str) -> Option<Reading> {
    let by_name = !super::reads(path) || is_kustomization(path) || has_name_of_a_tool(path);
    extension(path).filter(|_| !by_name).map(Reading)
}

impl ParsedFile {
    /// The result for a file of the same content that is read alike.
    pub fn in_file(&self, path: &str) -> Self {
        let (shared, own): (Arc<str>, &str) = (Arc::from(path), &self.path);
        let moved = |location: &mut Location| {
            if location.path == own {
                path.clone_into(&mut location.path);
            }
        };
        let (mut findings, mut warnings) = (self.findings.clone(), self.warnings.clone());
        let mut closed = self.closed.clone();
        let places = findings.iter_mut().chain(&mut closed).flat_map(|finding| &mut finding.places);
        places.filter_map(|place| place.location.as_mut()).for_each(moved);
        warnings.iter_mut().flat_map(|warning| &mut warning.locations).for_each(moved);
        let manifests = self.manifests.iter().map(|manifest| Arc::new(manifest.in_file(&shared))).collect();
        Self { path: path.to_owned(), manifests, findings, warnings, closed, sealed: self.sealed, bytes: self.bytes }
    }
}

impl Manifest {
    fn in_file(&self, path: &Arc<str>) -> Self {
        Self { object: Arc::clone(&self.object), builtin: self.builtin, origin: self.origin.in_file(path) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SourceFile, parse};
    use super::*;

    /// The parsed file in words, with places.
    fn described(file: &ParsedFile) -> String {
        let manifests: Vec<_> = file.manifests.iter().map(|it| (it.whole().0, it.at_name())).collect();
        format!("{} {manifests:?} {:?} {:?}", file.path, file.findings, file.warnings)
    }

    #[test]
    fn a_file_of_the_same_content_has_the_same_result_with_places_of_its_own() {
        let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
        for content in [
            object.to_owned(),
            format!("{object}data: {{a: b, a: c}}\n---\n{object}"),
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: X, metadata: {name: a}}\n- {}\n".to_owned(),
            format!("{object}---\n]\n"),
        ] {
            let file = |path: &str| parse(&SourceFile { path: path.to_owned(), content: content.as_bytes().into() });
            let (one, other) = (file("a.yaml"), file("b/c.yml"));
            assert_eq!(described(&one.in_file("b/c.yml")), described(&other), "{content}");
            assert_eq!(one.bytes, other.bytes);
        }
    }

    #[test]
    fn files_whose_name_counts_are_read_by_themselves() {
        assert_eq!(reading("a.yaml"), reading("b/c.yml"));
        assert_ne!(reading("a.yaml"), reading("a.json"));
        for path in ["kustomization.yaml", "x/renovate.json", ".github/a.yaml", "Kustomization", "a.txt"] {
            assert_eq!(reading(path), None, "{path}");
        }
    }
}
