"""Systems side by side as files: JSON, Markdown, HTML, and the rows of the console. Computes nothing."""

from __future__ import annotations

from pathlib import Path

from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Verdict

from . import formatting
from .comparison import FALSE_ALARMS, Change, Difference
from .pages import printable, render_page, write_formats
from .render import table, to_json
from .systems import Figure, SystemResult, SystemsComparison

STEM = "systems"
"""The files' common name."""

NOT_APPLICABLE = "not applicable"
HEADINGS = {
    "success_rate": "came back",
    "detection_s.mean": "detection",
    "downtime_s.restricted_mean": "downtime",
    "excess_s.restricted_mean": "excess",
    "excess_s.p95": "excess, p95",
    "attempts.mean": "dials",
}
"""What a figure is called in a table."""

HEAD = ("system", *HEADINGS.values(), "came back as", "unnoticed", "verdict")


def write_systems(out: Path, comparison: SystemsComparison) -> None:
    """Write ``systems.json``, ``.md`` and ``.html``; HarnessError in one line when they cannot be written."""
    page = render_page(
        "systems.html.j2",
        comparison=comparison,
        head=HEAD,
        row=row,
        certainty=certainty(comparison),
        headline=headline(comparison),
        said=said,
        heading=heading,
        reasons=reasons,
    )
    text = to_markdown(comparison)
    write_formats(out / STEM, "the comparison of systems", json=to_json(comparison), markdown=text, page=page)


def headline(comparison: SystemsComparison) -> str:
    """``socketio, centrifugo compared with quiz: 3 better, 9 worse, 4 without a difference shown``."""
    first, *others = comparison.systems
    if not others:
        return f"{first.name} alone"
    gaps = [gap.verdict for result in comparison.results for gap in result.differences]
    words = {
        Change.BETTER: "better",
        Change.WORSE: "worse",
        Change.UNDECIDED: "undecided, as the laboratory is in doubt",
        Change.NO_CHANGE: "without a difference shown",
        Change.NO_DATA: NOT_APPLICABLE,
    }
    counts = [f"{gaps.count(change)} {word}" for change, word in words.items() if change in gaps]
    names = ", ".join(system.name for system in others)
    return f"{names} compared with {first.name}: {', '.join(counts) or 'nothing to compare'}"


def certainty(comparison: SystemsComparison) -> str:
    """How sure the figures and the differences are, in a sentence."""
    return (
        f"Bounds of a figure are one-sided, each at {formatting.percent(comparison.confidence)}. A difference counts "
        f"when its whole interval lies on one side of zero, each bound at "
        f"{formatting.percent(comparison.difference_confidence)}: between equal systems the probability of any "
        f"difference in these tables is at most {formatting.percent(FALSE_ALARMS)}. "
        "More seeds (--repeat) show smaller differences."
    )


def heading(metric: str) -> str:
    """What a figure is called in a table."""
    return HEADINGS[metric]


def row(result: SystemResult) -> list[str]:
    """The cells of one system, as in :data:`HEAD`."""
    cells = [_cell(figure) for figure in result.figures]
    returns = ", ".join(f"{count:,} {way}" for way, count in result.returns.items()) or NOT_APPLICABLE
    return [result.system, *cells, returns, f"{result.unnoticed:,}", _verdict(result)]


def _cell(figure: Figure) -> str:
    if not figure.n:
        return NOT_APPLICABLE
    value = formatting.metric_value(figure.metric, figure.value) if figure.value is not None else "not reached"
    bounds = formatting.interval(figure.metric, figure.low, figure.high)
    return f"{value} ({bounds})" if bounds != formatting.DASH else value


def _verdict(result: SystemResult) -> str:
    rows = result.runs.repetitions
    lost = sum(row.exit_code == ExitCode.HARNESS for row in rows)
    if lost:
        return "NOT CARRIED OUT" if len(rows) == 1 else f"{lost} of {len(rows)} runs NOT CARRIED OUT"
    return formatting.VERDICTS[result.runs.verdict]


def said(gap: Difference) -> str:
    """``+1.20 s (+0.41 s … +1.99 s), worse``."""
    if gap.verdict is Change.NO_DATA:
        return NOT_APPLICABLE
    interval = formatting.span(gap.label, gap.low, gap.high)
    word = "no difference shown" if gap.verdict is Change.NO_CHANGE else gap.verdict.value
    return f"{formatting.change(gap.label, gap.absolute)} ({interval}), {word}"


def reasons(result: SystemResult) -> list[str]:
    """Why the verdict is not a pass, and why the laboratory is in doubt, one line each."""
    rows = [row for row in result.runs.repetitions if row.exit_code == ExitCode.HARNESS and row.reason]
    lost = [f"seed {row.seed}: {row.reason}" for row in rows]
    found = [*lost, *result.doubts, *(result.runs.reasons if result.runs.verdict is not Verdict.PASS else ())]
    return [f"{result.system}: {' '.join(reason.split())}" for reason in dict.fromkeys(found)]


def tables_of_differences(comparison: SystemsComparison, experiment: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the differences of one experiment from the first system; no rows where there are none."""
    found = [result for result in comparison.of(experiment) if result.differences]
    head = (
        [f"against {comparison.systems[0].name}", *(heading(gap.label) for gap in found[0].differences)]
        if found
        else []
    )
    return head, [[result.system, *(said(gap) for gap in result.differences)] for result in found]


def to_markdown(comparison: SystemsComparison) -> str:
    """For a page or a pull request: a table for each experiment, the differences, what each system is."""
    parts = [f"## {headline(comparison)}", certainty(comparison)]
    parts += [f"- **{item.name}** could not be had: {item.problem}" for item in comparison.systems if item.problem]
    for name, title in comparison.experiments.items():
        results = comparison.of(name)
        parts += [f"### {name}: {title}", table(HEAD, [row(result) for result in results])]
        head, lines = tables_of_differences(comparison, name)
        parts += [f"Differences from {comparison.systems[0].name}:", table(head, lines)] if lines else []
        parts.append("\n".join(f"- {reason}" for result in results for reason in reasons(result)))
    parts.append("\n".join(_systems(comparison)))
    parts.append("\n".join(f"- {note}" for note in comparison.notes))
    return printable("\n\n".join(part for part in parts if part)) + "\n"


def _systems(comparison: SystemsComparison) -> list[str]:
    lines = []
    for item in comparison.systems:
        versions = ", ".join(f"{name} {version}" for name, version in item.versions.items())
        settings = f" Settings: {item.settings}." if item.settings else ""
        lines.append(f"- **{item.name}**: {item.title}.{settings}" + (f" Ran: {versions}." if versions else ""))
    return lines
