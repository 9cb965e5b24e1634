//! Clusters: contexts of the kubeconfig, clients for them, and asking many at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use agent::io::kubernetes::client::ApiError;
use anyhow::{Context as _, anyhow, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::Environment;

/// Deployments that serve syncs: ours, and that of the project whose API this is.
pub(crate) const AGENTS: [&str; 2] = ["nomos-agent", "reconciler-manager"];

/// Name of the only context where the cluster around this process is used.
const IN_CLUSTER: &str = "in-cluster";

/// A cluster to ask.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// Name of the context.
    pub(crate) context: String,
    /// Whether it is the current context.
    pub(crate) current: bool,
    /// Its kubeconfig; `None` for the cluster around this process.
    kubeconfig: Option<Kubeconfig>,
}

/// What to say where [`clusters`] finds no configuration.
pub(crate) const NOT_CONFIGURED: &str =
    "no cluster to connect to: say --kubeconfig FILE, set KUBECONFIG, or write $HOME/.kube/config";

/// The clusters of the named contexts (`None`: all; an empty name is none), by name; `None` if there is no kubeconfig and no
/// cluster around this process.
///
/// # Errors
///
/// A kubeconfig is not readable, or a context that is asked for does not exist.
pub(crate) fn clusters(
    file: Option<&Path>,
    environment: &Environment,
    contexts: Option<&[String]>,
) -> anyhow::Result<Option<Vec<Cluster>>> {
    let all: BTreeMap<String, Cluster> = match load(file, environment)? {
        Some(kubeconfig) => in_kubeconfig(&kubeconfig),
        None if environment.in_cluster => {
            let cluster = Cluster { context: IN_CLUSTER.to_owned(), current: true, kubeconfig: None };
            BTreeMap::from([(IN_CLUSTER.to_owned(), cluster)])
        }
        None => return Ok(None),
    };
    let Some(names) = contexts else { return Ok(Some(all.into_values().collect())) };
    let unknown: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !name.is_empty() && !all.contains_key(*name)).collect();
    if !unknown.is_empty() {
        let known: Vec<&str> = all.keys().map(String::as_str).collect();
        bail!("no context {} in the kubeconfig; it has {}", unknown.join(", "), list(&known));
    }
    Ok(Some(all.into_values().filter(|cluster| names.contains(&cluster.context)).collect()))
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn in_kubeconfig(kubeconfig: &Kubeconfig) -> BTreeMap<String, Cluster> {
    kubeconfig
        .contexts
        .iter()
        .map(|context| {
            let current = kubeconfig.current_context.as_ref() == Some(&context.name);
            let cluster = Cluster { context: context.name.clone(), current, kubeconfig: Some(kubeconfig.clone()) };
            (context.name.clone(), cluster)
        })
        .collect()
}

/// The kubeconfig as kubectl finds it: the flag's file, or those of `$KUBECONFIG` merged, or the one in the home directory.
fn load(file: Option<&Path>, environment: &Environment) -> anyhow::Result<Option<Kubeconfig>> {
    if let Some(file) = file {
        return read(file).map(Some);
    }
    let files: Vec<_> = match (&environment.kubeconfig, &environment.home) {
        (Some(list), _) => std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect(),
        (None, Some(home)) => vec![home.join(".kube").join("config")],
        (None, None) => Vec::new(),
    };
    let mut merged: Option<Kubeconfig> = None;
    for file in files.iter().filter(|file| file.exists()) {
        let next = read(file)?;
        merged = Some(match merged {
            Some(first) => first.merge(next).context("the files of KUBECONFIG do not fit together")?,
            None => next,
        });
    }
    Ok(merged)
}

fn read(file: &Path) -> anyhow::Result<Kubeconfig> {
    Kubeconfig::read_from(file).map_err(|error| {
        let cause = chain(&error);
        // Further lines show the file, which can hold credentials.
        let cause = cause.lines().next().unwrap_or_default().trim_start_matches("error: ");
        anyhow!("failed to read the kubeconfig {}: {cause}", file.display())
    })
}

