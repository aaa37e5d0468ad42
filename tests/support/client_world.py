"""A small run as its clients saw it, sound, and how a page writes such observations as lines. Holds no assertion.

A line: ``<seconds> <client> <kind> [field=value]...``; in a content ``_`` is a blank. A difference has lines to leave
out (``- ``), lines to add (``+ ``), and perhaps ``fault <kind> [field=value]...``, which replaces the fault.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import msgspec

from reports.frames import RunHistory
from reports.invariants import CHECKS
from resilience.config import ServerConfig
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.experiment.faults import AnyFault, CutFault
from resilience.experiment.spec import Cohort, Experiment, Hypothesis
from resilience.lab.observation import Observation, ObservationKind
from resilience.lab.participants import person_of
from resilience.lab.stored_run import StoredRun
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import Question

from .history import INFO as COMPLETED

K = ObservationKind
CLIENT_CHECKS = [name for name, rule in CHECKS.items() if ".client_" in rule.check.__module__]
"""The checks that believe what clients were shown."""

END = 30.0
WORLD = Experiment(
    "world",
    END,
    (Cohort("a", 1), Cohort("b", 1)),
    ramp=1.0,
    hypothesis=Hypothesis(within=5.0),
    server=ServerConfig(heartbeat_interval=5.0, grace_period=8.0),
    faults=(CutFault(10.0, ("a",)),),
)
INFO = msgspec.structs.replace(COMPLETED, experiment=WORLD.name, duration_s=END)
A, B = ("a-0001", "pa"), ("b-0001", "pb")
Rows = list[Observation]
Who = tuple[str, str]


def row(
    t: float, who: Who, kind: ObservationKind, phase: Phase | None = None, question: str | None = None, **more: object
) -> Observation:
    """One observation over the client's first connection in epoch e, unless it says otherwise."""
    known = Observation(t, *who, phase, question, kind=kind, connection=1)
    return msgspec.structs.replace(known, **{"epoch": "e" if more.get("seq") is not None else None, **more})


def welcome(t: float, who: Who, seq: int, n: int = 1, **more: object) -> Observation:
    """The snapshot of the ``n``-th connection."""
    kind = K.JOINED if n == 1 else K.RESTORED
    first = {"score": 0, "token": f"{who[1]}{n}", "fence": n, "name": who[0], "connection": n, "seq": seq}
    return row(t, who, kind, more.pop("phase", Phase.LOBBY), more.pop("question", None), **{**first, **more})  # type: ignore[arg-type]


def sound() -> Rows:
    """Two clients; one is cut at 10 s and restored; both answer, and see the reveal and the leaderboard."""
    rows = [welcome(0.5, A, 0), welcome(1.0, B, 0)]
    for who in (A, B):
        rows += [
            row(1.5, who, K.PRESENCE, seq=1, content="+pa +pb"),
            row(5.0, who, K.QUESTION, Phase.QUESTION, "q1", seq=2, remaining=10.0),
            row(6.0, who, K.SENT, None, "q1", ref=f"q1/{who[0]}-1", answer=0),
            row(6.1, who, K.VERDICT, None, "q1", ref=f"q1/{who[0]}-1", outcome="accepted"),
        ]
    rows += [
        row(10.0, A, K.LOST, epoch="e", outcome="closed", since=0.5, heard=9.9, pings=0),
        welcome(11.0, A, 2, 2, phase=Phase.QUESTION, question="q1", answer=0, remaining=4.0),
    ]
    for who, n in ((A, 2), (B, 1)):
        rows += [
            row(15.0, who, K.REVEAL, Phase.REVEAL, "q1", seq=3, correct=0, connection=n),
            row(15.0, who, K.SCORE, Phase.REVEAL, "q1", score=900, points=900, connection=n),
            row(17.0, who, K.LEADERBOARD, Phase.LEADERBOARD, seq=4, content="pa:900 pb:900", connection=n),
            row(29.0, who, K.OPEN, epoch="e", since=11.0 if n == 2 else 1.0, heard=29.0, pings=6, connection=n),
        ]
    return rows


