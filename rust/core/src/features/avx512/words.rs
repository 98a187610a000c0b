//! Words of ASCII text, 64 bytes at a time, and their XXH3 hashes, eight at a time.

use std::arch::x86_64::{
    __m512i, _mm256_loadu_si256, _mm512_add_epi16, _mm512_add_epi64, _mm512_and_si512,
    _mm512_castsi512_si256, _mm512_cmpeq_epi8_mask, _mm512_cmpgt_epu64_mask,
    _mm512_cmplt_epu8_mask, _mm512_cmplt_epu64_mask, _mm512_cvtepu8_epi16, _mm512_cvtepu32_epi64,
    _mm512_extracti64x4_epi64, _mm512_i64gather_epi64, _mm512_loadu_si512, _mm512_mask_add_epi8,
    _mm512_mask_blend_epi64, _mm512_maskz_compress_epi8, _mm512_maskz_loadu_epi8,
    _mm512_movepi8_mask, _mm512_mullo_epi64, _mm512_or_si512, _mm512_rol_epi64, _mm512_set1_epi8,
    _mm512_set1_epi16, _mm512_set1_epi64, _mm512_slli_epi64, _mm512_srli_epi64, _mm512_srlv_epi64,
    _mm512_storeu_si512, _mm512_sub_epi8, _mm512_sub_epi64, _mm512_xor_si512,
};

use xxhash_rust::xxh3::xxh3_64;

use crate::features::runs::{CHUNK, Runs};

/// `Runs::find`, for at most `CHUNK` bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "places are at most CHUNK"
)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,bmi1,bmi2,popcnt")]
pub(super) fn find(text: &[u8], runs: &mut Runs) {
    assert!(text.len() <= CHUNK);
    let mut edge_count = 0;
    let mut inside = 0;
    let mut seen = 0;
    for start in (0..text.len()).step_by(64) {
        let left = text.len() - start;
        let present = if left < 64 { (1 << left) - 1 } else { u64::MAX };
        // SAFETY: `present` has a bit only for bytes inside `text`.
        let bytes = unsafe { _mm512_maskz_loadu_epi8(present, text.as_ptr().add(start).cast()) };
        let within = |bytes, first: u8, count: u8| {
            let offset = _mm512_sub_epi8(bytes, _mm512_set1_epi8(first.cast_signed()));
            _mm512_cmplt_epu8_mask(offset, _mm512_set1_epi8(count.cast_signed()))
        };
        let upper = within(bytes, b'A', 26);
        let lowered = _mm512_mask_add_epi8(bytes, upper, bytes, _mm512_set1_epi8(32));
        let high = _mm512_movepi8_mask(bytes);
        seen |= high;
        let run = high
            | within(lowered, b'a', 26)
            | within(lowered, b'0', 10)
            | _mm512_cmpeq_epi8_mask(lowered, _mm512_set1_epi8(b'_'.cast_signed()));
        // A bit for each byte that is in a run where the one before is not, or the other way round.
        let edges = run ^ (run << 1 | inside);
        inside = run >> 63;
        let places = _mm512_maskz_compress_epi8(edges, every_place());
        let base = _mm512_set1_epi16(start as i16);
        let lower = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(places));
        let upper = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64::<1>(places));
        // SAFETY: start <= CHUNK - 1 is a multiple of 64 and ROOM = CHUNK + 64, so 64 bytes fit.
        // There is at most one edge for each byte before `start`, so 64 more fit too.
        unsafe {
            _mm512_storeu_si512(runs.lowered.as_mut_ptr().add(start).cast(), lowered);
            let out = runs.edges.as_mut_ptr().add(edge_count);
            _mm512_storeu_si512(out.cast(), _mm512_add_epi16(lower, base));
            _mm512_storeu_si512(out.add(32).cast(), _mm512_add_epi16(upper, base));
        }
        edge_count += edges.count_ones() as usize;
    }
    // If the last run ends with the text, this is its end.
    runs.edges[edge_count] = text.len() as u16;
    runs.count = edge_count.div_ceil(2);
    runs.ascii = seen == 0;
}

/// Adds the hashes of runs that are words of ASCII.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,bmi1,bmi2,popcnt")]
pub(super) fn hash(runs: &Runs, hashes: &mut Vec<u64>) {
    let old = hashes.len();
    hashes.resize(old + runs.count.next_multiple_of(8), 0);
    for (group, out) in hashes[old..].chunks_exact_mut(8).enumerate() {
        hash_eight(runs, group * 16, out);
    }
    hashes.truncate(old + runs.count);
}

/// 0, 1, .. 63.
#[target_feature(enable = "avx512f")]
fn every_place() -> __m512i {
    #[expect(clippy::cast_possible_truncation, reason = "below 64")]
    const PLACES: [u8; 64] = {
        let mut places = [0; 64];
        let mut i = 0;
        while i < 64 {
            places[i] = i as u8;
            i += 1;
        }
        places
    };
    // SAFETY: the array has 64 bytes.
    unsafe { _mm512_loadu_si512(PLACES.as_ptr().cast()) }
}

