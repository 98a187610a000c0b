"""Every setting's dotted key, found in `askance.config`, and what to say of a key that does not exist."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from askance.config import Config, Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

PREFIX = "ASKANCE_"
"""Of every environment variable that is a setting."""
_SECRET = re.compile(r"(^|_)(api_?key|token|secret|password)$")


def fields(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting and every section under its dotted key, a section before what is in it."""
    for name, field in model.model_fields.items():
        yield prefix + name, field
        if (section := section_of(field)) is not None:
            yield from fields(section, f"{prefix}{name}.")


def section_of(field: FieldInfo) -> type[Section] | None:
    """The section the field holds, or None when it is a setting itself."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


KEYS: Mapping[str, FieldInfo] = {key: field for key, field in fields() if section_of(field) is None}
"""Every setting under its dotted key."""
SECTIONS = tuple(key for key, field in fields() if section_of(field) is not None)
"""Every section's key."""


def variable(key: str) -> str:
    """The environment variable that sets a key.

    >>> variable("budget.share")
    'ASKANCE_BUDGET__SHARE'
    """
    return PREFIX + key.replace(".", "__").upper()


def unknown(origin: str, key: str, spell: Callable[[str], str] = str) -> str:
    """What to say of a key that does not exist; `spell` writes a known key as it is written there."""
    section, _, last = key.rpartition(".")
    if _SECRET.search(last):
        return (
            f"{origin}: keys come only from the environment: the teacher's is read from the variable that "
            "teacher.api_key_env names (default: OPENAI_API_KEY)"
        )
    names = (*SECTIONS, *KEYS)
    namesakes = [name for name in names if name.rpartition(".")[2] == last]
    if namesakes:
        return f"{origin}: unknown key; did you mean {' or '.join(spell(name) for name in namesakes)}?"
    around = section if section in SECTIONS else ""
    siblings = {name.rpartition(".")[2]: name for name in names if name.rpartition(".")[0] == around}
    anywhere = {name.rpartition(".")[2]: name for name in names}
    for known in (siblings, anywhere):
        close = difflib.get_close_matches(last, known, n=1)
        if close:
            return f"{origin}: unknown key; did you mean {spell(known[close[0]])}?"
    return f"{origin}: unknown key; known here: {', '.join(spell(name) for name in siblings.values())}"
