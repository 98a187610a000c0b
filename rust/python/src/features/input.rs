//! Documents as Python holds them, borrowed so that they can be read without the GIL.

use askance_core::features::DocumentsError;
use numpy::{PyArray1, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyUnicodeEncodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

/// Strings kept alive, whatever another thread does to the list that they come from.
pub(crate) struct Strings<'py>(Vec<Bound<'py, PyString>>);

impl<'py> Strings<'py> {
    pub(crate) fn of(name: &str, texts: &Bound<'py, PyList>) -> PyResult<Self> {
        let string = |(index, item): (usize, Bound<'py, PyAny>)| {
            item.cast_into::<PyString>().map_err(|error| {
                let kind = error.into_inner().get_type();
                PyTypeError::new_err(format!("{name}[{index}] must be a str, got {kind}"))
            })
        };
        texts
            .iter()
            .enumerate()
            .map(string)
            .collect::<PyResult<_>>()
            .map(Self)
    }

    /// The UTF-8 of each, which Python keeps beside the string for as long as that lives.
    pub(crate) fn utf8<'a>(&'a self, name: &str) -> PyResult<Vec<&'a str>> {
        let utf8 = |(index, string): (usize, &'a Bound<'py, PyString>)| {
            string.to_str().map_err(|error| {
                if error.is_instance_of::<PyUnicodeEncodeError>(string.py()) {
                    PyValueError::new_err(format!(
                        "{name}[{index}] holds a lone surrogate, which is not Unicode text; \
                         decode it with errors='replace'"
                    ))
                } else {
                    error
                }
            })
        };
        self.0.iter().enumerate().map(utf8).collect()
    }
}

/// A buffer of UTF-8 that nothing changes while it is read.
pub(super) enum Buffer<'py> {
    Bytes(Bound<'py, PyBytes>),
    /// Any thread may write to an array, so it is copied.
    Copied(Vec<u8>),
}

impl<'py> Buffer<'py> {
    pub(super) fn of(buffer: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = buffer.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone()));
        }
        let copy = buffer
            .cast::<PyArray1<u8>>()
            .ok()
            .and_then(|array| array.to_vec().ok());
        copy.map(Self::Copied).ok_or_else(|| {
            wrong(
                "buffer",
                "bytes or a one-dimensional C-contiguous uint8 array",
                buffer,
            )
        })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::Copied(bytes) => bytes,
        }
    }
}

/// A copy of the offsets, so that what was checked is what is used.
pub(super) fn offsets(offsets: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
    let copy = offsets
        .cast::<PyArray1<i64>>()
        .ok()
        .and_then(|array| array.to_vec().ok());
    copy.ok_or_else(|| {
        wrong(
            "offsets",
            "a one-dimensional C-contiguous int64 array",
            offsets,
        )
    })
}

/// What is wrong with documents, as a `ValueError`.
pub(super) fn value_error(error: &DocumentsError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A `TypeError` that names what was given, an array by its dtype and shape.
fn wrong(name: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyErr {
    let given = match given.cast::<PyUntypedArray>() {
        Ok(array) => {
            let layout = if array.is_c_contiguous() {
                ""
            } else {
                ", not contiguous"
            };
            format!("{} of shape {:?}{layout}", array.dtype(), array.shape())
        }
        Err(_) => given.get_type().to_string(),
    };
    PyTypeError::new_err(format!("{name} must be {expected}, got {given}"))
}
