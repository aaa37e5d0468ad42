"""Hypothesis strategies shared by the tests: messages, backoff policies, schedules of trouble."""

from __future__ import annotations

import enum
import os
import types
import typing
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from resilience.policy.backoff import BackoffPolicy, ExponentialDelays, Jitter, Preset
from resilience.policy.return_window import ReturnWindow
from resilience.protocol.messages import ClientMessage, Message, Roster, ServerMessage
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.questions import Question

_BIG = os.environ.get("HYPOTHESIS_PROFILE") == "big"

LONG_RUNS = settings(
    max_examples=2000 if _BIG else 100,
    derandomize=not _BIG,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""For properties whose one example is minutes of virtual time: fixed ones, or with ``HYPOTHESIS_PROFILE=big`` many."""

UNIT = st.floats(0.0, 1.0, exclude_max=True)
"""A uniform number as the draws yield it."""

JITTERS = st.sampled_from(Jitter)

INT64 = st.integers(-(2**63), 2**63 - 1)


TEXT = st.characters(exclude_categories=["Cs", "Cc"])


def structs(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Every value of a message or of one of its parts, built from the types of its fields and their bounds."""
    if kind is QuizPlan:
        return plans()
    hints = typing.get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{field.name: _values(hints[field.name]) for field in msgspec.structs.fields(kind)})


def _values(hint: object, bounds: msgspec.Meta | None = None) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _values(arguments[0], arguments[1])
    if origin is tuple:
        return st.lists(_values(arguments[0]), max_size=3).map(tuple)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(_values(argument) for argument in arguments))
    if hint is msgspec.Raw:
        return structs(Roster).map(lambda roster: msgspec.Raw(msgspec.json.encode(roster)))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    bounds = bounds or msgspec.Meta()
    least, most = bounds.ge if bounds.ge is not None else -(2**63), bounds.le if bounds.le is not None else 2**63 - 1
    most = bounds.lt - 1 if bounds.lt is not None else most
    simple: dict[object, st.SearchStrategy[Any]] = {
        str: st.text(TEXT, min_size=bounds.min_length or 0, max_size=8),
        int: st.integers(int(least), int(most)),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return simple[hint] if hint in simple else structs(typing.cast("type[Any]", hint))


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """Any question that may be asked."""
    choices = tuple(draw(st.lists(st.text(TEXT, min_size=1, max_size=8), min_size=2, max_size=4, unique=True)))
    correct, time_s = draw(st.integers(0, len(choices) - 1)), draw(st.floats(0.1, 3600.0))
    name, line = draw(st.text(TEXT, min_size=1, max_size=8)), draw(st.text(TEXT, min_size=1, max_size=8))
    return Question(name, line, choices, correct, time_s)


@st.composite
def plans(draw: st.DrawFn) -> QuizPlan:
    """Any event that a host may create."""
    asked = tuple(draw(st.lists(questions(), min_size=1, max_size=3, unique_by=lambda q: q.id)))
    pause = st.none() | st.floats(0.0, 3600.0)
    return QuizPlan(asked, draw(st.text(TEXT, max_size=8)), Pace(draw(pause), draw(pause), draw(pause)))


def messages_of(union: object) -> st.SearchStrategy[Message]:
    """Every message of one direction."""
    return st.one_of(*(structs(kind) for kind in typing.get_args(union)))


CLIENT_MESSAGES = messages_of(ClientMessage)
SERVER_MESSAGES = messages_of(ServerMessage)


@st.composite
def exponential_delays(draw: st.DrawFn, jitter: Jitter | None = None) -> ExponentialDelays:
    """A ladder whose cap is not below its foot."""
    initial = draw(st.floats(0.01, 10.0))
    maximum = draw(st.floats(initial, 120.0))
    return ExponentialDelays(initial, maximum, draw(st.floats(1.0, 4.0)), draw(JITTERS) if jitter is None else jitter)


@st.composite
def windows(draw: st.DrawFn) -> ReturnWindow:
    """Any return window a server may announce."""
    step = draw(st.floats(0.05, 6.0))
    return ReturnWindow(draw(st.floats(0.05, 5.0)), step, draw(st.floats(step, 60.0)))


@st.composite
def policies(draw: st.DrawFn) -> BackoffPolicy:
    """Any policy with at least one budget."""
    attempts = draw(st.none() | st.integers(1, 20))
    budget = draw(st.floats(1.0, 1000.0)) if attempts is None else draw(st.none() | st.floats(1.0, 1000.0))
    return BackoffPolicy(draw(st.sampled_from(Preset)), draw(exponential_delays()), attempts, budget)


class Trouble(msgspec.Struct, frozen=True):
    """One thing that goes wrong: what, for whom (an index), when, how long, and how late the server hears of it."""

    kind: str
    peer: int
    at: float
    lasts: float
    late: float


LINK_TROUBLES = ("cut", "hole", "silent", "refused", "slow")
SERVER_TROUBLES = ("store", "slow store", "stall")


def schedules(peers: int, until: float, kinds: tuple[str, ...] = LINK_TROUBLES) -> st.SearchStrategy[list[Trouble]]:
    """Up to twelve troubles that all begin before ``until``."""
    one = st.builds(
        Trouble,
        st.sampled_from(kinds),
        st.integers(0, peers - 1),
        st.floats(0.0, until),
        st.one_of(st.floats(0.0, 1.0), st.floats(1.0, 20.0), st.floats(20.0, 120.0)),
        st.sampled_from((0.0, 0.0, 1.0, 10.0, 65.0)),
    )
    return st.lists(one, min_size=1, max_size=12)
