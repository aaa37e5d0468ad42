"""Comparisons of runs of the model lane: a small change is found, a harmful one is not better, noise is no change."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.compare import compare
from reports.comparison import Change, Comparison
from resilience.experiment.loader import load
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus
from sim.model.lane import ModelLane


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def _demo(root: Path, probe_after: float, seed: int = 7) -> Path:
    run_dir = root / f"{probe_after:g}-{seed}"
    if not run_dir.exists():
        experiment = load("demo", (f"client.probe_after={probe_after}",))
        assert execute(ModelLane(), experiment, seed, run_dir).status is RunStatus.COMPLETED
    return run_dir


def _verdicts(comparison: Comparison) -> dict[str, Change]:
    return {row.metric: row.gaps[0].verdict for row in comparison.rows}


def test_a_tenth_of_a_second_of_detection_is_found(root: Path) -> None:
    """A client that probes after 4.4 s of silence instead of 4.0 notices later, whatever its reconnection."""
    comparison = compare([_demo(root, 4.0), _demo(root, 4.4)])
    found = _verdicts(comparison)
    assert found["detection_s.mean"] is Change.WORSE
    assert [metric for metric, gap in comparison.judged if gap.verdict is Change.WORSE] == ["detection_s.mean"]
    assert comparison.headline.startswith("Different experiments, in client.probe_after 4.0 → 4.4: worse than")
    back = _verdicts(compare([_demo(root, 4.4), _demo(root, 4.0)]))
    assert back["detection_s.mean"] is Change.BETTER


def test_a_client_that_is_blind_to_silence_is_worse(root: Path) -> None:
    """Its reconnection is shorter by as much as its detection is longer, and that does not count as better."""
    comparison = compare([_demo(root, 4.0), _demo(root, 14.0)])
    found = _verdicts(comparison)
    assert found["detection_s.mean"] is found["detection_s.p95"] is Change.WORSE
    assert comparison.worse
    assert "reconnection" not in comparison.also
    assert found["reconnection_s.restricted_mean"] is Change.DIFFERS


def test_another_seed_is_no_change(root: Path) -> None:
    comparison = compare([_demo(root, 4.0), _demo(root, 4.0, seed=8)])
    assert {gap.verdict for _, gap in comparison.judged} == {Change.NO_CHANGE}
