//! Remote repositories: what is asked of a server, what its refusals become, and what happens to the mirror.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use super::super::http::Http;
use super::super::operation::OperationLimits;
use super::super::*;
use super::fixture::{Manner, Repo, Server, branch, proxy, remote, revision};
use super::{error, file, files, tree_of};

fn password(password: &str) -> Login {
    Login::Password(Credentials { user: "user".to_owned(), password: password.to_owned() })
}

#[test]
fn a_poll_is_two_requests_on_one_connection_and_only_a_new_commit_is_fetched() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    let mut store = repo.open(&server.url());
    let poll = |store: &mut Store| files(store, &branch("main"), "").unwrap();
    poll(&mut store);
    assert_eq!(server.seen(), ["connect", "refs", "ls-refs", "refs", "fetch"]);
    poll(&mut store);
    poll(&mut store);
    assert_eq!(server.seen(), ["refs", "ls-refs", "refs", "ls-refs"]);
    repo.write("a.yaml", "two");
    repo.commit();
    assert_eq!(poll(&mut store), [file("a.yaml", "two")]);
    assert_eq!(server.seen(), ["refs", "ls-refs", "refs", "fetch"]);
    drop(store);
    let mut store = repo.open(&server.url());
    assert_eq!(poll(&mut store), [file("a.yaml", "two")]);
    assert_eq!(server.seen(), ["connect", "refs", "ls-refs"], "the mirror outlives the process");
    let hash = revision(&repo.git("rev-parse HEAD"));
    assert_eq!(files(&mut store, &hash, "").unwrap(), [file("a.yaml", "two")]);
    assert_eq!(server.seen(), Vec::<String>::new(), "a full hash needs no asking");
}

#[test]
fn a_fetch_gets_no_history_and_only_what_changed() {
    let repo = Repo::new();
    for n in 0..50 {
        repo.write("many.yaml", &format!("{n}"));
        repo.write(&format!("f{n}.yaml"), &format!("{n}"));
    }
    repo.commit();
    let server = Server::of(&repo);
    let mut store = repo.open(&server.url());
    let objects = |store: &Store| store.repo().objects.iter().unwrap().count();
    files(&mut store, &branch("main"), "").unwrap();
    let first = objects(&store);
    repo.write("f7.yaml", "new");
    repo.commit();
    files(&mut store, &branch("main"), "").unwrap();
    assert!(objects(&store) - first <= 4, "a commit, a tree and what that is a delta of, a blob");
}

#[test]
fn servers_that_refuse_are_told_apart() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    let mut store = repo.open(&server.url());
    for (manner, class, hint) in [
        (Manner::Ask, FailureClass::Unauthenticated, "secretRef"),
        (Manner::Status(403), FailureClass::Unauthenticated, "read access"),
        (Manner::Status(407), FailureClass::Unauthenticated, "proxy"),
        (Manner::Status(404), FailureClass::NotFound, "spec.git.repo"),
        (Manner::Status(429), FailureClass::Unreachable, "period"),
        (Manner::Status(500), FailureClass::Unreachable, "again"),
        (Manner::Status(503), FailureClass::Unreachable, "again"),
        (Manner::Status(418), FailureClass::Broken, "spec.git.repo"),
        (Manner::LoginPage, FailureClass::Broken, "clone"),
    ] {
        server.be(manner.clone());
        let error = error(store.resolve(&branch("main")));
        assert_eq!(error.class, class, "{manner:?} {error}");
        assert!(error.message.starts_with(&server.url()), "{error}");
        assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
    }
    let missing = error(repo.open(&server.url_of("none")).resolve(&branch("main")));
    assert_eq!(missing.class, FailureClass::Broken);
    server.be(Manner::Serve);
    assert_eq!(error(repo.open(&server.url_of("none")).resolve(&branch("main"))).class, FailureClass::NotFound);
    assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
}

