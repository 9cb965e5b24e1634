//! The commands that explain nomos itself: `completion`, `man` and `explain`.

use std::collections::BTreeSet;

use super::{TestDirectory, nomos, program_on, ran};

#[test]
fn shells_get_scripts_that_know_every_command() {
    let nowhere = TestDirectory::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = nomos(&nowhere, &format!("completion {shell}"));
        assert_eq!((script.status, script.err.as_str()), (0, ""), "{shell}");
        for word in ["vet", "explain", "report", "source-format", "unstructured"] {
            assert!(script.out.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(nomos(&nowhere, "completion tcsh").status, 2);
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let directory = TestDirectory::new();
    assert_eq!(nomos(&directory, "man DIR/man1"), ran(0, "", ""));
    let commands = [
        "",
        "-approve",
        "-bugreport",
        "-completion",
        "-diff",
        "-explain",
        "-export",
        "-hydrate",
        "-init",
        "-install",
        "-man",
        "-migrate",
        "-status",
        "-sync",
        "-sync-now",
        "-sync-resume",
        "-sync-suspend",
        "-trace",
        "-uninstall",
        "-version",
        "-vet",
        "-wait",
    ];
    let pages: Vec<String> = commands.iter().map(|command| format!("nomos{command}.1")).collect();
    assert_eq!(directory.files("man1").into_iter().collect::<BTreeSet<_>>(), pages.iter().cloned().collect());
    let vet = directory.read("man1/nomos-vet.1");
    assert!(vet.contains("Check a source for mistakes") && vet.contains("\\-\\-report"), "{vet}");

    assert_eq!(program_on(&directory, "DIR/nomos-lint man DIR/lint", |_| {}), ran(0, "", ""));
    let pages: Vec<String> = pages.iter().map(|page| page.replace("nomos", "nomos-lint")).collect();
    assert_eq!(directory.files("lint").into_iter().collect::<BTreeSet<_>>(), pages.into_iter().collect());
    let usage = program_on(&directory, "nomos-lint", |_| {}).out;
    assert!(usage.contains("Usage: nomos-lint [OPTIONS]"), "{usage}");
}

#[test]
fn explain_accepts_every_spelling_of_a_code() {
    let nowhere = TestDirectory::new();
    let entry = nomos(&nowhere, "explain KNV1029");
    let expected = "\
KNV1029 NameCollision

Meaning
  Two or more manifests declare the same object: group, kind, namespace and name are equal.

Reason
  Each apply would undo the other one. Another API version does not make another object. An object
  that a Namespace inherits from a directory above counts too: no object overrides another.

How to fix
  Keep one of the manifests, and remove or rename the others.

Example
  namespaces/quota.yaml and namespaces/shop/quota.yaml both declare ResourceQuota q
";
    assert_eq!(entry, ran(0, expected, ""));
    for words in ["explain 1029", "explain knv1029", "explain namecollision"] {
        assert_eq!(nomos(&nowhere, words), entry, "{words}");
    }
    let retired = "error: KNV1030 is retired: nomos does not report it any more; \
                   did you mean KNV1029 NameCollision, KNV1031 MissingObjectName, KNV1032 IllegalHierarchicalKind?\n";
    assert_eq!(nomos(&nowhere, "explain 1030"), ran(2, "", retired));
    let unknown =
        "error: there is no code \"collisio\"; `nomos explain` lists all codes; did you mean KNV1029 NameCollision?\n";
    assert_eq!(nomos(&nowhere, "explain collisio"), ran(2, "", unknown));
    let list = nomos(&nowhere, "explain -o json").out;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).expect("JSON");
    assert_eq!((list.len(), &list[0]["code"]), (agent::model::finding::Code::ALL.len(), &serde_json::json!("KNV1003")));
}
