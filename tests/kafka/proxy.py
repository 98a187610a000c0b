"""A wire between clients and a broker that can be cut without anybody being told: no answer, no reset.

The broker must advertise the proxy's port. What the broker says to itself is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

FETCH = 1
"""Kafka's number of the request."""


class _Wire:
    def __init__(self) -> None:
        self.apis: set[int] = set()
        self.is_ours = False
        self.is_cut = False


class Proxy:
    """Listens on `port` and passes everything on to `to`, until told otherwise."""

    def __init__(self, port: int, to: int) -> None:
        self._port = port
        self._to = to
        self._wires: list[_Wire] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, *, api: int | None = None) -> int:
        """From now on nothing passes on the clients' open connections, or on those that `api` was asked on."""
        hit = [wire for wire in self._wires if wire.is_ours and not wire.is_cut and (api is None or api in wire.apis)]
        for wire in hit:
            wire.is_cut = True
        return len(hit)

    def close(self) -> None:
        """Cut everything, and whatever connects from now on."""
        self._is_closed = True
        self.cut()

    def open(self) -> None:
        """What connects from now on is connected."""
        self._is_closed = False

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        wire = _Wire()
        self._wires.append(wire)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to)
            back = asyncio.create_task(self._back(wire, to_reader, writer))
            try:
                while True:
                    frame = await reader.readexactly(int.from_bytes(size := await reader.readexactly(4)))
                    length = int.from_bytes(frame[8:10])
                    wire.is_ours = frame[10 : 10 + length].startswith(b"aiokafka")
                    wire.is_cut |= wire.is_ours and self._is_closed
                    wire.apis.add(int.from_bytes(frame[:2]))
                    if not wire.is_cut:
                        to_writer.write(size + frame)
                        await to_writer.drain()
            finally:
                back.cancel()
                to_writer.close()
                writer.close()

    async def _back(self, wire: _Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if not wire.is_cut:
                    writer.write(data)
                    await writer.drain()
        if not wire.is_cut:
            writer.close()
