//! Short-lived tokens, from stand-ins for GitHub and for the metadata server of a node.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};

use super::super::token::Tokens;
use super::super::*;
use super::fixture::{Manner, Repo, Server, branch, remote};
use super::{error, file, files};

const KEY: &str = include_str!("keys/rsa.pem");

/// The status and the body of answers, by the end of the path.
type Answers = Vec<(&'static str, u16, String)>;

/// A server of JSON, which keeps the heads of its requests.
struct StandIn {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<Answers>>,
}

impl StandIn {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let own = Self { url, requests: Arc::default(), answers: Arc::default() };
        let (requests, answers) = (Arc::clone(&own.requests), Arc::clone(&own.answers));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = String::new();
                let mut reader = BufReader::new(&mut stream);
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|bytes| bytes > 0) {}
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                requests.lock().unwrap().push(head);
                let answers = answers.lock().unwrap();
                let found = answers.iter().find(|(end, ..)| path.ends_with(end));
                let (status, body) = found.map_or((404, ""), |(_, status, body)| (*status, body));
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                // The client closes first.
                let _ = stream.read(&mut [0]);
            }
        });
        own
    }

    fn answer(&self, end: &'static str, status: u16, body: impl ToString) {
        let mut answers = self.answers.lock().unwrap();
        answers.retain(|(own, ..)| *own != end);
        answers.push((end, status, body.to_string()));
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    fn app(&self) -> GithubApp {
        GithubApp {
            app: "Iv1.abc".into(),
            installation: "123".into(),
            key: KEY.into(),
            base_url: self.url.clone() + "/api/v3/",
        }
    }
}

fn expires_in(seconds: u64) -> String {
    let at = SystemTime::now() + Duration::from_secs(seconds);
    jiff::Timestamp::try_from(at).unwrap().to_string()
}

