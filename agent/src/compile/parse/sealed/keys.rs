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
    /// Tells keys apart that are not the same.
    digest: [u8; 32],
}

impl AgeKeys {
    /// No keys, for this reason.
    pub fn none(why: impl Into<String>, hint: impl Into<String>) -> Self {
        let (why_none, hint) = (why.into(), hint.into());
        let digest = Sha256::digest(format!("{why_none}\n{hint}")).into();
        Self { keys: Vec::new(), from: String::new(), why_none, hint, digest }
    }

    /// The keys in files of `age-keygen`: a key on each line, beside empty lines and comments.
    ///
    /// # Errors
    /// The name of the first file that has something else, or `None` if there is no key, or are too many.
    pub fn read<'a>(
        files: impl Iterator<Item = (&'a str, &'a str)>,
        from: impl Into<String>,
    ) -> Result<Self, Option<String>> {
        let (mut keys, mut hasher) = (Vec::new(), Sha256::new());
        for (name, text) in files {
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                keys.push(AgeKey::parse(line).ok_or_else(|| Some(name.to_owned()))?);
                hasher.update(line);
            }
        }
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(None);
        }
        let digest = hasher.finalize().into();
        Ok(Self { keys, from: from.into(), why_none: String::new(), hint: String::new(), digest })
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
            return SealProblem::new(format!("SOPS sealed it, and {}", self.why_none), self.hint.clone());
        }
        let own: Vec<String> = self.keys.iter().take(SHOWN).map(|key| key.recipient().text()).collect();
        let mut others: Vec<String> = recipients.iter().take(SHOWN).map(|name| shown(name)).collect();
        if recipients.len() > SHOWN {
            others.push(format!("{} others", recipients.len() - SHOWN));
        }
        let message = format!(
            "SOPS sealed it for {}, and {} has no key that opens it: it has {}",
            others.join(", "),
            self.from,
            own.join(", ")
        );
        let hint = format!(
            "Add {} to .sops.yaml and run `sops updatekeys FILE`, or put the key of the file into {} too.",
            own[0], self.from
        );
        SealProblem::new(message, hint)
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
