"""The drawn schedule: places as lines, time as columns, kinds as letters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resilience.experiment.faults import AnyFault, BlackholeFault, CutFault, RefuseFault, ServerKillFault
from resilience.experiment.spec import Cohort, Experiment
from resilience.experiment.timeline import WIDTH, draw_timeline


def drawn(duration: float, *faults: AnyFault) -> list[str]:
    experiment = Experiment("a", duration, (Cohort("x", 2), Cohort("office", 2)), faults=faults)
    return draw_timeline(experiment.windows(), duration)


def test_each_place_has_a_line_and_each_kind_a_letter() -> None:
    lines = drawn(
        40.0,
        CutFault(12.0, ("x",)),
        RefuseFault(20.0, ("office", "x"), duration=3.0, rolling=2.0),
        ServerKillFault(21.0, duration=4.0),
        BlackholeFault(24.0, ("x",), duration=6.0),
    )
    assert lines == [
        "        0         5         10        15        20        25        30        35",
        "office  ........................................rrrrrr..................................",
        "server  ..........................................ssssssss..............................",
        "x       ........................c...................rrrr##bbbbbbbbbb....................",
        "one column is 0.5 s; b blackhole, c cut, r refuse, s server_kill",
    ]


def test_nothing_is_drawn_of_a_run_without_faults() -> None:
    assert drawn(40.0) == []


@given(st.floats(20.0, 90_000.0), st.floats(11.0, 12.0), st.floats(0.1, 3.0))
def test_a_drawing_fits_a_terminal_and_shows_every_window(duration: float, at: float, length: float) -> None:
    _, first, second, _ = drawn(duration, CutFault(at, ("x",)), RefuseFault(at, ("office",), duration=length))
    assert len(first) <= WIDTH + len("office  ")
    assert "r" in first
    assert "c" in second
