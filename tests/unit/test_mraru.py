"""What the M-RARU preset promises (floor 0, exponent 1, scale 1), and what the draws behind it must be."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from askance import _kernel

M_RARU = {"temperature": 1.0, "measure": "entropy", "floor": 0.0, "exponent": 1.0, "scale": 1.0}
DRAWS = 1_000_000


def where(partition: int, first: int, count: int) -> dict[str, Any]:
    return {
        "partitions": np.full(count, partition, dtype=np.int32),
        "offsets": np.arange(first, first + count, dtype=np.int64),
    }


def logits_of_every_uncertainty(rows: int) -> np.ndarray:
    """Four classes, spreads from none to extreme, so that uncertainty covers [0, 1]."""
    rng = np.random.default_rng(11)
    return (rng.normal(size=(rows, 4)) * rng.uniform(0, 8, size=(rows, 1))).astype(np.float32)


def test_acceptance_frequency_equals_mean_uncertainty_in_every_decile() -> None:
    got = _kernel.decide(
        logits=logits_of_every_uncertainty(DRAWS), seed=1, topic="documents", **where(0, 0, DRAWS), **M_RARU
    )
    u = got.uncertainties.astype(np.float64)
    np.testing.assert_array_equal(got.propensities, got.uncertainties)
    deciles = np.minimum((u * 10).astype(int), 9)
    for decile in range(10):
        inside = deciles == decile
        assert inside.sum() > 10_000
        # The count is a sum of independent Bernoulli(u): its variance is the sum of u (1 - u).
        error = np.sqrt((u[inside] * (1 - u[inside])).sum()) / inside.sum()
        assert abs(got.accepted[inside].mean() - u[inside].mean()) < 4 * error, decile


@pytest.mark.parametrize("axis", ["offset", "partition", "seed", "topic"])
def test_draws_are_uniform_along_every_part_of_the_key(axis: str) -> None:
    match axis:
        case "offset":
            draws = _kernel.uniform(seed=1, topic="documents", **where(3, 0, DRAWS))
        case "partition":
            draws = _kernel.uniform(
                seed=1,
                topic="documents",
                partitions=np.arange(DRAWS, dtype=np.int32),
                offsets=np.zeros(DRAWS, dtype=np.int64),
            )
        case "seed":
            first = where(0, 0, 1)
            draws = np.concatenate([_kernel.uniform(seed=s, topic="documents", **first) for s in range(DRAWS // 5)])
        case _:
            first = where(0, 0, 1)
            draws = np.concatenate([_kernel.uniform(seed=1, topic=f"t{t}", **first) for t in range(DRAWS // 5)])
    assert ((draws >= 0) & (draws < 1)).all()
    counts = np.bincount((draws * 1000).astype(int), minlength=1000)
    assert stats.chisquare(counts).pvalue > 1e-4
    # Neighbours in pairs fill the unit square.
    pairs = np.histogram2d(draws[0::2], draws[1::2], bins=30, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(pairs.ravel()).pvalue > 1e-4


def streams() -> dict[str, np.ndarray]:
    """Draws of records whose keys differ in one part only, and only just."""
    count = DRAWS // 4
    return {
        "base": _kernel.uniform(seed=1, topic="documents", **where(0, 0, count)),
        "next offset": _kernel.uniform(seed=1, topic="documents", **where(0, 1, count)),
        "far offset": _kernel.uniform(seed=1, topic="documents", **where(0, 2**40, count)),
        "next partition": _kernel.uniform(seed=1, topic="documents", **where(1, 0, count)),
        "negative partition": _kernel.uniform(seed=1, topic="documents", **where(-1, 0, count)),
        "next seed": _kernel.uniform(seed=2, topic="documents", **where(0, 0, count)),
        "far seed": _kernel.uniform(seed=1 + 2**63, topic="documents", **where(0, 0, count)),
        "other topic": _kernel.uniform(seed=1, topic="documentt", **where(0, 0, count)),
    }


def test_draws_are_uncorrelated_across_offset_partition_seed_and_topic() -> None:
    drawn = streams()
    names = list(drawn)
    correlations = np.corrcoef(np.stack([drawn[name] for name in names]))
    limit = 4.5 / np.sqrt(len(drawn["base"]))  # 28 pairs, 4.5 standard errors
    for i, j in zip(*np.triu_indices(len(names), k=1), strict=True):
        assert abs(correlations[i, j]) < limit, (names[i], names[j])


def test_a_draw_is_where_the_key_says_and_nowhere_else() -> None:
    drawn = streams()
    np.testing.assert_array_equal(drawn["base"][1:], drawn["next offset"][:-1])
    distinct = np.unique(np.concatenate([v for k, v in drawn.items() if k != "next offset"]))
    # 7 * 250,000 draws of 53 bits: a repetition has probability 2e-4.
    assert len(distinct) == 7 * len(drawn["base"])


def test_batch_size_and_order_change_no_decision() -> None:
    rows = 20_011
    logits = logits_of_every_uncertainty(rows)
    rng = np.random.default_rng(5)
    partitions = rng.integers(0, 12, rows).astype(np.int32)
    offsets = rng.integers(0, 2**62, rows)

    def run(index: np.ndarray) -> tuple[np.ndarray, ...]:
        got = _kernel.decide(
            logits=logits[index],
            seed=9,
            topic="documents",
            partitions=partitions[index],
            offsets=offsets[index],
            **M_RARU,
        )
        return got.labels, got.confidences, got.uncertainties, got.propensities, got.accepted, got.finite

    whole = run(np.arange(rows))
    order = rng.permutation(rows)
    for one, other in zip(whole, run(order), strict=True):
        np.testing.assert_array_equal(one[order], other)
    for size in (1, 3, 31, 32, 33, 1000):
        count = min(rows, size * 200)
        parts = [run(np.arange(i, min(i + size, count))) for i in range(0, count, size)]
        for one, pieces in zip(whole, zip(*parts, strict=True), strict=True):
            np.testing.assert_array_equal(one[:count], np.concatenate(pieces))