#[test]
fn a_commit_that_no_branch_leads_to_is_fetched_by_its_hash() {
    let repo = Repo::new();
    let first = repo.git("rev-parse HEAD");
    repo.write("a.yaml", "two");
    let lost = repo.commit();
    repo.git(&format!("update-ref refs/heads/main {first}"));
    let server = Server::of(&repo);
    let mut store = repo.open(&server.url());
    assert_eq!(files(&mut store, &revision(&lost), "").unwrap(), [file("a.yaml", "two")]);
    assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    let nowhere = error(files(&mut store, &revision(&"1".repeat(40)), ""));
    assert!(nowhere.message.contains("does not have that commit"), "{nowhere:?}");
}

#[test]
fn a_server_that_does_not_answer_is_unreachable() {
    let repo = Repo::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = error(repo.open(&format!("http://user:secret@{closed}/repo")).resolve(&branch("main")));
    assert_eq!(error.class, FailureClass::Unreachable);
    assert_eq!(error.message, format!("no answer from http://{closed}/repo: Connection refused (os error 111)"));
}

#[test]
fn a_server_that_resets_connections_is_unreachable_until_it_works_again() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    for known in [false, true] {
        let mut store = repo.open(&server.url());
        if known {
            files(&mut store, &branch("main"), "").unwrap();
        }
        server.be(Manner::Reset);
        for _ in 0..2 {
            let error = error(store.resolve(&branch("main")));
            assert_eq!(error.class, FailureClass::Unreachable, "{error}");
        }
        let commit = Commit::from_hex(&repo.commit()).unwrap();
        assert_eq!(error(store.fetch(commit, &mut || ())).class, FailureClass::Unreachable);
        server.be(Manner::Serve);
        assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    }
}

#[test]
fn a_token_in_the_query_is_not_shown() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    let url = server.url() + "?private_token=hunter2";
    let mut store = repo.open(&url);
    for manner in [Manner::Status(403), Manner::Status(503), Manner::Reset, Manner::LoginPage] {
        server.be(manner.clone());
        let said = format!("{:?}", error(store.resolve(&branch("main"))));
        assert!(said.contains("/repo?...") && !said.contains("hunter2"), "{manner:?}: {said}");
    }
    let names = fs::read_dir(repo.cache()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let named = |name: &String| (name == "salt" || name.starts_with("repo-")) && !name.contains("hunter2");
    assert!(names.collect::<Vec<_>>().iter().all(named));
}

#[test]
fn a_server_that_says_nothing_or_too_much_is_given_up() {
    let repo = Repo::new();
    let (talking, silent) = (Server::of(&repo), TcpListener::bind("127.0.0.1:0").unwrap());
    let nothing = format!("http://{}/repo", silent.local_addr().unwrap());
    for (url, milliseconds, bytes, class, text) in [
        (&nothing, 0, 1 << 20, FailureClass::Unreachable, "timed out"),
        (&nothing, 50, 1 << 20, FailureClass::Unreachable, "timed out"),
        (&talking.url(), 10_000, 10, FailureClass::OverLimit, "sends more than 0 MiB"),
    ] {
        let http = Http::new(&Remote::default(), reqwest::Url::parse(url).unwrap(), None).unwrap();
        let (mut transport, operation) =
            http.begin(OperationLimits { time: Duration::from_millis(milliseconds), bytes }).unwrap();
        mirror::ls_refs(&mut transport, &[]).unwrap_err();
        let failure = operation.failure().unwrap();
        assert_eq!(failure.class, class);
        assert!(failure.message.contains(text), "{failure}");
    }
}

