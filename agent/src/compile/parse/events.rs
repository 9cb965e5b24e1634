//! The events of libyaml's parser, with the scalars that Kubernetes reads.

use libyaml_safer::{Encoding, EventData, MappingStyle, Parser, ScalarStyle, SequenceStyle};

use super::problem::{ParseProblem, problem};
use super::scalar::{self, Scalar};
use super::scanner_workarounds::ScannerInput;

/// An event of libyaml's parser. Its scalar has the text that Kubernetes reads.
pub(super) struct YamlEvent {
    pub(super) data: EventData,
    /// The byte of the document where the event starts.
    pub(super) at: usize,
}

/// The events of one document.
pub(super) struct YamlEvents<'a> {
    parser: Parser<&'a [u8]>,
    input: &'a ScannerInput<'a>,
    /// The number of open braces and brackets.
    flow: u32,
}

impl<'a> YamlEvents<'a> {
    /// The events after the start of the first document.
    pub(super) fn new(input: &'a ScannerInput<'a>) -> Result<Self, ParseProblem> {
        let mut parser = Parser::new();
        // With a set encoding libyaml does not remove a byte order mark: Kubernetes reads it as a character.
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

    /// The next event.
    pub(super) fn next(&mut self) -> Result<YamlEvent, ParseProblem> {
        let event = self.parser.parse().map_err(|error| {
            let (message, at) = match error.problem_mark() {
                Some(mark) => (describe(&error), mark.index as usize),
                None => self.unreadable(&error),
            };
            problem(&message, self.input.original_position(at))
        })?;
        let (at, end) = (event.start_mark.index as usize, event.end_mark.index as usize);
        let mut data = event.data;
        self.flow = flow(self.flow, &data);
        if let EventData::Scalar { value, style, .. } = &mut data {
            self.input.restore(value, *style, at, end)?;
            if self.flow > 0 && *style == ScalarStyle::Plain && value.contains('?') {
                let message = "between braces or brackets a text with `?` needs quotes";
                return Err(problem(message, self.input.original_position(at)));
            }
        }
        Ok(YamlEvent { data, at: self.input.original_position(at) })
    }

    /// An error of the reader has no position: it is about the first character that YAML does not have.
    fn unreadable(&self, error: &libyaml_safer::Error) -> (String, usize) {
        match self.input.text().char_indices().find(|(_, c)| !is_printable(*c)) {
            Some((at, c)) => (format!("{}: U+{:04X}", describe(error), u32::from(c)), at),
            None => (describe(error), 0),
        }
    }
}

/// `true` for a character that a YAML document may have: <https://yaml.org/spec/1.2.2/#51-character-set>.
fn is_printable(c: char) -> bool {
    let is_control = c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    !is_control && !matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// The number of open braces and brackets after an event. Inside of them there are no block maps and lists, so each end event
/// closes one of them.
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

/// `true` for the key `<<`, which merges the map after it into the map that has the key.
pub(super) fn is_merge(text: &str, tag: Option<&str>, plain: bool) -> bool {
    text == "<<" && (plain || tag == Some("tag:yaml.org,2002:merge"))
}

/// The value of a scalar: by its tag, by its text if it is plain, else the text itself.
pub(super) fn resolve(text: String, tag: Option<&str>, plain: bool, at: usize) -> Result<Scalar, ParseProblem> {
    match tag {
        Some(tag) if tag != "!" => scalar::tagged(tag, &text).map_err(|message| problem(&message, at)),
        None if plain => Ok(scalar::plain(&text)),
        _ => Ok(Scalar::Text(text)),
    }
}
