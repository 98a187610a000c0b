//! The bindings of the encoders.

use askance_core::encode::{Columns, Template, predictions};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::arrays::vector;
use crate::features::Strings;

/// n predictions as lines of JSON.
#[pyfunction]
#[pyo3(signature = (*, ids, finite, labels, confidences, uncertainties, propensities, accepted, partitions, offsets, endings, label_names, middle, missing, ending_names))]
// One argument a column: they are taken by keyword.
#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]
pub fn encode_predictions<'py>(
    py: Python<'py>,
    ids: &Bound<'py, PyList>,
    finite: &Bound<'py, PyAny>,
    labels: &Bound<'py, PyAny>,
    confidences: &Bound<'py, PyAny>,
    uncertainties: &Bound<'py, PyAny>,
    propensities: &Bound<'py, PyAny>,
    accepted: &Bound<'py, PyAny>,
    partitions: &Bound<'py, PyAny>,
    offsets: &Bound<'py, PyAny>,
    endings: &Bound<'py, PyAny>,
    label_names: Vec<Vec<u8>>,
    middle: &[u8],
    missing: &[u8],
    ending_names: Vec<Vec<u8>>,
) -> PyResult<Bound<'py, PyList>> {
    let strings = Strings::of("ids", ids)?;
    let ids = strings.utf8("ids")?;
    let rows = Some(("ids", ids.len()));
    let finite = vector::<bool>("finite", finite, rows)?;
    let labels = vector::<i32>("labels", labels, rows)?;
    let confidences = vector::<f32>("confidences", confidences, rows)?;
    let uncertainties = vector::<f32>("uncertainties", uncertainties, rows)?;
    let propensities = vector::<f32>("propensities", propensities, rows)?;
    let accepted = vector::<bool>("accepted", accepted, rows)?;
    let partitions = vector::<i32>("partitions", partitions, rows)?;
    let offsets = vector::<i64>("offsets", offsets, rows)?;
    let endings = vector::<u8>("endings", endings, rows)?;
    let columns = Columns {
        ids: &ids,
        finite: slice(&finite)?,
        labels: slice(&labels)?,
        confidences: slice(&confidences)?,
        uncertainties: slice(&uncertainties)?,
        propensities: slice(&propensities)?,
        accepted: slice(&accepted)?,
        partitions: slice(&partitions)?,
        offsets: slice(&offsets)?,
        endings: slice(&endings)?,
    };
    let known = |label: i32| usize::try_from(label).is_ok_and(|label| label < label_names.len());
    let unnamed = |(&label, &finite): (&i32, &bool)| finite && !known(label);
    if columns.labels.iter().zip(columns.finite).any(unnamed) {
        return Err(PyValueError::new_err(
            "labels has a number that label_names does not name",
        ));
    }
    if columns
        .endings
        .iter()
        .any(|&ending| usize::from(ending) >= ending_names.len())
    {
        return Err(PyValueError::new_err(
            "endings has a number that ending_names does not name",
        ));
    }
    let template = Template {
        middle,
        labels: &label_names,
        missing,
        endings: &ending_names,
    };
    let (lines, ends) = py.detach(|| predictions(&template, &columns));
    let starts = std::iter::once(0).chain(ends.iter().copied());
    PyList::new(
        py,
        starts
            .zip(&ends)
            .map(|(start, &end)| PyBytes::new(py, &lines[start..end]))
            .collect::<Vec<_>>(),
    )
}

fn slice<'a, T: numpy::Element>(array: &'a PyReadonlyArray1<'_, T>) -> PyResult<&'a [T]> {
    array
        .as_slice()
        .map_err(|error| PyValueError::new_err(error.to_string()))
}