/// The first bytes of XXH3's default secret, as far as inputs of at most eight bytes use it.
const SECRET: [u8; 24] = [
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb,
];

const fn secret(at: usize, bytes: usize) -> i64 {
    let mut value = 0;
    let mut i = bytes;
    while i > 0 {
        i -= 1;
        value = value << 8 | SECRET[at + i] as i64;
    }
    value
}

/// Hashes the eight words whose edges begin at `at`; past the last word stand those of earlier chunks or none.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,bmi1,bmi2,popcnt")]
fn hash_eight(runs: &Runs, at: usize, out: &mut [u64]) {
    let set = |value: i64| _mm512_set1_epi64(value);
    let edges: &[u16] = &runs.edges[at..at + 16];
    // SAFETY: `edges` is 32 bytes long.
    let pairs = _mm512_cvtepu32_epi64(unsafe { _mm256_loadu_si256(edges.as_ptr().cast()) });
    let start = _mm512_and_si512(pairs, set(0xFFFF));
    let length = _mm512_sub_epi64(_mm512_srli_epi64::<16>(pairs), start);
    // SAFETY: every edge ever stored is at most CHUNK, and `lowered` has 64 bytes more.
    let bytes = unsafe { _mm512_i64gather_epi64::<1>(start, runs.lowered.as_ptr().cast()) };
    let bits = _mm512_slli_epi64::<3>(length);
    let bytes = _mm512_and_si512(
        bytes,
        _mm512_srlv_epi64(set(-1), _mm512_sub_epi64(set(64), bits)),
    );

    let short = _mm512_cmplt_epu64_mask(length, set(4));
    let hash = _mm512_mask_blend_epi64(
        short,
        hash_4_to_8(bytes, length),
        hash_1_to_3(bytes, length),
    );
    // SAFETY: `out` holds eight numbers.
    unsafe { _mm512_storeu_si512(out[..8].as_mut_ptr().cast(), hash) };

    let mut long = _mm512_cmpgt_epu64_mask(length, set(8));
    while long != 0 {
        let lane = long.trailing_zeros() as usize;
        let (start, end) = (edges[2 * lane], edges[2 * lane + 1]);
        if let Some(word) = runs.lowered.get(usize::from(start)..usize::from(end)) {
            out[lane] = xxh3_64(word);
        }
        long &= long - 1;
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn hash_1_to_3(bytes: __m512i, length: __m512i) -> __m512i {
    let byte_at = |place: __m512i| {
        let shifted = _mm512_srlv_epi64(bytes, _mm512_slli_epi64::<3>(place));
        _mm512_and_si512(shifted, _mm512_set1_epi64(0xFF))
    };
    let first = byte_at(_mm512_set1_epi64(0));
    let middle = byte_at(_mm512_srli_epi64::<1>(length));
    let last = byte_at(_mm512_sub_epi64(length, _mm512_set1_epi64(1)));
    let high = _mm512_or_si512(
        _mm512_slli_epi64::<16>(first),
        _mm512_slli_epi64::<24>(middle),
    );
    let low = _mm512_or_si512(last, _mm512_slli_epi64::<8>(length));
    let hash = _mm512_xor_si512(
        _mm512_or_si512(high, low),
        _mm512_set1_epi64(const { secret(0, 4) ^ secret(4, 4) }),
    );
    // XXH64's avalanche.
    let hash = _mm512_xor_si512(hash, _mm512_srli_epi64::<33>(hash));
    let hash = _mm512_mullo_epi64(
        hash,
        _mm512_set1_epi64(0xC2B2_AE3D_27D4_EB4F_u64.cast_signed()),
    );
    let hash = _mm512_xor_si512(hash, _mm512_srli_epi64::<29>(hash));
    let hash = _mm512_mullo_epi64(hash, _mm512_set1_epi64(0x1656_67B1_9E37_79F9));
    _mm512_xor_si512(hash, _mm512_srli_epi64::<32>(hash))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn hash_4_to_8(bytes: __m512i, length: __m512i) -> __m512i {
    let multiplier = _mm512_set1_epi64(0x9FB2_1C65_1E98_DF25_u64.cast_signed());
    let past_four = _mm512_slli_epi64::<3>(_mm512_sub_epi64(length, _mm512_set1_epi64(4)));
    let last_four = _mm512_srlv_epi64(bytes, past_four);
    let input = _mm512_add_epi64(last_four, _mm512_slli_epi64::<32>(bytes));
    let hash = _mm512_xor_si512(
        input,
        _mm512_set1_epi64(const { secret(8, 8) ^ secret(16, 8) }),
    );
    // XXH3's rrmxmx.
    let rotated = _mm512_xor_si512(_mm512_rol_epi64::<49>(hash), _mm512_rol_epi64::<24>(hash));
    let hash = _mm512_mullo_epi64(_mm512_xor_si512(hash, rotated), multiplier);
    let shifted = _mm512_add_epi64(_mm512_srli_epi64::<35>(hash), length);
    let hash = _mm512_mullo_epi64(_mm512_xor_si512(hash, shifted), multiplier);
    _mm512_xor_si512(hash, _mm512_srli_epi64::<28>(hash))
}
