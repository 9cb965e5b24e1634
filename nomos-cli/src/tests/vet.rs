//! `nomos vet` as text.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{FINE, REPO, SHOP, TestDirectory, config_map, nomos, nomos_on, ran};

#[test]
fn vet_is_silent_on_standard_output() {
    let source = TestDirectory::with(&[("system/repo.yaml", REPO), ("namespaces/shop/ns.yaml", SHOP)]);
    assert_eq!(nomos(&source, "vet --path DIR"), ran(0, "", FINE));
    assert_eq!(nomos(&source, "vet --path DIR --threshold"), ran(0, "", FINE));
    assert_eq!(nomos(&source, "vet --path DIR --no-api-server-check=false --clusters="), ran(0, "", FINE));
}

#[test]
fn vet_names_the_cluster_of_a_finding() {
    let annotation = "configsync.gke.io/cluster-name-selector: prod";
    let source =
        TestDirectory::with(&[("a.yaml", &config_map("web", annotation)), ("b.yaml", &config_map("web", annotation))]);
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
        ran(2, "", "error: the source does not name the cluster test; it names defaultcluster, prod\n")
    );
}

#[test]
fn vet_warns_of_duplicate_keys_and_passes() {
    let twice =
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\nstringData:\n  b: hidden\n  c: d\n  b: hidden too\n";
    let source =
        TestDirectory::with(&[("a.yaml", twice), ("system/repo.yaml", REPO), ("namespaces/shop/ns.yaml", SHOP)]);
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
    // There are no warnings about a file that is not part of the source, and hydrate prints none.
    source.write("system/repo.yaml", REPO);
    assert_eq!(nomos(&source, "vet --path DIR"), ran(0, "", FINE));
    assert_eq!(nomos(&source, "hydrate --path DIR --output DIR/out"), ran(0, "", ""));
    source.write("b.yaml", "kind: [");
    let both = nomos(&source, unstructured);
    assert!(both.status == 1 && both.err.starts_with(warning) && both.err.contains("KNV2001: "), "{}", both.err);
}

#[test]
fn vet_warns_of_submodules_and_passes() {
    let source = TestDirectory::with(&[
        (".git/HEAD", "ref: refs/heads/main\n"),
        (".gitmodules", "[submodule \"a\"]\n\tpath = apps/a\n\turl = ../a\n[submodule \"b\"]\n\tpath = \"apps/b\"\n"),
        ("apps/a/.git", "gitdir: ../../.git/modules/a\n"),
        ("apps/c/.git", "gitdir: ../../.git/modules/c\n"),
        ("apps/tree/.git", "gitdir: DIR/.git/worktrees/tree\n"),
    ]);
    let warning = |path: &str, places: &str| {
        format!(
            "warning: {path} is a submodule. The agent refuses a commit with a submodule in the sync directory.\n\n\
             hint: Put its files into this repository, or sync its repository by a RootSync of its own.\n\n{places}\n"
        )
    };
    let from_root = [
        warning("apps/a", "path: apps/a/\npath: .gitmodules:2:2\n"),
        warning("apps/b", "path: .gitmodules:5:2\n"),
        warning("apps/c", "path: apps/c/\n"),
    ];
    let unstructured = "vet --source-format=unstructured --path DIR";
    assert_eq!(nomos(&source, unstructured), ran(0, "", &(from_root.concat() + FINE)));
    let from_apps = [
        warning("a", "path: a/\npath: ../.gitmodules:2:2\n"),
        warning("b", "path: ../.gitmodules:5:2\n"),
        warning("c", "path: c/\n"),
    ];
    assert_eq!(nomos(&source, &format!("{unstructured}/apps")), ran(0, "", &(from_apps.concat() + FINE)));
    // Below its own work tree, a submodule is a repository like others.
    assert_eq!(nomos(&source, &format!("{unstructured}/apps/c")), ran(0, "", FINE));
}