#[test]
fn a_jwt_is_what_another_library_reads() {
    let app = StandIn::start().app();
    let key = DecodingKey::from_rsa_pem(include_bytes!("keys/rsa.public.pem")).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_issuer(&["Iv1.abc"]);
    validation.set_required_spec_claims(&["exp", "iss"]);
    for key_text in [KEY, include_str!("keys/rsa.pkcs8")] {
        assert!(is_rsa_key(key_text));
    }
    let jwt = app.jwt(SystemTime::now()).unwrap();
    let claims = decode::<Value>(&jwt, &key, &validation).unwrap().claims;
    let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert_eq!(expires - issued, 600, "GitHub allows ten minutes");
    let old = app.jwt(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    assert!(decode::<Value>(&old, &key, &validation).is_err());
}

#[test]
fn an_installation_token_is_used_until_shortly_before_it_expires() {
    let (repo, github) = (Repo::new(), StandIn::start());
    let server = Server::of(&repo);
    let source = TokenSource::GithubApp(github.app());
    let own = Remote { login: Login::Token(source), ..remote(&server.url()) };
    let mut store = Store::open(&own, &repo.cache()).unwrap();

    github.answer("/access_tokens", 201, json!({ "token": "t0ken1", "expires_at": expires_in(3600) }));
    server.be(Manner::AskHeader("authorization", "Basic eC1hY2Nlc3MtdG9rZW46dDBrZW4x".into()));
    assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    let seen = github.seen();
    assert_eq!(seen.len(), 1, "one token for all requests");
    assert!(seen[0].starts_with("POST /api/v3/app/installations/123/access_tokens "), "{}", seen[0]);
    assert!(seen[0].contains("Bearer ey"), "{}", seen[0]);

    // A token that the server does not take is not used again.
    github.answer("/access_tokens", 201, json!({ "token": "t0ken2", "expires_at": expires_in(0) }));
    server.be(Manner::AskHeader("authorization", "Basic eC1hY2Nlc3MtdG9rZW46dDBrZW4y".into()));
    assert_eq!(error(store.resolve(&branch("main"))).class, FailureClass::Unauthenticated);
    for _ in 0..2 {
        store.resolve(&branch("main")).unwrap();
        assert_eq!(github.seen().len(), 1, "one that has expired is replaced");
    }
}

#[test]
fn a_token_that_is_not_given_is_told_without_what_was_sent() {
    let (repo, github) = (Repo::new(), StandIn::start());
    let own = Remote { login: Login::Token(TokenSource::GithubApp(github.app())), ..remote("http://git.invalid/x") };
    for (status, body, class) in [
        (401, "{}", FailureClass::Unauthenticated),
        (404, "{}", FailureClass::Unauthenticated),
        (503, "", FailureClass::Unreachable),
        (302, "", FailureClass::Broken),
        (201, "{\"token\": \"t0ken\"}", FailureClass::Broken),
        (201, "t0ken", FailureClass::Broken),
    ] {
        github.answer("/access_tokens", status, body);
        let error = error(Store::open(&own, &repo.cache()).unwrap().resolve(&branch("main")));
        assert_eq!(error.class, class, "{error:?}");
        assert!(error.hint.is_some() && !format!("{error:?}").contains("t0ken"), "{error:?}");
    }
}

#[test]
fn a_node_logs_in_with_its_service_account() {
    let (repo, metadata) = (Repo::new(), StandIn::start());
    let server = Server::of(&repo);
    metadata.answer("/token", 200, json!({ "access_token": "ya29", "expires_in": 3599, "token_type": "Bearer" }));
    metadata.answer("/email", 200, "node@project.iam\n");
    let source = TokenSource::GceNode { metadata: metadata.url.clone() };
    let mut store =
        Store::open(&Remote { login: Login::Token(source), ..remote(&server.url()) }, &repo.cache()).unwrap();
    server.be(Manner::AskHeader("authorization", "Basic bm9kZUBwcm9qZWN0LmlhbTp5YTI5".into()));
    assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    let seen = metadata.seen();
    assert!(seen.len() == 2 && seen.iter().all(|head| head.contains("metadata-flavor: Google")), "{seen:?}");

    metadata.answer("/token", 500, "");
    let away = TokenSource::GceNode { metadata: metadata.url.clone() };
    let operation = super::super::operation::Operation::new(
        "shown".to_owned(),
        super::super::operation::OperationLimits { time: Duration::from_secs(10), bytes: 1 << 20 },
    );
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let failure = Tokens::new(away).current(&client, &operation).err().unwrap();
    assert_eq!(failure.class, FailureClass::Unreachable);
    assert!(failure.hint.unwrap().contains("gcenode"));
}

#[test]
fn an_account_of_the_cluster_acts_as_one_of_google() {
    let (repo, google) = (Repo::new(), StandIn::start());
    let server = Server::of(&repo);
    let subject = SubjectToken { token: "eyJ".to_owned(), audience: "identitynamespace:pool:provider".to_owned() };
    let account = GcpServiceAccount {
        account: "config-management-system/root-reconciler".to_owned(),
        email: "sync@project.iam".to_owned(),
        exchange: google.url.clone(),
        credentials: google.url.clone(),
        subject: Arc::default(),
    };
    let login = |account: &GcpServiceAccount| Login::Token(TokenSource::GcpServiceAccount(account.clone()));
    let own = Remote { login: login(&account), ..remote(&server.url()) };
    let mut store = Store::open(&own, &repo.cache()).unwrap();
    let early = error(store.resolve(&branch("main")));
    assert!(early.class == FailureClass::Unreachable && google.seen().is_empty(), "{early:?}");

    *account.subject.lock().unwrap() = Some(subject);
    google.answer("/v1/token", 200, json!({ "access_token": "f3derated", "token_type": "Bearer", "expires_in": 3599 }));
    let access = json!({ "accessToken": "ya29", "expireTime": expires_in(3600) });
    google.answer("/v1/projects/-/serviceAccounts/sync@project.iam:generateAccessToken", 200, access);
    server.be(Manner::AskHeader("authorization", "Basic c3luY0Bwcm9qZWN0LmlhbTp5YTI5".into()));
    assert_eq!(files(&mut store, &branch("main"), "").unwrap(), [file("a.yaml", "one")]);
    let seen = google.seen();
    assert!(seen.len() == 2 && seen[1].contains("authorization: Bearer f3derated"), "{seen:?}");
    drop(store);

    google.answer("/v1/projects/-/serviceAccounts/sync@project.iam:generateAccessToken", 403, "f3derated");
    let refused = error(Store::open(&own, &repo.cache()).unwrap().resolve(&branch("main")));
    assert_eq!(refused.class, FailureClass::Unauthenticated);
    let shown = format!("{refused:?}");
    assert!(
        shown.contains("workloadIdentityUser") && !shown.contains("f3derated") && !shown.contains("eyJ"),
        "{shown}"
    );
    let renewed = GcpServiceAccount { subject: Arc::default(), ..account.clone() };
    assert!(login(&renewed) == login(&account), "a new token makes no other copy of the repository");
}

#[test]
fn a_server_of_tokens_is_verified_although_that_of_the_repository_is_not() {
    let repo = Repo::new();
    let (github, _) = Server::with_tls(&repo, "127.0.0.1", 4096);
    let app = GithubApp {
        app: "Iv1.abc".into(),
        installation: "123".into(),
        key: KEY.into(),
        base_url: github.url_of("").replace("http:", "https:"),
    };
    let login = Login::Token(TokenSource::GithubApp(app));
    let own = Remote { login, skip_tls_verification: true, ..remote("https://git.invalid/x") };
    let refused = error(Store::open(&own, &repo.cache()).unwrap().resolve(&branch("main")));
    assert!(refused.message.contains("invalid peer certificate"), "{refused:?}");
    assert_eq!(github.seen(), ["connect"], "no request is sent");
}
