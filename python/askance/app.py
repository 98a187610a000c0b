"""Puts the workers on their adapters and runs them until the stream ends or a signal asks to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from askance import assembly
from askance.errors import AskanceError
from askance.records import LabelCounts
from askance.student.slot import Slot
from askance.summary import Summary
from askance.telemetry import Telemetry
from askance.workers.classify import ClassifyWorker
from askance.workers.observe import Observer, stream_agreement
from askance.workers.train import TrainWorker
from askance.workers.watch import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from askance.config import Config
    from askance.manifest import Estimate, Manifest
    from askance.protocols import Ledger, Registry
    from askance.summary import Snapshot

ALL_WORKERS = frozenset({"classify", "teach", "train"})

_logger = logging.getLogger(__name__)
_WATCH_SECONDS = 0.25


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
        self._failures: list[str] = []
        self._stack = AsyncExitStack()
        self._streaming_seconds = 0.0

    async def run(self) -> Summary:
        async with self._stack:
            for worker in sorted(assembly.alone(self._config, self._workers)):
                self._stack.enter_context(assembly.exclusive(self._config, worker))
            registry = assembly.registry(self._config)
            ledger = self._ledger_to_observe()
            observer = Observer(
                ledger=ledger,
                slot=self._slot,
                telemetry=self._telemetry,
                clock=time.monotonic,
                listener=self._listener,
            )
            self._listen_to_signals()
            await self._run_workers(registry, observer)
            return await asyncio.to_thread(self._summary, registry, ledger)

    def _ledger_to_observe(self) -> Ledger | None:
        if not assembly.on_kafka(self._config):
            return self._open_ledger("classify")
        # On Kafka each worker has a ledger of its own, and `classify` none.
        return next((self._open_ledger(worker) for worker in ("teach", "train") if worker in self._workers), None)

    def _open_ledger(self, worker: str) -> Ledger:
        return self._stack.enter_context(assembly.ledger(self._config, worker))

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

    async def _run_workers(self, registry: Registry, observer: Observer) -> None:
        streamed, taught = asyncio.Event(), asyncio.Event()
        background: list[asyncio.Task[None]] = []
        try:
            # Everything is put together before anything runs: a mistake in the settings costs nothing.
            starts: list[tuple[str, Coroutine[None, None, None], asyncio.Event]] = []
            classify = await self._classify(registry, observer) if "classify" in self._workers else None
            if "teach" in self._workers:
                starts.append(("teach", await self._teach(streamed, background), taught))
            if "train" in self._workers:
                starts.append(("train", self._train(registry, taught, background), asyncio.Event()))
            background.append(asyncio.create_task(observer.run()))
            others = [asyncio.create_task(self._report_failure(name, worker, done)) for name, worker, done in starts]
            if "teach" not in self._workers and (classify or self._once):
                taught.set()
            if classify:
                background.append(asyncio.create_task(self._watch(registry)))
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

    async def _watch(self, registry: Registry) -> None:
        await watch(
            registry=registry,
            load=lambda version: assembly.load(registry, version),
            slot=self._slot,
            telemetry=self._telemetry,
            interval_seconds=_WATCH_SECONDS,
            stop=self._stop,
        )

    async def _classify(self, registry: Registry, observer: Observer) -> ClassifyWorker:
        champion = await asyncio.to_thread(registry.current)
        if champion is not None:
            self._slot.put(await asyncio.to_thread(assembly.load, registry, champion))
        ledger = None if assembly.on_kafka(self._config) else self._open_ledger("classify")
        progress = list(ledger.progress().values()) if ledger else []
        budget = assembly.budget(
            self._config,
            documents=sum(partition.documents for partition in progress),
            accepted=sum(partition.accepted for partition in progress),
        )
        stream = await self._stack.enter_async_context(
            assembly.stream(
                self._config,
                ledger,
                self._telemetry,
                learning=len(self._workers) > 1,
                on_assigned=budget.hold,
            )
        )
        return ClassifyWorker(
            source=stream,
            sink=stream,
            decoder=assembly.decoder(self._config),
            slot=self._slot,
            gate=assembly.gate(self._config),
            budget=budget,
            backlog=observer.backlog,
            max_backlog=self._config.budget.max_pending,
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

    async def _teach(self, drain: asyncio.Event, background: list[asyncio.Task[None]]) -> Coroutine[None, None, None]:
        ledger = self._open_ledger("teach")
        worker = await asyncio.to_thread(assembly.teach_worker, self._config, ledger, self._telemetry)
        if assembly.on_kafka(self._config):
            lanes = await assembly.lanes(self._config, ledger, self._telemetry)
            self._stack.push_async_callback(lanes.aclose)
            background.append(asyncio.create_task(self._stop_if_it_fails("teach", lanes.run())))
        return worker.run(stop=self._stop, drain=drain)

    def _train(
        self, registry: Registry, drain: asyncio.Event, background: list[asyncio.Task[None]]
    ) -> Coroutine[None, None, None]:
        ledger = self._open_ledger("train")
        if assembly.on_kafka(self._config):
            view = assembly.label_view(self._config, ledger)
            background.append(asyncio.create_task(self._stop_if_it_fails("train", view.run())))
        worker = TrainWorker(
            ledger=ledger,
            trainer=assembly.trainer(self._config),
            registry=registry,
            schedule=assembly.schedule(self._config, registry, now=time.monotonic()),
            telemetry=self._telemetry,
            clock=time.monotonic,
        )
        return worker.run(stop=self._stop, drain=drain)

    async def _stop_if_it_fails(self, name: str, feed: Coroutine[None, None, None]) -> None:
        """What feeds a worker's ledger has ended for good: so must the worker, and the run says why."""
        try:
            await feed
        except AskanceError as exc:
            self._failures.append(f"{name}: {exc}")
            _logger.error("%s stopped: %s", name, exc)
            self._stop.set()

    async def _report_failure(self, name: str, worker: Coroutine[None, None, None], done: asyncio.Event) -> None:
        """A teacher or trainer that fails must not take the data plane down with it."""
        try:
            await worker
        except AskanceError as exc:
            self._failures.append(f"{name}: {exc}")
            _logger.error("%s stopped: %s", name, exc)
        finally:
            done.set()

    def _summary(self, registry: Registry, ledger: Ledger | None) -> Summary:
        config, telemetry = self._config, self._telemetry
        versions = registry.versions()
        live = registry.current()
        now = int(telemetry.value("askance_documents_total"))
        documents, accepted, dead = now, int(telemetry.value("askance_accepted_total")), telemetry.dead_letter_total()
        if ledger is not None and not assembly.on_kafka(config):
            progress = list(ledger.progress().values())
            documents = sum(partition.documents for partition in progress)
            accepted = sum(partition.accepted for partition in progress)
            dead = sum(partition.dead_letters for partition in progress)
        return Summary(
            documents=documents,
            accepted=accepted,
            dead_letters=dead,
            documents_now=now,
            seconds=self._streaming_seconds,
            labels=ledger.counts() if ledger else LabelCounts(),
            versions=len(versions),
            promoted=sum(manifest.verdict.promoted for manifest in versions),
            live=live,
            live_agreement=_agreement_of(live, versions),
            stream_agreement=stream_agreement(ledger.labelled()) if ledger else None,
            swaps=int(telemetry.value("askance_swaps_total")),
            predictions=assembly.predictions_name(config),
            dead_letter_path=assembly.dead_letters_name(config),
            failures=tuple(self._failures),
        )


def _agreement_of(version: str | None, versions: Sequence[Manifest]) -> Estimate | None:
    return next((manifest.agreement for manifest in versions if manifest.version == version), None)
