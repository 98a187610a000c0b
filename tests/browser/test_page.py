"""The live page in a real browser, headless: what a person sees is what the metrics say, and nothing else runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from askance.calls import Charge
from askance.endpoint import serve
from askance.health import Health
from askance.registry import DirectoryRegistry
from askance.rules.spend import money
from askance.telemetry import Telemetry, samples
from tests.paged import COMMAND, TOKEN, fill, publish, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

ASSETS = Path(__file__).parents[2] / "docs" / "assets"
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    '"><svg onload=window.hacked=3>',
    "</td></tr></table><iframe srcdoc='<script>parent.hacked=4</script>'></iframe>",
    "javascript:window.hacked=5",
    "\u202eright to left\u0000\x1b[31m",
)


# Remembers in which charts a line was drawn with the dots of a swap.
DOTTED = """
const dotted = new Set();
const stroke = CanvasRenderingContext2D.prototype.stroke;
CanvasRenderingContext2D.prototype.stroke = function (...path) {
  const [on, off, ...more] = this.getLineDash();
  if (off === 2 * on && !more.length) dotted.add(this.canvas.closest('[id^=chart-]')?.id);
  document.documentElement.dataset.dotted = [...dotted].sort().join(' ');
  return stroke.apply(this, path);
};
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = os.environ.get("ASKANCE_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        remedy = "the browser tests need Chromium: apt-get install chromium, or name one in ASKANCE_TEST_CHROMIUM"
        if os.environ.get("CI") == "true":
            pytest.fail(remedy, pytrace=False)
        pytest.skip(remedy)
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not start for root, nor in most containers; the page is ours.
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def allowed() -> list[str]:
    """What the browser may complain of: patterns. A refused change and a server that is gone are news to it."""
    return [r"status of 4(01|09)", "ERR_CONNECTION_REFUSED"]


@pytest.fixture
def page(browser: Browser, allowed: list[str]) -> Iterator[Page]:
    yield from watched(browser, allowed)


def watched(browser: Browser, allowed: list[str], **settings: Any) -> Iterator[Page]:
    """A page that may ask for nothing elsewhere and complain of nothing that is not allowed."""
    context = browser.new_context(**settings)
    page = context.new_page()
    page.set_default_timeout(30_000)
    complaints: list[str] = []
    elsewhere: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if "//127.0.0.1:" in request.url else elsewhere.append(request.url))
    yield page
    context.close()
    assert [text for text in complaints if not any(re.search(pattern, text) for pattern in allowed)] == []
    assert elsewhere == []


def number(page: Page, place: str) -> float:
    return float(page.locator(f"#{place}").inner_text().replace(",", ""))


