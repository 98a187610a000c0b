//! Borrowing numpy arrays in and allocating them out, with messages that name what was given and the remedy.

use std::mem::MaybeUninit;

use numpy::{
    Element, Ix1, Ix2, PyArray, PyArray1, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray,
    PyReadonlyArray1, PyReadonlyArray2, PyUntypedArray, PyUntypedArrayMethods, dtype,
    ndarray::Dimension,
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

/// A new vector on its way to Python, whose elements nobody has written yet.
pub(crate) struct Fresh<'py, T: Element>(Bound<'py, PyArray1<T>>);

impl<'py, T: Element + Copy> Fresh<'py, T> {
    pub(crate) fn new(py: Python<'py>, rows: usize) -> Self {
        // SAFETY: nothing reads the elements: `places` gives out what can only be written, and `finish` has its condition.
        Self(unsafe { PyArray1::new(py, [rows], false) })
    }

    pub(crate) fn places(&mut self) -> &mut [MaybeUninit<T>] {
        let length = self.0.len();
        // SAFETY: a new array is contiguous and aligned, and no one else has it as long as `self` is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.0.data().cast(), length) }
    }

    /// # Safety
    /// Every element must have been written.
    pub(crate) unsafe fn finish(self) -> Bound<'py, PyArray1<T>> {
        self.0
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
