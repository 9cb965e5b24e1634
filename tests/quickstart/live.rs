//! Prints a line for each thing that the agent does: commits, drift with its diff, errors. The whole log of the agent goes into
//! a file.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

/// From now on the agent's doings are shown; its log goes to `path`.
pub(crate) fn install(path: &Path) -> Result<()> {
    let file = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false);
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::registry()
        .with(EnvFilter::new("info,kube_client=off"))
        .with(file.with_writer(Mutex::new(File::create(path)?)))
        .with(Live { colours })
        .init();
    Ok(())
}

/// Shows what a user wants to see.
struct Live {
    colours: bool,
}

impl<S: Subscriber> Layer<S> for Live {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        if let Some(line) = line(*event.metadata().level(), &said, self.colours) {
            crate::say(&line);
        }
    }
}

/// The fields of a line of the log.
#[derive(Default)]
struct Said {
    message: String,
    object: String,
    commit: String,
    applied: String,
    pruned: String,
    page: String,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let slot = match field.name() {
            "message" => &mut self.message,
            "object" => &mut self.object,
            "commit" => &mut self.commit,
            "applied" => &mut self.applied,
            "pruned" => &mut self.pruned,
            "page" => &mut self.page,
            _ => return,
        };
        slot.clear();
        // Writing into a String does not fail.
        let _ = write!(slot, "{value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

fn line(level: Level, said: &Said, colours: bool) -> Option<String> {
    let paint = |colour: &str, text: &str| {
        if colours { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    if level <= Level::WARN {
        let told = |line: &&str| ["KNV", "hint:", "source:"].iter().any(|start| line.starts_with(start));
        let lines: Vec<&str> = match said.message.starts_with("KNV") {
            true => said.message.lines().filter(told).collect(),
            false => vec![&said.message],
        };
        return Some(paint(if level == Level::ERROR { "31" } else { "33" }, &lines.join("\n    ")));
    }
    if !said.page.is_empty() {
        return Some(format!("Look at it in a browser: {}", paint("1", &said.page)));
    }
    if said.message == "synced" {
        let commit = said.commit.get(..7).unwrap_or(&said.commit);
        let text = format!("commit {commit} is applied: {} written, {} deleted", said.applied, said.pruned);
        return Some(paint("32", &text));
    }
    let (what, diff) = said.message.split_once('\n').unwrap_or((&said.message, ""));
    let what = what.strip_prefix("drift corrected: ")?;
    let mut text = format!("{} {}: {what}", paint("36", "put back"), said.object);
    for line in diff.lines().filter(|line| !line.starts_with("@@")) {
        let colour = match line.as_bytes().first() {
            Some(b'-') => "31",
            Some(b'+') => "32",
            _ => "2",
        };
        // Writing into a String does not fail.
        let _ = write!(text, "\n    {}", paint(colour, line));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(level: Level, message: &str) -> Option<String> {
        let said = Said { message: message.to_owned(), object: "service/a/b".to_owned(), ..Said::default() };
        line(level, &said, false)
    }

    #[test]
    fn drift_is_shown_with_its_diff() {
        let text = shown(Level::INFO, "drift corrected: kubectl changed .spec.replicas\n@@ -1 +1 @@\n-  a: 1\n+  a: 2");
        assert_eq!(
            text.as_deref(),
            Some("put back service/a/b: kubectl changed .spec.replicas\n    -  a: 1\n    +  a: 2")
        );
        assert_eq!(shown(Level::INFO, "serving /healthz"), None);
        let page = Said { page: "http://127.0.0.1:1/ui/".to_owned(), ..Said::default() };
        assert_eq!(line(Level::INFO, &page, false).as_deref(), Some("Look at it in a browser: http://127.0.0.1:1/ui/"));
        assert_eq!(shown(Level::WARN, "careful").as_deref(), Some("careful"));
    }
}
