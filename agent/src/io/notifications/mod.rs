//! Tells services that host repositories, and webhooks, of the state of commits: follows the settings, and sends what the outboxes say.
//!
//! Nothing waits for a receiver. Each has an outbox of its own, which keeps the newest state of each sync, and one request at a time.

mod app;
#[cfg(test)]
mod tests;
mod template;
mod settings;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Result as WatchResult, watch_object};
use reqwest::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Response, StatusCode, redirect};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::app::AppLogin;
use self::request::{StatusRequest, is_for, request};
use self::settings::{NAME, NotificationSettings, Provider, Receiver, ReceiverPlace};
use super::kubernetes::client::Cluster;
use super::kubernetes::events::{EventPublisher, Regarding, Severity};
use super::serve::{Metrics, OutcomeLabel, ReceiverLabels};
use crate::model::error_chain::root_cause;
use crate::model::metadata::{CONTROLLER_NAMESPACE, SyncId};
use crate::sync::notifications::{CommitNews, Delivery, Outbox};

/// A message to the task that notifies.
pub enum CommitMessage {
    /// A commit has another state, or the one that was told.
    State(CommitNews),
    /// These are the syncs that there are.
    Served(BTreeSet<SyncId>),
}

/// The longest time for a connection or an Event, and for a request.
const CONNECT: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(15);
/// The time for which a connection is kept for another request.
const IDLE: Duration = Duration::from_secs(30);
/// Outboxes that are kept of receivers that the settings lost.
const LEFT: usize = 64;
/// Failures in a row after which users are told of a receiver.
const TOLD: u32 = 3;
/// The pause that GitHub wants if it names none.
const LIMITED: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read, for words that tell more than its status.
const ANSWER: usize = 64 << 10;
/// The name of the agent in requests.
const AGENT: &str = concat!("nomos-agent/", env!("CARGO_PKG_VERSION"));

/// A receiver with its outbox.
struct Mailbox {
    receiver: Arc<Receiver>,
    client: Client,
    login: Option<Arc<AppLogin>>,
    outbox: Outbox,
    /// Users were told that it does not take what it is sent.
    is_told: bool,
}

impl Mailbox {
    fn tell(&mut self, news: &Arc<CommitNews>, now: Instant) {
        if is_for(&self.receiver, news) {
            self.outbox.tell(news, self.receiver.wants(news), now);
        }
    }
}

/// A request that has an answer: the name of the receiver, and the receiver as it was then.
type AnsweredRequest = (String, Arc<Receiver>, StatusAnswer);

/// The answer of a receiver, and the reason if it did not take the status.
type StatusAnswer = (Delivery, String);

/// Follows the settings and the states of commits. It does not end.
pub async fn notify(
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    messages: &mut mpsc::UnboundedReceiver<CommitMessage>,
) -> Infallible {
    let client = cluster.client.clone();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), CONTROLLER_NAMESPACE);
    let secrets: Api<Secret> = Api::namespaced(client, CONTROLLER_NAMESPACE);
    let mut maps = watch_object(maps, NAME).default_backoff().boxed();
    // It is watched while there is the ConfigMap.
    let mut of_secret: Option<BoxStream<'static, WatchResult<Option<Secret>>>> = None;
    let (mut map, mut secret) = (None::<ConfigMap>, None::<BTreeMap<String, ByteString>>);
    let mut notifier = Notifier {
        cluster,
        metrics,
        newest: BTreeMap::new(),
        mailboxes: BTreeMap::new(),
        left: BTreeMap::new(),
        mistakes: Vec::new(),
        about: None,
        events: EventPublisher::default(),
    };
    let mut sent: JoinSet<AnsweredRequest> = JoinSet::new();
    loop {
        tokio::select! {
            Some(seen) = maps.next() => {
                let Some(seen) = known(seen) else { continue };
                map = seen;
                if map.is_none() {
                    (of_secret, secret) = (None, None);
                } else if of_secret.is_none() {
                    of_secret = Some(watch_object(secrets.clone(), NAME).default_backoff().boxed());
                }
                notifier.follow(map.as_ref(), secret.as_ref()).await;
            }
            Some(seen) = next(&mut of_secret) => {
                let Some(seen) = known(seen) else { continue };
                secret = Some(seen.and_then(|secret| secret.data).unwrap_or_default());
                notifier.follow(map.as_ref(), secret.as_ref()).await;
            }
            Some(message) = messages.recv() => notifier.hear(message),
            Some(Ok(answered)) = sent.join_next() => notifier.answered(answered).await,
            () = sleep_until(notifier.next_wake()) => {}
        }
        notifier.send(&mut sent);
    }
}

