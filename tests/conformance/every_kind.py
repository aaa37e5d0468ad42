"""One experiment with every kind of fault that a lane carries: those of cohorts in parallel, the server's in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.faults import AnyFault, CutFault, kinds
from resilience.experiment.primitives import FaultTarget
from resilience.experiment.spec import Cohort, Experiment, Hypothesis, Statistics
from resilience.policy.backoff import Jitter, Preset

TOGETHER_AT, SERVER_AT, SETTLE_S = 6.0, 13.0, 6.0
REPLAY, CUT_BEFORE_AT = "token_replay", 3.5
QUESTION_S, SPACING_S = 7.0, 14.0
"""From one opening to the next, and from one fault of the server to the next: its slow restart is over by then."""

REPLAY_AT = 8.5
"""After the first question's answers: their verdicts prove that the token before the cut is replaced."""

CLIENTS = 3
"""In each cohort."""

VALUES: Mapping[str, dict[str, Any]] = {
    "": {"duration": 2.0, "delay": 0.2},
    "bandwidth": {"rate": 20_000},
    "slice": {"size": 32, "delay": 0.02},
    "cut_mid_message": {"after": 20},
    "slow_close": {"delay": 0.5},
}
"""The keys that kinds may need beyond the schedule's; those of a kind come before the common ones."""


def sample(name: str, at: float) -> AnyFault:
    """A fault of this kind."""
    kind: Any = kinds()[name]
    needed = {field.name for field in msgspec.structs.fields(kind) if field.required} - {"at"}
    values = {key: value for key, value in (VALUES[""] | VALUES.get(name, {})).items() if key in needed}
    fault: AnyFault = kind(at, () if kind.target is FaultTarget.SERVER else (name,), **values)
    return fault


def every_kind(lane: Lane) -> Experiment:
    """All faults of links and clients at once, each on a cohort of its own, then those of the server one by one.

    A replay comes a little later, since it needs a cut before it.

    Each is over a reveal. Clients are far from every edge: delays have no jitter, and heartbeats come often.
    """
    carried = [name for name, kind in kinds().items() if lane in kind.lanes]
    cohorts = [name for name in carried if kinds()[name].target is not FaultTarget.SERVER]
    others = [name for name in carried if kinds()[name].target is FaultTarget.SERVER]
    faults = [sample(name, REPLAY_AT if name == REPLAY else TOGETHER_AT) for name in cohorts]
    faults.append(CutFault(CUT_BEFORE_AT, (REPLAY,)))
    faults += [sample(name, SERVER_AT + i * SPACING_S) for i, name in enumerate(others)]
    return Experiment(
        "every-kind",
        SERVER_AT + len(others) * SPACING_S + SETTLE_S,
        tuple(Cohort(name, CLIENTS) for name in cohorts),
        ramp=0.1,
        server=ServerConfig(heartbeat_interval=0.5, drain_window=0.5),
        client=ClientConfig(
            preset=Preset.CLASSIC, jitter=Jitter.NONE, stable_after=2.0, probe_after=2.0, probe_deadline=1.0
        ),
        quiz=QuizConfig(
            lobby=TOGETHER_AT - 3.0,
            questions=1 + 2 * len(others),
            question_time=QUESTION_S - 3.0,
            reveal_time=1.5,
            leaderboard_time=1.5,
            answer_share=1.0,
            fastest=0.5,
            slowest=1.0,
        ),
        faults=tuple(faults),
        hypothesis=Hypothesis(within=3.0),
        statistics=Statistics(deadline=4.0),
    )
