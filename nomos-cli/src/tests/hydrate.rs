//! `nomos hydrate`, and `--keep-output` of `vet`.

use std::fs;
use std::os::unix::fs::symlink;

use super::{FINE, TestDirectory, config_map, nomos, ran};

#[test]
fn hydrate_writes_a_file_for_each_object_and_removes_only_its_own_files() {
    let source = TestDirectory::with(&[("in/a.yaml", &config_map("a", "x: 'y'")), ("in/b.yaml", &config_map("b", ""))]);
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
    // The output is inside the source, and it is not read.
    assert_eq!(nomos(&source, words), ran(0, "", ""));
    assert_eq!(source.files("in/out"), ["default/configmap_a.yaml", "default/mine.txt"]);
    assert_eq!(nomos(&source, &format!("{words} --format=json")), ran(0, "", ""));
    assert_eq!(source.files("in/out"), ["default/configmap_a.json", "default/mine.txt"]);
}

#[test]
fn hydrate_reads_links_and_removes_nothing_behind_them() {
    let source = TestDirectory::with(&[(".git/HEAD", ""), ("shared/a.yaml", &config_map("a", ""))]);
    let link = |target: &str, path: &str| {
        let path = source.path().join(path);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("writable");
        symlink(target, path).expect("a file system with links");
    };
    link("../shared/a.yaml", "in/a.yaml");
    let words = "hydrate --path DIR/in --source-format=unstructured --output DIR/out";
    assert_eq!(nomos(&source, words), ran(0, "", ""));
    assert_eq!(source.files("out"), ["default/configmap_a.yaml"]);
    // A text as of an earlier run, but not in the output.
    fs::rename(source.path().join("out/default"), source.path().join("default")).expect("there");
    link("../../default/configmap_a.yaml", "out/default/configmap_a.yaml");
    source.write("shared/a.yaml", &config_map("b", ""));
    assert_eq!(nomos(&source, words), ran(0, "", ""));
    assert_eq!(source.files("default"), ["configmap_a.yaml"]);
    assert_eq!(source.files("out"), ["default/configmap_a.yaml", "default/configmap_b.yaml"]);
    // An agent does not read it.
    link("/etc/hostname", "in/c.yaml");
    let told = nomos(&source, words);
    assert!(told.status == 0 && told.err.starts_with("warning: ") && told.err.contains("c.yaml"), "{}", told.err);
}

#[test]
fn hydrate_writes_the_clusters_without_blocking_findings() {
    let only = |cluster: &str| format!("configsync.gke.io/cluster-name-selector: {cluster}");
    let source = TestDirectory::with(&[
        ("in/a.yaml", &config_map("a", &only("prod"))),
        ("in/b.yaml", &config_map("b", &only("test"))),
        ("in/c.yaml", &config_map("b", &only("test"))),
    ]);
    let hydrate = nomos(&source, "hydrate --path DIR/in --source-format=unstructured --output DIR/out");
    assert_eq!((hydrate.status, hydrate.err.starts_with("errors for cluster \"test\":\nKNV1029: ")), (1, true));
    assert_eq!(source.files("out"), ["prod/default/configmap_a.yaml"]);
}

