//! The field `sops` of a sealed file.

use serde::Deserialize;
use serde_json::Value;

use super::{SEAL_AGAIN, SealProblem};

/// The largest number of age keys that a file is sealed for.
const MAX_RECIPIENTS: usize = 100;
/// The largest sealed data key that is read. That for one recipient has some 400 bytes.
const MAX_DATA_KEY: usize = 4 << 10;
/// The longest expression that chooses the sealed values.
const MAX_RULE: usize = 1000;

/// The lists of keys of one group, by the service that has them.
const SERVICES: [&str; 7] = ["age", "kms", "gcp_kms", "azure_kv", "hc_vault", "hckms", "pgp"];

/// The keys, the rule and the checksum of a sealed file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SealMetadata {
    /// The groups of keys; filled in by [`SealMetadata::of`]. With several groups each has a share of the data key.
    #[serde(skip)]
    pub(super) groups: Vec<Vec<SealedDataKey>>,
    /// The number of shares that give the data key; 0 if there is one group.
    pub(super) shamir_threshold: usize,
    #[serde(rename = "lastmodified")]
    pub(super) last_modified: String,
    pub(super) mac: String,
    pub(super) mac_only_encrypted: bool,
    pub(super) unencrypted_suffix: Option<String>,
    pub(super) encrypted_suffix: Option<String>,
    pub(super) unencrypted_regex: Option<String>,
    pub(super) encrypted_regex: Option<String>,
    pub(super) unencrypted_comment_regex: Option<String>,
    pub(super) encrypted_comment_regex: Option<String>,
}

/// The data key of a file, or a share of it, sealed for one age key.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "it is for opening the file"))]
pub(super) struct SealedDataKey {
    pub(super) recipient: String,
    /// A file of age in its form for text.
    pub(super) enc: String,
}

/// The text by which the sealed values are chosen.
#[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "it is for opening the file"))]
pub(super) enum SealRule<'a> {
    /// All but those below a field whose name ends so.
    NotBelowSuffix(&'a str),
    /// Those below a field whose name ends so.
    BelowSuffix(&'a str),
    /// All but those below a field whose name fits.
    NotBelowMatch(&'a str),
    /// Those below a field whose name fits.
    BelowMatch(&'a str),
}

impl SealMetadata {
    /// Reads the field.
    pub(super) fn of(field: &Value) -> Result<Self, SealProblem> {
        let unreadable = |_| SealProblem::new("its field `sops` does not have the form that SOPS writes", SEAL_AGAIN);
        let mut metadata: Self = serde_json::from_value(field.clone()).map_err(unreadable)?;
        metadata.groups = groups(field).map_err(unreadable)?;
        if let Some(time) = rewritten_time(&metadata.last_modified) {
            metadata.last_modified = time;
        }
        metadata.rule()?;
        let keys = || metadata.groups.iter().flatten();
        if keys().next().is_none() {
            return Err(SealProblem::new(
                "SOPS sealed it for no age key",
                "Add the age key of the agent to .sops.yaml, and run `sops updatekeys FILE`. The agent asks no other key service.",
            )
            .of_key());
        }
        if keys().count() > MAX_RECIPIENTS || keys().any(|key| key.enc.len() > MAX_DATA_KEY) {
            let message =
                format!("it is sealed for more than {MAX_RECIPIENTS} age keys, or its sealed key is too large");
            return Err(SealProblem::new(message, "Seal it for fewer keys."));
        }
        Ok(metadata)
    }

    /// The rule by which values are sealed.
    pub(super) fn rule(&self) -> Result<SealRule<'_>, SealProblem> {
        fn text(rule: &Option<String>) -> Option<&str> {
            rule.as_deref().filter(|text| !text.is_empty())
        }
        let by_comment = [&self.unencrypted_comment_regex, &self.encrypted_comment_regex];
        if by_comment.into_iter().any(|rule| text(rule).is_some()) {
            let hint =
                "Choose them by `encrypted_regex`, `unencrypted_regex`, `encrypted_suffix` or `unencrypted_suffix`.";
            return Err(SealProblem::new("its sealed values are chosen by comments, which nomos does not read", hint));
        }
        let rules = [
            text(&self.unencrypted_suffix).map(SealRule::NotBelowSuffix),
            text(&self.encrypted_suffix).map(SealRule::BelowSuffix),
            text(&self.unencrypted_regex).map(SealRule::NotBelowMatch),
            text(&self.encrypted_regex).map(SealRule::BelowMatch),
        ];
        let mut rules = rules.into_iter().flatten();
        let rule = rules.next().unwrap_or(SealRule::NotBelowSuffix("_unencrypted"));
        let too_long = match &rule {
            SealRule::NotBelowMatch(text) | SealRule::BelowMatch(text) => text.len() > MAX_RULE,
            _ => false,
        };
        match rules.next().is_some() || too_long {
            true => Err(SealProblem::new(
                "its field `sops` has several rules for sealed values, or one too long",
                SEAL_AGAIN,
            )),
            false => Ok(rule),
        }
    }
}

/// A time in any form of RFC 3339 as SOPS writes it again, which is the form that the checksum is bound to: without fractions of a second,
/// and with `Z` for UTC. `None` if it has another form.
fn rewritten_time(text: &str) -> Option<String> {
    const FORM: &str = "0000-00-00T00:00:00";
    let fits = |text: &str, form: &str| {
        let fits = |(byte, form): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
        text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
    };
    let (time, rest) = text.split_at_checked(FORM.len()).filter(|(time, _)| fits(time, FORM))?;
    let fraction = rest.strip_prefix(['.', ',']).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let zone = fraction.map_or(rest, |digits| digits.trim_start_matches(|c: char| c.is_ascii_digit()));
    match zone {
        "Z" | "+00:00" | "-00:00" => Some(format!("{time}Z")),
        _ if fits(zone, "+00:00") || fits(zone, "-00:00") => Some(format!("{time}{zone}")),
        _ => None,
    }
}

/// The age keys of each group. If the file has keys outside of groups, they are the only group.
fn groups(field: &Value) -> serde_json::Result<Vec<Vec<SealedDataKey>>> {
    let age = |group: &Value| match group.get("age") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(keys) => serde_json::from_value(keys.clone()),
    };
    let has_keys = SERVICES.iter().any(|name| field[*name].as_array().is_some_and(|keys| !keys.is_empty()));
    match field.get("key_groups").and_then(Value::as_array) {
        Some(groups) if !has_keys => groups.iter().map(age).collect(),
        _ => Ok(vec![age(field)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_sops_writes_them_again() {
        for (text, expected) in [
            ("2026-01-02T03:04:05Z", Some("2026-01-02T03:04:05Z")),
            ("2026-01-02T03:04:05.678Z", Some("2026-01-02T03:04:05Z")),
            ("2026-01-02T03:04:05+00:00", Some("2026-01-02T03:04:05Z")),
            ("2026-01-02T03:04:05,5+02:00", Some("2026-01-02T03:04:05+02:00")),
            ("2026-01-02T03:04:05-07:30", Some("2026-01-02T03:04:05-07:30")),
            ("2026-01-02 03:04:05Z", None),
            ("2026-01-02T03:04:05", None),
            ("2026-01-02T03:04:05.Z", None),
            ("2026-01-02T03:04:05+0200", None),
            ("é026-01-02T03:04:05Z", None),
            ("", None),
        ] {
            assert_eq!(rewritten_time(text).as_deref(), expected, "{text}");
        }
    }
}
