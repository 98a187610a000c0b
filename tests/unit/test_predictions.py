"""A batch by column says what its rows say one by one: the same lines to the byte, the same counts."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askance import _kernel
from askance.codec import encode_batch, encode_predictions
from askance.predictions import Answerer, Places, Predictions
from askance.records import Coordinates, Standing
from askance.rules.tally import tallies_of, tally_of

HOSTILE = [
    "",
    'quote " backslash \\ slash /',
    "".join(map(chr, range(0x20))),
    "\x7f\x80\u2028\u2029\ufeff\uffff",
    "日本語 🙂 e\u0301 \U0010ffff",
    "</script>" * 50,
]
FLOATS = [0.0, -0.0, 1.0, 1e-45, 1e-38, 1e-7, 1e-5, 1e-4, 0.1, 0.3, 0.99999994]
STANDINGS = (None, Standing.FINAL, Standing.HELD, Standing.PROVISIONAL, Standing.UNASSURED)


def made(seed: int, count: int, ids: list[str], labels: tuple[str, ...], topics: list[str]) -> Predictions:
    rng = np.random.default_rng(seed)

    def floats() -> np.ndarray:
        odd = rng.choice(np.array(FLOATS, dtype=np.float32), count)
        return np.where(rng.random(count) < 0.5, odd, rng.random(count, dtype=np.float32)).astype(np.float32)

    answerers = (Answerer("v-1", labels, 0.25), Answerer('"v"', labels[::-1], None), Answerer(None))
    answerer = rng.integers(0, 3, count).astype(np.uint8)
    coordinates = [
        Coordinates(topics[rng.integers(len(topics))], int(rng.integers(-1, 3)), offset * 2**40)
        for offset in range(count)
    ]
    return Predictions(
        ids=[ids[rng.integers(len(ids))] for _ in range(count)],
        places=Places.of(coordinates),
        seed=2**64 - 1,
        answerers=answerers,
        answerer=answerer,
        finite=(answerer != 2) & (rng.random(count) < 0.8),
        labels=rng.integers(0, len(labels), count).astype(np.int32),
        confidences=floats(),
        uncertainties=floats(),
        propensities=floats(),
        accepted=rng.random(count) < 0.5,
        standings=STANDINGS,
        standing=rng.integers(0, len(STANDINGS), count).astype(np.uint8),
    )


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 40),
    ids=st.lists(st.text(), min_size=1),
    labels=st.lists(st.text(), min_size=1, unique=True),
    topics=st.lists(st.from_regex(r"[a-z._-]+", fullmatch=True), min_size=1, max_size=2),
)
def test_lines_are_those_of_msgspec(
    seed: int, count: int, ids: list[str], labels: list[str], topics: list[str]
) -> None:
    predictions = made(seed, count, ids + HOSTILE, (*labels, *HOSTILE), topics)
    assert encode_batch(predictions) == encode_predictions(predictions.rows())


def test_one_version_in_one_topic_takes_the_short_way_to_the_same_lines() -> None:
    predictions = made(3, 500, HOSTILE, ("a", "b"), ["t"])
    alike = predictions._replace(answerer=np.zeros(500, dtype=np.uint8))
    assert encode_batch(alike) == encode_predictions(alike.rows())
    assert {msgspec.json.decode(line)["version"] for line in encode_batch(alike)} == {"v-1"}


def test_a_float_is_written_as_the_number_it_is() -> None:
    bits = np.random.default_rng(0).integers(0, 0x7F800000, 20_000).astype(np.uint32)
    values = bits.view(np.float32)
    predictions = made(1, len(values), ["x"], ("a", "b"), ["t"])._replace(propensities=values)
    written = [msgspec.json.decode(line)["propensity"] for line in encode_batch(predictions)]
    assert written == values.astype(np.float64).tolist()


def test_tallies_are_those_of_the_rows() -> None:
    predictions = made(5, 400, ["x"], ("a", "b", "c"), ["t", "u"])
    closed = np.arange(400) < 100
    unit = predictions._replace(
        uncertainties=np.clip(predictions.uncertainties, 0, 1),
        propensities=np.where(closed, np.float32(0), predictions.propensities),
    )
    rows = unit.rows()
    seen = 0
    for topic, partition, own in unit.places.partitioned():
        for tally in tallies_of(unit, own):
            same = [rows[place] for place in own.tolist() if rows[place].version == tally.version]
            expected = tally_of(same)
            assert expected is not None
            assert tally.confidences == pytest.approx(expected.confidences)
            assert msgspec.structs.replace(tally, confidences=0.0) == msgspec.structs.replace(expected, confidences=0.0)
            assert (tally.topic, tally.partition) == (topic, partition)
            assert sum(tally.uncertainties) == tally.documents
            seen += tally.documents
    assert seen == len(rows)
    assert unit.names() == [row.label for row in rows]


def test_a_number_without_a_name_is_refused() -> None:
    column = {"finite": np.ones(1, bool), "accepted": np.ones(1, bool), "offsets": np.zeros(1, np.int64)}
    column |= {name: np.zeros(1, np.float32) for name in ("confidences", "uncertainties", "propensities")}
    whole = {"labels": np.zeros(1, np.int32), "partitions": np.zeros(1, np.int32), "endings": np.zeros(1, np.uint8)}
    names = {"label_names": [b'"a"'], "middle": b"", "missing": b"", "ending_names": [b""]}
    assert len(_kernel.encode_predictions(ids=["x"], **column, **whole, **names)) == 1
    for wrong in (
        {"labels": np.ones(1, np.int32)},
        {"labels": -np.ones(1, np.int32)},
        {"endings": np.ones(1, np.uint8)},
    ):
        with pytest.raises(ValueError, match="does not name"):
            _kernel.encode_predictions(ids=["x"], **column, **{**whole, **wrong}, **names)
    with pytest.raises(ValueError, match="confidences has 1 elements and ids has 2"):
        _kernel.encode_predictions(
            ids=["x", "y"],
            **{**column, "finite": np.ones(2, bool)},
            **{**whole, "labels": np.zeros(2, np.int32)},
            **names,
        )
    with pytest.raises(ValueError, match=r"ids\[0\] holds a lone surrogate"):
        _kernel.encode_predictions(ids=["\ud800"], **column, **whole, **names)
