//! Turning rows into lanes: the one step that the compiler does not vectorise by itself.
//!
//! Each instruction set is a token that only its own unsafe constructor makes, so that what holds one may use it.

/// Four classes of every row.
pub(super) type Quad<const ROWS: usize> = [[f32; ROWS]; 4];

/// How many rows are turned at a time.
const fn block_of(rows: usize) -> usize {
    if rows == 8 { 8 } else { 16 }
}

/// An instruction set that the CPU is known to have.
pub(super) trait Isa: Copy {
    /// Put the first four of every `classes` values into the lanes of `quad`, for [`block_of`] rows from `row` on.
    ///
    /// # Safety
    /// `values` must be readable up to `(ROWS - 1) * classes + 4`, and `row + block_of(ROWS)` be at most `ROWS`.
    unsafe fn block<const ROWS: usize>(
        self,
        quad: &mut Quad<ROWS>,
        row: usize,
        values: *const f32,
        classes: usize,
    );

    /// Put the first values of every `classes` into the lanes of `quads`, for `rows <= ROWS` rows.
    ///
    /// Where a row or the values end earlier, what the lanes hold means nothing.
    #[inline(always)]
    fn transpose<const ROWS: usize>(
        self,
        quads: &mut [Quad<ROWS>],
        values: &[f32],
        classes: usize,
        rows: usize,
    ) {
        const {
            assert!(
                ROWS.is_multiple_of(16) || ROWS == 8,
                "blocks are of 8 or 16 rows"
            );
        };
        let block = block_of(ROWS);
        if rows == ROWS && (ROWS - 1) * classes + 4 * quads.len() <= values.len() {
            // Row by row, so that a cache line is used up before it is evicted.
            for row in (0..ROWS).step_by(block) {
                for (index, quad) in quads.iter_mut().enumerate() {
                    // SAFETY: the last row's values end at (ROWS - 1) * classes + 4 * quads.len(), within `values`.
                    unsafe { self.block(quad, row, values.as_ptr().add(index * 4), classes) };
                }
            }
        } else {
            for (column, lanes) in quads.as_flattened_mut().iter_mut().enumerate() {
                for (row, lane) in lanes.iter_mut().enumerate().take(rows) {
                    *lane = values
                        .get(row * classes + column)
                        .copied()
                        .unwrap_or_default();
                }
            }
        }
    }
}

