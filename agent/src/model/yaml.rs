//! The writer of all YAML: of `nomos hydrate`, `-o yaml`, the CRDs and diffs.
//!
//! Every YAML reader reads it alike: a string that some reader could take for a boolean, number, null, date or merge key is
//! quoted. Manifests are read by `compile::parse`.

use libyaml_safer::{Emitter, Encoding, Event, MappingStyle, ScalarStyle, SequenceStyle};
use serde_json::Value;

/// A document of a file: a line `---`, then the [`text`].
pub fn document(value: &Value) -> String {
    // Kubernetes splits a file at "\n---" before it parses, which would cost a block scalar its last line break.
    let blank = if ends_in_block(value) { "\n" } else { "" };
    format!("---\n{}{blank}", text(value))
}

/// A value as YAML: keys in the order of the map, sequences at the indentation of their parent.
pub fn text(value: &Value) -> String {
    let mut text = Vec::new();
    {
        let mut emitter = Emitter::new();
        emitter.set_output_string(&mut text);
        emitter.set_unicode(true);
        emitter.set_width(-1);
        let mut emit = |event| emitter.emit(event).expect("events are balanced, and memory takes every write");
        emit(Event::stream_start(Encoding::Utf8));
        emit(Event::document_start(None, &[], true));
        write(value, &mut emit);
        emit(Event::document_end(true));
        emit(Event::stream_end());
    }
    String::from_utf8(text).expect("the emitter writes UTF-8")
}

fn write(value: &Value, emit: &mut impl FnMut(Event)) {
    match value {
        Value::Object(map) => {
            emit(Event::mapping_start(None, None, true, MappingStyle::Block));
            for (key, value) in map {
                emit(scalar(key, if is_plain(key) { ScalarStyle::Plain } else { ScalarStyle::DoubleQuoted }));
                write(value, emit);
            }
            emit(Event::mapping_end());
        }
        Value::Array(items) => {
            emit(Event::sequence_start(None, None, true, SequenceStyle::Block));
            items.iter().for_each(|item| write(item, emit));
            emit(Event::sequence_end());
        }
        Value::String(text) => emit(scalar(text, style(text))),
        Value::Null | Value::Bool(_) | Value::Number(_) => emit(scalar(&value.to_string(), ScalarStyle::Plain)),
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Event {
    Event::scalar(None, None, text, true, true, style)
}

fn style(text: &str) -> ScalarStyle {
    if is_block(text) {
        ScalarStyle::Literal
    } else if is_plain(text) {
        ScalarStyle::Plain
    } else {
        ScalarStyle::DoubleQuoted
    }
}

/// `true` if a string is written as a literal block, a line for each of its lines: several lines that begin with text, without
/// trailing blank lines, and without characters that a block would change.
pub fn is_block(text: &str) -> bool {
    let exact = |c: char| c == '\n' || !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    let begins = text.chars().next().is_some_and(|first| !first.is_whitespace());
    let lines = text.strip_suffix('\n').unwrap_or(text);
    begins && text.contains('\n') && !lines.ends_with('\n') && text.chars().all(exact) && !lines.split('\n').any(trails)
}

/// `true` for a line that ends in a space, which a reader of a block would not see.
fn trails(line: &str) -> bool {
    line.ends_with(' ')
}

/// `true` if every reader takes the text without quotes for this string. The emitter quotes what the syntax does not allow.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 14] =
        ["~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", "=", ".inf", ".nan"];
    let Some(first) = text.chars().next() else { return false };
    let numeric = |c: char| {
        c.is_ascii_hexdigit() || matches!(c, 'x' | 'X' | 'o' | 'O' | '_' | '+' | '-' | '.' | ':' | 'T' | 'Z' | ' ')
    };
    let number = matches!(first, '0'..='9' | '+' | '-' | '.')
        && text.chars().all(numeric)
        && text.contains(|c: char| c.is_ascii_digit());
    let word = text.trim_start_matches(['+', '-']).to_lowercase();
    !number && !WORDS.contains(&word.as_str()) && !text.chars().any(char::is_control)
}

/// `true` if the last scalar of a value is written as a block.
fn ends_in_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().next_back().is_some_and(ends_in_block),
        Value::Array(items) => items.last().is_some_and(ends_in_block),
        Value::String(text) => is_block(text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::compile::parse::{SourceFile, parse};

    #[test]
    fn looks_like_a_manifest() {
        let value = json!({
            "apiVersion": "v1",
            "data": { "run.sh": "#!/bin/sh\necho hi\n", "on": "yes", "port": "0080", "empty": "", "tail": "a \nb" },
            "items": [{ "name": "a", "args": ["--x", "-v=1", "{{ .X }}", "1Gi", "a: b", "1.0.0"] }],
            "none": {}, "list": [], "number": 1.5, "nothing": null, "true": true,
        });
        let expected = r#"---
apiVersion: v1
data:
  empty: ""
  "on": "yes"
  port: "0080"
  run.sh: |
    #!/bin/sh
    echo hi
  tail: "a \nb"
items:
- args:
  - --x
  - -v=1
  - '{{ .X }}'
  - 1Gi
  - 'a: b'
  - "1.0.0"
  name: a
list: []
none: {}
nothing: null
number: 1.5
"true": true
"#;
        assert_eq!(document(&value), expected);
    }

    #[test]
    fn a_block_at_the_end_keeps_its_line_break() {
        assert_eq!(document(&json!({ "a": ["x\ny\n"] })), "---\na:\n- |\n  x\n  y\n\n");
    }

    #[test]
    fn strings_that_look_like_something_else_are_quoted() {
        for text in ["y", "NO", "~", "Null", "1_000", "0x_1", "1e3", "2024-01-02", "1:30", ".inf", "-.INF", "<<", "="] {
            assert!(!is_plain(text), "{text}");
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{0,12}",
            "[a \n\t:#'\"-]{0,10}",
            "\\PC{0,6}",
            "[0-9a-fxo_.:eTZ+-]{1,6}",
            prop::collection::vec(
                prop_oneof![Just('\r'), Just('\u{85}'), Just('\u{2028}'), Just('a'), Just('\n')],
                0..5
            )
            .prop_map(String::from_iter),
        ]
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            texts().prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((texts(), inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn another_reader_reads_the_same(value in values()) {
            let value = json!({ "a": value });
            let read: Value = serde_yaml::from_str(&document(&value)).expect("valid YAML");
            prop_assert_eq!(read, value);
        }

        #[test]
        fn our_parser_reads_the_same(value in values()) {
            let object = json!({ "apiVersion": "v1", "kind": "X", "metadata": { "name": "x" }, "spec": value });
            let text = document(&object).repeat(2);
            let parsed = parse(&SourceFile { path: "a.yaml".into(), content: text.as_bytes().into() });
            prop_assert_eq!(parsed.findings, []);
            for manifest in parsed.manifests {
                prop_assert_eq!(&manifest.whole().0["spec"], &object["spec"]);
            }
        }
    }
}
