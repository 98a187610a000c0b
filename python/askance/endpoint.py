"""Serves `/metrics`, `/healthz` and `/readyz` over HTTP, on threads of its own.

The data plane's event loop never takes part, so it can neither be blocked by a slow reader nor keep one from hearing
that it hangs.
"""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from askance.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from askance.health import Health
    from askance.telemetry import Telemetry

# A reader that says nothing for so long is hung up on.
_SILENCE_SECONDS = 10


@contextmanager
def serve(host: str, port: int, telemetry: Telemetry, health: Health) -> Iterator[str]:
    """Serve while the block runs; gives the address. Port 0 is any free one. Raises `ConfigError` when it is taken."""
    metrics = telemetry.application()

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start_response)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(start_response, "405 Method Not Allowed", "only GET\n")
        if path == "/healthz":
            return _state(start_response, health.not_alive)
        if path == "/readyz":
            return _state(start_response, health.not_ready)
        return _answer(start_response, "404 Not Found", "/metrics, /healthz, /readyz\n")

    try:
        server = make_server(host, port, application, _server_class(host), _Quiet)
    except OSError as exc:
        msg = f"metrics.port: {host}:{port} cannot be listened on: {exc.strerror}; choose another port or host"
        raise ConfigError(msg) from exc
    thread = threading.Thread(target=server.serve_forever, name="askance-endpoint", daemon=True)
    thread.start()
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _state(start_response: StartResponse, reasons: Callable[[], list[str]]) -> list[bytes]:
    why = reasons()
    if why:
        return _answer(start_response, "503 Service Unavailable", "".join(f"{line}\n" for line in why))
    return _answer(start_response, "200 OK", "ok\n")


def _answer(start_response: StartResponse, status: str, text: str) -> list[bytes]:
    body = text.encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # As http.server does, less the look-up of the host's name, which may take many seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that hangs up half-way is no news."""


def _server_class(host: str) -> type[_Server]:
    if ":" in host:
        return type("_Server6", (_Server,), {"address_family": socket.AF_INET6})
    return _Server


class _Quiet(WSGIRequestHandler):
    timeout = _SILENCE_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - theirs
        """Log nothing."""
