"""What ships: the four packages with their data files, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

PACKAGES = ("chaos", "reports", "resilience", "sim")


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command: list[str | Path] = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, root]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    with ZipFile(path) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert len(tops) == len(PACKAGES) + 1
    assert not [name for name in wheel if "test" in Path(name).parts[0] or Path(name).name.startswith("test_")]


def test_every_file_of_the_packages_ships(root: Path, wheel: set[str]) -> None:
    files = {
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files - wheel == set()


@pytest.mark.parametrize(
    "folder, ending",
    [
        ("chaos/experiments/", ".toml"),
        ("reports/templates/", ""),
        ("resilience/server/templates/", ""),
        ("resilience/web/machine/", ".js"),
        ("resilience/web/vendor/", "LICENSE-preact"),
        ("sim/profiles/catalogue/", ".toml"),
    ],
)
def test_data_folders_ship(wheel: set[str], folder: str, ending: str) -> None:
    assert [name for name in wheel if name.startswith(folder) and name.endswith(ending)]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_say_they_are_typed(wheel: set[str], package: str) -> None:
    assert f"{package}/py.typed" in wheel


@pytest.mark.parametrize("group", ["resilience.commands", "resilience.experiments", "console_scripts"])
def test_what_the_package_announces_exists(group: str) -> None:
    announced = distribution("quiz-resilience").entry_points.select(group=group)
    assert announced
    assert all(entry.load() for entry in announced)