#[test]
fn only_trusted_servers_are_talked_to() {
    let repo = Repo::new();
    let (server, certificate) = Server::with_tls(&repo, "127.0.0.1", 4096);
    let url = server.url().replace("http:", "https:");
    let untrusted = error(repo.open(&url).resolve(&branch("main")));
    assert_eq!(untrusted.message, format!("no answer from {url}: invalid peer certificate: UnknownIssuer"));
    assert!(untrusted.hint.unwrap().contains("caCertSecretRef"));
    for trusting in [
        Remote { ca: Some(certificate.into_bytes()), ..remote(&url) },
        Remote { skip_tls_verification: true, ..remote(&url) },
    ] {
        let mut store = Store::open(&trusting, &repo.cache()).unwrap();
        assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    }
    let garbage = Remote { ca: Some(b"-----BEGIN CERTIFICATE-----\nx".to_vec()), ..remote(&url) };
    assert_eq!(Store::open(&garbage, &repo.cache()).err().unwrap().class, FailureClass::Broken);
}

#[test]
fn a_certificate_that_is_refused_has_a_remedy() {
    let repo = Repo::new();
    for (host, until, hint) in [
        ("127.0.0.1", 2001, "Renew the certificate of the git server."),
        ("git.example", 4096, "Use the host in spec.git.repo that the certificate of the git server names."),
    ] {
        let (server, certificate) = Server::with_tls(&repo, host, until);
        let url = server.url().replace("http:", "https:");
        let trusting = Remote { ca: Some(certificate.into_bytes()), login: password("secret"), ..remote(&url) };
        let refused = error(Store::open(&trusting, &repo.cache()).unwrap().resolve(&branch("main")));
        assert_eq!((refused.class, refused.hint.as_deref()), (FailureClass::Unreachable, Some(hint)), "{refused}");
        assert_eq!(server.seen(), ["connect"], "no request is sent");
    }
}

