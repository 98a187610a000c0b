//! The hashed featurizer: text to word n-grams to the rows of a sparse matrix.
//!
//! Training and serving run this same code, and the words it sees are pinned to one Unicode version, so a student
//! meets in production the features it was fitted on. `tests/reference_features.py` is the same in plain Python.

mod avx512;
mod documents;
mod linear;
mod lowercase;
mod minhash;
mod ngrams;
mod padded;
mod rows;
mod runs;
mod unicode;
mod unicode_tables;
mod words;

use std::fmt;

use avx512::Avx512;
use ngrams::Shape;
use rows::Rows;
use words::Words;

pub use documents::{DocumentsError, documents};
pub use linear::Linear;
pub use minhash::MinHasher;
pub use padded::Padded;
pub use rows::Csr;

/// How often a bucket occurs in a document, as the weight it gets before scaling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighting {
    /// The number of occurrences, c.
    Count,
    /// One, however often.
    Binary,
    /// 1 + ln c.
    Sublinear,
}

/// What a featurizer is built from; `Featurizer::new` checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The number of buckets is two to this power, in [1, 24].
    pub bits: i64,
    /// The fewest words in an n-gram, at least 1.
    pub ngram_min: i64,
    /// The most words in an n-gram, at least `ngram_min` and at most 8.
    pub ngram_max: i64,
    /// What a bucket weighs.
    pub weighting: Weighting,
    /// Words past this many are ignored, which bounds memory; in [1, 1,000,000].
    pub max_words: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bits: 18,
            ngram_min: 1,
            ngram_max: 2,
            weighting: Weighting::Sublinear,
            max_words: 4096,
        }
    }
}

/// A `Config` outside its limits; says which limit and what was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Turns documents into rows of bucket weights. Immutable: share it between threads freely.
#[derive(Clone, Debug)]
pub struct Featurizer {
    shape: Shape,
    weighting: Weighting,
    max_words: usize,
    avx512: Option<Avx512>,
}

impl Featurizer {
    /// A featurizer for `config`, which uses what the CPU offers.
    ///
    /// # Errors
    ///
    /// If a field is outside the limits that its documentation names.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let ngram_max = within("ngram_max", config.ngram_max, 8)?;
        let shape = Shape {
            bits: within("bits", config.bits, 24)?,
            ngram_min: within("ngram_min", config.ngram_min, ngram_max)? as usize,
            ngram_max: ngram_max as usize,
        };
        Ok(Self {
            shape,
            weighting: config.weighting,
            max_words: within("max_words", config.max_words, 1_000_000)? as usize,
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

    /// The number of buckets.
    #[must_use]
    pub fn buckets(&self) -> u32 {
        1 << self.shape.bits
    }

    /// The features of `texts`, one row each.
    ///
    /// Beside its result this holds memory for `max_words` words and their n-grams and for a piece of text, whatever
    /// the length of the documents.
    #[must_use]
    pub fn transform(&self, texts: &[&str]) -> Csr {
        let features = self.likely_features(texts);
        let mut words = Words::new(self.max_words, self.avx512);
        let mut rows = Rows::new(texts.len(), features, self.weighting, self.avx512);
        let (mut chain, mut buckets) = (Vec::new(), Vec::new());
        for text in texts {
            let hashes = words.hash(text);
            match self.avx512 {
                Some(avx512) => avx512.buckets(self.shape, hashes, &mut chain, &mut buckets),
                None => ngrams::buckets(self.shape, hashes, &mut chain, &mut buckets),
            }
            rows.push(&mut buckets);
        }
        rows.finish()
    }

    /// About how many features there will be, to begin with room for them: growing costs more than the featurizing.
    ///
    /// Room that is never used is address space, not memory; the bound is there for huge inputs.
    fn likely_features(&self, texts: &[&str]) -> usize {
        // English has a word for every 5.5 bytes or so.
        let words: usize = texts
            .iter()
            .map(|text| (text.len() / 5).min(self.max_words))
            .sum();
        (words * (self.shape.ngram_max + 1 - self.shape.ngram_min)).min(1 << 24)
    }
}

/// `given` if it is in [1, `high`].
fn within(name: &str, given: i64, high: u32) -> Result<u32, ConfigError> {
    u32::try_from(given)
        .ok()
        .filter(|value| (1..=high).contains(value))
        .ok_or_else(|| ConfigError(format!("{name} must be in [1, {high}], got {given}")))
}
