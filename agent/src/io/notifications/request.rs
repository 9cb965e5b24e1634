//! The request that tells a receiver of a commit: its path and its body, as the API of each service has them.
//!
//! It goes to the address in the settings and nowhere else. The URL of a sync's repository, which may be a tenant's choice, only says
//! which repository of that service the status is for, and if it is one of that service at all.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use ring::hmac;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::settings::{Provider, Receiver};
use crate::model::hex::hex;
use crate::model::url::repository_name;
use crate::sync::notifications::{CommitNews, CommitState};

/// Characters that stay as they are in a part of a path.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Characters of the name of a status: GitLab takes no more.
const CONTEXT: usize = 255;

/// A request with the method POST.
pub(super) struct StatusRequest {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// `true` if the receiver is told of this sync, and the repository is one of its service.
pub(super) fn is_for(receiver: &Receiver, news: &CommitNews) -> bool {
    receiver.follows(&news.sync) && (receiver.provider == Provider::Webhook || project(receiver, news).is_some())
}

/// The request for this receiver; `None` if it is not to be told, or the repository is none of its service.
pub(super) fn request(receiver: &Receiver, news: &CommitNews) -> Option<StatusRequest> {
    if !receiver.wants(news) {
        return None;
    }
    let (state, context) = (news.state.name(), context(news));
    let (url, body) = match receiver.provider {
        Provider::Webhook => (receiver.url.clone(), receiver.template.body(news, &context)),
        Provider::Github | Provider::Gitea => {
            let repository = project(receiver, news)?;
            let body = json!({"state": state, "description": news.description, "context": context});
            (
                api(receiver.provider, &receiver.url, &format!("repos/{repository}/statuses/{}", news.commit)),
                body.to_string(),
            )
        }
        Provider::Gitlab => {
            let project = project(receiver, news)?;
            let state = if news.state == CommitState::Failure { "failed" } else { state };
            let body = json!({"state": state, "description": news.description, "name": context});
            (
                api(receiver.provider, &receiver.url, &format!("projects/{project}/statuses/{}", news.commit)),
                body.to_string(),
            )
        }
    };
    let mut headers = receiver.headers.clone();
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    if let Some(key) = &receiver.key {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), body.as_bytes());
        headers.insert("x-signature", HeaderValue::try_from(format!("sha256={}", hex(tag.as_ref()))).ok()?);
    }
    Some(StatusRequest { url, headers, body })
}

/// The repository in paths of the service's API: as the settings give it, or from the URL of the sync's repository if that is on the host of
/// the service.
fn project(receiver: &Receiver, news: &CommitNews) -> Option<String> {
    let path = match &receiver.repository {
        Some(given) => given.trim_matches('/').to_owned(),
        None => {
            let name = repository_name(&news.git.repo)?;
            let (host, path) = name.split_once('/')?;
            if receiver.url.host_str() != Some(host) {
                return None;
            }
            // The service may be below a path, which URLs of ssh do not have.
            let below = receiver.url.path().trim_matches('/').to_lowercase();
            let own = path.strip_prefix(&below).and_then(|rest| rest.strip_prefix('/'));
            own.filter(|_| !below.is_empty()).unwrap_or(path).to_owned()
        }
    };
    // A program that reads a URL takes such parts out, with the part before.
    let is_part = |part: &str| !["", ".", ".."].contains(&part);
    let parts = path.split('/').map(|part| is_part(part).then(|| utf8_percent_encode(part, IN_PATH).to_string()));
    let parts: Vec<String> = parts.collect::<Option<_>>()?;
    match receiver.provider {
        // A project can be in groups of groups; the settings can give its number, where a proxy spoils paths.
        Provider::Gitlab => (parts.len() >= 2 || receiver.repository.is_some()).then(|| parts.join("%2F")),
        _ => (parts.len() == 2).then(|| parts.join("/")),
    }
}

