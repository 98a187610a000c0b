//! Softmax statistics of a tile of rows: label, confidence, uncertainty.
//!
//! A tile is transposed on the way in, so that a lane is a row and every step is the same operation on all lanes. There is
//! no horizontal reduction and no padding of classes, and the order of operations within a row does not depend on the width
//! of the vectors: that is why every instruction set gives the same bits.
//!
//! One exp2 per logit and one log2 per row, all in base 2: with `d = (x - max x) * log2(e) / T` and `e = 2^d` per class and
//! `S` the sum of `e`, the entropy is `log2 S - sum(e * d) / S` bits. Both terms are positive: nothing cancels.

#![allow(
    clippy::needless_range_loop,
    reason = "a loop over lanes indexes several arrays alike; zipped iterators would hide it"
)]

use super::math::{EXP2_LOWEST, exp2, log2};
use super::transpose::Isa;
use super::{Measure, Scoring};

/// Classes summed plainly before the compensated sum takes over.
const SUMMED: usize = 32;

/// A tile of logits, class by class.
pub(super) type Tile<const ROWS: usize, const COLUMNS: usize> = [[f32; ROWS]; COLUMNS];

/// What the rows of a tile came to.
pub(super) struct Scores<const ROWS: usize> {
    pub labels: [i32; ROWS],
    pub confidences: [f32; ROWS],
    pub uncertainties: [f32; ROWS],
    pub finite: [bool; ROWS],
}

/// A borrowed (n, classes) matrix, row after row.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a> {
    pub(super) values: &'a [f32],
    pub(super) classes: usize,
}

/// The factors a call needs, derived once from its parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factors {
    /// log2(e) / T.
    sharpness: f32,
    /// What brings the measure to [0, 1]: 1 / log2 K or K / (K - 1).
    normaliser: f32,
}

impl Factors {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "f32 is the precision of the arithmetic"
    )]
    pub(super) fn new(scoring: Scoring, classes: usize) -> Self {
        let k = classes as f64;
        Self {
            sharpness: (std::f64::consts::LOG2_E / scoring.temperature) as f32,
            normaliser: match scoring.measure {
                Measure::Entropy => bits_of(k).recip(),
                Measure::Margin => 1.0,
                Measure::LeastConfidence => k / (k - 1.0),
            } as f32,
        }
    }
}

