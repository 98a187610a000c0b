"""What `import askance` gives: the gate, students and estimates for notebooks and for consumers of one's own.

Each is the very code the workers run; nothing here decides anything by itself.
"""

from __future__ import annotations

import reprlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from askance import assembly, settings
from askance._kernel import decide
from askance.config import Config
from askance.errors import RegistryError, UsageError
from askance.manifest import Estimate
from askance.records import Coordinates
from askance.registry import open_registry
from askance.rules.estimate import WindowEstimate, estimate_agreement, estimate_window
from askance.rules.gate import Decided, Draws
from askance.rules.sampler import Queried, Sampler
from askance.rules.simulate import Outcome
from askance.rules.simulate import simulate as _simulate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from askance import protocols

__all__ = [
    "Decided",
    "Estimate",
    "Gate",
    "Outcome",
    "Queried",
    "Sampler",
    "Student",
    "WindowEstimate",
    "decide",
    "estimate",
    "estimate_run",
    "simulate",
]


class Student:
    """A version, verified and loaded. Thread-safe and immutable; the GIL is released while it computes."""

    def __init__(self, loaded: protocols.Student) -> None:
        self._loaded = loaded

    def __repr__(self) -> str:
        labels = reprlib.repr(list(self.labels))
        return f"<Student {self.version}: {len(self.labels)} labels {labels}, temperature {self.temperature:.3g}>"

    @classmethod
    def load(cls, registry: str | Path = "askance-state/registry", version: str | None = None) -> Student:
        """A version of a registry, a folder or a URL; the live one unless named. Raises `RegistryError`."""
        with tempfile.TemporaryDirectory(prefix="askance-") as cache:
            # What a store holds is loaded whole: its copy is of no use afterwards.
            opened = open_registry(str(registry), cache=Path(cache))
            name = opened.current() if version is None else version
            if name is None:
                msg = f"no version is live in {opened.location}; name one"
                raise RegistryError(msg)
            return cls(assembly.load(opened, name))

    @property
    def version(self) -> str:
        """Its name."""
        return self._loaded.version

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the columns."""
        return tuple(self._loaded.labels)

    @property
    def temperature(self) -> float:
        """What its logits are divided by before the softmax."""
        return self._loaded.temperature

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, K) float32, as `Gate.decide` and `decide` take them. Raises `TypeError` for a text that is in no list."""
        if isinstance(texts, str | bytes):
            msg = f"texts is {reprlib.repr(texts)}, one {type(texts).__name__}; give a list of texts, such as [text]"
            raise TypeError(msg)
        return self._loaded.logits(list(texts))

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n, K) calibrated probabilities."""
        logits = self.logits(texts).astype(np.float64) / self.temperature
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return found

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The most probable label of each text."""
        return [self.labels[place] for place in self.logits(texts).argmax(axis=1)]


class Gate:
    """The gate with a budget, for a consumer of one's own: `decide` batch after batch, and the share is kept.

    `share` of the documents are accepted in the long run; None: each with a probability equal to its uncertainty
    (M-RARU). The other parameters are the settings `gate.*` and `budget.*` of the same names, with their defaults. Not
    for several threads at once. Raises `ValueError` for what a setting may not be.
    """

    def __init__(
        self,
        *,
        share: float | None = 0.05,
        measure: str = "entropy",
        exponent: float | None = None,
        floor: float | None = None,
        seed: int = 0,
        advance: int = 0,
    ) -> None:
        self._given = {
            "share": share,
            "measure": measure,
            "exponent": exponent,
            "floor": floor,
            "seed": seed,
            "advance": advance,
        }
        budget: dict[str, Any] = {"kind": "m-raru"} if share is None else {"share": share, "advance": advance}
        gate = {"measure": measure, "exponent": exponent, "floor": floor, "seed": seed}
        config = Config.model_validate({"budget": budget, "gate": gate})
        if config.disagreement is not None:
            msg = f"measure is {measure}, which takes a committee; the workers have one, this gate has not"
            raise ValueError(msg)
        self._gate = assembly.gate(config)
        self._budget = assembly.budget(config, documents=0, accepted=0)

    def __repr__(self) -> str:
        return f"Gate({', '.join(f'{name}={value!r}' for name, value in self._given.items())})"

    def decide(
        self,
        logits: NDArray[np.float32],
        *,
        coordinates: Sequence[tuple[str, int, int]],
        temperature: float = 1.0,
    ) -> Decided:
        """Decide n documents by their (n, K) float32 logits; `coordinates` are (topic, partition, offset) of each.

        Arrays of shape (n,): the index of each label, confidence, uncertainty, propensity, and whether to ask.
        Coordinates key the draws, so a batch that is decided again after a crash accepts the same documents, as long as
        the budget stands where it stood.
        """
        keys = [Coordinates(*key) for key in coordinates]
        if not keys:
            empty = np.empty(0, dtype=np.float32)
            flags = np.empty(0, dtype=np.bool_)
            return Decided(np.empty(0, dtype=np.int32), empty, empty, empty, flags, flags)
        opening = self._budget.opening(len(keys), now=0.0, blind=False)
        decided = self._gate.decide(logits, temperature=temperature, opening=opening, coordinates=keys)
        self._budget.spent(decided.uncertainties, int(decided.accepted.sum()))
        return decided

    def draw(self, coordinates: Sequence[tuple[str, int, int]]) -> Draws:
        """The same while there is no student: all documents are alike, and `advance` are accepted before the share."""
        keys = [Coordinates(*key) for key in coordinates]
        if not keys:
            return Draws(np.empty(0, dtype=np.float32), np.empty(0, dtype=np.bool_))
        opening = self._budget.opening(len(keys), now=0.0, blind=True)
        draws = self._gate.draw(opening, keys)
        self._budget.spent(np.ones(len(keys), dtype=np.float32), int(draws.accepted.sum()))
        return draws


