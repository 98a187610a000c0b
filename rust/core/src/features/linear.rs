//! A linear model on hashed features: for each document the sum of its features' rows by weight, and a bias.

use super::Csr;

/// A table with a row of K numbers for some of the buckets, and K biases.
pub struct Linear {
    /// Of each bucket, where its row begins in `rows`; those that have none share a row of zeros.
    starts: Vec<u32>,
    rows: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    /// `rows` are those of `buckets`, end to end, each as long as `bias`. None if they do not fit together, a bucket is
    /// not below `size`, or the table has 2^32 numbers.
    #[must_use]
    pub fn new(size: u32, buckets: &[i32], rows: &[f32], bias: &[f32]) -> Option<Self> {
        let classes = bias.len();
        let length = (buckets.len() + 1).checked_mul(classes)?;
        if rows.len() + classes != length || u32::try_from(length).is_err() {
            return None;
        }
        let mut starts = vec![0; size as usize];
        for (row, &bucket) in (1..).zip(buckets) {
            *starts.get_mut(usize::try_from(bucket).ok()?)? = u32::try_from(row * classes).ok()?;
        }
        let zeros = std::iter::repeat_n(0.0, classes);
        Some(Self {
            starts,
            rows: zeros.chain(rows.iter().copied()).collect(),
            bias: bias.to_vec(),
        })
    }

    /// (n, K), row by row. A row depends on its document alone and is the same to the bit on every CPU: each class is a
    /// sum of its own, of products and in the order of the features.
    #[must_use]
    pub fn logits(&self, features: &Csr) -> Vec<f32> {
        let classes = self.bias.len();
        let documents = features.indptr.len().saturating_sub(1);
        let mut logits = vec![0.0; documents * classes];
        if classes == 0 {
            return logits;
        }
        let mut found: Vec<(usize, f32)> = Vec::with_capacity(256);
        let mut place = 0;
        for (sums, &end) in logits
            .chunks_exact_mut(classes)
            .zip(features.indptr.iter().skip(1))
        {
            let end = usize::try_from(end).unwrap_or(place);
            found.clear();
            let weights = &features.values[place..end];
            found.extend(features.indices[place..end].iter().zip(weights).filter_map(
                |(&bucket, &weight)| {
                    let start = *self.starts.get(usize::try_from(bucket).ok()?)? as usize;
                    (start != 0).then_some((start, weight))
                },
            ));
            let mut first = 0;
            while classes - first >= 16 {
                self.add::<16>(&found, first, sums);
                first += 16;
            }
            while classes - first >= 4 {
                self.add::<4>(&found, first, sums);
                first += 4;
            }
            while first < classes {
                self.add::<1>(&found, first, sums);
                first += 1;
            }
            place = end;
        }
        logits
    }

    /// The sums of N classes, which stay in registers.
    #[inline]
    fn add<const N: usize>(&self, found: &[(usize, f32)], first: usize, sums: &mut [f32]) {
        let mut parts = [0.0_f32; N];
        for &(start, weight) in found {
            if let Some(row) = self
                .rows
                .get(start + first..)
                .and_then(|rest| rest.first_chunk::<N>())
            {
                for (part, number) in parts.iter_mut().zip(row) {
                    *part += weight * number;
                }
            }
        }
        for ((sum, part), bias) in sums[first..].iter_mut().zip(parts).zip(&self.bias[first..]) {
            *sum = part + bias;
        }
    }
}
