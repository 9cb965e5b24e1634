//! Commands that need a cluster which is not there or does not answer.

use super::{FINE, SHOP, TestDirectory, nomos, ran};

#[test]
fn status_needs_a_cluster() {
    let nowhere = TestDirectory::new();
    let message = "error: no cluster is configured; use --kubeconfig FILE, set KUBECONFIG to a file that exists, or create $HOME/.kube/config\n";
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

/// A kubeconfig whose cluster `away` is a port of this machine.
fn away(port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: away\n\
         clusters: [{{name: away, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
         contexts: [{{name: away, context: {{cluster: away, user: me}}}}]\nusers: [{{name: me, user: {{}}}}]\n"
    )
}

#[test]
fn vet_names_the_cluster_that_does_not_answer() {
    // This listener accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("bound").port();
    let unknown = "apiVersion: com.me/v1\nkind: Engineer\nmetadata: {name: x}\n";
    let source = TestDirectory::with(&[
        ("refused", &away(1)),
        ("silent", &away(port)),
        ("a/a.yaml", unknown),
        ("b/b.yaml", SHOP),
    ]);
    let vet = |words: &str| nomos(&source, &format!("vet --source-format=unstructured --kubeconfig DIR/{words}"));
    let head = "error: the source does not define Engineer.com.me, so a cluster must be asked (not with --no-api-server-check): \
                failed to get the kinds of the cluster away: http://127.0.0.1:";
    let refused = vet("refused --path DIR/a");
    assert_eq!((refused.status, refused.out.as_str(), refused.err.starts_with(head)), (2, "", true), "{}", refused.err);
    assert!(refused.err.contains("refused"), "{}", refused.err);
    let late = vet("silent --path DIR/a --api-server-timeout=300ms");
    assert_eq!(late, ran(2, "", &format!("{head}{port}: no answer within 0.3s\n")));
    // No cluster is asked if the source needs none.
    for words in ["refused --path DIR/a --no-api-server-check", "refused --path DIR/b", "none --path DIR/b"] {
        assert_eq!(vet(words), ran(0, "", FINE), "{words}");
    }
}

#[test]
fn a_wait_ends_although_the_cluster_never_answers() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("bound").port();
    let directory = TestDirectory::with(&[("silent", &away(port))]);
    let late = nomos(&directory, "wait --timeout 100ms --kubeconfig DIR/silent");
    let head = format!("error: the cluster away does not answer at http://127.0.0.1:{port}: no answer within 0.1s\n");
    assert_eq!((late.status, late.err.starts_with(&head)), (2, true), "{}", late.err);
}

#[test]
fn an_unreachable_cluster_is_shown_as_such() {
    let directory = TestDirectory::with(&[("kubeconfig", &away(1))]);
    let status = nomos(&directory, "status --kubeconfig DIR/kubeconfig");
    let expected = "\
Connecting to clusters...

*away
  --------------------
  N/A   Failed to connect to cluster
  Error:   http://127.0.0.1:1: ";
    assert_eq!((status.status, status.out.starts_with(expected)), (1, true), "{}", status.out);
    let unknown = nomos(&directory, "status --kubeconfig DIR/kubeconfig --contexts=near");
    assert_eq!(unknown, ran(2, "", "error: the kubeconfig has no context near; it has away\n"));
    let none = nomos(&directory, "status --kubeconfig DIR/kubeconfig --contexts=");
    assert_eq!(none, ran(0, "Connecting to clusters...\n", ""));
}

/// Remembers when a text was first written.
struct Stopwatch {
    begun: std::time::Instant,
    text: &'static str,
    seen: std::rc::Rc<std::cell::Cell<Option<std::time::Duration>>>,
}

impl std::io::Write for Stopwatch {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.seen.get().is_none() && String::from_utf8_lossy(bytes).contains(self.text) {
            self.seen.set(Some(self.begun.elapsed()));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An API server with one RootSync, whose second answer is a failure. Afterwards the sync has one commit more.
fn failing_api_server() -> u16 {
    use std::io::{BufRead as _, Write as _};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        let mut answers = 0;
        for stream in listener.incoming().flatten() {
            let mut lines = std::io::BufReader::new(&stream).lines().map_while(Result::ok);
            while lines.find(String::is_empty).is_some() {
                answers += 1;
                let history = match answers {
                    1 => r#"{"commit":"first","since":"2026-01-02T03:04:05Z"}"#,
                    _ => {
                        r#"{"commit":"first","since":"2026-01-02T03:04:05Z"},{"commit":"second","since":"2026-01-02T03:05:05Z"}"#
                    }
                };
                let list = format!(
                    r#"{{"apiVersion":"configsync.gke.io/v1beta1","kind":"RootSyncList","metadata":{{}},"items":[{{"apiVersion":
                    "configsync.gke.io/v1beta1","kind":"RootSync","metadata":{{"name":"root-sync"}},"status":{{"history":[{history}]}}}}]}}"#
                );
                let failure = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"in a restart","reason":"InternalError","code":500}"#;
                let (status, body) = if answers == 2 { (500, failure) } else { (200, list.as_str()) };
                let head =
                    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
                if write!(&stream, "{head}\r\n\r\n{body}").is_err() {
                    break;
                }
            }
        }
    });
    port
}

