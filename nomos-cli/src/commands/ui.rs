//! `nomos ui`: the page of the agent in a browser, through a port-forward.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent::io::kubernetes::kubeconfig::bearer_token;
use agent::io::kubernetes::lease::{LEASE, state};
use agent::io::random::secret_bytes;
use agent::model::metadata::CONTROLLER_NAMESPACE;
use anyhow::{Context as _, anyhow, bail, ensure};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::contexts::{ClusterContext, with};
use crate::{Console, FINE, completions, contexts};

/// Time for the first line of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest first line.
const LINE: usize = 4096;
/// The port of the agent, unless its Pod names another one.
const PORT: u16 = 8675;

/// Open the page of the agent: syncs, objects, and what was put back
///
/// The page is reached by a port-forward to the agent that serves the syncs, for as long as the command runs. It shows what the token
/// of the kubeconfig may get. That needs the rights to get Leases and Pods, and to create pods/portforward, in
/// config-management-system.
#[derive(clap::Args)]
pub(crate) struct UiArgs {
    /// Port of this machine at which the page is reached [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,

    /// Show what this ServiceAccount, NAMESPACE:NAME, may get. For kubeconfigs that have a certificate and no token. It needs the
    /// right to create serviceaccounts/token
    #[arg(long, value_name = "ACCOUNT", value_parser = account)]
    service_account: Option<(String, String)>,

    /// Print the address, and open no browser
    #[arg(long)]
    no_browser: bool,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", add = completions::contexts())]
    context: Option<String>,
}

fn account(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok((namespace.into(), name.into())),
        _ => Err("write NAMESPACE:NAME".to_owned()),
    }
}

/// Serves the page until it is stopped.
pub(crate) fn run(args: &UiArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let cluster = contexts::cluster(kubeconfig, &console.environment, args.context.as_deref())?;
    with(&cluster, async |client| {
        let token = token(args, &cluster, &client).await?;
        // That there is no agent is told before the browser opens.
        leader(&client).await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await;
        let listener = listener.with_context(|| format!("failed to listen on the port {}", args.port))?;
        let origin = format!("http://{}", listener.local_addr()?);
        let (used, mut uses) = mpsc::unbounded_channel();
        let door = Arc::new(Door { token, code: Mutex::new(new_code()), used });
        console.print(&format!("The page of the cluster {}: {origin}{}\n", cluster.context, door.path()));
        console.print("The address works once. Ctrl-C ends this.\n");
        if !args.no_browser && console.progress {
            open(&format!("{origin}{}", door.path()));
        }
        loop {
            tokio::select! {
                connection = listener.accept() => {
                    let (connection, _) = connection.context("failed to accept a connection")?;
                    let (door, client) = (Arc::clone(&door), client.clone());
                    tokio::spawn(async move { serve(connection, &door, &client).await });
                }
                Some(news) = uses.recv() => match news {
                    DoorNews::Used => console.print(&format!("Opened. For another browser: {origin}{}\n", door.path())),
                    DoorNews::Failed(why) => console.error(&why),
                },
                _ = tokio::signal::ctrl_c() => return Ok(FINE),
            }
        }
    })
}

/// The token that the page shows to the agent.
async fn token(args: &UiArgs, cluster: &ClusterContext, client: &Client) -> anyhow::Result<String> {
    if let Some((namespace, name)) = &args.service_account {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let request = accounts.create_token_request(name, &PostParams::default(), &TokenRequest::default()).await;
        let request =
            request.with_context(|| format!("failed to get a token of the ServiceAccount {namespace}/{name}"))?;
        return request.status.and_then(|status| status.token).context("the API server gave no token");
    }
    let token = bearer_token(&cluster.config()?).await.map_err(|error| anyhow!("failed to get the token: {error}"))?;
    token.with_context(|| {
        format!(
            "the context {} of the kubeconfig has no token, which the page needs to know what you may see; name an account whose \
             rights count with --service-account NAMESPACE:NAME",
            cluster.context
        )
    })
}

/// The Pod of the agent that serves the syncs, and its port.
async fn leader(client: &Client) -> anyhow::Result<(Api<Pod>, String, u16)> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), CONTROLLER_NAMESPACE);
    let lease = leases.get_opt(LEASE).await.context("failed to read the Lease of the agents")?;
    let holder = lease.map(|lease| state(&lease).holder).unwrap_or_default();
    ensure!(!holder.is_empty(), "no agent serves the syncs of this cluster");
    let pods: Api<Pod> = Api::namespaced(client.clone(), CONTROLLER_NAMESPACE);
    let Some((name, uid)) = holder.rsplit_once('_') else { bail!(no_pod(&holder)) };
    let pod = pods.get_opt(name).await.context("failed to read the Pod of the agent")?;
    let pod = pod.filter(|pod| pod.metadata.uid.as_deref() == Some(uid)).with_context(|| no_pod(&holder))?;
    let ports = pod.spec.into_iter().flat_map(|spec| spec.containers).flat_map(|it| it.ports.unwrap_or_default());
    let port = ports.into_iter().find(|port| port.name.as_deref() == Some("http"));
    let port = port.and_then(|port| u16::try_from(port.container_port).ok()).unwrap_or(PORT);
    Ok((pods, name.to_owned(), port))
}

fn no_pod(holder: &str) -> String {
    format!("the agent {holder} serves the syncs, and it is no Pod: open /ui/ at the address of its flag --listen")
}

