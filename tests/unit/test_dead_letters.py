"""Dead letters of a file: listed, and replayed into a file, each once; and the headers of those on a topic."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from askance.codec import encode_dead_letter
from askance.config import Config
from askance.deadletters import Selection, replay, show
from askance.errors import UsageError
from askance.records import Coordinates, DeadLetter, Reason, Record
from askance.stream.kafka.letters import REPLAYED_FROM, REPLAYS, dead, found_again

if TYPE_CHECKING:
    from pathlib import Path

VALUES = (b"{not json", b'{"text": "\xff"}', b"\x1b[31m", b"")


def letter(
    number: int, value: bytes | None, *, headers: tuple[tuple[str, bytes], ...] = (), key: bytes | None = None
) -> DeadLetter:
    reason = Reason.INVALID_UTF8 if number == 1 else Reason.INVALID_JSON
    return DeadLetter(Record(Coordinates("docs", 0, number), value, key, headers, 5), reason, f"detail {number}")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "dead.jsonl"
    path.write_bytes(b"".join(encode_dead_letter(letter(*each)) + b"\n" for each in enumerate(VALUES)))
    return Config.model_validate({"sink": {"dead_letters": str(path)}})


def test_a_file_is_listed(config: Config) -> None:
    listing = show(config, Selection(), limit=2)
    assert (listing.letters, listing.replayed) == (4, 0)
    assert listing.by_reason == {"invalid_json": 3, "invalid_utf8": 1}
    first, second = listing.shown
    assert (first.place, first.origin, first.detail, first.size) == ("dead.jsonl:1", "docs/0/0", "detail 0", 9)
    assert second.text == '{"text": "\ufffd"}'


def test_a_file_is_replayed_once_byte_for_byte(config: Config, tmp_path: Path) -> None:
    again = tmp_path / "again.jsonl"
    assert replay(config, Selection(), into=None, output=str(again), dry_run=True) == 4
    assert not again.exists()
    assert replay(config, Selection(reason="invalid_utf8"), into=None, output=str(again), dry_run=False) == 1
    assert again.read_bytes() == VALUES[1] + b"\n"
    assert replay(config, Selection(), into=None, output=str(again), dry_run=False) == 3
    assert again.read_bytes() == b"".join(value + b"\n" for value in (VALUES[1], VALUES[0], *VALUES[2:]))
    assert replay(config, Selection(), into=None, output=str(again), dry_run=False) == 0
    assert show(config, Selection(), limit=0).replayed == 4


@pytest.mark.parametrize(
    ("selection", "into", "output", "says"),
    [
        (Selection(), None, None, "--output"),
        (Selection(), "topic", "again", "--output"),
        (Selection(begin="5"), None, "again", "--from"),
        (Selection(file="nowhere.jsonl"), None, "again", "nowhere.jsonl"),
    ],
)
def test_what_cannot_be_done_is_refused(
    config: Config, selection: Selection, into: str | None, output: str | None, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        replay(config, selection, into=into, output=output, dry_run=False)


def test_a_line_that_is_no_dead_letter_is_named(config: Config, tmp_path: Path) -> None:
    with (tmp_path / "dead.jsonl").open("ab") as file:
        file.write(b'{"topic": 1}\n')
    with pytest.raises(UsageError, match="line 5 is no dead letter"):
        show(config, Selection(), limit=1)


@pytest.mark.parametrize("headers", [(), (("traceparent", b"00-1"), ("askance-topic", b"own"), ("x", b""))], ids=str)
@pytest.mark.parametrize(("key", "value"), [(None, b"x"), (b"k", None), (b"k", b"\xff\x00")])
def test_a_letter_on_a_topic_is_found_again(
    headers: tuple[tuple[str, bytes], ...], key: bytes | None, value: bytes | None
) -> None:
    original = letter(7, value, headers=headers, key=key)
    outgoing = dead(original)
    stored = Record(
        Coordinates("dead", 2, 9), outgoing.value, outgoing.key, tuple(outgoing.headers), outgoing.timestamp_ms
    )
    kept = found_again(stored)
    assert kept is not None
    assert kept.record == original.record
    assert (kept.place, kept.reason, kept.detail, kept.replays) == ("dead/2/9", "invalid_json", "detail 7", 0)


def test_a_record_that_died_again_says_how_often_and_keeps_its_own_headers_only() -> None:
    headers = (("own", b"1"), (REPLAYED_FROM, b"dead/0/1"), (REPLAYS, b"2"))
    outgoing = dead(letter(7, b"x", headers=headers))
    kept = found_again(Record(Coordinates("dead", 2, 9), outgoing.value, None, tuple(outgoing.headers)))
    assert kept is not None
    assert kept.replays == 2
    assert kept.record.headers == (("own", b"1"),)


@pytest.mark.parametrize("headers", [(), (("askance-replayed", b""),), (("askance-topic", b"t"),) * 5])
def test_what_is_no_letter_is_passed_over(headers: tuple[tuple[str, bytes], ...]) -> None:
    assert found_again(Record(Coordinates("dead", 0, 0), b"x", None, headers)) is None


def test_the_command_prints_nothing_that_a_terminal_obeys(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    from askance.cli.main import app

    found = CliRunner().invoke(app, ["dead-letters", "list", "--file", str(config.sink.dead_letters)])
    assert found.exit_code == 0
    assert "4 dead letters" in found.stdout
    assert "\x1b" not in found.stdout
    found = CliRunner().invoke(app, ["dead-letters", "list", "--file", str(config.sink.dead_letters), "--json"])
    assert json.loads(found.stdout)["letters"] == 4
