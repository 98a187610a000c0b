"""Two teachers as one: the cheap one is asked first, the dear one about what the first is not sure enough of."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import msgspec

from askance.calls import Attempt
from askance.errors import TeacherError
from askance.rules.outcome import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from askance.calls import Audit, Charge, Spend
    from askance.protocols import Teacher
    from askance.records import Answer, Coordinates, Query
    from askance.rules.cascade import Escalation

_LEARN_SECONDS = 30.0
# What the first said of queries that the second has yet to answer, so that a retry does not pay for it again.
_MOST_REMEMBERED = 10_000

_logger = logging.getLogger(__name__)


class CascadeTeacher:
    """Implements `protocols.Teacher` over two of them; every answer says whose it is.

    A call is reserved at the worst price of both, so no cap is exceeded whichever way it goes; each one's part is a
    charge of its own. `evidence` (blocking) is asked now and then for answers that both gave, and moves the threshold
    of `rule`. An audit goes to the second alone: it tells what the first one's confidence is worth.
    """

    def __init__(
        self,
        first: Teacher,
        second: Teacher,
        labels: Collection[str],
        rule: Escalation,
        *,
        evidence: Callable[[], Sequence[Audit]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first = first
        self._second = second
        self._labels = frozenset(labels)
        self._rule = rule
        self._fixed = rule
        self._evidence = evidence
        self._clock = clock
        self._learned_at = float("-inf")
        self._remembered: dict[Coordinates, Answer] = {}

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self._first.name}, then {self._second.name}"

    @property
    def first_name(self) -> str:
        """The cheap one's."""
        return self._first.name

    @property
    def concurrency(self) -> int:
        """How many `ask` calls may be under way at once."""
        return min(self._first.concurrency, self._second.concurrency)

    @property
    def documents_per_call(self) -> int:
        """How many queries a call may be about."""
        return min(self._first.documents_per_call, self._second.documents_per_call)

    @property
    def key(self) -> str | None:
        """Both keys: an answer that stood here need not stand elsewhere."""
        if self._first.key is None or self._second.key is None:
            return None
        return f"{self._first.key}, then {self._second.key}"

    def worst(self, queries: Sequence[Query]) -> Spend:
        """Both are asked about everything."""
        return self._first.worst(queries) + self._second.worst(queries)

    def expected(self, queries: Sequence[Query]) -> tuple[Charge, ...]:
        """Half of the documents go on to the second, since nothing better is known beforehand."""
        dear = [
            msgspec.structs.replace(
                charge,
                calls=(charge.calls + 1) // 2,
                prompt_tokens=charge.prompt_tokens // 2,
                completion_tokens=charge.completion_tokens // 2,
                nanos=charge.nanos // 2,
            )
            for charge in self._second.expected(queries)
        ]
        return (*self._first.expected(queries), *dear)

    async def ask(self, queries: Sequence[Query]) -> Attempt:
        """The first about all, then the second about those whose answer does not stand.

        A fault of the second leaves those answers None, with the fault beside the answers that stand.
        """
        await self._learn()
        known = [self._remembered.get(query.coordinates) for query in queries]
        charges: list[Charge] | None = []
        if None in known:
            attempt = await self._first.ask(queries)
            if attempt.fault is not None:
                return attempt
            known = [_named(answer, self._first.name) for answer in attempt.answers if answer is not None]
            charges = None if attempt.charges is None else list(attempt.charges)
            after = attempt.retry_after_seconds
        else:
            after = None
        firsts = [answer for answer in known if answer is not None]
        unsure = [n for n, answer in enumerate(firsts) if not self._stands(answer)]
        if not unsure:
            return Attempt(
                tuple(firsts), charges=None if charges is None else tuple(charges), retry_after_seconds=after
            )
        for n in unsure:
            self._remember(queries[n], firsts[n])
        asked = [queries[n] for n in unsure]
        try:
            attempt = await self._second.ask(asked)
        except TeacherError as exc:
            exc.charges = self._together(charges, exc.charges, asked)
            raise
        spent = self._together(charges, attempt.charges, asked)
        answers: list[Answer | None] = list(firsts)
        seconds: Sequence[Answer | None] = attempt.answers or [None] * len(unsure)
        for n, second in zip(unsure, seconds, strict=True):
            answers[n] = None if second is None else _named(second, self._second.name, overruled=firsts[n])
            if second is not None:
                self._remembered.pop(queries[n].coordinates, None)
        return Attempt(
            tuple(answers),
            fault=attempt.fault,
            error=attempt.error,
            charges=spent,
            retry_after_seconds=max(filter(None, (after, attempt.retry_after_seconds)), default=None),
        )

    def _together(
        self, first: Sequence[Charge] | None, second: Sequence[Charge] | None, asked: Sequence[Query]
    ) -> tuple[Charge, ...] | None:
        """What both took; where it is the second's that is unknown, the worst of that."""
        if first is None:
            return None
        return (*first, *([_worst(self._second, asked)] if second is None else second))

    async def audit(self, queries: Sequence[Query]) -> Attempt:
        """The second alone."""
        return await self._second.ask(queries)

    async def aclose(self) -> None:
        """Close both."""
        await self._first.aclose()
        await self._second.aclose()

    def _stands(self, answer: Answer) -> bool:
        """Whether the first one's answer is a label, and sure enough."""
        if judge(answer, self._labels)[1] is None:
            return False
        return self._rule.stands(answer.confidence, answer.confidence_source)

    def _remember(self, query: Query, answer: Answer) -> None:
        if len(self._remembered) >= _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[query.coordinates] = answer

    async def _learn(self) -> None:
        """Read the evidence again when what is known is old."""
        now = self._clock()
        if now - self._learned_at < _LEARN_SECONDS:
            return
        self._learned_at = now
        before = self._rule
        self._rule = self._fixed.learned(await asyncio.to_thread(self._evidence))
        if self._rule != before:
            _logger.info("%s is worth by confidence: %s", self._first.name, self._rule.shares)


def _named(answer: Answer, teacher: str, *, overruled: Answer | None = None) -> Answer:
    return msgspec.structs.replace(answer, teacher=answer.teacher or teacher, overruled=overruled)


def _worst(teacher: Teacher, queries: Sequence[Query]) -> Charge:
    from askance.calls import Charge

    worst = teacher.worst(queries)
    return Charge(teacher.name, worst.calls, prompt_tokens=worst.tokens, nanos=worst.nanos)
