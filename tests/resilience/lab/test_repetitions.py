"""How many repetitions follow one another, on a clock of the test's own."""

from __future__ import annotations

import pytest

from resilience.errors import ExitCode, UsageError
from resilience.lab.repetitions import (
    EarlyStop,
    RepetitionEnd,
    RepetitionPlan,
    describe_duration,
    parse_duration,
    repeat,
)

PASSED = RepetitionEnd(ExitCode.PASS)


def run_with(
    plan: RepetitionPlan, ends: dict[int, RepetitionEnd] | None = None, took: float = 10.0
) -> tuple[list[int], EarlyStop | None]:
    """The seeds that were run, each in ``took`` seconds, and why there were no more."""
    seeds: list[int] = []

    def run_one(seed: int) -> RepetitionEnd:
        seeds.append(seed)
        return (ends or {}).get(seed, PASSED)

    stop = repeat(plan, run_one, lambda: len(seeds) * took)
    return seeds, stop


def test_all_seeds_run_in_a_row() -> None:
    assert run_with(RepetitionPlan(7, 4)) == ([7, 8, 9, 10], None)
    assert RepetitionPlan(7, 4).seeds_in_words == "seeds 7 to 10"
    assert RepetitionPlan(7).seeds_in_words == "seed 7"


@pytest.mark.parametrize("code", [ExitCode.FAIL, ExitCode.HARNESS])
def test_fail_fast_stops_after_the_first_that_fails_or_is_not_carried_out(code: ExitCode) -> None:
    ends = {8: RepetitionEnd(ExitCode.INCONCLUSIVE), 9: RepetitionEnd(code)}
    seeds, stop = run_with(RepetitionPlan(7, 10, fail_fast=True), ends)
    assert seeds == [7, 8, 9]
    assert stop == EarlyStop("seed 9 failed, and --fail-fast stops there", failed=True)
    assert run_with(RepetitionPlan(7, 3), ends) == ([7, 8, 9], None)


def test_the_last_repetition_that_fails_counts_like_any_other() -> None:
    _, stop = run_with(RepetitionPlan(7, 2, fail_fast=True), {8: RepetitionEnd(ExitCode.FAIL)})
    assert stop is not None
    assert stop.failed


@pytest.mark.parametrize("budget, runs", [(30.0, 3), (39.9, 3), (40.0, 4), (1.0, 1)])
def test_no_repetition_starts_that_would_not_fit_and_the_first_always_does(budget: float, runs: int) -> None:
    seeds, stop = run_with(RepetitionPlan(7, 10, budget=budget))
    assert len(seeds) == runs
    assert stop is not None
    assert "one more may need 10 s" in stop.why
    assert not stop.failed


def test_a_budget_that_suffices_stops_nothing() -> None:
    assert run_with(RepetitionPlan(7, 3, budget=30.0)) == ([7, 8, 9], None)


def test_none_follows_the_verdict() -> None:
    ends = {9: RepetitionEnd(ExitCode.PASS, decided=True)}
    seeds, stop = run_with(RepetitionPlan(7, 10, until_decided=True), ends)
    assert (seeds, stop) == (
        [7, 8, 9],
        EarlyStop("the verdict is decided, and --until-decided stops there"),
    )
    assert run_with(RepetitionPlan(7, 4), ends)[1] is None


def test_an_interrupted_repetition_is_the_last() -> None:
    ends = {8: RepetitionEnd(ExitCode.HARNESS, interrupted=True)}
    assert run_with(RepetitionPlan(7, 10), ends) == ([7, 8], EarlyStop("interrupted", failed=True))


@pytest.mark.parametrize(
    "options, named",
    [({"fail_fast": True}, "--fail-fast"), ({"budget": 9.0}, "--budget"), ({"until_decided": True}, "--until-decided")],
)
def test_what_stops_repetitions_needs_them(options: dict[str, bool], named: str) -> None:
    with pytest.raises(UsageError, match=f"{named} stops repetitions: use it with --repeat N"):
        RepetitionPlan(1, 1, **options)


@pytest.mark.parametrize(
    "text, seconds", [("90s", 90.0), ("5m", 300.0), ("1h30m", 5400.0), ("1.5h", 5400.0), ("45", 45.0), ("2m5s", 125.0)]
)
def test_a_length_of_time_is_written_as_people_write_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5x", "m", "-5m", "0", "0s", "5 m", "5m5", "nan", "inf", "1e3"])
def test_any_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="write it like 90s, 5m or 1h30m"):
        parse_duration(text)


def test_a_length_of_time_is_said_with_the_resolution_it_needs() -> None:
    assert [describe_duration(s) for s in (0.04, 4.25, 62.4, 720.0)] == ["0.0 s", "4.2 s", "62 s", "12 min"]