def _event(t: float, kind: LogEventKind, ref: str | None = None, value: float | None = None) -> LogEvent:
    return LogEvent(t, Lane.VIRTUAL, Role.INJECTOR, "a", kind, "a", ref=ref, value=value)


def fault_events(world: Experiment) -> list[LogEvent]:
    """The four records of each window of a world: begin and end as planned, and both seen at once."""
    begins = (LogEventKind.FAULT_STARTED, LogEventKind.FAULT_CONFIRMED)
    ends = (LogEventKind.FAULT_ENDED, LogEventKind.FAULT_CLEARED)
    edges = [(window, window.starts_at, kind) for window in world.windows(1) for kind in begins]
    edges += [(window, window.ends_at, kind) for window in world.windows(1) for kind in ends]
    happened = [_event(t, kind, window.fault_id, t) for window, t, kind in edges]
    return sorted(happened, key=lambda event: event.t)


def history(rows: Rows, *, stored: bool = True, world: Experiment = WORLD) -> RunHistory:
    """A run with these observations, in which its faults happened as planned, and both answers in the database."""
    events = fault_events(world)
    events.append(LogEvent(END, Lane.VIRTUAL, Role.RUNNER, "runner", LogEventKind.RUN_ENDED, outcome="completed"))
    question = Question("q1", "?", ("right", "wrong"), 0, 10.0)
    answers = tuple(StoredAnswer(who[1], "q1", f"{who[0]}-1", 0, 6.0, 900) for who in (A, B))
    state = QuizState(Phase.LEADERBOARD, 0, 3, 17.0, 5.0, 15.0)
    database = StoredRun(QuizPlan((question,)), state, {"pa": 900, "pb": 900}, answers, 1)
    return RunHistory(INFO, world, events, rows, database if stored else None)


# as lines of a page ---------------------------------------------------------------------------------------------------

_PARTICIPANTS = dict((A, B))


def to_line(shown: Observation) -> str:
    """An observation as a line; what it shares with most others is left out."""
    known = {"t", "actor", "kind", "connection" if shown.connection == 1 else "", "epoch" if shown.epoch == "e" else ""}
    if shown.participant == _PARTICIPANTS[person_of(shown.actor)]:
        known.add("participant")
    told = msgspec.to_builtins(shown)
    words = [
        f"{field.name}={_word(told[field.name])}"
        for field in msgspec.structs.fields(Observation)
        if field.name not in known and told.get(field.name) is not None and told[field.name] is not False
    ]
    return " ".join([f"{shown.t:g}", shown.actor, str(shown.kind), *words])


def _word(value: Any) -> str:  # noqa: ANN401 - any field's value
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "_")


def to_observation(line: str) -> Observation:
    """The observation that a line tells."""
    t, actor, kind, *words = line.split()
    told: dict[str, Any] = {
        "t": t,
        "actor": actor,
        "participant": _PARTICIPANTS[person_of(actor)],
        "kind": kind,
        "connection": "1",
    }
    told |= {"phase": None, "question": None}
    told |= {name: value.replace("_", " ") if name == "content" else value for name, value in map(_pair, words)}
    if "seq" in told or kind in {K.LOST, K.OPEN}:
        told.setdefault("epoch", "e")
    return msgspec.convert(told, Observation, strict=False)


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def changed(base: Iterable[str], difference: Iterable[str]) -> RunHistory:
    """The run whose clients saw the ``base`` lines, but for the ``difference``."""
    lines, world = list(base), WORLD
    for line in difference:
        sign, _, rest = line.partition(" ")
        if sign == "-":
            lines.remove(rest)
        elif sign == "+":
            lines.append(rest)
        else:
            world = msgspec.structs.replace(WORLD, faults=(_fault(rest.split()),))
    return history([to_observation(line) for line in lines], world=world)


def _fault(words: list[str]) -> AnyFault:
    kind, *fields = words
    by_name = {each.__struct_config__.tag: each for each in get_args(AnyFault)}
    told: dict[str, Any] = dict(map(_pair, fields))
    if "cohorts" in told:
        told["cohorts"] = [told["cohorts"]]
    fault: AnyFault = msgspec.convert({"kind": kind, **told}, by_name[kind], strict=False)
    return fault
