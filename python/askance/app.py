"""Puts the workers on their adapters and runs them until the stream ends or a signal asks to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
import traceback
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from askance import assembly, lastrun, showing, teaching, tracing
from askance.errors import AskanceError, RegistryUnreachableError
from askance.health import Health
from askance.records import Reason
from askance.rules.estimate import estimate_window
from askance.stream.local import LocalStream
from askance.student.committee import scores
from askance.student.slot import Slot
from askance.summary import Summary, unread
from askance.telemetry import Telemetry
from askance.workers.classify import ClassifyWorker
from askance.workers.follow import finish, follow
from askance.workers.guard import look_after
from askance.workers.observe import Observer
from askance.workers.train import TrainWorker
from askance.workers.watch import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from askance.config import Config
    from askance.ledger import SqliteLedger
    from askance.manifest import Estimate, Manifest
    from askance.protocols import Follower, Ledger, Registry
    from askance.stream.kafka.labels import LabelView
    from askance.summary import Snapshot
    from askance.workers.teach import TeachWorker

ALL_WORKERS = frozenset({"classify", "teach", "train"})

_logger = logging.getLogger(__name__)
_BEAT_SECONDS = 1.0
# Nothing may hold the event loop up for so long.
_HUNG_SECONDS = 30.0
_STOP_SECONDS = 4.5
_KAFKA_STOP_SECONDS = 60.0


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
        # Workers apart share one askance.yaml, and one port: `askance page` shows them all.
        self._shows_page = config.page.enabled and len(workers) > 1
        self._telemetry = Telemetry()
        self._health = Health(time.monotonic)
        self._slot = Slot()
        self._tracer = tracing.from_environment()
        self._stop = asyncio.Event()
        self._failures: list[str] = []
        self._labels: tuple[str, ...] = ()
        self._stack = AsyncExitStack()
        self._streaming_seconds = 0.0
        self._follower: Follower | None = None
        self._asking: TeachWorker | None = None

    async def run(self) -> Summary:
        # What the settings get wrong is told before a file or a folder is made.
        if self._workers & {"teach", "train"}:
            self._labels = await asyncio.to_thread(teaching.labels, self._config)
        if self._config.teacher.kind == "human" and len(self._workers) > 1:
            # People are asked by `askance labels`, at their own pace.
            self._workers -= {"teach"}
        if "teach" in self._workers:
            self._teacher = await asyncio.to_thread(teaching.make_teacher, self._config, self._labels)
            self._stack.push_async_callback(self._teacher.aclose)
        async with self._stack:
            self._stack.push_async_callback(asyncio.to_thread, self._tracer.close)
            self._health.unready("process", "starting")
            serving = showing.metrics(self._config, self._telemetry, self._health, shows_page=self._shows_page)
            metrics = self._stack.enter_context(serving)
            for worker in sorted(assembly.alone(self._config, self._workers)):
                self._stack.enter_context(assembly.exclusive(self._config, worker))
            lastrun.write(self._config, self._workers)
            registry = assembly.registry(self._config)
            await asyncio.to_thread(teaching.warn_of_other_labels, self._labels, registry)
            ledger = self._ledger_to_observe()
            observer = Observer(
                ledger=ledger,
                slot=self._slot,
                telemetry=self._telemetry,
                clock=time.monotonic,
                listener=self._listener,
            )
            if self._shows_page and metrics is not None:
                await self._stack.enter_async_context(showing.beside(self._config, [metrics]))
            self._listen_to_signals()
            await self._run_workers(registry, observer)
            return await asyncio.to_thread(self._summary, registry, ledger)

    async def _beat(self) -> None:
        while True:
            self._health.beat("event loop", within_seconds=_HUNG_SECONDS)
            await asyncio.sleep(_BEAT_SECONDS)

    def _ledger_to_observe(self) -> Ledger | None:
        if not assembly.on_kafka(self._config):
            return self._open_ledger("classify")
        # On Kafka each worker has a ledger of its own, and `classify` none.
        return next((self._open_ledger(worker) for worker in ("teach", "train") if worker in self._workers), None)

    def _open_ledger(self, worker: str) -> SqliteLedger:
        return self._stack.enter_context(assembly.ledger(self._config, worker))

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            if self._stop.is_set():
                self._give_up("stopped at once", 128 + number)
            _logger.info("stopping: finishing what is under way; once more to stop at once")
            self._stop.set()
            self._health.unready("process", "stopping")
            # A reader that does not read, or a disk that hangs, must not keep the process.
            seconds = _KAFKA_STOP_SECONDS if assembly.on_kafka(self._config) else _STOP_SECONDS
            loop.call_later(seconds, self._give_up, "not everything could be finished in time", 1)

        for number in (signal.SIGINT, signal.SIGTERM):
            # Outside the main thread (an embedding program, a test) signals are the embedder's business.
            with suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, stop, number)

    def _give_up(self, why: str, code: int) -> None:
        # As safe as a crash, which is to say safe: whatever was delivered is, and the rest is done by the next run.
        _logger.warning("%s; the same command goes on from here", why)
        os._exit(code)

    async def _run_workers(self, registry: Registry, observer: Observer) -> None:
        streamed, taught = asyncio.Event(), asyncio.Event()
        background: list[asyncio.Task[None]] = []
        others: list[asyncio.Task[None]] = []
        background.append(asyncio.create_task(self._beat()))
        following: asyncio.Task[None] | None = None
        try:
            # Everything is put together before anything runs: a mistake costs nothing.
            classify = await self._classify(registry, observer) if "classify" in self._workers else None
            teach = await self._teach(background) if "teach" in self._workers else None
            train, looks = await self._train(registry, background) if "train" in self._workers else (None, ())
            self._stack.enter_context(assembly.collector_at_rest(classifies=classify is not None))
            background.append(asyncio.create_task(observer.run()))
            if classify and assembly.on_kafka(self._config) and not self._workers & {"teach", "train"}:
                backlog = await self._stack.enter_async_context(assembly.backlog(self._config))
                background.append(asyncio.create_task(observer.listen(backlog.waiting)))
            if not self._stop.is_set():
                self._health.ready("process")
            if teach:
                others.append(self._start("teach", teach.run(stop=self._stop, drain=streamed), taught))
            elif classify or self._once:
                taught.set()
            if train:
                others.append(self._start("train", train.run(stop=self._stop, drain=taught), asyncio.Event()))
                looking = look_after(looks, stop=self._stop, interval_seconds=self._config.guard.interval_seconds)
                background.append(self._start("guard", looking, asyncio.Event()))
            if classify:
                background.append(asyncio.create_task(self._watch(registry)))
                if self._follower is not None:
                    following = asyncio.create_task(follow(self._follower, unix_time=time.time))
                    background.append(following)
                try:
                    await self._stream(classify)
                except BaseException:
                    self._stop.set()
                    await asyncio.gather(*others, return_exceptions=True)
                    raise
                if others and not self._stop.is_set():
                    _logger.info("the stream has ended; finishing what it left to ask and to learn")
            if classify or self._once:
                streamed.set()
            await asyncio.gather(*others)
            if train and self._once and train.failure is not None:
                self._failures.append(f"train: {train.failure}")
            if following is not None and self._follower is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await finish(self._follower, unix_time=time.time, stop=self._stop)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    async def _watch(self, registry: Registry) -> None:
        await watch(
            registry=registry,
            load=lambda version: assembly.load_live(self._config, registry, version),
            slot=self._slot,
            telemetry=self._telemetry,
            interval_seconds=assembly.registry_poll_seconds(self._config),
            stop=self._stop,
        )

    async def _classify(self, registry: Registry, observer: Observer) -> ClassifyWorker:
        champion = await asyncio.to_thread(registry.current)
        if champion is not None:
            self._slot.put(await asyncio.to_thread(assembly.load_live, self._config, registry, champion))
        # The version on trial comes by the watch: it is not waited for.
        directions = await asyncio.to_thread(registry.directions)
        self._slot.direct(msgspec.structs.replace(directions, challenger=None), None)
        ledger = None if assembly.on_kafka(self._config) else self._open_ledger("classify")
        progress = list(ledger.progress().values()) if ledger else []
        documents = sum(partition.documents for partition in progress)
        budget = assembly.budget(
            self._config,
            documents=documents,
            accepted=sum(partition.accepted for partition in progress),
        )
        stream = await self._stack.enter_async_context(
            assembly.stream(
                self._config,
                ledger,
                self._telemetry,
                self._health,
                learning=len(self._workers) > 1,
                on_assigned=budget.hold,
            )
        )
        if self._config.contract.agreement is not None and isinstance(stream, LocalStream):
            self._follower = stream
        by_share = self._config.budget.kind == "share" and self._config.contract.agreement is None
        if champion is None and by_share and self._config.budget.advance:
            advance = self._config.budget.advance
            _logger.info("no student yet: up to %d documents are asked about in advance of the share", advance)
        return ClassifyWorker(
            source=stream,
            sink=stream,
            decoder=assembly.decoder(self._config),
            slot=self._slot,
            gate=assembly.gate(self._config),
            budget=budget,
            backlog=observer.backlog,
            max_backlog=self._config.budget.max_pending,
            teacher_state=observer.teacher_state,
            telemetry=self._telemetry,
            tracer=self._tracer,
            clock=time.monotonic,
            batch=self._config.batch,
            linger_seconds=self._config.linger_ms / 1000,
            contract=assembly.contract(self._config),
            seed_set=assembly.seed_set(self._config, documents=documents),
            scores=scores,
            latency_target_seconds=self._config.latency_target_ms / 1000,
        )

    async def _stream(self, classify: ClassifyWorker) -> None:
        started = time.monotonic()
        try:
            await classify.run(self._stop)
        finally:
            self._streaming_seconds = time.monotonic() - started

    async def _teach(self, background: list[asyncio.Task[None]]) -> TeachWorker:
        ledger = self._open_ledger("teach")
        if assembly.on_kafka(self._config):
            lanes = await assembly.lanes(self._config, ledger, self._telemetry, self._health)
            self._stack.push_async_callback(lanes.aclose)
            background.append(asyncio.create_task(self._stop_if_it_fails("teach", lanes.run())))
        self._asking = teaching.teach_worker(
            self._config, self._teacher, self._labels, ledger, self._telemetry, self._tracer
        )
        return self._asking

    async def _train(
        self, registry: Registry, background: list[asyncio.Task[None]]
    ) -> tuple[TrainWorker, Sequence[Callable[[], None]]]:
        """The train worker, and what looks after the live version by its side."""
        config = self._config
        ledger = self._open_ledger("train")
        view: LabelView | None = None
        if assembly.on_kafka(config):
            view = assembly.label_view(config, ledger, self._telemetry, self._health)
            background.append(asyncio.create_task(self._stop_if_it_fails("train", view.run())))
        schedule = await asyncio.to_thread(assembly.schedule, config, registry, self._labels, now=time.monotonic())
        rollout = assembly.rollout(config, self._open_ledger("train"), registry, self._telemetry)
        guard = assembly.guard(config, self._open_ledger("train"), registry, self._telemetry, on_drift=schedule.hasten)
        trainer = assembly.trainer(config, self._labels)
        load = partial(assembly.load, registry)
        augmenter = await asyncio.to_thread(teaching.augmenter, config, self._labels, ledger, trainer, load)
        if augmenter is not None:
            self._stack.push_async_callback(augmenter.aclose)
        worker = TrainWorker(
            augment=None if augmenter is None else augmenter.better,
            ledger=ledger,
            trainer=trainer,
            registry=registry,
            schedule=schedule,
            telemetry=self._telemetry,
            clock=time.monotonic,
            roll_out=rollout.begin,
            prune=partial(registry.prune, keep=config.train.keep_versions),
        )
        looks = (*((guard.look,) if config.guard.enabled else ()), rollout.look)
        return worker, looks if view is None else [partial(_look_if_current, view, look) for look in looks]

    def _start(self, name: str, worker: Coroutine[None, None, None], done: asyncio.Event) -> asyncio.Task[None]:
        return asyncio.create_task(self._report_failure(name, worker, done))

    async def _stop_if_it_fails(self, name: str, feed: Coroutine[None, None, None]) -> None:
        """What feeds a worker's ledger has ended for good: so must the worker, and the run says why."""
        try:
            await feed
        except Exception as exc:  # noqa: BLE001 - see `_note_failure`
            self._note_failure(name, exc)
            self._stop.set()

    async def _report_failure(self, name: str, worker: Coroutine[None, None, None], done: asyncio.Event) -> None:
        """A teacher or trainer that fails must not take the data plane down with it, whatever made it fail."""
        try:
            await worker
        except Exception as exc:  # noqa: BLE001 - see `_note_failure`
            self._note_failure(name, exc)
        finally:
            done.set()

    def _note_failure(self, name: str, exc: Exception) -> None:
        """Said at once and again at the end; what nobody foresaw says where it happened, too."""
        text = str(exc)
        if not isinstance(exc, AskanceError):
            last = traceback.extract_tb(exc.__traceback__)[-1]
            text = f"{type(exc).__name__}: {exc} ({Path(last.filename).name}, line {last.lineno}); please report this"
        self._failures.append(f"{name}: {text}")
        self._health.unready(name, f"stopped: {text}")
        _logger.error("%s stopped: %s", name, text)

    def _summary(self, registry: Registry, ledger: Ledger | None) -> Summary:
        config, telemetry = self._config, self._telemetry
        try:
            versions, live = registry.versions(), registry.current()
        except RegistryUnreachableError as exc:
            # The stream has ended well all the same.
            _logger.warning("the summary goes without the versions: %s", exc)
            versions, live = [], self._slot.student.version if self._slot.student else None
        now = int(telemetry.value("askance_documents_total"))
        documents, accepted, dead = now, int(telemetry.value("askance_accepted_total")), telemetry.dead_letter_total()
        if ledger is not None and not assembly.on_kafka(config):
            progress = list(ledger.progress().values())
            documents = sum(partition.documents for partition in progress)
            accepted = sum(partition.accepted for partition in progress)
            dead = sum(partition.dead_letters for partition in progress)
        if "classify" in self._workers and not self._stop.is_set():
            self._failures += unread(documents, dead)
        return Summary(
            documents=documents,
            accepted=accepted,
            dead_letters=dead,
            documents_now=now,
            seconds=self._streaming_seconds,
            labels=ledger.counts() if ledger else None,
            versions=len(versions),
            promoted=sum(manifest.verdict.promoted for manifest in versions),
            live=live,
            live_agreement=_agreement_of(live, versions),
            stream_agreement=estimate_window(ledger.tallies(), ledger.judged(), ()).agreement if ledger else None,
            swaps=int(telemetry.value("askance_swaps_total")),
            predictions=assembly.predictions_name(config),
            dead_letter_path=assembly.dead_letters_name(config),
            failures=tuple(self._failures),
            before_first=int(telemetry.value("askance_unanswered_total", reason=Reason.NO_STUDENT)),
            paused=self._asking.paused if self._asking else None,
        )


def _look_if_current(view: LabelView, look: Callable[[], None]) -> None:
    if view.is_current:
        look()


def _agreement_of(version: str | None, versions: Sequence[Manifest]) -> Estimate | None:
    return next((manifest.agreement for manifest in versions if manifest.version == version), None)
