"""What a person is told of a teacher that fails or answers beside the labels: each complaint once, not at every call.

Pure; texts come from servers and models, so they are shortened, and their control characters and credentials hidden.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from askance.records import ABSTENTION
from askance.settings import redacted

if TYPE_CHECKING:
    from askance.records import Answer

_RUN = 5
_WINDOW = 100
# Ids, times and counts, not a status such as 429.
_PASSING = re.compile(r"\b(?!\d{3}\b)\w*\d\w*")


class Outage:
    """The last failure of the server or of the way to it, and whether it was told already."""

    def __init__(self) -> None:
        self.error = "no reason is known"
        self._told: str | None = None

    def failed(self, error: str | None) -> None:
        """A call met this."""
        self.error = shown(str(redacted(error or "no reason is known")), 300)

    def is_news(self) -> bool:
        """Whether the reason is another than when this was last asked; numbers and ids in it do not count.

        >>> outage = Outage()
        >>> outage.failed("429: request 17"), outage.is_news(), outage.failed("429: request 18"), outage.is_news()
        (None, True, None, False)
        """
        before, self._told = self._told, _PASSING.sub("#", self.error)
        return before != self._told


class InvalidAnswers:
    """Complains after five invalid answers in a row, then whenever they are more than half of a hundred."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._answers = 0
        self._invalid = 0
        self._has_complained = False
        self._example = ""

    def heard(self, answer: Answer, label: str | None) -> str | None:
        """What to say now that this answer came to this label, if anything; an abstention is an answer as asked for."""
        if answer.raw is None:
            return None
        is_invalid = label is None and answer.raw != ABSTENTION
        self._in_a_row = self._in_a_row + 1 if is_invalid else 0
        self._answers += 1
        self._invalid += is_invalid
        if is_invalid:
            self._example = f'"{shown(answer.raw, 80)}" ({shown(answer.error or "none of the labels", 200)})'
        if not self._has_complained:
            much = f"{_RUN} answers in a row" if self._in_a_row == _RUN else None
        elif self._answers == _WINDOW:
            much = f"{self._invalid} of {_WINDOW} answers" if self._invalid > _WINDOW / 2 else None
        else:
            return None
        if much or self._answers >= _WINDOW:
            self._answers = self._invalid = 0
        if much is None:
            return None
        self._has_complained = True
        return (
            f"{much} are invalid: paid for, but no labels; the last is {self._example}; say in teacher.task what to "
            "answer, take another teacher.model, or mend the labels"
        )


def shown(text: str, most: int) -> str:
    r"""On one line of at most so many characters.

    >>> shown("a\x1b[2J\n", 80), shown("abcdef", 4)
    ('a\\x1b[2J\\n', 'abc…')
    """
    line = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[: most + 1])
    return line if len(line) <= most else f"{line[: most - 1]}…"
