//! Documents that lie end to end in one buffer.

use std::fmt;

/// A buffer and offsets that are no documents; says which of them is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentsError(String);

impl fmt::Display for DocumentsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for DocumentsError {}

/// The documents of `buffer`: document i is the UTF-8 in `offsets[i]..offsets[i + 1]`.
///
/// # Errors
///
/// If there is no offset, an offset is below the one before or outside the buffer, or a document is not UTF-8.
pub fn documents<'a>(buffer: &'a [u8], offsets: &[i64]) -> Result<Vec<&'a str>, DocumentsError> {
    if offsets.is_empty() {
        let message = "offsets must hold n + 1 numbers for n documents, got none".to_owned();
        return Err(DocumentsError(message));
    }
    let document = |(index, bounds): (usize, &[i64])| {
        let (start, end) = (bounds[0], bounds[1]);
        let place = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let bytes = place.and_then(|(start, end)| buffer.get(start..end)).ok_or_else(|| {
            DocumentsError(format!(
                "offsets must ascend from 0 or more to at most the buffer's {} bytes, got {start} and {end} for \
                 document {index}",
                buffer.len()
            ))
        })?;
        std::str::from_utf8(bytes).map_err(|error| {
            DocumentsError(format!(
                "document {index} is not UTF-8: {error}; decode it with errors='replace' first"
            ))
        })
    };
    offsets.windows(2).enumerate().map(document).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_lie_end_to_end() {
        let text = "ab é".as_bytes();
        assert_eq!(documents(text, &[0]), Ok(vec![]));
        assert_eq!(documents(text, &[0, 2, 2, 5]), Ok(vec!["ab", "", " é"]));
        assert_eq!(documents(text, &[1, 3]), Ok(vec!["b "]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = "ab é".as_bytes();
        for (offsets, part) in [
            (&[][..], "n + 1 numbers"),
            (
                &[0, 6],
                "at most the buffer's 5 bytes, got 0 and 6 for document 0",
            ),
            (&[0, 2, 1], "got 2 and 1 for document 1"),
            (&[-1, 2], "got -1 and 2"),
            (&[i64::MIN, i64::MAX], "document 0"),
            (&[0, 4], "document 0 is not UTF-8"),
            (&[0, 1, 4, 5], "document 1 is not UTF-8"),
        ] {
            let message = documents(text, offsets).map_err(|error| error.to_string());
            assert!(
                message
                    .as_ref()
                    .is_err_and(|message| message.contains(part)),
                "{message:?}"
            );
        }
    }
}
