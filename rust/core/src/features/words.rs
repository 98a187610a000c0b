//! From text to the hashes of its lowercased words.

use xxhash_rust::xxh3::xxh3_64;

use super::avx512::Avx512;
use super::lowercase::hash_lowercased;
use super::runs::{CHUNK, Runs, cut};
use super::unicode::{Class, class};

/// Hashes the words of one document after another, in memory that it keeps.
pub(super) struct Words {
    limit: usize,
    avx512: Option<Avx512>,
    runs: Runs,
    hashes: Vec<u64>,
}

impl Words {
    pub(super) fn new(limit: usize, avx512: Option<Avx512>) -> Self {
        Self {
            limit,
            avx512,
            runs: Runs::new(),
            hashes: Vec::new(),
        }
    }

    /// The hashes of the first `limit` words of `text`, in order.
    pub(super) fn hash(&mut self, text: &str) -> &[u64] {
        self.hashes.clear();
        let mut rest = text;
        while !rest.is_empty() && self.hashes.len() < self.limit {
            let (chunk, tail) = cut(rest);
            if chunk.len() > CHUNK {
                split(chunk, self.limit, &mut self.hashes);
            } else {
                self.hash_chunk(chunk);
            }
            rest = tail;
        }
        self.hashes.truncate(self.limit);
        &self.hashes
    }

    /// Adds the words of a chunk, run by run.
    fn hash_chunk(&mut self, chunk: &str) {
        match self.avx512 {
            Some(avx512) => avx512.find(chunk.as_bytes(), &mut self.runs),
            None => self.runs.find(chunk.as_bytes()),
        }
        if let Some(avx512) = self.avx512
            && self.runs.ascii
        {
            avx512.hash(&self.runs, &mut self.hashes);
            return;
        }
        for (start, end) in self.runs.iter() {
            let lowered = &self.runs.lowered[start..end];
            if self.runs.ascii || lowered.is_ascii() {
                self.hashes.push(xxh3_64(lowered));
            } else {
                // Both ends touch ASCII or the end of the text, so this cuts between characters.
                split(&chunk[start..end], self.limit, &mut self.hashes);
            }
        }
    }
}

/// Adds the words of any text: the definition, character by character. It stops where there are `limit` hashes.
///
/// A word that lowercasing leaves alone is hashed where it stands.
fn split(text: &str, limit: usize, hashes: &mut Vec<u64>) {
    let mut start = None;
    let mut cased = false;
    for (at, character) in text.char_indices() {
        if hashes.len() >= limit {
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
                    hashes.push(hash(&text[start..at], std::mem::take(&mut cased)));
                }
                if other == Class::Alone {
                    let end = at + character.len_utf8();
                    hashes.push(xxh3_64(&text.as_bytes()[at..end]));
                }
            }
        }
    }
    if let Some(start) = start {
        hashes.push(hash(&text[start..], cased));
    }
}

/// The hash of a word, lowercased if that may change it.
fn hash(word: &str, cased: bool) -> u64 {
    if cased {
        hash_lowercased(word)
    } else {
        xxh3_64(word.as_bytes())
    }
}
