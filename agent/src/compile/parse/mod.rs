//! Files to manifests. [`parse`] is a pure function of path and content, so that the agent can keep its result for as long as
//! the content is the same.
//!
//! A file gives no manifests if one of its documents cannot be read (KNV2001). An object that can be read and not used (it has
//! no name, it has a status, an annotation is no text) gives a finding and no manifest.

mod timestamp;
mod scalar;
mod problem;
mod scanner_workarounds;
mod events;
mod yaml;
mod file_names;
mod encoding;
mod documents;
mod spans;
mod locate;
mod origin;
mod checks;
mod builtin_kinds;
mod sealed;
pub(crate) mod type_check;
mod same_content;
pub(crate) mod builtin_types;

use std::sync::Arc;

use serde_json::Value;

use crate::model::finding::{Code, Finding, Location, Place, Resource, Warning};
use crate::model::manifest_object::ManifestObject;
use crate::model::object::Object;
pub(crate) use builtin_kinds::BuiltinKind;
use documents::{Extension, extension};
pub(crate) use file_names::not_rendered;
pub use file_names::{KUSTOMIZATIONS, is_kustomization};
use origin::Origin;
pub use same_content::{Reading, reading};
#[cfg(not(feature = "cluster"))]
use sealed::AgeKeys;
pub use sealed::PLACEHOLDER;
#[cfg(feature = "cluster")]
pub use sealed::{AgeKeys, AgeRecipient, SealRandomness, WrongLine, sealed};
use sealed::{SealProblem, SealedFile, UnsealedDocument, Unsealing, WrittenDocument};
pub(crate) use sealed::{is_unopened, may_have_unopened};
use yaml::FileExtent;

/// One file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The path relative to the sync directory, separated by slashes.
    pub path: String,
    /// The bytes of the file.
    pub content: Arc<[u8]>,
}

/// The contents of one file.
#[derive(Clone, Debug, Default)]
pub struct ParsedFile {
    /// The path relative to the sync directory, separated by slashes.
    pub path: String,
    /// The objects that can be used, in the order of the file. The items of a list are here one by one.
    pub manifests: Vec<Arc<Manifest>>,
    /// The documents that cannot be read and the objects that cannot be used. Each of these findings blocks.
    pub findings: Vec<Finding>,
    /// Probable mistakes that do not keep the objects from being used.
    pub warnings: Vec<Warning>,
    /// `true` if SOPS sealed the file.
    pub sealed: bool,
    /// The reason why no key opens the sealed values. Placeholders stand for them, so that it can be said which objects are
    /// declared here; none of these can be applied.
    pub closed: Option<Finding>,
    /// The memory that the text of the file and the objects take, about.
    pub bytes: u64,
}

/// The bytes of memory that a manifest takes beside its object, about.
pub const MANIFEST: u64 = 200;

/// One object from one file. It keeps the place of its document, and not the places of its fields: a finding that needs one
/// reads the document again.
#[derive(Debug)]
pub struct Manifest {
    /// The object in the file.
    pub object: Arc<ManifestObject>,
    /// The built-in kind, and `true` if its version is one that compilation knows. `None` for other kinds.
    builtin: Option<(BuiltinKind, bool)>,
    origin: Origin,
}

/// The file of a manifest and the start of its document.
#[derive(Clone, Debug)]
pub(crate) struct ManifestSource {
    /// The path relative to the sync directory.
    pub(crate) path: Arc<str>,
    /// The line, from 1.
    pub(crate) line: u32,
    /// The column, from 1.
    pub(crate) column: u32,
}

/// The value of a YAML text that an annotation has; `None` if Kubernetes does not read it, or if it is large once its aliases are
/// expanded.
pub(crate) fn yaml_value(text: &str) -> Option<serde_json::Value> {
    if text.trim().is_empty() {
        return None;
    }
    yaml::compose(text, &mut yaml::FileExtent::of_small_text()).ok().map(|document| document.value)
}

/// `true` if a file of this path can hold manifests. Other files need not be opened.
pub fn reads(path: &str) -> bool {
    let ignored = |part: &str| matches!(part, ".git" | ".github" | ".gitlab" | ".gitlab-ci.yml");
    (extension(path).is_some() || is_kustomization(path)) && !path.split('/').any(ignored)
}

/// Reads one file. A file whose path cannot hold manifests gives an empty result. For sealed values there are placeholders.
pub fn parse(file: &SourceFile) -> ParsedFile {
    parse_with(file, None)
}

