"""What every test gets: repeatable Hypothesis, and the root of the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A gate gives the same answer twice: examples follow from the test alone. Time limits are pytest-timeout's.
settings.register_profile("gate", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("gate")


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder that holds pyproject.toml."""
    return Path(__file__).resolve().parent.parent
