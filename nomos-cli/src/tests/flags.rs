//! The forms of flags, help, and mistakes in command lines.

use super::{FINE, Ran, TestDirectory, config_map, nomos, ran};

#[test]
fn help_and_version_go_to_standard_output_and_mistakes_to_standard_error() {
    let nowhere = TestDirectory::new();
    assert_eq!(nomos(&nowhere, "--version"), ran(0, concat!(env!("CARGO_PKG_VERSION"), "\n"), ""));
    for words in ["", "--help", "vet --help"] {
        let Ran { status, out, err } = nomos(&nowhere, words);
        assert_eq!((status, out.contains("Usage: nomos"), err.as_str()), (0, true, ""), "{words}");
    }
    for words in ["vte", "vet --source-format=flat", "status --timeout 5", "vet --threshold 5"] {
        let Ran { status, out, err } = nomos(&nowhere, words);
        assert_eq!((status, out.as_str(), err.is_empty()), (2, "", false), "{words}");
    }
    for (words, tip) in [
        ("vet config", "  tip: write --path config\n"),
        ("hydrate --flat config", "  tip: write --path config\n"),
        ("vet --threshold 5", "  tip: write --threshold=5\n"),
        ("hydrate --flat true", "  tip: write --flat=true\n"),
    ] {
        let err = nomos(&nowhere, words).err;
        assert!(err.contains(tip), "{words}: {err}");
    }
}

#[test]
fn flags_have_the_forms_that_scripts_use() {
    let source = TestDirectory::with(&[("a.yaml", &config_map("a", "")), ("b.yaml", &config_map("b", ""))]);
    for flags in [
        "--threshold",
        "--threshold=0",
        "--threshold=-1",
        "--threshold=1 --threshold=2",
        "--path=DIR",
        "--path DIR/none --path DIR",
        "--clusters=defaultcluster",
        "--clusters=",
        "--no-api-server-check",
        "--no-api-server-check=T",
        "--no-api-server-check=0",
        "--keep-output=false",
        "--namespace=",
        "--format json",
        "--api-server-timeout=1m30s",
        "--source-format= --namespace=shop",
    ] {
        let words = format!("vet --source-format unstructured --path DIR {flags}");
        assert_eq!(nomos(&source, &words), ran(0, "", FINE), "{flags}");
    }
    for flags in ["--threshold 5", "--no-api-server-check false", "--format=YAML", "--clusters=prod", "DIR"] {
        let words = format!("vet --source-format unstructured --path DIR {flags}");
        assert_eq!(nomos(&source, &words).status, 2, "{flags}");
    }
    assert_eq!(nomos(&source, "vet --path DIR --source-format=").status, 1);
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    let source = TestDirectory::with(&[("kustomization.yaml", "resources: []\n")]);
    let both = nomos(&source, "vet --path DIR --namespace=shop --source-format=hierarchy");
    assert_eq!((both.status, both.err.contains("remove --source-format=hierarchy")), (2, true));
    let rendered = nomos(&source, "vet --path DIR");
    let message = "error: DIR holds a kustomization; such a source needs --source-format=unstructured\n";
    assert_eq!(rendered, ran(2, "", message));
    assert_eq!(nomos(&source, "vet --path DIR/none").status, 2);
}

#[test]
fn flags_have_the_spellings_that_go_accepts() {
    let source = TestDirectory::with(&[("a.yaml", &config_map("a", ""))]);
    let words = "vet --path nowhere --path=DIR --source-format=unstructured --no-api-server-check=T --keep-output=0";
    assert_eq!(nomos(&source, words), ran(0, "", FINE));
    assert_eq!(nomos(&source, "vet --path DIR --keep-output=yes").status, 2);
    for words in ["--source-format=unstructured --path DIR vet", "--path DIR vet --source-format=unstructured"] {
        assert_eq!(nomos(&source, words), ran(0, "", FINE), "flags before the command");
    }
    assert!(nomos(&source, "--pat DIR vet").err.contains("--pat"));
}
