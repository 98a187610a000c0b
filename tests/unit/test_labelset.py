"""Label sets that change: what labels of old are called, everywhere they are read, and what a rename must not cause."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest
from pydantic import ValidationError

from askance.calls import Attempt, Audit, Call, Pending, Spend
from askance.config import Config
from askance.errors import ConfigError
from askance.labelset import is_like, number_of, renaming
from askance.ledger import SqliteLedger
from askance.ledger.names import Names
from askance.records import HISTOGRAM_BINS, Answer, Label, Outcome, Position, Tally
from askance.rules.estimate import estimate_window
from askance.rules.guard import reason_to_roll_back
from askance.rules.outcome import Circumstances, settlement_of
from askance.teaching import examples_of, labels
from tests.doubles import give, query

if TYPE_CHECKING:
    from pathlib import Path

    from askance.manifest import Manifest

RENAMED = {"loss": "lost", "lost": "card lost", "stolen": "card lost"}
NOW = {"loss": "card lost", "lost": "card lost", "stolen": "card lost"}


def test_names_lead_to_the_last_one() -> None:
    assert renaming(RENAMED, ("card lost", "other")) == NOW


@pytest.mark.parametrize(
    ("renamed", "says"),
    [
        ({"a": "b", "b": "a"}, "circle"),
        ({"a": "a"}, "circle"),
        ({"x": "a"}, "'a', which is not in the label set"),
        ({"b": "c"}, "in the label set under its former name"),
    ],
)
def test_a_rename_that_cannot_be_is_refused(renamed: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError, match="renamed"):
        Config.model_validate({"teacher": {"labels": ["b", "c"], "renamed": renamed}})
    with pytest.raises(ValueError, match=says):
        renaming(renamed, ("b", "c"))


def test_a_label_set_read_from_a_field_has_the_present_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"label": "{label}"}}\n' for label in ("loss", "stolen", "other")), encoding="utf-8")
    teacher = {"kind": "replay", "replay_path": str(path), "replay_field": "label"}
    config = Config.model_validate({"teacher": teacher | {"renamed": {"loss": "card lost", "stolen": "card lost"}}})
    assert labels(config) == ("card lost", "other")
    wrong = Config.model_validate({"teacher": teacher | {"renamed": {"typo": "nothing"}}})
    with pytest.raises(ConfigError, match=r"teacher\.renamed turns 'typo' into 'nothing'"):
        labels(wrong)


def tally(predicted: dict[str, int], version: str = "v1", first_offset: int = 0) -> Tally:
    count = sum(predicted.values())
    bins = (count, *[0] * (HISTOGRAM_BINS - 1))
    return Tally(first_offset, version, count, 0, 0.9 * count, bins, predicted, topic="t")


def test_a_ledger_is_read_under_the_present_names_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    rows = [msgspec.structs.replace(query(n), predicted=("loss", "other")[n % 2], version="v1") for n in range(4)]
    counted = Position("t", 0, 4, 4, 4, 0, tallies=(tally({"loss": 3, "stolen": 2, "other": 1}),))
    given = ["loss", "other", "stolen", "other"]
    with closing(SqliteLedger(path)) as ledger:
        ledger.commit(rows, [counted], None)
        give(
            ledger,
            [
                Label(row.coordinates, Outcome.LABELLED, label, "test", Answer(label), 0.0)
                for row, label in zip(rows, given, strict=True)
            ],
        )
    with closing(SqliteLedger(path, renamed=NOW)) as ledger:
        assert [row.label for row in ledger.labelled()] == ["card lost", "other", "card lost", "other"]
        assert [row.predicted for row in ledger.labelled()] == ["card lost", "other"] * 2
        assert next((row.label, row.predicted) for row in ledger.judged()) == ("card lost", "card lost")
        (read,) = ledger.tallies()
        assert read.predicted == {"card lost": 5, "other": 1}
        assert read.documents == 6
        config = Config.model_validate({"teacher": {"kind": "openai", "model": "m", "examples": 4}})
        # A label that is no more is not shown to the teacher.
        assert [label for _, label in examples_of(config, ("card lost", "new"), ledger)] == ["card lost"] * 2
    with closing(SqliteLedger(path)) as ledger:
        assert [row.label for row in ledger.labelled()] == given


def test_answers_before_and_after_a_rename_agree_in_an_audit() -> None:
    (found,) = Names(NOW).audits([Audit("loss", "card lost", 0.9, "logprobs")])
    assert found.first == found.again == "card lost"


def test_an_answer_that_was_under_way_during_the_rename_counts() -> None:
    """A batch takes a day, and is paid for."""
    asked = query(0)
    at = Circumstances(
        teacher="m", labels={"card lost", "other"}, now=0.0, seconds=1.0, uniform=0.5, second_chance=False,
        in_outage=False, renamed=NOW,
    )  # fmt: skip
    (label,) = settlement_of(Call(1, (Pending(asked, 0.0, 0),), Spend(1)), Attempt((Answer("stolen"),)), at).labels
    assert isinstance(label, Label)
    assert (label.outcome, label.label, label.answer.raw) == (Outcome.LABELLED, "card lost", "stolen")


def manifest(labels: tuple[str, ...], label_set: int = 1, renamed: dict[str, str] | None = None) -> Manifest:
    from tests.unit.test_guard_worker import World

    return msgspec.structs.replace(
        World([], []).manifest("v"), labels=labels, label_set=label_set, renamed=renamed or {}
    )


def test_the_number_of_a_label_set_grows_with_every_change() -> None:
    first = manifest(("a", "b"))
    assert number_of(("a", "b"), []) == 1
    assert number_of(("b", "a"), [first]) == 1
    assert number_of(("a", "b", "c"), [first]) == 2
    assert number_of(("a", "b"), [first, manifest(("a", "c"), 2)]) == 3


def test_versions_are_alike_by_present_names() -> None:
    before = manifest(("loss", "other"))
    assert is_like(manifest(("card lost", "other"), 2, NOW), before)
    assert not is_like(manifest(("card lost", "other", "new"), 2, NOW), before)


def test_a_rename_is_no_jump_of_the_answers() -> None:
    """By its former name a class would seem to have vanished, and the version with the new one be taken back."""
    before = [tally({"loss": 3000, "other": 2000})]
    mine = [tally({"card lost": 3000, "other": 2000}, "v2", 8192)]

    def reason(rows: list[Tally]) -> str | None:
        estimate = estimate_window(mine, [], (), version="v2")
        return reason_to_roll_back(estimate, mine, rows, promoted_on=None, tolerance=0.02, jump=0.5, documents=1024)

    assert reason(before) is not None
    assert reason(Names(NOW).tallies(before)) is None
