"""A run directory that was removed, replaced or has no space left is named, and is the laboratory's failure."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from resilience.errors import HarnessError
from resilience.experiment.faults import CutFault
from resilience.experiment.spec import Cohort, Experiment
from resilience.lab import directory_watch
from resilience.lab.directory_watch import DirectoryWatch
from resilience.lab.progress import Progress
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus, read_run_info
from tests.support.fake_system import FakeLane, FakeSystem

EXPERIMENT = Experiment("small", 40.0, (Cohort("a", 4),), faults=(CutFault(20.0, ("a",)),))


def test_it_names_what_is_wrong_with_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "run"
    place.mkdir()
    watch = DirectoryWatch(place)
    assert watch.problem() is None
    with monkeypatch.context() as full:
        full.setattr(directory_watch, "_free_bytes", lambda _: directory_watch.MIN_FREE_BYTES - 1)
        assert watch.problem() == f"{place}: no space left on its disk"
    place.rename(tmp_path / "elsewhere")
    assert watch.problem() == f"{place}: the run directory was removed during the run"
    place.mkdir()
    assert watch.problem() == f"{place}: the run directory was replaced during the run"


def test_a_file_system_that_does_not_tell_its_size_is_not_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = DirectoryWatch(tmp_path)
    unknown = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: unknown)
    assert watch.problem() is None


@pytest.mark.parametrize("event", ["removed", "full"])
def test_a_server_that_fails_of_the_directory_has_not_failed_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    """Exit code 4 and not 1: its database had no place any more."""
    run_dir = tmp_path / "run"

    def prepare(system: FakeSystem) -> None:
        system.fails_at = 14.0

    def strike(progress: Progress) -> None:
        if progress.phase == "running" and event == "removed":
            shutil.rmtree(run_dir, ignore_errors=True)
        elif progress.phase == "running":
            monkeypatch.setattr(directory_watch, "_free_bytes", lambda _: 0)

    words = {"removed": "the run directory was removed during the run", "full": "no space left on its disk"}[event]
    lane = FakeLane(prepare)
    with pytest.raises(HarnessError) as caught:
        execute(lane, EXPERIMENT, 7, run_dir, progress=strike)
    assert str(caught.value) == f"{run_dir}: {words}"
    assert lane.open == 0
    if event == "full":
        assert read_run_info(run_dir).status is RunStatus.HARNESS_FAILED


def test_a_write_that_found_no_space_is_expected(tmp_path: Path) -> None:
    """Space may be there again when it is asked for; the line says what failed, and no traceback is kept."""

    def prepare(system: FakeSystem) -> None:
        system.failure = OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(HarnessError) as caught:
        execute(FakeLane(prepare), EXPERIMENT, 7, tmp_path / "run")
    assert str(caught.value) == f"{tmp_path / 'run'}: cannot be written: No space left on device"
