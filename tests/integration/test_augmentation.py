"""PGKD-style augmentation against a scripted teacher over real HTTP: what is asked, kept, learnt, paid and stopped."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from askance.calls import Caps, Limit
from askance.config import TeacherConfig
from askance.ledger import SqliteLedger
from askance.records import Answer, Coordinates, Label, Outcome, Query
from askance.rules.spend import Price
from askance.rules.split import is_held_out
from askance.teacher.openai import OpenAITeacher
from askance.training.pipeline import train
from askance.workers.augment import Augmenter, Plan
from tests.doubles import give
from tests.integration.fake_llm import Behaviour, FakeLLM, answer, says, status
from tests.integration.test_training import load, registry, spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from askance.manifest import Manifest

LABELS = ("animals", "boats", "cooking")
KNOWN = {"animals": "cat dog", "boats": "sail mast", "cooking": "salt oven"}
# Words of cooking that no labelled training document has: only what the teacher writes can teach them.
UNSEEN = ["whisk", "ladle", "saucepan", "colander", "tureen", "skillet"]
PRICE = Price(1.0, 2.0)


def texts(label: str, words: list[str], count: int, *, held_out: bool, seed: int = 0) -> list[str]:
    """So many on one side of the split."""
    rng = np.random.default_rng([LABELS.index(label), held_out, len(words), seed])
    found: dict[str, None] = {}
    while len(found) < count:
        parts = [*rng.choice(words, 2), *(f"w{rng.integers(400)}" for _ in range(6))]
        text = " ".join(str(part) for part in rng.permutation(parts))
        if is_held_out(text, 0.2) == held_out:
            found[text] = None
    return list(found)


def fill(state: Path) -> list[str]:
    """Labels of which cooking's held-out half cannot be learnt; returns the held-out texts."""
    rows: list[tuple[str, str]] = []
    held: list[str] = []
    for label in LABELS:
        words = KNOWN[label].split()
        rows += [(text, label) for text in texts(label, words, 80, held_out=False)]
        out = texts(label, UNSEEN if label == "cooking" else words, 25, held_out=True)
        held += out
        rows += [(text, label) for text in out]
    with closing(SqliteLedger(state / "ledger.db")) as ledger:
        places = [Coordinates("t", 0, offset) for offset in range(len(rows))]
        wrong = "boats"  # what an early version took some cooking for, with much confidence
        ledger.commit(
            [
                Query(where, str(where.offset), text, wrong if where.offset % 7 == 0 else label, 0.9, 0.1, 0.3, "v1", 0)
                for where, (text, label) in zip(places, rows, strict=True)
            ],
            (),
            None,
        )
        give(
            ledger,
            [
                Label(where, Outcome.LABELLED, label, "test", Answer(label), 0.0)
                for where, (_, label) in zip(places, rows, strict=True)
            ],
        )
    return held


def plan(**changes: Any) -> Plan:
    settings = {
        "rounds": 3, "patience": 1, "classes": 1, "documents": 24, "document_tokens": 20, "limit": Limit(),
        "holdout_share": 0.2,
    }  # fmt: skip
    return Plan(**settings | changes)


class Scripted:
    """What the teacher writes, round by round, and what it then says it is."""

    def __init__(self, *rounds: list[str], judged: Callable[[str], str] = lambda _: "cooking") -> None:
        self.orders: list[dict[str, Any]] = []
        self._rounds = list(rounds)
        self.server = FakeLLM(lambda text: answer(judged(text)))
        self.server.writes = self._write

    def _write(self, body: dict[str, Any]) -> Behaviour:
        self.orders.append(body)
        return says(json.dumps({"documents": self._rounds[len(self.orders) - 1]}))


class InProcess:
    """A trainer without a process of its own."""

    def __init__(self, state: Path) -> None:
        self._state = state

    async def train(self) -> Manifest:
        return await asyncio.to_thread(train, spec(self._state))


