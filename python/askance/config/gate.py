"""How often the teacher is asked, and about which documents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from askance.config.base import Positive, Section, Share


class GateConfig(Section):
    """How uncertainty becomes the probability of asking the teacher."""

    measure: Literal["entropy", "margin", "least_confidence", "random", "vote_entropy", "consensus_kl"] | None = None
    """The uncertainty measure. Default: `entropy`. `random`: none, all documents are as likely to be asked
    about. `vote_entropy` and `consensus_kl`: how far the newest versions disagree (query by committee)."""
    exponent: Annotated[float, Field(ge=0.0)] | None = None
    """Sharpens (above 1) or flattens (below 1) the preference for uncertain documents. Default: 1."""
    committee: Annotated[int, Field(ge=2, le=16)] = 3
    """Versions in the committee, the live one among them; each of them scores every document, so three cost three
    times the time. While there is only one version, its entropy is the measure."""
    seed_documents: Annotated[int, Field(ge=0)] = 0
    """Cold start: pick the first `budget.advance` queries out of so many documents, such that they represent the
    others, instead of asking about the first ones; 0: do not."""
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
    class_targets: dict[str, Share] = Field(default_factory=dict)
    """Label to the least part of the queries whose predicted label it is, for classes that are rare and matter."""
    max_pending: Annotated[int, Field(ge=1)] = 10_000
    """The gate closes (propensity 0, recorded as such) while this many queries wait for the teacher. On Kafka an
    `askance classify` by itself learns that number from the broker every two seconds, as the lag of the consumer group
    `<kafka.group.id>-teach`; it does not learn how the teacher is. Whoever has a teacher of their own on the queries
    topic commits under that group, or sets this high."""


class ContractConfig(Section):
    """A promise about the answers served. With one, the budget is not used: a document that the live version is not
    sure enough of goes to the teacher for certain; only `spend` and `budget.max_pending` limit what that costs."""

    agreement: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Least share of the answers served, the student's and the teacher's together, that agree with the teacher's;
    setting it makes the contract."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """With which the promise is kept. It decides how sure a version must be to answer by itself."""
    audit_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """Part of the documents the student answers by itself that the teacher is asked about, for ever."""
    labels: Annotated[int, Field(ge=50)] = 400
    """Labels after which a version that has answered nothing by itself yet is first looked at; then at twice as many,
    and so on. With an agreement of 0.98 and a confidence of 0.95 fewer than 183 can show nothing."""
    on_escalation: Literal["correct", "hold"] = "correct"
    """What happens to a document that goes to the teacher: `correct` sends the student's answer as provisional and then
    the teacher's; `hold` sends one answer, the teacher's, or the student's when the deadline passes first.
    Documents that are held wait in the ledger, and nothing else waits for them. Files only."""
    deadline_seconds: Positive = 60.0
    """For how long a document is held at most."""
