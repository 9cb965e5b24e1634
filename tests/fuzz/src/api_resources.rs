//! `api-resources.txt`: every row is read by itself.

use agent::compile::kind_scopes::KindScopes;

use crate::places::Files;

const PATH: &str = "api-resources.txt";

/// The bytes as such a file.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let whole = KindScopes::from_api_resources(PATH, &text);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let alone = |row: &str| KindScopes::from_api_resources(PATH, &format!("{header}\n{row}\n"));
    let each = alone("").is_ok() && lines.all(|row| alone(row).is_ok());
    assert_eq!(whole.is_ok(), each, "{text}");
    if let Err(finding) = whole {
        Files::of([(PATH, text.as_bytes())]).hold(&[finding]);
    }
}
