//! The token of a sync's account, by which the sync acts as a Google service account: it is asked for at the API server, and renewed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;
use tokio::time::Instant;

use super::secret::Secrets;
use crate::api::{Auth, GitSpec};
use crate::io::git::{
    GOOGLE_CREDENTIALS, GOOGLE_EXCHANGE, GcpServiceAccount, Login, METADATA, Remote, SubjectToken, TokenSource,
};
use crate::model::finding::Finding;
use crate::model::metadata::{CONTROLLER_NAMESPACE, SyncId};
use crate::model::shared::lock;

/// Lifetime of a token, in seconds, and the time after which it is renewed.
const LIFETIME: i64 = 3600;
const RENEWED: Duration = Duration::from_secs(45 * 60);
/// The pause before another attempt.
const RETRY: Duration = Duration::from_secs(30);
/// The longest time for an answer of the metadata server.
const PATIENCE: Duration = Duration::from_secs(10);
/// The object of a member of a fleet that names the identities of its accounts.
const MEMBERSHIP: &str = "/apis/hub.gke.io/v1/memberships/membership";

/// The account of a sync, and its token.
pub(super) struct AccountTokens {
    client: kube::Client,
    accounts: Api<ServiceAccount>,
    name: String,
    metadata: String,
    google: GcpServiceAccount,
    /// The end of the last question for a token; `None` before the first answer.
    state: Option<Result<(), Finding>>,
    due: Instant,
}

/// The names by which Google knows the accounts of the cluster.
struct WorkloadIdentity {
    /// The audience of tokens.
    pool: String,
    /// The issuer of tokens.
    provider: String,
}

impl AccountTokens {
    /// `None` for a sync that does not act as a Google service account.
    pub(super) fn of(client: &kube::Client, sync: &SyncId, git: &GitSpec) -> Option<Self> {
        let name = sync.reconciler();
        (git.auth == Auth::GcpServiceAccount).then(|| Self {
            accounts: Api::namespaced(client.clone(), CONTROLLER_NAMESPACE),
            client: client.clone(),
            metadata: METADATA.to_owned(),
            google: GcpServiceAccount {
                account: format!("{CONTROLLER_NAMESPACE}/{name}"),
                email: git.gcp_service_account_email.clone(),
                exchange: GOOGLE_EXCHANGE.to_owned(),
                credentials: GOOGLE_CREDENTIALS.to_owned(),
                subject: Arc::default(),
            },
            name,
            state: None,
            due: Instant::now(),
        })
    }

    /// `true` once the API server was asked for a token.
    pub(super) fn is_known(&self) -> bool {
        self.state.is_some()
    }

    /// The remote with the login as the Google service account.
    ///
    /// # Errors
    /// When there is no token of the account.
    pub(super) fn login(&self, remote: Remote) -> Result<Remote, Finding> {
        match &self.state {
            Some(Err(finding)) => Err(finding.clone()),
            _ => Ok(Remote { login: Login::Token(TokenSource::GcpServiceAccount(self.google.clone())), ..remote }),
        }
    }

    /// Waits until a token is due, and asks for it.
    pub(super) async fn renew(&mut self, secrets: &Secrets) {
        tokio::time::sleep_until(self.due).await;
        let asked = self.ask().await;
        let pause = if asked.is_ok() { RENEWED } else { RETRY };
        self.due = Instant::now() + pause;
        let state = asked.map(|subject| *lock(&self.google.subject) = Some(subject)).map_err(|(what, hint)| {
            let message = format!("{what}; spec.git.auth: gcpserviceaccount needs its token.");
            secrets.invalid(message, format!("{hint} The sync goes on by itself."))
        });
        match (&self.state, &state) {
            // A token that was given is used on for a while.
            (Some(Ok(())), Err(finding)) => tracing::warn!("{}", finding.message),
            _ => self.state = Some(state),
        }
    }

