"""Who takes part, how each is started, and what it was given."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import yaml

if TYPE_CHECKING:
    from benchmarks.stream_peers.documents import Models

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ.get("BENCH_CACHE", Path.home() / ".cache" / "askance-bench"))


class Place(NamedTuple):
    """Where a contender works in one round."""

    servers: str
    group: str
    documents: str
    predictions: str
    queries: str
    dead_letters: str
    tallies: str
    folder: Path
    """Its own working folder."""


class Contender(Protocol):
    name: str
    choices: str
    """What a reader has to know to judge the comparison."""
    warm_up_seconds: float
    """Of its outputs' first seconds, so many are not measured, however little is asked for: compilers take theirs."""
    shares: bool
    """Whether two of its processes divide the partitions between them by being of one group."""
    is_exactly_once: bool

    def command(self, place: Place, models: Models) -> list[str]:
        """The process's command line."""


class Askance:
    """`askance classify` with the settings that `askance init` writes, but for the addresses."""

    warm_up_seconds = 0.0
    shares = True

    def __init__(self, delivery: str, latency_target_ms: int | None = None) -> None:
        self._delivery = delivery
        self.is_exactly_once = delivery == "exactly_once"
        self._latency_target_ms = latency_target_ms
        self.name = f"askance, {delivery.replace('_', ' ')}"
        self.choices = (
            f"`askance classify`, kafka.delivery: {delivery}, budget 5 % however many queries wait, every other setting"
            " as it comes"
        )
        if latency_target_ms is not None:
            self.name += f", {latency_target_ms} ms"
            self.choices += f" but latency_target_ms: {latency_target_ms}"

    def command(self, place: Place, models: Models) -> list[str]:
        settings: dict[str, object] = {
            "state": str(models.folder),
            # Nobody answers the queries: without this the gate would close, and spare itself those that follow.
            "budget": {"share": 0.05, "max_pending": 10**7},
            "kafka": {
                "bootstrap": {"servers": place.servers},
                "group": {"id": place.group},
                "documents": [place.documents],
                "predictions": place.predictions,
                "queries": place.queries,
                "dead_letters": place.dead_letters,
                "tallies": place.tallies,
                "delivery": self._delivery,
            },
        }
        if self._latency_target_ms is not None:
            settings["latency_target_ms"] = self._latency_target_ms
        (place.folder / "askance.yaml").write_text(yaml.safe_dump(settings))
        return [sys.executable, "-c", "from askance.cli.main import main; main()", "classify"]


def environment(needs: tuple[str, ...]) -> str:
    """The Python of an environment with these packages, made once."""
    folder = CACHE / needs[0].replace("==", "-")
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        free = {name: value for name, value in os.environ.items() if name not in ("PIP_CONSTRAINT", "VIRTUAL_ENV")}
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *needs], check=True, env=free)
        done.touch()
    return str(python)


class Script:
    """A peer in Python: a module of this folder.

    One with `needs` has an environment of its own, kept in ~/.cache/askance-bench: its versions are not ours. It finds
    askance's kernel all the same.
    """

    warm_up_seconds = 0.0
    is_exactly_once = False

    def __init__(
        self, name: str, module: str, choices: str, *, needs: tuple[str, ...] = (), shares: bool = True
    ) -> None:
        self.name = name
        self.shares = shares
        self.choices = choices
        self._module = module
        self._needs = needs

    def command(self, place: Place, models: Models) -> list[str]:
        paths = [str(ROOT / "python"), str(ROOT)]
        module = f"benchmarks.stream_peers.{self._module}"
        start = f"import sys; sys.path += {paths}; import runpy; runpy.run_module('{module}', run_name='__main__')"
        return [
            environment(self._needs) if self._needs else sys.executable, "-c", start,
            place.servers, place.group, place.documents, place.predictions,
            place.queries, str(models.folder),
        ]  # fmt: skip


class KafkaStreams:
    """A peer in Java: `kafka_streams/Peer.java`, whose jars Maven fetches once."""

    name = "Kafka Streams"
    warm_up_seconds = 10.0
    shares = True
    is_exactly_once = False
    choices = (
        "Kafka Streams 4.1.1 on Java, two stream threads, a record at a time, at least once, no compression, batches of"
        " 512 KiB; onnxruntime 1.22 on the same ONNX file, one session a thread, features and gate in Java; its first"
        " 10 s of output are not measured"
    )

    def command(self, place: Place, models: Models) -> list[str]:
        folder = HERE / "kafka_streams"
        pom = folder / "pom.xml"
        jars = CACHE / f"kafka-streams-{hashlib.sha256(pom.read_bytes()).hexdigest()[:8]}"
        if not jars.exists():
            subprocess.run(
                ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={jars}.new"],
                check=True,
            )
            Path(f"{jars}.new").rename(jars)
        return [
            "java", "-Xmx512m", "-cp", f"{jars}/*", str(folder / "Peer.java"), place.servers, place.group,
            place.documents, place.predictions, place.queries, str(models.version),
        ]  # fmt: skip


ALL: tuple[Contender, ...] = (
    Askance("at_least_once"),
    Askance("exactly_once"),
    Script(
        "scikit-learn loop",
        "sklearn_loop",
        "aiokafka, json, HashingVectorizer (2^18, 1-2-grams) and SGDClassifier(log_loss) on batches of up to 1,000, the"
        " gate in NumPy, `send` a record (no compression, which is aiokafka's default and the fastest here; idempotent,"
        " acks=all, 5 ms), commit after each batch: at least once",
        # It ends with an error when a second one joins, like every loop that does not handle a rebalance.
        shares=False,
    ),
    Script(
        "Quix Streams",
        "quix",
        "Quix Streams 3.28.1, a message at a time, at least once, commits each second; onnxruntime on the same ONNX"
        " file, features and gate by askance's kernel",
        needs=("quixstreams==3.28.1", f"onnxruntime=={version('onnxruntime')}", f"msgspec=={version('msgspec')}"),
    ),
    KafkaStreams(),
    Script(
        "Bytewax",
        "wax",
        "Bytewax 0.21.1 with its own connectors on librdkafka, batches of up to 1,000 by `flat_map_batch`, recovery"
        " snapshots each second (at least once), its sink flushes each batch; onnxruntime on the same ONNX file,"
        " features and gate by askance's kernel, JSON by msgspec",
        needs=(
            "bytewax==0.21.1",
            "confluent-kafka==2.16.1",
            f"onnxruntime=={version('onnxruntime')}",
            f"msgspec=={version('msgspec')}",
        ),
        shares=False,
    ),
)

ON_MINILM: tuple[Contender, ...] = (
    Askance("at_least_once"),
    Askance("at_least_once", latency_target_ms=1500),
    Script(
        "MiniLM loop",
        "minilm_loop",
        "aiokafka, json, tokenizers and onnxruntime on the same files, one thread, batches of up to 32 texts of as many"
        " tokens, the gate in NumPy, `send` a record, commit after each batch: at least once",
    ),
)
