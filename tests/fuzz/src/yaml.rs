//! YAML: what is read can be written, and what is written is read as the same.

use agent::compile::parse::{ParsedFile, SourceFile, parse};
use agent::model::object::Object;
use agent::model::yaml;
use serde_json::Value;

use crate::places::Files;

/// The bytes as a file, and as the specification of an object.
pub(crate) fn check(input: &[u8]) {
    read("a.yaml", input);
    let mut object = b"apiVersion: v1\nkind: X\nmetadata: {name: a}\nspec:\n".to_vec();
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        object.push(b' ');
        object.extend(line);
    }
    read("a.yaml", &object);
}

/// Reads a file, and checks what came of it.
pub(crate) fn read(path: &str, content: &[u8]) -> ParsedFile {
    let file = file(path, content);
    let files = Files::of([(path, content)]);
    files.hold(&file.findings);
    files.hold_objects(&file);
    let objects: Vec<Object> = file.manifests.iter().map(|manifest| manifest.whole()).collect();
    let written: String = objects.iter().map(|object| yaml::document(&Value::Object(object.0.clone()))).collect();
    assert_eq!(objects_of(&written), objects, "read again from\n{written}");
    file
}

fn objects_of(text: &str) -> Vec<Object> {
    let file = file("a.yaml", text.as_bytes());
    assert_eq!(file.findings, [], "of\n{text}");
    file.manifests.iter().map(|manifest| manifest.whole()).collect()
}

fn file(path: &str, content: &[u8]) -> ParsedFile {
    parse(&SourceFile { path: path.to_owned(), content: content.into() })
}
