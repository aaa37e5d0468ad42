"""Repetitions as files: JSON, Markdown, JUnit with a suite for each run, HTML. Computes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Verdict

from . import formatting
from .findings import Banner
from .junit import JUnitCase, expectation_case, make_suite, run_cases, to_xml
from .pages import printable, render_page, write_files, write_formats
from .render import table, to_json
from .repetitions import PooledInvariant, RepeatedRuns, Repetition
from .summary import Summary

STEM = "repetitions"
"""The files' common name; ``junit.xml`` has the name that it has in a run directory."""

_FIRST_SEEDS = 8


def write_repetitions(directory: Path, result: RepeatedRuns, summaries: Sequence[Summary]) -> None:
    """Write the files; :class:`~resilience.errors.HarnessError` in one line when they cannot be written."""
    what = "the report of the repetitions"
    write_formats(directory / STEM, what, json=to_json(result), markdown=to_markdown(result), page=to_html(result))
    write_files(directory, {"junit.xml": to_junit(result, summaries)}, what)


def banner(result: RepeatedRuns) -> Banner:
    """The verdict on all runs in large letters, and in a sentence."""
    if result.exit_code is ExitCode.HARNESS:
        lost = sum(row.exit_code == ExitCode.HARNESS for row in result.repetitions)
        said = f"{lost} of {formatting.pluralise(len(result.repetitions), 'run')} could not be carried out."
        return Banner("HARNESS FAILED", "!", "harness", said)
    word, tone = formatting.VERDICTS[result.verdict], result.verdict.value
    return Banner(word, formatting.SYMBOLS[result.verdict], tone, _headline(result))


def _headline(result: RepeatedRuns) -> str:
    back = formatting.came_back(result.pooled.success_rate) if result.pooled else "No run was carried out"
    back = f"{back} in {formatting.pluralise(len(result.repetitions), 'run')}"
    if result.verdict is Verdict.PASS:
        return f"{back}, every target was met and no invariant was broken."
    return f"{back}: {result.reasons[0] if result.reasons else 'no reason recorded'}."


def design(result: RepeatedRuns) -> str:
    """How many runs there were of how many, why, and how the bounds allow for it."""
    done, seeds = len(result.repetitions), [row.seed for row in result.repetitions]
    said = f"{done} of {formatting.pluralise(result.planned, 'repetition')}, seeds {seeds[0]} to {seeds[-1]}"
    said += f"; {result.stopped}." if result.stopped else "."
    if result.spending:
        said += " The bounds of the targets allow for looks during the repetitions."
    return said


def outcome(row: Repetition) -> str:
    """``PASS``, or that the run was not carried out."""
    return "NOT CARRIED OUT" if row.exit_code == ExitCode.HARNESS else formatting.VERDICTS[row.verdict]


def restored(row: Repetition) -> str:
    """``300 of 300 (100 %)``."""
    share = formatting.percent(row.restored / row.affected if row.affected else None)
    return f"{row.restored:,} of {row.affected:,} ({share})"


def seeds(found: PooledInvariant) -> str:
    """``seeds 7, 9``, and how many more there are."""
    more = len(found.seeds) - _FIRST_SEEDS
    listed = ", ".join(map(str, found.seeds[:_FIRST_SEEDS])) + (f" and {more} more" if more > 0 else "")
    return f"{'seed' if len(found.seeds) == 1 else 'seeds'} {listed}"


def not_holding(result: RepeatedRuns) -> list[PooledInvariant]:
    """The rules that are broken or undecided in a run."""
    return [item for item in result.invariants if item.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)]


