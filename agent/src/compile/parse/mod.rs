//! Files to manifests: a pure function of path and content, so that the result can be kept by content.
//!
//! A file fails as a whole when one of its documents is not readable (KNV2001). An object that is readable but not usable
//! (no name, a status, annotations that are no text) is a finding and no manifest.

mod scanner_workarounds;
mod checks;
mod documents;
mod builtin_kinds;
mod locate;
mod origin;
mod spans;
mod scalar;
pub mod type_check;
mod timestamp;
mod yaml;

use std::sync::Arc;

use serde_json::Value;

use crate::compile::declared::Source;
use crate::model::finding::{Code, Finding, Location, Place, Resource, Warning};
use crate::model::manifest_object::Written;
use crate::model::object::Object;
pub(crate) use builtin_kinds::Known;
use origin::Origin;

/// One file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path relative to the sync directory, slash separated.
    pub path: String,
    /// The bytes.
    pub content: Arc<[u8]>,
}

/// What one file holds.
#[derive(Clone, Debug, Default)]
pub struct ParsedFile {
    /// Path relative to the sync directory, slash separated.
    pub path: String,
    /// The usable objects, in the order of the file, lists flattened.
    pub manifests: Vec<Arc<Manifest>>,
    /// What is not usable. Any finding here blocks.
    pub findings: Vec<Finding>,
    /// What is usable, and yet hardly meant.
    pub warnings: Vec<Warning>,
}

/// One object from one file. It knows where it came from, but not where each of its fields is: that is looked up when a
/// finding needs it.
#[derive(Debug)]
pub struct Manifest {
    /// The object as written.
    pub object: Arc<Written>,
    known: Option<(Known, bool)>,
    origin: Origin,
}

/// Whether a file can hold manifests at all, by its path: other files need not be opened.
pub fn reads(path: &str) -> bool {
    let ignored = |part: &str| matches!(part, ".git" | ".github" | ".gitlab" | ".gitlab-ci.yml");
    extension(path).is_some() && !path.split('/').any(ignored)
}

/// How the contents of a file are written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Extension {
    Yaml,
    Json,
}

fn extension(path: &str) -> Option<Extension> {
    let name = path.rsplit('/').next()?;
    match name.rsplit_once('.')?.1 {
        "yaml" | "yml" => Some(Extension::Yaml),
        "json" => Some(Extension::Json),
        _ => None,
    }
}

/// Reads one file.
pub fn parse(file: &SourceFile) -> ParsedFile {
    let mut parsed = ParsedFile { path: file.path.clone(), ..ParsedFile::default() };
    let Some(extension) = extension(&file.path).filter(|_| reads(&file.path)) else { return parsed };
    let path: Arc<str> = Arc::from(file.path.as_str());
    let mut readable = Vec::new();
    for document in documents::split(&file.content, extension) {
        // Kubernetes reads a file up to the first document that it cannot read.
        if !parsed.findings.is_empty() {
            break;
        }
        let origin = Origin::new(&path, &file.content, document);
        let unreadable = |message: &str| Finding::new(Code::Path, format!("This file is not readable: {message}."));
        let at = |location| Place { location: Some(location), resource: None };
        let read = documents::decode(&file.content, &document, extension);
        match read.map(|read| (checks::top_level(read.value), read.repeats)) {
            Ok((Ok(object), _)) if checks::is_local_config(&object) => {}
            Ok((Ok(object), repeats)) => {
                if repeats && parsed.warnings.len() < MAX_WARNINGS {
                    parsed.warnings.extend(origin.repeated_keys());
                }
                readable.push((object, origin));
            }
            Ok((Err(wrong), _)) => {
                let finding = unreadable(&wrong.message).hint(wrong.hint);
                parsed.findings.push(finding.at(at(origin.value(wrong.field))));
            }
            Err(problem) => {
                let finding = unreadable(&problem.message).hint(documents::hint(&file.content, &document));
                parsed.findings.push(finding.at(at(origin.byte(problem.at))));
            }
        }
    }
    if parsed.findings.is_empty() {
        for (object, origin) in readable {
            flatten(object, origin, &mut parsed);
            if parsed.findings.len() >= MAX_FINDINGS {
                break;
            }
        }
    }
    parsed.forget_places();
    parsed
}

impl ParsedFile {
    /// Drops what was kept to locate many fields of one document: it is several times as large as that, and a file is kept
    /// for as long as it does not change.
    pub(crate) fn forget_places(&self) {
        self.manifests.iter().for_each(|manifest| manifest.origin.forget());
    }
}

/// After so many warnings about a file its documents are not looked at for more.
const MAX_WARNINGS: usize = 100;

/// What is wrong in a file is told this often. Nobody reads it to the end.
const MAX_FINDINGS: usize = 10_000;