#[test]
fn hydrate_removes_nothing_of_a_blocked_source_and_never_the_source_itself() {
    let source = TestDirectory::with(&[("in/a.yaml", &config_map("a", ""))]);
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
fn hydrate_removes_only_files_at_paths_that_it_writes() {
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n";
    let source = TestDirectory::with(&[("base/a.yaml", &config_map("a", "")), ("prod/a.yaml", &config_map("b", ""))]);
    source.write("prod/shop.yaml", namespace);
    let words = "hydrate --source-format=unstructured";
    let prod = ["prod/default/configmap_b.yaml", "prod/namespace_shop.yaml"];
    assert_eq!(nomos(&source, &format!("{words} --path DIR/prod --output DIR/rendered/prod")), ran(0, "", ""));
    source.write("rendered/namespace_shop.yaml", namespace);
    source.write("rendered/defaultcluster/namespace_shop.yaml", namespace);
    assert_eq!(nomos(&source, &format!("{words} --path DIR/base --output DIR/rendered")), ran(0, "", ""));
    assert_eq!(source.files("rendered"), [&["default/configmap_a.yaml"], &prod[..]].concat());
    // Files of a directory that is named like a cluster are recognised too.
    source.write("base/b.yaml", &config_map("b", "configsync.gke.io/cluster-name-selector: test"));
    assert_eq!(nomos(&source, &format!("{words} --path DIR/base --output DIR/rendered")), ran(0, "", ""));
    let written = ["configmap_a.yaml", "configmap_b.yaml"].map(|name| format!("test/default/{name}"));
    let written = ["defaultcluster/default/configmap_a.yaml", prod[0], prod[1], &written[0], &written[1]];
    assert_eq!(source.files("rendered"), written);

    // From a directory that contains the source, nothing is removed.
    let mine = TestDirectory::with(&[("src/a.yaml", &config_map("a", "")), ("namespace_shop.yaml", namespace)]);
    assert_eq!(nomos(&mine, &format!("{words} --path DIR/src --output DIR")), ran(0, "", ""));
    assert_eq!(mine.files(""), ["default/configmap_a.yaml", "namespace_shop.yaml", "src/a.yaml"]);
}

#[test]
fn vet_reads_the_same_files_as_the_agent() {
    let source = TestDirectory::with(&[("in/a.yaml", &config_map("a", ""))]);
    let words = "--path DIR/in --source-format=unstructured --output DIR/in/out";
    for command in ["hydrate", "vet --keep-output", "hydrate --check"] {
        assert_eq!(nomos(&source, &format!("{command} {words}")).status, 0, "{command}");
    }
    let vet = nomos(&source, &format!("vet {words}"));
    assert_eq!((vet.status, vet.err.contains("KNV1029: ")), (1, true), "{}", vet.err);
}

#[test]
fn hydrate_makes_a_directory_for_each_requested_cluster() {
    let annotation = |cluster: &str| format!("configsync.gke.io/cluster-name-selector: {cluster}");
    let words = "hydrate --path DIR/in --source-format=unstructured --output DIR/out";
    let source = TestDirectory::with(&[
        ("in/a.yaml", &config_map("a", "")),
        ("in/b.yaml", &config_map("b", &annotation("prod"))),
        ("in/c.yaml", &config_map("b", &annotation("prod"))),
    ]);
    assert_eq!(nomos(&source, words).status, 1);
    assert_eq!(source.files("out"), ["defaultcluster/default/configmap_a.yaml"]);
    assert_eq!(nomos(&source, &format!("{words} --clusters=defaultcluster")), ran(0, "", ""));
    assert_eq!(source.files("out"), ["default/configmap_a.yaml"]);

    let twice = TestDirectory::with(&[("in/a.yaml", &config_map("a", &annotation("defaultcluster")))]);
    assert_eq!(nomos(&twice, words), ran(0, "", ""));
    assert_eq!(twice.files("out"), ["defaultcluster/default/configmap._a.yaml"]);
}

#[test]
fn hydrate_stays_in_its_directory() {
    let words = "hydrate --path DIR/in --source-format=unstructured --no-api-server-check --output DIR/out";
    let kind = "apiVersion: v1\nkind: ../../x\nmetadata: {name: a}\n";
    let cluster = config_map("a", "configsync.gke.io/cluster-name-selector: ../../x");
    for text in [kind, &cluster] {
        let source = TestDirectory::with(&[("in/a.yaml", text)]);
        let hydrate = nomos(&source, words);
        assert_eq!((hydrate.status, hydrate.err.contains("outside of DIR/out")), (2, true), "{}", hydrate.err);
        assert_eq!(source.files("."), ["in/a.yaml"]);
    }
}

#[test]
fn hydrate_follows_no_link_in_its_directory() {
    let source =
        TestDirectory::with(&[("in/a.yaml", &config_map("a", "")), ("secret", "hunter2"), ("elsewhere/b", "")]);
    fs::create_dir_all(source.path().join("out/default")).expect("writable");
    let file = source.path().join("out/default/configmap_a.yaml");
    let words = "--path DIR/in --source-format=unstructured --output DIR/out";
    let commands =
        [format!("hydrate {words} --check"), format!("hydrate {words}"), format!("vet {words} --keep-output")];
    let refuse = |place: &str, words: &str| {
        let expected = format!(
            "error: DIR/out/{place} is a symbolic link, which nomos does not follow; remove it, or choose another directory\n"
        );
        assert_eq!(nomos(&source, words), ran(2, "", &expected));
    };
    for target in ["../../secret", "../../none"] {
        symlink(target, &file).expect("a file system with links");
        commands.iter().for_each(|words| refuse("default/configmap_a.yaml", words));
        let flat = words.replace("DIR/out", "DIR/out/default/configmap_a.yaml");
        refuse("default/configmap_a.yaml", &format!("hydrate --flat {flat}"));
        refuse("default/configmap_a.yaml", &format!("hydrate --flat --check {flat}"));
        fs::remove_file(&file).expect("there");
    }
    fs::remove_dir(source.path().join("out/default")).expect("empty");
    symlink("../elsewhere", source.path().join("out/default")).expect("a file system with links");
    commands.iter().for_each(|words| refuse("default", words));
    assert_eq!(source.files("."), ["elsewhere/b", "in/a.yaml", "out/default/b", "secret"]);
    assert_eq!(source.read("secret"), "hunter2");
}

#[test]
fn an_api_version_that_ends_in_a_slash_passes_vet_but_is_not_written() {
    let source = TestDirectory::with(&[("in/a.yaml", "apiVersion: a/\nkind: X\nmetadata: {name: a}\n")]);
    let words = "--path DIR/in --source-format=unstructured --no-api-server-check --output DIR/out";
    assert_eq!(nomos(&source, &format!("vet {words}")), ran(0, "", FINE));
    let expected = "error: the apiVersion `a/` of x.a/a ends without a version; write it as GROUP/VERSION\n";
    assert_eq!(nomos(&source, &format!("hydrate {words}")), ran(1, "", expected));
}

#[test]
fn hydrate_flat_writes_one_file() {
    let source = TestDirectory::with(&[("in/a.yaml", &config_map("a", "")), ("in/b.yaml", &config_map("b", ""))]);
    let words = "hydrate --path DIR/in --source-format=unstructured --flat --output DIR/all.yaml";
    assert_eq!(nomos(&source, words), ran(0, "", ""));
    assert_eq!(source.read("all.yaml").matches("---\napiVersion: v1\n").count(), 2);
    let directory = nomos(&source, "hydrate --path DIR/in --source-format=unstructured --flat --output DIR/in");
    assert_eq!(directory, ran(2, "", "error: DIR/in is a directory; with --flat, --output must be a file\n"));
}

#[test]
fn hydrate_check_shows_files_that_are_not_current() {
    let source = TestDirectory::with(&[("in/a.yaml", &config_map("a", "x: 'y'")), ("in/b.yaml", &config_map("b", ""))]);
    let words = "hydrate --path DIR/in --source-format=unstructured --output DIR/out";
    let check = || nomos(&source, &format!("{words} --check"));
    let missing = check();
    assert_eq!((missing.status, missing.err.as_str()), (1, "DIR/out: nomos hydrate would change 2 file(s)\n"));
    assert!(missing.out.contains("--- /dev/null\n+++ DIR/out/default/configmap_a.yaml\n@@ -0,0 +1,8 @@\n+---\n"));
    assert!(!source.path().join("out").exists());

    assert_eq!(nomos(&source, words), ran(0, "", ""));
    assert_eq!(check(), ran(0, "", ""));
    // A file that hydrate did not write is no difference.
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
