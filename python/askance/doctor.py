"""Looks over everything a run needs, before it runs: what is well, what is not, and what to do about it.

Nothing is changed and nothing is paid for, unless `ask` allows one call to the teacher; that call is in no ledger and
counts against no cap, so it is only made when somebody says so.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from askance import assembly, teaching, tracing
from askance.errors import AskanceError, DamagedVersionError
from askance.processors import processors
from askance.records import Coordinates, Query, Record
from askance.registry import is_remote
from askance.rules.outcome import judge
from askance.rules.spend import money

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from askance.calls import Attempt
    from askance.config import Config, KafkaConfig
    from askance.processors import Processors
    from askance.protocols import Teacher

_LEAST_FREE_BYTES = 1_000_000_000
_MOST_SKEW_SECONDS = 5.0
_TIMEOUT_SECONDS = 10.0
_CLASSIFYING, _TRAINING = 2, 1
"""Busy threads of a worker; more processors than these are used by more processes."""
_SAMPLE = "The parcel arrived two weeks late, and nobody answers the phone."
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class State(StrEnum):
    """How a check ended."""

    WELL = "well"
    DOUBTFUL = "doubtful"
    """It runs, but perhaps not as intended."""
    ILL = "ill"
    """A run would fail, or do nothing."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    part: str
    state: State
    found: str
    remedy: str = ""
    """What to do about it; empty where all is well."""


def examine(config: Config, *, ask: bool, unix_time: Callable[[], float]) -> Iterator[Finding]:
    """Every finding about these settings, one after the other as it is made."""
    missing = _missing(config)
    yield _packages(config, missing)
    yield _processors(processors())
    yield _folder("state folder", config.state, "choose another with --state")
    yield _registry(config)
    if not assembly.on_kafka(config):
        yield _source(config)
        if config.sink.path != "-":
            yield _folder("predictions", Path(config.sink.path).parent, "choose another file with --output")
    elif "kafka" not in missing:
        yield from _broker(config, unix_time)
    yield from _teacher(config, ask=ask)
    if config.teacher.kind == "openai":
        yield _clock(config, unix_time)


def _needed(config: Config) -> dict[str, str]:
    """The extras that these settings take, each with a module that only it brings."""
    needed = {"train": "sklearn"}
    if assembly.on_kafka(config):
        needed["kafka"] = "aiokafka"
    if config.teacher.kind == "openai":
        needed["openai"] = "openai"
    if config.registry_location.startswith("s3://"):
        needed["s3"] = "s3fs"
    if config.page.enabled:
        needed["page"] = "starlette"
    if config.student.features == "encoder":
        needed["encoder"] = "tokenizers"
    if config.student.kind == "transformer":
        needed["transformers"] = "torch"
    if tracing.is_wanted(os.environ):
        needed["otel"] = "opentelemetry.sdk"
    return needed


def _missing(config: Config) -> list[str]:
    return [extra for extra, module in _needed(config).items() if not _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def _packages(config: Config, missing: list[str]) -> Finding:
    if missing:
        remedy = f"pip install 'askance[{','.join(missing)}]'"
        return Finding("packages", State.ILL, f"missing for these settings: {', '.join(missing)}", remedy)
    return Finding("packages", State.WELL, f"all there: {', '.join(_needed(config))}")


def _processors(found: Processors) -> Finding:
    """The plan of threads, and whether there are processors for it."""
    limit = "no limit by control group" if found.quota is None else f"a control group's limit of {found.quota:g}"
    plan = (
        f"{found.usable:g} usable ({found.allowed} by affinity, {limit}); busy threads of `classify`:"
        f" {_CLASSIFYING} (event loop, scoring: onnxruntime with 1 intra-op and 1 inter-op thread),"
        f" of a training: {_TRAINING}, in a process of its own"
    )
    if found.usable < _CLASSIFYING:
        remedy = "give the process two, or run `askance train` on another machine: a training slows the stream down"
        return Finding("processors", State.DOUBTFUL, f"{plan}; oversubscribed", remedy)
    if found.usable < _CLASSIFYING + _TRAINING:
        plan += "; oversubscribed while both are at full load"
    return Finding("processors", State.WELL, plan)


def _folder(part: str, folder: Path, remedy: str) -> Finding:
    there = _nearest(folder.absolute())
    usage = shutil.disk_usage(there)
    # A file system of no size at all, such as /proc, keeps no files whatever the rights are.
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK) or not usage.total:
        return Finding(part, State.ILL, f"{folder} cannot be written", f"give this user the right to, or {remedy}")
    found = f"{folder}{'' if folder.exists() else ' (will be made)'}, {usage.free / 1e9:,.1f} GB free"
    if usage.free < _LEAST_FREE_BYTES:
        return Finding(part, State.DOUBTFUL, found, "make room: a full disk stops every worker")
    return Finding(part, State.WELL, found)


