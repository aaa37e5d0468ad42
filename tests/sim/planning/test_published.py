"""What others have published of reconnecting crowds, against the simulation; docs/planning.md has the comparison."""

from __future__ import annotations

import pytest

from resilience.eventlog.vocabulary import Lane
from resilience.policy.admission import SLOT_SHARE
from sim.planning.evaluation import RunTask, Scenario, evaluate
from sim.planning.figures import Figures

STORM = """
name = "storm"
duration = 900.0
[server]
join_capacity = 50.0
[[cohorts]]
name = "all"
clients = 100
[[faults]]
kind = "refuse"
at = 12.0
duration = 5.0
cohorts = ["all"]
"""


def _storm(seconds_of_work: float, **settings: object) -> Figures:
    """All return at once; so many seconds of work of a server that serves as many as its admission control believes."""
    texts = {"scale": f"{seconds_of_work / 2}"} | {
        key.replace("__", "."): str(value) for key, value in settings.items()
    }
    half = 0.5 / float(texts.get("server.join_capacity", "50"))
    texts |= {"costs.handshake": str(half), "costs.restore": str(half)}
    scenario = Scenario(name="storm", text=STORM, lane=Lane.POPULATION, seed=1)
    return evaluate(scenario, RunTask(0, tuple(texts.items()), 0)).figures


def _last_back(figures: Figures) -> float:
    last = figures["excess_s.max"]
    assert last is not None
    return last


def test_a_quota_of_500_connections_a_second_takes_2000_seconds_for_a_million() -> None:
    """Amazon API Gateway's default quota. 2,000 at one a second are the same storm, 500 times smaller."""
    figures = _storm(2000, client__budget=10_000.0, server__join_capacity=1.0, scale=20.0, duration=3000.0)
    assert figures["restored"] == 2000
    assert 2000.0 <= _last_back(figures) <= 2000.0 / SLOT_SHARE


def test_the_shipped_budget_ends_before_a_queue_of_2000_seconds() -> None:
    figures = _storm(2000, server__join_capacity=1.0, scale=20.0, duration=3000.0)
    assert figures["gave_up_share"] == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("preset", ["classic", "window"])
@pytest.mark.parametrize(
    "work, returned, requests",
    [(4, (1.0, 1.0), (1.0, 1.05)), (10, (1.0, 1.0), (1.15, 1.8)), (50, (0.0, 0.3), (20.0, 999.0))],
)
def test_without_admission_a_crowd_is_stable_vulnerable_or_metastable(
    preset: str, work: float, returned: tuple[float, float], requests: tuple[float, float]
) -> None:
    """Zed's and Slack's storms in kind: timeout, retry, work in vain, by seconds of queued work."""
    figures = _storm(work, client__preset=preset, server__admission_seconds=1e9)
    back, each = figures["returned_share"], figures["requests_per_return"]
    assert back is not None
    assert each is not None
    assert returned[0] <= back <= returned[1]
    assert requests[0] <= each <= requests[1]


@pytest.mark.parametrize("work", [10, 100])
def test_with_admission_every_crowd_returns_at_the_servers_pace(work: float) -> None:
    figures = _storm(work)
    assert figures["returned_share"] == 1.0
    assert figures["requests_per_return"] == 1.0
    assert _last_back(figures) <= work / SLOT_SHARE + 5.0