/// The way into the page: an address that works once, so that the token is in no command line, no log and no history.
struct Door {
    token: String,
    code: Mutex<String>,
    used: mpsc::UnboundedSender<DoorNews>,
}

/// News for the terminal.
enum DoorNews {
    Used,
    Failed(String),
}

impl Door {
    fn path(&self) -> String {
        format!("/open/{}", self.code.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The answer to a request for this path. The token is in the fragment of a URL, which no browser sends anywhere.
    fn answer(&self, path: &str) -> String {
        let mut code = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        let common =
            "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        match path.strip_prefix("/open/") == Some(code.as_str()) {
            true => {
                *code = new_code();
                let _ = self.used.send(DoorNews::Used);
                format!("HTTP/1.1 303 See Other\r\nLocation: /ui/#token={}\r\n{common}", encoded(&self.token))
            }
            false => format!("HTTP/1.1 303 See Other\r\nLocation: /ui/#token=\r\n{common}"),
        }
    }

    fn failed(&self, why: &anyhow::Error) {
        // The receiver lives as long as the command.
        let _ = self.used.send(DoorNews::Failed(format!("{why:#}")));
    }
}

/// The token as a part of a URL.
fn encoded(token: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let sign = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    token.bytes().map(sign).collect()
}

fn new_code() -> String {
    secret_bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers one connection: by the door, or by the agent.
async fn serve(mut connection: TcpStream, door: &Door, client: &Client) {
    let Ok(Some(line)) = tokio::time::timeout(PATIENCE, first_line(&connection)).await else { return };
    if let Some(path) = opens(&line) {
        let answer = door.answer(path);
        let answered = async {
            // Bytes that are not read when the connection is closed would reset it.
            let _ = connection.read(&mut [0; 1 << 16]).await?;
            connection.write_all(answer.as_bytes()).await?;
            connection.shutdown().await
        };
        let _ = tokio::time::timeout(PATIENCE, answered).await;
        return;
    }
    if let Err(error) = forward(&mut connection, client).await {
        door.failed(&error);
        let _ =
            connection.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    }
}

/// The path of a request to the door. The agent adds a query when the request reached it by an older connection.
fn opens(line: &str) -> Option<&str> {
    let path = line.strip_prefix("GET ")?.split([' ', '?']).next()?;
    path.starts_with("/open/").then_some(path)
}

/// The first line of the request, which stays to be read; `None` if there is none.
async fn first_line(connection: &TcpStream) -> Option<String> {
    let (mut bytes, mut seen) = ([0; LINE], 0);
    loop {
        let read = connection.peek(&mut bytes).await.ok()?;
        if let Some(end) = bytes[..read].iter().position(|byte| *byte == b'\n') {
            return Some(String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned());
        }
        if read == seen || read == LINE {
            return None;
        }
        seen = read;
    }
}

/// Passes the connection on to the agent that serves the syncs, until one of both ends it.
async fn forward(connection: &mut TcpStream, client: &Client) -> anyhow::Result<()> {
    let (pods, pod, port) = leader(client).await?;
    let failed = || format!("failed to forward the port {port} of the Pod {pod}");
    let mut forwarder = pods.portforward(&pod, &[port]).await.with_context(failed)?;
    let mut stream = forwarder.take_stream(port).with_context(failed)?;
    // A browser closes connections when it likes to.
    let _ = copy_bidirectional(connection, &mut stream).await;
    drop(stream);
    forwarder.abort();
    Ok(())
}

/// Opens a browser, if there is one.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut browser = Command::new(program);
    browser.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // The address is printed too.
    let _ = browser.spawn();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_gives_the_token_once() {
        let (used, mut uses) = mpsc::unbounded_channel();
        let door = Door { token: "secret".to_owned(), code: Mutex::new(new_code()), used };
        let path = door.path();
        for wrong in ["/open/", "/open/0", "/ui/", "", &path[..path.len() - 1]] {
            assert!(!door.answer(wrong).contains("secret"), "{wrong}");
        }
        assert!(uses.try_recv().is_err());
        assert!(door.answer(&path).contains("Location: /ui/#token=secret\r\n"));
        assert!(matches!(uses.try_recv(), Ok(DoorNews::Used)));
        assert!(!door.answer(&path).contains("secret"), "it works once");
        assert!(door.answer(&door.path()).contains("secret"), "the next one does too");
    }

    #[test]
    fn any_token_is_a_part_of_a_url() {
        assert_eq!(encoded("aZ09-._~"), "aZ09-._~");
        assert_eq!(encoded("a/b+c=%\r\n"), "a%2Fb%2Bc%3D%25%0D%0A");
    }

    #[test]
    fn requests_to_the_door_are_told_from_others() {
        assert_eq!(opens("GET /open/abc HTTP/1.1"), Some("/open/abc"));
        assert_eq!(opens("GET /open/abc?again HTTP/1.1"), Some("/open/abc"));
        for line in ["GET /ui/ HTTP/1.1", "POST /open/abc HTTP/1.1", "GET /openabc HTTP/1.1", ""] {
            assert_eq!(opens(line), None, "{line}");
        }
        assert_eq!(account("shop:viewer"), Ok(("shop".to_owned(), "viewer".to_owned())));
        assert!(account("viewer").is_err() && account(":viewer").is_err());
    }
}
