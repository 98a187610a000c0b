"""Puts the workers on their adapters and runs them until the stream ends or a signal asks to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from askance import assembly
from askance.calls import TeacherState
from askance.errors import AskanceError
from askance.rules.estimate import estimate_agreement
from askance.student.slot import Slot
from askance.summary import Snapshot, Summary
from askance.telemetry import Telemetry
from askance.workers.classify import ClassifyWorker
from askance.workers.train import TrainWorker
from askance.workers.watch import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from askance.config import Config
    from askance.manifest import Estimate, Manifest
    from askance.protocols import Ledger, Registry
    from askance.records import Labelled

ALL_WORKERS = frozenset({"classify", "teach", "train"})

_logger = logging.getLogger(__name__)
_WATCH_SECONDS = 0.25
_SNAPSHOT_SECONDS = 1.0
_AGREEMENT_WINDOW = 500


def execute(
    config: Config,
    workers: frozenset[str],
    *,
    listener: Callable[[Snapshot], None] | None = None,
    once: bool = False,
) -> Summary:
    """Run `workers` until the stream ends (or for ever where nothing ends it), and say what came of it.

    With `classify` among them, `teach` and `train` finish what the stream left when it ends. Without it they go on
    until a signal, or until there is nothing left to do if `once`. SIGINT and SIGTERM drain and return. `listener`
    hears about once a second. A worker beside `classify` that fails is reported in the summary, while the stream
    goes on; raises `AskanceError` when the run cannot start or the data plane fails.
    """
    return asyncio.run(_Run(config, workers, listener, once=once).run())


class _Run:
    def __init__(
        self,
        config: Config,
        workers: frozenset[str],
        listener: Callable[[Snapshot], None] | None,
        *,
        once: bool,
    ) -> None:
        self._config = config
        self._workers = workers
        self._listener = listener
        self._once = once
        self._telemetry = Telemetry()
        self._slot = Slot()
        self._stop = asyncio.Event()
        self._backlog = 0
        self._teacher_state = TeacherState.ASKING
        self._failures: list[str] = []
        self._stack = ExitStack()
        self._streaming_seconds = 0.0
        self._started = time.monotonic()

    async def run(self) -> Summary:
        with self._stack:
            for worker in sorted(self._workers):
                self._stack.enter_context(assembly.exclusive(self._config, worker))
            registry = assembly.registry(self._config)
            ledger = self._stack.enter_context(assembly.ledger(self._config))
            self._listen_to_signals()
            await self._run_workers(registry, ledger)
            return await asyncio.to_thread(self._summary, registry, ledger)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            _logger.info("stopping: finishing what is under way; once more to stop at once")
            self._stop.set()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            # Outside the main thread (an embedding program, a test) signals are the embedder's business.
            with suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, stop)

    async def _run_workers(self, registry: Registry, ledger: Ledger) -> None:
        streamed, taught = asyncio.Event(), asyncio.Event()
        background: list[asyncio.Task[None]] = []
        try:
            # Everything is put together before anything runs: a mistake in the settings costs nothing.
            starts: list[tuple[str, Coroutine[None, None, None], asyncio.Event]] = []
            classify = await self._classify(registry) if "classify" in self._workers else None
            if "teach" in self._workers:
                starts.append(("teach", await self._teach(streamed), taught))
            if "train" in self._workers:
                starts.append(("train", self._train(registry, taught), asyncio.Event()))
            background.append(asyncio.create_task(self._observe(ledger)))
            others = [asyncio.create_task(self._report_failure(name, worker, done)) for name, worker, done in starts]
            if "teach" not in self._workers and (classify or self._once):
                taught.set()
            if classify:
                background.append(
                    asyncio.create_task(
                        watch(
                            registry=registry,
                            load=lambda version: assembly.load(registry, version),
                            slot=self._slot,
                            telemetry=self._telemetry,
                            interval_seconds=_WATCH_SECONDS,
                            stop=self._stop,
                        )
                    )
                )
                try:
                    await self._stream(classify)
                except BaseException:
                    self._stop.set()
                    await asyncio.gather(*others, return_exceptions=True)
                    raise
            if classify or self._once:
                streamed.set()
            await asyncio.gather(*others)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    async def _classify(self, registry: Registry) -> ClassifyWorker:
        champion = await asyncio.to_thread(registry.current)
        if champion is not None:
            self._slot.put(await asyncio.to_thread(assembly.load, registry, champion))
        stream_ledger = self._stack.enter_context(assembly.ledger(self._config))
        stream = self._stack.enter_context(
            assembly.stream(self._config, stream_ledger, learning=len(self._workers) > 1)
        )
        progress = list(stream_ledger.progress().values())
        return ClassifyWorker(
            source=stream,
            sink=stream,
            decoder=assembly.decoder(self._config),
            slot=self._slot,
            gate=assembly.gate(self._config),
            budget=assembly.budget(
                self._config,
                documents=sum(partition.documents for partition in progress),
                accepted=sum(partition.accepted for partition in progress),
            ),
            backlog=lambda: self._backlog,
            max_backlog=self._config.budget.max_pending,
            teacher_state=lambda: self._teacher_state,
            telemetry=self._telemetry,
            clock=time.monotonic,
            batch=self._config.batch,
            linger_seconds=self._config.linger_ms / 1000,
        )

    async def _stream(self, classify: ClassifyWorker) -> None:
        started = time.monotonic()
        try:
            await classify.run(self._stop)
        finally:
            self._streaming_seconds = time.monotonic() - started

    async def _teach(self, drain: asyncio.Event) -> Coroutine[None, None, None]:
        worker = await asyncio.to_thread(
            assembly.teach_worker,
            self._config,
            self._stack.enter_context(assembly.ledger(self._config)),
            self._telemetry,
        )
        return worker.run(stop=self._stop, drain=drain)

    def _train(self, registry: Registry, drain: asyncio.Event) -> Coroutine[None, None, None]:
        ledger = self._stack.enter_context(assembly.ledger(self._config))
        worker = TrainWorker(
            ledger=ledger,
            trainer=assembly.trainer(self._config),
            registry=registry,
            schedule=assembly.schedule(self._config, registry, now=time.monotonic()),
            telemetry=self._telemetry,
            clock=time.monotonic,
        )
        return worker.run(stop=self._stop, drain=drain)

    async def _report_failure(self, name: str, worker: Coroutine[None, None, None], done: asyncio.Event) -> None:
        """A teacher or trainer that fails must not take the data plane down with it."""
        try:
            await worker
        except AskanceError as exc:
            self._failures.append(f"{name}: {exc}")
            _logger.error("%s stopped: %s", name, exc)
        finally:
            done.set()

    async def _observe(self, ledger: Ledger) -> None:
        agreement: Estimate | None = None
        labelled = -1
        before = (time.monotonic(), 0)
        while True:
            counts = await asyncio.to_thread(ledger.counts)
            self._backlog = counts.pending + counts.asked
            self._teacher_state = await asyncio.to_thread(ledger.teacher_state, time.time())
            self._telemetry.pending.set(self._backlog)
            if self._listener:
                if counts.labelled != labelled:
                    rows = await asyncio.to_thread(ledger.labelled, _AGREEMENT_WINDOW)
                    labelled, agreement = counts.labelled, stream_agreement(rows)
                now, documents = time.monotonic(), int(self._telemetry.value("askance_documents_total"))
                self._listener(
                    Snapshot(
                        seconds=now - self._started,
                        documents=documents,
                        accepted=int(self._telemetry.value("askance_accepted_total")),
                        dead_letters=_dead_letters(self._telemetry),
                        documents_per_second=(documents - before[1]) / max(now - before[0], 1e-9),
                        labels=counts,
                        version=self._slot.student.version if self._slot.student else None,
                        swaps=int(self._telemetry.value("askance_swaps_total")),
                        agreement=agreement,
                    )
                )
                before = (now, documents)
            await asyncio.sleep(_SNAPSHOT_SECONDS)

    def _summary(self, registry: Registry, ledger: Ledger) -> Summary:
        progress = list(ledger.progress().values())
        versions = registry.versions()
        live = registry.current()
        return Summary(
            documents=sum(partition.documents for partition in progress),
            accepted=sum(partition.accepted for partition in progress),
            dead_letters=sum(partition.dead_letters for partition in progress),
            documents_now=int(self._telemetry.value("askance_documents_total")),
            seconds=self._streaming_seconds,
            labels=ledger.counts(),
            versions=len(versions),
            promoted=sum(manifest.verdict.promoted for manifest in versions),
            live=live,
            live_agreement=_agreement_of(live, versions),
            stream_agreement=stream_agreement(ledger.labelled()),
            swaps=int(self._telemetry.value("askance_swaps_total")),
            predictions=self._config.sink.path,
            dead_letter_path=str(assembly.dead_letter_path(self._config)),
            failures=tuple(self._failures),
        )


def stream_agreement(rows: Sequence[Labelled]) -> Estimate | None:
    """Agreement of predictions with the teacher over labelled documents, each counted 1/propensity times."""
    judged = [row for row in rows if row.predicted is not None]
    return estimate_agreement([row.predicted == row.label for row in judged], [row.propensity for row in judged])


def _agreement_of(version: str | None, versions: Sequence[Manifest]) -> Estimate | None:
    return next((manifest.agreement for manifest in versions if manifest.version == version), None)


def _dead_letters(telemetry: Telemetry) -> int:
    return int(
        sum(
            sample.value
            for metric in telemetry.dead_letters.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        )
    )
