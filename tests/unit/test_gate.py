"""The gate: named presets, what is recorded, and misuse."""

import numpy as np

from askance import _kernel
from askance.records import Coordinates
from askance.rules.gate import CLOSED, M_RARU_OPENING, Gate, Opening

COORDINATES = [Coordinates("t", partition, offset) for partition in range(3) for offset in range(2000)]
LOGITS = np.random.default_rng(0).normal(0, 3, (len(COORDINATES), 5)).astype(np.float32)


def test_the_m_raru_preset_accepts_with_a_probability_equal_to_the_uncertainty() -> None:
    decisions = Gate().decide(LOGITS, temperature=1.0, opening=M_RARU_OPENING, coordinates=COORDINATES)
    assert np.array_equal(decisions.propensities, decisions.uncertainties)
    expected, accepted = float(decisions.uncertainties.sum()), int(decisions.accepted.sum())
    variance = float((decisions.uncertainties * (1 - decisions.uncertainties)).sum())
    assert abs(accepted - expected) < 4 * variance**0.5


def test_a_closed_gate_accepts_nothing_and_says_so() -> None:
    decisions = Gate().decide(LOGITS, temperature=1.0, opening=CLOSED, coordinates=COORDINATES)
    assert not decisions.accepted.any()
    assert not decisions.propensities.any()
    draws = Gate().draw(CLOSED, COORDINATES)
    assert not draws.accepted.any()
    assert not draws.propensities.any()


def test_the_recorded_propensity_is_the_one_the_draw_was_compared_with() -> None:
    gate = Gate(measure="margin", exponent=2.0, seed=9)
    opening = Opening(floor=0.01, scale=0.7)
    decisions = gate.decide(LOGITS, temperature=1.3, opening=opening, coordinates=COORDINATES)
    draws = _kernel.uniform(
        seed=9,
        topic="t",
        partitions=np.array([c.partition for c in COORDINATES], dtype=np.int32),
        offsets=np.array([c.offset for c in COORDINATES], dtype=np.int64),
    )
    assert np.array_equal(draws < decisions.propensities.astype(np.float64), decisions.accepted)
    blind = gate.draw(opening, COORDINATES)
    assert np.array_equal(draws < blind.propensities.astype(np.float64), blind.accepted)
    assert blind.propensities.dtype == np.float32
    assert blind.propensities[0] == np.float32(0.01 + 0.99 * 0.7)


def test_every_record_of_a_batch_of_two_topics_tosses_the_coin_of_its_own() -> None:
    mixed = [Coordinates("a" if number % 3 else "b", 0, number) for number in range(600)]
    logits, gate, opening = LOGITS[:600], Gate(seed=4), Opening(floor=0.1, scale=0.5)
    together = gate.decide(logits, temperature=1.0, opening=opening, coordinates=mixed)
    blind = gate.draw(opening, mixed)

    for topic in ("a", "b"):
        own = np.array([where.topic == topic for where in mixed])
        places = [where for where in mixed if where.topic == topic]
        alone = gate.decide(logits[own], temperature=1.0, opening=opening, coordinates=places)
        assert np.array_equal(together.propensities[own], alone.propensities)
        assert np.array_equal(together.accepted[own], alone.accepted)
        assert np.array_equal(blind.accepted[own], gate.draw(opening, places).accepted)
    assert 0 < together.accepted.sum() < 600
