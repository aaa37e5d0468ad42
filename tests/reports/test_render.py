"""Every output says what the one summary says, and can be read by whoever has to read it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from reports.charts import Chart, run_charts
from reports.episodes import episodes_frame
from reports.formatting import DASH, MINUS, change, interval, percent, seconds
from reports.metrics import summarise
from reports.render import to_html, to_junit, to_markdown
from reports.summary import Summary
from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import LogEventKind, Verdict
from resilience.lab.run_directory import RunStatus

from ..support.log_builder import LogBuilder, clean_history, experiment, sample_history

_VOID = {"meta", "br", "hr", "img", "link", "input", "image", "path", "use", "rect", "circle"}


def _summary(history: LogBuilder) -> tuple[Summary, list[Chart]]:
    log = history.log()
    episodes = episodes_frame(log)
    return summarise(log, episodes), run_charts(log, episodes)


class _Page(HTMLParser):
    """Collects tags, and complains of any that is closed out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.seen)


@pytest.fixture(scope="module", name="show")
def _show() -> tuple[Summary, str, _Page]:
    summary, charts = _summary(sample_history(clients=20))
    html = to_html(summary, charts)
    page = _Page()
    page.feed(html)
    return summary, html, page


def test_the_page_needs_nothing_from_anywhere(show: tuple[Summary, str, _Page]) -> None:
    """No script, no address, no import: references lead to the page itself or carry their data."""
    _, html, page = show
    assert page.count("script") == page.count("link") == page.count("iframe") == 0
    assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]|@import|url\((?!#)", html, re.IGNORECASE)
    links = [value for _, attrs in page.seen for name, value in attrs.items() if name in ("src", "href", "xlink:href")]
    assert links
    assert all(value is not None and value.startswith(("#", "data:image/png;base64,")) for value in links)


def test_the_page_is_well_formed_and_small(show: tuple[Summary, str, _Page]) -> None:
    """Every tag is closed in order, and the whole fits a mail."""
    _, html, page = show
    assert page.open == []
    assert len(html) < 2_000_000


def test_the_page_is_accessible(show: tuple[Summary, str, _Page]) -> None:
    """A language, a title, one first heading, captions on all tables, words for all charts, headed rows."""
    _, _, page = show
    assert next(attrs for tag, attrs in page.seen if tag == "html").get("lang") == "en"
    assert page.count("title") >= 1
    assert page.count("h1") == 1
    assert page.count("table") == page.count("caption") > 4
    described = [attrs.get("aria-label") for tag, attrs in page.seen if attrs.get("role") == "img"]
    assert len(described) == page.count("figure") == 6
    assert all(described)
    assert all(attrs.get("scope") for tag, attrs in page.seen if tag == "th")


def test_the_verdict_comes_first(show: tuple[Summary, str, _Page]) -> None:
    """Before any table or chart, in words, with numerator and denominator."""
    summary, html, _ = show
    top = html[: html.index("<table")]
    rate = summary.success_rate
    assert summary.verdict.value.upper() in top
    assert f"{rate.restored} of {rate.affected} came back" in top


def test_text_from_a_run_is_escaped() -> None:
    """A cause that looks like markup stays text."""
    history = clean_history(clients=2)
    history.server(40.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED)
    history.people["c1"].session = "<script>alert(1)</script>"
    history.server(41.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED).server(
        42.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED
    )
    summary, _ = _summary(history)
    assert "<script" not in to_html(summary, [])


def test_a_run_without_anything_still_has_a_page() -> None:
    """No event, no chart, and still a verdict in words."""
    summary, charts = _summary(LogBuilder(experiment(), status=RunStatus.HARNESS_FAILED))
    html = to_html(summary, charts)
    assert charts == []
    assert summary.exit_code is ExitCode.HARNESS
    assert "could not be carried out" in html


def test_a_run_nobody_returned_from_can_be_drawn() -> None:
    """All gave up: empty curves, no median, and no crash."""
    history = LogBuilder(experiment())
    for i in range(5):
        history.join(f"c{i}")
    history.fault("0.0:cut@alpha", 10.0, 10.0)
    for i in range(5):
        history.lose(f"c{i}", 10.0).dial(f"c{i}", 10.5).give_up(f"c{i}", 12.0)
    summary, charts = _summary(history.end())
    assert summary.success_rate.value == 0.0
    assert len(charts) == 5


def test_markdown_says_it_all_in_one_comment(show: tuple[Summary, str, _Page]) -> None:
    """Verdict in the first line, every expectation with value and target, the command that repeats it."""
    summary, _, _ = show
    text = to_markdown(summary)
    assert text.startswith(f"## ? {summary.verdict.value.upper()}")
    assert all(f"`{item.metric}`" in text for item in summary.expectations)
    assert "`resilience sim run tiny --lane model --seed 1`" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| `")}
    assert len(widths) == 1


def test_junit_is_read_by_a_parser_and_never_green_by_doubt(show: tuple[Summary, str, _Page]) -> None:
    """One case per expectation and invariant; a failure for each miss, an error for each problem."""
    summary, _, _ = show
    suite = ET.fromstring(to_junit(summary)).find("testsuite")  # noqa: S314 - our own bytes
    assert suite is not None
    judged = [item.verdict for item in summary.expectations] + [item.verdict for item in summary.invariants]
    assert len(suite.findall("testcase")) == int(suite.get("tests", 0)) == len(judged) + 1
    assert len(suite.findall(".//failure")) == int(suite.get("failures", -1)) == judged.count(Verdict.FAIL)
    assert len(suite.findall(".//error")) == int(suite.get("errors", -1)) == judged.count(Verdict.INCONCLUSIVE)


@pytest.mark.parametrize(
    "value, shown",
    [
        (None, DASH),
        (1.0, "100 %"),
        (0.99999, "> 99.99 %"),
        (0.00001, "< 0.01 %"),
        (0.0, "0 %"),
        (0.9967, "99.67 %"),
    ],
)
def test_a_percentage_never_rounds_a_miss_away(value: float | None, shown: str) -> None:
    """One in a hundred thousand lost is not 100 %."""
    assert percent(value) == shown


def test_numbers_carry_their_units() -> None:
    """Seconds, milliseconds, points, and open ends."""
    assert [seconds(s) for s in (0.0043, 0.231, 12.4, 0.0, None)] == ["4.3 ms", "0.231 s", "12.40 s", "0.000 s", DASH]
    assert interval("excess_s.mean", 1.0, None) == "1.00 s … no upper bound"
    assert change("success_rate", -0.01) == f"{MINUS}1.00 points"
    assert change("excess_s.mean", 0.5) == "+0.500 s"
