"""What a run writes is what docs/schemas says it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

jsonschema = pytest.importorskip("jsonschema", reason="make lint-deploy installs it")
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
COMMAND = [sys.executable, "-c", "from askance.cli.main import main; main()"]
# Neither JSON, nor UTF-8, nor an object with a text, nor a text.
BROKEN = (b"{not json", b'{"text": "\xff"}', b'{"text": 1}', b'{"text": " "}')


def schema(name: str) -> dict[str, Any]:
    """A record's schema, refusing fields that it does not name."""
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_bytes())
    for part in found["$defs"].values():
        if "properties" in part:
            part["additionalProperties"] = False
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def complaints(name: str, path: Path) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema(name))
    return [
        error.message for line in path.read_bytes().splitlines() for error in validator.iter_errors(json.loads(line))
    ]


def run(folder: Path, name: str, *more: str) -> None:
    files = ["--input", f"{name}.jsonl", "--output", f"{name}-predictions.jsonl"]
    teacher = ["--teacher", "replay", "--replay-field", "gold", "--set", "train.first_at=20"]
    done = subprocess.run([*COMMAND, "run", *files, *teacher, *more], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("contract", [(), ("--set", "contract.agreement=0.9")])
def test_predictions_and_dead_letters_are_what_their_schemas_say(tmp_path: Path, contract: tuple[str, ...]) -> None:
    words = ("apple", "iron")
    texts = [{"text": f"{words[number % 2]} {number}", "gold": words[number % 2]} for number in range(300)]
    lines = [json.dumps(text).encode() for text in texts]
    (tmp_path / "first.jsonl").write_bytes(b"\n".join((*lines[:200], *BROKEN, *lines[200:])) + b"\n")
    (tmp_path / "second.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    # Before the first student, and with it.
    for name in ("first", "second"):
        run(tmp_path, name, *contract)

    written = [tmp_path / f"{name}-predictions.jsonl" for name in ("first", "second")]
    predictions = [json.loads(line) for path in written for line in path.read_bytes().splitlines()]
    assert {prediction["version"] is None for prediction in predictions} == {True, False}
    assert ("standing" in json.dumps(predictions)) == bool(contract)
    assert len((tmp_path / "dead-letters.jsonl").read_bytes().splitlines()) == len(BROKEN)
    assert [complaints("prediction", path) for path in written] == [[], []]
    assert complaints("dead-letter", tmp_path / "dead-letters.jsonl") == []


@pytest.mark.parametrize("change", [{"byte": ""}, {"partition": "0"}, {"bytes": 1}])
def test_a_record_that_is_none_would_be_found(tmp_path: Path, change: dict[str, Any]) -> None:
    letter = {"topic": "t", "partition": 0, "offset": 0, "reason": "r", "detail": "", "bytes": None}
    path = tmp_path / "dead-letters.jsonl"
    path.write_text(json.dumps(letter) + "\n" + json.dumps(letter | change), encoding="utf-8")

    assert len(complaints("dead-letter", path)) == 1
