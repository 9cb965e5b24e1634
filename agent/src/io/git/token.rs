//! Short-lived tokens: of the installation of a GitHub App, and of Google service accounts. Each is kept until shortly before it
//! expires.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;

use super::authorization::sensitive;
use super::error::{FailureClass, GitError};
use super::operation::Operation;
use super::remote::Credentials;
use crate::model::error_chain::root_cause;
use crate::model::shared::lock;

/// The address of GitHub's API.
pub const GITHUB: &str = "https://api.github.com";
/// The address of the metadata server of a Google Compute Engine node.
pub const METADATA: &str = "http://metadata.google.internal";

/// The address of Google's exchange of tokens.
pub const GOOGLE_EXCHANGE: &str = "https://sts.googleapis.com";
/// The address of Google's service accounts.
pub const GOOGLE_CREDENTIALS: &str = "https://iamcredentials.googleapis.com";
/// The purpose of tokens of Google service accounts.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// A token that would expire within this time is replaced before it is used.
const MARGIN: Duration = Duration::from_secs(300);
/// The part of the lifetime of a token for which it is used, where the margin would leave less.
const USED_PART: u32 = 2;
/// Longest lifetime of a token that is believed.
const LONGEST: Duration = Duration::from_secs(3600);
/// Lifetime of a JWT; GitHub allows ten minutes.
const JWT: Duration = Duration::from_secs(540);
/// Time by which the clock of the agent may be ahead.
const AHEAD: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read.
const ANSWER: u64 = 64 << 10;

/// A source of tokens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenSource {
    /// The installation of a GitHub App.
    GithubApp(GithubApp),
    /// The service account of the node that the agent runs on.
    GceNode {
        /// The address of the metadata server.
        metadata: String,
    },
    /// A Google service account, as which an account of the cluster may act.
    GcpServiceAccount(GcpServiceAccount),
}

/// A Google service account, as which an account of the cluster may act. Two are equal if they are of the same accounts, whatever
/// the token of the account is now.
#[derive(Clone)]
pub struct GcpServiceAccount {
    /// Namespace and name of the account in the cluster.
    pub account: String,
    /// The Google service account.
    pub email: String,
    /// The address of the service that takes the account's token for one of Google.
    pub exchange: String,
    /// The address of the service that gives tokens of Google service accounts.
    pub credentials: String,
    /// The token of the account, which is renewed while it is used.
    pub subject: SubjectSlot,
}

/// The place for the newest token of an account.
pub type SubjectSlot = Arc<Mutex<Option<SubjectToken>>>;

/// The token of an account of the cluster, and the name by which Google knows the cluster.
#[derive(Clone)]
pub struct SubjectToken {
    /// The token.
    pub token: String,
    /// Its audience for the exchange.
    pub audience: String,
}

impl GcpServiceAccount {
    fn key(&self) -> [&str; 4] {
        [&self.account, &self.email, &self.exchange, &self.credentials]
    }
}

impl PartialEq for GcpServiceAccount {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for GcpServiceAccount {}

impl PartialOrd for GcpServiceAccount {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for GcpServiceAccount {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for GcpServiceAccount {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// The installation of a GitHub App.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GithubApp {
    /// The client id or the application id.
    pub app: String,
    /// The id of the installation.
    pub installation: String,
    /// The private key in PEM, as [`is_rsa_key`] takes it.
    pub key: String,
    /// The address of the API.
    pub base_url: String,
}

/// `true` if a text is an RSA key in PEM that can sign.
pub fn is_rsa_key(pem: &str) -> bool {
    rsa_key(pem).is_some()
}

fn rsa_key(pem: &str) -> Option<RsaKeyPair> {
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()? {
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()).ok(),
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok(),
        _ => None,
    }
}

/// A source of tokens with its last token.
pub(super) struct Tokens {
    source: TokenSource,
    kept: Mutex<Option<(Credentials, SystemTime)>>,
}

impl Tokens {
    pub(super) fn new(source: TokenSource) -> Self {
        Self { source, kept: Mutex::new(None) }
    }

