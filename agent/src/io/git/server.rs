//! The server of a repository, over HTTP or ssh.

use std::sync::Arc;

use super::error::{FailureClass, GitError};
use super::http::Http;
use super::operation::{Operation, OperationLimits, OperationTransport};
use super::remote::{Login, Remote, RemoteLocation};
use super::ssh::Ssh;

/// A server, and the credentials for it.
pub(super) enum GitServer {
    Http(Box<Http>),
    Ssh(Box<Ssh>),
}

impl GitServer {
    /// The server of a remote. It is not asked anything.
    ///
    /// # Errors
    /// When the login is not one for this kind of server, or certificates or the proxy cannot be used.
    pub(super) fn of(remote: &Remote, location: RemoteLocation, shown: &str) -> Result<Self, GitError> {
        let unfit = |what: &str, hint: &str| {
            GitError::new(FailureClass::Broken, format!("{shown} is reached over {what}")).hint(hint.to_owned())
        };
        match (location, &remote.login) {
            (RemoteLocation::Ssh(address), Login::Ssh(login)) => {
                Ok(Self::Ssh(Box::new(Ssh::new(shown.to_owned(), address, login.clone(), remote.reach.clone()))))
            }
            (RemoteLocation::Ssh(_), _) => {
                Err(unfit("ssh, and there is no key", "Use spec.git.auth: ssh, or the https URL of the repository."))
            }
            (RemoteLocation::Http(..), Login::Ssh(_)) => Err(unfit(
                "HTTP, where a key for ssh is of no use",
                "Use the ssh URL of the repository, or another spec.git.auth.",
            )),
            (RemoteLocation::Http(url, in_url), _) => Ok(Self::Http(Box::new(Http::new(remote, url, in_url)?))),
        }
    }

    /// A transport for one operation.
    ///
    /// # Errors
    /// When the server does not let the agent in.
    pub(super) fn begin(&self, limits: OperationLimits) -> Result<(OperationTransport, Arc<Operation>), GitError> {
        match self {
            Self::Http(http) => http.begin(limits),
            Self::Ssh(ssh) => ssh.begin(limits),
        }
    }

    /// The server refused the credentials: a short-lived token is replaced before the next operation.
    pub(super) fn refused(&self) {
        if let Self::Http(http) = self {
            http.refused();
        }
    }
}
