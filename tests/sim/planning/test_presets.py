"""What the shipped return window and its cap cost and gain against longer ones: docs/planning.md, in small."""

from __future__ import annotations

import pytest

from resilience.config import ServerConfig
from resilience.eventlog.vocabulary import Lane
from resilience.policy import return_window
from resilience.policy.return_window import CAP_PER_LOAD, MAX_SPREAD_S
from sim.planning.evaluation import RunTask, Scenario, evaluate
from sim.planning.figures import Figures

WORK_S = 60.0
"""Seconds of queued work when all return: the shipped window is shorter, a longer one would cover it."""
TARGET_S = 5.0
"""Within this a participant of an event is to be back after a lost connection, on average."""

CROWD = f"""
name = "crowd"
duration = 120.0

[[cohorts]]
name = "all"
clients = 600

[server]
join_capacity = {600 / WORK_S}

[costs]
handshake = {0.6 * WORK_S / 600}
restore = {0.4 * WORK_S / 600}

[[faults]]
kind = "cut"
at = 12.0
cohorts = ["all"]
"""


def _figures(spread: float, share: float) -> Figures:
    scenario = Scenario(name="crowd", text=CROWD, lane=Lane.POPULATION, seed=1)
    settings = (("server.max_return_spread", repr(spread)), ("faults.0.share", repr(share)))
    return evaluate(scenario, RunTask(0, settings, 0)).figures


def _number(figures: Figures, name: str) -> float:
    value = figures[name]
    assert value is not None
    return value


def test_the_shipped_window_returns_a_few_of_a_large_event_within_the_target() -> None:
    """One in ten loses its connection: the shipped window has them back in time, one as long as the work does not."""
    shipped, longer = _figures(ServerConfig().max_return_spread, 0.1), _figures(WORK_S, 0.1)
    assert _number(shipped, "reconnection_s.restricted_mean") < TARGET_S
    assert _number(longer, "reconnection_s.restricted_mean") > 2 * TARGET_S


def test_a_longer_window_saves_dials_of_a_whole_crowd_and_no_time() -> None:
    """The server's pace decides when all are back; the shipped window has nearly each dial twice."""
    shipped, longer = _figures(ServerConfig().max_return_spread, 1.0), _figures(WORK_S, 1.0)
    name = "reconnection_s.restricted_mean"
    assert _number(longer, name) == pytest.approx(_number(shipped, name), rel=0.05)
    assert _number(longer, "attempts.mean") < _number(shipped, "attempts.mean") < 2.5
    assert (longer["success_rate"], shipped["success_rate"]) == (1.0, 1.0)


def test_the_setting_changes_nothing_for_an_event_that_is_served_sooner() -> None:
    """What the longest window is matters only where the work exceeds it."""
    assert ServerConfig().max_return_spread == MAX_SPREAD_S == TARGET_S
    quick = CROWD.replace("join_capacity = 10.0", "join_capacity = 200.0")
    quick = quick.replace("handshake = 0.06", "handshake = 0.003").replace("restore = 0.04", "restore = 0.002")
    scenario = Scenario(name="crowd", text=quick, lane=Lane.POPULATION, seed=1)
    found = [
        evaluate(scenario, RunTask(0, (("server.max_return_spread", spread),), 0)).figures for spread in ("5.0", "60.0")
    ]
    assert found[0] == found[1]


# --- the cap of the ladder --------------------------------------------------------------------------------------------

REGION = """
name = "region"
duration = 132.0

[[cohorts]]
name = "all"
clients = 970

[server]
join_capacity = 100.0

[costs]
handshake = 0.006
restore = 0.0035

[[faults]]
kind = "refuse"
at = 12.0
duration = 20.0
cohorts = ["all"]
"""
"""The busiest of 36 processes of docs/planning.md, a thirtieth of it: 9.7 s of work after 20 s of outage."""


def _back_in_time(cap_per_load: float, monkeypatch: pytest.MonkeyPatch) -> Figures:
    """Within 30 s of the loss, where a server announces a cap of so many times its work."""
    monkeypatch.setattr(return_window, "CAP_PER_LOAD", cap_per_load)
    return_window.return_window.cache_clear()
    scenario = Scenario(name="region", text=REGION, lane=Lane.POPULATION, seed=1, within=30.0)
    try:
        return evaluate(scenario, RunTask(0, (), 0)).figures
    finally:
        return_window.return_window.cache_clear()


def test_a_longer_cap_brings_fewer_back_in_time_without_a_rejection_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped, longer = (_back_in_time(cap, monkeypatch) for cap in (CAP_PER_LOAD, 2 * CAP_PER_LOAD))
    assert (shipped["rejected"], longer["rejected"]) == (0.0, 0.0)
    assert _number(shipped, "success_rate") > 0.95
    assert _number(longer, "success_rate") < 0.85
