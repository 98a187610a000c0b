"""The bodies of `askance batch`: what waits in the ledger, through the provider's batch API."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import msgspec
import typer

from askance import assembly, settings, teaching
from askance.calls import BatchStatus
from askance.cli.progress import Progress
from askance.cli.run import flags_of, overrides_of
from askance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from askance.calls import Batch, BatchState
    from askance.config import Config
    from askance.workers.batch import BatchWorker

_LOOK_SECONDS = 60.0


def submit(context: typer.Context, limit: int) -> None:
    """Send what waits as one batch."""

    async def work(worker: BatchWorker) -> list[tuple[Batch, BatchState | None]]:
        batch = await worker.submit(uuid.uuid4().hex, limit)
        return [] if batch is None else [(batch, None)]

    _run(context, work, "nothing was sent: no document waits, or a cap leaves no room for one")


def collect(context: typer.Context, *, wait: bool) -> None:
    """Settle what has ended; with `wait`, until everything has."""

    async def work(worker: BatchWorker) -> list[tuple[Batch, BatchState | None]]:
        if not wait:
            return await worker.collect()
        last: dict[int, tuple[Batch, BatchState | None]] = {}

        def told(batch: Batch, state: BatchState | None) -> None:
            last[batch.number] = (batch, state)
            typer.echo(_line(batch, state), err=True)

        await worker.follow(_LOOK_SECONDS, told)
        return list(last.values())

    _run(context, work, "no batch is open")


def _run(
    context: typer.Context,
    work: Callable[[BatchWorker], Awaitable[list[tuple[Batch, BatchState | None]]]],
    nothing: str,
) -> None:
    params = context.params
    config = settings.load(params["config"], overrides_of(params), flags=flags_of(context))
    Progress(quiet=False, logs=config.logs).take_over_logging()
    batches = asyncio.run(_work(config, work))
    if params["json"]:
        typer.echo(msgspec.json.encode([batch for batch, _ in batches]).decode())
    else:
        typer.echo("\n".join(_line(batch, state) for batch, state in batches) or nothing)


async def _work(
    config: Config, work: Callable[[BatchWorker], Awaitable[list[tuple[Batch, BatchState | None]]]]
) -> list[tuple[Batch, BatchState | None]]:
    if assembly.on_kafka(config):
        msg = "`askance batch` works on a local state folder, and kafka.bootstrap.servers is set; use `askance teach`"
        raise UsageError(msg)
    labels = teaching.labels(config)
    # Two at once would each send what the other has reserved.
    with assembly.exclusive(config, "batch"), assembly.ledger(config, "teach") as ledger:
        teacher = teaching.make_batches(config, labels, teaching.examples_of(config, labels, ledger))
        try:
            return await work(teaching.batch_worker(config, teacher, labels, ledger))
        finally:
            await teacher.aclose()


def _line(batch: Batch, state: BatchState | None) -> str:
    where = f"{state.status}, {state.done:,} of {state.total:,} calls answered" if state else str(batch.status)
    if batch.status is BatchStatus.ENDED:
        where = f"settled ({state.status})" if state else "ended"
    error = f"; {batch.error}" if batch.error else ""
    return f"batch {batch.number} ({batch.id or 'not sent'}): {where}; {batch.calls:,} calls{error}"
