//! Texts of bounded length.

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
