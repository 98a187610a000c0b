"""The part of a chat completion's body that is read, everything else passed over. Field names are the API's own."""

from __future__ import annotations

import msgspec

# More than any call takes, and small enough for every sum of them that is kept.
_MOST_TOKENS = 10**9


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """Where the prompt's tokens came from."""

    cached_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one call; null where the server does not count."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptTokensDetails | None = None

    @property
    def cached_tokens(self) -> int:
        """Of the prompt tokens."""
        return (self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens) or 0


class Alternative(msgspec.Struct, frozen=True):
    """A token that might have come, with its natural log-probability."""

    token: str
    logprob: float


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token that came, and what else might have."""

    token: str
    logprob: float
    top_logprobs: list[Alternative] | None = None


class Logprobs(msgspec.Struct, frozen=True):
    """Of each token of the content, in order."""

    content: list[TokenLogprob] | None = None


class ReplyMessage(msgspec.Struct, frozen=True):
    """What the model said."""

    content: str | None = None
    refusal: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """One completion; `logprobs` is read apart, because servers disagree about its form."""

    message: ReplyMessage
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(b"null")

    def tokens(self) -> list[TokenLogprob] | None:
        """Its log-probabilities, None where the server gives none (or in another form than the API's)."""
        try:
            found = msgspec.json.decode(self.logprobs, type=Logprobs | None)
        except (msgspec.DecodeError, UnicodeError):
            return None
        return found.content if found else None


class Reply(msgspec.Struct, frozen=True):
    """A chat completion's body."""

    choices: list[Choice]
    usage: Usage | None = None

    @property
    def counted(self) -> Usage:
        """What the call took; unknown where the server says none, or what cannot be."""
        usage = self.usage or Usage()
        counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
        return usage if all(0 <= (count or 0) <= _MOST_TOKENS for count in counts) else Usage()
