"""The teacher behind any OpenAI-compatible endpoint: chat completions through the official SDK.

The SDK's own retries are off and its exceptions are translated here and nowhere else. What concerns one call becomes an
`Attempt` with a `fault`; what concerns every call (credentials, an unknown model) raises `TeacherError`.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from askance.calls import Attempt, Charge, Fault, Spend
from askance.errors import ConfigError, TeacherError
from askance.teacher.headers import rate_limit_reset, retry_after_seconds
from askance.teacher.prompt import Prompt
from askance.teacher.wire import Reply, Usage

try:
    import openai
    from openai._constants import DEFAULT_CONNECTION_LIMITS
except ImportError as exc:
    _msg = "the teacher `openai` needs the package openai; run: pip install 'askance[openai]'"
    raise ConfigError(_msg) from exc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from openai.types.chat import ChatCompletionMessageParam
    from openai.types.chat.completion_create_params import ResponseFormat

    from askance.config import TeacherConfig
    from askance.records import Answer, Query
    from askance.rules.spend import Price

_DEFAULT_BASE_URL = "https://api.openai.com/v1"

_TRANSIENT = frozenset({408, 409})
_SAMPLE_TEMPERATURE = 1.0
# The most that the API gives.
_ALTERNATIVES = 20

# Settings of the request itself: when the server names one of these as the fault, every query would fail likewise.
_OUR_PARAMETERS = ("model", "temperature", "response_format", "max_tokens", "max_completion_tokens")
_LOGPROBS = re.compile(r"\b(top_)?log_?probs\b", re.IGNORECASE)


class _Faulty(Exception):  # noqa: N818 - it never leaves this module
    """A call that gave no reply, and what the worker is told of it."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt.error)
        self.attempt = attempt


