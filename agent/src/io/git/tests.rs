//! Against repositories that `git` makes, on disk and behind HTTP.

pub(in crate::io) mod fixture;
mod hostile;
mod remote;
mod verified;
mod ssh;
mod token;

use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use fixture::{Repo, Server, branch, revision};

/// Resolves, fetches and reads: path and content of each file below `dir`.
fn files(store: &mut Store, want: &Want, dir: &str) -> Result<Vec<(String, String)>, GitError> {
    let commit = store.resolve(want)?;
    store.fetch(commit, &mut || ())?;
    let tree = tree_of(store, commit, dir)?;
    assert_eq!(tree.findings, []);
    let content = |entry: &TreeEntry| {
        let bytes = store.read(entry)?.unwrap();
        Ok((entry.path.clone(), String::from_utf8_lossy(&bytes).into_owned()))
    };
    tree.entries.iter().map(content).collect()
}

/// The files below a directory, which pass no limit.
fn tree_of(store: &Store, commit: Commit, dir: &str) -> Result<CommitTree, GitError> {
    store.tree(commit, dir, &mut ReadBudget::new()).map(|tree| tree.expect("small"))
}

fn file(path: &str, content: &str) -> (String, String) {
    (path.to_owned(), content.to_owned())
}

/// Runs `check` over a path, a `file:` URL and HTTP.
fn everywhere(repo: &Repo, check: impl Fn(&mut Store)) {
    let server = Server::of(repo);
    for url in [repo.path().display().to_string(), format!("file://{}", repo.path().display()), server.url()] {
        check(&mut repo.open(&url));
    }
}

fn error<T>(result: Result<T, GitError>) -> GitError {
    result.err().unwrap()
}

#[test]
fn branches_tags_hashes_and_head_resolve_alike_everywhere() {
    let repo = Repo::new();
    let first = repo.git("rev-parse HEAD");
    repo.git("tag light");
    repo.git("tag --annotate annotated --message=x");
    repo.git("tag --annotate twice annotated --message=x");
    repo.git("branch main-but-longer");
    repo.write("a.yaml", "two");
    let second = repo.commit();
    repo.git("tag both HEAD");
    repo.git("branch both HEAD~");
    everywhere(&repo, |store| {
        let at = [
            (branch("main"), &second),
            (branch("both"), &first),
            (branch("light"), &first),
            (branch("annotated"), &first),
            (revision("main"), &second),
            (revision("heads/main"), &second),
            (revision("refs/heads/main"), &second),
            (revision("HEAD"), &second),
            (revision("light"), &first),
            (revision("annotated"), &first),
            (revision("twice"), &first),
            (revision("tags/annotated"), &first),
            (revision("both"), &second),
            (revision(&first), &first),
        ];
        for (want, commit) in &at {
            assert_eq!(store.resolve(want).unwrap().to_string(), **commit, "{want}");
        }
        let refs = store.list(&at.clone().map(|(want, _)| want).into()).unwrap();
        for (want, commit) in &at {
            assert_eq!(refs.commit(want).unwrap().to_string(), **commit, "{want}");
        }
        assert_eq!(files(store, &revision("annotated"), "").unwrap(), [file("a.yaml", "one")]);
        assert_eq!(files(store, &revision(&first), "").unwrap(), [file("a.yaml", "one")]);
        assert_eq!(files(store, &branch("main"), "").unwrap(), [file("a.yaml", "two")]);
    });
}

#[test]
fn packed_refs_count_and_loose_ones_win() {
    let repo = Repo::new();
    repo.git("tag --annotate v1 --message=x");
    let first = repo.git("rev-parse HEAD");
    repo.git("pack-refs --all --prune");
    everywhere(&repo, |store| {
        assert_eq!(store.resolve(&branch("main")).unwrap().to_string(), first);
        assert_eq!(store.resolve(&revision("v1")).unwrap().to_string(), first);
    });
    let second = repo.commit();
    everywhere(&repo, |store| assert_eq!(store.resolve(&branch("main")).unwrap().to_string(), second));
}

