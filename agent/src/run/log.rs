//! The log: plain lines on a terminal, JSON elsewhere.

use std::fmt;
use std::io::{IsTerminal as _, Write};

use tracing::Level;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::model::visible::{escaped_json, is_control, visible};

/// The filter without `RUST_LOG`.
const LOGGED: &str = "info";

/// Starts the log on standard error. The variable `RUST_LOG` replaces the default level `info`, within the limits of the levels
/// that libraries may log at.
pub fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let filter = filter.and(filter_fn(|metadata| may_be_logged(metadata.target(), *metadata.level())));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        let lines = lines.with_target(false).with_ansi(std::env::var_os("NO_COLOR").is_none());
        tracing_subscriber::registry().with(lines.fmt_fields(VisibleFields).with_filter(filter)).init();
    } else {
        let lines = lines.json().flatten_event(true).with_span_list(false).with_writer(|| JsonLines(std::io::stderr()));
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    }
    if std::env::var("RUST_LOG").is_ok_and(|asked| asked.split(',').any(asks_for_more)) {
        tracing::info!(
            "RUST_LOG lifts the levels of the agent only: below info, libraries log requests and answers, which hold Secrets"
        );
    }
}

/// `false` for what libraries log of requests and answers, headers and bodies: they know no Secret from a ConfigMap. The client
/// of the API server would log each refused request too; the agent says what a refusal means.
fn may_be_logged(target: &str, level: Level) -> bool {
    is_of(target, "agent") || (level <= Level::INFO && !is_of(target, "kube_client"))
}

/// `true` if `target` is the module `module` or one inside it.
fn is_of(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// `true` for a directive of `RUST_LOG` that would log more of libraries than [`may_be_logged`] lets through.
fn asks_for_more(directive: &str) -> bool {
    let directive = directive.trim();
    let (target, level) = directive.rsplit_once('=').unwrap_or(match directive.parse::<Level>() {
        Ok(_) => ("", directive),
        Err(_) => (directive, "trace"),
    });
    let level = level.parse::<Level>().ok();
    !directive.is_empty() && level.is_some_and(|level| !is_of(target, "agent") && !may_be_logged(target, level))
}

/// The fields of an event or a span, with control characters made visible: names and messages come from repositories and
/// clusters.
struct VisibleFields;

impl<'w> FormatFields<'w> for VisibleFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&visible(&text))
    }
}

/// Lines of JSON, in which the characters that a terminal obeys, or that change the order of others, are escaped. JSON itself asks for less.
struct JsonLines<W>(W);

impl<W: Write> Write for JsonLines<W> {
    /// Writes whole lines.
    fn write(&mut self, lines: &[u8]) -> std::io::Result<usize> {
        let escaped = std::str::from_utf8(lines).map(|text| escaped_json(text, is_control));
        self.0.write_all(escaped.as_deref().map_or(lines, str::as_bytes))?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_on_a_terminal_holds_no_control_character_of_others() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = tracing_subscriber::registry().with(lines.fmt_fields(VisibleFields));
        let name = "a\u{1b}]0;x\u{7}\u{9b}2J\u{202e}b\u{2028}\rc";
        tracing::subscriber::with_default(subscriber, || {
            let _entered = tracing::error_span!("sync", sync = %name).entered();
            tracing::warn!(%name, quoted = ?name, "the object {name}\nis there");
        });
        let text = String::from_utf8(written.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert!(!text.contains(is_control), "{text:?}");
        assert!(text.matches("]0;x").count() == 4 && text.contains("\nis there"), "{text:?}");
    }

    #[test]
    fn a_line_of_json_holds_no_control_character_of_others() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().json().with_writer(move || JsonLines(writer.clone()));
        let name = "a\u{1b}]0;x\u{7}\u{9b}2J\u{202e}b\u{2028}\rc";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::warn!(%name, "the object {name}\nis there");
        });
        let text = String::from_utf8(written.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert!(!text.contains(is_control), "{text:?}");
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(line["fields"]["name"], name);
    }

    #[test]
    fn libraries_do_not_log_requests() {
        assert!(may_be_logged("agent::run", Level::TRACE) && may_be_logged("agent", Level::TRACE));
        assert!(may_be_logged("hyper", Level::INFO) && may_be_logged("nomos_agent", Level::ERROR));
        assert!(!may_be_logged("agent_of_others", Level::DEBUG) && !may_be_logged("hyper::proto", Level::DEBUG));
        assert!(!may_be_logged("kube_client::client", Level::ERROR));
    }

    #[test]
    fn a_filter_that_asks_for_more_is_told_so() {
        for asked in ["trace", "debug", "DEBUG", "kube_client=warn", "hyper", "info,h2=trace", "agent=info, tower=5"] {
            assert!(asked.split(',').any(asks_for_more), "{asked}");
        }
        for asked in ["", "info", "warn,agent=trace", "agent", "agent::run=trace,info", "kube_client=off", "hyper=warn"]
        {
            assert!(!asked.split(',').any(asks_for_more), "{asked}");
        }
    }
}