    /// User and token. A request is sent only if there is none, or if the one that is kept expires soon.
    pub(super) fn current(&self, client: &Client, operation: &Operation) -> Result<Credentials, GitError> {
        let now = SystemTime::now();
        let mut kept = lock(&self.kept);
        if let Some((credentials, _)) = kept.as_ref().filter(|(_, until)| now < *until) {
            return Ok(credentials.clone());
        }
        let (credentials, lifetime) = match &self.source {
            TokenSource::GithubApp(app) => app.token(client, operation, now)?,
            TokenSource::GceNode { metadata } => node_token(metadata, client, operation)?,
            TokenSource::GcpServiceAccount(account) => account.token(client, operation, now)?,
        };
        *kept = Some((credentials.clone(), now + used_for(lifetime)));
        Ok(credentials)
    }

    /// The server refused the token: the next operation asks for a new one.
    pub(super) fn forget(&self) {
        *lock(&self.kept) = None;
    }
}

/// The time for which a token of this lifetime is used.
pub fn used_for(lifetime: Duration) -> Duration {
    let lifetime = lifetime.min(LONGEST);
    lifetime.saturating_sub(MARGIN).max((lifetime / USED_PART).min(MARGIN))
}

#[derive(Deserialize)]
struct InstallationToken {
    token: String,
    expires_at: Timestamp,
}

impl GithubApp {
    fn token(
        &self,
        client: &Client,
        operation: &Operation,
        now: SystemTime,
    ) -> Result<(Credentials, Duration), GitError> {
        let (url, bearer) = self
            .token_request(now)
            .ok_or_else(|| GitError::new(FailureClass::Broken, "the key of the GitHub App cannot sign"))?;
        let request = client.post(url).header(AUTHORIZATION, bearer).header(ACCEPT, "application/vnd.github+json");
        let failed = "GitHub does not give a token for the installation of the App";
        let answer = text(request, operation, failed)
            .and_then(|answer| Self::token_of(&answer, now).ok_or_else(|| unreadable(failed)));
        let (token, lifetime) = answer.map_err(|error| {
            error.hint("Check the ids and the key in the Secret of spec.git.secretRef, and that the App is installed.")
        })?;
        Ok((Credentials { user: "x-access-token".to_owned(), password: token }, lifetime))
    }

    /// The URL of the request for a token of the installation, and its login; `None` if the key cannot sign.
    pub fn token_request(&self, now: SystemTime) -> Option<(String, HeaderValue)> {
        let base = self.base_url.trim_end_matches('/');
        let url = format!("{base}/app/installations/{}/access_tokens", self.installation);
        Some((url, sensitive(&format!("Bearer {}", self.jwt(now)?))?))
    }

    /// The token in the answer to that request, and its lifetime.
    pub fn token_of(answer: &str, now: SystemTime) -> Option<(String, Duration)> {
        let InstallationToken { token, expires_at } = serde_json::from_str(answer).ok()?;
        Some((token, SystemTime::from(expires_at).duration_since(now).unwrap_or_default()))
    }