/// log2 k for k >= 2, without the C library, whose last bit differs between systems.
///
/// k = 2^n * m with m in [1, 2), and ln m = 2 atanh(s) with s = (m - 1) / (m + 1) < 1/3; the series is cut after s^33.
fn bits_of(k: f64) -> f64 {
    let (mut m, mut n) = (k, 0.0);
    while m >= 2.0 {
        m /= 2.0;
        n += 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let mut series = 0.0;
    for term in (0..17_u8).rev() {
        series = series * s * s + 1.0 / f64::from(2 * term + 1);
    }
    n + 2.0 * s * series * std::f64::consts::LOG2_E
}

/// An uncertainty measure, known at compile time so that a tile computes only what it needs.
pub(super) trait Kind {
    const NEEDS_ENTROPY: bool = false;
    const NEEDS_SECOND: bool = false;
    /// From the sum of `e`, the sum of `e * d` and the second largest `e`.
    fn uncertainty(sum: f32, reciprocal: f32, weighted: f32, second: f32) -> f32;
}

pub(super) struct Entropy;
pub(super) struct Margin;
pub(super) struct LeastConfidence;

impl Kind for Entropy {
    const NEEDS_ENTROPY: bool = true;
    #[inline(always)]
    fn uncertainty(sum: f32, reciprocal: f32, weighted: f32, _second: f32) -> f32 {
        log2(sum) - weighted * reciprocal
    }
}

impl Kind for Margin {
    const NEEDS_SECOND: bool = true;
    #[inline(always)]
    fn uncertainty(_sum: f32, reciprocal: f32, _weighted: f32, second: f32) -> f32 {
        (second - 1.0).mul_add(reciprocal, 1.0)
    }
}

impl Kind for LeastConfidence {
    #[inline(always)]
    fn uncertainty(_sum: f32, reciprocal: f32, _weighted: f32, _second: f32) -> f32 {
        1.0 - reciprocal
    }
}

/// A sum of f32 that loses next to nothing between its parts (Knuth's two-sum).
#[derive(Clone, Copy)]
struct Total<const ROWS: usize> {
    high: [f32; ROWS],
    low: [f32; ROWS],
}

impl<const ROWS: usize> Total<ROWS> {
    const ZERO: Self = Self {
        high: [0.0; ROWS],
        low: [0.0; ROWS],
    };

    #[inline(always)]
    fn add(&mut self, part: &[f32; ROWS]) {
        for row in 0..ROWS {
            let (a, b) = (self.high[row], part[row]);
            let sum = a + b;
            let shadow = sum - a;
            self.low[row] += (a - (sum - shadow)) + (b - shadow);
            self.high[row] = sum;
        }
    }
}

/// Score the `rows <= ROWS` rows from `first` on; lanes past `rows` are left over from before and mean nothing.
///
/// The tile is the caller's so that it is not cleared for every call.
#[inline(always)]
pub(super) fn score<const ROWS: usize, const COLUMNS: usize, M: Kind>(
    isa: impl Isa,
    tile: &mut Tile<ROWS, COLUMNS>,
    logits: Logits<'_>,
    factors: Factors,
    first: usize,
    rows: usize,
) -> Scores<ROWS> {
    let classes = logits.classes;
    let mut peak = Peak::<ROWS>::new();
    let mut start = 0;
    // A tile this narrow is only used where it holds every class (`scan`): known to the compiler, one pass and one part of
    // the sums save a tenth of the time at K = 8.
    if COLUMNS <= SUMMED {
        load(isa, tile, logits, first, rows, 0, classes);
        peak.update::<M>(&tile[..classes], 0);
    } else {
        while start < classes {
            let columns = COLUMNS.min(classes - start);
            load(isa, tile, logits, first, rows, start, columns);
            peak.update::<M>(&tile[..columns], start);
            start += COLUMNS;
        }
    }

    let mut sum = Total::<ROWS>::ZERO;
    let mut weighted = Total::<ROWS>::ZERO;
    if COLUMNS <= SUMMED {
        (sum.high, weighted.high) =
            exponentials::<ROWS, M>(&tile[..classes], &peak.largest, factors.sharpness);
    } else {
        start = 0;
        while start < classes {
            let columns = COLUMNS.min(classes - start);
            if classes > COLUMNS {
                load(isa, tile, logits, first, rows, start, columns);
            }
            for columns in tile[..columns].chunks(SUMMED) {
                let (part, weighted_part) =
                    exponentials::<ROWS, M>(columns, &peak.largest, factors.sharpness);
                sum.add(&part);
                if M::NEEDS_ENTROPY {
                    weighted.add(&weighted_part);
                }
            }
            start += COLUMNS;
        }
    }

    let mut scores = Scores {
        labels: peak.labels,
        confidences: [0.0; ROWS],
        uncertainties: [1.0; ROWS],
        finite: [false; ROWS],
    };
    for row in 0..ROWS {
        let s = sum.high[row] + sum.low[row];
        let reciprocal = 1.0 / s;
        let finite = !peak.poison[row].is_nan();
        let w = weighted.high[row] + weighted.low[row];
        let second = if M::NEEDS_SECOND {
            exp2(softened(
                peak.second[row],
                peak.largest[row],
                factors.sharpness,
            ))
        } else {
            0.0
        };
        let u = M::uncertainty(s, reciprocal, w, second) * factors.normaliser;
        let u = if u < 1.0 { u } else { 1.0 };
        let u = if u > 0.0 { u } else { 0.0 };
        scores.labels[row] = if finite { peak.labels[row] } else { -1 };
        scores.confidences[row] = if finite { reciprocal } else { 0.0 };
        scores.uncertainties[row] = if finite { u } else { 1.0 };
        scores.finite[row] = finite;
    }
    scores
}

/// The running maximum of each row and where it stands.
struct Peak<const ROWS: usize> {
    largest: [f32; ROWS],
    second: [f32; ROWS],
    labels: [i32; ROWS],
    /// The sum of x * 0: NaN once a NaN or infinite logit was seen, else 0.
    poison: [f32; ROWS],
}

impl<const ROWS: usize> Peak<ROWS> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            largest: [f32::NEG_INFINITY; ROWS],
            second: [f32::NEG_INFINITY; ROWS],
            labels: [0; ROWS],
            poison: [0.0; ROWS],
        }
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "K <= i32::MAX by construction of Logits"
    )]
    fn update<M: Kind>(&mut self, columns: &[[f32; ROWS]], start: usize) {
        let (quads, rest) = columns.as_chunks::<4>();
        let mut class = start as i32;
        for quad in quads {
            for row in 0..ROWS {
                let logits = [quad[0][row], quad[1][row], quad[2][row], quad[3][row]];
                self.see::<M, 4>(row, logits, class);
            }
            class += 4;
        }
        for column in rest {
            for row in 0..ROWS {
                self.see::<M, 1>(row, [column[row]], class);
            }
            class += 1;
        }
    }

    /// Let a row see its next few logits, the first of which is that of `class`.
    #[inline(always)]
    fn see<M: Kind, const FEW: usize>(&mut self, row: usize, logits: [f32; FEW], class: i32) {
        let (mut largest, mut second) = (logits[0], f32::NEG_INFINITY);
        let mut label = 0;
        for (step, &x) in (1..).zip(&logits[1..]) {
            let above = x > largest;
            if M::NEEDS_SECOND {
                second = larger(second, if above { largest } else { x });
            }
            largest = if above { x } else { largest };
            label = if above { step } else { label };
        }
        let above = largest > self.largest[row];
        if M::NEEDS_SECOND {
            let lower = if above { self.largest[row] } else { largest };
            self.second[row] = larger(self.second[row], larger(second, lower));
        }
        self.labels[row] = if above {
            class + label
        } else {
            self.labels[row]
        };
        self.largest[row] = if above { largest } else { self.largest[row] };
        for x in logits {
            self.poison[row] = x.mul_add(0.0, self.poison[row]);
        }
    }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// d, clamped where its exponential is as good as 0, so that e * d is never 0 * inf.
