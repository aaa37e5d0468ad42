"""Repetitions of a run with seeds in a row: how many may follow, and why no further one starts. Judges nothing.

A repetition is never cut short: what stops the repetitions is asked between two of them only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from resilience.errors import ExitCode, UsageError
from resilience.units import Instant, Seconds

_UNITS: dict[str, Seconds] = {"h": 3600.0, "m": 60.0, "s": 1.0}
_SHORT_S = 10.0
_DURATION = re.compile(r"(?=.)" + "".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in _UNITS))


def parse_duration(text: str) -> Seconds:
    """Seconds of ``90s``, ``5m``, ``1h30m`` or a plain number of seconds, positive.

    Raises :class:`~resilience.errors.UsageError` for any other text.
    """
    found = _DURATION.fullmatch(f"{text}s" if re.fullmatch(r"\d+(\.\d+)?", text) else text)
    seconds = (
        sum(float(part or 0) * unit for part, unit in zip(found.groups(), _UNITS.values(), strict=True)) if found else 0
    )
    if not seconds > 0:
        raise UsageError(f"{text!r} is not a length of time: write it like 90s, 5m or 1h30m")
    return seconds


def describe_duration(seconds: Seconds) -> str:
    """A length of time with a resolution that fits it: ``4.2 s``, ``90 s``, ``12 min``."""
    if seconds < _SHORT_S:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 2 * _UNITS["m"] else f"{seconds / _UNITS['m']:.0f} min"


@dataclass(frozen=True)
class RepetitionPlan:
    """What the user asked for: at most ``repetitions`` runs with seeds from ``first_seed`` in a row.

    ``fail_fast``: none follows one that failed or could not be carried out. ``budget``: none starts that would not fit
    into so many seconds from the first start, by the longest so far. ``until_decided``: none follows the verdict.
    """

    first_seed: int
    repetitions: int = 1
    fail_fast: bool = False
    budget: Seconds | None = None
    until_decided: bool = False

    def __post_init__(self) -> None:
        given = {
            "--fail-fast": self.fail_fast,
            "--budget": self.budget is not None,
            "--until-decided": self.until_decided,
        }
        for option, present in given.items():
            if present and self.repetitions == 1:
                raise UsageError(f"{option} stops repetitions: use it with --repeat N, the most of them")

    @property
    def seeds(self) -> range:
        """The seeds in the order of the runs."""
        return range(self.first_seed, self.first_seed + self.repetitions)

    @property
    def seeds_in_words(self) -> str:
        """``seed 7``, or ``seeds 7 to 16``."""
        return f"seed {self.seeds[0]}" if self.repetitions == 1 else f"seeds {self.seeds[0]} to {self.seeds[-1]}"


@dataclass(frozen=True)
class RepetitionEnd:
    """How one repetition ended: its exit code, whether the user interrupted it, whether the verdict is decided now."""

    exit_code: ExitCode
    interrupted: bool = False
    decided: bool = False

    @property
    def failed(self) -> bool:
        """Whether the run failed or could not be carried out."""
        return self.exit_code in (ExitCode.FAIL, ExitCode.HARNESS)


@dataclass(frozen=True)
class EarlyStop:
    """Why fewer repetitions than planned were run: ``why`` in words; ``failed``: because of one that failed."""

    why: str
    failed: bool = False


def repeat(
    plan: RepetitionPlan, run_one: Callable[[int], RepetitionEnd], clock: Callable[[], Instant]
) -> EarlyStop | None:
    """Call ``run_one`` with each seed until all are done or a reason to stop comes; returns that reason.

    ``clock``: seconds on a clock that never goes back.
    """
    began, longest = clock(), 0.0
    for done, seed in enumerate(plan.seeds, 1):
        started = clock()
        end = run_one(seed)
        longest = max(longest, clock() - started)
        stop = _reason(plan, end, seed, clock() - began, longest)
        if stop is not None and (stop.failed or done < plan.repetitions):
            return stop
    return None


def _reason(plan: RepetitionPlan, end: RepetitionEnd, seed: int, spent: Seconds, longest: Seconds) -> EarlyStop | None:
    """Why no repetition may follow this one."""
    if end.interrupted:
        return EarlyStop("interrupted", failed=True)
    if plan.fail_fast and end.failed:
        return EarlyStop(f"seed {seed} failed, and --fail-fast stops there", failed=True)
    if plan.until_decided and end.decided:
        return EarlyStop("the verdict is decided, and --until-decided stops there")
    if plan.budget is not None and spent + longest > plan.budget:
        left, next_one = describe_duration(max(plan.budget - spent, 0.0)), describe_duration(longest)
        whole = describe_duration(plan.budget)
        return EarlyStop(f"{left} of the budget of {whole} are left, and one more may need {next_one}")
    return None
