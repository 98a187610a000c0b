"""The provider's batch API: many calls in one file, answered within a day, at a fraction of the price.

Owns that a batch is found again whoever made it: it carries a token that the ledger knew before anything was sent.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import msgspec
import openai

from askance.calls import Attempt, BatchState, Charge, Fault, Line
from askance.errors import TeacherError
from askance.teacher.openai.chat import OpenAITeacher
from askance.teacher.openai.endpoint import fault_of
from askance.teacher.wire import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from openai.types import Batch

    from askance.calls import Call
    from askance.config import TeacherConfig
    from askance.rules.spend import Price

_ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_TOKEN = "askance"  # noqa: S105 - the name of a field, no secret
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
# Credentials and unknown models: what would be said of every line.
_OURS = frozenset({401, 403, 404})


class _Response(msgspec.Struct, frozen=True):
    status_code: int
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct, frozen=True):
    code: str | None = None
    message: str | None = None


class _Line(msgspec.Struct, frozen=True):
    custom_id: str
    response: _Response | None = None
    error: _Error | None = None


class OpenAIBatches:
    """Implements `protocols.BatchTeacher`; `price` is what a batched token costs."""

    def __init__(
        self,
        config: TeacherConfig,
        labels: Sequence[str],
        *,
        price: Price | None = None,
        examples: Sequence[tuple[str, str]] = (),
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        # Samples would be lines of their own; the ladder's other rungs are as in a call of its own.
        settings = config.model_copy(update={"samples": 0})
        self.teacher = OpenAITeacher(settings, labels, price=price, examples=examples, environment=environment)
        self._endpoint = self.teacher.endpoint

    async def submit(self, token: str, calls: Sequence[Call]) -> str:
        """Send the calls as one batch that carries the token; its identifier. Raises `TeacherError`."""
        lines = [
            msgspec.json.encode(
                {
                    "custom_id": str(call.number),
                    "method": "POST",
                    "url": _ENDPOINT,
                    "body": self.teacher.body([query.text for query in call.queries]),
                }
            )
            for call in calls
        ]
        try:
            file = await self._endpoint.client.files.create(
                file=(f"{token}.jsonl", b"\n".join(lines) + b"\n"), purpose="batch"
            )
            batch = await self._endpoint.client.batches.create(
                input_file_id=file.id, endpoint=_ENDPOINT, completion_window="24h", metadata={_TOKEN: token}
            )
        except openai.OpenAIError as exc:
            raise self._failure(exc) from exc
        return batch.id

    async def find(self, token: str) -> str | None:
        """The identifier of the batch that carries the token, None if there is none. Raises `TeacherError`."""
        try:
            async for batch in self._endpoint.client.batches.list(limit=100):
                if (batch.metadata or {}).get(_TOKEN) == token:
                    return batch.id
        except openai.OpenAIError as exc:
            raise self._failure(exc) from exc
        return None

    async def state(self, identifier: str) -> BatchState:
        """How far it is. Raises `TeacherError`."""
        batch = await self._retrieve(identifier)
        counts = batch.request_counts
        errors = [error.message or error.code or "?" for error in (batch.errors and batch.errors.data) or []]
        return BatchState(
            status=batch.status,
            has_ended=batch.status in _ENDED,
            done=counts.completed + counts.failed if counts else 0,
            total=counts.total if counts else 0,
            error="; ".join(errors)[:300] or None,
        )

    async def lines(self, identifier: str, documents: Mapping[int, int]) -> AsyncIterator[Line]:
        """What came of each call that the batch speaks of, in any order. Raises `TeacherError`.

        `documents` says of each call's number how many queries it is about; calls it does not know are passed over.
        """
        batch = await self._retrieve(identifier)
        for file in (batch.output_file_id, batch.error_file_id):
            if file is None:
                continue
            try:
                content = await self._endpoint.client.files.content(file)
            except openai.OpenAIError as exc:
                raise self._failure(exc) from exc
            for raw in content.content.splitlines():
                if raw.strip() and (line := self._line(raw, documents)) is not None:
                    yield line

    async def aclose(self) -> None:
        """Let go of connections."""
        await self.teacher.aclose()

    def _line(self, raw: bytes, documents: Mapping[int, int]) -> Line | None:
        try:
            line = msgspec.json.decode(raw, type=_Line)
            number = int(line.custom_id)
            count = documents[number]
        except (msgspec.DecodeError, UnicodeError, ValueError, KeyError, RecursionError):
            return None
        response, unbilled = line.response, (Charge(self.teacher.name, 1),)
        if response is None:
            why = line.error.message or line.error.code if line.error else "it holds neither a response nor an error"
            return Line(number, Attempt(fault=Fault.UNREACHABLE, error=f"the batch: {why}", charges=()))
        if response.status_code != 200:
            error = f"the batch answered {response.status_code}: {bytes(response.body).decode(errors='replace')[:300]}"
            if response.status_code in _OURS:
                return Line(number, None, error)
            return Line(number, Attempt(fault=fault_of(response.status_code), error=error, charges=unbilled))
        try:
            reply = msgspec.json.decode(response.body, type=Reply)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
            # Perhaps the model has answered: it counts as it was reserved.
            return Line(number, Attempt(fault=Fault.REJECTED, error=f"the batch holds no chat completion: {exc}"))
        charge = self.teacher.charge(reply.counted)
        answers = self.teacher.prompt.answers(reply, count)
        return Line(number, Attempt(answers, charges=None if charge is None else (charge,)))

    async def _retrieve(self, identifier: str) -> Batch:
        try:
            return await self._endpoint.client.batches.retrieve(identifier)
        except openai.OpenAIError as exc:
            raise self._failure(exc) from exc

    def _failure(self, exc: openai.OpenAIError) -> TeacherError:
        said = self._endpoint.said(exc)
        if isinstance(exc, openai.NotFoundError):
            return TeacherError(
                f"{self._endpoint.address} has no such batch or no batch API: {said}; without one, use `askance teach`"
            )
        if isinstance(exc, openai.APIStatusError):
            self._endpoint.check(exc)
        return TeacherError(f"the batch API of {self._endpoint.address} failed: {said}; run the command again later")
