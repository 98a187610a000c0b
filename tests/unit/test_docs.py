"""The top-level pages name only what exists: every command, flag, target, file and link in them is looked up."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from askance.cli.main import app
from askance.keys import KEYS, SECTIONS, variable
from askance.stream.kafka import letters

ROOT = Path(__file__).parents[2]
# Written from the program by docs/reference.py, and checked whole below.
GENERATED = {"docs/settings.md", "docs/metrics.md", "docs/commands.md", "docs/topics.md"}
SITE = tuple(sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")))
PAGES = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "deploy/README.md", "benchmarks/README.md"),
    *(page for page in SITE if page not in GENERATED),
)
BASES = (ROOT, ROOT / "python" / "askance", ROOT / "docs")
# What a run makes or a user brings: named in the pages, not in the repository.
ELSEWHERE = {
    *("askance.yaml", "askance-report.html", "askance-state", "predictions.jsonl", "dead-letters.jsonl"),
    *("documents.jsonl", "tickets.jsonl", "labels.txt", "ledger.db", "registry/", "student.onnx", "manifest.json"),
    "page.db",
    "directions.json",
    *(".venv", "target", ".venv/bin/activate", "benchmarks/output/labels"),
    *(
        "tokenizer.json",
        "encoder.onnx",
        "model.onnx",
        "onnx/model.onnx",
        "config.json",
        "embeddings/",
    ),
}
SUFFIXES = "py pyi rs md toml txt yaml yml json jsonl html svg sql db onnx".split()  # noqa: SIM905 - reads better


def fences(page: str) -> list[str]:
    return re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


def spans(page: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def commands(page: str) -> list[list[str]]:
    """Every shell command of the page, as words."""
    lines = list(spans(page))
    for fence in fences(page):
        without_heredocs = re.sub(r"<<'(\w+)'\n.*?^\1$", "", fence, flags=re.MULTILINE | re.DOTALL)
        lines += without_heredocs.replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        if not re.match(r"(\$ )?(\w+=\S* )*(askance|make|\S+/askance)\s", line + " "):
            continue
        parts = re.split(r"\s(?:&&|\|\||;|\|)\s", line.removeprefix("$ "))
        found += [shlex.split(part, comments=True) for part in parts]
    return [words for words in found if words]


def complaint(words: list[str]) -> str | None:
    """What is wrong with a command, or None."""
    words = list(itertools.dropwhile(lambda word: re.match(r"\w+=", word), words))
    if not words or words[0].rpartition("/")[2] not in {"askance", "make"}:
        return None
    return wrong_target(words[1:]) if words[0] == "make" else wrong_flag(words[1:])


def wrong_target(words: list[str]) -> str | None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][\w-]*):", text, flags=re.MULTILINE))
    for word in words:
        if "=" in word or word.startswith("-") or "*" in word or word in targets:
            continue
        if not (word.startswith("bench-") and (ROOT / "benchmarks" / f"{word.removeprefix('bench-')}.py").exists()):
            return f"make {word}: no such target"
    return None


def wrong_flag(words: list[str]) -> str | None:
    command: Any = typer.main.get_command(app)
    name = "askance"
    for word in words:
        flag = word.partition("=")[0]
        if word in {"…", "...", "-h", "--help"}:
            continue
        if word.startswith("-"):
            known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
            if flag not in known and word != "-":
                return f"{name}: no flag {flag}"
        elif hasattr(command, "commands"):
            for alternative in word.split("|"):
                if alternative not in command.commands:
                    return f"{name}: no command {alternative}"
                inner = command.commands[alternative]
            command, name = inner, f"{name} {word}"
    return None


def expanded(text: str) -> list[str]:
    """The paths of `rules/{gate,budget}.py`.

    >>> expanded("a/{b,c}.py")
    ['a/b.py', 'a/c.py']
    """
    match = re.search(r"\{([^{}]*)\}", text)
    if not match:
        return [text]
    return [
        path
        for choice in match[1].split(",")
        for path in expanded(text[: match.start()] + choice + text[match.end() :])
    ]


def paths(page: str) -> list[str]:
    """Every file and folder the page names."""
    found = []
    for span in spans(page):
        is_path = re.fullmatch(r"[\w.{},*-]+(/[\w.{},*-]+)*/?", span) and not span.startswith(("-", "..."))
        if is_path and ("/" in span or span.rpartition(".")[2] in SUFFIXES or (ROOT / span).exists()):
            found += expanded(span)
    for fence in fences(page):
        found += re.findall(r"(?<![\w./-])(?:python|rust|tests|benchmarks|docs|deploy)/[\w./-]+", fence)
    return [path for path in found if path not in ELSEWHERE]


def read(page: str) -> str:
    """The page as it is shown: without its comments."""
    return re.sub(r"<!--.*?-->", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_flag_exists(page: str) -> None:
    complaints = [problem for words in commands(read(page)) if (problem := complaint(words))]

    assert not complaints


@pytest.mark.parametrize("page", PAGES)
def test_every_file_exists(page: str) -> None:
    missing = [path for path in paths(read(page)) if not any(list(base.glob(path.rstrip("/"))) for base in BASES)]

    assert not missing


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)\s#]+)[^)]*\)|src=\"([^\"]+)\"", read(page))
    local = [link for pair in links for link in pair if link and not re.match(r"https?:", link)]

    assert not [link for link in local if not (ROOT / page).parent.joinpath(link).exists()]


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_every_environment_variable_is_a_setting(page: str) -> None:
    known = {variable(key) for key in (*KEYS, *SECTIONS)} | {
        "ASKANCE_SECTION__KEY",
        "ASKANCE_TEST_KAFKA",
        "ASKANCE_TEST_CHROMIUM",
    }

    assert set(re.findall(r"\bASKANCE_\w+", read(page))) <= known


def test_the_examples_of_the_help_are_right() -> None:
    def walk(command: Any) -> list[str]:
        inner = [line for each in getattr(command, "commands", {}).values() for line in walk(each)]
        return [command.epilog or "", *inner]

    examples = [line for line in walk(typer.main.get_command(app)) if line]
    words = [found for example in examples for found in commands(f"```bash\n{example.partition(': ')[2]}\n```")]

    assert len(words) >= 13
    assert [problem for found in words if (problem := complaint(found))] == []


def test_the_reference_pages_are_what_the_program_says() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "docs" / "reference.py", "--check"], capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_headers_of_a_dead_letter_are_those_of_the_reference() -> None:
    _, _, after = read("docs/topics.md").partition("with the headers")

    assert tuple(re.findall(r"`([\w-]+)`", after.partition("added")[0])) == letters._ADDED


def test_every_page_of_the_site_is_in_its_table_of_contents() -> None:
    listed = {f"docs/{page}" for page in re.findall(r"[\w/-]+\.md", read("mkdocs.yml"))}

    assert listed == set(SITE)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    requirements = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}  # type: ignore[index]

    table = read("ARCHITECTURE.md").partition("## Dependencies")[2]
    assert [name for name in sorted(names) if name not in table] == []


def test_every_package_is_pinned_exactly_and_nothing_else_is_said() -> None:
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]

    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("`askance rum`", "no command rum"),
        ("`askance models list|shw`", "no command shw"),
        ("```bash\naskance run \\\n  --shar 0.1\n```", "no flag --shar"),
        ("```bash\nA=b askance init && askance run --nope\n```", "no flag --nope"),
        ("`make dmo`", "make dmo"),
        ("`make bench-nothing`", "make bench-nothing"),
    ],
)
def test_a_wrong_command_is_found(text: str, says: str) -> None:
    complaints = [problem for words in commands(text) if (problem := complaint(words))]

    assert len(complaints) == 1
    assert says in complaints[0]


def test_a_missing_file_is_found() -> None:
    page = "`rules/{gate,nope}.py` `nope.md` `Makefile` `u^g` `kill -9` `1e-4`\n```bash\npython tests/nope.py\n```"

    assert [path for path in paths(page) if "nope" in path] == ["rules/nope.py", "nope.md", "tests/nope.py"]
    assert "Makefile" in paths(page)
