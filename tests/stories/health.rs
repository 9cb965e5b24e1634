//! The health checks and metrics of the agent.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::cluster::Kind;

use crate::world::{Sync, shared};

const NAME: &str = "health";

pub(crate) fn served(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let sync = Sync::go_hello(&world.cluster, NAME)?;
    ensure!(read(&world.address, "/healthz")? == "ok\n", "/healthz");
    ensure!(read(&world.address, "/readyz")? == "ok\n", "/readyz");
    let metrics = read(&world.address, "/metrics")?;
    let labels = r#"{kind="RootSync",namespace="config-management-system",name="health"}"#;
    for line in [
        format!("config_sync_declared_resources{labels} 5\n"),
        format!("config_sync_reconciler_errors{labels} 0\n"),
        format!("config_sync_last_sync_timestamp{labels} "),
        r#"config_sync_apply_operations_total{operation="apply",status="success"}"#.to_owned(),
    ] {
        ensure!(metrics.contains(&line), "no {line:?} in\n{metrics}");
    }
    state_is_shown(&world.address, &sync.repository.head()?)
}

/// The state of the sync, for people and for programs.
fn state_is_shown(address: &str, commit: &str) -> Result<()> {
    let text = read(address, "/debug/syncs")?;
    let of_sync = text.split("\n\n").find(|state| state.starts_with("RootSync config-management-system/health\n"));
    let of_sync = of_sync.with_context(|| format!("no state of the sync in\n{text}"))?;
    for line in [format!("commit in force: {commit}"), "listed".to_owned(), "no object waits".to_owned()] {
        ensure!(of_sync.contains(&line), "no {line:?} in\n{of_sync}");
    }
    let json: Value = serde_json::from_str(&read(address, "/debug/syncs?o=json")?)?;
    let of_sync = json["syncs"].as_array().and_then(|syncs| syncs.iter().find(|sync| sync["name"] == NAME));
    let state = &of_sync.with_context(|| format!("no state of the sync in {json:#}"))?["state"];
    ensure!(state["commitInForce"] == commit && state["newestCommit"] == commit, "{state:#}");
    ensure!(state["kinds"]["Deployment.apps"] == "listed", "{state:#}");
    Ok(())
}

/// The body of a page of the agent.
pub(crate) fn read(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    Ok(body.to_owned())
}
