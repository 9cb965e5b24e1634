//! Takes the values of Secrets, and everything that looks like a credential, out of text.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use agent::model::url::shown_in;

/// Stands for what is taken out.
pub(super) const WITHHELD: &str = "<withheld>";
/// Characters of a value that is taken out wherever it is. A shorter one is taken out where it stands alone: the user `root` is
/// no reason to change `root-sync`.
const LONG: usize = 8;
/// A value with fewer characters is no secret that a reader would recognise.
const SHORTEST: usize = 4;

/// Words before a credential, in small letters.
const WORDS: [&str; 9] =
    ["password", "passwd", "secret", "token", "authorization", "private_key", "api_key", "apikey", "access_key"];
/// The schemes of the header `Authorization`, with the space that follows.
const BEARER: &str = "bearer ";
const BASIC: &str = "basic ";

/// The values that no report may have.
pub(super) struct Withheld {
    long: Option<AhoCorasick>,
    short: Option<AhoCorasick>,
}

impl Withheld {
    /// The values of these Secrets, as text, as base64 and line by line.
    pub(super) fn of(secrets: &[Value]) -> Self {
        let mut values = Vec::new();
        for secret in secrets {
            for encoded in
                secret["data"].as_object().into_iter().flat_map(|data| data.values()).filter_map(Value::as_str)
            {
                add(&mut values, encoded);
                let decoded = STANDARD.decode(encoded).unwrap_or_default();
                forms(&mut values, &String::from_utf8_lossy(&decoded));
            }
            for text in secret["stringData"].as_object().into_iter().flat_map(|data| data.values()) {
                forms(&mut values, text.as_str().unwrap_or_default());
            }
        }
        values.sort();
        values.dedup();
        let (long, short): (Vec<String>, Vec<String>) =
            values.into_iter().partition(|value| value.chars().count() >= LONG);
        Self { long: automaton(&long), short: automaton(&short) }
    }

    /// The text without them, without credentials in URLs and without what looks like a credential.
    pub(super) fn without(&self, text: &str) -> String {
        let text = replaced(&self.long, text, |_, _| true);
        let text = replaced(&self.short, &text, |before, after| !joins(before) && !joins(after));
        credentials(&keys(&shown_in(&text)))
    }
}

/// `true` for a character that makes a longer name of the word beside it.
fn joins(beside: Option<char>) -> bool {
    beside.is_some_and(|c| c.is_alphanumeric() || "-_./".contains(c))
}

fn automaton(values: &[String]) -> Option<AhoCorasick> {
    if values.is_empty() {
        return None;
    }
    // It fails for more bytes than a report is read with.
    AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(values).ok()
}

fn replaced(values: &Option<AhoCorasick>, text: &str, counts: impl Fn(Option<char>, Option<char>) -> bool) -> String {
    let Some(values) = values else { return text.to_owned() };
    let (mut out, mut end) = (String::with_capacity(text.len()), 0);
    for found in values.find_iter(text) {
        if counts(text[..found.start()].chars().next_back(), text[found.end()..].chars().next()) {
            out.push_str(&text[end..found.start()]);
            out.push_str(WITHHELD);
            end = found.end();
        }
    }
    out + &text[end..]
}

/// The forms in which a value may stand in other text: whole, its lines, what follows a key in a line, what JSON holds, and each of
/// them as base64, escaped and as a part of a URL.
fn forms(values: &mut Vec<String>, value: &str) {
    let mut parts = vec![value.to_owned(), value.trim().to_owned()];
    for line in value.lines() {
        parts.push(line.trim().to_owned());
        for key in [": ", "=", "\t", " "] {
            let own = line.split_once(key).map(|(_, own)| own.trim().trim_matches(['"', '\'']));
            parts.extend(own.filter(|own| own.chars().count() >= LONG).map(ToOwned::to_owned));
        }
    }
    if let Ok(json) = serde_json::from_str::<Value>(value) {
        strings(&json, &mut parts);
    }
    for part in parts {
        add(values, &part);
        add(values, &STANDARD.encode(&part));
        add(values, STANDARD.encode(&part).trim_end_matches('='));
        add(values, serde_json::to_string(&part).unwrap_or_default().trim_matches('"'));
        add(values, &encoded(&part));
    }
}

/// All texts of a JSON value that are long enough to be a credential.
fn strings(json: &Value, parts: &mut Vec<String>) {
    match json {
        Value::String(text) if text.chars().count() >= LONG => parts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, parts)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, parts)),
        _ => {}
    }
}

fn add(values: &mut Vec<String>, value: &str) {
    if value.chars().count() >= SHORTEST {
        values.push(value.to_owned());
    }
}

