"""What a fit finds: the costs of runs that were made with known ones, and intervals that mean what they say."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from sim.calibration.calibrate import calibrate, defaults, doubts_about
from sim.calibration.estimates import estimate
from sim.calibration.observations import PARAMETERS, Samples

from .made_runs import MACHINE_COSTS, experiment, make_run

ROUNDING = 0.03
"""What else the model does at the same time may move a value by this part of it."""


def test_a_fit_finds_every_cost_of_the_runs(fitted_runs: list[Path]) -> None:
    """From the event logs alone; none of these costs is a default."""
    found = calibrate(fitted_runs).parameters
    assert all(found[name].fitted for name in PARAMETERS)
    wanted = {name: getattr(MACHINE_COSTS, name) for name in PARAMETERS}
    assert {name: each.value for name, each in found.items()} == pytest.approx(wanted, rel=ROUNDING)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_cost_moves_its_own_parameter(name: str, tmp_path: Path) -> None:
    """Half as much again of one cost is found in that parameter, and in no other."""
    true = getattr(MACHINE_COSTS, name) * 1.5
    changed = msgspec.structs.replace(MACHINE_COSTS, **{name: true})
    found = calibrate([make_run(tmp_path / "run", 1, changed)]).parameters
    assert found[name].value == pytest.approx(true, rel=ROUNDING)
    others = {other: each.value for other, each in found.items() if other != name}
    assert others == pytest.approx({other: getattr(MACHINE_COSTS, other) for other in others}, rel=2 * ROUNDING)


@pytest.mark.parametrize("runs", [1, 2, 5])
def test_an_interval_covers_the_true_value_in_most_fits(runs: int) -> None:
    """Noise of every sample and of every cluster; 95 % intervals, so 88 of 100 is below what chance explains."""
    chance, true, covered = np.random.default_rng(runs), 0.010, 0
    for _ in range(100):
        made = [_noisy(chance, true) for _ in range(runs)]
        found = estimate(made, 0.0)
        covered += found.low is not None and found.high is not None and found.low <= true <= found.high
    assert covered >= 88


def _noisy(chance: np.random.Generator, true: float) -> Samples:
    """Eight blocks of 25 samples; a whole run shares half of the noise where runs are the clusters."""
    blocks = true + chance.normal(0.0, 0.0008, 8)
    values = np.repeat(blocks, 25) + chance.normal(0.0, 0.002, 200)
    return Samples(values, np.repeat(np.arange(8) * 5.0, 25) + 1.0)


def test_too_little_data_keep_the_default_and_say_so(tmp_path: Path) -> None:
    """A run without a fault tells nothing of faults, and all of its clients join in one moment."""
    quiet = msgspec.structs.replace(experiment(), faults=(), ramp=1.0)
    found = calibrate([make_run(tmp_path / "run", 1, plan=quiet)])
    kept = {name for name, each in found.parameters.items() if not each.fitted}
    assert kept == set(PARAMETERS) - {"latency", "message"}
    assert all(found.parameters[name].value == defaults()[name] for name in kept)
    assert "startup: not fitted: 0 samples in 0 clusters: needs 2 clusters, so the default is kept" in doubts_about(
        found
    )


def test_one_stall_of_the_machine_moves_no_value() -> None:
    """A tenth of the samples at either end of each cluster is left out."""
    at = np.linspace(0.0, 99.5, 200)
    values = np.full(200, 0.004)
    values[7::50] = 0.5
    assert estimate([Samples(values, at)], 0.0).value == pytest.approx(0.004)
