//! `askance._kernel`: the seam between Python and Rust.
//!
//! Arrays in, arrays out. Misuse raises `TypeError` or `ValueError` naming what was given and the remedy; data never raises.

mod arrays;
mod encode;
mod features;
mod gate;

use pyo3::prelude::*;

#[pymodule]
mod _kernel {
    #[pymodule_export]
    use crate::encode::encode_predictions;
    #[pymodule_export]
    use crate::features::{HashedFeaturizer, LinearModel, MinHasher};
    #[pymodule_export]
    use crate::gate::{Decisions, decide, uncertainty, uniform};
    use crate::gate::{decide_on, paths};
    use pyo3::prelude::*;

    /// What is private is set rather than added, which would list it in `__all__`.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.setattr("_paths", wrap_pyfunction!(paths, module)?)?;
        module.setattr("_decide_on", wrap_pyfunction!(decide_on, module)?)
    }
}
