//! Rows of a sparse matrix as rectangles of ids and weights, which is what an ONNX graph takes.

use super::rows::Csr;

/// No rectangle is narrower, so that short documents share one.
const NARROWEST: usize = 16;

/// The documents of one padded width: its rows follow each other in `ids` and `weights`.
///
/// The width is the document's own number of features, rounded up to a power of two: what a document is scored with
/// depends on itself alone, never on the batch it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Padded {
    /// The number of ids and weights of each row.
    pub width: usize,
    /// Which document each row is, ascending.
    pub rows: Vec<i64>,
    /// Buckets, then zeros.
    pub ids: Vec<i32>,
    /// Their weights, then zeros.
    pub weights: Vec<f32>,
}

impl Csr {
    /// The same rows in one rectangle for each width that occurs, the narrowest first.
    #[must_use]
    pub fn padded(&self) -> Vec<Padded> {
        // Of 2^log features; there are at most 8,000,000.
        let mut groups = [const { Vec::new() }; 24];
        for (row, features) in (0_i64..).zip(self.lengths()) {
            let width = features.next_power_of_two().max(NARROWEST);
            groups[width.ilog2() as usize].push(row);
        }
        let used = groups.into_iter().enumerate();
        let used = used.filter(|(_, rows)| !rows.is_empty());
        used.map(|(log, rows)| self.rectangle(1 << log, rows))
            .collect()
    }

    /// How many features each row has.
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "the bounds are lengths of vectors"
    )]
    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.indptr
            .windows(2)
            .map(|bounds| (bounds[1] - bounds[0]) as usize)
    }

    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "the rows are places in a vector"
    )]
    fn rectangle(&self, width: usize, rows: Vec<i64>) -> Padded {
        let mut ids = vec![0; rows.len() * width];
        let mut weights = vec![0.0; rows.len() * width];
        let places = ids
            .chunks_exact_mut(width)
            .zip(weights.chunks_exact_mut(width));
        for (&row, (ids, weights)) in rows.iter().zip(places) {
            let start = self.indptr[row as usize] as usize;
            let end = self.indptr[row as usize + 1] as usize;
            ids[..end - start].copy_from_slice(&self.indices[start..end]);
            weights[..end - start].copy_from_slice(&self.values[start..end]);
        }
        Padded {
            width,
            rows,
            ids,
            weights,
        }
    }
}