/// The URL of this path of the service's API.
pub(super) fn api(provider: Provider, service: &Url, path: &str) -> Url {
    let mut url = service.clone();
    let base = url.path().trim_end_matches('/').to_owned();
    let host = url.host_str().unwrap_or_default().to_owned();
    let of_api = format!("api.{host}");
    let base = match provider {
        // GitHub itself, and GitHub Enterprise Cloud on a host of its own.
        Provider::Github
            if (host == "github.com" || host.ends_with(".ghe.com")) && url.set_host(Some(&of_api)).is_ok() =>
        {
            base
        }
        Provider::Github => base + "/api/v3",
        Provider::Gitlab => base + "/api/v4",
        Provider::Gitea | Provider::Webhook => base + "/api/v1",
    };
    url.set_path(&format!("{base}/{path}"));
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// The name under which a service keeps the status: of each sync of each cluster one.
fn context(news: &CommitNews) -> String {
    let parts = ["nomos", &news.cluster, &news.sync.namespace, &news.sync.name];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let context = parts.join("/");
    if context.chars().count() <= CONTEXT {
        return context;
    }
    let digest = hex(&Sha256::digest(context.as_bytes())[..4]);
    context.chars().take(CONTEXT - 9).chain("-".chars()).chain(digest.chars()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::super::settings::tests::read;
    use super::*;
    use crate::api::GitStatus;
    use crate::model::metadata::SyncId;

    fn news(repo: &str) -> CommitNews {
        let git = GitStatus { repo: repo.to_owned(), ..GitStatus::default() };
        CommitNews::pending(&SyncId::root("fleet"), "prod", "1f2e", &Arc::new(git), 3)
    }

    fn sent(settings: &str, repo: &str) -> Option<String> {
        let settings = read(&[("x", settings)], &[("x.token", "t"), ("x.key", "k")]);
        request(settings.receivers.get("x")?, &news(repo)).map(|request| request.url.to_string())
    }

    #[test]
    fn the_repository_follows_from_the_url_of_the_sync_if_it_is_on_the_host_of_the_service() {
        let (github, gitlab) = ("provider: github", "provider: gitlab");
        let (ghes, gitea) =
            ("{provider: github, url: 'https://ghe.example'}", "{provider: gitea, url: 'http://git.example:3000/'}");
        let below = "{provider: gitlab, url: 'https://example.com/gitlab/'}";
        for (settings, repo, expected) in [
            (github, "https://github.com/Org/fleet.git", "https://api.github.com/repos/org/fleet/statuses/1f2e"),
            (github, "git@github.com:org/fleet", "https://api.github.com/repos/org/fleet/statuses/1f2e"),
            (
                github,
                "ssh://git@ssh.github.com:443/org/fleet.git",
                "https://api.github.com/repos/org/fleet/statuses/1f2e",
            ),
            (ghes, "https://user:t@ghe.example/org/fleet", "https://ghe.example/api/v3/repos/org/fleet/statuses/1f2e"),
            (
                "{provider: github, url: 'https://octo.ghe.com'}",
                "https://octo.ghe.com/org/fleet",
                "https://api.octo.ghe.com/repos/org/fleet/statuses/1f2e",
            ),
            (gitlab, "https://gitlab.com/a/b/c.git", "https://gitlab.com/api/v4/projects/a%2Fb%2Fc/statuses/1f2e"),
            (below, "https://example.com/gitlab/a/b", "https://example.com/gitlab/api/v4/projects/a%2Fb/statuses/1f2e"),
            (below, "git@example.com:a/b.git", "https://example.com/gitlab/api/v4/projects/a%2Fb/statuses/1f2e"),
            (gitea, "ssh://git@git.example:2222/a/b.git", "http://git.example:3000/api/v1/repos/a/b/statuses/1f2e"),
            (
                "{provider: github, repository: Org/fleet, rootSyncs: [fleet]}",
                "https://mirror.example/x",
                "https://api.github.com/repos/Org/fleet/statuses/1f2e",
            ),
            (
                "{provider: gitlab, repository: '123', rootSyncs: ['*']}",
                "https://mirror.example/x",
                "https://gitlab.com/api/v4/projects/123/statuses/1f2e",
            ),
            ("{provider: webhook, url: 'https://a.example/x?y=z'}", "/srv/x", "https://a.example/x?y=z"),
        ] {
            assert_eq!(sent(settings, repo).as_deref(), Some(expected), "{settings} {repo}");
        }
        for (settings, repo) in [
            (github, "https://github.com.evil.example/org/fleet"),
            (github, "https://gitlab.com/org/fleet"),
            (github, "https://evil.example/github.com/org/fleet"),
            (github, "https://github.com@evil.example/org/fleet"),
            (github, "https://evil.example?@github.com/org/fleet"),
            (github, "https://evil.example#@github.com/org/fleet"),
            (github, "https://evil.example:443?@github.com/org/fleet"),
            (github, "https://evil.example\\\\@github.com/org/fleet"),
            (github, "https://evil.example/@github.com/org/fleet"),
            (github, "https://github.com/org"),
            (github, "https://github.com/org/fleet/more"),
            (github, "https://github.com/../fleet"),
            (gitlab, "https://gitlab.com/a/../b"),
            (gitlab, "https://gitlab.com/a//b"),
            (ghes, "https://github.com/org/fleet"),
            (gitea, "file:///srv/a/b"),
            (gitea, "/srv/a/b"),
        ] {
            assert_eq!(sent(settings, repo), None, "{settings} {repo}");
        }
        let odd = sent(github, "https://github.com/a?b/c#d/%2e%2e%2fe");
        assert!(odd.as_ref().is_none_or(|url| url.starts_with("https://api.github.com/repos/")), "{odd:?}");
    }

    #[test]
    fn a_body_is_signed_as_receivers_of_flux_know_it() {
        let settings = read(
            &[("x", "{provider: webhook, url: 'http://a', template: '[]'}")],
            &[
                ("x.key", "It's a Secret to Everybody\n"),
                ("x.header.Authorization", "Bearer hunter2\n"),
                ("x.header.content-type", "application/cloudevents+json"),
                ("x.url", "https://hooks.example/hunter2"),
            ],
        );
        let request = request(&settings.receivers["x"], &news("x")).expect("a request");
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"It's a Secret to Everybody");
        let signature = format!("sha256={}", hex(hmac::sign(&key, b"[]").as_ref()));
        assert_eq!(request.headers["x-signature"], signature);
        assert_eq!(request.body, "[]");
        assert_eq!(request.headers["content-type"], "application/cloudevents+json");
        assert_eq!(request.headers["authorization"], "Bearer hunter2");
        assert_eq!(request.url.as_str(), "https://hooks.example/hunter2", "that of the Secret comes first");
        assert!(!format!("{:?}", request.headers).contains("hunter2"));
    }

    #[test]
    fn a_long_name_of_a_status_is_shortened_and_stays_its_own() {
        let of = |name: &str| context(&CommitNews { sync: SyncId::root(name), ..news("x") });
        assert_eq!(of("fleet"), "nomos/prod/config-management-system/fleet");
        let (one, other) = (of(&format!("{}a", "x".repeat(250))), of(&format!("{}b", "x".repeat(250))));
        assert_eq!((one.len(), other.len()), (CONTEXT, CONTEXT));
        assert_ne!(one, other);
    }

    #[test]
    fn requests_are_as_the_descriptions_of_the_services_say() {
        let operations = include_str!("../../../../tests/schemas/commit-statuses.json");
        let operations: Value = serde_json::from_str(operations).expect("JSON");
        for provider in ["github", "gitlab", "gitea"] {
            let settings = format!("{{provider: {provider}, url: 'https://git.example'}}");
            let settings = read(&[("x", &settings)], &[("x.token", "t")]);
            let schema = jsonschema::validator_for(&operations[provider]["body"]).expect("a schema");
            let path = operations[provider]["path"].as_str().expect("a path");
            for state in CommitState::ALL {
                let news = CommitNews { state, ..news("https://git.example/a/b") };
                let request = request(&settings.receivers["x"], &news).expect("a request");
                let body: Value = serde_json::from_str(&request.body).expect("JSON");
                assert!(schema.is_valid(&body), "{provider}: {:?}", schema.validate(&body));
                let (parts, own) = (path.split('/'), request.url.path().split('/'));
                let fits = |(part, own): (&str, &str)| part == own || part.starts_with('{') && !own.is_empty();
                assert!(
                    parts.clone().count() == own.clone().count() && parts.zip(own).all(fits),
                    "{path}: {}",
                    request.url
                );
            }
        }
    }
}
