//! The commands that explain nomos itself: `completion`, `man` and `explain`.

use std::collections::BTreeSet;

use super::{TestDirectory, nomos, program_on, ran};

#[test]
fn shells_get_scripts() {
    let nowhere = TestDirectory::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = nomos(&nowhere, &format!("completion {shell}"));
        assert_eq!((script.status, script.err.as_str()), (0, ""), "{shell}");
        // The whole program is asked; the linter has a script that knows all.
        let words: &[&str] = match cfg!(feature = "cluster") {
            true => &["COMPLETE"],
            false => &["vet", "explain", "report", "source-format", "unstructured"],
        };
        for word in words.iter().chain(&["nomos"]) {
            assert!(script.out.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(nomos(&nowhere, "completion tcsh").status, 2);
}

#[test]
fn a_plugin_of_kubectl_has_its_name_in_help_and_mistakes() {
    let nowhere = TestDirectory::new();
    let plugin = |words: &str| program_on(&nowhere, &format!("DIR/kubectl-nomos {words}"), |_| {});
    for words in ["", "--help"] {
        assert!(plugin(words).out.contains("Usage: kubectl nomos [OPTIONS]"), "{}", plugin(words).out);
    }
    assert!(plugin("vet --help").out.contains("Usage: kubectl nomos vet [OPTIONS]"));
    let mistake = plugin("vet --none");
    assert_eq!((mistake.status, mistake.err.contains("Usage: kubectl nomos vet")), (2, true), "{}", mistake.err);
    assert_eq!(plugin("--version"), ran(0, concat!(env!("CARGO_PKG_VERSION"), "\n"), ""));
}

#[test]
fn listings_have_the_forms_of_kubectl() {
    let nowhere = TestDirectory::new();
    let names = nomos(&nowhere, "explain -o name").out;
    assert!(names.starts_with("KNV1003\n") && !names.contains("NAME"), "{names}");
    assert_eq!(nomos(&nowhere, "explain 1029 -o jsonpath={.name}"), ran(0, "NameCollision", ""));
    let list = nomos(&nowhere, "explain");
    assert!(list.out.starts_with("CODE "));
    let bare = nomos(&nowhere, "explain --no-headers");
    assert_eq!(list.out.split_once('\n').map(|(_, rest)| rest.lines().count()), Some(bare.out.lines().count()));
    let wrong = nomos(&nowhere, "explain -o wide");
    assert!(wrong.status == 2 && wrong.err.contains("json, yaml, name or jsonpath=TEMPLATE"), "{}", wrong.err);
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
        "-history",
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
        "-ui",
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
