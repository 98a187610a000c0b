"""PGKD-style augmentation: rounds in which the teacher writes documents for the classes the student is weakest on.

After PGKD (arXiv 2411.05045); what is ours says docs/distillation.md. Owns two promises: what the teacher writes is
reserved at its worst and settled like any call, under all caps and its own; and nothing held out is shown to the
teacher or trained on: it sees figures of the holdout, but texts of the training side only, and a text that the split
would hold out, or that is much like one held out, is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from askance.augmentation import GENERATED_TOPIC, WritingOrder
from askance.calls import Caps, Limit, Order, Settlement, Spend
from askance.errors import TeacherError, TrainingError
from askance.records import Coordinates, Query
from askance.rules.likeness import signatures, unlike
from askance.rules.outcome import judge
from askance.rules.split import is_held_out
from askance.rules.weakness import class_reports, hard_negatives

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from askance.augmentation import Generated
    from askance.manifest import Manifest
    from askance.protocols import AugmentationLedger, Student, Trainer, Writer
    from askance.records import Labelled
    from askance.rules.weakness import ClassReport

_EXAMPLES = 4
_MISTAKES = 6
_LIKE = 0.8
"""Texts whose shingles are so much the same add nothing."""
_COMPARED = 20_000
"""Labels, the newest, that a new text is compared with."""

_logger = logging.getLogger(__name__)
_Outcome = TypeVar("_Outcome")


class Plan(NamedTuple):
    """How much is written, and when to stop."""

    rounds: int
    """At most, each time."""
    patience: int
    """Rounds without a better holdout before it is given up."""
    classes: int
    """The weakest so many, a round."""
    documents: int
    """Written a round, at most, for all classes together."""
    document_tokens: int
    limit: Limit
    """On what all augmentation with this ledger costs."""
    holdout_share: float


class Augmenter:
    """Betters a version by what the teacher writes; `ledger`, `writer`, `trainer` are this worker's own."""

    def __init__(
        self,
        *,
        ledger: AugmentationLedger,
        writer: Writer,
        trainer: Trainer,
        load: Callable[[str], Student],
        labels: Sequence[str],
        plan: Plan,
        caps: Caps,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._writer = writer
        self._trainer = trainer
        self._load = load
        self._labels = tuple(labels)
        self._plan = plan
        self._caps = caps
        self._now = now
        self._run = 0

    async def better(self, version: Manifest) -> Manifest:
        """The best version by agreement on the holdout: this one, or one that also learnt from what was written.

        What rounds after the best one's wrote is never trained on again. Ends early, with the best so far, when a cap
        leaves no room or the teacher cannot be asked.
        """
        # What is written counts against the run that labels are asked for in.
        self._run = await asyncio.to_thread(self._ledger.latest_run)
        best, stale = version, 0
        best_round = await asyncio.to_thread(self._ledger.last_round)
        for round_ in range(best_round + 1, best_round + 1 + self._plan.rounds):
            confirmed, ended = await self._round(best, round_)
            _logger.info("augmentation round %d: %d documents confirmed%s", round_, confirmed, ended and f"; {ended}")
            if confirmed:
                try:
                    challenger = await self._trainer.train()
                except TrainingError as exc:
                    _logger.warning("augmentation round %d: no version: %s", round_, exc)
                    stale += 1
                else:
                    improved = _agreement(challenger) > _agreement(best)
                    best, best_round, stale = (challenger, round_, 0) if improved else (best, best_round, stale + 1)
            else:
                stale += 1
            if ended or stale >= self._plan.patience:
                break
        await asyncio.to_thread(self._ledger.end_rounds, best_round)
        return best

    async def aclose(self) -> None:
        """Let go of the teacher's connections."""
        await self._writer.aclose()

    async def _round(self, version: Manifest, round_: int) -> tuple[int, str]:
        """How many documents were confirmed, and why nothing more can be asked for ("" when it can)."""
        orders, known = await asyncio.to_thread(self._orders, version)
        new: list[Generated] = []
        for order in orders:
            kept, ended = await self._write(order, round_, known)
            new += kept
            if ended:
                break
        else:
            ended = ""
        confirmed = 0
        slots = asyncio.Semaphore(self._writer.concurrency)

        async def check(one: Generated) -> tuple[bool, str]:
            async with slots:
                return await self._check(one)

        checks = [asyncio.create_task(check(one)) for one in new]
        try:
            for is_confirmed, why in await asyncio.gather(*checks):
                confirmed += is_confirmed
                ended = ended or why
        finally:
            for task in checks:
                task.cancel()
            await asyncio.gather(*checks, return_exceptions=True)
        return confirmed, ended

    def _orders(self, version: Manifest) -> tuple[list[WritingOrder], NDArray[np.uint32]]:
        """What to ask for: the weakest classes by F1 on the holdout, each with its share of the round's documents.

        With it the signatures of what is known already.
        """
        known = set(self._labels)
        rows = [row for row in self._ledger.labelled() if row.label in known]
        held_out = [row for row in rows if is_held_out(row.text, self._plan.holdout_share)]
        shown = [row for row in rows if not is_held_out(row.text, self._plan.holdout_share)]
        texts = [row.text for row in rows[-_COMPARED:]] + [one.text for one in self._ledger.generated()]
        known_texts = signatures(texts)
        if not held_out:
            return [], known_texts
        student = self._load(version.version)
        columns = student.logits([row.text for row in held_out]).argmax(axis=1)
        answers = [student.labels[column] for column in columns]
        reports = class_reports(answers, [row.label for row in held_out], self._labels)
        weakest = [report for report in reports if report.f1 < 1.0][: self._plan.classes]
        part = self._plan.documents // len(weakest) if weakest else 0
        return [self._order(report, shown, part) for report in weakest] if part else [], known_texts

    def _order(self, report: ClassReport, shown: Sequence[Labelled], documents: int) -> WritingOrder:
        examples = [row.text for row in shown if row.label == report.label][-_EXAMPLES:]
        return WritingOrder(
            label=report.label,
            precision=report.precision,
            recall=report.recall,
            f1=report.f1,
            examples=tuple(examples),
            mistakes=tuple(
                (row.text, row.label, row.predicted or "") for row in hard_negatives(shown, report.label, _MISTAKES)
            ),
            documents=documents,
            document_tokens=self._plan.document_tokens,
        )

    async def _write(self, order: WritingOrder, round_: int, known: NDArray[np.uint32]) -> tuple[list[Generated], str]:
        call, capped = await self._begin(self._writer.worst_writing(order), order.documents)
        if call is None:
            return [], capped
        writing, ended = await self._settled(call, self._writer.write(order))
        if writing is None:
            return [], ended
        texts = [text for text in writing.texts if not is_held_out(text, self._plan.holdout_share)]
        texts = await asyncio.to_thread(unlike, texts, known, _LIKE)
        kept = await asyncio.to_thread(
            self._ledger.keep_generated,
            Settlement(call, charges=writing.charges, error=writing.error),
            texts,
            wanted=order.label,
            round_=round_,
            teacher=self._writer.name,
        )
        return list(kept), ""

    async def _check(self, one: Generated) -> tuple[bool, str]:
        """Have the document labelled by a call that is not told what it was written for."""
        where = Coordinates(GENERATED_TOPIC, 0, one.number)
        query = Query(where, f"generated-{one.number}", one.text, None, None, 1.0, 1.0, None, 0)
        call, capped = await self._begin(self._writer.worst([query]), 1)
        if call is None:
            return False, capped
        attempt, ended = await self._settled(call, self._writer.ask([query]))
        if attempt is None:
            return False, ended
        answer = None if attempt.fault is not None else attempt.answers[0]
        label = None if answer is None else judge(answer, self._labels)[1]
        await asyncio.to_thread(
            self._ledger.check_generated,
            Settlement(call, charges=attempt.charges, error=attempt.error or (answer.error if answer else None)),
            one.number,
            label,
            answer.confidence if answer else None,
        )
        return label == one.wanted, ""

    async def _begin(self, worst: Spend, documents: int) -> tuple[int | None, str]:
        order = Order(calls=1, now=self._now(), teacher=self._writer.name, run=self._run, caps=self._caps)
        call, capped = await asyncio.to_thread(self._ledger.begin_call, order, worst, self._plan.limit, documents)
        return call, f"the cap {capped} leaves no room" if capped else ""

    async def _settled(self, call: int, asking: Coroutine[None, None, _Outcome]) -> tuple[_Outcome | None, str]:
        """What came of a call; a teacher that cannot be asked says what it has taken, anything else took the worst."""
        try:
            return await asking, ""
        except TeacherError as exc:
            await asyncio.to_thread(self._ledger.settle, [Settlement(call, charges=exc.charges, error=str(exc))])
            return None, str(exc)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._ledger.settle, [Settlement(call, error="it was cut off")]))
            raise


def _agreement(manifest: Manifest) -> float:
    return manifest.agreement.value if manifest.agreement is not None else 0.0
