"""How sure the teacher is of a label, from the log-probabilities of its tokens. Pure.

The probability of a label under its set is a product over its tokens: at each one, the mass of the tokens that still
lead to this label over the mass of those that lead to any label of the set (`renormalised over the label set`). What
a model would have said outside the set does not count, just as the constrained decoding would not let it.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askance.teacher.wire import TokenLogprob

# Inside a JSON string a quote is escaped, so no document or rationale can forge this.
_VALUE = re.compile(r'(?<!\\)"label"\s*:\s*"')


def label_probabilities(
    tokens: Sequence[TokenLogprob], chosen: Sequence[str], labels: Sequence[str]
) -> list[float | None]:
    """For each label in `chosen`, in the order of the reply, its probability in (0, 1]; None where it is unknown.

    None, too, when the tokens are not the reply's, or the server named no alternatives: the probability of the token
    that came alone says nothing of the others.
    """
    text = "".join(token.token for token in tokens)
    starts = [match.end() for match in _VALUE.finditer(text)]
    if len(starts) != len(chosen):
        return [None] * len(chosen)
    return [
        _probability(tokens, text, start, label, labels) if label in labels else None
        for start, label in zip(starts, chosen, strict=True)
    ]


def _probability(
    tokens: Sequence[TokenLogprob], text: str, start: int, label: str, labels: Sequence[str]
) -> float | None:
    ends = {one: text[:start] + _spelled(one, text, start) for one in labels}
    whole = ends[label]
    if not text.startswith(whole):
        return None
    probability, position = 1.0, 0
    informed = False
    for token in tokens:
        before, position = text[:position], position + len(token.token)
        if position <= start:
            continue
        if len(before) >= len(whole):
            break
        alternatives = {one.token: one.logprob for one in token.top_logprobs or ()}
        informed = informed or len(alternatives) > 1
        alternatives.setdefault(token.token, token.logprob)
        towards = among = 0.0
        for alternative, logprob in alternatives.items():
            reached = before + alternative
            led = [one for one, end in ends.items() if end.startswith(reached) or reached.startswith(end)]
            if led and alternative:
                mass = math.exp(min(0.0, logprob))
                among += mass
                towards += mass * (label in led)
        if among > 0.0:
            probability *= towards / among
    return probability if informed else None


def _spelled(label: str, text: str, start: int) -> str:
    """The label as JSON spells it, closing quote included: in this reply's way of escaping, where it has one."""
    plain = json.dumps(label, ensure_ascii=False)[1:]
    return plain if text.startswith(plain, start) else json.dumps(label)[1:] if not label.isascii() else plain
