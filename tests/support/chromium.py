"""The Chromium of this machine for tests, or a reason to skip them."""

from __future__ import annotations

import os

import pytest

from chaos.drivers.chromium.browser import CHROME_PATH, PROGRAMS, find_chromium
from resilience.errors import HarnessError

NOT_FOUND = f"needs Chromium or Chrome: {CHROME_PATH}, or one of {', '.join(PROGRAMS)} on PATH"


def chromium_program() -> str:
    """Its path; where there is none the test is skipped, or fails where ``CI`` says so."""
    try:
        return find_chromium(None, os.environ)
    except HarnessError:
        if os.environ.get("CI") == "true":
            pytest.fail(NOT_FOUND)
        pytest.skip(NOT_FOUND)
