//! The reason why a document cannot be read, and its place.

/// The reason why a document cannot be read.
#[derive(Debug, PartialEq)]
pub(super) struct ParseProblem {
    /// The reason, as a sentence without capital letter and full stop. It never has values of the document: they may be secret.
    pub(super) message: String,
    /// The byte position in the document.
    pub(super) at: usize,
}

/// A problem at a byte of the document.
pub(super) fn problem(message: &str, at: usize) -> ParseProblem {
    ParseProblem { message: message.to_owned(), at }
}