    /// A JSON Web Token by which the App shows that it has the key (RS256).
    pub(super) fn jwt(&self, now: SystemTime) -> Option<String> {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let (issued, expires) = (seconds.saturating_sub(AHEAD).as_secs(), (seconds + JWT).as_secs());
        let header = json!({ "alg": "RS256", "typ": "JWT" });
        let claims = json!({ "iat": issued, "exp": expires, "iss": self.app });
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let key = rsa_key(&self.key)?;
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[derive(Deserialize)]
struct NodeToken {
    access_token: String,
    expires_in: u64,
}

fn node_token(metadata: &str, client: &Client, operation: &Operation) -> Result<(Credentials, Duration), GitError> {
    let account = format!("{metadata}/computeMetadata/v1/instance/service-accounts/default");
    let get = |what: &str| {
        client.get(format!("{account}/{what}")).header(HeaderName::from_static("metadata-flavor"), "Google")
    };
    let failed = "the metadata server does not give a token for the node";
    let hint = |error: GitError| {
        error.hint("auth gcenode works on a Google Compute Engine node whose service account may read the repository.")
    };
    let NodeToken { access_token, expires_in } = ask(get("token"), operation, failed).map_err(hint)?;
    let user: String = text(get("email"), operation, failed).map_err(hint)?.trim().to_owned();
    Ok((Credentials { user, password: access_token }, Duration::from_secs(expires_in)))
}

#[derive(Deserialize)]
struct ExchangedToken {
    access_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GoogleToken {
    access_token: String,
    expire_time: Timestamp,
}

impl GcpServiceAccount {
    fn token(
        &self,
        client: &Client,
        operation: &Operation,
        now: SystemTime,
    ) -> Result<(Credentials, Duration), GitError> {
        let Some(SubjectToken { token, audience }) = lock(&self.subject).clone() else {
            let message = format!("there is no token of the ServiceAccount {} yet", self.account);
            return Err(GitError::new(FailureClass::Unreachable, message));
        };
        let post = |url: String, body: serde_json::Value| {
            client.post(url).header(CONTENT_TYPE, "application/json").body(body.to_string())
        };
        let exchange = json!({
            "grantType": "urn:ietf:params:oauth:grant-type:token-exchange",
            "requestedTokenType": "urn:ietf:params:oauth:token-type:access_token",
            "subjectTokenType": "urn:ietf:params:oauth:token-type:jwt",
            "audience": audience, "scope": SCOPE, "subjectToken": token,
        });
        let failed = format!("Google does not take the token of the ServiceAccount {}", self.account);
        let ExchangedToken { access_token } =
            ask(post(format!("{}/v1/token", self.exchange), exchange), operation, &failed).map_err(|error| {
                error.hint("auth gcpserviceaccount works on GKE with Workload Identity, and on members of a fleet.")
            })?;
        let bearer = sensitive(&format!("Bearer {access_token}"));
        let url = format!("{}/v1/projects/-/serviceAccounts/{}:generateAccessToken", self.credentials, self.email);
        let request =
            post(url, json!({ "scope": [SCOPE] })).header(AUTHORIZATION, bearer.ok_or_else(|| unreadable(&failed))?);
        let failed = format!("Google does not let {} act as {}", self.account, self.email);
        let GoogleToken { access_token, expire_time } = ask(request, operation, &failed).map_err(|error| {
            error.hint(
                "Give the ServiceAccount the role roles/iam.workloadIdentityUser on the Google service account, and that \
                 one the right to read the repository.",
            )
        })?;
        let lifetime = SystemTime::from(expire_time).duration_since(now).unwrap_or_default();
        Ok((Credentials { user: self.email.clone(), password: access_token }, lifetime))
    }
}

fn ask<T: serde::de::DeserializeOwned>(
    request: RequestBuilder,
    operation: &Operation,
    failed: &str,
) -> Result<T, GitError> {
    // The words of the parser may quote the token.
    serde_json::from_str(&text(request, operation, failed)?).map_err(|_| unreadable(failed))
}

fn unreadable(failed: &str) -> GitError {
    GitError::new(FailureClass::Broken, format!("{failed}: its answer cannot be read"))
}

fn text(request: RequestBuilder, operation: &Operation, failed: &str) -> Result<String, GitError> {
    use std::io::Read as _;
    let unreachable = |cause: String| GitError::new(FailureClass::Unreachable, format!("{failed}: {cause}"));
    let time = operation.left().map_err(|error| unreachable(error.to_string()))?;
    let agent = concat!("nomos-", env!("CARGO_PKG_VERSION"));
    let sent = request.header(USER_AGENT, agent).timeout(time).send();
    let response = sent.map_err(|error| unreachable(root_cause(&error.without_url())))?;
    let status = response.status();
    if !status.is_success() {
        let class = match status.as_u16() {
            401 | 403 | 404 | 422 => FailureClass::Unauthenticated,
            429 | 500..=599 => FailureClass::Unreachable,
            _ => FailureClass::Broken,
        };
        return Err(GitError::new(class, format!("{failed} (HTTP {})", status.as_u16())));
    }
    let mut body = String::new();
    let read = response.take(ANSWER).read_to_string(&mut body);
    read.map_err(|error| unreachable(root_cause(&error)))?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_replaced_before_it_expires() {
        for (lifetime, used) in [(3600, 3300), (7200, 3300), (600, 300), (400, 200), (60, 30), (0, 0)] {
            assert_eq!(used_for(Duration::from_secs(lifetime)), Duration::from_secs(used), "{lifetime}");
        }
    }
}