#[test]
fn a_missing_ref_is_an_error_with_a_hint() {
    let repo = Repo::new();
    let unknown = "0123456789012345678901234567890123456789";
    everywhere(&repo, |store| {
        for want in [
            branch("master"),
            branch("mai"),
            branch("../main"),
            branch("a b"),
            revision("+main:x"),
            revision("^main"),
            revision(""),
        ] {
            let error = error(store.resolve(&want));
            assert_eq!(error.class, FailureClass::NotFound, "{error}");
            assert!(error.hint.as_ref().unwrap().contains("its default branch is \"main\""), "{error:?}");
        }
        let short = error(store.resolve(&revision(&repo.git("rev-parse --short HEAD"))));
        assert_eq!(short.hint.as_deref(), Some("Give all 40 digits of a commit."));
        let commit = store.resolve(&revision(unknown)).unwrap();
        assert_eq!(error(store.fetch(commit, &mut || ())).class, FailureClass::NotFound);
        let head = store.resolve(&revision("HEAD")).unwrap();
        store.fetch(head, &mut || ()).unwrap();
        for dir in ["none", "a.yaml", "a.yaml/x", "../x", "x/../../y", "NAMESPACES"] {
            let error = error(tree_of(store, head, dir));
            assert_eq!(
                (error.class, error.finding().code),
                (FailureClass::NotFound, crate::model::finding::Code::Source),
                "{error}"
            );
        }
    });
}

#[test]
fn an_empty_repository_is_not_broken() {
    let repo = Repo::new();
    repo.git("checkout --quiet --orphan empty");
    repo.git("branch -D main");
    everywhere(&repo, |store| {
        let error = error(store.resolve(&revision("HEAD")));
        assert_eq!(error.class, FailureClass::NotFound);
        assert!(error.hint.unwrap().contains("may be empty"));
    });
}

#[test]
fn a_directory_without_a_repository_is_not_found() {
    let repo = Repo::new();
    repo.write("plain/a.yaml", "");
    repo.git("init --quiet --object-format=sha256 new");
    for (name, class, text) in [
        ("plain", FailureClass::NotFound, "is not a git repository"),
        ("none", FailureClass::NotFound, "is not there"),
        ("new", FailureClass::Broken, "sha256"),
    ] {
        let path = repo.path().join(name);
        let error = error(Store::open(&fixture::remote(path.to_str().unwrap()), &repo.cache()));
        assert_eq!(error.class, class, "{error:?}");
        assert!(error.message.contains(text) && error.hint.is_some(), "{error:?}");
    }
}

#[test]
fn a_force_push_is_followed() {
    let repo = Repo::new();
    let (server, bare) = (Server::of(&repo), repo.path());
    let (mut local, mut http) = (repo.open(bare.to_str().unwrap()), repo.open(&server.url()));
    repo.write("b.yaml", "two");
    repo.commit();
    for store in [&mut local, &mut http] {
        assert_eq!(files(store, &branch("main"), "").unwrap(), [file("a.yaml", "one"), file("b.yaml", "two")]);
    }
    repo.git("reset --quiet --hard HEAD~");
    repo.write("c.yaml", "three");
    repo.commit();
    for store in [&mut local, &mut http] {
        assert_eq!(files(store, &branch("main"), "").unwrap(), [file("a.yaml", "one"), file("c.yaml", "three")]);
    }
}

#[test]
fn only_manifests_below_the_directory_are_listed_by_path() {
    let repo = Repo::new();
    for path in ["x/b.yaml", "x/a/z.yml", "x/a.json", "x/README.md", "x/UP.YAML", "x/.yaml", "xy/c.yaml"] {
        repo.write(path, path);
    }
    repo.git("-c protocol.file.allow=always submodule --quiet add ./ xy/module");
    repo.commit();
    everywhere(&repo, |store| {
        for dir in ["x", "/x/", "./x/.", "x//", "xy/../x"] {
            let files = files(store, &branch("main"), dir).unwrap();
            let paths: Vec<_> = files.iter().map(|(path, _)| path.as_str()).collect();
            assert_eq!(paths, [".yaml", "a.json", "a/z.yml", "b.yaml"], "{dir}");
        }
    });
}

#[test]
fn a_submodule_is_named_and_not_passed_over() {
    let repo = Repo::new();
    repo.write("x/a.yaml", "one");
    repo.git("-c protocol.file.allow=always submodule --quiet add ./ x/charts/module");
    repo.commit();
    everywhere(&repo, |store| {
        let commit = store.resolve(&branch("main")).unwrap();
        store.fetch(commit, &mut || ()).unwrap();
        let findings = tree_of(store, commit, "x").unwrap().findings;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].message, "charts/module is a submodule, which the agent does not read");
        assert!(findings[0].code.blocks());
        let error = tree_of(store, commit, "x/charts/module").unwrap_err();
        assert!(error.message.contains("\"x/charts/module\" is in a submodule"), "{}", error.message);
        assert_eq!(store.resolve(&branch("HEAD")).unwrap(), commit, "the default branch");
    });
}

