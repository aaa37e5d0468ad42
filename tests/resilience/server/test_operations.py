"""The page for those who run the server says what the server says: every metric, line and alert, and nothing beyond."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import click
import pytest
from structlog.testing import capture_logs

from resilience.cli import root as commands
from resilience.config import ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.eventlog.writer import EventWriter
from resilience.protocol.effects import Record
from resilience.server import serve
from resilience.server.log_writer import CAPACITY_LINES, CLOSE_TIMEOUT_S, GATHER_S
from resilience.server.logs import DROPPED, LINES, STRAY
from resilience.server.metrics import Metrics
from resilience.server.pages import ServerView, not_ready
from resilience.server.serve import LIMIT, LOST, UNKNOWN
from tests.support.stored_lines import read_events

from .metrics_oracle import Samples, exposed

RULE = re.compile(
    r"(?P<comment>#.*)|groups:|  - name: \w+|    rules:|      - alert: (?P<alert>Quiz\w+)"
    r"|        expr: (?P<expr>(?:(?! #|: ).)+)|        for: (?P<wait>\d+[sm])|        labels:|        annotations:"
    r"|          severity: (?P<severity>page|ticket)|          summary: (?P<summary>(?![{\[\"'])(?:(?! #|: ).)+)"
)
"""One line of the rules: the part of YAML that they need, in which nothing is read otherwise than it looks."""

SELECTOR = re.compile(r"(?<![\w.])(?P<name>[a-z_][a-z0-9_]*)(?:\{(?P<labels>[^}]*)\})?")
MATCHER = re.compile(r'(?P<label>\w+)(?P<op>=~|!=|=)"(?P<value>[^"]*)"')
LANGUAGE = {
    "by", "changes", "histogram_quantile", "increase", "instance", "le", "on", "rate", "s", "m", "sum", "unless",
}  # fmt: skip
ADDED_BY_PROMETHEUS = {"job", "instance"}


class EmptyServer:
    """A server without participants and connections."""

    def states(self) -> Mapping[str, int]:
        return {}

    def connections(self) -> int:
        return 0


@pytest.fixture(scope="module")
def shown() -> Mapping[str, Samples]:
    """All that a server exposes."""
    metrics = Metrics()
    metrics.watch(EmptyServer(), float)
    return exposed(metrics.exposition()[1])


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "operations.md").read_text("utf-8")


@pytest.fixture(scope="module")
def rules(root: Path) -> list[re.Match[str]]:
    """The lines of the alert rules, each of a known shape."""
    found = []
    for number, line in enumerate((root / "docs" / "alerts.yml").read_text("utf-8").splitlines(), 1):
        match = RULE.fullmatch(line)
        assert match, f"docs/alerts.yml:{number}: {line}"
        found.append(match)
    return found


def section(page: str, title: str) -> str:
    """The text below one heading of the second level."""
    (_, body) = page.split(f"\n## {title}\n")
    return body.split("\n## ")[0]


def first_column(text: str) -> list[str]:
    """What the tables list in their first column, between backticks."""
    cells = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def exposed_names(shown: Mapping[str, Samples]) -> set[str]:
    """Metrics as one asks for them: counters with ``_total``, histograms without their parts."""
    names = set()
    for family, samples in shown.items():
        parts = {name for name, _ in samples}
        names |= {family} if f"{family}_bucket" in parts else parts
    return names


def test_every_metric_is_explained_once_and_none_is_invented(page: str, shown: Mapping[str, Samples]) -> None:
    listed = first_column(section(page, "Metrics"))
    assert len(listed) == len(set(listed))
    elsewhere = {"process_", "python_gc_"}  # not on every system
    required = {name for name in exposed_names(shown) if not name.startswith(tuple(elsewhere))}
    assert required <= set(listed)
    assert {name for name in listed if name.startswith("quiz_")} <= exposed_names(shown)


def test_every_metric_that_is_mentioned_anywhere_exists(page: str, shown: Mapping[str, Samples]) -> None:
    assert set(re.findall(r"\bquiz_\w+", page)) <= exposed_names(shown)


def test_every_label_is_explained(page: str, shown: Mapping[str, Samples]) -> None:
    rows = {line.split("`")[1]: line for line in section(page, "Metrics").splitlines() if line.startswith("| `")}
    for family, samples in shown.items():
        if not family.startswith("quiz_") or family == "quiz_build_info":
            continue
        name = family if family in rows else f"{family}_total"
        for _, labels in samples:
            words = {word for pair in labels for word in pair if pair[0] != "le"} - {"other"}
            unexplained = {word for word in words if f"`{word}`" not in rows[name] and not word.startswith("close_")}
            assert not unexplained, f"{name}: {unexplained}"


def test_every_log_line_is_explained_with_its_level_and_fields(page: str) -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| ([^|]*) \|", section(page, "Log lines"), re.MULTILINE)
    explained = {words: (level, set(re.findall(r"`(\w+)`", fields))) for words, level, fields in rows}
    assert len(explained) == len(rows)
    summed = {"count", "cause"}
    expected = {
        line.words: (line.level, summed if line.summed else set(line.fields.values())) for line in LINES.values()
    }
    expected["messages delayed"] = ("info", {"count"})
    expected |= {
        LIMIT: ("warning", {"why"}),
        LOST: ("error", {"why"}),
        UNKNOWN: ("warning", {"why"}),
        DROPPED: ("warning", {"count"}),
        STRAY: ("error", {"logger", "message", "exception"}),
    }
    assert explained == expected


def test_an_event_log_is_written_in_addition_to_the_lines(page: str, tmp_path: Path) -> None:
    assert "to that file in addition to the lines" in section(page, "Log lines")
    lost = Record(LogEventKind.SESSION_DETACHED, 1.0, "p1", 1, cause="closed")
    with closing(EventWriter(tmp_path / "events" / "server.jsonl")) as writer, capture_logs() as lines:
        serve._log(writer, Metrics())(lost)
    assert [line["event"] for line in lines] == ["connection lost"]
    assert [event.kind for event in read_events(tmp_path)] == [lost.kind]


def test_the_numbers_about_writing_lines_are_those_of_the_writer(page: str) -> None:
    text = section(page, "Log lines")
    assert f"up to {CAPACITY_LINES:,} lines" in text
    assert f"together every {GATHER_S:g} s" in text
    assert f"its last {GATHER_S:g} s" in text
    assert "two seconds" in text
    assert CLOSE_TIMEOUT_S == 2.0


def test_every_alert_is_explained_and_linked_by_its_name(page: str, rules: list[re.Match[str]]) -> None:
    alerts = [match["alert"] for match in rules if match["alert"]]
    assert len(alerts) == len(set(alerts)) >= 10
    assert set(re.findall(r"^#### (Quiz\w+)$", page, re.MULTILINE)) == set(alerts)
    anchors = set(re.findall(r"\]\(#([\w-]+)\)", page))
    headings = {h.lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}
    assert anchors <= headings


def test_every_rule_is_whole(rules: list[re.Match[str]]) -> None:
    text = "\n".join(match[0] for match in rules)
    for rule in text.split("      - alert: ")[1:]:
        keys = [line.strip().partition(":")[0] for line in rule.splitlines()[1:]]
        assert [key for key in keys if key != "for"] == ["expr", "labels", "severity", "annotations", "summary"], rule


def test_every_expression_asks_for_series_that_can_exist(
    rules: list[re.Match[str]], shown: Mapping[str, Samples]
) -> None:
    series: dict[str, list[dict[str, str]]] = {"up": []}
    for name, labels in (key for samples in shown.values() for key in samples):
        series.setdefault(name, []).append(dict(labels))
    for expression in [match["expr"] for match in rules if match["expr"]]:
        assert expression.count("(") == expression.count(")")
        for selector in SELECTOR.finditer(re.sub(r"\[\d+[sm]\]", "", expression)):
            if selector["name"] in LANGUAGE:
                continue
            assert selector["name"] in series or selector["name"].startswith("process_"), expression
            for matcher in MATCHER.finditer(selector["labels"] or ""):
                if matcher["label"] not in ADDED_BY_PROMETHEUS:
                    values = {labels.get(matcher["label"]) for labels in series[selector["name"]]}
                    assert set(matcher["value"].split("|")) <= values, expression


def test_quantiles_are_of_buckets_over_time(rules: list[re.Match[str]]) -> None:
    expressions = [match["expr"] for match in rules if match["expr"]]
    quantiles = [e for e in expressions if "histogram_quantile" in e]
    assert quantiles
    assert all(re.search(r"sum by \(le, instance\) \(rate\(\w+_bucket\[\d+m\]\)\)", e) for e in quantiles)
    assert sum("_bucket" in e for e in expressions) == len(quantiles)


def test_what_it_tells_to_set_and_to_type_exists(page: str) -> None:
    serve = commands.get_command(click.Context(commands), "serve")
    assert serve is not None
    options = {option for parameter in serve.params for option in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page)) <= options


def test_every_word_of_code_on_the_page_is_one_of_the_code(page: str, shown: Mapping[str, Samples]) -> None:
    labels = {word for samples in shown.values() for _, pairs in samples for pair in pairs for word in pair}
    fields = {name for line in LINES.values() for name in line.fields.values()}
    known = set(ServerConfig.__struct_fields__) | exposed_names(shown) | labels | fields | {"process_"}
    code = set(re.findall(r"`([a-z]+(?:_[a-z]*)+)`", page))
    assert {word for word in code if not word.startswith("process_")} <= known
    assert {"max_connections", "allowed_origins"} <= code


def test_every_reason_of_readiness_is_explained(page: str) -> None:
    database = {"commit_failed": True, "recovering": 1, "commit_under_way_for": 9.0}
    view = ServerView("1", 1.0, "ws://a/ws", 9, 9, draining=True, loop_lag=9.0, missing=("quiz",), **database)  # type: ignore[arg-type]
    explained = section(page, "Look")
    assert all(f"`{reason.partition(':')[0]}`" in explained for reason in not_ready(view))
    assert len(not_ready(view)) == 7
