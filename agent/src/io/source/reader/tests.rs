//! Readings of local repositories, with small limits.

use std::fs;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::super::asked;
use super::*;
use crate::api::GitSpec;
use crate::compile::parse::ParsedFile;
use crate::compile::{CompileOptions, SourceFormat};
use crate::io::git::tests::fixture::Repo;
use crate::io::git::{Signers, Want};
use crate::io::kubernetes::namespaces::ListedNamespaces;
use crate::io::places::{SharedPlaces, Shares};
use crate::model::finding::Code;
use crate::model::limits::PARSED_AT_ONCE;
use crate::model::metadata::SyncId;

const OBJECT: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n";

fn reader_of(repo: &Repo, repositories: &Arc<Repositories>, limits: ReadLimits) -> Reader {
    let source = Source {
        sync: SyncId::root("root-sync"),
        has_object: true,
        git: GitSpec { repo: repo.path().to_str().unwrap().to_owned(), ..GitSpec::default() },
        reach: Default::default(),
        keys: None,
        want: Want::Branch("main".to_owned()),
        dir: String::new(),
        period: Duration::from_secs(15),
        cache: repo.cache(),
        settings: CompileOptions::offline(SourceFormat::Unstructured),
    };
    let (defined, kinds) = oneshot::channel();
    drop(defined);
    let mut reader = Reader::new(source, Arc::clone(repositories), Arc::default(), kinds);
    reader.limits = limits;
    reader
}

/// Compiles the newest commit: the number of its objects, or its findings.
fn compile(repo: &Repo, reader: &mut Reader) -> Result<usize, Vec<Finding>> {
    let commit = Commit::from_hex(&repo.commit()).unwrap();
    let compiled = reader.compile(commit, ClusterFacts::default(), None).unwrap();
    let Some(Event::Compiled { declared, findings, .. }) = compiled else { panic!("compiled") };
    let objects = |declared: Arc<DeclaredSet>| declared.objects.len() + declared.withheld.len();
    declared.map(objects).ok_or(findings)
}

fn objects(file: &ParsedFile) -> Vec<*const crate::model::manifest_object::ManifestObject> {
    file.manifests.iter().map(|manifest| Arc::as_ptr(&manifest.object)).collect()
}

#[test]
fn a_content_is_parsed_once_however_many_paths_name_it() {
    let repo = Repo::new();
    let content = format!("{OBJECT}data: {{a: {}}}\n", "x".repeat(100_000));
    fs::remove_file(repo.path().join("a.yaml")).unwrap();
    (0..100).for_each(|n| repo.write(&format!("{n}.yaml"), &content));
    repo.write("a.json", "{}");
    let limits = ReadLimits { content_bytes: 150_000, object_bytes: 300_000, ..READ };
    let mut reader = reader_of(&repo, &Arc::default(), limits);
    let findings = compile(&repo, &mut reader).unwrap_err();
    assert_eq!(reader.parsed.len(), 101);
    let first = objects(&reader.parsed[0].1);
    assert_eq!(first.len(), 1);
    assert_eq!(reader.parsed.iter().filter(|(_, file)| objects(file) == first).count(), 100);
    let paths: BTreeSet<&str> = reader.parsed.iter().map(|(_, file)| file.path.as_str()).collect();
    assert_eq!(paths.len(), 101);
    // One object in a hundred files, and a file that cannot be read.
    let places: usize = findings.iter().map(|finding| finding.places.len()).sum();
    assert!(places > 0, "{findings:?}");
    fs::remove_file(repo.path().join("a.json")).unwrap();
    repo.write("moved/b.yaml", &content);
    let found = compile(&repo, &mut reader).unwrap_err();
    assert!(found.iter().any(|finding| finding.places.len() == 101), "each path is a place: {found:?}");
    assert_eq!(reader.parsed.iter().filter(|(_, file)| objects(file) == first).count(), 101, "kept from before");
}

