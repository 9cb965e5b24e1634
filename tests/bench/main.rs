//! Figures of the agent against the real control plane, beside a bare loop on the same machine and day.
//!
//! `cargo build --release -p agent --bin nomos-agent && cargo run --release -p tests --bin bench -- [OBJECTS …]`
#![expect(clippy::disallowed_methods, reason = "a program at the edge")]

mod figures;
mod world;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1000, 5000] } else { sizes };
    // kube wants to know which TLS provider to use; a second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| sizes.into_iter().try_for_each(|size| runtime.block_on(figures::all(size))));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One row of the table.
fn row(what: &str, figure: &str) {
    let _ = writeln!(std::io::stdout(), "{what:<58} {figure}");
}