def _nearest(folder: Path) -> Path:
    """The folder itself, or the one it would be made in."""
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def _registry(config: Config) -> Finding:
    try:
        registry = assembly.registry(config, on_warning=lambda _: None)
        live, count = registry.current(), len(registry.versions())
        if not is_remote(config.registry_location):
            place = _folder("registry", Path(config.registry_location.removeprefix("file://")), "set `registry`")
            if place.state is State.ILL:
                return place
        if live is None:
            return Finding("registry", State.WELL, f"{registry.location}: no version is live yet ({count} there)")
        # As a worker does: every digest, every parity document.
        student = assembly.load(registry, live)
    except AskanceError as exc:
        remedy = "see the setting `registry`, and the store's credentials"
        if isinstance(exc, DamagedVersionError):
            remedy = "`askance models rollback` makes the version before it live"
        return Finding("registry", State.ILL, str(exc), remedy)
    found = f"{live} is live, loads, and answers as when it was made ({len(student.labels)} labels; {count} versions)"
    return Finding("registry", State.WELL, f"{registry.location}: {found}")


def _source(config: Config) -> Finding:
    path = config.source.path
    if path == "-":
        return Finding("documents", State.WELL, "standard input")
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - what a user wrote, and no folder of ours
            line = file.readline()
    except OSError as exc:
        return Finding("documents", State.ILL, f"{path} cannot be read: {exc.strerror}", "name a file with --input")
    if not line.strip():
        return Finding("documents", State.DOUBTFUL, f"{path} is empty", "append to it with --follow, or name another")
    documents, letters = assembly.decoder(config).decode([Record(Coordinates("doctor", 0, 0), line.rstrip(b"\r\n"))])
    for letter in letters:
        remedy = "see source.format, source.text_field and source.id_field (--format, --text-field, --id-field)"
        found = f"{path}: the first is none: {letter.detail}{_fields(line)}"
        return Finding("documents", State.DOUBTFUL, found, remedy)
    return Finding("documents", State.WELL, f"{path}, beginning with {documents[0].text[:60]!r}")


def _fields(line: bytes) -> str:
    """The fields that a line has, to choose from."""
    try:
        names = [*msgspec.json.decode(line, type=dict[str, object])]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return f"; the line has {', '.join(names)}" if names else ""


def _broker(config: Config, unix_time: Callable[[], float]) -> Iterator[Finding]:
    from askance.stream.kafka.topics import look

    kafka = config.kafka
    try:
        counts = asyncio.run(look(kafka))
    except AskanceError as exc:
        yield Finding("broker", State.ILL, str(exc), "see kafka.bootstrap.servers, kafka.security and kafka.sasl")
        return
    yield Finding("broker", State.WELL, f"{kafka.bootstrap.servers} answers")
    yield _brokers_clock(kafka, unix_time)
    ours = (kafka.predictions, kafka.queries, kafka.labels, kafka.tallies, kafka.dead_letters)
    missing = [name for name in (*kafka.documents, *ours) if isinstance(counts[name], str)]
    for name in missing:
        yield Finding(
            "topic",
            State.ILL,
            f"{name}: {counts[name]}",
            "`askance topics create --documents` makes those that are missing",
        )
    if missing:
        return
    if counts[kafka.queries] != counts[kafka.labels]:
        found = f"{kafka.queries} has {counts[kafka.queries]} partitions and {kafka.labels} {counts[kafka.labels]}"
        yield Finding("topics", State.ILL, found, "give both as many")
        return
    listed = ", ".join(f"{name} ({counts[name]})" for name in (*kafka.documents, *ours))
    yield Finding("topics", State.WELL, f"all there, with their partitions: {listed}")
    yield _rights(kafka)


def _rights(kafka: KafkaConfig) -> Finding:
    from askance.stream.kafka.rights import lacking

    try:
        missing = asyncio.run(lacking(kafka))
    except AskanceError as exc:
        return Finding("rights", State.DOUBTFUL, str(exc), "see kafka.sasl, and the broker's log")
    if missing is None:
        return Finding("rights", State.WELL, "not looked at: the broker is older than Kafka 2.3 and does not tell them")
    if not missing:
        return Finding("rights", State.WELL, "every worker may read and write what it needs")
    found = ", ".join(f"{right.what} {right.where} (for `{right.worker}`)" for right in missing)
    remedy = "let this log-in do so with kafka-acls, unless it is another's that runs those workers"
    return Finding("rights", State.DOUBTFUL, f"not allowed: {found}", remedy)


