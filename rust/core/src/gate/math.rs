//! `exp2` and `log2` in f32, without table or branch.
//!
//! Each operation, fused multiply-adds among them, rounds once as IEEE 754 says, and Rust never contracts or reorders them:
//! whatever instruction set a caller is compiled for, the bits are the same. Elementwise code only, so that the compiler
//! vectorises the callers' loops.

/// Adding and subtracting this rounds an f32 of magnitude below 2^22 to the nearest integer, ties to even.
const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23

/// The smallest exponent [`exp2`] takes: 2^-126 is the smallest normal number, and 0 for every purpose here.
pub(super) const EXP2_LOWEST: f32 = -126.0;

/// 2^d for d in [`EXP2_LOWEST`, 0], with a relative error below 2.0e-7; exactly 1 at 0.
///
/// d = n + f with n an integer and |f| <= 1/2 (exact), 2^f by the minimax polynomial of degree 5 with constant term 1
/// (relative error 9.2e-8), and n is added to the exponent bits.
#[inline(always)]
#[expect(
    clippy::approx_constant,
    reason = "a minimax coefficient near ln 2, not ln 2"
)]
pub(super) fn exp2(d: f32) -> f32 {
    let rounded = d + ROUND;
    let f = d - (rounded - ROUND);
    let mut p = 1.326_472_7e-3_f32;
    p = p.mul_add(f, 9.671_513e-3);
    p = p.mul_add(f, 5.550_733_6e-2);
    p = p.mul_add(f, 2.402_224_2e-1);
    p = p.mul_add(f, 6.931_47e-1);
    p = p.mul_add(f, 1.0);
    // The low bits of `rounded` hold n in two's complement; the shift keeps its low 9 bits.
    f32::from_bits(p.to_bits().wrapping_add(rounded.to_bits() << 23))
}

/// log2 of a normal, positive x, with an absolute error below 1.1e-7 * max(1, |log2 x|); exactly 0 at 1.
///
/// x = 2^n * m with m in [sqrt(1/2), sqrt(2)), and ln m = 2 atanh(s) with s = (m - 1) / (m + 1), |s| < 0.172, whose
/// series is cut after s^9 (relative error 2e-9). Any other x gives any number: rows that are not finite pass through here.
#[inline(always)]
#[expect(
    clippy::many_single_char_names,
    reason = "the names of the formulas above"
)]
#[expect(clippy::cast_precision_loss, reason = "an exponent fits an f32")]
#[expect(
    clippy::cast_possible_wrap,
    reason = "the sign bit of a positive x is 0"
)]
pub(super) fn log2(x: f32) -> f32 {
    const SQRT_HALF_BITS: i32 = 0x3F35_04F3;
    let bits = x.to_bits() as i32;
    let n = bits.wrapping_sub(SQRT_HALF_BITS) >> 23;
    let f = f32::from_bits(bits.wrapping_sub(n << 23).cast_unsigned()) - 1.0;
    let s = f / (f + 2.0);
    let z = s * s;
    let mut p = 2.0 / 9.0 * std::f32::consts::LOG2_E;
    p = p.mul_add(z, 2.0 / 7.0 * std::f32::consts::LOG2_E);
    p = p.mul_add(z, 2.0 / 5.0 * std::f32::consts::LOG2_E);
    p = p.mul_add(z, 2.0 / 3.0 * std::f32::consts::LOG2_E);
    p = p.mul_add(z, 2.0 * std::f32::consts::LOG2_E);
    n as f32 + s * p
}

#[cfg(test)]
mod tests {
    use super::{EXP2_LOWEST, exp2, log2};

    #[test]
    fn exp2_is_accurate_over_its_whole_range() {
        let mut worst = 0.0_f64;
        let mut d = 0.0_f32;
        while d >= -126.0 {
            let exact = f64::from(d).exp2();
            worst = worst.max(((f64::from(exp2(d)) - exact) / exact).abs());
            d -= 1.0e-4 + d.abs() * 1.0e-5;
        }
        assert!(worst < 2.0e-7, "{worst:e}");
        assert!(exp2(0.0).to_bits() == 1.0_f32.to_bits());
        assert!(exp2(EXP2_LOWEST).to_bits() == f32::MIN_POSITIVE.to_bits());
    }

    #[test]
    fn log2_is_accurate() {
        let mut worst = 0.0_f64;
        let mut x = f32::MIN_POSITIVE;
        while x < f32::MAX / 2.0 {
            let exact = f64::from(x).log2();
            worst = worst.max((f64::from(log2(x)) - exact).abs() / exact.abs().max(1.0));
            x *= 1.000_1;
        }
        assert!(worst < 1.1e-7, "{worst:e}");
        assert!(log2(1.0).abs().to_bits() == 0);
    }
}
