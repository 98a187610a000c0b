//! askance's hot path in plain Rust: no Python, no state, no allocation beyond the outputs.

pub mod draw;
pub mod encode;
pub mod features;
pub mod gate;
