"""Turns a summary into files: JSON, Markdown, JUnit, HTML. Computes nothing; all four show the same summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import jinja2
import msgspec

from resilience.eventlog.vocabulary import Verdict
from resilience.lab.run_directory import RunStatus

from . import findings, formatting
from .summary import GroupSummary, Summary

if TYPE_CHECKING:
    from .svg import Chart

CLOCK_NAMES = {
    "detection_s": "Detection",
    "reconnection_s": "Reconnection",
    "downtime_s": "Downtime",
    "excess_s": "Excess",
}


SECTIONS = {
    "expectations": "Expectations",
    "failures": "Failures by cause",
    "charts": "Charts",
    "latencies": "Latencies",
    "by-fault": "By fault and by cohort",
    "by-attempt": "By attempt",
    "invariants": "Invariants",
    "outcomes": "Outcomes",
    "windows": "Fault windows",
    "laboratory": "Laboratory and run",
    "reading": "How to read this",
    "definitions": "Definitions",
}
"""Anchors of the page's sections with the words of the contents list."""


def to_json(value: msgspec.Struct) -> bytes:
    """Indented JSON, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


# --- Markdown ---------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def to_markdown(summary: Summary) -> str:
    """For a pull-request comment: verdict, expectations, latencies, invariants that did not pass, how to reproduce."""
    parts = [
        f"## {formatting.SYMBOLS[summary.verdict]} {formatting.VERDICTS[summary.verdict]}: {summary.title}",
        f"**{formatting.headline(summary)}** {formatting.certainty(summary.success_rate)}",
        formatting.tested(summary),
        _expectation_lines(summary),
        _clock_lines(summary),
        _group_lines(summary.by_fault, "fault"),
        _invariant_lines(summary),
        f"Reproduce: `{summary.reproduce}`",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _expectation_lines(summary: Summary) -> str:
    rows = [
        [
            f"`{formatting.scope(item)}`",
            formatting.measured(item),
            formatting.target(item),
            formatting.interval(item.metric, item.low, item.high),
            f"{item.n:,} ({item.population})",
            f"{formatting.SYMBOLS[item.verdict]} {item.verdict.value}",
        ]
        for item in summary.expectations
    ]
    return table(["expectation", "value", "target", "interval", "n", "verdict"], rows) if rows else ""


def _clock_lines(summary: Summary) -> str:
    rows = []
    for key, name in CLOCK_NAMES.items():
        block = getattr(summary, key)
        values = (block.mean, block.restricted_mean, block.p50, block.p95, block.p99)
        rows.append([f"{name}: {block.clock}", *map(formatting.seconds, values), formatting.format_sample(block)])
    head = ["latency", "mean", f"restricted mean at {summary.excess_s.deadline:g} s", "p50", "p95", "p99", "n"]
    return table(head, rows)


def _group_lines(groups: dict[str, GroupSummary], name: str) -> str:
    rows = [
        [
            key,
            formatting.ratio(block.success_rate),
            formatting.seconds(block.detection_s.mean),
            formatting.seconds(block.excess_s.mean),
            formatting.seconds(block.excess_s.p95),
            formatting.number(block.attempts.mean, 1),
        ]
        for key, block in groups.items()
    ]
    return table([name, "back", "detection mean", "excess mean", "excess p95", "attempts"], rows) if rows else ""


def _invariant_lines(summary: Summary) -> str:
    applicable = [item for item in summary.invariants if item.verdict is not Verdict.NOT_APPLICABLE]
    passed = sum(item.verdict is Verdict.PASS for item in applicable)
    lines = [f"Invariants: {passed} of {len(applicable)} hold."]
    lines += [
        f"- {formatting.SYMBOLS[item.verdict]} `{item.name}` ({item.rule}): {item.detail}"
        for item in summary.invariants
        if item.verdict is not Verdict.PASS
    ]
    return "\n".join(lines)


# --- JUnit ------------------------------------------------------------------------------------------------------------


def to_junit(summary: Summary) -> bytes:
    """One test case for the run, each expectation and each invariant; inconclusive is an error, so never green."""
    suite = ET.Element("testsuite", name=f"{summary.experiment} ({summary.lane.value})", timestamp=summary.started_at)
    _case(
        suite,
        "run",
        "completed",
        Verdict.PASS if summary.status == RunStatus.COMPLETED else Verdict.INCONCLUSIVE,
        summary.cause,
    )
    for item in summary.expectations:
        measured = formatting.measured(item)
        bounds = formatting.interval(item.metric, item.low, item.high)
        detail = f"{measured}, interval {bounds}, n = {item.n} ({item.population}). {item.note or ''}".rstrip()
        _case(suite, "expectation", f"{formatting.scope(item)} {formatting.target(item)}", item.verdict, detail)
    for check in summary.invariants:
        _case(suite, "invariant", check.name, check.verdict, check.detail)
    for name, tag in (
        ("tests", "testcase"),
        ("failures", ".//failure"),
        ("errors", ".//error"),
        ("skipped", ".//skipped"),
    ):
        suite.set(name, str(len(suite.findall(tag))))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _case(suite: ET.Element, kind: str, name: str, verdict: Verdict, detail: str | None) -> None:
    case = ET.SubElement(suite, "testcase", classname=f"{suite.get('name')}.{kind}", name=name, time="0")
    if verdict is Verdict.NOT_APPLICABLE:
        ET.SubElement(case, "skipped", message=detail or verdict.value)
    elif verdict is not Verdict.PASS:
        tag = "failure" if verdict is Verdict.FAIL else "error"
        ET.SubElement(case, tag, message=detail or verdict.value, type=verdict.value)


# --- HTML -------------------------------------------------------------------------------------------------------------


def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("reports")
    env = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    env.lstrip_blocks = True
    env.globals.update(formatting=formatting, findings=findings, clock_names=CLOCK_NAMES)
    return env


def to_html(summary: Summary, charts: Sequence[Chart]) -> str:
    """The report as one file with no external resource: no script, no network, images inline."""
    sections = [(key, words) for key, words in SECTIONS.items() if charts or key != "charts"]
    page: str = _environment().get_template("report.html.j2").render(summary=summary, charts=charts, sections=sections)
    return page
