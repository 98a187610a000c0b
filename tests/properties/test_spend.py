"""Spend never exceeds the cap, whatever is reserved, settled, released or orphaned in whatever order."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from askance.calls import Again, Call, Caps, Charge, Limit, Order, Settlement, Spend
from askance.ledger import SqliteLedger
from askance.records import Answer, Label, Outcome
from tests.doubles import query

DAY = 86_400.0
_CAP = st.none() | st.integers(0, 3000)
_LIMIT = st.builds(Limit, calls=st.none() | st.integers(0, 12), tokens=_CAP, nanos=_CAP)


class Spending(RuleBasedStateMachine):
    """A slow, obvious account beside the ledger's: a list of every call with what it counts as."""

    @initialize(caps=st.builds(Caps, run=_LIMIT, day=_LIMIT, total=_LIMIT), size=st.integers(1, 3))
    def begin(self, caps: Caps, size: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = SqliteLedger(Path(self.folder.name) / "ledger.db")
        self.caps, self.size = caps, size
        self.day, self.offset = 0, 0
        self.run = self.ledger.begin_run()
        self.open: dict[int, Call] = {}
        self.counted: dict[int, tuple[int, int, Spend]] = {}

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()

    @rule(count=st.integers(1, 8))
    def commit(self, count: int) -> None:
        self.ledger.commit([query(self.offset + n) for n in range(count)], (), None)
        self.offset += count

    @rule(calls=st.integers(1, 8), price=st.integers(1, 500), tokens=st.integers(1, 500))
    def reserve(self, calls: int, price: int, tokens: int) -> None:
        order = Order(
            calls=calls, now=self.day * DAY, documents_per_call=self.size, teacher="m", run=self.run, caps=self.caps
        )
        got = self.ledger.reserve(order, lambda asked: Spend(1, tokens * len(asked), price * len(asked)))
        for call in got.calls:
            assert 1 <= len(call.queries) <= self.size
            self.open[call.number] = call
            self.counted[call.number] = (self.run, self.day, call.reserved)

    @rule(data=st.data(), share=st.floats(0, 1), known=st.booleans(), back=st.booleans())
    def settle(self, data: st.DataObject, share: float, known: bool, back: bool) -> None:
        if not self.open:
            return
        call = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
        spent = Spend(1, int(call.reserved.tokens * share), int(call.reserved.nanos * share))
        charge = Charge("m", 1, spent.tokens, 0, 0, spent.nanos)
        if call.is_audit:
            settlement = Settlement(call.number, charges=(charge,) if known else None, audited=("a", None))
            self.ledger.settle([settlement])
            run, day, reserved = self.counted[call.number]
            self.counted[call.number] = (run, day, spent if known else reserved)
            return
        labels = tuple(Label(one.coordinates, Outcome.LABELLED, "a", "m", Answer("a"), 0.0) for one in call.queries)
        again = tuple(Again(one.coordinates, self.day * DAY, 1.0, 0) for one in call.queries)
        audits = () if back else tuple(label.coordinates for label in labels[:1])
        charges = (charge,) if known else None
        self.ledger.settle(
            [Settlement(call.number, () if back else labels, again if back else (), charges, audits=audits)]
        )
        run, day, reserved = self.counted[call.number]
        self.counted[call.number] = (run, day, spent if known else reserved)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.open:
            call = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
            self.ledger.release([call])
            del self.counted[call.number]

    @rule()
    def die(self) -> None:
        self.ledger.close()
        self.ledger = SqliteLedger(Path(self.folder.name) / "ledger.db")
        assert self.ledger.abandon_orphans() == sum(
            len(call.queries) for call in self.open.values() if not call.is_audit
        )
        self.open.clear()
        self.run = self.ledger.begin_run()

    @rule()
    def sleep_over(self) -> None:
        self.day += 1

    @invariant()
    def no_cap_is_exceeded_and_the_accounts_are_right(self) -> None:
        if not hasattr(self, "ledger"):
            return
        for period, key, limit in (
            (f"run {self.run}", lambda run, _: run == self.run, self.caps.run),
            (f"day {_date(self.day)}", lambda _, day: day == self.day, self.caps.day),
            ("total", lambda *_: True, self.caps.total),
        ):
            slow = sum((spend for run, day, spend in self.counted.values() if key(run, day)), Spend())
            assert self.ledger.spent(period) == slow, period
            assert limit.exceeded_by(slow) is None, period


def _date(day: int) -> str:
    import datetime

    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