async def augment(state: Path, server: FakeLLM, plan: Plan, caps: Caps | None = None) -> tuple[Manifest, Manifest]:
    """The version before, and what comes of it."""
    config = TeacherConfig(kind="openai", model="m", base_url=server.base_url, timeout_seconds=5.0)
    with closing(SqliteLedger(state / "ledger.db")) as ledger:
        ledger.lose_augmentation()
        trainer = InProcess(state)
        augmenter = Augmenter(
            ledger=ledger,
            writer=OpenAITeacher(config, LABELS, price=PRICE, environment={}),
            trainer=trainer,
            load=lambda version: load(state, registry(state).manifest(version)),
            labels=LABELS,
            plan=plan,
            caps=caps or Caps(),
        )
        try:
            before = await trainer.train()
            return before, await augmenter.better(before)
        finally:
            await augmenter.aclose()


def books(state: Path) -> tuple[tuple[int, int], dict[str, int], int]:
    """The account (calls, nanos) of the augmentation, documents by status, calls still open."""
    with closing(SqliteLedger(state / "ledger.db")) as ledger, ledger._reading() as connection:
        account = connection.execute("SELECT calls, nanos FROM accounts WHERE period = 'augment'").fetchone()
        by_status = dict(connection.execute("SELECT status, count(*) FROM generated GROUP BY 1").fetchall())
        (left,) = connection.execute("SELECT count(*) FROM calls WHERE status = 'open'").fetchone()
    return account or (0, 0), by_status, left


@pytest.fixture
def held(tmp_path: Path) -> Iterator[list[str]]:
    return fill(tmp_path)


def test_rounds_go_on_while_they_help_and_the_best_version_comes_back(tmp_path: Path, held: list[str]) -> None:
    # Two of the six words stay unknown, so that something is left to be better at.
    helpful = texts("cooking", UNSEEN[:4], 20, held_out=False)
    harmful = texts("cooking", ["sail", "mast"], 60, held_out=False)
    scripted = Scripted(helpful, harmful)

    async def go() -> tuple[Manifest, Manifest]:
        async with scripted.server:
            return await augment(tmp_path, scripted.server, plan(documents=60))

    before, after = asyncio.run(go())

    assert before.agreement is not None
    assert after.agreement is not None
    assert after.agreement.value > before.agreement.value + 0.1
    assert (before.generated, after.generated) == (0, 20)
    # Round 1 helped, round 2 did not, and with a patience of 1 there was no round 3.
    assert len(scripted.orders) == 2
    versions = [manifest.version for manifest in registry(tmp_path).versions()]
    assert len(versions) == 3
    assert versions.index(after.version) == 1
    # The second round's documents are trained on by no later version.
    (calls, _), by_status, left = books(tmp_path)
    assert by_status == {"kept": 20, "discarded": 60}
    assert (calls, left) == (2 + 20 + 60, 0)
    # What it was shown: the weak class and its mistakes; and nothing that is held out.
    shown = "\n".join(message["content"] for order in scripted.orders for message in order["messages"])
    assert 'It is weak on "cooking"' in shown
    assert "it said" in shown
    assert not [text for text in held if text in shown]


def test_what_is_kept_is_new_checked_and_never_held_out(tmp_path: Path, held: list[str]) -> None:
    fresh = texts("cooking", UNSEEN, 6, held_out=False)
    refused = texts("cooking", UNSEEN, 3, held_out=False, seed=1)
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        old = next(row.text for row in ledger.labelled() if row.label == "cooking" and row.text not in held)
    like_held_out = next(f"{text} please" for text in held if not is_held_out(f"{text} please", 0.2))
    written = [
        *fresh,
        *refused,
        fresh[0],  # twice
        old,  # a document of the stream
        fresh[1].upper(),  # nearly the same
        held[-1],  # held out
        *texts("cooking", UNSEEN, 2, held_out=True, seed=9),  # new, but on the side that is held out
        like_held_out,
        "",
    ]
    scripted = Scripted(written, judged=lambda text: "boats" if text in refused else "cooking")

    async def go() -> tuple[Manifest, Manifest]:
        async with scripted.server:
            return await augment(tmp_path, scripted.server, plan(rounds=1))

    _, after = asyncio.run(go())

    assert after.generated in (0, 6)  # 0 where six documents made no better version
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        stored = {one.text: one for one in ledger.generated()}
        counts = ledger.counts()
        labelled = {row.text for row in ledger.labelled()}
    assert set(stored) == {*fresh, *refused}
    assert {stored[text].status for text in refused} == {"refused"}
    assert {stored[text].label for text in refused} == {"boats"}
    # The check is not told what it is to find.
    assert scripted.server.asked == dict.fromkeys(stored, 1)
    # They are no documents of the stream: no count, no label, no estimate has them.
    assert counts.labelled == 315
    assert not labelled & set(stored)


