"""Writes the reference pages from the program itself, so that they cannot go stale: `make reference`.

python docs/reference.py           # write docs/{settings,metrics,commands,topics}.md and docs/schemas/
python docs/reference.py --check   # exit with 1 and name the pages that are not what would be written
"""

from __future__ import annotations

import enum
import functools
import re
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import typer

from askance.cli.main import app
from askance.codec import LetterLine
from askance.config import Config
from askance.keys import fields, section_of, variable
from askance.records import Position, Prediction, Query, Settled
from askance.settings import written
from askance.telemetry import Telemetry

DEAD_LETTER_HEADERS = ("askance-topic", "askance-partition", "askance-offset", "askance-reason", "askance-detail")
FOLDER = Path(__file__).parent
GENERATED = "<!-- Written by docs/reference.py (make reference): change the program, not this page. -->\n\n"
TOPICS: dict[str, tuple[type[msgspec.Struct], str]] = {
    "prediction": (Prediction, "One line of the predictions file, or one value on the predictions topic."),
    "query": (Query, "One value on the queries topic: an accepted document on its way to the teacher."),
    "label": (
        Settled,
        "One value on the labels topic: a query with the teacher's answer, so that it stands by itself.",
    ),
    "tally": (Position, "One value on the tallies topic: what was counted of a batch's documents, labelled or not."),
    "dead-letter": (LetterLine, "One line of the dead letters file; what a topic carries is said above."),
}


def settings() -> str:
    """Every setting: its key, default, variable and meaning, by section."""
    lines = [
        "# Settings",
        "",
        "`askance init` writes them all to `askance.yaml`; the environment overrides the file, and flags override",
        "both. A key on this page is written `--set KEY=VALUE` on the command line. Secrets are never settings: keys",
        "and passwords are read from the environment alone.",
        "",
    ]
    default: Any = Config()
    last = None
    for key, field in fields():
        inner = section_of(field)
        if inner is not None:
            if "." not in key:
                lines += ["", f"## {key}", "", flat(inner.__doc__), ""]
                last = None
            continue
        if last is None or last.count(".") == 0 < key.count("."):
            lines += ["| key | default | environment | meaning |", "|---|---|---|---|"]
        value = functools.reduce(getattr, key.split("."), default)
        shown = written(list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value)
        lines.append(f"| `{key}` | `{shown}` | `{variable(key)}` | {cell(field.description)} |")
        last = key
    return "\n".join(lines)


