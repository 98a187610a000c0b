//! The bindings of the linear model.

use askance_core::features::{Featurizer, Linear};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::{HashedFeaturizer, Strings};
use crate::arrays::{matrix, vector};

/// A linear model on hashed features; immutable, thread-safe.
#[pyclass(frozen, module = "askance._kernel")]
pub struct LinearModel {
    featurizer: Featurizer,
    linear: Linear,
    classes: usize,
}

#[pymethods]
impl LinearModel {
    #[new]
    #[pyo3(signature = (featurizer, *, buckets, rows, bias))]
    fn new(
        featurizer: &HashedFeaturizer,
        buckets: &Bound<'_, PyAny>,
        rows: &Bound<'_, PyAny>,
        bias: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let rows = matrix::<f32>("rows", rows)?;
        let buckets = vector::<i32>("buckets", buckets, Some(("rows", rows.shape()[0])))?;
        let bias = vector::<f32>("bias", bias, None)?;
        let featurizer = featurizer.featurizer.clone();
        let (Ok(bucket), Ok(row), Ok(numbers)) =
            (buckets.as_slice(), rows.as_slice(), bias.as_slice())
        else {
            return Err(PyValueError::new_err("the arrays must be C-contiguous"));
        };
        let linear = Linear::new(featurizer.buckets(), bucket, row, numbers).ok_or_else(|| {
            PyValueError::new_err(format!(
                "rows of shape {:?} and {} biases do not fit together, or a bucket is not below {}",
                rows.shape(),
                bias.len(),
                featurizer.buckets()
            ))
        })?;
        Ok(Self {
            featurizer,
            linear,
            classes: bias.len(),
        })
    }

    /// (n, K) float32 logits.
    fn logits<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyList>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let strings = Strings::of("texts", texts)?;
        let texts = strings.utf8("texts")?;
        let logits = py.detach(|| self.linear.logits(&self.featurizer.transform(&texts)));
        let logits = Array2::from_shape_vec((texts.len(), self.classes), logits);
        Ok(logits
            .map_err(|error| PyValueError::new_err(error.to_string()))?
            .into_pyarray(py))
    }
}
