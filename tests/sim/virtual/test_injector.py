"""Faults in the virtual lane: each seen by the same eyewitness as in the real one, and none believed unseen."""

from __future__ import annotations

import pytest

from resilience.eventlog.vocabulary import LogEventKind
from resilience.eventlog.writer import EventList
from resilience.experiment.loader import load
from sim.virtual import injector
from sim.virtual.lane import simulate

DEMO = load("demo", scale=0.03)


def kinds(log: EventList) -> list[LogEventKind]:
    """What the injector recorded."""
    return [event.kind for event in log if event.kind.startswith("fault.")]


def test_every_window_is_confirmed_and_cleared() -> None:
    """Nine windows, nine beginnings seen, nine ends seen, each at its planned time."""
    log = EventList()
    simulate(DEMO, 7, log)
    for kind in (
        LogEventKind.FAULT_STARTED,
        LogEventKind.FAULT_CONFIRMED,
        LogEventKind.FAULT_ENDED,
        LogEventKind.FAULT_CLEARED,
    ):
        assert kinds(log).count(kind) == 9
    assert LogEventKind.FAULT_INVALID not in kinds(log)
    assert all(event.t == event.value for event in log if event.kind is LogEventKind.FAULT_STARTED)


def test_a_fault_that_was_not_injected_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is given and nothing happens: the canary does not see it, and the window does not count."""
    monkeypatch.setattr(injector, "begin", lambda link, fault: None)
    log = EventList()
    simulate(DEMO, 7, log)
    assert kinds(log).count(LogEventKind.FAULT_INVALID) == 9
    assert LogEventKind.FAULT_CONFIRMED not in kinds(log)


def test_a_fault_that_does_not_end_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order to heal is given and the link stays down: that window and the next on the same link do not count."""
    monkeypatch.setattr(injector, "end", lambda link, fault: None)
    log = EventList()
    simulate(DEMO, 7, log)
    assert kinds(log).count(LogEventKind.FAULT_INVALID) >= 6
