//! Rows of a sparse matrix: buckets counted, weighted and scaled to length one.

use super::Weighting;
use super::avx512::Avx512;

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

/// The buckets of one document that occur more than once: the place in its row, ascending, and how often.
#[derive(Default)]
pub(super) struct Repeated(Vec<(usize, usize)>);

impl Repeated {
    /// The bucket at `place`, the last one so far, occurs once more.
    #[inline]
    pub(super) fn again(&mut self, place: usize) {
        match self.0.last_mut() {
            Some((last, count)) if *last == place => *count += 1,
            _ => self.0.push((place, 2)),
        }
    }
}

/// Makes rows, one after another, in memory that it keeps.
pub(super) struct Rows {
    csr: Csr,
    weights: Weights,
    avx512: Option<Avx512>,
    repeated: Repeated,
}

impl Rows {
    /// For `rows` rows with about `features` entries together.
    pub(super) fn new(
        rows: usize,
        features: usize,
        weighting: Weighting,
        avx512: Option<Avx512>,
    ) -> Self {
        let mut indptr = Vec::with_capacity(rows + 1);
        indptr.push(0);
        Self {
            csr: Csr {
                indptr,
                indices: Vec::with_capacity(features),
                values: Vec::with_capacity(features),
            },
            weights: Weights::new(weighting),
            avx512,
            repeated: Repeated::default(),
        }
    }

    pub(super) fn finish(self) -> Csr {
        self.csr
    }

    /// Adds the row of a document with these buckets, which it may sort.
    pub(super) fn push(&mut self, buckets: &mut [u32]) {
        let Csr {
            indptr,
            indices,
            values,
        } = &mut self.csr;
        let start = indices.len();
        self.repeated.0.clear();
        let done = self
            .avx512
            .is_some_and(|avx512| avx512.sorted_unique(buckets, indices, &mut self.repeated));
        if !done {
            buckets.sort_unstable();
            unique(buckets, indices, &mut self.repeated);
        }
        #[expect(
            clippy::cast_possible_wrap,
            reason = "a vector has fewer than 2^63 entries"
        )]
        indptr.push(indices.len() as i64);
        self.weights
            .push(indices.len() - start, &self.repeated, values);
    }
}

/// Adds each of the sorted `buckets` once to `indices`.
#[expect(clippy::cast_possible_wrap, reason = "a bucket has 24 bits")]
fn unique(buckets: &[u32], indices: &mut Vec<i32>, repeated: &mut Repeated) {
    let start = indices.len();
    let mut last = None;
    for &bucket in buckets {
        if last == Some(bucket) {
            repeated.again(indices.len() - start - 1);
        } else {
            indices.push(bucket as i32);
            last = Some(bucket);
        }
    }
}

/// What a bucket weighs that occurs so often.
struct Weights {
    weighting: Weighting,
    /// For the counts that are common.
    common: [f64; 32],
}

impl Weights {
    fn new(weighting: Weighting) -> Self {
        Self {
            weighting,
            common: std::array::from_fn(|count| weight(count, weighting)),
        }
    }

    fn of(&self, count: usize) -> f64 {
        self.common
            .get(count)
            .copied()
            .unwrap_or_else(|| weight(count, self.weighting))
    }

    /// Adds the weights of a row of `count` buckets, scaled to length one.
    ///
    /// Most buckets occur once and weigh 1; the rest are put right afterwards.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a row has at most 8,000,000 entries; values are float32"
    )]
    fn push(&self, count: usize, repeated: &Repeated, values: &mut Vec<f32>) {
        let start = values.len();
        let mut squares = (count - repeated.0.len()) as f64;
        for &(_, count) in &repeated.0 {
            squares += self.of(count).powi(2);
        }
        let scale = 1.0 / squares.sqrt();
        values.resize(start + count, scale as f32);
        for &(place, count) in &repeated.0 {
            values[start + place] = (self.of(count) * scale) as f32;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count is at most 8,000,000")]
fn weight(count: usize, weighting: Weighting) -> f64 {
    match weighting {
        Weighting::Count => count as f64,
        Weighting::Binary => 1.0,
        Weighting::Sublinear => 1.0 + (count as f64).ln(),
    }
}