/// Adds the object, or the items if it is a list; `false` when a list cannot be read any further.
fn flatten(mut object: Object, origin: Origin, parsed: &mut ParsedFile) -> bool {
    let items = match object.0.get_mut("items") {
        Some(Value::Array(items)) => std::mem::take(items),
        _ => {
            match checks::object(&object, &origin) {
                None => parsed.manifests.push(Arc::new(Manifest::new(object, origin))),
                Some(finding) => parsed.findings.push(finding),
            }
            return parsed.findings.len() < MAX_FINDINGS;
        }
    };
    let list = origin.list();
    for (i, item) in items.into_iter().enumerate() {
        let origin = list.item(i);
        let Value::Object(map) = item else {
            let message = "An item of this list is no object, and nothing after it is read.";
            let finding = Finding::new(Code::Undocumented, message);
            let finding = finding.hint("Every item needs apiVersion, kind and metadata, or remove it.");
            parsed.findings.push(finding.at(Place { location: Some(origin.value(&[])), resource: None }));
            return false;
        };
        if !flatten(Object(map), origin, parsed) {
            return false;
        }
    }
    true
}

impl Manifest {
    fn new(object: Object, origin: Origin) -> Self {
        let known = builtin_kinds::known(&object);
        let object = if known.is_some() { Written::with_values(object) } else { Written::new(object) };
        Self { object: Arc::new(object), known, origin }
    }

    /// Path of the file, relative to the sync directory.
    pub fn path(&self) -> &str {
        &self.origin.path
    }

    /// Directory of the file, empty at the root.
    pub fn directory(&self) -> &str {
        self.path().rsplit_once('/').map_or("", |(directory, _)| directory)
    }

    /// Name of the directory that holds the file.
    pub fn directory_name(&self) -> &str {
        let directory = self.directory();
        directory.rsplit_once('/').map_or(directory, |(_, name)| name)
    }

    /// First directory of the path, empty at the root.
    pub fn top_directory(&self) -> &str {
        self.path().split_once('/').map_or("", |(top, _)| top)
    }

    /// Whether it is of a known kind, in a version that has a meaning.
    pub(crate) fn is(&self, known: Known) -> bool {
        self.known == Some((known, true))
    }

    /// Whether it is of a known kind, but in a version that has no meaning.
    pub(crate) fn is_of_unknown_version(&self) -> bool {
        self.known.is_some_and(|(_, current)| !current)
    }

    /// Whether it is of a known kind, in any version.
    pub(crate) fn is_any(&self, known: Known) -> bool {
        self.known.is_some_and(|(own, _)| own == known)
    }

    /// Where the document that holds the object starts. Cheap.
    pub(crate) fn start(&self) -> Source {
        let Location { line, column, .. } = self.origin.start();
        Source { path: Arc::clone(&self.origin.path), line, column }
    }

    /// The object at the value of `field`, or of the nearest field above it that the file states. List positions are
    /// decimal numbers.
    pub fn at_value(&self, field: &[&str]) -> Place {
        self.place(self.origin.value(field))
    }

    /// The object at the key of `field`, or of the nearest field above it that the file states.
    pub fn at_key(&self, field: &[&str]) -> Place {
        self.place(self.origin.key(field))
    }

    /// The object at its name.
    pub fn at_name(&self) -> Place {
        self.at_value(&["metadata", "name"])
    }

    /// The object at one of its annotations.
    pub fn at_annotation(&self, key: &str) -> Place {
        self.at_key(&["metadata", "annotations", key])
    }

    fn place(&self, location: Location) -> Place {
        let resource = Resource::named(&self.object.id, self.object.version());
        Place { location: Some(location), resource: Some(resource) }
    }

    /// Whether anything is kept to locate more fields.
    #[cfg(test)]
    pub(crate) fn keeps_places(&self) -> bool {
        self.origin.keeps_outline()
    }

    /// The object in one piece, without `status`.
    pub fn whole(&self) -> Object {
        self.object.whole()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(path: &str, content: &str) -> ParsedFile {
        parse(&SourceFile { path: path.to_owned(), content: Arc::from(content.as_bytes()) })
    }

    fn codes(path: &str, content: &str) -> Vec<u16> {
        parsed(path, content).findings.iter().map(|finding| finding.code.number()).collect()
    }

    const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n";

    #[test]
    fn streams_are_split_at_column_zero_and_comments_skipped() {
        let stream =
            format!("# c\n---\n\n--- # c\n{CONFIG_MAP}---kind: ConfigMap\napiVersion: v1\nmetadata: {{name: b}}\n");
        let names: Vec<String> =
            parsed("a.yaml", &stream).manifests.iter().map(|manifest| manifest.object.name().to_owned()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(codes("a.yaml", &format!("{CONFIG_MAP}----\n")), [2001]);
        assert_eq!(codes("a.yaml", "\u{a0}\n\u{3000}# x\n\u{b}\n"), [0; 0]);
    }

    #[test]
    fn a_block_scalar_loses_its_newline_before_a_separator() {
        let parsed =
            parsed("a.yaml", &format!("{CONFIG_MAP}data:\n  a: |\n    x\n---\n{CONFIG_MAP}data:\n  a: |\n    x\n"));
        let values: Vec<Value> =
            parsed.manifests.iter().map(|manifest| manifest.whole().0["data"]["a"].clone()).collect();
        assert_eq!(values, ["x", "x\n"]);
    }

    #[test]
    fn documents_that_start_with_a_brace_are_strict_json() {
        let json = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "\/\ud800"}}"#;
        let read = parsed("a.yaml", &format!("--- {json}"));
        assert_eq!(read.manifests[0].whole().0["data"]["a"], "/\u{fffd}");
        assert_eq!(codes("a.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"), [2001]);
        assert_eq!(codes("a.yaml", "# c\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"), [0; 0]);
        assert_eq!(codes("a.yaml", &format!("{json}\n# c")), [2001]);
        assert_eq!(codes("a.json", &format!("[{json}]")), [2001]);
        assert_eq!(codes("a.json", " "), [2001]);
        assert_eq!(codes("a.json", ""), [0; 0]);
    }