@pytest.mark.parametrize("cap", ["own calls", "own money", "total calls", "total money", "run calls"])
def test_no_cap_is_passed(tmp_path: Path, held: list[str], cap: str) -> None:
    scripted = Scripted(texts("cooking", UNSEEN, 24, held_out=False))
    least = 6_000_000  # nanos: room for the writing call and some checks at their worst, not for all
    limit = {"own calls": Limit(calls=9), "own money": Limit(nanos=least)}.get(cap, Limit())
    caps = {
        "total calls": Caps(total=Limit(calls=9)),
        "total money": Caps(total=Limit(nanos=least)),
        "run calls": Caps(run=Limit(calls=9)),
    }.get(cap, Caps())

    async def go() -> tuple[Manifest, Manifest]:
        async with scripted.server:
            return await augment(tmp_path, scripted.server, plan(limit=limit), caps)

    _, after = asyncio.run(go())

    (calls, nanos), by_status, left = books(tmp_path)
    assert left == 0
    assert len(scripted.server.requests) == calls < 25
    if cap.endswith("calls"):
        assert calls == 9
    else:
        assert calls > 1
        assert nanos <= least
    assert by_status.get("kept", 0) <= calls - 1
    assert after.version


def test_what_was_written_counts_in_the_run_that_labels_are_asked_in(tmp_path: Path) -> None:
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        first = ledger.latest_run()
        assert ledger.latest_run() == first
        assert ledger.begin_run() == ledger.latest_run() == first + 1


def test_a_teacher_that_fails_costs_no_version(tmp_path: Path, held: list[str]) -> None:
    scripted = Scripted()
    scripted.server.writes = lambda _: status(500)

    async def go() -> tuple[Manifest, Manifest]:
        async with scripted.server:
            return await augment(tmp_path, scripted.server, plan(patience=2))

    before, after = asyncio.run(go())

    assert after == before
    assert len(scripted.server.requests) == 2
    (calls, _), by_status, left = books(tmp_path)
    # The server may have done the work before it failed, so both calls count at their worst.
    assert (calls, by_status, left) == (2, {}, 0)


def test_a_teacher_that_turns_the_key_away_ends_the_rounds_and_took_nothing(tmp_path: Path, held: list[str]) -> None:
    scripted = Scripted()
    scripted.server.writes = lambda _: status(401)

    async def go() -> tuple[Manifest, Manifest]:
        async with scripted.server:
            return await augment(tmp_path, scripted.server, plan(patience=3))

    before, after = asyncio.run(go())

    assert after == before
    assert len(scripted.server.requests) == 1
    assert books(tmp_path) == ((0, 0), {}, 0)


KILLED = """
import asyncio, sys
from pathlib import Path
from tests.integration.test_augmentation import FakeLLM, augment, plan, says
import json, os

async def main():
    async with FakeLLM() as server:
        server.default = lambda text: os._exit(9)
        server.writes = lambda body: says(json.dumps({"documents": json.loads(sys.argv[2])}))
        await augment(Path(sys.argv[1]), server, plan())

asyncio.run(main())
"""