#[test]
fn cookies_are_sent_to_their_server_alone() {
    let repo = Repo::new();
    let (server, other) = (Server::of(&repo), Server::of(&repo));
    let text = "127.0.0.1\tFALSE\t/\tFALSE\t0\to\thunter2\n.example\tTRUE\t/\tFALSE\t0\tp\thunter3";
    let login = Login::Cookies(cookies(text).ok().unwrap());
    let open =
        || Store::open(&Remote { login: login.clone(), ..remote(&server.url_of("old/repo")) }, &repo.cache()).unwrap();
    server.be(Manner::Redirect(server.url_of("")));
    assert_eq!(files(&mut open(), &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    server.be(Manner::AskHeader("cookie", "o=hunter2".into()));
    let direct = Remote { login: login.clone(), ..remote(&server.url()) };
    assert_eq!(
        files(&mut Store::open(&direct, &repo.cache()).unwrap(), &branch("main"), "").unwrap(),
        [file("a.yaml", "one")]
    );
    other.be(Manner::AskHeader("cookie", String::new()));
    server.be(Manner::Redirect(other.url_of("")));
    assert_eq!(
        files(&mut open(), &branch("main"), "").unwrap(),
        [file("a.yaml", "one")],
        "the other server gets no cookie"
    );
    server.be(Manner::AskHeader("cookie", "o=hunter2".into()));
    let without = error(repo.open(&server.url()).resolve(&branch("main")));
    assert!(!format!("{without:?}").contains("hunter"));
}

#[test]
fn remotes_that_differ_in_their_credentials_share_nothing() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    let with = |secret: &str| Remote { login: password(secret), ..remote(&server.url()) };
    let mut own = Store::open(&with("secret"), &repo.cache()).unwrap();
    files(&mut own, &branch("main"), "").unwrap();
    let commit = own.resolve(&branch("main")).unwrap();
    server.be(Manner::Ask);
    let mut other = Store::open(&with("wrong"), &repo.cache()).unwrap();
    assert_eq!(error(other.fetch(commit, &mut || ())).class, FailureClass::Unauthenticated);
    assert!(!other.repo().has_object(commit.0));
    let names = || fs::read_dir(repo.cache()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names().len(), 3, "{:?}", names());
    drop(own);
    let mut again = Store::open(&with("secret"), &repo.cache()).unwrap();
    server.seen();
    again.fetch(commit, &mut || ()).unwrap();
    assert_eq!(server.seen(), Vec::<String>::new(), "the mirror is found again");
}

#[test]
fn a_proxy_is_used() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    server.be(Manner::Status(407));
    let through = Remote { proxy: Some(server.url_of("")), ..remote("http://repository.invalid/repo") };
    let error = error(Store::open(&through, &repo.cache()).unwrap().resolve(&branch("main")));
    assert_eq!(error.message, "http://repository.invalid/repo is behind a proxy that asks for credentials (HTTP 407)");
    let wrong = Remote { proxy: Some("http://user:hunter2@[".to_owned()), ..remote("http://repository.invalid/repo") };
    let error = Store::open(&wrong, &repo.cache()).err().unwrap();
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn a_proxy_with_a_password_carries_tls() {
    let repo = Repo::new();
    let (server, certificate) = Server::with_tls(&repo, "127.0.0.1", 4096);
    let proxy = proxy("Basic bWU6aHVudGVyMg==");
    let through = |proxy: String| {
        let url = server.url().replace("http:", "https:");
        let ca = Some(certificate.clone().into_bytes());
        Store::open(&Remote { ca, proxy: Some(proxy), login: password("secret"), ..remote(&url) }, &repo.cache())
            .unwrap()
    };
    server.be(Manner::Ask);
    let mut store = through(format!("http://me:hunter2@{proxy}"));
    assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    let refused = error(through(format!("http://me:hunter3@{proxy}")).resolve(&branch("main")));
    assert_eq!(refused.class, FailureClass::Unreachable, "{refused:?}");
    assert!(!format!("{refused:?}").contains("hunter"), "{refused:?}");
}

#[test]
fn refs_that_move_or_go_are_followed_and_what_was_fetched_stays() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    let mut store = repo.open(&server.url());
    repo.git("tag v1");
    repo.git("branch side");
    assert_eq!(files(&mut store, &revision("v1"), "").unwrap(), [file("a.yaml", "one")]);
    let first = store.resolve(&branch("side")).unwrap();
    repo.write("a.yaml", "two");
    repo.commit();
    repo.git("tag --force v1");
    assert_eq!(files(&mut store, &revision("v1"), "").unwrap(), [file("a.yaml", "two")]);
    repo.git("branch -D side");
    let gone = error(store.resolve(&branch("side")));
    assert_eq!(gone.class, FailureClass::NotFound);
    server.be(Manner::Status(500));
    store.fetch(first, &mut || ()).unwrap();
    assert_eq!(tree_of(&store, first, "").unwrap().entries.len(), 1, "readable without the server");
    server.be(Manner::Serve);
    let tree = repo.git("rev-parse HEAD^{tree}");
    let on_no_branch = repo.git(&format!("commit-tree {tree} -m on-no-branch"));
    assert_eq!(files(&mut store, &revision(&on_no_branch), "").unwrap(), [file("a.yaml", "two")]);
}

#[test]
fn an_empty_repository_and_one_of_sha256_are_named() {
    let repo = Repo::new();
    repo.git("init --quiet --initial-branch=main ../empty");
    repo.git("init --quiet --initial-branch=main --object-format=sha256 ../other");
    repo.git("-C ../other commit --quiet --allow-empty --message=x");
    let server = Server::of(&repo);
    let empty = error(repo.open(&server.url_of("empty")).resolve(&branch("main")));
    assert_eq!((empty.class, empty.hint.unwrap().contains("may be empty")), (FailureClass::NotFound, true));
    let other = error(repo.open(&server.url_of("other")).resolve(&branch("main")));
    assert_eq!(other.hint.as_deref(), Some("Only SHA-1 repositories are supported."), "{other}");
}

