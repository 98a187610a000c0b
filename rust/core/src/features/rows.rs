//! Rows of a sparse matrix: buckets counted, weighted and scaled to length one.

use super::Weighting;

/// A matrix in compressed sparse row form: row i is `indptr[i]..indptr[i + 1]` of `indices` and `values`.
#[derive(Clone, Debug, PartialEq)]
pub struct Csr {
    /// Where each row starts, and the end of the last one.
    pub indptr: Vec<i64>,
    /// Buckets, ascending and unique within a row.
    pub indices: Vec<i32>,
    /// The weights of the buckets; each row that has any has Euclidean length 1.
    pub values: Vec<f32>,
}

impl Csr {
    /// A matrix without rows.
    pub(super) fn new() -> Self {
        Self {
            indptr: vec![0],
            indices: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Adds the row of a document with these buckets (which it sorts).
    #[expect(
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation,
        reason = "a bucket has 24 bits, a vector fewer than 2^63 entries; values are float32"
    )]
    pub(super) fn push(&mut self, buckets: &mut [u32], weighting: Weighting) {
        buckets.sort_unstable();
        let start = self.values.len();
        let mut squares = 0.0_f64;
        for run in buckets.chunk_by(|a, b| a == b) {
            let weight = weight(run.len(), weighting);
            squares += weight * weight;
            self.indices.push(run[0] as i32);
            self.values.push(weight as f32);
        }
        let length = squares.sqrt();
        for value in &mut self.values[start..] {
            *value = (f64::from(*value) / length) as f32;
        }
        self.indptr.push(self.indices.len() as i64);
    }
}

/// The weight of a bucket that occurs `count` times.
#[expect(
    clippy::cast_precision_loss,
    reason = "a count is at most 8,000,000, which a double holds exactly"
)]
fn weight(count: usize, weighting: Weighting) -> f64 {
    match weighting {
        Weighting::Count => count as f64,
        Weighting::Binary => 1.0,
        Weighting::Sublinear => 1.0 + (count as f64).ln(),
    }
}
