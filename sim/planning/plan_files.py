"""Reads the file of a capacity plan, and writes the answer to all its triggers. Computes nothing."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from reports.capacity import CapacityReport
from reports.pages import write_files
from reports.render import table as text_table
from resilience.errors import ConfigError, ExitCode, ExperimentError, UsageError
from resilience.eventlog.vocabulary import Verdict
from resilience.text_files import read_named
from resilience.validation import one_line, violation_of

from ..calibration.calibration_file import read_calibration
from ..profiles.files import load_profile
from ..profiles.timelines import OutageKind
from .triggers import CapacityPlan, Trigger


def load_plan(path: Path) -> CapacityPlan:
    """The plan of a file; :class:`~resilience.errors.ExperimentError`, in one line, for what is wrong with it."""
    text = read_named(path, lambda reason: ExperimentError(str(path), "", reason))
    try:
        plan = msgspec.convert(tomllib.loads(text), CapacityPlan)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ExperimentError(str(path), "", f"not TOML: {error}") from error
    except msgspec.ValidationError as error:
        violation = violation_of(error)
        raise ExperimentError(str(path), one_line(violation.key("")), one_line(violation.clause)) from error
    except ConfigError as error:
        raise ExperimentError(str(path), error.key, f"{error.value!r}: {error.rule}") from error
    for name in plan.mix:
        _check_profile(path, name)
    if plan.calibration:
        _check_calibration(path, plan.calibration)
    return plan


def _check_calibration(path: Path, name: str) -> None:
    try:
        read_calibration(Path(name))
    except UsageError as error:
        raise ExperimentError(str(path), "calibration", str(error)) from error


def _check_profile(path: Path, name: str) -> None:
    try:
        profile = load_profile(name)
    except UsageError as error:
        raise ExperimentError(str(path), f"mix.{name}", str(error)) from error
    if any(process.kind is OutageKind.SUSPENDED for process in profile.outages.values()):
        raise ExperimentError(str(path), f"mix.{name}", "suspends clients, which no number of servers brings back")


class PlanAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """``plan.json``. ``processes``: the fewest that hold for every trigger; None if that is not shown.

    ``binding``: the trigger that asks for the most. ``answers``: by trigger; null where none of those tried holds.
    """

    schema_version: int = 1
    name: str
    participants: int
    verdict: Verdict
    processes: float | None
    binding: str | None
    answers: dict[str, float | None]

    @property
    def exit_code(self) -> ExitCode:
        """0: a number of processes holds; 1: none of those tried does; 3: not decided."""
        codes = {Verdict.PASS: ExitCode.PASS, Verdict.FAIL: ExitCode.FAIL}
        return codes.get(self.verdict, ExitCode.INCONCLUSIVE)


def plan_answer(plan: CapacityPlan, reports: Mapping[Trigger, CapacityReport]) -> PlanAnswer:
    """The answers of all triggers together: the worst verdict, the largest number."""
    verdicts = [report.verdict for report in reports.values()]
    worst = next((each for each in (Verdict.FAIL, Verdict.INCONCLUSIVE) if each in verdicts), Verdict.PASS)
    answers = {trigger.kind.value: report.answer for trigger, report in reports.items()}
    known = {kind: answer for kind, answer in answers.items() if answer is not None}
    decided = len(known) == len(answers)
    return PlanAnswer(
        name=plan.name,
        participants=plan.participants,
        verdict=worst,
        processes=max(known.values()) if decided else None,
        binding=max(known, key=lambda kind: known[kind]) if decided else next(k for k in answers if k not in known),
        answers=answers,
    )


def headline(answer: PlanAnswer) -> str:
    """The answer in one line."""
    if answer.processes is None:
        return f"no number of processes that was tried is shown to survive: {answer.binding}"
    sure = "" if answer.verdict is Verdict.PASS else " (not decided)"
    return f"{answer.processes:,.0f} server processes, one of them spare{sure}; what asks for most: {answer.binding}"


def write_answer(out: Path, answer: PlanAnswer, reports: Mapping[Trigger, CapacityReport]) -> str:
    """Write ``plan.json`` and ``plan.md`` and return the latter."""
    rows = [
        [
            trigger.kind.value,
            f"{trigger.length:g} s",
            report.headline,
            "" if report.holds_to is None else f"{report.holds_to:g} times",
            "none shown" if report.breaks_at is None else f"{report.breaks_at:g} times",
            f"{trigger.kind.value}/capacity.html",
        ]
        for trigger, report in reports.items()
    ]
    head = ["trigger", "lasts", "answer", "holds up to", "breaks at", "report"]
    limiting = [f"- {trigger.kind.value}: {line}" for trigger, each in reports.items() for line in each.sweep.limiting]
    parts = [f"# {answer.name}: {headline(answer)}", text_table(head, rows), "\n".join(limiting)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    json = msgspec.json.format(msgspec.json.encode(answer), indent=2) + b"\n"
    write_files(out, {"plan.json": json, "plan.md": text}, "the answer of the plan")
    return text
