"""The runs that several tests read; none changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from .made_runs import make_run


@pytest.fixture(scope="session")
def fitted_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs of one made machine."""
    folder = tmp_path_factory.mktemp("fitted")
    return [make_run(folder / str(seed), seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="session")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One more run of the same machine."""
    return make_run(tmp_path_factory.mktemp("other") / "run", 4)
