"""The live page: its figures are those of the commands and the metrics, and it gives nothing away."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from askance.calls import Caps, Limit, Order, Spend
from askance.config.page import PageConfig
from askance.errors import ConfigError, LedgerError, RegistryError
from askance.ledger import SqliteLedger
from askance.page.feed import MOST_POINTS, Feed
from askance.page.figures import Figures, Flow, Learned, Point, SpendFigures, Standing
from askance.page.flow import Flows, quantile
from askance.page.reader import Reader
from askance.page.web import STATIC, application
from askance.registry import DirectoryRegistry
from askance.rules.estimate import estimate_window
from askance.telemetry import Telemetry, samples
from tests.doubles import query
from tests.paged import LABELS, TOKEN, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def scraped(*workers: Telemetry | None) -> Callable[[str], str]:
    """What is at the addresses 0, 1, …; None: nobody answers."""
    from prometheus_client import generate_latest

    def fetch(address: str) -> str:
        worker = workers[int(address.rpartition("/")[2])]
        if worker is None:
            raise ConnectionRefusedError(111, "refused")
        return generate_latest(worker.registry).decode()

    return fetch


# The workers' metrics


def test_the_workers_metrics_are_added_up_and_compared_with_what_they_said_before() -> None:
    clock, one, other = Clock(), Telemetry(), Telemetry()
    flows = Flows(["http://w/0", "http://w/1"], clock, fetch=scraped(one, other))
    for worker, partition in ((one, 0), (other, 1)):
        worker.documents.inc(100)
        worker.dead_letters.labels(reason="empty_text").inc()
        worker.dead_letters.labels(reason="too_large").inc()
        worker.lag.labels(topic="t", partition=partition).set(7 + partition)
        worker.pending.set(50 + partition)
    first, problems = flows.read()
    assert problems == []
    assert first is not None
    assert (first.documents, first.dead_letters, first.documents_per_second, first.p50_ms) == (200, 4, None, None)
    assert first.pending == 51  # each tells how many wait for all
    assert [(lag.topic, lag.partition, lag.records) for lag in first.lag] == [("t", "0", 7), ("t", "1", 8)]
    clock.now += 2.0
    one.documents.inc(30)
    other.documents.inc(10)
    for _ in range(100):
        one.batches.observe(0.0015)
    second, _ = flows.read()
    assert second is not None
    assert second.documents_per_second == 20.0
    assert second.p50_ms == pytest.approx(1.5)
    assert second.p99_ms == pytest.approx(1.99)


def test_a_worker_that_is_away_is_told_and_the_others_go_on() -> None:
    clock, one = Clock(), Telemetry()
    one.documents.inc(5)
    flow, problems = Flows(["http://w/0", "http://w/1"], clock, fetch=scraped(one, None)).read()
    assert flow is not None
    assert flow.documents == 5
    assert len(problems) == 1
    assert problems[0].startswith("http://w/1 cannot be read: ")
    assert Flows(["http://w/1"], clock, fetch=scraped(one, None)).read()[0] is None


def test_a_worker_that_began_anew_gives_no_negative_rate() -> None:
    clock, workers = Clock(), [Telemetry()]
    workers[0].documents.inc(1_000)
    flows = Flows(["http://w/0"], clock, fetch=lambda address: scraped(*workers)(address))
    flows.read()
    clock.now += 1.0
    workers[0] = Telemetry()
    flow, _ = flows.read()
    assert flow is not None
    assert flow.documents_per_second is None


def test_what_is_no_metrics_is_told() -> None:
    flow, problems = Flows(["http://w/0"], Clock(), fetch=lambda _: "<html>not found</html>").read()
    assert flow is None
    assert len(problems) == 1
    with pytest.raises(ConfigError, match=r"page\.metrics: 'localhost' is no address"):
        Flows(["localhost"], Clock())


def test_a_quantile_lies_in_the_bucket_of_the_true_one() -> None:
    values = np.random.default_rng(5).exponential(0.05, 5_000)
    bounds = [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 1.0, float("inf")]
    buckets = {bound: float((values <= bound).sum()) for bound in bounds}
    for part in (0.01, 0.5, 0.9, 0.99):
        found, true = quantile(buckets, part), float(np.quantile(values, part))
        assert found is not None
        place = np.searchsorted(bounds, true)
        assert (0.0, *bounds)[place] <= found <= bounds[place]
    assert quantile({float("inf"): 0.0}, 0.5) is None
    assert quantile({1.0: 0.0, float("inf"): 4.0}, 0.5) == 1.0


# The ledger and the registry


def reader_of(
    state: Path, clock: Clock, *, caps: Caps | None = None, texts: bool = True, is_view: bool = False
) -> Reader:
    return Reader(
        SqliteLedger(state / "ledger.db"),
        DirectoryRegistry(state / "registry"),
        caps=caps or Caps(),
        shows_texts=texts,
        is_view=is_view,
        clock=clock,
        unix_time=clock,
    )


def test_the_figures_are_those_of_the_estimates(tmp_path: Path) -> None:
    versions = fill(tmp_path, "pear", "plum")
    standing = reader_of(tmp_path, Clock()).read()
    ledger = SqliteLedger(tmp_path / "ledger.db")
    tallies, judged = ledger.tallies(), ledger.judged()
    learned = standing.learned
    assert [row.version for row in learned.versions] == versions[::-1]
    for row in learned.versions:
        expected = estimate_window(tallies, judged, (), version=row.version).agreement
        assert expected is not None
        assert row.agreement == expected
    assert learned.agreement == learned.versions[0].agreement
    assert [row.is_live for row in learned.versions] == [True, False]
    whole = {one.label: one for one in estimate_window(tallies, judged, LABELS).classes}
    assert {row.label: (row.share, row.f1) for row in learned.classes} == {
        label: (one.share, one.f1) for label, one in whole.items()
    }
    assert [row.accepted for row in learned.classes] == [60, 68]
    assert sum(learned.uncertainties) == learned.versions[0].answered == 124
    assert (standing.documents, standing.accepted, standing.live) == (256, 128, versions[1])
    assert [row.text for row in learned.disagreements[:3]] == ["plum", "pear", "wrong 5"]


def test_texts_that_are_not_to_be_shown_are_not_sent(tmp_path: Path) -> None:
    fill(tmp_path, "a secret")
    learned = reader_of(tmp_path, Clock(), texts=False).read().learned
    assert {row.text for row in learned.disagreements} == {None}


def test_every_cap_is_shown_with_what_counts_against_it(tmp_path: Path) -> None:
    fill(tmp_path)
    ledger = SqliteLedger(tmp_path / "ledger.db")
    for _ in range(2):
        run = ledger.begin_run()
    clock = Clock()
    ledger.commit([query(500)], (), None)
    ledger.reserve(Order(calls=1, now=clock(), run=run), lambda _: Spend(1, 10, 3))
    caps = Caps(run=Limit(calls=9), day=Limit(tokens=5), total=Limit(calls=100, nanos=7))
    spend = reader_of(tmp_path, clock, caps=caps).read().spend
    assert spend is not None
    found = {cap.name: (cap.unit, cap.limit, cap.spent) for cap in spend.caps}
    assert found == {
        "run_calls": ("calls", 9, 1),
        "day_tokens": ("tokens", 5, 10),
        "total_calls": ("calls", 100, 1),
        "total_money": ("money", 7, 3),
    }


def test_a_ledger_without_accounts_leaves_the_spend_to_the_metrics(tmp_path: Path) -> None:
    fill(tmp_path)
    reader = reader_of(tmp_path, Clock(), caps=Caps(total=Limit(calls=100)), is_view=True)
    assert reader.read().spend is None
    assert [row.nanos for row in reader.read().learned.classes] == [None, None]
    classify, teach = Telemetry(), Telemetry()
    flows = Flows(["http://w/0", "http://w/1"], Clock(), fetch=scraped(classify, teach))
    feed = feed_of(reader=reader, flows=flows)
    asyncio.run(feed.look())
    teach.calls.labels(outcome="answered").inc(5)
    teach.calls.labels(outcome="timeout").inc()
    teach.tokens.inc(700)
    teach.nanos.inc(9_000)
    figures = asyncio.run(feed.look())
    assert figures.flow is not None
    assert figures.flow.spend == SpendFigures(6, 700, 9_000)
    assert [point.spend for point in feed.points] == [None, (6, 700, 9_000)]


class SlowLedger(SqliteLedger):
    """Of which a look at every label takes 3 seconds of the clock."""

    looks = 0
    clock: Clock

    def judged(self, **window: int | None) -> list:  # type: ignore[type-arg,override]
        self.looks += 1
        self.clock.now += 3.0
        return super().judged(**window)  # type: ignore[arg-type]


def test_looking_at_every_label_takes_a_fifth_of_the_time_at_most_and_nothing_when_nothing_changed(
    tmp_path: Path,
) -> None:
    versions = fill(tmp_path)
    clock = Clock()
    ledger = SlowLedger(tmp_path / "ledger.db")
    ledger.clock = clock
    registry = DirectoryRegistry(tmp_path / "registry")
    arguments = {"caps": Caps(), "shows_texts": True, "is_view": False}
    reader = Reader(ledger, registry, **arguments, clock=clock, unix_time=clock)  # type: ignore[arg-type]
    reader.read()
    registry.promote(versions[0])
    clock.now += 14.9
    assert reader.read().live == versions[0]
    assert ledger.looks == 1
    clock.now += 0.2
    assert reader.read().learned.versions[1].is_live
    assert ledger.looks == 2
    clock.now += 1_000.0
    reader.read()
    assert ledger.looks == 2


# The feed


class Told:
    """Stands in for the reader and the metrics: says what it is told to say."""

    def __init__(self, *told: Standing | Exception) -> None:
        self.told = list(told)

    def read(self) -> Standing:
        said = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        if isinstance(said, Exception):
            raise said
        return said


class ToldFlow:
    def __init__(self, flow: Flow | None = None) -> None:
        self.flow = flow

    def read(self) -> tuple[Flow | None, list[str]]:
        return self.flow, []


def feed_of(*told: Standing | Exception, reader: Reader | None = None, flows: ToldFlow | Flows | None = None) -> Feed:
    return Feed(
        reader or Told(*told),  # type: ignore[arg-type]
        flows or ToldFlow(),  # type: ignore[arg-type]
        title="a test",
        budget_share=0.1,
        may_change=True,
        shows_texts=True,
        interval_seconds=60.0,
        unix_time=Clock(),
    )


async def looked(feed: Feed, times: int) -> Figures:
    for _ in range(times):
        figures = await feed.look()
    return figures


def test_a_swap_is_marked_and_the_first_reading_is_none() -> None:
    feed = feed_of(Standing(live="v1"), Standing(live="v1"), Standing(live="v2"))
    figures = asyncio.run(looked(feed, 4))
    assert [mark.version for mark in figures.marks] == ["v2"]


def test_what_cannot_be_read_is_told_and_the_last_known_stays() -> None:
    feed = feed_of(Standing(live="v1", documents=7), LedgerError("the ledger is locked"))
    figures = asyncio.run(looked(feed, 2))
    assert figures.problems == ("the ledger is locked",)
    assert (figures.standing.documents, figures.marks) == (7, ())


def test_what_was_left_of_a_days_cap_is_told_day_by_day(tmp_path: Path) -> None:
    fill(tmp_path)
    ledger, clock = SqliteLedger(tmp_path / "ledger.db"), Clock()
    ledger.commit([query(offset) for offset in range(500, 505)], (), None)
    reader = reader_of(tmp_path, clock, caps=Caps(day=Limit(tokens=25), total=Limit(calls=100)))
    feed = feed_of(reader=reader)
    for days, calls in ((0, 2), (1, 1), (1, 1)):
        clock.now = 1_000_000.0 + days * 86_400.0
        ledger.reserve(Order(calls=calls, now=clock()), lambda _: Spend(1, 10))
        asyncio.run(feed.look())
    assert [point.left for point in feed.points] == [(5, 98), (15, 97), (5, 96)]


def test_the_ledger_is_read_before_the_metrics_so_that_it_is_ahead_of_them_after_earlier_runs_alone() -> None:
    counted = [0]

    class Counting(Told):
        def read(self) -> Standing:
            return Standing(documents=counted[0])

    class Later(ToldFlow):
        def read(self) -> tuple[Flow | None, list[str]]:
            counted[0] += 7
            return Flow(counted[0], 0, 0, 0, 0, 0), []

    feed = feed_of(reader=Counting(), flows=Later())  # type: ignore[arg-type]
    for _ in range(3):
        figures = asyncio.run(feed.look())
        assert figures.flow is not None
        assert figures.standing.documents is not None
        assert figures.standing.documents < figures.flow.documents


def test_the_charts_past_is_bounded_and_begins_where_the_page_did() -> None:
    feed = feed_of(Standing())
    for at in range(4 * MOST_POINTS):
        feed._remember(Point(at, None, None, None, None, None, None))
    ats = [point.at for point in feed.points]
    assert MOST_POINTS / 2 <= len(ats) <= MOST_POINTS
    assert ats == sorted(ats)
    assert ats[0] <= 2


# Over HTTP


class Changes:
    def __init__(self) -> None:
        self.made: list[str] = []

    def promote(self, version: str) -> None:
        if version == "v9":
            raise RegistryError("there is no version 'v9'")
        self.made.append(version)

    def roll_back(self) -> str:
        self.made.append("back")
        return "v1"


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def client(changes: Changes) -> Iterator[TestClient]:
    yield from serving(changes, TOKEN)


def serving(changes: Changes, token: str | None) -> Iterator[TestClient]:
    feed = feed_of(Standing(live="v2", learned=Learned()))
    hosts = ("0.0.0.0", "Page.example.org")  # as in a container
    app = application(feed, hosts=hosts, token=token, promote=changes.promote, roll_back=changes.roll_back)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def test_every_answer_forbids_what_is_not_the_pages_own(client: TestClient) -> None:
    for path in ("/", "/page.js", "/vendor/uPlot.iife.min.js", "/figures", "/none", "/promote"):
        answer = client.get(path)
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
    assert client.get("/").status_code == 200
    assert client.get("/none").status_code == 404


def test_the_page_names_nothing_that_is_elsewhere() -> None:
    for path in Path(STATIC).rglob("*"):
        if path.suffix in {".html", ".css", ".js"} and "vendor" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert "http:" not in text.replace("http://www.w3.org/2000/svg", "")
            assert "https:" not in text
            assert "innerHTML" not in text
            assert " style=" not in text


def test_another_web_page_in_the_same_browser_can_not_read_it_by_a_name_of_its_own(client: TestClient) -> None:
    assert client.get("/figures").json()["figures"]["standing"]["live"] == "v2"
    for host in ("evil.example", "127.0.0.1.evil.example:9465", "", "[evil.example]", "page.example.org.evil"):
        assert client.get("/figures", headers={"host": host}).status_code == 400
    for host in ("localhost:9465", "192.0.2.7:9465", "[::1]:9465", "[2001:db8::7]", "page.example.org"):
        assert client.get("/figures", headers={"host": host}).status_code == 200
    assert client.post("/rollback", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("host", ["https://page.example.org", "page.example.org:9465", "*", "*.example.org", ""])
def test_what_is_no_hosts_name_is_told(host: str) -> None:
    with pytest.raises(ValidationError, match="is no host's name"):
        PageConfig(hosts=(host,))


@pytest.mark.parametrize("given", [{}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}])
def test_nothing_changes_without_the_token(client: TestClient, changes: Changes, given: dict[str, str]) -> None:
    assert client.post("/promote", json={"version": "v1"}, headers=given).status_code == 401
    assert client.post("/rollback", headers=given).status_code == 401
    assert client.get("/promote", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 404
    assert changes.made == []


def test_with_the_token_versions_are_promoted_and_rolled_back(client: TestClient, changes: Changes) -> None:
    given = {"authorization": f"Bearer {TOKEN}"}
    answer = client.post("/promote", json={"version": "v1"}, headers=given)
    assert (answer.status_code, answer.json()) == (200, {"live": "v2"})
    assert client.post("/rollback", headers=given).status_code == 200
    assert changes.made == ["v1", "back"]
    refused = client.post("/promote", json={"version": "v9"}, headers=given)
    assert (refused.status_code, refused.json()) == (409, {"error": "there is no version 'v9'"})
    assert client.post("/promote", content=b"{}", headers=given).status_code == 400
    assert client.post("/promote", content=b"x" * 5_000, headers=given).status_code == 413


def test_a_page_without_a_token_changes_nothing_whatever_is_sent(changes: Changes) -> None:
    for client in serving(changes, None):
        for sent in ("Bearer ", "Bearer None", ""):
            assert client.post("/rollback", headers={"authorization": sent}).status_code == 403
    assert changes.made == []


# What is vendored


def test_the_vendored_library_is_what_its_record_says() -> None:
    folder = Path(STATIC) / "vendor"
    record = json.loads((folder / "uplot.json").read_text(encoding="utf-8"))
    assert record["integrity"].startswith("sha512-")
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    found.pop("uplot.json")
    assert found == record["files"]
    assert "MIT" in (folder / "uPlot.LICENSE").read_text(encoding="utf-8")


def test_samples_are_those_of_the_registry() -> None:
    telemetry = Telemetry()
    telemetry.calls.labels(outcome="answered").inc(3)
    found = {
        (sample.name, sample.labels.get("outcome")): sample.value
        for sample in samples(scraped(telemetry)("http://w/0"))
    }
    assert found["askance_teacher_calls_total", "answered"] == 3
    assert found["askance_documents_total", None] == 0
