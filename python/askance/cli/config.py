"""The bodies of `askance init` and `askance config`: the settings file is generated from the models themselves."""

from __future__ import annotations

import functools
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import msgspec
import typer

from askance import settings
from askance.config import Config
from askance.errors import UsageError
from askance.keys import fields, section_of, variable

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_ACTIVE = {"source.path", "source.text_field", "sink.path", "budget.kind", "budget.share", "teacher.kind"}
"""What nearly everybody sets stands ready to be edited; the rest is commented out."""
_WIDTH = 100


def write_file(path: Path, *, force: bool) -> None:
    """Write every setting with what it means and its default."""
    if path.exists() and not force:
        msg = f"{path} exists; --force overwrites it"
        raise UsageError(msg)
    try:
        path.write_text(template(), encoding="utf-8")
    except OSError as exc:
        msg = f"{path} cannot be written: {exc.strerror}"
        raise UsageError(msg) from exc
    typer.echo(f"wrote {path}; edit it, then `askance config check` and `askance run`")


def check(path: Path | None, assignments: list[str]) -> None:
    """Say that the settings are in order, or raise what is wrong with them."""
    settings.load(path, settings.assigned(assignments), flags=settings.assigning(assignments))
    where = path or (settings.DEFAULT_FILE if settings.DEFAULT_FILE.is_file() else None)
    typer.echo(f"{where}: in order" if where else f"in order; there is no {settings.DEFAULT_FILE}, the defaults hold")


def show(path: Path | None, assignments: list[str], *, json: bool) -> None:
    """Print every setting in force and where it came from."""
    effective = settings.effective(path, settings.assigned(assignments), flags=settings.assigning(assignments))
    if json:
        rows = [setting._asdict() | {"value": _plain(setting.value)} for setting in effective]
        typer.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return
    lines = [(f"{setting.key}: {settings.written(_plain(setting.value))}", setting.origin) for setting in effective]
    width = min(60, max(len(line) for line, _ in lines))
    for line, origin in lines:
        typer.echo(f"{line:<{width}}  # {origin}")


def template() -> str:
    """`askance.yaml` with every setting at its default."""
    lines = [
        "# askance's settings. A line that begins with `# ` explains; remove the `#` of `#key: value` to set the key.",
        f"# The environment overrides this file ({variable('budget.share')}=0.1), and flags override both.",
        "# Secrets never stand here: the teacher's key is read from the variable that teacher.api_key_env names.",
    ]
    default: Any = Config()
    for key, field in fields():
        # Sections within a section are written as Kafka writes them: `session.timeout.ms`.
        section, _, name = key.rpartition(".") if key.count(".") < 2 else key.partition(".")
        if section_of(field) is not None and section:
            continue
        indent = "  " if section else ""
        lines.append("")
        lines += _comment(field, indent)
        if section_of(field) is not None:
            lines.append(f"{name}:")
            continue
        value = functools.reduce(getattr, key.split("."), default)
        mark = "" if key in _ACTIVE else "#"
        lines.append(f"{indent}{mark}{name}: {settings.written(_plain(value))}")
    return "\n".join(lines) + "\n"


def _comment(field: FieldInfo, indent: str) -> list[str]:
    section = section_of(field)
    text = (section.__doc__ if section else field.description) or ""
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    text = " ".join(text.split())
    if not all(choice in text for choice in choices):
        text += f" One of: {', '.join(choices)}."
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