def metrics(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as reply:
        told = samples(reply.read().decode())
    return {sample.name: sample.value for sample in told if not sample.labels}


def test_the_page_says_what_the_metrics_say(page: Page, tmp_path: Path) -> None:
    fill(tmp_path / "state")
    telemetry = Telemetry()
    telemetry.documents.inc(12_345)
    telemetry.accepted.inc(617)
    telemetry.dead_letters.labels(reason="empty_text").inc(3)
    telemetry.swaps.inc(4)
    telemetry.lag.labels(topic="tickets", partition=0).set(17)
    with (
        serve("127.0.0.1", 0, telemetry, Health(time.monotonic)) as workers,
        shown(tmp_path, "--metrics", f"{workers}/metrics") as address,
    ):
        page.goto(address)
        expect(page.locator("#documents")).to_have_text("12,345")
        told = metrics(workers)
        assert number(page, "documents") == told["askance_documents_total"]
        assert number(page, "dead") == 3
        assert page.locator("#share").inner_text() == f"{100 * told['askance_accepted_total'] / 12_345:.1f}%"
        assert page.locator("#swaps").inner_text() == "4 swapped in"
        assert page.locator("#lag tbody").inner_text().split() == ["tickets/0", "17"]
        telemetry.documents.inc(55)
        expect(page.locator("#documents")).to_have_text("12,400")
        assert metrics(workers)["askance_documents_total"] == 12_400
        expect(page.locator("#chart-rate canvas")).to_be_visible()
    expect(page.locator("#connection")).to_have_text("the page's server is away; trying again")
    expect(page.locator("#documents")).to_have_text("12,400")
    page.goto("about:blank")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Of a worker that works: a batch of one document every so often, each in 1 to 2 ms."""
    telemetry, ended = Telemetry(), threading.Event()

    def work() -> None:
        while not ended.wait(0.005):
            telemetry.documents.inc()
            telemetry.batches.observe(0.0015)

    thread = threading.Thread(target=work)
    thread.start()
    yield telemetry
    ended.set()
    thread.join()


def test_rate_latency_and_without_a_ledger_the_spend_are_what_the_metrics_count(
    page: Page, telemetry: Telemetry, tmp_path: Path
) -> None:
    publish(DirectoryRegistry(tmp_path / "state" / "registry"), 0)
    with (
        serve("127.0.0.1", 0, telemetry, Health(time.monotonic)) as workers,
        shown(tmp_path, "--metrics", f"{workers}/metrics") as address,
    ):
        page.goto(address)
        # Half of what lies between 1 and 2 ms is below their middle.
        expect(page.locator("#p50")).to_have_text("1.5 ms")
        expect(page.locator("#p99")).to_have_text("median; 99 % in 1.99 ms")
        expect(page.locator("#rate")).to_have_text(re.compile(r"[1-9]\d*"))
        expect(page.locator("#chart-latency canvas")).to_be_visible()
        expect(page.locator("#spent")).to_have_text("–")
        telemetry.calls.labels(outcome="answered").inc(31)
        telemetry.tokens.inc(4_000)
        telemetry.nanos.inc(5_000_000_000)
        expect(page.locator("#spent")).to_have_text("5.00")
        expect(page.locator("#spent-note")).to_have_text("31 calls, 4,000 tokens since the workers began")
        expect(page.locator("#chart-spend canvas")).to_be_visible()
        assert page.locator("#caps li").count() == 0
        page.goto("about:blank")


def test_the_page_says_what_the_commands_say(page: Page, tmp_path: Path) -> None:
    charge = Charge("given", calls=3, prompt_tokens=900, completion_tokens=33, nanos=1_234_567_890)
    _, live = fill(tmp_path / "state", charges=(charge,))
    whole, of_live = (told(tmp_path, "estimate", *version) for version in ((), ("--version", "live")))
    spend = told(tmp_path, "spend", "--by", "label")
    costs = {row["key"]: row["nanos"] for row in spend["rows"]}
    with shown(tmp_path, "--set", "spend.total_tokens=5000") as address:
        page.goto(address)
        expect(page.locator("#live")).to_have_text(live)
        assert page.locator("#agreement").inner_text() == percent(of_live["agreement"]["value"])
        assert page.locator("#agreement-note").inner_text() == f"with the teacher, {interval(of_live['agreement'])}"
        row = page.locator("#version-table tbody tr", has_text=live).locator("td")
        assert held(of_live["agreement"]) in row.all_inner_texts()
        assert page.locator("#spent").inner_text() == money(spend["total"]["nanos"]) == "2.47"
        assert page.locator("#spent-note").inner_text() == "6 calls, 1,866 tokens"
        assert page.locator("#caps").inner_text() == f"spend.total_tokens: {spend['total']['tokens']:,} of 5,000"
        shown_classes = page.locator("#classes tbody tr").all()
        assert len(shown_classes) == len(whole["classes"]) == 2
        for line, one in zip(shown_classes, whole["classes"], strict=True):
            accepted = one["recall"]["documents"]
            figures = [held(one["share"]), held(one["f1"]), f"{accepted}", money(costs[one["label"]])]
            assert line.locator("th, td").all_inner_texts() == [one["label"], *figures]
        said = f"Of the {of_live['documents']} documents that {live} has scored."
        expect(page.locator("#uncertainty-caption")).to_have_text(said)
        # All of them lie in the bar from 0.50 to 0.55.
        for at, documents in ((0.525, f"{of_live['documents']}"), (0.775, "0")):
            chart = page.locator("#chart-uncertainty .u-over")
            chart.scroll_into_view_if_needed()
            box = chart.bounding_box()
            assert box is not None
            page.mouse.move(box["x"] + at * box["width"], box["y"] + box["height"] / 2)
            expect(page.locator("#chart-uncertainty .u-value").last).to_have_text(documents)
        page.goto("about:blank")


def told(folder: Path, *command: str) -> Any:
    """What a command says of the state in `folder`."""
    said = subprocess.run(
        [*COMMAND, *command, "--state", "state", "--json"], cwd=folder, capture_output=True, text=True, check=True
    )
    return json.loads(said.stdout)


def percent(part: float) -> str:
    return f"{100 * part:.1f}%"


def interval(estimate: dict[str, float]) -> str:
    return f"{percent(estimate['low'])} to {percent(estimate['high'])}"


def held(estimate: dict[str, float]) -> str:
    return f"{percent(estimate['value'])} ({interval(estimate)})"


def test_hostile_text_is_text(page: Page, allowed: list[str], tmp_path: Path) -> None:
    fill(tmp_path / "state", *HOSTILE)
    with shown(tmp_path) as address:
        page.goto(address)
        expect(page.locator("#disagreements tbody tr")).to_have_count(12)
        shown_texts = page.locator("#disagreements td.why").all_text_contents()
        assert shown_texts[: len(HOSTILE)] == list(HOSTILE[::-1])
        page.wait_for_timeout(500)  # what would run, would have by now
        assert page.evaluate("window.hacked") is None
        assert page.locator("#disagreements :is(script, img, svg, iframe, a)").count() == 0
        # The policy alone would stop it, too.
        allowed += ["inline event handler violates", "status of 404"]
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked = 6\">')")
        page.wait_for_timeout(500)
        assert page.evaluate("window.hacked") is None


def test_texts_can_be_hidden_and_stay_so(page: Page, tmp_path: Path) -> None:
    fill(tmp_path / "state", "a secret")
    with shown(tmp_path) as address:
        page.goto(address)
        first = page.locator("#disagreements td.why").first
        expect(first).to_have_text("a secret")
        page.get_by_label("Show texts").uncheck()
        expect(first).to_have_text("hidden")
        page.reload()
        expect(first).to_have_text("hidden")


def test_a_swap_appears_and_promoting_needs_the_token(page: Page, tmp_path: Path) -> None:
    old, live = fill(tmp_path / "state")
    page.add_init_script(DOTTED)
    with shown(tmp_path) as address:
        page.goto(address)
        expect(page.locator("#live")).to_have_text(live)
        expect(page.locator("#chart-agreement canvas")).to_be_visible()
        expect(page.locator("html")).not_to_have_attribute("data-dotted", re.compile("chart"))
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Roll back").click()
        expect(page.locator("#told")).to_have_text("the token is wrong")
        expect(page.locator("#live")).to_have_text(live)
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Roll back").click()
        expect(page.locator("#told")).to_have_text(f"{old} is live")
        expect(page.locator("#live")).to_have_text(old)
        expect(page.locator("#version-table tr", has_text=old).locator("td.live")).to_have_text("live")
        # Marked in every chart over time that has something to show, at the moment it happened.
        expect(page.locator("html")).to_have_attribute("data-dotted", "chart-agreement chart-share chart-spend")
        # These versions' files are none that could be loaded.
        page.get_by_role("button", name=f"Promote {live}").click()
        expect(page.locator("#told")).to_contain_text(live)
        expect(page.locator("#live")).to_have_text(old)


def test_without_a_token_it_is_read_only(page: Page, tmp_path: Path) -> None:
    fill(tmp_path / "state")
    with shown(tmp_path, token=None) as address:
        page.goto(address)
        expect(page.locator("#told")).to_contain_text("read-only")
        for button in page.locator("button").all():
            expect(button).to_be_disabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_is_legible_by_day_and_night(browser: Browser, tmp_path: Path, scheme: str) -> None:
    fill(tmp_path / "state", "a long text " * 30)
    with shown(tmp_path) as address:
        for page in watched(browser, [], viewport={"width": 360, "height": 740}, color_scheme=scheme):
            page.goto(address)
            expect(page.locator("#version-table tbody tr")).to_have_count(2)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            for place in ("h1", "#documents", ".soft", "#classes td", "#disagreements td.why", "#rollback"):
                assert contrast(page, place) >= 4.5, place


def contrast(page: Page, place: str) -> float:
    """The WCAG contrast ratio of a text with what is behind it."""
    colours = page.locator(place).first.evaluate(
        """node => {
          let behind = node;
          while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
          return [getComputedStyle(node).color, getComputedStyle(behind).backgroundColor];
        }"""
    )
    levels = []
    for colour in colours:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        levels.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    low, high = sorted(levels)
    return (high + 0.05) / (low + 0.05)


def test_everything_can_be_reached_and_done_with_the_keyboard(page: Page, tmp_path: Path) -> None:
    old, live = fill(tmp_path / "state")
    with shown(tmp_path) as address:
        page.goto(address)
        expect(page.locator("#live")).to_have_text(live)
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to versions")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_label("Token")).to_be_focused()
        page.keyboard.type(TOKEN)
        page.on("dialog", lambda dialog: dialog.accept())
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#live")).to_have_text(old)
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=f"Promote {live}")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_label("Show texts")).to_be_focused()
        page.keyboard.press("Space")
        expect(page.locator("#disagreements td.why").first).to_have_text("hidden")


def test_the_demo_in_the_browser(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> None:
    """`make demo`'s command, watched to its end; with --screenshots it leaves those of `docs/assets`."""
    screenshots = ASSETS if request.config.getoption("--screenshots") else tmp_path
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*COMMAND, "demo"], cwd=tmp_path, **pipes) as process:  # type: ignore[call-overload]
        try:
            address = next(found[1] for line in process.stderr if (found := re.search(r"page at (http://\S+)", line)))
            for page in watched(browser, [], viewport={"width": 1280, "height": 860}):
                watch_the_demo(page, address, screenshots)
            process.stderr.read()
            assert process.wait(120) == 0
        finally:
            process.kill()


