//! The rules of the code's shape that neither the compiler nor clippy checks. Each test names every place that breaks one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent::model::finding::Code;

/// What a file may have in lines, without its tests. Beyond it does two things.
const LINES: usize = 500;

/// What only the edge of the agent may say. The methods are in `.clippy.toml` too, which also sees through aliases.
const EFFECTS: [&str; 11] = [
    "async ",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "tokio::",
    "kube::Client",
    "Instant::now",
    "SystemTime",
    "println!",
];

/// The modules of the agent that touch the world.
const EDGE: [&str; 3] = ["io", "run", "main"];

/// Files of `nomos-cli/src/commands` that are no command.
const NO_COMMANDS: [&str; 2] = ["mod", "without_cluster"];

/// Codes that no repository alone can give, so that there is no case for them.
const NO_CASE: &[(&[u16], &str)] = &[
    (&[1031], "a manifest without a name is KNV2010 before this rule sees it"),
    (&[1060], "two syncs are needed"),
    (&[1061], "a RootSync or RepoSync on a cluster is needed"),
    (&[1067], "the schemas of a cluster are needed"),
    (&[2002, 2003, 2004, 2005, 2006, 2008, 2013, 2014, 2015, 2016, 2017], "a cluster, a repository or a disk fails"),
];

/// Bytes that a file may have. The documents that an API server publishes, compressed, are the largest.
const BYTES: u64 = 1 << 20;

struct File {
    /// Below the repository's root.
    path: String,
    text: String,
}

impl File {
    /// Without unit tests, at the foot or in a file of their own, and without comments.
    fn code(&self) -> String {
        if self.path.ends_with("/tests.rs") {
            return String::new();
        }
        let lines = self.text.lines().take_while(|line| *line != "#[cfg(test)]");
        lines.filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
    }

