//! Unified diffs between files on disk and the files that `nomos hydrate` would write. They show no value of a Secret.

use std::collections::BTreeSet;

use agent::compile::parse::{self, PLACEHOLDER, SourceFile};
use agent::model::object::Object;
use agent::model::yaml;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::Paint;
use crate::output::{self, ObjectFormat};

/// A file on disk that differs from the file that `nomos hydrate` would write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The path of the file.
    pub(crate) path: String,
    /// The text on disk; `None` if there is no such file.
    pub(crate) on_disk: Option<String>,
    /// The text that would be written; `None` if the file would be removed.
    pub(crate) wanted: Option<String>,
    /// `true` if the values of all objects are masked, as those of Secrets are.
    pub(crate) confidential: bool,
}

impl Difference {
    /// The diff from the text on disk to the text that would be written.
    pub(crate) fn text(&self, paint: Paint) -> String {
        let name = |side: &Option<String>| if side.is_some() { self.path.as_str() } else { "/dev/null" };
        let head = format!("--- {}\n+++ {}", name(&self.on_disk), name(&self.wanted));
        let mut out = format!("{}\n", paint.bold(&head));
        let [before, after] = [&self.on_disk, &self.wanted].map(|side| side.as_deref().unwrap_or_default());
        let shown_before = shown(before, &Masking::of(before, after, self.confidential));
        let shown_after = shown(after, &Masking::of(after, before, self.confidential));
        let [before, after] = [before, after].map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
        let diff = TextDiff::from_slices(&before, &after);
        for hunk in diff.unified_diff().iter_hunks() {
            out.push_str(&format!("{}\n", hunk.header()));
            for change in hunk.iter_changes() {
                // A line that is in both texts is shown as in the text that would be written.
                let after = change.new_index().map(|index| &shown_after[index]);
                let line = after.or_else(|| change.old_index().map(|index| &shown_before[index]));
                let line = line.map_or("", |line| line.trim_end_matches(['\n', '\r']));
                out.push_str(&match change.tag() {
                    ChangeTag::Equal => format!(" {line}\n"),
                    ChangeTag::Delete => paint.bad(&format!("-{line}")) + "\n",
                    ChangeTag::Insert => paint.good(&format!("+{line}")) + "\n",
                });
            }
        }
        out
    }
}

/// Replaces a value of a Secret.
const MASK: &str = "***";

/// The kind whose values are masked.
const SECRET: &str = "Secret";

/// The objects of one text whose values are masked.
struct Masking {
    /// `true` for all of them.
    all: bool,
    /// `true` if either text may hold a Secret, so that a document in another form than `hydrate` writes may be what is left of one.
    doubtful: bool,
    /// Kind, namespace and name of each object of the other text, if that has a Secret which this text lacks: then an object that the
    /// other text lacks may be that Secret, damaged.
    others: Option<BTreeSet<[String; 3]>>,
}

impl Masking {
    fn of(text: &str, other: &str, all: bool) -> Self {
        let (own, others) = (ids(text), ids(other));
        let lost = others.iter().any(|id| id[0] == SECRET && !own.contains(id));
        let doubtful = text.contains(SECRET) || other.contains(SECRET);
        Self { all, doubtful, others: lost.then_some(others) }
    }

    fn hides(&self, object: &Object) -> bool {
        self.all || is_secret(object) || self.others.as_ref().is_some_and(|others| !others.contains(&id(object)))
    }
}

/// Each object of a text.
fn ids(text: &str) -> BTreeSet<[String; 3]> {
    let parsed = parse::parse(&SourceFile { path: "file.yaml".to_owned(), content: text.as_bytes().into() });
    parsed.manifests.iter().map(|manifest| id(&manifest.whole())).collect()
}

/// Kind, namespace and name.
fn id(object: &Object) -> [String; 3] {
    [object.kind(), object.namespace(), object.name()].map(str::to_owned)
}

/// Each line of a text, with the values of some objects masked.
fn shown(text: &str, masking: &Masking) -> Vec<String> {
    let mut lines = Vec::new();
    let mut document = String::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with("---") {
            lines.extend(shown_document(&document, masking));
            document.clear();
        }
        document.push_str(line);
    }
    lines.extend(shown_document(&document, masking));
    lines
}