def estimate(agrees: ArrayLike, propensities: ArrayLike) -> Estimate | None:
    """What n labelled documents say of the stream they were drawn from: the share that agrees, and its 95 % interval.

    `agrees` (n,) says of each whether the prediction was the teacher's label, `propensities` (n,) how likely it was to
    be asked about. None while the labels are too few to say anything.

    >>> found = estimate([True] * 80 + [False] * 20, [0.5] * 80 + [1.0] * 20)
    >>> round(found.value, 3)
    0.889
    """
    return estimate_agreement(np.asarray(agrees, dtype=np.bool_), propensities)


def estimate_run(
    state: str | Path = "askance-state",
    *,
    version: str | None = None,
    since: int = 0,
    until: int | None = None,
    gold: Mapping[str, str] | None = None,
    config: str | Path | None = None,
) -> WindowEstimate:
    """Everything the labels of a run say, as `askance estimate` does.

    Of one version's documents, `live` for the live one's, or of all; of offsets `since` to `until`, in blocks of 4,096.
    `gold` maps identifiers of documents to true labels. Raises `AskanceError`.
    """
    loaded = settings.load(None if config is None else Path(config), {"state": Path(state)}, looks_back=True)
    if not loaded.state.is_dir():
        msg = f"{loaded.state}: there is no such folder; name the one of the run"
        raise UsageError(msg)
    return run_window(loaded, version=version, since=since, until=until, gold=gold)


def run_window(
    config: Config,
    *,
    version: str | None,
    since: int,
    until: int | None,
    gold: Mapping[str, str] | None,
) -> WindowEstimate:
    """The same of settings: a window takes in every block of offsets that begins inside it."""
    registry = assembly.registry(config)
    manifests = registry.versions()
    if version == "live":
        version = registry.current()
    if version is not None and version not in {manifest.version for manifest in manifests}:
        registry.manifest(version)
    if not assembly.ledger_path(config, "train").exists():
        msg = f"there is no ledger in {config.state}, so nothing is known of a run; name another folder with --state"
        raise UsageError(msg)
    with assembly.ledger(config, "train") as ledger:
        block = ledger.block
        first, last = since // block * block, None if until is None else until // block * block
        tallies = [
            tally
            for tally in ledger.tallies()
            if tally.first_offset >= first and (last is None or tally.first_offset < last)
        ]
        judged = [row for row in ledger.judged(since=first) if last is None or row.coordinates.offset < last]
    labels = manifests[-1].labels if manifests else ()
    return estimate_window(tallies, judged, labels, version=version, gold=gold)


def simulate(
    uncertainties: ArrayLike,
    confidences: ArrayLike,
    right: ArrayLike,
    *,
    known: ArrayLike | None = None,
    propensities: ArrayLike | None = None,
    shares: Sequence[float] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
) -> list[Outcome]:
    """What each budget would buy: accuracy of the answers served, for a grid of shares and policies.

    `uncertainties` and `confidences` (N,) are the student's; `right` says whether it was right, of all N or of the
    documents at the places `known` (n,), which were drawn with `propensities` (n,).
    """
    u, c = np.asarray(uncertainties, dtype=np.float64), np.asarray(confidences, dtype=np.float64)
    places = np.arange(len(u)) if known is None else np.asarray(known, dtype=np.int64)
    answers = np.asarray(right, dtype=np.bool_)
    q = np.ones(len(places)) if propensities is None else np.asarray(propensities, dtype=np.float64)
    if len(u) != len(c) or not len(places) == len(answers) == len(q):
        msg = (
            f"{len(u)} uncertainties, {len(c)} confidences; {len(answers)} right answers, {len(places)} places, "
            f"{len(q)} propensities: the first two are of all documents, the others of those that are known"
        )
        raise ValueError(msg)
    return _simulate(u, c, places, answers, q, shares=shares)
