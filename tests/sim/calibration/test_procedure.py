"""``make calibration`` on a machine with other work: it does not begin, and sets aside what it measured there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from resilience.errors import UsageError
from sim.calibration.calibrate import doubts_about
from sim.calibration.calibration_file import STARVED_S, CalibrationRun

from .made_runs import calibration_of


@pytest.fixture(scope="module")
def procedure() -> ModuleType:
    """The program of ``make calibration``."""
    path = Path(__file__).parents[3] / "tools" / "calibration.py"
    if not path.exists():
        pytest.skip("not a checkout: tools/ is not there")
    spec = importlib.util.spec_from_file_location("calibration_procedure", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_busy_machine_is_refused_before_anything_runs(procedure: ModuleType) -> None:
    procedure.require_quiet(0.4, 2)
    with pytest.raises(
        UsageError, match=r"its load is 3\.00, and costs are measured at a load of at most 0\.5 on 2 processors"
    ):
        procedure.require_quiet(3.0, 2)


def test_a_run_of_a_starved_machine_is_set_aside(
    procedure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a name of its own, each time another one, so that the same command makes it again."""
    monkeypatch.setattr(procedure, "load_history", lambda path: path)
    waits = {"herd-101": 2 * STARVED_S, "smoke-101": STARVED_S}
    monkeypatch.setattr(procedure, "waited", lambda path: waits[path.name])
    for number in (1, 2):
        (tmp_path / "herd-101").mkdir()
        with pytest.raises(UsageError, match=f"herd-101.starved-{number}: the machine had other work"):
            procedure.set_aside_if_starved(tmp_path / "herd-101")
    (tmp_path / "smoke-101").mkdir()
    procedure.set_aside_if_starved(tmp_path / "smoke-101")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["herd-101.starved-1", "herd-101.starved-2", "smoke-101"]


def test_a_calibration_of_a_starved_machine_says_so() -> None:
    run = CalibrationRun(
        experiment="herd",
        experiment_digest="",
        seed=101,
        lane="real",
        started_at="",
        evidence="",
        lateness_s=0.0,
        waited_s=0.158,
    )
    marked = msgspec.structs.replace(calibration_of(), runs=(run, msgspec.structs.replace(run, waited_s=0.001)))
    (said,) = [doubt for doubt in doubts_about(marked) if "other work" in doubt]
    assert said.startswith("1 of 2 runs are of a machine with other work: in herd, seed 101")
    assert "waited 158 ms" in said