/// The lines of one YAML document, with the values of some objects masked.
///
/// If a document with such an object has the form that `hydrate` writes, its keys, kind, namespace and name are shown: the document
/// with masked values has the same number of lines. Of any other document that can hold a Secret, each line is masked.
fn shown_document(text: &str, masking: &Masking) -> Vec<String> {
    let lines = |text: &str| text.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>();
    let is_head = |line: &&str| line.trim_end() == "---" || line.starts_with("# cluster: ");
    let head: usize = text.split_inclusive('\n').take_while(is_head).map(str::len).sum();
    let (head, body) = text.split_at(head);
    let parsed = parse::parse(&SourceFile { path: "document.yaml".to_owned(), content: text.as_bytes().into() });
    let objects: Vec<Object> = parsed.manifests.iter().map(|manifest| manifest.whole()).collect();
    let secret = masking.all || objects.iter().any(|object| masking.hides(object));
    let written =
        [ObjectFormat::Yaml, ObjectFormat::Json].into_iter().find(|format| written(&objects, *format) == body);
    let masked = match written {
        Some(_) if !secret => return lines(text),
        Some(format) => lines(&written_masked(&objects, format, masking)),
        None if secret || masking.doubtful => Vec::new(),
        None => return lines(text),
    };
    let mut body = lines(body);
    if masked.len() == body.len() {
        body = masked;
    } else {
        body.iter_mut().filter(|line| !line.trim().is_empty()).for_each(|line| *line = MASK.to_owned());
    }
    lines(head).into_iter().chain(body).collect()
}

fn is_secret(object: &Object) -> bool {
    object.kind() == SECRET
}

/// The text that `hydrate` writes for the objects, without the first `---`.
fn written(objects: &[Object], format: ObjectFormat) -> String {
    let text = output::text(&objects.iter().collect::<Vec<_>>(), format);
    text.strip_prefix("---\n").map_or(text.clone(), str::to_owned)
}

fn written_masked(objects: &[Object], format: ObjectFormat, masking: &Masking) -> String {
    let masked = |object: &Object| if masking.hides(object) { masked(object) } else { object.clone() };
    written(&objects.iter().map(masked).collect::<Vec<_>>(), format)
}

/// A copy of a Secret in which all values are masked but `apiVersion`, `kind`, `type`, name and namespace.
fn masked(object: &Object) -> Object {
    let mut object = object.clone();
    for (key, value) in &mut object.0 {
        match (key.as_str(), value) {
            ("apiVersion" | "kind" | "type", Value::String(_)) => {}
            ("metadata", Value::Object(metadata)) => {
                let says_which = |key: &str| matches!(key, "name" | "namespace");
                metadata.iter_mut().filter(|(key, _)| !says_which(key)).for_each(|(_, value)| mask(value));
            }
            (_, value) => mask(value),
        }
    }
    object
}

