//! The lines of the source that findings on a terminal show, and those that they must not show.

use std::fs;

use super::terminal::without_colours;
use super::{REPO, SHOP, TestDirectory, config_map, nomos_on, ran};

#[test]
fn a_terminal_shows_the_offending_lines() {
    let annotation = "configsync.gke.io/cluster-name-selector: prod";
    let source = TestDirectory::with(&[
        ("system/repo.yaml", REPO),
        ("namespaces/shop/ns.yaml", SHOP),
        ("namespaces/shop/a.yaml", &config_map("web", annotation)),
        ("namespaces/shop/b.yaml", &config_map("web", annotation)),
        ("cluster/broken.yaml", "a: [1\nb: 2\n"),
    ]);
    let vet = |paint| {
        nomos_on(&source, "vet --path DIR", |console| {
            console.snippets = true;
            console.note_paint = crate::Paint { on: paint };
        })
    };
    let expected = "\
error[KNV1017]: A hierarchical repository must have a Repo object in `system/`, and this one has none.
--> system/
 = help: Create it with `nomos init`, or use the source format `unstructured`.
 = note: for more information, run: nomos explain KNV1017

error[KNV2001]: This file cannot be read: did not find expected ',' or ']', while parsing a flow sequence.
 --> cluster/broken.yaml:2:2
  |
2 | b: 2
  |  ^
  |
  = help: Correct the text at this place. The mistake can also be on the lines before it.
  = note: for more information, run: nomos explain KNV2001

2 error(s)
";
    assert_eq!(vet(false), ran(1, "", expected));
    fs::remove_file(source.path().join("cluster/broken.yaml")).expect("there");
    let expected = "\
errors for cluster \"prod\":
error[KNV1029]: There are 2 objects of the kind ConfigMap named `web` in the namespace `shop`.
 --> namespaces/shop/a.yaml:4:9
  |
4 |   name: web
  |         ^^^ ConfigMap web
  |
 ::: namespaces/shop/b.yaml:4:9
  |
4 |   name: web
  |         --- ConfigMap web
  |
  = help: Keep one of them, and rename or remove the others.
  = note: for more information, run: nomos explain KNV1029
";
    assert_eq!(vet(false), ran(1, "", expected));
    let coloured = vet(true).err;
    assert!(coloured.contains("\x1b[1m") && without_colours(&coloured) == expected, "{coloured}");
}

#[test]
fn lines_that_could_show_a_secret_are_not_shown() {
    let secret = |rest: &str| format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: Wrong\n{rest}");
    let source = TestDirectory::with(&[
        ("a.yaml", &secret("stringData: {password: hidden, x: [}\n")),
        (
            "b.yaml",
            "{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"B\"}, \"data\": {\"a\": \"hidden\"}}",
        ),
        ("c/c.yaml", &secret("stringData: {password: hidden}\n")),
        (
            "d/d.json",
            r#"{"apiVersion": "v1", "kind": "List", "items": [
{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "D"}}, {"apiVersion": "v1", "data": {"a": "hidden"},
"kind": "Secret", "metadata": {"name": "d"}}]}"#,
        ),
        ("e/e.yaml", &format!("{}---\n{}", secret(""), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: E}\n")),
        ("f/f.yaml", &secret("data:\n  password: hidden\n")),
    ]);
    let vet = |path: &str| {
        let words = format!("vet --path DIR{path} --source-format=unstructured");
        nomos_on(&source, &words, |console| console.snippets = true).err
    };
    let broken = vet("");
    assert!(broken.contains("KNV2001") && broken.contains("--> a.yaml:5:") && !broken.contains("hidden"), "{broken}");
    fs::remove_file(source.path().join("a.yaml")).expect("there");
    let wrong = vet("");
    assert!(wrong.contains("--> b.yaml:1:61") && !wrong.contains("hidden"), "{wrong}");
    let beside = vet("/d");
    assert!(beside.contains("--> d.json:2:") && !beside.contains("hidden"), "{beside}");
    let value = vet("/f");
    assert!(value.contains("--> f.yaml:6:3") && !value.contains("hidden"), "{value}");
    assert!(vet("/e").contains("8 | metadata: {name: E}\n"), "{}", vet("/e"));
    assert!(vet("/c").contains("4 |   name: Wrong\n  |         ^^^^^ Secret Wrong\n"), "{}", vet("/c"));
}
