//! Figures of `nomos status` over many contexts of which some hang.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};

use crate::row;

/// Contexts of the kubeconfig, and those among them whose API server takes connections and does not answer.
const CONTEXTS: usize = 50;
const SILENT: usize = 5;

/// Prints the time until the first cluster is shown, and until the command ends.
pub(super) fn all() -> Result<()> {
    let cluster = Cluster::start(Kind::ControlPlane)?;
    cluster.install()?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let mut kubeconfig: Value = serde_yaml::from_str(&std::fs::read_to_string(cluster.kubeconfig())?)?;
    let (server, user) = (kubeconfig["clusters"][0].clone(), kubeconfig["users"][0]["name"].clone());
    let address = format!("https://{}", silent.local_addr()?);
    let of_silent = json!({"name": "silent", "cluster": {"server": address, "insecure-skip-tls-verify": true}});
    kubeconfig["clusters"] = json!([server, of_silent]);
    let context = |index: usize| {
        let (name, of) = if index < SILENT { ("silent", json!("silent")) } else { ("served", server["name"].clone()) };
        json!({"name": format!("{name}-{index:02}"), "context": {"cluster": of, "user": user}})
    };
    kubeconfig["contexts"] = (0..CONTEXTS).map(context).collect();
    kubeconfig["current-context"] = "served-07".into();
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), serde_yaml::to_string(&kubeconfig)?)?;

    let program = std::env::current_exe()?.with_file_name("nomos");
    let status = |more: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--kubeconfig").arg(file.path()).arg("status").args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command
    };
    // An API server has no answer about kinds that it has just got.
    let settled = status(&["--contexts", "served-07", "--timeout", "60s"]).output();
    settled.with_context(|| format!("build it first: cannot run {}", program.display()))?;
    let mut command = status(&["--timeout", "3s"]);
    let started = Instant::now();
    let mut nomos = command.spawn()?;
    let output = BufReader::new(nomos.stdout.take().context("it is piped")?);
    let (mut first, mut shown) = (None, BTreeSet::new());
    for line in output.lines() {
        for name in line?.split_whitespace().filter(|word| word.starts_with("served-")) {
            first.get_or_insert(started.elapsed());
            shown.insert(name.to_owned());
        }
    }
    nomos.wait()?;
    ensure!(shown.len() == CONTEXTS - SILENT, "{} clusters are shown", shown.len());
    let [first, end] = [first.unwrap_or_default(), started.elapsed()].map(|time| time.as_secs_f64() * 1000.0);
    row("status of 50 contexts of which 5 hang, first shown after ms (end)", &format!("{first:.0} ({end:.0})"));
    Ok(())
}
