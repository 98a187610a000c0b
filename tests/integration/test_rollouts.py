"""Through real workers: the agreement contract, kept and taken back; and versions on trial on the live stream."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from askance.cli.main import main; main()"]
WORDS = {
    "fruit": ["apple", "pear", "plum", "cherry", "melon", "grape"],
    "metal": ["iron", "copper", "zinc", "silver", "nickel", "lead"],
    "river": ["rhine", "danube", "volga", "seine", "thames", "ebro"],
}
LABELS = list(WORDS)
AGREEMENT = 0.95
SAME, CHANGED = 3_000, 9_000


def rows(numbers: range, *, changed_from: int) -> list[dict[str, str]]:
    """Seven in ten are easy. Of the others the teacher itself hardly knows, so that no student can be sure of them."""
    found = []
    for number in numbers:
        rng = random.Random(number)
        one, other = rng.sample(LABELS, 2)
        is_easy = rng.random() < 0.7
        words = rng.choices(WORDS[one], k=2) + rng.choices(WORDS[one if is_easy else other], k=2)
        meant = one if is_easy else rng.choice([one, other])
        if number >= changed_from:
            meant = LABELS[(LABELS.index(meant) + 1) % len(LABELS)]
        rng.shuffle(words)
        found.append({"id": str(number), "text": f"{' '.join(words)} {number}", "gold": meant})
    return found


def askance(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def run(folder: Path, name: str, on_escalation: str, rate: float) -> str:
    settings = {
        "contract.agreement": AGREEMENT,
        "contract.labels": 100,
        "contract.audit_share": 0.1,
        "contract.on_escalation": on_escalation,
        "train.first_at": 400,
        # One version: what takes the contract back is seen alone.
        "train.growth": 1000,
        "guard.enabled": "false",
        "guard.interval_seconds": 0.2,
    }
    flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = askance(
        folder, "run", "--input", f"{name}.jsonl", "--output", f"{name}-out.jsonl", "--teacher", "replay",
        "--replay-field", "gold", "--rate", str(rate), *flags,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("on_escalation", ["correct", "hold"])
def test_served_answers_agree_as_promised_and_a_broken_promise_is_taken_back(
    tmp_path: Path, on_escalation: str
) -> None:
    first, second = range(600), range(600, 600 + SAME + CHANGED)
    documents = {"first": rows(first, changed_from=600), "second": rows(second, changed_from=600 + SAME)}
    for name, given in documents.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    run(tmp_path, "first", on_escalation, rate=0)
    assert (tmp_path / "askance-state" / "registry" / "CURRENT").exists()
    said = run(tmp_path, "second", on_escalation, rate=600)

    lines = [json.loads(line) for line in (tmp_path / "second-out.jsonl").read_bytes().splitlines()]
    served: dict[str, dict[str, Any]] = {}
    for line in lines:
        assert line["id"] not in served or served[line["id"]]["standing"] == "provisional", "a last word is the last"
        served[line["id"]] = line
    assert served.keys() == {row["id"] for row in documents["second"]}
    assert {line["standing"] for line in served.values()} == (
        {"final"} if on_escalation == "hold" else {"final", "settled"}
    )
    if on_escalation == "hold":
        assert len(lines) == len(served)
    agrees = [served[row["id"]]["label"] == row["gold"] for row in documents["second"]]
    by_student = [served[row["id"]].get("teacher") is None for row in documents["second"]]

    # The promise, and that it was not kept by asking about everything.
    assert sum(agrees[:SAME]) / SAME >= AGREEMENT
    assert sum(by_student[:SAME]) / SAME > 0.3
    # What the teacher means has changed: the student is as sure as before, and wrong. Its audits tell.
    assert sum(by_student[SAME:]) > 0
    assert "does not keep the contract" in said
    # Later labels may show that it can still be trusted with a few documents. Which they are depends on the moment the
    # contract broke, and one draw in so many misses the promise by a little (benchmarks/estimates.py counts them).
    few = 2 * (1 - AGREEMENT) * 500
    assert sum(by_student[-500:]) <= few
    assert sum(agrees[-500:]) >= 500 - few
    assert askance(tmp_path, "replay", "second-out.jsonl").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["shadow", "canary"])
def test_a_version_has_its_trial_on_the_live_stream(tmp_path: Path, mode: str) -> None:
    given = {"first": rows(range(80), changed_from=10**9), "second": rows(range(600, 6_600), changed_from=10**9)}
    for name, some in given.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    settings = {
        "train.first_at": 60,
        "train.rollout": mode,
        "train.rollout_documents": 500,
        "train.canary_share": 0.3,
        "budget.share": 0.3,
        "guard.interval_seconds": 0.2,
    }
    flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    said = ""
    for name, rate in (("first", "0"), ("second", "500")):
        done = askance(
            tmp_path, "run", "--input", f"{name}.jsonl", "--output", f"{name}-out.jsonl", "--teacher", "replay",
            "--replay-field", "gold", "--rate", rate, *flags,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said += done.stderr
    assert f"is on trial as a {mode}" in said
    ended = [line for line in said.splitlines() if "trial of v0002-" in line]
    assert len(ended) == 1
    by_version: dict[str, list[int]] = {}
    for place, line in enumerate((tmp_path / "second-out.jsonl").read_bytes().splitlines()):
        by_version.setdefault(json.loads(line)["version"][:5], []).append(place)
    assert "v0001" in by_version
    if mode == "canary":
        # It answered its share while the champion answered the rest.
        assert by_version["v0002"][0] < by_version["v0001"][-1]
    elif "passed" in ended[0]:
        assert by_version["v0002"][0] > by_version["v0001"][-1], "a shadow answers nothing"
    else:
        assert "v0002" not in by_version
    directions = json.loads((tmp_path / "askance-state" / "registry" / "DIRECTIONS").read_bytes())
    assert directions["rollouts"][0]["version"].startswith("v0002-")
    assert directions["rollouts"][0]["mode"] == mode