    /// Of which module of the agent it is a part: `io` for `agent/src/io/git/mod.rs`.
    fn module(&self) -> Option<&str> {
        let below = self.path.strip_prefix("agent/src/")?;
        below.split('/').next().map(|name| name.trim_end_matches(".rs"))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a file of the repository")
}

/// Every source file below `directory`, by path.
fn files(directory: &str) -> Vec<File> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(root().join(&directory)).expect("a directory of the repository") {
            let entry = entry.expect("a directory of the repository");
            let path = format!("{directory}/{}", entry.file_name().to_str().expect("a name in ASCII"));
            if entry.file_type().expect("a directory of the repository").is_dir() {
                left.push(path);
            } else if path.ends_with(".rs") {
                let text = read(&path);
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn all_files() -> impl Iterator<Item = File> {
    ["agent", "nomos-cli", "tests"].into_iter().flat_map(files)
}

fn none(broken: impl IntoIterator<Item = String>) {
    let broken: Vec<String> = broken.into_iter().collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The modules that a `lib.rs` or `mod.rs` lists, in order.
fn listed(path: &str) -> Vec<String> {
    let text = read(path);
    let after_visibility = |line: &str| line.strip_prefix("mod ").map(str::to_owned);
    let module = |line: &str| {
        let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
        after_visibility(line)?.strip_suffix(';').map(str::to_owned)
    };
    text.lines().filter_map(module).filter(|name| name != "tests").collect()
}

/// The modules that `code` names after `prefix`, such as `crate::`.
fn used(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for after in code.split(prefix).skip(1) {
        match after.strip_prefix('{') {
            Some(group) => names.extend(heads(group)),
            None => names.extend(identifier(after)),
        }
    }
    names
}

/// The stage and the module in it to which a file belongs: `io` and `git` for `agent/src/io/git/mod.rs`.
fn module_of_stage(path: &str) -> Option<(&str, &str)> {
    let (stage, below) = path.strip_prefix("agent/src/")?.split_once('/')?;
    let module = below.split('/').next()?.trim_end_matches(".rs");
    (module != "mod").then_some((stage, module))
}

/// What each member of `a::b, c::{d, e}}` begins with.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut starts) = (0_usize, vec![0]);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    starts.into_iter().filter_map(|start| identifier(group[start..].trim_start())).collect()
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!name.is_empty() && name.starts_with(|c: char| c.is_ascii_lowercase())).then_some(name)
}

#[test]
fn a_stage_uses_only_stages_listed_above_it() {
    let order = listed("agent/src/lib.rs");
    let rank = |name: &str| order.iter().position(|listed| listed == name);
    none(files("agent/src").iter().flat_map(|file| {
        let own = file.module().and_then(rank);
        let code = if own.is_some() { file.code() } else { String::new() };
        let below = used(&code, "crate::").into_iter().filter(move |name| rank(name) > own).collect::<Vec<_>>();
        below.into_iter().map(|name| format!("{} uses `{name}`, which lib.rs lists below it", file.path))
    }));
}

#[test]
fn a_module_uses_only_modules_that_its_stage_lists_above_it() {
    none(files("agent/src").iter().flat_map(|file| {
        let Some((stage, module)) = module_of_stage(&file.path) else { return Vec::new() };
        let list = format!("agent/src/{stage}/mod.rs");
        let order = listed(&list);
        let rank = |name: &str| order.iter().position(|listed| listed == name);
        let code = file.code();
        let mut names = used(&code, &format!("crate::{stage}::"));
        // One level above the module itself is the stage.
        let is_face = [format!("{module}.rs"), format!("{module}/mod.rs")];
        if is_face.iter().any(|face| file.path == format!("agent/src/{stage}/{face}")) {
            names.extend(used(&code, " super::"));
        }
        let below = names.iter().filter(|name| rank(name) > rank(module));
        below.map(|name| format!("{} uses `{name}`, which {list} lists below it", file.path)).collect()
    }));
}

#[test]
fn the_list_of_modules_is_complete() {
    let listed: BTreeSet<String> = listed("agent/src/lib.rs").into_iter().collect();
    let there: BTreeSet<String> = files("agent/src")
        .iter()
        .filter_map(File::module)
        .filter(|name| !["lib", "main"].contains(name))
        .map(Into::into)
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn effects_stay_at_the_edge() {
    let core = files("agent/src").into_iter().filter(|file| file.module().is_some_and(|name| !EDGE.contains(&name)));
    none(core.flat_map(|file| {
        let code = file.code();
        let said = EFFECTS.into_iter().filter(move |effect| code.contains(effect));
        said.map(move |effect| format!("{}: {effect}", file.path))
    }));
}

#[test]
fn every_file_says_what_it_is_for() {
    none(all_files().filter(|file| !file.text.starts_with("//! ")).map(|file| file.path));
}

/// The name of the type that a line defines. Associated types are indented and do not count.
fn defined_type(line: &str) -> Option<&str> {
    if line.starts_with(' ') {
        return None;
    }
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let defines = |word: &str| ["struct", "enum", "trait", "type"].contains(&word);
    let mut word = words.next()?;
    while ["pub", "crate", "super", "in", "sync", "engine", "run", "io"].contains(&word) {
        word = words.next()?;
    }
    defines(word).then(|| words.next()).flatten()
}

#[test]
fn a_type_name_stands_once() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in ["agent/src", "nomos-cli/src"].into_iter().flat_map(files) {
        for name in file.code().lines().filter_map(defined_type) {
            places.entry(name.to_owned()).or_default().push(file.path.clone());
        }
    }
    let twice = places.into_iter().filter(|(_, paths)| paths.len() > 1);
    none(twice.map(|(name, paths)| format!("{name} is defined in {}", paths.join(" and "))));
}

/// Beginnings of a comment that leave open which thing the comment is about.
const RIDDLES: [&str; 9] = ["What ", "Whether ", "Who ", "Whose ", "Whoever ", "Which ", "How ", "Of ", "The same"];

/// Words that name no actor, and references that a reader of the repository cannot follow.
const VAGUE: [&str; 9] =
    ["somebody", "Somebody", "nobody", "Nobody", "anybody", "whoever", "repo-format", "quirks ", "Walkthrough "];

#[test]
fn comments_name_their_subject() {
    none(["agent/src", "nomos-cli/src"].into_iter().flat_map(files).flat_map(|file| {
        let mut found = Vec::new();
        let mut begins = true;
        for (number, line) in file.text.lines().enumerate() {
            let line = line.trim_start();
            let comment = ["///", "//!", "//"].iter().find_map(|mark| line.strip_prefix(mark));
            if let Some(comment) = comment {
                let text = comment.trim_start();
                let riddle = begins && RIDDLES.iter().any(|riddle| text.starts_with(riddle));
                if riddle || VAGUE.iter().any(|word| text.contains(word)) {
                    found.push(format!("{}:{}: {text}", file.path, number + 1));
                }
                begins = text.is_empty();
            } else {
                begins = true;
            }
        }
        found
    }));
}

#[test]
fn no_file_does_two_things() {
    let tests = |file: &File| file.path.ends_with("/tests.rs") || file.path.contains("/tests/");
    let long = all_files().filter(|file| !tests(file)).filter_map(|file| {
        let lines = file.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        (lines > LINES).then(|| format!("{}: {lines} lines", file.path))
    });
    none(long);
}

#[test]
fn nothing_large_is_committed() {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git is there");
    let paths = String::from_utf8(listed.stdout).expect("names are UTF-8");
    assert!(paths.contains("Cargo.toml"), "no clone: {}", String::from_utf8_lossy(&listed.stderr));
    let size = |path: &str| fs::symlink_metadata(root().join(path)).map_or(0, |metadata| metadata.len());
    none(paths.split_terminator('\0').filter(|path| size(path) > BYTES).map(str::to_owned));
}

#[test]
fn one_file_per_command() {
    let text = read("nomos-cli/src/lib.rs");
    let list = text.split_once("enum Subcommand {").and_then(|(_, rest)| rest.split_once('}')).expect("the commands").0;
    // As in `Vet(vet::Vet),`.
    let commands: BTreeSet<String> = list
        .lines()
        .filter_map(|line| line.split_once('(')?.1.split_once("::"))
        .map(|(module, _)| module.to_owned())
        .collect();
    let directory = fs::read_dir(root().join("nomos-cli/src/commands")).expect("the commands");
    let files: BTreeSet<String> = directory
        .map(|entry| entry.expect("the commands").file_name().to_string_lossy().trim_end_matches(".rs").to_owned())
        .filter(|name| !NO_COMMANDS.contains(&name.as_str()))
        .collect();
    assert_eq!(commands, files);
}

#[test]
fn every_code_of_a_repository_has_a_case() {
    let excused: BTreeSet<u16> = NO_CASE.iter().flat_map(|(codes, _)| codes.iter().copied()).collect();
    let mut shown = BTreeSet::new();
    for case in fs::read_dir(root().join("tests/cases")).expect("the cases") {
        let expected = case.expect("a case").path().join("expected.txt");
        let text = fs::read_to_string(&expected).unwrap_or_default();
        let codes = text.lines().filter_map(|line| line.trim_start().strip_prefix("KNV")?.get(..4)?.parse().ok());
        shown.extend(codes.collect::<Vec<u16>>());
    }
    let all: BTreeSet<u16> = Code::ALL.iter().map(|code| code.number()).collect();
    let without = all.iter().filter(|code| !shown.contains(code) && !excused.contains(code));
    let needless = excused.iter().filter(|code| shown.contains(code) || !all.contains(code));
    let without = without.map(|code| format!("KNV{code} has no directory below tests/cases"));
    none(without.chain(needless.map(|code| format!("KNV{code} needs no excuse"))));
}

#[test]
fn uses_are_found() {
    let code = "use crate::{a::b, c::{d, e}};\nuse crate::f;\nfn g() { crate::h::i(super::j, crate::K) }";
    assert_eq!(used(code, "crate::").into_iter().collect::<Vec<_>>(), ["a", "c", "f", "h"]);
}
