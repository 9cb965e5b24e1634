//! Contents that are no text of a manifest, although they look like one on a screen.

/// The bytes that some editors put before a text.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The hint for a text that cannot be read because a byte order mark is in it, where no editor shows it.
pub(super) const MARK_HINT: &str = "The text has a byte order mark (U+FEFF), which editors do not show, at a place other than the \
     start of a document. Remove it: write the line anew, or save the file as UTF-8 without a byte order mark.";

/// The reason why a content is no text that could be read, and what to do; `None` for all other contents.
pub(super) fn no_text(content: &[u8]) -> Option<(String, &'static str)> {
    if is_lfs_pointer(content) {
        let message = "it is a pointer of Git LFS, and the content is not in the git repository".to_owned();
        let hint = "Take the file out of Git LFS: remove its pattern from .gitattributes, run \
             `git add --renormalize .`, and commit. Content of Git LFS is not fetched.";
        return Some((message, hint));
    }
    let encoding = other_encoding(content)?;
    Some((format!("the text is {encoding}, not UTF-8"), "Save the file as UTF-8."))
}

/// `true` for the first line of a pointer that Git LFS commits instead of a file.
fn is_lfs_pointer(content: &[u8]) -> bool {
    let text = content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content);
    [&b"version https://git-lfs.github.com/spec/"[..], b"version https://hawser.github.com/spec/"]
        .iter()
        .any(|line| text.starts_with(line))
}

/// The encoding of a text that is not UTF-8, from its byte order mark or from its first characters.
fn other_encoding(content: &[u8]) -> Option<&'static str> {
    match content {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        [1..=0xff, 0, 0, 0, ..] | [0, 0, 0, 1..=0xff, ..] => Some("UTF-32"),
        [1..=0xff, 0, 1..=0xff, 0, ..] | [0, 1..=0xff, 0, 1..=0xff, ..] => Some("UTF-16"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] = ["apiVersion: v1\n", "---\na: b\n", "# é\r\n", "{\"a\": 1}"];

    #[test]
    fn every_encoding_but_utf_8_is_named() {
        for (text, mark) in TEXTS.into_iter().flat_map(|text| [(text, ""), (text, "\u{feff}")]) {
            let text = format!("{mark}{text}");
            let utf_16: Vec<[u8; 2]> = text.encode_utf16().map(u16::to_le_bytes).collect();
            let utf_32: Vec<[u8; 4]> = text.chars().map(|c| u32::from(c).to_le_bytes()).collect();
            let turned = |bytes: &[u8], width| bytes.chunks(width).flat_map(|it| it.iter().rev().copied()).collect();
            for (encoding, bytes, width) in [("UTF-16", utf_16.concat(), 2), ("UTF-32", utf_32.concat(), 4)] {
                let turned: Vec<u8> = turned(&bytes, width);
                for bytes in [bytes, turned] {
                    let (message, _) = no_text(&bytes).expect("no text");
                    assert_eq!(message, format!("the text is {encoding}, not UTF-8"), "{text:?}");
                }
            }
            assert_eq!(no_text(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_pointer_of_git_lfs_is_recognised() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n";
        for text in [pointer.to_owned(), pointer.replace('\n', "\r\n"), format!("\u{feff}{pointer}")] {
            assert!(no_text(text.as_bytes()).is_some_and(|(message, _)| message.contains("Git LFS")), "{text:?}");
        }
        assert_eq!(no_text(format!("# {pointer}").as_bytes()), None);
    }
}