/// Passes on each text that is written.
struct Passed(std::sync::mpsc::Sender<String>);

impl std::io::Write for Passed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // There is no receiver after the end of the test.
        let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_history_is_watched_over_a_request_that_fails() {
    let directory = TestDirectory::with(&[("kubeconfig", &away(failing_api_server()))]);
    let file = directory.path().join("kubeconfig");
    let (sender, texts) = std::sync::mpsc::channel();
    let errors = sender.clone();
    let watching = std::thread::spawn(move || {
        let (mut out, mut err) = (Passed(sender), Passed(errors));
        let mut console = crate::Console::new(&mut out, &mut err, crate::Environment::default());
        let args = ["nomos", "history", "--watch", "--kubeconfig"].map(Into::into).into_iter().chain([file.into()]);
        crate::run(args, &mut console)
    });
    let mut seen = String::new();
    while !seen.contains("second") {
        let text = texts.recv_timeout(std::time::Duration::from_secs(60));
        seen += &text.unwrap_or_else(|error| panic!("{error}: {seen}"));
    }
    assert!(seen.contains("in a restart") && seen.contains("nomos goes on asking"), "{seen}");
    assert!(!watching.is_finished(), "it goes on");
}

/// An API server that has no kind at all.
fn empty_api_server() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                use std::io::{BufRead as _, Write as _};
                let mut lines = std::io::BufReader::new(&stream).lines().map_while(Result::ok);
                while lines.find(String::is_empty).is_some() {
                    let body =
                        r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#;
                    let head =
                        format!("HTTP/1.1 404 X\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
                    if write!(&stream, "{head}\r\n\r\n{body}").is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn clusters_that_hang_delay_no_other() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (silent, answers) =
        (silent.local_addr().map(|address| (silent, address.port())).expect("bound"), empty_api_server());
    let list = |item: &dyn Fn(usize) -> String| (0..50).map(item).collect::<Vec<_>>().join(", ");
    // Those that hang come first.
    let server = |i: usize| format!("http://127.0.0.1:{}", if i < 5 { silent.1 } else { answers });
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{}]\ncontexts: [{}]\nusers: [{{name: me, user: {{}}}}]\n",
        list(&|i| format!("{{name: c{i:02}, cluster: {{server: '{}'}}}}", server(i))),
        list(&|i| format!("{{name: c{i:02}, context: {{cluster: c{i:02}, user: me}}}}")),
    );
    let directory = TestDirectory::with(&[("kubeconfig", &kubeconfig)]);
    let file = directory.path().join("kubeconfig");
    let (begun, seen) = (std::time::Instant::now(), std::rc::Rc::default());
    let mut out = Stopwatch { begun, text: "c05", seen: std::rc::Rc::clone(&seen) };
    let mut err = Vec::new();
    let mut console = crate::Console::new(&mut out, &mut err, crate::Environment::default());
    let args = ["nomos", "status", "--timeout=3s", "--kubeconfig"].map(Into::into).into_iter().chain([file.into()]);
    assert_eq!(crate::run(args, &mut console), 1);
    let (first, all) = (seen.get().expect("shown"), begun.elapsed());
    assert!(first.as_secs() < 3, "the first cluster that answers was shown after {first:?}, when the others had hung");
    assert!((3..15).contains(&all.as_secs()), "they hang at once: all were shown after {all:?}");
}

#[test]
fn an_export_overwrites_nothing_and_shows_no_secret_by_one_word() {
    let directory = TestDirectory::with(&[("kubeconfig", &away(1)), ("full/a.yaml", SHOP), ("git/.git/config", "")]);
    let export = |words: &str| nomos(&directory, &format!("export --kubeconfig DIR/kubeconfig {words}"));
    let full = "error: DIR/full is not empty: it contains a.yaml; choose another directory with --path, or compare with --check\n";
    assert_eq!(export("--path DIR/full"), ran(2, "", full));
    let plain = export("--path DIR/new --secrets=plain");
    assert!(plain.status == 2 && plain.err.contains("add --plain-secrets-in-git"), "{}", plain.err);
    for words in ["--path DIR/git", "--path DIR/new", "--check DIR/full"] {
        let unreachable = export(words);
        let head = "error: the cluster away does not answer at http://127.0.0.1:1: Connection refused";
        assert!(unreachable.status == 2 && unreachable.err.starts_with(head), "{words}: {}", unreachable.err);
    }
    assert_eq!(directory.files("full"), ["a.yaml"]);
}

