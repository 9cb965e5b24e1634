//! The reference pages, made from the same definitions as `--help` and `nomos explain`. `BLESS=1 cargo test` writes them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use agent::finding::Code;
use clap::CommandFactory as _;

use crate::{Cli, Console, Environment};

#[test]
fn commands_are_current() {
    let mut page = "# nomos\n\nMade from `nomos --help`.\n".to_owned();
    let mut nomos = Cli::command().term_width(100);
    nomos.build();
    let names: Vec<String> = nomos.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names.iter().filter(|name| *name != "help") {
        let command = nomos.find_subcommand_mut(name).expect("it is one of them");
        let help = command.render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = write!(page, "\n## nomos {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    }
    check("COMMANDS.md", &page);
}

#[test]
fn errors_are_current() {
    let mut page = "# KNV errors\n\nMade from `nomos explain`.\n".to_owned();
    for code in Code::ALL {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut out, &mut err, Environment::default());
        let words = ["nomos".to_owned(), "explain".to_owned(), code.to_string()];
        assert_eq!(crate::run(words.map(Into::into), &mut console), crate::FINE, "{code}");
        let text = String::from_utf8(out).expect("UTF-8");
        let _ = write!(page, "\n## {code}\n\n```text\n{}\n```\n", text.trim_end());
    }
    check("ERRORS.md", &page);
}

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).expect("writable");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "{} is not current: write it with BLESS=1 cargo test -p nomos-cli", path.display());
}
