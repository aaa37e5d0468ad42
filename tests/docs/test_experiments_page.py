"""Experiments show failure modes that exist; each mode that a fault can cause is shown by one of them."""

from __future__ import annotations

from docgen.catalogue import UNSHOWN, failure_modes

from resilience.experiment.loader import catalogue, load

SHOWN = {mode for name in catalogue() for mode in load(name).shows}


def test_what_is_shown_exists() -> None:
    assert set(failure_modes()) >= SHOWN


def test_a_mode_is_shown_or_cannot_be() -> None:
    assert not SHOWN & set(UNSHOWN)
    assert {f"F{i}" for i in range(1, 38)} <= SHOWN | set(UNSHOWN)
