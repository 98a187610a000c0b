"""The bodies of `askance labels`: questions out to people, their answers back into the ledger."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import typer

from askance import assembly, settings, teaching
from askance.cli.progress import working
from askance.errors import ConfigError, UsageError
from askance.records import Taken
from askance.rules import labelstudio

if TYPE_CHECKING:
    from pathlib import Path

    from askance.config import Config
    from askance.records import HumanAnswer

_SHOWN = 10
_SAID = {
    Taken.NEW: "{} labels new",
    Taken.CORRECTED: "{} put right",
    Taken.KNOWN: "{} known already",
    Taken.UNDER_WAY: "{} under way at the teacher: import the file again later",
    Taken.UNKNOWN: "{} about documents that this ledger does not know",
}


def export_questions(
    config: Path | None,
    state: Path | None,
    assignments: list[str],
    output: Path,
    *,
    below: float | None,
    limit: int,
    suggest: bool,
) -> None:
    """Write tasks for Label Studio, and beside them the labelling interface."""
    loaded = _settings(config, state, assignments)
    labels = teaching.labels(loaded)
    with working("reading the ledger"), assembly.ledger(loaded, "teach") as ledger:
        questions = ledger.questions(below=below, limit=limit)
    interface = output.with_suffix(".xml")
    tasks = [labelstudio.task(question, suggests=suggest) for question in questions]
    xml = labelstudio.interface(labels, loaded.teacher.descriptions, abstains=loaded.teacher.abstains)
    try:
        output.write_bytes(msgspec.json.format(msgspec.json.encode(tasks), indent=1))
        interface.write_text(xml, encoding="utf-8")
    except OSError as exc:
        msg = f"{output} cannot be written: {exc.strerror}; choose another file with --output"
        raise UsageError(msg) from exc
    typer.echo(f"{len(tasks):,} tasks in {output}, the labelling interface in {interface}")


def import_answers(
    config: Path | None, state: Path | None, assignments: list[str], answered: Path, *, json: bool
) -> None:
    """Read an export of Label Studio back."""
    loaded = _settings(config, state, assignments)
    labels = frozenset(teaching.labels(loaded))
    answers, open_, problems = _answers(answered, labels, abstains=loaded.teacher.abstains)
    with working("writing answers down"), assembly.ledger(loaded, "teach") as ledger:
        taken = Counter(ledger.take(answers))
    if json:
        found = {one.name.lower(): taken[one] for one in Taken}
        typer.echo(msgspec.json.encode(found | {"unanswered": open_, "unreadable": len(problems)}).decode())
    else:
        said = [_SAID[one].format(f"{taken[one]:,}") for one in Taken if taken[one]]
        said += [f"{open_:,} not answered yet"] * bool(open_) + [f"{len(problems):,} skipped"] * bool(problems)
        typer.echo("; ".join(said) or "the file holds no task")
    for problem in problems[:_SHOWN]:
        typer.echo(f"askance: skipped: {problem}", err=True)
    if len(problems) > _SHOWN:
        typer.echo(f"askance: and {len(problems) - _SHOWN:,} more", err=True)
    if problems and not answers:
        # Whoever calls this must not take it for done: nothing could be read.
        raise typer.Exit(1)


def _answers(path: Path, labels: frozenset[str], *, abstains: bool) -> tuple[list[HumanAnswer], int, list[str]]:
    """The answers, how many tasks have none yet, and what is wrong with the others."""
    try:
        tasks = msgspec.json.decode(path.read_bytes(), type=list[object])
    except OSError as exc:
        msg = f"{path} cannot be read: {exc.strerror}; name a file that Label Studio exported as JSON"
        raise UsageError(msg) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        msg = f"{path} is no list of tasks ({exc}); export from Label Studio as JSON or JSON-MIN"
        raise UsageError(msg) from exc
    answers, unanswered, problems = [], 0, []
    for task in tasks:
        try:
            answer = labelstudio.answer(task, labels, abstains=abstains)
        except labelstudio.Unreadable as exc:
            problems.append(str(exc))
            continue
        if answer is None:
            unanswered += 1
        else:
            answers.append(answer)
    return answers, unanswered, problems


def _settings(config: Path | None, state: Path | None, assignments: list[str]) -> Config:
    overrides: dict[str, object] = {} if state is None else {"state": state}
    flags = settings.assigning(assignments)
    loaded = settings.load(config, overrides | settings.assigned(assignments), flags=flags, looks_back=True)
    if loaded.teacher.labels is None and loaded.teacher.labels_from_field is None:
        msg = "the label set is unknown; name it in askance.yaml (teacher.labels) or with --set 'teacher.labels=[a, b]'"
        raise ConfigError(msg)
    if not assembly.ledger_path(loaded, "teach").exists():
        msg = f"there is no ledger in {loaded.state}, so there are no questions; name another folder with --state"
        raise UsageError(msg)
    return loaded
