"""Every output shows the one summary and is readable by its consumers."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import msgspec
import pytest

from reports import findings
from reports.formatting import DASH, MINUS, change, interval, percent, pluralise, seconds
from reports.junit import to_junit
from reports.render import SECTIONS, table, to_html, to_json, to_markdown
from reports.summary import Laboratory, ProcessHealth, QuantileBounds, Summary
from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import LogEventKind, Verdict
from resilience.lab.run_directory import RunStatus

from ..support.log_builder import TARGET, LogBuilder, clean_history, experiment, sample_history
from ..support.summaries import failing_history, summary_of

_VOID = {"meta", "br", "hr", "img", "link", "input", "image", "path", "use", "rect", "circle"}


class _Page(HTMLParser):
    """Collects tags, and reports those closed in the wrong order."""

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
    summary, charts = summary_of(sample_history(clients=20))
    html = to_html(summary, charts)
    page = _Page()
    page.feed(html)
    return summary, html, page


def test_the_page_has_no_external_resource(show: tuple[Summary, str, _Page]) -> None:
    """No script, no address, no import: references point into the page or carry their data."""
    _, html, page = show
    assert page.count("script") == page.count("link") == page.count("iframe") == 0
    assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]|@import|url\((?!#)", html, re.IGNORECASE)
    links = [value for _, attrs in page.seen for name, value in attrs.items() if name in ("src", "href", "xlink:href")]
    assert links
    assert all(value is not None and value.startswith("#") for value in links)


def test_the_page_is_well_formed_and_small(show: tuple[Summary, str, _Page]) -> None:
    """Every tag is closed in order, and the page is small enough for a mail."""
    _, html, page = show
    assert page.open == []
    assert len(html) < 2_000_000


def test_the_page_is_accessible(show: tuple[Summary, str, _Page]) -> None:
    """A language, a title, one first heading, captions on all tables, descriptions of all charts, row headings."""
    _, _, page = show
    assert next(attrs for tag, attrs in page.seen if tag == "html").get("lang") == "en"
    assert page.count("title") >= 1
    assert page.count("h1") == 1
    assert page.count("table") == page.count("caption") > 4
    described = [attrs.get("aria-label") for tag, attrs in page.seen if attrs.get("role") == "img"]
    assert len(described) == page.count("figure") == 7
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
    history = clean_history(clients=2)
    history.server(40.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED)
    history.people["c1"].session = "<script>alert(1)</script>"
    history.server(41.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED).server(
        42.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED
    )
    summary, _ = summary_of(history)
    assert "<script" not in to_html(summary, [])


def test_a_run_without_events_has_a_page_with_a_verdict() -> None:
    summary, charts = summary_of(LogBuilder(experiment(), status=RunStatus.HARNESS_FAILED))
    html = to_html(summary, charts)
    assert charts == []
    assert summary.exit_code is ExitCode.HARNESS
    assert "HARNESS FAILED" in html
    assert "This run says nothing about the system: told so." in html


def test_a_run_without_a_return_can_be_drawn() -> None:
    """All clients gave up: empty curves, no median."""
    history = LogBuilder(experiment())
    for i in range(5):
        history.join(f"c{i}")
    history.fault("0.0:cut@alpha", 10.0, 10.0)
    for i in range(5):
        history.lose(f"c{i}", 10.0).dial(f"c{i}", 10.5).give_up(f"c{i}", 12.0)
    summary, charts = summary_of(history.end())
    assert summary.success_rate.value == 0.0
    assert len(charts) == 6


def test_markdown_has_verdict_expectations_and_command(show: tuple[Summary, str, _Page]) -> None:
    summary, _, _ = show
    text = to_markdown(summary)
    assert text.startswith(f"## ✗ {summary.verdict.value.upper()}" if summary.verdict is Verdict.FAIL else "## ?")
    assert all(f"`{item.metric}`" in text for item in summary.expectations)
    assert "`resilience sim run tiny --lane model --seed 1`" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| `")}
    assert len(widths) == 1


def test_junit_parses_and_inconclusive_is_an_error(show: tuple[Summary, str, _Page]) -> None:
    """One case per expectation and invariant; a failure for each miss."""
    summary, _, _ = show
    suite = ET.fromstring(to_junit(summary)).find("testsuite")  # noqa: S314 - our own bytes
    assert suite is not None
    judged = [item.verdict for item in summary.expectations] + [item.verdict for item in summary.invariants]
    judged += [Verdict.PASS, Verdict.PASS, summary.verdict]
    assert len(suite.findall("testcase")) == int(suite.get("tests", 0)) == len(judged)
    assert len(suite.findall(".//failure")) == int(suite.get("failures", -1)) == judged.count(Verdict.FAIL)
    assert len(suite.findall(".//error")) == int(suite.get("errors", -1)) == judged.count(Verdict.INCONCLUSIVE)


def _top(html: str) -> str:
    """The words before the contents list, without markup."""
    words = re.sub(r"<[^>]*>", " ", html[html.index("<header>") : html.index('<nav class="contents"')])
    return " ".join(words.split())


def test_a_fail_names_who_where_and_why_before_anything_else() -> None:
    """Target with value and bound, counterexample, window, cause, participants, command."""
    summary, charts = summary_of(failing_history())
    top = _top(to_html(summary, charts))
    assert re.search(r"success_rate 50 %, at most [\d.]+ % with 95 % confidence, target ≥ 95 %", top)
    assert top.count("target ≥ 95 %") == 1
    assert "n = 40" in to_junit(summary).decode()
    broken = next(item for item in summary.invariants if item.verdict is Verdict.FAIL)
    assert broken.rule in top
    assert " ".join(broken.detail.split()) in top
    assert "20 of 40 affected episodes failed, in 1 window of alpha:" in top
    assert "20 in 0.0:cut@alpha : gave up after 1 dial; the last dial failed: refused." in top
    assert "c01, c03, c05, c07, c09, c11, c13, c15, c17, c19 and 10 more" in top
    assert summary.reproduce in top


def test_all_formats_name_the_failed() -> None:
    summary, charts = summary_of(failing_history())
    for text in (to_html(summary, charts), to_markdown(summary), to_json(summary).decode()):
        assert "the last dial failed: refused" in text
        assert "c01" in text
        assert "0.0:cut@alpha" in text


def test_other_reasons_come_before_targets_and_invariants() -> None:
    """As when the system ended by itself."""
    summary, _ = summary_of(failing_history())
    summary = msgspec.structs.replace(
        summary, reasons=("the server ended by itself (SIGKILL) at 14.0 s", *summary.reasons)
    )
    top = _top(to_html(summary, []))
    assert top.index("ended by itself (SIGKILL) at 14.0 s") < top.index("success_rate 50 %")
    suite = ET.fromstring(to_junit(summary))  # noqa: S314 - our own bytes
    verdict = suite.find(".//testcase[@name='verdict']/failure")
    assert verdict is not None
    assert "SIGKILL" in str(verdict.get("message"))


def test_the_contents_list_leads_to_every_section(show: tuple[Summary, str, _Page]) -> None:
    """And a skip link to the content."""
    _, _, page = show
    ids = [attrs.get("id") for _, attrs in page.seen if attrs.get("id")]
    assert len(ids) == len(set(ids))
    targets = [str(attrs["href"]).removeprefix("#") for tag, attrs in page.seen if tag == "a"]
    assert targets[0] == "content"
    assert set(SECTIONS) - {"pages"} <= set(targets) <= set(ids)  # no page took part


def test_every_picture_has_its_own_numbers() -> None:
    """The words of two runs differ."""
    few, many = (summary_of(sample_history(clients=n))[1] for n in (6, 20))
    for one, other in zip(few, many, strict=True):
        assert re.search(r"\d", one.alt)
        assert one.alt != other.alt


def test_the_headline_block_gives_the_exposure() -> None:
    history = LogBuilder(experiment(clients=3)).join("a").join("b")
    history.fault("0.0:cut@alpha", 10.0, 10.0)
    history.lose("a", 10.0).back("a", 11.0).client(12.0, "b", LogEventKind.PONG_SENT)
    summary, _ = summary_of(history.end())
    top = _top(to_html(summary, []))
    assert "Exposure: of 2 pairs of participant and outage, 1 affected, 1 not exposed." in top


def test_the_tipping_point_is_put_in_words() -> None:
    """Up to which correlation the target is proven, and how many more events it needs."""
    summary, _ = summary_of(clean_history(clients=60))
    rate = msgspec.structs.replace(summary.success_rate, correlation_limit=0.17, events_needed=None)
    proven = _top(to_html(msgspec.structs.replace(summary, success_rate=rate), []))
    above = msgspec.structs.replace(rate, correlation_limit=0.1769)
    assert "is at most 0.176." in findings.proof(msgspec.structs.replace(summary, success_rate=above))
    assert "60 of 60 in 1 event prove 95 % while the within-event correlation is at most 0.17." in proven
    rate = msgspec.structs.replace(summary.success_rate, correlation_limit=None, events_needed=13)
    lacking = _top(to_html(msgspec.structs.replace(summary, success_rate=rate), []))
    assert "do not prove 95 %; 12 more events like these, restored as now, would." in lacking


def test_a_single_narrow_chart_keeps_its_width(show: tuple[Summary, str, _Page]) -> None:
    """A run without affected episodes has one: stretched over the page its letters are as large as headings."""
    (rule,) = re.findall(r"\.pair \{([^}]*)\}", show[1])
    assert "repeat(auto-fill, " in rule


def test_the_page_names_the_methods_that_are_used(show: tuple[Summary, str, _Page]) -> None:
    """Those of the success rate as ``docs/statistics.md`` has them, and the events as they are counted."""
    summary, html, page = show
    text = " ".join(" ".join(page.text).split())
    assert "Wilson" not in html
    assert f"Method: {summary.success_rate.method}." in text
    assert "exact ones on it" in text
    assert f"from {pluralise(summary.success_rate.events, 'fault event')} are not" in text
    assert "the larger of the experiment's stated value and of what the events show" in text


def test_not_exposed_covers_connections_that_bypassed_their_proxy(show: tuple[Summary, str, _Page]) -> None:
    """As the check of the laboratory finds them."""
    assert "or a connection that bypassed its proxy" in show[1]


def test_the_bounds_of_quantiles_are_shown() -> None:
    summary, _ = summary_of(sample_history(clients=20))
    bounds = {"p95": QuantileBounds(low=1.25, high=None)}
    summary = msgspec.structs.replace(
        summary, excess_s=msgspec.structs.replace(summary.excess_s, bounds=bounds, p95=1.5)
    )
    assert "1.25 s … no upper bound" in to_html(summary, [])


def test_the_laboratory_is_always_shown() -> None:
    """Health of each process, failures and doubts; the words stand in the headline block too."""
    summary, _ = summary_of(clean_history(clients=4))
    assert "Laboratory: nothing to object; loop lag not measured; injections at most 0.000 s off plan" in _top(
        to_html(summary, [])
    )
    lab = Laboratory(
        doubts=("worker 1 was late",),
        warnings=("the load was 7",),
        processes=(ProcessHealth(name="worker-1", role="worker", lag_p99=0.45, cpu_s=12.0),),
        throttled_s=3.5,
        load=(0.5, 7.0),
    )
    html = to_html(msgspec.structs.replace(summary, laboratory=lab), [])
    assert "Laboratory: 1 doubt, 1 warning; worst p99 loop lag 0.450 s" in _top(html)
    for words in ("worker 1 was late", "the load was 7", "worker-1", "0.450 s", "stopped the processes for 3.50 s"):
        assert words in html
    assert "worker 1 was late" in to_markdown(msgspec.structs.replace(summary, laboratory=lab))


def test_a_laboratory_that_failed_takes_the_verdict_away() -> None:
    summary, _ = summary_of(clean_history(clients=60))
    assert summary.verdict is Verdict.PASS
    failed = msgspec.structs.replace(summary, laboratory=Laboratory(failures=("events/clients-1.jsonl is missing",)))
    top = _top(to_html(failed, []))
    assert top.startswith(f"{summary.title} ! HARNESS FAILED")
    assert "events/clients-1.jsonl is missing" in top
    assert to_markdown(failed).startswith("## ! HARNESS FAILED")
    suite = ET.fromstring(to_junit(failed))  # noqa: S314 - our own bytes
    assert suite.find(".//testcase[@name='laboratory']/error") is not None


def test_late_injection_is_shown() -> None:
    """A cut planned for 10 s that struck at 13.25 s."""
    history = LogBuilder(experiment()).join("a").fault("0.0:cut@alpha", 13.25, 13.25)
    summary, _ = summary_of(history.lose("a", 13.25).back("a", 14.0).end())
    html = to_html(summary, [])
    assert "injections at most 3.25 s off plan" in _top(html)
    assert "+3.250 s" in html


@pytest.mark.parametrize("status", [RunStatus.HARNESS_FAILED, RunStatus.INTERRUPTED, RunStatus.NOT_STARTED])
@pytest.mark.parametrize("build", [lambda: LogBuilder(experiment()), lambda: clean_history(clients=3)])
def test_every_end_of_a_run_has_every_format(status: RunStatus, build: Callable[[], LogBuilder]) -> None:
    """With and without events, with the status in large letters and red or error in JUnit."""
    history = build()
    history.status = status
    summary, charts = summary_of(history)
    word = {RunStatus.INTERRUPTED: "INTERRUPTED", RunStatus.NOT_STARTED: "NOT STARTED"}.get(status, "HARNESS FAILED")
    assert _top(to_html(summary, charts)).startswith(f"{summary.title} ! {word}")
    assert to_markdown(summary).startswith(f"## ! {word}")
    suite = ET.fromstring(to_junit(summary))  # noqa: S314 - our own bytes
    assert suite.find(".//testcase[@name='completed']/error") is not None
    assert msgspec.json.decode(to_json(summary), type=Summary) == summary


def test_a_run_without_expectations_or_faults_has_every_format() -> None:
    summary, charts = summary_of(LogBuilder(experiment(faults=())).join("a").end())
    html = to_html(summary, charts)
    assert "The experiment states none" in html
    assert "No participant was in a fault window." in html
    assert to_markdown(summary)
    assert to_junit(summary)


def test_junit_is_valid_xml_with_unique_names_and_the_run_s_time() -> None:
    """Control characters are removed, equal expectations are numbered."""
    history = clean_history(clients=3)
    history.experiment = msgspec.structs.replace(history.experiment, expectations=(TARGET, TARGET))
    summary, _ = summary_of(history)
    check = msgspec.structs.replace(
        summary.invariants[0], verdict=Verdict.FAIL, detail="a\x00b\x1b[31m\ud800 \ufffe<&>"
    )
    skipped = msgspec.structs.replace(summary.invariants[1], verdict=Verdict.NOT_APPLICABLE, detail="")
    summary = msgspec.structs.replace(summary, invariants=(check, skipped))
    suite = ET.fromstring(to_junit(summary)).find("testsuite")  # noqa: S314 - our own bytes
    assert suite is not None
    names = [(case.get("classname"), case.get("name")) for case in suite.iter("testcase")]
    assert len(names) == len(set(names))
    assert "success_rate ≥ 95 % (2)" in [name for _, name in names]
    assert suite.get("time") == "1.500"
    assert int(suite.get("skipped", 0)) == 1
    failure = suite.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "ab[31m <&>"


def test_text_files_hold_no_control_character() -> None:
    """Neither the page nor the Markdown; both can be encoded whatever a counterexample holds."""
    summary, _ = summary_of(clean_history(clients=3))
    check = msgspec.structs.replace(summary.invariants[0], verdict=Verdict.FAIL, detail="a\x00b\x1b[31m\ud800")
    summary = msgspec.structs.replace(summary, verdict=Verdict.FAIL, invariants=(check,))
    for text in (to_html(summary, []), to_markdown(summary)):
        assert "ab[31m" in text
        assert text.encode()
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text)


def test_a_counterexample_with_line_breaks_keeps_the_markdown_table() -> None:
    assert "| one two \\| three |" in table(["a"], [["one\ntwo | three"]])


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
