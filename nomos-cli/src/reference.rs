//! COMMANDS.md and ERRORS.md, made from the same definitions as `--help` and `nomos explain`.
//! `BLESS=1 cargo test -p nomos-cli --lib reference` writes them again.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use agent::model::finding::{Code, RETIRED};
use clap::CommandFactory as _;

use crate::Cli;
use crate::commands::explain;

#[test]
fn commands_are_current() {
    let mut page =
        "# Commands of nomos\n\nThis page is generated from the texts of `nomos COMMAND --help`.\n".to_owned();
    let mut nomos = Cli::command().term_width(100);
    nomos.build();
    let names: Vec<String> = nomos.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names.iter().filter(|name| *name != "help") {
        let command = nomos.find_subcommand_mut(name).expect("a name of a subcommand");
        let help = command.render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = write!(page, "\n## nomos {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    }
    check("COMMANDS.md", &page);
}

#[test]
fn errors_are_current() {
    let mut page = "# KNV errors\n\nThis page is generated from the texts of `nomos explain`.\n".to_owned();
    for code in Code::ALL {
        let _ = write!(page, "\n## {code} {}\n", code.name());
        for (head, part) in explain::parts(code.explanation()) {
            let part = if head == "Example" { format!("`{part}`") } else { part.to_owned() };
            let _ = write!(page, "\n**{head}.** {part}\n");
        }
        if !code.blocks() {
            let _ = write!(page, "\n{}\n", explain::NO_BLOCK);
        }
    }
    let retired: Vec<String> = RETIRED.iter().map(|number| format!("KNV{number}")).collect();
    let _ = write!(
        page,
        "\n## Retired\n\nThese codes are not reported any more, and they will not be used again: {}.\n",
        retired.join(", ")
    );
    check("ERRORS.md", &page);
}

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).expect("writable");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == text,
        "{} is not current; write it again with: BLESS=1 cargo test -p nomos-cli --lib reference",
        path.display()
    );
}
