//! The login of a GitHub App: a token of its installation, which is kept until shortly before it expires.

use std::sync::Mutex;
use std::time::SystemTime;

use reqwest::Client;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, USER_AGENT};

use super::{AGENT, StatusAnswer, asked, beginning};
use crate::io::git::{GithubApp, used_for};
use crate::model::error_chain::root_cause;
use crate::model::shared::lock;
use crate::sync::notifications::Delivery;

const FAILED: &str = "GitHub does not give a token for the installation of the App";

/// An App with the token that it has now.
pub(super) struct AppLogin {
    app: GithubApp,
    kept: Mutex<Option<(HeaderValue, SystemTime)>>,
}

impl AppLogin {
    pub(super) fn new(app: GithubApp) -> Self {
        Self { app, kept: Mutex::new(None) }
    }

    /// The header with the token.
    ///
    /// # Errors
    /// The answer of GitHub to the request for one.
    pub(super) async fn header(&self, client: &Client) -> Result<HeaderValue, StatusAnswer> {
        let now = SystemTime::now();
        if let Some((header, _)) = lock(&self.kept).as_ref().filter(|(_, until)| now < *until) {
            return Ok(header.clone());
        }
        let broken = |why: &str| (Delivery::Failed(None), format!("{FAILED}: {why}"));
        let (url, bearer) = self.app.token_request(now).ok_or_else(|| broken("its key cannot sign"))?;
        let request = client.post(url).header(USER_AGENT, AGENT).header(AUTHORIZATION, bearer);
        let sent = request.header(ACCEPT, "application/vnd.github+json").send().await;
        let answer = sent.map_err(|error| broken(&root_cause(&error.without_url())))?;
        let status = answer.status();
        if !status.is_success() {
            let why =
                format!("{FAILED} (HTTP {}): check the ids and the key, and that it is installed", status.as_u16());
            // Without a token nothing gets through: all messages wait, and none is given up for it.
            return Err((Delivery::Failed(asked(answer.headers())), why));
        }
        // Its words may have the token.
        let (token, lifetime) =
            GithubApp::token_of(&beginning(answer).await, now).ok_or_else(|| broken("its answer cannot be read"))?;
        let mut header =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| broken("its answer cannot be read"))?;
        header.set_sensitive(true);
        *lock(&self.kept) = Some((header.clone(), now + used_for(lifetime)));
        Ok(header)
    }

    /// GitHub refused the token: the next request asks for a new one.
    pub(super) fn forget(&self) {
        *lock(&self.kept) = None;
    }
}
