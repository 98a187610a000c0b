from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from askance.training import parity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TEXTS = [f"document {number}" for number in range(8)]


class Answering:
    """A student whose logits follow from the batch."""

    version, labels, temperature = "v0001", ("no", "yes"), 1.0

    def __init__(self, logit: Callable[[str, int], float]) -> None:
        self._logit = logit

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[0.0, self._logit(text, len(texts))] for text in texts], dtype=np.float32)


def by_number(text: str, _: int) -> float:
    return float(text[-1]) - 3.5


def but_for(text: str, *, batch: int) -> Answering:
    """Like `by_number`, but for one document in batches of one size."""
    return Answering(lambda each, size: -by_number(each, size) if (each, size) == (text, batch) else by_number(each, 0))


@pytest.mark.parametrize("batch", [1, len(TEXTS)], ids=["alone", "together"])
def test_answers_have_to_agree_alone_and_together(batch: int) -> None:
    whole = Answering(by_number)
    assert parity.agreeing(whole, whole, TEXTS) == 1.0
    assert parity.agreeing(but_for(TEXTS[6], batch=batch), whole, TEXTS) == 7 / 8


def test_a_student_is_exact_only_if_no_logit_moves_at_all() -> None:
    assert parity.is_exact(Answering(by_number), TEXTS)
    assert not parity.is_exact(Answering(lambda text, size: by_number(text, 0) + 1e-6 * (size > 1)), TEXTS)
    assert parity.is_exact(Answering(by_number), [])
