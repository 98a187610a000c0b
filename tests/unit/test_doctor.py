"""`askance doctor`: every illness it knows is found, with what to do about it, and a healthy run is called healthy."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from contextlib import contextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from askance import doctor
from askance.cli.main import app
from askance.config import Config
from askance.doctor import Finding, State, examine
from askance.processors import Processors
from tests.paged import fill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_800_000_000.0


class _Server(http.server.BaseHTTPRequestHandler):
    """Answers every question with `spam`, at the time `now`; counts the questions."""

    now = NOW
    asked = 0

    def do_GET(self) -> None:
        self._send(404, b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        type(self).asked += 1
        content = json.dumps({"label": "spam", "confidence": 0.9})
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"prompt_tokens": 50, "completion_tokens": 7, "total_tokens": 57}
        reply = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
        self._send(200, json.dumps(reply).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Date", formatdate(self.now, usegmt=True))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def teacher_at(now: float) -> Iterator[tuple[str, type[_Server]]]:
    handler = type("_Its", (_Server,), {"now": now, "asked": 0})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1", handler
        server.shutdown()
        thread.join()


def settings(folder: Path, **sections: object) -> Config:
    (folder / "documents.jsonl").write_text('{"text": "buy now", "gold": "spam"}\n', encoding="utf-8")
    default = {
        "state": folder / "state",
        "source": {"path": str(folder / "documents.jsonl")},
        "teacher": {"kind": "replay", "replay_field": "gold"},
    }
    return Config.model_validate(default | sections)


def found(config: Config, *, ask: bool = False) -> dict[str, Finding]:
    return {finding.part: finding for finding in examine(config, ask=ask, unix_time=lambda: NOW)}


def test_a_healthy_run_is_called_healthy_and_nothing_is_made(tmp_path: Path) -> None:
    findings = found(settings(tmp_path))
    assert {finding.state for part, finding in findings.items() if part != "processors"} == {State.WELL}
    assert "recorded answers" in findings["teacher"].found
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("quota", "state", "says"),
    [
        (1.5, State.DOUBTFUL, "1.5 usable (8 by affinity, a control group's limit of 1.5)"),
        (2.0, State.WELL, "oversubscribed while both are at full load"),
        (None, State.WELL, "8 usable (8 by affinity, no limit by control group); busy threads of `classify`: 2"),
    ],
)
def test_the_plan_of_threads_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: float | None, state: State, says: str
) -> None:
    monkeypatch.setattr(doctor, "processors", lambda: Processors(8, quota))
    finding = found(settings(tmp_path))["processors"]
    assert finding.state is state
    assert says in finding.found
    assert ("oversubscribed" in finding.found) == (quota is not None)


@pytest.mark.parametrize(
    ("sections", "part", "state", "says"),
    [
        ({"source": {"path": "/nowhere/at/all"}}, "documents", State.ILL, "cannot be read: No such file"),
        ({"source": {"path": "/dev/null"}}, "documents", State.DOUBTFUL, "is empty"),
        ({"teacher": {"kind": "none"}}, "teacher", State.DOUBTFUL, "nobody is asked"),
        ({"teacher": {"kind": "human", "labels": ["a", "b"]}}, "teacher", State.WELL, "people are asked"),
        ({"teacher": {"kind": "openai", "model": "m"}}, "teacher", State.ILL, "the label set is unknown"),
        ({"registry": "nope://bucket"}, "registry", State.ILL, "nope"),
    ],
)
def test_what_is_wrong_is_found(
    tmp_path: Path, sections: dict[str, object], part: str, state: State, says: str
) -> None:
    finding = found(settings(tmp_path, **sections))[part]
    assert finding.state is state
    assert says in finding.found
    assert finding.remedy or state is State.WELL


def test_documents_of_another_shape_are_found(tmp_path: Path) -> None:
    config = settings(tmp_path, source={"path": str(tmp_path / "documents.jsonl"), "text_field": "body"})
    finding = found(config)["documents"]
    assert (finding.state, "source.text_field" in finding.remedy) == (State.DOUBTFUL, True)


def test_a_folder_that_cannot_be_made_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = found(settings(tmp_path, state=tmp_path / "file" / "state"))["state folder"]
    assert finding.state is State.ILL


def test_a_version_that_cannot_be_loaded_is_found(tmp_path: Path) -> None:
    versions = fill(tmp_path / "state")
    finding = found(settings(tmp_path))["registry"]
    assert finding.state is State.ILL
    assert versions[1] in finding.found
    assert "models rollback" in finding.remedy


def test_the_teacher_is_asked_only_when_told_to_and_the_price_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    with teacher_at(NOW) as (address, server):
        teacher = {"kind": "openai", "model": "m", "labels": ["ham", "spam"], "base_url": address}
        spend = {"prices": {"m": {"input": 100.0, "output": 1000.0}}}
        config = settings(tmp_path, teacher=teacher, spend=spend)
        quiet = found(config)
        assert server.asked == 0
        assert quiet["teacher"].state is State.WELL
        assert "--ask makes one" in quiet["teacher"].found
        asked = found(config, ask=True)
        assert server.asked == 1
        # 50 tokens at 100 a million and 7 at 1,000.
        assert asked["teacher"].found == "m answered 'spam' for 57 tokens, 0.0120; in no ledger"
        assert asked["clock"].state is State.WELL
    gone = found(config, ask=True)
    assert gone["teacher"].state is State.ILL
    assert gone["clock"].state is State.DOUBTFUL


@pytest.mark.parametrize(("off", "says"), [(-60.0, "60 s ahead of"), (60.0, "60 s behind")])
def test_a_clock_that_is_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: float, says: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    with teacher_at(NOW + off) as (address, _):
        teacher = {"kind": "openai", "model": "m", "labels": ["ham", "spam"], "base_url": address}
        finding = found(settings(tmp_path, teacher=teacher))["clock"]
    assert (finding.state, says in finding.found) == (State.DOUBTFUL, True)


def test_the_command_tells_and_its_exit_code_too(tmp_path: Path) -> None:
    config = settings(tmp_path)
    words = ["doctor", "--state", str(config.state), "--input", config.source.path, "--teacher", "replay"]
    well = CliRunner().invoke(app, [*words, "--replay-field", "gold"])
    assert well.exit_code == 0
    assert "ok   documents" in well.stdout
    ill = CliRunner().invoke(app, [*words, "--replay-field", "nope", "--json"])
    assert ill.exit_code == 1
    states = {finding["part"]: finding["state"] for finding in json.loads(ill.stdout)}
    assert (states["settings"], states["teacher"]) == ("well", "ill")
    wrong = CliRunner().invoke(app, [*words, "--set", "train.first_at=-1"])
    assert wrong.exit_code == 1
    assert "FAIL settings" in wrong.stdout


def test_the_packages_of_every_setting_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("aiokafka", "fsspec", "s3fs", "torch", "tokenizers", "opentelemetry", "opentelemetry.sdk"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in [name for name in sys.modules if name.startswith("askance.stream.kafka")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    config = settings(
        tmp_path,
        kafka={"bootstrap": {"servers": "127.0.0.1:1"}, "documents": ["d"]},
        registry="s3://models/askance",
        student={"kind": "transformer"},
    )
    findings = found(config)
    assert findings["packages"].remedy == "pip install 'askance[kafka,s3,transformers,otel]'"
    assert "pip install 'askance[s3]'" in findings["registry"].found
    assert "broker" not in findings


@pytest.mark.parametrize("part", ["state folder", "registry", "predictions"])
def test_a_folder_that_keeps_no_files_is_found(tmp_path: Path, part: str) -> None:
    nowhere = {
        "state folder": {"state": "/proc/askance", "registry": str(tmp_path / "registry")},
        "registry": {"registry": "/proc/registry"},
        "predictions": {"sink": {"path": "/proc/askance/predictions.jsonl"}},
    }
    findings = found(settings(tmp_path, **nowhere[part]))
    assert [name for name, finding in findings.items() if finding.state is State.ILL] == [part]
    assert "cannot be written" in findings[part].found


def test_a_wrong_field_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    config = settings(tmp_path, source={"path": str(tmp_path / "documents.jsonl"), "text_field": "body"})
    assert found(config)["documents"].found.endswith("the line has text, gold")


def test_an_answer_that_is_no_label_of_the_set_is_not_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    with teacher_at(NOW) as (address, _):
        teacher = {"kind": "openai", "model": "m", "labels": ["ham", "eggs"], "base_url": address}
        finding = found(settings(tmp_path, teacher=teacher), ask=True)["teacher"]
    assert finding.state is State.DOUBTFUL
    assert "'spam'" in finding.found


def test_the_doctor_takes_the_flags_of_a_run() -> None:
    commands = {command.name: command for command in typer.main.get_command(app).commands.values()}  # type: ignore[attr-defined]
    run, doctor = ({param.name for param in commands[name].params} for name in ("run", "doctor"))
    assert run - doctor == {"quiet"}
