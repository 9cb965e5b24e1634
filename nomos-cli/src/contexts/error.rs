//! The reason why a cluster gave no answer, and advice about it.

use std::time::Duration;

use agent::io::kubernetes::client::ApiError;
use agent::io::kubernetes::limited::OversizedAnswer;
use agent::model::error_chain::{error_chain, root_cause};

/// The reason why a cluster gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// The cluster did not answer in time, or the connection failed.
    #[error("{0}")]
    Unreachable(String),
    /// The cluster refused the request, or its answer could not be read.
    #[error("{0}")]
    Refused(String),
    /// The kubeconfig gives no client, so that the cluster was not asked.
    #[error("{0}")]
    Unusable(String),
}

/// Begins the reason why a login program was not run.
pub(super) const NO_LOGIN: &str = "the login program";

impl ClusterError {
    /// The error of a cluster that has not answered in time.
    pub(crate) fn late(timeout: Duration) -> Self {
        Self::Unreachable(format!("no answer within {}", agent::api::format_duration(timeout)))
    }

    /// Advice to the user.
    pub(crate) fn hint(&self) -> Option<String> {
        let (Self::Unreachable(text) | Self::Refused(text) | Self::Unusable(text)) = self;
        let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        let why = match self {
            Self::Refused(_) if has(&["Unauthorized"]) => {
                return Some("log in again: the cluster does not accept the credentials of the kubeconfig".to_owned());
            }
            Self::Unusable(_) if text.starts_with(NO_LOGIN) && has(&["No such file", "not found"]) => {
                return Some("install it, or add its directory to PATH".to_owned());
            }
            Self::Unusable(_) if text.contains(NO_LOGIN) => {
                return Some("run it by itself to see why; perhaps you have to log in again".to_owned());
            }
            Self::Refused(_) | Self::Unusable(_) => return None,
            _ if has(&["UnknownIssuer"]) => "the certificate is of no authority that the kubeconfig names.",
            _ if has(&["certificate"]) => "the certificate of the API server is not accepted.",
            _ if has(&["refused"]) => "no program listens there: is the cluster up, and the tunnel to it?",
            _ if has(&["lookup", "dns"]) => "the name is not known here: is a VPN off, or the address wrong?",
            _ => "is a VPN off, or does a proxy stand between (HTTPS_PROXY)?",
        };
        Some(format!("{why} Another cluster: --context CONTEXT, --kubeconfig FILE"))
    }
}

impl From<kube::Error> for ClusterError {
    fn from(error: kube::Error) -> Self {
        match (unreached(&error), error) {
            (Some(cause), _) => Self::Unreachable(cause),
            (None, kube::Error::Api(status)) => Self::Refused(status.message.clone()),
            (None, error) => Self::Refused(error_chain(&error)),
        }
    }
}

impl From<ApiError> for ClusterError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Unreachable(cause) => Self::Unreachable(plain(&cause)),
            slow @ ApiError::Slow(_) => Self::Unreachable(slow.to_string()),
            refused => Self::Refused(refused.to_string()),
        }
    }
}

/// The cause of an error without an answer. A login program that does not run, for example, is another one.
pub(super) fn unreached(error: &kube::Error) -> Option<String> {
    let is_unreached = match error {
        kube::Error::Service(inner) => !inner.is::<kube::client::AuthError>() && !inner.is::<OversizedAnswer>(),
        kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    };
    is_unreached.then(|| plain(&root_cause(error)))
}

/// The text without the words of libraries at its beginning.
pub(super) fn plain(text: &str) -> String {
    const WORDS: [&str; 6] = [
        "ServiceError: ",
        "HyperError: ",
        "client error (Connect): ",
        "client error (SendRequest): ",
        "tcp connect error: ",
        "dns error: ",
    ];
    let mut text = text;
    while let Some(rest) = WORDS.iter().find_map(|words| text.strip_prefix(words)) {
        text = rest;
    }
    text.to_owned()
}
