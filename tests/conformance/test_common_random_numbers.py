"""Draws are addressed by who asks: a cohort of strangers moves neither ids, pings nor detections of the others."""

from __future__ import annotations

import pytest

from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.loader import parse
from tests.conformance.lanes import Lane, model, virtual

EXPERIMENT = """
name = "draws"
duration = 60.0
ramp = 1.0
[quiz]
questions = 1
lobby = 100.0
[hypothesis]
joined = 0.5
within = 3.0
{strangers}
[[cohorts]]
name = "a"
clients = 3
[[faults]]
kind = "blackhole"
at = 20.0
duration = 25.0
cohorts = ["a"]
"""
STRANGERS = """
[[cohorts]]
name = "z"
clients = 40
"""
KINDS = (LogEventKind.PONG_SENT, LogEventKind.PEER_DEAD)
"""Not the joins: a group commit of a stranger may delay them, as it does in a real server."""


def experienced(lane: Lane, strangers: str) -> dict[str, list[tuple[str, float, str | None]]]:
    """By client of cohort ``a``: its first two pongs and detections, with exact times and its participant id."""
    found: dict[str, list[tuple[str, float, str | None]]] = {}
    history = lane(parse(EXPERIMENT.format(strangers=strangers), "crn.toml"), 5)
    for actor in ("a-0001", "a-0002", "a-0003"):
        found[actor] = []
        for kind in KINDS:
            events = [event for event in history if event.actor == actor and event.kind is kind]
            assert events
            found[actor] += [(event.kind, event.t, event.session_id) for event in events[:2]]
    return found


@pytest.mark.parametrize("lane", [model, virtual])
def test_another_cohort_does_not_change_the_draws_of_the_first(lane: Lane) -> None:
    assert experienced(lane, STRANGERS) == experienced(lane, "")
