"""Every setting, in one tree: `askance.yaml`, overridden by the environment, overridden by flags.

An unknown key is an error that names the nearest known one. No setting holds a secret: the teacher's API key is read
from the environment variable that `teacher.api_key_env` names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


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


class Section(BaseModel):
    """A part of the configuration: immutable, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SourceConfig(Section):
    """Where documents come from."""

    path: str = "-"
    """A file of documents, one a line; `-` is standard input."""
    format: Literal["jsonl", "text"] = "jsonl"
    """`jsonl`: one JSON object a line; `text`: each line is a document."""
    text_field: str = "text"
    """The JSON field that holds the text."""
    id_field: str = "id"
    """The JSON field that holds the identifier; where a document has none, its coordinates are its identifier."""
    topic: str | None = None
    """The stream's name in every draw; default: the file's name without its ending."""
    follow: bool = False
    """Wait for more lines at the end of the file, as `tail -f` does."""
    rate: Annotated[float, Field(ge=0.0)] | None = None
    """Documents per second at most; 0 is as fast as possible. Default: `askance run` plays a finite file at 1,000 a
    second, so that students can learn while it plays; everything else is as fast as possible."""
    max_document_bytes: Annotated[int, Field(ge=1)] = 1_048_576
    """A longer line becomes a dead letter."""


class SinkConfig(Section):
    """Where predictions go."""

    path: str = "-"
    """A JSONL file; `-` is standard output (which a crash cannot take back: at least once, not exactly once)."""
    dead_letters: str | None = None
    """Default: `dead-letters.jsonl` beside the predictions file, or in the state folder with standard output."""


class StudentConfig(Section):
    """The model that answers."""

    kind: Literal["logistic"] = "logistic"
    """The student family."""
    bits: Annotated[int, Field(ge=8, le=24)] = 18
    """Features are hashed to 2^bits buckets."""
    ngram_max: Annotated[int, Field(ge=1, le=5)] = 2
    """Word n-grams up to this length."""


class GateConfig(Section):
    """How uncertainty becomes the probability of asking the teacher."""

    measure: Literal["entropy", "margin", "least_confidence"] = "entropy"
    """The uncertainty measure."""
    exponent: Annotated[float, Field(ge=0.0)] = 1.0
    """Sharpens (above 1) or flattens (below 1) the preference for uncertain documents."""
    floor: Share | None = None
    """Exploration floor: every document's least probability of being asked about. Default: a twentieth of
    `budget.share`, so that 5 % of the teacher's calls are spread evenly (0 with the budget `m-raru`)."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Keys every draw, together with the record's coordinates."""


class BudgetConfig(Section):
    """How often the teacher may be asked."""

    kind: Literal["share", "per_second", "m-raru"] = "share"
    """`share` of documents, queries `per_second`, or `m-raru`: no budget, the probability is the uncertainty itself."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """Part of all documents the teacher is asked about."""
    per_second: Positive = 1.0
    """Queries per second."""
    advance: Annotated[int, Field(ge=0)] = 100
    """Queries lent ahead of the share so that the first student comes early; paid back over `horizon` documents."""
    horizon: Annotated[int, Field(ge=1)] = 5_000
    """Over how many documents what was asked too much or too little is made up for."""
    max_pending: Annotated[int, Field(ge=1)] = 10_000
    """The gate closes (propensity 0, recorded as such) while this many queries wait for the teacher."""


class TeacherConfig(Section):
    """Who is asked."""

    kind: Literal["none", "replay", "openai"] = "none"
    """`replay`: labels recorded in a file; `openai`: any OpenAI-compatible endpoint; `none`: nobody, and
    `askance classify` only keeps the queries until a teacher is named."""
    labels: Annotated[tuple[str, ...] | None, AfterValidator(_distinct)] = None
    """The label set."""
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
    replay_path: str | None = None
    """`replay`: the JSONL file with the recorded labels; default: the input file."""
    replay_field: str | None = None
    """`replay`: the field that holds the label; default: the `teachers` list, or else `label`."""
    latency_ms: Annotated[float, Field(ge=0.0)] = 0.0
    """`replay`: how long an answer takes."""


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
    """What the teacher may cost. A call is counted at its worst before it is made, so no cap is ever exceeded."""

    prices: dict[str, PriceConfig] = Field(default_factory=dict)
    """Model to its price, over and above the built-in list; a model without one is counted in tokens only."""
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


class TrainConfig(Section):
    """When and how students are trained."""

    first_at: Annotated[int, Field(ge=2)] = 64
    """Labels before the first training."""
    growth: Annotated[float, Field(ge=1.0)] = 1.3
    """Train again when the labels have grown by this factor."""
    every: Annotated[int, Field(ge=1)] | None = None
    """Train again every so many new labels, instead of geometrically."""
    every_seconds: Positive | None = None
    """Also train when so much time has passed and there is any new label."""
    holdout_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Part of the labels, chosen by document text, that is never trained on."""
    promote: Literal["unless_worse", "not_worse_by", "improves"] = "unless_worse"
    """What makes a new version the live one: that the held-out labels do not show it to be worse, that they show it to
    be worse by less than `train.not_worse_by`, or that they show it to be better."""
    not_worse_by: Share = 0.005
    """Agreement that the rule `not_worse_by` may at most give up."""
    parity_tolerance: Positive = 1e-4
    """A version is refused when any probability on the holdout differs from the trained model's by more."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """For whatever in training is random."""


class _Bootstrap(Section):
    servers: str | None = None
    """`host:port,host:port`; set, the workers run on Kafka instead of files."""


class _Security(Section):
    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How the brokers are spoken to."""


