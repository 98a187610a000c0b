"""The live page as processes: beside a run, on a state, and gone with whatever it belongs to."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from askance.endpoint import serve
from askance.health import Health
from askance.telemetry import Telemetry
from tests.paged import COMMAND, TOKEN, asked, fill, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WORDS = {"fruit": "apple pear plum", "metal": "iron zinc lead"}
PATIENCE_SECONDS = 60.0


def documents(path: Path, count: int) -> None:
    rows = []
    for number in range(count):
        label = list(WORDS)[number % 2]
        rows.append(
            json.dumps({"id": str(number), "text": f"{WORDS[label].split()[number % 3]} {number}", "gold": label})
        )
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def eventually(condition: Callable[[], Any]) -> Any:
    """What the condition gives, once it gives something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def answers(address: str) -> bool:
    host, port = address.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture
def run(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`askance run --page` on a stream that goes on for long, and the page's address."""
    documents(tmp_path / "documents.jsonl", 4_000)
    command = [*COMMAND, "run", "--input", "documents.jsonl", "--output", "predictions.jsonl", "--teacher", "replay"]
    command += ["--replay-field", "gold", "--rate", "100", "--page", "--set", "page.port=0"]
    command += ["--set", "page.interval_seconds=0.2", "--set", "train.first_at=20"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr is not None
        found = next(match for line in process.stderr if (match := re.search(r"page at (http://[^\s\"]+)", line)))
        yield process, found[1]
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def test_a_run_shows_itself_and_the_page_ends_with_it(run: tuple[subprocess.Popen[str], str]) -> None:
    process, address = run
    figures = eventually(
        lambda: found if (found := asked(f"{address}/figures")[1]["figures"])["standing"]["live"] else None
    )
    assert figures["title"] == "askance-state"
    assert figures["flow"]["documents"] > 0
    assert figures["problems"] == []
    assert not figures["may_change"]
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_SECONDS)
    assert not answers(address)


def test_the_page_does_not_outlive_a_run_that_was_killed(run: tuple[subprocess.Popen[str], str]) -> None:
    process, address = run
    assert answers(address)
    process.kill()
    process.wait()
    eventually(lambda: not answers(address))


def test_a_run_goes_on_without_its_page(run: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = run
    children = subprocess.run(
        ["pgrep", "--parent", str(process.pid), "--full", "askance.showing"], capture_output=True, text=True, check=True
    )
    os.kill(int(children.stdout), signal.SIGKILL)
    assert process.stderr is not None
    assert any("the page has ended (code -9); the run goes on" in line for line in process.stderr)
    assert process.poll() is None


def test_a_port_that_is_taken_is_told_before_anything_is_classified(tmp_path: Path) -> None:
    documents(tmp_path / "documents.jsonl", 10)
    command = [*COMMAND, "run", "-i", "documents.jsonl", "-o", "out.jsonl", "--teacher", "replay"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command += ["--replay-field", "gold", "--page", "--set", f"page.port={port}"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    [told] = [line for line in ended.stderr.splitlines() if '"level":"info"' not in line]
    assert f"page.port: 127.0.0.1:{port} cannot be listened on" in told
    assert not (tmp_path / "out.jsonl").exists() or not (tmp_path / "out.jsonl").read_bytes()


def test_the_stream_tells_the_past_first_and_then_what_is_new(tmp_path: Path) -> None:
    versions = fill(tmp_path / "state")
    telemetry = Telemetry()
    telemetry.documents.inc(5)
    with (
        serve("127.0.0.1", 0, telemetry, Health(time.monotonic)) as workers,
        shown(tmp_path, "--metrics", f"{workers}/metrics") as address,
        urllib.request.urlopen(f"{address}/stream", timeout=30) as stream,
    ):
        events = _events(stream)
        name, past = next(events)
        assert name == "past"
        assert past["points"]
        name, first = next(events)
        assert (name, first["flow"]["documents"], first["standing"]["live"]) == ("figures", 5, versions[1])
        telemetry.documents.inc(3)
        while next(events)[1]["flow"]["documents"] != 8:
            pass
        status, told = asked(f"{address}/rollback", data=b"", Authorization=f"Bearer {TOKEN}")
        assert (status, told) == (200, {"live": versions[0]})
        while next(events)[1]["marks"] == []:
            pass


def _events(stream: Any) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in stream:
        if line.startswith(b"event: "):
            name = line[7:].decode().strip()
        elif line.startswith(b"data: "):
            yield name, json.loads(line[6:])


def test_what_cannot_be_served_is_not_made_live(tmp_path: Path) -> None:
    versions = fill(tmp_path / "state")
    with shown(tmp_path) as address:
        body = json.dumps({"version": versions[0]}).encode()
        status, told = asked(f"{address}/promote", data=body, Authorization=f"Bearer {TOKEN}")
        assert status == 409
        assert versions[0] in told["error"]
        assert asked(f"{address}/figures")[1]["figures"]["standing"]["live"] == versions[1]


@pytest.mark.parametrize(
    ("flags", "token", "says"),
    [
        (["--state", "none"], TOKEN, "none: there is no run to show"),
        (["--state", "state"], "short", "the token in PAGE_TOKEN has 5 characters; make it 16 at least"),
        (["--state", "state", "--metrics", "localhost"], TOKEN, "page.metrics: 'localhost' is no address"),
        (
            ["--state", "state", "--set", "page.token_env=a secret"],
            TOKEN,
            "must be the name of an environment variable",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, flags: list[str], token: str, says: str) -> None:
    fill(tmp_path / "state")
    ended = subprocess.run(
        [*COMMAND, "page", "--port", "0", *flags],
        cwd=tmp_path,
        env={**os.environ, "PAGE_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert says in ended.stderr
    assert "a secret" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
