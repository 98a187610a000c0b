"""Puts the live page on its adapters: in this process, or in one of its own beside a run.

`python -m askance.showing` is that process: its first line of input is an `Order`, its first line of output a `Told`,
and it ends when its input does, so it never outlives the run, whatever that one dies of.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import sys
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from askance import assembly, endpoint, logs, teaching
from askance.config import Config
from askance.errors import AskanceError, ConfigError, UsageError
from askance.health import Health
from askance.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from askance.page.feed import Feed
    from askance.protocols import Ledger, Registry

_logger = logging.getLogger(__name__)
_STOP_SECONDS = 10.0


class Order(msgspec.Struct, frozen=True):
    """What the process shows."""

    config: str
    """The settings, as JSON."""
    metrics: tuple[str, ...]


class Told(msgspec.Struct, frozen=True):
    """How its start went."""

    address: str | None = None
    error: str | None = None


def check(config: Config) -> None:
    """Raises `ConfigError` for what would keep the page from being shown."""
    if importlib.util.find_spec("starlette") is None or importlib.util.find_spec("uvicorn") is None:
        msg = "the page needs starlette and uvicorn; run: pip install 'askance[page]'"
        raise ConfigError(msg)
    if assembly.on_kafka(config):
        import askance.stream.kafka  # noqa: F401 - tells what to install where it is missing
    _token(config)


def show(config: Config, *, on_address: Callable[[str], None]) -> None:
    """Show a state until a signal asks to stop; raises `AskanceError` when it cannot be shown."""
    check(config)
    has_ledger = assembly.on_kafka(config) or assembly.ledger_path(config, "classify").exists()
    has_versions = config.registry is not None or (config.state / "registry").exists()
    if not (has_ledger or has_versions or config.page.metrics):
        msg = f"{config.state}: there is no run to show; name its folder with --state, or workers with --metrics"
        raise UsageError(msg)
    asyncio.run(_serve(config, config.page.metrics, asyncio.Event(), on_address, has_ledger=has_ledger))


@contextmanager
def metrics(config: Config, telemetry: Telemetry, health: Health, *, shows_page: bool) -> Iterator[str | None]:
    """Serve a worker's metrics and health while the block runs, if the settings or the page want them.

    Gives the address of the metrics as this machine reaches it. Raises `ConfigError`.
    """
    settings = config.metrics
    if settings.port is None and not shows_page:
        yield None
        return
    host, port = ("127.0.0.1", 0) if settings.port is None else (settings.host, settings.port)
    with endpoint.serve(host, port, telemetry, health) as address:
        _logger.info("metrics at %s/metrics, health at /healthz and /readyz", address)
        yield address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:") + "/metrics"


@asynccontextmanager
async def beside(config: Config, workers: Sequence[str]) -> AsyncIterator[str]:
    """Show this run from a process of its own while the block runs; gives the page's address.

    `workers` are the addresses of their metrics. Raises `ConfigError` when it cannot be shown. One
    that dies later is warned of, and the run goes on.
    """
    check(config)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # A module in the working folder never hides a library.
        "-m",
        "askance.showing",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the run, which then ends it.
    )
    if process.stdin is None or process.stdout is None:
        raise AssertionError
    order = Order(config.model_dump_json(), (*workers, *config.page.metrics))
    process.stdin.write(msgspec.json.encode(order) + b"\n")
    told = _told(await process.stdout.readline())
    watching = asyncio.create_task(_warn_of_its_end(process)) if told.address is not None else None
    try:
        if told.address is None:
            raise ConfigError(told.error or "the page's process ended at once")
        _logger.info("page at %s", told.address)
        yield told.address
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _warn_of_its_end(process: asyncio.subprocess.Process) -> None:
    code = await process.wait()
    _logger.warning("the page has ended (code %d); the run goes on, and `askance page` shows it again", code)


def _told(line: bytes) -> Told:
    try:
        return msgspec.json.decode(line, type=Told)
    except msgspec.DecodeError:
        return Told()


def _token(config: Config) -> str | None:
    from askance.page.web import LEAST_TOKEN

    token = os.environ.get(config.page.token_env) or None
    if token is not None and len(token) < LEAST_TOKEN:
        msg = f"the token in {config.page.token_env} has {len(token)} characters; make it {LEAST_TOKEN} at least"
        raise ConfigError(msg)
    return token


async def _serve(
    config: Config,
    metrics: Sequence[str],
    stop: asyncio.Event,
    on_address: Callable[[str], None],
    *,
    has_ledger: bool,
) -> None:
    from askance.page.server import listen, serve
    from askance.page.web import application

    sock, address = listen(config.page.host, config.page.port)
    async with AsyncExitStack() as stack:
        stack.callback(sock.close)
        ledger = stack.enter_context(assembly.ledger(config, "page")) if has_ledger else None
        if ledger is not None and assembly.on_kafka(config):
            filling = asyncio.create_task(_fill(config, ledger))
            stack.push_async_callback(_end, filling)
        registry = assembly.registry(config)
        feed = _feed(config, metrics, ledger)
        app = application(
            feed,
            hosts=(config.page.host, *config.page.hosts),
            token=_token(config),
            promote=partial(_promote, registry),
            roll_back=registry.rollback,
        )
        _warn_of_readers(config)
        on_address(address)
        await serve(app, sock, stop, feed.close)


def _warn_of_readers(config: Config) -> None:
    from askance.page.web import is_loopback

    if not is_loopback(config.page.host) and config.page.texts:
        _logger.warning(
            "page.host is %s: whoever reaches it reads documents; page.texts=false keeps them here", config.page.host
        )


def _promote(registry: Registry, version: str) -> None:
    # What cannot be served is not made live.
    assembly.load(registry, version)
    registry.promote(version)


def _feed(config: Config, metrics: Sequence[str], ledger: Ledger | None) -> Feed:
    from askance.page.feed import Feed
    from askance.page.flow import Flows
    from askance.page.reader import Reader

    reader = Reader(
        ledger,
        assembly.registry(config),
        caps=teaching.caps(config),
        shows_texts=config.page.texts,
        is_view=assembly.on_kafka(config),
        clock=time.monotonic,
        unix_time=time.time,
    )
    return Feed(
        reader,
        Flows(metrics, time.monotonic),
        title=", ".join(config.kafka.documents) if assembly.on_kafka(config) else str(config.state),
        budget_share=config.budget.share if config.budget.kind == "share" else None,
        may_change=_token(config) is not None,
        shows_texts=config.page.texts,
        interval_seconds=config.page.interval_seconds,
        unix_time=time.time,
    )


async def _fill(config: Config, ledger: Ledger) -> None:
    """On Kafka the page reads the labels topic into a ledger of its own."""
    view = assembly.label_view(config, ledger, Telemetry(), Health(time.monotonic))
    try:
        await view.run()
    except AskanceError as exc:
        _logger.warning("the page goes without labels: %s", exc)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def main() -> None:
    """The process beside a run."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    config = Config.model_validate_json(order.config)
    logs.warn_on_stderr(config.logs)

    def tell(told: Told) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.buffer.flush()

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait_for_the_run() -> None:
            # It holds our input open while it lives. Not through `sys.stdin`, whose lock a thread that waits would
            # keep until the interpreter, which wants it to end, gives up.
            while os.read(0, 4096):
                pass
            with suppress(RuntimeError):  # a signal was faster
                loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=wait_for_the_run, name="askance-page-parent", daemon=True).start()
        await _serve(config, order.metrics, stop, lambda address: tell(Told(address)), has_ledger=True)

    try:
        asyncio.run(run())
    except AskanceError as exc:
        tell(Told(error=str(exc)))


if __name__ == "__main__":
    main()
