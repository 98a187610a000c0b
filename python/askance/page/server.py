"""Listens, and serves the page until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn

from askance.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.applications import Starlette

_BACKLOG = 128
_GRACE_SECONDS = 1
_LOOK_SECONDS = 0.1


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """A socket that listens, and the page's address; port 0 is any free one. Raises `ConfigError` when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as exc:
        sock.close()
        msg = f"page.port: {host}:{port} cannot be listened on: {exc.strerror}; choose another with --set page.port=0"
        raise ConfigError(msg) from exc
    shown = f"[{host}]" if ":" in host else host
    return sock, f"http://{shown}:{sock.getsockname()[1]}"


async def serve(
    app: Starlette, sock: socket.socket, stop: asyncio.Event, on_stop: Callable[[], Awaitable[None]]
) -> None:
    """Until `stop`, or a signal: SIGINT and SIGTERM end it. `on_stop` lets go of connections that would stay."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = uvicorn.Server(config)

    async def watch() -> None:
        # uvicorn, which takes the signals, says so only when it is asked.
        while not (stop.is_set() or server.should_exit):
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)
        server.should_exit = True
        await on_stop()

    watching = asyncio.create_task(watch())
    try:
        await server.serve(sockets=[sock])
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
