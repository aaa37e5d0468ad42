"""The conformance suite: pair, model, virtual and real have the same history for every client.

The lanes that own their clock are compared on two experiments, one with jitter; the real lane on the one whose
history does not depend on tenths of a second, which the first half of this file shows.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from resilience.experiment.faults import (
    AnyFault,
    ClientDuplicateFault,
    CutFault,
    RefuseFault,
    ResetFault,
    TokenReplayFault,
)
from resilience.experiment.spec import Experiment
from tests.conformance import lanes
from tests.conformance.lanes import SMALL, WIDE

MARGIN_S = 0.6
"""How far a real fault may be from its plan, at either end, without a change in the history."""

both = pytest.mark.parametrize("experiment", [SMALL, WIDE], ids=["small", "wide"])


def expected(experiment: Experiment) -> dict[str, list[str]]:
    """The history of each client as the two bare machines have it."""
    return lanes.histories(lanes.pair(experiment, experiment.seed))


@both
def test_the_history_is_worth_comparing(experiment: Experiment) -> None:
    """Every client is cut, refused and left in silence, and comes back each time with its answers."""
    found = expected(experiment)
    assert len(found) == experiment.clients
    for history in found.values():
        kinds = [line.split()[0] for line in history]
        assert kinds.count("session.restored") == 3
        assert {"peer.declared_dead", "transport.failed", "answer.acked"} <= set(kinds)


@pytest.mark.parametrize("latency", [0.005, 0.02, 0.05, 0.1, 0.15])
def test_the_wide_history_does_not_depend_on_latency(latency: float) -> None:
    """A link three hundred times as slow changes nothing, so a busy machine is not taken for a disagreement."""
    assert lanes.histories(lanes.pair(WIDE, WIDE.seed, latency)) == expected(WIDE)


def longer(fault: AnyFault, by: float) -> AnyFault:
    """The same fault, lasting so much longer."""
    assert not isinstance(fault, CutFault | ResetFault | ClientDuplicateFault | TokenReplayFault)
    return msgspec.structs.replace(fault, duration=fault.duration + by)


def variants() -> Iterator[tuple[str, tuple[AnyFault, ...]]]:
    """The faults of the wide experiment with one end of one of them, or all of them, early or late."""
    cut, refuse, blackhole = WIDE.faults
    for by in (-MARGIN_S, -MARGIN_S / 2, MARGIN_S / 2, MARGIN_S):
        moved = [msgspec.structs.replace(fault, at=fault.at + by) for fault in WIDE.faults]
        yield f"all begin {by:+} s", tuple(moved)
        for number, fault in enumerate(moved):
            yield f"{fault.kind} begins {by:+} s", (*WIDE.faults[:number], fault, *WIDE.faults[number + 1 :])
        yield f"refuse lasts {by:+} s", (cut, longer(refuse, by), blackhole)

        yield f"blackhole lasts {by:+} s", (cut, refuse, longer(blackhole, by))
    for takes in (MARGIN_S / 4, MARGIN_S):
        yield f"cut takes {takes:+} s", (RefuseFault(cut.at, cut.cohorts, duration=takes), refuse, blackhole)


VARIANTS = dict(variants())


@pytest.mark.parametrize("faults", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_wide_history_does_not_depend_on_the_injector(faults: tuple[AnyFault, ...]) -> None:
    """A machine that is too busy to begin or end a fault in time has the same history."""
    experiment = msgspec.structs.replace(WIDE, faults=faults)
    assert lanes.histories(lanes.pair(experiment, WIDE.seed)) == expected(WIDE)


@both
@pytest.mark.parametrize("lane", [lanes.model, lanes.virtual], ids=["model", "virtual"])
def test_a_simulated_lane_has_the_same_history(lane: lanes.Lane, experiment: Experiment) -> None:
    """The same kinds in the same order, with the same causes and verdicts, for each client."""
    assert lanes.histories(lane(experiment, experiment.seed)) == expected(experiment)


@pytest.mark.usefixtures("binary")
def test_the_real_lane_has_the_same_history() -> None:
    """So do real processes behind a real Toxiproxy."""
    found = lanes.histories(lanes.real(WIDE, WIDE.seed))
    for actor, history in expected(WIDE).items():
        assert found[actor] == history
