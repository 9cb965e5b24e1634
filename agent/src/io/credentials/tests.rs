//! Remotes from specs and Secrets.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::*;
use crate::io::git::{Credentials, GITHUB, GithubApp, Login, TokenSource};
use crate::model::finding::text;

const URL: &str = "https://git.example/x";
const COOKIES: &str = "# Netscape\r\n.git.example\tTRUE\t/\tTRUE\t0\to\thunter2\r\n";

fn git(fields: Value) -> GitSpec {
    let mut git = json!({ "repo": URL, "auth": "none" });
    git.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(git).unwrap()
}

fn with(auth: &str) -> GitSpec {
    git(json!({ "auth": auth, "secretRef": { "name": "login" } }))
}

/// The Secrets `login` and `ca`, each with this data.
fn secrets(data: &[(&str, &[u8])]) -> Secrets {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec())));
    let secret = Secret { data: Some(data.collect::<BTreeMap<_, _>>()), ..Secret::default() };
    let mut secrets = Secrets::new(SyncId::root("root-sync"));
    secrets.saw("login", SecretState::of(Some(secret.clone())));
    secrets.saw("ca", SecretState::of(Some(secret)));
    secrets
}

/// Keys and values.
type Data<'a> = &'a [(&'a str, &'a [u8])];

fn remote(git: &GitSpec, data: Data<'_>) -> Result<Remote, Finding> {
    login::remote(git, &secrets(data), UnknownServers::Remember)
}

fn ca() -> String {
    rcgen::generate_simple_self_signed(["git.example".to_owned()]).unwrap().cert.pem()
}

#[test]
fn only_the_secrets_that_a_spec_names_are_watched() {
    for (fields, expected) in [
        (json!({}), &[][..]),
        (json!({ "auth": "token", "secretRef": { "name": "login" } }), &["login"]),
        (json!({ "secretRef": { "name": "needless" }, "caCertSecretRef": { "name": "ca" } }), &["ca"]),
        (
            json!({ "auth": "token", "secretRef": { "name": "login" }, "caCertSecretRef": { "name": "ca" } }),
            &["ca", "login"],
        ),
        (json!({ "auth": "token", "secretRef": { "name": "one" }, "caCertSecretRef": { "name": "one" } }), &["one"]),
    ] {
        assert_eq!(secret::names(&git(fields)), expected);
    }
}

#[test]
fn line_ends_around_values_are_no_obstacle() {
    let login = Login::Password(Credentials { user: "user".into(), password: "hunter2".into() });
    for (user, token) in [("user", "hunter2"), ("user\n", "hunter2\r\n"), (" user\r\n", "\thunter2\n\n")] {
        let data = [("username", user.as_bytes()), ("token", token.as_bytes())];
        assert!(remote(&with("token"), &data).unwrap().login == login, "{user:?} {token:?}");
    }
    let crlf = ca().replace('\n', "\r\n");
    let spec = git(json!({ "caCertSecretRef": { "name": "ca" } }));
    assert!(remote(&spec, &[("cert", crlf.as_bytes())]).unwrap().ca.is_some());
    let Login::Cookies(cookies) = remote(&with("cookiefile"), &[("cookie_file", COOKIES.as_bytes())]).unwrap().login
    else {
        panic!("cookies")
    };
    assert_eq!(cookies.len(), 1);
}

#[test]
fn the_proxy_of_the_secret_takes_precedence() {
    let login: [(&str, &[u8]); 2] = [("username", b"user"), ("token", b"hunter2")];
    let mut spec = with("token");
    assert_eq!(remote(&spec, &login).unwrap().proxy, None);
    spec.proxy = "http://proxy.example:3128".to_owned();
    assert_eq!(remote(&spec, &login).unwrap().proxy.as_deref(), Some("http://proxy.example:3128"));
    let with_proxy = [login[0], login[1], ("https_proxy", b"http://u:hunter2@other.example\n")];
    assert_eq!(remote(&spec, &with_proxy).unwrap().proxy.as_deref(), Some("http://u:hunter2@other.example"));
    let spec = git(json!({ "proxy": "proxy.example:3128", "noSSLVerify": true }));
    let both = remote(&spec, &[]).unwrap();
    assert_eq!((both.proxy.as_deref(), both.skip_tls_verification), (Some("proxy.example:3128"), true));
}

