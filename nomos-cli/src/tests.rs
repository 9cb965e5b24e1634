//! Whole command lines, run in this process: arguments and files in, text and exit status out.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Console, Environment};

/// A directory of one test, removed at its end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// An empty one.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("nomos-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path.canonicalize().expect("just made"))
    }

    /// One with these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let directory = Self::new();
        files.iter().for_each(|(path, text)| directory.write(path, text));
        directory
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("writable");
        fs::write(path, text).expect("writable");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).expect("there")
    }

    /// Every file below a directory, sorted.
    fn files(&self, directory: &str) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.0.join(directory), "", &mut found);
        found.sort();
        found
    }
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("readable");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() { collect(&entry.path(), &format!("{name}/"), found) } else { found.push(name) }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a run came to.
#[derive(Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) status: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn ran(status: u8, out: &str, err: &str) -> Ran {
    Ran { status, out: out.to_owned(), err: err.to_owned() }
}

/// Runs `nomos` with these words, of which `DIR` stands for the directory, in it, and without any other environment.
pub(crate) fn nomos(directory: &Directory, words: &str) -> Ran {
    nomos_on(directory, words, |_| {})
}

/// The same on a console that was prepared.
pub(crate) fn nomos_on(directory: &Directory, words: &str, prepare: impl FnOnce(&mut Console<'_>)) -> Ran {
    program_on(directory, &format!("nomos {words}"), prepare)
}

/// The same of the program that is the first word.
fn program_on(directory: &Directory, words: &str, prepare: impl FnOnce(&mut Console<'_>)) -> Ran {
    let path = directory.path().display().to_string();
    let words = words.split_whitespace().map(|word| OsString::from(word.replace("DIR", &path)));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let environment = Environment { directory: Some(directory.path().to_owned()), ..Environment::default() };
    let mut console = Console::new(&mut out, &mut err, environment);
    prepare(&mut console);
    let status = crate::run(words, &mut console);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8").replace(&path, "DIR");
    Ran { status, out: text(out), err: text(err) }
}

const REPO: &str =
    "apiVersion: configmanagement.gke.io/v1\nkind: Repo\nmetadata: {name: repo}\nspec: {version: 1.0.0}\n";
const SHOP: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
const FINE: &str = "✅ No validation issues found.\n";

fn config_map(name: &str, annotations: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  annotations: {{{annotations}}}\n")
}

#[test]
fn help_and_version_go_to_standard_output_and_mistakes_to_standard_error() {
    let nowhere = Directory::new();
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
fn vet_is_silent_on_standard_output() {
    let source = Directory::with(&[("system/repo.yaml", REPO), ("namespaces/shop/ns.yaml", SHOP)]);
    assert_eq!(nomos(&source, "vet --path DIR"), ran(0, "", FINE));
    assert_eq!(nomos(&source, "vet --path DIR --threshold"), ran(0, "", FINE));
    assert_eq!(nomos(&source, "vet --path DIR --no-api-server-check=false --clusters="), ran(0, "", FINE));
}

#[test]
fn flags_have_the_forms_that_scripts_use() {
    let source = Directory::with(&[("a.yaml", &config_map("a", "")), ("b.yaml", &config_map("b", ""))]);
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
fn vet_says_for_which_cluster_something_is_wrong() {
    let annotation = "configsync.gke.io/cluster-name-selector: prod";
    let source =
        Directory::with(&[("a.yaml", &config_map("web", annotation)), ("b.yaml", &config_map("web", annotation))]);
    let expected = "\
errors for cluster \"prod\":
KNV1029: ";
    let vet = nomos(&source, "vet --path DIR --source-format=unstructured");
    assert_eq!((vet.status, vet.out.as_str(), vet.err.starts_with(expected)), (1, "", true), "{}", vet.err);
    assert_eq!(
        nomos(&source, "vet --path DIR --source-format=unstructured --clusters=defaultcluster"),
        ran(0, "", FINE)
    );
    assert_eq!(
        nomos(&source, "vet --path DIR --source-format=unstructured --clusters=test"),
        ran(2, "", "error: the source names no cluster test; it names defaultcluster, prod\n")
    );
}

#[test]
fn vet_warns_of_keys_that_are_set_twice_and_passes() {
    let twice =
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\nstringData:\n  b: hidden\n  c: d\n  b: hidden too\n";
    let source = Directory::with(&[("a.yaml", twice), ("system/repo.yaml", REPO), ("namespaces/shop/ns.yaml", SHOP)]);
    let warning = "\
warning: The key `b` is in one map 2 times. The last value is used.

hint: Remove the key in all places but one.

path: a.yaml:6:3
path: a.yaml:8:3

";
    let unstructured = "vet --path DIR --source-format=unstructured";
    fs::remove_dir_all(source.path().join("system")).expect("there");
    assert_eq!(nomos(&source, unstructured), ran(0, "", &format!("{warning}{FINE}")));
    assert_eq!(nomos_on(&source, unstructured, |it| it.snippets = true).err, format!("{warning}{FINE}"));
    // What does not count is not warned of, and hydrate says nothing.
    source.write("system/repo.yaml", REPO);
    assert_eq!(nomos(&source, "vet --path DIR"), ran(0, "", FINE));
    assert_eq!(nomos(&source, "hydrate --path DIR --output DIR/out"), ran(0, "", ""));
    source.write("b.yaml", "kind: [");
    let both = nomos(&source, unstructured);
    assert!(both.status == 1 && both.err.starts_with(warning) && both.err.contains("KNV2001: "), "{}", both.err);
}

/// Every command that the READMEs of examples show for checking one.
#[test]
fn examples_are_vetted_as_they_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository");
    let nowhere = Directory::new();
    let mut examples = 0;
    for example in fs::read_dir(root.join("examples")).expect("the examples") {
        let readme = fs::read_to_string(example.expect("readable").path().join("README.md")).unwrap_or_default();
        let commands = readme.lines().filter_map(|line| line.strip_prefix("$ nomos vet "));
        let path = format!("--path {}/", root.display());
        commands.clone().for_each(|words| {
            let words = format!("vet {}", words.replace("--path ", &path));
            assert_eq!(nomos(&nowhere, &words), ran(0, "", FINE), "{words}");
        });
        examples += usize::from(commands.count() > 0);
    }
    assert!(examples > 5, "{examples} examples say how they are vetted");
}

#[test]
fn vet_numbers_several_findings() {
    let source = Directory::with(&[("a.yaml", &config_map("A", "")), ("b.yaml", &config_map("B", ""))]);
    let vet = nomos(&source, "vet --path DIR --source-format=unstructured");
    assert!(
        vet.err.starts_with("2 error(s)\n\n\n[1] KNV1036: ") && vet.err.contains("\n\n\n[2] KNV1036: "),
        "{}",
        vet.err
    );
}

#[test]
fn a_terminal_shows_the_offending_lines() {
    let annotation = "configsync.gke.io/cluster-name-selector: prod";
    let source = Directory::with(&[
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
    assert!(coloured.contains("\x1b[") && coloured.contains("^^^"), "{coloured}");
}

#[test]
fn lines_that_could_show_a_secret_are_not_shown() {
    let secret = |rest: &str| format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: Wrong\n{rest}");
    let source = Directory::with(&[
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
    assert!(vet("/e").contains("8 | metadata: {name: E}\n"), "{}", vet("/e"));
    assert!(vet("/c").contains("4 |   name: Wrong\n  |         ^^^^^ Secret Wrong\n"), "{}", vet("/c"));
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    let source = Directory::with(&[("kustomization.yaml", "resources: []\n")]);
    let both = nomos(&source, "vet --path DIR --namespace=shop --source-format=hierarchy");
    assert_eq!((both.status, both.err.contains("leave out --source-format=hierarchy")), (2, true));
    let rendered = nomos(&source, "vet --path DIR");
    let message = "error: DIR holds a kustomization, which needs --source-format=unstructured\n";
    assert_eq!(rendered, ran(2, "", message));
    assert_eq!(nomos(&source, "vet --path DIR/none").status, 2);
}

#[test]
fn a_namespace_repository_may_not_leave_its_namespace() {
    let elsewhere = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: bank}\n";
    let source = Directory::with(&[("web.yaml", elsewhere)]);
    let vet = nomos(&source, "vet --path DIR --namespace=shop");
    assert_eq!((vet.status, vet.err.starts_with("KNV1058: ")), (1, true), "{}", vet.err);
    assert_eq!(nomos(&source, "vet --path DIR --namespace=bank"), ran(0, "", FINE));
}

#[test]
fn more_objects_than_the_threshold_are_refused() {
    let source = Directory::with(&[("a.yaml", &config_map("a", "")), ("b.yaml", &config_map("b", ""))]);
    let vet = nomos(&source, "vet --path DIR --source-format=unstructured --threshold=1");
    assert_eq!((vet.status, vet.err.starts_with("KNV1070: ")), (1, true), "{}", vet.err);
}

#[test]
fn kinds_that_nobody_knows_are_findings_unless_the_check_is_off() {
    let source = Directory::with(&[("a.yaml", "apiVersion: com.me/v1\nkind: Engineer\nmetadata: {name: x}\n")]);
    let words = "vet --path DIR --source-format=unstructured";
    assert_eq!(nomos(&source, &format!("{words} --no-api-server-check")), ran(0, "", FINE));
    if crate::kinds::CAN_ASK {
        let vet = nomos(&source, words);
        assert_eq!((vet.status, vet.err.starts_with("KNV1021: ")), (1, true), "{}", vet.err);
    }
}

#[test]
fn hydrate_writes_a_file_for_each_object_and_removes_only_its_own() {
    let source = Directory::with(&[("in/a.yaml", &config_map("a", "x: 'y'")), ("in/b.yaml", &config_map("b", ""))]);
    let words = "hydrate --path DIR/in --source-format=unstructured --output DIR/in/out";
    assert_eq!(nomos(&source, words), ran(0, "", ""));
    let expected = "\
---
apiVersion: v1
kind: ConfigMap
metadata:
  annotations:
    x: \"y\"
  name: a
  namespace: default
";
    assert_eq!(source.read("in/out/default/configmap_a.yaml"), expected);
    source.write("in/out/default/mine.txt", "keep");
    fs::remove_file(source.path().join("in/b.yaml")).expect("there");
    // What was written lies below the source and is not read.
    assert_eq!(nomos(&source, words), ran(0, "", ""));
    assert_eq!(source.files("in/out"), ["default/configmap_a.yaml", "default/mine.txt"]);
    assert_eq!(nomos(&source, &format!("{words} --format=json")), ran(0, "", ""));
    assert_eq!(source.files("in/out"), ["default/configmap_a.json", "default/mine.txt"]);
}

#[test]
fn hydrate_writes_the_clusters_that_are_fine() {
    let only = |cluster: &str| format!("configsync.gke.io/cluster-name-selector: {cluster}");
    let source = Directory::with(&[
        ("in/a.yaml", &config_map("a", &only("prod"))),
        ("in/b.yaml", &config_map("b", &only("test"))),
        ("in/c.yaml", &config_map("b", &only("test"))),
    ]);
    let hydrate = nomos(&source, "hydrate --path DIR/in --source-format=unstructured --output DIR/out");
    assert_eq!((hydrate.status, hydrate.err.starts_with("errors for cluster \"test\":\nKNV1029: ")), (1, true));
    assert_eq!(source.files("out"), ["prod/default/configmap_a.yaml"]);
}

#[test]
fn hydrate_removes_nothing_when_something_is_blocked_and_never_its_source() {
    let source = Directory::with(&[("in/a.yaml", &config_map("a", ""))]);
    let words = "hydrate --source-format=unstructured --output DIR/out --path DIR/";
    assert_eq!(nomos(&source, &format!("{words}in")), ran(0, "", ""));
    source.write("in/a.yaml", "");
    source.write("in/bad.yaml", "kind");
    assert_eq!(nomos(&source, &format!("{words}in")).status, 1);
    assert_eq!(source.files("out"), ["default/configmap_a.yaml"]);
    source.write("in/bad.yaml", "");
    assert_eq!(nomos(&source, &format!("{words}in --clusters=")), ran(0, "", ""));
    assert_eq!(source.files("out"), ["default/configmap_a.yaml"]);
    // The output of one run is the source of another.
    let unmanaged = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    source.write("out/namespace_shop.yaml", unmanaged);
    assert_eq!(nomos(&source, &format!("{words}out")), ran(0, "", ""));
    assert_eq!(source.files("out"), ["default/configmap_a.yaml", "namespace_shop.yaml"]);
    assert_eq!(nomos(&source, &format!("{words}in")), ran(0, "", ""));
    assert_eq!(source.files("."), ["in/a.yaml", "in/bad.yaml"]);
}

#[test]
fn hydrate_removes_only_what_lies_where_it_writes() {
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n";
    let source = Directory::with(&[("base/a.yaml", &config_map("a", "")), ("prod/a.yaml", &config_map("b", ""))]);
    source.write("prod/shop.yaml", namespace);
    let words = "hydrate --source-format=unstructured";
    let prod = ["prod/default/configmap_b.yaml", "prod/namespace_shop.yaml"];
    assert_eq!(nomos(&source, &format!("{words} --path DIR/prod --output DIR/rendered/prod")), ran(0, "", ""));
    source.write("rendered/namespace_shop.yaml", namespace);
    source.write("rendered/defaultcluster/namespace_shop.yaml", namespace);
    assert_eq!(nomos(&source, &format!("{words} --path DIR/base --output DIR/rendered")), ran(0, "", ""));
    assert_eq!(source.files("rendered"), [&["default/configmap_a.yaml"], &prod[..]].concat());
    // The same beside directories of clusters.
    source.write("base/b.yaml", &config_map("b", "configsync.gke.io/cluster-name-selector: test"));
    assert_eq!(nomos(&source, &format!("{words} --path DIR/base --output DIR/rendered")), ran(0, "", ""));
    let written = ["configmap_a.yaml", "configmap_b.yaml"].map(|name| format!("test/default/{name}"));
    let written = ["defaultcluster/default/configmap_a.yaml", prod[0], prod[1], &written[0], &written[1]];
    assert_eq!(source.files("rendered"), written);

    // A directory that holds the source is not only for what is written.
    let mine = Directory::with(&[("src/a.yaml", &config_map("a", "")), ("namespace_shop.yaml", namespace)]);
    assert_eq!(nomos(&mine, &format!("{words} --path DIR/src --output DIR")), ran(0, "", ""));
    assert_eq!(mine.files(""), ["default/configmap_a.yaml", "namespace_shop.yaml", "src/a.yaml"]);
}

#[test]
fn vet_reads_what_the_agent_would() {
    let source = Directory::with(&[("in/a.yaml", &config_map("a", ""))]);
    let words = "--path DIR/in --source-format=unstructured --output DIR/in/out";
    for command in ["hydrate", "vet --keep-output", "hydrate --check"] {
        assert_eq!(nomos(&source, &format!("{command} {words}")).status, 0, "{command}");
    }
    let vet = nomos(&source, &format!("vet {words}"));
    assert_eq!((vet.status, vet.err.contains("KNV1029: ")), (1, true), "{}", vet.err);
}

#[test]
fn hydrate_names_directories_after_all_clusters_that_were_asked_for() {
    let annotation = |cluster: &str| format!("configsync.gke.io/cluster-name-selector: {cluster}");
    let words = "hydrate --path DIR/in --source-format=unstructured --output DIR/out";
    let source = Directory::with(&[
        ("in/a.yaml", &config_map("a", "")),
        ("in/b.yaml", &config_map("b", &annotation("prod"))),
        ("in/c.yaml", &config_map("b", &annotation("prod"))),
    ]);
    assert_eq!(nomos(&source, words).status, 1);
    assert_eq!(source.files("out"), ["defaultcluster/default/configmap_a.yaml"]);
    assert_eq!(nomos(&source, &format!("{words} --clusters=defaultcluster")), ran(0, "", ""));
    assert_eq!(source.files("out"), ["default/configmap_a.yaml"]);

    let twice = Directory::with(&[("in/a.yaml", &config_map("a", &annotation("defaultcluster")))]);
    assert_eq!(nomos(&twice, words), ran(0, "", ""));
    assert_eq!(twice.files("out"), ["defaultcluster/default/configmap._a.yaml"]);
}

#[test]
fn hydrate_stays_in_its_directory() {
    let words = "hydrate --path DIR/in --source-format=unstructured --output DIR/out";
    let kind = "apiVersion: v1\nkind: ../../x\nmetadata: {name: a}\n";
    let cluster = config_map("a", "configsync.gke.io/cluster-name-selector: ../../x");
    for text in [kind, &cluster] {
        let source = Directory::with(&[("in/a.yaml", text)]);
        let hydrate = nomos(&source, words);
        assert_eq!((hydrate.status, hydrate.err.contains("outside of DIR/out")), (2, true), "{}", hydrate.err);
        assert_eq!(source.files("."), ["in/a.yaml"]);
    }
}

#[test]
fn an_api_version_that_ends_in_a_slash_passes_vet_but_is_not_written() {
    let source = Directory::with(&[("in/a.yaml", "apiVersion: a/\nkind: X\nmetadata: {name: a}\n")]);
    let words = "--path DIR/in --source-format=unstructured --no-api-server-check --output DIR/out";
    assert_eq!(nomos(&source, &format!("vet {words}")), ran(0, "", FINE));
    let expected = "error: the apiVersion `a/` of x.a/a has no version\n";
    assert_eq!(nomos(&source, &format!("hydrate {words}")), ran(1, "", expected));
}

#[test]
fn hydrate_flat_writes_one_file() {
    let source = Directory::with(&[("in/a.yaml", &config_map("a", "")), ("in/b.yaml", &config_map("b", ""))]);
    let words = "hydrate --path DIR/in --source-format=unstructured --flat --output DIR/all.yaml";
    assert_eq!(nomos(&source, words), ran(0, "", ""));
    assert_eq!(source.read("all.yaml").matches("---\napiVersion: v1\n").count(), 2);
    let directory = nomos(&source, "hydrate --path DIR/in --source-format=unstructured --flat --output DIR/in");
    assert_eq!(directory, ran(2, "", "error: DIR/in is a directory; with --flat, --output names a file\n"));
}

#[test]
fn hydrate_check_shows_what_is_not_current() {
    let source = Directory::with(&[("in/a.yaml", &config_map("a", "x: 'y'")), ("in/b.yaml", &config_map("b", ""))]);
    let words = "hydrate --path DIR/in --source-format=unstructured --output DIR/out";
    let check = || nomos(&source, &format!("{words} --check"));
    let missing = check();
    assert_eq!((missing.status, missing.err.as_str()), (1, "DIR/out: nomos hydrate would change 2 file(s)\n"));
    assert!(missing.out.contains("--- /dev/null\n+++ DIR/out/default/configmap_a.yaml\n@@ -0,0 +1,8 @@\n+---\n"));
    assert!(!source.path().join("out").exists());

    assert_eq!(nomos(&source, words), ran(0, "", ""));
    assert_eq!(check(), ran(0, "", ""));
    // What is nobody's business stays so.
    source.write("out/default/mine.yaml", "keep");
    assert_eq!(check(), ran(0, "", ""));

    source.write("in/a.yaml", &config_map("a", "x: 'z'"));
    fs::remove_file(source.path().join("in/b.yaml")).expect("there");
    let expected = "\
--- DIR/out/default/configmap_a.yaml
+++ DIR/out/default/configmap_a.yaml
@@ -3,6 +3,6 @@
 kind: ConfigMap
 metadata:
   annotations:
-    x: \"y\"
+    x: z
   name: a
   namespace: default
--- DIR/out/default/configmap_b.yaml
+++ /dev/null
@@ -1,6 +0,0 @@
----
-apiVersion: v1
-kind: ConfigMap
-metadata:
-  name: b
-  namespace: default
";
    assert_eq!(check(), ran(1, expected, "DIR/out: nomos hydrate would change 2 file(s)\n"));
    assert_eq!(nomos(&source, words), ran(0, "", ""));
    assert_eq!(check(), ran(0, "", ""));

    let flat = "hydrate --path DIR/in --source-format=unstructured --flat --output DIR/all.yaml";
    assert_eq!(nomos(&source, &format!("{flat} --check")).status, 1);
    assert_eq!(nomos(&source, flat), ran(0, "", ""));
    assert_eq!(nomos(&source, &format!("{flat} --check")), ran(0, "", ""));

    source.write("in/c.yaml", "kind: [");
    let broken = check();
    assert_eq!((broken.status, broken.out.as_str(), broken.err.starts_with("KNV2001: ")), (1, "", true));
}

#[test]
fn init_makes_a_valid_source_and_spares_what_is_there() {
    let new = Directory::new();
    assert_eq!(nomos(&new, "init --path DIR"), ran(0, "Done!\n", ""));
    assert_eq!(nomos(&new, "vet --path DIR"), ran(0, "", FINE));
    new.write("README.md", "mine");
    let again = nomos(&new, "init --path DIR");
    assert_eq!((again.status, again.err.starts_with("error: DIR is not empty: it holds ")), (2, true), "{}", again.err);
    new.write("namespaces/shop/ns.yaml", SHOP);
    fs::remove_file(new.path().join("namespaces/.gitkeep")).expect("there");
    fs::rename(new.path().join("system/repo.yaml"), new.path().join("system/mine.yaml")).expect("there");
    assert_eq!(nomos(&new, "init --path DIR --force"), ran(0, "Done!\n", ""));
    assert_eq!(new.read("README.md"), "mine");
    let files = [
        "README.md",
        "cluster/.gitkeep",
        "clusterregistry/.gitkeep",
        "namespaces/shop/ns.yaml",
        "system/README.md",
        "system/mine.yaml",
    ];
    assert_eq!(new.files(""), files);
    assert_eq!(nomos(&new, "vet --path DIR"), ran(0, "", FINE));
}

#[test]
fn init_makes_the_directory_and_leaves_hidden_files() {
    let parent = Directory::with(&[("new/.git/config", "x")]);
    assert_eq!(nomos(&parent, "init --path DIR/new --force=false"), ran(0, "Done!\n", ""));
    assert_eq!(nomos(&parent, "init --path DIR/deep/er"), ran(0, "Done!\n", ""));
    let repo = parent.read("deep/er/system/repo.yaml");
    assert!(repo.contains("name: repo\n") && repo.contains("version: \"1.0.0\"\n"), "{repo}");
    assert_eq!(nomos(&parent, "init --path DIR/new/README.md").status, 2);
}

#[test]
fn flags_are_written_as_go_takes_them() {
    let source = Directory::with(&[("a.yaml", &config_map("a", ""))]);
    let words = "vet --path nowhere --path=DIR --source-format=unstructured --no-api-server-check=T --keep-output=0";
    assert_eq!(nomos(&source, words), ran(0, "", FINE));
    assert_eq!(nomos(&source, "vet --path DIR --keep-output=yes").status, 2);
}

#[test]
fn shells_get_scripts_that_know_every_command() {
    let nowhere = Directory::new();
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
    let directory = Directory::new();
    assert_eq!(nomos(&directory, "man DIR/man1"), ran(0, "", ""));
    let commands = ["", "-completion", "-explain", "-hydrate", "-init", "-man", "-status", "-version", "-vet"];
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
fn explain_finds_codes_however_they_are_written() {
    let nowhere = Directory::new();
    let entry = nomos(&nowhere, "explain KNV1029");
    let expected = "\
KNV1029 NameCollision

What
  Two or more manifests declare the same object: group, kind, namespace and name are equal.

Why
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
    let retired = "error: KNV1030 is retired: it is not reported any more; \
                   did you mean KNV1029 NameCollision, KNV1031 MissingObjectName, KNV1032 IllegalHierarchicalKind?\n";
    assert_eq!(nomos(&nowhere, "explain 1030"), ran(2, "", retired));
    let unknown =
        "error: \"collisio\" is no code; `nomos explain` lists them all; did you mean KNV1029 NameCollision?\n";
    assert_eq!(nomos(&nowhere, "explain collisio"), ran(2, "", unknown));
    let list = nomos(&nowhere, "explain -o json").out;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).expect("JSON");
    assert_eq!((list.len(), &list[0]["code"]), (agent::model::finding::Code::ALL.len(), &serde_json::json!("KNV1003")));
}

#[cfg(feature = "cluster")]
#[test]
fn status_needs_a_cluster() {
    let nowhere = Directory::new();
    let message =
        "error: no cluster to connect to: say --kubeconfig FILE, set KUBECONFIG, or write $HOME/.kube/config\n";
    assert_eq!(nomos(&nowhere, "status"), ran(2, "", message));
    assert_eq!(nomos(&nowhere, "version --contexts=prod"), ran(2, "", message));
    assert_eq!(nomos(&nowhere, "version --contexts=").status, 0);
    let missing = "error: failed to read the kubeconfig DIR/none: No such file or directory (os error 2)\n";
    assert_eq!(nomos(&nowhere, "status --kubeconfig DIR/none"), ran(2, "", missing));
    nowhere.write("broken", "users:\n- user: {token: hidden\n");
    let broken = nomos(&nowhere, "status --kubeconfig DIR/broken");
    let message = "error: failed to read the kubeconfig DIR/broken: ";
    assert!(broken.err.starts_with(message) && !broken.err.contains("hidden"), "{}", broken.err);
}

/// The kubeconfig of a cluster at a port of this machine.
#[cfg(feature = "cluster")]
fn away(port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: away\n\
         clusters: [{{name: away, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
         contexts: [{{name: away, context: {{cluster: away, user: me}}}}]\nusers: [{{name: me, user: {{}}}}]\n"
    )
}

#[cfg(feature = "cluster")]
#[test]
fn vet_names_the_cluster_that_does_not_answer() {
    // Connections are taken, and nothing is ever said.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("bound").port();
    let unknown = "apiVersion: com.me/v1\nkind: Engineer\nmetadata: {name: x}\n";
    let source =
        Directory::with(&[("refused", &away(1)), ("silent", &away(port)), ("a/a.yaml", unknown), ("b/b.yaml", SHOP)]);
    let vet = |words: &str| nomos(&source, &format!("vet --source-format=unstructured --kubeconfig DIR/{words}"));
    let head = "error: only a cluster may know Engineer.com.me; --no-api-server-check goes without one: \
                the cluster away cannot be asked: ";
    let refused = vet("refused --path DIR/a");
    assert_eq!((refused.status, refused.out.as_str(), refused.err.starts_with(head)), (2, "", true), "{}", refused.err);
    assert!(refused.err.contains("refused"), "{}", refused.err);
    let late = vet("silent --path DIR/a --api-server-timeout=300ms");
    assert_eq!(late, ran(2, "", &format!("{head}no answer within 0.3s\n")));
    // Nobody is asked without need.
    for words in ["refused --path DIR/a --no-api-server-check", "refused --path DIR/b", "none --path DIR/b"] {
        assert_eq!(vet(words), ran(0, "", FINE), "{words}");
    }
}

#[cfg(feature = "cluster")]
#[test]
fn an_unreachable_cluster_is_shown_as_such() {
    let directory = Directory::with(&[("kubeconfig", &away(1))]);
    let status = nomos(&directory, "status --kubeconfig DIR/kubeconfig");
    let expected = "\
Connecting to clusters...

*away
  --------------------
  N/A   Failed to connect to cluster
  Error:   ";
    assert_eq!((status.status, status.out.starts_with(expected)), (1, true), "{}", status.out);
    let unknown = nomos(&directory, "status --kubeconfig DIR/kubeconfig --contexts=near");
    assert_eq!(unknown, ran(2, "", "error: no context near in the kubeconfig; it has away\n"));
    let none = nomos(&directory, "status --kubeconfig DIR/kubeconfig --contexts=");
    assert_eq!(none, ran(0, "Connecting to clusters...\n", ""));
}