/// As it stands in a URL.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The text without keys in PEM, be their lines escaped or not.
fn keys(text: &str) -> String {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(BEGIN) {
        out.push_str(&rest[..at]);
        out.push_str(WITHHELD);
        let inside = &rest[at..];
        let end = inside.find(END).map(|end| end + END.len());
        let end = end.and_then(|end| inside[end..].find("-----").map(|dashes| end + dashes + "-----".len()));
        rest = end.map_or("", |end| &inside[end..]);
    }
    out + rest
}

/// The text without what follows a word for a credential.
fn credentials(text: &str) -> String {
    let small = text.to_ascii_lowercase();
    let (mut out, mut end) = (String::with_capacity(text.len()), 0);
    let mut found: Vec<(usize, usize)> = WORDS
        .iter()
        .flat_map(|word| small.match_indices(word).filter_map(|(at, _)| assigned(text, at + word.len())))
        .chain(small.match_indices(BEARER).map(|(at, _)| (at + BEARER.len(), word_end(text, at + BEARER.len()))))
        .chain(small.match_indices(BASIC).filter_map(|(at, _)| {
            let (from, end) = (at + BASIC.len(), word_end(text, at + BASIC.len()));
            STANDARD.decode(&text[from..end]).is_ok_and(|login| login.contains(&b':')).then_some((from, end))
        }))
        // A JSON Web Token begins so.
        .chain(small.match_indices("eyj").filter_map(|(at, _)| {
            let end = word_end(text, at);
            (text[at..end].matches('.').count() >= 2).then_some((at, end))
        }))
        .collect();
    found.sort_unstable();
    for (from, to) in found.into_iter().filter(|(from, to)| from < to) {
        if from >= end {
            out.push_str(&text[end..from]);
            out.push_str(WITHHELD);
        }
        end = end.max(to);
    }
    out + &text[end..]
}

/// The place of the value that is assigned to the word that ends at `at`, as in `token=x`, `"password": "x"` and `--secret x`.
fn assigned(text: &str, at: usize) -> Option<(usize, usize)> {
    let rest = &text[at..];
    let open = rest.trim_start_matches(['"', '\'', '\\']);
    let value = open.strip_prefix(['=', ':'])?.trim_start_matches([' ', '"', '\'', '\\']);
    let from = text.len() - value.len();
    // The scheme is no credential, and what follows it is found as such.
    let is_scheme = [BEARER, BASIC].iter().any(|scheme| value.to_ascii_lowercase().starts_with(scheme));
    (!is_scheme).then(|| (from, word_end(text, from)))
}

/// The end of the word that begins at `from`.
fn word_end(text: &str, from: usize) -> usize {
    let ends = |c: char| c.is_whitespace() || "\"'`<>,;&\\)}]".contains(c);
    text[from..].find(ends).map_or(text.len(), |end| from + end)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_secrets_are_found_in_every_form() {
        let encode = |text: &str| STANDARD.encode(text);
        let secret = json!({ "data": {
            "token": encode("s3cr&t-value"), "user": encode("root"), "is": encode("no"),
            "config": encode("users:\n- token: in-a-kubeconfig\n"), "json": encode(r#"{"auth": "in-a-document"}"#),
        }});
        let withheld = Withheld::of(&[secret]);
        for (text, without) in [
            ("a s3cr&t-value b", "a <withheld> b"),
            ("as3cr&t-valueb", "a<withheld>b"),
            ("s3cr%26t-value", "<withheld>"),
            (&format!("x {} y", encode("s3cr&t-value")), "x <withheld> y"),
            ("the user root of root-sync", "the user <withheld> of root-sync"),
            ("no", "no"),
            ("got in-a-kubeconfig and in-a-document", "got <withheld> and <withheld>"),
        ] {
            assert_eq!(withheld.without(text), without);
        }
    }

    #[test]
    fn what_looks_like_a_credential_is_taken_out() {
        let withheld = Withheld::of(&[]);
        for (text, without) in [
            ("https://user:t0ken@git.example/x", "https://git.example/x"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer <withheld>"),
            (r#"{"password":"p","a":"b"}"#, r#"{"password":"<withheld>","a":"b"}"#),
            ("--token=t --cluster-name=prod", "--token=<withheld> --cluster-name=prod"),
            ("eyJhbGci.eyJzdWIi.c2ln", "<withheld>"),
            (r"-----BEGIN A KEY-----\nMII\n-----END A KEY----- after", "<withheld> after"),
            ("-----BEGIN A KEY-----\nMII", "<withheld>"),
            ("the token is missing; secretRef.name", "the token is missing; secretRef.name"),
            ("basic authentication failed", "basic authentication failed"),
            ("Authorization: Basic dTpwYXNz", "Authorization: Basic <withheld>"),
        ] {
            assert_eq!(withheld.without(text), without);
        }
    }
}
