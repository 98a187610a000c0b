//! The bindings of the hashed featurizer.

use askance_core::features::{Config, Csr, Featurizer, Weighting};
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyUnicodeEncodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

/// The arrays of a CSR matrix: indptr, indices, values.
type CsrArrays<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray1<f32>>,
);

/// Word n-grams hashed to `2**bits` buckets; immutable, thread-safe, the same code in training and serving.
#[pyclass(frozen, module = "askance._kernel")]
pub struct HashedFeaturizer {
    featurizer: Featurizer,
}

#[pymethods]
impl HashedFeaturizer {
    #[new]
    #[pyo3(
        signature = (*, bits=Size(18), ngram_min=Size(1), ngram_max=Size(2), weighting="sublinear", max_words=Size(4096)),
        text_signature = "(*, bits=18, ngram_min=1, ngram_max=2, weighting='sublinear', max_words=4096)"
    )]
    fn new(
        bits: Size,
        ngram_min: Size,
        ngram_max: Size,
        weighting: &str,
        max_words: Size,
    ) -> PyResult<Self> {
        let weighting = match weighting {
            "count" => Weighting::Count,
            "binary" => Weighting::Binary,
            "sublinear" => Weighting::Sublinear,
            other => {
                return Err(PyValueError::new_err(format!(
                    "weighting must be 'count', 'binary' or 'sublinear', got {other:?}"
                )));
            }
        };
        let config = Config {
            bits: bits.0,
            ngram_min: ngram_min.0,
            ngram_max: ngram_max.0,
            weighting,
            max_words: max_words.0,
        };
        let featurizer =
            Featurizer::new(config).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { featurizer })
    }

    /// The number of buckets, `2**bits`.
    #[getter]
    fn buckets(&self) -> u32 {
        self.featurizer.buckets()
    }

    /// The features of n documents as the three arrays of a CSR matrix: (indptr, indices, values).
    fn transform<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyList>,
    ) -> PyResult<CsrArrays<'py>> {
        let strings = strong_references(texts)?;
        let borrowed = borrow(&strings)?;
        let csr = py.detach(|| self.featurizer.transform(&borrowed));
        Ok(arrays(py, csr))
    }
}

/// The strings of `texts`, kept alive whatever another thread does to the list.
fn strong_references<'py>(texts: &Bound<'py, PyList>) -> PyResult<Vec<Bound<'py, PyString>>> {
    let string = |(index, item): (usize, Bound<'py, PyAny>)| {
        item.cast_into::<PyString>().map_err(|error| {
            let kind = error.into_inner().get_type();
            PyTypeError::new_err(format!("texts[{index}] must be a str, got {kind}"))
        })
    };
    texts.iter().enumerate().map(string).collect()
}

/// The UTF-8 of each string, which Python keeps beside it for as long as it lives.
fn borrow<'a>(strings: &'a [Bound<'_, PyString>]) -> PyResult<Vec<&'a str>> {
    let utf8 = |(index, string): (usize, &'a Bound<'_, PyString>)| {
        string.to_str().map_err(|error| {
            if error.is_instance_of::<PyUnicodeEncodeError>(string.py()) {
                PyValueError::new_err(format!(
                    "texts[{index}] holds a lone surrogate, which is not Unicode text; \
                     decode it with errors='replace'"
                ))
            } else {
                error
            }
        })
    };
    strings.iter().enumerate().map(utf8).collect()
}

/// Hands the vectors over to numpy, uncopied.
fn arrays(py: Python<'_>, csr: Csr) -> CsrArrays<'_> {
    (
        csr.indptr.into_pyarray(py),
        csr.indices.into_pyarray(py),
        csr.values.into_pyarray(py),
    )
}

/// A whole number; one too large for the machine becomes the largest (or smallest), so that limits are checked in one place.
#[derive(Clone, Copy)]
struct Size(i64);

impl<'py> FromPyObject<'_, 'py> for Size {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        object.extract().map(Self).or_else(|error| {
            if error.is_instance_of::<PyOverflowError>(object.py()) {
                let negative = object.lt(0)?;
                Ok(Self(if negative { i64::MIN } else { i64::MAX }))
            } else {
                Err(error)
            }
        })
    }
}
