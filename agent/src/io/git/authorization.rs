//! The credentials of a remote as the headers of requests, and the servers that may see them.

use std::time::SystemTime;

use base64::Engine;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};

use super::cookies::{self, Cookie};
use super::remote::{Credentials, Login};

/// The credentials for the server of one repository.
pub(super) struct Authorization {
    /// The URL of the repository.
    origin: Url,
    header: AuthorizationHeader,
}

enum AuthorizationHeader {
    None,
    Always(HeaderValue),
    Cookies(Vec<Cookie>),
}

impl Authorization {
    /// The credentials of a login; `in_url` are those that the URL held.
    pub(super) fn new(origin: Url, login: &Login, in_url: Option<&Credentials>) -> Self {
        let header = match (login, in_url) {
            // These logins are not those of a request.
            (Login::Url, None) | (Login::Ssh(_) | Login::Token(_), _) => AuthorizationHeader::None,
            (Login::Url, Some(credentials)) | (Login::Password(credentials), _) => basic(credentials),
            (Login::Cookies(cookies), _) => AuthorizationHeader::Cookies(cookies.clone()),
        };
        Self { origin, header }
    }

    /// The header for a request to this URL; `None` where there is nothing to send, or where the server may not see it.
    pub(super) fn header(&self, url: &Url) -> Option<(HeaderName, HeaderValue)> {
        if !may_see_credentials(&self.origin, url) {
            return None;
        }
        match &self.header {
            AuthorizationHeader::None => None,
            AuthorizationHeader::Always(value) => Some((AUTHORIZATION, value.clone())),
            AuthorizationHeader::Cookies(cookies) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
                Some((COOKIE, sensitive(&cookies::header(cookies, url, now)?)?))
            }
        }
    }
}

fn basic(Credentials { user, password }: &Credentials) -> AuthorizationHeader {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    AuthorizationHeader::Always(sensitive(&format!("Basic {encoded}")).expect("base64 is valid in a header"))
}

/// A value that the HTTP library does not log.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `true` if the credentials for `origin` may be sent to `url`: to the same server, or to the same host, now with TLS.
fn may_see_credentials(origin: &Url, url: &Url) -> bool {
    origin.origin() == url.origin()
        || (origin.host() == url.host() && origin.scheme() == "http" && url.scheme() == "https")
}