/// What the target guarantees.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Isa for Portable {
    #[inline(always)]
    unsafe fn block<const ROWS: usize>(
        self,
        quad: &mut Quad<ROWS>,
        row: usize,
        values: *const f32,
        classes: usize,
    ) {
        let block = block_of(ROWS);
        for row in (row..row + block).step_by(4) {
            for step in 0..4 {
                // SAFETY: row + step < ROWS, so the read is within the caller's promise; an array of f32 is aligned as one.
                let four = unsafe { *values.add((row + step) * classes).cast::<[f32; 4]>() };
                for (lanes, value) in quad.iter_mut().zip(four) {
                    lanes[row + step] = value;
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm_loadu_ps, _mm256_castpd_ps, _mm256_castps_pd, _mm256_castps128_ps256,
        _mm256_insertf128_ps, _mm256_storeu_ps, _mm256_unpackhi_pd, _mm256_unpackhi_ps,
        _mm256_unpacklo_pd, _mm256_unpacklo_ps, _mm512_castpd_ps, _mm512_castps_pd,
        _mm512_castps128_ps512, _mm512_insertf32x4, _mm512_storeu_ps, _mm512_unpackhi_pd,
        _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
    };

    use super::{Isa, Quad, block_of};

    /// AVX2.
    #[derive(Clone, Copy)]
    pub(in crate::gate) struct Avx2(());

    /// AVX-512 F, BW, DQ and VL, and AVX2.
    #[derive(Clone, Copy)]
    pub(in crate::gate) struct Avx512(());

    impl Avx2 {
        /// # Safety
        /// The CPU must have AVX2.
        pub(in crate::gate) const unsafe fn new() -> Self {
            Self(())
        }
    }

    impl Avx512 {
        /// # Safety
        /// The CPU must have AVX-512 F, BW, DQ and VL, and AVX2.
        pub(in crate::gate) const unsafe fn new() -> Self {
            Self(())
        }
    }

    impl Isa for Avx2 {
        #[inline(always)]
        unsafe fn block<const ROWS: usize>(
            self,
            quad: &mut Quad<ROWS>,
            row: usize,
            values: *const f32,
            classes: usize,
        ) {
            let block = block_of(ROWS);
            for row in (row..row + block).step_by(8) {
                // SAFETY: the token proves AVX2; rows up to row + 7 < ROWS are within the caller's promise, and so are the
                // lanes up to row + 7 of the quad.
                unsafe {
                    // Row r and row r + 4 side by side, so that lanes come out in order.
                    let pair = |step: usize| {
                        let low = _mm_loadu_ps(values.add((row + step) * classes));
                        let high = _mm_loadu_ps(values.add((row + step + 4) * classes));
                        _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
                    };
                    let (a, b, c, d) = (pair(0), pair(1), pair(2), pair(3));
                    let low_ab = _mm256_castps_pd(_mm256_unpacklo_ps(a, b));
                    let low_cd = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
                    let high_ab = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
                    let high_cd = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
                    let columns = [
                        _mm256_unpacklo_pd(low_ab, low_cd),
                        _mm256_unpackhi_pd(low_ab, low_cd),
                        _mm256_unpacklo_pd(high_ab, high_cd),
                        _mm256_unpackhi_pd(high_ab, high_cd),
                    ];
                    for (lanes, column) in quad.iter_mut().zip(columns) {
                        _mm256_storeu_ps(lanes.as_mut_ptr().add(row), _mm256_castpd_ps(column));
                    }
                }
            }
        }
    }

    impl Isa for Avx512 {
        #[inline(always)]
        unsafe fn block<const ROWS: usize>(
            self,
            quad: &mut Quad<ROWS>,
            row: usize,
            values: *const f32,
            classes: usize,
        ) {
            if ROWS == 8 {
                // SAFETY: AVX-512 comes with AVX2, and the caller's promise is passed on.
                unsafe { Avx2::new().block(quad, row, values, classes) };
                return;
            }
            {
                // SAFETY: the token proves AVX-512 F and DQ; rows up to row + 15 < ROWS are within the caller's promise, and so
                // are the lanes up to row + 15 of the quad.
                unsafe {
                    // Rows r, r + 4, r + 8 and r + 12 side by side, so that lanes come out in order.
                    let four = |step: usize| {
                        let one = |row: usize| _mm_loadu_ps(values.add(row * classes));
                        let joined = _mm512_castps128_ps512(one(row + step));
                        let joined = _mm512_insertf32x4::<1>(joined, one(row + step + 4));
                        let joined = _mm512_insertf32x4::<2>(joined, one(row + step + 8));
                        _mm512_insertf32x4::<3>(joined, one(row + step + 12))
                    };
                    let (a, b, c, d) = (four(0), four(1), four(2), four(3));
                    let low_ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
                    let low_cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
                    let high_ab = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
                    let high_cd = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
                    let columns = [
                        _mm512_unpacklo_pd(low_ab, low_cd),
                        _mm512_unpackhi_pd(low_ab, low_cd),
                        _mm512_unpacklo_pd(high_ab, high_cd),
                        _mm512_unpackhi_pd(high_ab, high_cd),
                    ];
                    for (lanes, column) in quad.iter_mut().zip(columns) {
                        _mm512_storeu_ps(lanes.as_mut_ptr().add(row), _mm512_castpd_ps(column));
                    }
                }
            }
        }
    }
}