#[test]
fn a_commit_that_passes_a_limit_is_a_finding_and_the_files_before_are_kept() {
    let repo = Repo::new();
    repo.write("a.yaml", OBJECT);
    let limits = ReadLimits { entries: 10, content_bytes: 2000, object_bytes: 4000, ..READ };
    let mut reader = reader_of(&repo, &Arc::default(), limits);
    assert_eq!(compile(&repo, &mut reader), Ok(1));
    let before = objects(&reader.parsed[0].1);
    let other = |name: &str| OBJECT.replace("name: a", &format!("name: {name}"));
    let several = |count: usize| (0..count).map(|n| other(&format!("n{n}")) + "---\n").collect::<String>();
    let aliases = format!("{}x: &a {}\ndata: [{}]\n", other("b"), "x".repeat(300), "*a, ".repeat(20));
    for (content, said) in [
        (several(16), "more than 4000 bytes of memory"),
        (format!("{OBJECT}# {}\n", "x".repeat(2000)), "more than 2000 bytes"),
        (aliases, "more than 4000 bytes of memory"),
    ] {
        repo.write("b.yaml", &content);
        let findings = compile(&repo, &mut reader).unwrap_err();
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains(said), "{findings:?}");
        assert_eq!(findings[0].code, Code::Path);
        assert_eq!(findings[0].places[0].location.as_ref().unwrap().path, "b.yaml");
        assert_eq!(objects(&reader.parsed[0].1), before);
    }
    repo.write("b.yaml", &several(2));
    assert_eq!(compile(&repo, &mut reader), Ok(3));
    assert_eq!(objects(&reader.parsed[0].1), before, "the file that did not change is not parsed again");
}

#[test]
fn a_commit_that_takes_too_long_is_tried_again() {
    let repo = Repo::new();
    repo.write("a.yaml", OBJECT);
    let commit = Commit::from_hex(&repo.commit()).unwrap();
    let mut reader = reader_of(&repo, &Arc::default(), ReadLimits { time: Duration::ZERO, ..READ });
    let error = reader.compile(commit, ClusterFacts::default(), None).unwrap_err();
    assert_eq!(error.class, FailureClass::OverLimit);
    assert!(error.message.contains("takes longer than") && error.hint.is_some(), "{error:?}");
    reader.limits = READ;
    assert_eq!(compile(&repo, &mut reader), Ok(1));
}

#[test]
fn a_commit_in_quarantine_is_not_read_and_the_next_one_is() {
    let repo = Repo::new();
    repo.write("a.yaml", OBJECT);
    let hostile = Commit::from_hex(&repo.commit()).unwrap();
    for _ in 0..2 {
        let repositories: Arc<Repositories> = Arc::default();
        let subject = ReadSubject::new(repo.path().to_str().unwrap(), "", hostile);
        let mut attempt = repositories.attempt(&repo.cache(), &subject).unwrap();
        attempt.begin(1);
        attempt.die();
    }
    let mut reader = reader_of(&repo, &Arc::default(), READ);
    let error = reader.compile(hostile, ClusterFacts::default(), None).unwrap_err();
    assert_eq!(error.class, FailureClass::Quarantined);
    repo.write("b.yaml", &OBJECT.replace("name: a", "name: b"));
    assert_eq!(compile(&repo, &mut reader), Ok(2));
}

#[test]
fn a_commit_in_force_stays_when_signatures_are_asked_for_later() {
    let repo = Repo::new();
    repo.write("a.yaml", OBJECT);
    let commit = repo.commit();
    let mut reader = reader_of(&repo, &Arc::default(), READ);
    reader.remote.signers = Some(Signers::default());
    let error = reader.compile(Commit::from_hex(&commit).unwrap(), ClusterFacts::default(), None).unwrap_err();
    assert_eq!(error.class, FailureClass::Unsigned);
    let last = SourceCommit { commit, git: Arc::new(reader.source.git.status()), layout: reader.layout() };
    let Some(Event::Restored { declared, .. }) = reader.restore(last, ClusterFacts::default()) else {
        panic!("restored")
    };
    assert_eq!(declared.unwrap().objects.len(), 1);
}

