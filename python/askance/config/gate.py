"""How often the teacher is asked, and about which documents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from askance.config.base import Positive, Section, Share


class GateConfig(Section):
    """How uncertainty becomes the probability of asking the teacher."""

    measure: Literal["entropy", "margin", "least_confidence"] = "entropy"
    """The uncertainty measure."""
    exponent: Annotated[float, Field(ge=0.0)] = 1.0
    """Sharpens (above 1) or flattens (below 1) the preference for uncertain documents."""
    floor: Share | None = None
    """Exploration floor: every document's least probability of being asked about. Default: a twentieth of
    `budget.share`, so that 5 % of the teacher's calls are spread evenly (0 with the budget `m-raru`)."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Keys every draw, together with the record's coordinates."""


class BudgetConfig(Section):
    """How often the teacher may be asked."""

    kind: Literal["share", "per_second", "m-raru"] = "share"
    """`share` of documents, queries `per_second`, or `m-raru`: no budget, the probability is the uncertainty itself."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """Part of all documents the teacher is asked about."""
    per_second: Positive = 1.0
    """Queries per second."""
    advance: Annotated[int, Field(ge=0)] = 100
    """Queries lent ahead of the share so that the first student comes early; paid back over `horizon` documents."""
    horizon: Annotated[int, Field(ge=1)] = 5_000
    """Over how many documents what was asked too much or too little is made up for."""
    max_pending: Annotated[int, Field(ge=1)] = 10_000
    """The gate closes (propensity 0, recorded as such) while this many queries wait for the teacher."""
