//! What is on disk beside what would be written, as a unified diff. Values of Secrets are not shown.

use similar::{ChangeTag, TextDiff};

use crate::Paint;

/// A file that is not as it would be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Where the file is.
    pub(crate) path: String,
    /// Its text; `None` if there is no such file.
    pub(crate) on_disk: Option<String>,
    /// What would be written; `None` if the file would be removed.
    pub(crate) wanted: Option<String>,
}

impl Difference {
    /// The diff, from what is on disk to what is wanted.
    pub(crate) fn text(&self, paint: Paint) -> String {
        let name = |side: &Option<String>| if side.is_some() { self.path.as_str() } else { "/dev/null" };
        let head = format!("--- {}\n+++ {}", name(&self.on_disk), name(&self.wanted));
        let mut out = format!("{}\n", paint.bold(&head));
        let [before, after] = [&self.on_disk, &self.wanted].map(|side| side.as_deref().unwrap_or_default());
        let (secret_before, secret_after) = (secret_lines(before), secret_lines(after));
        let diff = TextDiff::from_lines(before, after);
        for hunk in diff.unified_diff().iter_hunks() {
            out.push_str(&format!("{}\n", hunk.header()));
            for change in hunk.iter_changes() {
                let at = |index: Option<usize>, secret: &[bool]| index.is_some_and(|index| secret[index]);
                let secret = at(change.old_index(), &secret_before) || at(change.new_index(), &secret_after);
                let line = change.value().trim_end_matches(['\n', '\r']);
                let line = if secret { masked(line) } else { line.to_owned() };
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

/// For each line whether it is in a document that can be a Secret.
fn secret_lines(text: &str) -> Vec<bool> {
    let mut secret = Vec::new();
    let mut document = Vec::new();
    let mut end = |document: &mut Vec<&str>| {
        let is_secret = document.iter().any(|line| line.contains("kind") && line.contains("Secret"));
        secret.extend(document.drain(..).map(|_| is_secret));
    };
    for line in text.split_inclusive('\n') {
        if line.starts_with("---") {
            end(&mut document);
        }
        document.push(line);
    }
    end(&mut document);
    secret
}

/// A line of a Secret without what could be a value: brackets stay, keys, and the values that say which object it is.
fn masked(line: &str) -> String {
    const MASK: &str = "***";
    let content = line.trim_start();
    let indent = &line[..line.len() - content.len()];
    if content.chars().all(|c| "{}[],- ".contains(c)) || content.starts_with("# cluster: ") {
        return line.to_owned();
    }
    let Some((key, value)) = content.split_once(':') else { return format!("{indent}{MASK}") };
    let name = key.trim_matches('"');
    let is_key = name.chars().all(|c| c.is_ascii_alphanumeric() || "-._/".contains(c));
    // Deeper lines of YAML can be parts of a text.
    if !is_key || !(key.starts_with('"') || indent.len() <= 2) {
        return format!("{indent}{MASK}");
    }
    let says_which = matches!(name, "apiVersion" | "kind" | "name" | "namespace" | "type");
    let keep = value.trim().is_empty() || matches!(value.trim(), "{" | "[") || says_which && !value.contains('{');
    if keep { line.to_owned() } else { format!("{indent}{key}: {MASK}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(on_disk: Option<&str>, wanted: Option<&str>) -> String {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let difference = Difference { path: "a.yaml".to_owned(), on_disk: owned(on_disk), wanted: owned(wanted) };
        difference.text(Paint { on: false })
    }

    #[test]
    fn lines_and_files_are_told() {
        let changed = "--- a.yaml\n+++ a.yaml\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n";
        assert_eq!(diff(Some("a: 1\nb: 2\n"), Some("a: 1\nb: 3\n")), changed);
        assert_eq!(diff(None, Some("a: 1\n")), "--- /dev/null\n+++ a.yaml\n@@ -0,0 +1 @@\n+a: 1\n");
        assert_eq!(diff(Some("a: 1\n"), None), "--- a.yaml\n+++ /dev/null\n@@ -1 +0,0 @@\n-a: 1\n");
    }

    #[test]
    fn secrets_stay_secret() {
        let secret = |value: &str| {
            format!(
                "---\nkind: X\ndata: shown\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: web\n  \
                 annotations: {{a: {value}}}\ndata:\n  a: {value}\nstringData:\n  b: |\n    {value}: x\n    {value}\n{value}\n"
            )
        };
        let yaml = diff(Some(&secret("hidden")), Some(&secret("unseen")));
        assert!(
            yaml.contains("\n-  a: ***\n") && yaml.contains("\n+  a: ***\n") && yaml.contains("kind: Secret"),
            "{yaml}"
        );
        let json =
            |value: &str| format!("{{\n\t\"kind\": \"Secret\",\n\t\"data\": {{\n\t\t\t\"a\": \"{value}\"\n\t}}\n}}\n");
        let json = diff(Some(&json("hidden")), Some(&json("unseen")));
        assert!(json.contains("\n+\t\t\t\"a\": ***\n") && json.contains(" \t\"data\": {\n"), "{json}");
        for text in [yaml, json, diff(Some(&secret("hidden")), None), diff(None, Some(&secret("unseen")))] {
            assert!(!text.contains("hidden") && !text.contains("unseen"), "{text}");
        }
    }
}
