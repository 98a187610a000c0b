"""The report is one page that loads nothing, whatever text is in it."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

import pytest

from askance.charts import Plot, text, ticks
from askance.manifest import Estimate
from askance.report import ClassRow, Finding, RunReport, VersionRow, Window, render

VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = [
    "</title><script>alert(1)</script>",
    '" onload="alert(1)',
    "' style='color:red",
    "<!-- --><![CDATA[",
    "&lt;b&gt; &amp;",
    "$title ${about} $$ $",
    "{braces} %s %(name)s",
    "\x00\x1b[31m\x7f\x85\ud800",
    "\u202eright to left",
    "x" * 5_000,
    "https://example.org/a.js",
    "",
]


class Page(HTMLParser):
    """Fails on a tag that is not closed in order; remembers tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=max(0.0, value - 0.1), high=min(1.0, value + 0.1), documents=50, effective=20.0)


def report(said: str = "plain") -> RunReport:
    return RunReport(
        title=f"askance {said}",
        about=(f"about {said}", said),
        documents=1_000,
        teacher_calls=100,
        seconds=5.0,
        budget_share=0.1,
        accuracy=estimate(0.75),
        agreement=estimate(0.8),
        windows=tuple(
            Window(
                start=100 * place, documents=100, accepted=10, accuracy=estimate(0.5 + place / 40) if place else None
            )
            for place in range(10)
        ),
        versions=(
            VersionRow(f"v1{said}", 80, 20, estimate(0.5), promoted=True, why=said, live_from=150, answered=850),
            VersionRow(f"v2{said}", 120, 30, None, promoted=True, why=said, live_from=None, answered=0),
            VersionRow(f"v3{said}", 160, 40, estimate(0.95), promoted=False, why=said, live_from=None, answered=0),
        ),
        classes=(
            ClassRow(f"a{said}", 500, 50, 100, 80, mistaken_for=said),
            ClassRow(f"b{said}", 0, 0, 0, 0, mistaken_for=None),
        ),
        findings=(Finding(holds=True, what=f"good {said}"), Finding(holds=False, what=f"bad {said}")),
    )


EMPTY = RunReport(
    title="empty",
    about=(),
    documents=0,
    teacher_calls=0,
    seconds=0.0,
    budget_share=None,
    accuracy=None,
    agreement=None,
    windows=(),
    versions=(),
)


def test_the_page_holds_what_the_run_came_to() -> None:
    page = Page(render(report()))
    said = " ".join(page.text)
    for expected in (
        "1,000",
        "90.0%",
        "75.0%",
        "200/s",
        "v1plain",
        "80 of 100 (80%)",
        "too few labels",
        "budget 10.0%",
    ):
        assert expected in said
    assert page.tags.count("svg") == 3
    assert [one for one in page.text if one in "✓✗"] == ["✓", "✗"]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: repr(hostile[:20]))
def test_no_text_becomes_markup_and_none_is_lost(hostile: str) -> None:
    rendered = render(report(hostile))
    page, plain = Page(rendered), Page(render(report()))
    assert page.tags == plain.tags
    names = [(tag, name) for tag, name, _ in page.attributes]
    assert names == [(tag, name) for tag, name, _ in plain.attributes]
    rendered.encode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", rendered)
    if hostile.isprintable():
        assert f"about {hostile}" in page.text


@pytest.mark.parametrize("page", [render(report()), render(report("https://example.org/a.js")), render(EMPTY)])
def test_the_page_loads_nothing(page: str) -> None:
    parsed = Page(page)
    assert {"script", "link", "img", "iframe", "object", "embed", "base", "a", "use", "image"}.isdisjoint(parsed.tags)
    assert {"src", "href", "srcset", "xlink:href", "action", "style"}.isdisjoint(
        name for _, name, _ in parsed.attributes
    )
    assert not any(name.startswith("on") for _, name, _ in parsed.attributes)
    (style,) = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in page


def test_a_run_without_anything_still_has_a_page() -> None:
    page = Page(render(EMPTY))
    assert "svg" not in page.tags
    assert "Classes" not in page.text


def test_it_reads_on_a_phone_and_in_the_dark() -> None:
    page = render(report())
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


def test_without_gold_the_page_speaks_of_agreement() -> None:
    known = report()
    unknown = RunReport(
        title="x",
        about=(),
        documents=known.documents,
        teacher_calls=known.teacher_calls,
        seconds=known.seconds,
        budget_share=None,
        accuracy=None,
        agreement=known.agreement,
        windows=tuple(Window(start=one.start, documents=100, accepted=10) for one in known.windows),
        versions=known.versions,
    )
    page = Page(render(unknown))
    assert page.tags.count("svg") == 2
    assert any("agrees with the teacher on an estimated 80.0%" in said for said in page.text)


def test_marks_stay_inside_the_chart() -> None:
    page = render(report())
    for numbers in re.findall(r'(?:cx|cy|x|y)="(-?[\d.]+)"', page):
        assert 0 <= float(numbers) <= 560


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.42, 0.43), (0.0, 0.0), (1, 1), (0, 3), (0, 99_999), (0.999, 1.0), (0, 1e9), (0, 0.011)]
)
def test_ticks_are_few_even_and_cover(low: float, high: float) -> None:
    places = ticks(low, high)
    assert 2 <= len(places) <= 6
    assert places[0] <= low
    assert places[-1] >= high
    gaps = [right - left for left, right in itertools.pairwise(places)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps))


def test_a_chart_of_one_point_at_the_origin() -> None:
    plot = Plot("one", x=(0, 0), y=(0.0, 0.0), x_title="x")
    plot.line([(0, 0.0)])
    plot.dot(0, 0.0, "here")
    plot.line([])
    plot.band([])
    assert "nan" not in plot.svg().lower()


def test_text_replaces_what_html_cannot_hold() -> None:
    assert text("a\x00b\ud800\tc\nd<&\"'") == "a\ufffdb\ufffd c d&lt;&amp;&quot;&#x27;"
