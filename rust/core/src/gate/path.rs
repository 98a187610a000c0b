//! Which instruction set runs a call, decided at run time so that one wheel serves every CPU.
//!
//! The paths are the same Rust compiled for different vectors, except for the transposition (which moves values and computes
//! none). Every operation rounds as IEEE 754 says, multiplications and additions are fused where the source says `mul_add`
//! and nowhere else, and none is reordered: all paths return the same bits.

#[cfg(target_arch = "x86_64")]
use super::transpose::{Avx2, Avx512};
use super::transpose::{Isa, Portable};

/// Work that can be compiled for every path.
pub(super) trait Job {
    /// Must be `#[inline(always)]`, as must what it calls: code that is not inlined keeps the target's own features.
    fn run(self, isa: impl Isa);
}

/// An instruction set that the kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// What the target guarantees: NEON on aarch64, SSE2 on x86-64. Right but slow on an x86-64 from before 2013, where the
    /// C library computes each fused multiply-add.
    Portable,
    /// x86-64 with AVX2 and FMA: Haswell and Zen on.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL: Skylake-SP and Zen 4 on.
    Avx512,
}

impl Path {
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// Whether this CPU can run it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The widest one this CPU can run.
    #[must_use]
    pub fn best() -> Self {
        if Self::Avx512.is_available() {
            Self::Avx512
        } else if Self::Avx2.is_available() {
            Self::Avx2
        } else {
            Self::Portable
        }
    }

    /// Its name in messages, benchmarks and tests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Run the job on this path, or on the portable one where the CPU cannot: the bits are the same.
    pub(super) fn run(self, job: impl Job) {
        #[cfg(target_arch = "x86_64")]
        if self.is_available() {
            match self {
                // SAFETY: `is_available` has just found every feature that `avx512` is compiled for.
                Self::Avx512 => return unsafe { avx512(job) },
                // SAFETY: `is_available` has just found AVX2 and FMA.
                Self::Avx2 => return unsafe { avx2(job) },
                Self::Portable => {}
            }
        }
        job.run(Portable);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "fma,avx2,avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512(job: impl Job) {
    // SAFETY: this function is only called where the CPU has what it is compiled for.
    job.run(unsafe { Avx512::new() });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "fma,avx2")]
fn avx2(job: impl Job) {
    // SAFETY: this function is only called where the CPU has what it is compiled for.
    job.run(unsafe { Avx2::new() });
}