#[test]
fn credentials_are_sent_at_once_and_never_shown() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    server.be(Manner::Ask);
    let with = |user: &str| server.url().replace("http://", &format!("http://{user}@"));
    let mut store = repo.open(&with("user:secret"));
    assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    assert_eq!(server.seen(), ["connect", "refs", "ls-refs", "refs", "fetch"]);
    drop(store);
    for (url, login) in [(with("user:s%65cret"), Login::Url), (with("user:old"), password("secret"))] {
        let mut store = Store::open(&Remote { login, ..remote(&url) }, &repo.cache()).unwrap();
        store.resolve(&branch("main")).unwrap();
    }
    let mut store =
        Store::open(&Remote { login: password("wrong"), ..remote(&with("user:old")) }, &repo.cache()).unwrap();
    let said = format!("{:?}", error(store.resolve(&branch("main"))));
    assert!(!said.contains("wrong") && !said.contains("old") && !said.contains("user"), "{said}");
    for url in
        ["http://user:hunter2@[::1/x", "ssh://git:hunter2@host/x", "git:hunter2@host:x", "ftp://u:hunter2@host/", ""]
    {
        let error = error(Store::open(&remote(url), &repo.cache()));
        assert_eq!(error.class, FailureClass::Broken);
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let credentials = Credentials { user: "user".into(), password: "hunter2".into() };
    assert_eq!(format!("{credentials:?}"), "Credentials { .. }");
}

#[test]
fn redirects_are_followed_but_not_with_credentials_to_another_server() {
    let repo = Repo::new();
    let (server, other) = (Server::of(&repo), Server::of(&repo));
    let open = || {
        let remote = Remote { login: password("secret"), ..remote(&server.url_of("old/repo")) };
        Store::open(&remote, &repo.cache()).unwrap()
    };
    server.be(Manner::Redirect(server.url_of("")));
    let mut store = open();
    for _ in 0..2 {
        assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    }
    drop(store);
    server.be(Manner::Redirect(other.url_of("")));
    assert_eq!(files(&mut open(), &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    other.be(Manner::Ask);
    assert_eq!(error(open().resolve(&branch("main"))).class, FailureClass::Unauthenticated);
    server.be(Manner::Redirect(server.url_of("old/")));
    let endless = error(open().resolve(&branch("main")));
    assert_eq!((endless.class, endless.message.contains("without end")), (FailureClass::Broken, true), "{endless}");
}

/// The server of a tenant is where it may be, and sends the agent on to where it may not.
#[test]
fn redirects_lead_a_tenant_to_no_inner_address() {
    let repo = Repo::new();
    let (server, inner) = (Server::of(&repo), Server::of(&repo));
    let reach = Reach::Public(["127.0.0.1/32".parse().unwrap()].into());
    let remote = Remote { reach, ..remote(&server.url_of("old/repo")) };
    let port = inner.url().rsplit_once(':').unwrap().1.split('/').next().unwrap().to_owned();
    server.be(Manner::Redirect(inner.url_of("")));
    Store::open(&remote, &repo.cache()).unwrap().resolve(&branch("main")).unwrap();
    for host in ["127.0.0.2", "0x7f000002", "2130706434", "[::1]", "[::ffff:127.0.0.2]", "169.254.169.254"] {
        server.be(Manner::Redirect(format!("http://{host}:{port}/")));
        let error = error(Store::open(&remote, &repo.cache()).unwrap().resolve(&branch("main")));
        assert!(error.message.contains("that the syncs of tenants may reach"), "{host}: {error}");
    }
}

#[test]
fn a_fetch_that_breaks_off_leaves_what_was_there() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    let mut store = repo.open(&server.url());
    let first = store.resolve(&branch("main")).unwrap();
    store.fetch(first, &mut || ()).unwrap();
    repo.write("b.yaml", &"x".repeat(10_000));
    let second = Commit::from_hex(&repo.commit()).unwrap();
    for (manner, class) in [(Manner::HangUp, FailureClass::Unreachable), (Manner::Truncate, FailureClass::Broken)] {
        server.be(manner.clone());
        let error = error(store.fetch(second, &mut || ()));
        assert_eq!(error.class, class, "{manner:?} {error}");
        assert_eq!(tree_of(&store, first, "").unwrap().entries.len(), 1);
    }
    server.be(Manner::Serve);
    store.fetch(second, &mut || ()).unwrap();
    assert_eq!(tree_of(&store, second, "").unwrap().entries.len(), 2);
}

#[test]
fn a_damaged_mirror_is_replaced() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    let damages: [fn(&Path); 4] = [
        |git| for_each_pack(git, |pack| fs::write(pack, b"PACK").unwrap()),
        |git| for_each_pack(git, |pack| fs::remove_file(pack).unwrap()),
        |git| fs::write(git.join("config"), "[broken").unwrap(),
        |git| fs::remove_file(git.join("HEAD")).unwrap(),
    ];
    for damage in damages {
        let mut store = repo.open(&server.url());
        files(&mut store, &branch("main"), "").unwrap();
        let git = store.repo().git_dir().to_owned();
        drop(store);
        damage(&git);
        let mut store = repo.open(&server.url());
        let again = files(&mut store, &branch("main"), "").or_else(|_| files(&mut store, &branch("main"), ""));
        assert_eq!(again.unwrap(), [file("a.yaml", "one")]);
    }
}

