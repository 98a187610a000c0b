//! `askance._kernel`: the seam between Python and Rust.
//!
//! Arrays in, arrays out. Misuse raises `TypeError` or `ValueError` naming what was given and the remedy; data never raises.

mod arrays;
mod features;
mod gate;

use pyo3::prelude::*;

#[pymodule]
mod _kernel {
    #[pymodule_export]
    use crate::features::HashedFeaturizer;
    #[pymodule_export]
    use crate::gate::{Decisions, decide, uncertainty, uniform};
}
