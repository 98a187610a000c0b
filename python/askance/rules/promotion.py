"""When a challenger takes the champion's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from askance.manifest import Verdict
from askance.rules.estimate import MINIMUM_EFFECTIVE

if TYPE_CHECKING:
    from askance.manifest import Estimate

PromotionRule = Literal["unless_worse", "not_worse_by", "improves"]
"""What the 95 % interval of challenger less champion has to show.

`unless_worse`: nothing, unless it lies below 0 as a whole; the challenger has learnt from more labels, which is also
evidence.
`not_worse_by`: it lies above -margin as a whole. `improves`: it lies above 0 as a whole.
"""


def decide(
    difference: Estimate | None,
    *,
    champion: str,
    effective: float,
    rule: PromotionRule = "unless_worse",
    margin: float = 0.005,
    where: str = "held-out labels",
) -> Verdict:
    """The verdict on a challenger, with the comparison it rests on; it is stored in the manifest either way.

    `difference` is None where there were too few labels: only `unless_worse` promotes then. `where` says which labels
    they are.
    """
    if difference is None:
        promoted = rule == "unless_worse"
        why = (
            f"too few {where} to compare with {champion} (effective sample size {effective:.1f} of at least "
            f"{MINIMUM_EFFECTIVE:g}); {'it has learnt from more labels' if promoted else f'the rule is {rule}'}"
        )
        return Verdict(promoted=promoted, why=why, champion=champion, rule=rule)
    passed = {
        "unless_worse": difference.high >= 0.0,
        "not_worse_by": difference.low > -margin,
        "improves": difference.low > 0.0,
    }[rule]
    if difference.low > 0.0:
        finding = f"better than {champion}"
    elif difference.high < 0.0:
        finding = f"worse than {champion}"
    elif rule == "not_worse_by":
        finding = f"{'not' if passed else 'not shown not to be'} worse than {champion} by {margin:g}"
    else:
        finding = f"not shown to be {'better' if rule == 'improves' else 'worse'} than {champion}"
    why = (
        f"{finding}: agreement differs by {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}] "
        f"on {difference.documents} {where}"
    )
    return Verdict(promoted=passed, why=why, champion=champion, difference=difference, rule=rule)
