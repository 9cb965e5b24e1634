//! Hostile repositories: the linter ends with a verdict, in bounded time and memory. Its processor time and address space are
//! limited from outside, so that what is not bounded fails here instead of stopping the machine.
#![expect(clippy::disallowed_methods, reason = "a test at the edge")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Limits of one run: KiB of address space, seconds of processor time. A debug build needs a tenth of them.
const LIMITS: &str = "ulimit -v 4194304 && ulimit -t 120 && exec \"$@\"";

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

/// Exit status of `nomos-lint vet` and the first 300 characters of what it says.
fn vet(root: &Path) -> (Option<i32>, String) {
    vet_as("unstructured", root)
}

fn vet_as(format: &str, root: &Path) -> (Option<i32>, String) {
    let output = Command::new("sh")
        .args(["-c", LIMITS, "sh", env!("CARGO_BIN_EXE_nomos-lint"), "vet", "--no-api-server-check"])
        .args(["--source-format", format, "--path"])
        .arg(root)
        .stdin(Stdio::null())
        .output()
        .expect("there is a shell");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).chars().take(300).collect())
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("the temporary directory is writable")
}

fn written(root: &Path, path: impl AsRef<Path>, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("below the root")).expect("writable");
    fs::write(path, content).expect("writable");
}

/// Checks each text as the only file of a repository: it is valid (an empty expectation), or this is said of it.
fn each(table: &[(&str, String, &str)]) {
    for (path, content, expected) in table {
        let root = directory();
        written(root.path(), path, content);
        let (status, said) = vet(root.path());
        let start: String = content.chars().take(60).collect();
        let valid = i32::from(!expected.is_empty());
        assert!(status == Some(valid) && said.contains(expected), "{path}, {start:?}: {status:?} {said}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = |open: &str| format!("{CONFIG_MAP}data: {}", open.repeat(100_000));
    let stairs: String = (0..3000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let repeated: String =
        (1..60).map(|n| format!("a{n}: &a{n} {}*a{}{}\n", "[".repeat(400), n - 1, "]".repeat(400))).collect();
    each(&[
        ("a.yaml", deep("["), "nested too deeply"),
        ("a.yaml", deep("{a: "), "nested too deeply"),
        ("a.yaml", deep("- "), "KNV2001"),
        ("a.yaml", deep("? "), "KNV2001"),
        ("a.yaml", "- ".repeat(100_000), "nested too deeply"),
        ("a.yaml", stairs, "nested too deeply"),
        ("a.json", "{\"a\":[".repeat(100_000), "nested too deeply"),
        ("a.yaml", format!("{CONFIG_MAP}a0: &a0 []\n{repeated}"), "nested too deeply"),
    ]);
}

#[test]
fn aliases_are_bounded() {
    let bomb = |first: &str, next: fn(u8) -> String| {
        (1..=12).fold(format!("{CONFIG_MAP}a0: &a0 {first}\n"), |text, level| {
            text + &format!("a{level}: &a{level} {}\n", next(level - 1))
        })
    };
    let tens = |above: u8| format!("[{}]", format!("*a{above}, ").repeat(10));
    let merges = |above: u8| format!("{{<<: [{}]}}", format!("*a{above}, ").repeat(10));
    let long = "x".repeat(2 << 20);
    let nested: String = (0..400).map(|level| format!("&a{level} [")).collect();
    each(&[
        ("a.yaml", bomb("[x, x]", tens), "aliases expand to much more than the document"),
        ("a.yaml", bomb("{x: x}", merges), "aliases expand to much more than the document"),
        ("a.yaml", format!("{CONFIG_MAP}a: &a {long}\nb: [{}]\n", "*a, ".repeat(1000)), "repeat too much"),
        ("a.yaml", format!("{CONFIG_MAP}a: {nested}{long}{}\n", "]".repeat(400)), "repeat too much"),
        ("a.yaml", format!("{CONFIG_MAP}a: &a [x, y]\nb: [{}]\n", "*a, ".repeat(20_000)), ""),
    ]);
}

#[test]
fn a_million_documents_are_read_one_by_one() {
    each(&[
        ("a.yaml", "---\na\n".repeat(1_000_000), "KNV2001"),
        ("a.yaml", format!("{}{CONFIG_MAP}", "---\n# none\n".repeat(1_000_000)), ""),
        ("a.yaml", "\n---".repeat(1_000_000), ""),
    ]);
}

#[test]
fn many_equal_findings_are_one_finding() {
    let item = r#"{"apiVersion":"v1","kind":"X","metadata":{"name":"a"}}"#;
    let items =
        |item: &str, count| format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, vec![item; count].join(","));
    each(&[("a.json", items(item, 40_000), "There are 40000 objects"), ("a.json", items("{}", 100_000), "KNV2010")]);
}

#[test]
fn maps_are_counted() {
    let maps = |map: &str| format!("[{}]", vec![map; 510_000].join(","));
    let object = r#""apiVersion":"v1","kind":"X","metadata":{"name":"a"}"#;
    each(&[
        ("a.yaml", format!("{CONFIG_MAP}data: {}\n", maps("{a}")), "more than 500,000 maps"),
        ("a.json", format!("{{{object},\"a\":{}}}", maps("{}")), "more than 500,000 maps"),
    ]);
}

#[test]
fn characters_that_slow_scanners_are_read_once() {
    let data = |text: &str, count| format!("{CONFIG_MAP}data: {}\n", text.repeat(count));
    each(&[
        ("a.yaml", data("!", 1_000_000), ""),
        ("a.yaml", format!("{CONFIG_MAP}data: '{}'\n", "!a".repeat(500_000)), ""),
        ("a.yaml", format!("{CONFIG_MAP}data: [{}]\n", "!a,".repeat(300_000)), "KNV2001"),
        ("a.yaml", format!("{CONFIG_MAP}data: [{}]\n", "a,".repeat(300_000)), ""),
        ("a.yaml", format!("{CONFIG_MAP}data: {{{}", "? ".repeat(500_000)), "KNV2001"),
        ("a.yaml", data(&"9".repeat(1000), 1000), ""),
        ("a.json", format!("{{\"a\":\"{}", "\\ud800".repeat(300_000)), "KNV2001"),
    ]);
}

#[test]
fn too_many_clusters_are_refused() {
    let names: Vec<String> = (0..300_000).map(|number| format!("c{number}")).collect();
    let annotations = format!("{{configsync.gke.io/cluster-name-selector: '{}'}}", names.join(","));
    let root = directory();
    let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations: {annotations}\n");
    written(root.path(), "a.yaml", &text);
    let (status, said) = vet(root.path());
    assert!(status == Some(2) && said.contains("the source names 300001 clusters"), "{status:?} {said}");
}

#[test]
fn too_many_copies_are_refused() {
    let root = directory();
    let several =
        |count: usize, of: &dyn Fn(usize) -> String| (0..count).map(|it| of(it) + "---\n").collect::<String>();
    let namespace =
        |it: usize| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: n{it}, labels: {{a: b}}}}\n");
    let object = |it: usize| {
        let selector = "{configmanagement.gke.io/namespace-selector: s}";
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a{it}, annotations: {selector}}}\n")
    };
    let selector = "apiVersion: configmanagement.gke.io/v1\nkind: NamespaceSelector\nmetadata: {name: s}\n\
                    spec: {selector: {matchLabels: {a: b}}}\n";
    written(root.path(), "namespaces.yaml", &several(3_300, &namespace));
    written(root.path(), "objects.yaml", &several(3_300, &object));
    written(root.path(), "selector.yaml", selector);
    let (status, said) = vet(root.path());
    assert!(status == Some(1) && said.contains("KNV1070"), "{status:?} {said}");
}

