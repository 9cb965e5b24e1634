//! `nomos init`.

use std::fs;
use std::os::unix::fs::symlink;

use super::{FINE, SHOP, TestDirectory, nomos, ran};

#[test]
fn init_creates_a_valid_source_and_keeps_existing_files() {
    let new = TestDirectory::new();
    assert_eq!(nomos(&new, "init --path DIR"), ran(0, "Done!\n", ""));
    assert_eq!(nomos(&new, "vet --path DIR"), ran(0, "", FINE));
    new.write("README.md", "mine");
    let again = nomos(&new, "init --path DIR");
    assert_eq!(
        (again.status, again.err.starts_with("error: DIR is not empty: it contains ")),
        (2, true),
        "{}",
        again.err
    );
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
fn init_follows_no_link() {
    let new = TestDirectory::with(&[("elsewhere/a", "")]);
    fs::create_dir(new.path().join("repo")).expect("writable");
    symlink("../none", new.path().join("repo/README.md")).expect("a file system with links");
    symlink("../elsewhere", new.path().join("repo/system")).expect("a file system with links");
    let refused = nomos(&new, "init --path DIR/repo --force");
    assert!(refused.status == 2 && refused.err.contains("DIR/repo/system is a symbolic link"), "{}", refused.err);
    fs::remove_file(new.path().join("repo/system")).expect("there");
    assert_eq!(nomos(&new, "init --path DIR/repo --force"), ran(0, "Done!\n", ""));
    assert!(!new.path().join("none").exists());
    assert_eq!(new.files("elsewhere"), ["a"]);
}

#[test]
fn init_creates_the_directory_and_accepts_hidden_files() {
    let parent = TestDirectory::with(&[("new/.git/config", "x")]);
    assert_eq!(nomos(&parent, "init --path DIR/new --force=false"), ran(0, "Done!\n", ""));
    assert_eq!(nomos(&parent, "init --path DIR/deep/er"), ran(0, "Done!\n", ""));
    let repo = parent.read("deep/er/system/repo.yaml");
    assert!(repo.contains("name: repo\n") && repo.contains("version: \"1.0.0\"\n"), "{repo}");
    assert_eq!(nomos(&parent, "init --path DIR/new/README.md").status, 2);
}