/// Reads one file as [`parse`] does, and opens its sealed values. Without a key for them the file is [closed](ParsedFile::closed).
#[cfg(feature = "cluster")]
pub fn parse_opened(file: &SourceFile, keys: &AgeKeys) -> ParsedFile {
    parse_with(file, Some(keys))
}

fn parse_with(file: &SourceFile, keys: Option<&AgeKeys>) -> ParsedFile {
    let mut parsed = ParsedFile { path: file.path.clone(), ..ParsedFile::default() };
    if !reads(&file.path) {
        return parsed;
    }
    if is_kustomization(&file.path) {
        parsed.findings.push(not_rendered(&[&file.path]));
        return parsed;
    }
    let Some(extension) = extension(&file.path) else { return parsed };
    if file_names::is_of_another_tool(&file.path, &file.content) {
        return parsed;
    }
    if let Some((message, hint)) = encoding::no_text(&file.content) {
        let start = Location { path: file.path.clone(), line: 1, column: 1 };
        parsed.findings.push(unreadable(&message).hint(hint).at(Place { location: Some(start), resource: None }));
        return parsed;
    }
    let unsealing = keys.map_or(Unsealing::Hide, Unsealing::Open);
    if let Err(problem) = read_documents(file, extension, unsealing, &mut parsed) {
        // Names are in clear text, and so is what chooses the cluster.
        parsed = ParsedFile { path: file.path.clone(), closed: Some(problem), ..ParsedFile::default() };
        if let Err(problem) = read_documents(file, extension, Unsealing::Closed, &mut parsed) {
            parsed.findings.push(problem);
        }
    }
    parsed.forget_spans();
    let objects: u64 = parsed.manifests.iter().map(|manifest| MANIFEST + manifest.object.bytes() as u64).sum();
    parsed.bytes = file.content.len() as u64 + objects;
    parsed
}

fn unreadable(message: &str) -> Finding {
    Finding::new(Code::Path, format!("This file cannot be read: {message}."))
}

/// Adds the objects and findings of a file.
///
/// # Errors
/// The reason why no key opens the file.
fn read_documents(
    file: &SourceFile,
    extension: Extension,
    unsealing: Unsealing<'_>,
    parsed: &mut ParsedFile,
) -> Result<(), Finding> {
    let path: Arc<str> = Arc::from(file.path.as_str());
    let (mut readable, mut extent, mut seal) = (Vec::new(), FileExtent::default(), None);
    for (number, document) in documents::split(&file.content, extension).into_iter().enumerate() {
        // kubectl and Config Sync read a file up to the first document that they cannot read.
        if !parsed.findings.is_empty() {
            return Ok(());
        }
        let origin = Origin::new(&path, &file.content, document);
        let at = |location| Place { location: Some(location), resource: None };
        let read = match documents::decode(&file.content, &document, extension, &mut extent) {
            Ok(read) => read,
            Err(problem) => {
                let finding = unreadable(&problem.message).hint(documents::hint(&file.content, &document));
                parsed.findings.push(finding.at(at(origin.byte(problem.at))));
                return Ok(());
            }
        };
        let text = std::str::from_utf8(document.bytes(&file.content)).unwrap_or_default();
        let is_json = documents::is_json(text, extension);
        let written = WrittenDocument { text, is_json, repeats: read.repeats };
        let unsealed = unsealed(read.value, written, (&mut seal, number == 0), unsealing);
        parsed.sealed |= seal.is_some() || unsealed.is_err();
        let Some((value, sealed)) = taken(unsealed, unsealing, &origin, parsed)? else { return Ok(()) };
        // SOPS writes its field into empty documents too.
        if parsed.sealed && value.as_object().is_some_and(serde_json::Map::is_empty) {
            continue;
        }
        match checks::top_level(value) {
            Ok(object) if checks::is_local_config(&object) => {}
            Ok(object) => {
                if read.repeats && parsed.warnings.len() < MAX_WARNINGS {
                    parsed.warnings.extend(origin.repeated_keys());
                }
                readable.push((object, origin, sealed));
            }
            Err(wrong) => {
                let finding = unreadable(&wrong.message).hint(wrong.hint);
                parsed.findings.push(finding.at(at(origin.value(wrong.field))));
            }
        }
    }
    let ended = seal.map_or(Ok(()), SealedFile::end);
    if let (Err(problem), Some((_, origin, _))) = (ended, readable.first()) {
        parsed.findings.push(of_seal(&problem, origin));
    }
    if parsed.findings.is_empty() {
        for (object, origin, sealed) in readable {
            flatten(object, origin, sealed, parsed);
            if parsed.findings.len() >= MAX_FINDINGS {
                break;
            }
        }
    }
    Ok(())
}

