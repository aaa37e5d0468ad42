"""A fixture for folders whose tests use real proxies: how long these may take to answer."""

from __future__ import annotations

import pytest

from .deadlines import HANG_S


@pytest.fixture(autouse=True)
def patient_with_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a test that sets a limit of its own finds a proxy hung."""
    monkeypatch.setattr("chaos.proxied_link.API_DEADLINE_S", HANG_S)
