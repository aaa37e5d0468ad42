"""Marks fall where the numbers say, at any number of values."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.svg import Panel, Scale, as_percent, evenly, kept_steps, log_ticks, plain, ticks

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


def _paths(panel: Panel) -> list[str]:
    return [node.get("d", "") for node in ET.fromstring(panel.markup()).iter("path")]  # noqa: S314 - our own markup


def test_a_scale_maps_its_ends_and_keeps_strays_inside() -> None:
    scale = Scale(0.0, 10.0, 100.0, 200.0)
    assert scale.place([0, 5, 10, -3, 99]).tolist() == [100, 150, 200, 100, 200]
    assert Scale(1.0, 100.0, 0.0, 10.0, log=True).place([1, 10, 100]).tolist() == [0, 5, 10]
    assert Scale(3.0, 3.0, 0.0, 10.0).place([3]).tolist() == [0]


@given(NUMBERS, st.floats(1e-3, 1e6), st.integers(1, 12))
def test_ticks_are_few_ordered_and_inside(low: float, width: float, count: int) -> None:
    high = low + width
    values = ticks(low, high, count)
    assert len(values) <= count + 1
    assert values == sorted(values)
    room = 1e-6 * max(abs(low), abs(high), 1)
    assert all(low - room <= value <= high + room for value in values)


@pytest.mark.parametrize(
    "low, high, count, expected",
    [
        (0, 60, 8, [0, 10, 20, 30, 40, 50, 60]),
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.9, 1, 5, [0.9, 0.92, 0.94, 0.96, 0.98, 1]),
        (2, 2, 5, [2]),
    ],
)
def test_ticks_are_round(low: float, high: float, count: int, expected: list[float]) -> None:
    assert ticks(low, high, count) == pytest.approx(expected)


def test_logarithmic_ticks_are_powers_of_ten_and_their_parts() -> None:
    assert log_ticks(0.5, 12) == pytest.approx([0.5, 1, 2, 5, 10])
    assert log_ticks(1e-3, 1e3) == pytest.approx([10.0**e for e in range(-3, 4)])
    assert len(Scale(1.02, 1.08, 0, 1, log=True).ticks(5)) > 2


def test_a_step_area_has_right_angles_only() -> None:
    """Every segment is horizontal or vertical, below as above."""
    panel = Panel((200, 100), (0, 10), (0, 10))
    panel.step_area([0, 2, 4, 10], [0, 1, 0, 0], [5, 7, 6, 6], "pale")
    (path,) = _paths(panel)
    assert re.fullmatch(r"M[\d.]+ [\d.]+([HV][\d.]+)+Z", path)
    x = [panel.x.place(v) for v in (0, 2, 4, 10)]
    assert [float(v) for v in re.findall(r"H([\d.]+)", path)] == pytest.approx([x[1], x[2], x[3], x[2], x[1], x[0]])


@given(st.lists(NUMBERS, max_size=200))
def test_thinned_steps_keep_both_ends_and_every_level_that_lasts(values: list[float]) -> None:
    y = np.asarray([round(value, 1) for value in values], dtype=np.float64)
    x = np.arange(len(y), dtype=np.float64)
    px, py = kept_steps(x, y)
    shown = dict(zip(px.tolist(), py.tolist(), strict=True))
    level = math.nan
    for at, value in zip(x.tolist(), y.tolist(), strict=True):
        level = shown.get(at, level)
        assert level == value


def test_the_size_of_a_curve_follows_the_resolution() -> None:
    """A million values are as large as the pixels that they fill."""
    panel = Panel((470, 300), (0.0, 1.0), (0.0, 1.0))
    x = np.linspace(0, 1, 1_000_000)
    panel.steps(x, x, "c1")
    assert len(panel.markup()) < 80_000


@given(st.integers(0, 5000), st.integers(1, 400))
def test_an_even_selection_is_small_and_has_both_ends(count: int, most: int) -> None:
    chosen = evenly(count, most)
    assert len(chosen) <= min(count, most)
    if count and most > 1:
        assert (chosen[0], chosen[-1]) == (0, count - 1)


def test_words_are_escaped_and_numbers_short() -> None:
    panel = Panel((100, 50), (0, 1), (0, 1))
    panel.text(1, 2, "<b>&", "strong")
    assert "&lt;b&gt;&amp;" in panel.markup()
    assert [plain(0.05), plain(5.0), plain(1200.0), as_percent(0.95)] == ["0.05", "5", "1,200", "95 %"]
