//! The events of libyaml's parser, with scalars that are what Kubernetes reads.

use libyaml_safer::{Encoding, EventData, MappingStyle, Parser, ScalarStyle, SequenceStyle};

use super::problem::{ParseProblem, problem};
use super::scalar::{self, Scalar};
use super::scanner_workarounds::ScannerInput;

/// An event of libyaml's parser, its scalar as Kubernetes reads it.
pub(super) struct YamlEvent {
    pub(super) data: EventData,
    /// Byte where it starts.
    pub(super) at: usize,
}

/// The events of one document, from libyaml's parser.
pub(super) struct YamlEvents<'a> {
    parser: Parser<&'a [u8]>,
    input: &'a ScannerInput<'a>,
    /// How many braces and brackets are open.
    flow: u32,
}

impl<'a> YamlEvents<'a> {
    /// The events of the first document.
    pub(super) fn new(input: &'a ScannerInput<'a>) -> Result<Self, ParseProblem> {
        let mut parser = Parser::new();
        // Without this a byte order mark would be taken for one; Kubernetes reads it as a character.
        parser.set_encoding(Encoding::Utf8);
        parser.set_input(input.text().as_bytes());
        let mut events = Self { parser, input, flow: 0 };
        events.next()?;
        let start = events.next()?;
        match start.data {
            EventData::DocumentStart { version_directive: None, tag_directives, .. } if tag_directives.is_empty() => {
                Ok(events)
            }
            EventData::DocumentStart { .. } => Err(problem("YAML directives are not supported", start.at)),
            _ => Err(problem("the document is empty", start.at)),
        }
    }

    pub(super) fn next(&mut self) -> Result<YamlEvent, ParseProblem> {
        let event = self.parser.parse().map_err(|error| {
            let at = error.problem_mark().map_or(0, |mark| mark.index as usize);
            problem(&describe(&error), self.input.original(at))
        })?;
        let (at, end) = (event.start_mark.index as usize, event.end_mark.index as usize);
        let mut data = event.data;
        self.flow = flow(self.flow, &data);
        if let EventData::Scalar { value, style, .. } = &mut data {
            self.input.restore(value, *style, at, end)?;
            if self.flow > 0 && *style == ScalarStyle::Plain && value.contains('?') {
                let message = "between braces or brackets a text with `?` needs quotes";
                return Err(problem(message, self.input.original(at)));
            }
        }
        Ok(YamlEvent { data, at: self.input.original(at) })
    }
}

/// How many braces and brackets are open after an event. Between them there is nothing else.
fn flow(open: u32, event: &EventData) -> u32 {
    match event {
        EventData::MappingStart { style: MappingStyle::Flow, .. }
        | EventData::SequenceStart { style: SequenceStyle::Flow, .. } => open + 1,
        EventData::MappingEnd | EventData::SequenceEnd => open.saturating_sub(1),
        _ => open,
    }
}

fn describe(error: &libyaml_safer::Error) -> String {
    match error.context() {
        Some(context) => format!("{}, {context}", error.problem()),
        None => error.problem().to_owned(),
    }
}

/// Whether a key merges what follows it into its map.
pub(super) fn is_merge(text: &str, tag: Option<&str>, plain: bool) -> bool {
    text == "<<" && (plain || tag == Some("tag:yaml.org,2002:merge"))
}

/// What a scalar means.
pub(super) fn resolve(text: String, tag: Option<&str>, plain: bool, at: usize) -> Result<Scalar, ParseProblem> {
    match tag {
        Some(tag) if tag != "!" => scalar::tagged(tag, &text).map_err(|message| problem(&message, at)),
        None if plain => Ok(scalar::plain(&text)),
        _ => Ok(Scalar::Text(text)),
    }
}
