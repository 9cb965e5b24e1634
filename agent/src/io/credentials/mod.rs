//! The credentials of a sync, from the Secrets that its spec names. Each is watched by its name, so that a new value is used
//! without a restart. No other Secret is read.

mod secret;
mod age_keys;
mod account;
mod login;
mod hosts;

use futures::StreamExt as _;
use futures::stream::select_all;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Error as WatchFailure, watch_object};
use tokio::sync::watch;

use super::git::{Reach, Remote};
use crate::api::GitSpec;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::SyncId;

pub use age_keys::{AgeKeySecret, follow_keys};

use account::AccountTokens;
use hosts::RememberedHosts;
use login::UnknownServers;
use secret::{SecretState, Secrets};

/// The remote that a sync reads from now on, or the reason why it cannot; `None` until its Secrets were read.
pub type RemoteState = Option<Result<Remote, Finding>>;

/// `true` for the finding that the Secrets of a spec do not give a login. Whatever else fails goes on by itself.
pub fn is_refused_login(finding: &Finding) -> bool {
    [Code::InvalidSync, Code::InsufficientPermission].contains(&finding.code)
}

/// The sync whose remote is followed.
pub struct RemoteOf<'a> {
    /// Its name.
    pub sync: &'a SyncId,
    /// `false` if flags say what it reads: then there is no object that could remember anything.
    pub has_object: bool,
    /// The repository, the login and the Secrets for it.
    pub git: &'a GitSpec,
    /// The addresses at which the repository may be.
    pub reach: &'a Reach,
}

/// Tells of the remote of a sync, at first and whenever it changes. It does not end.
pub async fn follow_remote(
    client: kube::Client,
    RemoteOf { sync, has_object, git, reach }: RemoteOf<'_>,
    told: &watch::Sender<RemoteState>,
) -> std::convert::Infallible {
    let mut account = AccountTokens::of(&client, sync, git);
    let mut hosts = RememberedHosts::new(&client, sync, git.period());
    let unknown = if has_object { UnknownServers::Remember } else { UnknownServers::Refuse };
    let secrets: Api<Secret> = Api::namespaced(client, &sync.namespace);
    let names = secret::names(git);
    let watches = names.iter().map(|name| {
        let seen = watch_object(secrets.clone(), name).default_backoff();
        seen.map(|seen| ((*name).to_owned(), seen)).boxed()
    });
    let mut watches = select_all(watches);
    let mut secrets = Secrets::new(sync.clone());
    loop {
        if names.iter().all(|name| secrets.has_seen(name)) && account.as_ref().is_none_or(AccountTokens::is_known) {
            let remote = login::remote(git, &secrets, unknown).map(|remote| Remote { reach: reach.clone(), ..remote });
            let remote = match &account {
                Some(account) => Some(remote.and_then(|remote| account.login(remote))),
                None => hosts.complete(remote),
            };
            told.send_if_modified(|before| {
                let differs = *before != remote;
                *before = remote;
                differs
            });
        }
        let (name, seen) = tokio::select! {
            Some(seen) = watches.next() => seen,
            () = renew(&mut account, &secrets) => continue,
            () = hosts.learn() => continue,
        };
        match seen {
            Ok(secret) => secrets.saw(&name, SecretState::of(secret)),
            Err(error) => {
                let why = reason(&error);
                tracing::warn!(secret = name, why, "the watch on a Secret broke off and starts again");
                // A value that was seen is used on.
                if let Some(why) = why.filter(|_| !secrets.has_seen(&name)) {
                    secrets.saw(&name, SecretState::Refused(why));
                }
            }
        }
    }
}

/// Renews the token of an account; never ends where there is none.
async fn renew(account: &mut Option<AccountTokens>, secrets: &Secrets) {
    match account {
        Some(account) => account.renew(secrets).await,
        None => std::future::pending().await,
    }
}

/// The words of an API server that refuses. Other errors may quote what they cannot read.
fn reason(error: &WatchFailure) -> Option<String> {
    let status = match error {
        WatchFailure::InitialListFailed(kube::Error::Api(status))
        | WatchFailure::WatchStartFailed(kube::Error::Api(status))
        | WatchFailure::WatchError(status) => status,
        _ => return None,
    };
    (status.code == 403).then(|| status.message.clone())
}

#[cfg(test)]
mod tests;
