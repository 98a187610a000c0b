"""An S3-compatible server (moto) on loopback, over real HTTP."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import urlopen

import fsspec
import pytest
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "models"


class Server:
    """Can be taken away and brought back; what it holds outlives that, in this process's memory."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()


@contextmanager
def serving() -> Iterator[Server]:
    """A server with one bucket, to which this process and its children are led by the environment."""
    with pytest.MonkeyPatch.context() as patch:
        server = Server()
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        # What this process remembers of an earlier server is of no use with this one.
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        urlopen(f"http://127.0.0.1:{server.port}/moto-api/reset", data=b"").close()
        fsspec.filesystem("s3").mkdir(BUCKET)
        yield server
        server.stop()
