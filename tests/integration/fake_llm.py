"""An OpenAI-compatible server on loopback whose faults are programmed, and which counts what it was asked.

    async with FakeLLM() as server:
        server.script("the text of a document", status(429, retry_after="1"), answer("spam"))
        ...                                   # point a teacher at server.base_url
    assert server.asked["the text of a document"] == 2

Every other document is answered with `server.default`. Nothing here knows the SDK: it is sockets and bytes.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from tests.integration.fake_batches import FakeBatches

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Behaviour:
    """What the server does with one request."""

    content: str | None = None
    """The assistant's words; the whole body is `body` where that is given."""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    refusal: str | None = None
    finish_reason: str = "stop"
    logprobs: Any = None
    latency_seconds: float = 0.0
    dropped: bool = False
    """The connection is closed without a word."""
    half_written: bool = False
    """Half the body, then the connection is closed."""
    hangs: bool = False
    """No answer until the server stops."""
    trickles: bool = False
    """A byte of the body now and then, so that no single read takes long."""


def answer(label: str, **changes: Any) -> Behaviour:
    """The reply that the schema asks for."""
    return Behaviour(content=json.dumps({"label": label}), **changes)


def says(content: str | None, **changes: Any) -> Behaviour:
    """A reply with this content, whatever it is."""
    return Behaviour(content=content, **changes)


def status(number: int, /, *, retry_after: str | None = None, **error: str) -> Behaviour:
    """An error in OpenAI's form; `error` holds its `message`, `code`, `param`, `type`."""
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    return Behaviour(status=number, headers=headers, body=json.dumps({"error": {"message": "no", **error}}).encode())


def delayed(behaviour: Behaviour, seconds: float) -> Behaviour:
    """The same, later."""
    return replace(behaviour, latency_seconds=seconds)


@dataclass
class Request:
    """What arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    text: str | None = field(default=None)
    method: str = "POST"
    raw: bytes = b""


def document_of(body: dict[str, Any]) -> str:
    """The document a prompt asks about, read as the model is told to read it."""
    return documents_of(body)[0]


def documents_of(body: dict[str, Any]) -> list[str]:
    """Every document of a prompt, in order."""
    content = body["messages"][-1]["content"]
    return [
        json.loads(line.partition(">")[2].removesuffix("</document>"))
        for line in content.split("\n")
        if line.startswith("<document")
    ]


class FakeLLM:
    """Serves `POST /v1/chat/completions`, files and batches from the running event loop."""

    def __init__(self, default: Behaviour | Callable[[str], Behaviour] | None = None) -> None:
        self.default = default or answer("yes")
        self.asked: Counter[str] = Counter()
        """How often each document arrived."""
        self.requests: list[Request] = []
        self.writes: Callable[[dict[str, Any]], Behaviour] | None = None
        """What a request gets that asks for new documents instead of labels; it sees the request's body."""
        self.under_way = 0
        self.most_under_way = 0
        self.provider = FakeBatches(self._batched)
        self.admin: dict[tuple[str, str], deque[Behaviour]] = defaultdict(deque)
        """What the next requests for files and batches get instead of what they ask for, by method and path."""
        self._scripts: defaultdict[str, deque[Behaviour]] = defaultdict(deque)
        self._arrivals = asyncio.Condition()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def script(self, text: str, *behaviours: Behaviour) -> None:
        """What the next requests about this document get, in order."""
        self._scripts[text].extend(behaviours)

    @property
    def base_url(self) -> str:
        assert self._server is not None, "the server runs only inside `async with`"
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def arrived(self, total: int) -> None:
        """Return once so many requests have arrived."""
        async with self._arrivals:
            await self._arrivals.wait_for(lambda: len(self.requests) >= total)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await _read(reader):
                self.requests.append(request)
                async with self._arrivals:
                    self._arrivals.notify_all()
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                try:
                    if not await self._respond(request, writer):
                        return
                finally:
                    self.under_way -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client died or gave up: what it had asked is counted already
        finally:
            writer.close()

    def _batched(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """One line of a batch, answered as a call would be."""
        text = document_of(body)
        self.asked[text] += 1
        behaviour = self._behaviour(text)
        content = behaviour.body or _completion(Request("", {}, body), behaviour)
        return behaviour.status, json.loads(content)

    def _behaviour(self, text: str) -> Behaviour:
        scripted = self._scripts[text]
        behaviour = scripted.popleft() if scripted else self.default
        return behaviour if isinstance(behaviour, Behaviour) else behaviour(text)

    async def _administer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        scripted = self.admin[request.method, request.path.partition("?")[0]]
        done = self.provider.respond(request.method, request.path, request.headers, request.raw)
        if scripted:
            # The provider has done it; whether the client hears of it is another matter.
            behaviour = scripted.popleft()
            if behaviour.dropped:
                return False
            done = behaviour.status, behaviour.body or b"{}"
        status, body = done
        writer.write(
            f"HTTP/1.1 {status} Done\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        writer.write(body)
        await writer.drain()
        return True

    async def _respond(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection can be used again."""
        if not request.path.endswith("/chat/completions"):
            return await self._administer(request, writer)
        if self.writes is not None and request.body["response_format"]["json_schema"]["name"] == "documents":
            behaviour = self.writes(request.body)
        else:
            text = request.text = document_of(request.body)
            self.asked[text] += 1
            behaviour = self._behaviour(text)
        if behaviour.hangs:
            await asyncio.Event().wait()
        if behaviour.latency_seconds:
            await asyncio.sleep(behaviour.latency_seconds)
        if behaviour.dropped:
            return False
        body = _completion(request, behaviour) if behaviour.body is None else behaviour.body
        lines = [f"HTTP/1.1 {behaviour.status} Programmed", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in behaviour.headers]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
        if behaviour.half_written:
            writer.write(head + body[: len(body) // 2])
            await writer.drain()
            return False
        if behaviour.trickles:
            writer.write(head)
            for index in range(len(body)):
                writer.write(body[index : index + 1])
                await writer.drain()
                await asyncio.sleep(0.01)
            return True
        writer.write(head + body)
        await writer.drain()
        return True


def _completion(request: Request, behaviour: Behaviour) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": behaviour.content, "refusal": behaviour.refusal}
    prompt_tokens = sum(len(message["content"].split()) for message in request.body["messages"])
    completion_tokens = len((behaviour.content or "").split())
    return json.dumps(
        {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": 0,
            "model": request.body["model"],
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "finish_reason": behaviour.finish_reason,
                    "logprobs": behaviour.logprobs,
                }
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }
    ).encode()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """The next request on a connection; None when it has ended."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        if exc.partial:
            raise
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await _body(reader, headers)
    method, path, _ = first.split(" ")
    is_json = headers.get("content-type", "").startswith("application/json") and body
    return Request(path=path, headers=headers, body=json.loads(body) if is_json else {}, method=method, raw=body)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body
