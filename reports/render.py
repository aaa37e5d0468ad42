"""Turns a summary into files: JSON, Markdown, HTML. Computes nothing; all of them show the same summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from resilience.eventlog.vocabulary import Verdict

from . import findings, formatting
from .pages import printable, render_page
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
    "pages": "Pages",
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
    """A Markdown table; bars in cells are escaped, line breaks become spaces."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(printable(text).split()).replace("|", "\\|")


def to_markdown(summary: Summary) -> str:
    """For a pull-request comment: verdict, what failed and why, numbers, the laboratory, how to repeat the run."""
    banner = findings.banner(summary)
    rate = summary.success_rate
    parts = [
        f"## {banner.symbol} {banner.word}: {_cell(summary.title)}",
        f"**{_cell(banner.said)}**",
        "\n".join(f"- {_cell(reason)}" for reason in findings.why(summary)),
        _loss_lines(summary),
        f"Run it again: `{summary.reproduce}`",
        f"{sure} {findings.proof(summary)}".strip() if (sure := findings.certainty(summary)) else "",
        findings.exposure(summary),
        formatting.tested(summary),
        findings.laboratory(summary),
        findings.reference(summary),
        *(f"- {_cell(text)}" for text in (*summary.laboratory.doubts, *summary.laboratory.warnings)),
        _expectation_lines(summary),
        _clock_lines(summary) if rate.affected else "",
        _group_lines(summary.by_fault, "fault"),
        _attempt_lines(summary),
        _page_lines(summary),
        _invariant_lines(summary),
        f"Started {summary.started_at}; "
        + ", ".join(f"{name} {version}" for name, version in summary.versions.items()),
    ]
    return printable("\n\n".join(part for part in parts if part)) + "\n"


def _loss_lines(summary: Summary) -> str:
    rows = [
        [
            *(row.cause, findings.ENDINGS.get(row.outcome, row.outcome), f"{row.episodes:,}"),
            *(findings.some(row.windows, 4), ", ".join(row.participants)),
        ]
        for row in findings.by_cause(summary.failures)
    ]
    head = ["cause", "outcome", "episodes", "windows", "participants (first ten)"]
    if not rows:
        return ""
    command = findings.replay_command(summary.failures)
    story = f"\n\nThe whole story of one participant, from the run's directory: `{command}`" if command else ""
    return f"{findings.losses(summary)}\n\n{table(head, rows)}{story}"


def _attempt_lines(summary: Summary) -> str:
    rows = [[f"{row.attempts}", f"{row.restored:,}", formatting.percent(row.share)] for row in summary.by_attempt[:12]]
    return table(["dials", "restored", "back by then"], rows) if rows else ""


def _page_lines(summary: Summary) -> str:
    if summary.pages is None:
        return ""
    shown = table(findings.SHOWN_HEAD, findings.shown_rows(summary.pages)) if summary.pages.by_fault else ""
    return f"Pages: {findings.kept_promises(summary.pages)}.\n\n{shown}".rstrip()


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


# --- HTML -------------------------------------------------------------------------------------------------------------


def to_html(summary: Summary, charts: Sequence[Chart]) -> str:
    """The report as one file with no external resource: no script, no network, images inline."""
    absent = {key for key, there in {"charts": bool(charts), "pages": summary.pages is not None}.items() if not there}
    sections = [(key, words) for key, words in SECTIONS.items() if key not in absent]
    return render_page(
        "report.html.j2",
        summary=summary,
        charts=charts,
        sections=sections,
        findings=findings,
        clock_names=CLOCK_NAMES,
    )
