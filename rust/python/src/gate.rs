//! The gate and its draws, as Python sees them; the contract is in `_kernel.pyi`.

use askance_core::draw::Draws;
use askance_core::gate::{
    self, Coins, Logits, Measure, Misuse, Outputs, Path, Propensity, Scoring,
};
use numpy::{PyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::arrays::{Fresh, matrix, vector};

/// What `decide` says of n rows.
#[pyclass(frozen, module = "askance._kernel")]
pub struct Decisions {
    #[pyo3(get)]
    labels: Py<PyArray1<i32>>,
    #[pyo3(get)]
    confidences: Py<PyArray1<f32>>,
    #[pyo3(get)]
    uncertainties: Py<PyArray1<f32>>,
    #[pyo3(get)]
    propensities: Py<PyArray1<f32>>,
    #[pyo3(get)]
    accepted: Py<PyArray1<bool>>,
    #[pyo3(get)]
    finite: Py<PyArray1<bool>>,
}

/// The keyed draws of n records.
#[pyfunction]
#[pyo3(signature = (*, seed, topic, partitions, offsets))]
pub fn uniform<'py>(
    py: Python<'py>,
    seed: &Bound<'py, PyAny>,
    topic: &str,
    partitions: &Bound<'py, PyAny>,
    offsets: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let draws = Draws::new(seed_of(seed)?, topic);
    let partitions = vector::<i32>("partitions", partitions, None)?;
    let offsets = vector::<i64>("offsets", offsets, Some(("partitions", partitions.len())))?;
    let (partitions, offsets) = (partitions.as_slice()?, offsets.as_slice()?);
    let mut result = Fresh::new(py, partitions.len());
    let places = result.places();
    py.detach(|| {
        for ((place, &partition), &offset) in places.iter_mut().zip(partitions).zip(offsets) {
            place.write(draws.uniform(partition, offset));
        }
    });
    // SAFETY: partitions, offsets and places are equally many, so the loop has written every one.
    Ok(unsafe { result.finish() })
}

/// The uncertainty of each row.
#[pyfunction]
#[pyo3(signature = (*, logits, measure = "entropy", temperature = 1.0))]
pub fn uncertainty<'py>(
    py: Python<'py>,
    logits: &Bound<'py, PyAny>,
    measure: &str,
    temperature: f64,
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    let scoring = scoring(measure, temperature)?;
    let borrowed = matrix::<f32>("logits", logits)?;
    let logits = rows_of(&borrowed)?;
    let mut result = Fresh::new(py, logits.rows());
    let places = result.places().into();
    py.detach(|| gate::uncertainty(Path::best(), logits, scoring, places))
        .map_err(misuse)?;
    // SAFETY: `gate::uncertainty` writes every place when it succeeds.
    Ok(unsafe { result.finish() })
}

/// Score n rows and toss one keyed, weighted coin for each.
#[pyfunction]
#[pyo3(signature = (*, logits, temperature, measure, floor, exponent, scale, seed, topic, partitions, offsets))]
#[expect(
    clippy::too_many_arguments,
    reason = "keyword-only in Python, one for each part of the formula"
)]
pub fn decide(
    py: Python<'_>,
    logits: &Bound<'_, PyAny>,
    temperature: f64,
    measure: &str,
    floor: f64,
    exponent: f64,
    scale: f64,
    seed: &Bound<'_, PyAny>,
    topic: &str,
    partitions: &Bound<'_, PyAny>,
    offsets: &Bound<'_, PyAny>,
) -> PyResult<Decisions> {
    let best = Named(Path::best());
    decide_on(
        py,
        best,
        logits,
        temperature,
        measure,
        floor,
        exponent,
        scale,
        seed,
        topic,
        partitions,
        offsets,
    )
}

/// The names of the paths that this CPU has.
#[pyfunction(name = "_paths")]
pub fn paths() -> Vec<&'static str> {
    available().map(Path::name).collect()
}

fn available() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|path| path.is_available())
}

/// A path as Python names it.
#[derive(Clone, Copy)]
pub struct Named(Path);

