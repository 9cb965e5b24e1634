//! `nomos init`.

use std::fs;

use super::{Directory, FINE, SHOP, nomos, ran};

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
