"""One plausible value of every message, made from its types and the names of its fields."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect as mi

from docgen import shapes
from resilience.protocol.messages import Credentials, HostAction, Player, Roster, Snapshot, Standing
from resilience.protocol.server.tokens import ResumeRejection
from resilience.protocol.states import ConnectionState
from resilience.quiz.phases import Phase
from resilience.quiz.questions import Question
from resilience.quiz.verdicts import AnswerVerdict

_QUESTION = Question("q2", "What is the boiling point of water at sea level?", ("90 °C", "100 °C"), 1, 20.0)

_BY_NAME: dict[str, Any] = {
    "event": "friday",
    "participant": "p7",
    "name": "Ada",
    "instance": "1f6c0d9e",
    "token": "hB3wTq0rJ2sXn8Vd5mZk1uYc",
    "key": "1f6c0d9e-3",
    "generation": 2,
    "connection_no": 2,
    "attempt": 1,
    "epoch": "9c1d.1",
    "seq": 41,
    "id": 5,
    "question": "q2",
    "choice": 1,
    "correct": 1,
    "answer": 1,
    "points": 830,
    "score": 882,
    "count": 2,
    "step": 4,
    "title": "Friday quiz",
    "text": _QUESTION.text,
    "choices": _QUESTION.choices,
    "time_ms": 20_000,
    "remaining_ms": 13_400,
    "server_time_ms": 95_210,
    "heartbeat_ms": 15_000,
    "grace_ms": 30_000,
    "cleanup_ms": 60_000,
    "spread_ms": 100,
    "step_ms": 300,
    "cap_ms": 3000,
    "phase": Phase.QUESTION.value,
    "state": ConnectionState.CONNECTED.value,
    "reason": ResumeRejection.RETIRED.value,
    "verdict": AnswerVerdict.ACCEPTED.value,
    "action": HostAction.REVEAL.value,
    "questions": 6,
    "connected": 118,
    "away": 2,
    "gone": 1,
    "answered": 64,
    "code": "malformed",
    "field": "choice",
    "rule": "Expected `int`, got `str`",
}
_BY_PLACE: dict[str, Any] = {
    "Host.key": "a-host-key-of-16-or-more",
    "HostStatus.question": 2,
    "HostStatus.title": "Friday quiz",
    "HostResult.action": HostAction.REVEAL.value,
    "HostResult.verdict": "done",
    "HostResult.step": 5,
    "HostResult.rule": "",
    "HostCommand.action": HostAction.REVEAL,
    "OpenQuestion.id": "q2",
    "OpenQuestion.correct": None,
    "ScoreChanged.score": 1712,
    "QuizFinished.leaders": (Standing("p7", "Ada", 4930), Standing("p3", "Grace", 4410)),
    "Roster.players": (Player("p7", "Ada", "connected"), Player("p3", "Grace", "temporarily_disconnected")),
    "Joined.credentials": Credentials("p7", "hB3wTq0rJ2sXn8Vd5mZk1uYc", 1, 1),
    "PresenceChanged.changed": (Player("p3", "Grace", "temporarily_disconnected"),),
    "QuizPlan.questions": (_QUESTION,),
    "QuizPlan.title": "Friday quiz",
    "Pace.lobby": None,
    "Pace.reveal": 4.0,
    "Pace.leaderboard": None,
    "PresenceChanged.joined": (),
    "Resume.seq": 40,
}


def sample(owner: type) -> Any:  # noqa: ANN401 - a value of that type
    """A value of this struct; the same at every call."""
    values = {field.name: _value(owner, field) for field in shapes.fields_of(owner)}
    return msgspec.convert(values, owner, from_attributes=True, strict=True)


def sample_json(owner: type, columns: int = 110) -> str:
    """The value as JSON, broken into lines only if it is long."""
    compact = msgspec.json.encode(sample(owner))
    return (compact if len(compact) <= columns else msgspec.json.format(compact, indent=2)).decode()


def _value(owner: type, field: mi.Field) -> object:
    place = f"{owner.__name__}.{field.name}"
    if place == "Joined.snapshot":
        return msgspec.structs.replace(sample(Snapshot), score=0, answer=None)
    if place in _BY_PLACE:
        return _BY_PLACE[place]
    held = _held(_core(field.type))
    if held is None:
        held = _BY_NAME.get(field.name)
    if held is None and field.required:
        held = _by_type(_core(field.type))
    return shapes.default_of(field) if held is None else held


def _held(kind: mi.Type) -> object:
    """A struct, a list of one, the roster; ``None`` for any other kind."""
    if isinstance(kind, mi.StructType):
        return sample(kind.cls)
    if isinstance(kind, mi.RawType):
        return msgspec.Raw(msgspec.json.encode(sample(Roster)))
    if isinstance(kind, mi.VarTupleType) and isinstance(kind.item_type, mi.StructType):
        return (sample(kind.item_type.cls),)
    return None


def _by_type(kind: mi.Type) -> object:
    return next(iter(kind.cls)) if isinstance(kind, mi.EnumType) else _BY_TYPE[type(kind)]


_BY_TYPE: dict[type[mi.Type], object] = {mi.StrType: "word", mi.IntType: 1, mi.FloatType: 1.0, mi.BoolType: True}


def _core(kind: mi.Type) -> mi.Type:
    if isinstance(kind, mi.Metadata):
        return _core(kind.type)
    if isinstance(kind, mi.UnionType):
        return _core(next(part for part in kind.types if not isinstance(part, mi.NoneType)))
    return kind