#[test]
fn many_findings_about_one_document_read_it_once() {
    let root = directory();
    let group = "apiVersion: configmanagement.gke.io/v1";
    written(
        root.path(),
        "system/repo.yaml",
        &format!("{group}\nkind: Repo\nmetadata: {{name: repo}}\nspec: {{version: 1.0.0}}\n"),
    );
    let entries = "  - {kinds: [Namespace], hierarchyMode: none}\n".repeat(20_000);
    let config = format!("{group}\nkind: HierarchyConfig\nmetadata: {{name: c}}\nspec:\n  resources:\n{entries}");
    written(root.path(), "system/config.yaml", &config);
    let (status, said) = vet_as("hierarchy", root.path());
    assert!(status == Some(1) && said.contains("KNV1041"), "{status:?} {said}");
}

#[test]
fn findings_do_not_list_everything() {
    let root = directory();
    let several = |of: &dyn Fn(usize) -> String| (0..4_000).map(|it| of(it) + "---\n").collect::<String>();
    let long = "x".repeat(180);
    let selector = |it: usize| {
        let spec = "spec: {selector: {matchLabels: {a: b}}}";
        format!(
            "apiVersion: configmanagement.gke.io/v1\nkind: ClusterSelector\nmetadata: {{name: {long}{it}}}\n{spec}\n"
        )
    };
    let object = |it: usize| {
        let selector = "{configmanagement.gke.io/cluster-selector: none}";
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a{it}, annotations: {selector}}}\n")
    };
    written(root.path(), "selectors.yaml", &several(&selector));
    written(root.path(), "objects.yaml", &several(&object));
    let (status, said) = vet(root.path());
    assert!(status == Some(1) && said.starts_with("4000 error(s)"), "{status:?} {said}");
}