fn for_each_pack(git: &Path, damage: impl Fn(&Path)) {
    for entry in fs::read_dir(git.join("objects/pack")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pack") {
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            damage(&path);
        }
    }
}

#[test]
fn leftovers_of_a_killed_process_are_swept() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    let mut store = repo.open(&server.url());
    let commit = store.resolve(&branch("main")).unwrap();
    let git = store.repo().git_dir().to_owned();
    drop(store);
    fs::create_dir_all(git.join("refs/nomos")).unwrap();
    let leftovers =
        ["shallow.lock", "HEAD.lock", "objects/pack/.tmpabc", "objects/pack/pack-1.keep", "packed-refs.lock"]
            .map(|name| git.join(name))
            .into_iter()
            .chain([git.join(format!("refs/nomos/{commit}.lock"))]);
    let leftovers: Vec<_> = leftovers.inspect(|path| fs::write(path, "").unwrap()).collect();
    let mut store = repo.open(&server.url());
    assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    assert!(leftovers.iter().all(|path| !path.exists()));
}

#[test]
fn a_mirror_that_grew_is_made_anew() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    let mut store = repo.open(&server.url());
    files(&mut store, &branch("main"), "").unwrap();
    let packs = store.repo().git_dir().join("objects/pack");
    (0..mirror::MAX_PACKS).for_each(|n| fs::write(packs.join(format!("pack-{n}.pack")), "").unwrap());
    repo.write("a.yaml", "two");
    repo.commit();
    assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "two")]);
    assert!(fs::read_dir(packs).unwrap().count() < 5);
}

#[test]
fn an_open_mirror_takes_as_many_packs_as_a_mirror_may_have() {
    let repo = Repo::new();
    let server = Server::of(&repo);
    let mut store = repo.open(&server.url());
    for number in 0..mirror::MAX_PACKS - 1 {
        repo.write("a.yaml", &number.to_string());
        repo.commit();
        let read = files(&mut store, &branch("main"), "");
        assert_eq!(read.unwrap(), [file("a.yaml", &number.to_string())], "commit {number}");
    }
    let packs = fs::read_dir(store.repo().git_dir().join("objects/pack")).unwrap();
    assert!(packs.count() > mirror::MAX_PACKS, "it was made anew");
}

#[test]
fn two_agents_do_not_share_a_mirror() {
    let repo = Repo::new();
    let _first = repo.open("http://127.0.0.1:1/repo");
    let error = error(Store::open(&remote("http://127.0.0.1:1/repo"), &repo.cache()));
    assert!(error.message.ends_with("is in use by another agent"), "{error}");
    repo.open("http://127.0.0.1:1/other");
}