def _teacher(config: Config, *, ask: bool) -> Iterator[Finding]:
    kind = config.teacher.kind
    if kind in ("none", "human"):
        told = "nobody is asked" if kind == "none" else "people are asked, with `askance labels`"
        remedy = "name one with --teacher" if kind == "none" else ""
        yield Finding("teacher", State.DOUBTFUL if remedy else State.WELL, told, remedy)
        return
    try:
        labels = teaching.labels(config)
        teacher = teaching.make_teacher(config, labels)
    except AskanceError as exc:
        yield Finding("teacher", State.ILL, str(exc), "see the section `teacher` of the settings")
        return
    query = Query(Coordinates("doctor", 0, 0), "doctor", _SAMPLE, None, None, 1.0, 1.0, None, 0)
    worst = teacher.worst([query])
    cost = f"at worst {worst.tokens:,} tokens" + (f" and {money(worst.nanos)}" if worst.nanos else "")
    if kind == "replay":
        yield Finding("teacher", State.WELL, f"recorded answers of {teacher.name}, {len(labels)} labels")
    elif not ask:
        yield Finding(
            "teacher",
            State.WELL,
            f"{teacher.name}, {len(labels)} labels; not asked; a call is {cost} (--ask makes one)",
        )
    else:
        yield _asked(teacher, query, labels, config.teacher.present_names)


def _asked(teacher: Teacher, query: Query, labels: Collection[str], renamed: Mapping[str, str]) -> Finding:
    async def once() -> Attempt:
        try:
            return await teacher.ask([query])
        finally:
            await teacher.aclose()

    try:
        attempt = asyncio.run(once())
    except AskanceError as exc:
        return Finding("teacher", State.ILL, str(exc), "see teacher.model, teacher.base_url and the API key")
    answer = attempt.answers[0] if attempt.answers else None
    if attempt.fault is not None or answer is None:
        found = f"{teacher.name} did not answer: {attempt.error or attempt.fault}"
        return Finding("teacher", State.ILL, found, "try again later; if it stays so, see teacher.base_url")
    tokens = sum(charge.spend.tokens for charge in attempt.charges or ())
    nanos = sum(charge.nanos for charge in attempt.charges or ())
    price = f"for {tokens:,} tokens, {money(nanos) if nanos else 'price unknown (spend.prices)'}; in no ledger"
    if judge(answer, labels, renamed)[1] is None:
        why = answer.error or f"{answer.raw!r} is none of the set"
        found = f"{teacher.name} answered, but no label ({why}), {price}"
        return Finding("teacher", State.DOUBTFUL, found, "see teacher.task, or choose a model that follows a schema")
    return Finding("teacher", State.WELL, f"{teacher.name} answered {answer.raw!r} {price}")


def _brokers_clock(kafka: KafkaConfig, unix_time: Callable[[], float]) -> Finding:
    """Latencies and what is kept how long go by records' times, which are one machine's or the other's."""
    from askance.stream.kafka.clock import seconds_ahead

    try:
        skew = asyncio.run(seconds_ahead(kafka, unix_time))
    except AskanceError as exc:
        return Finding("broker's clock", State.DOUBTFUL, str(exc), "see the broker's log")
    if skew is None:
        told = "not compared: the broker is older than Kafka 3.3, or this log-in may not describe the cluster"
        return Finding("broker's clock", State.WELL, told)
    return _compared("broker's clock", skew, "the broker", slack=0.0)


def _compared(part: str, skew: float, other: str, *, slack: float) -> Finding:
    """`skew` in seconds, positive where this machine is ahead; it may be wrong by `slack`."""
    if abs(skew) > _MOST_SKEW_SECONDS + slack:
        found = f"{abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} {other}"
        return Finding(part, State.DOUBTFUL, found, "let it be set over the network (NTP)")
    return Finding(part, State.WELL, f"within {_MOST_SKEW_SECONDS:g} seconds of {other}")


def _clock(config: Config, unix_time: Callable[[], float]) -> Finding:
    """Against the teacher's server: caps a day end by this machine's clock, and signatures of stores depend on it."""
    address = config.teacher.base_url or "https://api.openai.com/v1"
    before = unix_time()
    try:
        if not address.startswith(("http://", "https://")):
            raise ValueError(address)
        with _OPENER.open(address, timeout=_TIMEOUT_SECONDS) as reply:
            date = reply.headers.get("date")
    except urllib.error.HTTPError as exc:
        with exc:
            date = exc.headers.get("date")
    except (OSError, ValueError) as exc:
        return Finding("clock", State.DOUBTFUL, f"nobody to compare with: {exc}", "see teacher.base_url")
    if date is None:
        return Finding("clock", State.WELL, "not compared: the teacher's server tells no time")
    # The header is in whole seconds.
    skew = before - parsedate_to_datetime(date).timestamp()
    return _compared("clock", skew, "the teacher's server", slack=unix_time() - before)
