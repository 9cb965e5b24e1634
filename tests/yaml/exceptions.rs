//! Where we read a file differently from kubectl on purpose: as Config Sync does. The generator makes no such files.

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::cluster::Cluster;

use crate::generate::HEAD;
use crate::{by_kubectl, by_us, name};

/// The cause of a difference, the text of a file after its head, and the field `x` of the objects that nomos and that kubectl read;
/// `error` if one refuses the file.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// Files that differ in what is after their head.
const EXCEPTIONS: &[Row] = &[
    ("the line break before `---` is no part of what is before it", "x: |\n  a\n---\n# c\n", r#"["a"]"#, r#"["a\n"]"#),
    ("no line break is added at the end", "x: |\n  a", r#"["a"]"#, r#"["a\n"]"#),
    (
        "a document that starts with a brace is JSON",
        "---\n{apiVersion: v1, kind: Secret, metadata: {name: NAME}}\n",
        "error",
        "[null,null]",
    ),
    (
        "also after a byte order mark",
        "---\n\u{feff}{apiVersion: v1, kind: Secret, metadata: {name: NAME}}\n",
        "error",
        "[null,null]",
    ),
    (
        "a byte order mark is no part of any document, also if nothing is before its separator",
        "x: a\n---\n---\n\u{feff}x: b\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\n",
        r#"["a","b"]"#,
        r#"["a",null]"#,
    ),
    ("a document that says nothing is a mistake", "x: a\n---\n~\n", "error", r#"["a"]"#),
    ("and so is one that ends before it begins", "x: a\n---\n---\n...", "error", r#"["a"]"#),
];

/// Checks that nomos and kubectl differ in each exception as the table says.
pub(crate) fn as_listed(cluster: &Cluster) -> Result<()> {
    let text = |(i, row): (usize, &'static Row)| (row, format!("{HEAD}{}", row.1).replace("NAME", &name(i)));
    let rows: Vec<(&Row, String)> = EXCEPTIONS.iter().enumerate().map(text).collect();
    let files: Vec<String> = rows.iter().map(|(_, text)| text.clone()).collect();
    let mut wrong = Vec::new();
    for ((row, text), read) in rows.iter().zip(by_kubectl(cluster, &files)?) {
        let (why, _, ours, theirs) = row;
        let read = (shown(&by_us(text)), shown(&read));
        if read != ((*ours).to_owned(), (*theirs).to_owned()) {
            wrong.push(format!("{why}: we {}, kubectl {}", read.0, read.1));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn shown(read: &Result<Vec<Value>, String>) -> String {
    match read {
        Ok(objects) => Value::Array(objects.iter().map(|object| object["x"].clone()).collect()).to_string(),
        Err(_) => "error".to_owned(),
    }
}
