//! Figures of `nomos vet` and `nomos hydrate`: the real linter on generated repositories.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use wait4::Wait4 as _;

use crate::row;

/// Runs of each case; the one that used the least CPU counts, for it was disturbed the least.
const RUNS: usize = 3;

/// The layout of a repository.
#[derive(Clone, Copy)]
enum Shape {
    /// A Namespace with ten objects, each in its own file, per directory.
    Hierarchy,
    /// One object a file, a hundred files a directory.
    Unstructured,
}

/// Command, shape of the repository, objects in it.
const CASES: [(&str, Shape, usize); 6] = [
    ("vet", Shape::Unstructured, 100),
    ("vet", Shape::Hierarchy, 1_000),
    ("vet", Shape::Hierarchy, 10_000),
    ("vet", Shape::Unstructured, 10_000),
    ("hydrate", Shape::Hierarchy, 10_000),
    ("vet", Shape::Unstructured, 50_000),
];

/// Prints CPU seconds, wall time and peak memory of every case.
pub(super) fn all() -> Result<()> {
    let program = std::env::current_exe()?.with_file_name("nomos-lint");
    row("", "CPU s    wall s   peak MiB");
    for (command, shape, objects) in CASES {
        let dir = std::env::temp_dir().join(format!("nomos-bench-{}-{command}", std::process::id()));
        let result = measure(&program, command, shape, objects, &dir);
        std::fs::remove_dir_all(&dir)?;
        row(&format!("{command}, {}, {objects} objects", shape.name()), &result?);
    }
    Ok(())
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Hierarchy => "hierarchy",
            Self::Unstructured => "unstructured",
        }
    }
}

fn measure(program: &Path, command: &str, shape: Shape, objects: usize, dir: &Path) -> Result<String> {
    let repository = dir.join("repository");
    match shape {
        Shape::Hierarchy => hierarchy(&repository, objects)?,
        Shape::Unstructured => unstructured(&repository, objects)?,
    }
    let mut best: Option<(f64, f64, u64)> = None;
    for _ in 0..RUNS {
        let output = dir.join("output");
        let run = run(program, command, shape, &repository, &output)?;
        if output.exists() {
            std::fs::remove_dir_all(&output)?;
        }
        if best.is_none_or(|best| run.0 < best.0) {
            best = Some(run);
        }
    }
    let (cpu, wall, memory) = best.context("it ran")?;
    Ok(format!("{cpu:<8.3} {wall:<8.3} {:.1}", memory as f64 / f64::from(1 << 20)))
}

/// CPU seconds, wall seconds and peak bytes of one run, which must find nothing.
fn run(program: &Path, command: &str, shape: Shape, repository: &Path, output: &Path) -> Result<(f64, f64, u64)> {
    let start = Instant::now();
    let ended = Command::new(program)
        .args([command, "--no-api-server-check", "--source-format", shape.name(), "--path"])
        .arg(repository)
        .arg("--output")
        .arg(output)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("build it first: cannot run {}", program.display()))?
        .wait4()?;
    let wall = start.elapsed().as_secs_f64();
    ensure!(ended.status.success(), "{command}: {}", ended.status);
    let cpu = ended.rusage.utime + ended.rusage.stime;
    Ok((cpu.as_secs_f64(), wall, ended.rusage.maxrss))
}

fn hierarchy(root: &Path, objects: usize) -> Result<()> {
    let repo = "apiVersion: configmanagement.gke.io/v1\nkind: Repo\nmetadata:\n  name: repo\nspec:\n  version: 1.0.0\n";
    write(root.join("system/repo.yaml"), repo)?;
    for index in 0..objects {
        let (namespace, place) = (format!("ns-{:04}", index / 10), index % 10);
        let directory = root.join("namespaces").join(format!("team-{:02}", index / 500)).join(&namespace);
        if place == 0 {
            let text = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n");
            write(directory.join("namespace.yaml"), &text)?;
        }
        write(directory.join(format!("object-{place}.yaml")), &object(index, ""))?;
    }
    Ok(())
}

fn unstructured(root: &Path, objects: usize) -> Result<()> {
    for index in 0..objects {
        let path = root.join(format!("{:03}", index / 100)).join(format!("object-{index:06}.yaml"));
        write(path, &object(index, &format!("  namespace: ns-{:04}\n", index / 10)))?;
    }
    Ok(())
}

fn write(path: PathBuf, text: &str) -> Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    Ok(std::fs::write(path, text)?)
}

/// A ConfigMap of about 300 bytes.
fn object(index: usize, namespace: &str) -> String {
    let filler = "x".repeat(120);
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: object-{index:06}\n{namespace}  labels:\n    app: bench\n\
         data:\n  value: declared\n  version: \"1\"\n  filler: {filler}\n"
    )
}
