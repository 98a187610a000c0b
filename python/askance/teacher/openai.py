"""The teacher behind any OpenAI-compatible endpoint: chat completions through the official SDK.

The SDK's own retries are off and its exceptions are translated here and nowhere else. What concerns one query becomes
an `Answer` with `error`; what concerns every query (credentials, an unknown model) raises `TeacherError`.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import msgspec

from askance.errors import ConfigError, TeacherError
from askance.records import Answer
from askance.teacher.prompt import Prompt, Reply, answer_of

try:
    import openai
except ImportError as exc:
    _msg = "the teacher `openai` needs the package openai; run: pip install 'askance[openai]'"
    raise ConfigError(_msg) from exc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from openai.types.chat import ChatCompletionMessageParam
    from openai.types.chat.completion_create_params import ResponseFormat

    from askance.config import TeacherConfig
    from askance.records import Query

_DEFAULT_BASE_URL = "https://api.openai.com/v1"

_MAX_TRIES = 5
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0
# A server that asks for a longer pause is not waited for: the query fails and its slot goes to another.
_LONGEST_RETRY_AFTER_SECONDS = 60.0
_TRANSIENT = frozenset({408, 409, 429})

# Settings of the request itself: when the server names one of these as the fault, every query would fail likewise.
_OUR_PARAMETERS = ("model", "temperature", "response_format")


class Failure(NamedTuple):
    """Why a call gave no answer, and whether trying again may help."""

    error: str
    transient: bool = False
    retry_after_seconds: float | None = None


def pause_seconds(tries: int, retry_after_seconds: float | None, uniform: float) -> float | None:
    """How long to wait after `tries` failed tries before the next one; None to give up.

    Exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015), `uniform` being a draw
    from [0, 1); never shorter than the server's own `Retry-After`.

    >>> [pause_seconds(tries, None, 0.5) for tries in (1, 2, 3, 4, 5)]
    [0.25, 0.5, 1.0, 2.0, None]
    >>> pause_seconds(1, 7.0, 0.5), pause_seconds(1, 3600.0, 0.5)
    (7.25, None)
    """
    after = retry_after_seconds or 0.0
    if tries >= _MAX_TRIES or after > _LONGEST_RETRY_AFTER_SECONDS:
        return None
    jitter = uniform * min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** (tries - 1))
    return after + jitter


class OpenAITeacher:
    """Asks one document a call; implements `protocols.Teacher`.

    The key comes only from the environment variable `config.api_key_env` names; an endpoint other than OpenAI's own
    may do without. Raises `ConfigError` when the model, the key or the endpoint is missing or malformed.
    """

    def __init__(
        self,
        config: TeacherConfig,
        labels: Sequence[str],
        *,
        environment: Mapping[str, str] = os.environ,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[], float] = random.random,
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
        self._prompt = Prompt(task=config.task, labels=labels, descriptions=config.descriptions)
        self._sleep, self._uniform, self._now = sleep, uniform, now
        self._client = openai.AsyncOpenAI(
            api_key=key or "none", base_url=self._base_url, timeout=config.timeout_seconds, max_retries=0
        )

    @property
    def name(self) -> str:
        """The model."""
        return self._model

    @property
    def concurrency(self) -> int:
        """How many `ask` calls may be under way at once."""
        return self._concurrency

    async def ask(self, query: Query) -> Answer:
        """One answer, after a few tries where the fault is transient."""
        tries = 0
        while True:
            outcome = await self._call(query.text)
            if isinstance(outcome, Reply):
                return answer_of(outcome)
            tries += 1
            pause = None
            if outcome.transient:
                pause = pause_seconds(tries, outcome.retry_after_seconds, self._uniform())
            if pause is None:
                times = "" if tries == 1 else f" ({tries} tries)"
                return Answer(raw=None, error=outcome.error + times)
            await self._sleep(pause)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _call(self, text: str) -> Reply | Failure:
        # The SDK's timeout is for each read; a server that trickles would never reach it.
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._client.chat.completions.with_raw_response.create(
                    model=self._model,
                    messages=_messages(self._prompt.messages(text)),
                    response_format=_response_format(self._prompt.response_format),
                    temperature=0,
                )
        except (TimeoutError, openai.APITimeoutError):
            return Failure(f"no answer within {self._timeout_seconds:g} s", transient=True)
        except openai.APIStatusError as exc:
            return self._of_status(exc)
        except openai.APIConnectionError as exc:
            why = str(exc.__cause__ or "") or type(exc.__cause__ or exc).__name__
            return Failure(f"the connection failed: {why}", transient=True)
        except openai.OpenAIError as exc:
            return Failure(f"the call failed: {self._said(exc)}")
        try:
            return msgspec.json.decode(response.content, type=Reply)
        except (msgspec.DecodeError, UnicodeError) as exc:
            return Failure(f"the server's answer is no chat completion: {exc}")

    def _of_status(self, exc: openai.APIStatusError) -> Failure:
        status, said = exc.status_code, self._said(exc)
        remedy = self._remedy(exc)
        if remedy is not None:
            msg = f"{self._base_url} answered {status} for the model {self._model!r}: {said}; {remedy}"
            raise TeacherError(msg) from exc
        return Failure(
            f"the server answered {status}: {said}",
            transient=status in _TRANSIENT or status >= 500,
            retry_after_seconds=_retry_after_seconds(exc.response.headers, self._now),
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


def _retry_after_seconds(headers: Mapping[str, str], now: Callable[[], float]) -> float | None:
    """What `Retry-After-Ms` or `Retry-After` (seconds or a date) asks for; None when absent, past or malformed."""
    for header, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(header)
        if value is None:
            continue
        try:
            seconds = float(value) / per_second
        except ValueError:
            date = parsedate_tz(value)
            if date is None:
                continue
            seconds = mktime_tz(date) - now()
        if seconds > 0:
            return seconds
    return None


def _messages(messages: list[dict[str, str]]) -> list[ChatCompletionMessageParam]:
    return messages  # type: ignore[return-value] # prompt.py builds them and must not import the SDK's types


def _response_format(schema: dict[str, object]) -> ResponseFormat:
    return schema  # type: ignore[return-value] # as above
