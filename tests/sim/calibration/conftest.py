"""The runs that several tests read; none changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.calibration import joint_fit

from .made_runs import make_run


@pytest.fixture
def one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit searches once, for tests of what is made of it: the other starts find costs that are a little nearer."""
    monkeypatch.setattr(joint_fit, "_RESTARTS", 0)


@pytest.fixture(scope="session")
def fitted_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs of one made machine."""
    folder = tmp_path_factory.mktemp("fitted")
    return [make_run(folder / str(seed), seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="session")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One more run of the same machine."""
    return make_run(tmp_path_factory.mktemp("other") / "run", 4)
