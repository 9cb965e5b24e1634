//! One of the two clusters, as a client sees it that performs a log: it remembers what it saw, and fills the places in
//! the log's texts with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use http::{HeaderValue, Request as HttpRequest, header};
use http_body_util::BodyExt;
use kube::client::Body as HttpBody;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use crate::edit::edit;
use crate::log::{Body, Request, Until};

/// The longest time to wait for changes that the cluster makes by itself. The garbage collector learns of new kinds in 30 seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two requests while the test waits.
const PAUSE: Duration = Duration::from_millis(5);

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In the headers.
    pub(crate) warnings: Vec<String>,
    /// A string where it is no JSON.
    pub(crate) body: Value,
}

/// A client of the cluster whose kubeconfig this is.
pub(crate) async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    config.headers.push((header::USER_AGENT, HeaderValue::from_static("conformance/1.0")));
    Ok(kube::Client::try_from(config)?)
}

/// The object that the client last saw at a path.
#[derive(Debug, Default)]
struct Seen {
    uid: String,
    version: String,
    older_version: String,
    whole: Value,
}

/// A cluster during a log.
pub(crate) struct Side {
    pub(crate) client: kube::Client,
    /// The text that `<tag>` stands for.
    pub(crate) tag: String,
    seen: BTreeMap<String, Seen>,
}

impl Side {
    pub(crate) fn new(client: kube::Client, tag: String) -> Self {
        Self { client, tag, seen: BTreeMap::new() }
    }

    /// `true` if the client has seen an object at `path`.
    pub(crate) fn has_seen(&self, path: &str) -> bool {
        self.seen.contains_key(&self.fill(path))
    }

    /// Fills the places in a text.
    pub(crate) fn fill(&self, text: &str) -> String {
        let text = text.replace("<tag>", &self.tag);
        let mut filled = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('<') {
            filled.push_str(before);
            let place = after.split_once('>').and_then(|(place, after)| Some((self.place(place)?, after)));
            rest = match place {
                Some((value, after)) => {
                    filled.push_str(&value);
                    after
                }
                None => {
                    filled.push('<');
                    after
                }
            };
        }
        filled.push_str(rest);
        filled
    }

    fn place(&self, place: &str) -> Option<String> {
        let unseen = Seen::default();
        let (what, path) = place.rsplit_once(' ')?;
        let seen = self.seen.get(path).unwrap_or(&unseen);
        let (value, otherwise) = match what {
            "uid" => (&seen.uid, "22222222-2222-3333-4444-555555555555"),
            "rv" => (&seen.version, "1"),
            "old rv" => (&seen.older_version, "1"),
            "since" => (&seen.version, ""),
            "long since" => (&seen.older_version, ""),
            _ => return None,
        };
        Some(if value.is_empty() { otherwise } else { value }.to_owned())
    }

    /// Asks, and remembers.
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<Answer> {
        let path = self.fill(&request.path);
        let body = match &request.body {
            Body::Nothing => String::new(),
            Body::Json(body) => self.fill(&body.to_string()),
            Body::Text(text) => self.fill(text),
            Body::Seen { path, edits } => {
                let mut whole = self.seen.get(&self.fill(path)).map_or(Value::Null, |seen| seen.whole.clone());
                for (pointer, value) in edits {
                    edit(&mut whole, pointer, value.clone());
                }
                self.fill(&whole.to_string())
            }
        };
        let query = if request.query.is_empty() { String::new() } else { format!("?{}", self.fill(&request.query)) };
        let mut asked = HttpRequest::builder()
            .method(request.method)
            .uri(format!("{path}{query}"))
            .header(header::ACCEPT, request.accept);
        if !request.content_type.is_empty() {
            asked = asked.header(header::CONTENT_TYPE, request.content_type);
        }
        let answer = self.client.send(asked.body(HttpBody::from(body.into_bytes()))?).await?;
        let status = answer.status().as_u16();
        let warnings = answer.headers().get_all(header::WARNING).iter();
        let warnings = warnings.map(|warning| String::from_utf8_lossy(warning.as_bytes()).into_owned()).collect();
        let bytes = answer.into_body().collect_bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        if status < 300 {
            self.remember(request, &path, &body);
        }
        Ok(Answer { status, warnings, body })
    }

