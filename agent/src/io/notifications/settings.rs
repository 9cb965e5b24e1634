//! The settings of notifications: a ConfigMap with a receiver in each key, and a Secret with their tokens. A receiver with a mistake is
//! left out, and the others go on. No value of the Secret ever gets into a message.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::request::api;
use super::template::Template;
use crate::compile::parse::yaml_value;
use crate::io::git::{GithubApp, is_rsa_key};
use crate::model::metadata::{SyncId, SyncKind};
use crate::sync::notifications::{CommitNews, CommitState};

/// The name of the ConfigMap and of the Secret.
pub(super) const NAME: &str = "nomos-notifications";
/// Receivers that there can be: each has a connection and a queue of its own.
const RECEIVERS: usize = 16;

/// The service that a receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Provider {
    Github,
    Gitlab,
    Gitea,
    Webhook,
}

/// A receiver as the ConfigMap has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReceiverSpec {
    provider: Provider,
    url: Option<String>,
    /// The repository at the service, where it is not the one in the URL of the sync.
    repository: Option<String>,
    root_syncs: Option<Vec<String>>,
    #[serde(default)]
    repo_syncs: Vec<String>,
    states: Option<Vec<String>>,
    template: Option<String>,
    /// Certificates of its CA in PEM.
    ca: Option<String>,
}

/// A receiver that can be told of commits. It is never printed.
#[derive(Clone, PartialEq)]
pub(super) struct Receiver {
    pub(super) provider: Provider,
    /// The address of the service, or of the webhook.
    pub(super) url: Url,
    /// The address is in the Secret.
    pub(super) hidden: bool,
    pub(super) repository: Option<String>,
    root_syncs: Vec<String>,
    repo_syncs: Vec<String>,
    states: BTreeSet<CommitState>,
    pub(super) template: Template,
    pub(super) ca: Option<String>,
    /// The headers of each request, with the login but for that of an App.
    pub(super) headers: HeaderMap,
    /// The GitHub App as which it is told.
    pub(super) app: Option<GithubApp>,
    /// The key that signs bodies.
    pub(super) key: Option<Vec<u8>>,
}

/// The digest of a place.
pub(super) type ReceiverPlace = [u8; 32];

/// The receivers by name, and the mistakes in the others.
#[derive(Default)]
pub(super) struct NotificationSettings {
    pub(super) receivers: BTreeMap<String, Receiver>,
    pub(super) mistakes: Vec<String>,
}

impl NotificationSettings {
    /// Reads the content of both objects.
    pub(super) fn read(data: &BTreeMap<String, String>, secret: &BTreeMap<String, ByteString>) -> Self {
        let mut settings = Self::default();
        for (name, text) in data {
            let read = match settings.receivers.len() < RECEIVERS {
                true => Receiver::read(name, text, secret),
                false => Err(format!("there are more than {RECEIVERS} receivers")),
            };
            match read {
                Ok(receiver) => _ = settings.receivers.insert(name.clone(), receiver),
                Err(why) => {
                    settings.mistakes.push(format!("the receiver {name} in the ConfigMap {NAME} is left out: {why}"))
                }
            }
        }
        settings
    }
}

impl Receiver {
    fn read(name: &str, text: &str, secret: &BTreeMap<String, ByteString>) -> Result<Self, String> {
        let value = yaml_value(text).ok_or("it is no YAML")?;
        let spec: ReceiverSpec = serde_json::from_value(value).map_err(|error| error.to_string())?;
        let (is_webhook, secret) = (spec.provider == Provider::Webhook, ReceiverSecret { name, secret });
        let url = address(&spec, &secret)?;
        if is_webhook && spec.repository.is_some() {
            return Err("a webhook has no repository".to_owned());
        }
        let parts = spec.repository.as_ref().map(|repository| repository.trim_matches('/').split('/').count());
        if parts.is_some_and(|parts| parts != 2) && spec.provider != Provider::Gitlab {
            return Err("repository is not OWNER/NAME".to_owned());
        }
        if spec.repository.is_some() && !spec.repo_syncs.is_empty() {
            return Err("repository is for RootSyncs: RepoSyncs report to their own".to_owned());
        }
        if spec.repository.is_some() && spec.root_syncs.is_none() {
            return Err("repository needs rootSyncs: the names of those whose commits are in it, or [\"*\"]".to_owned());
        }
        if !is_webhook && spec.template.is_some() {
            return Err("template is for webhooks".to_owned());
        }
        let template = Template::read(spec.template.as_deref())?;
        let states = spec.states.map(|names| names.iter().map(|name| state(name)).collect()).transpose()?;
        if let Some(wrong) = spec.repo_syncs.iter().find(|pattern| !pattern.contains('/')) {
            return Err(format!("{wrong:?} in repoSyncs is not NAMESPACE/NAME"));
        }
        if let Some(ca) = &spec.ca {
            let certificates = reqwest::Certificate::from_pem_bundle(ca.as_bytes());
            if certificates.map_or(true, |certificates| certificates.is_empty()) {
                return Err("ca has no certificate in PEM".to_owned());
            }
        }
        let app = match spec.provider {
            Provider::Github => app(&url, &secret)?,
            _ => None,
        };
        Ok(Self {
            provider: spec.provider,
            hidden: is_webhook && secret.value("url").is_some(),
            repository: spec.repository,
            root_syncs: spec.root_syncs.unwrap_or_else(|| vec!["*".to_owned()]),
            repo_syncs: spec.repo_syncs,
            states: states.unwrap_or_else(|| CommitState::ALL.into()),
            template,
            ca: spec.ca,
            headers: headers(spec.provider, app.is_some(), &secret)?,
            app,
            url,
            key: secret.value("key").map(<[u8]>::to_vec),
        })
    }

