//! Walking a batch tile by tile, and what is done with each tile's scores.

use super::path::Job;
use super::score::{Entropy, Factors, Kind, LeastConfidence, Logits, Margin, Scores, score};
use super::transpose::Isa;
use super::{Coins, Measure, Outputs, Places, Scoring};
use crate::draw::{bounds, output, unit};

/// Where one tile holds every class: many rows hide each other's latencies (8 KiB).
const WIDE: (usize, usize) = (64, 32);
/// For more classes than that, in turns where there are more than fit: rows enough, and a tile that stays in L1 (20 KiB).
const TALL: (usize, usize) = (32, 160);
/// At the end of a batch, so that a single record does not pay for 64 (5 KiB).
const SHORT: (usize, usize) = (8, 160);

/// Whole cache lines.
#[repr(align(64))]
struct Aligned<T>(T);

/// What becomes of the scores of the rows from `first` on; lanes past the last row mean nothing.
pub(super) trait Sink {
    fn take<const ROWS: usize>(&mut self, scores: &Scores<ROWS>, first: usize);
}

/// A pass over a batch.
pub(super) struct Scan<'a, S> {
    pub logits: Logits<'a>,
    pub scoring: Scoring,
    pub sink: S,
}

impl<S: Sink> Job for Scan<'_, S> {
    #[inline(always)]
    fn run(self, isa: impl Isa) {
        match self.scoring.measure {
            Measure::Entropy => self.scan::<Entropy>(isa),
            Measure::Margin => self.scan::<Margin>(isa),
            Measure::LeastConfidence => self.scan::<LeastConfidence>(isa),
        }
    }
}

impl<S: Sink> Scan<'_, S> {
    #[inline(always)]
    fn scan<M: Kind>(mut self, isa: impl Isa) {
        let factors = Factors::new(self.scoring, self.logits.classes);
        let rows = self.logits.rows();
        let whole = if self.logits.classes <= WIDE.1 {
            self.tiles::<{ WIDE.0 }, { WIDE.1 }, M>(isa, factors, 0, rows - rows % WIDE.0)
        } else {
            self.tiles::<{ TALL.0 }, { TALL.1 }, M>(isa, factors, 0, rows - rows % TALL.0)
        };
        self.tiles::<{ SHORT.0 }, { SHORT.1 }, M>(isa, factors, whole, rows);
    }

    /// Score the rows from `first` to `last`, in tiles; gives back `last`.
    #[inline(always)]
    fn tiles<const ROWS: usize, const COLUMNS: usize, M: Kind>(
        &mut self,
        isa: impl Isa,
        factors: Factors,
        first: usize,
        last: usize,
    ) -> usize {
        let mut tile = Aligned([[0.0; ROWS]; COLUMNS]);
        for first in (first..last).step_by(ROWS) {
            let rows = ROWS.min(last - first);
            let scores =
                score::<ROWS, COLUMNS, M>(isa, &mut tile.0, self.logits, factors, first, rows);
            self.sink.take(&scores, first);
        }
        last
    }
}

impl Sink for Places<'_, f32> {
    #[inline(always)]
    fn take<const ROWS: usize>(&mut self, scores: &Scores<ROWS>, first: usize) {
        self.put(first, &scores.uncertainties);
    }
}

/// Tossing each row's coin and writing down what became of it.
pub(super) struct Toss<'a> {
    pub coins: Coins<'a>,
    pub outputs: Outputs<'a>,
}

impl Sink for Toss<'_> {
    #[inline(always)]
    fn take<const ROWS: usize>(&mut self, scores: &Scores<ROWS>, first: usize) {
        let propensities = self.coins.propensity.of_all(&scores.uncertainties);
        let accepted = self.coins.accept(&propensities, first);
        self.outputs.labels.put(first, &scores.labels);
        self.outputs.confidences.put(first, &scores.confidences);
        self.outputs.uncertainties.put(first, &scores.uncertainties);
        self.outputs.propensities.put(first, &propensities);
        self.outputs.accepted.put(first, &accepted);
        self.outputs.finite.put(first, &scores.finite);
    }
}

impl Coins<'_> {
    /// Whether each row's draw falls below its propensity.
    #[inline(always)]
    fn accept<const ROWS: usize>(&self, propensities: &[f32; ROWS], first: usize) -> [bool; ROWS] {
        let partitions: [i32; ROWS] = get(self.partitions, first);
        let offsets: [i64; ROWS] = get(self.offsets, first);
        let mut states = [0; ROWS];
        // Most tiles are of one partition, which saves half of the multiplications.
        let others: u32 = partitions
            .iter()
            .map(|partition| u32::from(*partition != partitions[0]))
            .sum();
        if others == 0 {
            states = [self.draws.state(partitions[0]); ROWS];
        } else {
            for row in 0..ROWS {
                states[row] = self.draws.state(partitions[row]);
            }
        }
        // The upper 24 bits of a draw bound it from both sides, exactly in f32, and nearly always settle the matter.
        let mut accepted = [false; ROWS];
        let mut unsettled = 0;
        for row in 0..ROWS {
            let (at_least, below) = bounds(states[row], offsets[row]);
            accepted[row] = below <= propensities[row];
            unsettled += u32::from(accepted[row] != (at_least < propensities[row]));
        }
        if unsettled > 0 {
            for row in 0..ROWS {
                accepted[row] =
                    unit(output(states[row], offsets[row])) < f64::from(propensities[row]);
            }
        }
        accepted
    }
}

/// Up to ROWS values from `first` on, as an array.
#[inline(always)]
fn get<T: Copy + Default, const ROWS: usize>(values: &[T], first: usize) -> [T; ROWS] {
    let values = &values[first..];
    values.first_chunk().copied().unwrap_or_else(|| {
        let mut lanes = [T::default(); ROWS];
        lanes[..values.len()].copy_from_slice(values);
        lanes
    })
}
