"""What a design can prove is known before its run, and a run proves no more."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from reports.plan import plan_lines, planned_design, plans
from reports.rates import low_bound
from reports.windows import planned_windows, windows_frame
from resilience.cli import root
from resilience.errors import ExitCode, ResilienceError
from resilience.experiment.faults import (
    AnyFault,
    BlackholeFault,
    CutFault,
    CutMidMessageFault,
    LatencyFault,
    ServerKillFault,
    StallFault,
)
from resilience.experiment.spec import Expectation, Experiment, Op

from ..support.log_builder import LogBuilder, experiment

RATE = Expectation("success_rate", Op.AT_LEAST, 0.95)
NINE = CutFault(at=8.0, cohorts=("alpha",), times=9, every=5.0)


def _experiment(*faults: AnyFault, asked: tuple[Expectation, ...] = (RATE,), clients: int = 100) -> Experiment:
    return experiment(faults, asked, clients=clients, cohorts=("alpha", "beta"))


def _sizes(planned: Experiment, expectation: Expectation = RATE) -> list[float]:
    sizes: list[float] = planned_design(planned, expectation, 0.95, 0.05).sizes.tolist()
    return sizes


def test_nine_events_can_prove_what_one_cannot() -> None:
    (many,) = plans(_experiment(NINE))
    assert many.can_pass
    assert many.best == pytest.approx(0.975, abs=1e-3)
    assert many.chances[0.999] > many.chances[0.99] > 0.4
    (one,) = plans(_experiment(CutFault(at=10.0, cohorts=("alpha", "beta"))))
    assert not one.can_pass
    assert one.best == pytest.approx(0.847, abs=1e-2)
    assert (one.events_needed, one.clients_needed) == (5, None)


def test_the_failures_that_it_allows_are_the_last_that_pass() -> None:
    (plan,) = plans(_experiment(NINE))
    alike, first = plan.design.sizes / plan.design.n, np.arange(9) == 0
    for share, most in ((alike, plan.failures_spread), (first, plan.failures_in_one)):
        assert most is not None
        assert low_bound(plan.design, most * share) >= 0.95
        assert low_bound(plan.design, (most + 1) * share) < 0.95
    assert (plan.failures_in_one or 0) <= (plan.failures_spread or 0)


def test_the_needed_events_can_pass_and_fewer_cannot() -> None:
    (one,) = plans(_experiment(CutFault(at=10.0, cohorts=("alpha",))))
    assert one.events_needed is not None
    for times, enough in ((one.events_needed, True), (one.events_needed - 1, False)):
        (again,) = plans(_experiment(CutFault(at=10.0, cohorts=("alpha",), times=times, every=5.0)))
        assert again.can_pass is enough


def test_a_client_counts_once_in_an_event() -> None:
    """Overlapping faults are one event; a fault of the server strikes all clients."""
    overlapping = (
        BlackholeFault(at=10.0, cohorts=("alpha",), duration=10.0),
        CutFault(at=15.0, cohorts=("alpha", "beta")),
    )
    assert _sizes(_experiment(*overlapping)) == [200.0]
    assert _sizes(_experiment(ServerKillFault(at=10.0, duration=1.0))) == [200.0]
    assert _sizes(_experiment(CutFault(at=10.0, cohorts=("alpha",), share=0.3))) == [30.0]
    assert _sizes(_experiment()) == []


def test_a_fault_that_connections_survive_is_no_drop() -> None:
    """One that is silent for longer than clients are patient is; so is one that tears messages."""
    alpha = ("alpha",)
    assert _sizes(_experiment(LatencyFault(at=10.0, cohorts=alpha, duration=5.0, delay=0.1))) == []
    assert _sizes(_experiment(StallFault(at=10.0, cohorts=alpha, duration=5.0))) == []
    assert _sizes(_experiment(StallFault(at=10.0, cohorts=alpha, duration=15.0))) == [100.0]
    assert _sizes(_experiment(CutMidMessageFault(at=10.0, cohorts=alpha, duration=5.0, after=100))) == [100.0]


def test_an_expectation_about_a_part_is_planned_for_that_part() -> None:
    planned = _experiment(CutFault(at=10.0, cohorts=("alpha", "beta")), CutFault(at=20.0, cohorts=("beta",)))
    assert _sizes(planned, Expectation("success_rate", Op.AT_LEAST, 0.9, cohort="alpha")) == [100.0]
    killed = _experiment(CutFault(at=10.0, cohorts=("alpha",)), ServerKillFault(at=20.0, duration=1.0))
    assert _sizes(killed, Expectation("success_rate", Op.AT_LEAST, 0.9, fault="cut")) == [100.0]


def test_planned_events_are_those_of_a_run() -> None:
    planned = _experiment(NINE, BlackholeFault(at=9.0, cohorts=("beta",), duration=10.0))
    frame, seen = planned_windows(planned), windows_frame(LogBuilder(planned).log())
    columns = ["fault_id", "event", "stratum"]
    assert frame[columns].sort_values("fault_id").to_numpy().tolist() == (
        seen[columns].sort_values("fault_id").to_numpy().tolist()
    )


def test_it_is_said_in_words() -> None:
    assert plan_lines(plans(_experiment(CutFault(at=10.0, cohorts=("alpha",))))) == [
        (
            "success_rate ≥ 95 % can never pass: at most 100 drops in 1 fault event of 1 kind, "
            "within-event correlation 0.05."
        ),
        "  All restored would prove at least 83.67 % with 95 % confidence.",
        "  About 6 events of 100 clients would do; with as few events as now no number of clients would.",
    ]
    assert plan_lines(plans(_experiment(NINE)))[0].startswith(
        "success_rate ≥ 95 % can pass: at most 900 drops in 9 fault"
    )
    assert "nothing to plan" in plan_lines(plans(_experiment(NINE, asked=())))[0]
    assert "≥ 80 % can pass" in plan_lines(plans(_experiment(NINE, asked=()), target=0.8))[0]


def test_a_target_for_clients_that_no_fault_strikes_can_never_pass() -> None:
    """A run of such a design measures nothing, whatever other targets it proves."""
    never = Expectation("success_rate", Op.AT_LEAST, 0.95, cohort="beta")
    struck, spared = plans(_experiment(NINE, asked=(RATE, never)))
    assert (struck.can_pass, spared.can_pass) == (True, False)
    assert plan_lines([spared]) == [
        "success_rate [cohort beta] ≥ 95 % can never pass: no fault strikes any of its clients."
    ]
    assert [plan.can_pass for plan in plans(_experiment())] == [False]


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("crash",), ExitCode.PASS, "can pass"),
        (("crash", "--target", "0.9999"), ExitCode.INCONCLUSIVE, "can never pass"),
        (("crash", "--target", "2"), ExitCode.USAGE, "Invalid value for '--target'"),
        (("no-such-experiment",), ExitCode.USAGE, "no-such-experiment"),
    ],
)
def test_the_command(arguments: tuple[str, ...], code: ExitCode, words: str) -> None:
    result = CliRunner().invoke(root, ["report", "plan", *arguments])
    assert words in result.output + str(result.exception or "")
    raised = result.exception
    assert (raised.exit_code if isinstance(raised, ResilienceError) else result.exit_code) == code
