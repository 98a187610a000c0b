//! The bindings of the signatures.

use askance_core::features;
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::Size;
use super::input::Strings;

/// Signatures whose equal components estimate how alike two documents are; immutable, thread-safe.
#[pyclass(frozen, module = "askance._kernel")]
pub struct MinHasher {
    hasher: features::MinHasher,
}

#[pymethods]
impl MinHasher {
    #[new]
    #[pyo3(
        signature = (*, permutations=Size(128), shingle=Size(3), max_words=Size(4096)),
        text_signature = "(*, permutations=128, shingle=3, max_words=4096)"
    )]
    fn new(permutations: Size, shingle: Size, max_words: Size) -> PyResult<Self> {
        match features::MinHasher::new(permutations.0, shingle.0, max_words.0) {
            Ok(hasher) => Ok(Self { hasher }),
            Err(error) => Err(PyValueError::new_err(error.to_string())),
        }
    }

    /// The signatures of n documents, (n, permutations) uint32.
    fn signatures<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyList>,
    ) -> PyResult<Bound<'py, PyArray2<u32>>> {
        let strings = Strings::of("texts", texts)?;
        let texts = strings.utf8("texts")?;
        let signatures = py.detach(|| self.hasher.signatures(&texts));
        Array2::from_shape_vec((texts.len(), self.hasher.permutations()), signatures)
            .map(|array| array.into_pyarray(py))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }
}
