"""The compiled kernel against the golden vectors and the slow reference, and what it says of misuse."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from askance import _kernel

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

import reference  # noqa: E402

TOLERANCE = 1e-6
MEASURES = ["entropy", "margin", "least_confidence"]


def golden(name: str) -> dict[str, Any]:
    return json.loads((TESTS / "golden" / name).read_text(encoding="utf-8"))


def coordinates(rows: int) -> dict[str, Any]:
    return {"partitions": np.arange(rows, dtype=np.int32) % 3, "offsets": np.arange(1000, 1000 + rows)}


def decide(logits: np.ndarray, **changes: Any) -> _kernel.Decisions:
    arguments: dict[str, Any] = {
        "logits": logits,
        "temperature": 1.0,
        "measure": "entropy",
        "floor": 0.0,
        "exponent": 1.0,
        "scale": 1.0,
        "seed": 7,
        "topic": "golden",
        **coordinates(len(logits)),
    }
    return _kernel.decide(**(arguments | changes))


def matrix(case: dict[str, Any]) -> np.ndarray:
    return np.array([[float(x) for x in row] for row in case["logits"]], dtype=np.float32)


def test_the_reference_is_splitmix64() -> None:
    published = golden("draws.json")["splitmix64"]
    state = int(published["state"])
    outputs = [reference.mix((state + (i + 1) * 0x9E3779B97F4A7C15) % 2**64) for i in range(5)]
    assert outputs == [int(x) for x in published["outputs"]]


def test_draws_match_the_golden_ones_to_the_bit() -> None:
    for case in golden("draws.json")["draws"]:
        draw = _kernel.uniform(
            seed=int(case["seed"]),
            topic=case["topic"],
            partitions=np.array([case["partition"]], dtype=np.int32),
            offsets=np.array([int(case["offset"])], dtype=np.int64),
        )
        assert draw.dtype == np.float64
        assert draw.tolist() == [case["uniform"]], case


@pytest.mark.parametrize("case", golden("decisions.json")["cases"], ids=lambda c: f"{c['name']}-{c['measure']}")
def test_decisions_match_the_golden_ones(case: dict[str, Any]) -> None:
    logits = matrix(case)
    got = decide(logits, measure=case["measure"], temperature=case["temperature"])
    assert got.labels.tolist() == case["labels"]
    assert got.finite.tolist() == case["finite"]
    np.testing.assert_allclose(got.confidences, case["confidences"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(got.uncertainties, case["uncertainties"], rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(got.propensities, got.uncertainties)
    np.testing.assert_array_equal(got.accepted, np.array(case["draws"]) < got.propensities)
    alone = _kernel.uncertainty(logits=logits, measure=case["measure"], temperature=case["temperature"])
    np.testing.assert_array_equal(alone, got.uncertainties)


@given(
    logits=hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 70), st.integers(2, 40)),
        elements=st.one_of(
            st.floats(-30, 30, width=32),
            st.floats(width=32),
            st.sampled_from([0.0, 1.0, 1e30, -1e30]).map(lambda x: float(np.float32(x))),
        ),
    ),
    measure=st.sampled_from(MEASURES),
    temperature=st.floats(1e-3, 1e3),
    floor=st.floats(0, 1),
    exponent=st.sampled_from([0.0, 0.3, 1.0, 2.0, 5.5]),
    scale=st.sampled_from([0.0, 0.1, 1.0, 4.0]),
)
@settings(max_examples=150, deadline=None)
def test_any_logits_agree_with_the_reference(
    logits: np.ndarray, measure: str, temperature: float, floor: float, exponent: float, scale: float
) -> None:
    gate = {"floor": floor, "exponent": exponent, "scale": scale}
    got = decide(logits, measure=measure, temperature=temperature, **gate)
    expected = reference.score(logits, measure=measure, temperature=temperature)
    np.testing.assert_array_equal(got.labels, expected.labels)
    np.testing.assert_array_equal(got.finite, expected.finite)
    np.testing.assert_allclose(got.confidences, expected.confidences, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(got.uncertainties, expected.uncertainties, rtol=0, atol=TOLERANCE)
    # The propensity is that of the recorded uncertainty, and the decision that of the recorded propensity.
    np.testing.assert_allclose(
        got.propensities, reference.propensity(got.uncertainties, **gate), rtol=3e-6, atol=TOLERANCE
    )
    where = coordinates(len(logits))
    np.testing.assert_array_equal(got.accepted, _kernel.uniform(seed=7, topic="golden", **where) < got.propensities)


def test_outputs_have_the_promised_types_and_are_fresh() -> None:
    logits = np.zeros((5, 3), np.float32)
    first, second = decide(logits), decide(logits)
    for name, dtype in {
        "labels": np.int32,
        "confidences": np.float32,
        "uncertainties": np.float32,
        "propensities": np.float32,
        "accepted": np.bool_,
        "finite": np.bool_,
    }.items():
        one, two = getattr(first, name), getattr(second, name)
        assert (one.dtype, one.shape) == (dtype, (5,))
        assert one is getattr(first, name)
        assert not np.shares_memory(one, two)
        with pytest.raises(AttributeError):
            setattr(first, name, two)


def test_a_closed_gate_asks_nothing_and_an_open_one_everything() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (1000, 4)).astype(np.float32)
    logits[::7] = np.nan
    closed, opened = decide(logits, scale=0.0), decide(logits, floor=1.0)
    assert (closed.propensities == 0).all()
    assert not closed.accepted.any()
    assert (opened.propensities == 1).all()
    assert opened.accepted.all()
    assert (decide(logits, exponent=0.0, floor=0.3).propensities == 1).all()


def test_draws_next_to_the_propensity_are_settled_by_all_their_bits() -> None:
    """The kernel settles nearly every coin by a draw's upper 24 bits: here they are equal to the propensity's."""
    offsets = np.arange(4096, dtype=np.int64)
    partitions = np.zeros(len(offsets), dtype=np.int32)
    draws = _kernel.uniform(seed=3, topic="t", partitions=partitions, offsets=offsets)
    logits = np.zeros((len(offsets), 2), dtype=np.float32)
    settled = set()
    for draw in draws[:200]:
        nearest = np.float32(draw)
        for floor in (np.nextafter(nearest, np.float32(0)), nearest, np.nextafter(nearest, np.float32(1))):
            decisions = _kernel.decide(
                logits=logits,
                temperature=1.0,
                measure="entropy",
                floor=float(floor),
                exponent=1.0,
                scale=0.0,
                seed=3,
                topic="t",
                partitions=partitions,
                offsets=offsets,
            )
            assert np.array_equal(decisions.accepted, draws < decisions.propensities.astype(np.float64))
            settled.add((draw < float(floor), np.float32(draw) == floor))
    assert settled == {(False, False), (False, True), (True, True), (True, False)}


def test_logits_are_borrowed_even_when_read_only() -> None:
    logits = np.ones((4, 2), np.float32)
    logits.flags.writeable = False
    assert decide(logits).labels.tolist() == [0] * 4


F32 = np.zeros((4, 3), np.float32)
MISALIGNED = np.frombuffer(b"\0" * 49, dtype=np.uint8)[1:].view(np.float32).reshape(4, 3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"logits": [[0.0, 1.0]]},
            TypeError,
            "logits is of type .*list.*; pass a numpy array: np.ascontiguousarray",
        ),
        (
            {"logits": F32.astype(np.float64)},
            TypeError,
            "logits has dtype float64; it must be float32: np.asc",
        ),
        ({"logits": F32.astype(">f4")}, TypeError, "logits has dtype >f4; it must be float32"),
        ({"logits": F32[0]}, ValueError, r"logits has shape \[3\]; it must be \(n, K\)"),
        (
            {"logits": F32[:, :2]},
            ValueError,
            r"logits of shape \[4, 2\] is not C-contiguous and aligned; .*copy\(\)",
        ),
        ({"logits": np.asfortranarray(F32)}, ValueError, "logits of shape .* is not C-contiguous"),
        ({"logits": MISALIGNED}, ValueError, "logits of shape .* is not C-contiguous and aligned"),
        ({"logits": F32[:, :1].copy()}, ValueError, "logits have 1 classes; uncertainty needs at least 2"),
        ({"logits": F32[:, :0].copy()}, ValueError, "logits have 0 classes"),
        (
            {"partitions": np.zeros(3, np.int32)},
            ValueError,
            "partitions has 3 elements and logits has 4; give one",
        ),
        ({"partitions": np.zeros(4, np.int64)}, TypeError, "partitions has dtype int64; it must be int32"),
        ({"offsets": np.zeros(5, np.int64)}, ValueError, "offsets has 5 elements and logits has 4"),
        (
            {"offsets": np.zeros((4, 1), np.int64)},
            ValueError,
            r"offsets has shape \[4, 1\]; it must be \(n,\)",
        ),
        ({"offsets": np.zeros(8, np.int64)[::2]}, ValueError, "offsets of shape .* is not C-contiguous"),
        ({"temperature": 0.0}, ValueError, r"temperature is 0.0; it must be in \[1e-6, 1e6\]"),
        ({"temperature": float("nan")}, ValueError, "temperature is NaN; it must be"),
        ({"temperature": "hot"}, TypeError, "temperature"),
        (
            {"measure": "entropie"},
            ValueError,
            "measure is \"entropie\"; choose 'entropy', 'margin' or 'least_conf",
        ),
        ({"floor": -0.1}, ValueError, r"floor is -0.1; .* must be in \[0, 1\]"),
        ({"floor": 1.1}, ValueError, "floor is 1.1"),
        ({"exponent": -1.0}, ValueError, "exponent is -1.0; it must be finite and not negative"),
        ({"scale": float("inf")}, ValueError, "scale is inf; it must be finite and not negative"),
        ({"seed": -1}, ValueError, r"seed is -1; it must be in \[0, 2\*\*64\)"),
        ({"seed": 2**64}, ValueError, "seed is 18446744073709551616; it must be"),
        ({"seed": 1.5}, TypeError, "seed is of type .*float.*; it must be an int"),
        ({"topic": b"t"}, TypeError, "topic"),
        ({"topic": "\ud800"}, ValueError, "surrogate"),
    ],
)
def test_misuse_names_what_was_given_and_the_remedy(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        decide(**({"logits": F32, **coordinates(4)} | changes))


@pytest.mark.parametrize("function", [_kernel.decide, _kernel.uncertainty, _kernel.uniform])
def test_arguments_are_keyword_only(function: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match=re.escape("takes 0 positional arguments")):
        function(F32)


def test_uniform_and_uncertainty_check_their_arrays_too() -> None:
    with pytest.raises(ValueError, match="offsets has 2 elements and partitions has 1"):
        _kernel.uniform(seed=0, topic="t", partitions=np.zeros(1, np.int32), offsets=np.zeros(2, np.int64))
    with pytest.raises(TypeError, match="logits has dtype float16"):
        _kernel.uncertainty(logits=F32.astype(np.float16))  # type: ignore[arg-type]


def test_no_rows_are_no_decisions() -> None:
    assert decide(np.zeros((0, 3), np.float32)).labels.shape == (0,)
    assert _kernel.uncertainty(logits=np.zeros((0, 3), np.float32)).shape == (0,)


FIELDS = ["labels", "confidences", "uncertainties", "propensities", "accepted", "finite"]


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 8, 20, 33, 161])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 64, 203])
def test_every_path_gives_the_same_bits(classes: int, rows: int) -> None:
    logits = np.random.default_rng(classes).normal(0, 4, (rows, classes)).astype(np.float32)
    logits[::7, classes // 2] = np.float32(np.nan)
    arguments: dict[str, Any] = {
        "logits": logits,
        "temperature": 1.3,
        "floor": 0.05,
        "exponent": 0.7,
        "scale": 1.2,
        "seed": 7,
        "topic": "paths",
        **coordinates(rows),
    }
    for measure in MEASURES:
        best = _kernel.decide(measure=measure, **arguments)
        for path in _kernel._paths():
            got = _kernel._decide_on(path, measure=measure, **arguments)
            for field in FIELDS:
                assert getattr(got, field).tobytes() == getattr(best, field).tobytes(), (path, field)


def test_a_path_that_is_not_there_is_named() -> None:
    assert "portable" in _kernel._paths()
    with pytest.raises(ValueError, match=r'path is "mmx"; this CPU has \["portable"'):
        _kernel._decide_on(
            "mmx",
            logits=np.zeros((1, 2), np.float32),
            temperature=1.0,
            measure="entropy",
            floor=0.0,
            exponent=1.0,
            scale=1.0,
            seed=0,
            topic="paths",
            **coordinates(1),
        )
