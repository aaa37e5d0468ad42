"""Each planted defect is named by the check that is meant to find it, in every lane; a sound server by none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chaos.client_worker import WorkerPool
from chaos.real_lane import _Starter
from chaos.toxiproxy.provision import Binary
from resilience.experiment.spec import Experiment
from resilience.lab.fleet import Fleet
from resilience.server.app import WEBSOCKET_PATH
from sim.model.lane import ModelLane
from sim.virtual import lane
from sim.virtual.server_process import HOST, PORT
from tests.support.planted import DEFECTS, SUBJECTS, clients, runs
from tests.support.planted.planting import Defect
from tests.support.planted.runs import EXPERIMENTS, complaints, virtual

BYPASS = "faults_reach_their_links"
EVERY = [pytest.param(defect, id=defect.name) for defect in DEFECTS.values()]


@pytest.fixture
def run_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    """Have the real lane start its server and its clients with these defects."""
    return partial(runs.run_with, patched=monkeypatch)


@pytest.fixture
def bypass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the struck cohort's clients dial the server itself, in both lanes."""
    direct = f"ws://{HOST}:{PORT}{WEBSOCKET_PATH}"
    starters: list[_Starter] = []
    sound_init, sound_go = _Starter.__init__, WorkerPool.go

    def fleet(participants: Any, experiment: Any, urls: Mapping[str, str], *rest: Any, **more: Any) -> Fleet:  # noqa: ANN401
        return Fleet(participants, experiment, {**urls, "struck": direct}, *rest, **more)

    def remember(self: _Starter, *arguments: Any, **more: Any) -> None:  # noqa: ANN401
        sound_init(self, *arguments, **more)
        starters.append(self)

    async def go(self: WorkerPool, epoch: float, urls: Mapping[str, str]) -> None:
        server = starters[-1]._server
        await sound_go(self, epoch, {**urls, "struck": f"ws://{server.address}{server.url_path}"})

    monkeypatch.setattr(lane, "Fleet", fleet)
    monkeypatch.setattr(_Starter, "__init__", remember)
    monkeypatch.setattr(WorkerPool, "go", go)


# the virtual lane -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("defect", EVERY)
def test_a_planted_defect_is_named(defect: Defect, monkeypatch: pytest.MonkeyPatch) -> None:
    defect.plant(monkeypatch.setattr)
    assert defect.check in complaints(virtual(1, EXPERIMENTS[defect.experiment]))


def test_no_defect_hides_another() -> None:
    """Each of every subject is under its own name."""
    declared = [defect for subject in SUBJECTS for defect in subject.DEFECTS]
    assert list(DEFECTS.values()) == declared


def test_a_defect_begins_again_each_time_that_it_is_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run twice in one process: the same complaints, to the number of the message."""
    found = []
    for _ in range(2):
        with monkeypatch.context() as patched:
            DEFECTS["skips"].plant(patched.setattr)
            found.append(complaints(virtual(1)))
    assert found[0] == found[1]


@pytest.mark.usefixtures("bypass")
def test_a_cohort_that_bypasses_its_proxy_is_named() -> None:
    """As a doubt about the laboratory; the server did nothing wrong."""
    assert set(complaints(virtual(1))) == {BYPASS}


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
@pytest.mark.parametrize("seed", range(10))
def test_a_sound_server_is_not_accused(seed: int, experiment: Experiment) -> None:
    assert complaints(virtual(seed, experiment)) == {}


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
@pytest.mark.parametrize("seed", range(3))
def test_a_sound_model_is_not_accused(seed: int, experiment: Experiment) -> None:
    assert complaints(runs.in_memory(ModelLane(), seed, experiment)) == {}


@pytest.mark.bench
@pytest.mark.parametrize("seed", range(10, 50))
def test_a_sound_server_is_never_accused(seed: int) -> None:
    assert complaints(virtual(seed)) == {}


# the real lane --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("bypass")
def test_what_is_wrong_for_all_is_named_over_real_sockets(
    run_with: Callable[[Sequence[str]], None], binary: Binary, tmp_path: Path
) -> None:
    """Several defects at once that need no fault to show, and a cohort that bypasses its proxy."""
    names = ("one_more", "leak", "unequal")
    run_with(names)
    found = complaints(runs.real(1, binary, tmp_path))
    assert {DEFECTS[name].check for name in names} | {BYPASS} <= set(found)


def test_what_is_wrong_for_the_restored_is_named_over_real_sockets(
    run_with: Callable[[Sequence[str]], None], binary: Binary, tmp_path: Path
) -> None:
    names = ("deaf", "swallowed", "never_dead", "other_name", "same_token", "denied", "joined_again")
    run_with(names)
    found = complaints(runs.real(1, binary, tmp_path))
    assert {DEFECTS[name].check for name in names} <= set(found)


def test_what_is_wrong_in_clients_is_named_over_real_sockets(
    run_with: Callable[[Sequence[str]], None], binary: Binary, tmp_path: Path
) -> None:
    names = [defect.name for defect in clients.DEFECTS]
    run_with(names)
    found = complaints(runs.real(1, binary, tmp_path))
    assert {DEFECTS[name].check for name in names} <= set(found)


@pytest.mark.parametrize("name", ["both_act", "replay_accepted"])
def test_what_is_wrong_for_second_tabs_is_named_over_real_sockets(
    name: str, run_with: Callable[[Sequence[str]], None], binary: Binary, tmp_path: Path
) -> None:
    run_with([name])
    assert DEFECTS[name].check in complaints(runs.real(1, binary, tmp_path, runs.TABS))


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_a_sound_server_is_not_accused_over_real_sockets(
    experiment: Experiment, binary: Binary, tmp_path: Path
) -> None:
    assert complaints(runs.real(1, binary, tmp_path, experiment)) == {}


@pytest.mark.bench
@pytest.mark.parametrize("defect", EVERY)
def test_a_planted_defect_is_named_over_real_sockets(
    defect: Defect, run_with: Callable[[Sequence[str]], None], binary: Binary, tmp_path: Path
) -> None:
    run_with([defect.name])
    assert defect.check in complaints(runs.real(1, binary, tmp_path, EXPERIMENTS[defect.experiment]))


@pytest.mark.bench
@pytest.mark.parametrize("seed", range(2, 11))
def test_a_sound_server_is_never_accused_over_real_sockets(seed: int, binary: Binary, tmp_path: Path) -> None:
    assert complaints(runs.real(seed, binary, tmp_path)) == {}
