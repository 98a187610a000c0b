"""How late an event loop comes to what is due: `python -m tests.kafka.lag` measures a loop that has nothing to do."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from tests.kafka.fleet import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_EVERY_SECONDS = 0.005


class LagProbe:
    """While it is entered, notes by how many seconds the running loop comes late to a call that is due every 5 ms."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._due: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._next()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._due is not None:
            self._due.cancel()

    def _next(self) -> None:
        self._due = asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._note)

    def _note(self) -> None:
        if self._due is not None:
            self.seconds.append(asyncio.get_running_loop().time() - self._due.when())
        self._next()


def percentile(seconds: Sequence[float], of_thousand: int) -> float:
    """The permille of the lags."""
    return statistics.quantiles(seconds, n=1000)[of_thousand - 1]


@contextmanager
def idle_loop() -> Iterator[list[float]]:
    """A process beside this one whose loop only measures; when the context ends its 99th percentile is in the list."""
    found: list[float] = []
    with subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            yield found
        finally:
            told, _ = process.communicate()
    found.append(float(told))


async def _measure() -> float:
    with LagProbe() as probe:
        # Until whoever started this closes the pipe.
        await asyncio.to_thread(sys.stdin.read)
    return percentile(probe.seconds, 990)


if __name__ == "__main__":
    print(asyncio.run(_measure()))
