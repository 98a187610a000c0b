//! An endless stream of draws as raw bytes, for a battery of statistical tests.
//!
//! `cargo run --release -p askance-core --example draws -- interleaved | dieharder -a -g 200`

use std::io::{BufWriter, Write};

use askance_core::draw::Draws;

fn main() {
    let order = std::env::args().nth(1).unwrap_or_default();
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    for index in 0..u64::MAX {
        // The low bits of the index; a remainder always fits.
        let low = |modulus: u64| i32::try_from(index % modulus).unwrap_or(0);
        let bits = match order.as_str() {
            // One partition, offset after offset: a plain SplitMix64 stream.
            "offsets" => Draws::new(1, "documents").bits(0, index.cast_signed()),
            // The first record of each partition (the offset moves on after 2^31 of them).
            "partitions" => {
                Draws::new(1, "documents").bits(low(1 << 31), (index >> 31).cast_signed())
            }
            // The first record under each seed.
            "seeds" => Draws::new(index, "documents").bits(0, 0),
            // What a worker sees: 12 partitions in turn, under two neighbouring seeds.
            "interleaved" => {
                Draws::new(1 + index % 2, "documents").bits(low(24) / 2, (index / 24).cast_signed())
            }
            other => {
                eprintln!("order is {other:?}; choose offsets, partitions, seeds or interleaved");
                std::process::exit(2);
            }
        };
        // A closed pipe is how the battery says that it has had enough.
        if out.write_all(&bits.to_le_bytes()).is_err() {
            break;
        }
    }
}
