from __future__ import annotations

import pytest

from askance.manifest import Estimate
from askance.rules.promotion import PromotionRule, decide


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, low=low, high=high, documents=100, effective=80.0)


@pytest.mark.parametrize(
    ("low", "high", "promoted"),
    [
        (0.01, 0.05, {"unless_worse", "not_worse_by", "improves"}),
        (-0.004, 0.05, {"unless_worse", "not_worse_by"}),
        (-0.03, 0.05, {"unless_worse"}),
        (-0.05, 0.0, {"unless_worse"}),
        (-0.05, -0.01, set()),
        # Certainly worse, but by less than the margin.
        (-0.004, -0.001, {"not_worse_by"}),
    ],
)
@pytest.mark.parametrize("rule", ["unless_worse", "not_worse_by", "improves"])
def test_each_rule_asks_the_interval_its_own_question(
    low: float, high: float, promoted: set[str], rule: PromotionRule
) -> None:
    verdict = decide(estimate(low, high), champion="v0001-00000000", effective=80.0, rule=rule, margin=0.005)
    assert verdict.promoted == (rule in promoted)
    assert (verdict.champion, verdict.rule, verdict.difference) == ("v0001-00000000", rule, estimate(low, high))
    assert "v0001-00000000" in verdict.why
    assert "100 held-out labels" in verdict.why


def test_too_few_labels_promote_only_where_nothing_has_to_be_shown() -> None:
    for rule in ("unless_worse", "not_worse_by", "improves"):
        verdict = decide(None, champion="v0001-00000000", effective=7.0, rule=rule)  # type: ignore[arg-type]
        assert verdict.promoted == (rule == "unless_worse")
        assert "effective sample size 7.0 of at least 20" in verdict.why
