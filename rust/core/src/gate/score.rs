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

use super::Measure;
use super::math::{EXP2_LOWEST, exp2, log2};

/// Classes transposed at a time, which bounds the tile whatever K is.
const COLUMNS: usize = 32;

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
    pub(super) fn new(measure: Measure, temperature: f64, classes: usize) -> Self {
        let k = classes as f64;
        Self {
            sharpness: (std::f64::consts::LOG2_E / temperature) as f32,
            normaliser: match measure {
                Measure::Entropy => k.log2().recip(),
                Measure::Margin => 1.0,
                Measure::LeastConfidence => k / (k - 1.0),
            } as f32,
        }
    }
}

/// An uncertainty measure, known at compile time so that a tile computes only what it needs.
pub(super) trait Kind {
    const NEEDS_ENTROPY: bool = false;
    const NEEDS_SECOND: bool = false;
    /// From the sum of `e`, the sum of `e * d` and the second largest `e`.
    fn uncertainty(sum: f32, weighted: f32, second: f32) -> f32;
}

pub(super) struct Entropy;
pub(super) struct Margin;
pub(super) struct LeastConfidence;

impl Kind for Entropy {
    const NEEDS_ENTROPY: bool = true;
    #[inline(always)]
    fn uncertainty(sum: f32, weighted: f32, _second: f32) -> f32 {
        log2(sum) - weighted / sum
    }
}

impl Kind for Margin {
    const NEEDS_SECOND: bool = true;
    #[inline(always)]
    fn uncertainty(sum: f32, _weighted: f32, second: f32) -> f32 {
        1.0 - (1.0 - second) / sum
    }
}

impl Kind for LeastConfidence {
    #[inline(always)]
    fn uncertainty(sum: f32, _weighted: f32, _second: f32) -> f32 {
        1.0 - 1.0 / sum
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

/// Score the `rows <= ROWS` rows from `first` on; lanes past `rows` hold rows of zeros.
#[inline(always)]
pub(super) fn score<const ROWS: usize, M: Kind>(
    logits: Logits<'_>,
    factors: Factors,
    first: usize,
    rows: usize,
) -> Scores<ROWS> {
    let classes = logits.classes;
    let mut tile = [[0.0_f32; ROWS]; COLUMNS];
    let mut peak = Peak::<ROWS>::new();
    let mut start = 0;
    while start < classes {
        let columns = COLUMNS.min(classes - start);
        load(&mut tile, logits, first, rows, start, columns);
        peak.update::<M>(&tile[..columns], start);
        start += COLUMNS;
    }

    let mut sum = Total::<ROWS>::ZERO;
    let mut weighted = Total::<ROWS>::ZERO;
    start = 0;
    while start < classes {
        let columns = COLUMNS.min(classes - start);
        if classes > COLUMNS {
            load(&mut tile, logits, first, rows, start, columns);
        }
        let (part, weighted_part) =
            exponentials::<ROWS, M>(&tile[..columns], &peak.largest, factors.sharpness);
        sum.add(&part);
        if M::NEEDS_ENTROPY {
            weighted.add(&weighted_part);
        }
        start += COLUMNS;
    }

    let mut scores = Scores {
        labels: peak.labels,
        confidences: [0.0; ROWS],
        uncertainties: [1.0; ROWS],
        finite: [false; ROWS],
    };
    for row in 0..ROWS {
        let finite = peak.poison[row] == 0;
        let s = sum.high[row] + sum.low[row];
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
        let u = M::uncertainty(s, w, second) * factors.normaliser;
        let u = if u < 1.0 { u } else { 1.0 };
        let u = if u > 0.0 { u } else { 0.0 };
        scores.labels[row] = if finite { peak.labels[row] } else { -1 };
        scores.confidences[row] = if finite { 1.0 / s } else { 0.0 };
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
    /// Not 0 once a NaN or infinite logit was seen: x - x is +0 for every other x.
    poison: [u32; ROWS],
}

impl<const ROWS: usize> Peak<ROWS> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            largest: [f32::NEG_INFINITY; ROWS],
            second: [f32::NEG_INFINITY; ROWS],
            labels: [0; ROWS],
            poison: [0; ROWS],
        }
    }

