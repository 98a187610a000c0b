//! Sorting buckets without vectors: a hash is uniform, so its top bits almost sort it.

/// With more buckets than this, the standard library's sort is as fast.
const MOST: usize = 1 << 14;

/// Sorts buckets of `bits` bits, in memory that it keeps.
pub(super) struct Sorter {
    bits: u32,
    /// Where each bin ends, once the buckets stand in their bins.
    ends: Vec<u32>,
    binned: Vec<u32>,
}

impl Sorter {
    pub(super) fn new(bits: u32) -> Self {
        Self {
            bits,
            ends: Vec::new(),
            binned: Vec::new(),
        }
    }

    /// Sorts `buckets`: into about one bin for each, then within the bins, of which few hold more than two.
    ///
    /// Text made to fill one bin costs the standard library's n log n, no more.
    pub(super) fn sort(&mut self, buckets: &mut Vec<u32>) {
        if !(8..=MOST).contains(&buckets.len()) {
            buckets.sort_unstable();
            return;
        }
        let bin_bits = self.bits.min(buckets.len().ilog2() + 1);
        let shift = self.bits - bin_bits;
        let bin = |bucket: u32| (bucket >> shift) as usize;

        self.ends.clear();
        self.ends.resize((1 << bin_bits) + 1, 0);
        for &bucket in &*buckets {
            self.ends[bin(bucket) + 1] += 1;
        }
        let mut total = 0;
        for end in &mut self.ends {
            total += *end;
            *end = total;
        }
        // So far an "end" is where its bin starts; it moves on as the bin is filled.
        self.binned.resize(buckets.len(), 0);
        for &bucket in &*buckets {
            let end = &mut self.ends[bin(bucket)];
            self.binned[*end as usize] = bucket;
            *end += 1;
        }
        let mut start = 0;
        for &end in &self.ends[..1 << bin_bits] {
            match &mut self.binned[start as usize..end as usize] {
                [] | [_] => {}
                [a, b] => (*a, *b) = (*a.min(b), *a.max(b)),
                more => more.sort_unstable(),
            }
            start = end;
        }
        std::mem::swap(&mut self.binned, buckets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_as_the_standard_library_does() {
        let mut state = 0_u64;
        for length in (0..300).chain([5_000, 20_000]) {
            for bits in [1, 6, 18, 24] {
                let mut buckets: Vec<u32> = (0..length)
                    .map(|_| {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        u32::try_from(state >> (64 - bits)).unwrap_or_default()
                    })
                    .collect();
                let mut expected = buckets.clone();
                expected.sort_unstable();
                Sorter::new(bits).sort(&mut buckets);
                assert_eq!(buckets, expected);
            }
        }
    }
}
