//! The same answers from 512-bit registers, where the CPU that runs this has them (Zen 4, Ice Lake and later).
//!
//! `Avx512` is the proof that it has: only `detect` makes one, and only through it are the routines reached.

use super::ngrams::Shape;
use super::rows::Repeated;
use super::runs::Runs;

#[cfg(target_arch = "x86_64")]
mod sort;
#[cfg(target_arch = "x86_64")]
mod words;

/// Proof that the CPU has every instruction set that this module uses.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

#[cfg(target_arch = "x86_64")]
#[expect(clippy::unused_self, reason = "it is the proof")]
impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let detected = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt");
        detected.then_some(Self(()))
    }

    /// `Runs::find`, 64 bytes at a time.
    #[inline]
    pub(super) fn find(self, text: &[u8], runs: &mut Runs) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { words::find(text, runs) }
    }

    /// Adds the hashes of runs that are words of ASCII, eight at a time.
    #[inline]
    pub(super) fn hash(self, runs: &Runs, hashes: &mut Vec<u64>) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { words::hash(runs, hashes) }
    }

    /// `ngrams::buckets`, vectorised by the compiler.
    #[inline]
    pub(super) fn buckets(
        self,
        shape: Shape,
        words: &[u64],
        chain: &mut Vec<u64>,
        buckets: &mut Vec<u32>,
    ) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { sort::buckets(shape, words, chain, buckets) }
    }

    /// Adds each of `buckets` once to `indices`, ascending, if they are few enough for the registers; says whether.
    #[inline]
    pub(super) fn sorted_unique(
        self,
        buckets: &[u32],
        indices: &mut Vec<i32>,
        repeated: &mut Repeated,
    ) -> bool {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { sort::sorted_unique(buckets, indices, repeated) }
    }
}

/// No other architecture has them, so there is no proof and nothing to run.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy, Debug)]
pub(super) enum Avx512 {}

#[cfg(not(target_arch = "x86_64"))]
impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        None
    }

    pub(super) fn find(self, _: &[u8], _: &mut Runs) {
        match self {}
    }

    pub(super) fn hash(self, _: &Runs, _: &mut Vec<u64>) {
        match self {}
    }

    pub(super) fn buckets(self, _: Shape, _: &[u64], _: &mut Vec<u64>, _: &mut Vec<u32>) {
        match self {}
    }

    pub(super) fn sorted_unique(self, _: &[u32], _: &mut Vec<i32>, _: &mut Repeated) -> bool {
        match self {}
    }
}
