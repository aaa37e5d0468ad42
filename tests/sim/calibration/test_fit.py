"""What a fit finds: the costs of runs that were made with known ones, and intervals that mean what they say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from reports.frames import load_history
from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.experiment.spec import Hypothesis
from sim.calibration import joint_fit
from sim.calibration.calibrate import calibrate, defaults, doubts_about
from sim.calibration.estimates import TOGETHER, TOLD_ONCE, UNSEEN, estimate
from sim.calibration.observations import PARAMETERS, SINGLE, Known, Samples, dials_of, samples_of
from sim.calibration.returns import laboratory_of
from sim.calibration.stages import WorkCosts, predict, seen

from .made_runs import MACHINE_COSTS, experiment, make_run

ROUNDING = 0.03
"""What else the model does at the same time may move a value by this part of it."""

SHARED = 0.1
"""The same for costs of which only the queues of a herd tell one from the other, and what is measured in a herd."""
IN_A_HERD = (*WorkCosts._fields, "injection", "healing")


def test_a_fit_finds_every_cost_of_the_runs(fitted_runs: list[Path]) -> None:
    """From the event logs alone; none of these costs is a default."""
    found = calibrate(fitted_runs).parameters
    assert all(found[name].fitted for name in PARAMETERS)
    apart = {name: each.value / getattr(MACHINE_COSTS, name) - 1.0 for name, each in found.items()}
    far = {name: by for name, by in apart.items() if abs(by) > (SHARED if name in IN_A_HERD else ROUNDING)}
    assert not far


@pytest.mark.parametrize("name", SINGLE)
def test_a_cost_moves_its_own_parameter(name: str, tmp_path: Path) -> None:
    """Half as much again of one cost is found in that parameter, and in no other that is measured by itself."""
    true = getattr(MACHINE_COSTS, name) * 1.5
    changed = msgspec.structs.replace(MACHINE_COSTS, **{name: true})
    history = load_history(make_run(tmp_path / "run", 1, changed))
    known = Known(changed.latency, changed.message, changed.client_loss)
    samples = samples_of(history, known, laboratory_of(history, 0))
    found = {each: estimate([samples[each]], 0.0).value for each in SINGLE}
    apart = {each: value / getattr(changed, each) - 1.0 for each, value in found.items()}
    far = {each: by for each, by in apart.items() if abs(by) > (SHARED if each in IN_A_HERD else ROUNDING)}
    assert not far


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


@pytest.mark.usefixtures("one_search")
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


@pytest.fixture(scope="module")
def calm_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs without a herd: client after client joins, and nothing happens to them."""
    folder = tmp_path_factory.mktemp("calm")
    calm = msgspec.structs.replace(experiment(), faults=(), ramp=30.0, hypothesis=Hypothesis(within=31.0))
    return [make_run(folder / str(seed), seed, plan=calm) for seed in (1, 2, 3)]


@pytest.mark.usefixtures("one_search")
def test_costs_that_runs_do_not_tell_apart_predict_these_runs_together(calm_runs: list[Path]) -> None:
    """What is written is a fit as a whole: a default among it would make every dial of these runs quicker."""
    found = calibrate(calm_runs).parameters
    kept = {name: found[name].reason for name in WorkCosts._fields if not found[name].fitted}
    assert {"connect", "client_dial", "client_message", "relay", "handshake"} <= kept.keys()
    assert kept["relay"] == TOGETHER
    assert kept["restore"] == UNSEEN
    assert found["restore"].value == defaults()["restore"]
    written = WorkCosts(**{name: found[name].value for name in WorkCosts._fields})
    known = Known(found["latency"].value, found["message"].value, found["client_loss"].value)
    for path in calm_runs:
        history = load_history(path)
        run = dials_of(history, known, laboratory_of(history, 0))
        for measured, predicted in list(zip(seen(run), predict(run, written), strict=True))[1:4]:
            assert np.nanmedian(predicted) == pytest.approx(np.nanmedian(measured), rel=ROUNDING)


@pytest.mark.usefixtures("one_search")
def test_runs_that_say_nothing_of_a_cost_are_not_counted(calm_runs: list[Path], other_run: Path) -> None:
    """Two calm runs lose no connection; the third does, and tells what that costs alone."""
    found = calibrate([*calm_runs[:2], other_run]).parameters
    assert (found["client_loss"].runs, found["client_loss"].clusters) == (1, 1)
    assert found["client_loss"].reason == TOLD_ONCE
    assert (found["client_message"].runs, found["client_message"].clusters) == (3, 3)


@pytest.mark.parametrize("runs", [1, 2, 3])
@pytest.mark.usefixtures("one_search")
def test_the_spread_of_all_work_is_that_of_the_machines_speed(
    runs: int, fitted_runs: list[Path], tmp_path: Path
) -> None:
    """One run has the same speed throughout; of several the last is of a machine that takes 1.4 times as long."""
    slower = {name: 1.4 * getattr(MACHINE_COSTS, name) for name in WorkCosts._fields}
    last = make_run(tmp_path / "slower", 5, msgspec.structs.replace(MACHINE_COSTS, **slower))
    found = calibrate([*fitted_runs, last][-runs:] if runs > 1 else fitted_runs[:1]).parameters
    (spread,) = {found[name].spread for name in WorkCosts._fields}
    speeds = [1.0] * (runs - 1) + [1.4]
    wanted = np.std(speeds, ddof=1) / np.mean(speeds) if runs > 1 else 0.0
    assert spread == pytest.approx(wanted, abs=0.05)


def test_a_wait_that_could_be_longer_is_no_default(fitted_runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that ends at a wait which always suffices: more would change nothing, and none much."""
    found = WorkCosts(**{name: getattr(MACHINE_COSTS, name) for name in WorkCosts._fields})
    monkeypatch.setattr(joint_fit, "_start", lambda _: found._replace(commit_wait=10.0))
    monkeypatch.setattr(joint_fit, "_RESTARTS", 0)
    monkeypatch.setattr(joint_fit, "least_squares", lambda _, costs, *__, **___: SimpleNamespace(x=costs))
    wait = calibrate(fitted_runs[:2]).parameters["commit_wait"]
    assert (wait.clusters, wait.fitted, wait.reason) == (0, False, TOGETHER)
    assert wait.value == 10.0


def test_one_stall_of_the_machine_moves_no_value() -> None:
    """A tenth of the samples at either end of each cluster is left out."""
    at = np.linspace(0.0, 99.5, 200)
    values = np.full(200, 0.004)
    values[7::50] = 0.5
    assert estimate([Samples(values, at)], 0.0).value == pytest.approx(0.004)


def test_what_a_quiz_stores_at_each_step_is_a_request_for_a_commit(fitted_runs: list[Path]) -> None:
    """A question opens, closes, and its reveal ends: three rows for each of them, besides the answers."""
    history = load_history(fitted_runs[0])
    known = Known(MACHINE_COSTS.latency, MACHINE_COSTS.message, MACHINE_COSTS.client_loss)
    others = dials_of(history, known, laboratory_of(history, 0)).others
    opened, closed = (
        history.rows(kind, role=Role.SERVER)["t"].to_numpy()
        for kind in (LogEventKind.QUESTION_OPENED, LogEventKind.QUESTION_CLOSED)
    )
    answers = len(history.rows(LogEventKind.ANSWER_SUBMITTED, role=Role.CLIENT))
    assert len(opened) > 5
    assert set(opened) | set(closed) | set(closed[:-1] + history.experiment.quiz.reveal_time) <= set(others)
    assert len(others) - answers - len(opened) - 2 * len(closed) in (-1, 0)
