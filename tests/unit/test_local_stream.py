"""Lines in, lines out, and exactly one prediction a line whatever was left half-done."""

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from askance.errors import StreamError, UsageError
from askance.ledger import SqliteLedger
from askance.records import DeadLetter, Delivery, Position, Reason, Record
from askance.stream.files import AppendedFile, LineReader
from askance.stream.local import LocalStream


class Setting:
    """A folder with an input, its outputs and a clock that only moves when somebody sleeps."""

    def __init__(self, folder: Path) -> None:
        self.input = folder / "in.jsonl"
        self.output = folder / "out.jsonl"
        self.dead = folder / "dead.jsonl"
        self.ledger = SqliteLedger(folder / "ledger.db")
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def stream(self, **changes: object) -> LocalStream:
        settings = {
            "input": self.input,
            "topic": "t",
            "follow": False,
            "rate": 0.0,
            "predictions": self.output,
            "dead_letters": self.dead,
            "ledger": self.ledger,
            "clock": lambda: self.now,
            "sleep": self.sleep,
        }
        return LocalStream(**settings | changes)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def fetch(stream: LocalStream, most: int = 100) -> Sequence[Record] | None:
    return asyncio.run(stream.fetch(max_records=most, max_wait_seconds=0.01))


def delivery(records: Sequence[Record]) -> Delivery:
    return Delivery(
        predictions=[(record, record.value or b"") for record in records if record.value != b"bad"],
        queries=[],
        dead_letters=[DeadLetter(record, Reason.INVALID_JSON, "bad") for record in records if record.value == b"bad"],
        positions=[Position(records[-1].coordinates.topic, 0, records[-1].coordinates.offset + 1, len(records), 0, 0)],
    )


def drain(stream: LocalStream, most: int = 2) -> None:
    while (records := fetch(stream, most)) is not None:
        if records:
            asyncio.run(stream.deliver(delivery(records)))


def test_a_file_streams_line_by_line_with_line_numbers_as_offsets(setting: Setting) -> None:
    setting.input.write_bytes(b"a\n\nbad\r\nbad\nlast without a feed")
    stream = setting.stream()
    records = fetch(stream)
    assert records is not None
    assert [(r.coordinates.offset, r.value) for r in records] == [
        (0, b"a"),
        (1, b""),
        (2, b"bad\r"),
        (3, b"bad"),
    ]
    asyncio.run(stream.deliver(delivery(records)))
    drain(stream)
    assert setting.output.read_bytes() == b"a\n\nbad\r\nlast without a feed\n"
    [dead] = [json.loads(line) for line in setting.dead.read_bytes().splitlines()]
    assert (dead["offset"], base64.b64decode(dead["bytes"])) == (3, b"bad")


@pytest.mark.parametrize("committed", range(6))
@pytest.mark.parametrize("tail", [b"", b"half a pred", b"4\n5\n6\n"])
def test_a_crash_between_outputs_and_position_is_cut_off(setting: Setting, committed: int, tail: bytes) -> None:
    setting.input.write_bytes(b"".join(b"%d\n" % number for number in range(6)))
    stream = setting.stream()
    for _ in range(committed):
        records = fetch(stream, 1)
        assert records
        asyncio.run(stream.deliver(delivery(records)))
    asyncio.run(stream.aclose())
    with setting.output.open("ab") as output:
        output.write(tail)
    drain(setting.stream())
    assert setting.output.read_bytes() == setting.input.read_bytes()


def test_a_finished_file_goes_on_when_it_has_grown(setting: Setting) -> None:
    setting.input.write_bytes(b"a\nb")
    drain(setting.stream())
    drain(setting.stream())
    with setting.input.open("ab") as file:
        file.write(b"\nc\n")
    drain(setting.stream())
    assert setting.output.read_bytes() == b"a\nb\nc\n"


def test_a_followed_file_waits_for_the_end_of_a_line(setting: Setting) -> None:
    setting.input.write_bytes(b"a\nhal")
    stream = setting.stream(follow=True)
    assert [record.value for record in fetch(stream) or []] == [b"a"]
    assert fetch(stream) == []
    with setting.input.open("ab") as file:
        file.write(b"f\n")
    assert [record.value for record in fetch(stream) or []] == [b"half"]
    setting.input.write_bytes(b"")
    with pytest.raises(StreamError, match="became shorter"):
        fetch(stream)


def test_a_rate_is_kept_by_the_clock(setting: Setting) -> None:
    setting.input.write_bytes(b"x\n" * 1000)
    stream = setting.stream(rate=100.0)
    seen = 0
    while (records := fetch(stream)) is not None:
        seen += len(records)
        assert seen <= setting.now * 100 + 1
    assert seen == 1000
    assert setting.now == pytest.approx(10.0, abs=0.1)


