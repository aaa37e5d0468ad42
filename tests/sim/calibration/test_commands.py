"""``sim calibrate``, ``sim validate`` and ``sim run --calibration`` as a user types them, and what they refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from resilience.config import ClientConfig
from resilience.errors import EvidenceError, ExitCode, ResilienceError, UsageError
from resilience.experiment.faults import CutFault
from resilience.experiment.loader import load
from resilience.lab.run import execute
from sim.calibration.calibration_file import LEAST_S, FittedParameter, read_calibration, write_calibration
from sim.calibration.cli import calibrate, validate
from sim.calibration.runs import read_runs
from sim.cli import sim, with_calibration
from sim.population.run import PopulationRun
from sim.virtual.lane import VirtualLane

from .made_runs import calibration_of, experiment, make_run

pytestmark = pytest.mark.usefixtures("one_search")


def test_a_calibration_is_written_read_and_used(fitted_runs: list[Path], other_run: Path, tmp_path: Path) -> None:
    """Calibrate, validate, run: each finds what the one before it wrote."""
    runner, file = CliRunner(), tmp_path / "made.json"
    done = runner.invoke(
        calibrate, [*map(str, fitted_runs), "--out", str(file), "--note", "made"], standalone_mode=False
    )
    assert done.return_value == ExitCode.PASS
    assert read_calibration(file).note == "made"
    where = tmp_path / "validation"
    arguments = [str(other_run), "--calibration", str(file), "--out", str(where), "--replications", "2"]
    done = runner.invoke(validate, arguments, standalone_mode=False)
    assert done.return_value == ExitCode.INCONCLUSIVE, "one run has six intervals, too few for a share"
    assert "made, seed 4: 159 episodes, replayed 3 times" in done.output
    assert {each.name for each in where.iterdir()} == {"validation.json", "validation.html"}
    demo = load("demo")
    assert with_calibration(demo, file, "model").costs == read_calibration(file).costs(demo.costs)


def test_a_calibrated_run_takes_the_costs_of_its_file(tmp_path: Path) -> None:
    """Each parameter of it, fitted or not."""
    slow = calibration_of()
    slow.parameters["startup"] = FittedParameter(value=3.0, fitted=False)
    write_calibration(slow, tmp_path / "slow.json")
    own = load("demo", ("costs.close_timeout=2.0",))
    found = with_calibration(own, tmp_path / "slow.json", "model").costs
    assert (found.startup, found.close_timeout) == (3.0, 2.0)
    assert found == slow.costs(own.costs)


def test_a_cost_that_was_found_to_be_none_can_be_used() -> None:
    found = calibration_of()
    found.parameters["commit"] = FittedParameter(value=0.0)
    assert found.costs(load("demo").costs).commit == LEAST_S


def test_only_the_model_lane_takes_costs(tmp_path: Path) -> None:
    """Before anything runs."""
    write_calibration(calibration_of(), tmp_path / "made.json")
    arguments = ["run", "demo", "--lane", "virtual", "--calibration", str(tmp_path / "made.json")]
    done = CliRunner().invoke(sim, arguments, standalone_mode=False)
    assert isinstance(done.exception, UsageError)
    assert "the lane virtual takes no calibrated costs" in str(done.exception)


def test_the_shipped_calibration_says_where_it_comes_from() -> None:
    """Real runs, a processor, no names of hosts or paths."""
    shipped = read_calibration(Path("shipped"))
    assert {run.lane for run in shipped.runs} == {"real"}
    assert shipped.machine.processor
    assert all(each.fitted for each in shipped.parameters.values())


# what is refused ------------------------------------------------------------------------------------------------------


def _without_events(run: Path) -> None:
    next((run / "events").iterdir()).unlink()


def _torn(run: Path) -> None:
    path = next((run / "events").iterdir())
    path.write_bytes(path.read_bytes()[:-200])


def _without_info(run: Path) -> None:
    (run / "run.json").unlink()


def _interrupted(run: Path) -> None:
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"status": "interrupted", "cause": "interrupted by SIGINT"}))


def _emptied(run: Path) -> None:
    shutil.rmtree(run)
    run.mkdir()


def _removed(run: Path) -> None:
    shutil.rmtree(run)


@pytest.mark.parametrize(
    "damage, kind, said",
    [
        (_without_events, EvidenceError, "events/"),
        (_torn, EvidenceError, "events/"),
        (_without_info, EvidenceError, "run.json"),
        (_interrupted, UsageError, "not a run that was carried out: interrupted by SIGINT"),
        (_emptied, UsageError, "not a run directory"),
        (_removed, UsageError, "no such run directory"),
    ],
)
def test_a_run_that_is_not_whole_is_an_error_in_one_line(
    damage: Callable[[Path], None], kind: type[ResilienceError], said: str, other_run: Path, tmp_path: Path
) -> None:
    """It names the directory."""
    run = tmp_path / "copy"
    shutil.copytree(other_run, run)
    damage(run)
    with pytest.raises(kind) as caught:
        read_runs([run])
    assert said in str(caught.value)
    assert str(run) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_of_another_lane_is_refused(tmp_path: Path) -> None:
    """The virtual lane's and the population lane's clocks know no costs of a machine."""
    small = load("smoke")
    execute(VirtualLane(), small, 1, tmp_path / "virtual")
    with pytest.raises(UsageError, match="a run of the lane virtual, which measures no machine"):
        read_runs([tmp_path / "virtual"])
    cut = replace(experiment(CutFault(at=3.0, cohorts=("all",)), duration=10.0), client=ClientConfig())
    (tmp_path / "population").mkdir()
    PopulationRun(cut, 1).execute(tmp_path / "population")
    with pytest.raises(UsageError, match="a run of the lane population"):
        read_runs([tmp_path / "population"])


def test_a_run_is_named_once(other_run: Path) -> None:
    """Twice the same run would make any interval narrower."""
    with pytest.raises(UsageError, match="name each run once"):
        read_runs([other_run, other_run.parent / "." / other_run.name])


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda data: data | {"schema_version": 1}, "a calibration of version 1, and this program reads version 3"),
        (lambda data: data | {"kind": "other"}, 'its kind is "other"'),
        (lambda data: {}, "not a calibration file"),
        (lambda data: data | {"machine": 3}, "machine"),
        (lambda data: data | {"parameters": {"speed": {"value": 1.0}}}, "parameters.speed: no cost of the model"),
        (lambda data: data | {"parameters": {"commit": {"value": -1.0}}}, "parameters.commit.value"),
        (lambda data: data | {"shared_processors": -1}, "shared_processors = -1: must be from 0 to 1000"),
        (lambda data: data | {"client_processes": -2}, "client_processes = -2: must be from 0 to"),
    ],
)
def test_a_file_that_is_no_calibration_of_this_version_is_refused(
    change: Callable[[dict[str, object]], dict[str, object]], said: str, tmp_path: Path
) -> None:
    """In one line that names the file."""
    path = tmp_path / "made.json"
    write_calibration(calibration_of(), path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UsageError, match=r"made\.json") as caught:
        read_calibration(path)
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"{", None])
def test_a_file_that_cannot_be_read_is_refused(content: bytes | None, tmp_path: Path) -> None:
    """Empty, no text, no JSON, not there."""
    path = tmp_path / "made.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"made\.json"):
        read_calibration(path)


def test_nothing_to_fit_writes_no_file(tmp_path: Path) -> None:
    """A run of one client and a single fault has no two events of anything: exit code 3."""
    alone = experiment(CutFault(at=2.5, cohorts=("all",)), clients=1, duration=4.9)
    run = make_run(tmp_path / "run", 1, plan=alone)
    done = CliRunner().invoke(calibrate, [str(run), "--out", str(tmp_path / "c.json")], standalone_mode=False)
    assert done.return_value == ExitCode.INCONCLUSIVE
    assert "nothing could be fitted" in done.output
    assert not (tmp_path / "c.json").exists()