    #[inline(always)]
    fn update<M: Kind>(&mut self, columns: &[[f32; ROWS]], start: usize) {
        let (quads, rest) = columns.as_chunks::<4>();
        let mut class = start;
        // Four columns at a time keep the running values in registers for longer.
        for quad in quads {
            for row in 0..ROWS {
                for (step, column) in quad.iter().enumerate() {
                    self.see::<M>(row, column[row], class + step);
                }
            }
            class += 4;
        }
        for column in rest {
            for row in 0..ROWS {
                self.see::<M>(row, column[row], class);
            }
            class += 1;
        }
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "K <= i32::MAX by construction of Logits"
    )]
    #[expect(clippy::eq_op, reason = "x - x tells finite from not")]
    fn see<M: Kind>(&mut self, row: usize, x: f32, class: usize) {
        let largest = self.largest[row];
        let above = x > largest;
        if M::NEEDS_SECOND {
            let lower = if above { largest } else { x };
            let second = self.second[row];
            self.second[row] = if lower > second { lower } else { second };
        }
        self.poison[row] |= (x - x).to_bits();
        self.labels[row] = if above {
            class as i32
        } else {
            self.labels[row]
        };
        self.largest[row] = if above { x } else { largest };
    }
}

/// d, clamped where its exponential is 0 so that e * d is never 0 * inf.
#[inline(always)]
fn softened(x: f32, largest: f32, sharpness: f32) -> f32 {
    let d = (x - largest) * sharpness;
    if d > EXP2_LOWEST { d } else { EXP2_LOWEST }
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
                weighted[row] += (e[0] * d[0] + e[1] * d[1]) + (e[2] * d[2] + e[3] * d[3]);
            }
        }
    }
    for column in rest {
        for row in 0..ROWS {
            let d = softened(column[row], largest[row], sharpness);
            let e = exp2(d);
            sum[row] += e;
            if M::NEEDS_ENTROPY {
                weighted[row] += e * d;
            }
        }
    }
    (sum, weighted)
}

/// Transpose `columns` classes of `rows` rows into the tile.
#[inline(always)]
fn load<const ROWS: usize>(
    tile: &mut [[f32; ROWS]; COLUMNS],
    logits: Logits<'_>,
    first: usize,
    rows: usize,
    start: usize,
    columns: usize,
) {
    let classes = logits.classes;
    let values = &logits.values[first * classes + start..];
    let (quads, _) = tile.as_chunks_mut::<4>();
    let quads = &mut quads[..columns.div_ceil(4)];
    // Whole quads are read, so the last one may hold the next row's first logits: columns that nobody looks at.
    if rows == ROWS && (ROWS - 1) * classes + quads.len() * 4 <= values.len() {
        for (index, quad) in quads.iter_mut().enumerate() {
            transpose(quad, &values[index * 4..], classes);
        }
    } else {
        for (column, lanes) in tile[..columns].iter_mut().enumerate() {
            for (row, lane) in lanes.iter_mut().enumerate().take(rows) {
                *lane = values[row * classes + column];
            }
        }
    }
}

/// Four classes of every row, four rows at a time.
#[inline(always)]
fn transpose<const ROWS: usize>(quad: &mut [[f32; ROWS]; 4], values: &[f32], classes: usize) {
    let four = |row: usize| -> [f32; 4] {
        let at = row * classes;
        [values[at], values[at + 1], values[at + 2], values[at + 3]]
    };
    for row in (0..ROWS).step_by(4) {
        let rows = [four(row), four(row + 1), four(row + 2), four(row + 3)];
        for (column, lanes) in quad.iter_mut().enumerate() {
            for (step, values) in rows.iter().enumerate() {
                lanes[row + step] = values[column];
            }
        }
    }
}
