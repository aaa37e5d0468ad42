"""The import laws themselves are the gate `lint-imports`; this proves that the gate can close."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("chaos", "reports", "resilience", "sim")


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A copy of the code and its laws that a test may break."""
    for package in PACKAGES:
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def verdict(folder: Path, law: str) -> str:
    """What the gate says of one law in the copy, which stands before the installed checkout on its path."""
    command: list[str | Path] = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = re.search(rf"^{re.escape(law)}.* (KEPT|BROKEN)\b", result.stdout, re.MULTILINE)
    assert found, result.stdout + result.stderr
    assert result.returncode == 1 or found[1] == "KEPT"
    return found[1]


@pytest.mark.parametrize(
    "module, planted, law",
    [
        ("resilience/units.py", "import time", "Decisions are pure"),
        ("resilience/experiment/spec.py", "import resilience.experiment.loader", "Experiments are values"),
        (
            "resilience/eventlog/vocabulary.py",
            "import resilience.protocol.effects",
            "Inside the product, downward only",
        ),
        ("resilience/eventlog/writer.py", "import reports", "Four packages"),
    ],
)
def test_a_forbidden_import_breaks_its_law(checkout: Path, module: str, planted: str, law: str) -> None:
    assert verdict(checkout, law) == "KEPT"
    path = checkout / module
    path.write_text(f"{path.read_text('utf-8')}\n{planted}\n", "utf-8")
    assert verdict(checkout, law) == "BROKEN"