def test_a_killed_process_has_spent_what_it_reserved_and_the_next_one_goes_on(tmp_path: Path, held: list[str]) -> None:
    fresh = texts("cooking", UNSEEN, 8, held_out=False)
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), json.dumps(fresh)], timeout=120, check=False)
    assert process.returncode == 9
    (before, _), by_status, left = books(tmp_path)
    assert before > 1
    assert by_status == {"unchecked": 8}
    assert left == before - 1

    more = texts("cooking", UNSEEN, 12, held_out=False, seed=2)
    scripted = Scripted(more)

    async def go() -> tuple[Manifest, Manifest]:
        async with scripted.server:
            with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
                # A teach worker that starts over leaves the augmentation's calls alone, and the other way round.
                ledger.abandon_orphans()
            return await augment(tmp_path, scripted.server, plan(rounds=1))

    # The version before is there already: something new is to be learnt from.
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        where = Coordinates("t", 0, 10_000)
        ledger.commit([Query(where, "x", "one more cat", None, None, 1.0, 1.0, None, 0)], (), None)
        give(ledger, [Label(where, Outcome.LABELLED, "animals", "test", Answer("animals"), 0.0)])
    asyncio.run(go())
    (calls, _), by_status, left = books(tmp_path)
    assert (calls, left) == (before + 1 + 12, 0)
    assert by_status["discarded"] >= 8  # the round that was cut off never ended


def test_its_spend_is_a_row_of_its_own(tmp_path: Path, held: list[str]) -> None:
    scripted = Scripted(texts("cooking", UNSEEN, 4, held_out=False))

    async def go() -> None:
        async with scripted.server:
            await augment(tmp_path, scripted.server, plan(rounds=1))

    asyncio.run(go())
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        rows = {row.key: row for row in ledger.spend_report("label")}
        account, _, _ = books(tmp_path)
        assert rows["(augment)"].calls == 5
        assert rows["(augment)"].nanos == account[1] > 0


@pytest.mark.slow
def test_a_run_with_augment_trains_on_what_was_written(tmp_path: Path) -> None:
    rows = [
        (text, label) for label in LABELS for text in texts(label, KNOWN[label].split() + UNSEEN, 100, held_out=False)
    ]
    rows += [
        (text, label) for label in LABELS for text in texts(label, [*KNOWN[label].split(), "fog"], 30, held_out=True)
    ]
    order = np.random.default_rng(0).permutation(len(rows))
    stream = "".join(json.dumps({"id": str(n), "text": rows[n][0]}) + "\n" for n in order)
    (tmp_path / "documents.jsonl").write_text(stream, encoding="utf-8")
    gold = dict(rows)
    written = {label: texts(label, KNOWN[label].split(), 8, held_out=False, seed=5) for label in LABELS}
    truth = gold | {text: label for label, new in written.items() for text in new}

    def write(body: dict[str, Any]) -> Behaviour:
        weak = next(label for label in LABELS if f'weak on "{label}"' in body["messages"][0]["content"])
        return says(json.dumps({"documents": written[weak]}))

    async def go() -> tuple[int, str]:
        async with FakeLLM(lambda text: answer(truth[text])) as server:
            server.writes = write
            command = [
                *(sys.executable, "-c", "from askance.cli.main import main; main()", "run"),
                *("--input", "documents.jsonl", "--output", "predictions.jsonl", "--teacher", "openai"),
                *("--labels", ",".join(LABELS), "--model", "m", "--base-url", server.base_url),
                *("--set", "train.augment.enabled=true"),
                *("--set", "budget.share=0.9", "--set", "train.first_at=60", "--set", "train.growth=3"),
            ]
            process = await asyncio.create_subprocess_exec(
                *command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            _, errors = await asyncio.wait_for(process.communicate(), 120)
            return process.returncode or 0, errors.decode()

    code, errors = asyncio.run(go())
    assert code == 0, errors
    with closing(SqliteLedger(tmp_path / "askance-state" / "ledger.db")) as ledger:
        stored = ledger.generated()
    assert {one.status for one in stored} <= {"kept", "refused", "discarded"}
    assert stored, errors
    versions = registry(tmp_path / "askance-state").versions()
    assert any(version.generated for version in versions)
