"""The teacher behind any OpenAI-compatible endpoint: chat completions."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import msgspec
import openai

from askance.augmentation import Writing
from askance.calls import Attempt, Charge, Fault, Spend
from askance.errors import TeacherError
from askance.records import ABSTENTION
from askance.settings import redacted
from askance.teacher.headers import rate_limit_reset
from askance.teacher.openai.endpoint import Endpoint
from askance.teacher.prompt import Prompt
from askance.teacher.wire import Reply, Usage
from askance.teacher.writing import writing_request, written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from openai.types.chat import ChatCompletionMessageParam
    from openai.types.chat.completion_create_params import ResponseFormat

    from askance.augmentation import WritingOrder
    from askance.config import TeacherConfig
    from askance.records import Answer, Query
    from askance.rules.spend import Price
    from askance.teacher.prompt import Request

_SAMPLE_TEMPERATURE = 1.0
# The most that the API gives.
_ALTERNATIVES = 20


class _Faulty(Exception):  # noqa: N818 - it never leaves this module
    """A call that gave no reply, and what the worker is told of it."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt.error)
        self.attempt = attempt


class _NoLogprobs(Exception):  # noqa: N818 - as above
    """The server gives no log-probabilities; without them it may answer."""


class OpenAITeacher:
    """Asks one or several documents a call; implements `protocols.Teacher` and `protocols.Writer`.

    Without a `price` only calls and tokens are counted. Raises `ConfigError` like `Endpoint`.
    """

    def __init__(
        self,
        config: TeacherConfig,
        labels: Sequence[str],
        *,
        price: Price | None = None,
        examples: Sequence[tuple[str, str]] = (),
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.endpoint = Endpoint(
            config,
            connections=config.concurrency * max(1, config.samples),
            environment=environment,
            now=now,
        )
        self._model = self.endpoint.model
        self._timeout_seconds = config.timeout_seconds
        self._concurrency = config.concurrency
        self._documents_per_call = config.documents_per_call
        self._samples = config.samples
        self._price = price
        self.prompt = Prompt(
            task=config.task,
            labels=labels,
            descriptions=config.descriptions,
            abstains=config.abstains,
            rationale=config.rationale,
            examples=examples,
            max_characters=config.max_document_characters,
            max_tokens=config.max_reply_tokens,
        )
        self._task, self._descriptions = config.task, config.descriptions
        self._choices = frozenset((*labels, ABSTENTION) if config.abstains else labels)
        # Until the server has shown that it gives none.
        self._logprobs = config.confidence == "auto"
        self._ladder = config.confidence == "auto"

    @property
    def name(self) -> str:
        """The model."""
        return self._model

    @property
    def concurrency(self) -> int:
        """How many `ask` calls may be under way at once."""
        return self._concurrency

    @property
    def documents_per_call(self) -> int:
        """How many queries a call may be about."""
        return self._documents_per_call

    @property
    def key(self) -> str:
        """The model and the prompt's digest."""
        return f"{self._model} {self.prompt.digest}"

    def worst(self, queries: Sequence[Query]) -> Spend:
        """As many tokens as bytes, and the longest reply; times the samples."""
        request = self.prompt.request([query.text for query in queries], stated=True)
        prompt, reply = request.most_prompt_tokens, request.max_tokens
        times = 1 + self._samples
        nanos = self._price.nanos(prompt, reply) if self._price else 0
        return Spend(times, times * (prompt + reply), times * nanos)

    def expected(self, queries: Sequence[Query]) -> tuple[Charge, ...]:
        """Four bytes a token, as English has it, and half of the longest reply; times the samples."""
        request = self.prompt.request([query.text for query in queries])
        times, prompt, reply = 1 + self._samples, request.most_prompt_tokens // 4, request.max_tokens // 2
        nanos = self._price.nanos(prompt, reply) if self._price else 0
        return (Charge(self._model, times, times * prompt, 0, times * reply, times * nanos),)

    async def ask(self, queries: Sequence[Query]) -> Attempt:
        """One call, and as many again as `samples` says where the server gives no log-probabilities."""
        texts = [query.text for query in queries]
        try:
            reply, headers = await self._call(texts, temperature=0.0)
        except _Faulty as exc:
            return exc.attempt
        answers = self.prompt.answers(reply, len(texts))
        charges = [self.charge(reply.counted)]
        retry_after = rate_limit_reset(headers)
        # What names no label of the set has no log-probabilities either, whatever the server gives.
        named = [one for one in answers if one.error is None and one.raw in self._choices]
        if self._ladder and any(one.confidence_source != "log_probability" for one in named):
            self._logprobs = False
            if self._samples:
                answers, more = await self._agreement(texts, answers)
                charges += more
        return Attempt(
            answers=answers,
            charges=None if None in charges else tuple(charge for charge in charges if charge),
            retry_after_seconds=retry_after,
        )

    async def audit(self, queries: Sequence[Query]) -> Attempt:
        """Like `ask`."""
        return await self.ask(queries)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.endpoint.client.close()

    async def _agreement(
        self, texts: list[str], answers: tuple[Answer, ...]
    ) -> tuple[tuple[Answer, ...], list[Charge | None]]:
        """The same answers, their confidence the share of warm samples that agree with them."""
        calls = (self._call(texts, temperature=_SAMPLE_TEMPERATURE) for _ in range(self._samples))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        charges: list[Charge | None] = []
        votes: list[tuple[Answer, ...]] = []
        for outcome in outcomes:
            if isinstance(outcome, _Faulty):
                charges += outcome.attempt.charges or (None,)
            elif isinstance(outcome, BaseException):
                if isinstance(outcome, TeacherError):
                    outcome.charges = None  # the answer was paid for, and perhaps other samples
                raise outcome
            else:
                votes.append(self.prompt.answers(outcome[0], len(texts)))
                charges.append(self.charge(outcome[0].counted))
        return tuple(
            one
            if one.error is not None or not votes
            # One who does not answer does not agree.
            else msgspec.structs.replace(
                one,
                confidence=sum(vote[n].error is None and vote[n].raw == one.raw for vote in votes) / len(votes),
                confidence_source="agreement",
            )
            for n, one in enumerate(answers)
        ), charges

    def charge(self, usage: Usage) -> Charge | None:
        """What a reply cost; None when the server does not say, so that the worst is assumed."""
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        prompt, completion, cached = usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens
        nanos = self._price.nanos(prompt, completion, cached) if self._price else 0
        return Charge(self._model, 1, prompt, cached, completion, nanos)

    def body(self, texts: Sequence[str]) -> dict[str, object]:
        """The whole request about these documents, as the batch API wants it, log-probabilities among it."""
        request = self.prompt.request(texts, stated=self._ladder and not self._logprobs)
        body: dict[str, object] = {
            "model": self._model,
            "messages": request.messages,
            "response_format": request.response_format,
            "temperature": 0.0,
            self.endpoint.limit_key: request.max_tokens,
        }
        return body | ({"logprobs": True, "top_logprobs": _ALTERNATIVES} if self._logprobs else {})

    def worst_writing(self, order: WritingOrder) -> Spend:
        """See `Writer`: as many tokens as bytes, and the longest reply."""
        request = self._writing_request(order)
        prompt, reply = request.most_prompt_tokens, request.max_tokens
        return Spend(1, prompt + reply, self._price.nanos(prompt, reply) if self._price else 0)

    async def write(self, order: WritingOrder) -> Writing:
        """See `Writer`: one call, warm, so that documents differ."""
        try:
            reply, _ = await self._send(self._writing_request(order), temperature=_SAMPLE_TEMPERATURE)
        except _Faulty as exc:
            return Writing(error=exc.attempt.error, charges=exc.attempt.charges)
        texts, error = written(reply, order.documents)
        charge = self.charge(reply.counted)
        return Writing(tuple(texts), error, None if charge is None else (charge,))

    def _writing_request(self, order: WritingOrder) -> Request:
        return writing_request(order, task=self._task, labels=self.prompt.labels, descriptions=self._descriptions)

    async def _call(self, texts: Sequence[str], *, temperature: float) -> tuple[Reply, Mapping[str, str]]:
        asks_logprobs = self._logprobs and temperature == 0.0
        request = self.prompt.request(texts, stated=self._ladder and not self._logprobs and not self._samples)
        try:
            return await self._send(request, temperature=temperature, asks_logprobs=asks_logprobs)
        except _NoLogprobs:
            self._logprobs = False
            return await self._call(texts, temperature=temperature)

    async def _send(
        self, request: Request, *, temperature: float, asks_logprobs: bool = False
    ) -> tuple[Reply, Mapping[str, str]]:
        extra: dict[str, object] = {self.endpoint.limit_key: request.max_tokens}
        if asks_logprobs:
            extra |= {"logprobs": True, "top_logprobs": _ALTERNATIVES}
        # The SDK's timeout is for each read; a server that trickles would never reach it.
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self.endpoint.client.chat.completions.with_raw_response.create(
                    model=self._model,
                    messages=_messages(request.messages),
                    response_format=_response_format(request.response_format),
                    temperature=temperature,
                    extra_body=extra,
                )
        except (TimeoutError, openai.APITimeoutError):
            raise _unknown(f"no answer within {self._timeout_seconds:g} s") from None
        except openai.APIStatusError as exc:
            if asks_logprobs and self.endpoint.is_about_logprobs(exc):
                raise _NoLogprobs from exc
            raise _Faulty(self.endpoint.of_status(exc)) from exc
        except openai.APIConnectionError as exc:
            why = str(exc.__cause__ or "") or type(exc.__cause__ or exc).__name__
            at = redacted(str(self.endpoint.client.base_url))
            raise _unknown(f"the connection failed: {why} ({at})") from exc
        except openai.OpenAIError as exc:
            msg = f"the call failed: {self.endpoint.said(exc)}"
            raise _Faulty(Attempt(fault=Fault.REJECTED, error=msg)) from exc
        try:
            return msgspec.json.decode(response.content, type=Reply), response.headers
        except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
            raise _unknown(f"the server's answer is no chat completion: {exc}") from exc


def _unknown(error: str) -> _Faulty:
    """Perhaps the model has answered, and is paid for."""
    return _Faulty(Attempt(fault=Fault.UNREACHABLE, error=error))


def _messages(messages: list[dict[str, str]]) -> list[ChatCompletionMessageParam]:
    return messages  # type: ignore[return-value] # prompt.py builds them and must not import the SDK's types


def _response_format(schema: dict[str, object]) -> ResponseFormat:
    return schema  # type: ignore[return-value] # as above
