//! The hooks of `.pre-commit-hooks.yaml` in the real program `pre-commit`: it builds them from a clone of this repository, on an
//! empty cargo cache, and stops commits.
//!
//! Where pre-commit is not installed this is ignored, and says so; in CI it fails.
#![expect(clippy::disallowed_methods, reason = "a test at the edge")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tempfile::TempDir;
use tests::repository::REPO;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trial = Trial::ignorable_test("hooks_stop_bad_commits", || {
        let absent = Command::new("pre-commit").arg("--version").output().is_err();
        if absent && std::env::var_os("CI").is_none() {
            return Ok(Completion::ignored_with("pre-commit is not installed: https://pre-commit.com/#install"));
        }
        stop_bad_commits().map(|()| Completion::Completed).map_err(|error| Failed::from(format!("{error:#}")))
    });
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

fn stop_bad_commits() -> Result<()> {
    let world = World::new()?;
    let revision = world.publish()?;
    world.git("source", &["init", "--quiet", "--initial-branch=main"])?;
    world.write("source/system/repo.yaml", REPO)?;
    world.write("source/namespaces/shop/ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")?;
    world.write("source/namespaces/shop/web.yaml", &config_map("web", "1"))?;
    let hooks = "hooks: [{id: nomos-vet}, {id: nomos-hydrate-check}]";
    let url = world.path("nomos");
    let config = format!("repos:\n- repo: {}\n  rev: {revision}\n  {hooks}\n", url.display());
    world.write("source/.pre-commit-config.yaml", &config)?;
    world.install_hooks()?;

    world
        .refused("what is written is not current", &["nomos hydrate --check", "configmap_web.yaml", "+  key: \"1\""])?;
    world.hydrate()?;
    world.commit()?.with_context(|| "a good commit was stopped")?;

    world.write("source/namespaces/shop/copy.yaml", &config_map("web", "2"))?;
    let place = "source: namespaces/shop/copy.yaml:4:9";
    world.refused("two manifests declare one object", &["nomos vet", "KNV1029: ", place])?;

    fs::remove_file(world.path("source/namespaces/shop/copy.yaml"))?;
    fs::remove_file(world.path("source/namespaces/shop/web.yaml"))?;
    world.refused("a file is stale", &["configmap_web.yaml\n+++ /dev/null"])?;
    world.hydrate()?;
    world.commit()?.with_context(|| "a good commit was stopped")
}

fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: \"{value}\"\n")
}

/// A directory with everything that the programs may see: homes, caches, repositories.
struct World {
    directory: TempDir,
}

impl World {
    fn new() -> Result<Self> {
        let world = Self { directory: tempfile::Builder::new().prefix("nomos-pre-commit-").tempdir()? };
        ["home", "cargo", "pre-commit", "nomos", "source"]
            .into_iter()
            .try_for_each(|name| fs::create_dir(world.path(name)))?;
        // Where crates come from stays what it is; the cache is empty.
        let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".cargo")));
        if let Some(config) = cargo_home.and_then(|home| fs::read(home.join("config.toml")).ok()) {
            fs::write(world.path("cargo/config.toml"), config)?;
        }
        Ok(world)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.path(path);
        fs::create_dir_all(path.parent().context("below the directory")?)?;
        Ok(fs::write(path, text)?)
    }

    /// This repository as it is on disk, committed; returns the commit.
    fn publish(&self) -> Result<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let listed = text(Command::new("git").args(list).current_dir(&root).output()?)?;
        for file in listed.split_terminator('\0').filter(|file| root.join(file).is_file()) {
            let copy = self.path("nomos").join(file);
            fs::create_dir_all(copy.parent().context("below the directory")?)?;
            fs::copy(root.join(file), copy)?;
        }
        self.git("nomos", &["init", "--quiet", "--initial-branch=main"])?;
        self.git("nomos", &["add", "--all"])?;
        self.git("nomos", &["commit", "--quiet", "--message", "All of it"])?;
        Ok(self.git("nomos", &["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// A command whose environment has nothing of the user who runs this test.
    fn program(&self, name: &str, directory: &str) -> Command {
        let mut command = Command::new(name);
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            if ["GIT_", "CARGO", "RUST", "PRE_COMMIT", "XDG_"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(&variable);
            }
        }
        let rustup = std::env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".rustup")));
        command
            .current_dir(self.path(directory))
            .stdin(Stdio::null())
            .envs(rustup.map(|rustup| ("RUSTUP_HOME", rustup)))
            .env("HOME", self.path("home"))
            .env("CARGO_HOME", self.path("cargo"))
            .env("PRE_COMMIT_HOME", self.path("pre-commit"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "A Test")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "test@example.com")));
        command
    }

    fn git(&self, directory: &str, args: &[&str]) -> Result<String> {
        text(self.program("git", directory).args(args).output()?).with_context(|| format!("git {}", args.join(" ")))
    }

    /// Has pre-commit build the hooks and put itself before commits.
    fn install_hooks(&self) -> Result<()> {
        let mut install = self.program("pre-commit", "source");
        let log = fs::File::create(self.path("log"))?;
        let install = install.args(["install", "--install-hooks"]).stdout(log.try_clone()?).stderr(log);
        let ended = install.status().context("failed to start pre-commit")?;
        ensure!(ended.success(), "{}", fs::read_to_string(self.path("log"))?);
        Ok(())
    }

    /// Runs the linter that pre-commit built.
    fn hydrate(&self) -> Result<()> {
        let mut found = Vec::new();
        for repository in fs::read_dir(self.path("pre-commit"))? {
            found.push(repository?.path().join("rustenv-system/bin/nomos-lint"));
        }
        let linter = found.into_iter().find(|path| path.exists()).context("pre-commit installed no nomos-lint")?;
        text(self.program(linter.to_str().context("a path in UTF-8")?, "source").arg("hydrate").output()?).map(drop)
    }

    /// Commits everything; the inner result says whether the hooks let it through.
    fn commit(&self) -> Result<Result<()>> {
        self.git("source", &["add", "--all"])?;
        let commit = self.program("git", "source").args(["commit", "--quiet", "--message", "A change"]).output()?;
        Ok(text(commit).map(drop))
    }

    /// Commits everything, which the hooks must stop with these words.
    fn refused(&self, why: &str, words: &[&str]) -> Result<()> {
        let before = self.git("source", &["rev-list", "--all"])?;
        let Err(output) = self.commit()? else { bail!("a commit was not stopped: {why}") };
        let output = format!("{output:#}");
        words.iter().try_for_each(|word| {
            ensure!(output.contains(word), "{word:?} is not said where {why}:\n{output}");
            Ok(())
        })?;
        ensure!(self.git("source", &["rev-list", "--all"])? == before, "a stopped commit is there all the same");
        Ok(())
    }
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

/// The standard output of a program; if it failed, an error with all of its output.
fn text(output: Output) -> Result<String> {
    let printed = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    Ok(printed)
}