#[test]
fn mistakes_name_the_secret_and_the_key_and_no_value() {
    let ca = git(json!({ "caCertSecretRef": { "name": "ca" } }));
    let proxy = git(json!({ "proxy": "http://u:hunter2@[" }));
    let other = "other.example\tTRUE\t/\tTRUE\t0\to\thunter2";
    let plain = "git.example TRUE / TRUE 0 o hunter2";
    let pem = b"-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n";
    let name = "The Secret config-management-system/login";
    let mistakes: [(GitSpec, Data<'_>, String); 11] = [
        (with("token"), &[], format!("{name} has no key \"username\"; spec.git.auth: token needs it.")),
        (
            with("token"),
            &[("username", b"hunter2"), ("token", b" \r\n")],
            format!("{name} has nothing in its key \"token\"; spec.git.auth: token needs it."),
        ),
        (
            with("token"),
            &[("username", b"hunter2"), ("token", b"hunter2\xff")],
            "The key \"token\" of the Secret config-management-system/login is no text.".to_owned(),
        ),
        (
            with("token"),
            &[("username", b"hunter2"), ("token", b"hunter2"), ("https_proxy", b"http://u:hunter2@[")],
            "The key \"https_proxy\" of the Secret config-management-system/login is not the URL of a proxy.".to_owned(),
        ),
        (proxy, &[], "spec.git.proxy is not the URL of a proxy.".to_owned()),
        (with("cookiefile"), &[], format!("{name} has no key \"cookie_file\"; spec.git.auth: cookiefile needs it.")),
        (
            with("cookiefile"),
            &[("cookie_file", plain.as_bytes())],
            "The key \"cookie_file\" of the Secret config-management-system/login is no cookie file: line 1 does not have \
             seven fields between tabs."
                .to_owned(),
        ),
        (
            with("cookiefile"),
            &[("cookie_file", other.as_bytes())],
            "The key \"cookie_file\" of the Secret config-management-system/login has no cookie for https://git.example."
                .to_owned(),
        ),
        (
            ca.clone(),
            &[("tls.crt", b"hunter2")],
            "The Secret config-management-system/ca has no key \"cert\"; spec.git.caCertSecretRef needs it.".to_owned(),
        ),
        (
            ca.clone(),
            &[("cert", b"hunter2")],
            "The key \"cert\" of the Secret config-management-system/ca holds no certificate in PEM.".to_owned(),
        ),
        (
            ca,
            &[("cert", pem)],
            "The key \"cert\" of the Secret config-management-system/ca holds no certificate in PEM.".to_owned(),
        ),
    ];
    for (spec, data, expected) in mistakes {
        let finding = remote(&spec, data).err().unwrap();
        assert_eq!((finding.code, finding.message.as_str()), (Code::InvalidSync, expected.as_str()));
        assert!(is_refused_login(&finding));
        assert!(finding.hint.is_some() && !text(&finding).contains("hunter2"), "{}", text(&finding));
    }
}

#[test]
fn a_secret_that_is_not_there_or_may_not_be_read_is_told() {
    let mut secrets = Secrets::new(SyncId::root("root-sync"));
    secrets.saw("login", SecretState::of(None));
    let missing = login::remote(&with("token"), &secrets, UnknownServers::Remember).err().unwrap();
    assert_eq!(
        (missing.code, missing.message.as_str()),
        (Code::InvalidSync, "The Secret config-management-system/login does not exist; spec.git.secretRef names it.")
    );
    secrets.saw("login", SecretState::Refused("secrets \"login\" is forbidden".to_owned()));
    let refused = login::remote(&with("token"), &secrets, UnknownServers::Remember).err().unwrap();
    assert_eq!(refused.code, Code::InsufficientPermission);
    assert!([&missing, &refused].into_iter().all(is_refused_login));
    assert!(!is_refused_login(&Finding::new(Code::Path, "a file is too large")));
    assert!(refused.message.ends_with("cannot be read: secrets \"login\" is forbidden"), "{}", refused.message);
}

const KEY: &str = include_str!("../git/tests/keys/ed25519");
const PUBLIC: &str = include_str!("../git/tests/keys/ed25519.pub");
const ENCRYPTED: &str = include_str!("../git/tests/keys/encrypted");
const RSA: &str = include_str!("../git/tests/keys/rsa.pem");

#[test]
fn a_key_for_ssh_fits_the_url_and_the_known_hosts() {
    let over_ssh = |url: &str| git(json!({ "repo": url, "auth": "ssh", "secretRef": { "name": "login" } }));
    let known = format!("[git.example]:2222 {PUBLIC}");
    let message = |spec: &GitSpec, data: Data<'_>| remote(spec, data).err().map(|finding| finding.message);
    let key = ("ssh", KEY.as_bytes());
    for (url, data, expected) in [
        ("ssh://git@git.example:2222/x", &[key, ("known_hosts", known.as_bytes())][..], None),
        ("git@git.example:x", &[key], None),
        ("git@git.example:x", &[key, ("known_hosts", known.as_bytes())], Some("has no host key for git.example.")),
        (
            "git@git.example:x",
            &[("ssh", ENCRYPTED.as_bytes())],
            Some("is protected by a passphrase, which the agent does not have."),
        ),
        ("git@git.example:x", &[("ssh", PUBLIC.as_bytes())], Some("is the public half of a key.")),
        ("git@git.example:x", &[("ssh", b"hunter2")], Some("is no private key in the format of OpenSSH or PEM.")),
        ("git@git.example:x", &[], Some("has no key \"ssh\"; spec.git.auth: ssh needs it.")),
        (URL, &[key], Some("spec.git.auth is ssh, and spec.git.repo is not reached over ssh.")),
    ] {
        let found = message(&over_ssh(url), data);
        match expected {
            None => assert_eq!(found, None),
            Some(expected) => assert!(found.as_ref().is_some_and(|found| found.ends_with(expected)), "{found:?}"),
        }
    }
    let refused = login::remote(&over_ssh("git@git.example:x"), &secrets(&[key]), UnknownServers::Refuse);
    let refused = refused.err().map(|finding| finding.message);
    assert!(refused.is_some_and(|found| found.ends_with("has no key \"known_hosts\"; spec.git.auth: ssh needs it.")));
    let plain = message(&git(json!({ "repo": "git@git.example:x" })), &[]);
    assert_eq!(plain.as_deref(), Some("spec.git.repo is reached over ssh, and spec.git.auth is none."));
}

#[test]
fn a_github_app_needs_its_ids_and_its_key() {
    let id = ("github-app-client-id", &b"Iv1.abc\n"[..]);
    let installation = ("github-app-installation-id", &b"123\n"[..]);
    let key = ("github-app-private-key", RSA.as_bytes());
    let spec = with("githubapp");
    let expected = GithubApp {
        app: "Iv1.abc".into(),
        installation: "123".into(),
        key: RSA.trim().into(),
        base_url: GITHUB.into(),
    };
    let own = remote(&spec, &[id, installation, key]).unwrap();
    assert!(own.login == Login::Token(TokenSource::GithubApp(expected.clone())));
    let elsewhere = remote(&spec, &[id, installation, key, ("github-app-base-url", b"https://git.example/api/v3")]);
    let base_url = "https://git.example/api/v3".to_owned();
    assert!(elsewhere.unwrap().login == Login::Token(TokenSource::GithubApp(GithubApp { base_url, ..expected })));
    let mistakes: [(Data<'_>, &str); 7] = [
        (&[installation, key], "has no key \"github-app-client-id\""),
        (&[id, key], "has no key \"github-app-installation-id\""),
        (&[id, installation], "has no key \"github-app-private-key\""),
        (&[id, installation, ("github-app-private-key", KEY.as_bytes())], "is no RSA key in PEM"),
        (&[id, ("github-app-application-id", b"7"), installation, key], "\"github-app-application-id\""),
        (&[id, ("github-app-installation-id", b"../x"), key], "is no number"),
        (&[id, installation, key, ("github-app-base-url", b"git.example")], "is no URL"),
    ];
    for (data, text) in mistakes {
        let finding = remote(&spec, data).err().unwrap();
        assert!(finding.code == Code::InvalidSync && finding.message.contains(text), "{}", finding.message);
    }
}