class _Sasl(Section):
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    """How to log in. The secret comes from the environment: `KAFKA_SASL_PASSWORD` or, with OAUTHBEARER,
    `KAFKA_SASL_TOKEN`; or from the file that the same name with `_FILE` behind it names."""
    username: str | None = None
    """The user's name."""


class _Location(Section):
    location: str | None = None
    """A file in PEM form: the authority's certificate, the client's certificate, or its key (whose password comes from
    `KAFKA_SSL_KEY_PASSWORD`)."""


class _Identification(Section):
    algorithm: Literal["https", "none"] = "https"
    """`none` does not check that the broker's certificate is for its host name."""


class _Endpoint(Section):
    identification: _Identification = _Identification()


class _Ssl(Section):
    ca: _Location = _Location()
    certificate: _Location = _Location()
    key: _Location = _Location()
    endpoint: _Endpoint = _Endpoint()


class _Instance(Section):
    id: str | None = None
    """Static membership: a restart within the session timeout causes no rebalance. One name a process."""


class _Group(Section):
    id: str = "askance"
    """The consumer group of `classify`; `teach` uses this name with `-teach` behind it."""
    instance: _Instance = _Instance()


class _Timeout(Section):
    ms: Annotated[int, Field(ge=1)]
    """A worker that the group has not heard of for `session.timeout.ms` loses its partitions; at a rebalance a batch
    under way has `rebalance.timeout.ms` to be delivered."""


class _Session(Section):
    timeout: _Timeout = _Timeout(ms=10_000)


class _Rebalance(Section):
    timeout: _Timeout = _Timeout(ms=60_000)


class _Compression(Section):
    type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """Of what is produced; every kind is read."""


class _Offset(Section):
    reset: Literal["earliest", "latest"] = "earliest"
    """Where a group without committed offsets begins."""


class _Auto(Section):
    offset: _Offset = _Offset()


class KafkaConfig(Section):
    """Kafka's own settings under Kafka's own names, and the topics."""

    bootstrap: _Bootstrap = _Bootstrap()
    security: _Security = _Security()
    sasl: _Sasl = _Sasl()
    ssl: _Ssl = _Ssl()
    group: _Group = _Group()
    session: _Session = _Session()
    rebalance: _Rebalance = _Rebalance()
    compression: _Compression = _Compression()
    auto: _Auto = _Auto()
    documents: tuple[str, ...] = ("documents",)
    """The topics to classify."""
    predictions: str = "askance.predictions"
    """Where predictions go, with the document's key and headers, to the partition of the document's number."""
    queries: str = "askance.queries"
    """Where accepted documents go."""
    labels: str = "askance.labels"
    """Where the teacher's labels go."""
    dead_letters: str = "askance.dead-letters"
    """Where records that could not be processed go."""
    delivery: Literal["at_least_once", "exactly_once"] = "exactly_once"
    """`exactly_once`: outputs and offsets are one transaction; read the outputs with `read_committed`."""
    stall_seconds: Positive = 60.0
    """A consumer that has lag and has got nothing for so long is rebuilt."""


class GuardConfig(Section):
    """When the live version is taken back, and when a drift of the stream is told; local runs only for now."""

    enabled: bool = True
    """Go back to the version before the live one as soon as that one is shown to be worse than what it was promoted
    on, scores documents with numbers that are none, or answers quite differently than the one before it."""
    tolerance: Share = 0.02
    """Agreement that the live version may lie below what it was promoted on."""
    jump: Share = 0.5
    """Largest change of the class shares from one version to the next, in total variation (the part of the documents
    whose answer would have to change), unless the held-out labels showed the next one to be better."""
    documents: Annotated[int, Field(ge=100)] = 4096
    """Class shares are compared between so many documents, for jumps and for drift."""
    drift: Share = 0.1
    """Change of the class shares or of the uncertainties, in total variation, that makes a drift alarm."""
    miss: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    """Probability that a version's stream which does not change ever raises a drift alarm."""
    interval_seconds: Positive = 2.0
    """How often to look."""


class Config(Section):
    """All settings."""

    state: Path = Path("askance-state")
    """The folder with the ledger (`ledger.db`) and the registry (`registry/`)."""
    batch: Annotated[int, Field(ge=1, le=65_536)] = 512
    """Documents scored together at most."""
    linger_ms: Annotated[float, Field(ge=0.0)] = 20.0
    """How long a batch waits for its first document."""
    source: SourceConfig = SourceConfig()
    sink: SinkConfig = SinkConfig()
    student: StudentConfig = StudentConfig()
    gate: GateConfig = GateConfig()
    budget: BudgetConfig = BudgetConfig()
    teacher: TeacherConfig = TeacherConfig()
    spend: SpendConfig = SpendConfig()
    train: TrainConfig = TrainConfig()
    guard: GuardConfig = GuardConfig()
    kafka: KafkaConfig = KafkaConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.budget.kind == "share" and self.gate.floor is not None and self.gate.floor > self.budget.share:
            msg = (
                f"gate.floor is {self.gate.floor:g}, above budget.share {self.budget.share:g}: the floor alone would "
                "spend more than the budget; lower the floor or raise the share"
            )
            raise ValueError(msg)
        if self.source.path == "-" and self.source.follow:
            msg = "source.follow needs a file: standard input is followed anyway; drop it"
            raise ValueError(msg)
        if self.teacher.labels and self.teacher.labels_from_field:
            msg = "teacher.labels and teacher.labels_from_field exclude each other: keep one"
            raise ValueError(msg)
        return self

    @property
    def floor(self) -> float:
        """The exploration floor in force."""
        if self.gate.floor is not None:
            return self.gate.floor
        return self.budget.share / 20 if self.budget.kind == "share" else 0.0