/// A document without what SOPS added. `is_first` if the file has no document before it.
fn unsealed(
    value: Value,
    written: WrittenDocument<'_>,
    (seal, is_first): (&mut Option<SealedFile>, bool),
    unsealing: Unsealing<'_>,
) -> Result<UnsealedDocument, SealProblem> {
    if seal.is_none() && sealed::is_sealed(&value) {
        if !is_first {
            return Err(sealed::metadata_elsewhere());
        }
        *seal = Some(SealedFile::begin(&value, unsealing)?);
    }
    match seal {
        None => Ok(UnsealedDocument { value, sealed: false, added: false }),
        Some(seal) => seal.document(value, written),
    }
}

/// The value of such a document, and `true` if a value of it is sealed. `None` if it is not known which object it is.
///
/// # Errors
/// The reason why no key opens the file.
fn taken(
    unsealed: Result<UnsealedDocument, SealProblem>,
    unsealing: Unsealing<'_>,
    origin: &Origin,
    parsed: &mut ParsedFile,
) -> Result<Option<(Value, bool)>, Finding> {
    match unsealed {
        Ok(UnsealedDocument { value, sealed, added }) => {
            if added && parsed.warnings.len() < MAX_WARNINGS {
                parsed.warnings.push(added_to_sealed(origin));
            }
            Ok(Some((value, sealed)))
        }
        Err(problem) if problem.of_key && !matches!(unsealing, Unsealing::Closed) => Err(of_seal(&problem, origin)),
        // Also if its objects are for other clusters: those that a change took out of the file may have been for this one.
        Err(problem) => {
            parsed.findings.push(of_seal(&problem, origin));
            Ok(None)
        }
    }
}

/// The finding about a sealed file.
fn of_seal(problem: &SealProblem, origin: &Origin) -> Finding {
    let field: Vec<&str> = problem.field.iter().map(String::as_str).collect();
    let finding = unreadable(&problem.message).hint(problem.hint.clone());
    finding.at(Place { location: Some(origin.value(&field)), resource: None })
}

/// The warning about a document that was added to a sealed file.
fn added_to_sealed(origin: &Origin) -> Warning {
    Warning {
        message: "This document has no field `sops`, and the first one of the file has: it was added since SOPS sealed the file, which \
                  does not fit its checksum any more, and which the agent refuses."
            .to_owned(),
        hint: "Put it into a file of its own, or add it with `sops edit`.".to_owned(),
        locations: vec![origin.value(&[])],
    }
}

impl ParsedFile {
    /// Drops the spans of documents. They are several times as large as the documents, and the agent keeps a parsed file for as
    /// long as the file does not change.
    pub(crate) fn forget_spans(&self) {
        self.manifests.iter().for_each(|manifest| manifest.origin.forget());
    }
}

/// The number of warnings about a file after which its other documents are not checked for repeated keys.
const MAX_WARNINGS: usize = 100;

/// The largest number of findings about one file.
const MAX_FINDINGS: usize = 10_000;

/// Adds the object, or the items of a list. `false` if the rest of the file is not to be read.
fn flatten(mut object: Object, origin: Origin, sealed: bool, parsed: &mut ParsedFile) -> bool {
    let items = match object.0.get_mut("items") {
        Some(Value::Array(items)) => std::mem::take(items),
        _ => {
            match checks::object(&object, &origin).or_else(|| checks::sealed(&object, &origin, sealed)) {
                None => {
                    if parsed.warnings.len() < MAX_WARNINGS {
                        parsed.warnings.extend(checks::ignored_namespace(&object, &origin));
                    }
                    parsed.manifests.push(Arc::new(Manifest::new(object, origin, sealed)));
                }
                Some(finding) => parsed.findings.push(finding),
            }
            return parsed.findings.len() < MAX_FINDINGS;
        }
    };
    let list = origin.list();
    for (i, item) in items.into_iter().enumerate() {
        let origin = list.item(i);
        let Value::Object(map) = item else {
            let message = "An item of this list is not an object. The items after it are not read.";
            let finding = Finding::new(Code::Undocumented, message);
            let finding = finding.hint("Give the item apiVersion, kind and metadata, or remove it.");
            parsed.findings.push(finding.at(Place { location: Some(origin.value(&[])), resource: None }));
            return false;
        };
        if !flatten(Object(map), origin, sealed, parsed) {
            return false;
        }
    }
    true
}

