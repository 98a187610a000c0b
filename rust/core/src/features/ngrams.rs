//! From the hashes of a document's words to the buckets of its n-grams.

pub(super) const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Which n-grams count, and into how many buckets they go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) bits: u32,
    pub(super) ngram_min: usize,
    pub(super) ngram_max: usize,
}

/// The `SplitMix64` finaliser (Steele, Lea & Flood, OOPSLA 2014; variant 13).
pub(super) const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Puts the bucket of every n-gram of `words` in `buckets`, in no particular order.
///
/// The hash of n words comes from that of the first n - 1 of them, which stands in `chain` at the place of the first.
#[expect(
    clippy::inline_always,
    reason = "the caller says which instructions it may use"
)]
#[inline(always)]
pub(super) fn buckets(shape: Shape, words: &[u64], chain: &mut Vec<u64>, buckets: &mut Vec<u32>) {
    let bucket = |hash: u64| top(hash, u64::BITS - shape.bits);
    buckets.clear();
    if shape.ngram_min == 1 {
        buckets.extend(words.iter().map(|&word| bucket(word)));
    }
    chain.clear();
    chain.extend_from_slice(words);
    for n in 2..=shape.ngram_max.min(words.len()) {
        chain.truncate(words.len() + 1 - n);
        for (hash, &word) in chain.iter_mut().zip(&words[n - 1..]) {
            *hash = mix(hash.wrapping_mul(GAMMA).wrapping_add(word));
        }
        if n >= shape.ngram_min {
            buckets.extend(chain.iter().map(|&hash| bucket(hash)));
        }
    }
}

/// The bits of `hash` above the lowest `shift`, of which there are at most 24.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "bits <= 24, so what is left fits"
)]
const fn top(hash: u64, shift: u32) -> u32 {
    (hash >> shift) as u32
}