    fn remember(&mut self, request: &Request, path: &str, body: &Value) {
        let metadata = &body["metadata"];
        let (Some(uid), Some(version), Some(name)) =
            (metadata["uid"].as_str(), metadata["resourceVersion"].as_str(), metadata["name"].as_str())
        else {
            return;
        };
        if request.query.contains("dryRun") {
            return;
        }
        let (path, part) = match path.rsplit_once('/') {
            Some((whole, "status" | "scale")) => (whole.to_owned(), &path[whole.len()..]),
            _ if request.method == "POST" => (format!("{path}/{name}"), ""),
            _ => (path.to_owned(), ""),
        };
        let mut keep = |path: String, whole: bool| {
            let seen = self.seen.entry(path).or_default();
            if seen.version != version {
                seen.older_version = std::mem::replace(&mut seen.version, version.to_owned());
            }
            uid.clone_into(&mut seen.uid);
            if whole {
                seen.whole = body.clone();
            }
        };
        let whole = request.accept == crate::log::JSON;
        if part == "/scale" {
            keep(format!("{path}{part}"), whole);
        }
        keep(path, whole && part != "/scale");
    }

    /// Waits until the cluster has done by itself what it does to the object at `path`.
    pub(crate) async fn wait(&mut self, until: Until, path: &str, patience: Duration) -> Result<()> {
        let path = self.fill(path);
        let mut last = Value::Null;
        let waited = async {
            loop {
                let (status, object) = self.get(&path).await?;
                last = object;
                let done = if status == 404 { until != Until::Readable } else { done(until, &last) };
                if done && self.lists_all(&served(until, &last)).await? {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let waited = tokio::time::timeout(patience, waited).await;
        waited
            .unwrap_or_else(|_| Err(anyhow::anyhow!("timed out at {last}")))
            .with_context(|| format!("{until:?} {path}"))
    }

    async fn get(&self, path: &str) -> Result<(u16, Value)> {
        let answer = self.client.send(HttpRequest::get(path).body(HttpBody::empty())?).await?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect_bytes().await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    /// `true` if all of these collections can be listed and watched.
    async fn lists_all(&self, paths: &[String]) -> Result<bool> {
        for path in paths {
            if self.get(&format!("{path}?resourceVersion=0")).await?.0 != 200 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks until the answer has this status.
    pub(crate) async fn probe(&mut self, request: &Request, status: u16, patience: Duration) -> Result<()> {
        let waited = async {
            while self.ask(request).await?.status != status {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        let waited = tokio::time::timeout(patience, waited).await;
        waited
            .unwrap_or_else(|_| Err(anyhow::anyhow!("timed out")))
            .with_context(|| format!("until {status}: {request}"))
    }

    /// The frames of the body of an answer, as they come.
    pub(crate) async fn stream(&self, path: &str, query: &str, accept: &str) -> Result<(u16, HttpBody)> {
        let uri = format!("{}?{}", self.fill(path), self.fill(query));
        let asked = HttpRequest::get(uri).header(header::ACCEPT, accept).body(HttpBody::empty())?;
        let answer = self.client.send(asked).await?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }
}

/// The collections that a CRD which is waited for makes.
fn served(until: Until, object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let (Some(group), Some(plural)) = (spec["group"].as_str(), spec["names"]["plural"].as_str()) else {
        return Vec::new();
    };
    if until != Until::Served || object["metadata"]["deletionTimestamp"].is_string() {
        return Vec::new();
    }
    let versions = spec["versions"].as_array().into_iter().flatten().filter(|version| version["served"] == true);
    versions.filter_map(|version| Some(format!("/apis/{group}/{}/{plural}", version["name"].as_str()?))).collect()
}

fn done(until: Until, object: &Value) -> bool {
    let deleting = object["metadata"]["deletionTimestamp"].is_string();
    let cleanup = "customresourcecleanup.apiextensions.k8s.io";
    let holds = |name| object["metadata"]["finalizers"].as_array().is_some_and(|all| all.contains(&Value::from(name)));
    match until {
        Until::Gone => false,
        Until::Readable => object["kind"] != "Status",
        Until::Collected => !deleting || ![cleanup, "foregroundDeletion", "orphan"].into_iter().any(holds),
        Until::Deleting => deleting && ![cleanup, "orphan"].into_iter().any(holds),
        // Without an owner to begin with it is deleted, and stays so until it is let go.
        Until::Unowned if deleting => !holds(cleanup),
        Until::Unowned => object["metadata"].get("ownerReferences").is_none(),
        Until::Served => {
            let conditions = object["status"]["conditions"].as_array();
            let holds = |kind: &str| {
                conditions.is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == "True"))
            };
            let accepted = object["status"]["acceptedNames"] == object["spec"]["names"];
            accepted && holds("Established") && holds("NamesAccepted")
        }
    }
}

/// The next piece of a body, or `None` at its end.
pub(crate) async fn next_piece(body: &mut HttpBody) -> Option<Vec<u8>> {
    loop {
        // A watch that breaks off has ended.
        let frame = body.frame().await?.ok()?;
        if let Ok(data) = frame.into_data() {
            return Some(data.to_vec());
        }
    }
}