    /// `true` if it is told of this sync. Which repository that is of is another question.
    pub(super) fn follows(&self, sync: &SyncId) -> bool {
        let SyncId { kind, namespace, name } = sync;
        match kind {
            SyncKind::RootSync => self.root_syncs.iter().any(|pattern| pattern == "*" || pattern == name),
            SyncKind::RepoSync => self.repo_syncs.iter().any(|pattern| {
                pattern.split_once('/').is_some_and(|(of, own)| of == namespace && (own == "*" || own == name))
            }),
        }
    }

    /// `true` if it is told of this state of this sync.
    pub(super) fn wants(&self, news: &CommitNews) -> bool {
        self.follows(&news.sync) && self.states.contains(&news.state)
    }

    /// The address in words for a message; that of the Secret is in none.
    pub(super) fn shown(&self) -> &str {
        match self.hidden {
            true => "its address",
            false => self.url.host_str().unwrap_or_default(),
        }
    }

    /// A digest of the place that messages get to. Its parts can be secret.
    pub(super) fn place(&self) -> ReceiverPlace {
        let place = format!("{:?} {} {:?}", self.provider, self.url, self.repository);
        Sha256::digest(place.as_bytes()).into()
    }
}

/// The keys of the Secret that are for one receiver.
struct ReceiverSecret<'a> {
    name: &'a str,
    secret: &'a BTreeMap<String, ByteString>,
}

