//! How alike two documents are: signatures whose equal components estimate the Jaccard likeness of their shingles.
//!
//! Broder, "On the resemblance and containment of documents" (SEQUENCES 1997). The words are the featurizer's, so what
//! the student cannot tell apart is alike here too. `tests/reference_minhash.py` is the same in plain Python.

use super::avx512::Avx512;
use super::ngrams::{GAMMA, mix};
use super::words::Words;
use super::{ConfigError, within};

/// Makes signatures. Immutable: share it between threads freely.
#[derive(Clone, Debug)]
pub struct MinHasher {
    keys: Vec<u64>,
    shingle: usize,
    max_words: usize,
    avx512: Option<Avx512>,
}

impl MinHasher {
    /// Signatures of `permutations` components, in [1, 1,024], of runs of `shingle` words, in [1, 8]; words past
    /// `max_words`, in [1, 1,000,000], are ignored.
    ///
    /// # Errors
    ///
    /// If a parameter is outside its limits.
    pub fn new(permutations: i64, shingle: i64, max_words: i64) -> Result<Self, ConfigError> {
        let permutations = u64::from(within("permutations", permutations, 1024)?);
        Ok(Self {
            keys: (1..=permutations)
                .map(|i| mix(i.wrapping_mul(GAMMA)))
                .collect(),
            shingle: within("shingle", shingle, 8)? as usize,
            max_words: within("max_words", max_words, 1_000_000)? as usize,
            avx512: Avx512::detect(),
        })
    }

    /// The same without any instruction that a CPU may lack: slower, and equal to the bit.
    #[must_use]
    pub fn portable(self) -> Self {
        Self {
            avx512: None,
            ..self
        }
    }

    /// How many components a signature has.
    #[must_use]
    pub fn permutations(&self) -> usize {
        self.keys.len()
    }

    /// The signatures of `texts`, end to end.
    ///
    /// A document without a word has nothing to be alike in: each of its components is `u32::MAX`.
    #[must_use]
    pub fn signatures(&self, texts: &[&str]) -> Vec<u32> {
        let mut words = Words::new(self.max_words, self.avx512);
        let mut signatures = vec![u32::MAX; texts.len() * self.keys.len()];
        for (text, signature) in texts
            .iter()
            .zip(signatures.chunks_exact_mut(self.keys.len()))
        {
            let hashes = words.hash(text);
            // A document shorter than a shingle is one shingle.
            let width = self.shingle.min(hashes.len()).max(1);
            for shingle in hashes.windows(width) {
                let hash = ngram(shingle);
                for (component, key) in signature.iter_mut().zip(&self.keys) {
                    *component = (*component).min(top(mix(hash ^ key)));
                }
            }
        }
        signatures
    }
}

/// The n-gram's hash, as the featurizer has it.
fn ngram(words: &[u64]) -> u64 {
    words
        .iter()
        .copied()
        .reduce(|hash, word| mix(hash.wrapping_mul(GAMMA).wrapping_add(word)))
        .unwrap_or(0)
}

const fn top(hash: u64) -> u32 {
    (hash >> 32) as u32
}
