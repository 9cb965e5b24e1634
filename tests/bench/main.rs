//! Figures of the agent against the real control plane, beside a bare loop on the same machine and day; with `many`, of many
//! syncs beside one of as many objects; with `tenants`, of RootSyncs and RepoSyncs beside a hostile one; with `storm`, of a thousand
//! that come at once; with `takeover`, of an agent that goes on for another; with `status`, of many contexts;
//! with `soak`, over hours of changes and failures; with `history`, of a repository with a long and large history; with `lint`,
//! of the linter.
//!
//! `cargo build --profile image -p agent && cargo run --release -p tests --bin bench -- [OBJECTS …]`, with the program of the image
//! `… -- many [SYNCS OBJECTS [FOREIGN]]`
//! `… -- storm [SYNCS [NAMESPACES]]`
//! `… -- takeover [OBJECTS]`
//! `… -- tenants [SYNCS OBJECTS]`
//! `… -- status`, which needs `nomos` too
//! `… -- soak [MINUTES [SYNCS OBJECTS [SEED]]]`
//! `… -- history [COMMITS MIB]`
//! `cargo build --release -p nomos-lint && cargo run --release -p tests --bin bench -- lint`
#![expect(clippy::disallowed_methods, reason = "a program at the edge")]

mod figures;
mod history;
mod lint;
mod many;
mod soak;
mod status;
mod storm;
mod takeover;
mod tenants;
mod world;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("lint") => lint::all(),
        Some("many") => many(&args[1..]),
        Some("status") => status::all(),
        Some("storm") => storm(&args[1..]),
        Some("takeover") => takeover(&args[1..]),
        Some("tenants") => tenants(&args[1..]),
        Some("soak") => soak(&args[1..]),
        Some("history") => history(&args[1..]),
        _ => agent(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn many(args: &[String]) -> anyhow::Result<()> {
    let number = |index: usize, default| args.get(index).map_or(Ok(default), |arg| arg.parse());
    many::all(number(0, 100)?, number(1, 100)?, number(2, 0)?)
}

fn storm(args: &[String]) -> anyhow::Result<()> {
    let number = |index: usize, default| args.get(index).map_or(Ok(default), |arg| arg.parse::<usize>());
    storm::all(number(0, 1000)?, number(1, 50)?)
}

fn history(args: &[String]) -> anyhow::Result<()> {
    let number = |index: usize, default| args.get(index).map_or(Ok(default), |arg| arg.parse::<usize>());
    history::all(number(0, 100_000)?, number(1, 1024)?)
}

fn tenants(args: &[String]) -> anyhow::Result<()> {
    let number = |index: usize, default| args.get(index).map_or(Ok(default), |arg| arg.parse::<usize>());
    tenants::all(number(0, 100)?, number(1, 100)?)
}

fn takeover(args: &[String]) -> anyhow::Result<()> {
    takeover::all(args.first().map_or(Ok(1000), |arg| arg.parse())?)
}

fn soak(args: &[String]) -> anyhow::Result<()> {
    let number = |index: usize, default| args.get(index).map_or(Ok(default), |arg| arg.parse::<usize>());
    soak::all(number(0, 60)?, number(1, 1)?, number(2, 50_000)?, number(3, 1)?)
}

fn agent(args: &[String]) -> anyhow::Result<()> {
    let sizes: Vec<usize> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1000, 5000] } else { sizes };
    // kube wants to know which TLS provider to use; a second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new()?;
    sizes.into_iter().try_for_each(|size| runtime.block_on(figures::all(size)))
}

/// One row of the table.
fn row(what: &str, figure: &str) {
    let _ = writeln!(std::io::stdout(), "{what:<58} {figure}");
}
