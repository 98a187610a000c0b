//! From the hashes of a document's words to the buckets of its n-grams.

use super::Featurizer;

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The `SplitMix64` finaliser (Steele, Lea & Flood, OOPSLA 2014; variant 13).
const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Puts the bucket of every n-gram of `words` in `buckets`, in no particular order.
///
/// The hashes of the n-grams that end at a word come from those one word shorter that end at the word before.
pub(super) fn buckets(featurizer: &Featurizer, words: &[u64], buckets: &mut Vec<u32>) {
    buckets.clear();
    let shift = u64::BITS - featurizer.bits;
    let mut chain = words.to_vec();
    for n in 1..=featurizer.ngram_max as usize {
        if n > 1 {
            // `chain[i]` becomes the hash of the n words that begin at word i.
            chain.truncate((words.len() + 1).saturating_sub(n));
            for (hash, &word) in chain.iter_mut().zip(words.iter().skip(n - 1)) {
                *hash = mix(hash.wrapping_mul(GAMMA).wrapping_add(word));
            }
        }
        if n >= featurizer.ngram_min as usize {
            buckets.extend(chain.iter().map(|hash| top(*hash, shift)));
        }
    }
}

/// The bits of `hash` above the lowest `shift`, of which there are at most 24.
#[expect(
    clippy::cast_possible_truncation,
    reason = "bits <= 24, so what is left fits"
)]
const fn top(hash: u64, shift: u32) -> u32 {
    (hash >> shift) as u32
}
