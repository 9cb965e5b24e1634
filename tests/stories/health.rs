//! The health checks and metrics of the agent.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use tests::cluster::Kind;

use crate::world::{Sync, shared};

const NAME: &str = "health";

pub(crate) fn served(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let _sync = Sync::go_hello(&world.cluster, NAME)?;
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