def watch_the_demo(page: Page, address: str, screenshots: Path) -> None:
    page.goto(address)
    first = _live(page, {"none"})
    _live(page, {"none", first})
    assert number(page, "documents") > 0
    documents = page.locator("#documents").inner_text()
    expect(page.locator("#documents")).not_to_have_text(documents)
    expect(page.locator("#version-table tbody tr").nth(1)).to_be_visible()
    expect(page.locator("#chart-uncertainty canvas")).to_be_visible()
    # Some four thousand of its seven thousand documents in; a version that has just gone live has no agreement yet.
    both = "dl:has(#documents:text-matches('^[4-9],')):has(#agreement:text-matches('%'))"
    expect(page.locator(both)).to_be_visible(timeout=120_000)
    expect(page.locator("#documents-note")).to_have_text("")
    page.screenshot(path=screenshots / "page.png")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    expect(page.locator("#chart-rate canvas")).to_be_visible()
    page.screenshot(path=screenshots / "page-phone.png")
    page.goto("about:blank")


def _live(page: Page, before: set[str]) -> str:
    """The live version, once it is none of those."""
    expect(page.locator("#live")).not_to_have_text(re.compile(f"^({'|'.join(sorted(before))})?$"), timeout=120_000)
    return page.locator("#live").inner_text()
