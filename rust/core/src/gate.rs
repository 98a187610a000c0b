//! The gate: how unsure the student is of each row, and whether a weighted coin sends the row to the teacher.
//!
//! Owns half of invariant 3: the propensity that is returned is the very number the draw was compared with.
//!
//! The arithmetic is f32. Label and finiteness are exact; confidence and uncertainty are within 1e-6 of real arithmetic.
//! Every path returns the same bits (see [`Path`]), with one reservation: none. The coordinates and the parameters alone
//! decide what comes out, on any CPU.

#![allow(
    clippy::inline_always,
    reason = "only what is inlined into a path is compiled for its instruction set"
)]

mod math;
mod path;
mod score;

use std::fmt;

use crate::draw::Draws;
use math::{EXP2_LOWEST, exp2, log2};
use path::Job;
pub use path::Path;
pub use score::Logits;
use score::{Entropy, Factors, Kind, LeastConfidence, Margin, score};

/// Rows scored together: wide enough to hide latencies behind each other, small enough for the tile to stay in L1.
const ROWS: usize = 32;
/// Rows scored together at the end of a batch, so that a single record does not pay for 32.
const FEW_ROWS: usize = 8;

/// A parameter or shape outside the contract; the message names the value, the limit and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misuse(String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// How uncertainty in [0, 1] is read off p = softmax(logits / T), p1 >= p2 the two largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// H(p) / ln K, K counting every class.
    Entropy,
    /// 1 - (p1 - p2).
    Margin,
    /// (1 - p1) K / (K - 1).
    LeastConfidence,
}

impl Measure {
    pub const ALL: [Self; 3] = [Self::Entropy, Self::Margin, Self::LeastConfidence];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entropy => "entropy",
            Self::Margin => "margin",
            Self::LeastConfidence => "least_confidence",
        }
    }

    /// # Errors
    /// When no measure has that name.
    pub fn from_name(name: &str) -> Result<Self, Misuse> {
        Self::ALL
            .into_iter()
            .find(|measure| measure.name() == name)
            .ok_or_else(|| {
                Misuse(format!(
                    "measure is {name:?}; choose 'entropy', 'margin' or 'least_confidence'"
                ))
            })
    }
}

/// How rows are scored: the measure and the version's calibrated temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring {
    measure: Measure,
    temperature: f64,
}

impl Scoring {
    /// Temperatures outside are no calibration, and inside no f32 quotient of finite logits can be NaN.
    pub const TEMPERATURES: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

    /// # Errors
    /// When the temperature is not in [`Self::TEMPERATURES`].
    pub fn new(measure: Measure, temperature: f64) -> Result<Self, Misuse> {
        if Self::TEMPERATURES.contains(&temperature) {
            Ok(Self {
                measure,
                temperature,
            })
        } else {
            Err(Misuse(format!(
                "temperature is {temperature:?}; it must be in [1e-6, 1e6], and 1 leaves the logits as they are"
            )))
        }
    }
}

/// q = floor + (1 - floor) * min(1, scale * u^exponent), in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Propensity {
    floor: f32,
    exponent: f32,
    scale: f32,
}

impl Propensity {
    /// M-RARU (arXiv 2511.11574): accept with probability equal to the uncertainty.
    pub const M_RARU: Self = Self {
        floor: 0.0,
        exponent: 1.0,
        scale: 1.0,
    };

