"""Which documents are held out: decided by the text alone.

Owns the invariant that a held-out text is never trained on: the split is a pure function of the text, so every copy
of a document falls on the same side, in this run, the next one and on every machine.
"""

from __future__ import annotations

from hashlib import blake2b


def text_uniform(text: str, *, purpose: str) -> float:
    """A number in [0, 1) keyed by the text, independent between purposes.

    It is the first 53 bits of BLAKE2b (RFC 7693) over the text's UTF-8 bytes, personalised with `purpose` (at most
    16 bytes). Lone surrogates are hashed too; nothing raises.

    >>> text_uniform("how to join two tables", purpose="holdout") < 1.0
    True
    """
    return bytes_uniform(text.encode("utf-8", "surrogatepass"), purpose=purpose)


def bytes_uniform(content: bytes, *, purpose: str) -> float:
    """Likewise, keyed by bytes."""
    digest = blake2b(content, digest_size=8, person=purpose.encode()).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53


def is_held_out(text: str, share: float) -> bool:
    """Whether a document belongs to the `share` that is kept for evaluation.

    The documents held out at a smaller share are among those held out at a larger one.

    >>> is_held_out("anything", 0.0), is_held_out("anything", 1.0)
    (False, True)
    """
    if not 0.0 <= share <= 1.0:
        msg = f"share is {share:g}: it has to be between 0 and 1"
        raise ValueError(msg)
    return text_uniform(text, purpose="holdout") < share
