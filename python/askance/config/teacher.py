"""Who is asked, and what that may cost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from askance.config.base import Positive, Section, Share
from askance.labelset import renaming


def _distinct(labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if labels is None:
        return None
    if len(labels) < 2:
        msg = "a label set needs at least two labels"
        raise ValueError(msg)
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        msg = f"these labels stand twice: {', '.join(twice)}"
        raise ValueError(msg)
    return labels


class FirstTeacherConfig(Section):
    """A cheaper model that is asked first; `teacher.model` is asked only where this one is not sure enough."""

    model: str | None = None
    """Its name; without one `teacher.model` is asked about everything."""
    base_url: str | None = None
    """Its endpoint; default: `teacher.base_url`."""
    api_key_env: str | None = None
    """The environment variable that holds its key; default: `teacher.api_key_env`."""
    agreement: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """Its answer stands where `teacher.model` agrees at least so often with answers of that confidence, as audits and
    the answers that were asked for twice have shown."""
    confidence: Share = 0.9
    """Its answer stands from this confidence on where too few were asked for twice to tell."""


class TeacherConfig(Section):
    """Who is asked."""

    kind: Literal["none", "replay", "openai", "human"] = "none"
    """`replay`: labels recorded in a file; `openai`: any OpenAI-compatible endpoint; `human`: people, through
    `askance labels export` and `import`; `none`: nobody, and `askance classify` only keeps the queries until a teacher
    is named."""
    first: FirstTeacherConfig = FirstTeacherConfig()
    labels: Annotated[tuple[str, ...] | None, AfterValidator(_distinct)] = None
    """The label set."""
    renamed: dict[str, str] = Field(default_factory=dict)
    """Former label to what it is called now; several with one name are merged. Labels that were paid for under a former
    name are learnt from, and counted in every estimate, under the present one."""
    labels_from_field: str | None = None
    """Take the label set from the distinct values of this field of the input (or replay) file instead."""
    task: str = "Classify the document."
    """What the prompt asks for, in a sentence or two."""
    descriptions: dict[str, str] = Field(default_factory=dict)
    """Label to a line that explains it, for the prompt."""
    model: str | None = None
    """`openai`: the model's name. `replay`: which recorded model's answers to use."""
    base_url: str | None = None
    """`openai`: the endpoint, e.g. http://127.0.0.1:8000/v1; default: OpenAI's own."""
    api_key_env: str = "OPENAI_API_KEY"
    """`openai`: the environment variable that holds the key."""
    timeout_seconds: Positive = 30.0
    """`openai`: for one call."""
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 16
    """Calls under way at once at most; fewer while the server fails or turns calls away."""
    requests_per_minute: Positive | None = None
    """Calls begun per minute at most."""
    tokens_per_minute: Positive | None = None
    """Tokens asked for per minute at most."""
    patience_seconds: Positive = 60.0
    """How long a run waits at its end for a teacher that fails; what is left then waits for the next run."""
    documents_per_call: Annotated[int, Field(ge=1, le=100)] = 1
    """`openai`: how many documents one call asks about."""
    max_document_characters: Annotated[int, Field(ge=1)] | None = None
    """`openai`: longer documents are cut off here; default: sent whole."""
    max_reply_tokens: Annotated[int, Field(ge=1)] | None = None
    """`openai`: the longest reply for one document; default: the longest label's. Models that think need more."""
    abstains: bool = False
    """`openai`: the teacher may answer that none of the labels fits; such an answer is kept and never trained on."""
    rationale: bool = False
    """`openai`: ask for a short reason before the label, and keep it."""
    examples: Annotated[int, Field(ge=0, le=100)] = 0
    """`openai`: how many labelled documents of the ledger the prompt shows, taken when the run begins."""
    confidence: Literal["auto", "none"] = "auto"
    """`openai`: `auto` takes the label's log-probability, else the agreement of `samples`, else what the model states
    of itself; `none` does not ask."""
    audit_share: Share = 0.01
    """`openai`: part of the labels that is asked for again, to see how far the teacher agrees with itself."""
    samples: Annotated[int, Field(ge=0, le=20)] = 0
    """`openai`: where there are no log-probabilities, ask so many times more, warm, and take the share that agrees."""
    reuse: bool = True
    """`openai`: a text that was answered before, by the same model under the same prompt, is not paid for again."""
    near_duplicates: Annotated[float, Field(ge=0.5, le=1.0)] | None = None
    """From this likeness on (the share of three-word runs that two documents have in common) a document is not asked
    about, but gets its near-duplicate's label; default: every document that is not the same is asked about."""
    replay_path: str | None = None
    """`replay`: the JSONL file with the recorded labels; default: the input file."""
    replay_field: str | None = None
    """`replay`: the field that holds the label; default: the `teachers` list, or else `label`."""
    latency_ms: Annotated[float, Field(ge=0.0)] = 0.0
    """`replay`: how long an answer takes."""

    @model_validator(mode="after")
    def _check_renamed(self) -> TeacherConfig:
        renaming(self.renamed, self.labels)
        return self

    @property
    def present_names(self) -> dict[str, str]:
        """Former label to what it is called now, through all the names in between."""
        return renaming(self.renamed)


class PriceConfig(Section):
    """Of one model, in money per million tokens."""

    input: Annotated[float, Field(ge=0.0)]
    """Prompt tokens."""
    output: Annotated[float, Field(ge=0.0)]
    """Completion tokens."""
    cached_input: Annotated[float, Field(ge=0.0)] | None = None
    """Prompt tokens that the provider had cached; default: as `input`."""


Cap = Annotated[int, Field(ge=0)] | None
MoneyCap = Annotated[float, Field(ge=0.0)] | None


class SpendConfig(Section):
    """What the teacher may cost. A call is counted at its worst before it is made, so no cap is ever exceeded.

    On Kafka a `teach` worker that holds m of the M partitions has m/M of each cap, split anew at every rebalance; what
    others spent on partitions that it takes over later does not count with it.
    """

    prices: dict[str, PriceConfig] = Field(default_factory=dict)
    """Model to its price, over and above the built-in list; a model without one is counted in tokens only."""
    batch_price: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """What a token costs in the provider's batch API (`askance batch`), as a part of the price."""
    run_money: MoneyCap = None
    """Money per run of the teach worker, in the prices' currency."""
    run_tokens: Cap = None
    """Tokens per run."""
    run_calls: Cap = None
    """Calls per run."""
    day_money: MoneyCap = None
    """Money per day (UTC)."""
    day_tokens: Cap = None
    """Tokens per day."""
    day_calls: Cap = None
    """Calls per day."""
    total_money: MoneyCap = None
    """Money in total, over all runs with this state."""
    total_tokens: Cap = None
    """Tokens in total."""
    total_calls: Cap = None
    """Calls in total."""