impl Manifest {
    fn new(object: Object, origin: Origin, sealed: bool) -> Self {
        let builtin = builtin_kinds::builtin_kind(&object);
        let object = if builtin.is_some() { ManifestObject::with_values(object) } else { ManifestObject::new(object) };
        let object = if sealed { object.sealed() } else { object };
        Self { object: Arc::new(object), builtin, origin }
    }

    /// The path of the file, relative to the sync directory.
    pub fn path(&self) -> &str {
        &self.origin.path
    }

    /// The path of the file's directory, empty at the root.
    pub fn directory(&self) -> &str {
        self.path().rsplit_once('/').map_or("", |(directory, _)| directory)
    }

    /// The name of the file's directory, empty at the root.
    pub fn directory_name(&self) -> &str {
        let directory = self.directory();
        directory.rsplit_once('/').map_or(directory, |(_, name)| name)
    }

    /// The first directory of the path, empty at the root.
    pub fn top_directory(&self) -> &str {
        self.path().split_once('/').map_or("", |(top, _)| top)
    }

    /// `true` if the object is of this built-in kind, in a version that compilation knows.
    pub(crate) fn is(&self, builtin: BuiltinKind) -> bool {
        self.builtin == Some((builtin, true))
    }

    /// `true` if the object is of a built-in kind, in a version that compilation does not know.
    pub(crate) fn is_of_unknown_version(&self) -> bool {
        self.builtin.is_some_and(|(_, current)| !current)
    }

    /// `true` if the object is of this built-in kind, in any version.
    pub(crate) fn is_any(&self, builtin: BuiltinKind) -> bool {
        self.builtin.is_some_and(|(own, _)| own == builtin)
    }

    /// The start of the document that holds the object. It is found without reading the document.
    pub(crate) fn source(&self) -> ManifestSource {
        let Location { line, column, .. } = self.origin.start();
        ManifestSource { path: Arc::clone(&self.origin.path), line, column }
    }

    /// The place of the value of `field`, or of the nearest field above it that the file has. A position in a list is a decimal
    /// number, from 0.
    pub fn at_value(&self, field: &[&str]) -> Place {
        self.place(self.origin.value(field))
    }

    /// The place of the key of `field`, or of the nearest field above it that the file has.
    pub fn at_key(&self, field: &[&str]) -> Place {
        self.place(self.origin.key(field))
    }

    /// The place of the object's name.
    pub fn at_name(&self) -> Place {
        self.at_value(&["metadata", "name"])
    }

    /// The place of the key of an annotation.
    pub fn at_annotation(&self, key: &str) -> Place {
        self.at_key(&["metadata", "annotations", key])
    }

    fn place(&self, location: Location) -> Place {
        let resource = Resource::named(&self.object.id, self.object.version());
        Place { location: Some(location), resource: Some(resource) }
    }

    /// `true` if the spans of the document are kept.
    #[cfg(test)]
    pub(crate) fn keeps_spans(&self) -> bool {
        self.origin.keeps_spans()
    }

    /// The object as one JSON value, without `status`.
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
    fn streams_are_split_at_column_zero_and_comments_are_skipped() {
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
        assert_eq!(manifest.source().line, 2);
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
    fn a_key_that_is_set_twice_gives_a_warning_with_its_places() {
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

    #[test]
    fn a_name_or_namespace_that_yaml_reads_as_no_text_is_told() {
        let text = |name: &str, namespace: &str| {
            format!("apiVersion: v1\nkind: X\nmetadata:\n  name: {name}\n  namespace: {namespace}\n")
        };
        let named = parsed("a.yaml", &text("no", "a"));
        assert_eq!(named.findings[0].message, "metadata.name is false and not a text.");
        let placed = parsed("a.yaml", &text("a", "1234"));
        let points = placed.warnings[0].locations.iter().map(|at| (at.line, at.column)).collect::<Vec<_>>();
        assert_eq!((placed.manifests.len(), points), (1, vec![(5, 14)]), "{:?}", placed.warnings);
        for namespace in ["'1234'", "null", ""] {
            assert_eq!(parsed("a.yaml", &text("a", namespace)).warnings.len(), 0, "{namespace}");
        }
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
