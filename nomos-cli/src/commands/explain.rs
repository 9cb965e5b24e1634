//! `nomos explain`: the meaning of KNV codes.

use agent::model::finding::{Code, Explanation, RETIRED};
use anyhow::bail;
use serde::Serialize;

use crate::columns::{OutputForm, output_form, titled};
use crate::{Console, FINE};

/// Explain a KNV error code, or list all codes
#[derive(clap::Args)]
pub(crate) struct ExplainArgs {
    /// Code or name of an error, such as KNV1029, 1029 or NameCollision [default: list all codes]
    code: Option<String>,

    /// Print in this form instead of as text: json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_parser = output_form, value_name = "FORM")]
    output: Option<OutputForm>,

    /// Leave out the titles of columns
    #[arg(long)]
    no_headers: bool,
}

#[derive(Serialize)]
struct ExplainedCode {
    code: Code,
    name: &'static str,
    /// `true` if the agent applies nothing of a source with this finding.
    blocks: bool,
    #[serde(flatten)]
    explanation: Explanation,
}

/// Prints the explanation of one code or the list of all.
pub(crate) fn run(args: &ExplainArgs, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let entries: Vec<ExplainedCode> = match &args.code {
        Some(code) => vec![entry(find(code)?)],
        None => Code::ALL.iter().map(|code| entry(*code)).collect(),
    };
    let Some(form) = &args.output else {
        let text = if args.code.is_some() { entries.iter().map(entry_text).collect() } else { list(!args.no_headers) };
        console.page(&text);
        return Ok(FINE);
    };
    let names: Vec<String> = entries.iter().map(|entry| entry.code.to_string()).collect();
    console.print_data(&match (&args.code, &*entries) {
        (Some(_), [entry]) => form.text(entry, &names)?,
        (_, entries) => form.text(&entries, &names)?,
    });
    Ok(FINE)
}

fn entry(code: Code) -> ExplainedCode {
    ExplainedCode { code, name: code.name(), blocks: code.blocks(), explanation: code.explanation() }
}

fn list(headers: bool) -> String {
    let mut rows = vec![vec!["CODE".to_owned(), "NAME".to_owned(), "MEANING".to_owned()]];
    rows.extend(
        Code::ALL
            .iter()
            .map(|code| vec![code.to_string(), code.name().to_owned(), code.explanation().meaning.to_owned()]),
    );
    titled(&rows, headers)
}

fn entry_text(entry: &ExplainedCode) -> String {
    let mut text = format!("{} {}\n", entry.code, entry.name);
    for (head, part) in parts(entry.explanation) {
        text.push_str(&format!("\n{head}\n{}\n", wrapped(part)));
    }
    if !entry.blocks {
        text.push_str(&format!("\n{NO_BLOCK}\n"));
    }
    text
}

/// The note about codes that do not block.
pub(crate) const NO_BLOCK: &str = "This error does not block the source: the agent applies the other objects.";

/// The parts of an explanation, each with its heading.
pub(crate) fn parts(explanation: Explanation) -> [(&'static str, &'static str); 4] {
    let Explanation { meaning, why, fix, example } = explanation;
    [("Meaning", meaning), ("Reason", why), ("How to fix", fix), ("Example", example)]
}

/// Indented lines of at most 100 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 0 && last + word.chars().count() > 97 {
            lines.push(String::new());
        }
        lines.last_mut().into_iter().for_each(|line| *line += &format!(" {word}"));
    }
    lines.iter().map(|line| format!(" {line}")).collect::<Vec<_>>().join("\n")
}

/// The code with this number or name.
fn find(text: &str) -> anyhow::Result<Code> {
    let lower = text.trim().to_lowercase();
    if let Some(code) = Code::ALL.iter().find(|code| code.name().to_lowercase() == lower) {
        return Ok(*code);
    }
    let Ok(number) = lower.strip_prefix("knv").unwrap_or(&lower).parse::<u16>() else {
        bail!("there is no code {text:?}; `nomos explain` lists all codes{}", meant(named_like(&lower)));
    };
    match Code::ALL.iter().find(|code| code.number() == number) {
        Some(code) => Ok(*code),
        None if RETIRED.contains(&number) => {
            bail!("KNV{number} is retired: nomos does not report it any more{}", meant(nearest(number)))
        }
        None => bail!("there is no code KNV{number}; `nomos explain` lists all codes{}", meant(nearest(number))),
    }
}

fn meant(codes: Vec<Code>) -> String {
    let names: Vec<String> = codes.iter().map(|code| format!("{code} {}", code.name())).collect();
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(", ")) }
}

/// The three codes whose numbers are closest to this number.
fn nearest(number: u16) -> Vec<Code> {
    let mut codes = Code::ALL.to_vec();
    codes.sort_by_key(|code| (code.number().abs_diff(number), code.number()));
    codes.truncate(3);
    codes
}

fn named_like(lower: &str) -> Vec<Code> {
    let like = |code: &&Code| !lower.is_empty() && code.name().to_lowercase().contains(lower);
    Code::ALL.iter().filter(like).take(3).copied().collect()
}