def to_markdown(result: RepeatedRuns) -> str:
    """For a job summary: the verdict, why, the targets over all runs, and a table of the single runs."""
    head = banner(result)
    rows = [
        [str(row.seed), outcome(row), restored(row), formatting.seconds(row.excess_restricted_mean), *_last(row)]
        for row in result.repetitions
    ]
    parts = [
        f"## {head.symbol} {head.word}: {' '.join(result.title.split())}",
        f"**{head.said}**",
        "\n".join(f"- {' '.join(reason.split())}" for reason in result.reasons if f"{reason}." not in head.said),
        f"{design(result)} Lane {result.lane.value}: {formatting.LANES[result.lane]}.",
        formatting.certainty(result.pooled.success_rate)
        if result.pooled and result.pooled.success_rate.affected
        else "",
        _targets(result),
        "\n".join(
            f"- {formatting.SYMBOLS[item.verdict]} `{item.name}` ({item.rule}), {seeds(item)}: {item.detail}"
            for item in not_holding(result)
        ),
        table(["seed", "verdict of the run alone", "back", "excess, restricted mean", "took", "reason"], rows),
    ]
    return printable("\n\n".join(part for part in parts if part)) + "\n"


def _last(row: Repetition) -> list[str]:
    return [formatting.seconds(row.wall_s), row.reason or ""]


def _targets(result: RepeatedRuns) -> str:
    rows = [
        [
            f"`{formatting.scope(item)}`",
            formatting.measured(item),
            formatting.target(item),
            f"{formatting.interval(item.metric, item.low, item.high)} at {formatting.percent(item.confidence)}",
            f"{item.n:,}",
            f"{formatting.SYMBOLS[item.verdict]} {item.verdict.value}",
        ]
        for item in result.expectations
    ]
    return table(["expectation, all runs", "value", "target", "interval", "n", "verdict"], rows) if rows else ""


def to_html(result: RepeatedRuns) -> str:
    """The page: one file, with links to the reports of the runs next to it."""
    head = banner(result)
    return render_page(
        "repetitions.html.j2",
        result=result,
        banner=head,
        reasons=[reason for reason in result.reasons if f"{reason}." not in head.said],
        design=design(result),
        not_holding=not_holding(result),
        outcome=outcome,
        restored=restored,
        seeds=seeds,
        readable=[row.wall_s is not None for row in result.repetitions],
    )


# --- JUnit ------------------------------------------------------------------------------------------------------------


def to_junit(result: RepeatedRuns, summaries: Sequence[Summary]) -> bytes:
    """The suite of the verdict on all runs, then one suite for each run.

    Targets are judged over all runs, so in the suite of a run a target that is missed or undecided there is skipped:
    its message says what the run shows by itself. What holds of every run, its invariants and whether it was carried
    out and can be believed, fails there.
    """
    name = f"{result.experiment} ({result.lane.value})"
    began = min((summary.started_at for summary in summaries), default="1970-01-01T00:00:00+00:00")
    whole = make_suite(f"{name} all runs", began, 0.0, _pooled_cases(result))
    by_seed = {summary.seed: summary for summary in summaries}
    suites = [_run_suite(f"{name} seed {row.seed}", row, by_seed.get(row.seed)) for row in result.repetitions]
    return to_xml([whole, *suites])


def _pooled_cases(result: RepeatedRuns) -> Iterator[JUnitCase]:
    head = banner(result)
    verdict = result.verdict
    if result.exit_code is ExitCode.HARNESS:
        verdict = Verdict.INCONCLUSIVE
    yield JUnitCase("repetitions", "verdict", verdict, " ".join((head.said, *result.reasons)))
    yield from map(expectation_case, result.expectations)


def _run_suite(name: str, row: Repetition, summary: Summary | None) -> ET.Element:
    if summary is None:
        return make_suite(
            name, "1970-01-01T00:00:00+00:00", 0.0, [JUnitCase("run", "completed", row.verdict, row.reason)]
        )
    return make_suite(name, summary.started_at, summary.wall_s or 0.0, map(_alone, run_cases(summary)))


def _alone(case: JUnitCase) -> JUnitCase:
    """A case of one run among others."""
    judged_together = case.kind == "expectation" or (case.kind, case.name) == ("run", "verdict")
    if not judged_together or case.verdict in (Verdict.PASS, Verdict.NOT_APPLICABLE):
        return case
    said = f"{case.verdict.value} in this run alone; judged over all runs: {case.detail}"
    return JUnitCase(case.kind, case.name, Verdict.NOT_APPLICABLE, said)
