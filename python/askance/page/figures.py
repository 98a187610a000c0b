"""What the page is told. Every figure has one source: a `/metrics`, the ledger, the registry, or the settings."""

from __future__ import annotations

import msgspec

from askance.manifest import Estimate  # noqa: TC001 - msgspec resolves it at run time
from askance.records import LabelCounts  # noqa: TC001 - msgspec resolves it at run time
from askance.report import Window  # noqa: TC001 - msgspec resolves it at run time


class Lag(msgspec.Struct, frozen=True):
    """Of one partition that a worker holds."""

    topic: str
    partition: str
    records: float


class Cap(msgspec.Struct, frozen=True):
    """A limit on the spend, and what counts against it: calls under way at their worst."""

    name: str
    """The setting's, such as `day_money`."""
    unit: str
    """`money` (in nanos), `tokens` or `calls`."""
    limit: int
    spent: int


class SpendFigures(msgspec.Struct, frozen=True):
    """What the teacher has cost since the ledger began or, by the metrics, since the workers did."""

    calls: int
    tokens: int
    nanos: int
    caps: tuple[Cap, ...] = ()


class Flow(msgspec.Struct, frozen=True):
    """What the workers' metrics say, added up; rates and latencies are of the time since the metrics read before."""

    documents: float
    accepted: float
    dead_letters: float
    pending: float
    swaps: float
    gate_scale: float
    documents_per_second: float | None = None
    p50_ms: float | None = None
    """Of a batch, from its first byte decoded to its last prediction encoded."""
    p99_ms: float | None = None
    lag: tuple[Lag, ...] = ()
    spend: SpendFigures | None = None
    """None: none of the workers tells of a call to a teacher."""


class VersionFigures(msgspec.Struct, frozen=True):
    """One student version."""

    version: str
    created_at: str
    student: str
    is_live: bool
    trial: str | None
    """`shadow` or `canary` while it is on trial."""
    promoted: bool
    """Whether it was found fit."""
    why: str
    labels: int
    held_out: Estimate | None
    """Agreement on held-out labels when it was trained."""
    agreement: Estimate | None
    """On its part of the stream, as `askance estimate --version` has it."""
    answered: int
    """Documents it answered."""
    live_from: int | None
    """The first offset of the block in which it first answered."""


class ClassFigures(msgspec.Struct, frozen=True):
    """One class, over all versions, as `askance estimate` has it."""

    label: str
    share: Estimate | None
    f1: Estimate | None
    accepted: int
    """Queries that the teacher labelled so."""
    nanos: int | None
    """What those cost; None: this ledger has no accounts."""


class Disagreement(msgspec.Struct, frozen=True):
    """A document whose label by the teacher is not the student's."""

    topic: str
    partition: int
    offset: int
    text: str | None
    """Its beginning; None where texts are not shown."""
    predicted: str
    label: str
    version: str | None
    uncertainty: float
    propensity: float


class Learned(msgspec.Struct, frozen=True):
    """What takes a look at every label."""

    versions: tuple[VersionFigures, ...] = ()
    """Newest first."""
    windows: tuple[Window, ...] = ()
    agreement: Estimate | None = None
    """The live version's, on its part of the stream."""
    uncertainties: tuple[int, ...] = ()
    """Histogram of [0, 1] over the documents that `uncertainties_of` scored; empty where they are not counted."""
    uncertainties_of: str | None = None
    classes: tuple[ClassFigures, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    """Newest first."""


class Standing(msgspec.Struct, frozen=True):
    """What the ledger and the registry say at one moment."""

    live: str | None = None
    documents: int | None = None
    """Over all runs with this state; None: this ledger does not count documents."""
    accepted: int | None = None
    dead_letters: int | None = None
    labels: LabelCounts | None = None
    teacher_state: str | None = None
    spend: SpendFigures | None = None
    """None: there is no ledger, or it has no accounts; the `Flow` may know."""
    learned: Learned = Learned()


class Point(msgspec.Struct, frozen=True):
    """A moment of the charts."""

    at: float
    """Unix time."""
    documents_per_second: float | None
    p50_ms: float | None
    p99_ms: float | None
    share: float | None
    """Accepted of all documents until then."""
    spend: tuple[int, int, int] | None
    """Calls, tokens, nanos until then."""
    agreement: tuple[float, float, float] | None
    """The live version's: value, low, high."""
    left: tuple[int, ...] = ()
    """Of each of `SpendFigures.caps`: what was left then, of that day or run."""


class Mark(msgspec.Struct, frozen=True):
    """Another version went live."""

    at: float
    version: str | None


class Figures(msgspec.Struct, frozen=True):
    """Everything the page shows of one moment."""

    at: float
    """Unix time."""
    title: str
    point: Point
    standing: Standing
    flow: Flow | None
    """None: no metrics are read, or none could be."""
    budget_share: float | None
    """None: the budget is of another kind."""
    may_change: bool
    """Whether promoting and rolling back work, with the token."""
    shows_texts: bool
    marks: tuple[Mark, ...] = ()
    problems: tuple[str, ...] = ()
    """What could not be read now, and why; the figures are then the last known."""
