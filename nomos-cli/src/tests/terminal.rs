//! Control characters in names, messages and paths, which must not reach a terminal.

use agent::model::finding::{Code, Finding, Location, Place, Resource, text};
use agent::model::visible::is_control;
use serde_json::Value;

use super::{TestDirectory, nomos, nomos_on};
use crate::{Console, Environment, Paint};

/// A title for the terminal, an erased screen in the older form, a turned direction, a new line of Unicode's own.
pub(crate) const HOSTILE: &str = "a\u{1b}]0;x\u{7}\u{9b}2J\u{202e}b\u{2066}\u{2028}\rc";

/// The output of a console with colours.
pub(crate) fn printed(print: impl FnOnce(&mut Console<'_>)) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console::new(&mut out, &mut err, Environment::default());
    (console.paint, console.note_paint) = (Paint { on: true }, Paint { on: true });
    print(&mut console);
    out.extend(err);
    String::from_utf8(out).expect("UTF-8")
}

/// Fails if there is a control character but for our own colours.
pub(crate) fn assert_harmless(text: &str) {
    assert!(!without_colours(text).contains(is_control), "{text:?}");
}

/// The text without the colours of our own, and of those that show findings with their lines.
pub(crate) fn without_colours(text: &str) -> String {
    let colours = ["31", "32", "33", "91", "92", "93", "94", "96", "1", "0"].map(|code| format!("\u{1b}[{code}m"));
    colours.iter().fold(text.to_owned(), |text, colour| text.replace(colour, ""))
}

fn finding(code: Code) -> Finding {
    let hostile = || HOSTILE.to_owned();
    let resource =
        Resource { group: hostile(), version: hostile(), kind: hostile(), namespace: hostile(), name: hostile() };
    let location = Location { path: hostile(), line: 1, column: 1 };
    let place = Place { location: Some(location), resource: Some(resource) };
    Finding { code, message: hostile(), hint: Some(hostile()), places: vec![place.clone(), place] }
}

#[test]
fn no_finding_reaches_a_terminal_raw() {
    for code in Code::ALL {
        let text = text(&finding(*code));
        let shown = printed(|console| {
            console.print(&text);
            console.note(&text);
            console.error(&text);
            console.print(&console.paint.bad(&text));
        });
        assert_harmless(&shown);
        assert!(shown.matches(r"\u{1b}]0;x\u{7}\u{9b}2J\u{202e}b").count() >= 4 * 10, "{shown}");
    }
}

#[test]
fn no_manifest_reaches_a_terminal_raw() {
    let escaped = r"a\e]0;x\a\u009b2J\u202eb\r";
    let manifest = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: \"{escaped}\"\n  annotations: {{\"{escaped}\": \"{escaped}\"}}\n# \u{202e}\n"
    );
    let source = TestDirectory::with(&[(&format!("{}.yaml", "a\u{1b}[2Jb"), &manifest), ("b.yaml", &manifest)]);
    let vet = "vet --path DIR --source-format=unstructured --no-api-server-check";
    let shown = nomos_on(&source, vet, |console| {
        console.note_paint = Paint { on: true };
        console.snippets = true;
    });
    assert_eq!(shown.status, 1, "{}", shown.err);
    assert!(shown.err.contains(r"\u{1b}"), "{}", shown.err);
    assert_harmless(&shown.err);
    assert_harmless(&nomos(&source, &format!("{vet} --report text")).out);
    let json = nomos(&source, &format!("{vet} --report json")).out;
    assert_harmless(&json);
    let report: Value = serde_json::from_str(&json).expect("JSON");
    assert!(report["clusters"][0]["findings"].to_string().contains(r"\u001b"), "{report:#}");
    let unknown = nomos(&source, &format!("vet --path DIR/{}", "a\u{1b}[2Jnowhere"));
    assert_harmless(&unknown.err);
    assert_harmless(&nomos(&source, "st\u{1b}[2Jatus").err);
}
