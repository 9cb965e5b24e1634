//! Texts of bounded length.

/// The text, cut off where it would take more than so many bytes in a JSON text of the API server, which writes some characters as
/// six.
///
/// ```
/// assert_eq!(agent::model::shortened::shortened_in_json("a<b>c".to_owned(), 8), "a<b… (2 bytes more)");
/// ```
pub fn shortened_in_json(text: String, bytes: usize) -> String {
    let mut left = bytes;
    let fits = |(_, c): &(usize, char)| {
        let taken = match c {
            '"' | '\\' | '\n' | '\r' | '\t' => 2,
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => 6,
            c if c.is_control() => 6,
            c => c.len_utf8(),
        };
        left.checked_sub(taken).map(|rest| left = rest).is_some()
    };
    let end = text.char_indices().take_while(fits).last().map_or(0, |(at, c)| at + c.len_utf8());
    shortened(text, end)
}

/// The text, cut off after so many bytes. What is left says how much is missing.
///
/// ```
/// assert_eq!(agent::model::shortened::shortened("zwölf".to_owned(), 3), "zw… (4 bytes more)");
/// assert_eq!(agent::model::shortened::shortened("zwölf".to_owned(), 6), "zwölf");
/// ```
pub fn shortened(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let missing = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("… ({missing} bytes more)"));
    }
    text
}
