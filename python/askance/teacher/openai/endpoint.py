"""Where the SDK is pointed, and what its errors mean.

The SDK's own retries are off and its exceptions are translated here and nowhere else. What concerns one call becomes an
`Attempt` with a `fault`; what concerns every call (credentials, an unknown model) raises `TeacherError`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import openai
from openai._constants import DEFAULT_CONNECTION_LIMITS

from askance.calls import Attempt, Charge, Fault
from askance.errors import ConfigError, TeacherError
from askance.teacher.headers import rate_limit_reset, retry_after_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from askance.config import TeacherConfig

_DEFAULT_BASE_URL = "https://api.openai.com/v1"
_TRANSIENT = frozenset({408, 409})
# Settings of the request itself: when the server names one of these as the fault, every query would fail likewise.
_OUR_PARAMETERS = ("model", "temperature", "response_format", "max_tokens", "max_completion_tokens")
_LOGPROBS = re.compile(r"\b(top_)?log_?probs\b", re.IGNORECASE)


class Endpoint:
    """One model behind one address; `client` is the SDK's, `address` may be shown: it holds no password.

    The key comes only from the environment variable `config.api_key_env` names; an endpoint other than OpenAI's own
    may do without. Raises `ConfigError` when the model, the key or the address is missing or malformed.
    """

    def __init__(
        self, config: TeacherConfig, *, connections: int, environment: Mapping[str, str], now: Callable[[], float]
    ) -> None:
        if not config.model:
            msg = "teacher.model is not set; name a model that the endpoint serves"
            raise ConfigError(msg)
        self.base_url = config.base_url or _DEFAULT_BASE_URL
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            msg = f"teacher.base_url {self.base_url!r} is no URL; write it like http://127.0.0.1:8000/v1"
            raise ConfigError(msg)
        self.address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        key = environment.get(config.api_key_env, "").strip()
        if not key and config.base_url is None:
            msg = (
                f"the environment variable {config.api_key_env} (teacher.api_key_env) holds no API key; export it, or "
                "set teacher.base_url to an endpoint that needs none"
            )
            raise ConfigError(msg)
        self._secret = key
        self._api_key_env = config.api_key_env
        self.model = config.model
        self._now = now
        # OpenAI's newer models refuse `max_tokens`; most other servers know nothing else.
        self.limit_key = "max_completion_tokens" if config.base_url is None else "max_tokens"
        self.client = openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=self.base_url,
            timeout=config.timeout_seconds,
            max_retries=0,
            http_client=_http_client(self.base_url, config.timeout_seconds, connections),
        )

    def of_status(self, exc: openai.APIStatusError) -> Attempt:
        """What the worker is told of a call that an error answered."""
        self.check(exc)
        status = exc.status_code
        after = retry_after_seconds(exc.response.headers, self._now)
        return Attempt(
            fault=fault_of(status),
            error=f"the server answered {status}: {self.said(exc)}",
            # Nobody bills a call that is answered by an error.
            charges=(Charge(self.model, 1),),
            retry_after_seconds=rate_limit_reset(exc.response.headers) if after is None else after,
        )

    def check(self, exc: openai.APIStatusError) -> None:
        """Raise `TeacherError` with the remedy where every call would be answered by this error."""
        remedy = self._remedy(exc)
        if remedy is not None:
            said = self.said(exc)
            msg = f"{self.address} answered {exc.status_code} for the model {self.model!r}: {said}; {remedy}"
            raise TeacherError(msg) from exc

    def is_about_logprobs(self, exc: openai.APIStatusError) -> bool:
        """Whether the server complains that it was asked for log-probabilities."""
        return exc.status_code in (400, 422, 500) and bool(
            _LOGPROBS.search(exc.param or "") or _LOGPROBS.search(self.said(exc))
        )

    def said(self, exc: openai.OpenAIError) -> str:
        """The server's words on one line, without the key should it repeat it."""
        words = " ".join(str(exc).split())
        if isinstance(exc, openai.APIStatusError):
            words = words.removeprefix(f"Error code: {exc.status_code} - ")
        if self._secret:
            words = words.replace(self._secret, "***")
        return words[:300]

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


def fault_of(status: int) -> Fault:
    """Whose fault an answer with this HTTP status is."""
    if status == 429:
        return Fault.THROTTLED
    return Fault.UNREACHABLE if status in _TRANSIENT or status >= 500 else Fault.REJECTED


def _http_client(base_url: str, timeout_seconds: float, connections: int) -> openai.DefaultAsyncHttpxClient:
    # The SDK's default keeps too few connections alive for many slots, and would open a new one for every other call.
    # Its kind of limits is httpx's or httpx2's, by the SDK's version.
    limits = type(DEFAULT_CONNECTION_LIMITS)(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30.0
    )
    return openai.DefaultAsyncHttpxClient(base_url=base_url, timeout=timeout_seconds, limits=limits)