def test_another_input_under_the_same_name_is_refused(setting: Setting) -> None:
    setting.input.write_bytes(b"a\nb\n")
    drain(setting.stream())
    for other in (b"a\nc\n", b"a\n"):
        setting.input.write_bytes(other)
        with pytest.raises(UsageError, match=r"in\.jsonl is not the file.*--state"):
            setting.stream()


def test_somebody_elses_output_is_not_overwritten(setting: Setting) -> None:
    setting.input.write_bytes(b"a\n")
    setting.output.write_bytes(b"precious\n")
    with pytest.raises(UsageError, match=r"out\.jsonl already exists"):
        setting.stream()
    assert setting.output.read_bytes() == b"precious\n"


def test_a_lost_output_is_noticed(setting: Setting) -> None:
    setting.input.write_bytes(b"a\n")
    drain(setting.stream())
    setting.output.unlink()
    with pytest.raises(UsageError, match="0 bytes but 2 were delivered"):
        setting.stream()


def test_two_streams_with_one_state_share_their_dead_letters(setting: Setting) -> None:
    first, second = setting.input, setting.input.with_name("second.jsonl")
    first.write_bytes(b"a\n")
    second.write_bytes(b"bad\nbad\n")
    drain(setting.stream())
    drain(setting.stream(input=second, topic="u", predictions=setting.output.with_name("u.jsonl")))
    with first.open("ab") as file:
        file.write(b"bad\nb\n")
    drain(setting.stream())
    offsets = [(d["topic"], d["offset"]) for d in map(json.loads, setting.dead.read_bytes().splitlines())]
    assert offsets == [("u", 0), ("u", 1), ("t", 1)]


@pytest.mark.parametrize("same", ["predictions", "dead_letters"])
def test_one_file_for_two_things_is_refused(setting: Setting, same: str) -> None:
    setting.input.write_bytes(b"a\n")
    with pytest.raises(UsageError, match="used twice"):
        setting.stream(**{same: setting.input})
    with pytest.raises(UsageError, match="used twice"):
        setting.stream(predictions=setting.dead)
    assert setting.input.read_bytes() == b"a\n"


def test_another_output_in_mid_stream_is_refused(setting: Setting) -> None:
    setting.input.write_bytes(b"a\n")
    drain(setting.stream())
    for other in (setting.output.with_name("other.jsonl"), None):
        with pytest.raises(UsageError, match=r"went to .*out\.jsonl so far.*--state"):
            setting.stream(predictions=other)


def test_a_folder_a_pipe_and_a_device(setting: Setting) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        setting.stream(input=setting.input.parent)
    os.mkfifo(setting.input)
    writer = subprocess.Popen(["sh", "-c", f"printf 'a\nb\n' > {setting.input}"])
    drain(setting.stream(predictions=Path("/dev/null")))
    assert writer.wait() == 0
    assert setting.ledger.progress()["t", 0].next_offset == 2


def test_a_slow_rate_looks_up_for_a_stop(setting: Setting) -> None:
    setting.input.write_bytes(b"a\nb\n")
    stream = setting.stream(rate=0.001)
    assert len(fetch(stream) or []) == 1
    before = setting.now
    assert fetch(stream) == []
    assert setting.now - before <= 0.25


def test_a_missing_input_is_one_clear_line(setting: Setting) -> None:
    with pytest.raises(UsageError, match=r"cannot read the input .*in\.jsonl"):
        setting.stream()


def test_a_line_of_any_length_comes_whole_in_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"a\n" + b"x" * 50_000_000 + b"\nb\n")
    reader = LineReader(path, follow=False)
    lines = []
    while not reader.ended:
        lines += reader.read(10, 0.0)
    assert [len(line.value) for line in lines] == [1, 50_000_000, 1]
    assert lines[-1].end == path.stat().st_size
    reader.close()


def test_standard_input_and_output() -> None:
    script = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from tests.unit.test_local_stream import Setting, drain\n"
        "setting = Setting(Path(sys.argv[1]))\n"
        "drain(setting.stream(input=None, predictions=None))\n"
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", script, folder],
                input=b"one\ntwo\nthree",
                capture_output=True,
                check=True,
                cwd=Path(__file__).parents[2],
            )
            assert done.stdout == b"one\ntwo\nthree\n"
            ledger = SqliteLedger(Path(folder) / "ledger.db")
            assert ledger.progress()["t", 0].next_offset == 3 * (round_ + 1)
            ledger.close()


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    file = AppendedFile(tmp_path / "out", None)
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.dup2(write_end, file._file)
    os.close(write_end)
    with pytest.raises(StreamError, match=r"writing .*out failed"):
        file.append(b"x")
    file.close()