#[test]
fn links_to_files_are_read_at_their_target() {
    let repo = Repo::new();
    repo.write("sync/sub/real.yaml", "real");
    repo.write("shared/common.yaml", "common");
    repo.write("shared/data.txt", "data");
    repo.link("sync/alias.yaml", "sub/real.yaml");
    repo.link("sync/no-extension", "./sub/../sub/real.yaml");
    repo.link("sync/sub/chain.yaml", "../alias.yaml");
    repo.link("sync/common.yaml", "../shared/common.yaml");
    repo.link("sync/through.yaml", "dir/common.yaml");
    repo.link("sync/data.yaml", "../shared/data.txt");
    repo.link("sync/dir", "../shared");
    repo.link("sync/dir.yaml", "../shared");
    repo.link("current", "sync");
    repo.commit();
    everywhere(&repo, |store| {
        for dir in ["sync", "current"] {
            assert_eq!(
                files(store, &branch("main"), dir).unwrap(),
                [file("../shared/common.yaml", "common"), file("sub/real.yaml", "real")]
            );
        }
        assert_eq!(files(store, &branch("main"), "current/sub/../dir").unwrap(), [file("common.yaml", "common")]);
    });
}

#[test]
fn kustomizations_of_every_spelling_are_listed() {
    let repo = Repo::new();
    for path in ["sync/Kustomization", "sync/x/kustomization.yml", "sync/kustomization", "sync/kustomization.json/a"] {
        repo.write(path, "");
    }
    repo.link("sync/y/Kustomization", "../../a.yaml");
    repo.commit();
    everywhere(&repo, |store| {
        let files = files(store, &branch("main"), "sync").unwrap();
        let paths: Vec<_> = files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["Kustomization", "x/kustomization.yml", "y/Kustomization"]);
    });
}

#[test]
fn links_that_lead_nowhere_are_findings() {
    let repo = Repo::new();
    repo.link("sync/dangling", "none.yaml");
    repo.link("sync/loop.yaml", "loop.yaml");
    repo.link("sync/out.yaml", "../../etc/passwd");
    repo.link("sync/root.yaml", "/a.yaml");
    repo.link("sync/through.yaml", "../a.yaml/b");
    repo.link("gone", "../elsewhere");
    let commit = repo.commit();
    everywhere(&repo, |store| {
        let commit = Commit::from_hex(&commit).unwrap();
        store.fetch(commit, &mut || ()).unwrap();
        let tree = tree_of(store, commit, "sync").unwrap();
        let messages: Vec<_> = tree.findings.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(tree.entries, []);
        assert_eq!(
            messages,
            [
                "the link dangling leads to nothing",
                "the link loop.yaml leads to nothing",
                "the link out.yaml leads out of the repository",
                "the link root.yaml leads out of the repository",
                "the link through.yaml leads to nothing",
            ]
        );
        assert_eq!(error(tree_of(store, commit, "gone")).class, FailureClass::NotFound);
    });
}

#[test]
fn a_huge_file_is_a_finding() {
    let repo = Repo::new();
    fs::File::create(repo.path().join("huge.yaml")).unwrap().set_len((16 << 20) + 1).unwrap();
    let commit = Commit::from_hex(&repo.commit()).unwrap();
    everywhere(&repo, |store| {
        store.fetch(commit, &mut || ()).unwrap();
        let entry = tree_of(store, commit, "").unwrap().entries.remove(1);
        assert_eq!(store.read(&entry).unwrap().unwrap_err().places[0].location.as_ref().unwrap().path, "huge.yaml");
    });
}

#[test]
fn bare_repositories_and_work_trees_are_opened_in_place() {
    let repo = Repo::new();
    repo.git("clone --quiet --bare . ../bare");
    repo.git("worktree add --quiet -b side ../tree");
    for (name, want) in [("bare", branch("main")), ("tree", revision("HEAD")), ("tree", branch("main"))] {
        let path = repo.path().with_file_name(name);
        let mut store = repo.open(path.to_str().unwrap());
        assert_eq!(files(&mut store, &want, "").unwrap(), [file("a.yaml", "one")]);
        assert_eq!(store.local_path(), Some(path.as_path()));
    }
    assert!(!repo.cache().exists(), "nothing is copied");
}