    #[test]
    fn other_files_are_not_read() {
        for path in ["Kptfile", "a.YAML", ".github/a.yaml", "x/.gitlab/a.yaml", "yaml"] {
            assert!(parsed(path, "}").findings.is_empty(), "{path}");
        }
        assert!(reads(".yaml") && reads("x/.foo.yml"));
    }

    #[test]
    fn fields_are_located_when_asked_for() {
        let list = "kind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: X\n  metadata:\n    name: é\n    annotations: {b: c}\n";
        let parsed = parsed("a.yaml", &format!("---\n{list}"));
        let at = |place: Place| place.location.map(|at| (at.line, at.column)).expect("located");
        let manifest = &parsed.manifests[0];
        assert_eq!(at(manifest.at_name()), (8, 11));
        assert_eq!(at(manifest.at_annotation("b")), (9, 19));
        assert_eq!(at(manifest.at_value(&["metadata", "nope"])), (7, 3));
        assert_eq!(manifest.start().line, 2);
        assert_eq!(at(manifest.at_value(&[])), (5, 3));
    }

    #[test]
    fn a_list_is_located_once_for_all_its_items() {
        let items = 5000;
        let item = "- {apiVersion: v1, kind: X, metadata: {name: a}, status: {x: 1}}\n";
        let list = format!("apiVersion: v1\nkind: List\nitems:\n{}", item.repeat(items));
        let findings = parsed("a.yaml", &list).findings;
        let last = findings[items - 1].places[0].location.as_ref().map(|at| (at.line, at.column));
        assert_eq!((findings.len(), last), (items, Some((items as u32 + 3, 50))));
    }

    #[test]
    fn keys_that_are_set_twice_are_warned_of_where_they_stand() {
        let yaml = format!("---\n# c\n{CONFIG_MAP}data:\n  x: 1\n  yes: 2\n  x: 3\n  'true': 4\n");
        let json = r#"{"apiVersion": "v1", "kind": "X", "metadata": {"name": "a:b"}, "x": 1, "d": [{"y": 1}],
            "x": [{"y": 2, "z": "\":", "y": 3}]}"#;
        let merged = format!("{CONFIG_MAP}base: &b {{x: 1, y: 2}}\ndata:\n  x: 0\n  <<: *b\n  y: 3\n");
        let points = |path, text| {
            let warnings = parsed(path, text).warnings;
            let points = |it: &Warning| it.locations.iter().map(|at| (at.line, at.column)).collect::<Vec<_>>();
            warnings.iter().map(points).collect::<Vec<_>>()
        };
        assert_eq!(points("a.yaml", &yaml), [[(9, 3), (11, 3)], [(8, 3), (10, 3)]]);
        assert_eq!(points("a.json", json), [[(1, 64), (2, 13)], [(2, 20), (2, 40)]]);
        assert_eq!(points("a.yaml", &merged), [[(0, 0); 2]; 0]);
        let often = format!("{CONFIG_MAP}x: 1\n{}", "x: 1\n".repeat(9));
        assert_eq!(points("a.yaml", &often), [[(5, 1), (6, 1), (7, 1), (8, 1), (14, 1)]]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn parsing_is_total_on_bytes(content: Vec<u8>) {
            parse(&SourceFile { path: "a.yaml".to_owned(), content: Arc::from(content.as_slice()) });
            parse(&SourceFile { path: "a.json".to_owned(), content: Arc::from(content.as_slice()) });
        }

        #[test]
        fn parsing_is_total_on_what_looks_like_yaml(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40)) {
            let file = parsed("a.yaml", &pieces.concat());
            for manifest in &file.manifests {
                manifest.at_name();
            }
        }
    }

    const PIECES: &[&str] = &[
        "apiVersion: v1\n",
        "kind: X\n",
        "metadata:\n  name: a\n",
        "items:\n",
        "- ",
        "  ",
        "\n",
        "\t",
        "? ",
        ": ",
        ":",
        "a",
        "\"",
        "'",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        "|",
        ">",
        "|+",
        ">-2",
        "&a ",
        "*a",
        "!x",
        "!!int ",
        "!<",
        "!",
        "#",
        " #",
        "---",
        "...",
        "%YAML 1.1",
        "%TAG ! a",
        "<<",
        "\u{feff}",
        "\u{85}",
        "\r",
        "\r\n",
        "~",
        "0",
        "%41",
        "@",
        "`",
        "\0",
        "\u{e000}",
        "\\x4",
        "\\u00e",
        "-",
        "\u{2028}",
    ];
}