    async fn ask(&self) -> Result<SubjectToken, (String, String)> {
        let account = &self.google.account;
        let WorkloadIdentity { pool, provider } = self.identity().await.map_err(|why| {
            let hint = "It works on GKE with Workload Identity, and on members of a fleet.".to_owned();
            (format!("The identity of the ServiceAccount {account} at Google is not known: {why}"), hint)
        })?;
        let spec = TokenRequestSpec {
            audiences: Some(vec![pool.clone()]),
            expiration_seconds: Some(LIFETIME),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = self.accounts.create_token_request(&self.name, &PostParams::default(), &request).await;
        let answer = answer.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 404 => {
                let hint = "The agent makes it; an agent that serves one repository by flags does not.".to_owned();
                (format!("The ServiceAccount {account} does not exist"), hint)
            }
            kube::Error::Api(status) => {
                let hint = "Let the agent create serviceaccounts/token.".to_owned();
                (format!("The API server gives no token of the ServiceAccount {account}: {}", status.message), hint)
            }
            // Other errors may quote an answer.
            _ => (format!("The API server gives no token of the ServiceAccount {account}"), String::new()),
        })?;
        let token = answer.status.and_then(|status| status.token).unwrap_or_default();
        Ok(SubjectToken { token, audience: format!("identitynamespace:{pool}:{provider}") })
    }

    /// As the membership of a fleet says it, or else the metadata server of GKE.
    async fn identity(&self) -> Result<WorkloadIdentity, String> {
        let request = http::Request::get(MEMBERSHIP).body(Vec::new()).expect("the path is valid");
        if let Ok(membership) = self.client.request::<Value>(request).await {
            let text = |field: &str| membership["spec"][field].as_str().unwrap_or_default().to_owned();
            let (pool, provider) = (text("workload_identity_pool"), text("identity_provider"));
            if !pool.is_empty() && !provider.is_empty() {
                return Ok(WorkloadIdentity { pool, provider });
            }
        }
        let project = self.attribute("project/project-id").await?;
        let cluster = self.attribute("instance/attributes/cluster-name").await?;
        let location = self.attribute("instance/attributes/cluster-location").await?;
        let provider =
            format!("https://container.googleapis.com/v1/projects/{project}/locations/{location}/clusters/{cluster}");
        Ok(WorkloadIdentity { pool: format!("{project}.svc.id.goog"), provider })
    }

    async fn attribute(&self, path: &str) -> Result<String, String> {
        let url = format!("{}/computeMetadata/v1/{path}", self.metadata);
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        let request = client.map_err(|error| error.to_string())?.get(url).header("Metadata-Flavor", "Google");
        let away = "no answer from the metadata server";
        let answer = request.send().await.map_err(|_| away.to_owned())?;
        if !answer.status().is_success() {
            return Err(format!("the metadata server answers with status {} about {path}", answer.status().as_u16()));
        }
        Ok(answer.text().await.map_err(|_| away.to_owned())?.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::{get, post};
    use serde_json::json;

    use super::*;
    use crate::model::metadata::ROOT_SYNC;

    async fn served(router: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// The tokens of `root-sync` at an API server with these paths.
    async fn tokens(router: Router) -> AccountTokens {
        // Another test may have done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = served(router.clone()).await;
        let client = kube::Client::try_from(kube::Config::new(url.parse().expect("a URL"))).expect("a client");
        let git = json!({ "repo": "https://git.example/x", "auth": "gcpserviceaccount", "gcpServiceAccountEmail": "sync@project.iam" });
        let git: GitSpec = serde_json::from_value(git).expect("a spec");
        let tokens = AccountTokens::of(&client, &SyncId::root(ROOT_SYNC), &git).expect("it needs tokens");
        AccountTokens { metadata: url, ..tokens }
    }

    fn account_api() -> Router {
        let path = "/api/v1/namespaces/config-management-system/serviceaccounts/root-reconciler/token";
        let answer = |request: String| async move {
            let request: Value = serde_json::from_str(&request).expect("JSON");
            let audience = request["spec"]["audiences"][0].as_str().unwrap_or_default();
            let status = json!({ "token": format!("for {audience}"), "expirationTimestamp": "2100-01-01T00:00:00Z" });
            let (kind, version) = ("TokenRequest", "authentication.k8s.io/v1");
            json!({ "kind": kind, "apiVersion": version, "spec": request["spec"], "status": status }).to_string()
        };
        Router::new().route(path, post(answer))
    }

    fn metadata() -> Router {
        Router::new()
            .route("/computeMetadata/v1/project/project-id", get(|| async { "project\n" }))
            .route("/computeMetadata/v1/instance/attributes/cluster-name", get(|| async { "east" }))
            .route("/computeMetadata/v1/instance/attributes/cluster-location", get(|| async { "europe-west1" }))
    }

    async fn subject(router: Router) -> Result<(String, String), String> {
        let mut tokens = tokens(router).await;
        assert!(!tokens.is_known());
        tokens.renew(&Secrets::new(SyncId::root(ROOT_SYNC))).await;
        assert!(tokens.is_known());
        let remote = tokens.login(Remote::default()).map_err(|finding| finding.message)?;
        let Login::Token(TokenSource::GcpServiceAccount(google)) = remote.login else { panic!("another login") };
        let SubjectToken { token, audience } = lock(&google.subject).clone().expect("there is one");
        Ok((token, audience))
    }

    #[tokio::test]
    async fn an_account_has_a_token_for_the_identities_of_its_cluster() {
        let provider = "https://container.googleapis.com/v1/projects/project/locations/europe-west1/clusters/east";
        let of_gke =
            ("for project.svc.id.goog".to_owned(), format!("identitynamespace:project.svc.id.goog:{provider}"));
        assert_eq!(subject(account_api().merge(metadata())).await, Ok(of_gke));
        let spec = json!({ "spec": { "workload_identity_pool": "pool", "identity_provider": "https://provider" } });
        let spec = spec.to_string();
        let fleet = Router::new().route(MEMBERSHIP, get(move || async move { spec }));
        let of_fleet = ("for pool".to_owned(), "identitynamespace:pool:https://provider".to_owned());
        assert_eq!(subject(account_api().merge(fleet)).await, Ok(of_fleet));
    }

    #[tokio::test]
    async fn an_account_without_a_token_is_told() {
        let missing = subject(metadata()).await.expect_err("there is no account");
        assert!(missing.contains("root-reconciler does not exist"), "{missing}");
        let elsewhere = subject(account_api()).await.expect_err("there is no metadata");
        assert!(elsewhere.contains("status 404 about project/project-id"), "{elsewhere}");
    }
}
