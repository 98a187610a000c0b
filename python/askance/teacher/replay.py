"""The teacher whose answers were recorded: no LLM is called, and every answer is what a real one once said."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from askance.calls import Attempt, Charge, Spend
from askance.errors import ConfigError
from askance.records import Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from askance.records import Query

# Longer lines are skipped without being kept: they bound the memory that reading takes.
_MAX_LINE_BYTES = 16 * 1024 * 1024
# A field with more distinct values than this is a text or an identifier, not a label.
_MAX_LABELS = 10_000

_Recorded = tuple[str, float | None]


class ReplayTeacher:
    """Answers from a JSONL file, read once when the teacher is made; implements `protocols.Teacher`.

    With `field`, a row's answer is that field's value. Without, it is the entry of the row's `teachers` list that
    names `model` (which may be left out where the file knows only one), or the row's `label` where there is no such
    list. A query is looked up by its document's id or, where the document has none of its own, by its offset, which
    is its line's number. A document without a recorded answer gets an `Answer` with `error`.

    Lines that are no JSON object are skipped and counted in `skipped_lines`. Raises `ConfigError` when the file
    cannot be read, does not know the model, or holds no answer.
    """

    def __init__(
        self,
        path: Path,
        *,
        id_field: str = "id",
        field: str | None = None,
        model: str | None = None,
        latency_seconds: float = 0.0,
        concurrency: int = 16,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._latency_seconds = latency_seconds
        self._concurrency = concurrency
        self._sleep = sleep
        self._answers: list[_Recorded | None] = []
        """By line number."""
        self._lines: dict[str, int] = {}
        """From identifier to line number; the first line wins."""
        self.skipped_lines = 0
        """Lines that are no JSON object."""
        chosen = self._load(path, id_field, field, model)
        self._name = chosen or (f"{path.name}:{field}" if field else path.name)

    @property
    def name(self) -> str:
        """The recorded model, or else the file (and field)."""
        return self._name

    @property
    def concurrency(self) -> int:
        """How many `ask` calls may be under way at once."""
        return self._concurrency

    @property
    def documents_per_call(self) -> int:
        """One."""
        return 1

    @property
    def key(self) -> None:
        """None: what was recorded is about a document, not its text."""

    def worst(self, queries: Sequence[Query]) -> Spend:  # noqa: ARG002 - the protocol's argument
        """A call, and nothing to pay."""
        return Spend(calls=1)

    def expected(self, queries: Sequence[Query]) -> tuple[Charge, ...]:  # noqa: ARG002 - the protocol's argument
        """A call, and nothing to pay."""
        return (Charge(self._name, 1),)

    async def ask(self, queries: Sequence[Query]) -> Attempt:
        """The recorded answers, once the latency has passed."""
        if self._latency_seconds > 0:
            await self._sleep(self._latency_seconds)
        return Attempt(tuple(self._answer(query) for query in queries), charges=(Charge(self._name, 1),))

    async def audit(self, queries: Sequence[Query]) -> Attempt:
        """The same answers again."""
        return await self.ask(queries)

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _answer(self, query: Query) -> Answer:
        recorded = self._recorded(query)
        if recorded is None:
            return Answer(raw=None, error=f"no answer is recorded for the document {query.document_id!r}")
        raw, confidence = recorded
        return Answer(raw=raw, confidence=confidence, confidence_source=None if confidence is None else "recorded")

    def _recorded(self, query: Query) -> _Recorded | None:
        line = self._lines.get(query.document_id)
        if line is None:
            topic, partition, offset = query.coordinates
            if query.document_id != f"{topic}/{partition}/{offset}" or offset >= len(self._answers):
                return None
            line = offset
        return self._answers[line]

    def _load(self, path: Path, id_field: str, field: str | None, model: str | None) -> str | None:
        """Fill the tables; returns the model whose answers they hold, None when they come from a field."""
        models: set[str] = set()
        fields: set[str] = set()
        chosen = model
        # Equal answers share one tuple, so that a row costs its identifier and little more.
        shared: dict[_Recorded, _Recorded] = {}
        for line, row in enumerate(_rows(path)):
            recorded: _Recorded | None = None
            if row is None:
                self.skipped_lines += 1
            else:
                fields.update(row.keys())
                identifier = row.get(id_field)
                if isinstance(identifier, str | int):
                    self._lines.setdefault(str(identifier), line)
                entries = row.get("teachers")
                if field is None and isinstance(entries, list):
                    by_model = _by_model(entries)
                    models.update(by_model)
                    if chosen is None and models:
                        chosen = min(models)
                    recorded = by_model.get(chosen) if chosen is not None else None
                else:
                    label = _label_of(row.get(field or "label"))
                    recorded = None if label is None else (label, None)
            self._answers.append(None if recorded is None else shared.setdefault(recorded, recorded))
        known = ", ".join(sorted(models))
        if field is None and model is not None and model not in models:
            remedy = f"choose one of: {known}" if known else "it holds no `teachers` list; drop teacher.model"
            msg = f"{path} has no answers of the model {model!r} (teacher.model); {remedy}"
            raise ConfigError(msg)
        if model is None and len(models) > 1:
            msg = f"{path} holds answers of several models; choose one with teacher.model: {known}"
            raise ConfigError(msg)
        if not shared:
            sought = f"in the field {field!r}" if field else "in `teachers` or `label`"
            msg = (
                f"{path} holds no recorded answer {sought}; name the field that holds the label in "
                f"teacher.replay_field ({_seen(fields)})"
            )
            raise ConfigError(msg)
        return chosen


def distinct_values(path: Path, field: str) -> tuple[str, ...]:
    """A label set: the distinct values of a field of a JSONL file, sorted.

    Lines that are no JSON object or lack the field are passed over. Raises `ConfigError` when the file cannot be
    read, no line has the field, or it has so many values that it cannot be a label.
    """
    values: set[str] = set()
    fields: set[str] = set()
    for row in _rows(path):
        if row is None:
            continue
        fields.update(row.keys())
        label = _label_of(row.get(field))
        if label is not None:
            values.add(label)
        if len(values) > _MAX_LABELS:
            msg = (
                f"the field {field!r} of {path} has more than {_MAX_LABELS:,} distinct values, so it is no label; "
                f"name another in teacher.labels_from_field ({_seen(fields)})"
            )
            raise ConfigError(msg)
    if not values:
        msg = f"no line of {path} has a field {field!r} (teacher.labels_from_field); {_seen(fields)}"
        raise ConfigError(msg)
    return tuple(sorted(values))


def _rows(path: Path) -> Iterator[dict[str, object] | None]:
    """One item a line: the JSON object, or None for a line that is none."""
    try:
        with path.open("rb") as file:
            while line := file.readline(_MAX_LINE_BYTES):
                if line.endswith(b"\n") or len(line) < _MAX_LINE_BYTES:
                    yield _object(line)
                    continue
                while (rest := file.readline(_MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield None
    except OSError as exc:
        msg = f"cannot read {path}: {exc.strerror}; name a JSONL file with recorded labels"
        raise ConfigError(msg) from exc


def _object(line: bytes) -> dict[str, object] | None:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _by_model(entries: list[object]) -> dict[str, _Recorded | None]:
    """Each model a `teachers` list names, with its answer."""
    found: dict[str, _Recorded | None] = {}
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("model"), str):
            label = _label_of(entry.get("label"))
            found[entry["model"]] = None if label is None else (label, _confidence_of(entry.get("confidence")))
    return found


def _label_of(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)


def _confidence_of(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    return float(value)


def _seen(fields: set[str]) -> str:
    names = sorted(fields)
    listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"its fields are: {listed}" if listed else "no line of it is a JSON object"
