//! Figures of a repository with a long and large history: the agent reads its newest commit and no other.

use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agent::io::git::{Remote, Store, Want};
use anyhow::{Context as _, Result, anyhow, ensure};
use tests::git_server::GitServer;
use tests::repository::Repository;

use crate::row;

/// Manifests in each commit.
const MANIFESTS: usize = 1000;

/// Prints times and bytes of a repository with so many commits and MiB of them.
pub(super) fn all(commits: usize, mebibytes: usize) -> Result<()> {
    let repository = Repository::empty()?;
    let start = Instant::now();
    import(&repository, commits, (mebibytes << 20) / commits.max(1), None)?;
    row(&format!("making {commits} commits of {mebibytes} MiB"), &seconds(start.elapsed()));
    let server = GitServer::of(&repository)?;
    let cache = tempfile::tempdir()?;
    let remote = Remote { url: server.url().to_owned(), ..Remote::default() };
    let mut store = Store::open(&remote, cache.path()).map_err(|error| anyhow!(error.message))?;
    follow(&mut store, "the first commit")?;
    import(&repository, 1, 10 << 10, Some(commits))?;
    follow(&mut store, "the next commit")?;
    follow(&mut store, "no new commit")
}

/// Asks for the branch and fetches its commit.
fn follow(store: &mut Store, what: &str) -> Result<()> {
    let failed = |error: agent::io::git::GitError| anyhow!(error.message);
    let start = Instant::now();
    let commit = store.resolve(&Want::Branch("main".to_owned())).map_err(failed)?;
    let listed = start.elapsed();
    store.fetch(commit, &mut || ()).map_err(failed)?;
    let figure = format!(
        "refs {}, fetched {}, copy {:.1} MiB",
        seconds(listed),
        seconds(start.elapsed().saturating_sub(listed)),
        store.mirrored() as f64 / f64::from(1 << 20)
    );
    row(what, &figure);
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

/// Adds commits to `main`, each with other content of so many bytes; `after` so many commits.
fn import(repository: &Repository, commits: usize, bytes: usize, after: Option<usize>) -> Result<()> {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository.path()).args(["fast-import", "--quiet"]);
    let mut git = command.stdin(Stdio::piped()).spawn().context("git fast-import")?;
    let mut stream = BufWriter::new(git.stdin.take().context("no input")?);
    let mut random = Random(after.unwrap_or(0) as u64 + 1);
    let mut content = vec![0; bytes];
    for number in 0..commits {
        writeln!(
            stream,
            "commit refs/heads/main\ncommitter nomos <nomos@example.com> {} +0000",
            1_700_000_000 + number
        )?;
        writeln!(stream, "data 6\nchange")?;
        match (number, after) {
            (0, Some(_)) => writeln!(stream, "from refs/heads/main^0")?,
            (0, None) => manifests(&mut stream)?,
            _ => {}
        }
        random.fill(&mut content);
        writeln!(stream, "M 100644 inline history.bin\ndata {bytes}")?;
        stream.write_all(&content)?;
        writeln!(stream)?;
    }
    drop(stream);
    let status = git.wait()?;
    ensure!(status.success(), "git fast-import: {status}");
    Ok(())
}

fn manifests(stream: &mut impl Write) -> Result<()> {
    for number in 0..MANIFESTS {
        let manifest =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings-{number}\n  namespace: default\n");
        writeln!(stream, "M 100644 inline {number}.yaml\ndata {}\n{manifest}", manifest.len())?;
    }
    Ok(())
}

/// Bytes that cannot be compressed (xorshift).
struct Random(u64);

impl Random {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}
