"""What the tests of the live page show: a state with two versions, labels and disagreements, and the page itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from askance.ledger import SqliteLedger
from askance.manifest import FeaturizerConfig, Manifest, Verdict
from askance.records import Answer, Coordinates, Label, Outcome, Position, Query, Tally
from askance.registry import DirectoryRegistry
from tests.doubles import give

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from askance.calls import Charge

COMMAND = [sys.executable, "-c", "from askance.cli.main import main; main()"]
TOKEN = "a token of the tests"
LABELS = ("fruit", "metal")


def publish(registry: DirectoryRegistry, number: int) -> str:
    """A version that can be made live in the registry, but not be loaded."""

    def manifest(version: str, digests: Mapping[str, str]) -> Manifest:
        return Manifest(
            version=version,
            created_at="2026-01-01T00:00:00+00:00",
            student="logistic",
            labels=LABELS,
            temperature=1.0,
            featurizer=FeaturizerConfig(),
            featurizer_digest="",
            parent=None,
            trained_on=100,
            held_out=20,
            training_digest="",
            parity_error=0.0,
            agreement=None,
            verdict=Verdict(promoted=True, why="a test"),
            files=dict(digests),
        )

    return registry.publish({"student.onnx": b"graph %d" % number, "parity.json": b"[]"}, manifest).version


def record(
    ledger: SqliteLedger,
    version: str,
    rows: Sequence[tuple[str, str, str]],
    *,
    since: int = 0,
    charges: tuple[Charge, ...] = (),
) -> None:
    """Documents that a version scored, each accepted with probability 1/2: (text, predicted, the teacher's label).

    As many again were scored and not accepted; those agree with nobody.
    """
    queries, labels = [], []
    for offset, (text, predicted, label) in enumerate(rows, since):
        at = Coordinates("t", 0, offset)
        queries.append(Query(at, str(offset), text, predicted, 0.8, 0.5, 0.5, version, 0))
        labels.append(Label(at, Outcome.LABELLED, label, "given", Answer(raw=label), 0.1))
    predicted = [row[1] for row in rows]
    tally = Tally(
        first_offset=since,
        version=version,
        documents=2 * len(rows),
        uncovered=0,
        confidences=1.6 * len(rows),
        uncertainties=(0,) * 10 + (2 * len(rows),) + (0,) * 9,
        predicted={label: 2 * predicted.count(label) for label in LABELS},
        topic="t",
        partition=0,
    )
    ledger.commit(queries, [Position("t", 0, since + len(rows), 2 * len(rows), len(rows), 0, tallies=(tally,))], None)
    give(ledger, labels, charges)


def fill(state: Path, *texts: str, charges: tuple[Charge, ...] = ()) -> list[str]:
    """A state with two versions, the second live; `texts` are the newest disagreements. The versions' names.

    The labels of each came by a call that took the `charges`.
    """
    registry = DirectoryRegistry(state / "registry")
    versions = [publish(registry, number) for number in range(2)]
    for version in versions:
        registry.promote(version)
    ledger = SqliteLedger(state / "ledger.db")
    right = [(f"document {number}", LABELS[number % 2], LABELS[number % 2]) for number in range(60)]
    wrong = [(f"wrong {number}", "fruit", "metal") for number in range(6)]
    record(ledger, versions[0], right + wrong, charges=charges)
    newest = [*right, *((text, "fruit", "metal") for text in texts or ("pear",))]
    record(ledger, versions[1], newest, since=100, charges=charges)
    ledger.close()
    return versions


@contextmanager
def shown(folder: Path, *flags: str, token: str | None = TOKEN) -> Iterator[str]:
    """`askance page` on the state `folder`/state while the block runs; gives its address."""
    environment = {**os.environ, "PAGE_TOKEN": token or ""}
    command = [*COMMAND, "page", "--state", "state", "--port", "0", "--set", "page.interval_seconds=0.2", *flags]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.match(r"page at (http://\S+);", process.stdout.readline())
        assert found is not None
        yield found[1]
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def asked(url: str, *, data: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON (or text) of a request."""
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, _content(reply.read())
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, _content(exc.read())


def _content(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode()
