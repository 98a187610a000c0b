"""`askance replay`: every decision is recomputed, and any tampering is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import typer

from askance._kernel import uniform
from askance.cli.replay import check
from askance.cli.replay import replay as replay_command
from askance.errors import UsageError
from askance.records import Prediction
from askance.rules.replay import NAMED, replay

if TYPE_CHECKING:
    from pathlib import Path

ENCODER = msgspec.json.Encoder()


def predictions(count: int = 500, *, seed: int = 7, topic: str = "documents", partition: int = 0) -> list[Prediction]:
    """As `classify` writes them, with every kind of propensity: 0, 1 and between."""
    offsets = np.arange(count, dtype=np.int64)
    partitions = np.full(count, partition, dtype=np.int32)
    propensities = np.random.default_rng(seed).random(count).astype(np.float32)
    propensities[::50] = 0.0
    propensities[1::50] = 1.0
    draws = uniform(seed=seed, topic=topic, partitions=partitions, offsets=offsets)
    accepted = draws < propensities.astype(np.float64)
    return [
        Prediction(
            id=f"document {offset}",
            label="a",
            confidence=0.5,
            uncertainty=0.5,
            propensity=float(propensities[offset]),
            accepted=bool(accepted[offset]),
            version="v1",
            seed=seed,
            topic=topic,
            partition=partition,
            offset=offset,
        )
        for offset in range(count)
    ]


def lines(some: list[Prediction]) -> list[bytes]:
    return [ENCODER.encode(prediction) + b"\n" for prediction in some]


def changed(line: bytes, **fields: object) -> bytes:
    return ENCODER.encode(msgspec.json.decode(line) | fields) + b"\n"


def test_an_honest_file_has_no_difference_whatever_the_order_batch_or_number_of_streams() -> None:
    honest = (
        predictions(300)
        + predictions(200, topic="Straße/δ", partition=3)
        + predictions(100, seed=2**64 - 1, partition=-1)
    )
    accepted = sum(prediction.accepted for prediction in honest)
    for order in (honest, honest[::-1]):
        for batch in (1, 7, 65_536):
            outcome = replay(lines(order), batch=batch)
            assert outcome.is_proven
            assert (outcome.checked, outcome.accepted) == (600, accepted)


def test_one_flipped_decision_is_found_and_named() -> None:
    some = lines(predictions())
    recorded = msgspec.json.decode(some[321])
    some[321] = changed(some[321], accepted=not recorded["accepted"])
    outcome = replay(some, batch=100)
    assert outcome.differing == 1
    assert not outcome.is_proven
    (difference,) = outcome.differences
    assert difference.line == 322
    assert difference.coordinates == ("documents", 0, 321)
    assert "documents/0/321" in str(difference)


def test_one_flipped_bit_of_a_propensity_at_the_draw_is_found() -> None:
    """The comparison is exact: the two float32 numbers around the draw give opposite decisions."""
    offsets, partitions = np.arange(50, dtype=np.int64), np.zeros(50, dtype=np.int32)
    draws = uniform(seed=7, topic="documents", partitions=partitions, offsets=offsets)
    for prediction, draw in zip(predictions(50), draws, strict=True):
        above = np.float32(draw)
        if float(above) <= draw:
            above = np.nextafter(above, np.float32(2))
        below = np.nextafter(above, np.float32(-1))
        (line,) = lines([prediction])
        honest = [
            changed(line, propensity=float(above), accepted=True),
            changed(line, propensity=float(below), accepted=False),
        ]
        swapped = [
            changed(line, propensity=float(below), accepted=True),
            changed(line, propensity=float(above), accepted=False),
        ]
        assert replay(honest).differing == 0
        assert replay(swapped).differing == 2


@pytest.mark.parametrize(("field", "value"), [("seed", 8), ("topic", "document"), ("partition", 1), ("offset", 10**12)])
def test_another_key_gives_other_decisions(field: str, value: object) -> None:
    moved = [
        changed(line, **{field: value + index if field == "offset" else value})  # type: ignore[operator]
        for index, line in enumerate(lines(predictions()))
    ]
    outcome = replay(moved)
    assert outcome.differing > 50
    assert len(outcome.differences) == NAMED
    assert [difference.line for difference in outcome.differences] == sorted(
        difference.line for difference in outcome.differences
    )


@pytest.mark.parametrize(
    "wrong",
    [
        b"\n",
        b"{}\n",
        b"[1]\n",
        b'{"seed": 7, "topic": "documents", "par',
        b"\xff\xfe\n",
        b'{"seed":7,"topic":"\xff","partition":0,"offset":0,"propensity":0.5,"accepted":true}',
        b'{"seed":7,"topic":"\\ud800","partition":0,"offset":0,"propensity":0.5,"accepted":true}',
        b"[" * 100_000,
    ],
)
def test_a_malformed_line_is_counted_and_named_and_the_rest_is_checked(wrong: bytes) -> None:
    some = lines(predictions(20))
    some.insert(10, wrong)
    outcome = replay(some, batch=8)
    assert (outcome.checked, outcome.differing, outcome.malformed) == (20, 0, 1)
    assert outcome.malformed_lines[0].line == 11
    assert not outcome.is_proven


@pytest.mark.parametrize(
    "fields",
    [
        {"propensity": 0.1},  # not a float32
        {"propensity": 1.5},
        {"propensity": -0.5},
        {"propensity": None},
        {"propensity": "0.5"},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": 1.5},
        {"partition": 2**31},
        {"offset": 2**63},
        {"offset": -(2**63) - 1},
        {"offset": 2**70},
        {"partition": 2**70},
        {"offset": True},
        {"accepted": 1},
        {"topic": None},
    ],
    ids=str,
)
def test_an_impossible_value_is_malformed_not_a_difference(fields: dict[str, object]) -> None:
    some = lines(predictions(20))
    some[4] = changed(some[4], **fields)
    outcome = replay(some)
    assert (outcome.checked, outcome.differing, outcome.malformed) == (19, 0, 1)
    assert outcome.malformed_lines[0].line == 5
    assert outcome.accepted == sum(msgspec.json.decode(line)["accepted"] for line in some[:4] + some[5:])


def test_only_the_first_few_are_named_but_all_are_counted() -> None:
    some = [changed(line, accepted=not msgspec.json.decode(line)["accepted"]) for line in lines(predictions(100))]
    outcome = replay([*some, *[b"nonsense\n"] * 30], batch=16)
    assert (outcome.differing, outcome.malformed) == (100, 30)
    assert [difference.line for difference in outcome.differences] == [1, 2, 3, 4, 5]
    assert [malformed.line for malformed in outcome.malformed_lines] == [101, 102, 103, 104, 105]


def test_no_lines() -> None:
    outcome = replay([])
    assert outcome.is_proven
    assert outcome.checked == 0


def test_the_command_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(b"".join(lines(predictions(100))))
    replay_command(path)
    assert "100 decisions checked" in (told := capsys.readouterr().out)
    assert told.rstrip().endswith("0 differ")

    path.write_bytes(path.read_bytes() + b"x\n" * 7)
    with pytest.raises(typer.Exit) as exit_:
        replay_command(path)
    assert exit_.value.exit_code == 1
    told = capsys.readouterr().out
    assert "7 lines are malformed" in told
    assert "line 101:" in told
    assert "and 2 more" in told


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(UsageError, match=r"cannot be read .*; name the predictions file") as error:
            check(path)
        assert str(path) in str(error.value)
        assert error.value.exit_code == 2


def test_as_json_it_says_what_the_lines_say_and_ends_with_the_same_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = lines(predictions())
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(b"".join(honest))
    replay_command(path, json=True)
    assert msgspec.json.decode(capsys.readouterr().out)["checked"] == 500
    accepted = msgspec.json.decode(honest[1])["accepted"]
    path.write_bytes(b"".join([honest[0], changed(honest[1], accepted=not accepted), b"no prediction\n"]))
    with pytest.raises(typer.Exit) as exited:
        replay_command(path, json=True)
    found = msgspec.json.decode(capsys.readouterr().out)
    assert exited.value.exit_code == 1
    assert (found["differing"], found["malformed"]) == (1, 1)
    assert found["differences"][0]["line"] == 2
    assert found["malformed_lines"][0]["line"] == 3
