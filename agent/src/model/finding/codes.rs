//! The KNV codes and their explanations. `nomos explain` and the reference page are made from them.

use std::fmt;

use serde::{Serialize, Serializer};

use super::table::table;

/// The explanation of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The mistake or failure, in a sentence.
    pub meaning: &'static str,
    /// The reason why it is a mistake, or the cause of the failure.
    pub why: &'static str,
    /// The way to correct it.
    pub fix: &'static str,
    /// A short example that gives this code.
    pub example: &'static str,
}

macro_rules! codes {
    ($($number:literal $name:ident [$meaning:literal $why:literal $fix:literal $example:literal];)*) => {
        /// A KNV code. The number of a code never changes and is never used again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $name = $number,)*
        }

        impl Code {
            /// Every code, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name, as in `NameCollision`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The explanation for users.
            pub fn explanation(self) -> Explanation {
                match self {
                    $(Self::$name => Explanation { meaning: $meaning, why: $why, fix: $fix, example: $example },)*
                }
            }
        }
    };
}

table!(codes);

/// The numbers of codes that Config Sync or this project had and that are never used again.
pub const RETIRED: &[u16] = &[
    1000, 1001, 1002, 1008, 1012, 1015, 1016, 1018, 1022, 1023, 1024, 1025, 1026, 1028, 1030, 1033, 1035, 1037, 1040,
    1049, 1051, 1059, 1062, 1063, 2007, 2011,
];

// The table does not compile if a number is out of order, repeated or retired.
const _: () = {
    let mut i = 0;
    while i < Code::ALL.len() {
        assert!(i == 0 || Code::ALL[i - 1].number() < Code::ALL[i].number(), "codes are ascending and unique");
        let mut r = 0;
        while r < RETIRED.len() {
            assert!(Code::ALL[i].number() != RETIRED[r], "a retired number is never used again");
            r += 1;
        }
        i += 1;
    }
};

impl Code {
    /// The four digits.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// `true` if a finding of this code keeps the whole declared set from being applied.
    pub const fn blocks(self) -> bool {
        !matches!(self, Self::UnknownKind | Self::EncodeDeclaredField)
    }
}

/// `KNV1029`
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KNV{}", self.number())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_sentences() {
        for code in Code::ALL {
            let Explanation { meaning, why, fix, example } = code.explanation();
            for text in [meaning, why, fix] {
                assert!(text.ends_with('.') && !text.contains("  "), "{code}: {text}");
            }
            assert!(!example.is_empty() && !example.ends_with('.'), "{code}: {example}");
        }
    }
}
