"""The page over HTTP: one file of markup, one stream of figures, and two changes behind a token.

Owns the promises that the page loads nothing from elsewhere and runs nothing but its own script (the Content Security
Policy says so to the browser), that it changes nothing without the token, and that a foreign web page open in the same
browser can neither read it (the Host header must be an IP address or a name that was told, so none of its own that
points here) nor change anything (the token is no cookie: it has to be sent on purpose).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from askance.errors import AskanceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from askance.page.feed import Feed
    from askance.page.figures import Figures

STATIC = str(files("askance.page") / "static")
LEAST_TOKEN = 16
"""Characters of a token."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_MOST_READERS = 32
"""Open streams; each is a connection that stays."""
_SILENCE_SECONDS = 15.0
_MOST_BYTES = 4096


class Change(msgspec.Struct, frozen=True):
    """What a change is asked with."""

    version: str


def application(
    feed: Feed,
    *,
    hosts: Iterable[str],
    token: str | None,
    promote: Callable[[str], None],
    roll_back: Callable[[], str],
) -> Starlette:
    """The page of a feed, which runs while the application does; of names it answers to `hosts` and `localhost` alone.

    `promote` and `roll_back` block and raise `AskanceError`; they are called on a thread, and only with `token`.
    """
    page = _Page(feed, token, promote, roll_back)

    @asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(feed.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    routes = [
        Route("/figures", page.figures),
        Route("/stream", page.stream),
        Route("/promote", page.promote, methods=["POST"]),
        Route("/rollback", page.roll_back, methods=["POST"]),
        Mount("/", StaticFiles(directory=STATIC, html=True)),
    ]
    middleware = [Middleware(_Guarded), Middleware(_Named, names=hosts)]
    return Starlette(routes=routes, middleware=middleware, lifespan=running)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "page.example.org")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _host(header: str) -> str:
    """Without the port.

    >>> [_host(header) for header in ("Page.example.org:9465", "127.0.0.1", "[::1]:9465")]
    ['page.example.org', '127.0.0.1', '::1']
    """
    return header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0].lower()


class _Named:
    """Lets in who asks an IP address or a known name; whoever owns a name can point it here, an address they cannot."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in (*names, "localhost"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            name = _host(Headers(scope=scope).get("host", ""))
            if not (_is_address(name) or name in self._names):
                error = "this page does not answer to that name; page.hosts takes more of them"
                await _json({"error": error}, 400)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _Guarded:
    """Sends the headers of security with every answer, errors too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, guarded)


class _Page:
    def __init__(
        self, feed: Feed, token: str | None, promote: Callable[[str], None], roll_back: Callable[[], str]
    ) -> None:
        self._feed = feed
        self._token = token
        self._promote = promote
        self._roll_back = roll_back
        self._readers = 0

    async def figures(self, _: Request) -> Response:
        figures = self._feed.figures or await self._feed.newer(None)
        return _json({"figures": figures, "points": self._feed.points})

    async def stream(self, _: Request) -> Response:
        if self._readers >= _MOST_READERS:
            return _json({"error": f"{_MOST_READERS} readers are connected already; close one"}, 503)
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[bytes]:
        self._readers += 1
        try:
            figures = self._feed.figures or await self._feed.newer(None)
            yield _event("past", {"points": self._feed.points})
            while figures is not None:
                yield _event("figures", figures)
                while True:
                    try:
                        figures = await asyncio.wait_for(self._feed.newer(figures), _SILENCE_SECONDS)
                        break
                    except TimeoutError:
                        # So that a connection that is gone is noticed, here and by proxies.
                        yield b": still here\n\n"
        finally:
            self._readers -= 1

    async def promote(self, request: Request) -> Response:
        refused = self._refused(request)
        if refused is not None:
            return refused
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > _MOST_BYTES:
                return _json({"error": f"more than {_MOST_BYTES} bytes"}, 413)
        try:
            version = msgspec.json.decode(content, type=Change).version
        except msgspec.DecodeError as exc:
            return _json({"error": f'send {{"version": "v0001-…"}}: {exc}'}, 400)
        return await self._changed(lambda: self._promote(version))

    async def roll_back(self, request: Request) -> Response:
        return self._refused(request) or await self._changed(self._roll_back)

    def _refused(self, request: Request) -> Response | None:
        if self._token is None:
            return _json({"error": "this page was started without a token, so it changes nothing"}, 403)
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            return _json({"error": "the token is wrong"}, 401)
        return None

    async def _changed(self, change: Callable[[], object]) -> Response:
        try:
            await asyncio.to_thread(change)
        except AskanceError as exc:
            return _json({"error": str(exc)}, 409)
        figures = await self._feed.look()
        return _json({"live": figures.standing.live})


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _event(name: str, value: Figures | dict[str, object]) -> bytes:
    # JSON as msgspec writes it holds no line break, so an event is always these two lines.
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(value) + b"\n\n"
