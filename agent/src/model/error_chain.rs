//! The text of an error with its causes, for logs, findings and the terminal.

use std::error::Error;
use std::iter::successors;

/// The error and its causes as one line: `outer: inner: innermost`. A cause whose text the line has already is left out,
/// because many libraries repeat it.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in successors(error.source(), |cause| (*cause).source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// The text of the innermost cause alone, where the outer ones say little: `Connection refused` instead of
/// `client error (Connect)`.
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    successors(Some(error), |error| (*error).source()).last().unwrap_or(error).to_string()
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Self>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (outer, inner) = texts.split_first().expect("one layer");
        Layer(outer, (!inner.is_empty()).then(|| Box::new(layers(inner))))
    }

    #[test]
    fn causes_follow_unless_they_repeat_a_text() {
        for (texts, chain, root) in [
            (&["one"][..], "one", "one"),
            (&["cannot read", "refused", "os error 111"], "cannot read: refused: os error 111", "os error 111"),
            (&["failed: refused", "refused", "os error 111"], "failed: refused: os error 111", "os error 111"),
            (&["one", "", "two"], "one: two", "two"),
        ] {
            let error = layers(texts);
            assert_eq!((error_chain(&error).as_str(), root_cause(&error).as_str()), (chain, root));
        }
    }
}