    /// # Errors
    /// When `floor` is not in [0, 1], or `exponent` or `scale` is negative or not finite.
    pub fn new(floor: f64, exponent: f64, scale: f64) -> Result<Self, Misuse> {
        if !(0.0..=1.0).contains(&floor) {
            return Err(Misuse(format!(
                "floor is {floor:?}; it is a probability and must be in [0, 1] (0 switches exploration off)"
            )));
        }
        for (name, value, neutral) in [
            ("exponent", exponent, "1 keeps the uncertainty as it is"),
            (
                "scale",
                scale,
                "1 keeps the propensity as it is and 0 closes the gate",
            ),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Misuse(format!(
                    "{name} is {value:?}; it must be finite and not negative ({neutral})"
                )));
            }
        }
        Ok(Self {
            floor: narrow(floor),
            exponent: narrow(exponent),
            scale: narrow(scale),
        })
    }

    /// The propensity of a row of uncertainty `u` in [0, 1].
    #[inline(always)]
    #[must_use]
    pub fn of(self, u: f32) -> f32 {
        let lifted = self.scale * self.power(u);
        let q = self.floor + (1.0 - self.floor) * lifted;
        // Exactly 1, whatever the floor rounds to: "must go to the teacher" may not depend on an ulp.
        if lifted < 1.0 && q < 1.0 { q } else { 1.0 }
    }

    /// u^exponent, with 0^0 = 1.
    #[inline(always)]
    #[expect(clippy::float_cmp, reason = "0 and 1 are meant exactly")]
    fn power(self, u: f32) -> f32 {
        if self.exponent == 1.0 {
            u
        } else if self.exponent == 0.0 {
            1.0
        } else {
            let d = self.exponent * log2(u);
            let power = exp2(if d > EXP2_LOWEST { d } else { EXP2_LOWEST });
            if u > 0.0 { power } else { 0.0 }
        }
    }
}

/// The nearest f32, the largest one for what is larger still.
#[expect(
    clippy::cast_possible_truncation,
    reason = "f32 is the precision of the arithmetic"
)]
const fn narrow(value: f64) -> f32 {
    let near = value as f32;
    if near.is_finite() { near } else { f32::MAX }
}

impl<'a> Logits<'a> {
    /// # Errors
    /// When there are fewer than two classes, or the values are not whole rows of them.
    pub fn new(values: &'a [f32], classes: usize) -> Result<Self, Misuse> {
        if classes < 2 || i32::try_from(classes).is_err() {
            return Err(Misuse(format!(
                "logits have {classes} classes; uncertainty needs at least 2 (give a binary student two columns)"
            )));
        }
        if values.len().is_multiple_of(classes) {
            Ok(Self { values, classes })
        } else {
            Err(Misuse(format!(
                "{} logits are not whole rows of {classes} classes",
                values.len()
            )))
        }
    }

    /// How many rows there are.
    #[must_use]
    pub const fn rows(self) -> usize {
        self.values.len() / self.classes
    }
}

/// The coins of a batch: whose draws, at which coordinates, weighted how.
#[derive(Clone, Copy, Debug)]
pub struct Coins<'a> {
    pub draws: Draws,
    pub propensity: Propensity,
    pub partitions: &'a [i32],
    pub offsets: &'a [i64],
}

/// Where the decisions go: one element per row in each slice.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// Index of the largest logit, the first one on a tie; -1 where not finite.
    pub labels: &'a mut [i32],
    /// Largest probability; 0 where not finite.
    pub confidences: &'a mut [f32],
    /// In [0, 1]; 1 where not finite.
    pub uncertainties: &'a mut [f32],
    /// The number the draw was compared with.
    pub propensities: &'a mut [f32],
    /// Whether the draw fell below the propensity.
    pub accepted: &'a mut [bool],
    /// Whether every logit of the row was finite.
    pub finite: &'a mut [bool],
}

/// Score every row and toss its coin; allocates nothing.
///
/// # Errors
/// When a slice has another length than there are rows.
pub fn decide(
    path: Path,
    logits: Logits<'_>,
    scoring: Scoring,
    coins: Coins<'_>,
    outputs: Outputs<'_>,
) -> Result<(), Misuse> {
    let rows = logits.rows();
    for (name, length) in [
        ("partitions", coins.partitions.len()),
        ("offsets", coins.offsets.len()),
        ("labels", outputs.labels.len()),
        ("confidences", outputs.confidences.len()),
        ("uncertainties", outputs.uncertainties.len()),
        ("propensities", outputs.propensities.len()),
        ("accepted", outputs.accepted.len()),
        ("finite", outputs.finite.len()),
    ] {
        agree(name, length, rows)?;
    }
    path.run(Decide {
        logits,
        scoring,
        coins,
        outputs,
    });
    Ok(())
}

