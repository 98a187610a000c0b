//! Borrowing numpy arrays in and allocating them out, with messages that name what was given and the remedy.

use numpy::{
    Element, Ix1, Ix2, PyArray, PyArray1, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray,
    PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray1, PyUntypedArray, PyUntypedArrayMethods,
    dtype, ndarray::Dimension,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// Borrow a (n, K) matrix.
pub(crate) fn matrix<'py, T: Element>(
    name: &str,
    argument: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray2<'py, T>> {
    borrow::<T, Ix2>(name, argument, "(n, K)")
}

/// Borrow a vector with one element for each row, where the number of rows is known.
pub(crate) fn vector<'py, T: Element>(
    name: &str,
    argument: &Bound<'py, PyAny>,
    rows: Option<(&str, usize)>,
) -> PyResult<PyReadonlyArray1<'py, T>> {
    let array = borrow::<T, Ix1>(name, argument, "(n,)")?;
    match rows {
        Some((of, rows)) if rows != array.len() => Err(PyValueError::new_err(format!(
            "{name} has {} elements and {of} has {rows}; give one for each row",
            array.len()
        ))),
        _ => Ok(array),
    }
}

/// A new vector, on its way to Python.
pub(crate) struct Fresh<'py, T: Element>(PyReadwriteArray1<'py, T>);

impl<'py, T: Element> Fresh<'py, T> {
    pub(crate) fn new(py: Python<'py>, rows: usize) -> PyResult<Self> {
        Ok(Self(PyArray1::zeros(py, rows, false).try_into_readwrite()?))
    }

    pub(crate) fn as_mut_slice(&mut self) -> PyResult<&mut [T]> {
        Ok(self.0.as_slice_mut()?)
    }

    pub(crate) fn finish(self) -> Bound<'py, PyArray1<T>> {
        (**self.0).clone()
    }
}

fn borrow<'py, T: Element, D: Dimension>(
    name: &str,
    argument: &Bound<'py, PyAny>,
    shape: &str,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    if let Ok(array) = argument.cast::<PyArray<T, D>>()
        && array.is_c_contiguous()
        && array.is_aligned()
    {
        return Ok(array.try_readonly()?);
    }
    Err(complaint::<T>(name, argument, D::NDIM, shape))
}

/// What is wrong with an argument that cannot be borrowed.
#[cold]
fn complaint<T: Element>(
    name: &str,
    argument: &Bound<'_, PyAny>,
    dimensions: Option<usize>,
    shape: &str,
) -> PyErr {
    let wanted = dtype::<T>(argument.py());
    let remedy = format!("np.ascontiguousarray({name}, dtype=np.{wanted})");
    let Ok(array) = argument.cast::<PyUntypedArray>() else {
        return PyTypeError::new_err(format!(
            "{name} is of type {}; pass a numpy array: {remedy}",
            argument.get_type()
        ));
    };
    let given = array.shape();
    if !array.dtype().is_equiv_to(&wanted) {
        PyTypeError::new_err(format!(
            "{name} has dtype {}; it must be {wanted}: {remedy}",
            array.dtype()
        ))
    } else if dimensions.is_some_and(|dimensions| dimensions != array.ndim()) {
        PyValueError::new_err(format!("{name} has shape {given:?}; it must be {shape}"))
    } else {
        PyValueError::new_err(format!(
            "{name} of shape {given:?} is not C-contiguous and aligned; copy it once: {name}.copy()"
        ))
    }
}
