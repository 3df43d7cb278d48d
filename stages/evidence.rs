//! Keeps what a reject quotes from outside short enough to read.

/// Characters of one quotation.
const QUOTED_CHARS: usize = 200;

/// `text`, or its beginning and an ellipsis.
#[must_use]
pub(crate) fn clipped(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