#[inline(always)]
fn softened(x: f32, largest: f32, sharpness: f32) -> f32 {
    let d = (x - largest) * sharpness;
    if d < EXP2_LOWEST { EXP2_LOWEST } else { d }
}

/// Per row, the sum of e and the sum of e * d over these columns, in pairs to keep rounding small.
#[inline(always)]
fn exponentials<const ROWS: usize, M: Kind>(
    columns: &[[f32; ROWS]],
    largest: &[f32; ROWS],
    sharpness: f32,
) -> ([f32; ROWS], [f32; ROWS]) {
    let mut sum = [0.0_f32; ROWS];
    let mut weighted = [0.0_f32; ROWS];
    let (quads, rest) = columns.as_chunks::<4>();
    for quad in quads {
        for row in 0..ROWS {
            let d =
                [0, 1, 2, 3].map(|step: usize| softened(quad[step][row], largest[row], sharpness));
            let e = d.map(exp2);
            sum[row] += (e[0] + e[1]) + (e[2] + e[3]);
            if M::NEEDS_ENTROPY {
                weighted[row] += e[1].mul_add(d[1], e[0] * d[0]) + e[3].mul_add(d[3], e[2] * d[2]);
            }
        }
    }
    for column in rest {
        for row in 0..ROWS {
            let d = softened(column[row], largest[row], sharpness);
            let e = exp2(d);
            sum[row] += e;
            if M::NEEDS_ENTROPY {
                weighted[row] = e.mul_add(d, weighted[row]);
            }
        }
    }
    (sum, weighted)
}

/// Transpose `columns` classes of `rows` rows into the tile.
#[inline(always)]
fn load<const ROWS: usize, const COLUMNS: usize>(
    isa: impl Isa,
    tile: &mut Tile<ROWS, COLUMNS>,
    logits: Logits<'_>,
    first: usize,
    rows: usize,
    start: usize,
    columns: usize,
) {
    let values = &logits.values[first * logits.classes + start..];
    let (quads, _) = tile.as_chunks_mut::<4>();
    // The last quad may reach into the next row: columns that nobody looks at.
    isa.transpose(
        &mut quads[..columns.div_ceil(4)],
        values,
        logits.classes,
        rows,
    );
}

#[cfg(test)]
mod tests {
    use super::bits_of;

    #[test]
    fn the_bits_of_every_number_of_classes_are_right() {
        for k in 2..100_000_u32 {
            let k = f64::from(k);
            assert!((bits_of(k) - k.log2()).abs() <= 1e-14 * k.log2(), "{k}");
        }
    }
}
