//! The Secrets that a sync names, and the keys in them. No value ever gets into a message.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;

use crate::api::{GitSpec, SecretRef, sync_resource};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::SyncId;

/// The content of a Secret, by key.
type SecretData = BTreeMap<String, Vec<u8>>;

/// A Secret as it was last seen.
pub(super) enum SecretState {
    /// There is none.
    Missing,
    /// The API server does not show it, for this reason.
    Refused(String),
    /// There is one.
    There(SecretData),
}

impl SecretState {
    pub(super) fn of(secret: Option<Secret>) -> Self {
        match secret {
            None => Self::Missing,
            Some(secret) => {
                let data = secret.data.unwrap_or_default();
                Self::There(data.into_iter().map(|(key, value)| (key, value.0)).collect())
            }
        }
    }
}

/// The Secrets of one sync, as far as they were seen.
pub(super) struct Secrets {
    sync: SyncId,
    seen: BTreeMap<String, SecretState>,
}

/// The use of a Secret: the field that names it, and the words for what reads it.
#[derive(Clone, Copy)]
pub(super) struct SecretUse {
    pub(super) field: &'static str,
    pub(super) reader: &'static str,
}

/// A Secret that is there.
pub(super) struct NamedSecret<'a> {
    secrets: &'a Secrets,
    name: &'a str,
    reader: &'static str,
    data: &'a SecretData,
}

/// The names of the Secrets that a spec asks for.
pub(super) fn names(git: &GitSpec) -> Vec<&str> {
    let login = git.secret_ref.as_ref().filter(|_| git.auth.needs_secret());
    let signers = git.verify.as_ref().map(|verify| &verify.secret_ref);
    let named = login.into_iter().chain(&git.ca_cert_secret_ref).chain(signers).map(|secret| secret.name.as_str());
    let mut names: Vec<&str> = named.filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

impl Secrets {
    /// None was seen yet.
    pub(super) fn new(sync: SyncId) -> Self {
        Self { sync, seen: BTreeMap::new() }
    }

    /// Takes in a Secret as it is now.
    pub(super) fn saw(&mut self, name: &str, state: SecretState) {
        self.seen.insert(name.to_owned(), state);
    }

    pub(super) fn has_seen(&self, name: &str) -> bool {
        self.seen.contains_key(name)
    }

    /// The Secret that a field names.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub(super) fn get<'a>(
        &'a self,
        secret: Option<&'a SecretRef>,
        SecretUse { field, reader }: SecretUse,
    ) -> Result<NamedSecret<'a>, Finding> {
        let name = secret.map_or("", |secret| secret.name.as_str());
        match self.seen.get(name) {
            Some(SecretState::There(data)) => Ok(NamedSecret { secrets: self, name, reader, data }),
            Some(SecretState::Refused(why)) => Err(self.finding(
                Code::InsufficientPermission,
                format!("{}, which {field} names, cannot be read: {why}", self.shown(name)),
                "Let the agent get, list and watch this Secret; it reads no other than those that syncs name.",
            )),
            Some(SecretState::Missing) | None => Err(self.invalid(
                format!("{} does not exist; {field} names it.", self.shown(name)),
                "Create it. The sync goes on by itself.",
            )),
        }
    }

    /// A finding about the sync (KNV1061).
    pub(super) fn invalid(&self, message: String, hint: impl Into<String>) -> Finding {
        self.finding(Code::InvalidSync, message, hint)
    }

    fn finding(&self, code: Code, message: String, hint: impl Into<String>) -> Finding {
        Finding::new(code, message).hint(hint).about(sync_resource(&self.sync))
    }

    fn shown(&self, name: &str) -> String {
        format!("The Secret {}/{name}", self.sync.namespace)
    }
}

impl<'a> NamedSecret<'a> {
    /// The names of its keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.data.keys().map(String::as_str)
    }

    /// The text of a key without white space around it, such as a last newline; `None` if it is missing or empty.
    ///
    /// # Errors
    /// When it is no text.
    pub(super) fn optional(&self, key: &str) -> Result<Option<String>, Finding> {
        let Some(value) = self.data.get(key) else { return Ok(None) };
        match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Err(_) => Err(self.unusable(key, "is no text", "Write the text itself into stringData.")),
        }
    }

    /// The text of a key that must be there.
    ///
    /// # Errors
    /// When it is missing, empty or no text.
    pub(super) fn required(&self, key: &str) -> Result<String, Finding> {
        self.optional(key)?.ok_or_else(|| {
            let what = if self.data.contains_key(key) { "has nothing in its key" } else { "has no key" };
            self.secrets.invalid(
                format!("{} {what} {key:?}; {} needs it.", self.secrets.shown(self.name), self.reader),
                "Correct the Secret. The sync goes on by itself.",
            )
        })
    }

    /// The finding that the value of a key cannot be used.
    pub(super) fn unusable(&self, key: &str, what: &str, hint: &str) -> Finding {
        let message = format!("The key {key:?} of {} {what}.", self.secrets.shown(self.name).replacen("The", "the", 1));
        self.secrets.invalid(message, format!("{hint} The sync goes on by itself."))
    }
}