impl Cluster {
    /// A client without retries, whose connection may take `timeout`.
    async fn client(&self, timeout: Duration) -> anyhow::Result<Client> {
        let mut config = match &self.kubeconfig {
            None => Config::incluster()?,
            Some(kubeconfig) => {
                let options = KubeConfigOptions { context: Some(self.context.clone()), ..Default::default() };
                Config::from_custom_kubeconfig(kubeconfig.clone(), &options).await?
            }
        };
        if self.kubeconfig.is_some() {
            trim_token(&mut config)?;
        }
        config.connect_timeout = Some(timeout);
        config.default_retry = false;
        // A login program of the kubeconfig runs in here, so that it delays nobody else.
        Ok(tokio::task::spawn_blocking(move || Client::try_from(config)).await??)
    }
}

/// Reads the token of a `tokenFile` without the line break that editors put at its end, which servers would refuse.
fn trim_token(config: &mut Config) -> anyhow::Result<()> {
    if let Some(file) = config.auth_info.token_file.take() {
        let token = std::fs::read_to_string(&file).with_context(|| format!("failed to read the token file {file}"))?;
        config.auth_info.token = Some(token.trim().to_owned().into());
    }
    Ok(())
}

/// What asking a cluster came to.
pub(crate) type Answer<T> = Result<T, Failure>;

/// Why a cluster gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It could not be reached in time.
    #[error("{0}")]
    Unreachable(String),
    /// It was reached and refused.
    #[error("{0}")]
    Refused(String),
}

/// Asks every cluster the same thing at the same time; none takes longer than `timeout`. Answers are in the order of clusters.
pub(crate) fn ask<T, F>(clusters: &[Cluster], timeout: Duration, question: F) -> anyhow::Result<Vec<Answer<T>>>
where
    T: Send + 'static,
    F: AsyncFn(Client) -> Answer<T>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start")?;
    let answers = runtime.block_on(futures::future::join_all(clusters.iter().map(|cluster| {
        let question = &question;
        async move {
            let answer = async {
                let client =
                    cluster.client(timeout).await.map_err(|error| Failure::Unreachable(format!("{error:#}")))?;
                question(client).await
            };
            let late =
                || Err(Failure::Unreachable(format!("no answer within {}", agent::api::format_duration(timeout))));
            tokio::time::timeout(timeout, answer).await.unwrap_or_else(|_| late())
        }
    })));
    // A login program or name lookup that hangs is left behind.
    runtime.shutdown_background();
    Ok(answers)
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status.message.clone()),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::Refused(error.to_string()),
            other => Self::Unreachable(chain(&other)),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Unreachable(cause) => Self::Unreachable(cause),
            refused => Self::Refused(refused.to_string()),
        }
    }
}

/// The innermost cause, which says what happened: `Connection refused`, not `client error (Connect)`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Directory;

    fn kubeconfig(name: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\nclusters: [{{name: {name}, cluster: {{server: 'https://127.0.0.1:1'}}}}]\n\
             contexts: [{{name: {name}, context: {{cluster: {name}, user: {name}}}}}]\nusers: [{{name: {name}, user: {{}}}}]\n"
        )
    }

    #[test]
    fn files_of_the_list_are_merged_and_unknown_contexts_named() {
        let directory = Directory::with(&[("b", &kubeconfig("b")), ("a", &kubeconfig("a"))]);
        let files = ["b", "missing", "a"].map(|name| directory.path().join(name));
        let environment = Environment {
            kubeconfig: Some(std::env::join_paths(files).expect("no separators")),
            ..Environment::default()
        };
        let found = clusters(None, &environment, None).expect("readable").expect("configured");
        let names: Vec<_> = found.iter().map(|cluster| (cluster.context.as_str(), cluster.current)).collect();
        assert_eq!(names, [("a", false), ("b", true)]);
        let error = clusters(None, &environment, Some(&["x".to_owned()])).expect_err("unknown").to_string();
        assert_eq!(error, "no context x in the kubeconfig; it has a, b");
    }
}
