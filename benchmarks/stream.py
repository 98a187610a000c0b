"""From Kafka to Kafka, beside what a user might run instead: `make bench-stream`.

One real broker, one topic of documents, the same outputs (a prediction for every document, a query for one in twenty),
and every contender a process of its own, or several of one group, in interleaved rounds: `askance classify` at least
once and exactly once, and the peers of `stream_peers/`. What is timed is on the broker's clock: the output topics are
stamped with the time of append, so the rate of a round is that of the records appended between the warm-up's end and
the stretch's, whoever wrote them. After each round the predictions are read back with `read_committed`: of every
partition the documents up to some offset must have exactly one prediction each, and the labels must be right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.stream_peers import contenders, documents
from benchmarks.stream_peers.rounds import PARTITIONS, Result, feed, run
from deploy.kafka.broker import Cluster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# It complains about a broker that is still starting.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

REPORTED_CLASSES = 20
LEAST = "askance, at least once"
ONCE = "askance, exactly once"


def ratio(results: Mapping[str, Sequence[Result]], one: str, other: str) -> float | None:
    """The median over the rounds of how many times as fast `one` was as `other`; None where one of them did not run."""
    if not results.get(one) or not results.get(other):
        return None
    rates = zip(results[one], results[other], strict=True)
    return round(statistics.median(mine.rate / theirs.rate for mine, theirs in rates), 3)


def measure(cluster: Cluster, classes: int, processes: int, given: argparse.Namespace) -> dict[str, list[Result]]:
    """Every contender's results, one a round."""
    is_linear = given.student == "linear"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = (documents.fit if is_linear else documents.fit_on_minilm)(folder, classes)
        topic = f"documents-{classes}-{processes}"
        truth = asyncio.run(feed(cluster.bootstrap_servers, topic, classes, given.documents))
        chosen = [
            each
            for each in (contenders.ALL if is_linear else contenders.ON_MINILM)
            if (processes == 1 or each.shares)
            and (not given.only or any(each.name.startswith(one) for one in given.only))
        ]
        results: dict[str, list[Result]] = {each.name: [] for each in chosen}
        for number in range(1, given.rounds + 1):
            for contender in chosen if number % 2 else reversed(chosen):
                result = run(
                    cluster.bootstrap_servers, contender, models, topic, truth, folder, number, seconds=given.seconds,
                    warm_up_seconds=given.warm_up_seconds, processes=processes, student=given.student,
                    profile=given.profile,
                )  # fmt: skip
                results[contender.name].append(result)
                print(f"K={classes}, {processes} p., round {number}  {contender.name:<24}{result}", flush=True)
    return results


def table(classes: int, processes: int, results: Mapping[str, Sequence[Result]]) -> None:
    print(f"\nmedians at {classes} classes, {processes} process{'es' if processes > 1 else ''} each:")
    for name, found in results.items():
        rate, efficiency = (statistics.median(getattr(each, what) for each in found) for what in ("rate", "per_cpu"))
        rss = max(each.rss_mb for each in found)
        against = ratio(results, LEAST, name)
        beside = "" if against is None or name == LEAST else f"   {LEAST} is {against:.2f} times as fast"
        print(f"  {name:<24}{rate:>10,.0f} documents/s{efficiency:>10,.0f} a CPU-second{rss:>6.0f} MB{beside}")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[REPORTED_CLASSES], help="the label sets' sizes")
    parser.add_argument("--processes", type=int, nargs="+", default=[1], help="that each contender runs as")
    parser.add_argument("--student", choices=["linear", "minilm"], default="linear", help="what is served")
    parser.add_argument("--documents", type=int, default=1_500_000, help="on the topic")
    parser.add_argument("--rounds", type=int, default=5, help="of each contender")
    parser.add_argument("--seconds", type=float, default=5.0, help="that are measured in a round")
    parser.add_argument("--warm-up-seconds", type=float, default=1.5, help="after the first output that are not")
    parser.add_argument("--only", nargs="+", help="contenders whose names begin like this")
    parser.add_argument("--profile", type=Path, help="folder for py-spy's recordings of the Python contenders")
    given = parser.parse_args()
    for contender in contenders.ALL if given.student == "linear" else contenders.ON_MINILM:
        print(f"{contender.name}: {contender.choices}")
    print(f"\ndocuments on {PARTITIONS} partitions, one broker\n", flush=True)
    cases = [(classes, processes) for classes in given.classes for processes in given.processes]
    with Cluster() as cluster:
        of_case = {case: measure(cluster, *case, given) for case in cases}
    for case, results in of_case.items():
        table(*case, results)
    results = of_case.get((REPORTED_CLASSES, 1), of_case[cases[-1]])
    figures = {
        "bench": "stream",
        "ratio_vs_sklearn_loop": ratio(results, LEAST, "scikit-learn loop"),
        "ratio_vs_quix": ratio(results, LEAST, "Quix Streams"),
        "ratio_vs_kafka_streams": ratio(results, LEAST, "Kafka Streams"),
        "ratio_vs_bytewax": ratio(results, LEAST, "Bytewax"),
        "exactly_once_over_at_least_once": ratio(results, ONCE, LEAST),
        "rss_mb": round(max((each.rss_mb for name in (LEAST, ONCE) for each in results.get(name, ())), default=0.0)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
