//! The age keys with which sealed files are opened.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::SealProblem;
use super::age::{AgeKey, AgeRecipient, decrypted};

/// The largest number of keys: enough for some that are rotated.
const MAX_KEYS: usize = 16;

/// The age keys of an agent, or the reason why it has none.
#[derive(Clone)]
pub struct AgeKeys {
    keys: Vec<AgeKey>,
    /// Where they come from, such as `the Secret config-management-system/sops-age`.
    from: String,
    /// The reason why there are none, as the end of a sentence.
    why_none: String,
    hint: String,
    /// Lines beside the keys that are none.
    wrong: Vec<WrongLine>,
    /// Tells keys apart that are not the same.
    digest: [u8; 32],
}

/// A line that is no age key, by its file and its number from 1. What it has may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongLine {
    /// The name of the file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

/// In words, as in `line 3 of "agent.agekey"`.
impl fmt::Display for WrongLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of {:?}", self.line, self.file)
    }
}

impl AgeKeys {
    /// No keys, for this reason.
    pub fn none(why: impl Into<String>, hint: impl Into<String>) -> Self {
        let (why_none, hint) = (why.into(), hint.into());
        let digest = Sha256::digest(format!("{why_none}\n{hint}")).into();
        Self { keys: Vec::new(), from: String::new(), why_none, hint, wrong: Vec::new(), digest }
    }

    /// The keys in files of `age-keygen`: a key on each line, beside empty lines and comments. A line that is none of these spoils no
    /// other.
    ///
    /// # Errors
    /// The lines that are no keys, if no line is one, or too many are.
    pub fn read<'a>(
        files: impl Iterator<Item = (&'a str, &'a str)>,
        from: impl Into<String>,
    ) -> Result<Self, Vec<WrongLine>> {
        let (mut keys, mut wrong, mut hasher) = (Vec::new(), Vec::new(), Sha256::new());
        for (file, text) in files {
            for (number, line) in (1..).zip(text.lines().map(str::trim)) {
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                match AgeKey::parse(line) {
                    Some(key) => keys.push(key),
                    None if wrong.len() < MAX_KEYS => wrong.push(WrongLine { file: file.to_owned(), line: number }),
                    None => {}
                }
                hasher.update(format!("{line}\n"));
            }
        }
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(wrong);
        }
        let digest = hasher.finalize().into();
        Ok(Self { keys, from: from.into(), why_none: String::new(), hint: String::new(), wrong, digest })
    }

    /// The lines beside the keys that are none.
    pub fn wrong_lines(&self) -> &[WrongLine] {
        &self.wrong
    }

    /// The reason why there are none; `None` if there are keys.
    #[cfg(test)]
    pub(crate) fn why_none(&self) -> Option<&str> {
        self.keys.is_empty().then_some(&self.why_none)
    }

    /// The data key, or the share of it, that is sealed for this recipient; `None` if none of these keys is theirs.
    pub(super) fn open(&self, recipient: &str, sealed: &str) -> Option<Vec<u8>> {
        let recipient = AgeRecipient::parse(recipient)?;
        decrypted(sealed, self.keys.iter().find(|key| key.recipient() == recipient)?)
    }

    /// The problem of a file that none of these keys opens. It is sealed for `recipients`.
    pub(super) fn problem(&self, recipients: &[&str]) -> SealProblem {
        const SHOWN: usize = 5;
        if self.keys.is_empty() {
            return SealProblem::new(format!("SOPS sealed it, and {}", self.why_none), self.hint.clone()).of_key();
        }
        let own: Vec<String> = self.keys.iter().take(SHOWN).map(|key| key.recipient().text()).collect();
        let mut others: Vec<String> = recipients.iter().take(SHOWN).map(|name| shown(name)).collect();
        if recipients.len() > SHOWN {
            others.push(format!("{} others", recipients.len() - SHOWN));
        }
        let wrong: String = self.wrong.iter().take(SHOWN).map(|line| format!(", and {line} is no age key")).collect();
        let message = format!(
            "SOPS sealed it for {}, and {} has no key that opens it: it has {}{wrong}",
            others.join(", "),
            self.from,
            own.join(", ")
        );
        let hint = format!(
            "Add {} to .sops.yaml and run `sops updatekeys FILE`, or put the key of the file into {} too.",
            own[0], self.from
        );
        SealProblem::new(message, hint).of_key()
    }
}

/// A public key of age is shown; another text may be anything.
fn shown(recipient: &str) -> String {
    match AgeRecipient::parse(recipient) {
        Some(recipient) => recipient.text(),
        None => "another recipient".to_owned(),
    }
}

impl Default for AgeKeys {
    fn default() -> Self {
        Self::none("there is no key for it", "")
    }
}

impl PartialEq for AgeKeys {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl fmt::Debug for AgeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} age keys", self.keys.len())
    }
}
