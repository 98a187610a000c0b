//! Keyed draws: a record's coordinates are its random number, so a replay tosses the same coin.
//!
//! Owns invariant 3: the same (seed, topic, partition, offset) always gives the same draw. There is no state to
//! carry, so batch size, order, threads and machine cannot matter.
//!
//! The generator is `SplitMix64` (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
//! Each (seed, topic, partition) names one `SplitMix64` stream and the offset is the position in it. The parts of the
//! key pass through the finaliser one after the other, so neighbouring seeds and partitions start at unrelated states.

/// The golden-ratio increment of `SplitMix64`.
pub const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

const FNV_OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;

/// 2^-53: a 53-bit integer times this is an f64 in [0, 1) without rounding.
const UNIT: f64 = f64::EPSILON / 2.0;

/// The `SplitMix64` finaliser (Stafford's variant 13), a bijection on 64 bits.
#[inline]
#[must_use]
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// FNV-1a over 64 bits, the topic's part of the key.
#[must_use]
pub const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = FNV_OFFSET;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(FNV_PRIME);
        index += 1;
    }
    hash
}

/// The draws of every record of one topic under one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    key: u64,
}

impl Draws {
    #[must_use]
    pub const fn new(seed: u64, topic: &str) -> Self {
        Self {
            key: mix(mix(seed.wrapping_add(GAMMA)) ^ fnv1a(topic.as_bytes())),
        }
    }

    /// Where the partition's `SplitMix64` stream starts.
    #[inline]
    #[must_use]
    pub const fn state(self, partition: i32) -> u64 {
        mix(self
            .key
            .wrapping_add((partition as i64).cast_unsigned().wrapping_mul(GAMMA)))
    }

    /// The 64 random bits of one record.
    #[inline]
    #[must_use]
    pub const fn bits(self, partition: i32, offset: i64) -> u64 {
        output(self.state(partition), offset)
    }

    /// The record's draw in [0, 1), with 53 random bits.
    #[inline]
    #[must_use]
    pub const fn uniform(self, partition: i32, offset: i64) -> f64 {
        unit(self.bits(partition, offset))
    }
}

/// The output of the `SplitMix64` stream that starts at `state`, at position `offset`.
#[inline]
#[must_use]
pub const fn output(state: u64, offset: i64) -> u64 {
    mix(state.wrapping_add(offset.cast_unsigned().wrapping_add(1).wrapping_mul(GAMMA)))
}

/// The upper 53 bits as a number in [0, 1).
#[inline]
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64")]
pub const fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * UNIT
}

/// What the draw of these bits is at least, and what it is below: the upper 24 bits with zeros and with ones behind them.
#[inline]
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "24 bits fit both an i32, which converts faster than a u64, and an f32"
)]
pub const fn bounds(state: u64, offset: i64) -> (f32, f32) {
    const STEP: f32 = 1.0 / 16_777_216.0; // 2^-24
    let upper = (output(state, offset) >> 40) as i32 as f32 * STEP;
    (upper, upper + STEP)
}