#[test]
fn a_repository_is_looked_at_before_the_cluster() {
    let away_and_named = "  annotations: {configsync.gke.io/cluster-name-selector: prod}\n";
    let directory = TestDirectory::with(&[
        ("kubeconfig", &away(1)),
        ("broken/a.yaml", "kind: ["),
        ("twice/a.yaml", SHOP),
        ("twice/b.yaml", SHOP),
        ("prod/a.yaml", &format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n{away_and_named}")),
        ("prod/b.yaml", &format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n{away_and_named}")),
        ("kustomized/kustomization.yaml", "resources: [a.yaml]\n"),
        ("kustomized/a.yaml", SHOP),
        ("fine/a.yaml", SHOP),
    ]);
    let run = |words: &str| nomos(&directory, &format!("{words} --kubeconfig DIR/kubeconfig"));
    for command in ["diff --path", "export --check"] {
        let none = run(&format!("{command} DIR/none"));
        assert!(none.status == 2 && none.err.starts_with("error: failed to read DIR/none"), "{command}: {}", none.err);
        for (source, code) in
            [("broken", "KNV2001: "), ("twice", "KNV1029: "), ("prod --cluster-name prod", "KNV1029: ")]
        {
            let wrong = run(&format!("{command} DIR/{source}"));
            let told = wrong.err.trim_start_matches("errors for cluster \"prod\":\n");
            let told = if command.starts_with("diff") && told.is_empty() { &wrong.out } else { told };
            assert!(wrong.status == 1 && told.contains(code), "{command} {source}: {wrong:?}");
        }
        // A mistake for another cluster alone is none for this one.
        for source in ["fine", "prod", "prod --cluster-name other"] {
            let away = run(&format!("{command} DIR/{source}"));
            assert!(away.status == 2 && away.err.contains("does not answer"), "{command} {source}: {away:?}");
        }
        let keyless = run(&format!("{command} DIR/fine --age-key DIR/fine/a.yaml"));
        assert!(keyless.status == 2 && keyless.err.contains("is no file with age keys"), "{command}: {}", keyless.err);
    }
    // The agent renders nothing, and what it would refuse is not compared.
    let kustomized = run("diff --path DIR/kustomized");
    assert!(kustomized.status == 1 && kustomized.err.contains("KNV1068"), "{kustomized:?}");
    assert_eq!(run("diff --path DIR/broken --report json").status, 1);
}

#[test]
fn the_source_of_a_diff_is_looked_at_before_the_cluster() {
    let directory = TestDirectory::with(&[("kubeconfig", &away(1)), ("plain/a.yaml", SHOP)]);
    let diff = |words: &str| nomos(&directory, &format!("diff --kubeconfig DIR/kubeconfig {words}"));
    let missing = diff("--path DIR/none");
    assert!(missing.status == 2 && missing.err.starts_with("error: failed to read DIR/none: "), "{}", missing.err);
    let no_clone = diff("--path DIR/plain --commit main");
    assert!(no_clone.status == 2 && no_clone.err.contains("DIR/plain is in no git repository"), "{}", no_clone.err);
    let unreachable = diff("--path DIR/plain");
    let message =
        "error: the cluster away does not answer at http://127.0.0.1:1: Connection refused (os error 111)\n\nhint: ";
    assert!(unreachable.status == 2 && unreachable.err.starts_with(message), "{}", unreachable.err);
}

#[test]
fn every_command_says_in_the_same_words_that_a_cluster_is_away() {
    let directory = TestDirectory::with(&[("kubeconfig", &away(1))]);
    for words in [
        "trace deployment/web",
        "diff",
        "history",
        "wait --timeout 0s",
        "sync now root-sync",
        "approve root-sync",
        "uninstall --yes",
        "install --image a/b:1",
    ] {
        let said = nomos(&directory, &format!("{words} --kubeconfig DIR/kubeconfig"));
        let message = "error: the cluster away does not answer at http://127.0.0.1:1: Connection refused (os error 111)\n\n\
                       hint: no program listens there: is the cluster up, and the tunnel to it? Another cluster: --context \
                       CONTEXT, --kubeconfig FILE\n";
        assert_eq!(said, ran(2, "", message), "{words}");
    }
}
