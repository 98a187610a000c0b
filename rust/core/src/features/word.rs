//! One word being gathered, lowercased, in a bounded piece of memory.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// A word longer than this is hashed as it comes instead of being held.
const LONG: usize = 4096;

/// The word that the characters so far have made.
#[derive(Default)]
pub(super) struct Word {
    bytes: Vec<u8>,
    /// The state of the hash once the word was long.
    begun: Option<Box<Xxh3>>,
}

impl Word {
    /// Adds a character, lowercased without regard to its neighbours.
    #[inline]
    pub(super) fn push(&mut self, character: char) {
        for lower in character.to_lowercase() {
            let mut utf8 = [0; 4];
            self.bytes
                .extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
        }
        if self.bytes.len() >= LONG {
            self.begun.get_or_insert_default().update(&self.bytes);
            self.bytes.clear();
        }
    }

    /// The hash of the word, if there is one; the next one can begin.
    #[inline]
    pub(super) fn finish(&mut self) -> Option<u64> {
        let hash = if let Some(mut begun) = self.begun.take() {
            begun.update(&self.bytes);
            begun.digest()
        } else if self.bytes.is_empty() {
            return None;
        } else {
            xxh3_64(&self.bytes)
        };
        self.bytes.clear();
        Some(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_word_hashes_as_a_whole() {
        let mut word = Word::default();
        for length in [
            1,
            240,
            241,
            LONG - 1,
            LONG,
            LONG + 1,
            3 * LONG,
            3 * LONG + 7,
        ] {
            (0..length).for_each(|_| word.push('X'));
            assert_eq!(word.finish(), Some(xxh3_64(&b"x".repeat(length))));
            assert_eq!(word.finish(), None);
        }
    }
}