#[test]
fn a_commit_is_seen_at_once_and_reading_is_no_change() {
    let repo = Repo::new();
    repo.git("worktree add --quiet -b side ../tree");
    repo.git("clone --quiet --bare . ../bare");
    for name in ["repo", "tree", "bare"] {
        let path = repo.path().with_file_name(name);
        let (send, changes) = mpsc::channel();
        let _watcher = watch(&path, move || send.send(()).unwrap_or_default()).unwrap();
        let mut store = repo.open(path.to_str().unwrap());
        for _ in 0..100 {
            files(&mut store, &revision("HEAD"), "").unwrap();
        }
        let tree = repo.git("rev-parse HEAD^{tree}");
        let commit = repo.git(&format!("-C ../{name} commit-tree {tree} -p HEAD -m x"));
        repo.git(&format!("-C ../{name} update-ref HEAD {commit}"));
        let mut count = 0;
        loop {
            changes.recv_timeout(Duration::from_secs(10)).unwrap();
            count += 1;
            if store.resolve(&revision("HEAD")).unwrap().to_string() == commit {
                break;
            }
        }
        count += changes.try_iter().count();
        assert!(count < 10, "{name}: {count}");
    }
}

#[test]
#[ignore = "measures; run it with --release"]
fn ten_thousand_files_are_read_in_a_tenth_of_a_second() {
    let repo = Repo::new();
    for n in 0..10_000 {
        repo.write(
            &format!("d{}/f{n}.yaml", n % 100),
            &format!("kind: ConfigMap\nmetadata: {{name: n{n}}}\n{}", "# filler\n".repeat(50)),
        );
    }
    repo.commit();
    repo.git("repack -a -d --quiet");
    everywhere(&repo, |store| {
        let commit = store.resolve(&branch("main")).unwrap();
        store.fetch(commit, &mut || ()).unwrap();
        let start = std::time::Instant::now();
        let tree = tree_of(store, commit, "").unwrap();
        let walked = start.elapsed();
        let bytes: usize = tree.entries.iter().map(|entry| store.read(entry).unwrap().unwrap().len()).sum();
        let took = start.elapsed();
        assert!(took < Duration::from_millis(100), "{took:?}, {walked:?} of it for the tree, for {bytes} bytes");
    });
}

#[test]
fn a_clone_shows_its_commits_and_keeps_its_work_tree() {
    let repo = Repo::new();
    let first = repo.git("rev-parse HEAD");
    repo.write("config/b.yaml", "two");
    let second = repo.commit();
    repo.git("tag light");
    repo.git("tag --annotate --message=two heavy");
    repo.write("a.yaml", "not committed");

    let clone = UserClone::around(&repo.path().join("config")).expect("a clone");
    assert!(clone.work_tree().is_some_and(|tree| tree.ends_with("repo")));
    for (name, commit) in [
        ("HEAD", &second),
        ("main", &second),
        ("light", &second),
        ("heavy", &second),
        ("HEAD~1", &first),
        (&first[..8], &first),
        (first.as_str(), &first),
    ] {
        assert_eq!(clone.commit(name).map(|commit| commit.to_string()).as_ref(), Ok(commit), "{name}");
    }
    let missing = clone.commit("none").expect_err("missing");
    assert!(missing.class == FailureClass::NotFound && missing.hint.is_some_and(|hint| hint.contains("git fetch")));

    let commit = clone.commit("main").expect("there");
    let files = |commit, directory: &str| {
        let files = clone.files(commit, directory, &mut ReadBudget::new()).expect("readable").files;
        files
            .into_iter()
            .map(|file| (file.path, String::from_utf8_lossy(&file.content).into_owned()))
            .collect::<Vec<_>>()
    };
    let file = |path: &str, content: &str| (path.to_owned(), content.to_owned());
    assert_eq!(files(commit, "config"), [file("b.yaml", "two")]);
    assert_eq!(files(commit, "."), [file("a.yaml", "one"), file("config/b.yaml", "two")]);
    assert_eq!(files(clone.commit("HEAD~1").expect("there"), "."), [file("a.yaml", "one")]);
    assert!(clone.files(commit, "none", &mut ReadBudget::new()).is_err());
    assert_eq!(clone.subject(commit), "change");
    assert_eq!(clone.file(commit, "config/b.yaml").as_deref(), Some(b"two".as_slice()));
    assert_eq!(clone.file(commit, "none.yaml"), None);
    assert_eq!(fs::read_to_string(repo.path().join("a.yaml")).expect("there"), "not committed");
    assert!(UserClone::around(&repo.path().join("..")).is_none());

    assert!(clone.has(commit) && !Commit::from_hex(&"1".repeat(40)).is_some_and(|none| clone.has(none)));
    assert_eq!(clone.remotes(), [""; 0]);
    repo.git("remote add origin git@git.example:team/shop.git");
    repo.git("remote add upstream https://git.example/upstream/shop");
    let clone = UserClone::around(&repo.path()).expect("a clone");
    assert_eq!(clone.remotes(), ["git@git.example:team/shop.git", "https://git.example/upstream/shop"]);
}
