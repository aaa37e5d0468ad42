"""Many scripted clients in one loop: each dials at its own moment, and none after the fleet was stopped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from resilience.config import QuizConfig
from resilience.eventlog.vocabulary import Lane, LogEventKind
from resilience.experiment.loader import parse
from resilience.lab.fleet import Fleet
from resilience.lab.participants import participants_of
from tests.support.virtual_server import LINKED, VirtualServerHarness, play

RAMP = """
name = "ramp"
title = "Ten clients in ten seconds"
seed = 1
duration = 30.0
ramp = 10.0
[[cohorts]]
name = "all"
clients = 10
"""


@pytest.mark.parametrize("stopped_at", [5.0, 15.0])
def test_a_fleet_that_was_stopped_dials_no_more(stopped_at: float) -> None:
    """Not even those whose moment had not come; and nothing is reported to the loop."""
    reported: list[dict[str, Any]] = []

    async def script(harness: VirtualServerHarness) -> None:
        harness.loop.set_exception_handler(lambda _loop, context: reported.append(context))
        await harness.serve(quiz=QuizConfig(lobby=100))
        experiment = parse(RAMP, "ramp.toml")
        urls = {"all": LINKED}
        fleet = Fleet(
            participants_of(experiment, 1),
            experiment,
            urls,
            1,
            clock=harness.clock,
            sink=harness.log,
            lane=Lane.VIRTUAL,
        )
        fleet.start()
        await asyncio.sleep(stopped_at)
        open_ = fleet.open_counts()
        assert open_["all"] == open_.total()
        assert (open_.total() == 10) is (stopped_at > 10)
        await fleet.stop()
        await asyncio.sleep(30)

    harness = play(script)
    assert reported == []
    assert max(event.t for event in harness.events(LogEventKind.TRANSPORT_OPENING)) <= min(stopped_at, 10.0)
