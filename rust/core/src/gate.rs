//! The gate: how unsure the student is of each row, and whether a weighted coin sends the row to the teacher.
//!
//! Owns half of invariant 3: the propensity that is returned is the very number the draw was compared with.
//!
//! The arithmetic is f32. Label and finiteness are exact; confidence and uncertainty are within 1e-6 of real arithmetic.
//! Every array is bit-identical on every path and every CPU: see [`Path`].

#![allow(
    clippy::inline_always,
    reason = "only what is inlined into a path is compiled for its instruction set"
)]

mod math;
mod path;
mod propensity;
mod scan;
mod score;
mod transpose;

use std::fmt;

use crate::draw::Draws;
pub use path::Path;
pub use propensity::Propensity;
use scan::{Scan, Toss};
pub use score::Logits;

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
    path.run(Scan {
        logits,
        scoring,
        sink: Toss { coins, outputs },
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
    path.run(Scan {
        logits,
        scoring,
        sink: uncertainties,
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
