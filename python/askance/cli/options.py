"""The flags that several commands share.

A parameter is named after the setting it overrides, with `__` for the dot: `budget__share` sets `budget.share`. That
is how `askance.cli.run` tells settings from other flags, so a flag needs no second table.
"""

# No `from __future__ import annotations` here and in `main`: typer reads the annotations when a command is called.
from pathlib import Path
from typing import Annotated

from typer import Option

from askance.cli.commands.completion import completing

_DOCUMENTS = "Documents and predictions"
_GATE = "Gate and budget"
_TEACHER = "Teacher"
_RUN = "This run"

Input = Annotated[
    str | None,
    Option("--input", "-i", metavar="FILE", help="Documents, one a line; - is stdin.", rich_help_panel=_DOCUMENTS),
]
Output = Annotated[
    str | None,
    Option("--output", "-o", metavar="FILE", help="Predictions, JSONL; - is stdout.", rich_help_panel=_DOCUMENTS),
]
DeadLetters = Annotated[
    str | None,
    Option(
        "--dead-letters", metavar="FILE", help="Documents that could not be read, and why.", rich_help_panel=_DOCUMENTS
    ),
]
Format = Annotated[
    str | None,
    Option(
        "--format",
        metavar="jsonl|text",
        autocompletion=completing("jsonl", "text"),
        help="How documents are written.",
        rich_help_panel=_DOCUMENTS,
    ),
]
Follow = Annotated[
    bool | None,
    Option("--follow/--no-follow", "-f", help="Wait for more lines at the file's end.", rich_help_panel=_DOCUMENTS),
]
TextField = Annotated[
    str | None, Option("--text-field", metavar="NAME", help="JSON field with the text.", rich_help_panel=_DOCUMENTS)
]
IdField = Annotated[
    str | None, Option("--id-field", metavar="NAME", help="JSON field with the identifier.", rich_help_panel=_DOCUMENTS)
]
Topic = Annotated[
    str | None, Option("--topic", metavar="NAME", help="The stream's name in every draw.", rich_help_panel=_DOCUMENTS)
]
Rate = Annotated[
    float | None,
    Option("--rate", metavar="N", help="Documents per second at most; 0: no limit.", rich_help_panel=_DOCUMENTS),
]

Share = Annotated[
    float | None,
    Option("--share", metavar="PART", help="Part of the documents the teacher is asked about.", rich_help_panel=_GATE),
]
PerSecond = Annotated[
    float | None, Option("--per-second", metavar="N", help="Or: so many queries per second.", rich_help_panel=_GATE)
]
MRaru = Annotated[
    bool, Option("--m-raru", help="Or: no budget, ask with probability = uncertainty.", rich_help_panel=_GATE)
]
Measure = Annotated[
    str | None,
    Option(
        "--measure",
        metavar="NAME",
        autocompletion=completing("entropy", "margin", "least_confidence", "random", "vote_entropy", "consensus_kl"),
        help="entropy, margin, least_confidence, random, vote_entropy or consensus_kl.",
        rich_help_panel=_GATE,
    ),
]
Seed = Annotated[int | None, Option("--seed", metavar="N", help="Keys every draw.", rich_help_panel=_GATE)]

Teacher = Annotated[
    str | None,
    Option(
        "--teacher",
        metavar="none|replay|openai|human",
        autocompletion=completing("none", "replay", "openai", "human"),
        help="Who is asked.",
        rich_help_panel=_TEACHER,
    ),
]
Labels = Annotated[
    str | None,
    Option(
        "--labels",
        metavar="A,B,C|@FILE",
        help="The label set, or a file with a label a line.",
        rich_help_panel=_TEACHER,
    ),
]
LabelsFromField = Annotated[
    str | None,
    Option(
        "--labels-from-field",
        metavar="NAME",
        help="Or: the distinct values of this field of the file.",
        rich_help_panel=_TEACHER,
    ),
]
Task = Annotated[
    str | None,
    Option("--task", metavar="TEXT", help="What the prompt asks for, in a sentence.", rich_help_panel=_TEACHER),
]
Model = Annotated[
    str | None,
    Option(
        "--model",
        "--replay-model",
        metavar="NAME",
        help="The teacher's model, or whose recorded answers to use.",
        rich_help_panel=_TEACHER,
    ),
]
BaseUrl = Annotated[
    str | None, Option("--base-url", metavar="URL", help="OpenAI-compatible endpoint.", rich_help_panel=_TEACHER)
]
Concurrency = Annotated[
    int | None, Option("--concurrency", metavar="N", help="Calls under way at once.", rich_help_panel=_TEACHER)
]
ReplayFile = Annotated[
    str | None,
    Option("--replay-file", metavar="FILE", help="Recorded labels; default: the input.", rich_help_panel=_TEACHER),
]
ReplayField = Annotated[
    str | None, Option("--replay-field", metavar="NAME", help="Field with the label.", rich_help_panel=_TEACHER)
]

Augment = Annotated[
    bool | None,
    Option(
        "--augment/--no-augment",
        help="Have the teacher write documents for the weakest classes (PGKD-style).",
        rich_help_panel=_TEACHER,
    ),
]

BootstrapServers = Annotated[
    str | None,
    Option(
        "--bootstrap-servers",
        metavar="HOST:PORT",
        help="Kafka instead of files; topics and the rest under kafka: in the settings.",
        rich_help_panel=_RUN,
    ),
]
From = Annotated[
    str | None,
    Option(
        "--from", metavar="PLACE", help="Where to begin: an offset, a time (ISO 8601), earliest.", rich_help_panel=_RUN
    ),
]
To = Annotated[
    str | None,
    Option("--to", metavar="PLACE", help="Where to end, exclusive: an offset, a time, latest.", rich_help_panel=_RUN),
]
State = Annotated[
    Path | None,
    Option("--state", metavar="FOLDER", help="Ledger and registry; default: askance-state.", rich_help_panel=_RUN),
]
ConfigFile = Annotated[
    Path | None,
    Option("--config", "-c", metavar="FILE", help="Settings; default: askance.yaml if there.", rich_help_panel=_RUN),
]
Assignments = Annotated[
    list[str] | None,
    Option("--set", metavar="KEY=VALUE", help="Any other setting: --set train.first_at=40.", rich_help_panel=_RUN),
]
Page = Annotated[
    bool | None,
    Option("--page/--no-page", help="Show the run on a live page; page.port says where.", rich_help_panel=_RUN),
]
Once = Annotated[bool, Option("--once", help="Stop when nothing is left to do.", rich_help_panel=_RUN)]
Quiet = Annotated[bool, Option("--quiet", "-q", help="No progress, warnings only.", rich_help_panel=_RUN)]
Json = Annotated[bool, Option("--json", help="Print JSON, for another program.", rich_help_panel=_RUN)]