impl<'py> FromPyObject<'_, 'py> for Named {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let name: &str = object.extract()?;
        available()
            .find(|path| path.name() == name)
            .map(Self)
            .ok_or_else(|| {
                PyValueError::new_err(format!("path is {name:?}; this CPU has {:?}", paths()))
            })
    }
}

/// `decide` on a path of the caller's choice, for tests and benchmarks.
#[pyfunction(name = "_decide_on")]
#[pyo3(signature = (path, *, logits, temperature, measure, floor, exponent, scale, seed, topic, partitions, offsets))]
#[expect(clippy::too_many_arguments, reason = "those of `decide` and the path")]
pub fn decide_on(
    py: Python<'_>,
    path: Named,
    logits: &Bound<'_, PyAny>,
    temperature: f64,
    measure: &str,
    floor: f64,
    exponent: f64,
    scale: f64,
    seed: &Bound<'_, PyAny>,
    topic: &str,
    partitions: &Bound<'_, PyAny>,
    offsets: &Bound<'_, PyAny>,
) -> PyResult<Decisions> {
    let scoring = scoring(measure, temperature)?;
    let propensity = Propensity::new(floor, exponent, scale).map_err(misuse)?;
    let draws = Draws::new(seed_of(seed)?, topic);
    let borrowed = matrix::<f32>("logits", logits)?;
    let logits = rows_of(&borrowed)?;
    let rows = logits.rows();
    let partitions = vector::<i32>("partitions", partitions, Some(("logits", rows)))?;
    let offsets = vector::<i64>("offsets", offsets, Some(("logits", rows)))?;
    let coins = Coins {
        draws,
        propensity,
        partitions: partitions.as_slice()?,
        offsets: offsets.as_slice()?,
    };

    let mut labels = Fresh::new(py, rows);
    let mut confidences = Fresh::new(py, rows);
    let mut uncertainties = Fresh::new(py, rows);
    let mut propensities = Fresh::new(py, rows);
    let mut accepted = Fresh::new(py, rows);
    let mut finite = Fresh::new(py, rows);
    let outputs = Outputs {
        labels: labels.places().into(),
        confidences: confidences.places().into(),
        uncertainties: uncertainties.places().into(),
        propensities: propensities.places().into(),
        accepted: accepted.places().into(),
        finite: finite.places().into(),
    };
    py.detach(|| gate::decide(path.0, logits, scoring, coins, outputs))
        .map_err(misuse)?;
    // SAFETY: `gate::decide` writes every place of its outputs when it succeeds.
    let decisions = unsafe {
        Decisions {
            labels: labels.finish().unbind(),
            confidences: confidences.finish().unbind(),
            uncertainties: uncertainties.finish().unbind(),
            propensities: propensities.finish().unbind(),
            accepted: accepted.finish().unbind(),
            finite: finite.finish().unbind(),
        }
    };
    Ok(decisions)
}

fn rows_of<'a>(logits: &'a PyReadonlyArray2<'_, f32>) -> PyResult<Logits<'a>> {
    Logits::new(logits.as_slice()?, logits.shape()[1]).map_err(misuse)
}

fn scoring(measure: &str, temperature: f64) -> PyResult<Scoring> {
    Scoring::new(Measure::from_name(measure).map_err(misuse)?, temperature).map_err(misuse)
}

/// A seed as u64; pyo3 alone would raise `OverflowError`.
fn seed_of(seed: &Bound<'_, PyAny>) -> PyResult<u64> {
    seed.extract::<u64>().map_err(|error| {
        if error.is_instance_of::<PyTypeError>(seed.py()) {
            PyTypeError::new_err(format!(
                "seed is of type {}; it must be an int in [0, 2**64)",
                seed.get_type()
            ))
        } else {
            PyValueError::new_err(format!(
                "seed is {seed}; it must be in [0, 2**64): take it modulo 2**64"
            ))
        }
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` wants"
)]
fn misuse(error: Misuse) -> PyErr {
    PyValueError::new_err(error.to_string())
}
