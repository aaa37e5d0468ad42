"""The verdict on several runs, and the files that show it: made from one analysed run under other seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from reports.build import analyse
from reports.expectations import Evidence
from reports.pooling import JudgedRun
from reports.repetition_pages import banner, to_html, to_junit, to_markdown, write_repetitions
from reports.repetitions import RepeatedRuns, Repetitions
from reports.summary import Laboratory, Summary
from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Lane, Verdict
from resilience.experiment.spec import Expectation, Experiment, Op
from resilience.lab.repetitions import EarlyStop, RepetitionPlan

from ..support.log_builder import clean_history

CLIENTS = 20


class Ran:
    """An analysed run of one cut from which all clients came back, and its experiment."""

    def __init__(self, run_dir: Path) -> None:
        log, episodes, self.summary = analyse(clean_history(CLIENTS, correlation=0.05).write(run_dir))
        self.experiment: Experiment = log.experiment
        self.evidence = Evidence.of(log, episodes)

    def again(self, seed: int, **changes: Any) -> JudgedRun:  # noqa: ANN401 - any field of a summary
        return JudgedRun(msgspec.structs.replace(self.summary, seed=seed, **changes), self.evidence)

    def asking(self, threshold: float) -> Experiment:
        return msgspec.structs.replace(
            self.experiment, expectations=(Expectation("success_rate", Op.AT_LEAST, threshold),)
        )

    def together(
        self, *runs: JudgedRun, target: float = 0.9, stop: EarlyStop | None = None, **plan: bool | float
    ) -> RepeatedRuns:
        return self.repeated(*runs, target=target, **plan).result(stop)

    def repeated(self, *runs: JudgedRun, target: float = 0.9, **plan: Any) -> Repetitions:  # noqa: ANN401
        found = Repetitions(self.asking(target), Lane.MODEL, RepetitionPlan(1, plan.pop("repetitions", 10), **plan))
        for run in runs:
            found.add(run, run.label)
        return found


@pytest.fixture(scope="module", name="ran")
def _ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("runs") / "run")


def broken(summary: Summary) -> tuple[Any, ...]:
    """The summary's invariants, the first of which is broken."""
    first, *others = summary.invariants
    return (msgspec.structs.replace(first, verdict=Verdict.FAIL, detail="c1 saw it"), *others)


def test_runs_that_prove_nothing_alone_prove_a_target_together(ran: Ran) -> None:
    """One event of 20 drops cannot prove 90 %; six of them do."""
    alone = ran.together(ran.again(1))
    assert (alone.verdict, alone.exit_code) == (Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE)
    result = ran.together(*(ran.again(seed) for seed in range(1, 7)))
    assert (result.verdict, result.exit_code, result.reasons) == (Verdict.PASS, ExitCode.PASS, ())
    assert result.pooled is not None
    assert (result.pooled.success_rate.affected, result.pooled.success_rate.events) == (6 * CLIENTS, 6)
    assert [row.seed for row in result.repetitions] == [1, 2, 3, 4, 5, 6]


def test_a_broken_invariant_in_one_run_fails_all_and_names_its_seed(ran: Ran) -> None:
    runs = [ran.again(1), ran.again(2, invariants=broken(ran.summary)), ran.again(3)]
    result = ran.together(*runs)
    assert result.exit_code is ExitCode.FAIL
    assert result.reasons[0].startswith("seed 2: ")
    assert [(item.seeds, item.detail) for item in result.invariants if item.verdict is Verdict.FAIL] == [
        ((2,), "c1 saw it")
    ]


def test_a_server_that_ended_in_one_run_fails_all(ran: Ran) -> None:
    result = ran.together(*(ran.again(seed) for seed in range(1, 7)), ran.again(7, cause="the server ended by itself"))
    assert (result.exit_code, result.reasons) == (ExitCode.FAIL, ("seed 7: the server ended by itself",))


def test_a_run_that_was_not_carried_out_forbids_a_pass_and_no_failure(ran: Ran) -> None:
    good, lost = [ran.again(seed) for seed in range(1, 7)], ran.again(7, status="not_started", cause="no steady state")
    result = ran.together(*good, lost)
    assert (result.verdict, result.exit_code) == (Verdict.INCONCLUSIVE, ExitCode.HARNESS)
    assert result.reasons == ("seed 7: no steady state",)
    assert result.pooled is not None
    assert result.pooled.success_rate.affected == 6 * CLIENTS
    assert ran.together(*good, lost, ran.again(8, invariants=broken(ran.summary))).exit_code is ExitCode.FAIL


def test_a_run_without_readable_evidence_is_not_carried_out(ran: Ran) -> None:
    found = ran.repeated(*(ran.again(seed) for seed in range(1, 7)))
    row = found.add_unreadable(7, "events/run.jsonl: not JSON", "seed-7")
    assert (row.exit_code, row.affected) == (ExitCode.HARNESS, 0)
    result = found.result(None)
    assert result.exit_code is ExitCode.HARNESS
    assert "seed 7: events/run.jsonl: not JSON" in result.reasons
    assert to_junit(result, [ran.summary])
    assert "NOT CARRIED OUT" in to_markdown(result)


def test_no_run_at_all_is_the_laboratorys_failure(ran: Ran) -> None:
    result = ran.together(ran.again(1, status="harness_failed", cause="no space"), ran.again(2, status="interrupted"))
    assert (result.exit_code, result.pooled, result.expectations) == (ExitCode.HARNESS, None, ())
    assert "HARNESS FAILED" in to_html(result)
    assert "2 of 2 runs could not be carried out" in to_markdown(result)