def metrics() -> str:
    """Every metric of `telemetry.py`: its name as it is scraped, its kind and labels, and what it counts."""
    lines = [
        "# Metrics",
        "",
        "Every metric a worker has, by the name under which Prometheus scrapes it. A process has those of the workers",
        "that run in it; loss is always counted.",
        "",
        "| name | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    telemetry = Telemetry()
    # Told nowhere in public.
    metrics: Any = telemetry.registry._collector_to_names  # noqa: SLF001
    labels = {metric._name: metric._labelnames for metric in metrics}  # noqa: SLF001
    for metric in sorted(telemetry.registry.collect(), key=lambda metric: metric.name):
        name = metric.name + ("_total" if metric.type == "counter" else "")
        names = ", ".join(f"`{label}`" for label in labels.get(metric.name, ()))
        lines.append(f"| `{name}` | {metric.type} | {names} | {cell(metric.documentation)} |")
    return "\n".join(lines)


def commands() -> str:
    """Every command with its flags, as its `--help` tells them."""
    lines = [
        "# Commands",
        "",
        "| exit code | means |",
        "|---|---|",
        "| 0 | done |",
        "| 1 | something failed while running, or what was looked over (`doctor`, `replay`) is not in order |",
        "| 2 | the command, its input or its settings are wrong: nothing was begun |",
        "",
        "Each failure is one line on stderr. What takes a while shows there how far it is, on a terminal alone;",
        "elsewhere the workers log a JSON object a line (setting `logs`). `--help` after any command gives its flags",
        "and an example, `askance --install-completion` completes them in your shell.",
        "",
    ]
    lines += _commands(typer.main.get_command(app), "askance")
    return "\n".join(lines)


def _commands(command: Any, name: str) -> list[str]:
    inner = getattr(command, "commands", None)
    lines = ["", f"## {name}", "", flat(command.help)] if name != "askance" else []
    if command.epilog and inner is None:
        lines += ["", "```bash", command.epilog.partition(": ")[2], "```"]
    flags = [param for param in command.params if not getattr(param, "hidden", False) and param.name != "help"]
    if inner is None and flags:
        lines += ["", "| | | |", "|---|---|---|"]
        for param in flags:
            spelt = ", ".join(f"`{option}`" for option in (*param.opts, *param.secondary_opts))
            if param.param_type_name == "argument":
                spelt = f"`{(param.metavar or param.name).upper()}`"
            kind = "" if getattr(param, "is_flag", False) else (param.metavar or "")
            lines.append(f"| {spelt} | {cell(kind)} | {cell(getattr(param, 'help', ''))} |")
    for key, child in (inner or {}).items():
        lines += _commands(child, f"{name} {key}")
    return lines


def topics() -> str:
    """What the topics and files carry; the schemas stand beside this page."""
    lines = [
        "# Records",
        "",
        "Values are JSON, each with a JSON Schema; a prediction keeps its document's key, headers and timestamp. A",
        "field that has its default may be left out. On Kafka a dead letter is the record as it came, bytes, key and",
        f"headers, with the headers {', '.join(f'`{name}`' for name in DEAD_LETTER_HEADERS)} added.",
        "",
    ]
    parts: dict[str, type[Any]] = {}
    for name, (kind, meaning) in TOPICS.items():
        lines += [f"## {name}", "", f"{meaning} Schema: [`schemas/{name}.json`](schemas/{name}.json).", ""]
        lines += [flat(kind.__doc__), "", *_fields(kind, parts)]
    lines += ["## What these are made of", ""]
    shown = {kind.__name__ for kind, _ in TOPICS.values()}
    while missing := [name for name in parts if name not in shown]:
        for name in missing:
            shown.add(name)
            lines += [f"### {name}", "", flat(parts[name].__doc__), "", *_fields(parts[name], parts)]
    return "\n".join(lines)


def _fields(kind: type[Any], parts: dict[str, type[Any]]) -> list[str]:
    """A table of the fields; what they are made of is added to `parts`."""
    if issubclass(kind, msgspec.Struct):
        fields = [(field.encode_name, field.type) for field in msgspec.structs.fields(kind)]
    elif issubclass(kind, enum.Enum):
        return [", ".join(f"`{member.value}`" for member in kind), ""]
    else:
        # A named tuple: an array in JSON.
        fields = list(get_type_hints(kind).items())
    lines = ["| field | type |", "|---|---|"]
    for name, of in fields:
        for part in (of, *get_args(of)):
            if isinstance(part, type) and part.__module__.startswith("askance."):
                parts[part.__name__] = part
        spelt = str(of.__name__ if isinstance(of, type) and not get_args(of) else of).replace("|", "or")
        spelt = re.sub(r"\w*[.]?Annotated\[(\w+), .*\]", r"\1", spelt)
        spelt = re.sub(r"(askance|typing)[.](\w+[.])*", "", spelt)
        lines.append(f"| `{name}` | {spelt} |")
    return [*lines, ""]


def flat(text: str | None) -> str:
    """On one line."""
    return " ".join((text or "").split())


def cell(text: str | None) -> str:
    """On one line, without what ends a table's cell."""
    return flat(text).replace("|", "\\|")


def pages() -> dict[str, str]:
    """Each page's path below this folder, and its text."""
    found = {
        f"{page.__name__}.md": GENERATED + page().rstrip() + "\n" for page in (settings, metrics, commands, topics)
    }
    for name, (kind, _) in TOPICS.items():
        schema = msgspec.json.format(msgspec.json.encode(msgspec.json.schema(kind)), indent=2)
        found[f"schemas/{name}.json"] = schema.decode() + "\n"
    return found


def main() -> None:
    """Write the pages, or say which are stale."""
    stale = []
    for name, text in pages().items():
        path = FOLDER / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and stale:
        sys.exit(f"stale: {', '.join(stale)}; run `make reference`")


if __name__ == "__main__":
    main()