#[test]
fn large_files_are_not_read() {
    let root = directory();
    written(root.path(), "good.yaml", CONFIG_MAP);
    File::create(root.path().join("huge.yaml")).expect("writable").set_len(500 << 20).expect("sparse");
    File::create(root.path().join("huge.txt")).expect("writable").set_len(500 << 20).expect("sparse");
    let (status, said) = vet(root.path());
    assert!(status == Some(1) && said.contains("huge.yaml has 500 MiB"), "{status:?} {said}");
}

#[test]
fn names_and_links_do_not_lead_out_of_the_source() {
    let (root, outside) = (directory(), directory());
    let root = root.path();
    written(outside.path(), "outside.yaml", "not: read\n");
    written(root, "in/good.yaml", CONFIG_MAP);
    symlink("..", root.join("in/loop")).expect("a file system with links");
    let fifo = Command::new("mkfifo").arg(root.join("waits.yaml")).status().expect("there is mkfifo");
    assert!(fifo.success());
    for name in
        ["a b.yaml", "-rf.yaml", "$(x).yaml", "é\u{202e}.yaml", "\u{1b}[31m.yaml", "'\".yaml", "..yaml", "%s.yaml"]
    {
        written(root, name, "---\n");
    }
    assert_eq!(vet(root), (Some(0), "✅ No validation issues found.\n".to_owned()));

    fs::write(root.join(OsStr::from_bytes(b"\xff.yaml")), "").expect("a file system that takes any name");
    fs::write(root.join("a\nb.yaml"), "").expect("a file system that takes any name");
    fs::write(root.join("bytes.yaml"), b"a: \xff\n").expect("writable");
    fs::write(root.join("zero.yaml"), [0; 100]).expect("writable");
    let (status, said) = vet(root);
    assert!(status == Some(1) && said.starts_with("4 error(s)"), "{status:?} {said}");

    // None of them is an error, because the original passes over links; the agent refuses a commit with one.
    let links = directory();
    written(links.path(), "good.yaml", CONFIG_MAP);
    for (link, target) in [
        ("self.yaml", "self.yaml".into()),
        ("dangling.yaml", "gone.yaml".into()),
        ("directory", outside.path().to_owned()),
        ("file.yaml", outside.path().join("outside.yaml")),
        ("endless.yaml", "/dev/zero".into()),
        ("waits.yaml", root.join("waits.yaml")),
    ] {
        let place = links.path().join(link);
        symlink(target, &place).expect("a file system with links");
        let (status, said) = vet(links.path());
        let warning = format!("warning: The link {link} leads ");
        assert!(status == Some(0) && said.starts_with(&warning), "{status:?} {said}");
        fs::remove_file(place).expect("writable");
    }
}

#[test]
fn a_directory_that_passes_a_limit_is_not_checked() {
    let refused = |root: &Path, expected: &str| {
        let (status, said) = vet(root);
        assert!(
            status == Some(2) && said.contains("not read to its end") && said.contains(expected),
            "{status:?} {said}"
        );
    };
    let root = directory();
    let large = format!("{CONFIG_MAP}# {}\n", "x".repeat(16_000_000));
    (0..18).for_each(|n| written(root.path(), format!("{n}.yaml"), &large));
    refused(root.path(), "more than 256 MiB together");
}

#[test]
fn the_documents_of_a_file_do_not_multiply_its_size() {
    let document = format!("{CONFIG_MAP}a: &a {}\nb: [{}]\n---\n", "x".repeat(1_000_000), "*a, ".repeat(100));
    let maps = format!("---\n{CONFIG_MAP}data: [{}]\n", "{a},".repeat(200_000));
    each(&[("a.yaml", document.repeat(10), "repeat too much"), ("a.yaml", maps.repeat(3), "more than 500,000 maps")]);
}
