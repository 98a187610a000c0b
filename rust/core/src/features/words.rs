//! From text to the hashes of its lowercased words.
//!
//! ASCII separators end a word in every context, so text falls apart at them into runs that do not depend on each other.
//! A run of ASCII alone is one word and takes the fast path; any other run is split character by character.

use xxhash_rust::xxh3::xxh3_64;

use super::avx512::{Avx512, Scratch};
use super::lowercase::hash_lowercased;
use super::unicode::{Class, class};

/// Text is taken this many bytes at a time, which bounds what is held beside the hashes and stays in the first cache.
pub(super) const CHUNK: usize = 4096;

/// In `LOWERED`: not ASCII.
const HIGH: u8 = 0x80;

/// What each byte is: the lowercased byte of a word, 0 for an ASCII separator, `HIGH` if it is not ASCII.
static LOWERED: [u8; 256] = lowered();

const fn lowered() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = match byte {
            HIGH.. => HIGH,
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => byte.to_ascii_lowercase(),
            _ => 0,
        };
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

/// Hashes the words of one document after another, in memory that it keeps.
pub(super) struct Words {
    limit: usize,
    avx512: Option<Avx512>,
    hashes: Vec<u64>,
    lowered: [u8; CHUNK],
    scratch: Scratch,
}

impl Words {
    pub(super) fn new(limit: usize, avx512: Option<Avx512>) -> Self {
        Self {
            limit,
            avx512,
            hashes: Vec::new(),
            lowered: [0; CHUNK],
            scratch: Scratch::default(),
        }
    }

    /// The hashes of the first `limit` words of `text`, in order.
    pub(super) fn hash(&mut self, text: &str) -> &[u64] {
        self.hashes.clear();
        let mut rest = text;
        while !rest.is_empty() && self.hashes.len() < self.limit {
            let (chunk, tail) = cut(rest);
            if chunk.len() > CHUNK {
                self.split(chunk);
            } else if let Some(avx512) = self.avx512
                && chunk.is_ascii()
            {
                avx512.hash_ascii(chunk.as_bytes(), &mut self.scratch, &mut self.hashes);
            } else {
                self.hash_runs(chunk);
            }
            rest = tail;
        }
        self.hashes.truncate(self.limit);
        &self.hashes
    }

    /// Adds the words of a chunk, run by run.
    fn hash_runs(&mut self, chunk: &str) {
        let bytes = chunk.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            let mut seen = 0;
            while let Some(&byte) = bytes.get(at) {
                let byte = LOWERED[usize::from(byte)];
                if byte == 0 {
                    break;
                }
                seen |= byte;
                self.lowered[at - start] = byte;
                at += 1;
            }
            if seen >= HIGH {
                // Both ends touch ASCII or the end of the text, so this cuts between characters.
                self.split(&chunk[start..at]);
            } else if at > start {
                self.hashes.push(xxh3_64(&self.lowered[..at - start]));
            }
            at += 1;
        }
    }

    /// Adds the words of any text: the definition, character by character.
    ///
    /// A word that lowercasing leaves alone is hashed where it stands.
    fn split(&mut self, text: &str) {
        let mut start = None;
        let mut cased = false;
        for (at, character) in text.char_indices() {
            if self.hashes.len() >= self.limit {
                return;
            }
            match class(character) {
                Class::Word => start = start.or(Some(at)),
                Class::Cased => {
                    start = start.or(Some(at));
                    cased = true;
                }
                other => {
                    if let Some(start) = start.take() {
                        self.hashes
                            .push(hash_word(&text[start..at], std::mem::take(&mut cased)));
                    }
                    if other == Class::Alone {
                        let end = at + character.len_utf8();
                        self.hashes.push(xxh3_64(&text.as_bytes()[at..end]));
                    }
                }
            }
        }
        if let Some(start) = start {
            self.hashes.push(hash_word(&text[start..], cased));
        }
    }
}

/// The hash of a word, lowercased if that may change it.
fn hash_word(word: &str, cased: bool) -> u64 {
    if cased {
        hash_lowercased(word)
    } else {
        xxh3_64(word.as_bytes())
    }
}

/// Cuts off at most `CHUNK` bytes after an ASCII separator; or all up to the first separator where it comes later.
fn cut(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let Some(chunk) = bytes.get(..CHUNK) else {
        return (text, "");
    };
    let separates = |byte: &u8| LOWERED[usize::from(*byte)] == 0;
    let last = chunk.iter().rposition(separates);
    let separator = last.or_else(|| bytes.iter().position(separates));
    text.split_at(separator.map_or(bytes.len(), |at| at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_table_agrees_with_the_characters() {
        for byte in 0..HIGH {
            let lowered = LOWERED[usize::from(byte)];
            let character = char::from(byte);
            assert_eq!(lowered != 0, class(character) != Class::Separator);
            if lowered != 0 {
                assert!(character.to_lowercase().eq([char::from(lowered)]));
            }
        }
    }
}