impl ReceiverSecret<'_> {
    /// The value without white space around it, such as a last newline; `None` if it is missing or empty.
    fn value(&self, key: &str) -> Option<&[u8]> {
        let value = self.secret.get(&format!("{}.{key}", self.name))?.0.trim_ascii();
        (!value.is_empty()).then_some(value)
    }

    /// The value of a header that no log shows.
    fn header(&self, key: &str, value: &[u8]) -> Result<HeaderValue, String> {
        let mut value = HeaderValue::from_bytes(value)
            .map_err(|_| format!("the key {}.{key} of the Secret {NAME} is no text for a header", self.name))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The address of the service. That of a webhook may be in the Secret: some services take messages from everyone who knows it.
fn address(spec: &ReceiverSpec, secret: &ReceiverSecret<'_>) -> Result<Url, String> {
    let hidden = secret.value("url").filter(|_| spec.provider == Provider::Webhook);
    let named = hidden.and_then(|url| std::str::from_utf8(url).ok()).or(spec.url.as_deref());
    let url = match (named, spec.provider) {
        (Some(url), _) => url,
        (None, Provider::Github) => "https://github.com",
        (None, Provider::Gitlab) => "https://gitlab.com",
        (None, Provider::Gitea | Provider::Webhook) => return Err("url is missing".to_owned()),
    };
    let wrong = || "url is not like https://git.example.com, without a user".to_owned();
    let url = Url::parse(url).map_err(|_| wrong())?;
    let is_plain = ["http", "https"].contains(&url.scheme()) && url.username().is_empty() && url.password().is_none();
    (is_plain && url.host_str().is_some()).then_some(url).ok_or_else(wrong)
}

fn state(name: &str) -> Result<CommitState, String> {
    let mut all = CommitState::ALL.into_iter();
    all.find(|state| state.name() == name)
        .ok_or_else(|| format!("{name:?} in states is not pending, success or failure"))
}

/// The GitHub App in the Secret, with the names of keys that the Secret of a sync has for it.
fn app(url: &Url, secret: &ReceiverSecret<'_>) -> Result<Option<GithubApp>, String> {
    const KEY: &str = "github-app-private-key";
    let value = |key| secret.value(key).and_then(|value| std::str::from_utf8(value).ok()).map(str::to_owned);
    let wrong = |key: &str, why: &str| format!("the key {}.{key} of the Secret {NAME} {why}", secret.name);
    let ids = ["github-app-client-id", "github-app-application-id"];
    let id = ids.into_iter().find_map(value);
    let key = match (value(KEY), &id) {
        (Some(key), _) => key,
        (None, Some(_)) => return Err(wrong(KEY, "is missing")),
        (None, None) => return Ok(None),
    };
    if secret.value("token").is_some() {
        return Err(wrong("token", &format!("is there beside {KEY}, and one of them is needed")));
    }
    let app = id.ok_or_else(|| wrong("github-app-client-id", "is missing"))?;
    let installation =
        value("github-app-installation-id").filter(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let installation = installation.ok_or_else(|| wrong("github-app-installation-id", "is no number"))?;
    if !is_rsa_key(&key) {
        return Err(wrong(KEY, "is no RSA key in PEM"));
    }
    Ok(Some(GithubApp { app, installation, key, base_url: api(Provider::Github, url, "").to_string() }))
}

/// The headers of each request: the login of a service, or those that the Secret has for a webhook.
fn headers(provider: Provider, is_app: bool, secret: &ReceiverSecret<'_>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let mut login = |name: HeaderName, scheme: &str| {
        let token = secret.value("token");
        let token = token.ok_or_else(|| format!("the Secret {NAME} has no key {}.token", secret.name))?;
        headers.insert(name, secret.header("token", &[scheme.as_bytes(), token].concat())?);
        Ok::<(), String>(())
    };
    match provider {
        Provider::Github => {
            if !is_app {
                login(AUTHORIZATION, "Bearer ")?;
            }
            headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
            headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        }
        Provider::Gitlab => login(HeaderName::from_static("private-token"), "")?,
        Provider::Gitea => login(AUTHORIZATION, "token ")?,
        Provider::Webhook => {
            let prefix = format!("{}.header.", secret.name);
            for key in secret.secret.keys() {
                let Some(header) = key.strip_prefix(&prefix) else { continue };
                let name = HeaderName::try_from(header).map_err(|_| format!("{header:?} is no name of a header"))?;
                let (key, value) = (format!("header.{header}"), secret.value(&format!("header.{header}")));
                headers.insert(name, secret.header(&key, value.unwrap_or_default())?);
            }
        }
    }
    Ok(headers)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;

    /// The receivers of an example, with a value for each key of its Secret.
    pub(in crate::io::notifications) fn read(data: &[(&str, &str)], secret: &[(&str, &str)]) -> NotificationSettings {
        let data = data.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        let secret =
            secret.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect();
        NotificationSettings::read(&data, &secret)
    }

    #[test]
    fn a_mistake_is_told_without_a_value_of_the_secret_and_leaves_the_others_alone() {
        for (text, secret, why) in [
            ("", "x.token", "it is no YAML"),
            ("provider: bitbucket", "x.token", "unknown variant `bitbucket`, expected one of `github`"),
            ("{provider: github, token: hunter2}", "x.token", "unknown field `token`"),
            ("provider: github", "y.token", "the Secret nomos-notifications has no key x.token"),
            ("provider: gitea", "x.token", "url is missing"),
            ("{provider: gitea, url: git.example}", "x.token", "url is not like"),
            ("{provider: gitea, url: 'https://hunter2@git.example'}", "x.token", "without a user"),
            ("{provider: github, template: '{}'}", "x.token", "template is for webhooks"),
            ("{provider: github, states: [synced]}", "x.token", "\"synced\" in states"),
            ("{provider: github, repoSyncs: [shop]}", "x.token", "\"shop\" in repoSyncs is not NAMESPACE/NAME"),
            ("{provider: github, repository: a/b, repoSyncs: [shop/*]}", "x.token", "repository is for RootSyncs"),
            ("{provider: github, repository: a/b}", "x.token", "repository needs rootSyncs"),
            ("{provider: github, repository: fleet}", "x.token", "repository is not OWNER/NAME"),
            ("{provider: github, ca: x}", "x.token", "ca has no certificate in PEM"),
            ("provider: webhook", "x.token", "url is missing"),
            ("{provider: webhook, url: 'http://a', repository: b}", "x.token", "a webhook has no repository"),
            ("{provider: webhook, url: 'http://a'}", "x.header.a_b.c", ""),
            ("{provider: webhook, url: 'http://a', template: '{{ .nothing }}'}", "x.token", "{{ .nothing }}"),
        ] {
            let settings = read(&[("ok", "{provider: webhook, url: 'http://a'}"), ("x", text)], &[(secret, "hunter2")]);
            assert!(settings.receivers.contains_key("ok"), "{text}");
            let told = settings.mistakes.concat();
            assert_eq!(told.is_empty(), why.is_empty(), "{text}: {told}");
            assert!(told.contains(why) && !told.contains("hunter2") || text.contains("hunter2"), "{text}: {told}");
        }
        let keys = ["private-key", "client-id", "installation-id"].map(|key| format!("x.github-app-{key}"));
        let key = include_str!("../git/tests/keys/rsa.pem");
        for (values, why) in [
            ([key, "Iv1.a", "7"], ""),
            (
                ["hunter2", "Iv1.a", "7"],
                "the key x.github-app-private-key of the Secret nomos-notifications is no RSA key",
            ),
            ([key, "", "7"], "x.github-app-client-id of the Secret nomos-notifications is missing"),
            ([key, "Iv1.a", "../x"], "x.github-app-installation-id of the Secret nomos-notifications is no number"),
        ] {
            let secret: Vec<_> = keys.iter().map(String::as_str).zip(values).collect();
            let settings = read(&[("x", "provider: github")], &secret);
            let told = settings.mistakes.concat();
            assert!(told.is_empty() == why.is_empty() && told.contains(why), "{told}");
            let app = settings.receivers.get("x").and_then(|receiver| receiver.app.as_ref());
            assert_eq!(app.map(|app| app.base_url.as_str()), why.is_empty().then_some("https://api.github.com/"));
        }
        let line_break = read(&[("x", "provider: gitlab")], &[("x.token", "hunter\n2")]).mistakes;
        assert_eq!(
            line_break,
            ["the receiver x in the ConfigMap nomos-notifications is left out: the key x.token of the Secret \
                                 nomos-notifications is no text for a header"]
        );
        let many: Vec<(String, &str)> =
            (0..20).map(|n| (n.to_string(), "{provider: webhook, url: 'http://a'}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let many = read(&many, &[]);
        assert_eq!((many.receivers.len(), many.mistakes.len()), (RECEIVERS, 20 - RECEIVERS));
    }

    #[test]
    fn tenants_are_left_out_unless_they_are_named() {
        let wants = |text: &str, sync: SyncId, state| {
            let settings = read(&[("x", text)], &[("x.token", "t")]);
            let news = CommitNews::pending(&sync, "", "1", &Arc::default(), 1);
            settings.receivers["x"].wants(&CommitNews { state, ..news })
        };
        let (root, repo) = (|| SyncId::root("a"), || SyncId::repo("shop", "web"));
        for (text, [wants_root, wants_repo]) in [
            ("provider: github", [true, false]),
            ("{provider: github, rootSyncs: [a]}", [true, false]),
            ("{provider: github, rootSyncs: [b], repoSyncs: [shop/*]}", [false, true]),
            ("{provider: github, rootSyncs: [], repoSyncs: [shop/web, x/*]}", [false, true]),
            ("{provider: github, repoSyncs: [shop/web2, sho/*, '*/web']}", [true, false]),
        ] {
            let wanted = [wants(text, root(), CommitState::Success), wants(text, repo(), CommitState::Success)];
            assert_eq!(wanted, [wants_root, wants_repo], "{text}");
        }
        let failures = "{provider: github, states: [failure]}";
        assert!(wants(failures, root(), CommitState::Failure) && !wants(failures, root(), CommitState::Pending));
    }

    #[test]
    fn the_example_has_no_mistake() {
        let mut objects =
            serde_yaml::Deserializer::from_str(include_str!("../../../../examples/notifications/notifications.yaml"));
        let mut next = |field: &str| {
            let object = serde_json::Value::deserialize(objects.next().expect("a document")).expect("YAML");
            serde_json::from_value::<BTreeMap<String, String>>(object[field].clone()).expect("texts")
        };
        let (data, secret) = (next("data"), next("stringData"));
        let secret = secret.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))).collect();
        let settings = NotificationSettings::read(&data, &secret);
        assert_eq!((settings.receivers.len(), settings.mistakes), (4, Vec::new()));
    }
}
