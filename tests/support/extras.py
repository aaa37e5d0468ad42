"""Skips tests of optional extras where a user has not installed them; in CI everything is installed."""

from __future__ import annotations

import os

import pytest

from resilience.extras import missing_of


def require_extra(extra: str) -> None:
    """Skip the test, with what to install, where a package of this extra is missing; fail in CI."""
    advice = missing_of(extra)
    if advice is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(advice)