/// Masks every string, number and boolean in a value. The written value keeps its number of lines.
fn mask(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(mask),
        Value::Array(items) => items.iter_mut().for_each(mask),
        // It says that there is a value, and not which.
        Value::String(text) if text == PLACEHOLDER => {}
        Value::String(text) if yaml::is_block(text) => {
            let line = |line: &str| if line.is_empty() { "" } else { MASK };
            *text = text.split('\n').map(line).collect::<Vec<_>>().join("\n");
        }
        other => *other = MASK.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn diff(on_disk: Option<&str>, wanted: Option<&str>) -> String {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        difference(owned(on_disk), owned(wanted), false).text(Paint { on: false })
    }

    fn difference(on_disk: Option<String>, wanted: Option<String>, confidential: bool) -> Difference {
        Difference { path: "a.yaml".to_owned(), on_disk, wanted, confidential }
    }

    #[test]
    fn values_of_confidential_objects_are_masked() {
        let text = |value: &str| {
            let spec = json!({ "mode": value, "args": [value] });
            Some(yaml::document(
                &json!({ "apiVersion": "x/v1", "kind": "X", "metadata": { "name": "a" }, "spec": spec }),
            ))
        };
        let shown = difference(text("hidden"), text("unseen"), true).text(Paint::default());
        assert!(!shown.contains("hidden") && !shown.contains("unseen"), "{shown}");
        assert!(
            shown.contains("name: a") && shown.contains("-  mode: '***'") && shown.contains("+  mode: '***'"),
            "{shown}"
        );
    }

    #[test]
    fn values_of_a_damaged_secret_are_masked() {
        let object = |kind: &str, name: &str| {
            let data = json!({ "q": if kind == "ConfigMap" { "plain" } else { "hidden" } });
            yaml::document(&json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name }, "data": data }))
        };
        let beside = object("ConfigMap", "c");
        let whole = object("Secret", "s");
        for damaged in [
            whole.replace("kind: Secret\n", ""),
            whole.replace("kind: Secret", "kind: Secre"),
            whole.replace("kind: Secret", "kind: X").replace("name: s", "name: t"),
            whole.replace("kind: Secret", "kind: ["),
        ] {
            let (before, after) = (format!("{beside}{damaged}"), format!("{}{whole}", beside.replace("plain", "new")));
            for text in [diff(Some(&damaged), Some(&whole)), diff(Some(&whole), Some(&damaged))] {
                assert!(!text.contains("hidden") && text.contains("***"), "{text}");
            }
            let text = diff(Some(&before), Some(&after));
            assert!(!text.contains("hidden") && text.contains("+  q: new"), "{text}");
        }
    }

    #[test]
    fn changed_new_and_removed_files_have_a_diff() {
        let changed = "--- a.yaml\n+++ a.yaml\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n";
        assert_eq!(diff(Some("a: 1\nb: 2\n"), Some("a: 1\nb: 3\n")), changed);
        assert_eq!(diff(None, Some("a: 1\n")), "--- /dev/null\n+++ a.yaml\n@@ -0,0 +1 @@\n+a: 1\n");
        assert_eq!(diff(Some("a: 1\n"), None), "--- a.yaml\n+++ /dev/null\n@@ -1 +0,0 @@\n-a: 1\n");
    }

    /// A Secret in the three forms that `hydrate` writes, and in three others.
    #[test]
    fn values_of_secrets_are_masked() {
        let secret = |value: &str| {
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": {
                    "name": "web", "namespace": "shop", "annotations": { "name": value, "kind": value, "lines": "a\nb" },
                },
                "data": { "name": value, "namespace": value, "type": value, "kind": value, "apiVersion": value },
                "stringData": {
                    "block": format!("kind: {value}\n  name: {value}\n\n\"type\": {value}\n"),
                    "quoted": format!(" type: {value}"),
                    "type": value,
                },
                "immutable": true, "name": value, "list": [value, { "kind": value }],
            })
        };
        let shown =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" }, "data": { "a": "b" } });
        let object = |value: &Value| serde_json::from_value::<Object>(value.clone()).expect("a map");
        let yaml = |value: &str| format!("{}{}", yaml::document(&shown), yaml::document(&secret(value)));
        let flat = |value: &str| yaml(value).replace("---\n", "---\n# cluster: prod\n");
        let json = |value: &str| output::text(&[&object(&shown), &object(&secret(value))], ObjectFormat::Json);
        // Forms that `hydrate` does not write.
        let other = |value: &str| yaml(value).replace("stringData:", "stringData: # mine");
        let compact = |value: &str| secret(value).to_string() + "\n";
        let broken = |value: &str| format!("{}}}\n", secret(value));

        let forms: [&dyn Fn(&str) -> String; 6] = [&yaml, &flat, &json, &other, &compact, &broken];
        for (i, form) in forms.into_iter().enumerate() {
            let (before, after) = (form("hidden"), form("unseen"));
            for text in [diff(Some(&before), Some(&after)), diff(Some(&before), None), diff(None, Some(&after))] {
                assert!(!text.contains("hidden") && !text.contains("unseen") && text.contains("***"), "{text}");
            }
            let text = diff(None, Some(&after));
            let is_written = i < 3;
            for word in
                ["kind: Secret", "name: web", "namespace: shop", "type: Opaque", "stringData:", "apiVersion: '***'"]
            {
                let text = text.replace(['"', ','], "").replace("apiVersion: ***", "apiVersion: '***'");
                assert_eq!(text.contains(word), is_written, "{word} in\n{text}");
            }
            assert_eq!(text.contains("# cluster: prod"), i == 1);
            assert_eq!(text.lines().count(), after.lines().count() + 3, "{text}");
            let beside = text.contains("a: b") || text.contains("\"a\": \"b\"");
            assert_eq!(beside, i < 4, "{text}");
        }
    }
}
