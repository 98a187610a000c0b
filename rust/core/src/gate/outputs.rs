//! Where decisions go, each written once: memory that nobody has set before will do.

use std::mem::MaybeUninit;

/// Places for values that may not hold one yet. They can be written and not read.
#[derive(Debug)]
pub struct Places<'a, T>(&'a mut [MaybeUninit<T>]);

impl<'a, T: Copy> From<&'a mut [T]> for Places<'a, T> {
    fn from(values: &'a mut [T]) -> Self {
        let length = values.len();
        // SAFETY: the layout is the same, and `Places` writes nothing but values of T, so that `values` keep being some.
        Self(unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), length) })
    }
}

impl<'a, T: Copy> From<&'a mut Vec<T>> for Places<'a, T> {
    fn from(values: &'a mut Vec<T>) -> Self {
        Self::from(values.as_mut_slice())
    }
}

impl<'a, T: Copy> From<&'a mut [MaybeUninit<T>]> for Places<'a, T> {
    fn from(places: &'a mut [MaybeUninit<T>]) -> Self {
        Self(places)
    }
}

impl<T: Copy> Places<'_, T> {
    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Write as many of the lanes as there are places from `first` on.
    #[inline(always)]
    pub(super) fn put<const ROWS: usize>(&mut self, first: usize, lanes: &[T; ROWS]) {
        let places = &mut self.0[first..];
        match places.first_chunk_mut() {
            Some(whole) => *whole = lanes.map(MaybeUninit::new),
            None => {
                for (place, lane) in places.iter_mut().zip(lanes) {
                    place.write(*lane);
                }
            }
        }
    }
}

/// The decisions: one place per row in each.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// Index of the largest logit, the first one on a tie; -1 where not finite.
    pub labels: Places<'a, i32>,
    /// Largest probability; 0 where not finite.
    pub confidences: Places<'a, f32>,
    /// In [0, 1]; 1 where not finite.
    pub uncertainties: Places<'a, f32>,
    /// The number the draw was compared with.
    pub propensities: Places<'a, f32>,
    /// Whether the draw fell below the propensity.
    pub accepted: Places<'a, bool>,
    /// Whether every logit of the row was finite.
    pub finite: Places<'a, bool>,
}
