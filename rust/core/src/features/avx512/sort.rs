//! N-grams, and a bitonic sorting network for up to 256 buckets, in registers.

use std::arch::x86_64::{
    __m512i, _mm512_alignr_epi32, _mm512_cmpneq_epu32_mask, _mm512_loadu_si512,
    _mm512_mask_mov_epi32, _mm512_maskz_compress_epi32, _mm512_maskz_loadu_epi32, _mm512_max_epu32,
    _mm512_min_epu32, _mm512_permutexvar_epi32, _mm512_set1_epi32, _mm512_storeu_si512,
};

use crate::features::ngrams::{self, Shape};
use crate::features::rows::Repeated;

/// Buckets that one register holds.
const LANES: usize = 16;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,bmi1,bmi2,popcnt")]
pub(super) fn buckets(shape: Shape, words: &[u64], chain: &mut Vec<u64>, buckets: &mut Vec<u32>) {
    ngrams::buckets(shape, words, chain, buckets);
}

/// Sorts at most 256 buckets and adds each once; false, and nothing done, if there are more.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,bmi1,bmi2,popcnt")]
pub(super) fn sorted_unique(
    buckets: &[u32],
    indices: &mut Vec<i32>,
    repeated: &mut Repeated,
) -> bool {
    match buckets.len() {
        0 => {}
        1..=16 => in_registers::<1>(buckets, indices, repeated),
        17..=32 => in_registers::<2>(buckets, indices, repeated),
        33..=64 => in_registers::<4>(buckets, indices, repeated),
        65..=128 => in_registers::<8>(buckets, indices, repeated),
        129..=256 => in_registers::<16>(buckets, indices, repeated),
        _ => return false,
    }
    true
}

/// Sorts at most 16 R buckets in R registers, and writes each once.
#[target_feature(enable = "avx512f,popcnt,bmi1,bmi2")]
fn in_registers<const R: usize>(buckets: &[u32], indices: &mut Vec<i32>, repeated: &mut Repeated) {
    let mut registers = [_mm512_set1_epi32(-1); R];
    let mut lanes = buckets.chunks(LANES);
    for register in &mut registers {
        let Some(lanes) = lanes.next() else { break };
        let present = present(lanes.len());
        // SAFETY: `present` has a bit only for numbers in `lanes`. The rest become the largest and sort to the end.
        let loaded = unsafe { _mm512_maskz_loadu_epi32(present, lanes.as_ptr().cast()) };
        *register = _mm512_mask_mov_epi32(_mm512_set1_epi32(-1), present, loaded);
    }
    network(&mut registers);

    let mut out = Unique::begin(indices, R * LANES);
    let mut left = buckets.len();
    // No bucket equals this, so the first of all is taken for new.
    let mut before = _mm512_set1_epi32(-1);
    for register in registers {
        out.push(before, register, present(left), repeated);
        before = register;
        left = left.saturating_sub(LANES);
    }
    out.end();
}

/// The lanes that hold something where `count` numbers are left.
#[inline]
const fn present(count: usize) -> u16 {
    if count < LANES {
        (1 << count) - 1
    } else {
        u16::MAX
    }
}

/// Batcher's bitonic network: blocks of K become sorted, ascending and descending in turn, by exchanges J apart.
#[inline]
#[target_feature(enable = "avx512f")]
fn network<const R: usize>(v: &mut [__m512i; R]) {
    macro_rules! block {
        ($k:literal: $($j:literal)+) => { if R * LANES >= $k { $(exchange::<R, $k, $j>(v);)+ } };
    }
    block!(2: 1);
    block!(4: 2 1);
    block!(8: 4 2 1);
    block!(16: 8 4 2 1);
    block!(32: 16 8 4 2 1);
    block!(64: 32 16 8 4 2 1);
    block!(128: 64 32 16 8 4 2 1);
    block!(256: 128 64 32 16 8 4 2 1);
}

/// Puts each pair of places J apart in the order that its block of K asks for.
#[inline]
#[target_feature(enable = "avx512f")]
fn exchange<const R: usize, const K: usize, const J: usize>(v: &mut [__m512i; R]) {
    if J >= LANES {
        let apart = J / LANES;
        for low in (0..R).filter(|r| r & apart == 0) {
            let (a, b) = (v[low], v[low + apart]);
            let (smaller, larger) = (_mm512_min_epu32(a, b), _mm512_max_epu32(a, b));
            let ascending = (low * LANES) & K == 0;
            (v[low], v[low + apart]) = if ascending {
                (smaller, larger)
            } else {
                (larger, smaller)
            };
        }
    } else {
        let partners = const { partners(J) };
        // SAFETY: the array has 16 numbers.
        let partners = unsafe { _mm512_loadu_si512(partners.as_ptr().cast()) };
        for (r, register) in v.iter_mut().enumerate() {
            let other = _mm512_permutexvar_epi32(partners, *register);
            let smaller = _mm512_min_epu32(*register, other);
            let larger = _mm512_max_epu32(*register, other);
            *register = _mm512_mask_mov_epi32(smaller, takes_larger::<K, J>(r), larger);
        }
    }
}

/// For each lane the one `apart` from it.
#[expect(clippy::cast_possible_truncation, reason = "below 16")]
const fn partners(apart: usize) -> [u32; LANES] {
    let mut partners = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        partners[lane] = (lane ^ apart) as u32;
        lane += 1;
    }
    partners
}

/// The lanes of register `r` that keep the larger of a pair.
#[inline]
const fn takes_larger<const K: usize, const J: usize>(r: usize) -> u16 {
    let mut mask = 0;
    let mut lane = 0;
    while lane < LANES {
        let descending = (r * LANES + lane) & K != 0;
        let upper = lane & J != 0;
        if upper != descending {
            mask |= 1 << lane;
        }
        lane += 1;
    }
    mask
}

/// Writes sorted buckets to the end of `indices`, each once.
struct Unique<'a> {
    indices: &'a mut Vec<i32>,
    start: usize,
    count: usize,
}

impl<'a> Unique<'a> {
    /// There will be at most `most` of them.
    #[inline]
    fn begin(indices: &'a mut Vec<i32>, most: usize) -> Self {
        let start = indices.len();
        indices.reserve(most + LANES);
        Self {
            indices,
            start,
            count: 0,
        }
    }

    /// Adds those of the `present` lanes of `these` that differ from the one before, the first from the last of `before`.
    #[inline]
    #[target_feature(enable = "avx512f,popcnt,bmi1,bmi2")]
    fn push(&mut self, before: __m512i, these: __m512i, present: u16, repeated: &mut Repeated) {
        let previous = _mm512_alignr_epi32::<15>(these, before);
        let firsts = _mm512_cmpneq_epu32_mask(these, previous) & present;
        let kept = _mm512_maskz_compress_epi32(firsts, these);
        // SAFETY: `begin` reserved room for all lanes, and 16 more.
        unsafe {
            let out = self.indices.as_mut_ptr().add(self.start + self.count);
            _mm512_storeu_si512(out.cast(), kept);
        }
        let mut again = !firsts & present;
        while again != 0 {
            let below = firsts & ((1 << again.trailing_zeros()) - 1);
            repeated.again(self.count + below.count_ones() as usize - 1);
            again &= again - 1;
        }
        self.count += firsts.count_ones() as usize;
    }

    #[inline]
    fn end(self) {
        // SAFETY: `push` wrote this many, within what `begin` reserved.
        unsafe { self.indices.set_len(self.start + self.count) }
    }
}