#[test]
fn a_reading_waits_for_its_turn() {
    let repo = Repo::new();
    repo.write("a.yaml", OBJECT);
    let repositories: Arc<Repositories> = Arc::default();
    let mut reader = reader_of(&repo, &repositories, READ);
    let turn = repositories.memory().turn(PARSED_AT_ONCE);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| compile(&repo, &mut reader));
        while repositories.memory().waiting() == 0 {
            std::thread::yield_now();
        }
        assert!(!read.is_finished());
        drop(turn);
        assert_eq!(read.join().unwrap(), Ok(1));
    });
}

#[test]
fn others_have_their_turn_at_the_server_while_a_commit_is_read() {
    let repo = Repo::new();
    repo.write("a.yaml", OBJECT);
    let commit = Commit::from_hex(&repo.commit()).unwrap();
    let repositories: Arc<Repositories> = Arc::default();
    let mut reader = reader_of(&repo, &repositories, READ);
    let shares = |all| Shares { all, tenants: all, tenant: all };
    let places = SharedPlaces::with_servers(shares(2), shares(1));
    let visit = || places.visit(&None, "git.example").now_or_never();
    let (_thread, turn) = visit().unwrap();
    assert!(visit().is_none());
    let memory = repositories.memory().turn(PARSED_AT_ONCE);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| reader.compile(commit, ClusterFacts::default(), Some(turn)));
        while repositories.memory().waiting() == 0 {
            std::thread::yield_now();
        }
        assert!(visit().is_some());
        drop(memory);
        assert!(read.join().unwrap().is_ok());
    });
}

#[test]
fn mirrors_that_are_not_used_go_although_nothing_is_compiled() {
    let repo = Repo::new();
    let mut reader = reader_of(&repo, &Arc::default(), READ);
    let unused = repo.cache().join("unused");
    fs::create_dir_all(&unused).unwrap();
    let lock = fs::File::create(unused.join("lock")).unwrap();
    lock.set_modified(SystemTime::now() - Duration::from_secs(25 * 3600)).unwrap();
    drop(lock);
    let remote = reader.remote.clone();
    asked(&mut reader, (remote, true), None).unwrap();
    assert!(!unused.exists());
}

const DYNAMIC: &str = "apiVersion: configmanagement.gke.io/v1\nkind: NamespaceSelector\nmetadata: {name: s}\n\
                       spec: {mode: dynamic, selector: {matchLabels: {team: x}}}\n";
const SELECTED: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations: \
                        {configmanagement.gke.io/namespace-selector: s}\n";

/// Live Namespaces with these values of the label `team`.
fn live(names: &[(&str, &str)]) -> Option<LiveNamespaces> {
    let labels = |team: &str| [("team".to_owned(), team.to_owned())].into();
    let labels = names.iter().map(|(name, team)| ((*name).to_owned(), labels(team))).collect();
    Some(LiveNamespaces::Listed(Arc::new(ListedNamespaces { labels, ..ListedNamespaces::default() })))
}

