//! From text to the hashes of its lowercased words.
//!
//! ASCII separators end a word in every context, so text falls apart at them into runs that do not depend on each other.
//! A run of ASCII alone is one word and takes the fast path; any other run is split character by character.

use xxhash_rust::xxh3::xxh3_64;

use super::unicode::{Class, class};

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
    hashes: Vec<u64>,
    word: Vec<u8>,
}

impl Words {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            hashes: Vec::new(),
            word: Vec::new(),
        }
    }

    /// The hashes of the first `limit` words of `text`, in order.
    pub(super) fn hash(&mut self, text: &str) -> &[u64] {
        self.hashes.clear();
        let bytes = text.as_bytes();
        let mut at = 0;
        while self.hashes.len() < self.limit {
            at += length(&bytes[at..], |byte| LOWERED[usize::from(byte)] == 0);
            let run = length(&bytes[at..], |byte| LOWERED[usize::from(byte)] != 0);
            if run == 0 {
                break;
            }
            let (start, end) = (at, at + run);
            at = end;
            if bytes[start..end].is_ascii() {
                self.word.clear();
                let lowered = bytes[start..end].iter().map(|&b| LOWERED[usize::from(b)]);
                self.word.extend(lowered);
                self.hashes.push(xxh3_64(&self.word));
            } else {
                // Both ends touch ASCII or the end of the text, so this cuts between characters.
                self.split(&text[start..end]);
            }
        }
        &self.hashes
    }

    /// Adds the words of any text: the definition, character by character.
    fn split(&mut self, text: &str) {
        self.word.clear();
        for character in text.chars() {
            if self.hashes.len() == self.limit {
                return;
            }
            let class = class(character);
            if class != Class::Word {
                self.end_word();
            }
            if class != Class::Separator {
                for lower in character.to_lowercase() {
                    let mut utf8 = [0; 4];
                    self.word
                        .extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
                }
            }
            if class == Class::Alone {
                self.end_word();
            }
        }
        self.end_word();
    }

    /// Adds the hash of the word that has been gathered, if there is one and room for it.
    fn end_word(&mut self) {
        if !self.word.is_empty() && self.hashes.len() < self.limit {
            self.hashes.push(xxh3_64(&self.word));
        }
        self.word.clear();
    }
}

/// How many bytes at the front of `bytes` are `wanted`.
fn length(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|&byte| !wanted(byte))
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_table_agrees_with_the_characters() {
        for byte in 0..HIGH {
            let lowered = LOWERED[usize::from(byte)];
            let character = char::from(byte);
            assert_eq!(lowered != 0, class(character) == Class::Word);
            if lowered != 0 {
                assert!(character.to_lowercase().eq([char::from(lowered)]));
            }
        }
    }
}
