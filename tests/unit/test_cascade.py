"""Two teachers as one: who is asked about what, what it costs, and how the threshold is learned."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from askance.calls import Attempt, Audit, Caps, Charge, Fault, Limit, Spend
from askance.errors import TeacherError
from askance.ledger import SqliteLedger
from askance.records import Answer, LabelCounts, Query
from askance.rules.cascade import ENOUGH, Escalation
from askance.teacher.cascade import CascadeTeacher
from askance.telemetry import Telemetry
from askance.workers.teach import TeachWorker
from tests.doubles import query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LABELS = ("yes", "no")
RULE = Escalation(agreement=0.9, confidence=0.8)


class Tier:
    """A teacher that answers by a function and costs a fixed price; `asked` has every text it was asked about."""

    concurrency, documents_per_call = 8, 4

    def __init__(self, name: str, price: int, behaviour: Callable[[Query], Answer | Attempt]) -> None:
        self.name, self.price, self.behaviour = name, price, behaviour
        self.key = f"{name} key"
        self.asked: list[str] = []

    def worst(self, queries: Sequence[Query]) -> Spend:
        return Spend(1, 0, self.price * len(queries))

    def expected(self, queries: Sequence[Query]) -> tuple[Charge, ...]:
        return (Charge(self.name, 1, nanos=self.price * len(queries)),)

    async def ask(self, queries: Sequence[Query]) -> Attempt:
        await asyncio.sleep(0)
        self.asked += [one.text for one in queries]
        found = [self.behaviour(one) for one in queries]
        for one in found:
            if isinstance(one, Attempt):
                return one
        charge = Charge(self.name, 1, nanos=self.price * len(queries))
        return Attempt(tuple(one for one in found if isinstance(one, Answer)), charges=(charge,))

    audit = ask

    async def aclose(self) -> None: ...


def sure(confidence: float | None, word: str = "yes") -> Answer:
    return Answer(word, confidence, None if confidence is None else "stated")


def cascade(cheap: Tier, dear: Tier, evidence: Sequence[Audit] = ()) -> CascadeTeacher:
    return CascadeTeacher(cheap, dear, LABELS, RULE, evidence=lambda: evidence)


def by_number(one: Query) -> int:
    return int(one.text.rpartition(" ")[2])


@pytest.mark.asyncio
async def test_the_dear_one_is_asked_about_what_the_cheap_one_is_not_sure_of() -> None:
    answers = [sure(0.95), sure(0.5), sure(None), sure(0.99, "maybe"), Answer(None, error="missing")]
    cheap = Tier("cheap", 1, lambda one: answers[by_number(one)])
    dear = Tier("dear", 100, lambda _: sure(0.9, "no"))
    got = await cascade(cheap, dear).ask([query(n) for n in range(5)])
    assert dear.asked == [f"document {n}" for n in (1, 2, 3, 4)]
    assert [(one.raw, one.teacher) for one in got.answers if one] == [("yes", "cheap"), *[("no", "dear")] * 4]
    assert [one.overruled and one.overruled.raw for one in got.answers if one] == [None, "yes", "yes", "maybe", None]
    assert got.charges == (Charge("cheap", 1, nanos=5), Charge("dear", 1, nanos=400))


@pytest.mark.asyncio
async def test_a_fault_of_the_dear_one_keeps_what_stands_and_pays_the_cheap_one_once() -> None:
    cheap = Tier("cheap", 1, lambda one: sure(0.95 if by_number(one) == 0 else 0.1))
    ill = [True]
    down = Attempt(fault=Fault.THROTTLED, error="429", charges=(Charge("dear", 1),), retry_after_seconds=3.0)
    dear = Tier("dear", 100, lambda _: down if ill[0] else sure(0.9))
    teacher = cascade(cheap, dear)
    got = await teacher.ask([query(0), query(1)])
    assert [one and one.teacher for one in got.answers] == ["cheap", None]
    assert (got.fault, got.retry_after_seconds) == (Fault.THROTTLED, 3.0)
    assert got.charges == (Charge("cheap", 1, nanos=2), Charge("dear", 1))
    ill[0] = False
    got = await teacher.ask([query(1)])
    assert cheap.asked == ["document 0", "document 1"], "its answer is remembered"
    assert got.charges == (Charge("dear", 1, nanos=100),)
    assert [one and one.overruled and one.overruled.teacher for one in got.answers] == ["cheap"]


@pytest.mark.asyncio
async def test_what_the_dear_one_took_unknown_counts_at_its_worst() -> None:
    dear = Tier("dear", 100, lambda _: Attempt(fault=Fault.UNREACHABLE, error="timeout"))
    got = await cascade(Tier("cheap", 1, lambda _: sure(0.1)), dear).ask([query(0)])
    assert got.charges == (Charge("cheap", 1, nanos=1), Charge("dear", 1, nanos=100))


@pytest.mark.asyncio
async def test_what_the_cheap_one_took_is_told_when_the_dear_one_cannot_be_asked_at_all() -> None:
    def refused(_: Query) -> Answer:
        raise TeacherError("401")

    teacher = cascade(Tier("cheap", 1, lambda _: sure(0.1)), Tier("dear", 100, refused))
    with pytest.raises(TeacherError) as raised:
        await teacher.ask([query(0)])
    assert raised.value.charges == (Charge("cheap", 1, nanos=1),)


@pytest.mark.asyncio
async def test_a_fault_of_the_cheap_one_asks_nobody_else() -> None:
    dear = Tier("dear", 100, lambda _: sure(0.9))
    cheap = Tier("cheap", 1, lambda _: Attempt(fault=Fault.UNREACHABLE, error="down"))
    got = await cascade(cheap, dear).ask([query(0)])
    assert (got.fault, dear.asked) == (Fault.UNREACHABLE, [])


def seen(confidence: float, agreed: int, of: int, source: str = "stated") -> list[Audit]:
    return [Audit("yes", "yes" if n < agreed else "no", confidence, source) for n in range(of)]


def test_the_threshold_is_learned_from_answers_that_both_gave() -> None:
    sceptic = RULE.learned(seen(0.92, 30, 40) + seen(0.6, 39, 40))
    assert not sceptic.stands(0.92, "stated"), "its 0.92 is worth 0.86 at most, pooled with the bin below"
    trusting = RULE.learned(seen(0.6, 39, 40))
    assert trusting.stands(0.6, "stated")
    assert trusting.stands(0.85, "stated"), "without evidence the fixed threshold holds"
    assert not trusting.stands(0.75, "stated")
    assert not trusting.stands(0.6, "log_probability"), "another source is another scale"
    assert not RULE.learned(seen(0.6, ENOUGH - 1, ENOUGH - 1)).stands(0.6, "stated"), "too little evidence"


def test_a_learned_table_never_falls() -> None:
    dice = random.Random(1)
    for _ in range(200):
        evidence = [
            audit for c in (0.2, 0.6, 0.75, 0.85, 0.92, 0.97, 1.0) for audit in seen(c, dice.randint(0, 30), 30)
        ]
        shares = [share for share in RULE.learned(evidence).shares["stated"] if share is not None]
        assert shares == sorted(shares)
        assert sum(shares) * 30 == pytest.approx(sum(one.first == one.again for one in evidence))


def taught(folder: Path, teacher: CascadeTeacher, documents: int, **settings: object) -> SqliteLedger:
    ledger = SqliteLedger(folder / "ledger.db")
    ledger.commit([query(n) for n in range(documents)], (), None)
    drain = asyncio.Event()
    drain.set()
    worker = TeachWorker(ledger=ledger, teacher=teacher, labels=LABELS, telemetry=Telemetry(), **settings)

    async def run() -> None:
        async with asyncio.timeout(30):
            await worker.run(drain=drain, stop=asyncio.Event())

    asyncio.run(run())
    return ledger


def test_each_tier_has_its_part_of_the_bill_and_the_evidence_is_kept(tmp_path: Path) -> None:
    cheap = Tier("cheap", 1, lambda one: sure(0.95 if by_number(one) % 4 else 0.5))
    dear = Tier("dear", 100, lambda one: sure(0.9, "no" if by_number(one) % 8 == 0 else "yes"))
    ledger = taught(tmp_path, cascade(cheap, dear), 400, audit_share=0.2)
    assert ledger.counts() == LabelCounts(labelled=400)
    bill = {row.key: (row.calls, row.nanos) for row in ledger.spend_report("teacher")}
    audits = len(ledger.audits())
    assert bill["cheap"] == (100, 400)
    assert bill["dear"] == (100 + audits, 100 * (100 + audits))
    assert ledger.spent().nanos == 400 + 100 * (100 + audits)
    evidence = ledger.evidence("cheap")
    unsure = [one for one in evidence if one.confidence == 0.5]
    assert (len(unsure), sum(one.first == one.again for one in unsure)) == (100, 50)
    confident = [one for one in evidence if one.confidence == 0.95]
    assert 30 < len(confident) < 100
    assert all(one.first == one.again for one in confident)
    # What was learned: 0.5 agrees half of the time only, 0.95 always.
    learned = RULE.learned(evidence)
    assert (learned.stands(0.95, "stated"), learned.stands(0.5, "stated")) == (True, False)
    ledger.close()


def test_a_cap_holds_over_both_tiers_however_dear_the_second_turns_out(tmp_path: Path) -> None:
    cheap = Tier("cheap", 1, lambda _: sure(0.1))
    dear = Tier("dear", 100, lambda _: sure(0.9))
    with pytest.raises(TeacherError, match=r"spend\.total_money"):
        taught(tmp_path, cascade(cheap, dear), 400, caps=Caps(total=Limit(nanos=5_000)))
    ledger = SqliteLedger(tmp_path / "ledger.db")
    billed = len(cheap.asked) + 100 * len(dear.asked)
    assert ledger.spent().nanos == billed <= 5_000
    assert billed > 4_000
    ledger.close()
