"""A small soak: what a server holds after many returns. `make soak` runs the large one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.lab.processes import Held

from .soak import Soak, soak, text_of

CONNECTION = 4_000.0
"""Bytes per return; any connection that stays behind takes more."""


def test_two_thousand_returns_of_two_hundred_connections_leave_nothing_behind(tmp_path: Path) -> None:
    found = soak(tmp_path, 200, 2_000, warm_up=600, leak=CONNECTION)
    assert found.reconnects == 2_000
    assert found.problems() == []


@pytest.mark.parametrize(
    "after, problem",
    [
        (Held(50_000_000, 20, 5), None),
        (Held(50_000_000, 21, 5), "full: 21 files, 20 before"),
        (Held(50_000_000, 20, 6), "full: 6 tasks, 5 before"),
        (Held(70_000_000, 20, 5), "20,000,000 bytes more after 1,000 returns"),
    ],
)
def test_what_is_left_behind_is_named(after: Held, problem: str | None) -> None:
    before = Held(50_000_000, 20, 5)
    found = Soak(10, 1_000, 10.0, 1.0, (before, before), (before, after))
    assert found.problems() == ([problem] if problem else [])
    assert text_of(found).endswith(problem or "nothing is left behind")