#[test]
fn vet_checks_the_files_behind_links_and_warns_of_links_that_the_agent_refuses() {
    let source = TestDirectory::with(&[(".git/HEAD", "ref: refs/heads/main\n"), ("sync/a.yaml", &config_map("a", ""))]);
    let vet = "vet --path DIR/sync --source-format=unstructured";
    let link = |target: &str, path: &str| symlink(target, source.path().join(path)).expect("a file system with links");
    link("a.yaml", "sync/again.yaml");
    link("../shared/b.yaml", "sync/b.yaml");
    source.write("shared/b.yaml", &config_map("b", ""));
    assert_eq!(nomos(&source, vet), ran(0, "", FINE));
    source.write("shared/b.yaml", "kind: [");
    let broken = nomos(&source, vet);
    assert!(broken.status == 1 && broken.err.starts_with("KNV2001: "), "{}", broken.err);
    assert!(broken.err.contains("../shared/b.yaml"), "{}", broken.err);
    source.write("shared/b.yaml", "");
    link("/etc/passwd", "sync/out.yaml");
    let warning = "\
warning: The link out.yaml leads out of the repository. The agent refuses a commit with such a link in the sync directory.

hint: Remove the link, or let it lead to a file of the repository by a relative path.

path: out.yaml

";
    assert_eq!(nomos(&source, vet), ran(0, "", &format!("{warning}{FINE}")));
}

/// Runs every `nomos vet` command of the READMEs of the examples.
#[test]
fn vet_commands_in_readmes_of_examples_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository");
    let nowhere = TestDirectory::new();
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
fn kustomizations_below_the_root_are_found() {
    let source = TestDirectory::with(&[("base/Kustomization", ""), ("base/web.yaml", &config_map("web", ""))]);
    for words in [
        "vet --path DIR --source-format=unstructured",
        "hydrate --path DIR --source-format=unstructured --output DIR/out",
    ] {
        let ran = nomos(&source, words);
        assert!(
            ran.status == 1 && ran.err.starts_with("KNV1068: The source has the kustomization base/"),
            "{}",
            ran.err
        );
    }
    assert!(!source.path().join("out").exists());
}

#[test]
fn vet_numbers_several_findings() {
    let source = TestDirectory::with(&[("a.yaml", &config_map("A", "")), ("b.yaml", &config_map("B", ""))]);
    let vet = nomos(&source, "vet --path DIR --source-format=unstructured");
    assert!(
        vet.err.starts_with("2 error(s)\n\n\n[1] KNV1036: ") && vet.err.contains("\n\n\n[2] KNV1036: "),
        "{}",
        vet.err
    );
}

#[test]
fn a_namespace_repository_may_not_leave_its_namespace() {
    let elsewhere = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: bank}\n";
    let source = TestDirectory::with(&[("web.yaml", elsewhere)]);
    let vet = nomos(&source, "vet --path DIR --namespace=shop");
    assert_eq!((vet.status, vet.err.starts_with("KNV1058: ")), (1, true), "{}", vet.err);
    assert_eq!(nomos(&source, "vet --path DIR --namespace=bank"), ran(0, "", FINE));
}

#[test]
fn more_objects_than_the_threshold_are_refused() {
    let source = TestDirectory::with(&[("a.yaml", &config_map("a", "")), ("b.yaml", &config_map("b", ""))]);
    let vet = nomos(&source, "vet --path DIR --source-format=unstructured --threshold=1");
    assert_eq!((vet.status, vet.err.starts_with("KNV1070: ")), (1, true), "{}", vet.err);
}

#[test]
fn unknown_kinds_need_a_cluster_unless_the_check_is_off() {
    let source = TestDirectory::with(&[("a.yaml", "apiVersion: com.me/v1\nkind: Engineer\nmetadata: {name: x}\n")]);
    let words = "vet --path DIR --source-format=unstructured";
    assert_eq!(nomos(&source, &format!("{words} --no-api-server-check")), ran(0, "", FINE));
    if crate::kinds::CAN_ASK {
        let why = "error: the source does not define Engineer.com.me, so a cluster must be asked (not with --no-api-server-check): ";
        source.write("kube/none", "apiVersion: v1\nkind: Config\n");
        source.write(
            "kube/gone",
            "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: a, context: {cluster: a}}]\n",
        );
        for (flag, cause) in [
            ("", "no cluster is configured; "),
            ("--kubeconfig DIR/kube/none", "the kubeconfig DIR/kube/none has no context"),
            ("--kubeconfig DIR/kube/gone", "the kubeconfig has no context \"x\", which is its current one"),
        ] {
            let vet = nomos(&source, &format!("{words} {flag}"));
            assert_eq!((vet.status, vet.err.starts_with(&format!("{why}{cause}"))), (2, true), "{}", vet.err);
        }
        // A kind that the source itself makes known needs no cluster.
        source.write("api-resources.txt", "NAME       SHORTNAMES  APIVERSION  NAMESPACED  KIND\nengineers              com.me/v1   true        Engineer\n");
        assert_eq!(nomos(&source, words), ran(0, "", FINE));
    }
}
