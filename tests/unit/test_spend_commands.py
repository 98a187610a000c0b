"""`askance spend` and `askance teach --dry-run`: what they print, and that nobody is asked."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from askance.calls import Charge, Order, Settlement, Spend
from askance.cli import main as command_line
from askance.errors import ConfigError, UsageError
from askance.ledger import SqliteLedger
from askance.records import Answer, Label, Outcome
from tests.doubles import query

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, arguments)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.commit([query(0), query(1)], (), None)
    for n, word in enumerate(("spam", "ham")):
        (one,) = ledger.reserve(Order(calls=1, now=1.0e9, teacher="m"), lambda _: Spend(1, 99, 10**10)).calls
        label = Label(query(n).coordinates, Outcome.LABELLED, word, "m", Answer(word), 0.1)
        ledger.settle(
            [Settlement(one.number, (label,), charges=(Charge("m", 1, 1000, 0, 5, 1_500_000_000 * (n + 1)),))]
        )
    ledger.close()
    return tmp_path


def test_the_spend_by_every_key(state: Path) -> None:
    lines = call("spend", "--state", str(state)).stdout.splitlines()
    assert lines[1].split() == ["2001-09-09", "2", "2", "2,000", "10", "4.50"]
    assert lines[2] == "today 0.0000 in 0 calls, in total 4.50 in 2 calls"
    by_label = json.loads(call("spend", "--state", str(state), "--by", "label", "--json").stdout)
    assert [(row["key"], row["nanos"]) for row in by_label["rows"]] == [("ham", 3 * 10**9), ("spam", 15 * 10**8)]
    assert "(no student)" in call("spend", "--state", str(state), "--by", "version").stdout
    assert "\nm " in call("spend", "--state", str(state), "--by", "model").stdout


def test_what_was_never_priced_is_unknown_not_nothing(tmp_path: Path) -> None:
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        ledger.commit([query(0)], (), None)
        (one,) = ledger.reserve(Order(calls=1, now=1.0e9, teacher="m"), lambda _: Spend(1, 99, 0)).calls
        label = Label(query(0).coordinates, Outcome.LABELLED, "spam", "m", Answer("spam"), 0.1)
        ledger.settle([Settlement(one.number, (label,), charges=(Charge("m", 1, 1000, 0, 5, 0),))])
    lines = call("spend", "--state", str(tmp_path)).stdout.splitlines()
    assert lines[1].split() == ["2001-09-09", "1", "1", "1,000", "5", "unknown"]
    assert lines[2] == "today 0.0000 in 0 calls, in total unknown in 1 calls"
    told = json.loads(call("spend", "--state", str(tmp_path), "--json").stdout)
    assert (told["rows"][0]["nanos"], told["total"]["nanos"], told["today"]["nanos"]) == (None, None, 0)
    settings = tmp_path / "askance.yaml"
    settings.write_text("spend: {prices: {m: {input: 0, output: 0}}}", encoding="utf-8")
    free = call("spend", "--state", str(tmp_path), "--config", str(settings)).stdout.splitlines()
    assert free[1].endswith("0.0000")


def test_what_is_wrong_is_one_line(state: Path, tmp_path: Path) -> None:
    assert isinstance(call("spend", "--state", str(tmp_path / "none")).exception, UsageError)
    assert isinstance(call("spend", "--state", str(state), "--by", "colour").exception, UsageError)
    assert not (tmp_path / "none").exists()


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": "x" * 400}) + "\n" for _ in range(1500)))
    return path


def dry(documents: Path, *more: str) -> Result:
    flags = ("--teacher", "openai", "--labels", "spam,ham", "--model", "gpt-4o-mini", "-i", str(documents))
    return call("teach", "--dry-run", *flags, *more)


def test_a_dry_run_says_what_1000_documents_cost(documents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(documents.parent)
    got = json.loads(dry(documents, "--share", "0.1", "--json").stdout)
    assert (got["sampled"], got["queries"], got["calls"]) == (1000, 100.0, 100.0)
    assert 100 * 200 < got["prompt_tokens"] < 100 * 600
    assert got["nanos"] == pytest.approx(150 * got["prompt_tokens"] + 600 * got["completion_tokens"])
    assert got["nanos"] < got["worst_nanos"]
    several = json.loads(dry(documents, "--share", "0.1", "--json", "--set", "teacher.documents_per_call=10").stdout)
    assert several["calls"] == 10.0
    assert several["nanos"] < 0.6 * got["nanos"], "the instructions are paid for once a call"
    lines = dry(documents).stdout.splitlines()
    assert lines[1] == (
        "teacher asked  50 of 1,000 documents, and up to 100 early while there is no student (budget.advance)"
    )
    assert lines[-1].startswith("cost           0.0")
    assert not (documents.parent / "askance-state").exists()


def test_a_dry_run_reads_standard_input_too(documents: Path) -> None:
    flags = ("teach", "--dry-run", "--teacher", "openai", "--labels", "spam,ham", "--model", "gpt-4o-mini", "--json")
    got = CliRunner().invoke(command_line.app, [*flags, "-i", "-"], input=documents.read_bytes())
    named = json.loads(dry(documents, "--json").stdout)
    assert json.loads(got.stdout) == named | {"source": "standard input"}


def test_a_dry_run_says_what_it_does_not_know(documents: Path) -> None:
    lines = dry(documents, "--model", "no-such-model", "--set", "budget.kind=m-raru").stdout.splitlines()
    assert lines[1].startswith("teacher asked  1,000 of 1,000 documents at most")
    assert lines[-1] == "cost           unknown: no-such-model has no price; set it in spend.prices"
    capped = dry(documents, "--model", "no-such-model", "--set", "spend.day_money=1")
    assert isinstance(capped.exception, ConfigError)
    assert "spend.day_money needs the price of 'no-such-model'" in str(capped.exception)
    empty = documents.parent / "empty"
    empty.touch()
    assert isinstance(dry(empty).exception, UsageError)