/// The object as it is now; `None` when the watch broke off. It starts again, and what was seen counts on.
fn known<K>(seen: WatchResult<Option<K>>) -> Option<Option<K>> {
    // The words of an error may quote what cannot be read.
    seen.inspect_err(|_| tracing::warn!("the watch on the settings of notifications broke off and starts again")).ok()
}

async fn next<T>(stream: &mut Option<BoxStream<'static, T>>) -> Option<T> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The receivers, and where users are told of them.
struct Notifier {
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    /// The newest state of each sync.
    newest: BTreeMap<SyncId, Arc<CommitNews>>,
    mailboxes: BTreeMap<String, Mailbox>,
    /// The outboxes of receivers that the settings lost, as while the Secret is made anew: they know what was sent when they are back.
    left: BTreeMap<String, (ReceiverPlace, Outbox)>,
    /// The mistakes in the settings of which users were told.
    mistakes: Vec<String>,
    /// The ConfigMap.
    about: Option<Regarding>,
    events: EventPublisher,
}

impl Notifier {
    /// Follows other settings. A receiver at the same place goes on with what it was sent.
    async fn follow(&mut self, map: Option<&ConfigMap>, secret: Option<&BTreeMap<String, ByteString>>) {
        let uid = map.and_then(|map| map.metadata.uid.clone());
        self.about = uid.map(|uid| Regarding {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespace: CONTROLLER_NAMESPACE.to_owned(),
            name: NAME.to_owned(),
            uid,
            related: None,
        });
        let settings = match (map, secret) {
            (Some(map), Some(secret)) => {
                NotificationSettings::read(map.data.as_ref().unwrap_or(&BTreeMap::new()), secret)
            }
            // The Secret is not read yet.
            (Some(_), None) => return,
            (None, _) => NotificationSettings::default(),
        };
        let mut before = std::mem::take(&mut self.mailboxes);
        let (mut mistakes, mut is_new) = (settings.mistakes, before.len() != settings.receivers.len());
        let now = Instant::now();
        for (name, receiver) in settings.receivers {
            let old = before.remove(&name);
            let mailbox = match old {
                Some(old) if *old.receiver == receiver => old,
                old => match self.opened(&name, receiver, old, now) {
                    Ok(mailbox) => {
                        is_new = true;
                        mailbox
                    }
                    Err(error) => {
                        mistakes.push(format!("the receiver {name} is left out: {}", root_cause(&error.without_url())));
                        continue;
                    }
                },
            };
            self.mailboxes.insert(name, mailbox);
        }
        self.left.extend(before.into_iter().map(|(name, old)| (name, (old.receiver.place(), old.outbox))));
        while self.left.len() > LEFT {
            self.left.pop_first();
        }
        if is_new {
            let names: Vec<&str> = self.mailboxes.keys().map(String::as_str).collect();
            tracing::info!(receivers = names.join(", "), "the receivers of notifications");
        }
        if self.mistakes != mistakes {
            mistakes.iter().for_each(|mistake| tracing::error!("{mistake}"));
            if !mistakes.is_empty() {
                self.publish("InvalidNotifications", &mistakes.join("; ")).await;
            }
            self.mistakes = mistakes;
        }
    }

    /// A mailbox for a receiver that is new or another now. It goes on with what was sent to this place.
    fn opened(
        &mut self,
        name: &str,
        receiver: Receiver,
        old: Option<Mailbox>,
        now: Instant,
    ) -> reqwest::Result<Mailbox> {
        let client = client(&receiver)?;
        let place = receiver.place();
        let old = old.map(|old| (old.receiver.place(), old.outbox)).or_else(|| self.left.remove(name));
        let mut outbox = old.filter(|(of, _)| *of == place).map(|(_, outbox)| outbox).unwrap_or_default();
        outbox.revive(now);
        let login = receiver.app.clone().map(AppLogin::new).map(Arc::new);
        let mut mailbox = Mailbox { receiver: Arc::new(receiver), client, login, outbox, is_told: false };
        self.newest.values().for_each(|news| mailbox.tell(news, now));
        Ok(mailbox)
    }

    /// Takes in what the syncs tell.
    fn hear(&mut self, message: CommitMessage) {
        match message {
            CommitMessage::State(news) => {
                let (news, now) = (Arc::new(news), Instant::now());
                self.newest.insert(news.sync.clone(), Arc::clone(&news));
                self.mailboxes.values_mut().for_each(|mailbox| mailbox.tell(&news, now));
            }
            CommitMessage::Served(syncs) => {
                self.newest.retain(|sync, _| syncs.contains(sync));
                let left = self.left.values_mut().map(|(_, outbox)| outbox);
                let all = self.mailboxes.values_mut().map(|mailbox| &mut mailbox.outbox).chain(left);
                all.for_each(|outbox| outbox.retain(|sync| syncs.contains(sync)));
            }
        }
    }

    /// Begins to send what is due.
    fn send(&mut self, sent: &mut JoinSet<AnsweredRequest>) {
        let now = Instant::now();
        for (name, mailbox) in &mut self.mailboxes {
            let Some(news) = mailbox.outbox.next(now) else { continue };
            let (name, client, login) = (name.clone(), mailbox.client.clone(), mailbox.login.clone());
            let receiver = Arc::clone(&mailbox.receiver);
            // The settings can be other ones since the outbox was told.
            let request = request(&receiver, &news);
            sent.spawn(async move {
                let answer = match request {
                    Some(request) => {
                        let posted = post(&client, &receiver, login.as_deref(), request);
                        let answer = AssertUnwindSafe(posted).catch_unwind().await;
                        answer.unwrap_or((Delivery::Failed(None), "the request broke down".to_owned()))
                    }
                    None => (Delivery::Refused, String::new()),
                };
                (name, receiver, answer)
            });
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        self.mailboxes.values().filter_map(|mailbox| mailbox.outbox.next_wake()).min()
    }

    /// Takes in an answer. Users are told once of a receiver that does not take what it is sent, and once that it does again.
    async fn answered(&mut self, (name, receiver, (delivery, why)): AnsweredRequest) {
        let (place, now) = (receiver.place(), Instant::now());
        let Some(mailbox) = self.mailboxes.get_mut(&name).filter(|mailbox| mailbox.receiver.place() == place) else {
            if let Some((_, outbox)) = self.left.get_mut(&name).filter(|(of, _)| *of == place) {
                outbox.answered(delivery, now);
            }
            return;
        };
        // The settings are other ones since it was sent, such as another token.
        let is_old = !Arc::ptr_eq(&mailbox.receiver, &receiver);
        let delivery = if is_old && delivery == Delivery::Refused { Delivery::Failed(None) } else { delivery };
        let is_kept = mailbox.outbox.answered(delivery, now);
        if delivery != Delivery::Delivered && why.is_empty() {
            return;
        }
        let status = if delivery == Delivery::Delivered { OutcomeLabel::success } else { OutcomeLabel::error };
        self.metrics.notifications.get_or_create(&ReceiverLabels { receiver: name.clone(), status }).inc();
        if delivery == Delivery::Delivered {
            if std::mem::take(&mut mailbox.is_told) {
                tracing::info!(receiver = name, "the receiver takes notifications again");
            }
        } else if (!is_kept || mailbox.outbox.failures() >= TOLD) && !std::mem::replace(&mut mailbox.is_told, true) {
            let note = format!("the receiver {name} does not take the state of commits: {why}");
            tracing::warn!("{note}");
            self.publish("NotificationFailed", &note).await;
        }
    }

    /// Publishes an Event about the ConfigMap.
    async fn publish(&mut self, reason: &str, note: &str) {
        let Some(about) = &self.about else { return };
        let published = self.events.publish(&self.cluster, about, Severity::Warning, reason, note);
        if let Ok(Err(error)) = tokio::time::timeout(CONNECT, published).await {
            tracing::debug!(%error, "cannot publish an Event");
        }
    }
}

/// A client for one receiver. It follows no redirect: the token is for this address.
fn client(receiver: &Receiver) -> reqwest::Result<Client> {
    // Does nothing when the program chose a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .connect_timeout(CONNECT)
        .timeout(REQUEST)
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(IDLE);
    match &receiver.ca {
        Some(ca) => builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(ca.as_bytes())?),
        None => builder,
    }
    .build()
}

/// Sends one request. Of an answer only its status and the pause that it asks for are told.
async fn post(
    client: &Client,
    receiver: &Receiver,
    login: Option<&AppLogin>,
    StatusRequest { url, mut headers, body }: StatusRequest,
) -> StatusAnswer {
    if let Some(login) = login {
        match login.header(client).await {
            Ok(header) => _ = headers.insert(AUTHORIZATION, header),
            Err(answer) => return answer,
        }
    }
    let at = receiver.shown();
    match client.post(url).header(USER_AGENT, AGENT).headers(headers).body(body).send().await {
        Ok(answer) => {
            let (status, headers) = (answer.status(), answer.headers().clone());
            let words = match (receiver.provider, status) {
                (Provider::Gitlab, StatusCode::BAD_REQUEST) => Some("Cannot transition status"),
                (Provider::Github, StatusCode::FORBIDDEN) => Some("rate limit"),
                _ => None,
            };
            let is_said = match words {
                Some(words) => beginning(answer).await.contains(words),
                None => false,
            };
            let delivery = match (receiver.provider, delivery(status, &headers)) {
                // The status has this state already.
                (Provider::Gitlab, _) if is_said => return (Delivery::Delivered, String::new()),
                // So many requests in a short time; the headers do not always say so.
                (Provider::Github, Delivery::Refused) if is_said => Delivery::Failed(Some(LIMITED)),
                (_, Delivery::Refused) if status == StatusCode::UNAUTHORIZED && login.is_some() => {
                    login.inspect(|login| login.forget());
                    Delivery::Failed(None)
                }
                (_, delivery) => delivery,
            };
            (delivery, format!("{at} answers with HTTP {}{}", status.as_u16(), hint(status)))
        }
        Err(error) => {
            let error = error.without_url();
            let why = match error.is_timeout() {
                true => "no answer in time".to_owned(),
                // The words can have the name of the host.
                false if receiver.hidden => "there is no connection".to_owned(),
                false => root_cause(&error),
            };
            (Delivery::Failed(None), format!("{at}: {why}"))
        }
    }
}

/// The beginning of an answer.
async fn beginning(mut answer: Response) -> String {
    let mut text = Vec::new();
    while let Ok(Some(part)) = answer.chunk().await {
        text.extend_from_slice(&part[..part.len().min(ANSWER - text.len())]);
        if text.len() == ANSWER {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The pause that an answer asks for.
fn asked(headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    asked.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs)
}

/// The meaning of an answer. A limit of requests is HTTP 429, at GitHub also HTTP 403 with a pause.
fn delivery(status: StatusCode, headers: &HeaderMap) -> Delivery {
    let asked = asked(headers);
    let is_spent = headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0");
    match status.as_u16() {
        200..300 => Delivery::Delivered,
        403 if asked.is_some() || is_spent => Delivery::Failed(asked.or(Some(LIMITED))),
        // Gitea has no other answer for a commit that it does not know.
        408 | 409 | 500 if asked.is_none() => Delivery::Erred,
        408 | 409 | 429 | 500.. => Delivery::Failed(asked),
        // A commit that a mirror does not have yet, or a repository that is made later.
        404 | 422 => Delivery::Unknown,
        _ => Delivery::Refused,
    }
}

fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => ", a redirect, which is not followed: correct the url, or that of a repository that was renamed",
        401 => ": the token is not valid",
        403 => ": the token may not write statuses there, or the service asks for a pause",
        404 => ": there is no such repository, or the token does not see it",
        422 => ": it does not know the commit, or has too many statuses of it",
        _ => "",
    }
}