#[test]
fn the_commit_in_force_is_compiled_again_for_other_namespaces_while_the_newest_one_is_broken() {
    let repo = Repo::new();
    repo.write("selector.yaml", DYNAMIC);
    repo.write("a.yaml", SELECTED);
    let mut reader = reader_of(&repo, &Arc::default(), READ);
    let facts = |names| ClusterFacts { namespaces: live(names), ..ClusterFacts::default() };
    let good = repo.commit();
    reader.compile(Commit::from_hex(&good).unwrap(), facts(&[("one", "x")]), None).unwrap().unwrap();
    // The newest commit is broken, and has no selector.
    fs::remove_file(repo.path().join("selector.yaml")).unwrap();
    let broken = Commit::from_hex(&repo.commit()).unwrap();
    let compiled = reader.compile(broken, facts(&[("one", "x")]), None).unwrap();
    assert!(matches!(compiled, Some(Event::Compiled { declared: None, .. })));
    let two = live(&[("one", "x"), ("two", "x")]);
    assert!(reader.affected_by(two.as_ref()).is_none());
    let last =
        SourceCommit { commit: good.clone(), git: Arc::new(reader.source.git.status()), layout: reader.layout() };
    let restored = |reader: &mut Reader, facts| match reader.restore(last.clone(), facts) {
        Some(Event::Restored { commit, declared }) if commit == good => declared.unwrap().objects.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(restored(&mut reader, facts(&[("one", "x")])), 1);
    let Some(PollingEvent::RestoredChanged(commit)) = reader.affected_by(two.as_ref()) else { panic!("affected") };
    assert_eq!(commit, last);
    assert_eq!(restored(&mut reader, facts(&[("one", "x"), ("two", "x")])), 2);
    assert!(reader.affected_by(two.as_ref()).is_none() && !reader.uses_namespaces());
    // The next commit has the selector again.
    repo.write("selector.yaml", DYNAMIC);
    reader.compile(Commit::from_hex(&repo.commit()).unwrap(), facts(&[]), None).unwrap().unwrap();
    assert!(matches!(reader.affected_by(two.as_ref()), Some(PollingEvent::FactsChanged)));
}

#[test]
fn a_source_with_dynamic_selectors_waits_for_the_namespaces_and_heeds_those_that_it_selects() {
    let repo = Repo::new();
    repo.write("selector.yaml", DYNAMIC);
    repo.write("a.yaml", SELECTED);
    let commit = Commit::from_hex(&repo.commit()).unwrap();
    let mut reader = reader_of(&repo, &Arc::default(), READ);
    let mut compile = |namespaces: Option<LiveNamespaces>| {
        let affected = matches!(reader.affected_by(namespaces.as_ref()), Some(PollingEvent::FactsChanged));
        let facts = ClusterFacts { namespaces, ..ClusterFacts::default() };
        let objects = match reader.compile(commit, facts, None).unwrap()? {
            Event::Compiled { declared, findings, .. } => declared.map(|set| set.objects.len()).ok_or(findings),
            other => panic!("{other:?}"),
        };
        Some((affected, objects))
    };
    assert_eq!(compile(None), None, "the Namespaces are not known");
    assert_eq!(compile(live(&[("one", "x"), ("other", "y")])), Some((false, Ok(1))));
    assert_eq!(compile(live(&[("one", "x"), ("another", "z")])), Some((false, Ok(1))));
    assert_eq!(compile(live(&[("one", "x"), ("other", "x")])), Some((true, Ok(2))));
    let finding = Finding::new(Code::ListNamespace, "forbidden");
    let (affected, found) = compile(Some(LiveNamespaces::Unlistable(finding))).unwrap();
    let findings = found.unwrap_err();
    assert!(affected && findings[0].places[0].location.as_ref().unwrap().path == "selector.yaml", "{findings:?}");
}

#[test]
fn a_sealed_file_is_parsed_again_when_the_keys_are_others() {
    const KEYS: [&str; 2] = [
        include_str!("../../../compile/parse/sealed/fixtures/one.agekey"),
        include_str!("../../../compile/parse/sealed/fixtures/other.agekey"),
    ];
    let repo = Repo::new();
    repo.write("a.yaml", OBJECT);
    let mut reader = reader_of(&repo, &Arc::default(), READ);
    let compile = |reader: &mut Reader, key: usize| {
        let keys = AgeKeys::read([("x.agekey", KEYS[key])].into_iter(), "a file").unwrap();
        let facts = ClusterFacts { keys, ..ClusterFacts::default() };
        let compiled = reader.compile(Commit::from_hex(&repo.commit()).unwrap(), facts, None).unwrap();
        let Some(Event::Compiled { declared, findings, .. }) = compiled else { panic!("compiled") };
        (declared.map(|set| set.objects.len()), findings.iter().map(|finding| finding.code).collect::<Vec<_>>())
    };
    assert_eq!(compile(&mut reader, 0), (Some(1), Vec::new()));
    assert!(!reader.uses_keys());
    repo.write("sealed.yaml", SEALED);
    let plain = objects(&reader.parsed[0].1);
    assert_eq!(compile(&mut reader, 1), (None, vec![Code::Path]));
    assert!(reader.uses_keys());
    assert_eq!(compile(&mut reader, 0), (Some(3), Vec::new()));
    assert_eq!(objects(&reader.parsed[0].1), plain, "a file that is not sealed is kept");
    assert_eq!(compile(&mut reader, 1), (None, vec![Code::Path]), "what was opened is not kept");
}

const SEALED: &str = include_str!("../../../compile/parse/sealed/fixtures/secret.yaml");

/// The key that does not open it.
fn other_key() -> ClusterFacts {
    const OTHER: &str = include_str!("../../../compile/parse/sealed/fixtures/other.agekey");
    let keys = AgeKeys::read([("x.agekey", OTHER)].into_iter(), "a file").unwrap();
    ClusterFacts { keys, ..ClusterFacts::default() }
}

#[test]
fn a_sealed_file_for_other_clusters_needs_no_key() {
    let repo = Repo::new();
    repo.write("a.yaml", OBJECT);
    let mut reader = reader_of(&repo, &Arc::default(), READ);
    let elsewhere = |name: &str, text: &str| {
        let annotation = "    annotations:\n        configsync.gke.io/cluster-name-selector: other\n";
        text.replace(&format!("    name: {name}\n"), &format!("    name: {name}\n{annotation}"))
    };
    let mut compile = |text: &str| {
        repo.write("sealed.yaml", text);
        let commit = Commit::from_hex(&repo.commit()).unwrap();
        let compiled = reader.compile(commit, other_key(), None).unwrap();
        let Some(Event::Compiled { declared, findings, .. }) = compiled else { panic!("compiled") };
        (declared.map(|set| set.objects.len()), findings.iter().map(|finding| finding.code).collect::<Vec<_>>())
    };
    assert_eq!(compile(&elsewhere("db", &elsewhere("settings", SEALED))), (Some(1), Vec::new()));
    assert_eq!(compile(&elsewhere("db", SEALED)), (None, vec![Code::Path]), "one of its objects is declared here");
}

#[test]
fn a_commit_in_force_stays_without_its_sealed_files_when_their_key_is_gone() {
    let repo = Repo::new();
    repo.write("a.yaml", OBJECT);
    repo.write("sealed.yaml", SEALED);
    let commit = repo.commit();
    for elsewhere in [false, true] {
        let mut reader = reader_of(&repo, &Arc::default(), READ);
        let mut git = reader.source.git.status();
        if elsewhere {
            reader.source.dir = "not-there".to_owned();
            git.dir = String::new();
        }
        let last = SourceCommit { commit: commit.clone(), git: Arc::new(git), layout: reader.layout() };
        let Some(Event::Restored { declared, .. }) = reader.restore(last, other_key()) else { panic!("restored") };
        let declared = declared.unwrap();
        assert_eq!((declared.objects.len(), declared.withheld.len(), declared.partial), (1, 2, true));
        assert!(reader.uses_keys(), "another key gives another set");
    }
}

#[test]
fn a_commit_in_force_is_compiled_in_the_layout_that_it_had() {
    let repo = Repo::new();
    repo.write("a.yaml", OBJECT);
    let commit = repo.commit();
    let mut reader = reader_of(&repo, &Arc::default(), READ);
    let (git, before) = (Arc::new(reader.source.git.status()), reader.layout());
    reader.source.settings.format = SourceFormat::Hierarchy;
    for (layout, objects) in [(before, Some(1)), (reader.layout(), None)] {
        let last = SourceCommit { commit: commit.clone(), git: Arc::clone(&git), layout };
        let Some(Event::Restored { declared, .. }) = reader.restore(last, ClusterFacts::default()) else {
            panic!("restored")
        };
        assert_eq!(declared.map(|declared| declared.objects.len()), objects, "{layout:?}");
    }
}
