//! The bindings of the hashed featurizer.

mod input;
mod linear;
mod minhash;

use askance_core::features::{Config, Csr, Featurizer, Padded, Weighting, documents};
use numpy::ndarray::{Array2, ShapeError};
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;

pub(crate) use input::Strings;
use input::{Buffer, offsets, value_error};

pub use linear::LinearModel;
pub use minhash::MinHasher;

/// The arrays of a CSR matrix: indptr, indices, values.
type CsrArrays<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray1<f32>>,
);

/// The documents of one width: rows, ids, weights.
type PaddedArrays<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray2<i32>>,
    Bound<'py, PyArray2<f32>>,
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
        match Featurizer::new(config) {
            Ok(featurizer) => Ok(Self { featurizer }),
            Err(error) => Err(PyValueError::new_err(error.to_string())),
        }
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
        let strings = Strings::of("texts", texts)?;
        let texts = strings.utf8("texts")?;
        let csr = py.detach(|| self.featurizer.transform(&texts));
        Ok(csr_arrays(py, csr))
    }

    /// `transform` of documents that lie end to end in a buffer of UTF-8.
    fn transform_utf8<'py>(
        &self,
        py: Python<'py>,
        buffer: &Bound<'py, PyAny>,
        offsets: &Bound<'py, PyAny>,
    ) -> PyResult<CsrArrays<'py>> {
        Ok(csr_arrays(py, self.utf8(py, buffer, offsets, |csr| csr)?))
    }

    /// The features of n documents as ids and weights of shape (m, width), with the m rows that they belong to.
    fn padded<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyList>,
    ) -> PyResult<Vec<PaddedArrays<'py>>> {
        let strings = Strings::of("texts", texts)?;
        let texts = strings.utf8("texts")?;
        let padded = py.detach(|| self.featurizer.transform(&texts).padded());
        padded_arrays(py, padded)
    }

    /// `padded` of documents that lie end to end in a buffer of UTF-8.
    fn padded_utf8<'py>(
        &self,
        py: Python<'py>,
        buffer: &Bound<'py, PyAny>,
        offsets: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<PaddedArrays<'py>>> {
        padded_arrays(py, self.utf8(py, buffer, offsets, |csr| csr.padded())?)
    }
}

impl HashedFeaturizer {
    /// `finish` of the features of the documents in `buffer`, all without the GIL.
    fn utf8<'py, T: Send>(
        &self,
        py: Python<'py>,
        buffer: &Bound<'py, PyAny>,
        bounds: &Bound<'py, PyAny>,
        finish: impl FnOnce(Csr) -> T + Send,
    ) -> PyResult<T> {
        let (buffer, bounds) = (Buffer::of(buffer)?, offsets(bounds)?);
        let bytes = buffer.bytes();
        py.detach(|| {
            documents(bytes, &bounds).map(|texts| finish(self.featurizer.transform(&texts)))
        })
        .map_err(|error| value_error(&error))
    }
}

/// Hands the vectors over to numpy, uncopied.
fn csr_arrays(py: Python<'_>, csr: Csr) -> CsrArrays<'_> {
    (
        csr.indptr.into_pyarray(py),
        csr.indices.into_pyarray(py),
        csr.values.into_pyarray(py),
    )
}

/// Hands the vectors over to numpy, uncopied.
fn padded_arrays(py: Python<'_>, padded: Vec<Padded>) -> PyResult<Vec<PaddedArrays<'_>>> {
    let shape_error = |error: ShapeError| PyValueError::new_err(error.to_string());
    let arrays = |Padded {
                      width,
                      rows,
                      ids,
                      weights,
                  }: Padded| {
        let shape = (rows.len(), width);
        let ids = Array2::from_shape_vec(shape, ids).map_err(shape_error)?;
        let weights = Array2::from_shape_vec(shape, weights).map_err(shape_error)?;
        Ok((
            rows.into_pyarray(py),
            ids.into_pyarray(py),
            weights.into_pyarray(py),
        ))
    };
    padded.into_iter().map(arrays).collect()
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
