"""The experiments of ``runner/`` through both simulators: each gets the verdict that its design can support.

``drill``     three faults of three kinds, all survived: pass, 100 of 100.
``flap``      eight refusals of 1 s: every client is back each time.
``halfup``    one direction lost: all are back, but two physical events cannot bound a 95th percentile.
``lateheal``  the run ends 0.2 s after the heal: refused, as what is never observed can prove no success.
``many``      twenty-four cuts: enough events for a verdict.
``vacuous2``  one of 41 comes back and no target is stated: nothing was required, so nothing was passed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.build import analyse
from reports.summary import Summary
from resilience.errors import ExperimentError
from resilience.eventlog.vocabulary import Lane, Verdict
from resilience.experiment.loader import load
from resilience.lab.run import execute
from sim.cli import driver_of

CASES = Path(__file__).parent / "runner"
LANES = (Lane.MODEL, Lane.VIRTUAL)


def outcome(name: str, lane: Lane, run_dir: Path) -> Summary:
    experiment = load(str(CASES / f"{name}.toml"))
    execute(driver_of(lane), experiment, experiment.seed, run_dir)
    return analyse(run_dir)[2]


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    "name, verdict, code",
    [
        ("drill", Verdict.PASS, 0),
        ("flap", Verdict.PASS, 0),
        ("halfup", Verdict.INCONCLUSIVE, 3),
        ("many", Verdict.PASS, 0),
        ("vacuous2", Verdict.INCONCLUSIVE, 3),
    ],
)
def test_each_gets_its_verdict(tmp_path: Path, name: str, verdict: Verdict, code: int, lane: Lane) -> None:
    summary = outcome(name, lane, tmp_path / "run")
    assert (summary.verdict, summary.exit_code, summary.laboratory.doubts) == (verdict, code, ())


@pytest.mark.parametrize("lane", LANES)
def test_the_drill_brings_all_of_a_hundred_back(tmp_path: Path, lane: Lane) -> None:
    rate = outcome("drill", lane, tmp_path / "run").success_rate
    assert (rate.restored, rate.affected) == (100, 100)


def test_a_run_that_ends_right_after_the_heal_is_refused() -> None:
    """Before anything runs, with the duration that would do."""
    with pytest.raises(ExperimentError) as caught:
        load(str(CASES / "lateheal.toml"))
    assert caught.value.key == "duration"
    assert str(caught.value).endswith("must be at least 25.8: the last fault ends at 23.8 s, and returns need 2 s")