class OpenAITeacher:
    """Asks one or several documents a call; implements `protocols.Teacher`.

    The key comes only from the environment variable `config.api_key_env` names; an endpoint other than OpenAI's own
    may do without. Without a `price` only calls and tokens are counted. Raises `ConfigError` when the model, the key
    or the endpoint is missing or malformed.
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
        if not config.model:
            msg = "teacher.model is not set; name a model that the endpoint serves"
            raise ConfigError(msg)
        self._base_url = config.base_url or _DEFAULT_BASE_URL
        parts = urlsplit(self._base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            msg = f"teacher.base_url {self._base_url!r} is no URL; write it like http://127.0.0.1:8000/v1"
            raise ConfigError(msg)
        key = environment.get(config.api_key_env, "").strip()
        if not key and config.base_url is None:
            msg = (
                f"the environment variable {config.api_key_env} (teacher.api_key_env) holds no API key; export it, or "
                "set teacher.base_url to an endpoint that needs none"
            )
            raise ConfigError(msg)
        self._secret = key
        self._api_key_env = config.api_key_env
        self._model = config.model
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
        self._now = now
        # Until the server has shown that it gives none.
        self._logprobs = config.confidence == "auto"
        self._ladder = config.confidence == "auto"
        # OpenAI's newer models refuse `max_tokens`; most other servers know nothing else.
        self._limit_key = "max_completion_tokens" if config.base_url is None else "max_tokens"
        self._client = openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=self._base_url,
            timeout=config.timeout_seconds,
            max_retries=0,
            http_client=_http_client(
                self._base_url, config.timeout_seconds, config.concurrency * max(1, config.samples)
            ),
        )

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

    def worst(self, queries: Sequence[Query]) -> Spend:
        """As many tokens as bytes, and the longest reply; times the samples."""
        request = self.prompt.request([query.text for query in queries], stated=True)
        prompt, reply = request.most_prompt_tokens, request.max_tokens
        times = 1 + self._samples
        nanos = self._price.nanos(prompt, reply) if self._price else 0
        return Spend(times, times * (prompt + reply), times * nanos)

    def expected(self, queries: Sequence[Query]) -> Charge:
        """Four bytes a token, as English has it, and half of the longest reply; times the samples."""
        request = self.prompt.request([query.text for query in queries])
        times, prompt, reply = 1 + self._samples, request.most_prompt_tokens // 4, request.max_tokens // 2
        nanos = self._price.nanos(prompt, reply) if self._price else 0
        return Charge(self._model, times, times * prompt, 0, times * reply, times * nanos)

    async def ask(self, queries: Sequence[Query]) -> Attempt:
        """One call, and as many again as `samples` says where the server gives no log-probabilities."""
        texts = [query.text for query in queries]
        try:
            reply, headers = await self._call(texts, temperature=0.0)
        except _Faulty as exc:
            return exc.attempt
        answers = self.prompt.answers(reply, len(texts))
        charges = [self._charge(reply.usage)]
        retry_after = rate_limit_reset(headers)
        if self._ladder and any(one.confidence_source == "stated" or one.confidence is None for one in answers):
            if any(one.error is None for one in answers):
                self._logprobs = False
            if self._samples:
                answers, more = await self._agreement(texts, answers)
                charges += more
        return Attempt(
            answers=answers,
            charges=None if None in charges else tuple(charge for charge in charges if charge),
            retry_after_seconds=retry_after,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

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
                raise outcome
            else:
                votes.append(self.prompt.answers(outcome[0], len(texts)))
                charges.append(self._charge(outcome[0].usage))
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

    def _charge(self, usage: Usage | None) -> Charge | None:
        """What a reply cost; None when the server does not say, so that the worst is assumed."""
        if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        prompt, completion, cached = usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens
        nanos = self._price.nanos(prompt, completion, cached) if self._price else 0
        return Charge(self._model, 1, prompt, cached, completion, nanos)

    async def _call(self, texts: Sequence[str], *, temperature: float) -> tuple[Reply, Mapping[str, str]]:
        asks_logprobs = self._logprobs and temperature == 0.0
        request = self.prompt.request(texts, stated=self._ladder and not self._logprobs and not self._samples)
        extra: dict[str, object] = {self._limit_key: request.max_tokens}
        if asks_logprobs:
            extra |= {"logprobs": True, "top_logprobs": _ALTERNATIVES}
        # The SDK's timeout is for each read; a server that trickles would never reach it.
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._client.chat.completions.with_raw_response.create(
                    model=self._model,
                    messages=_messages(request.messages),
                    response_format=_response_format(request.response_format),
                    temperature=temperature,
                    extra_body=extra,
                )
        except (TimeoutError, openai.APITimeoutError):
            raise self._unknown(f"no answer within {self._timeout_seconds:g} s") from None
        except openai.APIStatusError as exc:
            if asks_logprobs and exc.status_code in (400, 422, 500) and self._is_about_logprobs(exc):
                self._logprobs = False
                return await self._call(texts, temperature=temperature)
            raise _Faulty(self._of_status(exc)) from exc
        except openai.APIConnectionError as exc:
            why = str(exc.__cause__ or "") or type(exc.__cause__ or exc).__name__
            raise self._unknown(f"the connection failed: {why}") from exc
        except openai.OpenAIError as exc:
            msg = f"the call failed: {self._said(exc)}"
            raise _Faulty(Attempt(fault=Fault.REJECTED, error=msg)) from exc
        try:
            return msgspec.json.decode(response.content, type=Reply), response.headers
        except (msgspec.DecodeError, UnicodeError) as exc:
            raise self._unknown(f"the server's answer is no chat completion: {exc}") from exc

    def _unknown(self, error: str) -> _Faulty:
        """Perhaps the model has answered, and is paid for."""
        return _Faulty(Attempt(fault=Fault.UNREACHABLE, error=error))

    def _is_about_logprobs(self, exc: openai.APIStatusError) -> bool:
        return bool(_LOGPROBS.search(exc.param or "") or _LOGPROBS.search(self._said(exc)))

    def _of_status(self, exc: openai.APIStatusError) -> Attempt:
        status, said = exc.status_code, self._said(exc)
        remedy = self._remedy(exc)
        if remedy is not None:
            msg = f"{self._base_url} answered {status} for the model {self._model!r}: {said}; {remedy}"
            raise TeacherError(msg) from exc
        if status == 429:
            fault = Fault.THROTTLED
        elif status in _TRANSIENT or status >= 500:
            fault = Fault.UNREACHABLE
        else:
            fault = Fault.REJECTED
        after = retry_after_seconds(exc.response.headers, self._now)
        return Attempt(
            fault=fault,
            error=f"the server answered {status}: {said}",
            # Nobody bills a call that is answered by an error.
            charges=(Charge(self._model, 1),),
            retry_after_seconds=rate_limit_reset(exc.response.headers) if after is None else after,
        )

    def _remedy(self, exc: openai.APIStatusError) -> str | None:
        """What to do about a fault that every query would meet; None for one that concerns this query alone."""
        if exc.status_code == 401:
            return f"put a valid API key into the environment variable {self._api_key_env}"
        if exc.status_code == 403:
            return f"use a key in {self._api_key_env} that may use this model, or choose another teacher.model"
        if exc.status_code == 404:
            return "check teacher.model, and whether teacher.base_url should end in /v1"
        if exc.code == "insufficient_quota":
            return f"add credit to the account behind {self._api_key_env}, or use another key"
        if exc.status_code in (400, 422) and exc.param and exc.param.split(".")[0] in _OUR_PARAMETERS:
            return f"it does not take {exc.param!r} as askance sends it: choose another teacher.model"
        return None

    def _said(self, exc: openai.OpenAIError) -> str:
        """The server's words on one line, without the key should it repeat it."""
        words = " ".join(str(exc).split())
        if isinstance(exc, openai.APIStatusError):
            words = words.removeprefix(f"Error code: {exc.status_code} - ")
        if self._secret:
            words = words.replace(self._secret, "***")
        return words[:300]


def _http_client(base_url: str, timeout_seconds: float, connections: int) -> openai.DefaultAsyncHttpxClient:
    # The SDK's default keeps too few connections alive for many slots, and would open a new one for every other call.
    # Its kind of limits is httpx's or httpx2's, by the SDK's version.
    limits = type(DEFAULT_CONNECTION_LIMITS)(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30.0
    )
    return openai.DefaultAsyncHttpxClient(base_url=base_url, timeout=timeout_seconds, limits=limits)


def _messages(messages: list[dict[str, str]]) -> list[ChatCompletionMessageParam]:
    return messages  # type: ignore[return-value] # prompt.py builds them and must not import the SDK's types


def _response_format(schema: dict[str, object]) -> ResponseFormat:
    return schema  # type: ignore[return-value] # as above