/// The uncertainty of every row; allocates nothing.
///
/// # Errors
/// When `uncertainties` has another length than there are rows.
pub fn uncertainty(
    path: Path,
    logits: Logits<'_>,
    scoring: Scoring,
    uncertainties: &mut [f32],
) -> Result<(), Misuse> {
    agree("uncertainties", uncertainties.len(), logits.rows())?;
    path.run(Uncertainty {
        logits,
        scoring,
        uncertainties,
    });
    Ok(())
}

fn agree(name: &str, length: usize, rows: usize) -> Result<(), Misuse> {
    if length == rows {
        Ok(())
    } else {
        Err(Misuse(format!(
            "{name} has {length} elements for {rows} rows of logits; give one for each row"
        )))
    }
}

struct Decide<'a> {
    logits: Logits<'a>,
    scoring: Scoring,
    coins: Coins<'a>,
    outputs: Outputs<'a>,
}

impl Job for Decide<'_> {
    #[inline(always)]
    fn run(self) {
        match self.scoring.measure {
            Measure::Entropy => self.tiles::<Entropy>(),
            Measure::Margin => self.tiles::<Margin>(),
            Measure::LeastConfidence => self.tiles::<LeastConfidence>(),
        }
    }
}

impl Decide<'_> {
    #[inline(always)]
    fn tiles<M: Kind>(mut self) {
        let factors = Factors::new(
            self.scoring.measure,
            self.scoring.temperature,
            self.logits.classes,
        );
        let rows = self.logits.rows();
        let mut first = 0;
        while first + ROWS <= rows {
            self.tile::<ROWS, M>(factors, first, ROWS);
            first += ROWS;
        }
        while first < rows {
            self.tile::<FEW_ROWS, M>(factors, first, FEW_ROWS.min(rows - first));
            first += FEW_ROWS;
        }
    }

    #[inline(always)]
    fn tile<const N: usize, M: Kind>(&mut self, factors: Factors, first: usize, rows: usize) {
        let scores = score::<N, M>(self.logits, factors, first, rows);
        let propensities = scores.uncertainties.map(|u| self.coins.propensity.of(u));
        let span = first..first + rows;
        let coordinates = self.coins.partitions[span.clone()]
            .iter()
            .zip(&self.coins.offsets[span.clone()]);
        let mut accepted = [false; N];
        for ((accepted, q), (&partition, &offset)) in
            accepted.iter_mut().zip(&propensities).zip(coordinates)
        {
            *accepted = self.coins.draws.uniform(partition, offset) < f64::from(*q);
        }
        let outputs = &mut self.outputs;
        outputs.labels[span.clone()].copy_from_slice(&scores.labels[..rows]);
        outputs.confidences[span.clone()].copy_from_slice(&scores.confidences[..rows]);
        outputs.uncertainties[span.clone()].copy_from_slice(&scores.uncertainties[..rows]);
        outputs.propensities[span.clone()].copy_from_slice(&propensities[..rows]);
        outputs.accepted[span.clone()].copy_from_slice(&accepted[..rows]);
        outputs.finite[span].copy_from_slice(&scores.finite[..rows]);
    }
}

struct Uncertainty<'a> {
    logits: Logits<'a>,
    scoring: Scoring,
    uncertainties: &'a mut [f32],
}

impl Job for Uncertainty<'_> {
    #[inline(always)]
    fn run(self) {
        match self.scoring.measure {
            Measure::Entropy => self.tiles::<Entropy>(),
            Measure::Margin => self.tiles::<Margin>(),
            Measure::LeastConfidence => self.tiles::<LeastConfidence>(),
        }
    }
}

impl Uncertainty<'_> {
    #[inline(always)]
    fn tiles<M: Kind>(self) {
        let factors = Factors::new(
            self.scoring.measure,
            self.scoring.temperature,
            self.logits.classes,
        );
        let (tiles, rest) = self.uncertainties.as_chunks_mut::<ROWS>();
        let mut first = 0;
        for tile in tiles {
            *tile = score::<ROWS, M>(self.logits, factors, first, ROWS).uncertainties;
            first += ROWS;
        }
        for tile in rest.chunks_mut(FEW_ROWS) {
            let scores = score::<FEW_ROWS, M>(self.logits, factors, first, tile.len());
            tile.copy_from_slice(&scores.uncertainties[..tile.len()]);
            first += FEW_ROWS;
        }
    }
}
