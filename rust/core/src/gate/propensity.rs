//! From uncertainty to the probability of asking.

use super::Misuse;
use super::math::{EXP2_LOWEST, exp2, log2};

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
    #[must_use]
    pub fn of(self, u: f32) -> f32 {
        self.of_all(&[u])[0]
    }

    #[inline(always)]
    #[expect(clippy::float_cmp, reason = "0 and 1 are meant exactly")]
    pub(super) fn of_all<const N: usize>(self, uncertainties: &[f32; N]) -> [f32; N] {
        let mut lanes = *uncertainties;
        // u^exponent, with 0^0 = 1.
        if self.exponent == 0.0 {
            lanes = [1.0; N];
        } else if self.exponent != 1.0 {
            for lane in &mut lanes {
                let d = self.exponent * log2(*lane);
                let power = exp2(if d > EXP2_LOWEST { d } else { EXP2_LOWEST });
                *lane = if *lane > 0.0 { power } else { 0.0 };
            }
        }
        for lane in &mut lanes {
            let lifted = self.scale * *lane;
            let q = self.floor + (1.0 - self.floor) * lifted;
            // Exactly 1, whatever the floor rounds to: "must go to the teacher" may not depend on an ulp.
            *lane = if lifted < 1.0 && q < 1.0 { q } else { 1.0 };
        }
        lanes
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