def test_a_doubt_forbids_only_the_verdict_that_needs_its_run(ran: Ran) -> None:
    doubt = Laboratory(doubts=("the runner ran late by 0.9 s",))
    good = [ran.again(seed) for seed in range(1, 7)]
    assert ran.together(*good, ran.again(7, laboratory=doubt)).verdict is Verdict.PASS
    result = ran.together(*good[:2], *(ran.again(seed, laboratory=doubt) for seed in range(3, 9)))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "seed 3: the runner ran late by 0.9 s" in result.reasons
    assert ran.together(ran.again(1, laboratory=doubt)).verdict is Verdict.INCONCLUSIVE


def test_without_an_expectation_nothing_passes(ran: Ran) -> None:
    experiment = msgspec.structs.replace(ran.experiment, expectations=())
    found = Repetitions(experiment, Lane.MODEL, RepetitionPlan(1, 3, until_decided=True))
    found.add(ran.again(1), "seed-1")
    assert not found.is_decided()
    assert found.result(None).verdict is Verdict.INCONCLUSIVE


def test_a_run_that_failed_alone_fails_all_only_where_that_was_asked(ran: Ran) -> None:
    runs = [ran.again(seed) for seed in range(1, 7)]
    failed = ran.again(7, verdict=Verdict.FAIL, reasons=("success_rate 70 %",))
    assert ran.together(*runs, failed).verdict is Verdict.PASS
    stop = EarlyStop("seed 7 failed, and --fail-fast stops there", failed=True)
    result = ran.together(*runs, failed, stop=stop, fail_fast=True)
    assert (result.exit_code, result.stopped) == (ExitCode.FAIL, stop.why)
    assert "success_rate 70 %" in result.reasons[0]


def test_a_verdict_is_decided_at_looks_only_and_with_their_confidence(ran: Ran) -> None:
    found = ran.repeated(until_decided=True, target=0.67)
    decided = []
    for seed in range(1, 7):
        found.add(ran.again(seed), f"seed-{seed}")
        decided.append(found.is_decided())
    assert decided == [False, False, False, True, False, True]
    expected = found.result(None).expectations[0]
    assert 0.95 < expected.confidence < 0.995
    assert found.result(None).verdict is Verdict.PASS


def test_a_broken_invariant_decides_at_once(ran: Ran) -> None:
    found = ran.repeated(ran.again(1, invariants=broken(ran.summary)), until_decided=True)
    assert found.is_decided()
    assert found.result(None).exit_code is ExitCode.FAIL


def test_a_lost_run_never_lets_a_pass_be_decided(ran: Ran) -> None:
    runs = [ran.again(seed) for seed in range(1, 6)]
    assert not ran.repeated(*runs, ran.again(6, status="not_started"), until_decided=True).is_decided()


def test_junit_has_a_suite_for_the_whole_and_one_for_each_run(ran: Ran) -> None:
    """A target that is undecided in a run alone is skipped there; a broken invariant is red there."""
    runs = [ran.again(seed) for seed in range(1, 7)]
    runs.append(ran.again(7, verdict=Verdict.FAIL, invariants=broken(ran.summary)))
    result = ran.together(*runs)
    root = ET.fromstring(to_junit(result, [run.summary for run in runs]))  # noqa: S314 - our own bytes
    suites = list(root)
    assert [suite.get("name") for suite in suites] == [
        "tiny (model) all runs",
        *(f"tiny (model) seed {seed}" for seed in range(1, 8)),
    ]
    assert [suite.get("failures") for suite in suites] == ["1", *["0"] * 6, "1"]
    assert [suite.get("errors") for suite in suites] == ["0"] * 8
    assert int(suites[1].get("skipped") or 0) >= 2
    said = [node.get("message") or "" for node in suites[1].iter("skipped")]
    assert any("in this run alone; judged over all runs: " in text for text in said)
    for suite in suites:
        cases = [(case.get("classname"), case.get("name")) for case in suite.iter("testcase")]
        assert len(cases) == len(set(cases)) == int(suite.get("tests") or 0)


def test_every_file_shows_the_same_verdict_and_each_run(ran: Ran, tmp_path: Path) -> None:
    runs = [ran.again(seed) for seed in range(1, 7)]
    stop = EarlyStop("4 s of the budget of 60 s are left, and one more may need 9.0 s")
    result = ran.together(*runs, stop=stop, budget=60.0)
    write_repetitions(tmp_path, result, [run.summary for run in runs])
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"repetitions.{kind}" for kind in ("json", "md", "html")),
        "junit.xml",
    }
    assert msgspec.json.decode((tmp_path / "repetitions.json").read_bytes(), type=RepeatedRuns) == result
    page, text = (tmp_path / "repetitions.html").read_text("utf-8"), (tmp_path / "repetitions.md").read_text("utf-8")
    for words in (page, text):
        assert "PASS" in words
        assert "6 of 10 repetitions, seeds 1 to 6" in words
        assert stop.why in words
    assert page.count('<a href="seed-') == 6
    assert text.count("| INCONCLUSIVE |") == sum(row.verdict is Verdict.INCONCLUSIVE for row in result.repetitions)
    assert banner(result).said.startswith("120 of 120 came back by themselves (100 %) in 6 runs")
